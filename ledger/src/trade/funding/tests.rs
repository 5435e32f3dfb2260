//! Two sides and a chain between them: honest, lying, vanishing, spending their coins twice.

use std::collections::HashMap;

use bitcoin::hashes::Hash;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WPubkeyHash, Witness};
use proptest::prelude::*;

use super::*;
use crate::rules::MAX_SPEND_FEERATE;
use crate::testing::{even_keypair, sats};

const TIP: u32 = 1_000;
const FROM: u32 = 900;
const HIGHEST: u64 = 25;
const AMOUNT: u64 = 1_100_000;
const BOND: u64 = 100_000;

fn key(number: u8) -> Keypair {
    even_keypair([number; 32])
}

fn outpoint(number: u8) -> OutPoint {
    OutPoint { txid: Txid::from_byte_array([number; 32]), vout: u32::from(number) }
}

fn coin(number: u8) -> Input {
    let key = CurveKey(key(number).x_only_public_key().0);
    Input { outpoint: Outpoint(outpoint(number)), key, height: 950 }
}

fn destination(number: u8) -> Destination {
    Destination::new(ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([number; 20]))).unwrap()
}

fn escrow(number: u8, value: u64) -> TxOut {
    TxOut { value: Amount::from_sat(value), script_pubkey: coin(number).script() }
}

/// The coins of the seller are 1, 2, …, those of the buyer 101, 102, …; 200 and 201 are the escrow's outputs.
fn funder(first: u8, values: &[u64], change: u8) -> Funder {
    let coins = (first..).zip(values).map(|(number, _)| coin(number)).collect();
    let contribution = Contribution { inputs: List::new(coins).unwrap(), change: destination(change) };
    Funder { contribution, values: List::new(values.iter().map(|value| sats(*value)).collect()).unwrap() }
}

fn sellers() -> Funder {
    funder(1, &[700_000, 600_000], 10)
}

fn buyers() -> Funder {
    funder(101, &[150_000], 110)
}

fn terms(role: Role) -> Terms {
    Terms { role, seller_output: escrow(200, AMOUNT), buyer_output: escrow(201, BOND), from_height: FROM }
}

const OPEN: Now = Now { tip: TIP, synced: true, seen: false, open: true, owed: false };

/// Signs the inputs of a side, as its wallet does.
fn sign(draft: &Draft, role: Role) -> Transaction {
    let mut tx = draft.tx().clone();
    for coin in draft.coins(role) {
        let (at, message) = draft.sighash(coin).unwrap();
        let signature = Secp256k1::new().sign_schnorr_no_aux_rand(&message, &key(coin.txid.to_byte_array()[0]));
        tx.input[at].witness = Witness::from_slice(&[signature.serialize()]);
    }
    tx
}

/// A side, its wallet and its chain.
struct Side {
    terms: Terms,
    now: Now,
    mine: Funder,
    state: Negotiation,
    /// What the chain says of coins other than that they are unspent and hold what they hold.
    chain: HashMap<OutPoint, InputState>,
    /// What it sent, and what it completed.
    proposals: Vec<Proposal>,
    answers: Vec<Answer>,
    complete: Vec<Transaction>,
    ends: Vec<Effect>,
    /// What it signed: with its own witnesses.
    signed: Vec<Transaction>,
    refused: Vec<FundingError>,
}

impl Side {
    fn new(role: Role) -> Self {
        let mine = if role == Role::Seller { sellers() } else { buyers() };
        let chain = HashMap::new();
        let (terms, state) = (terms(role), Negotiation::default());
        Self {
            terms,
            now: OPEN,
            mine,
            state,
            chain,
            proposals: vec![],
            answers: vec![],
            complete: vec![],
            ends: vec![],
            signed: vec![],
            refused: vec![],
        }
    }

    /// Handles an event and does all that follows. After each step the machine is written down and read again.
    fn step(&mut self, event: Event) {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let before = self.state.clone();
            match self.state.handle(&self.terms, self.now, event) {
                Ok(effects) => events.extend(effects.into_iter().filter_map(|effect| self.perform(effect))),
                Err(error) => {
                    assert_eq!(self.state, before, "a refusal changes nothing");
                    self.refused.push(error);
                }
            }
        }
    }

    fn duties(&mut self) {
        let bytes = borsh::to_vec(&self.state).unwrap();
        self.state = borsh::from_slice(&bytes).unwrap(); // a crash
        for effect in self.state.duties(&self.terms, self.now) {
            if let Some(event) = self.perform(effect) {
                self.step(event);
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Choose { feerate } => Some(Event::Chosen { mine: self.mine.clone(), feerate }),
            Effect::LookUp(theirs) => {
                let states = theirs.inputs.iter().map(|coin| self.look_up(coin)).collect();
                Some(Event::Looked { theirs, states, highest: HIGHEST })
            }
            Effect::Sign(draft) => {
                let tx = sign(&draft, self.terms.role);
                self.signed.push(tx.clone());
                Some(Event::Signed(tx))
            }
            Effect::SendProposal(proposal) => {
                self.proposals.push(proposal);
                Some(Event::Sent)
            }
            Effect::SendAnswer(answer) => {
                self.answers.push(answer);
                Some(Event::Sent)
            }
            Effect::Complete(tx) => {
                self.complete.push(tx);
                None
            }
            Effect::Free | Effect::SpendBack => {
                self.ends.push(effect);
                Some(Event::Ended)
            }
            Effect::Forget(_) | Effect::CallOff => {
                self.ends.push(effect);
                None
            }
        }
    }

    fn look_up(&self, coin: &Input) -> InputState {
        let outpoint = coin.outpoint.0;
        if let Some(state) = self.chain.get(&outpoint) {
            return state.clone();
        }
        for funder in [sellers(), buyers()] {
            for (known, value) in funder.contribution.inputs.iter().zip(funder.values.iter()) {
                if known.outpoint.0 == outpoint {
                    let output = TxOut { value: (*value).into(), script_pubkey: known.script() };
                    return InputState::Unspent { output, ours: funder == self.mine };
                }
            }
        }
        InputState::Unknown
    }
}

