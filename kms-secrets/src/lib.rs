//! What a secret is: bytes that are wiped, and the places they are read from.

mod array;
mod bytes;

pub use array::SecretArray;
pub use bytes::SecretBytes;
