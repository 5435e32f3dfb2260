//! Published vectors, through the same calls that make an escrow's output.

use bitcoin::taproot::LeafVersion;
use serde_json::Value;

use super::*;
use crate::testing::{Author, even_keypair};
use crate::vectors::read;

/// Writes a script tree of BIP-341's vectors as the tree of a descriptor, if all of its leaves are checks of one key.
fn descriptor_tree(tree: &Value, leaves: &mut Vec<ScriptBuf>) -> Option<String> {
    if let Some([left, right]) = tree.as_array().map(Vec::as_slice) {
        return Some(format!("{{{},{}}}", descriptor_tree(left, leaves)?, descriptor_tree(right, leaves)?));
    }
    let tree = tree.as_array().map_or(tree, |single| &single[0]);
    let script = tree["script"].as_str()?;
    let key = script.strip_prefix("20").and_then(|rest| rest.strip_suffix("ac")).filter(|key| key.len() == 64)?;
    leaves.push(ScriptBuf::from_hex(script).unwrap());
    (tree["leafVersion"] == 192).then(|| format!("pk({key})"))
}

#[test]
fn outputs_are_those_of_bip_341() {
    let mut checked = 0;
    for vector in read("bip341.json")["scriptPubKey"].as_array().unwrap() {
        let (given, expected) = (&vector["given"], &vector["expected"]);
        let internal = given["internalPubkey"].as_str().unwrap();
        let mut leaves = Vec::new();
        let descriptor = match &given["scriptTree"] {
            Value::Null => format!("tr({internal})"),
            tree => match descriptor_tree(tree, &mut leaves) {
                Some(tree) => format!("tr({internal},{tree})"),
                None => continue, // a leaf version or script that descriptors do not have
            },
        };
        let Ok(Descriptor::Tr(tree)) = Descriptor::<XOnlyPublicKey>::from_str(&descriptor) else {
            panic!("{descriptor} is no descriptor of Taproot");
        };
        let info = tree.spend_info();
        let address = Address::p2tr_tweaked(info.output_key(), Network::Bitcoin);
        assert_eq!(address.to_string(), expected["bip350Address"]);
        assert_eq!(hex::encode(address.script_pubkey()), expected["scriptPubKey"]);
        for (at, script) in leaves.into_iter().enumerate() {
            let control = info.control_block(&(script, LeafVersion::TapScript)).unwrap();
            assert_eq!(hex::encode(control.serialize()), expected["scriptPathControlBlocks"][at]);
        }
        checked += 1;
    }
    assert!(checked >= 4, "only {checked} vectors fit");
}

#[test]
fn keys_are_aggregated_as_in_bip_327() {
    let file = read("bip327.json");
    for case in file["valid_test_cases"].as_array().unwrap() {
        let key = |index: &Value| {
            let text = file["pubkeys"][usize::try_from(index.as_u64().unwrap()).unwrap()].as_str().unwrap();
            musig::PublicKey::from_str(&text.to_lowercase()).unwrap()
        };
        let keys: Vec<musig::PublicKey> = case["key_indices"].as_array().unwrap().iter().map(key).collect();
        let keys: Vec<&musig::PublicKey> = keys.iter().collect();
        let aggregate = musig::musig::KeyAggCache::new(&keys).agg_pk().to_byte_array();
        assert_eq!(hex::encode_upper(aggregate), case["expected"]);
    }
}

#[test]
fn the_aggregate_does_not_depend_on_who_is_who() {
    let keys = [1, 2].map(|number| Author::new(number).trade_key().x_only_public_key().0);
    assert_eq!(aggregate(keys[0], keys[1]), aggregate(keys[1], keys[0]));
    assert_ne!(aggregate(keys[0], keys[1]), aggregate(keys[0], even_keypair([9; 32]).x_only_public_key().0));
}

/// The vectors of BIP-327 for what `keypath.rs` calls: nonces are summed up, keys tweaked, parts signed, checked and summed up.
struct Signing(Value);

/// Messages of other lengths than a sighash has are none for this code.
const SIGHASH_LEN: usize = 32;

impl Signing {
    fn of(section: &str) -> Self {
        Self(read("bip327_signing.json")[section].clone())
    }

    fn cases(&self, name: &str) -> Vec<Value> {
        self.0[name].as_array().unwrap().clone()
    }

