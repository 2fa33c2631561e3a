//! What whoever is behind a backend must allow, in their own words.

use kms_backend::BackendError;
use kms_keys::{KeyId, KeyType};

use crate::AnyBackend;

/// Something that a backend asks of whoever is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Letting it in.
    Open,
    /// Listing the keys.
    List,
    /// Looking at a key.
    Look(&'a KeyId),
    /// Making a key, after it was looked for.
    Generate(&'a KeyId, KeyType),
    /// Signing with a key.
    Sign(&'a KeyId, KeyType),
    /// Making another version of a key.
    Rotate(&'a KeyId, KeyType),
    /// Disabling a key.
    Disable(&'a KeyId),
    /// Enabling a key.
    Enable(&'a KeyId),
    /// Scheduling a key's deletion.
    ScheduleDelete(&'a KeyId),
    /// Destroying a key.
    Destroy(&'a KeyId),
}

impl AnyBackend {
    /// The rights for whose lack a step may have been refused with `error`, as whoever grants them calls
    /// them: actions of AWS' policies, capabilities and paths of Vault's, functions and mechanisms of a
    /// token. For a keystore they are those of who opens it. None where it was no such refusal, or nobody is asked.
    #[must_use]
    pub fn missing_rights(&self, step: Step<'_>, error: &BackendError) -> Vec<String> {
        let is_denied = matches!(error, BackendError::Denied(_));
        match self {
            #[cfg(feature = "aws")]
            Self::Aws(_) if is_denied => {
                aws(actions(step), &kms_backend::ErrorChain(error).to_string())
            }
            #[cfg(feature = "keystore")]
            Self::Keystore(settings) if is_denied => {
                unlocking(&settings.unlock, &kms_backend::ErrorChain(error).to_string())
            }
            // A token says of what it can't do that it doesn't fit.
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11(settings)
                if is_denied
                    || matches!(
                        (error, step),
                        (
                            BackendError::Misconfigured(_),
                            Step::Generate(..) | Step::Rotate(..) | Step::Sign(..)
                        )
                    ) =>
            {
                pkcs11(settings, step)
            }
            #[cfg(feature = "vault")]
            Self::Vault(settings) if is_denied => vault(settings, step),
            _ => {
                let _ = (step, is_denied);
                Vec::new()
            }
        }
    }
}

/// What opens a store, or seals its key, and was refused with what was `said`.
#[cfg(feature = "keystore")]
fn unlocking(unlock: &crate::AnyUnlock, said: &str) -> Vec<String> {
    let (seals, opens) = (said.contains("does not encrypt"), said.contains("does not decrypt"));
    match unlock {
        #[cfg(feature = "aws")]
        crate::AnyUnlock::Aws(_) if seals => aws(&["Encrypt"], said),
        #[cfg(feature = "aws")]
        crate::AnyUnlock::Aws(_) if opens => aws(&["Decrypt"], said),
        #[cfg(feature = "aws")]
        crate::AnyUnlock::Aws(_) => aws(&[], said),
        #[cfg(feature = "pkcs11")]
        crate::AnyUnlock::Pkcs11(unlock) => {
            let login = login(unlock.token());
            let key = unlock.key();
            match (seals, opens) {
                (true, _) => vec![format!(
                    "`C_Encrypt` by mechanism `CKM_AES_GCM`, and `CKA_ENCRYPT` of AES key {key}"
                )],
                (_, true) => vec![format!(
                    "`C_Decrypt` by mechanism `CKM_AES_GCM`, and `CKA_DECRYPT` of AES key {key}"
                )],
                _ if said.contains("can't be made") => {
                    vec![login, "`C_GenerateKey` by mechanism `CKM_AES_KEY_GEN`".into()]
                }
                _ if said.contains("can't log in") => vec![login],
                _ => Vec::new(),
            }
        }
        #[cfg(feature = "vault")]
        crate::AnyUnlock::Vault(unlock) => {
            let path = |operation| {
                format!("`update` on `{}/{operation}/{}`", unlock.mount(), unlock.key())
            };
            match (seals, opens) {
                (true, _) => vec![path("encrypt")],
                (_, true) => vec![path("decrypt")],
                _ => Vec::new(),
            }
        }
        _ => {
            let _ = (seals, opens);
            Vec::new()
        }
    }
}

/// The action that AWS says isn't allowed; else these.
#[cfg(feature = "aws")]
fn aws(actions: &[&str], said: &str) -> Vec<String> {
    let mut words = said.split_whitespace().map(|word| word.trim_end_matches(['.', ',']));
    if let Some(action) = words.find(|word| word.starts_with("kms:") || word.starts_with("sts:")) {
        return vec![format!("`{action}`")];
    }
    actions.iter().map(|action| format!("`kms:{action}`")).collect()
}

#[cfg(feature = "aws")]
fn actions(step: Step<'_>) -> &'static [&'static str] {
    match step {
        // Whoever AWS knows is let in.
        Step::Open => &[],
        Step::List | Step::Look(_) => &["ListAliases", "DescribeKey", "GetPublicKey"],
        Step::Generate(..) => &["CreateKey", "TagResource", "CreateAlias"],
        Step::Sign(..) => &["Sign"],
        Step::Rotate(..) => &["CreateKey", "TagResource", "CreateAlias", "UpdateAlias"],
        Step::Disable(_) => &["DisableKey"],
        Step::Enable(_) => &["EnableKey"],
        Step::ScheduleDelete(_) | Step::Destroy(_) => &["ScheduleKeyDeletion"],
    }
}

#[cfg(feature = "pkcs11")]
fn login(token: &kms_backend_pkcs11::TokenName) -> String {
    format!("`C_Login` as `CKU_USER` at the {token}")
}

#[cfg(feature = "pkcs11")]
fn pkcs11(settings: &kms_backend_pkcs11::Pkcs11Settings, step: Step<'_>) -> Vec<String> {
    let login = login(&settings.token);
    match step {
        Step::Open | Step::List | Step::Look(_) => vec![login],
        Step::Generate(_, key_type) | Step::Rotate(_, key_type) => {
            let mechanism = match key_type {
                KeyType::Ed25519 => "CKM_EC_EDWARDS_KEY_PAIR_GEN",
                _ => "CKM_EC_KEY_PAIR_GEN",
            };
            vec![login, format!("`C_GenerateKeyPair` by mechanism `{mechanism}`")]
        }
        Step::Sign(_, key_type) => {
            let mechanism = match key_type {
                KeyType::Ed25519 => "CKM_EDDSA",
                _ => "CKM_ECDSA",
            };
            vec![login, format!("`C_Sign` by mechanism `{mechanism}`, and the key's `CKA_SIGN`")]
        }
        Step::Disable(_) | Step::Enable(_) | Step::ScheduleDelete(_) | Step::Destroy(_) => {
            vec![login, "`C_DestroyObject`, and the key's `CKA_DESTROYABLE`".into()]
        }
    }
}

#[cfg(feature = "vault")]
fn vault(settings: &kms_backend_vault::VaultSettings, step: Step<'_>) -> Vec<String> {
    use kms_backend_vault::{AuthSettings, key_name};

    let mount = &settings.mount;
    let keys = |id: &KeyId| format!("{mount}/keys/{}", key_name(id));
    match step {
        Step::Open => match &settings.auth {
            AuthSettings::Token(_) => vec!["`read` on `auth/token/lookup-self`".into()],
            // What it takes there is no right, but a secret.
            _ => Vec::new(),
        },
        Step::List => {
            vec![format!("`list` on `{mount}/keys`"), format!("`read` on `{mount}/keys/*`")]
        }
        Step::Look(id) => vec![format!("`read` on `{}`", keys(id))],
        Step::Generate(id, _) => vec![format!("`create` and `update` on `{}`", keys(id))],
        Step::Sign(id, _) => vec![format!("`update` on `{mount}/sign/{}`", key_name(id))],
        Step::Rotate(id, _) => vec![format!("`update` on `{}/rotate`", keys(id))],
        Step::Disable(id) => vec![format!("`delete` on `{}/soft-delete`", keys(id))],
        Step::Enable(id) => vec![format!("`update` on `{}/soft-delete-restore`", keys(id))],
        Step::ScheduleDelete(id) | Step::Destroy(id) => {
            vec![
                format!("`update` on `{}/config`", keys(id)),
                format!("`delete` on `{}`", keys(id)),
            ]
        }
    }
}

#[cfg(all(test, feature = "keystore", feature = "pkcs11"))]
mod tests {
    use kms_backend::Failure;

    use super::*;

    #[test]
    fn what_a_token_must_allow_to_open_a_store_is_named() {
        let store: AnyBackend = serde_json::from_str(
            r#"{"type": "keystore", "path": "p", "unlock": {"pkcs11": {"module": "m.so",
                "token": {"label": "t"}, "pin": {"env": "P"}, "key": "k"}}}"#,
        )
        .unwrap();
        for (said, expected) in [
            (
                "AES key k in token t does not decrypt: its CKA_DECRYPT is false",
                &["`CKA_DECRYPT` of AES key k"][..],
            ),
            (
                "AES key k in token t does not encrypt: its CKA_ENCRYPT is false",
                &["`CKA_ENCRYPT` of AES key k"],
            ),
            ("AES key k in token t can't be made", &["`C_Login`", "`C_GenerateKey`"]),
            ("can't log in to token t", &["`C_Login`"]),
            ("file p can't be read", &[]),
        ] {
            let error = BackendError::Denied(Failure::new(said));
            let rights = store.missing_rights(Step::Open, &error);
            assert_eq!(rights.len(), expected.len(), "{said}: {rights:?}");
            assert!(
                rights.iter().zip(expected).all(|(right, part)| right.contains(part)),
                "{rights:?}"
            );
            let other = BackendError::Unavailable(Failure::new(said));
            assert_eq!(store.missing_rights(Step::Open, &other), Vec::<String>::new());
        }
    }
}
