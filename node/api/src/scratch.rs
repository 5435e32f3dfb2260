//! Directories of demos. Whoever is killed removes nothing, so each demo removes what is left of those before it: only what a
//! file in it proves to be a demo's, and the lock of that file to be used by nobody, which the system lets go with a process.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use tempfile::TempDir;

/// How the name of a demo's directory begins where the system keeps temporary files.
const PREFIX: &str = "exchange-demo-";
/// The file whose lock everybody shares who uses the directory.
const LOCK: &str = "demo.lock";
/// Its name until it is locked: what has just been made seems abandoned to nobody.
const NEW_LOCK: &str = "demo.lock.new";

/// A directory that goes with the demo that made it.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes a directory where the system keeps temporary files, and removes those of demos that were killed.
    ///
    /// # Errors
    /// When the system refuses to make it. What cannot be removed is left.
    pub fn new() -> io::Result<Self> {
        Self::new_in(&std::env::temp_dir(), PREFIX)
    }

    /// Makes a directory in `parent` whose name begins with `prefix`, and removes those of demos that were killed there.
    ///
    /// # Errors
    /// See [`Scratch::new`].
    pub fn new_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        remove_abandoned(parent, prefix);
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        let new = directory.path().join(NEW_LOCK);
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        lock.lock_shared()?;
        fs::rename(&new, directory.path().join(LOCK))?;
        Ok(Self { directory, _lock: lock })
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn close(self) -> io::Result<()> {
        self.directory.close()
    }
}

/// Keeps a directory that another program made for its demo from being removed, while what is returned lives: whoever made it
/// may be killed first. Any other directory needs nothing.
pub fn hold_scratch(directory: &Path) -> Option<File> {
    let lock = File::open(directory.join(LOCK)).ok()?;
    lock.try_lock_shared().ok()?;
    Some(lock)
}

fn remove_abandoned(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) || !is_own_directory(&path) {
            continue;
        }
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        // Held until the directory is gone, so that nobody takes it up again.
        if lock.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::warn!(%error, path = %path.display(), "what a demo left behind could not be removed");
        }
    }
}

fn is_own_directory(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves a directory as a demo does that is killed.
    fn killed(parent: &Path, prefix: &str) -> std::path::PathBuf {
        let Scratch { directory, _lock } = Scratch::new_in(parent, prefix).unwrap();
        fs::create_dir(directory.path().join("anna")).unwrap();
        directory.keep()
    }

    #[test]
    fn only_what_a_killed_demo_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path();
        let running = Scratch::new_in(parent, "demo-").unwrap();
        let other = killed(parent, "other-");
        let held = killed(parent, "demo-");
        let node = hold_scratch(&held).unwrap();
        let unknown = parent.join("demo-of-somebody");
        fs::create_dir(&unknown).unwrap();
        File::create(parent.join("demo-file")).unwrap();
        let left = killed(parent, "demo-");
        std::os::unix::fs::symlink(&other, parent.join("demo-link")).unwrap();

        let next = Scratch::new_in(parent, "demo-").unwrap();
        assert!(!left.exists(), "nobody uses it any more");
        for kept in [running.path(), next.path(), other.as_path(), held.as_path(), unknown.as_path()] {
            assert!(kept.is_dir(), "{}", kept.display());
        }
        assert!(parent.join("demo-file").is_file());

        // The node that went on in it has ended too, and the demo that ran was stopped in order.
        drop(node);
        let was_running = running.path().to_owned();
        running.close().unwrap();
        drop(next);
        Scratch::new_in(parent, "demo-").unwrap();
        assert!(!held.exists() && !was_running.exists());
        assert!(unknown.is_dir() && other.join("anna").is_dir());
        assert!(hold_scratch(&unknown).is_none(), "it is no demo's");
    }
}
