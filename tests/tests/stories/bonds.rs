//! Trades in which both sides lock a bond besides: who loses his machine, his patience or the other side loses nothing else.

use bitcoin::Transaction;
use exchange_api::{EscrowSums, RaisedBy, TradeView};
use exchange_ledger::ids::TradeId;
use exchange_ledger::money::Sats;
use exchange_ledger::trade::{Action, Phase};
use exchange_tests::{Crowd, Offer, Trader, World, wait_until};

use crate::disputes::{audited, matures, rules};
use crate::fees::{bump, is_in_pool};

/// Blocks that bury a trade of this size.
const BURIED: u32 = 3;
/// Blocks after which a buyer who signed and hears nothing calls the trade off.
const PATIENCE: u32 = 36;
/// Blocks after which a coin that was spent back frees the others.
const FINAL: u32 = 6;
/// Blocks after which nobody looks at the end of a trade any more.
const SETTLED: u32 = 244;
/// What each story trades, and what is locked besides: 10 and 20 per cent of it.
const AMOUNT: u64 = 1_000_000;
const SELLER_BOND: u64 = 100_000;
const BUYER_BOND: u64 = 200_000;
/// What the arbiter of the stories asks: half a percent.
const ARBITER_FEE: u64 = AMOUNT / 200;
const BONDED: Offer<'static> = Offer { bonds: ("10", "20"), ..Offer::SELL };

/// Two traders with coins who agreed on a trade with bonds, and what each owned before.
struct Story {
    world: World,
    seller: Trader,
    buyer: Trader,
    trade: TradeId,
    sellers: u64,
    buyers: u64,
}

impl Story {
    fn begin() -> Self {
        Self::on(World::begin())
    }

    fn on(world: World) -> Self {
        let seller = world.trader_with_coins("seller");
        let buyer = world.trader_with_coins("buyer");
        let (sellers, buyers) = (seller.balance().spendable.get(), buyer.balance().spendable.get());
        let offer = seller.posts(&BONDED);
        assert_eq!((offer.seller_bond_ppm, offer.buyer_bond_ppm), (100_000, 200_000));
        let agreed = buyer.takes(&offer, "0.01");
        assert_eq!((agreed.seller_bond.get(), agreed.buyer_bond.get()), (SELLER_BOND, BUYER_BOND));
        let trade = agreed.id;
        for (trader, locked) in [(&seller, "0.01100000"), (&buyer, "0.00200000")] {
            let view = trader.awaits_that(trade, "his to fund", |view| view.next.action == Some(Action::Fund));
            assert!(view.next.what.contains(locked), "he sees what he locks before he agrees: {}", view.next.what);
        }
        Self { world, seller, buyer, trade, sellers, buyers }
    }

    /// Both bring their coins, and the chain buries the funding. Returns what each side's share of its fee was.
    fn is_funded(&self) -> u64 {
        self.buyer.does("fund", self.trade);
        self.seller.does("fund", self.trade);
        self.world.chain().confirm("the funding", BURIED);
        self.awaits(Phase::Funded);
        let funding = self.seller.looks_at(self.trade).unwrap().funding.unwrap();
        self.shares(&funding.txid)
    }

    /// The buyer says that he paid, one side calls for the arbiter, and he comes.
    fn is_disputed_by(&self, party: &Trader) -> Trader {
        self.buyer.does("paid", self.trade);
        self.seller.awaits(self.trade, Phase::Paid);
        party.does("dispute", self.trade);
        let arbiter = self.world.trader("arbiter");
        arbiter.awaits(self.trade, Phase::Disputed);
        arbiter
    }

    /// The arbiter rules, and the chain buries that. Returns the ruling's spend and what the miner got of it.
    fn is_ruled_for(&self, arbiter: &Trader, winner: &str) -> (Transaction, u64) {
        let held = self.seller.looks_at(self.trade).unwrap().funding.unwrap().txid;
        rules(arbiter, self.trade, winner, &["--yes"]).unwrap();
        self.awaits(Phase::Ruled);
        matures(&self.world, &self.seller, self.trade);
        self.world.chain().confirm("the ruling's spend", BURIED);
        self.awaits(Phase::Settled);
        let spend = self.seller.looks_at(self.trade).unwrap().spend.unwrap();
        let (tx, fee) = self.world.chain().confirmed(&spend.txid);
        let spent: Vec<String> = tx.input.iter().map(|input| input.previous_output.txid.to_string()).collect();
        assert_eq!(spent, [held.clone(), held], "both outputs of the escrow, and nothing else");
        (tx, fee.to_sat())
    }

