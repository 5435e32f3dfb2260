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
