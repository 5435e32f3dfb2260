//! A bundle proves a trade by itself, and nothing in it can be changed without a named part failing.

use serde_json::Value;

use super::*;
use crate::body::{Body, Cancel, Closed, Dispute, Funded, PaymentSent, Release, Side, Vaults};
use crate::mail::{Address, Entropy, Envelope, Message as Mail, Said};
use crate::money::Sats;
use crate::record::{FLAG_CRITICAL, Header, Kind, Record};
use crate::testing::{Author, Chain, EPOCH, HEIGHT, NETWORK, SALT, SampleGroup, SampleTrade, admit_all, ledger, sats};
use crate::trade::{Role, Seat, SpendPath, Vault, Verdict};
use crate::wire::TxId;

/// A trade that was paid and released, on a chain of its own. Also the vector of `specs/vectors/bundle.json`.
pub(crate) fn closed_trade() -> Bundle {
    let mut story = Story::new();
    story.fund();
    let trade = story.trade.id();
    story.say(Role::Buyer, &Body::PaymentSent(PaymentSent { trade }));
    let (buyer, seller) = story.keys();
    let payout = story.escrow().half(&story.vaults(), sats(1_700), Role::Buyer, &seller).unwrap();
    let tx = story.escrow().complete(&payout, Role::Buyer, &buyer).unwrap().tx;
    story.say(Role::Seller, &Body::Release(Release { trade, payout }));
    story.spend(&tx);
    for role in [Role::Buyer, Role::Seller] {
        story.say(role, &Body::Closed(Closed { trade, spend: TxId(tx.compute_txid()) }));
    }
    story.bundle()
}

/// A trade under way, told by hand.
struct Story {
    trade: SampleTrade,
    records: Vec<Record>,
    chain: Chain,
    funding: Option<Inclusion>,
    spend: Option<Inclusion>,
}

impl Story {
    fn new() -> Self {
        let trade = SampleTrade::new(Side::Sell);
        let mut chain = Chain::default();
        chain.mine_empty(HEIGHT);
        Self { records: trade.records(), trade, chain, funding: None, spend: None }
    }

    fn escrow(&self) -> crate::trade::Escrow {
        self.trade.escrow()
    }

    fn keys(&mut self) -> (bitcoin::key::Keypair, bitcoin::key::Keypair) {
        (self.trade.author(Role::Buyer).trade_key(), self.trade.author(Role::Seller).trade_key())
    }

    fn vaults(&self) -> Vaults {
        self.trade.vaults(1)
    }

    fn say(&mut self, role: Role, body: &Body) {
        let record = self.trade.author(role).write(body);
        self.records.push(record);
    }

    fn fund(&mut self) {
        let tx = self.trade.funding(1);
        let height = self.chain.mine(std::slice::from_ref(&tx));
        self.chain.mine_empty(2);
        self.funding = Some(self.chain.inclusion(height, tx.compute_txid(), false));
        let funded = Funded { trade: self.trade.id(), outpoint: self.vaults().escrow.outpoint };
        self.say(Role::Seller, &Body::Funded(funded));
    }

    fn spend(&mut self, tx: &bitcoin::Transaction) {
        let height = self.chain.mine(std::slice::from_ref(tx));
        self.chain.mine_empty(5);
        self.spend = Some(self.chain.inclusion(height, tx.compute_txid(), true));
    }

    fn messages(&mut self) -> Vec<Message> {
        let contract = self.trade.contract();
        let mut messages = Vec::new();
        for (from, to) in [(Role::Buyer, Role::Seller), (Role::Seller, Role::Buyer)] {
            let sender = self.trade.author(from).clone();
            let mut previous = [0; 32];
            for seq in 0..2 {
                let address = Address {
                    version: 1,
                    network: NETWORK,
                    trade: self.trade.id(),
                    contract: contract.hash(),
                    sender: sender.id(),
                    recipient: contract.author(to),
                    epoch: EPOCH,
                    seq,
                    previous,
                    seen: [0; 32],
                    time: 1_800_000_100,
                    commitment: [0; 32],
                };
                let mail = Mail::Details { salt: SALT, details: sender.details() };
                let entropy = Entropy { seal: [7; 32], salt: [8; 32] };
                let sealed = Envelope::seal(address, &contract, &mail, entropy, |bytes| sender.sign_bytes(bytes));
                let (envelope, _) = sealed.unwrap();
                previous = envelope.id();
                messages.push(Message::from(&Said::from(&envelope)));
            }
        }
        messages
    }

