//! AES keys of a token that encrypt other keys: AES-GCM, with a nonce of 12 bytes before the ciphertext and a
//! tag of 16 behind it.

use std::iter;

use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::Session;
use kms_backend::{BackendError, Failure};
use kms_secrets::{SecretBytes, on_wiped_stack};
use zeroize::Zeroizing;

use crate::attempt::Outcome;
use crate::connection::Connection;
use crate::error::may_pass;
use crate::keys::{Private, misconfigured};
use crate::make::NewKey;
use crate::named::in_hex;
use crate::object::{self, CHANGED, LOOKS};

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const KEY_BYTES: u64 = 32;

/// An AES key that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewAesKey {
    /// Its label.
    pub(crate) label: String,
    /// What can't be done, should it fail.
    pub(crate) what: String,
}

impl NewKey for NewAesKey {
    fn label(&self) -> &str {
        &self.label
    }

    fn version(&self) -> u32 {
        1
    }

    fn what(&self) -> String {
        self.what.clone()
    }

    fn keys(&self) -> Vec<Attribute> {
        wanted(&self.label).to_vec()
    }

    fn public_keys(&self) -> Option<Vec<Attribute>> {
        None
    }

    fn create(&self, session: &Session, cka_id: Vec<u8>, _: bool) -> Outcome<()> {
        let new = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            // What both decrypts and wraps gets other keys out of the token.
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::ValueLen(KEY_BYTES.into()),
            Attribute::Label(self.label.as_bytes().to_vec()),
            Attribute::Id(cka_id),
        ];
        let key = session.generate_key(&Mechanism::AesKeyGen, &new)?;
        let is_guarded = Private::read(session, key)?.guarded;
        Ok(if is_guarded { Ok(()) } else { Err(Unfit::Open.told(&self.what)) })
    }
}

/// Whether there is a key with its label, whatever it is good for.
pub(crate) fn is_there(connection: &mut Connection, key: &NewAesKey) -> Result<bool, BackendError> {
    connection.with(&key.what, |session, _| Ok(!made_keys(session, &key.label)?.is_empty()))
}

/// `data` under the key, together with `bound`. Not if there are several: which one opens what was encrypted is to
/// be known to who takes one away.
pub(crate) fn encrypt(
    connection: &mut Connection,
    label: &str,
    what: &str,
    data: &[u8],
    bound: &[u8],
) -> Result<Vec<u8>, BackendError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)
        .map_err(|cause| BackendError::Unavailable(Failure::because("no randomness", cause)))?;
    let encrypted = connection.with(what, |session, _| {
        let key = match keys(session, label)? {
            Ok((key, others)) if others.is_empty() => key,
            Ok((key, others)) => return Ok(Err(Unfit::several(key, others))),
            Err(unfit) => return Ok(Err(unfit)),
        };
        let mut looks = 0;
        loop {
            // Some tokens choose the nonce themselves, and write it there.
            let how = GcmParams::new(&mut nonce, bound, bits(TAG_BYTES).into())?;
            match on_wiped_stack(|| session.encrypt(&Mechanism::AesGcm(how), key.handle, data)) {
                Err(error) if is_forbidden(&error) => {
                    return Ok(Err(Unfit::Forbidden("CKA_ENCRYPT")));
                }
                Err(error) if may_pass(&error) && looks < LOOKS => {
                    looks += 1;
                    std::thread::sleep(CHANGED);
                }
                done => return done.map(Ok),
            }
        }
    })?;
    let encrypted = encrypted.map_err(|unfit| unfit.told(what))?;
    if encrypted.len() != data.len() + TAG_BYTES {
        let len = encrypted.len();
        let what = format!("{what}: what the token gave has {len} bytes, which is no ciphertext");
        return Err(BackendError::Corrupt(Failure::new(what)));
    }
    Ok([nonce.as_slice(), &encrypted].concat())
}

