//! The check that makes settings of what is written. What is wrong is reported all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use kms_backend::{
    BackendSettings, Callers, Capabilities, Derivation, IfMissing, KeySpec, Operation, SourceUse,
};
use kms_keys::{DerivationPath, KeyId, KeyType, PublicKey, SigningScheme};
use kms_secrets::{SecretSource, looks_like_secret};

use crate::{
    DeclaredKey, DerivationSection, KeySection, KmsSection, KmsSettings, SettingsError,
    SettingsProblem,
};

impl<B: BackendSettings> KmsSection<B> {
    /// Checks the section. Touches nothing. Relative paths are taken from `base_dir`; `callers` are
    /// the services of a node whose ids are `Id`s.
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong.
    pub fn check<Id>(self, base_dir: &Path) -> Result<KmsSettings<B>, SettingsError>
    where
        Id: FromStr<Err: Display>,
    {
        let mut problems = Problems::default();
        if self.backends.is_empty() {
            problems.add("kms.backends", "is empty, expected at least one backend");
        }
        for (field, problem) in self.limits.problems() {
            problems.add(format!("kms.limits.{field}"), problem);
        }
        let backends = self.backends.iter().map(|(name, settings)| {
            let (capabilities, if_missing) = (settings.capabilities(), settings.if_missing());
            (name.as_str(), DeclaredBackend { capabilities, if_missing })
        });
        let backends: BTreeMap<&str, DeclaredBackend> = backends.collect();

        let mut keys = Vec::new();
        let mut first_use = BTreeMap::new();
        for (index, section) in self.keys.unwrap_or_default().into_iter().enumerate() {
            let mut key =
                KeyCheck { path: format!("kms.keys[{index}]"), id: None, problems: &mut problems };
            let checked = key.check::<Id>(section, &backends, base_dir);
            if let Some(id) = &key.id {
                let first = *first_use.entry(id.clone()).or_insert(index);
                if first != index {
                    key.add("id", format!("kms.keys[{first}] has the same id"));
                }
            }
            keys.extend(checked);
        }
        if problems.0.is_empty() {
            let (backends, limits, base_dir) = (self.backends, self.limits, base_dir.into());
            Ok(KmsSettings { backends, keys, limits, base_dir })
        } else {
            Err(SettingsError { problems: problems.0 })
        }
    }
}

#[derive(Default)]
struct Problems(Vec<SettingsProblem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(SettingsProblem { field: field.into(), key: None, problem: problem.into() });
    }
}

/// What a backend's settings say of it.
struct DeclaredBackend {
    capabilities: Capabilities,
    if_missing: IfMissing,
}

impl DeclaredBackend {
    fn can(&self, operation: Operation) -> bool {
        self.capabilities.operations.contains(&operation)
    }
}

/// The check of one key: all its fields, not only up to the first that is wrong.
struct KeyCheck<'a> {
    path: String,
    id: Option<KeyId>,
    problems: &'a mut Problems,
}

