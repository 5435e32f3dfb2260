//! `bundle.json`: a whole trade in one file, as it is handed to strangers.

use super::{read_text, update};
use crate::audit::bundle::Bundle;
use crate::audit::bundle::tests::closed_trade;
use crate::trade::Phase;

#[test]
fn a_bundle_comes_out_as_published() {
    let text = closed_trade().encode();
    update("bundle.json", &text);
    assert!(read_text("bundle.json") == text, "bundle.json is not what this code writes");
}

#[test]
fn the_published_bundle_is_believed() {
    let bundle = Bundle::decode(read_text("bundle.json").as_bytes()).unwrap();
    assert_eq!(bundle.verify().unwrap().phase, Phase::Closed);
}