/// What [`encrypt`] encrypted, if `bound` is the same. Of several keys, each is tried.
pub(crate) fn decrypt(
    connection: &mut Connection,
    label: &str,
    what: &str,
    sealed: &[u8],
    bound: &[u8],
) -> Result<SecretBytes, BackendError> {
    let Some((nonce, encrypted)) = sealed.split_first_chunk::<NONCE_BYTES>() else {
        let what = format!("{what}: {} bytes are no ciphertext", sealed.len());
        return Err(BackendError::WrongSecret(Failure::new(what)));
    };
    let decrypted = connection.with(what, |session, _| {
        let (first, others) = match keys(session, label)? {
            Ok(keys) => keys,
            Err(unfit) => return Ok(Err(unfit)),
        };
        let decrypt = |key: Private| {
            let mut nonce = *nonce;
            let how = GcmParams::new(&mut nonce, bound, bits(TAG_BYTES).into())?;
            on_wiped_stack(|| {
                let data = session.decrypt(&Mechanism::AesGcm(how), key.handle, encrypted)?;
                Ok(SecretBytes::from_slice(&Zeroizing::new(data)))
            })
        };
        let mut done = decrypt(first);
        for other in others {
            match done {
                Err(error) if is_unauthentic(&error) || is_forbidden(&error) => {
                    done = decrypt(other);
                }
                _ => break,
            }
        }
        match done {
            Err(error) if is_unauthentic(&error) => Ok(Err(Unfit::Other(error))),
            Err(error) if is_forbidden(&error) => Ok(Err(Unfit::Forbidden("CKA_DECRYPT"))),
            done => done.map(Ok),
        }
    })?;
    decrypted.map_err(|unfit| unfit.told(what))
}

fn bits(bytes: usize) -> u64 {
    8 * bytes as u64
}

/// What finds the key with this label.
fn wanted(label: &str) -> [Attribute; 4] {
    [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
    ]
}

/// Why what was found in the token doesn't do.
enum Unfit {
    Absent,
    /// It may leave the token.
    Open,
    /// There are several: their `CKA_ID`s.
    Several(Vec<Vec<u8>>),
    /// It may not be used for that: which attribute is false.
    Forbidden(&'static str),
    /// It is another key than the one that encrypted, or something else was bound.
    Other(Error),
}

impl Unfit {
    fn several(key: Private, others: Vec<Private>) -> Self {
        Self::Several(iter::once(key).chain(others).map(|key| key.cka_id).collect())
    }

    fn told(self, what: &str) -> BackendError {
        match self {
            Self::Absent => {
                BackendError::NotFound(Failure::new(format!("{what}: there is no such key")))
            }
            Self::Open => misconfigured(format!(
                "{what}: it may leave the token: it is not sensitive, or it is extractable"
            )),
            Self::Several(cka_ids) => {
                let them: Vec<_> =
                    cka_ids.iter().map(|cka_id| format!("0x{}", in_hex(cka_id))).collect();
                misconfigured(format!(
                    "{what}: there are {} keys of this label, with `CKA_ID` {}: give all but one another label",
                    them.len(),
                    them.join(", ")
                ))
            }
            Self::Forbidden(attribute) => {
                BackendError::Denied(Failure::new(format!("{what}: its {attribute} is false")))
            }
            Self::Other(cause) => {
                let what = format!("{what}: it is another key, or what was bound is another");
                BackendError::WrongSecret(Failure::because(what, cause))
            }
        }
    }
}

/// The keys with this label that must not leave the token: one, and any others.
fn keys(session: &Session, label: &str) -> Result<Result<(Private, Vec<Private>), Unfit>, Error> {
    let mut found = made_keys(session, label)?;
    let none = if found.is_empty() { Unfit::Absent } else { Unfit::Open };
    found.retain(|key| key.guarded);
    let mut guarded = found.into_iter();
    Ok(guarded.next().map(|first| (first, guarded.collect())).ok_or(none))
}

/// The keys with this label that nobody is just making.
fn made_keys(session: &Session, label: &str) -> Result<Vec<Private>, Error> {
    let mut found = object::read_all(session, &wanted(label), |it| Private::read(session, it))?;
    found.retain(|key| !key.is_candidate());
    Ok(found)
}

fn is_forbidden(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(RvError::KeyFunctionNotPermitted, _))
}

/// Whether the token says that the ciphertext isn't the key's. The standard has two values for that; SoftHSM2
/// gives the one for what can't be helped.
fn is_unauthentic(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange | RvError::GeneralError,
            Function::Decrypt
        )
    )
}
