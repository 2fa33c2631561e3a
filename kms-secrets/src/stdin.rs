//! A secret from standard input, into memory that is wiped.

use std::io;

use thiserror::Error;

use crate::source::MAX_SOURCE_BYTES;
use crate::{SecretBytes, fill};

/// Why no secret could be read from standard input.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StdinError {
    /// More than was allowed.
    #[error("standard input is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes that were allowed.
        limit: usize,
    },
    /// Nothing in it.
    #[error("standard input is empty")]
    Empty,
    /// It can't be read.
    #[error("standard input can't be read")]
    Unreadable(#[source] io::Error),
}

/// Reads standard input to its end: at most `limit` bytes, and never more than
/// [`MAX_SOURCE_BYTES`]. Every byte counts, a newline at the end too. Blocks until the other side
/// closes it.
///
/// The bytes go from the descriptor into wiped memory and not through [`io::stdin`], whose buffer is
/// never wiped. So nothing else of the process may read standard input: what that buffer has read
/// ahead is missing here.
///
/// # Errors
/// [`StdinError`], when there is too much, nothing, or no reading.
pub fn read(limit: usize) -> Result<SecretBytes, StdinError> {
    let limit = limit.min(MAX_SOURCE_BYTES);
    let secret = fill::to_end(limit, |buffer| {
        rustix::io::read(rustix::stdio::stdin(), buffer).map_err(io::Error::from)
    });
    match secret.map_err(StdinError::Unreadable)? {
        None => Err(StdinError::TooLarge { limit }),
        Some(secret) if secret.is_empty() => Err(StdinError::Empty),
        Some(secret) => Ok(secret),
    }
}
