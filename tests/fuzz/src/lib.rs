//! What the fuzz targets do with their bytes. `make fuzz` runs them under libFuzzer; `cargo test` replays the committed
//! corpus through the same functions, so that a regression is found on any machine.

pub mod machine;
pub mod record;
pub mod sync;
pub mod tape;
pub mod world;

/// What a fuzzer calls with its bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is the name of its folder in `corpus/` too.
pub const TARGETS: [(&str, Target); 4] =
    [("record", record::run), ("sync", sync::run), ("machine", machine::run), ("world", world::run)];
