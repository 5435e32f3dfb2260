//! A wallet elsewhere: one key that no node knows, and what a signing device does with a partially signed transaction.

use std::collections::BTreeMap;

use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::psbt::Input;
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use bitcoin::{
    Address, Amount, Block, CompressedPublicKey, Network, OutPoint, PrivateKey, Psbt, PublicKey, Sequence, TxIn, TxOut,
};
use serde_json::json;

use crate::Regtest;
use bitcoin::constants::COINBASE_MATURITY;

/// A wallet elsewhere, with one coin.
#[derive(Debug)]
pub struct Elsewhere {
    key: PrivateKey,
    coin: (OutPoint, TxOut),
}

impl Elsewhere {
    /// Makes a wallet with fifty bitcoin or what a block still pays.
    ///
    /// # Panics
    /// When bitcoind does not answer.
    #[must_use]
    pub fn with_a_coin(chain: &Regtest) -> Self {
        let secret = SecretKey::from_slice(&[0x5e; 32]).expect("a number below the curve's order");
        let key = PrivateKey::new(secret, Network::Regtest);
        let address = address_of(&key);
        let mined = chain.call("generatetoaddress", &[json!(1), json!(address.to_string())]);
        let block = chain.call("getblock", &[mined[0].clone(), json!(0)]);
        let block: Block = deserialize_hex(block.as_str().expect("a block in hex")).expect("a block");
        chain.mine(COINBASE_MATURITY);
        let reward = &block.txdata[0];
        Self { key, coin: (OutPoint { txid: reward.compute_txid(), vout: 0 }, reward.output[0].clone()) }
    }

    /// Adds its coin and change to what is to be paid, and signs.
    ///
    /// # Panics
    /// When the file holds no transaction.
    #[must_use]
    pub fn pays(&self, draft: &str, fee: Amount) -> String {
        self.signs(self.drafts(draft, fee))
    }

    /// Signs, in the way in which the file asks for it.
    ///
    /// # Panics
    /// When its coin is not among those that are spent.
    #[must_use]
    pub fn signs(&self, mut psbt: Psbt) -> String {
        let public = PublicKey::from_private_key(&Secp256k1::new(), &self.key);
        psbt.sign(&BTreeMap::from([(public, self.key)]), &Secp256k1::new()).expect("its only coin is its own");
        psbt.to_string()
    }

    /// Adds its coin and change to what is to be paid.
    ///
    /// # Panics
    /// When the file holds no transaction.
    #[must_use]
    pub fn drafts(&self, draft: &str, fee: Amount) -> Psbt {
        let mut tx = draft.parse::<Psbt>().expect("a partially signed transaction").unsigned_tx;
        let (previous_output, txout) = &self.coin;
        let paid: Amount = tx.output.iter().map(|output| output.value).sum();
        tx.input.push(TxIn {
            previous_output: *previous_output,
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            ..TxIn::default()
        });
        tx.output.push(TxOut { value: txout.value - paid - fee, script_pubkey: txout.script_pubkey.clone() });
        let mut psbt = Psbt::from_unsigned_tx(tx).expect("nothing is signed yet");
        let public = CompressedPublicKey::from_private_key(&Secp256k1::new(), &self.key).expect("keys are compressed");
        let derivation = (bitcoin::bip32::Fingerprint::default(), bitcoin::bip32::DerivationPath::default());
        psbt.inputs[0] = Input {
            witness_utxo: Some(txout.clone()),
            bip32_derivation: BTreeMap::from([(public.0, derivation)]),
            ..Input::default()
        };
        psbt
    }
}

fn address_of(key: &PrivateKey) -> Address {
    let public = CompressedPublicKey::from_private_key(&Secp256k1::new(), key).expect("keys are compressed");
    Address::p2wpkh(&public, Network::Regtest)
}
