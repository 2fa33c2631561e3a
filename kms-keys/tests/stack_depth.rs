//! How deep making keys and signing goes into the stack: no deeper than is wiped.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test fails the test")]

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use kms_keys::{KeyType, SecretKey};
use kms_secrets::WIPED_STACK_BYTES;

const PAINT: u8 = 0xa5;

/// How far below the caller's frame `work` wrote, in bytes. The stack is painted and read through the
/// kernel, so that neither writes there by itself; what lies close to the frame counts as used.
#[inline(never)]
fn depth(memory: &File, work: impl FnOnce()) -> usize {
    const CLOSE: usize = 1024;
    let mark = 0_u8;
    let here = &raw const mark as usize;
    let mut image = vec![PAINT; 4 * WIPED_STACK_BYTES];
    let from = here - CLOSE - image.len();
    memory.write_all_at(&image, from as u64).unwrap();
    deeper(work);
    memory.read_exact_at(&mut image, from as u64).unwrap();
    let untouched = image.iter().take_while(|byte| **byte == PAINT).count();
    assert!(untouched > 0, "deeper than was painted");
    CLOSE + image.len() - untouched
}

#[inline(never)]
fn deeper(work: impl FnOnce()) {
    work();
}

fn measure() {
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
    let known = depth(&memory, || {
        black_box(&mut [1_u8; 20_000]);
    });
    assert!(known >= 20_000, "the check can't fail");
    for key_type in KeyType::ALL {
        let key = SecretKey::generate(*key_type).unwrap();
        for scheme in key_type.schemes() {
            let message = vec![7; scheme.message_len().unwrap_or(100)];
            let used = depth(&memory, || {
                black_box(key.sign(*scheme, &message)).unwrap();
            });
            println!("{scheme}: {used} bytes");
            let wiped = match key_type {
                // `SoftwareSigner` wipes 16 KiB. Opening takes some of it, here and below.
                KeyType::Ed25519 => 14 * 1024,
                _ => WIPED_STACK_BYTES - 2048,
            };
            assert!(used <= wiped, "{scheme}: {used}");
        }
    }
}

#[test]
fn no_signature_goes_deeper_than_is_wiped() {
    std::thread::Builder::new().stack_size(2 << 20).spawn(measure).unwrap().join().unwrap();
}
