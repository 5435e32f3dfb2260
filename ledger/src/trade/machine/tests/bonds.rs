//! A funding from two wallets as one machine sees it: what it counts, what it refuses, and when coins are free.

use bitcoin::hashes::Hash;
use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::{OutPoint, Txid, Witness};

use super::*;
use crate::testing::{even_keypair, funding_of};
use crate::trade::MAX_NAMED;
use crate::trade::funding::{DEAD_AFTER, Draft, Funder, Input, InputState, PATIENCE};
use crate::wire::{CurveKey, Destination, List, Outpoint};

/// Each side has one coin, told apart by its number.
const fn coin_number(role: Role) -> u8 {
    match role {
        Role::Seller => 1,
        Role::Buyer | Role::Arbiter => 101,
    }
}

fn coin_key(role: Role) -> Keypair {
    even_keypair([coin_number(role); 32])
}

pub(super) fn coin_of(role: Role) -> OutPoint {
    OutPoint { txid: Txid::from_byte_array([coin_number(role); 32]), vout: 7 }
}

pub(super) fn funder(role: Role) -> Funder {
    let input =
        Input { outpoint: Outpoint(coin_of(role)), key: CurveKey(coin_key(role).x_only_public_key().0), height: 90 };
    let change = ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_byte_array([coin_number(role); 20]));
    let contribution =
        Contribution { inputs: List::new(vec![input]).unwrap(), change: Destination::new(change).unwrap() };
    let held = if role == Role::Seller { 1_500_000 } else { 300_000 };
    Funder { contribution, values: List::new(vec![sats(held)]).unwrap() }
}

/// Signs a side's coins, as its wallet does.
pub(super) fn sign(draft: &Draft, role: Role) -> Transaction {
    let mut tx = draft.tx().clone();
    for coin in draft.coins(role) {
        let (at, message) = draft.sighash(coin).unwrap();
        let signature = Secp256k1::new().sign_schnorr_no_aux_rand(&message, &coin_key(role));
        tx.input[at].witness = Witness::from_slice(&[signature.serialize()]);
    }
    tx
}

fn unspent(theirs: &Contribution, of: Role) -> funding::Event {
    let script = theirs.inputs[0].script();
    let output = TxOut { value: funder(of).values[0].into(), script_pubkey: script };
    let states = vec![InputState::Unspent { output, ours: false }];
    funding::Event::Looked { theirs: theirs.clone(), states, highest: 25 }
}

fn joint(machine: &mut Trade, event: funding::Event) -> Result<Vec<Effect>, Refusal> {
    machine.handle(Event::Joint(event))
}

fn drafted(effects: &[Effect]) -> Draft {
    let draft =
        effects.iter().find_map(|effect| if let Effect::SignFunding(draft) = effect { Some(draft) } else { None });
    draft.expect("asked to sign").clone()
}

/// Two machines of a bonded trade, up to the buyer's signatures.
struct Pair {
    trade: SampleTrade,
    seller: Trade,
    buyer: Trade,
    proposal: Proposal,
    answer: Answer,
}

impl Pair {
    fn new() -> Self {
        let trade = SampleTrade::with_bonds(Side::Sell);
        let (mut seller, mut buyer) = (agreed(&trade, Role::Seller), agreed(&trade, Role::Buyer));
        let asked = ask(&mut seller, Action::Fund).unwrap();
        let output = trade.escrow().output();
        assert!(asked.contains(&Effect::ChooseCoins { output, feerate: 10 }), "{asked:?}");
        let sent = joint(&mut seller, funding::Event::Chosen { mine: funder(Role::Seller), feerate: 10 }).unwrap();
        assert!(matches!(sent[0], Effect::Persist(_)), "kept before it is sent");
        let proposal = sent.iter().find_map(|e| if let Effect::SendProposal(p) = e { Some(p.clone()) } else { None });
        let proposal = proposal.expect("a proposal");
        joint(&mut seller, funding::Event::Sent).unwrap();

        let heard = joint(&mut buyer, funding::Event::Proposal(proposal.clone())).unwrap();
        assert!(!heard.iter().any(|effect| matches!(effect, Effect::LookUpCoins(_))), "his user has not agreed");
        let asked = ask(&mut buyer, Action::Fund).unwrap();
        assert!(asked.contains(&Effect::LookUpCoins(proposal.seller.clone())), "{asked:?}");
        let asked = joint(&mut buyer, unspent(&proposal.seller, Role::Seller)).unwrap();
        let output = trade.escrow().bond_output().unwrap();
        assert!(asked.contains(&Effect::ChooseCoins { output, feerate: 10 }), "{asked:?}");
        assert!(
            !asked.iter().any(|effect| matches!(effect, Effect::LookUpCoins(_))),
            "an answer is not asked for again"
        );
        let asked = joint(&mut buyer, funding::Event::Chosen { mine: funder(Role::Buyer), feerate: 10 }).unwrap();
        let sent = joint(&mut buyer, funding::Event::Signed(sign(&drafted(&asked), Role::Buyer))).unwrap();
        assert!(matches!(sent[0], Effect::Persist(_)), "kept before it leaves");
        let answer = sent.iter().find_map(|e| if let Effect::SendAnswer(a) = e { Some(a.clone()) } else { None });
        joint(&mut buyer, funding::Event::Sent).unwrap();
        Self { trade, seller, buyer, proposal, answer: answer.expect("an answer") }
    }

