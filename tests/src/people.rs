//! The people of the stories. Each derives his keys once, at full cost; afterwards he carries his keystore along, as an owner
//! of several machines may, and only unlocks it.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Strong enough for a node to accept; people differ by their emails.
pub const PASSWORD: &str = "gravel-oboe-41-quince-lantern-tundra";
/// What the arbiter of the stories calls himself.
pub(crate) const ARBITER: &str = "Solomon";
/// The file of a data directory that holds the keys.
const KEYSTORE: &str = "identity.keystore";

static KEYSTORES: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

/// Returns the email of the person of this name.
pub(crate) fn email_of(name: &str) -> String {
    format!("{name}@example.org")
}

/// Returns the payment details of the person of this name.
pub(crate) fn details_of(name: &str) -> String {
    format!("{name}, IBAN DE02 1203 0000 0000 2020 51")
}

/// Puts a person's keystore into his new data directory, if he derived his keys before.
pub(crate) fn bring_keystore(name: &str, data_dir: &Path) {
    let keystores = KEYSTORES.lock().unwrap_or_else(PoisonError::into_inner);
    if let (Some(keystore), false) = (keystores.get(name), data_dir.exists()) {
        let brought = || {
            DirBuilder::new().mode(0o700).create(data_dir)?;
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            options.open(data_dir.join(KEYSTORE))?.write_all(keystore)
        };
        brought().unwrap_or_else(|error| panic!("{}: {error}", data_dir.display()));
    }
}

/// Remembers a person's keystore.
pub(crate) fn keep_keystore(name: &str, data_dir: &Path) {
    let path = data_dir.join(KEYSTORE);
    let keystore = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut keystores = KEYSTORES.lock().unwrap_or_else(PoisonError::into_inner);
    keystores.entry(name.to_owned()).or_insert(keystore);
}