    fn bytes(&self, list: &str, index: &Value) -> Vec<u8> {
        let at = usize::try_from(index.as_u64().unwrap()).unwrap();
        hex::decode(self.0[list][at].as_str().unwrap()).unwrap()
    }

    /// Returns what a case takes of a list; `None` where one of them cannot be read.
    fn all<T>(&self, list: &str, indices: &Value, read: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<T>> {
        indices.as_array().unwrap().iter().map(|index| read(&self.bytes(list, index))).collect()
    }

    fn keys(&self, case: &Value) -> Option<Vec<musig::PublicKey>> {
        self.all("pubkeys", &case["key_indices"], |bytes| musig::PublicKey::from_slice(bytes).ok())
    }

    fn nonces(&self, indices: &Value) -> Option<Vec<musig::musig::PublicNonce>> {
        self.all("pnonces", indices, nonce)
    }

    /// Returns the aggregated key of a case with its tweaks; `None` when one is refused.
    fn cache(&self, case: &Value) -> Option<musig::musig::KeyAggCache> {
        let keys = self.keys(case)?;
        let mut cache = musig::musig::KeyAggCache::new(&keys.iter().collect::<Vec<_>>());
        let Some(tweaks) = case["tweak_indices"].as_array() else { return Some(cache) };
        for (tweak, is_xonly) in tweaks.iter().zip(case["is_xonly"].as_array().unwrap()) {
            let tweak = self.bytes("tweaks", tweak).try_into().unwrap();
            let tweak = musig::Scalar::from_be_bytes(tweak).ok()?;
            if is_xonly.as_bool().unwrap() {
                cache.pubkey_xonly_tweak_add(&tweak).ok()?;
            } else {
                cache.pubkey_ec_tweak_add(&tweak).ok()?;
            }
        }
        Some(cache)
    }

    fn message(&self, case: &Value) -> Option<[u8; SIGHASH_LEN]> {
        match case.get("msg_index") {
            Some(index) => self.bytes("msgs", index).try_into().ok(),
            None => hex::decode(self.0["msg"].as_str().unwrap()).unwrap().try_into().ok(),
        }
    }

    fn pair(&self) -> musig::Keypair {
        let secret = hex::decode(self.0["sk"].as_str().unwrap()).unwrap().try_into().unwrap();
        musig::Keypair::from_secret_key(&musig::SecretKey::from_secret_bytes(secret).unwrap())
    }
}

fn nonce(bytes: &[u8]) -> Option<musig::musig::PublicNonce> {
    musig::musig::PublicNonce::from_byte_array(bytes.try_into().ok()?).ok()
}

fn sum(nonces: &[musig::musig::PublicNonce]) -> musig::musig::AggregatedNonce {
    musig::musig::AggregatedNonce::new(&nonces.iter().collect::<Vec<_>>())
}

/// Returns a published secret nonce (two numbers and a key) as the library holds it: a mark, the numbers, and the key as it is
/// in memory. Only here is a nonce ever made of bytes that somebody else knows.
fn secret_nonce(published: &[u8]) -> musig::musig::SecretNonce {
    let (numbers, key) = published.split_at(64);
    let key = musig::PublicKey::from_slice(key).unwrap().serialize_uncompressed();
    let limbs = |number: &[u8]| -> Vec<u8> {
        let words = number.rchunks(8).map(|word| u64::from_be_bytes(word.try_into().unwrap()));
        words.flat_map(u64::to_ne_bytes).collect()
    };
    let held = [&[0x22, 0x0e, 0xdc, 0xf1], numbers, &limbs(&key[1..33]), &limbs(&key[33..])].concat();
    musig::musig::SecretNonce::dangerous_from_bytes(held.try_into().unwrap())
}

#[test]
fn nonces_are_summed_up_as_in_bip_327() {
    let file = Signing::of("nonce_agg");
    for case in file.cases("valid_test_cases") {
        let sum = sum(&file.nonces(&case["pnonce_indices"]).unwrap()).serialize();
        assert_eq!(hex::encode_upper(sum), case["expected"]);
    }
    for case in file.cases("error_test_cases") {
        assert!(file.nonces(&case["pnonce_indices"]).is_none(), "{}", case["comment"]);
    }
}

#[test]
fn parts_are_signed_and_checked_as_in_bip_327() {
    let mut signed = 0;
    for section in ["sign_verify", "tweak"] {
        let file = Signing::of(section);
        for case in file.cases("valid_test_cases") {
            let Some(message) = file.message(&case) else { continue };
            let (cache, nonces) = (file.cache(&case).unwrap(), file.nonces(&case["nonce_indices"]).unwrap());
            let signer = usize::try_from(case["signer_index"].as_u64().unwrap()).unwrap();
            let session = musig::musig::Session::new(&cache, sum(&nonces), &message);
            let expected: [u8; 32] = hex::decode(case["expected"].as_str().unwrap()).unwrap().try_into().unwrap();
            let part = musig::musig::PartialSignature::from_byte_array(&expected).unwrap();
            let by = file.keys(&case).unwrap()[signer];
            assert!(session.partial_verify(&cache, &part, &nonces[signer], by), "{}", case["comment"]);
            // One key signs in these files: that of the first secret nonce.
            if by == file.pair().public_key() {
                let secret = match section {
                    "tweak" => hex::decode(file.0["secnonce"].as_str().unwrap()).unwrap(),
                    _ => file.bytes("secnonces", &0.into()),
                };
                let mine = session.partial_sign(secret_nonce(&secret), &file.pair(), &cache);
                assert_eq!(mine.serialize(), expected, "{}", case["comment"]);
                signed += 1;
            }
        }
    }
    assert!(signed >= 7, "only {signed} parts were signed");
    let file = Signing::of("tweak");
    assert!(file.cases("error_test_cases").iter().all(|case| file.cache(case).is_none()), "a tweak above the order");
}

#[test]
fn parts_that_do_not_fit_are_refused_as_in_bip_327() {
    let file = Signing::of("sign_verify");
    for case in file.cases("verify_fail_test_cases") {
        let (cache, nonces) = (file.cache(&case).unwrap(), file.nonces(&case["nonce_indices"]).unwrap());
        let signer = usize::try_from(case["signer_index"].as_u64().unwrap()).unwrap();
        let session = musig::musig::Session::new(&cache, sum(&nonces), &file.message(&case).unwrap());
        let part: [u8; 32] = hex::decode(case["sig"].as_str().unwrap()).unwrap().try_into().unwrap();
        let fits = musig::musig::PartialSignature::from_byte_array(&part).is_ok_and(|part| {
            session.partial_verify(&cache, &part, &nonces[signer], file.keys(&case).unwrap()[signer])
        });
        assert!(!fits, "{}", case["comment"]);
    }
    for case in file.cases("verify_error_test_cases") {
        let read = file.keys(&case).zip(file.nonces(&case["nonce_indices"]));
        assert!(read.is_none(), "{}", case["comment"]);
    }
    for case in file.cases("sign_error_test_cases") {
        let aggregate = file.bytes("aggnonces", &case["aggnonce_index"]).try_into().unwrap();
        let read = musig::musig::AggregatedNonce::from_byte_array(&aggregate).ok().and_then(|_| file.keys(&case));
        match case["error"]["type"].as_str().unwrap() {
            "invalid_contribution" => assert!(read.is_none(), "{}", case["comment"]),
            // A key that is not in the list, and a nonce that was wiped: this code has no way to come to either.
            _ => assert!(read.is_some()),
        }
    }
}

#[test]
fn parts_are_summed_up_as_in_bip_327() {
    let file = Signing::of("sig_agg");
    let parts = |case: &Value| {
        file.all("psigs", &case["psig_indices"], |bytes| {
            musig::musig::PartialSignature::from_byte_array(bytes.try_into().ok()?).ok()
        })
    };
    for case in file.cases("valid_test_cases") {
        let (cache, message) = (file.cache(&case).unwrap(), file.message(&case).unwrap());
        let nonces = sum(&file.nonces(&case["nonce_indices"]).unwrap());
        assert_eq!(hex::encode_upper(nonces.serialize()), case["aggnonce"]);
        let session = musig::musig::Session::new(&cache, nonces, &message);
        let parts = parts(&case).unwrap();
        let signature = session.partial_sig_agg(&parts.iter().collect::<Vec<_>>());
        let signature = signature.verify(&cache.agg_pk(), &message).unwrap();
        assert_eq!(hex::encode_upper(signature.to_byte_array()), case["expected"]);
    }
    for case in file.cases("error_test_cases") {
        assert!(parts(&case).is_none(), "{}", case["comment"]);
    }
}
