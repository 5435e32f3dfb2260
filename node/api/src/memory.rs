//! The memory of a program that holds keys and passwords.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

/// Has this program leave no core dump when it crashes: its memory would lie on the disk, for days where the system collects dumps,
/// and be sent to others where it reports them. Call it before anything else.
///
/// # Errors
/// When the system refuses.
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // Where the system hands dumps to a program it does not ask for the limit. Nor can other programs of the same user look into
    // this one any more; what `/proc` tells everybody, as how much memory is used, it still tells.
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
