//! The node's settings: one section per service, as written and as checked.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kms_keys::{KeyId, KeyType};
use kms_service::{KmsSection, KmsSettings};
use serde::Deserialize;

use crate::node::{NodeBackends, RuntimeServiceId};
use crate::refusal::{ExitCode, Failure, Refusal};
use crate::yaml;

/// The settings that the binary ships with and runs when it is given none.
pub const SHIPPED: &str = include_str!("../settings.yaml");

/// The largest settings file that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Settings of the whole node, checked.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// The key management service.
    pub kms: KmsSettings<NodeBackends>,
    /// Which keys say who this node is.
    pub identity: IdentitySection,
    /// Which key proposes, and how often.
    pub proposer: ProposerSection,
    /// Which keys attest.
    pub attesters: AttestersSection,
}

/// Section `identity`: two Ed25519 keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentitySection {
    /// The key that signs the node record.
    pub key: KeyId,
    /// The second identity, for the key agreement.
    pub peer: KeyId,
}

/// Section `proposer`: a secp256k1 key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposerSection {
    /// The key that signs block headers.
    pub key: KeyId,
    /// How long a slot is, with its unit; 1 s if left out.
    #[serde(default = "one_second", deserialize_with = "duration")]
    pub slot: Duration,
}

/// Section `attesters`: BLS keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestersSection {
    /// The keys that attest to every block; at least one, none twice.
    pub keys: Vec<KeyId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeSection {
    kms: KmsSection<NodeBackends>,
    identity: IdentitySection,
    proposer: ProposerSection,
    attesters: AttestersSection,
}

impl NodeSettings {
    /// Reads and checks a settings file. Nothing else is touched.
    ///
    /// # Errors
    /// [`Refusal`] with everything that is wrong.
    pub fn from_file(path: &Path) -> Result<Self, Refusal> {
        let refused = |cause: String| {
            Refusal::new(ExitCode::Settings, format!("settings file {}: {cause}", path.display()))
        };
        let mut text = Vec::new();
        // What is no regular file may have no size and no end.
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut text))
            .map_err(|error| refused(error.to_string()))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(refused(format!("is larger than {MAX_BYTES} bytes")));
        }
        let text = String::from_utf8(text).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
            refused(format!("line {line} is not UTF-8"))
        })?;
        let base_dir = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        Self::from_yaml(&text, &path.display().to_string(), &base_dir)
    }

    /// Checks settings in YAML. `name` stands for them in errors; relative paths are taken from
    /// `base_dir`.
    ///
    /// # Errors
    /// [`Refusal`] with everything that is wrong.
    pub fn from_yaml(text: &str, name: &str, base_dir: &Path) -> Result<Self, Refusal> {
        let refused = |cause: String| Refusal::new(ExitCode::Settings, format!("{name}: {cause}"));
        let section: Option<NodeSection> =
            yaml::parse(text).map_err(|error| refused(error.to_string()))?;
        let Some(section) = section else {
            return Err(refused("is empty: section `kms` is missing".into()));
        };
        let NodeSection { kms, identity, proposer, attesters } = section;
        let declared = kms.declared_types();
        let needed = Needed { declared: &declared, failures: Vec::new() };
        let mut failures = needed.check(&identity, &proposer, &attesters);
        match kms.check::<RuntimeServiceId>(base_dir) {
            Ok(kms) if failures.is_empty() => {
                let settings = Self { kms, identity, proposer, attesters };
                settings.check_permissions(name)?;
                Ok(settings)
            }
            checked => {
                failures.splice(0..0, checked.err().into_iter().flat_map(Failure::of_section));
                Err(Refusal::of_settings(name, failures))
            }
        }
    }

    /// Each service must be allowed to use its keys the way it does.
    fn check_permissions(&self, name: &str) -> Result<(), Refusal> {
        use RuntimeServiceId::{Attesters, Identity, Proposer};

        let Self { identity, proposer, attesters, .. } = self;
        let ids = [&identity.key, &identity.peer, &proposer.key];
        let services = [Identity, Identity, Proposer];
        let fields = ["identity.key", "identity.peer", "proposer.key"].map(str::to_owned);
        let of_attesters = attesters.keys.iter().enumerate();
        let uses = ids
            .into_iter()
            .zip(services)
            .zip(fields)
            .map(|((id, service), field)| (field, id, service))
            .chain(of_attesters.map(|(n, id)| (format!("attesters.keys[{n}]"), id, Attesters)));
        let failures: Vec<_> = uses
            .filter_map(|(field, id, service)| {
                let spec =
                    self.kms.keys().iter().map(|key| &key.spec).find(|spec| spec.id == *id)?;
                let scheme = spec.key_type.default_scheme();
                let cause = if !spec.allows_caller(&service.to_string()) {
                    format!("`callers` of the key don't list {service}")
                } else if !spec.allows_scheme(scheme) {
                    format!("`schemes` of the key don't list {scheme}, which {service} signs under")
                } else {
                    return None;
                };
                Some(Failure { key: Some(id.to_string()), file: None, field: Some(field), cause })
            })
            .collect();
        if failures.is_empty() { Ok(()) } else { Err(Refusal::of_settings(name, failures)) }
    }
}

/// The check that the services' keys are declared: no backend of this node can make a key that the
/// settings don't mention.
struct Needed<'a> {
    declared: &'a HashMap<String, String>,
    failures: Vec<Failure>,
}

impl Needed<'_> {
    fn check(
        mut self,
        identity: &IdentitySection,
        proposer: &ProposerSection,
        attesters: &AttestersSection,
    ) -> Vec<Failure> {
        self.key("identity.key".into(), &identity.key, KeyType::Ed25519);
        self.key("identity.peer".into(), &identity.peer, KeyType::Ed25519);
        if identity.key == identity.peer {
            self.add("identity.peer".into(), None, "is the same key as identity.key".into());
        }
        self.key("proposer.key".into(), &proposer.key, KeyType::Secp256k1);
        if proposer.slot.is_zero() {
            self.add("proposer.slot".into(), None, "is zero, expected a duration above".into());
        }
        if attesters.keys.is_empty() {
            self.add("attesters.keys".into(), None, "is empty, expected at least one key".into());
        }
        for (index, id) in attesters.keys.iter().enumerate() {
            let field = format!("attesters.keys[{index}]");
            if attesters.keys[..index].contains(id) {
                self.add(field.clone(), Some(id), "is listed twice".into());
            }
            self.key(field, id, KeyType::Bls12381);
        }
        self.failures
    }

    fn key(&mut self, field: String, id: &KeyId, expected: KeyType) {
        match self.declared.get(id.as_str()) {
            None => self.add(field, Some(id), "is not declared in kms.keys".into()),
            Some(found) if found != expected.as_str() => {
                let problem = format!("is declared with another type, expected {expected}");
                self.add(field, Some(id), problem);
            }
            Some(_) => {}
        }
    }

    fn add(&mut self, field: String, key: Option<&KeyId>, cause: String) {
        let key = key.map(|key| yaml::shown_id(key).to_owned());
        self.failures.push(Failure { key, file: None, field: Some(field), cause });
    }
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|_| serde::de::Error::custom("expected a duration with its unit, such as 200ms"))
}
