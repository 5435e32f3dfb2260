//! `psbt.json`: what is handed to wallets and signers elsewhere, what they return, and what becomes of it.

use bitcoin::bip32::{ChildNumber, DerivationPath, KeySource, Xpriv, Xpub};
use bitcoin::key::{Keypair, Secp256k1};
use bitcoin::psbt::Input;
use bitcoin::taproot;
use bitcoin::{Network, Psbt, TapLeafHash, TapSighashType};
use serde_json::{Value, json};

use super::escrow::{leaf_name, vault_name};
use super::{check, hex};
use crate::body::{Party, Side, Vaults};
use crate::testing::{SampleTrade, sats, vaults_of};
use crate::trade::{
    Contract, Draft, Elsewhere, Escrow, EscrowError, Role, SIGNER_BRANCH, Seat, Unsigned, Vault, Verdict, signer_index,
};
use crate::wire::CurveKey;

/// The seed of the signer's keys (BIP-32).
const SEED: [u8; 32] = [7; 32];
const ACCOUNT: &str = "86h/1h/0h";
const FEERATE: u64 = 10;

/// How a spend comes to be by a key elsewhere.
type Make<'a> = Box<dyn Fn(&Elsewhere) -> Result<Draft, EscrowError> + 'a>;

#[test]
fn partially_signed_transactions_come_out_as_published() {
    let device = Device::new();
    let plain = || SampleTrade::new(Side::Sell);
    let bonded = || SampleTrade::with_second(Side::Buy);
    let cases = [
        case("the seller's, without bonds", &device, plain().contract(), plain(), Role::Seller),
        case("the buyer's, without bonds", &device, plain().contract(), plain(), Role::Buyer),
        case("the seller's, two arbiters, bonds on both sides", &device, bonded().bonded(), bonded(), Role::Seller),
        case("the buyer's, two arbiters, bonds on both sides", &device, bonded().bonded(), bonded(), Role::Buyer),
    ];
    let computed = json!({
        "description": "Files for wallets and signers elsewhere (BIP-174, BIP-371), see ../escrow.md. Secrets are for these vectors only.",
        "funding": funding(&plain().escrow()),
        "signer": { "master": device.master.to_string(), "account": device.account() },
        "cases": cases,
    });
    check("psbt.json", &computed);
}

/// A signing device.
struct Device {
    master: Xpriv,
}

impl Device {
    fn new() -> Self {
        Self { master: Xpriv::new_master(Network::Regtest, &SEED).unwrap() }
    }

    /// What its user copies from its screen.
    fn account(&self) -> String {
        let secp = Secp256k1::new();
        let account = self.master.derive_priv(&secp, &ACCOUNT.parse::<DerivationPath>().unwrap()).unwrap();
        format!("[{}/{ACCOUNT}]{}", self.master.fingerprint(&secp), Xpub::from_priv(&secp, &account))
    }

    /// Returns the key of a trade and where it derives from.
    fn key(&self, nonce: &[u8; 32]) -> (Keypair, KeySource) {
        let secp = Secp256k1::new();
        let steps = [SIGNER_BRANCH, signer_index(nonce)].map(|index| ChildNumber::Normal { index });
        let path = ACCOUNT.parse::<DerivationPath>().unwrap().extend(steps);
        let key = self.master.derive_priv(&secp, &path).unwrap().to_keypair(&secp);
        (key, (self.master.fingerprint(&secp), path))
    }
}

/// What a wallet elsewhere adds its coins to.
fn funding(escrow: &Escrow) -> Value {
    let output = escrow.output();
    json!({
        "value": output.value.to_sat(),
        "script": hex(&output.script_pubkey),
        "psbt": escrow.funding_psbt().to_string(),
    })
}

fn case(name: &str, device: &Device, contract: Contract, mut trade: SampleTrade, role: Role) -> Value {
    let is_maker = trade.bid().role_of(&trade.maker.id()) == Some(role);
    let nonce = if is_maker { trade.id().0 } else { trade.bid().take.nonce };
    let (pair, origin) = device.key(&nonce);
    let key = pair.x_only_public_key().0;
    let with = |party: Party| Party { trade_key: CurveKey(key), ..party };
    let contract = match role {
        Role::Buyer => Contract { buyer_party: with(contract.buyer_party.clone()), ..contract },
        Role::Seller | Role::Arbiter => Contract { seller_party: with(contract.seller_party.clone()), ..contract },
    };
    let escrow = Escrow::new(&contract);
    let outputs = [
        (Vault::Escrow, Some((escrow.descriptor(), escrow.output()))),
        (Vault::Bond, escrow.bond_descriptor().zip(escrow.bond_output())),
    ];
    let outputs = outputs.into_iter().filter_map(|(vault, output)| {
        let (descriptor, output) = output?;
        Some(
            json!({ "vault": vault_name(vault), "descriptor": descriptor, "script_pubkey": hex(output.script_pubkey) }),
        )
    });
    let outputs: Vec<Value> = outputs.collect();
    let spends = spends(&escrow, &mut trade, role).into_iter();
    let files: Vec<Value> = spends.map(|(name, make)| file(name, &escrow, role, &pair, &origin, &*make)).collect();
    json!({
        "name": name,
        "role": role,
        "nonce": hex(nonce),
        "index": signer_index(&nonce),
        "key": key.to_string(),
        "outputs": outputs,
        "files": files,
    })
}

