//! The network key of a data directory: random, and unrelated to any identity.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use libp2p::identity::Keypair;
use zeroize::Zeroizing;

/// The name of the file in the data directory.
pub const FILE_NAME: &str = "network.key";
/// The longest file that is read: an encoded ed25519 key has 68 bytes.
const MAX_LEN: u64 = 256;

/// A network key that cannot be had. An existing file is never changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file is there but is not a key.
    #[error(
        "the network key {0} is damaged; remove the file to get a new one (peers will know this node by another id, nothing else is lost)"
    )]
    Damaged(PathBuf),
    /// The system refuses to read or write it.
    #[error("cannot {action} the network key {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system has no randomness, or the key cannot be encoded.
    #[error("cannot make a network key: {0}")]
    Generate(String),
}

/// Returns the network key of a data directory, making one at the first time. The file can be read by its owner only.
///
/// # Errors
/// When the file is damaged, or cannot be read or written.
pub fn load_or_create(data_dir: &Path) -> Result<Keypair, KeyError> {
    let path = data_dir.join(FILE_NAME);
    match File::open(&path) {
        Ok(file) => load(file, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(data_dir, &path),
        Err(source) => Err(KeyError::Io { action: "open", path, source }),
    }
}

fn load(file: File, path: &Path) -> Result<Keypair, KeyError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN as usize)); // so that it never moves while it grows
    file.take(MAX_LEN).read_to_end(&mut bytes).map_err(|source| io_error("read", path, source))?;
    Keypair::from_protobuf_encoding(&bytes).map_err(|_| KeyError::Damaged(path.to_owned()))
}

fn create(data_dir: &Path, path: &Path) -> Result<Keypair, KeyError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).map_err(|e| KeyError::Generate(e.to_string()))?;
    let keypair = Keypair::ed25519_from_bytes(&mut *secret).map_err(|e| KeyError::Generate(e.to_string()))?;
    let bytes = keypair.to_protobuf_encoding().map_err(|e| KeyError::Generate(e.to_string()))?;
    persist(data_dir, path, &Zeroizing::new(bytes)).map_err(|source| io_error("write", path, source))?;
    Ok(keypair)
}

/// Writes the file whole or not at all, and never over another one.
fn persist(data_dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(data_dir)?; // mode 0600
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    File::open(data_dir)?.sync_all()
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> KeyError {
    KeyError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_stays_the_same_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap().public();
        assert_eq!(load_or_create(dir.path()).unwrap().public(), first);
        let mode = dir.path().join(FILE_NAME).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(dir.path().read_dir().unwrap().count(), 1, "no temporary file is left");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(load_or_create(other.path()).unwrap().public(), first);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        let path = dir.path().join(FILE_NAME);
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[40] ^= 1;
        for damaged in [&whole[..50], &[], &changed[..]] {
            File::create(&path).unwrap().write_all(damaged).unwrap();
            assert!(matches!(load_or_create(dir.path()), Err(KeyError::Damaged(_))), "{damaged:?}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn a_missing_directory_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = load_or_create(&dir.path().join("absent")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write the network key"), "{error}");
    }
}
