//! The wallet's keys: BIP-86 descriptors, and signatures made with keys that live no longer than the signing.

use std::fmt;

use bdk_wallet::KeychainKind;
use bdk_wallet::descriptor::ExtendedDescriptor;
use bitcoin::bip32::{ChildNumber, DerivationPath, Xpriv, Xpub};
use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use bitcoin::key::{Keypair, TapTweak};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{All, Message, Secp256k1, XOnlyPublicKey};
use bitcoin::{Network, NetworkKind, Psbt};
use zeroize::Zeroizing;

use super::WalletError;

/// The purpose of single-key Taproot wallets (BIP-86).
const PURPOSE: u32 = 86;
/// What sets the numbers by which coins are drawn apart from everything else that the seed gives.
const DRAW: &[u8] = b"exchange/wallet/draw/v1";

/// The BIP-39 seed. The descriptors that leave here are public; private keys are derived for each signing and erased.
pub(super) struct Keys {
    seed: Zeroizing<[u8; 64]>,
    network: Network,
}

impl Keys {
    pub fn new(seed: Zeroizing<[u8; 64]>, network: Network) -> Self {
        Self { seed, network }
    }

    /// Returns the public descriptors of deposits (`…/0/*`) and change (`…/1/*`).
    pub fn descriptors(&self) -> (ExtendedDescriptor, ExtendedDescriptor) {
        let secp = Secp256k1::new();
        let mut master = self.master();
        let path = self.account_path();
        let mut account = master.derive_priv(&secp, &path).expect("three steps are within BIP-32's depth");
        let (fingerprint, xpub) = (master.fingerprint(&secp), Xpub::from_priv(&secp, &account));
        master.private_key.non_secure_erase();
        account.private_key.non_secure_erase();
        let keychain = |index: u8| {
            format!("tr([{fingerprint}/{path}]{xpub}/{index}/*)")
                .parse()
                .expect("the descriptor is written as BIP-386 says")
        };
        (keychain(0), keychain(1))
    }

    /// Signs every input of `psbt` that says how its key is derived.
    pub fn sign(&self, psbt: &mut Psbt, secp: &Secp256k1<All>) -> Result<(), WalletError> {
        let mut master = self.master();
        let signed = psbt.sign(&master, secp);
        master.private_key.non_secure_erase();
        match signed {
            Ok(_) => Ok(()),
            Err((_, errors)) => {
                let reasons: Vec<String> =
                    errors.iter().map(|(input, error)| format!("input {input}: {error}")).collect();
                Err(WalletError::Unsigned { reason: reasons.join(", ") })
            }
        }
    }

    /// Signs a message with the key that a coin of ours pays to: the output key of its script (BIP-340, BIP-341). Returns that
    /// key and the signature.
    pub fn sign_as_owner(&self, keychain: KeychainKind, index: u32, message: [u8; 32]) -> (XOnlyPublicKey, Signature) {
        let secp = Secp256k1::new();
        let mut master = self.master();
        let branch: u32 = match keychain {
            KeychainKind::External => 0,
            KeychainKind::Internal => 1,
        };
        let steps = [ChildNumber::Normal { index: branch }, ChildNumber::Normal { index }];
        let path = self.account_path().extend(steps);
        let mut key = master.derive_priv(&secp, &path).expect("five steps are within BIP-32's depth");
        let mut internal = Keypair::from_secret_key(&secp, &key.private_key);
        let mut output = internal.tap_tweak(&secp, None).to_keypair();
        let signature = secp.sign_schnorr_no_aux_rand(&Message::from_digest(message), &output);
        let public = output.x_only_public_key().0;
        master.private_key.non_secure_erase();
        key.private_key.non_secure_erase();
        internal.non_secure_erase();
        output.non_secure_erase();
        (public, signature)
    }

    /// Returns a number that is the same for the same question, and that nobody can foretell who has not the seed.
    pub fn draw(&self, question: &[u8]) -> [u8; 32] {
        let mut engine = HmacEngine::<sha256::Hash>::new(self.seed.as_slice());
        engine.input(DRAW);
        engine.input(question);
        Hmac::<sha256::Hash>::from_engine(engine).to_byte_array()
    }

    fn master(&self) -> Xpriv {
        Xpriv::new_master(self.network, self.seed.as_slice()).expect("a seed gives a valid key but for odds of 2^-127")
    }

    fn account_path(&self) -> DerivationPath {
        let coin = match NetworkKind::from(self.network) {
            NetworkKind::Main => 0,
            NetworkKind::Test => 1,
        };
        let hardened = |index| ChildNumber::Hardened { index };
        [hardened(PURPOSE), hardened(coin), hardened(0)].as_slice().into()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("network", &self.network).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector_keys(network: Network) -> Keys {
        let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
        let mnemonic: bip39::Mnemonic = words.parse().unwrap();
        Keys::new(Zeroizing::new(mnemonic.to_seed("")), network)
    }

    /// The test vectors of BIP-86.
    #[test]
    fn addresses_are_those_of_bip_86() {
        let (deposits, change) = vector_keys(Network::Bitcoin).descriptors();
        let address = |descriptor: &ExtendedDescriptor, index| {
            descriptor.at_derivation_index(index).unwrap().address(Network::Bitcoin).unwrap().to_string()
        };
        assert_eq!(address(&deposits, 0), "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr");
        assert_eq!(address(&deposits, 1), "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh");
        assert_eq!(address(&change, 0), "bc1p3qkhfews2uk44qtvauqyr2ttdsw7svhkl9nkm9s9c3x4ax5h60wqwruhk7");
    }

    #[test]
    fn a_message_is_signed_by_the_key_in_the_coins_script() {
        let keys = vector_keys(Network::Regtest);
        let (deposits, change) = keys.descriptors();
        for (keychain, descriptor, index) in
            [(KeychainKind::External, deposits, 3), (KeychainKind::Internal, change, 0)]
        {
            let (public, signature) = keys.sign_as_owner(keychain, index, [7; 32]);
            let script = descriptor.at_derivation_index(index).unwrap().script_pubkey();
            assert_eq!(script.as_bytes()[2..], public.serialize());
            let message = Message::from_digest([7; 32]);
            assert!(Secp256k1::new().verify_schnorr(&signature, &message, &public).is_ok());
        }
    }

    #[test]
    fn a_draw_is_the_same_for_the_same_question_and_seed() {
        let keys = vector_keys(Network::Regtest);
        assert_eq!(keys.draw(b"one"), vector_keys(Network::Regtest).draw(b"one"));
        assert_ne!(keys.draw(b"one"), keys.draw(b"other"));
        assert_ne!(keys.draw(b"one"), Keys::new(Zeroizing::new([7; 64]), Network::Regtest).draw(b"one"));
    }

    #[test]
    fn nothing_private_is_shown() {
        let keys = vector_keys(Network::Regtest);
        assert_eq!(format!("{keys:?}"), "Keys { network: Regtest, .. }");
        let (deposits, change) = keys.descriptors();
        assert!(!format!("{deposits}{change}").contains("prv"));
    }
}