    /// The seller signs too; returns what he asks for and the whole transaction.
    fn complete(&mut self) -> (Vec<Effect>, Transaction) {
        let asked = joint(&mut self.seller, funding::Event::Answer(self.answer.clone())).unwrap();
        assert!(asked.contains(&Effect::LookUpCoins(self.answer.buyer.clone())), "at once: {asked:?}");
        let asked = joint(&mut self.seller, unspent(&self.answer.buyer, Role::Buyer)).unwrap();
        let signed = sign(&drafted(&asked), Role::Seller);
        let effects = joint(&mut self.seller, funding::Event::Signed(signed)).unwrap();
        let sent = effects.iter().find_map(|e| if let Effect::Broadcast(tx) = e { Some(tx.clone()) } else { None });
        (effects, sent.expect("sent"))
    }

    fn called_off(&self) -> Event {
        let facts = Facts { seller_cancel: true, ..Facts::default() };
        Event::Records { contract: Some(self.trade.contract()), facts }
    }
}

fn ends(effects: &[Effect]) -> Vec<&Effect> {
    effects.iter().filter(|e| matches!(e, Effect::FreeCoins { .. } | Effect::SpendCoinBack { .. })).collect()
}

#[test]
fn both_users_agree_before_anything_is_signed_and_the_whole_is_kept_before_it_is_sent() {
    let mut pair = Pair::new();
    let (effects, tx) = pair.complete();
    assert!(matches!(&effects[0], Effect::Persist(local) if local.funding_tx.is_some()), "kept before it is sent");
    assert_eq!(pair.trade.escrow().fundings(&tx).len(), 1);
    assert!(tx.input.iter().all(|input| input.witness.len() == 1));
    assert_eq!(ask(&mut pair.seller, Action::Fund), Err(Refusal::Funding(FundingError::Signed)));
    assert!(!pair.seller.actions().contains(&Action::Fund) && !pair.buyer.actions().contains(&Action::Fund));
    // What comes again changes nothing.
    let before = (pair.buyer.local().clone(), pair.seller.local().clone());
    joint(&mut pair.buyer, funding::Event::Proposal(pair.proposal.clone())).unwrap();
    assert!(joint(&mut pair.seller, funding::Event::Answer(pair.answer.clone())).is_err());
    assert_eq!(before, (pair.buyer.local().clone(), pair.seller.local().clone()));
}

#[test]
fn one_wallet_alone_funds_no_bonded_trade_and_two_fund_no_other() {
    let bonded = SampleTrade::with_bonds(Side::Sell);
    let mut seller = agreed(&bonded, Role::Seller);
    assert_eq!(seller.handle(Event::FundingBuilt(bonded.funding(1))), Err(Refusal::WrongFunding));
    let plain = SampleTrade::new(Side::Sell);
    assert_eq!(ask(&mut agreed(&plain, Role::Buyer), Action::Fund), Err(Refusal::NothingToFund));
    assert!(!agreed(&plain, Role::Buyer).actions().contains(&Action::Fund));
    let proposal = Pair::new().proposal;
    let refused = joint(&mut agreed(&plain, Role::Buyer), funding::Event::Proposal(proposal.clone()));
    assert_eq!(refused, Err(Refusal::Funding(FundingError::Unexpected)));
    // Nor does a role hear what is for the other, nor an arbiter anything.
    for role in [Role::Seller, Role::Arbiter] {
        let refused = joint(&mut agreed(&bonded, role), funding::Event::Proposal(proposal.clone()));
        assert_eq!(refused, Err(Refusal::Funding(FundingError::Unexpected)), "{role:?}");
    }
}