    /// The arbiter gives the dispute more time, and the chain buries that. Returns what it cost.
    fn is_extended_by(&self, arbiter: &Trader) -> u64 {
        let before = self.buyer.looks_at(self.trade).unwrap();
        let _: TradeView = arbiter.cli().done(&["arbiter", "extend", &self.trade.to_string(), "--yes"]);
        matures(&self.world, &self.buyer, self.trade);
        self.world.chain().confirm("the extension", BURIED);
        let is_extended = |view: &TradeView| view.refund_from > before.refund_from;
        for person in [&self.seller, arbiter] {
            person.awaits_that(self.trade, "extended", is_extended);
        }
        let after = self.buyer.awaits_that(self.trade, "extended", is_extended);
        assert_eq!(after.state, Phase::Disputed);
        let (funding, _) = self.world.chain().confirmed(&before.funding.unwrap().txid);
        let (extension, cost) = self.world.chain().confirmed(&after.funding.unwrap().txid);
        let held = |value: u64| funding.output.iter().find(|output| output.value.to_sat() == value).unwrap();
        let (mut escrow, bond) = (held(AMOUNT + SELLER_BOND).clone(), held(BUYER_BOND).clone());
        escrow.value -= cost;
        assert_eq!(extension.input.len(), 2);
        assert_eq!(extension.output, [escrow, bond], "into the same trees, the bond whole");
        cost.to_sat()
    }

    /// Returns what each side paid to the miner of the funding: as much, for each brought one coin and takes change.
    fn shares(&self, funding: &str) -> u64 {
        let (tx, fee) = self.world.chain().confirmed(funding);
        assert_eq!((tx.input.len(), tx.output.len(), fee.to_sat() % 2), (2, 4, 0), "{tx:?}");
        fee.to_sat() / 2
    }

    fn awaits(&self, phase: Phase) {
        self.seller.awaits(self.trade, phase);
        self.buyer.awaits(self.trade, phase);
    }

    /// The buyer hears that the seller proposed.
    fn awaits_proposal(&self) {
        self.buyer.awaits_that(self.trade, "proposed", |view| view.next.what.starts_with("the seller has set"));
    }

    /// The buyer has signed, and waits for the seller.
    fn awaits_buyers_signature(&self) {
        self.buyer.awaits_that(self.trade, "signed by him", |view| view.next.what.starts_with("the seller signs"));
    }
}

fn owns(trader: &Trader, expected: u64) {
    let what = format!("exactly {expected} satoshis");
    trader.awaits_balance(&what, |b| b.spendable.get() == expected && b.in_escrow.get() == 0);
}

#[test]
fn bonded_trade() {
    let story = Story::begin();
    let Story { world, seller, buyer, trade, sellers, buyers } = &story;
    let file = world.dir().join("escrow.psbt").display().to_string();
    let refused = seller.cli().run::<serde_json::Value>(&["trade", "fund", &trade.to_string(), "--psbt-out", &file]);
    let refused = refused.unwrap_err();
    refused.assert_is(1, "not_allowed");
    assert!(refused.message.contains("the buyer's bond goes into the same transaction"), "{refused:?}");

    // The buyer agrees first; nothing moves before both have.
    buyer.does("fund", *trade);
    assert!(world.chain().pool().is_empty());
    seller.does("fund", *trade);
    world.chain().confirm("the funding", BURIED);
    let funded = buyer.awaits(*trade, Phase::Funded);
    seller.awaits(*trade, Phase::Funded);
    assert_eq!(seller.balance().in_escrow.get(), AMOUNT + SELLER_BOND);
    assert_eq!(buyer.balance().in_escrow.get(), BUYER_BOND);
    buyer.awaits_details(*trade);
    buyer.does("paid", *trade);
    seller.awaits(*trade, Phase::Paid);
    seller.does("release", *trade);
    world.chain().confirm("the payout", BURIED);
    story.awaits(Phase::Closed);

    let closed = buyer.looks_at(*trade).unwrap();
    let share = story.shares(&funded.funding.unwrap().txid);
    let (payout, fee) = world.chain().confirmed(&closed.spend.unwrap().txid);
    assert_eq!((payout.input.len(), payout.output.len()), (2, 2), "both outputs of the escrow, and each his own");
    owns(seller, sellers - AMOUNT - share);
    owns(buyer, buyers + AMOUNT - fee.to_sat() - share);
    let audit = buyer.audits();
    assert!(audit.ok && audit.violations.is_empty(), "{audit:#?}");
}

