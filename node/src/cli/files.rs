//! Files that a verb makes for its user alone: they tell of his coins and trades.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a file that nobody else on this machine can read, never over another one.
///
/// # Errors
/// When the system refuses, or there is such a file.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_and_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.jsonl");
        let file = create(&path).unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o077, 0);
        assert_eq!(create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
