//! The corpus of the fuzzer, replayed: whatever it once found stays found.

use std::path::Path;

use super::fuzz_answers::batch;

/// Inputs that the corpus has at least: an empty folder would prove nothing.
const INPUTS_MIN: usize = 100;

#[test]
fn every_answer_of_the_fuzzers_corpus_is_refused_or_sent_within_its_bounds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/batch");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).expect("it is in the repository") {
        let path = entry.expect("it can be read").path();
        batch(&std::fs::read(path).expect("it can be read"));
        inputs += 1;
    }
    assert!(inputs >= INPUTS_MIN, "{inputs}");
}
