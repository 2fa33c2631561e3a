//! What a computation with secrets leaves in the processor's wide registers. Ciphers and curves work there,
//! and the dynamic linker and the kernel, for a signal's handler, write all of them to the stack.

/// Overwrites the vector registers, on x86-64. Elsewhere nothing is done.
pub(crate) fn wipe() {
    #[cfg(target_arch = "x86_64")]
    x86_64::wipe();
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::{asm, is_x86_feature_detected};

    pub(super) fn wipe() {
        if !is_x86_feature_detected!("avx") {
            // SAFETY: every processor of this kind has these instructions, which change registers alone, and
            // all those may change in a call of this convention.
            unsafe {
                asm!(
                    ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
                    "pxor %xmm\\n, %xmm\\n",
                    ".endr",
                    clobber_abi("sysv64"),
                    options(att_syntax, nomem, nostack)
                );
            }
            return;
        }
        // SAFETY: the processor has the instruction; for the rest as above.
        unsafe { asm!("vzeroall", clobber_abi("sysv64"), options(nomem, nostack)) };
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has these instructions; for the rest as above.
            unsafe {
                asm!(
                    ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
                    "vpxord %zmm\\n, %zmm\\n, %zmm\\n",
                    ".endr",
                    clobber_abi("sysv64"),
                    options(att_syntax, nomem, nostack)
                );
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const MARK: [u8; 16] = *b"left in register";

        /// Leaves the mark in two registers.
        #[inline(never)]
        fn leave() {
            // SAFETY: reads 16 bytes that are there, and changes the registers that are named.
            unsafe {
                asm!(
                    "movups xmm2, [{mark}]", "movups xmm13, [{mark}]",
                    mark = in(reg) MARK.as_ptr(), out("xmm2") _, out("xmm13") _,
                    options(readonly, nostack)
                );
            }
        }

        /// Leaves the mark where only some processors have registers.
        #[inline(never)]
        fn leave_above() {
            // SAFETY: as above.
            unsafe {
                asm!(
                    "vmovups xmm21, [{mark}]",
                    mark = in(reg) MARK.as_ptr(), clobber_abi("sysv64"),
                    options(readonly, nostack)
                );
            }
        }

        /// What the three registers hold; the last one only where there is one.
        #[inline(never)]
        fn held(above: bool) -> [[u8; 16]; 3] {
            let mut held = [[0; 16]; 3];
            let place = held.as_mut_ptr();
            // SAFETY: each writes 16 bytes where there are as many.
            unsafe {
                asm!(
                    "movups [{place}], xmm2", "movups [{place} + 16], xmm13",
                    place = in(reg) place, options(nostack)
                );
                if above {
                    asm!("vmovups [{place} + 32], xmm21", place = in(reg) place, options(nostack));
                }
            }
            held
        }

        #[test]
        fn what_was_left_in_registers_is_found_and_wiped() {
            let above = is_x86_feature_detected!("avx512vl");
            if above {
                leave_above();
            }
            leave();
            let found = held(above);
            assert_eq!(found[..2], [MARK; 2], "the check can't fail");
            assert_eq!(found[2] == MARK, above);
            leave();
            wipe();
            assert_eq!(held(above), [[0; 16]; 3]);
        }
    }
}