#[test]
fn a_sellers_bond_alone_needs_nobody_else() {
    let world = World::begin();
    let seller = world.trader_with_coins("seller");
    let buyer = world.trader("buyer");
    let owned = seller.balance().spendable.get();
    let offer = seller.posts(&Offer { bonds: ("10", "0"), ..Offer::SELL });
    let trade = buyer.takes(&offer, "0.01").id;
    seller.awaits(trade, Phase::Agreed);
    seller.does("fund", trade);
    world.chain().confirm("the funding", BURIED);
    let funded = buyer.awaits(trade, Phase::Funded);
    seller.awaits(trade, Phase::Funded);
    assert_eq!(seller.balance().in_escrow.get(), AMOUNT + SELLER_BOND);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);
    seller.does("release", trade);
    world.chain().confirm("the payout", BURIED);
    seller.awaits(trade, Phase::Closed);
    let closed = buyer.awaits(trade, Phase::Closed);
    let (_, funding_fee) = world.chain().confirmed(&funded.funding.unwrap().txid);
    let (_, payout_fee) = world.chain().confirmed(&closed.spend.unwrap().txid);
    owns(&seller, owned - AMOUNT - funding_fee.to_sat());
    owns(&buyer, AMOUNT - payout_fee.to_sat());
}

#[test]
fn bonded_trade_with_peer_lost_at_each_round() {
    let mut story = Story::begin();
    let trade = story.trade;
    // After the proposal, before anything is signed.
    story.seller.does("fund", trade);
    story.seller.is_killed_and_returns();
    story.awaits_proposal();
    story.buyer.is_killed_and_returns();
    story.awaits_proposal();
    // The seller is gone when the buyer signs, and the buyer after that.
    story.seller.process().kill();
    story.buyer.does("fund", trade);
    story.awaits_buyers_signature();
    story.buyer.is_killed_and_returns();
    story.awaits_buyers_signature();
    // The seller comes back, signs and sends; then both are gone.
    story.seller.returns();
    exchange_tests::wait_until("the funding is in the pool", || match story.world.chain().pool().len() {
        1 => Ok(()),
        count => Err(format!("{count} transactions")),
    });
    story.seller.is_killed_and_returns();
    story.buyer.is_killed_and_returns();
    story.world.chain().mine(BURIED);
    story.awaits(Phase::Funded);

    // They part as friends: each has his own back, and the seller pays for the way.
    story.buyer.does("cancel", trade);
    story.world.chain().confirm("the refund", BURIED);
    story.awaits(Phase::Refunded);
    let view = story.seller.looks_at(trade).unwrap();
    let share = story.shares(&view.funding.unwrap().txid);
    let (_, fee) = story.world.chain().confirmed(&view.spend.unwrap().txid);
    owns(&story.seller, story.sellers - share - fee.to_sat());
    owns(&story.buyer, story.buyers - share);
}

#[test]
fn bonded_trade_with_a_buyer_who_never_signs() {
    let mut story = Story::begin();
    story.seller.does("fund", story.trade);
    story.awaits_proposal();
    story.buyer.process().kill();
    assert!(story.seller.balance().spendable.get() < story.sellers, "his coins are set aside");
    story.seller.does("cancel", story.trade);
    story.seller.awaits(story.trade, Phase::Cancelled);
    owns(&story.seller, story.sellers);
    story.buyer.returns();
    story.buyer.awaits(story.trade, Phase::Cancelled);
    owns(&story.buyer, story.buyers);
    assert!(story.world.chain().pool().is_empty(), "nothing ever moved");
}

#[test]
fn bonded_trade_with_a_seller_who_never_signs() {
    let mut story = Story::begin();
    story.seller.does("fund", story.trade);
    story.awaits_proposal();
    story.seller.process().kill();
    story.buyer.does("fund", story.trade);
    story.awaits_buyers_signature();
    assert!(story.buyer.balance().spendable.get() < story.buyers, "his coins are set aside");
    let patient = u32::try_from(story.world.chain().height()).unwrap() + PATIENCE;
    story.world.chain().mine(PATIENCE - 1);
    story.buyer.awaits_tip(patient - 1);
    assert_eq!(story.buyer.looks_at(story.trade).unwrap().state, Phase::Agreed);
    // A power cut at the very moment when his patience ends changes nothing.
    story.buyer.process().kill();
    story.world.chain().mine(1);
    story.buyer.returns();
    story.buyer.awaits(story.trade, Phase::Cancelled);
    story.world.chain().confirm("a coin that is spent back", FINAL);
    let all = |spendable: u64| spendable < story.buyers && spendable > story.buyers - 10_000;
    story.buyer.awaits_balance("all but a fee", |balance| all(balance.spendable.get()));

    // The seller comes back too late: the signatures that he finds are worth nothing.
    story.seller.returns();
    story.seller.awaits(story.trade, Phase::Cancelled);
    owns(&story.seller, story.sellers);
    assert!(story.world.chain().pool().is_empty(), "nothing is sent any more");
}