    fn bundle(&mut self) -> Bundle {
        let mut ledger = ledger();
        admit_all(&mut ledger, &self.records);
        let chain = self.funding.clone().map(|funding| self.chain.proof(funding, self.spend.clone()));
        let messages = self.messages();
        let messages = if self.funding.is_some() { messages } else { Vec::new() };
        Bundle::assemble(&ledger, self.trade.id(), chain, messages).unwrap()
    }
}

fn failing_part(bundle: &Bundle) -> Part {
    bundle.verify().expect_err("something was changed").part
}

#[test]
fn a_closed_trade_is_proven_by_its_file_alone() {
    let bundle = closed_trade();
    let file = bundle.encode();
    let read = Bundle::decode(file.as_bytes()).unwrap();
    assert_eq!((&read, read.encode()), (&bundle, file));
    let verified = read.verify().unwrap();
    assert_eq!((verified.phase, verified.network.as_str(), verified.records), (Phase::Closed, "regtest", 9));
    let (funding, spend) = (verified.funding.unwrap(), verified.spend.unwrap());
    assert_eq!((funding.height, funding.value), (HEIGHT + 1, sats(1_000_000)));
    assert_eq!(
        (spend.to_buyer, spend.to_seller, spend.elsewhere, spend.fee),
        (sats(998_300), Sats::ZERO, Sats::ZERO, sats(1_700))
    );
    assert_eq!((verified.anchor, verified.work.as_deref()), (Some(0), Some("12")), "two hashes for each of six blocks");
    assert_eq!((verified.messages, verified.forked), (4, vec![]));
    assert_eq!(serde_json::from_value::<Verified>(serde_json::to_value(read.verify().unwrap()).unwrap()).unwrap(), {
        bundle.verify().unwrap()
    });
}

#[test]
fn refunds_and_open_trades_are_proven_too() {
    let mut bid = Story::new();
    bid.records.pop();
    let bid = bid.bundle();
    assert_eq!((bid.verify().unwrap().phase, &bid.contract, &bid.escrow), (Phase::Bid, &None, &None));
    assert_eq!(Story::new().bundle().verify().unwrap().phase, Phase::Agreed);
    let mut funded = Story::new();
    funded.fund();
    assert_eq!(funded.bundle().verify().unwrap().phase, Phase::Funded);

    let mut refunded = Story::new();
    refunded.fund();
    let (buyer, seller) = refunded.keys();
    let half = refunded.escrow().half(&refunded.vaults(), sats(1_700), Role::Seller, &buyer).unwrap();
    let tx = refunded.escrow().complete(&half, Role::Seller, &seller).unwrap().tx;
    refunded.say(Role::Buyer, &Body::Cancel(Cancel { trade: refunded.trade.id(), refund: Some(half) }));
    refunded.spend(&tx);
    let verified = refunded.bundle().verify().unwrap();
    assert_eq!((verified.phase, verified.spend.unwrap().to_seller), (Phase::Refunded, sats(998_300)));
}

#[test]
fn a_funding_far_below_the_height_that_was_stated_is_none_in_a_file_either() {
    for (stated, counts) in [(HEIGHT + 1 + 144, true), (HEIGHT + 2 + 144, false)] {
        let trade = SampleTrade::new(Side::Sell).agreed_at(stated);
        let mut story = Story { records: trade.records(), trade, ..Story::new() };
        story.fund();
        let mut ledger = ledger();
        admit_all(&mut ledger, &story.records);
        let proof = story.chain.proof(story.funding.clone().unwrap(), None);
        let phase = match Bundle::assemble(&ledger, story.trade.id(), Some(proof), Vec::new()) {
            Ok(bundle) => Some(bundle.phase),
            Err(CollectError::Bundle(error)) => {
                assert_eq!(error.part, Part::Funding, "{error}");
                None
            }
            Err(other) => panic!("{other}"),
        };
        assert_eq!(phase, counts.then_some(Phase::Funded), "{stated}");
    }
}

