//! The corpus of the fuzzer, replayed: whatever it once found stays found.

use std::path::Path;

use super::fuzz_checks::nats;

/// Inputs that the corpus has at least: an empty folder would prove nothing.
const INPUTS_MIN: usize = 150;

#[test]
fn every_input_of_the_fuzzers_corpus_is_read_alike_in_any_pieces() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/nats");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).expect("it is in the repository") {
        let path = entry.expect("it can be read").path();
        nats(&std::fs::read(path).expect("it can be read"));
        inputs += 1;
    }
    assert!(inputs >= INPUTS_MIN, "{inputs}");
}
