//! The allocator of a guest that lives for one call: it moves on through the memory behind what the linker placed, and gives back only
//! what was allocated last. All memory is new when the next call begins, in another instance.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32::{memory_grow, memory_size};
use core::cell::Cell;

/// Bytes of a page of memory.
const PAGE: usize = 64 << 10;
/// Pages that memory grows by at least: growing is a call of the host.
const GROW_PAGES_MIN: usize = 4;

struct Bump {
    /// The first byte that is free; 0 before the first allocation.
    next: Cell<usize>,
    /// Where memory ends.
    end: Cell<usize>,
}

// SAFETY: a component of this contract has one thread.
unsafe impl Sync for Bump {}

#[global_allocator]
static BUMP: Bump = Bump {
    next: Cell::new(0),
    end: Cell::new(0),
};

extern "C" {
    /// The end of what the linker placed.
    static __heap_base: u8;
}

impl Bump {
    /// Takes the bytes from `start` on, growing memory if need be; null if it can't be.
    #[inline]
    fn take(&self, start: usize, bytes: usize) -> *mut u8 {
        let Some(next) = start.checked_add(bytes) else {
            return core::ptr::null_mut();
        };
        if next > self.end.get() && !self.grow(next) {
            return core::ptr::null_mut();
        }
        self.next.set(next);
        start as *mut u8
    }

    #[cold]
    fn grow(&self, until: usize) -> bool {
        let end = memory_size(0) * PAGE;
        let missing = until.saturating_sub(end).div_ceil(PAGE);
        // More than is needed, or if that is refused just that.
        let grown = missing == 0
            || memory_grow(0, missing.max(GROW_PAGES_MIN)) != usize::MAX
            || memory_grow(0, missing) != usize::MAX;
        self.end.set(memory_size(0) * PAGE);
        grown
    }

    /// Where the next allocation may begin.
    #[inline]
    fn start(&self) -> usize {
        match self.next.get() {
            0 => (&raw const __heap_base) as usize,
            next => next,
        }
    }
}

// SAFETY: what is handed out lies behind everything that was handed out before and is not given back, within memory.
unsafe impl GlobalAlloc for Bump {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let start = (self.start() + layout.align() - 1) & !(layout.align() - 1);
        self.take(start, layout.size())
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if at as usize + layout.size() == self.next.get() {
            self.next.set(at as usize);
        }
    }

    #[inline]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        if at as usize + layout.size() == self.next.get() {
            return self.take(at as usize, bytes);
        }
        if bytes <= layout.size() {
            return at;
        }
        // SAFETY: the size is not zero, as the caller's.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(bytes, layout.align())) };
        if !new.is_null() {
            // SAFETY: the new place is behind the old one, and larger.
            unsafe { core::ptr::copy_nonoverlapping(at, new, layout.size()) };
        }
        new
    }
}