#[test]
fn a_wallet_that_signed_something_else_is_not_believed() {
    let mut pair = Pair::new();
    joint(&mut pair.seller, funding::Event::Answer(pair.answer.clone())).unwrap();
    let asked = joint(&mut pair.seller, unspent(&pair.answer.buyer, Role::Buyer)).unwrap();
    let draft = drafted(&asked);
    let mut other = draft.tx().clone();
    other.output[0].value += bitcoin::Amount::ONE_SAT;
    let unsigned = draft.tx().clone(); // without the seller's witness
    for wrong in [other, unsigned] {
        let refused = joint(&mut pair.seller, funding::Event::Signed(wrong));
        assert_eq!(refused, Err(Refusal::Funding(FundingError::Signature(Role::Seller))));
        assert_eq!(pair.seller.local().funding_tx, None);
    }
}

#[test]
fn called_off_before_a_signature_coins_are_free_and_after_one_is_spent_back() {
    let mut pair = Pair::new();
    let script = pair.trade.escrow().output().script_pubkey;
    let off = pair.called_off();
    assert_eq!(ends(&pair.seller.handle(off.clone()).unwrap()), [&Effect::FreeCoins { script: script.clone() }]);
    assert!(pair.seller.holds_coins(), "until the wallet has done it");
    joint(&mut pair.seller, funding::Event::Ended).unwrap();
    assert!(!pair.seller.holds_coins() && ends(&pair.seller.handle(off.clone()).unwrap()).is_empty());

    let bond = pair.trade.escrow().bond_output().unwrap().script_pubkey;
    assert_eq!(ends(&pair.buyer.handle(off.clone()).unwrap()), [&Effect::SpendCoinBack { script: bond }]);

    // The seller who has the whole transaction may call off as well: he never sends it again.
    let mut pair = Pair::new();
    pair.complete();
    let effects = ask(&mut pair.seller, Action::Cancel).unwrap();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))), "not before it is called off either");
    let effects = pair.seller.handle(off).unwrap();
    assert_eq!(ends(&effects), [&Effect::SpendCoinBack { script }]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))), "{effects:?}");
}

#[test]
fn a_funding_that_is_seen_or_was_relied_on_is_not_spent_back() {
    let mut pair = Pair::new();
    let (_, tx) = pair.complete();
    let off = pair.called_off();
    for machine in [&mut pair.seller, &mut pair.buyer] {
        let facts = ChainFacts::gather(&pair.trade.escrow(), 200, true, [(&tx, None)]);
        machine.handle(Event::Chain(facts)).unwrap();
        assert!(ends(&machine.handle(off.clone()).unwrap()).is_empty(), "{:?}", machine.role());
        assert_eq!(machine.phase(), Phase::Funding);
        // It leaves the pool, and it was called off: now it must never confirm.
        let effects = machine.handle(Event::Chain(chain(201))).unwrap();
        assert!(matches!(ends(&effects).as_slice(), [Effect::SpendCoinBack { .. }]), "{effects:?}");
        // What the other says of it is no reason to leave the coins where he can hold them.
        let named = OutPoint { txid: tx.compute_txid(), vout: 0 };
        let by = |role: Role| {
            let facts = Facts { seller_cancel: true, payment_sent: role == Role::Buyer, ..Facts::default() };
            let facts = match role {
                Role::Seller => Facts { funded: Some(named), ..facts },
                Role::Buyer | Role::Arbiter => Facts { buyer_funded: vec![named], ..facts },
            };
            Event::Records { contract: Some(pair.trade.contract()), facts }
        };
        let effects = machine.handle(by(crate::trade::counterparty(machine.role()))).unwrap();
        assert!(matches!(ends(&effects).as_slice(), [Effect::SpendCoinBack { .. }]), "{effects:?}");
        // But not once it was buried, as this side itself said: a reorg is no way out.
        let effects = machine.handle(by(machine.role())).unwrap();
        assert!(ends(&effects).is_empty(), "{effects:?}");
        let sends = effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_)));
        assert_eq!(sends, machine.role() == Role::Seller, "he sends it again");
        // Whether it can confirm at all it asks further on: then what was owed is over.
        let theirs = effects.iter().find_map(|e| if let Effect::LookUpCoins(it) = e { Some(it.clone()) } else { None });
        let states = vec![InputState::Spent { by: Txid::from_byte_array([9; 32]), depth: DEAD_AFTER }];
        let looked = funding::Event::Looked { theirs: theirs.expect("looked up"), states, highest: 25 };
        let effects = joint(machine, looked).unwrap();
        assert!(matches!(ends(&effects).as_slice(), [Effect::FreeCoins { .. }]), "{effects:?}");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))), "{effects:?}");
    }
}