/// Runs both sides until nothing happens any more, and lets `tamper` change what is under way.
fn negotiate(tamper: &mut impl FnMut(&mut Option<Proposal>, &mut Option<Answer>), seller: &mut Side, buyer: &mut Side) {
    for _ in 0..4 {
        seller.duties();
        buyer.duties();
        let (mut proposal, mut answer) = (seller.proposals.pop(), buyer.answers.pop());
        tamper(&mut proposal, &mut answer);
        if let Some(proposal) = proposal {
            buyer.step(Event::Proposal(proposal));
        }
        if let Some(answer) = answer {
            seller.step(Event::Answer(answer));
        }
    }
}

fn both_willing() -> (Side, Side) {
    let (mut seller, mut buyer) = (Side::new(Role::Seller), Side::new(Role::Buyer));
    seller.step(Event::Fund { feerate: 10 });
    buyer.step(Event::Fund { feerate: 10 });
    (seller, buyer)
}

fn paid_by(tx: &Transaction, funder: &Funder) -> u64 {
    let held: u64 = funder.values.iter().map(|value| value.get()).sum();
    let back: u64 = tx
        .output
        .iter()
        .filter(|output| output.script_pubkey == *funder.contribution.change.script())
        .map(|output| output.value.to_sat())
        .sum();
    held - back
}

#[test]
fn two_wallets_fund_both_outputs_at_once() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    let [tx] = seller.complete.as_slice() else { panic!("{:?} {:?}", seller.refused, buyer.refused) };
    let terms = terms(Role::Seller);
    for output in [&terms.seller_output, &terms.buyer_output] {
        assert_eq!(tx.output.iter().filter(|other| *other == output).count(), 1);
    }
    assert_eq!((tx.input.len(), tx.output.len(), tx.version.0), (3, 4, 3));
    assert_eq!(tx.lock_time.to_consensus_u32(), TIP);
    assert!(tx.input.iter().all(|input| input.witness.len() == 1 && input.sequence.0 == 0xffff_fffd));
    assert_eq!(tx.compute_txid(), buyer.signed[0].compute_txid());
    // Each pays his output and his part of the weight; nobody pays for what the other brings.
    let (seller_paid, buyer_paid) = (paid_by(tx, &sellers()), paid_by(tx, &buyers()));
    let fee = (seller_paid - AMOUNT) + (buyer_paid - BOND);
    let weight = tx.weight().to_wu();
    assert!((weight * 10).div_ceil(4) <= fee && fee <= (weight * 10).div_ceil(4) + 1, "{fee} for {weight}");
    assert_eq!(seller_paid - AMOUNT - (buyer_paid - BOND), 230 * 10 / 4, "one coin more");
    assert!(seller.refused.is_empty() && buyer.refused.is_empty());
}

#[test]
fn change_that_is_dust_goes_to_the_fee() {
    let (mut seller, mut buyer) = (Side::new(Role::Seller), Side::new(Role::Buyer));
    seller.mine = funder(1, &[AMOUNT + 1_600], 10); // what is left is below an output's worth
    buyer.chain.insert(outpoint(1), unspent(1, AMOUNT + 1_600));
    seller.step(Event::Fund { feerate: 10 });
    buyer.step(Event::Fund { feerate: 10 });
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    let [tx] = seller.complete.as_slice() else { panic!("{:?} {:?}", seller.refused, buyer.refused) };
    assert_eq!(tx.output.len(), 3);
}

fn unspent(number: u8, value: u64) -> InputState {
    InputState::Unspent { output: escrow(number, value), ours: false }
}

/// Bisq, 2026: values that the peer stated entered the deposit unchecked, and 11.59 BTC were taken. Here the peer states no
/// value; what his coins hold is what this side's chain shows.
#[test]
fn a_coin_that_holds_less_than_its_owner_needs_stops_the_funding_as_at_bisq_in_2026() {
    let (mut seller, mut buyer) = both_willing();
    seller.chain.insert(outpoint(101), unspent(101, 1_000));
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    assert!(seller.complete.is_empty() && seller.signed.is_empty());
    assert!(matches!(seller.refused[0], FundingError::Short { role: Role::Buyer, .. }));
    let (mut seller, mut buyer) = both_willing();
    buyer.chain.insert(outpoint(1), unspent(1, 1_000));
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    assert!(buyer.signed.is_empty() && buyer.answers.is_empty());
    assert!(matches!(buyer.refused[0], FundingError::Short { role: Role::Seller, .. }));
}

