//! What a program's memory is kept from. A process of its own: what is forbidden stays so.
#![allow(clippy::unwrap_used)]

use rustix::process::{Resource, Rlimit, getrlimit};

#[test]
fn a_program_that_forbids_core_dumps_leaves_none() {
    exchange_api::forbid_core_dumps().unwrap();
    assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
    // Forbidden twice is forbidden.
    exchange_api::forbid_core_dumps().unwrap();
}
