//! `specs/vectors/*.json`: recomputed by these tests and compared with the files, from which other implementations work.
//! `UPDATE_VECTORS=1 cargo test -p exchange-ledger vectors` writes the files anew, after a deliberate change of a rule.

mod bundle;
mod escrow;
mod mail;
mod records;

use std::io::Write;
use std::path::Path;

use serde_json::Value;

/// Compares what this code computes with a file of vectors.
pub(crate) fn check(name: &str, computed: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/vectors").join(name);
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        let text = serde_json::to_string_pretty(computed).unwrap();
        let mut file = std::fs::File::create(&path).unwrap();
        writeln!(file, "{text}").unwrap();
    }
    let kept = read(name);
    for (key, value) in computed.as_object().unwrap() {
        assert_eq!(kept[key], *value, "{name}: {key}");
    }
    assert_eq!(kept, *computed, "{name} has more or less than this code computes");
}

/// Reads a file of vectors.
pub(crate) fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/vectors").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// Returns bytes as hex.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}
