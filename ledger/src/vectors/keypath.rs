//! `keypath.json`: payouts signed as one, from the secret nonces to the bytes of the transaction, and messages of a round
//! that must be refused.

use serde_json::{Value, json};

use super::{check, hex, read};
use crate::body::{Side, Vaults};
use crate::money::Sats;
use crate::testing::{SampleTrade, sats, vaults_of};
use crate::trade::{
    Ask, Contract, Escrow, KeyPathError, Nonces, PartialSignature, PublicNonce, Reply, Role, SpendPath, Vault,
};
use crate::wire::{List, TxId};

const BUYERS: [u8; 32] = [0xb0; 32];
const SELLERS: [u8; 32] = [0x5e; 32];
const FEERATE: u64 = 10;

/// A released trade and what both say in a round about it.
struct Round {
    trade: SampleTrade,
    escrow: Escrow,
    vaults: Vaults,
    fee: Sats,
}

impl Round {
    fn of(mut trade: SampleTrade, contract: &Contract) -> Self {
        let escrow = Escrow::new(contract);
        let vaults = vaults_of(&escrow, 1);
        let key = trade.author(Role::Seller).trade_key();
        let by_leaf = escrow.fee_at(&vaults, Role::Buyer, FEERATE).unwrap();
        let fee = escrow.key_fee(&escrow.half(&vaults, by_leaf, Role::Buyer, &key).unwrap()).unwrap();
        Self { trade, escrow, vaults, fee }
    }

    fn key(&mut self, role: Role) -> bitcoin::key::Keypair {
        self.trade.author(role).trade_key()
    }

    fn ask(&mut self) -> Ask {
        let key = self.key(Role::Buyer);
        self.escrow.ask(&self.vaults, self.fee, &key, &BUYERS).unwrap().0
    }

    fn reply(&mut self, ask: &Ask) -> Reply {
        let key = self.key(Role::Seller);
        self.escrow.reply(ask, &self.vaults, &key, &SELLERS).unwrap()
    }

    fn judge(&mut self, reply: &Reply) -> Result<String, KeyPathError> {
        let key = self.key(Role::Buyer);
        let (_, asked) = self.escrow.ask(&self.vaults, self.fee, &key, &BUYERS).unwrap();
        let draft = self.escrow.complete_by_key(asked, reply, &key)?;
        Ok(hex(bitcoin::consensus::serialize(&draft.tx)))
    }
}

