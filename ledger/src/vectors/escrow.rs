//! `escrow.json`: from two offers to the bytes of every spend.

use bitcoin::secp256k1::{SecretKey, XOnlyPublicKey};
use bitcoin::taproot::{LeafVersion, TapNodeHash};
use bitcoin::{Network, TapLeafHash, Transaction};
use serde_json::{Value, json};

use super::{check, hex, read};
use crate::body::{Party, Side, Vaults};
use crate::money::Sats;
use crate::record::Record;
use crate::testing::{SampleTrade, sats, vaults_of};
use crate::trade::{Arbiter, Bid, Contract, Draft, Escrow, Leaf, Role, Seat, SpendPath, Vault, Verdict, arbiter_tweak};
use crate::wire::CurveKey;

const LEAVES: [(Leaf, &str); 6] = [
    (Leaf::Both, "both"),
    (Leaf::Refund, "refund"),
    (Leaf::SellerArbiter, "seller_arbiter"),
    (Leaf::BuyerArbiter, "buyer_arbiter"),
    (Leaf::SellerSecond, "seller_second"),
    (Leaf::BuyerSecond, "buyer_second"),
];
const FEERATE: u64 = 10;

#[test]
fn escrows_come_out_as_published() {
    let plain = |side| {
        let trade = SampleTrade::new(side);
        (trade.contract(), trade)
    };
    let second = SampleTrade::with_second(Side::Sell);
    let bonded = SampleTrade::with_second(Side::Buy);
    let with_bonds = |seller_bond, buyer_bond| {
        let trade = SampleTrade::new(Side::Sell);
        (Contract { seller_bond: sats(seller_bond), buyer_bond: sats(buyer_bond), ..trade.contract() }, trade)
    };
    let (mut eaten, eaten_trade) = with_bonds(50_000, 50_000);
    eaten.arbiter.fee_ppm = 45_555; // with the miner's 3,900 sats it leaves 545 of either bond
    let cases = [
        ("the maker sells", plain(Side::Sell)),
        ("the maker buys", plain(Side::Buy)),
        ("two arbiters", (second.contract(), second)),
        ("two arbiters, bonds on both sides", (bonded.bonded(), bonded)),
        ("a bond of the seller", with_bonds(100_000, 0)),
        ("a bond of the buyer", with_bonds(0, 200_000)),
        ("bonds of which a dispute leaves dust", (eaten, eaten_trade)),
    ];
    let cases = cases.map(|(name, (contract, trade))| case(name, &contract, trade));
    let computed = json!({
        "description": "Escrows, see ../escrow.md. Secrets are for these vectors only. Transactions are in Bitcoin's encoding. The fee of each spend is that at its feerate; the part of a ruling is what the verdict gives the buyer of the amount. Where the buyer has a bond, spends of the outputs of an extension follow, and of E0 alone, as after the buyer took E1 back.",
        "cases": cases,
    });
    check("escrow.json", &computed);
}

#[test]
fn published_records_give_the_published_address() {
    for case in read("escrow.json")["cases"].as_array().unwrap() {
        if case["records"].is_null() {
            continue;
        }
        let record = |value: &Value| Record::decode(&hex::decode(value.as_str().unwrap()).unwrap()).unwrap();
        let adverts: Vec<Record> = case["records"]["adverts"].as_array().unwrap().iter().map(record).collect();
        let (offer, take) = (record(&case["records"]["offer"]), record(&case["records"]["take"]));
        let bid = Bid::new(&offer, &take, &adverts.iter().collect::<Vec<_>>()).unwrap();
        let escrow = Escrow::new(&bid.accepted(&record(&case["records"]["accept"])).unwrap());
        assert_eq!(escrow.address(Network::Regtest).to_string(), case["outputs"][0]["addresses"]["regtest"]);
    }
}

