//! `chain.json`: which outputs fund an escrow, by where they lie and which height its acceptance states.

use bitcoin::consensus::serialize;
use bitcoin::{Amount, Transaction, TxOut};
use serde_json::{Value, json};

use super::{check, hex};
use crate::body::Side;
use crate::testing::{SampleTrade, spend_of_nowhere};
use crate::trade::{ChainFacts, Contract, Escrow};

/// What an output pays.
#[derive(Debug, Clone, Copy)]
enum Pays {
    /// The escrow.
    E0,
    /// The buyer's bond.
    E1,
    /// The escrow, a satoshi less than it asks for.
    Less,
    /// As much to somebody else.
    Change,
}
use Pays::{Change, E0, E1, Less};

/// What a follower has seen of an escrow: the height of the block, if one holds it, and what is paid.
type Tx = (Option<u32>, &'static [Pays]);

/// Name, whether there are bonds, the height that is stated, the tip, and what was seen.
type Case = (&'static str, bool, u32, u32, &'static [Tx]);

const CASES: [Case; 9] = [
    (
        "a day of blocks below the stated height, and lower",
        false,
        1_000,
        1_200,
        &[
            (Some(1), &[E0]),
            (Some(855), &[E0]),
            (Some(856), &[E0]),
            (Some(901), &[E0]),
            (Some(999), &[E0]),
            (Some(1_000), &[E0]),
            (Some(1_200), &[E0]),
        ],
    ),
    ("the next block is too low", false, 1_000, 854, &[(Some(854), &[E0]), (None, &[E0])]),
    ("the next block is high enough", false, 1_000, 855, &[(Some(855), &[E0]), (None, &[E0])]),
    ("a height to come", false, 1_145, 1_002, &[(Some(1_000), &[E0]), (Some(1_001), &[E0]), (None, &[E0])]),
    ("a height that never comes", false, u32::MAX, 1_200, &[(Some(1_100), &[E0]), (None, &[E0])]),
    ("a height near the first block", false, 100, 150, &[(Some(1), &[E0]), (Some(100), &[E0]), (None, &[E0])]),
    (
        "twice in one transaction, and a satoshi less",
        false,
        1_000,
        1_200,
        &[
            (Some(1_001), &[E0, Change, E0]),
            (Some(1_002), &[Less]),
            (Some(1_003), &[Less, E0]),
            (Some(1_004), &[Change]),
        ],
    ),
    (
        "with bonds each escrow needs one of its own",
        true,
        1_000,
        1_200,
        &[
            (Some(1_001), &[E0]),
            (Some(1_002), &[E1]),
            (Some(1_003), &[E1, E0]),
            (Some(1_004), &[E0, E0, E1]),
            (Some(1_005), &[E0, E1, Change, E0, E1]),
            (Some(1_006), &[Less, E1]),
        ],
    ),
    ("with bonds it lies too low likewise", true, 1_000, 1_200, &[(Some(855), &[E0, E1]), (Some(856), &[E0, E1])]),
];

#[test]
fn fundings_count_as_published() {
    let plain = SampleTrade::new(Side::Sell).contract();
    let bonded = SampleTrade::with_second(Side::Buy).bonded();
    let cases = CASES.map(|case| {
        let (of, contract) =
            if case.1 { ("two arbiters, bonds on both sides", &bonded) } else { ("the maker sells", &plain) };
        describe(case, of, contract)
    });
    let computed = json!({
        "description": "Which outputs are fundings, see ../trades.md. The contract is that of the case of this name in escrow.json, but for its height; the outputs are those of its escrow. A transaction's height is that of its block, null in the pool; its fundings are the places of those outputs for E0 that count.",
        "cases": cases,
    });
    check("chain.json", &computed);
}

fn describe((name, _, stated, tip, seen): Case, of: &str, contract: &Contract) -> Value {
    let escrow = Escrow::new(&Contract { height: stated, ..contract.clone() });
    let made = |(at, (height, pays)): (usize, &Tx)| {
        let outputs = pays.iter().map(|pays| output(&escrow, *pays)).collect();
        (spend_of_nowhere(u8::try_from(at + 1).unwrap(), outputs), *height)
    };
    let txs: Vec<(Transaction, Option<u32>)> = seen.iter().enumerate().map(made).collect();
    let facts = ChainFacts::gather(&escrow, tip, true, txs.iter().map(|(tx, height)| (tx, *height)));
    let described = txs.iter().map(|(tx, height)| {
        let txid = tx.compute_txid();
        let counting = facts.fundings.iter().filter(|funding| funding.outpoint().txid == txid);
        assert!(counting.clone().all(|funding| funding.height == *height));
        let places: Vec<u32> = counting.map(|funding| funding.outpoint().vout).collect();
        json!({ "height": height, "tx": hex(serialize(tx)), "txid": txid, "fundings": places })
    });
    let paid = std::iter::once(escrow.output()).chain(escrow.bond_output());
    let paid = paid.map(|output| json!({ "value": output.value.to_sat(), "script": hex(&output.script_pubkey) }));
    json!({
        "name": name,
        "contract": of,
        "height": stated,
        "outputs": paid.collect::<Vec<_>>(),
        "tip": tip,
        "txs": described.collect::<Vec<_>>(),
    })
}

fn output(escrow: &Escrow, pays: Pays) -> TxOut {
    let held = escrow.output();
    match pays {
        E0 => held,
        E1 => escrow.bond_output().unwrap(),
        Less => TxOut { value: held.value - Amount::ONE_SAT, ..held },
        Change => TxOut { script_pubkey: escrow.contract().buyer_party.destination.script().clone(), ..held },
    }
}
