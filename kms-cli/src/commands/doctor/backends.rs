//! The backends of a node's settings, asked for all that a node needs of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, ErrorChain, HealthLevel, IfMissing,
    KeySpec, OpenContext, Operation, PageRequest, RegisteredKey, Signer,
};
use kms_backends::AnyBackend;
use kms_keys::{KeyId, KeyType};

use super::Finding;
use super::settings::{self, Settings};
use crate::failure::{Failure, Outcome};

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long before a throw-away key is destroyed where that can only be scheduled.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Looks at every backend of the settings in `file`.
pub(super) fn check(file: &Path, no_create: bool) -> Outcome<Vec<Finding>> {
    let settings = settings::read(file)?;
    let base_dir = file.parent().unwrap_or(Path::new(""));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut findings = Vec::new();
    runtime.block_on(async {
        for (name, backend) in &settings.backends {
            let context = OpenContext::new(name, base_dir);
            let mut check = Check { name, findings: &mut findings };
            check.backend(backend, &context, &settings, no_create).await;
        }
    });
    // A thread that still waits for a server must not keep the findings from being told.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if findings.is_empty() {
        return Err(Failure::unavailable("the settings have no backend"));
    }
    Ok(findings)
}

struct Check<'a> {
    name: &'a str,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    async fn backend(
        &mut self,
        settings: &AnyBackend,
        context: &OpenContext,
        all: &Settings,
        no_create: bool,
    ) {
        let Some(backend) = self.step("open", settings.open(context)).await else { return };
        self.found("open", "it opens");
        self.health(&*backend).await;
        if self.step("list", backend.list(&PageRequest::first(1))).await.is_some() {
            self.found("list", "its keys can be listed");
        }
        self.keys(&*backend, all).await;
        let capabilities = settings.capabilities();
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
    async fn keys(&mut self, backend: &dyn Backend, all: &Settings) {
        for key in all.keys_of(self.name) {
            let (Ok(id), Ok(key_type)) = (KeyId::new(&key.id), key.key_type.parse()) else {
                let advice = "the node's own check says what is wrong with it";
                let what = "a key of the settings has no good id or type";
                self.findings.push(Finding::problem(self.check("keys"), what, advice));
                continue;
            };
            let registered = backend.register(&KeySpec::new(id.clone(), key_type)).await;
            match registered {
                Ok(key) => {
                    self.found("keys", format!("{id}: {key_type} {}", key.info.public_key));
                }
                Err(BackendError::NotFound(_)) => {
                    let advice = "the node makes it at its start, if its `if_missing` says so";
                    let what = format!("{id} is not there");
                    self.findings.push(Finding::warning(self.check("keys"), what, advice));
                }
                // A key whose secret the settings point at is the node's to load.
                Err(BackendError::Misconfigured(_)) => {}
                Err(error) => self.failed("keys", &error),
            }
        }
    }

    /// Makes a key that is used once and removed.
    async fn throw_away(
        &mut self,
        backend: &Arc<dyn Backend>,
        can: &Capabilities,
        key_type: KeyType,
    ) {
        let Ok(id) = throw_away_id(key_type) else { return };
        let mut spec = KeySpec::new(id.clone(), key_type);
        spec.if_missing = IfMissing::Generate;
        let Some(key) = self.step("create", backend.register(&spec)).await else { return };
        self.found("create", format!("a {key_type} key was made, called {id}"));
        if self.step("sign", signs(&key)).await.is_some() {
            self.found("sign", format!("it signs, and {} verifies", key.info.public_key));
        }
        let removed = async {
            if can.operations.contains(&Operation::Destroy) {
                if can.operations.contains(&Operation::Disable) {
                    backend.disable(&id).await?;
                }
                backend.destroy(&id).await.map(|()| "and is destroyed")
            } else if can.operations.contains(&Operation::ScheduleDelete) {
                backend.schedule_delete(&id, WINDOW).await.map(|_| "and is deleted in 7 days")
            } else {
                Err(BackendError::Unsupported(Operation::Destroy))
            }
        };
        match tokio::time::timeout(PATIENCE, removed).await {
            Ok(Ok(how)) => self.found("remove", format!("{id} was thrown away {how}")),
            Ok(Err(error)) => {
                let what = format!("{id} is still there: {}", ErrorChain(&error));
                let advice = "remove it by hand; --no-create makes none";
                self.findings.push(Finding::warning(self.check("remove"), what, advice));
            }
            Err(_) => self.late("remove"),
        }
    }

    /// What a step came to; what failed is noted.
    async fn step<T>(
        &mut self,
        step: &str,
        work: impl Future<Output = Result<T, BackendError>>,
    ) -> Option<T> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error)) => self.failed(step, &error),
            Err(_) => self.late(step),
        }
        None
    }

    fn check(&self, step: &str) -> String {
        format!("{}: {step}", self.name)
    }

    fn found(&mut self, step: &str, what: impl Into<String>) {
        self.findings.push(Finding::ok(self.check(step), what));
    }

    fn late(&mut self, step: &str) {
        let what = format!("no answer within {PATIENCE:?}");
        let advice = "is it there, and can it be reached from here?";
        self.findings.push(Finding::problem(self.check(step), what, advice));
    }

    fn failed(&mut self, step: &str, error: &BackendError) {
        let advice = match error {
            BackendError::Denied(_) => format!("grant the right to {step}"),
            BackendError::WrongSecret(_) => "mend the secret that the settings point at".into(),
            BackendError::Unavailable(_) | BackendError::Throttled { .. } => {
                "is it there, and can it be reached from here?".into()
            }
            BackendError::Misconfigured(_) => "mend the settings".into(),
            _ => "see what is stored there".to_owned(),
        };
        let what = ErrorChain(error).to_string();
        self.findings.push(Finding::problem(self.check(step), what, advice));
    }
}

async fn signs(key: &RegisteredKey) -> Result<(), BackendError> {
    let (scheme, message) = (key.info.key_type.default_scheme(), b"a throw-away signature");
    let signature = match &key.signer {
        Signer::Remote(signer) => signer.sign(scheme, message).await?,
        Signer::Local(signer) => signer.sign(scheme, message)?,
    };
    key.info.public_key.verify(scheme, message, &signature).map_err(|cause| {
        BackendError::Corrupt(kms_backend::Failure::because("the signature is wrong", cause))
    })
}

fn throw_away_id(key_type: KeyType) -> Result<KeyId, ()> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|_| ())?;
    let random = base16ct::lower::encode_string(&random);
    KeyId::new(format!("kms-doctor/{key_type}-{random}")).map_err(|_| ())
}
