//! The committed corpus of the fuzz targets, replayed: what a fuzzer once found stays found on any machine.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn every_seed_of_the_corpus_passes_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, run) in targets::TARGETS {
        let folder = corpus.join(name);
        let mut seeds: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("a readable folder").path())
            .collect();
        seeds.sort();
        assert!(seeds.len() >= 8, "the corpus of {name} is gone: only {} seeds", seeds.len());
        for seed in seeds {
            let bytes = fs::read(&seed).expect("a readable seed");
            let passed = std::panic::catch_unwind(|| run(&bytes));
            assert!(passed.is_ok(), "{} fails: see above", seed.display());
        }
    }
}
