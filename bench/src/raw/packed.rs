//! Contract 3 as the engine calls it: parts of messages laid out in two buffers, and an answer of two lists. As packs come to the engine, they are laid
//! out beforehand; or for each call, in buffers that are used again, as the engine does with messages.

use wasmtime::component::{ComponentType, Lift, WasmList};
use wasmtime::{Result, Store, ensure, format_err};

use super::{RawMessage, Sent};

/// Numbers of a message on its way in, and of a send on its way out.
const ROW: usize = 6;

/// When a batch is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Once, before the first call.
    Beforehand,
    /// In each call.
    EachCall,
}

/// A batch as it is lowered.
#[derive(Debug)]
pub(super) struct Packed {
    arena: Vec<u8>,
    index: Vec<u32>,
    pub(super) layout: Layout,
}

impl Packed {
    /// These messages, laid out now; and again in each call, if `layout` says so.
    pub(super) fn new(messages: &[RawMessage]) -> Self {
        let mut packed = Self {
            arena: Vec::new(),
            index: Vec::new(),
            layout: Layout::Beforehand,
        };
        packed.fill(messages);
        packed
    }

    /// What is lowered in a call with these messages.
    pub(super) fn batch(&mut self, messages: &[RawMessage]) -> (&[u8], &[u32]) {
        if self.layout == Layout::EachCall {
            self.fill(messages);
        }
        (&self.arena, &self.index)
    }

    /// Lays out messages: of each one copy, as of one whose parts lie one behind the other.
    fn fill(&mut self, messages: &[RawMessage]) {
        self.arena.clear();
        self.index.clear();
        for message in messages {
            let start = self.arena.len() as u32;
            let [subject, reply_to, headers, payload] = message.lens;
            self.arena.extend_from_slice(&message.frame);
            self.index
                .extend_from_slice(&[start, subject, reply_to, headers, payload, 0]);
        }
    }
}

/// What the guest gives back.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Answer {
    arena: WasmList<u8>,
    index: WasmList<u32>,
}

/// Counts what was sent, and sees that each send's parts lie in its arena. Nothing is copied: nobody gets it.
pub(super) fn take(store: &mut Store<Sent>, answer: &Answer) -> Result<()> {
    let arena = answer.arena.as_le_slice(&*store);
    let rows = answer
        .index
        .as_le_slice(&*store)
        .get(1..)
        .unwrap_or_default();
    let mut messages = 0;
    for row in rows.chunks_exact(ROW) {
        let bytes: u64 = row[1..].iter().map(|number| u64::from(*number)).sum();
        ensure!(bytes <= arena.len() as u64, "a send outside of its arena");
        messages += 1;
    }
    store.data_mut().messages += messages;
    Ok(())
}

/// The error of a guest that returned one.
pub(super) fn failed(reason: &str) -> wasmtime::Error {
    format_err!("the guest returned an error: {reason}")
}
