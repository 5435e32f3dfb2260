//! The escrow key of a sale on a signer of its own, here Bitcoin Core without a wallet, which knows nothing of this program.

use std::io::Write as _;

use bitcoin::bip32::{DerivationPath, Xpriv, Xpub};
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Network, Psbt};
use exchange_api::{SignerView, ToSign, TradeView};
use exchange_ledger::ids::TradeId;
use exchange_ledger::trade::Phase;
use exchange_tests::{Failure, Offer, Trader, World};
use serde_json::{Value, json};

const ACCOUNT: &str = "86h/1h/0h";

#[test]
fn external_signer_releases() {
    let world = World::begin();
    let (mut seller, buyer) = (world.trader_with_coins("seller"), world.trader("buyer"));
    let signer = Signer::new();
    let shown: Vec<SignerView> = seller.cli().done(&["signer", "set", &signer.public]);
    assert!(shown.len() == 1 && shown[0].used_for_new_sales, "{shown:?}");
    let wrong = seller.cli().run::<Value>(&["signer", "set", "xpub"]).unwrap_err();
    wrong.assert_is(2, "invalid_argument");

    let offer = seller.posts(&Offer::SELL);
    let trade = buyer.takes(&offer, "0.005").id;
    seller.awaits(trade, Phase::Agreed);
    seller.does("fund", trade);
    world.chain().confirm("the funding", 1);
    buyer.awaits(trade, Phase::Funded);
    buyer.does("paid", trade);
    seller.awaits(trade, Phase::Paid);

    // The node alone cannot give the coins away.
    let refused = seller.tries_to("release", trade).unwrap_err();
    refused.assert_is(1, "not_allowed");
    assert_eq!(seller.looks_at(trade).unwrap().state, Phase::Paid);
    let file = |name: &str| world.dir().join(name).display().to_string();
    let wanted: ToSign = seller.cli().done(&["trade", "sign", &trade.to_string(), "--psbt-out", &file("release.psbt")]);
    assert_eq!(wanted.pays.len(), 1, "{wanted:?}");
    let unsigned: Psbt = wanted.psbt.parse().unwrap();
    let signs = |seller: &Trader, psbt: &Psbt, name: &str| signs(&world, seller, trade, psbt, name);
    signs(&seller, &unsigned, "unsigned").unwrap_err().assert_is(2, "invalid_argument");
    let mut dearer = unsigned.clone();
    dearer.unsigned_tx.output[0].value -= bitcoin::Amount::ONE_SAT;
    signs(&seller, &signer.signs(&world, &dearer), "dearer").unwrap_err().assert_is(2, "invalid_argument");
    let foreign = Signer::of([9; 32]).signs(&world, &unsigned);
    signs(&seller, &foreign, "foreign").unwrap_err().assert_is(2, "invalid_argument");

    // It may take days: the node needs to remember nothing.
    seller.is_killed_and_returns();
    seller.awaits(trade, Phase::Paid);
    signs(&seller, &signer.signs(&world, &unsigned), "signed").unwrap();
    world.chain().confirm("the payout", 1);
    let closed = buyer.awaits(trade, Phase::Closed);
    assert_eq!(closed.spend.unwrap().txid, wanted.txid);
    seller.awaits(trade, Phase::Closed);

    let shown: Vec<SignerView> = seller.cli().done(&["signer", "off"]);
    assert!(shown.len() == 1 && !shown[0].used_for_new_sales, "none is forgotten: {shown:?}");
}

fn signs(world: &World, seller: &Trader, trade: TradeId, psbt: &Psbt, name: &str) -> Result<TradeView, Failure> {
    let file = world.dir().join(name);
    std::fs::File::create(&file).and_then(|mut file| file.write_all(psbt.to_string().as_bytes())).unwrap();
    seller.cli().run(&["trade", "sign", &trade.to_string(), "--psbt-in", &file.display().to_string(), "--yes"])
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
        let (_, path) = &psbt.inputs[0].tap_key_origins.values().next().unwrap().1;
        let steps: Vec<String> = path.into_iter().skip(3).map(ToString::to_string).collect();
        let descriptor = format!("rawtr({}/{})", self.account, steps.join("/"));
        let args = [json!(psbt.to_string()), json!([descriptor]), json!("DEFAULT"), json!(true), json!(false)];
        let signed = world.chain().call("descriptorprocesspsbt", &args);
        signed["psbt"].as_str().unwrap().parse().unwrap()
    }
}
