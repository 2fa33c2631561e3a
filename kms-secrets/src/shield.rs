//! Secrets at rest: ciphertext in ordinary memory, under a key in protected memory.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::SecretBytes;
use crate::arena::{Arena, Protection};
use crate::stack::{WIPED_STACK_BYTES, on_wiped_stack, on_wiped_stack_of};

/// A [`Shielded`] of up to so many bytes is opened on the stack, without allocating.
pub const SMALL_SECRET_BYTES: usize = 128;

/// Why a secret was not shielded, or not opened. Holds nothing secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShieldError {
    /// The secret is longer than the cipher takes: 64 GiB.
    #[error("the secret is too long to be shielded")]
    TooLong,
    /// There is no memory for the shielding key.
    #[error("no memory for the key that secrets are shielded with")]
    NoMemory(#[source] io::Error),
    /// The system gave no randomness for the shielding key.
    #[error("the system's randomness is unavailable")]
    RandomnessUnavailable(#[source] getrandom::Error),
    /// The ciphertext, or the shielding key, is not what it was: a fault of the machine, or somebody
    /// wrote to this process's memory.
    #[error("a shielded secret was damaged in memory")]
    Damaged,
}

/// A secret at rest: AES-256-GCM ciphertext under a random key of
/// this process, which lies in a page of its own that is protected as [`protection`] says.
///
/// There is no `Clone`, no `Display`, no serialisation; `Debug` shows nothing.
///
/// ```compile_fail
/// let shielded = kms_secrets::Shielded::seal(&[7; 32]).unwrap();
/// let copy = shielded.clone();
/// ```
pub struct Shielded {
    /// Never used twice in a process.
    nonce: u64,
    /// With the tag behind it.
    ciphertext: Box<[u8]>,
}

/// Bytes of stack that are wiped after decrypting, which uses some 2 KiB.
const DECRYPT_STACK: usize = 4096;

/// Bytes of an authentication tag.
const TAG: usize = 16;

impl Shielded {
    /// Shields a copy of `secret`. The caller wipes its own. The first call in a process makes the
    /// shielding key.
    ///
    /// # Errors
    /// [`ShieldError::TooLong`], [`ShieldError::NoMemory`], [`ShieldError::RandomnessUnavailable`].
    pub fn seal(secret: &[u8]) -> Result<Self, ShieldError> {
        let shield = Shield::get()?;
        let nonce = shield.next_nonce.fetch_add(1, Ordering::Relaxed);
        let mut ciphertext = vec![0; secret.len() + TAG].into_boxed_slice();
        let (text, tag) = ciphertext.split_at_mut(secret.len());
        let made = on_wiped_stack(|| {
            let buffer = InOutBuf::new(secret, text).map_err(|_| ShieldError::TooLong)?;
            let made = shield.cipher().encrypt_inout_detached(&expand(nonce), &[], buffer);
            made.map_err(|_| ShieldError::TooLong)
        })?;
        tag.copy_from_slice(&made);
        Ok(Self { nonce, ciphertext })
    }

    /// Lends the secret to `work` from a buffer, which for up to [`SMALL_SECRET_BYTES`] is on the stack.
    /// The buffer and the stack that `work` used are wiped before this returns, also if `work` panics
    /// ([`on_wiped_stack`]). Whatever `work` copies elsewhere, it wipes itself.
    ///
    /// # Errors
    /// [`ShieldError::Damaged`]; `work` was not called then.
    pub fn open<T>(&self, work: impl FnOnce(&[u8]) -> T) -> Result<T, ShieldError> {
        self.open_on::<WIPED_STACK_BYTES, T>(work)
    }

    /// Like [`Shielded::open`] for a `work` that uses little stack: `BYTES` are wiped, among them some
    /// 2 KiB for opening itself.
    ///
    /// # Errors
    /// Those of [`Shielded::open`].
    pub fn open_on<const BYTES: usize, T>(
        &self,
        work: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, ShieldError> {
        let shield = Shield::get()?;
        let len = self.ciphertext.len() - TAG;
        let begun = Instant::now();
        let opened = || OPENING.set(OPENING.get() + begun.elapsed());
        on_wiped_stack_of::<BYTES, _>(|| {
            // Wiped by itself as well: what `work` returns may be made where this has worked.
            let decrypt = |plain: &mut [u8]| {
                on_wiped_stack_of::<DECRYPT_STACK, _>(|| self.decrypt(shield, plain))
            };
            if len <= SMALL_SECRET_BYTES {
                let mut buffer = Zeroizing::new([0; SMALL_SECRET_BYTES]);
                decrypt(&mut buffer[..len]).ok_or(ShieldError::Damaged)?;
                opened();
                Ok(work(&buffer[..len]))
            } else {
                let mut buffer = SecretBytes::with_capacity(len);
                decrypt(buffer.buffer_mut()).ok_or(ShieldError::Damaged)?;
                buffer.set_len(len);
                opened();
                Ok(work(buffer.expose()))
            }
        })
    }

    /// Nothing is written unless the ciphertext is the one of then.
    fn decrypt(&self, shield: &Shield, plain: &mut [u8]) -> Option<()> {
        let (text, tag) = self.ciphertext.split_at(plain.len());
        let tag = Tag::try_from(tag).ok()?;
        let in_out = InOutBuf::new(text, plain).ok()?;
        shield.cipher().decrypt_inout_detached(&expand(self.nonce), &[], in_out, &tag).ok()
    }
}

impl fmt::Debug for Shielded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shielded(..)")
    }
}