#[test]
fn only_confirmed_unspent_taproot_coins_of_others_are_taken() {
    let txid = Txid::from_byte_array([9; 32]);
    let p2wpkh = TxOut { value: Amount::from_sat(700_000), script_pubkey: destination(1).script().clone() };
    let cases = [
        InputState::Unconfirmed,
        InputState::Unknown,
        InputState::Spent { by: txid, depth: 0 },
        InputState::Unspent { output: p2wpkh, ours: false },
        InputState::Unspent { output: escrow(1, 700_000), ours: true },
        InputState::Unspent { output: escrow(1, u64::MAX), ours: false },
        InputState::Unspent { output: escrow(1, Sats::MAX.get()), ours: false },
    ];
    for state in cases {
        let (mut seller, mut buyer) = both_willing();
        buyer.chain.insert(outpoint(1), state.clone());
        negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
        assert!(buyer.signed.is_empty() && !buyer.refused.is_empty(), "{state:?}");
        // The chain comes to show it: then it goes on, with the proposal that is there.
        buyer.chain.clear();
        negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
        assert_eq!(seller.complete.len(), 1, "{state:?}");
    }
}

#[test]
fn a_feerate_out_of_reason_and_a_lock_to_come_are_refused() {
    for (feerate, height, expected) in [
        (HIGHEST + 1, TIP, FundingError::Feerate { feerate: HIGHEST + 1, highest: HIGHEST }),
        (0, TIP, FundingError::Feerate { feerate: 0, highest: MAX_SPEND_FEERATE }),
        (10, TIP + 1, FundingError::LockHeight { height: TIP + 1 }),
        (10, FROM - 1, FundingError::LockHeight { height: FROM - 1 }),
        (10, u32::MAX, FundingError::LockHeight { height: u32::MAX }),
    ] {
        let (mut seller, mut buyer) = both_willing();
        let mut tamper = |proposal: &mut Option<Proposal>, _: &mut Option<Answer>| {
            if let Some(proposal) = proposal {
                (proposal.feerate, proposal.height) = (feerate, height);
            }
        };
        negotiate(&mut tamper, &mut seller, &mut buyer);
        assert!(buyer.signed.is_empty());
        assert!(buyer.refused.contains(&expected), "{:?}", buyer.refused);
    }
}

#[test]
fn coins_are_free_when_a_trade_is_called_off_before_a_signature() {
    let (mut seller, mut buyer) = both_willing();
    seller.duties();
    for side in [&mut seller, &mut buyer] {
        side.now.open = false;
        side.duties();
        side.duties();
    }
    // The buyer too, who brought nothing yet as far as he knows: his wallet may have chosen just before a crash.
    for side in [&seller, &buyer] {
        assert_eq!(side.ends, [Effect::Free]);
    }
}

#[test]
fn a_signature_that_left_is_taken_back_by_spending_a_coin() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, answer| *answer = None, &mut seller, &mut buyer);
    assert!(buyer.state.is_bound() && !seller.state.is_bound());
    // The seller is silent. In time the buyer calls off by himself, and spends one of his coins.
    buyer.now.tip = TIP + PATIENCE - 1;
    buyer.duties();
    assert!(buyer.ends.is_empty());
    buyer.now.tip += 1;
    buyer.duties();
    assert_eq!(buyer.ends, [Effect::CallOff]);
    (buyer.now.open, buyer.now.synced) = (false, false);
    buyer.duties();
    assert_eq!(buyer.ends.len(), 1, "not before the chain is known");
    buyer.now.synced = true;
    buyer.duties();
    buyer.duties();
    assert_eq!(buyer.ends, [Effect::CallOff, Effect::SpendBack]);
    // Nothing more is signed.
    let other = Proposal { feerate: 9, height: TIP, seller: sellers().contribution };
    buyer.step(Event::Proposal(other));
    assert_eq!(buyer.refused, [FundingError::Unexpected]);
}

#[test]
fn a_seller_who_proposes_again_and_again_gains_no_time() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, answer| *answer = None, &mut seller, &mut buyer);
    for round in 1..=5 {
        buyer.now.tip = TIP + round * PROPOSAL_AGE;
        buyer.step(Event::Proposal(Proposal { feerate: 10, height: buyer.now.tip, seller: sellers().contribution }));
        buyer.duties();
    }
    assert_eq!((buyer.signed.len(), buyer.state.gives_up_at()), (6, Some(TIP + PATIENCE)));
    assert!(buyer.ends.is_empty());
    buyer.now.tip = TIP + PATIENCE;
    buyer.duties();
    assert_eq!(buyer.ends, [Effect::CallOff]);
}

#[test]
fn a_funding_that_was_relied_on_is_never_taken_back() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    for side in [&mut seller, &mut buyer] {
        // The buyer paid, a reorg took the funding back, and it was called off.
        (side.now.open, side.now.owed, side.now.tip) = (false, true, TIP + 10 * PATIENCE);
        side.duties();
        assert!(side.ends.is_empty());
    }
}