/// A seller pays the escrow twice in one transaction, names one output and signs for the other.
#[test]
fn a_file_proves_the_output_that_counts_whichever_the_seller_names() {
    let mut story = Story::new();
    let (escrow, trade) = (story.escrow(), story.trade.id());
    let mut tx = story.trade.funding(1);
    tx.output.push(escrow.output());
    let height = story.chain.mine(std::slice::from_ref(&tx));
    story.chain.mine_empty(2);
    story.funding = Some(story.chain.inclusion(height, tx.compute_txid(), false));
    let paid_in = escrow.fundings(&tx);
    let (real, decoy) = (paid_in[0], paid_in[1]);
    story.say(Role::Seller, &Body::Funded(Funded { trade, outpoint: decoy.escrow.outpoint }));
    let funding_of = |story: &mut Story| story.bundle().verify().unwrap().funding.unwrap().outpoint;
    assert_eq!(funding_of(&mut story), decoy.outpoint(), "nothing else speaks for either");

    let (buyer, seller) = story.keys();
    let payout = escrow.half(&real, sats(1_700), Role::Buyer, &seller).unwrap();
    let paid = escrow.complete(&payout, Role::Buyer, &buyer).unwrap().tx;
    story.say(Role::Seller, &Body::Release(Release { trade, payout }));
    assert_eq!(funding_of(&mut story), real.outpoint());
    let mut taken = Story { chain: story.chain.clone(), ..Story::new() };
    (taken.records, taken.funding) = (story.records.clone(), story.funding.clone());
    story.spend(&paid);
    let verified = story.bundle().verify().unwrap();
    assert_eq!((verified.phase, verified.funding.unwrap().outpoint), (Phase::Closed, real.outpoint()));

    // Nor is the trade over by what he takes back of the other.
    let back = escrow.signed_timeout(Vault::Escrow, decoy.escrow, sats(1_700), &seller).unwrap().tx;
    let delay = u32::from(story.trade.contract().refund_delay);
    taken.chain.mine_empty(HEIGHT + delay - taken.chain.tip());
    taken.spend(&back);
    let chain = taken.chain.proof(taken.funding.clone().unwrap(), taken.spend.clone());
    let error = Bundle { chain: Some(chain), phase: Phase::Refunded, ..story.bundle() }.verify().unwrap_err();
    assert_eq!(error.part, Part::Spend);
    assert!(error.reason.contains("does not spend the escrow"), "{error}");
}

#[test]
fn the_seller_takes_back_only_when_the_delay_is_over() {
    let mut story = Story::new();
    story.fund();
    let (_, seller) = story.keys();
    let tx = story.escrow().signed_timeout(Vault::Escrow, story.vaults().escrow, sats(1_700), &seller).unwrap().tx;
    let delay = u32::from(story.trade.contract().refund_delay);
    let mut early = Story { chain: story.chain.clone(), ..Story::new() };
    (early.records, early.funding) = (story.records.clone(), story.funding.clone());
    story.chain.mine_empty(HEIGHT + delay - story.chain.tip());
    story.spend(&tx);
    assert_eq!(story.bundle().verify().unwrap().phase, Phase::Refunded);

    early.spend(&tx);
    let mut bundle = story.bundle();
    bundle.chain = Some(early.chain.proof(early.funding.clone().unwrap(), early.spend.clone()));
    let error = bundle.verify().unwrap_err();
    assert_eq!(error.part, Part::Spend);
    assert!(error.reason.contains("before the delay of the leaf that moved them was over"), "{error}");
}

