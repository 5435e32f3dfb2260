//! `agreement.json`: from sets of records, and from what the chain shows, to what was agreed and said, which outputs count
//! and where the trade stands.

use std::collections::BTreeMap;

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{OutPoint, Transaction};
use serde_json::{Value, json};

use super::{check, hex, read};
use crate::body::{Coin, HalfSpend, Vaults};
use crate::ids::{RecordId, TradeId};
use crate::ledger::{Admission, OfferStanding, TradeRecords};
use crate::record::Record;
use crate::testing::{admit_all, ledger};
use crate::trade::{ChainFacts, Contract, Escrow, Facts, View, evaluate};

mod answers;
mod coins;
mod said;

/// The tip, if nothing is said of it.
const TIP: u32 = 200;

/// A transaction, and the height of the block that holds it; none in the pool.
type Seen = (Transaction, Option<u32>);

/// A set of records with what the chain shows: of which offer and which trades of it is told what becomes.
struct Case {
    name: String,
    records: Vec<Record>,
    offer: RecordId,
    trades: Vec<TradeId>,
    tip: u32,
    seen: Vec<Seen>,
}

impl Case {
    /// A case of the bids for an offer, while nothing is paid.
    fn new(name: &str, offer: &Record, bids: &[&Record], records: Vec<Record>) -> Self {
        let trades = bids.iter().map(|bid| bid.id().into()).collect();
        Self { name: name.to_owned(), records, offer: offer.id(), trades, tip: TIP, seen: Vec::new() }
    }

    fn read(published: &Value, records: &Value) -> Self {
        let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
        let id = |value: &Value| RecordId(bytes(value).try_into().unwrap());
        let all = |name: &str| published[name].as_array().unwrap().iter();
        let height = |value: &Value| value.as_u64().map(|height| u32::try_from(height).unwrap());
        let records = all("records").map(|id| Record::decode(&bytes(&records[id.as_str().unwrap()])).unwrap());
        let seen = all("txs").map(|tx| (deserialize(&bytes(&tx["tx"])).unwrap(), height(&tx["height"])));
        Self {
            name: published["name"].as_str().unwrap().to_owned(),
            records: records.collect(),
            offer: id(&published["offer"]),
            trades: all("trades").map(|trade| id(&trade["trade"]).into()).collect(),
            tip: height(&published["tip"]).unwrap(),
            seen: seen.collect(),
        }
    }

    fn describe(&self) -> Value {
        let tx = |(tx, height): &Seen| json!({ "height": height, "tx": hex(serialize(tx)) });
        let (standing, trades) = self.judge();
        json!({
            "name": self.name,
            "records": self.records.iter().map(Record::id).collect::<Vec<_>>(),
            "tip": self.tip,
            "txs": self.seen.iter().map(tx).collect::<Vec<_>>(),
            "offer": self.offer,
            "standing": standing,
            "trades": trades,
        })
    }

    /// Returns what becomes of the offer and of its trades.
    fn judge(&self) -> (Value, Value) {
        let mut ledger = ledger();
        let admitted = admit_all(&mut ledger, &self.records);
        assert!(admitted.iter().all(|it| *it == Admission::Known), "{}: {admitted:?}", self.name);
        let offer = ledger.record(&self.offer).unwrap().unwrap();
        let standing = match ledger.offer_standing(&offer).unwrap() {
            OfferStanding::Open => json!("open"),
            OfferStanding::Accepted(trade) => json!({ "accepted": trade }),
            OfferStanding::Withdrawn => json!("withdrawn"),
        };
        let trades: Vec<Value> = self.trades.iter().map(|trade| self.of(ledger.trade(*trade).unwrap())).collect();
        (standing, trades.into())
    }

    fn of(&self, known: TradeRecords) -> Value {
        let TradeRecords { bid, contract, facts, .. } = known;
        let seen = || self.seen.iter().map(|(tx, height)| (tx, *height));
        let chain = contract.as_ref().map_or_else(
            || ChainFacts { tip: self.tip, synced: true, ..ChainFacts::default() },
            |contract| ChainFacts::gather(&Escrow::new(contract), self.tip, true, seen()),
        );
        let view = View { contract, facts, chain };
        let txs: BTreeMap<String, Value> =
            self.seen.iter().map(|(tx, _)| (tx.compute_txid().to_string(), shown(&view.chain, tx))).collect();
        json!({
            "trade": bid.trade,
            "contract": view.contract.as_ref().map(Contract::hash),
            "void": view.facts.void,
            "forked": view.facts.forked.is_some(),
            "facts": describe_facts(&view.facts),
            "txs": txs,
            "vaults": view.vaults().as_ref().map(describe_vaults),
            "spend": view.spend().map(|spend| spend.tx.compute_txid()),
            "ruling": view.ruling().map(|(seat, _)| seat),
            "extension": view.extension().map(|(seat, _)| seat),
            "named": view.is_named(),
            "doubtful": view.is_doubtful(),
            "phase": evaluate(&view),
        })
    }
}