#[test]
fn a_buyer_who_spends_his_coin_elsewhere_delays_and_gains_nothing() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    let first = seller.complete[0].clone();
    let elsewhere = Txid::from_byte_array([77; 32]);
    let spent = |depth| InputState::Spent { by: elsewhere, depth };
    seller.chain.insert(outpoint(101), spent(DEAD_AFTER - 1));
    seller.duties();
    seller.step(Event::Fund { feerate: 20 });
    assert_eq!((seller.ends.len(), seller.refused.pop()), (0, Some(FundingError::Signed)), "it may still come back");
    seller.chain.insert(outpoint(101), spent(DEAD_AFTER));
    seller.duties();
    assert_eq!(seller.ends, [Effect::Forget(first.compute_txid())]);
    // Another round, with another coin of the buyer's and the same of the seller's.
    buyer = Side::new(Role::Buyer);
    buyer.mine = funder(120, &[150_000], 110);
    seller.chain.insert(outpoint(120), unspent(120, 150_000));
    buyer.step(Event::Fund { feerate: 10 });
    seller.step(Event::Fund { feerate: 20 });
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    assert_eq!(seller.complete.len(), 2, "{:?} {:?}", seller.refused, buyer.refused);
    let spends = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output == outpoint(1));
    assert!(seller.complete.iter().all(spends), "at most one can confirm");
    assert!(seller.state.has_signed(&first.compute_txid()));
}

#[test]
fn a_side_that_asks_again_and_again_is_heard_so_often_and_no_more() {
    let (mut seller, mut buyer) = both_willing();
    seller.duties();
    for round in 0..u64::from(MAX_ROUNDS) + 3 {
        let mut proposal = seller.proposals[0].clone();
        proposal.feerate = 10 + round;
        buyer.step(Event::Proposal(proposal));
        buyer.duties();
        buyer.duties();
    }
    assert_eq!(buyer.signed.len(), usize::from(MAX_ROUNDS));
    assert_eq!(buyer.refused.last(), Some(&FundingError::TooManyRounds));
    let mine: Vec<_> = buyers().outpoints();
    for tx in &buyer.signed {
        assert!(mine.iter().all(|coin| tx.input.iter().any(|input| input.previous_output == *coin)));
    }
    // The seller does not ask again at once either.
    seller.step(Event::Fund { feerate: 10 });
    assert_eq!(seller.refused, [FundingError::Outstanding]);
    seller.now.tip += PROPOSAL_AGE;
    seller.step(Event::Fund { feerate: 10 });
    assert_eq!(seller.refused.len(), 1);
}

#[test]
fn mail_that_comes_again_changes_nothing() {
    let (mut seller, mut buyer) = both_willing();
    seller.duties();
    let first = seller.proposals.pop().unwrap();
    let second = Proposal { height: TIP - 1, ..first.clone() };
    for proposal in [&first, &second, &first, &second, &first] {
        buyer.step(Event::Proposal(proposal.clone()));
        buyer.duties();
        buyer.duties();
    }
    assert_eq!((buyer.signed.len(), buyer.answers.len()), (2, 2));
    assert_eq!(buyer.answers[1].proposal, second.id());
}

#[test]
fn a_side_needs_its_output_and_its_part_of_the_weight() {
    let output = escrow(200, AMOUNT);
    // Half of the frame, 230 units a coin, 172 for the output; a change output costs as much as that, or is less than dust.
    for (coins, feerate, fee, change) in
        [(1, 1, 106, 43 + 546), (1, 4, 423, 172 + 546), (2, 10, 1_633, 430 + 546), (16, 500, 484_125, 21_500 + 546)]
    {
        assert_eq!(needed(&output, coins, feerate), Some(sats(AMOUNT + fee)), "{coins} coins at {feerate}");
        assert_eq!(most(&output, coins, feerate), Some(sats(AMOUNT + fee + change)), "{coins} coins at {feerate}");
    }
    assert_eq!((needed(&output, 1, u64::MAX), most(&output, 1, u64::MAX)), (None, None));
}

#[test]
fn coins_that_hold_exactly_what_is_needed_are_enough_and_change_begins_above_dust() {
    let terms = terms(Role::Seller);
    let proposal = Proposal { feerate: 10, height: TIP, seller: sellers().contribution };
    let needed = AMOUNT + 1_058; // 423 units, rounded up
    let with_change = needed + 310; // a P2WPKH output of 124 units
    for (held, change) in [
        (needed - 1, None),
        (needed, Some(None)),
        (with_change + 545, Some(None)),
        (with_change + 546, Some(Some(546))),
        (with_change + 547, Some(Some(547))),
    ] {
        let draft = Draft::new(&terms, &proposal, &funder(1, &[held], 10), &buyers());
        let back = |draft: Draft| {
            let script = destination(10).script().clone();
            draft.tx().output.iter().find(|output| output.script_pubkey == script).map(|output| output.value.to_sat())
        };
        assert_eq!(draft.map(back).ok(), change, "{held} held");
    }
}

#[test]
fn a_feerate_is_paid_up_to_twice_ones_own_and_a_little() {
    assert_eq!([0, 1, 10, u64::MAX].map(highest_feerate), [5, 7, 25, u64::MAX]);
    for (feerate, height) in [(HIGHEST, TIP), (1, TIP), (10, FROM)] {
        let (mut seller, mut buyer) = both_willing();
        let mut tamper = |proposal: &mut Option<Proposal>, _: &mut Option<Answer>| {
            if let Some(proposal) = proposal {
                (proposal.feerate, proposal.height) = (feerate, height);
            }
        };
        negotiate(&mut tamper, &mut seller, &mut buyer);
        assert_eq!(buyer.signed.len(), 1, "{feerate} at {height}: {:?}", buyer.refused);
    }
}

