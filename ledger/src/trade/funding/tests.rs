//! Two sides and a chain between them: honest, lying, vanishing, spending their coins twice. Here are the sides and what
//! they bring; what is tested of them stands in a file each.

mod checks;
mod draft;
mod ends;
mod lies;
mod steps;

use std::collections::HashMap;

use bitcoin::hashes::Hash;
use bitcoin::key::Keypair;
use bitcoin::secp256k1::Secp256k1;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WPubkeyHash, Witness};

use super::*;
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

fn unspent(number: u8, value: u64) -> InputState {
    InputState::Unspent { output: escrow(number, value), ours: false }
}
