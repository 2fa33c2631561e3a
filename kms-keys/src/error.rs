//! What can go wrong with a key or a signature. No error holds bytes that could be secret.

use thiserror::Error;

use crate::{KeyType, SigningScheme};

/// Why bytes are no key, or why none could be generated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key has another number of bytes than its type asks for.
    #[error("expected {expected} bytes, got {got}")]
    WrongLength {
        /// The bytes that a key of this type has. A secp256k1 public key may also have 65.
        expected: usize,
        /// The bytes that were given.
        got: usize,
    },
    /// The text is not hexadecimal, or has an odd number of digits.
    #[error("not hexadecimal, or an odd number of digits")]
    BadHex,
    /// The secret is zero.
    #[error("the secret key is zero")]
    Zero,
    /// The secret is not below the order of the curve's group.
    #[error("the secret key is not below the group order")]
    OutOfRange,
    /// A PKCS#8 or SPKI document holds a key of another algorithm or curve.
    #[error("expected a key of {expected}, found object identifier {found}")]
    WrongAlgorithm {
        /// The algorithm or curve that was asked for, by name and object identifier.
        expected: &'static str,
        /// The object identifier in the document, in dotted form.
        found: String,
    },
    /// Something follows where the document should end.
    #[error("bytes follow the end of the key")]
    TrailingBytes,
    /// A public key was given where a private one is due.
    #[error("this is a public key; a private key is needed")]
    PublicKeyGiven,
    /// A private key was given where a public one is due.
    #[error("this is a private key; a public key is needed")]
    PrivateKeyGiven,
    /// An encrypted PKCS#8 document was given where a plain one is due.
    #[error("this PKCS#8 document is encrypted; a plain one is needed")]
    Encrypted,
    /// A plain PKCS#8 document was given where an encrypted one is due.
    #[error("this PKCS#8 document is not encrypted; an encrypted one is needed")]
    NotEncrypted,
    /// A PKCS#8 document is encrypted in another way than those that are read here.
    #[error(
        "expected a PKCS#8 document encrypted by PBES2 with PBKDF2-HMAC-SHA256 or scrypt, and \
         AES-128-CBC or AES-256-CBC"
    )]
    UnsupportedEncryption,
    /// Decrypting would take more time or memory than any honest document asks for, or the cost makes
    /// no sense. Nothing was computed.
    #[error("the cost of decrypting: expected {expected}")]
    CostRefused {
        /// The costs that are borne.
        expected: &'static str,
    },
    /// The passphrase is another, or the document was damaged, which can't be told apart.
    #[error("wrong passphrase, or the document is damaged")]
    WrongPassphrase,
    /// PEM text of something else.
    #[error("expected PEM text labelled {expected}, found {found}")]
    WrongPemLabel {
        /// The label that was asked for.
        expected: &'static str,
        /// The label that was found, if it is a common one.
        found: &'static str,
    },
    /// No standard says how a key of this type is written as PKCS#8 or SPKI.
    #[error("no PKCS#8 or SPKI form is defined for {0} keys")]
    NoDocumentForm(KeyType),
    /// Not DER, or DER of something else than a key.
    #[error("malformed DER document")]
    MalformedDer,
    /// Not PEM text as in RFC 7468.
    #[error("malformed PEM text")]
    MalformedPem,
    /// The document names a public key that is not the one of its private key.
    #[error("the public key in the document does not belong to the private key")]
    PublicKeyMismatch,
    /// The bytes encode no point of the curve.
    #[error("not a point of the curve")]
    NotAPoint,
    /// The bytes are not the one encoding that the standard gives to the point.
    #[error("not the canonical encoding of a point")]
    NonCanonical,
    /// The public key is the identity (the point at infinity).
    #[error("the public key is the identity")]
    Identity,
    /// The public key is a point of the curve outside the subgroup of prime order, or, for Ed25519,
    /// one of the few points of small order.
    #[error("the public key is not in the group of prime order")]
    NotInSubgroup,
    /// The system gave no randomness.
    #[error("the system's randomness is unavailable")]
    RandomnessUnavailable(#[source] getrandom::Error),
    /// The system's randomness gave no usable key in many tries, which chance does not explain.
    #[error("the system's randomness is broken")]
    RandomnessBroken,
    /// A signature that was made to test the new key does not verify: a fault of the machine.
    #[error("the key failed its self-test")]
    SelfTestFailed,
}

/// Why a message was not signed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignError {
    /// The scheme is for keys of another type.
    #[error("scheme {scheme} is not for {key_type} keys")]
    WrongKeyType {
        /// The scheme that was asked for.
        scheme: SigningScheme,
        /// The type of the key.
        key_type: KeyType,
    },
    /// The scheme asks for a message of one length: 32 bytes for `ecdsa-digest`, none for
    /// `bls-pop-prove`.
    #[error("expected a message of {expected} bytes, got {got}")]
    WrongMessageLength {
        /// The bytes that the scheme asks for.
        expected: usize,
        /// The bytes that were given.
        got: usize,
    },
    /// The system gave no randomness.
    #[error("the system's randomness is unavailable")]
    RandomnessUnavailable(#[source] getrandom::Error),
    /// The signature did not come out valid, and was not handed out: a fault of the machine.
    #[error("the signature failed its self-test")]
    SelfTestFailed,
}

/// Why bytes are no signature.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The signature has another number of bytes than its scheme asks for.
    #[error("expected {expected} bytes, got {got}")]
    WrongLength {
        /// The bytes that a signature of this scheme has.
        expected: usize,
        /// The bytes that were given.
        got: usize,
    },
    /// A number in the signature is zero.
    #[error("a number in the signature is zero")]
    Zero,
    /// A number in the signature is too large.
    #[error("a number in the signature is out of range")]
    OutOfRange,
    /// The `s` of an ECDSA signature is in the upper half of its range: the malleable twin of the
    /// signature that is accepted.
    #[error("s is in the upper half of its range")]
    HighS,
    /// The bytes encode no point of the curve.
    #[error("not a point of the curve")]
    NotAPoint,
    /// The signature is the identity (the point at infinity).
    #[error("the signature is the identity")]
    Identity,
    /// The signature is a point of the curve outside the subgroup of prime order.
    #[error("the signature is not in the group of prime order")]
    NotInSubgroup,
    /// A recovery id is a number from 0 to 3.
    #[error("a recovery id is a number from 0 to 3")]
    BadRecoveryId,
}

/// A signature does not verify. Why, is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature does not verify")]
#[non_exhaustive]
pub struct VerifyError;

/// Why keys or signatures can't be summed up.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// There is nothing to sum up.
    #[error("nothing to aggregate")]
    Empty,
    /// The sum is the identity (the point at infinity): its parts cancel each other out.
    #[error("the aggregate is the identity")]
    Identity,
}
