//! How messages of contract 1 are put into a guest's memory: as the derived way does it, with fewer looks at where that memory is.
//!
//! Each list and each text of a message is an allocation of its guest, which may move the memory. The derived way asks where it is
//! for every number that it writes, some thirty times a message of one header. This one has all of a batch's allocations made first, each of
//! which asks too, and then asks once more.

use std::mem::MaybeUninit;

use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;
use wasmtime::component::__internal::{InterfaceType, LowerContext, bad_type_info};
use wasmtime::component::{ComponentType, Lower};
use wasmtime::{Result, bail};

use super::types::WitMessage;

/// A place and a length, of four bytes each.
const LIST: usize = 8;
/// A pair of texts, and how it is aligned.
const PAIR: usize = 2 * LIST;
const PAIR_ALIGN: u32 = 4;
/// Where the parts of a message lie: its data, its format, whether it has metadata, and that.
const FORMAT: usize = LIST;
const HAS_METADATA: usize = 12;
const METADATA: usize = 16;
/// Bytes of a message: its record in the guest's list.
const MESSAGE: usize = METADATA + LIST;

const _: () = assert!(<WitMessage<'_> as ComponentType>::SIZE32 == MESSAGE);
const _: () = assert!(<&[(&str, &str)] as ComponentType>::SIZE32 == LIST);
const _: () = assert!(<(&str, &str) as ComponentType>::SIZE32 == PAIR);

#[allow(
    unsafe_code,
    reason = "the trait is, since Wasmtime relies on what is written; it saves a seventh of a message's whole cost"
)]
// SAFETY: `typecheck` is derived, so that what is written is this record and nothing else. Everything is written into slices of the guest's
// memory, whose bounds are checked, at places that its own allocator gave.
unsafe impl Lower for WitMessage<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        bail!("messages are lowered in lists")
    }

    /// As the derived way has it: for guests whose texts are not UTF-8.
    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> Result<()> {
        let InterfaceType::Record(index) = ty else {
            bad_type_info()
        };
        let types = cx.types;
        let [data, format, metadata] = &*types[index].fields else {
            bad_type_info()
        };
        let Self {
            data: bytes,
            format: spec,
            metadata: pairs,
        } = self;
        bytes.linear_lower_to_memory(cx, data.ty, offset)?;
        spec.linear_lower_to_memory(cx, format.ty, offset + FORMAT)?;
        pairs.linear_lower_to_memory(cx, metadata.ty, offset + HAS_METADATA)
    }

    fn linear_store_list_to_memory<T>(
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
        messages: &[Self],
    ) -> Result<()> {
        let mut records = messages.iter().zip((offset..).step_by(MESSAGE));
        if !matches!(cx.options().string_encoding, StringEncoding::Utf8) {
            return records
                .try_for_each(|(message, at)| message.linear_lower_to_memory(cx, ty, at));
        }
        let mut places = Vec::with_capacity(messages.iter().map(WitMessage::parts).sum());
        for message in messages {
            message.allocate(cx, &mut places)?;
        }
        let memory = cx.as_slice_mut();
        let mut places = places.into_iter();
        let mut next = || places.next().expect("each part has its place");
        records.for_each(|(message, at)| message.store(memory, at, &mut next));
        Ok(())
    }
}

impl WitMessage<'_> {
    /// How many allocations it is of.
    fn parts(&self) -> usize {
        1 + self.metadata.map_or(0, |pairs| 1 + 2 * pairs.len())
    }

    /// Has all of them made, in the order of the derived way, for a guest whose texts are UTF-8: where each is.
    fn allocate<T>(&self, cx: &mut LowerContext<'_, T>, places: &mut Vec<usize>) -> Result<()> {
        places.push(cx.realloc(0, 0, 1, self.data.len())?);
        if let Some(pairs) = self.metadata {
            places.push(cx.realloc(0, 0, PAIR_ALIGN, pairs.len() * PAIR)?);
            for (key, value) in pairs {
                places.push(cx.realloc(0, 0, 1, key.len())?);
                places.push(cx.realloc(0, 0, 1, value.len())?);
            }
        }
        Ok(())
    }

    /// Stores it: its record at `at`, and its parts at the next places, which are in the order of their allocations.
    fn store(&self, memory: &mut [u8], at: usize, next: &mut impl FnMut() -> usize) {
        put_bytes(memory, at, next(), self.data);
        memory[at + FORMAT] = self.format as u8;
        memory[at + HAS_METADATA] = u8::from(self.metadata.is_some());
        let Some(pairs) = self.metadata else {
            return put_list(memory, at + METADATA, 0, 0);
        };
        let rows = next();
        put_list(memory, at + METADATA, rows, pairs.len());
        for ((key, value), row) in pairs.iter().zip((rows..).step_by(PAIR)) {
            put_bytes(memory, row, next(), key.as_bytes());
            put_bytes(memory, row + LIST, next(), value.as_bytes());
        }
    }
}