#[test]
fn a_funding_that_was_named_and_died_holds_up_no_other() {
    let mut pair = Pair::new();
    let (_, first) = pair.complete();
    let buyer_funded = vec![OutPoint { txid: first.compute_txid(), vout: 0 }];
    let facts = Facts { buyer_funded, ..Facts::default() };
    pair.buyer.handle(Event::Records { contract: Some(pair.trade.contract()), facts }).unwrap();
    let states = vec![InputState::Spent { by: Txid::from_byte_array([9; 32]), depth: DEAD_AFTER }];
    let theirs = pair.proposal.seller.clone();
    joint(&mut pair.buyer, funding::Event::Looked { theirs, states, highest: 25 }).unwrap();

    // The seller proposes other coins.
    let mut other = pair.proposal.clone();
    let outpoint = Outpoint(OutPoint { vout: 8, ..coin_of(Role::Seller) });
    other.seller.inputs = List::new(vec![Input { outpoint, ..other.seller.inputs[0] }]).unwrap();
    let asked = joint(&mut pair.buyer, funding::Event::Proposal(other.clone())).unwrap();
    assert!(asked.contains(&Effect::LookUpCoins(other.seller.clone())), "{asked:?}");
    let asked = joint(&mut pair.buyer, unspent(&other.seller, Role::Seller)).unwrap();
    let sent = joint(&mut pair.buyer, funding::Event::Signed(sign(&drafted(&asked), Role::Buyer))).unwrap();
    assert!(sent.iter().any(|effect| matches!(effect, Effect::SendAnswer(_))), "{sent:?}");
}

#[test]
fn a_buyer_names_the_funding_that_he_signed_once_it_is_buried() {
    let mut pair = Pair::new();
    let (_, tx) = pair.complete();
    let names = |effects: &[Effect]| {
        let outpoint = Outpoint(pair.trade.escrow().fundings(&tx)[0].outpoint());
        effects.contains(&Effect::Publish(Body::Funded(Funded { trade: pair.trade.id(), outpoint })))
    };
    let shows = |height| Event::Chain(ChainFacts::gather(&pair.trade.escrow(), 200, true, [(&tx, height)]));
    assert!(!names(&pair.buyer.handle(shows(None)).unwrap()) && !names(&pair.buyer.handle(shows(Some(200))).unwrap()));
    assert!(names(&pair.buyer.handle(shows(Some(190))).unwrap()));
    let named = vec![pair.trade.escrow().fundings(&tx)[0].outpoint()];
    let facts = Facts { buyer_funded: named, ..Facts::default() };
    let contract = Some(pair.trade.contract());
    let records = Event::Records { contract: contract.clone(), facts };
    assert!(!names(&pair.buyer.handle(records).unwrap()), "once");
    for (others, has_room) in [(MAX_NAMED - 1, true), (MAX_NAMED, false)] {
        let other = |number| OutPoint { txid: Txid::from_byte_array([number; 32]), vout: 0 };
        let facts = Facts { buyer_funded: (1..).map(other).take(others).collect(), ..Facts::default() };
        let records = Event::Records { contract: contract.clone(), facts };
        assert_eq!(names(&pair.buyer.handle(records).unwrap()), has_room, "{others}");
    }
    // What he does not remember to have signed may not be his.
    assert!(!names(&agreed(&pair.trade, Role::Buyer).handle(shows(Some(190))).unwrap()));
    // The seller says it once, for himself.
    let said = pair.seller.handle(shows(Some(190))).unwrap();
    assert_eq!(said.iter().filter(|effect| matches!(effect, Effect::Publish(Body::Funded(_)))).count(), 1);
}