fn values(tx: &Transaction) -> Vec<u64> {
    tx.output.iter().map(|output| output.value.to_sat()).collect()
}

/// Everybody who asks the chain finds the same sums.
fn are_true(story: &Story, to_buyers: u64, to_sellers: u64, to_arbiters: u64) {
    let sats = |value| Sats::new(value).unwrap();
    let funded = AMOUNT + SELLER_BOND + BUYER_BOND;
    let expected = EscrowSums {
        funded: sats(funded),
        to_buyers: sats(to_buyers),
        to_sellers: sats(to_sellers),
        to_arbiters: sats(to_arbiters),
        fees: sats(funded - to_buyers - to_sellers - to_arbiters),
        ..EscrowSums::default()
    };
    assert_eq!(audited(&story.seller), expected);
    assert_eq!(audited(&story.buyer), expected);
}

#[test]
fn bonded_dispute_costs_the_loser_his_bond() {
    let story = Story::begin();
    let share = story.is_funded();
    // The buyer paid, and the seller does not say so.
    let arbiter = story.is_disputed_by(&story.buyer);
    let (ruling, fee) = story.is_ruled_for(&arbiter, "buyer");
    let costs = ARBITER_FEE + fee;
    let (to_buyer, to_seller) = (AMOUNT + BUYER_BOND, SELLER_BOND - costs);
    assert_eq!(values(&ruling), [to_buyer, to_seller, ARBITER_FEE], "the loser's bond pays, and the rest of it is his");
    owns(&story.seller, story.sellers - share - AMOUNT - costs);
    owns(&story.buyer, story.buyers - share + AMOUNT);
    owns(&arbiter, ARBITER_FEE);
    are_true(&story, to_buyer, to_seller, ARBITER_FEE);
}

#[test]
fn bonded_dispute_costs_a_lying_buyer_his_bond() {
    let story = Story::begin();
    let share = story.is_funded();
    // He says that he paid, and did not.
    let arbiter = story.is_disputed_by(&story.seller);
    let (ruling, fee) = story.is_ruled_for(&arbiter, "seller");
    let costs = ARBITER_FEE + fee;
    let (to_buyer, to_seller) = (BUYER_BOND - costs, AMOUNT + SELLER_BOND);
    assert_eq!(values(&ruling), [to_buyer, to_seller, ARBITER_FEE], "the loser's bond pays, and the rest of it is his");
    owns(&story.seller, story.sellers - share);
    owns(&story.buyer, story.buyers - share - costs);
    owns(&arbiter, ARBITER_FEE);
    are_true(&story, to_buyer, to_seller, ARBITER_FEE);
}

#[test]
fn bonded_escrow_is_extended() {
    let story = Story::begin();
    let Story { world, seller, buyer, trade, .. } = &story;
    let share = story.is_funded();
    let arbiter = story.is_disputed_by(buyer);
    let cost = story.is_extended_by(&arbiter);
    // They make peace: the coins leave the new outputs as they would have left the old ones.
    seller.does("release", *trade);
    world.chain().confirm("the payout", BURIED);
    story.awaits(Phase::Closed);
    let (payout, fee) = world.chain().confirmed(&buyer.looks_at(*trade).unwrap().spend.unwrap().txid);
    let to_buyer = AMOUNT + BUYER_BOND - cost - fee.to_sat();
    assert_eq!((payout.input.len(), values(&payout)), (2, vec![to_buyer, SELLER_BOND]));
    owns(seller, story.sellers - share - AMOUNT);
    owns(buyer, story.buyers - share + AMOUNT - cost - fee.to_sat());
    are_true(&story, to_buyer, SELLER_BOND, 0);
}

