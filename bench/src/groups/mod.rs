//! What is measured beside the raw loops, the report and NATS: a file a group, each of which notes its rows.

pub mod call;
pub mod hop;
pub mod instantiate;
pub mod process;
pub mod role;
pub mod scaling;
pub mod system_calls;
pub mod touch;

use wasmtime::Result;

/// Tries of a measurement that other processes may spoil.
const TRIES: usize = 3;

/// Measures again where a run says that its load was not sustained, as it may be on a busy machine; then it is an error.
///
/// # Errors
/// That of the last try.
pub fn again<T>(mut measure: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tried = 1;
    loop {
        match measure() {
            Err(error) if tried < TRIES => {
                eprintln!("again: {error:#}");
                tried += 1;
            }
            result => return result,
        }
    }
}
