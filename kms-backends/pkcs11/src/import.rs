//! Keys that are brought into the token.

use cryptoki::error::Error;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;
use kms_backend::{BackendError, ErrorChain, Failure, read_key};
use kms_keys::{KeyType, PublicKey};
use kms_secrets::{SecretSource, Shielded, on_wiped_stack};
use zeroize::Zeroize;

use crate::error::may_pass;
use crate::error::{backend_error, is_session_lost};
use crate::object::Objects;

/// A key that is to be imported.
#[derive(Debug)]
pub(crate) struct Imported {
    secret: Shielded,
    pub(crate) public_key: PublicKey,
}

impl Imported {
    /// Reads the key's source. Blocks on file I/O.
    pub(crate) fn read(source: &SecretSource, key_type: KeyType) -> Result<Self, BackendError> {
        on_wiped_stack(|| {
            let key = read_key(source, key_type)?;
            let secret = Shielded::seal(key.expose_secret().expose()).map_err(|cause| {
                let what = format!("the key can't be shielded: {}", ErrorChain(&cause));
                BackendError::Unavailable(Failure::new(what))
            })?;
            Ok(Self { secret, public_key: key.public_key() })
        })
    }

    /// Makes the two objects, the public one first. Unless this is the `last` try, what may pass is an
    /// error of the module.
    pub(crate) fn create(
        &self,
        session: &Session,
        objects: &Objects,
        last: bool,
        what: &str,
    ) -> Result<Result<(ObjectHandle, ObjectHandle), BackendError>, Error> {
        let public = match session.create_object(&objects.public_to_import(&self.public_key)) {
            Ok(public) => public,
            Err(error) if !last && may_pass(&error) => return Err(error),
            Err(error) => return refused(error, what, "a public key"),
        };
        let private = self.secret.open(|secret| {
            let template = Template(objects.private_to_import(secret));
            session.create_object(&template.0)
        });
        match private {
            Ok(Ok(private)) => Ok(Ok((public, private))),
            Ok(Err(error)) if !last && may_pass(&error) => Err(error),
            Ok(Err(error)) => refused(
                error,
                what,
                "a private key (`CKA_CLASS` `CKO_PRIVATE_KEY`, `CKA_TOKEN`, `CKA_PRIVATE` and `CKA_SENSITIVE` \
                 true, `CKA_EXTRACTABLE` false, with its `CKA_VALUE`)",
            ),
            Err(cause) => {
                let what = format!("{what}: its secret can't be opened: {}", ErrorChain(&cause));
                Ok(Err(BackendError::Corrupt(Failure::new(what))))
            }
        }
    }
}

/// What an object is to be, wiped of its secret value.
struct Template(Vec<Attribute>);

impl Drop for Template {
    fn drop(&mut self) {
        for attribute in &mut self.0 {
            if let Attribute::Value(secret) = attribute {
                secret.zeroize();
            }
        }
    }
}

fn refused<T>(error: Error, what: &str, object: &str) -> Result<Result<T, BackendError>, Error> {
    if is_session_lost(&error) {
        return Err(error);
    }
    let what = format!("{what}: the token refuses `C_CreateObject` of {object}");
    Ok(Err(match backend_error(&what, error) {
        BackendError::Misconfigured(failure) => BackendError::Denied(failure),
        other => other,
    }))
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use cryptoki::error::RvError;

    use super::*;

    #[test]
    fn what_a_token_refuses_is_denied_and_what_may_pass_is_not() {
        let refuse = |value| {
            let error = Error::Pkcs11(value, Function::CreateObject);
            refused::<()>(error, "can't import key node", "a private key").map(Result::unwrap_err)
        };
        for value in [
            RvError::TemplateInconsistent,
            RvError::AttributeValueInvalid,
            RvError::AttributeReadOnly,
            RvError::FunctionNotSupported,
            RvError::ActionProhibited,
            RvError::TokenWriteProtected,
        ] {
            let error = refuse(value).unwrap();
            assert!(matches!(error, BackendError::Denied(_)), "{value:?}: {error:?}");
            assert!(error.to_string().contains("`C_CreateObject` of a private key"), "{error}");
        }
        assert!(refuse(RvError::DeviceMemory).unwrap().is_retryable());
        refuse(RvError::SessionHandleInvalid).unwrap_err();
    }
}