#[test]
fn no_transaction_follows_from_a_feerate_out_of_bounds() {
    let (seller, buyer) = (funder(1, &[10_000_000], 10), funder(101, &[10_000_000], 110));
    for (feerate, is_good) in [(0, false), (1, true), (MAX_SPEND_FEERATE, true), (MAX_SPEND_FEERATE + 1, false)] {
        let proposal = Proposal { feerate, height: TIP, seller: seller.contribution.clone() };
        let refused = FundingError::Feerate { feerate, highest: MAX_SPEND_FEERATE };
        let draft = Draft::new(&terms(Role::Seller), &proposal, &seller, &buyer);
        assert_eq!(draft.map(|_| ()), if is_good { Ok(()) } else { Err(refused) });
    }
}

#[test]
fn change_goes_neither_to_the_escrow_nor_to_the_other_side() {
    let proposal = Proposal { feerate: 10, height: TIP, seller: sellers().contribution };
    let to = |mut funder: Funder, script: &ScriptBuf| {
        funder.contribution.change = Destination::new(script.clone()).unwrap();
        funder
    };
    let [one, other] = [200, 201].map(|number| coin(number).script());
    let elsewhere = destination(77).script().clone();
    for (seller, buyer, refused) in [
        (&elsewhere, &elsewhere, Some(Role::Seller)),
        (&one, &elsewhere, Some(Role::Seller)),
        (&other, &elsewhere, Some(Role::Seller)),
        (&elsewhere, &one, Some(Role::Buyer)),
        (&elsewhere, &other, Some(Role::Buyer)),
        (&elsewhere, destination(78).script(), None),
    ] {
        let draft = Draft::new(&terms(Role::Seller), &proposal, &to(sellers(), seller), &to(buyers(), buyer));
        assert_eq!(draft.err(), refused.map(FundingError::Change), "{seller} {buyer}");
    }
}

/// What the chain says of a side's coins: all there.
fn all_unspent(theirs: &Funder) -> Event {
    let states = theirs.contribution.inputs.iter().zip(theirs.values.iter());
    let states = states.map(|(coin, value)| InputState::Unspent {
        output: TxOut { value: (*value).into(), script_pubkey: coin.script() },
        ours: false,
    });
    Event::Looked { theirs: theirs.contribution.clone(), states: states.collect(), highest: HIGHEST }
}

#[test]
fn a_negotiation_shows_how_far_it_is() {
    let shown = |state: &Negotiation| {
        let [proposed, answered] = [state.is_proposed(), state.is_answered()];
        [state.is_willing(), state.has_chosen(), proposed, answered, state.is_bound(), state.has_ended()]
    };
    let mut buyer = Side::new(Role::Buyer);
    let proposal = Proposal { feerate: 10, height: TIP, seller: sellers().contribution };
    let mut seen = vec![shown(&buyer.state)];
    for event in [Event::Fund { feerate: 10 }, Event::Proposal(proposal.clone()), all_unspent(&sellers())] {
        buyer.state.handle(&buyer.terms, OPEN, event).unwrap();
        seen.push(shown(&buyer.state));
    }
    let chosen = Event::Chosen { mine: buyers(), feerate: 10 };
    let asked = buyer.state.handle(&buyer.terms, OPEN, chosen).unwrap();
    seen.push(shown(&buyer.state));
    let [Effect::Sign(draft)] = asked.as_slice() else { panic!("{asked:?}") };
    let signed = sign(draft, Role::Buyer);
    buyer.state.handle(&buyer.terms, OPEN, Event::Signed(signed.clone())).unwrap();
    seen.push(shown(&buyer.state));
    assert!(buyer.state.has_signed(&signed.compute_txid()) && !buyer.state.has_signed(&outpoint(9).txid));
    assert_eq!(buyer.state.gives_up_at(), Some(TIP + PATIENCE));
    buyer.state.handle(&buyer.terms, OPEN, Event::Ended).unwrap();
    seen.push(shown(&buyer.state));
    let [t, f] = [true, false];
    assert_eq!(
        seen,
        [
            [f, f, f, f, f, f],
            [t, f, f, f, f, f],
            [t, f, t, f, f, f],
            [t, f, t, f, f, f],
            [t, t, t, f, f, f],
            [t, t, t, t, t, f],
            [t, t, t, t, t, t]
        ]
    );
}