/// Arbiters look where he looks, whatever the seller names.
#[test]
fn a_buyer_with_a_bond_pays_once_he_has_named_what_both_signed() {
    let mut pair = Pair::new();
    let (_, tx) = pair.complete();
    let (escrow, contract) = (pair.trade.escrow(), Some(pair.trade.contract()));
    let own = escrow.fundings(&tx)[0].outpoint();
    let other = OutPoint { vout: 7, ..own };
    pair.buyer.handle(Event::Chain(ChainFacts::gather(&escrow, 200, true, [(&tx, Some(190))]))).unwrap();
    for (by_seller, by_buyer, refusal) in [
        (None, vec![], Some(Refusal::Unnamed)),
        (None, vec![other], Some(Refusal::Unnamed)),
        (Some(other), vec![], Some(Refusal::NamedOtherwise)),
        (Some(own), vec![], None),
        (None, vec![own], None),
        (Some(other), vec![other, own], None),
    ] {
        let facts = Facts { funded: by_seller, funded_at_home: by_seller, buyer_funded: by_buyer, ..Facts::default() };
        pair.buyer.handle(Event::Records { contract: contract.clone(), facts: facts.clone() }).unwrap();
        assert_eq!(pair.buyer.refusal(Action::MarkPaid), refusal, "{facts:?}");
    }
}

#[test]
fn a_party_that_signed_looks_after_that_funding_and_no_other() {
    let mut pair = Pair::new();
    let (_, own) = pair.complete();
    let escrow = pair.trade.escrow();
    let foreign = funding_of(&escrow, 9);
    for machine in [&mut pair.seller, &mut pair.buyer] {
        let facts = ChainFacts::gather(&escrow, 200, true, [(&foreign, Some(180)), (&own, Some(190))]);
        machine.handle(Event::Chain(facts)).unwrap();
        assert_eq!(machine.view().funding().unwrap().outpoint().txid, own.compute_txid(), "{:?}", machine.role());
        assert_eq!(machine.phase(), Phase::Funded);
    }
}

#[test]
fn coins_are_free_when_somebody_else_funded_the_escrow_for_good() {
    let trade = SampleTrade::with_bonds(Side::Sell);
    let mut seller = agreed(&trade, Role::Seller);
    ask(&mut seller, Action::Fund).unwrap();
    joint(&mut seller, funding::Event::Chosen { mine: funder(Role::Seller), feerate: 10 }).unwrap();
    let foreign = funding_of(&trade.escrow(), 9);
    let shows = |height| Event::Chain(ChainFacts::gather(&trade.escrow(), 200, true, [(&foreign, height)]));
    assert!(ends(&seller.handle(shows(None)).unwrap()).is_empty(), "what waits in the pool may vanish");
    assert!(matches!(ends(&seller.handle(shows(Some(190))).unwrap()).as_slice(), [Effect::FreeCoins { .. }]));
}

#[test]
fn a_buyer_who_signed_gives_up_in_time() {
    let mut pair = Pair::new();
    let calls_off = |effects: &[Effect]| {
        let cancel = Body::Cancel(crate::body::Cancel { trade: pair.trade.id(), refund: None });
        effects.contains(&Effect::Publish(cancel))
    };
    assert!(!calls_off(&pair.buyer.handle(Event::Chain(chain(200 + PATIENCE - 1))).unwrap()));
    let unsynced = ChainFacts { synced: false, ..chain(200 + PATIENCE) };
    assert!(!calls_off(&pair.buyer.handle(Event::Chain(unsynced)).unwrap()));
    assert!(calls_off(&pair.buyer.handle(Event::Chain(chain(200 + PATIENCE))).unwrap()));
    // As any deadline, after a restart not before the ledger was compared.
    let mut again = Trade::new(pair.trade.bid(), Role::Buyer, false, pair.buyer.local().clone());
    let facts = Facts::default();
    again.handle(Event::Records { contract: Some(pair.trade.contract()), facts }).unwrap();
    assert!(!calls_off(&again.handle(Event::Chain(chain(200 + PATIENCE))).unwrap()));
    assert!(calls_off(&again.handle(Event::Compared).unwrap()));
}

/// The seller sends it at a feerate at which no miner takes it, or shows a light client what he has not even signed.
#[test]
fn a_funding_that_only_waits_gives_the_seller_no_more_time() {
    let mut pair = Pair::new();
    let (_, tx) = pair.complete();
    let (trade, end) = (pair.trade.id(), 200 + PATIENCE);
    let cancel = Effect::Publish(Body::Cancel(crate::body::Cancel { trade, refund: None }));
    let shows = |tip, height| Event::Chain(ChainFacts::gather(&pair.trade.escrow(), tip, true, [(&tx, height)]));
    for (tip, height, is_off) in [(end - 1, None, false), (end, Some(end), false), (end, None, true)] {
        for machine in [&mut pair.seller, &mut pair.buyer] {
            let effects = machine.handle(shows(tip, height)).unwrap();
            let is_buyer = machine.role() == Role::Buyer;
            assert_eq!(effects.contains(&cancel), is_off && is_buyer, "{:?} {tip} {height:?}", machine.role());
            assert_eq!((machine.gives_up(), machine.phase()), (tip == end && is_buyer, Phase::Funding));
            assert!(machine.actions().is_empty() && !machine.hears_of_funding(), "both have signed it");
        }
    }
    let facts = Facts { buyer_cancel: true, ..Facts::default() };
    let off = Event::Records { contract: Some(pair.trade.contract()), facts };
    let script = pair.trade.escrow().bond_output().unwrap().script_pubkey;
    assert_eq!(ends(&pair.buyer.handle(off.clone()).unwrap()), [&Effect::SpendCoinBack { script }]);
    assert!(ends(&pair.seller.handle(off).unwrap()).is_empty(), "he waits for what becomes of it");
    // A block was faster.
    assert!(ends(&pair.buyer.handle(shows(end + 1, Some(end + 1))).unwrap()).is_empty());
}

