//! The canonical ABI of `millpond:batch@0.1.0`, by hand: smaller and faster than generated bindings. For [`crate::handler!`] alone.

use alloc::alloc::{handle_alloc_error, realloc};
use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::slice;

use alloc::vec::Vec;

pub use crate::finished::Finished;
use crate::{Answer, Batch, Failed, Result};

/// The contract's world, as tools that make components read it from a module.
pub const WORLD: [u8; WORLD_BYTES] = *include_bytes!("world.bin");
/// Its size.
pub const WORLD_BYTES: usize = include_bytes!("world.bin").len();

/// `result<answer, string>` in memory.
#[derive(Debug)]
#[repr(C)]
pub struct Returned {
    failed: u32,
    /// Places and lengths of arena and index, or of the reason.
    lists: [usize; 4],
}

/// What a handler gives back as the contract has it.
pub type Lists = core::result::Result<(Vec<u8>, Vec<u32>), Failed>;

/// Lets a handler answer a batch.
///
/// # Errors
/// The handler's.
///
/// # Safety
/// In a component it is not called by a handler that it calls.
pub unsafe fn answered(
    handle: for<'a> fn(&Batch<'a>, &mut Answer<'a>) -> Result,
    batch: &Batch<'_>,
) -> Result<Finished> {
    #[cfg(not(target_arch = "wasm32"))]
    let mut here = MaybeUninit::uninit();
    #[cfg(not(target_arch = "wasm32"))]
    let place = &mut here;
    // SAFETY: as the caller promises.
    #[cfg(target_arch = "wasm32")]
    let place = unsafe { fixed_place() };
    let answer = place.write(Answer::new(batch));
    let result = handle(batch, answer);
    // Nothing of the batch is left there.
    let answer = core::mem::replace(answer, Answer::new(&Batch::new(&[], &[])));
    result.map(|()| answer.finished(batch))
}

/// Where a component keeps its answer: at a place that the compiler knows, so that no read or write of it has its bounds checked.
///
/// # Safety
/// Nobody has what it gave before.
#[cfg(target_arch = "wasm32")]
unsafe fn fixed_place<'a, 'b>() -> &'a mut MaybeUninit<Answer<'b>> {
    static mut PLACE: MaybeUninit<Answer<'static>> = MaybeUninit::uninit();
    // SAFETY: a component has one thread, and the caller promises the rest. Its bytes mean nothing yet, whatever their lifetime.
    unsafe { &mut *(&raw mut PLACE).cast() }
}

