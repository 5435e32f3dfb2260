//! The two wallets that fund an escrow with bonds, each with one coin, and what they make together.

use bitcoin::hashes::Hash;
use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WPubkeyHash, Witness};
use exchange_ledger::testing::{SampleTrade, even_keypair, sats};
use exchange_ledger::trade::funding::{Contribution, Draft, Event, Funder, Input, InputState, Negotiation};
use exchange_ledger::trade::{
    Action, ChainFacts, Command, Effect, Event as Happens, Facts, Local, Role, Trade, counterparty,
};
use exchange_ledger::wire::{CurveKey, Destination, List, Outpoint};

use crate::fixture::FEERATE;

/// The height at which both wallets sign.
const HEIGHT: u32 = 200;

/// Returns which number stands for a side's coin, key and change.
const fn number(role: Role) -> u8 {
    match role {
        Role::Seller => 1,
        Role::Buyer | Role::Arbiter => 101,
    }
}

fn key(role: Role) -> Keypair {
    even_keypair([number(role); 32])
}

/// Returns a side's coin.
pub fn coin_of(role: Role) -> OutPoint {
    OutPoint { txid: Txid::from_byte_array([number(role); 32]), vout: 7 }
}

/// Returns what a side brings: enough for its output and its part of the fee.
pub fn funder(role: Role) -> Funder {
    let key = CurveKey(key(role).x_only_public_key().0);
    let input = Input { outpoint: Outpoint(coin_of(role)), key, height: HEIGHT - 100 };
    let change = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([number(role); 20]));
    let inputs = List::new(vec![input]).expect("one is few");
    let change = Destination::new(change).expect("P2WPKH is standard");
    let held = if role == Role::Seller { 1_500_000 } else { 300_000 };
    Funder { contribution: Contribution { inputs, change }, values: List::new(vec![sats(held)]).expect("one is few") }
}

/// Returns the output that is a side's coin.
pub fn coin_output(role: Role) -> TxOut {
    let Funder { contribution, values } = funder(role);
    TxOut { value: Amount::from(values[0]), script_pubkey: contribution.inputs[0].script() }
}

/// Signs a side's coins, as its wallet does.
pub fn sign(draft: &Draft, role: Role) -> Transaction {
    let mut tx = draft.tx().clone();
    for coin in draft.coins(role) {
        let (at, message) = draft.sighash(coin).expect("the draft spends it");
        let signature = Secp256k1::new().sign_schnorr_no_aux_rand(&message, &key(role));
        tx.input[at].witness = Witness::from_slice(&[signature.serialize()]);
    }
    tx
}

/// Lets the machines of both sides fund a trade, with no mishap; returns the transaction and what the buyer and the seller
/// keep of how they came to it.
pub fn fund(trade: &SampleTrade) -> (Transaction, [Negotiation; 2]) {
    let mut sides = [Role::Buyer, Role::Seller].map(|role| {
        let mut machine = Trade::new(trade.bid(), role, false, Local::default());
        let contract = Some(trade.contract());
        let _ = machine.handle(Happens::Records { contract, facts: Facts::default() });
        let _ = machine.handle(Happens::Chain(ChainFacts { tip: HEIGHT, synced: true, ..ChainFacts::default() }));
        machine
    });
    let agrees = || Happens::Command(Command { action: Action::Fund, feerate: FEERATE });
    let mut events = vec![(Role::Buyer, agrees()), (Role::Seller, agrees())];
    let mut funding = None;
    while let Some((role, event)) = events.pop() {
        for effect in sides[usize::from(role == Role::Seller)].handle(event).expect("nothing is amiss") {
            let (to, event) = match effect {
                Effect::ChooseCoins { feerate, .. } => (role, Event::Chosen { mine: funder(role), feerate }),
                Effect::LookUpCoins(theirs) => {
                    let output = coin_output(counterparty(role));
                    let states = vec![InputState::Unspent { output, ours: false }];
                    (role, Event::Looked { theirs, states, highest: 25 })
                }
                Effect::SignFunding(draft) => (role, Event::Signed(sign(&draft, role))),
                Effect::SendProposal(proposal) => {
                    events.push((role, Happens::Joint(Event::Sent)));
                    (Role::Buyer, Event::Proposal(proposal))
                }
                Effect::SendAnswer(answer) => {
                    events.push((role, Happens::Joint(Event::Sent)));
                    (Role::Seller, Event::Answer(answer))
                }
                Effect::Broadcast(tx) => {
                    funding = Some(tx);
                    continue;
                }
                _ => continue, // what is kept is read at the end
            };
            events.push((to, Happens::Joint(event)));
        }
    }
    (funding.expect("both brought what they owe"), sides.map(|machine| machine.local().negotiation.clone()))
}
