//! A throw-away key: made, used, listed, changed and removed, to see whether a node may.

use std::sync::Arc;
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, Capabilities, ErrorChain, IfMissing, KeySpec, Operation, PageRequest,
    RegisteredKey, Signer,
};
use kms_backends::Step;
use kms_keys::{KeyId, KeyType};

use super::Finding;
use super::backends::{Check, PATIENCE};

/// How long before a throw-away key is destroyed where that can only be scheduled.
const WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Check<'_> {
    /// Makes a key that is used once and removed.
    pub(super) async fn throw_away(
        &mut self,
        backend: &Arc<dyn Backend>,
        can: &Capabilities,
        key_type: KeyType,
    ) {
        let Ok(id) = throw_away_id(key_type) else { return };
        let removes = [Operation::Destroy, Operation::ScheduleDelete];
        if !removes.iter().any(|operation| can.operations.contains(operation)) {
            let advice = "let the backend delete keys, where its settings can, or try it with a key of yours";
            let what = format!("no {key_type} key was made to try: it could not be removed again");
            return self.findings.push(Finding::warning(self.check("create"), what, advice));
        }
        let mut spec = KeySpec::new(id.clone(), key_type);
        // Looked for before, so that it is known which right is missing.
        let looked = async {
            match backend.register(&spec).await {
                Ok(_) | Err(BackendError::NotFound(_)) => Ok(()),
                Err(error) => Err(error),
            }
        };
        if self.step("create", Step::Look(&id), looked).await.is_none() {
            return;
        }
        spec.if_missing = IfMissing::Generate;
        let making = backend.register(&spec);
        let made = self.step("create", Step::Generate(&id, key_type), making).await;
        if let Some(key) = &made {
            self.found("create", format!("a {key_type} key was made, called {id}"));
            if self.step("sign", Step::Sign(&id, key_type), signs(key)).await.is_some() {
                self.found("sign", format!("it signs, and {} verifies", key.info.public_key));
            }
            self.listed(&**backend, &id).await;
            self.changed(&**backend, can, &id, key_type).await;
        }
        self.remove(&**backend, can, &id, made.is_some()).await;
    }

    /// Whether the throw-away key is among those that are listed.
    async fn listed(&mut self, backend: &dyn Backend, id: &KeyId) {
        // What is shorter by a digit comes right before it.
        let all_but_last = id.as_str().split_at_checked(id.as_str().len().saturating_sub(1));
        let after = all_but_last.and_then(|(before, _)| KeyId::new(before).ok());
        let page = PageRequest { after, ..PageRequest::first(1) };
        let Some(page) = self.step("list", Step::List, backend.list(&page)).await else { return };
        if page.keys.iter().any(|key| key.id == *id) {
            return self.found("list", format!("{id} is listed"));
        }
        let advice = "see what else is there, and whether what is made is seen a moment later";
        let what = format!("{id} is not listed");
        self.findings.push(Finding::warning(self.check("list"), what, advice));
    }

    /// Does to the throw-away key what only some nodes do to theirs: what fails there is a warning.
    async fn changed(
        &mut self,
        backend: &dyn Backend,
        can: &Capabilities,
        id: &KeyId,
        key_type: KeyType,
    ) {
        let can = |operation| can.operations.contains(&operation);
        if can(Operation::Rotate) {
            let rotated = async { signs(&backend.rotate(id).await?).await };
            let step = Step::Rotate(id, key_type);
            self.optional("rotate", step, rotated, "it was rotated, and signs").await;
        }
        if can(Operation::Disable) {
            let disabled = async { backend.disable(id).await.map(drop) };
            let done = self.optional("disable", Step::Disable(id), disabled, "it was disabled");
            if done.await && can(Operation::Enable) {
                let enabled = async { backend.enable(id).await.map(drop) };
                self.optional("enable", Step::Enable(id), enabled, "it was enabled again").await;
            }
        }
    }

    /// Whether it was done. What this very server doesn't have isn't missed.
    async fn optional(
        &mut self,
        name: &str,
        step: Step<'_>,
        work: impl Future<Output = Result<(), BackendError>>,
        done: &str,
    ) -> bool {
        let needed = format!("the node needs that to {name} keys alone");
        let (what, advice) = match tokio::time::timeout(PATIENCE, work).await {
            Ok(Ok(())) => {
                self.found(name, done);
                return true;
            }
            Ok(Err(BackendError::Unsupported(_))) => return false,
            Ok(Err(error)) => {
                let missing = self.missing(step, &error).map(|right| format!("grant {right}: "));
                (ErrorChain(&error).to_string(), missing.unwrap_or_default() + &needed)
            }
            Err(_) => (format!("no answer within {PATIENCE:?}"), needed),
        };
        self.findings.push(Finding::warning(self.check(name), what, advice));
        false
    }

    /// Removes the throw-away key. Who makes one and fails, or is late, may have made it all the same.
    async fn remove(&mut self, backend: &dyn Backend, can: &Capabilities, id: &KeyId, made: bool) {
        let removed = async {
            if can.operations.contains(&Operation::Destroy) {
                if can.operations.contains(&Operation::Disable) {
                    backend.disable(id).await.map_err(|error| (Step::Disable(id), error))?;
                }
                let destroyed = backend.destroy(id).await;
                destroyed.map_err(|error| (Step::Destroy(id), error))?;
                Ok("and is destroyed")
            } else {
                let scheduled = backend.schedule_delete(id, WINDOW).await;
                scheduled.map_err(|error| (Step::ScheduleDelete(id), error))?;
                Ok("and is deleted in 7 days")
            }
        };
        match tokio::time::timeout(PATIENCE, removed).await {
            Ok(Ok(how)) => self.found("remove", format!("{id} was thrown away {how}")),
            Ok(Err((_, BackendError::NotFound(_)))) if !made => {}
            Ok(Err((step, error))) => {
                let is_there = if made { "is still there" } else { "may have been made" };
                let what = format!("{id} {is_there}: {}", ErrorChain(&error));
                let by_hand = "remove it by hand; --no-create makes none";
                let advice = match self.missing(step, &error) {
                    Some(right) => format!("grant {right}, or {by_hand}"),
                    None => by_hand.into(),
                };
                self.findings.push(Finding::warning(self.check("remove"), what, advice));
            }
            Err(_) => self.late("remove", Some(id)),
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use kms_backend::{KeyPage, SourceUse, async_trait};

    use super::*;

    /// What comes of making a key, which is there afterwards.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Making {
        Fails,
        FailsAndMakesNone,
        IsLate,
    }

    /// A backend that makes keys and doesn't say so.
    struct Sly {
        making: Making,
        removes: bool,
        keys: Mutex<Vec<KeyId>>,
    }

    fn away() -> BackendError {
        BackendError::Unavailable(kms_backend::Failure::new("away"))
    }

    #[async_trait]
    impl Backend for Sly {
        async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
            if spec.if_missing == IfMissing::Fail {
                return Err(BackendError::NotFound(kms_backend::Failure::new("no such key")));
            }
            if self.making != Making::FailsAndMakesNone {
                self.keys.lock().unwrap().push(spec.id.clone());
            }
            if self.making == Making::IsLate {
                std::future::pending::<()>().await;
            }
            Err(away())
        }

        async fn destroy(&self, id: &KeyId) -> Result<(), BackendError> {
            if !self.removes {
                return Err(away());
            }
            let mut keys = self.keys.lock().unwrap();
            let before = keys.len();
            keys.retain(|key| key != id);
            if keys.len() < before {
                return Ok(());
            }
            Err(BackendError::NotFound(kms_backend::Failure::new("no such key")))
        }

        async fn list(&self, _: &PageRequest) -> Result<KeyPage, BackendError> {
            Err(away())
        }

        async fn health(&self) -> kms_backend::Health {
            kms_backend::Health::ok()
        }

        async fn close(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_throw_away_key_that_was_made_in_spite_of_an_error_is_removed() {
        let settings = serde_json::from_str(r#"{"type": "preload"}"#).unwrap();
        let operations = [Operation::Generate, Operation::Destroy];
        let can = Capabilities::new([], SourceUse::Refused, operations);
        for (making, removes, expected) in [
            (Making::Fails, true, &["away", "was thrown away"][..]),
            (Making::Fails, false, &["away", "may have been made: away"]),
            (Making::FailsAndMakesNone, true, &["away"]),
            (Making::IsLate, true, &["no answer within", "was thrown away"]),
            (Making::IsLate, false, &["no answer within", "may have been made: away"]),
        ] {
            let sly = Arc::new(Sly { making, removes, keys: Mutex::default() });
            let backend: Arc<dyn Backend> = Arc::clone(&sly) as _;
            let mut findings = Vec::new();
            let mut check = Check { name: "far", settings: &settings, findings: &mut findings };
            check.throw_away(&backend, &can, KeyType::Ed25519).await;
            let found: Vec<_> = findings.iter().map(|finding| finding.found.as_str()).collect();
            assert_eq!(found.len(), expected.len(), "{making:?}: {found:?}");
            for (found, part) in found.iter().zip(expected) {
                assert!(found.contains(part), "{making:?}: {found}");
                let is_of_it = found.contains("kms-doctor/ed25519-");
                assert!(is_of_it || *found == "away", "{making:?}: {found}");
            }
            assert!(!removes || sly.keys.lock().unwrap().is_empty(), "{making:?}");
        }
    }
}
