//! `funding.json`: what two sides bring, the messages in which they say so, and the one transaction that follows.

use bitcoin::hashes::Hash;
use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WPubkeyHash};
use serde_json::{Value, json};

use super::{check, hex};
use crate::testing::{even_keypair, sats};
use crate::trade::Role;
use crate::trade::funding::{Answer, Contribution, Draft, Funder, Input, Proposal, Terms};
use crate::wire::{CurveKey, CurveSignature, Destination, List, Outpoint};

/// The secrets of the vectors are 32 bytes of a number, negated if the public key has an odd Y.
fn key(number: u8) -> Keypair {
    even_keypair([number; 32])
}

fn input(number: u8) -> Input {
    let outpoint = OutPoint { txid: Txid::from_byte_array([number; 32]), vout: u32::from(number) };
    Input { outpoint: Outpoint(outpoint), key: CurveKey(key(number).x_only_public_key().0), height: 950 }
}

fn funder(numbers: &[u8], values: &[u64], change: u8) -> Funder {
    let change = ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array([change; 20]));
    Funder {
        contribution: Contribution {
            inputs: List::new(numbers.iter().map(|number| input(*number)).collect()).unwrap(),
            change: Destination::new(change).unwrap(),
        },
        values: List::new(values.iter().map(|value| sats(*value)).collect()).unwrap(),
    }
}

fn output(number: u8, value: u64) -> TxOut {
    TxOut { value: Amount::from_sat(value), script_pubkey: input(number).script() }
}

fn terms() -> Terms {
    Terms {
        role: Role::Seller,
        seller_output: output(200, 1_100_000),
        buyer_output: output(201, 100_000),
        from_height: 900,
    }
}

#[test]
fn fundings_come_out_as_published() {
    let cases = [
        case("both have change", &funder(&[9, 2], &[700_000, 600_000], 10), &funder(&[5], &[150_000], 110), 10),
        case(
            "the buyer's change is dust",
            &funder(&[9], &[1_300_000], 10),
            &funder(&[5, 1], &[60_000, 41_300], 110),
            4,
        ),
    ];
    let computed = json!({
        "description": "Funding from two wallets, see ../funding.md. The secret of an input is 32 bytes of the number that its txid repeats, negated if its public key has an odd Y.",
        "cases": cases,
    });
    check("funding.json", &computed);
}

/// Returns what the two say to each other in the second case.
pub(super) fn messages() -> (Proposal, Answer) {
    let (seller, buyer) = (funder(&[9], &[1_300_000], 10), funder(&[5, 1], &[60_000, 41_300], 110));
    let proposal = Proposal { feerate: 4, height: 1_000, seller: seller.contribution.clone() };
    let draft = Draft::new(&terms(), &proposal, &seller, &buyer).unwrap();
    let signatures = List::new(sign(&draft, Role::Buyer)).unwrap();
    let answer = Answer { proposal: proposal.id(), buyer: buyer.contribution, signatures };
    (proposal, answer)
}

fn case(name: &str, seller: &Funder, buyer: &Funder, feerate: u64) -> Value {
    let terms = terms();
    let proposal = Proposal { feerate, height: 1_000, seller: seller.contribution.clone() };
    let mut draft = Draft::new(&terms, &proposal, seller, buyer).unwrap();
    let unsigned = draft.tx().clone();
    let buyers = sign(&draft, Role::Buyer);
    draft.attach(Role::Buyer, &buyers).unwrap();
    let sellers = sign(&draft, Role::Seller);
    draft.attach(Role::Seller, &sellers).unwrap();
    let signatures = List::new(buyers).unwrap();
    let answer = Answer { proposal: proposal.id(), buyer: buyer.contribution.clone(), signatures };
    let inputs = unsigned.input.iter().zip(draft.prevouts()).map(|(input, spent)| {
        let OutPoint { txid, vout } = input.previous_output;
        let sighash = hex(draft.sighash(&input.previous_output).unwrap().1.as_ref());
        let spends = json!({ "value": spent.value.to_sat(), "script": hex(&spent.script_pubkey) });
        json!({ "txid": txid, "vout": vout, "sequence": input.sequence.0, "spends": spends, "sighash": sighash })
    });
    let inputs: Vec<Value> = inputs.collect();
    json!({
        "name": name,
        "seller_output": describe(&terms.seller_output),
        "buyer_output": describe(&terms.buyer_output),
        "seller": side(seller),
        "buyer": side(buyer),
        "feerate": feerate,
        "height": proposal.height,
        "proposal": hex(borsh::to_vec(&proposal).unwrap()),
        "proposal_id": hex(proposal.id()),
        "answer": hex(borsh::to_vec(&answer).unwrap()),
        "tx": {
            "version": unsigned.version.0,
            "lock_time": unsigned.lock_time.to_consensus_u32(),
            "inputs": inputs,
            "outputs": unsigned.output.iter().map(describe).collect::<Vec<_>>(),
        },
        "txid": unsigned.compute_txid(),
        "signed": hex(bitcoin::consensus::serialize::<Transaction>(draft.tx())),
        "weight": draft.tx().weight().to_wu(),
    })
}

fn sign(draft: &Draft, role: Role) -> Vec<CurveSignature> {
    let sign = |coin: &OutPoint| {
        let (_, message) = draft.sighash(coin).unwrap();
        CurveSignature(Secp256k1::new().sign_schnorr_no_aux_rand(&message, &key(coin.txid.to_byte_array()[0])))
    };
    draft.coins(role).iter().map(sign).collect()
}

fn describe(output: &TxOut) -> Value {
    json!({ "value": output.value.to_sat(), "script": hex(&output.script_pubkey) })
}

fn side(funder: &Funder) -> Value {
    let Funder { contribution, values } = funder;
    let inputs = contribution.inputs.iter().zip(values.iter()).map(|(input, value)| {
        let OutPoint { txid, vout } = input.outpoint.0;
        json!({ "txid": txid, "vout": vout, "key": input.key.0.to_string(), "height": input.height, "value": value.get() })
    });
    json!({ "inputs": inputs.collect::<Vec<_>>(), "change": hex(contribution.change.script()) })
}
