//! A guest made by hand: an image of 64 KiB, of which a call writes seven pages; its arguments are the eighth. Contract 3, so that the
//! engine takes it too.

use wasmtime::Result;
use wasmtime::error::Context as _;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The first bytes of its image, in whose place each numbered one has its number.
const MARK: &[u8; 16] = b"number-of-a-copy";
const IMAGE_BYTES: usize = 64 << 10;
/// Pages of the image that a call writes to.
const PAGES: usize = 7;

/// The module: arguments are put behind the image, none is freed; the answer is zero, which says that all is acked.
fn module() -> String {
    let mut image = String::from_utf8_lossy(MARK).into_owned();
    while image.len() < IMAGE_BYTES {
        image.push_str("millpond");
    }
    let touch = |page: usize| {
        let at = page * 4_096 + 64;
        format!(
            "(i32.store (i32.const {at}) (i32.add (i32.load (i32.const {at})) (i32.const 1)))\n"
        )
    };
    let touches: String = (0..PAGES).map(touch).collect();
    format!(
        r#"(module
  (memory (export "memory") 3)
  (data (i32.const 0) "{image}")
  (global $next (mut i32) (i32.const 131072))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "millpond:batch/handler@0.1.0#handle") (param i32 i32 i32 i32) (result i32)
    {touches}
    (i32.const 98304))
)"#
    )
}

/// The component.
///
/// # Errors
/// None that could happen with what is written here.
pub fn component() -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/millpond-batch-0.1.0");
    let told = |error: &dyn std::fmt::Display| wasmtime::format_err!("{error}");
    let (package, _) = resolve.push_dir(wit).map_err(|e| told(&e))?;
    let world = resolve
        .select_world(&[package], Some("batch"))
        .map_err(|e| told(&e))?;
    let mut module = wat::parse_str(module())?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|e| told(&e))?;
    let encoder = ComponentEncoder::default().validate(true);
    let mut encoder = encoder.module(&module).map_err(|e| told(&e))?;
    encoder.encode().map_err(|e| told(&e))
}

/// So many components that differ in their image, so that none is shared.
///
/// # Errors
/// None that could happen with what is written here.
pub fn numbered(count: usize) -> Result<impl Iterator<Item = Vec<u8>>> {
    let first = component()?;
    let mut windows = first.windows(MARK.len());
    let at = windows.position(|bytes| bytes == MARK);
    let at = at.context("the component has its mark")?;
    Ok((0..count).map(move |number| {
        let mut copy = first.clone();
        let name = format!("{number:0width$}", width = MARK.len());
        copy[at..at + MARK.len()].copy_from_slice(name.as_bytes());
        copy
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_differ_and_are_taken_by_the_engine() {
        let copies: Vec<_> = numbered(2).unwrap().collect();
        assert_ne!(copies[0], copies[1]);
        let mut config = millpond::EngineConfig::new().shards(1);
        for (copy, name) in copies.into_iter().zip(["a", "b"]) {
            config = config.handler(millpond::HandlerConfig::bytes(name, copy).subject(name));
        }
        config.pin = false;
        let engine = millpond::Engine::start(config).unwrap();
        for subject in ["a", "b"] {
            let message = millpond::Message::new(subject, b"x").unwrap();
            assert_eq!(engine.publish(message).unwrap(), 1);
        }
        engine.drain(std::time::Duration::from_secs(60)).unwrap();
        let handlers = engine.stats().handlers;
        assert!(
            handlers.iter().all(|h| h.acked == 1 && h.faults.is_empty()),
            "{handlers:?}"
        );
    }
}
