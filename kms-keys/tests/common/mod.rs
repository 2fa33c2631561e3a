//! What several of the integration tests need.

/// Bytes from hexadecimal text, which may have a `0x` in front.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    base16ct::mixed::decode_vec(text.strip_prefix("0x").unwrap_or(text)).unwrap()
}
