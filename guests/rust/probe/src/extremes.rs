//! What a guest should not do, and what an instance should not find: each function here is one way to
//! hit a limit of the host, or to see whether memory is as new as it must be.

use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::bindings::wasi::messaging::messaging_types::Error;

const PAGE: usize = 64 * 1024;
const MEBIBYTE: usize = 1024 * 1024;

/// Zero in a new instance, and garbage after `scribble`.
static GARBAGE: [AtomicU8; 2 * PAGE] = [const { AtomicU8::new(0) }; 2 * PAGE];

/// The wasm instruction itself: nothing is unwound or printed.
pub fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

/// Never returns and calls nothing: only the host's clock ends it.
pub fn turn_for_ever() -> ! {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Overflows the stack.
pub fn recurse_for_ever() -> ! {
    black_box(descend(0));
    trap()
}

/// The result depends on the call below in a way that can't be turned into a loop.
#[inline(never)]
fn descend(depth: u32) -> u32 {
    if black_box(depth) == u32::MAX {
        return depth;
    }
    descend(depth + 1).rotate_left(1) ^ black_box(depth)
}

/// Allocates and touches this many MiB and keeps them until the instance ends.
pub fn grow(mebibytes: u32) -> Result<(), Error> {
    let size = (mebibytes as usize).saturating_mul(MEBIBYTE);
    let mut block: Vec<u8> = Vec::new();
    if block.try_reserve_exact(size).is_err() {
        trap()
    }
    for page in block.spare_capacity_mut().chunks_mut(PAGE) {
        page[0].write(0xA5);
    }
    std::mem::forget(black_box(block));
    Ok(())
}

/// Leaves garbage in statics, in freed heap and in memory that the instance has grown by.
pub fn scribble() -> Result<(), Error> {
    for byte in &GARBAGE {
        byte.store(0xA5, Relaxed);
    }
    for size in [16, 256, 4096, PAGE, MEBIBYTE] {
        let blocks: Vec<Vec<u8>> = (0..MEBIBYTE / size.max(4096))
            .map(|_| vec![0xA5; size])
            .collect();
        black_box(blocks);
    }
    Ok(())
}

/// Whether the statics and the memory that the instance grows by are zero, as in a new instance.
pub fn pristine() -> bool {
    let grown = new_pages(16);
    GARBAGE.iter().all(|byte| byte.load(Relaxed) == 0) && grown.iter().all(|byte| *byte == 0)
}

/// Memory that comes from growing, past what the allocator knows of.
fn new_pages(pages: usize) -> &'static [u8] {
    let first = core::arch::wasm32::memory_grow::<0>(pages);
    if first == usize::MAX {
        trap()
    }
    // SAFETY: growing gave this instance these pages and nothing else refers to them.
    unsafe { std::slice::from_raw_parts((first * PAGE) as *const u8, pages * PAGE) }
}
