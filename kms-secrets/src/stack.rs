//! What a computation with secrets leaves on the stack.

use std::arch::asm;
use std::mem::MaybeUninit;

use crate::registers;

/// How much of the stack [`on_wiped_stack`] overwrites, in bytes: more than any signature uses, which
/// a test of `kms-keys` measures.
pub const WIPED_STACK_BYTES: usize = 56 * 1024;

/// Calls `work` and overwrites the [`WIPED_STACK_BYTES`] of stack below this call, and on x86-64 the
/// vector registers, also if `work` panics: the libraries leave scalars, nonces and round keys there. What
/// `work` returns is handed over in the caller's memory, which is not touched.
///
/// A value is moved with its unused bytes, those of an enum's larger variants for example, and there
/// may be whatever lay on the stack where it was made. So let `work` return what has next to none, where
/// it computes with secrets itself, and make other things of that outside.
pub fn on_wiped_stack<T>(work: impl FnOnce() -> T) -> T {
    on_wiped_stack_of::<WIPED_STACK_BYTES, T>(work)
}

/// Like [`on_wiped_stack`] for a `work` that uses no more than so many bytes of stack; each 16 KiB cost
/// about 0.15 µs.
pub fn on_wiped_stack_of<const BYTES: usize, T>(work: impl FnOnce() -> T) -> T {
    let _wipe = Wipe::<BYTES>;
    deeper(work)
}

/// Overwrites the [`WIPED_STACK_BYTES`] of stack below the caller's frame.
pub fn wipe_stack() {
    wipe::<WIPED_STACK_BYTES>();
}

#[inline(never)]
fn wipe<const BYTES: usize>() {
    let mut below = MaybeUninit::<[u8; BYTES]>::uninit();
    // SAFETY: the array is this function's own and is written to in its whole length. The empty
    // assembly may read all memory, as far as the compiler knows, so the write can't be left out.
    unsafe {
        below.as_mut_ptr().write_bytes(0, 1);
        asm!("/* {0} */", in(reg) below.as_mut_ptr(), options(nostack, preserves_flags));
    }
}

/// Never part of its caller's frame, so that all its locals lie where [`wipe`] writes.
#[inline(never)]
fn deeper<T>(work: impl FnOnce() -> T) -> T {
    work()
}

struct Wipe<const BYTES: usize>;

impl<const BYTES: usize> Drop for Wipe<BYTES> {
    fn drop(&mut self) {
        wipe::<BYTES>();
        registers::wipe();
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::panic::catch_unwind;

    use super::*;

    const MARK: [u8; 32] = *b"a mark that this test leaves ...";

    #[inline(never)]
    fn leave(kib: usize, panics: bool) -> u8 {
        let mut local = [MARK; 32];
        black_box(&mut local);
        assert!(!panics, "as asked for");
        if kib > 1 { leave(kib - 1, false) ^ black_box(local[0][0]) } else { local[31][0] }
    }

    /// How often the mark stands on this thread's stack below the caller.
    #[inline(never)]
    fn found() -> usize {
        let here = 0_u8;
        let top = (&raw const here as usize) & !0xfff;
        let mut count = 0;
        let memory = std::fs::File::open("/proc/self/mem").unwrap();
        let mut page = vec![0; 40 * 1024];
        // From 40 KiB below, read on the kernel's side: nothing here may touch that memory.
        let from = (top - page.len()) as u64;
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut page, from).unwrap();
        for window in page.windows(MARK.len()) {
            count += usize::from(window == MARK);
        }
        count
    }

    #[test]
    fn what_was_left_on_the_stack_is_found_and_wiped() {
        black_box(leave(20, false));
        assert!(found() > 100, "the check can't fail");
        on_wiped_stack(|| black_box(leave(20, false)));
        assert_eq!(found(), 0);
    }

    #[test]
    fn a_panic_leaves_nothing_either() {
        let panicked = catch_unwind(|| on_wiped_stack(|| leave(1, true)));
        assert!(panicked.is_err());
        assert_eq!(found(), 0);
    }
}
