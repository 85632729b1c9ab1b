//! What is measured beside the raw loops, the report and NATS: a file a group, each of which notes its rows.

pub mod call;

pub mod instantiate;
pub mod process;
pub mod role;
pub mod scaling;
pub mod settings;
pub mod steady;
pub mod system_calls;
pub mod taken;
pub mod touch;

use wasmtime::Result;

use crate::engine::NotSustained;

/// Tries of a measurement that other processes may spoil.
const TRIES: usize = 3;

/// Measures again where a run says that its load was not sustained ([`NotSustained`]), as happens on a busy machine. Whatever else is wrong
/// is told at once: no later try makes a lost message good.
///
/// # Errors
/// That of the last try.
pub fn again<T>(mut measure: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tried = 1;
    loop {
        match measure() {
            Err(error) if tried < TRIES && error.is::<NotSustained>() => {
                eprintln!("again: {error:#}");
                tried += 1;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::error::Context as _;
    use wasmtime::{bail, format_err};

    fn not_sustained() -> wasmtime::Error {
        NotSustained {
            mean: 3.0,
            least: 52.0,
        }
        .into()
    }

    /// How often it is measured, if it always ends so.
    fn tries(error: impl Fn() -> wasmtime::Error) -> usize {
        let mut tries = 0;
        let result: Result<()> = again(|| {
            tries += 1;
            Err(error())
        });
        result.unwrap_err();
        tries
    }

    #[test]
    fn only_a_load_that_was_not_sustained_is_measured_again() {
        assert_eq!(tries(not_sustained), TRIES);
        let told = || {
            Err::<(), _>(not_sustained())
                .context("a round")
                .unwrap_err()
        };
        assert_eq!(tries(told), TRIES);
        for wrong in ["1 of 2 were settled", "calls failed: [(Trap, 1)]"] {
            assert_eq!(tries(|| format_err!("{wrong}")), 1, "{wrong}");
        }
    }

    #[test]
    fn a_later_try_decides() {
        let after_one = |last: fn() -> Result<u32>| {
            let mut tried = 0;
            again(|| {
                tried += 1;
                match tried {
                    1 => Err(not_sustained()),
                    _ => last(),
                }
            })
        };
        assert_eq!(after_one(|| Ok(7)).unwrap(), 7);
        let error = after_one(|| bail!("a message was lost")).unwrap_err();
        assert!(error.to_string().contains("lost"));
    }
}
