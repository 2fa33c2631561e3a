//! What lies in memory that was given back, read through the kernel.

#![allow(clippy::unwrap_used, reason = "what fails in a test fails the test")]
#![allow(unsafe_code, reason = "memory is given back by hand, for comparison")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::os::unix::fs::FileExt;

use kms_secrets::WipingAllocator;

#[global_allocator]
static ALLOCATOR: WipingAllocator = WipingAllocator;

const MARK: u8 = 0xa7;
const LEN: usize = 8192;

/// How many of the bytes at `address` are marks.
fn marks(memory: &File, address: *const u8) -> usize {
    let mut bytes = [0; LEN];
    memory.read_exact_at(&mut bytes, address as u64).unwrap();
    bytes.into_iter().filter(|byte| *byte == MARK).count()
}

#[test]
fn what_is_given_back_is_wiped() {
    let memory = File::open("/proc/self/mem").unwrap();
    // So that what lies in front of it is not given back to the kernel.
    let marked = || (vec![MARK; LEN], Box::new([0_u8; 64]));

    let (buffer, after) = marked();
    let address = buffer.as_ptr();
    assert_eq!(marks(&memory, address), LEN);
    drop(buffer);
    assert_eq!(marks(&memory, address), 0);
    drop(after);

    let (mut buffer, after) = marked();
    let address = buffer.as_ptr();
    buffer.reserve(1 << 20);
    assert_ne!(buffer.as_ptr(), address);
    assert_eq!(marks(&memory, address), 0);
    assert!(buffer.iter().all(|byte| *byte == MARK));
    drop(after);

    let layout = Layout::from_size_align(LEN, 1).unwrap();
    // SAFETY: of its size, written in its whole length, and given back once.
    let (address, after) = unsafe {
        let address = System.alloc(layout);
        let after = Box::new([0_u8; 64]);
        address.write_bytes(MARK, LEN);
        System.dealloc(address, layout);
        (address, after)
    };
    assert!(marks(&memory, address) > LEN / 2, "the check can't fail");
    drop(after);
}
