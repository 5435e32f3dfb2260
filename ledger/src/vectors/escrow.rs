//! `escrow.json`: from two offers to the bytes of every spend.

use std::str::FromStr;

use bitcoin::secp256k1::{SecretKey, XOnlyPublicKey, schnorr};
use bitcoin::taproot::{LeafVersion, TapNodeHash};
use bitcoin::{Network, OutPoint, TapLeafHash, Transaction};
use miniscript::Descriptor;
use serde_json::{Value, json};

use super::{check, hex, read};
use crate::body::{Party, Side};
use crate::record::Record;
use crate::testing::{SampleTrade, sats};
use crate::trade::{Bid, Contract, Escrow, Leaf, Role};

const LEAVES: [(Leaf, &str); 4] = [
    (Leaf::Both, "both"),
    (Leaf::Refund, "refund"),
    (Leaf::SellerArbiter, "seller_arbiter"),
    (Leaf::BuyerArbiter, "buyer_arbiter"),
];

#[test]
fn escrows_come_out_as_published() {
    let cases = [("the maker sells", Side::Sell), ("the maker buys", Side::Buy)];
    let cases = cases.map(|(name, side)| case(name, SampleTrade::new(side)));
    let computed = json!({
        "description": "Escrows, see ../escrow.md. Secrets are for these vectors only. Transactions are in Bitcoin's encoding.",
        "cases": cases,
    });
    check("escrow.json", &computed);
}

#[test]
fn published_records_give_the_published_address() {
    for case in read("escrow.json")["cases"].as_array().unwrap() {
        let record =
            |name: &str| Record::decode(&hex::decode(case["records"][name].as_str().unwrap()).unwrap()).unwrap();
        let bid = Bid::new(&record("offer"), &record("take"), Some(&record("advert"))).unwrap();
        let escrow = Escrow::new(&bid.accepted(&record("accept")).unwrap());
        assert_eq!(escrow.address(Network::Regtest).to_string(), case["addresses"]["regtest"]);
        for spend in case["spends"].as_array().unwrap() {
            let bytes = hex::decode(spend["signed"].as_str().unwrap()).unwrap();
            let tx: Transaction = bitcoin::consensus::deserialize(&bytes).unwrap();
            let path = escrow.classify(&tx, tx.input[0].previous_output);
            assert_eq!(format!("{path:?}").to_lowercase(), spend["name"].as_str().unwrap());
        }
    }
}

fn case(name: &str, mut trade: SampleTrade) -> Value {
    let (contract, escrow) = (trade.contract(), trade.escrow());
    let Ok(Descriptor::Tr(tree)) = Descriptor::<XOnlyPublicKey>::from_str(escrow.descriptor()) else {
        panic!("{} is no descriptor of Taproot", escrow.descriptor());
    };
    let info = tree.spend_info();
    let root = info.merkle_root().unwrap();
    let roles = [Role::Buyer, Role::Seller, Role::Arbiter];
    let secrets = roles.map(|role| trade.author(role).trade_key().secret_key());
    let keys = [contract.buyer_party.trade_key, contract.seller_party.trade_key, contract.arbiter_key];
    let leaves = LEAVES.map(|(leaf, name)| {
        let script = escrow.leaf(leaf);
        let control = info.control_block(&(script.clone(), LeafVersion::TapScript)).unwrap();
        let leaf_hash = TapLeafHash::from_script(script, LeafVersion::TapScript).to_string();
        json!({ "name": name, "script": hex(script), "leaf_hash": leaf_hash, "control_block": hex(control.serialize()) })
    });
    let networks = [Network::Bitcoin, Network::Testnet, Network::Signet, Network::Regtest];
    let addresses: serde_json::Map<String, Value> =
        networks.map(|network| (network.to_string(), escrow.address(network).to_string().into())).into_iter().collect();
    json!({
        "name": name,
        "records": {
            "advert": hex(trade.advert.encode()),
            "offer": hex(trade.offer.encode()),
            "take": hex(trade.take.encode()),
            "accept": hex(trade.accept.encode()),
        },
        "contract": describe(&contract),
        "contract_bytes": hex(borsh::to_vec(&contract).unwrap()),
        "contract_hash": contract.hash(),
        "secrets": per_role(secrets.map(|secret: SecretKey| hex(secret.secret_bytes()))),
        "keys": per_role(keys.map(|key| key.0.to_string())),
        "arbiter_tweak": hex(tweak(&contract)),
        "tweaked_arbiter_key": hex(&escrow.leaf(Leaf::SellerArbiter).as_bytes()[35..67]),
        "internal_key": info.internal_key().to_string(),
        "descriptor": escrow.descriptor(),
        "leaves": leaves,
        "merkle_root": root.to_string(),
        "tap_tweak": hex(tap_tweak(info.internal_key(), root)),
        "output_key": info.output_key().to_string(),
        "script_pubkey": hex(escrow.script()),
        "addresses": addresses,
        "mailboxes": { "buyer": contract.mailbox(&contract.buyer), "seller": contract.mailbox(&contract.seller) },
        "spends": spends(&mut trade, &escrow),
    })
}

