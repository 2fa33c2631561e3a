//! What opening a shielded secret costs, and what other ciphers would: `cargo bench -p kms-secrets`.
//!
//! Windows of all ciphers take turns within one run, so that whatever else the machine does hits all
//! alike.

#![allow(clippy::unwrap_used, reason = "a benchmark has nothing better to do than to panic")]

use std::hint::black_box;
use std::time::Instant;

use aes_gcm::Aes256Gcm;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use kms_secrets::{Shielded, on_wiped_stack, wipe_stack};

const KEY: [u8; 32] = [7; 32];

/// A way to open a secret, and its name.
type Way<'a> = (&'static str, Box<dyn Fn() + 'a>);

fn main() {
    // `cargo test` runs benches too, without `--bench`.
    let (turns, each) =
        if std::env::args().any(|argument| argument == "--bench") { (15, 20_000) } else { (1, 1) };
    for len in [32, 64, 96, 128] {
        let secret = vec![1; len];
        let shielded = Shielded::seal(&secret).unwrap();
        let kept = Aes256Gcm::new(&KEY.into());
        let (gcm, chacha) =
            (Sealed::new(&kept, len), Sealed::new(&ChaCha20Poly1305::new(&KEY.into()), len));
        let ways: [Way<'_>; 7] = [
            ("AES-256-GCM, cipher kept", Box::new(|| gcm.open(&kept))),
            (
                "AES-256-GCM, key expanded each time",
                Box::new(|| gcm.open(&Aes256Gcm::new(black_box(&KEY).into()))),
            ),
            (
                "ChaCha20-Poly1305",
                Box::new(|| chacha.open(&ChaCha20Poly1305::new(black_box(&KEY).into()))),
            ),
            ("the stack wiped alone", Box::new(wipe_stack)),
            ("AES-256-GCM kept, the stack wiped", Box::new(|| on_wiped_stack(|| gcm.open(&kept)))),
            (
                "Shielded::open_on 16 KiB",
                Box::new(|| {
                    shielded.open_on::<16_384, _>(|plain| black_box(plain)[0]).unwrap();
                }),
            ),
            (
                "Shielded::open",
                Box::new(|| {
                    shielded.open(|plain| black_box(plain)[0]).unwrap();
                }),
            ),
        ];
        let mut times = ways.each_ref().map(|_| Vec::new());
        for _ in 0..turns {
            for ((_, open), times) in ways.iter().zip(&mut times) {
                let begin = Instant::now();
                (0..each).for_each(|_| open());
                times.push(begin.elapsed().as_secs_f64() * 1e9 / f64::from(each));
            }
        }
        for ((name, _), times) in ways.iter().zip(&mut times) {
            times.sort_by(f64::total_cmp);
            let (median, min, max) = (times[turns / 2], times[0], times[turns - 1]);
            println!("{len:>3} bytes, {name:<36} {median:>6.0} ns ({min:.0} - {max:.0})");
        }
    }
}

/// A secret of zeros, sealed with one of the ciphers under a nonce of zeros.
struct Sealed {
    text: Vec<u8>,
    tag: [u8; 16],
}

impl Sealed {
    fn new<C: AeadInOut>(cipher: &C, len: usize) -> Self {
        let mut text = vec![0; len];
        let tag = cipher
            .encrypt_inout_detached(&Default::default(), &[], InOutBuf::from(&mut text[..]))
            .unwrap();
        Self { text, tag: tag.as_slice().try_into().unwrap() }
    }

    fn open<C: AeadInOut>(&self, cipher: &C) {
        let mut buffer = zeroize::Zeroizing::new([0_u8; 128]);
        let in_out = InOutBuf::new(&self.text, &mut buffer[..self.text.len()]).unwrap();
        let tag = self.tag.as_slice().try_into().unwrap();
        cipher.decrypt_inout_detached(&Default::default(), &[], in_out, &tag).unwrap();
        black_box(&buffer);
    }
}