/// Each side at each of its steps: what comes when the trade is off, the chain not known, the funding seen or all at an end.
#[test]
fn what_comes_too_late_changes_nothing() {
    let proposal = Proposal { feerate: 10, height: TIP, seller: sellers().contribution };
    let (off, blind, seen) = (Now { open: false, ..OPEN }, Now { synced: false, ..OPEN }, Now { seen: true, ..OPEN });
    let nothing = Ok(vec![]);
    let unexpected = Err(FundingError::Unexpected);
    let check = |side: &Side, now: Now, event: &Event, expected: &Result<Vec<Effect>, FundingError>| {
        let mut state = side.state.clone();
        assert_eq!(state.handle(&side.terms, now, event.clone()), *expected, "{now:?} {event:?}");
        assert_eq!(state, side.state, "{now:?} {event:?}");
    };
    let ended = |side: &Side| {
        let mut ended = Side::new(side.terms.role);
        ended.state = side.state.clone();
        ended.state.handle(&side.terms, OPEN, Event::Ended).unwrap();
        ended
    };
    let go_on = |side: &mut Side, event: &Event| side.state.handle(&side.terms, OPEN, event.clone()).unwrap();
    let mut buyer = Side::new(Role::Buyer);
    go_on(&mut buyer, &Event::Proposal(proposal.clone()));
    check(&buyer, OPEN, &all_unspent(&sellers()), &nothing); // his user has not agreed
    go_on(&mut buyer, &Event::Fund { feerate: 10 });
    let looked = all_unspent(&sellers());
    check(&buyer, off, &looked, &nothing);
    check(&buyer, blind, &looked, &nothing);
    check(&ended(&buyer), OPEN, &looked, &nothing);
    check(&ended(&buyer), OPEN, &Event::Proposal(Proposal { feerate: 9, ..proposal.clone() }), &unexpected);
    check(&ended(&buyer), OPEN, &Event::Fund { feerate: 10 }, &Err(FundingError::Signed));
    check(&buyer, OPEN, &Event::Fund { feerate: 10 }, &Err(FundingError::Outstanding));
    go_on(&mut buyer, &looked);
    let chosen = Event::Chosen { mine: buyers(), feerate: 10 };
    check(&buyer, off, &chosen, &unexpected);
    check(&ended(&buyer), OPEN, &chosen, &unexpected);
    let asked = go_on(&mut buyer, &chosen);
    let [Effect::Sign(draft)] = asked.as_slice() else { panic!("{asked:?}") };
    let signed = Event::Signed(sign(draft, Role::Buyer));
    check(&buyer, off, &signed, &unexpected);
    check(&buyer, seen, &signed, &unexpected);
    check(&ended(&buyer), OPEN, &signed, &unexpected);
    go_on(&mut buyer, &signed);
    check(&buyer, OPEN, &signed, &Err(FundingError::Signed));
    check(&buyer, OPEN, &looked, &nothing); // what is signed is signed
    let answer = buyer.state.duties(&buyer.terms, OPEN).into_iter().find_map(|effect| match effect {
        Effect::SendAnswer(answer) => Some(Event::Answer(answer)),
        _ => None,
    });
    let answer = answer.unwrap();
    check(&buyer, OPEN, &answer, &unexpected);

    let mut seller = Side::new(Role::Seller);
    check(&seller, OPEN, &answer, &unexpected); // he proposed nothing
    let chosen = Event::Chosen { mine: sellers(), feerate: 10 };
    check(&seller, off, &chosen, &unexpected);
    check(&ended(&seller), OPEN, &chosen, &unexpected);
    go_on(&mut seller, &chosen);
    check(&seller, OPEN, &Event::Fund { feerate: 10 }, &Err(FundingError::Outstanding));
    check(&seller, OPEN, &Event::Proposal(proposal), &unexpected);
    check(&ended(&seller), OPEN, &answer, &unexpected);
    go_on(&mut seller, &answer);
    let looked = all_unspent(&buyers());
    check(&seller, off, &looked, &nothing);
    check(&seller, blind, &looked, &nothing);
    check(&ended(&seller), OPEN, &looked, &nothing);
    let asked = go_on(&mut seller, &looked);
    let [Effect::Sign(draft)] = asked.as_slice() else { panic!("{asked:?}") };
    let signed = Event::Signed(sign(draft, Role::Seller));
    check(&seller, off, &signed, &unexpected);
    check(&seller, seen, &signed, &unexpected);
    check(&ended(&seller), OPEN, &signed, &unexpected);
    let done = go_on(&mut seller, &signed);
    assert!(matches!(done.as_slice(), [Effect::Complete(_)]), "{done:?}");
    check(&seller, OPEN, &signed, &Err(FundingError::Signed));
    check(&seller, OPEN, &looked, &nothing);
    check(&seller, OPEN, &answer, &unexpected);
    let later = Now { tip: TIP + PROPOSAL_AGE, ..OPEN };
    check(&seller, later, &chosen, &Err(FundingError::Signed));

    let arbiter = Side::new(Role::Arbiter);
    for event in [Event::Fund { feerate: 10 }, chosen, answer] {
        check(&arbiter, OPEN, &event, &unexpected);
    }
}

#[test]
fn only_what_rests_on_a_coin_that_is_gone_is_dead() {
    let mut buyer = Side::new(Role::Buyer);
    buyer.chain.insert(outpoint(20), unspent(20, 1_500_000));
    buyer.step(Event::Fund { feerate: 10 });
    let others = funder(20, &[1_500_000], 10);
    for seller in [sellers(), others.clone()] {
        buyer.step(Event::Proposal(Proposal { feerate: 10, height: TIP, seller: seller.contribution }));
        buyer.duties();
    }
    let [first, second] = buyer.signed.as_slice() else { panic!("{:?}", buyer.refused) };
    for (theirs, forgotten, is_bound) in
        [(&others, vec![second], true), (&others, vec![], true), (&sellers(), vec![first], false)]
    {
        let gone = InputState::Spent { by: Txid::from_byte_array([9; 32]), depth: DEAD_AFTER };
        let states = vec![gone; theirs.values.len()];
        let looked = Event::Looked { theirs: theirs.contribution.clone(), states, highest: HIGHEST };
        let effects = buyer.state.handle(&buyer.terms, Now { open: false, ..OPEN }, looked).unwrap();
        let forgotten: Vec<_> = forgotten.into_iter().map(|tx| Effect::Forget(tx.compute_txid())).collect();
        assert_eq!((effects, buyer.state.is_bound()), (forgotten, is_bound));
    }
}