fn tweak(contract: &Contract) -> [u8; 32] {
    crate::hash::tagged("exchange/arbiter-tweak/v1", &[&contract.arbiter_key.0.serialize(), contract.hash().as_bytes()])
}

fn tap_tweak(internal: XOnlyPublicKey, root: TapNodeHash) -> [u8; 32] {
    bitcoin::TapTweakHash::from_key_and_tweak(internal, Some(root)).to_scalar().to_be_bytes()
}

fn per_role(values: [String; 3]) -> Value {
    let [buyer, seller, arbiter] = values;
    json!({ "buyer": buyer, "seller": seller, "arbiter": arbiter })
}

fn spends(trade: &mut SampleTrade, escrow: &Escrow) -> Vec<Value> {
    let outpoint = escrow.fundings(&trade.funding(1))[0];
    let fee = escrow.fee_at(10).unwrap();
    let (buyer, seller) = (trade.author(Role::Buyer).trade_key(), trade.author(Role::Seller).trade_key());
    let half = |to, key| escrow.half(outpoint, fee, to, key).unwrap();
    let payout = escrow.complete(&half(Role::Buyer, &seller), Role::Buyer, &buyer).unwrap();
    let refund = escrow.complete(&half(Role::Seller, &buyer), Role::Seller, &seller).unwrap();
    let timeout = escrow.signed_timeout(outpoint, fee, &seller).unwrap();
    [("payout", Leaf::Both, payout), ("refund", Leaf::Both, refund), ("timeout", Leaf::Refund, timeout)]
        .map(|(name, leaf, tx)| spend(name, leaf, &tx, escrow, outpoint))
        .into()
}

fn spend(name: &str, leaf: Leaf, tx: &Transaction, escrow: &Escrow, outpoint: OutPoint) -> Value {
    let witness: Vec<String> = tx.input[0].witness.iter().map(hex).collect();
    let signatures = match leaf {
        Leaf::Both => json!({ "seller": witness[0], "buyer": witness[1] }),
        Leaf::Refund | Leaf::SellerArbiter | Leaf::BuyerArbiter => json!({ "seller": witness[0] }),
    };
    for signature in signatures.as_object().unwrap().values() {
        schnorr::Signature::from_str(signature.as_str().unwrap()).unwrap();
    }
    let fee = escrow.output().value - tx.output[0].value;
    assert_eq!(fee.to_sat(), sats(1_700).get());
    json!({
        "name": name,
        "leaf": LEAVES.iter().find(|(other, _)| *other == leaf).unwrap().1,
        "fee": fee.to_sat(),
        "tx": {
            "version": tx.version.0,
            "lock_time": tx.lock_time.to_consensus_u32(),
            "inputs": [{ "txid": outpoint.txid, "vout": outpoint.vout, "sequence": tx.input[0].sequence.0 }],
            "outputs": [{ "value": tx.output[0].value.to_sat(), "script": hex(&tx.output[0].script_pubkey) }],
        },
        "sighash": hex(escrow.sighash(tx, leaf).as_ref()),
        "signatures": signatures,
        "witness": witness,
        "signed": hex(bitcoin::consensus::serialize(tx)),
        "txid": tx.compute_txid(),
        "vsize": tx.vsize(),
    })
}

fn describe(contract: &Contract) -> Value {
    json!({
        "network": hex(contract.network),
        "offer": contract.offer,
        "trade": contract.trade,
        "accept": contract.accept,
        "advert": contract.advert,
        "buyer": contract.buyer,
        "seller": contract.seller,
        "arbiter": contract.arbiter,
        "buyer_party": describe_party(&contract.buyer_party),
        "seller_party": describe_party(&contract.seller_party),
        "arbiter_key": contract.arbiter_key.0.to_string(),
        "arbiter_seal_key": hex(contract.arbiter_seal_key),
        "amount": contract.amount.get(),
        "currency": contract.currency,
        "price": contract.price.get(),
        "cost": contract.cost,
        "method": contract.method,
        "arbitration_delay": contract.arbitration_delay,
        "refund_delay": contract.refund_delay,
        "confirmations": contract.confirmations,
        "height": contract.height,
    })
}

fn describe_party(party: &Party) -> Value {
    json!({
        "trade_key": party.trade_key.0.to_string(),
        "seal_key": hex(party.seal_key),
        "destination": hex(party.destination.script()),
        "details": hex(party.details),
    })
}
