//! The keys in AWS: looking for them, and making them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use aws_sdk_kms::types;
use kms_backend::{BackendError, ErrorChain, Failure, KeyState};
use kms_keys::{KeyId, KeyType, PublicKey};

use crate::backend::Shared;
use crate::error::Refusal;
use crate::names;

/// The tags of keys that are made.
pub(crate) const TAG_ID: &str = "kms-id";
pub(crate) const TAG_VERSION: &str = "kms-version";
pub(crate) const TAG_CREATION: &str = "kms-creation";
/// The alias of the current version: another node may have a key of the same id and other aliases.
pub(crate) const TAG_ALIAS: &str = "kms-alias";

/// What AWS says of one of its keys.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// AWS' own name for it.
    pub(crate) aws_id: String,
    pub(crate) key_type: KeyType,
    pub(crate) state: KeyState,
    pub(crate) created: Option<SystemTime>,
}

/// One version of a key.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// What AWS is asked for.
    pub(crate) name: String,
    pub(crate) described: Described,
    pub(crate) public_key: PublicKey,
}

pub(crate) type Versions = BTreeMap<u32, Found>;

/// The public keys of AWS' keys, which never change.
#[derive(Default)]
pub(crate) struct PublicKeys(Mutex<BTreeMap<String, PublicKey>>);

impl Shared {
    /// All versions of a key, the current one last; none if it isn't there, or not yet. Where AWS doesn't
    /// give the public key of a key that doesn't sign now, it is `pinned`.
    pub(crate) async fn look(
        &self,
        id: &KeyId,
        pinned: Option<&PublicKey>,
    ) -> Result<Option<Versions>, BackendError> {
        if let Some(name) = self.settings.keys.get(id) {
            let Some(described) = self.describe(id, name).await? else { return Ok(None) };
            // By its name: policies may go by it, and a name that is given to another key is noticed.
            let found = self.found(id, name.clone(), described, pinned).await?;
            return Ok(found.map(|found| Versions::from([(1, found)])));
        }
        let Some(current) = self.describe(id, &self.alias(id, None)?).await? else {
            return Ok(None);
        };
        let newest = self.version_of(id, &current.aws_id).await?;
        let mut versions = Versions::new();
        for version in 1..newest {
            let Some(older) = self.describe(id, &self.alias(id, Some(version))?).await? else {
                continue;
            };
            match self.found(id, older.aws_id.clone(), older, None).await {
                Ok(Some(found)) => drop(versions.insert(version, found)),
                Ok(None) => {}
                Err(error) if error.is_retryable() => return Err(error),
                // Not to be read any more: that is no reason to do without the current one.
                Err(error) => {
                    tracing::warn!(key = %id, version, error = %ErrorChain(&error), "left out");
                }
            }
        }
        let Some(found) = self.found(id, current.aws_id.clone(), current, pinned).await? else {
            return Ok(None);
        };
        versions.insert(newest, found);
        Ok(Some(versions))
    }

    /// One version alone; none if it isn't there, or not yet.
    pub(crate) async fn look_at(
        &self,
        id: &KeyId,
        alias: &str,
    ) -> Result<Option<Found>, BackendError> {
        let Some(described) = self.describe(id, alias).await? else { return Ok(None) };
        self.found(id, described.aws_id.clone(), described, None).await
    }

    pub(crate) fn alias(&self, id: &KeyId, version: Option<u32>) -> Result<String, BackendError> {
        names::alias(&self.settings.alias_prefix, id, version)
    }

    async fn found(
        &self,
        id: &KeyId,
        name: String,
        described: Described,
        pinned: Option<&PublicKey>,
    ) -> Result<Option<Found>, BackendError> {
        let pinned = pinned.filter(|pinned| pinned.key_type() == described.key_type);
        let public_key = match (self.public_key(id, &described).await, pinned) {
            (Err(BackendError::Denied(_)), Some(pinned)) if described.state != KeyState::Active => {
                Some(pinned.clone())
            }
            (answer, _) => answer?,
        };
        Ok(public_key.map(|public_key| Found { name, described, public_key }))
    }

    /// What AWS says of the key of this name; none if there is none, or it is still being made.
    pub(crate) async fn describe(
        &self,
        id: &KeyId,
        name: &str,
    ) -> Result<Option<Described>, BackendError> {
        self.retried("describe", Some(id), || self.describe_once(id, name)).await
    }