fn rounds() -> [(&'static str, Round); 3] {
    let plain = |side| {
        let trade = SampleTrade::new(side);
        let contract = trade.contract();
        Round::of(trade, &contract)
    };
    let bonded = SampleTrade::with_second(Side::Buy);
    let contract = bonded.bonded();
    [
        ("the maker sells", plain(Side::Sell)),
        ("the maker buys", plain(Side::Buy)),
        ("two arbiters, bonds on both sides", Round::of(bonded, &contract)),
    ]
}

#[test]
fn payouts_signed_as_one_come_out_as_published() {
    let valid: Vec<Value> = rounds().into_iter().map(|(name, round)| describe(name, round)).collect();
    let [.., (_, bonded)] = rounds();
    let computed = json!({
        "description": "Payouts by the key of both, see ../escrow.md, of the cases of escrow.json with the same name. Secret nonces are for these vectors only: never sign with a nonce that anybody has seen.",
        "valid": valid,
        "invalid": invalid(bonded),
    });
    check("keypath.json", &computed);
}

#[test]
fn published_messages_of_a_round_are_judged_by_their_bytes_alone() {
    let file = read("keypath.json");
    let [.., (_, mut round)] = rounds();
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    for vector in file["invalid"]["asks"].as_array().unwrap() {
        let ask: Ask = borsh::from_slice(&bytes(&vector["ask"])).unwrap();
        let refused = round.escrow.check_ask(&ask, &round.vaults).unwrap_err();
        assert_eq!(refused.to_string(), vector["error"].as_str().unwrap(), "{}", vector["name"]);
    }
    for vector in file["invalid"]["replies"].as_array().unwrap() {
        let reply: Reply = borsh::from_slice(&bytes(&vector["reply"])).unwrap();
        let refused = round.judge(&reply).unwrap_err();
        assert_eq!(refused.to_string(), vector["error"].as_str().unwrap(), "{}", vector["name"]);
    }
    for (vector, (_, mut round)) in file["valid"].as_array().unwrap().iter().zip(rounds()) {
        let reply: Reply = borsh::from_slice(&bytes(&vector["reply"])).unwrap();
        assert_eq!(round.judge(&reply).unwrap(), vector["signed"].as_str().unwrap());
    }
}

fn describe(name: &str, mut round: Round) -> Value {
    let ask = round.ask();
    let reply = round.reply(&ask);
    let [buyer, seller] = [Role::Buyer, Role::Seller].map(|role| round.key(role));
    let draft = round.escrow.key_payout(&round.vaults, round.fee).unwrap();
    let (of_buyer, mine, parts) = round.escrow.known_round(&draft, Role::Buyer, &buyer, &BUYERS, &reply.nonces);
    let (of_seller, theirs, replied) = round.escrow.known_round(&draft, Role::Seller, &seller, &SELLERS, &ask.nonces);
    assert_eq!((&mine, &theirs, &replied[..]), (&ask.nonces, &reply.nonces, &reply.signatures[..]));
    let signed = round.judge(&reply).unwrap();
    let tx: bitcoin::Transaction = bitcoin::consensus::deserialize(&hex::decode(&signed).unwrap()).unwrap();
    assert_eq!(round.escrow.classify(&tx, &round.vaults), SpendPath::Payout);
    assert_eq!(round.escrow.check_witness(&tx, &round.vaults), Ok(None));
    let side = |secret: &[u8; 64], public: &PublicNonce, part: &PartialSignature| json!({ "secret_nonces": [hex(&secret[..32]), hex(&secret[32..])], "public_nonce": hex(public.0), "partial_signature": hex(part.0) });
    let inputs = draft.spent.iter().zip(&tx.input).enumerate().map(|(at, ((vault, output), input))| {
        let info = round.escrow.spend_info(*vault).unwrap();
        json!({
            "vault": if *vault == Vault::Escrow { "escrow" } else { "bond" },
            "txid": input.previous_output.txid,
            "vout": input.previous_output.vout,
            "value": output.value.to_sat(),
            "sequence": input.sequence.0,
            "output_key": info.output_key().to_string(),
            "sighash": hex(draft.key_sighash(at).as_ref()),
            "buyer": side(&of_buyer[at], &mine[at], &parts[at]),
            "seller": side(&of_seller[at], &theirs[at], &replied[at]),
            "signature": hex(&input.witness[0]),
        })
    });
    let outputs =
        tx.output.iter().map(|output| json!({ "value": output.value.to_sat(), "script": hex(&output.script_pubkey) }));
    json!({
        "name": name,
        "feerate": FEERATE,
        "fee": round.fee,
        "tx": {
            "version": tx.version.0,
            "lock_time": tx.lock_time.to_consensus_u32(),
            "inputs": inputs.collect::<Vec<_>>(),
            "outputs": outputs.collect::<Vec<_>>(),
        },
        "ask": hex(borsh::to_vec(&ask).unwrap()),
        "ask_id": hex(ask.id()),
        "reply": hex(borsh::to_vec(&reply).unwrap()),
        "signed": signed,
        "txid": tx.compute_txid(),
        "vsize": tx.vsize(),
    })
}

fn list<T: Clone>(items: &[T]) -> List<T, 2> {
    List::new(items.to_vec()).unwrap()
}

fn negated(nonce: &PublicNonce) -> PublicNonce {
    let mut bytes = nonce.0;
    bytes[0] ^= 1;
    bytes[33] ^= 1;
    PublicNonce(bytes)
}

fn invalid(mut round: Round) -> Value {
    let ask = round.ask();
    let reply = round.reply(&ask);
    let infinity = PublicNonce([0; 66]);
    let mut off_curve = ask.nonces[0];
    off_curve.0[1..33].fill(0xff);
    let with = |nonces: &[PublicNonce]| Ask { nonces: list(nonces), ..ask.clone() };
    let by_leaf = round.escrow.fee_at(&round.vaults, Role::Buyer, FEERATE).unwrap();
    let leaf = round.escrow.spend(&round.vaults, by_leaf, Role::Buyer).unwrap();
    let cheap = sats(212);
    let asks = [
        ("another fee than that of the transaction", "spend", Ask { fee: sats(round.fee.get() + 1), ..ask.clone() }),
        ("the payout by the leaf", "spend", Ask { spend: TxId(leaf.tx.compute_txid()), ..ask.clone() }),
        ("a fee that no node relays", "fee", Ask { fee: cheap, ..ask.clone() }),
        ("a fee above 500 sat/vB", "fee", Ask { fee: sats(106_501), ..ask.clone() }),
        ("a nonce for one of two inputs", "nonces", with(&ask.nonces[..1])),
        ("a nonce at infinity", "nonces", with(&[ask.nonces[0], infinity])),
        ("a nonce that is not on the curve", "nonces", with(&[off_curve, ask.nonces[1]])),
    ];
    let asks: Vec<Value> = asks
        .into_iter()
        .map(|(name, rule, ask)| {
            let error = round.escrow.check_ask(&ask, &round.vaults).map(|_| ()).unwrap_err().to_string();
            json!({ "name": name, "rule": rule, "error": error, "ask": hex(borsh::to_vec(&ask).unwrap()) })
        })
        .collect();
    let mut flipped = reply.signatures[0];
    flipped.0[31] ^= 1;
    let above = PartialSignature([0xff; 32]);
    let signed = |parts: &[PartialSignature]| Reply { signatures: list(parts), ..reply.clone() };
    let shown = |nonces: Nonces| Reply { nonces, ..reply.clone() };
    let [first, second] = [reply.signatures[0], reply.signatures[1]];
    let replies = [
        ("to another ask", "ask", Reply { ask: [0; 32], ..reply.clone() }),
        ("a changed partial signature", "partial", signed(&[flipped, second])),
        ("partial signatures of the other inputs", "partial", signed(&[second, first])),
        ("a partial signature for one of two inputs", "partial", signed(&[first])),
        ("a partial signature above the order", "partial", signed(&[first, above])),
        ("the nonces of the other inputs", "partial", shown(list(&[reply.nonces[1], reply.nonces[0]]))),
        (
            "nonces that cancel those of the ask",
            "partial",
            shown(list(&[negated(&ask.nonces[0]), negated(&ask.nonces[1])])),
        ),
        ("a nonce at infinity", "nonces", shown(list(&[infinity, reply.nonces[1]]))),
    ];
    let replies: Vec<Value> = replies
        .into_iter()
        .map(|(name, rule, reply)| {
            let error = round.judge(&reply).unwrap_err().to_string();
            json!({ "name": name, "rule": rule, "error": error, "reply": hex(borsh::to_vec(&reply).unwrap()) })
        })
        .collect();
    json!({ "of": "the last valid round", "asks": asks, "replies": replies })
}
