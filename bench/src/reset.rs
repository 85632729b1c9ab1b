//! How used memory is reset: as the engine chooses here by itself, so that no noise in a short try decides what is measured.

use std::sync::OnceLock;

use millpond::{Engine, EngineConfig, HandlerConfig, ResetMode};
use wasmtime::Result;
use wasmtime::error::Context as _;

use crate::cores::{Place, go};
use crate::guest::Guest;

/// The engine's choice on this machine, which it tells once it has started.
///
/// # Errors
/// It does not start.
pub fn chosen() -> Result<ResetMode> {
    static CHOSEN: OnceLock<ResetMode> = OnceLock::new();
    if let Some(reset) = CHOSEN.get() {
        return Ok(*reset);
    }
    go(Place::Anywhere)?;
    let guest = Guest::BatchCounter;
    let handler = HandlerConfig::file(guest.name(), guest.path()).subject(guest.name());
    let engine = Engine::start(EngineConfig::new().shards(1).handler(handler))?;
    let name = engine.stats().reset;
    engine.stop();
    let found = ResetMode::ALL.into_iter().find(|r| r.name() == name);
    let reset = found.with_context(|| format!("the bench knows no reset named {name}"))?;
    Ok(*CHOSEN.get_or_init(|| reset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Allocator;

    #[test]
    fn the_engine_chooses_what_this_machine_has() {
        let reset = chosen().unwrap();
        assert!(Allocator::Ours(reset).is_available());
        assert_eq!(chosen().unwrap(), reset);
    }
}