fn case(name: &str, contract: &Contract, mut trade: SampleTrade) -> Value {
    let escrow = Escrow::new(contract);
    let roles = [Role::Buyer, Role::Seller, Role::Arbiter];
    let mut secrets = roles.map(|role| trade.author(role).trade_key().secret_key()).to_vec();
    secrets.extend(trade.second.as_ref().map(|(author, _)| author.trade_key().secret_key()));
    let mut keys = vec![contract.buyer_party.trade_key, contract.seller_party.trade_key, contract.arbiter.key];
    keys.extend(contract.second_arbiter.as_ref().map(|arbiter| arbiter.key));
    let arbiters = [Seat::First, Seat::Second].into_iter().filter_map(|seat| {
        let tweak = arbiter_tweak(contract, contract.arbiter(seat)?.key).to_be_bytes();
        Some(json!({
            "seat": seat,
            "tweak": hex(tweak),
            "tweaked_key": escrow.arbiter_key(seat)?.to_string(),
            "fee": contract.fee_of(seat),
            "delay": contract.delay_of(seat),
        }))
    });
    let has_records = *contract == trade.contract();
    let adverts: Vec<String> = std::iter::once(&trade.advert)
        .chain(trade.second.iter().map(|(_, advert)| advert))
        .map(|r| hex(r.encode()))
        .collect();
    let records = json!({
        "adverts": adverts,
        "offer": hex(trade.offer.encode()),
        "take": hex(trade.take.encode()),
        "accept": hex(trade.accept.encode()),
    });
    let outputs: Vec<Value> =
        [Vault::Escrow, Vault::Bond].into_iter().filter_map(|vault| output(&escrow, vault)).collect();
    json!({
        "name": name,
        "records": has_records.then_some(records),
        "contract": describe(contract),
        "contract_bytes": hex(borsh::to_vec(contract).unwrap()),
        "contract_hash": contract.hash(),
        "secrets": per_role(&secrets, |secret: &SecretKey| hex(secret.secret_bytes())),
        "keys": per_role(&keys, |key: &CurveKey| key.0.to_string()),
        "arbiters": arbiters.collect::<Vec<_>>(),
        "outputs": outputs,
        "mailboxes": { "buyer": contract.mailbox(&contract.buyer), "seller": contract.mailbox(&contract.seller) },
        "spends": spends(&mut trade, &escrow),
    })
}

/// Describes one output: its tree, its key, its addresses.
fn output(escrow: &Escrow, vault: Vault) -> Option<Value> {
    let info = escrow.spend_info(vault)?;
    let (descriptor, output) = match vault {
        Vault::Escrow => (escrow.descriptor(), escrow.output()),
        Vault::Bond => (escrow.bond_descriptor()?, escrow.bond_output()?),
    };
    let root = info.merkle_root().unwrap();
    let leaves = LEAVES.into_iter().filter_map(|(leaf, name)| {
        let script = escrow.leaf(vault, leaf)?;
        let control = info.control_block(&(script.clone(), LeafVersion::TapScript)).unwrap();
        let leaf_hash = TapLeafHash::from_script(script, LeafVersion::TapScript).to_string();
        Some(json!({ "name": name, "script": hex(script), "leaf_hash": leaf_hash, "control_block": hex(control.serialize()) }))
    });
    let leaves: Vec<Value> = leaves.collect();
    let networks = [Network::Bitcoin, Network::Testnet, Network::Signet, Network::Regtest];
    let address = |network| bitcoin::Address::p2tr_tweaked(info.output_key(), network).to_string();
    let addresses: serde_json::Map<String, Value> =
        networks.map(|network| (network.to_string(), address(network).into())).into_iter().collect();
    Some(json!({
        "vault": vault_name(vault),
        "value": output.value.to_sat(),
        "internal_key": info.internal_key().to_string(),
        "descriptor": descriptor,
        "leaves": leaves,
        "merkle_root": root.to_string(),
        "tap_tweak": hex(tap_tweak(info.internal_key(), root)),
        "output_key": info.output_key().to_string(),
        "script_pubkey": hex(output.script_pubkey),
        "addresses": addresses,
    }))
}

pub(super) fn leaf_name(leaf: Leaf) -> &'static str {
    LEAVES.iter().find(|(other, _)| *other == leaf).unwrap().1
}

