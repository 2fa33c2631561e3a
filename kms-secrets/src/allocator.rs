//! An allocator that gives no memory back as it is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::arch::asm;

/// The system's allocator, with all memory wiped before it is given back. For programs that have
/// libraries work with secrets whose buffers those don't wipe, such as scrypt's.
///
/// Memory that grows is wiped where it lay before. Wiping costs about what writing the memory did.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: kms_secrets::WipingAllocator = kms_secrets::WipingAllocator;
/// ```
#[derive(Debug)]
pub struct WipingAllocator;

// SAFETY: all is left to the system's allocator, but for writing to memory that the caller gives back.
// To grow is what the trait does by itself: to allocate, to copy and to give back.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the same contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` was allocated with `layout` and nobody refers to it any more. The empty
        // assembly may read all memory, as far as the compiler knows, so the write can't be left out.
        unsafe {
            memory.write_bytes(0, layout.size());
            asm!("/* {0} */", in(reg) memory, options(nostack, preserves_flags));
            System.dealloc(memory, layout);
        }
    }
}