/// Calls a handler.
///
/// # Safety
/// `arena` and `index` are lists that the host has allocated by [`reallocate`] and filled: nobody else has them.
pub unsafe fn call(
    handle: impl FnOnce(&Batch<'_>) -> Result<Finished>,
    (arena, arena_len): (*mut u8, usize),
    (index, index_len): (*const u32, usize),
) -> Returned {
    let finished = {
        // SAFETY: as the caller promises. The instance ends with its call, so they live for as long as it does.
        let (arena, index) = unsafe {
            (
                slice::from_raw_parts(arena, arena_len),
                slice::from_raw_parts(index, index_len),
            )
        };
        handle(&Batch::new(arena, index))
    };
    match finished {
        Ok(finished) => {
            // SAFETY: what the handler has given back borrows nothing of the batch, of which nobody else has a part.
            let batch = unsafe { slice::from_raw_parts_mut(arena, arena_len) };
            let (arena, index) = finished.into_lists(batch);
            let lists = [
                arena.as_ptr() as usize,
                arena.len(),
                index.as_ptr() as usize,
                index.len(),
            ];
            Returned { failed: 0, lists }
        }
        Err(failed) => {
            let reason = failed.0.leak();
            let lists = [reason.as_ptr() as usize, reason.len(), 0, 0];
            Returned { failed: 1, lists }
        }
    }
}

/// Allocates for the host: `cabi_realloc`.
///
/// # Safety
/// `old` is what this gave before for `old_bytes` and `align`, or `old_bytes` is 0. `align` is a power of two.
pub unsafe fn reallocate(old: *mut u8, old_bytes: usize, align: usize, bytes: usize) -> *mut u8 {
    if bytes == 0 {
        return align as *mut u8;
    }
    // SAFETY: the size is none that overflows in a memory of 32 bits, and the caller promises the rest.
    let (before, layout) = unsafe {
        (
            Layout::from_size_align_unchecked(old_bytes, align),
            Layout::from_size_align_unchecked(bytes, align),
        )
    };
    // SAFETY: sizes are not zero, and the caller promises that `old` is one of these.
    let new = unsafe {
        match old_bytes {
            0 => alloc::alloc::alloc(layout),
            _ => realloc(old, before, bytes),
        }
    };
    if new.is_null() {
        handle_alloc_error(layout);
    }
    new
}

/// Exports a function `fn(&Batch<'_>, &mut Answer) -> Result` as the handler of a component. Once a crate.
///
/// With `lists` before it, the function is a `fn(&Batch<'_>) -> abi::Lists`, which writes what the contract has by itself: hosts are
/// tested so.
#[macro_export]
macro_rules! handler {
    ($handle:path) => {
        fn __millpond_finished(
            batch: &$crate::Batch<'_>,
        ) -> $crate::Result<$crate::abi::Finished> {
            // SAFETY: the host calls this, and no handler does.
            unsafe { $crate::abi::answered($handle, batch) }
        }
        $crate::handler!(@finished __millpond_finished);
    };
    (lists $handle:path) => {
        fn __millpond_finished(
            batch: &$crate::Batch<'_>,
        ) -> $crate::Result<$crate::abi::Finished> {
            let lists: $crate::abi::Lists = $handle(batch);
            lists.map($crate::abi::Finished::lists)
        }
        $crate::handler!(@finished __millpond_finished);
    };
    (@finished $handle:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[unsafe(link_section = "component-type:millpond:batch@0.1.0:batch:encoded world")]
            static __MILLPOND_WORLD: [u8; $crate::abi::WORLD_BYTES] = $crate::abi::WORLD;

            #[unsafe(export_name = "millpond:batch/handler@0.1.0#handle")]
            unsafe extern "C" fn __millpond_handle(
                arena: *mut u8,
                arena_len: usize,
                index: *const u32,
                index_len: usize,
            ) -> *const $crate::abi::Returned {
                static mut __MILLPOND_RETURNED: ::core::mem::MaybeUninit<$crate::abi::Returned> =
                    ::core::mem::MaybeUninit::uninit();
                // SAFETY: the host calls this once, with lists that it has allocated and filled; no other thread is here.
                unsafe {
                    let returned = $crate::abi::call($handle, (arena, arena_len), (index, index_len));
                    let place = (&raw mut __MILLPOND_RETURNED).cast::<$crate::abi::Returned>();
                    place.write(returned);
                    place
                }
            }

            #[unsafe(export_name = "cabi_realloc")]
            unsafe extern "C" fn __millpond_realloc(
                old: *mut u8,
                old_bytes: usize,
                align: usize,
                bytes: usize,
            ) -> *mut u8 {
                // SAFETY: the host keeps to the canonical ABI, which has these rules.
                unsafe { $crate::abi::reallocate(old, old_bytes, align, bytes) }
            }
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn(&$crate::Batch<'_>) -> $crate::Result<$crate::abi::Finished> = $handle;
    };
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec;

    use super::*;
    use crate::testing::{self, laid_out, Given};

    /// Calls a handler with lists as the host leaves them in memory: what it returned, and where the first list is.
    fn called(
        handle: for<'a> fn(&Batch<'a>, &mut Answer<'a>) -> Result,
        given: &[Given<'_>],
    ) -> (Returned, usize) {
        let (arena, index) = laid_out(given);
        let (arena, index) = (arena.leak(), index.leak());
        let at = arena.as_ptr() as usize;
        // SAFETY: they are leaked, and nobody else has them.
        let returned = unsafe {
            call(
                |batch| answered(handle, batch),
                (arena.as_mut_ptr(), arena.len()),
                (index.as_ptr(), index.len()),
            )
        };
        (returned, at)
    }

    #[test]
    fn an_answer_lies_in_the_hosts_own_list_or_in_one_that_was_made() {
        let asks = Given::new("echo", b"hello").reply_to("answers.1");
        let given = [asks.headers(&[("k", "v")]), Given::new("echo", b"nobody")];
        for new in [false, true] {
            let handle: for<'a> fn(&Batch<'a>, &mut Answer<'a>) -> Result = match new {
                true => |batch, answer| {
                    batch.iter().for_each(|m| {
                        answer.reply(&m, b"hello");
                    });
                    Ok(())
                },
                false => |batch, answer| {
                    batch.iter().for_each(|m| {
                        answer.reply(&m, m.payload());
                    });
                    Ok(())
                },
            };
            let (returned, at) = called(handle, &given);
            let [arena, bytes, index, numbers] = returned.lists;
            assert_eq!((returned.failed, arena != at), (0, new));
            // SAFETY: the lists that it names are leaked.
            let (arena, index) = unsafe {
                (
                    slice::from_raw_parts(arena as *const u8, bytes),
                    slice::from_raw_parts(index as *const u32, numbers),
                )
            };
            let read = testing::read(arena, index, given.len());
            let sends: vec::Vec<_> = read.sends.iter().collect();
            let [sent] = sends[..] else {
                panic!("{sends:?}");
            };
            assert_eq!(
                (&*sent.subject, &*sent.payload),
                ("answers.1", &b"hello"[..])
            );
        }
    }

    #[test]
    fn a_failed_call_returns_its_reason() {
        let (returned, _) = called(|_, _| Err("no".into()), &[Given::new("s", b"")]);
        let [at, bytes, ..] = returned.lists;
        // SAFETY: the reason is leaked.
        let reason = unsafe { slice::from_raw_parts(at as *const u8, bytes) };
        assert_eq!((returned.failed, reason), (1, &b"no"[..]));
    }
}