#[test]
fn a_message_is_owed_until_it_is_in_the_mail() {
    let mut seller = Side::new(Role::Seller);
    let chosen = Event::Chosen { mine: sellers(), feerate: 10 };
    seller.state.handle(&seller.terms, OPEN, chosen).unwrap();
    let owed = seller.state.duties(&seller.terms, OPEN);
    let [Effect::SendProposal(proposal)] = owed.as_slice() else { panic!("{owed:?}") };
    seller.state.handle(&seller.terms, OPEN, Event::Sent).unwrap();
    assert!(seller.state.duties(&seller.terms, OPEN).is_empty());
    let mut buyer = Side::new(Role::Buyer);
    buyer.step(Event::Fund { feerate: 10 });
    buyer.step(Event::Proposal(proposal.clone()));
    buyer.duties();
    let owed = |side: &Side| {
        let duties = side.state.duties(&side.terms, OPEN);
        duties.iter().filter(|effect| matches!(effect, Effect::SendAnswer(_))).count()
    };
    assert_eq!(owed(&buyer), 1);
    buyer.state.handle(&buyer.terms, OPEN, Event::Sent).unwrap();
    assert_eq!(owed(&buyer), 0);
}

#[test]
fn nothing_is_owed_where_all_is_seen_or_at_an_end_and_what_is_owed_is_only_looked_up() {
    let (mut seller, mut buyer) = both_willing();
    negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
    for side in [&mut seller, &mut buyer] {
        let late = Now { tip: TIP + PATIENCE, ..OPEN };
        let owed = side.state.duties(&side.terms, late);
        let looks = owed.iter().filter(|effect| matches!(effect, Effect::LookUp(_))).count();
        let calls_off = usize::from(side.terms.role == Role::Buyer);
        assert_eq!((looks, owed.len()), (1, 1 + calls_off), "{owed:?}");
        for open in [true, false] {
            let owed = side.state.duties(&side.terms, Now { owed: true, open, ..late });
            assert!(matches!(owed.as_slice(), [Effect::LookUp(_)]), "{owed:?}");
        }
        for now in [Now { seen: true, ..late }, Now { synced: false, ..late }] {
            assert!(side.state.duties(&side.terms, now).is_empty(), "{now:?}");
            let off = Now { open: false, ..now };
            assert!(side.state.duties(&side.terms, off).is_empty(), "{off:?}");
        }
        side.state.handle(&side.terms, OPEN, Event::Ended).unwrap();
        for open in [true, false] {
            assert!(side.state.duties(&side.terms, Now { open, ..late }).is_empty());
        }
    }
}

/// A change that a cheat makes to a message under way.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Coin(u8, u8),
    CoinKey(u8, u8),
    MoreCoins(u8),
    NoCoins,
    Twice,
    VictimsCoin,
    ChangeToEscrow(bool),
    ChangeToVictim,
    Feerate(u64),
    Height(u32),
    Signature(u8, u8),
    SignatureCount,
    OtherProposal,
    Nothing,
}

fn lies() -> impl Strategy<Value = Lie> {
    prop_oneof![
        (any::<u8>(), any::<u8>()).prop_map(|(at, number)| Lie::Coin(at, number)),
        (any::<u8>(), 1..200u8).prop_map(|(at, number)| Lie::CoinKey(at, number)),
        (1..200u8).prop_map(Lie::MoreCoins),
        Just(Lie::NoCoins),
        Just(Lie::Twice),
        Just(Lie::VictimsCoin),
        any::<bool>().prop_map(Lie::ChangeToEscrow),
        Just(Lie::ChangeToVictim),
        any::<u64>().prop_map(Lie::Feerate),
        (0..100u64).prop_map(Lie::Feerate),
        any::<u32>().prop_map(Lie::Height),
        (any::<u8>(), any::<u8>()).prop_map(|(at, bit)| Lie::Signature(at, bit)),
        Just(Lie::SignatureCount),
        Just(Lie::OtherProposal),
        Just(Lie::Nothing),
    ]
}

fn lie_about(contribution: &mut Contribution, lie: Lie, victim: &Funder) {
    let mut coins = contribution.inputs.to_vec();
    match lie {
        Lie::Coin(at, number) if !coins.is_empty() => {
            let at = usize::from(at) % coins.len();
            coins[at].outpoint = Outpoint(outpoint(number));
        }
        Lie::CoinKey(at, number) if !coins.is_empty() => {
            let at = usize::from(at) % coins.len();
            coins[at].key = coin(number).key;
        }
        Lie::MoreCoins(number) => coins.push(coin(number)),
        Lie::NoCoins => coins.clear(),
        Lie::Twice if !coins.is_empty() => coins.push(coins[0]),
        Lie::VictimsCoin => coins.push(victim.contribution.inputs[0]),
        Lie::ChangeToEscrow(which) => {
            contribution.change = Destination::new(coin(if which { 200 } else { 201 }).script()).unwrap();
        }
        Lie::ChangeToVictim => contribution.change = victim.contribution.change.clone(),
        Lie::Coin(..)
        | Lie::CoinKey(..)
        | Lie::Twice
        | Lie::Feerate(_)
        | Lie::Height(_)
        | Lie::Signature(..)
        | Lie::SignatureCount
        | Lie::OtherProposal
        | Lie::Nothing => {}
    }
    if let Some(coins) = List::new(coins) {
        contribution.inputs = coins;
    }
}