/// Returns which outputs of a transaction hold coins of the trade, and what it does with those that others hold.
fn shown(chain: &ChainFacts, tx: &Transaction) -> Value {
    let txid = tx.compute_txid();
    let holding = chain.fundings.iter().map(|funding| funding.outpoint()).filter(|outpoint| outpoint.txid == txid);
    let spend = chain.spends.iter().find(|spend| spend.tx.compute_txid() == txid);
    json!({
        "holds": holding.map(|outpoint| outpoint.vout).collect::<Vec<_>>(),
        "means": spend.map(|spend| format!("{:?}", spend.path).to_lowercase()),
    })
}

fn describe_facts(facts: &Facts) -> Value {
    let halves = |halves: &[HalfSpend]| {
        let half = |half: &HalfSpend| json!({ "vaults": describe_vaults(&half.vaults), "fee": half.fee.get() });
        halves.iter().map(half).collect::<Vec<_>>()
    };
    let (mut rulings, mut extensions) = (facts.rulings.clone(), facts.extensions.clone());
    rulings.sort_by_key(|(seat, _)| *seat);
    extensions.sort_by_key(|(seat, _)| *seat);
    let rulings = rulings.iter().map(|(seat, ruling)| {
        let (to_buyer, to_seller) = (ruling.to_buyer.get(), ruling.to_seller.get());
        json!({ "by": seat, "vaults": describe_vaults(&ruling.vaults), "to_buyer": to_buyer, "to_seller": to_seller })
    });
    let extensions = extensions.iter().map(
        |(seat, extend)| json!({ "by": seat, "vaults": describe_vaults(&extend.vaults), "fee": extend.fee.get() }),
    );
    json!({
        "buyer_cancel": facts.buyer_cancel,
        "seller_cancel": facts.seller_cancel,
        "funded": facts.funded.map(named),
        "funded_at_home": facts.funded_at_home.map(named),
        "buyer_funded": facts.buyer_funded.iter().copied().map(named).collect::<Vec<_>>(),
        "payment_sent": facts.payment_sent,
        "releases": halves(&facts.releases),
        "refunds": halves(&facts.refunds),
        "buyer_closed": facts.buyer_closed,
        "seller_closed": facts.seller_closed,
        "buyer_dispute": facts.buyer_dispute,
        "seller_dispute": facts.seller_dispute,
        "rulings": rulings.collect::<Vec<_>>(),
        "extensions": extensions.collect::<Vec<_>>(),
    })
}

fn describe_vaults(vaults: &Vaults) -> Value {
    let coin = |coin: &Coin| json!({ "outpoint": named(coin.outpoint.0), "value": coin.value.get() });
    json!({ "escrow": coin(&vaults.escrow), "bond": vaults.bond.as_ref().map(coin) })
}

fn named(outpoint: OutPoint) -> String {
    outpoint.to_string()
}

fn cases() -> Vec<Case> {
    [answers::cases(), said::cases(), coins::cases()].into_iter().flatten().collect()
}

#[test]
fn agreements_come_out_as_published() {
    let description = "Sets of valid records, and the transactions that blocks (by their height) and the pool (null) \
                       show, see ../offers.md, ../trades.md and ../escrow.md. In whatever order they come, the offer \
                       stands so, and of each trade contract (its hash), facts, outputs that count and phase are these. \
                       `txs` of a trade: which outputs of a transaction hold its coins as E0, and what the transaction \
                       means, null if it is no spend of them. `ruling` and `extension`: whose counts now about the outputs \
                       that count. `forked`: the seller or the author of an arbiter's advert is. `named` and `doubtful` say \
                       what ../trades.md asks before a buyer pays: that the output that counts is named; that it lies below \
                       the contract's height or that another one lies not above it.";
    let cases = cases();
    let records = cases.iter().flat_map(|case| &case.records);
    let records: BTreeMap<String, String> =
        records.map(|record| (record.id().to_string(), hex(record.encode()))).collect();
    let cases: Vec<Value> = cases.iter().map(Case::describe).collect();
    check("agreement.json", &json!({ "description": description, "records": records, "cases": cases }));
}

#[test]
fn published_agreements_come_out_from_behind_too() {
    let file = read("agreement.json");
    for published in file["cases"].as_array().unwrap() {
        let mut case = Case::read(published, &file["records"]);
        assert!(case.records.iter().all(|record| record.verify().is_ok()), "{}", case.name);
        for _ in 0..2 {
            let (standing, trades) = case.judge();
            assert_eq!((&standing, &trades), (&published["standing"], &published["trades"]), "{}", case.name);
            case.records.reverse();
            case.seen.reverse();
        }
        // And in an order that is neither: every other one first.
        let (even, odd): (Vec<_>, Vec<_>) = (0..).zip(case.records).partition(|(at, _): &(usize, Record)| at % 2 == 0);
        case.records = even.into_iter().chain(odd).map(|(_, record)| record).collect();
        assert_eq!(case.judge().1, published["trades"], "{}", case.name);
    }
}