#[test]
fn a_seller_whose_buyer_spent_his_coin_elsewhere_forgets_the_funding_and_proposes_again() {
    let mut pair = Pair::new();
    let (_, tx) = pair.complete();
    let elsewhere = Txid::from_byte_array([9; 32]);
    let spent = |depth| {
        let states = vec![InputState::Spent { by: elsewhere, depth }];
        funding::Event::Looked { theirs: pair.answer.buyer.clone(), states, highest: 25 }
    };
    joint(&mut pair.seller, spent(DEAD_AFTER - 1)).unwrap();
    assert_eq!(pair.seller.local().funding_tx, Some(bitcoin::consensus::serialize(&tx)), "it may still come back");
    let effects = joint(&mut pair.seller, spent(DEAD_AFTER)).unwrap();
    assert_eq!(pair.seller.local().funding_tx, None);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))));
    assert!(ask(&mut pair.seller, Action::Fund).is_ok());
    // And if he has had enough: nothing that he signed can confirm, so his coins are simply free.
    let off = pair.called_off();
    assert!(matches!(ends(&pair.seller.handle(off).unwrap()).as_slice(), [Effect::FreeCoins { .. }]));
}

/// A payout of both outputs was under way, and a block holds what takes one of them: the buyer's own bond, which he took back
/// after the delay. When the seller releases what is left, the buyer is paid that.
#[test]
fn a_payout_that_can_never_confirm_makes_way_for_one_of_what_is_left() {
    let mut trade = SampleTrade::with_bonds(Side::Sell);
    let (escrow, vaults) = (trade.escrow(), trade.vaults(1));
    let (buyer, seller) = (trade.author(Role::Buyer).trade_key(), trade.author(Role::Seller).trade_key());
    let half = |vaults| escrow.half(&vaults, escrow.fee_at(&vaults, Role::Buyer, 10).unwrap(), Role::Buyer, &seller);
    let (all, rest) = (half(vaults).unwrap(), half(Vaults { bond: None, ..vaults }).unwrap());
    let payout = |half: &HalfSpend| escrow.complete(half, Role::Buyer, &buyer).unwrap().tx;
    let own = escrow.signed_timeout(Vault::Bond, vaults.bond.unwrap(), sats(1_700), &buyer).unwrap().tx;
    let mut machine = funded(&trade, Role::Buyer, 190, 5_000);
    let released = |releases| {
        let facts = Facts { payment_sent: true, releases, ..Facts::default() };
        Event::Records { contract: Some(trade.contract()), facts }
    };
    let to = Role::Buyer;
    let effects = machine.handle(released(vec![all.clone()])).unwrap();
    assert!(effects.contains(&Effect::Complete { half: all.clone(), to }), "{effects:?}");
    let effects = machine.handle(Event::SpendBuilt(payout(&all))).unwrap();
    assert!(effects.contains(&Effect::Broadcast(payout(&all))), "{effects:?}");

    let spends = vec![Spend { tx: own, path: SpendPath::Timeout, height: Some(4_999) }];
    let seen = ChainFacts { spends, ..machine.view().chain().clone() };
    let effects = machine.handle(Event::Chain(seen)).unwrap();
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Broadcast(_))), "{effects:?}");
    let effects = machine.handle(released(vec![all, rest.clone()])).unwrap();
    assert!(effects.contains(&Effect::Complete { half: rest.clone(), to }), "{effects:?}");
    let effects = machine.handle(Event::SpendBuilt(payout(&rest))).unwrap();
    assert!(effects.contains(&Effect::Broadcast(payout(&rest))), "{effects:?}");
}
