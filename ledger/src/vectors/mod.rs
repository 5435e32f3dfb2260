//! `specs/vectors/*.json`: recomputed by these tests and compared with the files, from which other implementations work.
//! `UPDATE_VECTORS=1 cargo test -p exchange-ledger vectors` writes the files anew, after a deliberate change of a rule.

mod agreement;
mod bundle;
mod chain;
mod escrow;
mod frost;
mod funding;
mod keypath;
mod mail;
mod psbt;
mod records;
mod retention;
mod state;
mod sync;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Compares what this code computes with a file of vectors.
pub(crate) fn check(name: &str, computed: &Value) {
    update(name, &format!("{}\n", serde_json::to_string_pretty(computed).unwrap()));
    let kept = read(name);
    for (key, value) in computed.as_object().unwrap() {
        assert_eq!(kept[key], *value, "{name}: {key}");
    }
    assert_eq!(kept, *computed, "{name} has more or less than this code computes");
}

/// Writes a file of vectors anew, if that is asked for.
pub(crate) fn update(name: &str, text: &str) {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::File::create(path(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }
}

/// Reads a file of vectors.
pub(crate) fn read(name: &str) -> Value {
    serde_json::from_str(&read_text(name)).unwrap()
}

/// Reads a file of vectors as it is.
pub(crate) fn read_text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/vectors").join(name)
}

/// Returns bytes as hex.
pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}
