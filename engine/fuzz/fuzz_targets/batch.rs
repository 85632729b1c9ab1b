//! What a guest of contract 3 gives back: see [`millpond_fuzz::batch`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millpond_fuzz::batch(data));
