//! The escrow key of a trade on a signer of its own, here Bitcoin Core without a wallet, which knows nothing of this program.

use std::io::Write as _;

use bitcoin::bip32::{DerivationPath, Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Network, Psbt};
use exchange_api::{Actor, SignerView, ToSign, TradeView};
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::{Action, Phase, Role};
use exchange_tests::{Failure, Offer, Trader, World, wait_until};
use serde_json::{Value, json};

use crate::disputes::{audited, matures, rules};
use crate::fees::{bump, is_in_pool};

const ACCOUNT: &str = "86h/1h/0h";
/// Blocks that bury a trade of the smallest size.
const BURIED: u32 = 1;

/// A seller and a buyer, of whom one keeps the keys of his trades on a signer.
struct Story {
    world: World,
    signer: Signer,
    owner: Role,
    seller: Trader,
    buyer: Trader,
}

impl Story {
    fn of(owner: Role) -> Self {
        let world = World::begin();
        let (seller, buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
        let story = Self { world, signer: Signer::new(), owner, seller, buyer };
        let shown: Vec<SignerView> = story.owner().cli().done(&["signer", "set", &story.signer.public]);
        assert!(shown.len() == 1 && shown[0].used_for_new_trades, "{shown:?}");
        story
    }

    /// Returns the one with the signer.
    fn owner(&self) -> &Trader {
        if self.owner == Role::Seller { &self.seller } else { &self.buyer }
    }

    fn owner_is_killed_and_returns(&mut self) {
        if self.owner == Role::Seller {
            self.seller.is_killed_and_returns()
        } else {
            self.buyer.is_killed_and_returns()
        }
    }

    fn funded_trade(&self) -> TradeId {
        let offer = self.seller.posts(&Offer::SELL);
        let trade = self.buyer.takes(&offer, "0.005").id;
        self.seller.awaits(trade, Phase::Agreed);
        self.seller.does("fund", trade);
        self.world.chain().confirm("the funding", BURIED);
        self.buyer.awaits(trade, Phase::Funded);
        self.seller.awaits(trade, Phase::Funded);
        trade
    }

    fn paid_trade(&self) -> TradeId {
        let trade = self.funded_trade();
        self.buyer.does("paid", trade);
        self.seller.awaits(trade, Phase::Paid);
        trade
    }

    /// The owner calls for the arbiter, who decides for him; once the delay of that is over, the signer completes it.
    fn wins_a_dispute(&mut self) {
        let trade = self.paid_trade();
        self.owner().does("dispute", trade);
        let arbiter = self.world.trader("arbiter");
        arbiter.awaits(trade, Phase::Disputed);
        rules(&arbiter, trade, &self.owner.to_string(), &["--yes"]).unwrap();
        self.owner().awaits(trade, Phase::Ruled);
        matures(&self.world, self.owner(), trade);
        self.completes(trade, Phase::Settled);
    }

    /// The owner's node says by itself that something waits for the signer.
    fn awaits_signer(&self, trade: TradeId) {
        let view = self.owner().awaits_that(trade, "the signer's", |view| {
            view.problem.as_ref().is_some_and(|problem| problem.contains("trade sign"))
        });
        assert!(view.next.who == Actor::You && view.next.what.contains("trade sign"), "{:?}", view.next);
        assert!(self.world.chain().pool().is_empty(), "the node alone moves nothing");
    }

    /// What others signed is completed by the signer, a restart of the node later.
    fn completes(&mut self, trade: TradeId, end: Phase) {
        self.awaits_signer(trade);
        let (wanted, unsigned) = self.wanted(trade, &format!("{end:?}.psbt"));
        self.owner_is_killed_and_returns();
        self.awaits_signer(trade);
        self.signs_the_end(trade, end, &wanted, &unsigned);
    }

    /// The signer signs what the owner's node wants, and that ends the trade.
    fn signs_the_end(&self, trade: TradeId, end: Phase, wanted: &ToSign, unsigned: &Psbt) {
        let signed = self.signer.signs(&self.world, unsigned);
        self.hands_in(trade, &signed, &format!("{end:?}.signed")).unwrap();
        self.ends(trade, end, &wanted.txid);
    }

    /// Returns what the owner's node wants to be signed.
    fn wanted(&self, trade: TradeId, name: &str) -> (ToSign, Psbt) {
        let file = self.world.dir().join(name).display().to_string();
        let wanted: ToSign = self.owner().cli().done(&["trade", "sign", &trade.to_string(), "--psbt-out", &file]);
        let psbt = wanted.psbt.parse().unwrap();
        (wanted, psbt)
    }

    /// Hands a file to the owner's node.
    fn hands_in(&self, trade: TradeId, psbt: &Psbt, name: &str) -> Result<TradeView, Failure> {
        let file = self.world.dir().join(name);
        std::fs::File::create(&file).and_then(|mut file| file.write_all(psbt.to_string().as_bytes())).unwrap();
        let args = ["trade", "sign", &trade.to_string(), "--psbt-in", &file.display().to_string(), "--yes"];
        self.owner().cli().run(&args)
    }

    /// Waits for the end of a trade, which must be by this transaction.
    fn ends(&self, trade: TradeId, phase: Phase, txid: &str) {
        self.world.chain().confirm("what the signer signed", BURIED);
        for party in [&self.seller, &self.buyer] {
            assert_eq!(party.awaits(trade, phase).spend.unwrap().txid, txid);
        }
    }
}

#[test]
fn external_signer_releases() {
    let mut story = Story::of(Role::Seller);
    let wrong = story.seller.cli().run::<Value>(&["signer", "set", "xpub"]).unwrap_err();
    wrong.assert_is(2, "invalid_argument");
    let trade = story.paid_trade();

    // The node alone cannot give the coins away.
    let refused = story.seller.tries_to("release", trade).unwrap_err();
    refused.assert_is(1, "not_allowed");
    assert_eq!(story.seller.looks_at(trade).unwrap().state, Phase::Paid);
    let (wanted, unsigned) = story.wanted(trade, "release.psbt");
    assert_eq!(wanted.pays.len(), 1, "{wanted:?}");
    story.hands_in(trade, &unsigned, "unsigned").unwrap_err().assert_is(2, "invalid_argument");
    let mut dearer = unsigned.clone();
    dearer.unsigned_tx.output[0].value -= bitcoin::Amount::ONE_SAT;
    let dearer = story.signer.signs(&story.world, &dearer);
    story.hands_in(trade, &dearer, "dearer").unwrap_err().assert_is(2, "invalid_argument");
    let foreign = Signer::of([9; 32]).signs(&story.world, &unsigned);
    story.hands_in(trade, &foreign, "foreign").unwrap_err().assert_is(2, "invalid_argument");

    // It may take days: the node needs to remember nothing.
    story.seller.is_killed_and_returns();
    story.seller.awaits(trade, Phase::Paid);
    story.signs_the_end(trade, Phase::Closed, &wanted, &unsigned);

    let shown: Vec<SignerView> = story.seller.cli().done(&["signer", "off"]);
    assert!(shown.len() == 1 && !shown[0].used_for_new_trades, "none is forgotten: {shown:?}");
}

#[test]
fn external_signer_takes_back_after_the_delay() {
    let mut story = Story::of(Role::Seller);
    let owned = story.seller.balance().spendable.get();
    let trade = story.funded_trade();
    // The buyer never pays.
    let from = story.seller.looks_at(trade).unwrap().refund_from.unwrap();
    story.world.chain().mine(from - u32::try_from(story.world.chain().height()).unwrap());
    story.seller.awaits_that(trade, "his to take back", |view| view.next.action == Some(Action::Refund));
    story.seller.tries_to("refund", trade).unwrap_err().assert_is(1, "not_allowed");
    assert!(story.world.chain().pool().is_empty(), "the node alone moves nothing");
    let (wanted, unsigned) = story.wanted(trade, "refund.psbt");

    // Days later; and this signer finishes what its one signature completes.
    story.seller.is_killed_and_returns();
    story.seller.awaits_that(trade, "his to take back", |view| view.actions.contains(&Action::Refund));
    let finished = story.signer.finishes(&story.world, &unsigned);
    assert!(finished.inputs[0].final_script_witness.is_some() && finished.inputs[0].tap_script_sigs.is_empty());
    story.hands_in(trade, &finished, "finished").unwrap();
    wait_until("the refund is in the pool", || is_in_pool(&story.world, &wanted.txid));

    // It pays too little: the signer signs a higher fee as well.
    let dearer = ["--fee-rate", "30"];
    let priced = bump(&story.seller, trade, &[&dearer[..], &["--dry-run"]].concat()).unwrap();
    let refused = bump(&story.seller, trade, &dearer).unwrap_err();
    refused.assert_is(1, "not_allowed");
    assert!(refused.message.contains("your signer has the key"), "{refused:?}");
    let (raised, unsigned) = story.wanted(trade, "raised.psbt");
    assert_eq!((&priced.raised, &priced.txid), (&wanted.txid, &raised.txid));
    let signed = story.signer.signs(&story.world, &unsigned);
    story.hands_in(trade, &signed, "raised").unwrap();
    wait_until("the dearer refund is in the pool", || is_in_pool(&story.world, &raised.txid));
    story.ends(trade, Phase::Refunded, &raised.txid);
    story.seller.awaits_balance("the coins back", |balance| {
        balance.in_escrow.get() == 0 && (owned - 10_000..owned).contains(&balance.spendable.get())
    });
}

#[test]
fn external_signer_completes_what_others_signed() {
    let mut story = Story::of(Role::Seller);
    let refunded = story.funded_trade();
    story.buyer.does("cancel", refunded);
    story.seller.awaits(refunded, Phase::Refunding);
    story.completes(refunded, Phase::Refunded);

    story.wins_a_dispute();
    let sums = audited(&story.seller);
    assert!(sums.to_buyers.get() == 0 && sums.to_sellers.get() > 980_000, "{sums:?}");
}

#[test]
fn external_signer_of_a_buyer() {
    let mut story = Story::of(Role::Buyer);
    let paid = story.paid_trade();
    story.seller.does("release", paid);
    story.buyer.awaits(paid, Phase::Released);
    story.completes(paid, Phase::Closed);

    story.wins_a_dispute();

    // He agrees to a refund by his signer; the rest is the seller's.
    let refunded = story.funded_trade();
    story.buyer.tries_to("cancel", refunded).unwrap_err().assert_is(1, "not_allowed");
    let (wanted, unsigned) = story.wanted(refunded, "cancel.psbt");
    story.buyer.is_killed_and_returns();
    story.buyer.awaits_that(refunded, "his to cancel", |view| view.actions.contains(&Action::Cancel));
    assert!(story.world.chain().pool().is_empty(), "the node alone moves nothing");
    story.signs_the_end(refunded, Phase::Refunded, &wanted, &unsigned);
    let sums = audited(&story.buyer);
    assert!(sums.to_buyers.get() > 980_000 && sums.to_sellers.get() > 490_000, "{sums:?}");
}

/// A signing device: an account's private key.
struct Signer {
    account: Xpriv,
    /// What its user copies from its screen.
    public: String,
}

impl Signer {
    fn new() -> Self {
        Self::of([7; 32])
    }

