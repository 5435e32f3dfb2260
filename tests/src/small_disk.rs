//! A disk that is soon full.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::wait_until;

/// Room for an empty ledger and a few records.
const SMALL: &str = "size=320k,mode=0700";
/// Room for everything.
const LARGE: &str = "size=512m";
/// The same by a limit on the length of each file, in the shell's blocks of 512 bytes.
const SMALL_FILES: &str = "320";
/// Runs what follows with the limit, and lets a write past it fail instead of ending the program.
const LIMITED: &str = "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"";

/// A small filesystem in memory, seen only by the processes that are run on it: it needs a mount namespace and so no rights.
/// Where not even that is allowed, as in many containers, the length of files is limited instead.
#[derive(Debug)]
pub struct SmallDisk {
    /// Keeps the namespace while processes come and go.
    holder: Option<Child>,
    dir: String,
    is_large: bool,
}

impl SmallDisk {
    /// Puts a small filesystem on a directory.
    ///
    /// # Panics
    /// When the directory cannot be made or the filesystem does not appear.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        std::fs::create_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let dir = dir.display().to_string();
        let may_mount = namespace().arg("true").status().is_ok_and(|status| status.success());
        let holder = may_mount.then(|| {
            let mut command = namespace();
            command.args(["sh", "-c", "mount -t tmpfs -o \"$0\" tmpfs \"$1\" && exec sleep infinity"]);
            command.args([SMALL, &dir]);
            command.spawn().expect("the same command ran a moment ago")
        });
        let disk = Self { holder, dir, is_large: false };
        disk.awaits_the_mount();
        disk
    }

    /// Returns what must stand before a command for it to run on this disk.
    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        let words: &[&str] = match &self.holder {
            Some(holder) => {
                &["nsenter", "--user", "--mount", "--preserve-credentials", "--target", &holder.id().to_string()]
            }
            None if self.is_large => &[],
            None => &["sh", "-c", LIMITED, SMALL_FILES],
        };
        words.iter().map(|&word| word.to_owned()).collect()
    }

    /// Makes room. Without a filesystem of its own, only for processes that are started from now on.
    ///
    /// # Panics
    /// When the filesystem cannot be made larger.
    pub fn grow(&mut self) {
        self.is_large = true;
        if self.holder.is_some() {
            let words = self.wrapper();
            let remount = ["mount", "-o", &format!("remount,{LARGE}"), &self.dir];
            let status = Command::new(&words[0]).args(&words[1..]).args(remount).status();
            assert!(status.is_ok_and(|status| status.success()), "{} does not grow", self.dir);
        }
    }

    fn awaits_the_mount(&self) {
        if let Some(holder) = &self.holder {
            let mounts = format!("/proc/{}/mounts", holder.id());
            wait_until("the filesystem is mounted", || {
                let mounts = std::fs::read_to_string(&mounts).map_err(|error| error.to_string())?;
                if mounts.contains(&self.dir) { Ok(()) } else { Err(mounts) }
            });
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Some(mut holder) = self.holder.take() {
            // It may have ended by itself; nothing is left to do then.
            holder.kill().ok();
            holder.wait().ok();
        }
    }
}

fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