thread_local! {
    static OPENING: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// How long this thread has spent on opening secrets so far, as [`Shielded::open`] does it; of two
/// readings the difference tells. What was then done with the secrets doesn't count.
#[must_use]
pub fn opening_time() -> Duration {
    OPENING.get()
}

/// How the shielding key of this process is protected. The first call makes the key.
///
/// # Errors
/// [`ShieldError::NoMemory`], [`ShieldError::RandomnessUnavailable`].
pub fn protection() -> Result<Protection, ShieldError> {
    Ok(Shield::get()?.arena.protection())
}

/// The shielding key, and how many secrets were sealed under it.
///
/// Why AES-256-GCM: `cargo bench -p kms-secrets` opens 128 bytes, as much as an Ed25519 key has, in
/// 0.29 µs with it and in 1.64 µs with ChaCha20-Poly1305, on a processor with AES instructions. Why
/// the cipher lies in the arena instead of the bare key: to expand the key each time costs another
/// 0.24 µs, and the round keys, as good as the key itself, would pass over the stack.
struct Shield {
    arena: Arena,
    next_nonce: AtomicU64,
}

static SHIELD: OnceLock<Shield> = OnceLock::new();

impl Shield {
    fn get() -> Result<&'static Self, ShieldError> {
        match SHIELD.get() {
            Some(shield) => Ok(shield),
            None => {
                let new = Self::new()?;
                // Of threads that come here at once one wins; what the others made is dropped unused.
                Ok(SHIELD.get_or_init(|| new))
            }
        }
    }

    #[cold]
    fn new() -> Result<Self, ShieldError> {
        const { assert!(align_of::<Aes256Gcm>() <= 4096) };
        let arena = Arena::new().map_err(ShieldError::NoMemory)?;
        if size_of::<Aes256Gcm>() > arena.len() {
            return Err(ShieldError::NoMemory(io::ErrorKind::OutOfMemory.into()));
        }
        let place: NonNull<Aes256Gcm> = arena.start().cast();
        on_wiped_stack(|| {
            let mut key = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *key).map_err(ShieldError::RandomnessUnavailable)?;
            // SAFETY: the page is writable, large enough, aligned as pages are, and nobody refers to
            // it yet. What is written there is never dropped, and the arena wipes it.
            unsafe { place.write(Aes256Gcm::new((&*key).into())) };
            Ok(())
        })?;
        arena.seal();
        Ok(Self { arena, next_nonce: AtomicU64::new(0) })
    }

    fn cipher(&self) -> &Aes256Gcm {
        // SAFETY: `new` has put a cipher there, which stays and is never changed as long as the
        // arena lives, and the arena lives as long as `self`.
        unsafe { self.arena.start().cast().as_ref() }
    }
}

fn expand(nonce: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut bytes = Nonce::default();
    bytes[..8].copy_from_slice(&nonce.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn what_was_sealed_is_lent_again() {
        for len in [0, 1, 32, 127, SMALL_SECRET_BYTES, SMALL_SECRET_BYTES + 1, 70_000] {
            let secret: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let shielded = Shielded::seal(&secret).unwrap();
            for _ in 0..2 {
                assert_eq!(shielded.open(<[u8]>::to_vec).unwrap(), secret);
            }
            let cipher = &shielded.ciphertext[..len];
            let parts = secret.chunks_exact(8).take(16);
            assert!(parts.into_iter().all(|part| !cipher.windows(8).any(|window| window == part)));
        }
    }

    #[test]
    fn any_changed_bit_is_noticed_and_nothing_is_lent() {
        let mut shielded = Shielded::seal(&[7; 32]).unwrap();
        let open = |shielded: &Shielded| shielded.open(|_| panic!("a damaged secret was lent"));
        for bit in 0..8 * shielded.ciphertext.len() {
            shielded.ciphertext[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open(&shielded), Err(ShieldError::Damaged)));
            shielded.ciphertext[bit / 8] ^= 1 << (bit % 8);
        }
        for bit in 0..64 {
            shielded.nonce ^= 1 << bit;
            assert!(matches!(open(&shielded), Err(ShieldError::Damaged)));
            shielded.nonce ^= 1 << bit;
        }
        assert_eq!(shielded.open(<[u8]>::to_vec).unwrap(), [7; 32]);
    }

    #[test]
    fn the_time_of_opening_counts_and_that_of_the_work_does_not() {
        let shielded = Shielded::seal(&[7; 32]).unwrap();
        let before = opening_time();
        let work = Duration::from_millis(50);
        shielded.open(|_| std::thread::sleep(work)).unwrap();
        let spent = opening_time() - before;
        assert!(!spent.is_zero() && spent < work, "{spent:?}");
    }

    #[test]
    fn equal_secrets_look_different() {
        let [a, b] = [(); 2].map(|()| Shielded::seal(&[7; 32]).unwrap());
        assert_ne!(a.nonce, b.nonce);
        assert_ne!(a.ciphertext, b.ciphertext);
    }

    #[test]
    fn a_panic_passes_through_and_the_secret_stays() {
        let shielded = Shielded::seal(b"secret").unwrap();
        let work = AssertUnwindSafe(|| shielded.open(|_| panic!("as asked for")));
        assert!(catch_unwind(work).is_err());
        assert_eq!(shielded.open(<[u8]>::to_vec).unwrap(), b"secret");
    }

    #[test]
    fn many_threads_may_make_the_key_at_once() {
        std::thread::scope(|scope| {
            for n in 0..8_u8 {
                scope.spawn(move || {
                    let shielded = Shielded::seal(&[n; 64]).unwrap();
                    assert_eq!(shielded.open(<[u8]>::to_vec).unwrap(), [n; 64]);
                });
            }
        });
        assert!(protection().is_ok());
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Shielded::seal(b"abc").unwrap()), "Shielded(..)");
    }
}