impl KeyCheck<'_> {
    fn add(&mut self, field: &str, problem: impl Into<String>) {
        let field = format!("{}.{field}", self.path);
        self.problems.0.push(SettingsProblem {
            field,
            key: self.id.clone(),
            problem: problem.into(),
        });
    }

    /// `result`'s value, or a problem with `field`.
    fn take<T>(&mut self, field: &str, result: Result<T, impl Display>) -> Option<T> {
        result.map_err(|problem| self.add(field, problem.to_string())).ok()
    }

    fn check<Id: FromStr<Err: Display>>(
        &mut self,
        section: KeySection,
        backends: &BTreeMap<&str, DeclaredBackend>,
        base_dir: &Path,
    ) -> Option<DeclaredKey> {
        self.id = self.take("id", KeyId::new(&section.id));
        let key_type = self.take("type", section.key_type.parse::<KeyType>());
        let backend = self.backend(section.backend, backends);
        let callers = self.callers::<Id>(section.callers);
        let source = section.source.map(|source| source.relative_to(base_dir));
        if let Some((name, can)) = &backend {
            self.source(name, &can.capabilities, source.as_ref());
            if section.if_missing == Some(IfMissing::Generate) && !can.can(Operation::Generate) {
                self.add("if_missing", format!("backend {name} can't generate keys"));
            }
            if section.derive.is_some() && !can.can(Operation::Derive) {
                self.add("derive", format!("backend {name} can't derive keys"));
            }
        }
        let derivation = match section.derive {
            Some(derive) => self.derivation(&derive, key_type).map(Some),
            None => Some(None),
        };
        let public_key = match (section.public_key, key_type) {
            (Some(hex), Some(key_type)) => {
                let parsed = PublicKey::from_hex(key_type, &hex);
                let parsed =
                    parsed.map_err(|error| format!("no {key_type} public key in hex: {error}"));
                self.take("public_key", parsed).map(Some)
            }
            _ => Some(None),
        };
        let schemes = self.schemes(section.schemes, key_type?, backend.as_ref())?;

        let mut spec = KeySpec::new(self.id.clone()?, key_type?);
        let by_default = backend.as_ref().map_or(IfMissing::Fail, |(_, can)| can.if_missing);
        spec.if_missing = section.if_missing.unwrap_or(by_default);
        spec.derivation = derivation?;
        spec.source = source;
        spec.public_key = public_key?;
        spec.schemes = schemes;
        spec.callers = callers?;
        Some(DeclaredKey { spec, backend: backend?.0 })
    }

    fn backend<'b>(
        &mut self,
        name: Option<String>,
        backends: &'b BTreeMap<&str, DeclaredBackend>,
    ) -> Option<(String, &'b DeclaredBackend)> {
        let names = || backends.keys().copied().collect::<Vec<_>>().join(", ");
        let mut all = backends.iter();
        match (name, all.next(), all.next()) {
            (Some(name), ..) => match backends.get(name.as_str()) {
                Some(backend) => Some((name, backend)),
                None => {
                    let problem = format!("unknown backend; kms.backends has {}", names());
                    self.add("backend", problem);
                    None
                }
            },
            (None, Some((name, backend)), None) => Some(((*name).to_owned(), backend)),
            (None, None, _) => None,
            (None, ..) => {
                self.add("backend", format!("is missing, expected one of {}", names()));
                None
            }
        }
    }

    fn derivation(
        &mut self,
        section: &DerivationSection,
        key_type: Option<KeyType>,
    ) -> Option<Derivation> {
        let master = self.take("derive.master", KeyId::new(&section.master));
        let path = self.take("derive.path", section.path.parse::<DerivationPath>());
        if let (Some(path), Some(key_type)) = (&path, key_type) {
            self.take("derive.path", path.check(key_type));
        }
        Some(Derivation { master: master?, path: path? })
    }

    fn source(&mut self, backend: &str, can: &Capabilities, source: Option<&SecretSource>) {
        match (can.source, source) {
            (SourceUse::Required, None) => self.add(
                "source",
                format!("is missing: backend {backend} reads {{ file: PATH }} or {{ env: NAME }}"),
            ),
            (SourceUse::Refused, Some(_)) => {
                self.add("source", format!("backend {backend} has its own secrets and takes none"));
            }
            _ => {}
        }
    }

    fn schemes(
        &mut self,
        schemes: Option<Vec<String>>,
        key_type: KeyType,
        backend: Option<&(String, &DeclaredBackend)>,
    ) -> Option<BTreeSet<SigningScheme>> {
        let mut found = BTreeSet::new();
        match schemes {
            None => drop(found.insert(key_type.default_scheme())),
            Some(names) if names.is_empty() => {
                self.add("schemes", "is empty: the key could sign nothing");
            }
            Some(names) => {
                for name in names {
                    if let Some(scheme) = self.take("schemes", name.parse::<SigningScheme>()) {
                        found.insert(scheme);
                    }
                }
            }
        }
        if let Some((name, can)) = backend
            && can.capabilities.schemes(key_type).is_empty()
        {
            self.add("type", format!("backend {name} holds no {key_type} keys"));
            return None;
        }
        for scheme in &found {
            let possible =
                backend.map_or(key_type.schemes(), |(_, can)| can.capabilities.schemes(key_type));
            if scheme.key_type() != key_type {
                self.add("schemes", format!("{scheme} is impossible for {key_type} keys"));
            } else if !possible.contains(scheme) {
                let name = backend.map_or("", |(name, _)| name);
                self.add("schemes", format!("backend {name} can't sign under {scheme}"));
            }
        }
        (!found.is_empty()).then_some(found)
    }

    fn callers<Id: FromStr<Err: Display>>(
        &mut self,
        callers: Option<Vec<String>>,
    ) -> Option<Callers> {
        let Some(names) = callers else {
            return Some(Callers::Every);
        };
        if names.is_empty() {
            self.add("callers", "is empty: no service could use the key");
            return None;
        }
        for name in &names {
            if looks_like_secret(name) {
                self.add("callers", "no service of this node is called so (not shown)");
            } else {
                self.take("callers", name.parse::<Id>());
            }
        }
        Some(Callers::Only(names.into_iter().collect()))
    }
}