#[test]
fn bonded_escrow_is_extended_and_the_loser_pays_for_that_too() {
    let story = Story::begin();
    let share = story.is_funded();
    let arbiter = story.is_disputed_by(&story.seller);
    let cost = story.is_extended_by(&arbiter);
    let (ruling, fee) = story.is_ruled_for(&arbiter, "seller");
    let costs = ARBITER_FEE + fee + cost;
    let (to_buyer, to_seller) = (BUYER_BOND - costs, AMOUNT + SELLER_BOND);
    assert_eq!(values(&ruling), [to_buyer, to_seller, ARBITER_FEE]);
    owns(&story.seller, story.sellers - share);
    owns(&story.buyer, story.buyers - share - costs);
    are_true(&story, to_buyer, to_seller, ARBITER_FEE);
}

#[test]
fn bonds_go_back_by_their_own_leaves() {
    let mut story = Story::on(World::begin_with_a_small_pool());
    let (trade, share) = (story.trade, story.is_funded());
    let from = story.buyer.looks_at(trade).unwrap().refund_from.unwrap();
    story.seller.process().kill();
    story.buyer.process().kill();
    let mut crowd = Crowd::gather(story.world.chain());
    let tip = u32::try_from(story.world.chain().height()).unwrap();
    story.world.chain().mine(from - tip - 1);

    // One block before the time neither can; then each takes back what he put in, and needs nobody.
    story.seller.returns();
    story.buyer.returns();
    for party in [&story.seller, &story.buyer] {
        wait_until("it is too early for both", || match party.tries_to("refund", trade) {
            Err(failure) if failure.message.contains(&format!("opens at height {from}")) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    assert!(story.world.chain().pool().is_empty());
    story.world.chain().mine(1);
    let bond = story.buyer.awaits_that(trade, "his bond's", |view| view.next.action == Some(Action::Refund));
    assert!(bond.next.what.contains("your bond"), "{:?}", bond.next);
    story.buyer.does("refund", trade);
    story.seller.does("refund", trade);
    wait_until("both are in the pool", || match story.world.chain().pool() {
        pool if pool.len() == 2 => Ok(()),
        pool => Err(format!("{pool:?}")),
    });
    story.buyer.awaits(trade, Phase::Refunding);

    // Others pay more, until a small pool has no place for either. Each makes his own anew, at a higher fee.
    crowd.press(20, 2);
    crowd.press(40, 20);
    assert!(is_none_waiting(&story), "both were pushed out");
    let raised = [&story.buyer, &story.seller].map(|party| raises(&story, party));
    story.world.chain().mine(BURIED);
    story.awaits(Phase::Refunded);
    let fees = raised.map(|txid| story.world.chain().confirmed(&txid).1.to_sat());
    owns(&story.buyer, story.buyers - share - fees[0]);
    owns(&story.seller, story.sellers - share - fees[1]);
    are_true(&story, BUYER_BOND - fees[0], AMOUNT + SELLER_BOND - fees[1], 0);
    is_over(&story);

    // Long afterwards, and after a restart, nothing of it is his to take once more.
    story.world.chain().mine(SETTLED);
    story.buyer.awaits_tip(u32::try_from(story.world.chain().height()).unwrap());
    story.buyer.is_killed_and_returns();
    story.buyer.awaits(trade, Phase::Refunded);
    is_over(&story);
}

fn is_none_waiting(story: &Story) -> bool {
    let pool = story.world.chain().pool();
    let own = |party: &Trader| bump(party, story.trade, &["--dry-run"]).unwrap().raised;
    [&story.seller, &story.buyer].iter().all(|party| !pool.contains(&own(party)))
}

/// A party whose own refund was pushed out of the pool is told so, and raises its fee. Returns what took its place.
fn raises(story: &Story, party: &Trader) -> String {
    let stuck = party.awaits_that(story.trade, "stuck, and he is told what helps", |view| {
        view.problem.as_ref().is_some_and(|problem| problem.contains("trade bump"))
    });
    assert!(stuck.can_bump, "{stuck:#?}");
    let dearer = bump(party, story.trade, &["--fee-rate", "60"]).unwrap();
    assert_eq!(dearer.by, RaisedBy::Replacement);
    wait_until("the dearer refund is in the pool", || is_in_pool(&story.world, &dearer.txid));
    dearer.txid
}

fn is_over(story: &Story) {
    let view = story.buyer.looks_at(story.trade).unwrap();
    assert!(view.actions.is_empty() && !view.can_bump, "{view:#?}");
    assert!(view.next.what.contains("your bond to you"), "{:?}", view.next);
    bump(&story.buyer, story.trade, &[]).unwrap_err().assert_is(1, "not_allowed");
}