/// Returns all that a party's key signs.
fn spends<'a>(escrow: &'a Escrow, trade: &mut SampleTrade, role: Role) -> Vec<(&'static str, Make<'a>)> {
    let vaults = vaults_of(escrow, 1);
    let other = trade.author(if role == Role::Buyer { Role::Seller } else { Role::Buyer }).trade_key();
    let mut all: Vec<(&'static str, Make<'a>)> = match role {
        Role::Buyer => vec![
            ("payout", completes(escrow, vaults, Role::Buyer, other)),
            ("cancel", begins(escrow, vaults, Role::Seller, other)),
        ],
        Role::Seller | Role::Arbiter => vec![
            ("release", begins(escrow, vaults, Role::Buyer, other)),
            ("refund", completes(escrow, vaults, Role::Seller, other)),
        ],
    };
    let own = Vault::of(role);
    let coin = if own == Vault::Bond { vaults.bond } else { Some(vaults.escrow) };
    if let Some((vault, coin)) = coin.map(|coin| (own, coin)) {
        let fee = escrow.timeout_fee_at(vault, coin, FEERATE).unwrap();
        all.push(("timeout", Box::new(move |key| escrow.signed_timeout(vault, coin, fee, key))));
    }
    for seat in [Seat::First, Seat::Second].into_iter().filter(|seat| escrow.contract().arbiter(*seat).is_some()) {
        let pair = trade.arbiter_pair(escrow.contract(), seat);
        let division = escrow.divide(seat, &vaults, Verdict::Split(sats(250_001)), FEERATE).unwrap();
        let ruling = escrow.rule(seat, &vaults, division, &pair).unwrap();
        all.push(("ruling", Box::new(move |key| escrow.complete_ruling(seat, &ruling, role, key))));
        let fee = escrow.extension_fee_at(seat, &vaults, FEERATE).unwrap();
        let extend = escrow.extend(seat, &vaults, fee, &pair).unwrap();
        all.push(("extension", Box::new(move |key| escrow.complete_extend(seat, &extend, role, key))));
    }
    all
}

/// The key elsewhere signs the first half.
fn begins(escrow: &Escrow, vaults: Vaults, to: Role, other: Keypair) -> Make<'_> {
    let fee = escrow.fee_at(&vaults, to, FEERATE).unwrap();
    Box::new(move |key| escrow.complete(&escrow.half(&vaults, fee, to, key)?, to, &other))
}

/// The key elsewhere completes what the other side began.
fn completes(escrow: &Escrow, vaults: Vaults, to: Role, other: Keypair) -> Make<'_> {
    let half = escrow.half(&vaults, escrow.fee_at(&vaults, to, FEERATE).unwrap(), to, &other).unwrap();
    Box::new(move |key| escrow.complete(&half, to, key))
}

/// Describes a file on its way: as it is written, as it comes back, and the transaction that it completes.
fn file(
    name: &str,
    escrow: &Escrow,
    role: Role,
    pair: &Keypair,
    origin: &KeySource,
    make: &dyn Fn(&Elsewhere) -> Result<Draft, EscrowError>,
) -> Value {
    let mut elsewhere = Elsewhere { role, key: pair.x_only_public_key().0, signed: None };
    let Err(EscrowError::Unsigned(what)) = make(&elsewhere) else { panic!("{name} waits for a signature") };
    let psbt = escrow.psbt(&what, elsewhere.key, origin).unwrap();
    let signed = signed(escrow, &psbt, &what, pair);
    let signatures = escrow.signatures_in(&signed, &what, (role, elsewhere.key)).unwrap();
    elsewhere.signed = Some((*what.clone(), signatures));
    let tx = make(&elsewhere).unwrap().tx;
    json!({
        "name": name,
        "leaf": leaf_name(what.leaf),
        "psbt": psbt.to_string(),
        "inputs": psbt.inputs.iter().map(input).collect::<Vec<_>>(),
        "signed": signed.to_string(),
        "tx": hex(bitcoin::consensus::serialize(&tx)),
        "txid": tx.compute_txid(),
    })
}

fn signed(escrow: &Escrow, psbt: &Psbt, what: &Unsigned, pair: &Keypair) -> Psbt {
    let signatures = escrow.sign(&what.draft, what.leaf, pair).unwrap();
    let mut signed = psbt.clone();
    for (input, signature) in signed.inputs.iter_mut().zip(signatures.iter()) {
        let (script, version) = input.tap_scripts.values().next().unwrap();
        let place = (pair.x_only_public_key().0, TapLeafHash::from_script(script, *version));
        let signature = taproot::Signature { signature: signature.0, sighash_type: TapSighashType::Default };
        input.tap_script_sigs.insert(place, signature);
    }
    signed
}

/// Describes all that an input says.
fn input(input: &Input) -> Value {
    let utxo = input.witness_utxo.as_ref().unwrap();
    let (control, (script, version)) = input.tap_scripts.first_key_value().unwrap();
    let (key, (leaves, (fingerprint, path))) = input.tap_key_origins.first_key_value().unwrap();
    assert!(input.tap_scripts.len() == 1 && input.tap_key_origins.len() == 1 && input.sighash_type.is_none());
    json!({
        "witness_utxo": { "value": utxo.value.to_sat(), "script": hex(&utxo.script_pubkey) },
        "tap_leaf_script": {
            "control_block": hex(control.serialize()),
            "script": hex(script),
            "leaf_version": version.to_consensus(),
        },
        "tap_internal_key": input.tap_internal_key.map(|key| key.to_string()),
        "tap_merkle_root": input.tap_merkle_root.map(|root| root.to_string()),
        "tap_bip32_derivation": {
            "key": key.to_string(),
            "leaf_hashes": leaves.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "fingerprint": fingerprint.to_string(),
            "path": path.to_string(),
        },
        "sighash_type": null,
    })
}