fn lie_in_proposal(proposal: &mut Proposal, lie: Lie) {
    match lie {
        Lie::Feerate(feerate) => proposal.feerate = feerate,
        Lie::Height(height) => proposal.height = height,
        lie => lie_about(&mut proposal.seller, lie, &buyers()),
    }
}

fn lie_in_answer(answer: &mut Answer, lie: Lie) {
    let mut signatures = answer.signatures.to_vec();
    match lie {
        Lie::Signature(at, bit) if !signatures.is_empty() => {
            let at = usize::from(at) % signatures.len();
            let mut bytes = signatures[at].0.serialize();
            bytes[usize::from(bit) % 64] ^= 1 << (bit % 8);
            let forged = bitcoin::secp256k1::schnorr::Signature::from_slice(&bytes).unwrap();
            signatures[at] = CurveSignature(forged);
        }
        Lie::SignatureCount => signatures.extend(signatures.clone()),
        Lie::OtherProposal => answer.proposal[0] ^= 1,
        lie => lie_about(&mut answer.buyer, lie, &sellers()),
    }
    answer.signatures = List::new(signatures).unwrap();
}

/// What must hold of everything that a side signs, whatever it was told.
fn check_signed(side: &Side) {
    let (mine, role) = (&side.mine, side.terms.role);
    for tx in &side.signed {
        for output in [&side.terms.seller_output, &side.terms.buyer_output] {
            let script = &output.script_pubkey;
            let paid: Vec<_> = tx.output.iter().filter(|other| other.script_pubkey == *script).collect();
            assert_eq!(paid, [output], "each escrow output once, with its value");
        }
        let mut inputs: Vec<OutPoint> = tx.input.iter().map(|input| input.previous_output).collect();
        inputs.sort();
        inputs.dedup();
        assert_eq!(inputs.len(), tx.input.len());
        let witnessed = tx.input.iter().filter(|input| mine.outpoints().contains(&input.previous_output));
        assert_eq!(witnessed.count(), mine.outpoints().len(), "my coins, all of them");
        let paid = paid_by(tx, mine);
        let output = side.terms.output(role).value.to_sat();
        let coins = u64::try_from(mine.outpoints().len()).unwrap();
        let weight = 21 + 230 * coins + 4 * 43 + 4 * 31;
        assert!(paid <= output + (weight * HIGHEST).div_ceil(4) + 546, "{paid} for {output}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn whatever_a_seller_says_the_buyer_signs_nothing_that_costs_him_more(said in prop::collection::vec(lies(), 0..4)) {
        let (mut seller, mut buyer) = both_willing();
        let mut honest = true;
        let mut tamper = |proposal: &mut Option<Proposal>, _: &mut Option<Answer>| {
            if let Some(proposal) = proposal {
                let before = proposal.clone();
                said.iter().for_each(|lie| lie_in_proposal(proposal, *lie));
                honest &= *proposal == before;
            }
        };
        negotiate(&mut tamper, &mut seller, &mut buyer);
        check_signed(&buyer);
        prop_assert!(!honest || seller.complete.len() == 1);
        prop_assert!(honest || seller.complete.is_empty(), "an honest seller answers only for his own words");
    }

    #[test]
    fn whatever_a_buyer_says_the_seller_signs_nothing_that_costs_him_more(said in prop::collection::vec(lies(), 0..4)) {
        let (mut seller, mut buyer) = both_willing();
        let mut honest = true;
        let mut tamper = |_: &mut Option<Proposal>, answer: &mut Option<Answer>| {
            if let Some(answer) = answer {
                let before = answer.clone();
                said.iter().for_each(|lie| lie_in_answer(answer, *lie));
                honest &= *answer == before;
            }
        };
        negotiate(&mut tamper, &mut seller, &mut buyer);
        check_signed(&seller);
        // The buyer signed one transaction; with anything else the seller signs nothing at all.
        prop_assert_eq!(seller.complete.len(), usize::from(honest));
    }

    #[test]
    fn what_the_chain_shows_of_coins_may_change_at_any_step(steps in prop::collection::vec((0..3u8, 0..4u8), 0..8)) {
        let (mut seller, mut buyer) = both_willing();
        let mut seen = steps.iter();
        for _ in 0..8 {
            if let Some((which, what)) = seen.next() {
                let number = [1, 2, 101][usize::from(*which)];
                let state = match what {
                    0 => InputState::Unknown,
                    1 => InputState::Unconfirmed,
                    2 => InputState::Spent { by: Txid::from_byte_array([7; 32]), depth: DEAD_AFTER },
                    _ => unspent(number, 5_000),
                };
                seller.chain.insert(outpoint(number), state.clone());
                buyer.chain.insert(outpoint(number), state);
            } else {
                seller.chain.clear();
                buyer.chain.clear();
            }
            negotiate(&mut |_, _| {}, &mut seller, &mut buyer);
            check_signed(&seller);
            check_signed(&buyer);
            for side in [&seller, &buyer] {
                let coin = side.mine.outpoints()[0];
                let conflicts = |tx: &Transaction| tx.input.iter().any(|input| input.previous_output == coin);
                prop_assert!(side.signed.iter().all(conflicts), "any two spend the same coin");
            }
        }
    }
}