pub(super) const fn vault_name(vault: Vault) -> &'static str {
    match vault {
        Vault::Escrow => "escrow",
        Vault::Bond => "bond",
    }
}

fn tap_tweak(internal: XOnlyPublicKey, root: TapNodeHash) -> [u8; 32] {
    bitcoin::TapTweakHash::from_key_and_tweak(internal, Some(root)).to_scalar().to_be_bytes()
}

fn per_role<T>(values: &[T], describe: impl Fn(&T) -> String) -> Value {
    let roles = ["buyer", "seller", "arbiter", "second_arbiter"];
    roles.into_iter().zip(values).map(|(role, value)| (role.to_owned(), Value::from(describe(value)))).collect()
}

/// Spends everything in every way that the contract has: what was funded, what an extension moved, and E0 alone.
fn spends(trade: &mut SampleTrade, escrow: &Escrow) -> Vec<Value> {
    let vaults = vaults_of(escrow, 1);
    let mut all = halves(trade, escrow, &vaults);
    let funders = [(Vault::Escrow, Role::Seller), (Vault::Bond, Role::Buyer)];
    for (coin, (vault, role)) in vaults.coins().zip(funders) {
        let fee = escrow.timeout_fee_at(vault, coin, FEERATE).unwrap();
        let draft = escrow.signed_timeout(vault, coin, fee, &trade.author(role).trade_key()).unwrap();
        all.push(spend("timeout", Leaf::Refund, &draft, escrow, &vaults));
    }
    for seat in [Seat::First, Seat::Second] {
        if escrow.contract().arbiter(seat).is_some() {
            all.extend(rulings(trade, escrow, seat, &vaults));
            let (leaf, draft) = (Leaf::of_arbiter(seat, Role::Seller), extension(trade, escrow, seat, &vaults));
            all.push(spend("extension", leaf, &draft, escrow, &vaults));
        }
    }
    if vaults.bond.is_some() {
        let moved = escrow.extended(&extension(trade, escrow, Seat::First, &vaults).tx, &vaults).unwrap();
        for held in [moved, Vaults { bond: None, ..vaults }] {
            all.extend(halves(trade, escrow, &held));
            all.extend(rulings(trade, escrow, Seat::First, &held));
        }
    }
    all
}

/// What one party signs first, and the other completes.
fn halves(trade: &mut SampleTrade, escrow: &Escrow, vaults: &Vaults) -> Vec<Value> {
    let (buyer, seller) = (trade.author(Role::Buyer).trade_key(), trade.author(Role::Seller).trade_key());
    let half = |to, key| escrow.half(vaults, escrow.fee_at(vaults, to, FEERATE).unwrap(), to, key).unwrap();
    let payout = escrow.complete(&half(Role::Buyer, &seller), Role::Buyer, &buyer).unwrap();
    let refund = escrow.complete(&half(Role::Seller, &buyer), Role::Seller, &seller).unwrap();
    let halves = [("payout", payout), ("refund", refund)];
    halves.map(|(name, draft)| spend(name, Leaf::Both, &draft, escrow, vaults)).into()
}

/// What an arbiter can rule, as each who gets something completes it.
fn rulings(trade: &mut SampleTrade, escrow: &Escrow, seat: Seat, vaults: &Vaults) -> Vec<Value> {
    let pair = trade.arbiter_pair(escrow.contract(), seat);
    let split = sats(250_001);
    let ways = [
        (Verdict::Buyer, escrow.contract().amount, Role::Buyer),
        (Verdict::Seller, Sats::ZERO, Role::Seller),
        (Verdict::Split(split), split, Role::Buyer),
        (Verdict::Split(split), split, Role::Seller),
    ];
    let ruled = ways.map(|(verdict, part, role)| {
        let division = escrow.divide(seat, vaults, verdict, FEERATE).unwrap();
        let ruling = escrow.rule(seat, vaults, division, &pair).unwrap();
        let draft = escrow.complete_ruling(seat, &ruling, role, &trade.author(role).trade_key()).unwrap();
        let mut ruled = spend("ruling", Leaf::of_arbiter(seat, role), &draft, escrow, vaults);
        ruled["part"] = part.get().into();
        ruled
    });
    ruled.into()
}

