//! The backends of a node's settings, asked for all that a node needs of them.

use std::path::Path;
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, ErrorChain, HealthLevel, KeyInfo,
    KeySpec, OpenContext, Operation, PageRequest, SourceUse,
};
use kms_backends::{AnyBackend, Step};
use kms_keys::{KeyId, PublicKey, SecretKey};

use super::Finding;
use super::settings::{self, Settings};
use crate::failure::{Failure, Outcome};

/// How long one step may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at every backend of the settings in `file`.
pub(super) fn check(file: &Path, no_create: bool) -> Outcome<Vec<Finding>> {
    let settings = settings::read(file)?;
    let base_dir = file.parent().unwrap_or(Path::new(""));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut findings = Vec::new();
    runtime.block_on(async {
        for (name, backend) in &settings.backends {
            let context = OpenContext::new(name, base_dir);
            let mut check = Check { name, settings: backend, findings: &mut findings };
            check.backend(&context, &settings, no_create).await;
        }
    });
    // A thread that still waits for a server must not keep the findings from being told.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if findings.is_empty() {
        return Err(Failure::unavailable("the settings have no backend"));
    }
    Ok(findings)
}

/// A backend, and what was found of it.
pub(super) struct Check<'a> {
    pub(super) name: &'a str,
    pub(super) settings: &'a AnyBackend,
    pub(super) findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    async fn backend(&mut self, context: &OpenContext, all: &Settings, no_create: bool) {
        let settings = self.settings;
        let opened = self.step("open", Step::Open, settings.open(context)).await;
        let Some(backend) = opened else { return };
        self.found("open", "it opens");
        self.health(&*backend).await;
        let page = PageRequest::first(1);
        if self.step("list", Step::List, backend.list(&page)).await.is_some() {
            self.found("list", "its keys can be listed");
        }
        let capabilities = settings.capabilities();
        self.keys(&*backend, &capabilities, all, &context.base_dir).await;
        // Operators run on secrets of this process alone; a throw-away key would stay in the node's store.
        let is_local = capabilities.operations.contains(&Operation::Execute);
        if capabilities.operations.contains(&Operation::Generate) && !is_local && !no_create {
            for key in &capabilities.keys {
                self.throw_away(&backend, &capabilities, key.key_type).await;
            }
        }
        backend.close().await;
    }

    async fn health(&mut self, backend: &dyn Backend) {
        let health = backend.health().await;
        let reasons = health.reasons.join("; ");
        let check = self.check("health");
        self.findings.push(match health.level {
            HealthLevel::Ok => Finding::ok(check, "ok"),
            HealthLevel::Degraded => {
                Finding::warning(check, format!("degraded: {reasons}"), "see to the reasons")
            }
            level => Finding::problem(check, format!("{level}: {reasons}"), "see to the reasons"),
        });
    }

    /// The keys of the settings that live there. None is made.
    async fn keys(
        &mut self,
        backend: &dyn Backend,
        can: &Capabilities,
        all: &Settings,
        base_dir: &Path,
    ) {
        for key in all.keys_of(self.name) {
            let (Ok(id), Ok(key_type)) = (KeyId::new(&key.id), key.key_type.parse()) else {
                let advice = "the node's own check says what is wrong with it";
                let what = "a key of the settings has no good id or type";
                self.findings.push(Finding::problem(self.check("keys"), what, advice));
                continue;
            };
            let pinned = key.public_key.as_ref().map(|hex| PublicKey::from_hex(key_type, hex));
            let pinned = match pinned.transpose() {
                Ok(pinned) => pinned,
                Err(error) => {
                    let what = format!("{id}: `public_key` is no {key_type} public key: {error}");
                    let problem = Finding::problem(self.check("keys"), what, "mend the settings");
                    self.findings.push(problem);
                    continue;
                }
            };
            let mut spec = KeySpec::new(id.clone(), key_type);
            spec.public_key.clone_from(&pinned);
            if can.source == SourceUse::Required {
                spec.source = key.source.clone().map(|source| source.relative_to(base_dir));
            }
            let Ok(found) = tokio::time::timeout(PATIENCE, backend.register(&spec)).await else {
                self.late("keys", Some(&id));
                continue;
            };
            match found {
                Ok(key) => self.key(&key.info, pinned.as_ref()),
                Err(BackendError::NotFound(_)) if can.operations.contains(&Operation::Generate) => {
                    let (check, what) = (self.check("keys"), format!("{id} is not there"));
                    self.findings.push(if key.is_made(&id, self.settings, can) {
                        Finding::warning(check, what, "the node makes it at its start")
                    } else if self.settings.has_named(&id) {
                        let advice =
                            "the node won't start: have there what the backend's `keys` say it is";
                        Finding::problem(check, what, advice)
                    } else {
                        let advice =
                            "the node won't start: have it there, or set `if_missing: generate`";
                        Finding::problem(check, what, advice)
                    });
                }
                Err(error) => self.failed("keys", Step::Look(&id), &error),
            }
        }
    }

    /// A key that is there, and the public key that the settings pin.
    fn key(&mut self, found: &KeyInfo, pinned: Option<&PublicKey>) {
        let KeyInfo { id, public_key, .. } = found;
        match pinned {
            Some(pinned) if is_secret_of(pinned, public_key) => {
                let what = format!("{id}: its `public_key` is the secret of {public_key}");
                let advice = "take it out: whoever has seen the settings can sign with the key";
                self.findings.push(Finding::problem(self.check("keys"), what, advice));
            }
            Some(pinned) if pinned != public_key => {
                let what = format!(
                    "{id}: the settings pin public key {pinned}, and backend {} has {public_key}",
                    self.name
                );
                let advice = "the node won't start: have the right key there, or mend `public_key`";
                self.findings.push(Finding::problem(self.check("keys"), what, advice));
            }
            _ => self.found("keys", format!("{id}: {} {public_key}", found.key_type)),
        }
    }

    /// What a step came to; what failed is noted.
    pub(super) async fn step<T>(
        &mut self,
        name: &str,
        step: Step<'_>,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Option<T> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => self.failed(name, step, &error),
            Err(_) => {
                // It may come to be later.
                let made = if let Step::Generate(id, _) = step { Some(id) } else { None };
                self.late(name, made);
            }
        }
        None
    }

    pub(super) fn check(&self, step: &str) -> String {
        format!("{}: {step}", self.name)
    }

    pub(super) fn found(&mut self, step: &str, what: impl Into<String>) {
        self.findings.push(Finding::ok(self.check(step), what));
    }

    pub(super) fn late(&mut self, step: &str, key: Option<&KeyId>) {
        let key = key.map_or_else(String::new, |id| format!("{id}: "));
        let what = format!("{key}no answer within {PATIENCE:?}");
        let advice = "is it there, and can it be reached from here?";
        self.findings.push(Finding::problem(self.check(step), what, advice));
    }

    pub(super) fn failed(&mut self, name: &str, step: Step<'_>, error: &BackendError) {
        let advice = match error {
            BackendError::Denied(_) => "see who may do that, and who the settings log in as".into(),
            BackendError::WrongSecret(_) => "mend the secret that the settings point at".into(),
            BackendError::Unavailable(_) | BackendError::Throttled { .. } => {
                "is it there, and can it be reached from here?".into()
            }
            BackendError::Misconfigured(_) => "mend the settings".into(),
            _ => "see what is stored there".to_owned(),
        };
        let missing = self.missing(step, error).map(|right| format!("grant {right}"));
        let advice = missing.unwrap_or(advice);
        let what = ErrorChain(error).to_string();
        self.findings.push(Finding::problem(self.check(name), what, advice));
    }

    /// What is to be granted, if that is what is missing.
    pub(super) fn missing(&self, step: Step<'_>, error: &BackendError) -> Option<String> {
        let rights = self.settings.missing_rights(step, error);
        (!rights.is_empty()).then(|| rights.join(" and "))
    }
}