/// Tells a dispute in which the arbiter takes more time once, and then rules for the buyer.
fn settled_trade() -> (Story, ChainProof) {
    let mut story = Story::new();
    story.fund();
    let (trade, escrow) = (story.trade.id(), story.escrow());
    let (buyer, _) = story.keys();
    let pair = story.trade.arbiter_pair(escrow.contract(), Seat::First);
    story.say(Role::Buyer, &Body::PaymentSent(PaymentSent { trade }));
    story.say(Role::Buyer, &Body::Dispute(Dispute { trade }));
    let first = story.vaults();
    let fee = escrow.extension_fee_at(Seat::First, &first, 10).unwrap();
    let extend = escrow.extend(Seat::First, &first, fee, &pair).unwrap();
    let extension = escrow.complete_extend(Seat::First, &extend, Role::Buyer, &buyer).unwrap().tx;
    story.say(Role::Arbiter, &Body::Extend(extend));
    story.chain.mine_empty(150);
    let height = story.chain.mine(std::slice::from_ref(&extension));
    let extension_proof = |story: &Story| story.chain.inclusion(height, extension.compute_txid(), true);
    let held = escrow.extended(&extension, &first).unwrap();
    let division = escrow.divide(Seat::First, &held, Verdict::Buyer, 10).unwrap();
    let ruling = escrow.rule(Seat::First, &held, division, &pair).unwrap();
    let tx = escrow.complete_ruling(Seat::First, &ruling, Role::Buyer, &buyer).unwrap().tx;
    story.say(Role::Arbiter, &Body::Ruling(ruling));
    story.chain.mine_empty(150);
    story.spend(&tx);
    let mut proof = story.chain.proof(story.funding.clone().unwrap(), story.spend.clone());
    proof.extensions.push(extension_proof(&story));
    (story, proof)
}

#[test]
fn a_ruling_after_an_extension_is_proven() {
    let (story, proof) = settled_trade();
    let assemble = |records: &[Record], proof: ChainProof| {
        let mut ledger = ledger();
        admit_all(&mut ledger, records);
        Bundle::assemble(&ledger, story.trade.id(), Some(proof), Vec::new())
    };
    let verified = assemble(&story.records, proof.clone()).unwrap().verify().unwrap();
    let spent = verified.spend.unwrap();
    assert_eq!((verified.phase, spent.to_arbiter, spent.to_seller), (Phase::Settled, sats(10_000), Sats::ZERO));
    let held = 1_000_000 - 10 * 179; // an input of 125, an output of 43 and 11 more
    assert_eq!(spent.to_buyer.get() + spent.to_arbiter.get() + spent.fee.get(), held);

    let unruled = &story.records[..story.records.len() - 1];
    let refused = assemble(unruled, proof.clone()).unwrap_err().to_string();
    assert!(refused.contains("no ruling of the arbiter"), "{refused}");
    let unextended: Vec<Record> =
        story.records.iter().filter(|record| record.header().kind != Kind::Extend).cloned().collect();
    let refused = assemble(&unextended, proof.clone()).unwrap_err().to_string();
    assert!(!refused.is_empty(), "{refused}");
    let refused = assemble(&story.records, ChainProof { extensions: Vec::new(), ..proof }).unwrap_err().to_string();
    assert!(refused.contains("does not spend the escrow"), "{refused}");
}