fn extension(trade: &mut SampleTrade, escrow: &Escrow, seat: Seat, vaults: &Vaults) -> Draft {
    let pair = trade.arbiter_pair(escrow.contract(), seat);
    let fee = escrow.extension_fee_at(seat, vaults, FEERATE).unwrap();
    let extend = escrow.extend(seat, vaults, fee, &pair).unwrap();
    escrow.complete_extend(seat, &extend, Role::Seller, &trade.author(Role::Seller).trade_key()).unwrap()
}

fn spend(name: &str, leaf: Leaf, draft: &Draft, escrow: &Escrow, vaults: &Vaults) -> Value {
    let Draft { tx, spent } = draft;
    let path = match escrow.classify(tx, vaults) {
        SpendPath::Payout => "payout",
        SpendPath::Refund => "refund",
        SpendPath::Timeout => "timeout",
        SpendPath::Ruling => "ruling",
        SpendPath::Extension => "extension",
        SpendPath::Foreign => "foreign",
    };
    assert_eq!(path, name);
    assert_eq!(escrow.check_witness(tx, vaults), Ok(Some(leaf)));
    let inputs = tx.input.iter().zip(spent).enumerate().map(|(at, (input, (vault, output)))| {
        json!({
            "vault": vault_name(*vault),
            "txid": input.previous_output.txid,
            "vout": input.previous_output.vout,
            "value": output.value.to_sat(),
            "sequence": input.sequence.0,
            "sighash": hex(escrow.sighash(draft, at, leaf).unwrap().as_ref()),
            "witness": input.witness.iter().map(hex).collect::<Vec<_>>(),
        })
    });
    let outputs =
        tx.output.iter().map(|output| json!({ "value": output.value.to_sat(), "script": hex(&output.script_pubkey) }));
    let paid: u64 = tx.output.iter().map(|output| output.value.to_sat()).sum();
    let held: u64 = spent.iter().map(|(_, output)| output.value.to_sat()).sum();
    json!({
        "name": name,
        "leaf": leaf_name(leaf),
        "feerate": FEERATE,
        "fee": held - paid,
        "tx": {
            "version": tx.version.0,
            "lock_time": tx.lock_time.to_consensus_u32(),
            "inputs": inputs.collect::<Vec<_>>(),
            "outputs": outputs.collect::<Vec<_>>(),
        },
        "signed": hex(bitcoin::consensus::serialize::<Transaction>(tx)),
        "txid": tx.compute_txid(),
        "vsize": tx.vsize(),
    })
}

pub(super) fn describe(contract: &Contract) -> Value {
    json!({
        "network": hex(contract.network),
        "offer": contract.offer,
        "trade": contract.trade,
        "accept": contract.accept,
        "buyer": contract.buyer,
        "seller": contract.seller,
        "buyer_party": describe_party(&contract.buyer_party),
        "seller_party": describe_party(&contract.seller_party),
        "arbiter": describe_arbiter(&contract.arbiter),
        "second_arbiter": contract.second_arbiter.as_ref().map(describe_arbiter),
        "amount": contract.amount.get(),
        "seller_bond": contract.seller_bond.get(),
        "buyer_bond": contract.buyer_bond.get(),
        "currency": contract.currency,
        "price": contract.price.get(),
        "cost": contract.cost,
        "method": contract.method,
        "arbitration_delay": contract.arbitration_delay,
        "second_delay": contract.second_delay,
        "refund_delay": contract.refund_delay,
        "confirmations": contract.confirmations,
        "height": contract.height,
    })
}

fn describe_arbiter(arbiter: &Arbiter) -> Value {
    json!({
        "advert": arbiter.advert,
        "author": arbiter.author,
        "key": arbiter.key.0.to_string(),
        "seal_key": hex(arbiter.seal_key),
        "fee_ppm": arbiter.fee_ppm,
        "destination": hex(arbiter.destination.script()),
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