    fn of(seed: [u8; 32]) -> Self {
        let secp = Secp256k1::new();
        let master = Xpriv::new_master(Network::Regtest, &seed).unwrap();
        let account = master.derive_priv(&secp, &ACCOUNT.parse::<DerivationPath>().unwrap()).unwrap();
        let public = format!("[{}/{ACCOUNT}]{}", master.fingerprint(&secp), Xpub::from_priv(&secp, &account));
        Self { account, public }
    }

    /// Lets Bitcoin Core sign with the key of the path that the file names.
    fn signs(&self, world: &World, psbt: &Psbt) -> Psbt {
        self.processes(world, psbt, false)
    }

    /// Lets it make a witness, too, of what is complete: as it does unless it is told not to.
    fn finishes(&self, world: &World, psbt: &Psbt) -> Psbt {
        self.processes(world, psbt, true)
    }

    fn processes(&self, world: &World, psbt: &Psbt, finish: bool) -> Psbt {
        let (_, path) = &psbt.inputs[0].tap_key_origins.values().next().unwrap().1;
        let steps: Vec<String> = path.into_iter().skip(3).map(ToString::to_string).collect();
        let descriptor = format!("rawtr({}/{})", self.account, steps.join("/"));
        let args = [json!(psbt.to_string()), json!([descriptor]), json!("DEFAULT"), json!(true), json!(finish)];
        let signed = world.chain().call("descriptorprocesspsbt", &args);
        signed["psbt"].as_str().unwrap().parse().unwrap()
    }
}