/// Who took his bond back alone left the escrow, and what is signed from then on is of that alone.
#[test]
fn what_is_signed_of_the_escrow_alone_is_proven_once_the_bond_has_left() {
    for (by, phase) in [(Role::Seller, Phase::Closed), (Role::Arbiter, Phase::Settled)] {
        let trade = SampleTrade::with_bonds(Side::Sell);
        let mut story = Story { records: trade.records(), trade, ..Story::new() };
        story.fund();
        let (trade, escrow, held) = (story.trade.id(), story.escrow(), story.vaults());
        let (buyer, seller) = story.keys();
        let pair = story.trade.arbiter_pair(escrow.contract(), Seat::First);
        story.say(Role::Buyer, &Body::PaymentSent(PaymentSent { trade }));
        story.say(Role::Buyer, &Body::Dispute(Dispute { trade }));
        story.chain.mine_empty(escrow.contract().refund_delay.into());
        let back = escrow.signed_timeout(Vault::Bond, held.bond.unwrap(), sats(1_700), &buyer).unwrap().tx;
        story.chain.mine(&[back]);
        // Returns what somebody signs of these outputs, and what the buyer completes of it.
        let sign = |vaults: &Vaults| {
            if by == Role::Seller {
                let fee = escrow.fee_at(vaults, Role::Buyer, 10).unwrap();
                let payout = escrow.half(vaults, fee, Role::Buyer, &seller).unwrap();
                let tx = escrow.complete(&payout, Role::Buyer, &buyer).unwrap().tx;
                (Body::Release(Release { trade, payout }), tx)
            } else {
                let division = escrow.divide(Seat::First, vaults, Verdict::Buyer, 10).unwrap();
                let ruling = escrow.rule(Seat::First, vaults, division, &pair).unwrap();
                let tx = escrow.complete_ruling(Seat::First, &ruling, Role::Buyer, &buyer).unwrap().tx;
                (Body::Ruling(ruling), tx)
            }
        };
        let (of_both, _) = sign(&held);
        let (of_escrow, tx) = sign(&Vaults { bond: None, ..held });
        story.say(by, &of_both);
        story.spend(&tx);
        let assemble = |story: &Story| {
            let mut ledger = ledger();
            admit_all(&mut ledger, &story.records);
            let proof = story.chain.proof(story.funding.clone().unwrap(), story.spend.clone());
            Bundle::assemble(&ledger, trade, Some(proof), Vec::new())
        };
        let refused = assemble(&story).unwrap_err().to_string();
        assert!(refused.contains("in the records prescribes"), "{refused}");
        story.say(by, &of_escrow);
        let verified = assemble(&story).unwrap().verify().unwrap();
        assert_eq!(verified.phase, phase);
        let spent = verified.spend.unwrap();
        let sums = [spent.to_buyer, spent.to_seller, spent.to_arbiter, spent.fee].map(Sats::get);
        assert_eq!((sums.iter().sum::<u64>(), spent.elsewhere), (held.escrow.value.get(), Sats::ZERO));
    }
}

/// The ruling of a group stands in the log of whichever member published it, and a bundle holds it.
#[test]
fn a_ruling_by_any_member_of_a_group_is_proven() {
    let group = SampleGroup::new(2, 3);
    let trade = SampleTrade::of_group(Side::Sell, &group);
    let records = [group.records.as_slice(), &trade.records()].concat();
    let mut story = Story { trade, records, ..Story::new() };
    story.fund();
    let (trade, escrow, vaults) = (story.trade.id(), story.escrow(), story.vaults());
    let (buyer, _) = story.keys();
    story.say(Role::Buyer, &Body::PaymentSent(PaymentSent { trade }));
    story.say(Role::Buyer, &Body::Dispute(Dispute { trade }));
    let division = escrow.divide(Seat::First, &vaults, Verdict::Buyer, 10).unwrap();
    let digests = escrow.ruling_digests(Seat::First, &vaults, division).unwrap();
    let signatures = group.sign(escrow.contract(), [1, 2], &digests);
    let ruling = escrow.ruling_of(Seat::First, &vaults, division, &signatures).unwrap();
    let tx = escrow.complete_ruling(Seat::First, &ruling, Role::Buyer, &buyer).unwrap().tx;
    story.records.push(group.members[2].clone().write(&Body::Ruling(ruling)));
    story.chain.mine_empty(150);
    story.spend(&tx);
    let verified = story.bundle().verify().unwrap();
    assert_eq!(verified.phase, Phase::Settled);
}