    /// The same in one try.
    pub(crate) async fn describe_once(
        &self,
        id: &KeyId,
        name: &str,
    ) -> Result<Option<Described>, BackendError> {
        let what = format!("can't look for key {id} ({name})");
        let asked = |aws: &aws_sdk_kms::Client| aws.describe_key().key_id(name).send();
        let answer = none_if_missing(self.client.ask(&what, asked).await)?;
        let Some(metadata) = answer.and_then(|answer| answer.key_metadata) else {
            return Ok(None);
        };
        described(id, name, metadata)
    }

    /// The version that an alias gives to this key; 1 if none does.
    async fn version_of(&self, id: &KeyId, aws_id: &str) -> Result<u32, BackendError> {
        let aliases = self.aliases(Some((id, aws_id))).await?;
        let prefix = &self.settings.alias_prefix;
        let named = aliases.iter().filter_map(|alias| names::read(prefix, alias));
        let versions = named.filter(|named| named.id == *id).filter_map(|named| named.version);
        Ok(versions.max().unwrap_or(1))
    }

    /// All aliases, or those of a key.
    pub(crate) async fn aliases(
        &self,
        of: Option<(&KeyId, &str)>,
    ) -> Result<Vec<String>, BackendError> {
        let (mut aliases, mut marker) = (Vec::new(), None::<String>);
        loop {
            let page = self.retried("list_aliases", of.map(|(id, _)| id), || async {
                let asked = |aws: &aws_sdk_kms::Client| {
                    let request = aws.list_aliases().set_marker(marker.clone());
                    request.set_key_id(of.map(|(_, aws_id)| aws_id.to_owned())).send()
                };
                self.client.ask("can't list the aliases", asked).await.map_err(|it| it.error)
            });
            let page = page.await?;
            let entries = page.aliases.unwrap_or_default();
            aliases.extend(
                entries
                    .into_iter()
                    .filter(|entry| entry.target_key_id.is_some())
                    .filter_map(|entry| entry.alias_name),
            );
            marker = page.next_marker;
            if marker.is_none() {
                return Ok(aliases);
            }
        }
    }

    /// The public key, asked for once; none if the key isn't everywhere yet.
    async fn public_key(
        &self,
        id: &KeyId,
        described: &Described,
    ) -> Result<Option<PublicKey>, BackendError> {
        let aws_id = &described.aws_id;
        if let Some(known) = self.public_keys.get(aws_id) {
            return Ok(Some(known));
        }
        let what = format!("can't read the public key of {id} ({aws_id})");
        let answer = self.retried("public_key", Some(id), || async {
            let asked = |aws: &aws_sdk_kms::Client| aws.get_public_key().key_id(aws_id).send();
            none_if_missing(self.client.ask(&what, asked).await)
        });
        let Some(answer) = answer.await? else { return Ok(None) };
        let der = answer.public_key.map(aws_sdk_kms::primitives::Blob::into_inner);
        let public_key = PublicKey::from_spki_der(described.key_type, &der.unwrap_or_default())
            .map_err(|cause| {
                let what = format!("the public key of {id} ({aws_id}) that AWS gave is none");
                BackendError::Corrupt(Failure::because(what, cause))
            })?;
        self.public_keys.put(aws_id, &public_key);
        Ok(Some(public_key))
    }

