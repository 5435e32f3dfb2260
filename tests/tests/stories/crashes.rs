//! What a crash leaves behind: nothing of what a program had in its memory.
#![cfg(target_os = "linux")]

use std::os::unix::fs::MetadataExt as _;

use exchange_tests::{Launch, Process, Terminal, program};
use tempfile::TempDir;

#[test]
fn neither_program_leaves_its_memory_behind() {
    let dir = TempDir::with_prefix("exchange-story-").unwrap();
    let data_dir = dir.path().join("relay").display().to_string();
    let args = ["run", "--relay", "--listen", "/ip4/127.0.0.1/tcp/0", "--json", "--data-dir", &data_dir];
    let mut relay = Process::start(Launch::node("relay", dir.path(), &args));
    let terminal = Terminal::run(&program("exchange-tui"), &["--data-dir", &data_dir]);
    terminal.shows("exchange");
    for id in [relay.id(), terminal.id()] {
        let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
        let of_dumps = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
        assert_eq!(of_dumps.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "soft and hard");
        // What must not be dumped belongs to root, whoever runs it.
        assert_eq!(std::fs::metadata(format!("/proc/{id}/environ")).unwrap().uid(), 0);
    }
    drop(terminal);
    relay.stop();
}