/// Flips one bit of each hex text, one after the other, and expects the part that it belongs to to fail.
#[test]
fn no_bit_can_be_changed_without_a_named_part_failing() {
    let bundle = closed_trade();
    let document = serde_json::to_value(&bundle).unwrap();
    let mut flipped = 0;
    let mut paths = Vec::new();
    hex_texts(&document, String::new(), &mut paths);
    for path in paths {
        let text = document.pointer(&path).unwrap().as_str().unwrap();
        // All of the short ones; of the long ones every 23rd digit, which is odd, so that all kinds of fields are met.
        let step = if text.len() > 200 { 23 } else { 7 };
        for at in (0..text.len()).step_by(step) {
            let digit = u8::from_str_radix(&text[at..=at], 16).unwrap() ^ 1;
            let mut forged = document.clone();
            let forged_text = format!("{}{digit:x}{}", &text[..at], &text[at + 1..]);
            *forged.pointer_mut(&path).unwrap() = Value::String(forged_text);
            let forged: Bundle = serde_json::from_value(forged).unwrap();
            let parts: &[Part] = match path.split('/').nth(1).unwrap() {
                "network" => &[Part::Format],
                "trade" | "contract" => &[Part::Contract],
                "records" => &[Part::Records, Part::Contract],
                "transcript" => &[Part::Transcript],
                "chain" if path.contains("headers") => &[Part::Headers],
                "chain" if path.contains("funding") => &[Part::Funding],
                "chain" if path.contains("spend") => &[Part::Spend],
                other => panic!("no part is known for `{other}`"),
            };
            let error = forged.verify().expect_err(&format!("{path}, digit {at}"));
            assert!(parts.contains(&error.part), "{path}, digit {at}: {error}");
            flipped += 1;
        }
    }
    assert!(flipped > 1000, "only {flipped} digits were tried");
}

