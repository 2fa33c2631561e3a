//! Reading to the end into memory that never grows.

use std::io;

use crate::SecretBytes;

/// Everything that `read` gives until it gives nothing, or `None` if that is more than `limit`
/// bytes. `read` is called like [`io::Read::read`], straight into the secret's memory; that memory
/// has one byte more than `limit`, so that too much is noticed.
pub(crate) fn to_end(
    limit: usize,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<Option<SecretBytes>> {
    let mut secret = SecretBytes::with_capacity(limit + 1);
    let mut len = 0;
    loop {
        match read(&mut secret.buffer_mut()[len..]) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if len > limit {
            return Ok(None);
        }
    }
    secret.set_len(len);
    Ok(Some(secret))
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind, Read};

    use super::*;

    fn read(mut text: &[u8], limit: usize) -> Option<Vec<u8>> {
        // Two bytes at a time, with a signal before the first.
        let mut interrupted = false;
        let read = |buffer: &mut [u8]| {
            if !std::mem::replace(&mut interrupted, true) {
                return Err(Error::from(ErrorKind::Interrupted));
            }
            let room = buffer.len().min(2);
            text.read(&mut buffer[..room])
        };
        to_end(limit, read).unwrap().map(|secret| secret.expose().to_vec())
    }

    #[test]
    fn everything_is_read_up_to_the_limit() {
        assert_eq!(read(b"", 0).unwrap(), b"");
        assert_eq!(read(b"abcde", 5).unwrap(), b"abcde");
        assert_eq!(read(b"abcde", 64).unwrap(), b"abcde");
        assert!(read(b"abcde", 4).is_none());
        assert!(read(b"a", 0).is_none());
    }

    #[test]
    fn a_failure_is_handed_on() {
        let error = to_end(4, |_| Err(Error::from(ErrorKind::TimedOut))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
