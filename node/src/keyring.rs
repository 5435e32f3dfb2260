//! The identity of a data directory: the keystore file, and the keys in memory while it is unlocked.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use exchange_ledger::identity::{
    Email, EmailError, Identity, KdfError, KdfParams, Keystore, KeystoreError, KeystoreParams, MasterKey, Password,
    PasswordError, SecretKey, SecretKeyError, Verdict, strength,
};
use rustix::fs::{Mode, OFlags};

use crate::entropy;

/// The largest file that is read as a keystore.
const MAX_KEYSTORE_LEN: u64 = 64 * 1024;

/// The keystore of a data directory.
#[derive(Debug, Clone)]
pub struct Keyring {
    path: PathBuf,
}

/// Why there is no identity to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// There is a keystore already.
    #[error("this data directory has an identity already; use it, or start with another data directory")]
    Exists,
    /// There is no keystore.
    #[error("this data directory has no identity; create one with `exchange-node identity new`")]
    Missing,
    /// The password would be guessed.
    #[error(
        "the password is too weak ({0}); the identity's public key lets anyone try passwords for ever, so use a generated passphrase"
    )]
    Weak(String),
    /// The email is none.
    #[error(transparent)]
    Email(#[from] EmailError),
    /// The password is none.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The secret key is none.
    #[error(transparent)]
    SecretKey(#[from] SecretKeyError),
    /// The keys could not be derived.
    #[error(transparent)]
    Kdf(#[from] KdfError),
    /// The keystore could not be opened.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The file could not be read or written.
    #[error("keystore {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl Keyring {
    /// Names the keystore of a data directory.
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join("identity.keystore") }
    }

    /// Tells whether there is a keystore.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Derives an identity and keeps it. Takes seconds and a gigabyte on purpose: call it off the async threads.
    ///
    /// # Errors
    /// When there is a keystore already, the input is no email or no good password, or the file cannot be written.
    pub fn create(
        &self,
        email: &str,
        password: &str,
        secret_key: Option<&str>,
    ) -> Result<(Identity, Email), KeyringError> {
        if self.exists() {
            return Err(KeyringError::Exists);
        }
        let (email, password) = (Email::parse(email)?, Password::parse(password)?);
        let judged = strength(&email, &password);
        if judged.verdict == Verdict::Refused {
            return Err(KeyringError::Weak(judged.advice.join(" ")));
        }
        let secret_key = secret_key.map(SecretKey::parse).transpose()?;
        let identity = MasterKey::derive(&email, &password, secret_key.as_ref(), &KdfParams::V1)?.identity();
        let salt = *entropy::bytes32().first_chunk().expect("32 bytes hold 16");
        let nonce = *entropy::bytes32().first_chunk().expect("32 bytes hold 24");
        let file = Keystore::seal(&identity, &email, &password, salt, nonce, &KeystoreParams::V1)?;
        self.write_new(&file)?;
        Ok((identity, email))
    }

    /// Unlocks the keystore. Takes a moment: call it off the async threads.
    ///
    /// # Errors
    /// When there is none, the password is wrong, or the file is damaged. It is never changed.
    pub fn unlock(&self, password: &str) -> Result<(Identity, Email), KeyringError> {
        if !self.exists() {
            return Err(KeyringError::Missing);
        }
        let io = |error| KeyringError::Io { path: self.path.clone(), error };
        let mut file = Vec::new();
        let opened = std::fs::File::open(&self.path).map_err(io)?;
        io::Read::read_to_end(&mut io::Read::take(opened, MAX_KEYSTORE_LEN), &mut file).map_err(io)?;
        Ok(Keystore::open(&file, &Password::parse(password)?)?)
    }

    /// Writes the file whole or not at all, and never over another.
    fn write_new(&self, bytes: &[u8]) -> Result<(), KeyringError> {
        let io = |error| KeyringError::Io { path: self.path.clone(), error };
        write_new(&self.path, bytes).map_err(io)
    }
}

/// Writes a file that only its owner may read: whole or not at all, durably, and never over another.
///
/// # Errors
/// When the system refuses, or there is such a file.
pub fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {} // left over by a power cut, or not there
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::hard_link(&temporary, path)?; // unlike a rename, this fails when the file is there
    std::fs::remove_file(&temporary)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(parent)?.sync_all()
}
