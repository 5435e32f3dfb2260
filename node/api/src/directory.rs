//! Directories that nobody else on this machine can look into.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a directory is not one's own alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It is another user's, or meant for everyone.
    #[error("{0} is shared with other users")]
    Shared(PathBuf),
    /// It was closed to others and is as open as before.
    #[error("{0} stays open to other users, as on a file system that keeps no permissions")]
    StaysOpen(PathBuf),
    /// The system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes a directory that only its owner can read, or tightens one that is there and one's own.
///
/// # Errors
/// See [`DirectoryError`]. A directory that is shared is left as it is, and one that stays open is not to be used.
pub fn make_private_directory(path: &Path) -> Result<(), DirectoryError> {
    let io = |what| move |source| DirectoryError::Io { what, path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("create the directory"))?;
    let inspect = || fs::metadata(path).map_err(io("inspect the directory"));
    let is_open = |metadata: &Metadata| metadata.mode() & 0o077 != 0;
    let metadata = inspect()?;
    if !is_open(&metadata) {
        return Ok(());
    }
    // A sticky directory, like /tmp, is meant for everyone; locking the others out would break the machine.
    let sticky = metadata.mode() & 0o1000 != 0;
    if sticky || metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(DirectoryError::Shared(path.to_owned()));
    }
    fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(io("make private the directory"))?;
    // Some mounts, as of other machines, say that it is done and do nothing.
    if is_open(&inspect()?) { Err(DirectoryError::StaysOpen(path.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_directory_is_made_or_tightened_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/data");
        make_private_directory(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        for open in [0o755, 0o770, 0o701, 0o777] {
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            make_private_directory(&path).unwrap();
            assert_eq!(mode(&path), 0o700, "it was {open:o}");
        }
    }

    #[test]
    fn what_is_meant_for_everyone_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
        let error = make_private_directory(directory.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::Shared(_)), "{error}");
        assert_eq!(mode(directory.path()), 0o1777);
    }
}
