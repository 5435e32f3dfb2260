//! `bundle.json`: a whole trade in one file, as it is handed to strangers.

use serde_json::Value;

use super::{check, read};
use crate::audit::bundle::Bundle;
use crate::audit::bundle::tests::closed_trade;

#[test]
fn a_bundle_comes_out_as_published() {
    check("bundle.json", &serde_json::to_value(closed_trade()).unwrap());
}

#[test]
fn the_published_bundle_is_believed() {
    let file: Value = read("bundle.json");
    let bundle = Bundle::decode(file.to_string().as_bytes()).unwrap();
    assert_eq!(bundle.verify().unwrap().phase, crate::trade::Phase::Closed);
}
