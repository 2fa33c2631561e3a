//! The node's settings: one section per service, as written and as checked.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kms_backends::InjectedBackend;
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
    /// Where the node shows how it is; nowhere if left out.
    pub observe: Option<ObserveSection>,
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

/// Section `observe`, which may be left out: an HTTP server with `/metrics` (in Prometheus' text form),
/// `/health` and `/ready`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserveSection {
    /// The address and port to listen on, such as `127.0.0.1:9464` or `"[::1]:9464"`. Loopback alone:
    /// whoever may see it from elsewhere is for a proxy to say. Port 0 is any that is free; the log
    /// says which (`RUST_LOG=info`).
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeSection {
    kms: KmsSection<NodeBackends>,
    identity: IdentitySection,
    proposer: ProposerSection,
    attesters: AttestersSection,
    observe: Option<ObserveSection>,
}

impl NodeSettings {
    /// Reads and checks a settings file. Nothing else is touched.
    ///
    /// # Errors
    /// [`Refusal`] with everything that is wrong.
    pub fn from_file(path: &Path) -> Result<Self, Refusal> {
        Self::from_file_with(path, None)
    }

    /// The same with `injected`, if there is one, in place of the file's backends.
    ///
    /// # Errors
    /// [`Refusal`] with everything that is wrong.
    pub fn from_file_with(
        path: &Path,
        injected: Option<&InjectedBackend>,
    ) -> Result<Self, Refusal> {
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
        Self::from_yaml_with(&text, &path.display().to_string(), &base_dir, injected)
    }

    /// Checks settings in YAML. `name` stands for them in errors; relative paths are taken from
    /// `base_dir`.
    ///
    /// # Errors
    /// [`Refusal`] with everything that is wrong.
    pub fn from_yaml(text: &str, name: &str, base_dir: &Path) -> Result<Self, Refusal> {
        Self::from_yaml_with(text, name, base_dir, None)
    }

    /// The same with `injected`, if there is one, in place of the settings' backends. It has the name of
    /// theirs if they have one, else `environment`.
    ///
    /// # Errors
    /// [`Refusal`] with everything that is wrong.
    pub fn from_yaml_with(
        text: &str,
        name: &str,
        base_dir: &Path,
        injected: Option<&InjectedBackend>,
    ) -> Result<Self, Refusal> {
        let refused = |cause: String| Refusal::new(ExitCode::Settings, format!("{name}: {cause}"));
        let section: Option<NodeSection> =
            yaml::parse(text).map_err(|error| refused(error.to_string()))?;
        let Some(mut section) = section else {
            return Err(refused("is empty: section `kms` is missing".into()));
        };
        if let Some(injected) = injected {
            section.inject(injected);
        }
        let mut failures = section.senseless();
        let declared = section.kms.declared_types();
        failures.extend(section.uses().iter().filter_map(|used| used.undeclared(&declared)));
        match section.kms.clone().check::<RuntimeServiceId>(base_dir) {
            Ok(kms) if failures.is_empty() => {
                failures.extend(section.uses().iter().filter_map(|used| used.forbidden(&kms)));
                if failures.is_empty() {
                    let NodeSection { identity, proposer, attesters, observe, .. } = section;
                    return Ok(Self { kms, identity, proposer, attesters, observe });
                }
            }
            Ok(_) => {}
            Err(error) => drop(failures.splice(0..0, Failure::of_section(error))),
        }
        Err(Refusal::of_settings(name, failures))
    }
}

/// A key that a service of the node uses: no backend can make one that the settings don't declare.
struct Use<'a> {
    field: String,
    id: &'a KeyId,
    key_type: KeyType,
    service: RuntimeServiceId,
}

impl NodeSection {
    fn inject(&mut self, injected: &InjectedBackend) {
        let backends = &mut self.kms.backends;
        let only = backends.keys().next().filter(|_| backends.len() == 1);
        let name = only.cloned().unwrap_or_else(|| "environment".to_owned());
        *backends = [(name, injected.backend.clone())].into();
    }

    fn uses(&self) -> Vec<Use<'_>> {
        use KeyType::{Bls12381, Ed25519, Secp256k1};
        use RuntimeServiceId::{Attesters, Identity, Proposer};

        let used = |field: &str, id, key_type, service| Use {
            field: field.to_owned(),
            id,
            key_type,
            service,
        };
        let mut uses = vec![
            used("identity.key", &self.identity.key, Ed25519, Identity),
            used("identity.peer", &self.identity.peer, Ed25519, Identity),
            used("proposer.key", &self.proposer.key, Secp256k1, Proposer),
        ];
        uses.extend(
            self.attesters.keys.iter().enumerate().map(|(index, id)| {
                used(&format!("attesters.keys[{index}]"), id, Bls12381, Attesters)
            }),
        );
        uses
    }

    /// What makes no sense, whatever keys there are.
    fn senseless(&self) -> Vec<Failure> {
        let Self { identity, proposer, attesters, observe, .. } = self;
        let mut failures = Vec::new();
        if identity.key == identity.peer {
            failures.push(failure("identity.peer", None, "is the same key as identity.key"));
        }
        if proposer.slot.is_zero() {
            failures.push(failure("proposer.slot", None, "is zero, expected a duration above"));
        }
        if attesters.keys.is_empty() {
            failures.push(failure("attesters.keys", None, "is empty, expected at least one key"));
        }
        for (index, id) in attesters.keys.iter().enumerate() {
            if attesters.keys[..index].contains(id) {
                let field = format!("attesters.keys[{index}]");
                failures.push(failure(&field, Some(id), "is listed twice"));
            }
        }
        if observe.as_ref().is_some_and(|observe| !observe.listen.ip().is_loopback()) {
            let cause = "is no loopback address, expected one such as 127.0.0.1:9464";
            failures.push(failure("observe.listen", None, cause));
        }
        failures
    }
}

impl Use<'_> {
    /// Why the key isn't there: no key of this id, or one of another type.
    fn undeclared(&self, declared: &HashMap<String, String>) -> Option<Failure> {
        let cause = match declared.get(self.id.as_str()) {
            None => "is not declared in kms.keys".to_owned(),
            Some(found) if found != self.key_type.as_str() => {
                format!("is declared with another type, expected {}", self.key_type)
            }
            Some(_) => return None,
        };
        Some(failure(&self.field, Some(self.id), &cause))
    }

    /// Why the service may not use the key the way it does.
    fn forbidden(&self, kms: &KmsSettings<NodeBackends>) -> Option<Failure> {
        let spec = kms.keys().iter().map(|key| &key.spec).find(|spec| spec.id == *self.id)?;
        let (service, scheme) = (self.service, self.key_type.default_scheme());
        let cause = if !spec.allows_caller(&service.to_string()) {
            format!("`callers` of the key don't list {service}")
        } else if !spec.allows_scheme(scheme) {
            format!("`schemes` of the key don't list {scheme}, which {service} signs under")
        } else {
            return None;
        };
        Some(failure(&self.field, Some(self.id), &cause))
    }
}

fn failure(field: &str, key: Option<&KeyId>, cause: &str) -> Failure {
    let key = key.map(|key| yaml::shown_id(key).to_owned());
    Failure { key, file: None, field: Some(field.to_owned()), cause: cause.to_owned() }
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom("expected an address with its port, such as 127.0.0.1:9464")
    })
}

fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|_| serde::de::Error::custom("expected a duration with its unit, such as 200ms"))
}