/// Writes bytes to their place, and where they lie.
#[inline]
fn put_bytes(memory: &mut [u8], at: usize, place: usize, bytes: &[u8]) {
    memory[place..][..bytes.len()].copy_from_slice(bytes);
    put_list(memory, at, place, bytes.len());
}

/// Writes where a list or a text lies and how long it is. Both fit: they lie in a memory of 32 bits.
#[inline]
fn put_list(memory: &mut [u8], at: usize, place: usize, len: usize) {
    let row = &mut memory[at..][..LIST];
    row[..4].copy_from_slice(&(place as u32).to_le_bytes());
    row[4..].copy_from_slice(&(len as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::types::FormatSpec;
    use super::*;
    use proptest::prelude::*;
    use wasmtime::component::{Component, Linker};
    use wasmtime::{Engine, Store};

    /// The same record, lowered the derived way.
    #[derive(Clone, Copy, ComponentType, Lower)]
    #[component(record)]
    struct Derived<'a> {
        data: &'a [u8],
        format: FormatSpec,
        metadata: Option<&'a [(&'a str, &'a str)]>,
    }

    impl<'a> From<&WitMessage<'a>> for Derived<'a> {
        fn from(message: &WitMessage<'a>) -> Self {
            let &WitMessage {
                data,
                format,
                metadata,
            } = message;
            Self {
                data,
                format,
                metadata,
            }
        }
    }

    /// Takes messages, and gives back all memory that it has allocated since it began. Its allocator leaves a gap behind each.
    const TAKER: &str = r#"(component
        (core module $m
            (memory (export "memory") 4)
            (global $next (mut i32) (i32.const 16))
            (func (export "realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
                (local $at i32)
                (if (local.get $old) (then (return (local.get $old))))
                (local.set $at (i32.and
                    (i32.add (global.get $next) (i32.const 7))
                    (i32.const -8)))
                (global.set $next (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 3)))
                (local.get $at))
            (func (export "take") (param i32 i32) (result i32)
                (i32.store (i32.const 0) (i32.const 16))
                (i32.store (i32.const 4) (i32.sub (global.get $next) (i32.const 16)))
                (i32.const 0)))
        (core instance $i (instantiate $m))
        (type $format' (enum "cloudevents" "http" "amqp" "mqtt" "kafka" "raw"))
        (export $format "format" (type $format'))
        (type $message' (record
            (field "data" (list u8))
            (field "format" $format)
            (field "metadata" (option (list (tuple string string))))))
        (export $message "message" (type $message'))
        (func (export "take") (param "messages" (list $message)) (result (list u8))
            (canon lift (core func $i "take") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=ENCODING)))"#;

    /// What a guest with texts of this encoding has in memory once it has been handed these.
    fn memory<M: Lower>(component: &Component, messages: &[M]) -> Vec<u8> {
        let mut store = Store::new(component.engine(), ());
        let linker = Linker::new(component.engine());
        let instance = linker.instantiate(&mut store, component).unwrap();
        let take = instance
            .get_typed_func::<(&[M],), (Vec<u8>,)>(&mut store, "take")
            .unwrap();
        take.call(&mut store, (messages,)).unwrap().0
    }

    type Parts = (Vec<u8>, usize, Option<Vec<(String, String)>>);

    fn message() -> impl Strategy<Value = Parts> {
        let texts = prop::collection::vec((".{0,9}", ".{0,9}"), 0..4);
        let data = prop::collection::vec(any::<u8>(), 0..40);
        (data, 0usize..6, prop::option::of(texts))
    }

    #[test]
    fn a_guest_finds_in_memory_what_the_derived_way_puts_there_whatever_its_texts_are() {
        let engine = Engine::default();
        for encoding in ["utf8", "utf16", "latin1+utf16"] {
            let text = TAKER.replace("ENCODING", encoding);
            let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
            proptest!(ProptestConfig::with_cases(64), |(parts in prop::collection::vec(message(), 0..5))| {
                let pairs: Vec<Option<Vec<(&str, &str)>>> = parts.iter().map(|(_, _, pairs)| {
                    Some(pairs.as_ref()?.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect())
                }).collect();
                let formats = [FormatSpec::CloudEvents, FormatSpec::Http, FormatSpec::Amqp, FormatSpec::Mqtt, FormatSpec::Kafka, FormatSpec::Raw];
                let messages: Vec<_> = parts.iter().zip(&pairs).map(|((data, format, _), metadata)| WitMessage {
                    data,
                    format: formats[*format],
                    metadata: metadata.as_deref(),
                }).collect();
                let derived: Vec<_> = messages.iter().map(Derived::from).collect();
                let got = memory(&component, &messages);
                prop_assert!(got.len() >= messages.len() * MESSAGE);
                prop_assert_eq!(got, memory(&component, &derived));
            });
        }
    }
}
