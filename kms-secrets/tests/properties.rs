//! The decoders under arbitrary input.

#![allow(clippy::unwrap_used, reason = "a failed decoding of good input fails the test")]

use base64ct::{Base64, Encoding as _};
use kms_secrets::{DecodedSecret, Encoding};
use proptest::collection::vec;
use proptest::prelude::*;

fn decoded(encoding: Encoding, text: &[u8]) -> Vec<u8> {
    match encoding.decode(text).unwrap() {
        DecodedSecret::Bytes(secret) | DecodedSecret::Pem { der: secret, .. } => {
            secret.expose().to_vec()
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        bytes in vec(any::<u8>(), 1..200),
        prefix in any::<bool>(),
        newline in prop_oneof![Just(""), Just("\n"), Just("\r\n")],
    ) {
        let hex = base16ct::lower::encode_string(&bytes);
        let hex = format!("{}{hex}{newline}", if prefix { "0x" } else { "" });
        prop_assert_eq!(&decoded(Encoding::Hex, hex.as_bytes()), &bytes);

        let base64 = format!("{}{newline}", Base64::encode_string(&bytes));
        prop_assert_eq!(&decoded(Encoding::Base64, base64.as_bytes()), &bytes);

        let pem = pem_rfc7468::encode_string("PRIVATE KEY", pem_rfc7468::LineEnding::LF, &bytes);
        prop_assert_eq!(&decoded(Encoding::Pem, pem.unwrap().as_bytes()), &bytes);
    }

    #[test]
    fn arbitrary_text_is_refused_or_decoded_and_never_panics(text in vec(any::<u8>(), 0..200)) {
        for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Pem, Encoding::Raw] {
            if let Ok(DecodedSecret::Bytes(secret)) = encoding.decode(&text) {
                prop_assert!(!secret.is_empty() && secret.len() <= text.len());
            }
        }
    }
}