    /// Makes a key in AWS that no alias points at yet, and says what AWS calls it.
    pub(crate) async fn create(
        &self,
        id: &KeyId,
        key_type: KeyType,
        version: u32,
        creation: &str,
    ) -> Result<String, BackendError> {
        let what = format!("can't make key {id}");
        let Some(spec) = key_spec(key_type) else {
            let what = format!("{what}: AWS has no {key_type} keys");
            return Err(BackendError::Misconfigured(Failure::new(what)));
        };
        let description = self.settings.description.clone();
        let description =
            description.unwrap_or_else(|| format!("Key {id} of a node, version {version}"));
        let own = [
            (TAG_ID, id.as_str()),
            (TAG_VERSION, &version.to_string()),
            (TAG_CREATION, creation),
            (TAG_ALIAS, &self.alias(id, None)?),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let tags = self.settings.tags.clone().into_iter().chain(own);
        let tags = tags.map(|(key, value)| types::Tag::builder().tag_key(key).tag_value(value));
        let tags: Result<Vec<_>, _> = tags.map(types::builders::TagBuilder::build).collect();
        let tags = tags.map_err(|cause| {
            BackendError::Misconfigured(Failure::because("the tags are not complete", cause))
        })?;
        let asked = |aws: &aws_sdk_kms::Client| {
            aws.create_key()
                .key_spec(spec.clone())
                .key_usage(types::KeyUsageType::SignVerify)
                .description(&description)
                .set_tags(Some(tags.clone()))
                .send()
        };
        let answer = self.client.ask(&what, asked).await.map_err(|it| it.error)?;
        answer.key_metadata.map(aws_id).ok_or_else(|| {
            let what = format!("{what}: AWS' answer doesn't say what it made");
            BackendError::Unavailable(Failure::new(what))
        })
    }

    /// Gives a key a name that no other key has.
    pub(crate) async fn name(
        &self,
        id: &KeyId,
        alias: &str,
        aws_id: &str,
    ) -> Result<(), BackendError> {
        let what = format!("can't call key {id} {alias}");
        let asked = |aws: &aws_sdk_kms::Client| {
            aws.create_alias().alias_name(alias).target_key_id(aws_id).send()
        };
        self.client.ask(&what, asked).await.map(drop).map_err(|refused| refused.error)
    }

    /// Gives the name of the current version to this key.
    pub(crate) async fn make_current(&self, id: &KeyId, aws_id: &str) -> Result<(), BackendError> {
        let alias = self.alias(id, None)?;
        let what = format!("can't point {alias} at the new version of key {id}");
        let moved = self.retried("update_alias", Some(id), || async {
            let asked = |aws: &aws_sdk_kms::Client| {
                aws.update_alias().alias_name(&alias).target_key_id(aws_id).send()
            };
            self.client.ask(&what, asked).await.map_err(|refused| refused.error)
        });
        moved.await.map(drop)
    }
}

impl PublicKeys {
    fn get(&self, aws_id: &str) -> Option<PublicKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(aws_id).cloned()
    }

    fn put(&self, aws_id: &str, public_key: &PublicKey) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(aws_id.to_owned(), public_key.clone());
    }
}

fn none_if_missing<T>(answer: Result<T, Refusal>) -> Result<Option<T>, BackendError> {
    match answer.map_err(|refused| refused.error) {
        Ok(answer) => Ok(Some(answer)),
        Err(BackendError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn key_spec(key_type: KeyType) -> Option<types::KeySpec> {
    match key_type {
        KeyType::Ed25519 => Some(types::KeySpec::EccNistEdwards25519),
        KeyType::Secp256k1 => Some(types::KeySpec::EccSecgP256K1),
        _ => None,
    }
}

fn described(
    id: &KeyId,
    name: &str,
    metadata: types::KeyMetadata,
) -> Result<Option<Described>, BackendError> {
    let misfit = |what: &str| {
        let what = format!("key {id}: {name} in AWS {what}");
        Err(BackendError::Misconfigured(Failure::new(what)))
    };
    let key_type = KeyType::ALL.iter().copied().find(|key_type| {
        key_spec(*key_type).is_some_and(|spec| Some(&spec) == metadata.key_spec())
    });
    let Some(key_type) = key_type else {
        let spec = metadata.key_spec().map_or("unknown", |spec| spec.as_str());
        return misfit(&format!("has the key spec {spec}, and no backend key type does"));
    };
    if metadata.key_usage() != Some(&types::KeyUsageType::SignVerify) {
        return misfit("is not for signing");
    }
    let time = |at: Option<&aws_sdk_kms::primitives::DateTime>| {
        at.and_then(|at| SystemTime::try_from(*at).ok())
    };
    let state = match metadata.key_state() {
        Some(types::KeyState::Enabled) => KeyState::Active,
        Some(types::KeyState::PendingDeletion) => {
            let not_before = time(metadata.deletion_date()).unwrap_or_else(SystemTime::now);
            KeyState::PendingDeletion { not_before }
        }
        Some(types::KeyState::Creating | types::KeyState::Updating) => return Ok(None),
        Some(types::KeyState::Unavailable) => {
            let what = format!("key {id}: the key store that has {name} is not connected to AWS");
            return Err(BackendError::Unavailable(Failure::new(what)));
        }
        Some(types::KeyState::PendingImport) => return misfit("waits for its key material"),
        // Whatever else there is, it doesn't sign.
        _ => KeyState::Disabled,
    };
    let created = time(metadata.creation_date());
    Ok(Some(Described { aws_id: aws_id(metadata), key_type, state, created }))
}

/// The ARN, which says everywhere what is meant.
fn aws_id(metadata: types::KeyMetadata) -> String {
    metadata.arn.unwrap_or(metadata.key_id)
}
