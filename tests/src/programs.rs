//! Where the programs are.

use std::path::PathBuf;

/// Returns the path of a program of this workspace, beside the tests in the build directory.
///
/// # Panics
/// When it is not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let path = test.ancestors().nth(2).expect("tests lie in <profile>/deps/").join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `make test`, or `cargo build -p exchange-node -p exchange-tui` first",
        path.display()
    );
    path
}