fn hex_texts(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit()) => found.push(path),
        Value::Array(items) => {
            // Of the headers some will do: each is checked like the next.
            let step = if path.ends_with("headers") { 5 } else { 1 };
            items
                .iter()
                .enumerate()
                .step_by(step)
                .for_each(|(at, item)| hex_texts(item, format!("{path}/{at}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| hex_texts(field, format!("{path}/{name}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn what_is_claimed_beside_the_proofs_is_compared_with_them() {
    let bundle = closed_trade();
    let other = Story::new().bundle();
    let changed = |change: fn(&mut Bundle)| {
        let mut bundle = closed_trade();
        change(&mut bundle);
        failing_part(&bundle)
    };
    assert_eq!(changed(|bundle| bundle.phase = Phase::Refunded), Part::Phase);
    assert_eq!(changed(|bundle| bundle.escrow = None), Part::Escrow);
    assert_eq!(
        changed(|bundle| bundle.escrow = bundle.escrow.take().map(|a| a.replace("bcrt1p", "bcrt1q"))),
        Part::Escrow
    );
    assert_eq!(changed(|bundle| bundle.contract = None), Part::Contract);
    assert_eq!(changed(|bundle| bundle.chain = None), Part::Phase);
    assert_eq!(changed(|bundle| bundle.chain.as_mut().unwrap().spend = None), Part::Phase);
    assert_eq!(changed(|bundle| bundle.chain.as_mut().unwrap().anchor = 1), Part::Headers);
    assert_eq!(changed(|bundle| bundle.chain.as_mut().unwrap().headers.truncate(102)), Part::Spend);
    assert_eq!(changed(|bundle| bundle.chain.as_mut().unwrap().headers.truncate(106)), Part::Phase, "not buried");
    assert_eq!(changed(|bundle| bundle.chain.as_mut().unwrap().headers.clear()), Part::Headers);
    assert_eq!(changed(|bundle| bundle.chain.as_mut().unwrap().funding.height += 1), Part::Funding);
    assert_eq!(changed(|bundle| bundle.chain.as_mut().unwrap().spend.as_mut().unwrap().height -= 1), Part::Spend);
    assert_eq!(changed(|bundle| bundle.records.swap(0, 1)), Part::Records);
    assert_eq!(changed(|bundle| bundle.records.insert(0, bundle.records[0].clone())), Part::Records);
    assert_eq!(changed(|bundle| bundle.transcript.swap(0, 1)), Part::Transcript);
    assert_eq!(changed(|bundle| bundle.transcript[1].previous = bundle.transcript[1].seen.clone()), Part::Transcript);
    assert_eq!(changed(|bundle| bundle.transcript[0].recipient = AuthorId([9; 32])), Part::Transcript);
    for at in 0..bundle.records.len() {
        let mut shorter = bundle.clone();
        shorter.records.remove(at);
        let Err(error) = shorter.verify() else {
            let kind = Record::decode(&bundle.records[at].0).unwrap().header().kind;
            // They change nothing once the chain shows how the trade ended.
            assert!(matches!(kind, Kind::Funded | Kind::PaymentSent | Kind::Closed), "{kind:?} is not missed");
            continue;
        };
        assert!(matches!(error.part, Part::Contract | Part::Spend), "{error}");
    }
    let mut mixed = bundle;
    mixed.chain.clone_from(&other.chain);
    assert_eq!(failing_part(&mixed), Part::Phase);
}

#[test]
fn a_payout_that_nobody_released_is_none() {
    let mut story = Story::new();
    story.fund();
    let (buyer, seller) = story.keys();
    let signed = story.escrow().half(&story.vaults(), sats(1_700), Role::Buyer, &seller).unwrap();
    let paid = story.escrow().half(&story.vaults(), sats(1_701), Role::Buyer, &seller).unwrap();
    let tx = story.escrow().complete(&paid, Role::Buyer, &buyer).unwrap().tx;
    assert_eq!(story.escrow().classify(&tx, &story.vaults()), SpendPath::Payout);
    let before = story.bundle();
    story.say(Role::Seller, &Body::Release(Release { trade: story.trade.id(), payout: signed }));
    story.spend(&tx);
    let chain = story.chain.proof(story.funding.clone().unwrap(), story.spend.clone());
    let error = Bundle { chain: Some(chain), phase: Phase::Closed, ..before }.verify().unwrap_err();
    assert_eq!(error.part, Part::Spend);
    assert!(error.reason.contains("no release of the seller in the records prescribes transaction"), "{error}");
}

#[test]
fn nothing_else_may_ride_along() {
    let mut bundle = closed_trade();
    let stranger = Author::new(9).write(&Body::Heartbeat);
    let place = bundle.records.partition_point(|bytes| {
        let record = Record::decode(&bytes.0).unwrap();
        record.author() < stranger.author()
    });
    bundle.records.insert(place, Hex(stranger.encode()));
    let error = bundle.verify().unwrap_err();
    assert_eq!((error.part, error.record), (Part::Records, Some(stranger.id())));
    assert!(error.reason.contains("nothing to do with the trade"), "{error}");
}

#[test]
fn a_fork_comes_with_its_proof() {
    let mut story = Story::new();
    story.fund();
    let kind = Kind::Unknown(4242);
    let header = Header { kind, flags: FLAG_CRITICAL, ..*story.trade.accept.header() };
    story.records.push(story.trade.maker.sign(header, b"another history".to_vec()));
    let verified = story.bundle().verify().unwrap();
    assert_eq!(verified.forked, [story.trade.maker.id()]);
    assert_eq!(verified.phase, Phase::Funded, "coins in an escrow stay under its contract");
}

#[test]
fn files_that_are_no_bundles_are_told_from_bad_ones() {
    let file = closed_trade().encode();
    let part = |text: &str| Bundle::decode(text.as_bytes()).unwrap_err().part;
    assert_eq!(part("{}"), Part::Format);
    assert_eq!(part(&file[..file.len() / 2]), Part::Format);
    assert_eq!(part(&file.replace("bundle/v1", "bundle/v2")), Part::Format);
    assert_eq!(part(&file.replace("\"trade\":", "\"more\": 1, \"trade\":")), Part::Format);
    assert_eq!(part(&file.replacen("fabfb5da", "FABFB5DA", 1)), Part::Format);
    assert_eq!(part(&" ".repeat(MAX_BUNDLE_LEN + 1)), Part::Format);
    let mut many = closed_trade();
    many.records = vec![many.records[0].clone(); MAX_RECORDS + 1];
    assert_eq!(part(&many.encode()), Part::Format);
}