/// Whether somebody has pinned the secret: one of Ed25519 may look like a public key.
fn is_secret_of(pinned: &PublicKey, public_key: &PublicKey) -> bool {
    let secret = SecretKey::from_bytes(pinned.key_type(), &pinned.to_bytes());
    secret.is_ok_and(|secret| secret.public_key() == *public_key)
}

#[cfg(test)]
mod tests {
    use kms_backend::{KeyPage, RegisteredKey, async_trait};

    use super::*;

    /// A backend that never says what key it has.
    struct Silent;

    #[async_trait]
    impl Backend for Silent {
        async fn register(&self, _: &KeySpec) -> Result<RegisteredKey, BackendError> {
            std::future::pending().await
        }

        async fn list(&self, _: &PageRequest) -> Result<KeyPage, BackendError> {
            std::future::pending().await
        }

        async fn health(&self) -> kms_backend::Health {
            kms_backend::Health::ok()
        }

        async fn close(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn no_key_is_waited_for_without_end() {
        let text = "kms: { backends: { far: { type: preload } }, \
                    keys: [{ id: a, type: ed25519 }, { id: b, type: ed25519 }] }";
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("node.yaml");
        std::fs::write(&file, text).unwrap();
        let all = settings::read(&file).unwrap();
        let (mut findings, settings) = (Vec::new(), &all.backends["far"]);
        let mut check = Check { name: "far", settings, findings: &mut findings };
        let (can, here) = (settings.capabilities(), Path::new(""));
        let looked = check.keys(&Silent, &can, &all, here);
        tokio::time::timeout(PATIENCE * 3, looked).await.unwrap();
        let found: Vec<_> = findings.iter().map(|finding| finding.found.as_str()).collect();
        assert_eq!(found, ["a: no answer within 30s", "b: no answer within 30s"]);
    }
}
