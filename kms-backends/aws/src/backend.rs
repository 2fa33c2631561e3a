//! AWS' key management service as a backend of a node's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kms_backend::{
    Backend, BackendError, ErrorChain, Failure, Health, HealthLevel, IfMissing, KeyInfo, KeyPage,
    KeySpec, OlderVersion, OpenContext, Operation, PageRequest, RegisteredKey, Signer, async_trait,
};
use kms_backend_remote::{Call, Expected, HealthWatch, Remote};
use kms_keys::KeyId;

use crate::AwsSettings;
use crate::change::Change;
use crate::client::Client;
use crate::error::Refusal;
use crate::keys::{Found, PublicKeys, Versions};
use crate::leftover::make;
use crate::names;
use crate::orphan::{Wanted, is_recent};
use crate::signer::AwsSigner;

pub(crate) struct Aws {
    shared: Arc<Shared>,
    health: HealthWatch,
}

/// What signers need of the backend.
pub(crate) struct Shared {
    pub(crate) remote: Arc<Remote>,
    pub(crate) client: Client,
    pub(crate) settings: AwsSettings,
    pub(crate) public_keys: PublicKeys,
    pub(crate) wanted: Wanted,
}

impl Aws {
    pub(crate) async fn open(
        settings: &AwsSettings,
        context: &OpenContext,
    ) -> Result<Self, BackendError> {
        let shared = {
            let (settings, context) = (settings.clone(), context.clone());
            let opening = tokio::task::spawn_blocking(move || Shared::new(settings, &context));
            opening.await.map_err(|cause| {
                BackendError::Unavailable(Failure::because("opening was cut off", cause))
            })??
        };
        let shared = Arc::new(shared);
        // Credentials that are none, or not AWS', end the start.
        shared.retried("open", None, || async { shared.ping().await }).await?;
        let (interval, patience) =
            (shared.settings.remote.health_interval, shared.settings.remote.timeout);
        let probed = Arc::clone(&shared);
        let health = HealthWatch::start(interval, patience, move || {
            let shared = Arc::clone(&probed);
            async move { shared.health().await }
        });
        Ok(Self { shared, health: health.await })
    }

    async fn look(&self, id: &KeyId) -> Result<Versions, BackendError> {
        self.shared.look(id, None).await?.ok_or_else(|| self.absent(id))
    }

    async fn changed(&self, id: &KeyId, change: Change) -> Result<KeyInfo, BackendError> {
        let mut versions = self.look(id).await?;
        self.shared.change(id, change, &mut versions).await?;
        Ok(self.registered(id, &versions)?.info)
    }

    fn registered(&self, id: &KeyId, versions: &Versions) -> Result<RegisteredKey, BackendError> {
        let signer = |found: &Found| {
            let expected = Expected {
                id: id.clone(),
                backend: self.shared.remote.backend().to_owned(),
                public_key: found.public_key.clone(),
                verify: self.shared.remote.settings().verify,
            };
            let (shared, expected) = (Arc::clone(&self.shared), Arc::new(expected));
            Signer::Remote(Arc::new(AwsSigner { shared, expected, name: found.name.clone() }))
        };
        let mut newest_first = versions.iter().rev();
        let (version, newest) = newest_first.next().ok_or_else(|| self.absent(id))?;
        let backend = self.shared.remote.backend();
        let mut info = KeyInfo::new(id.clone(), newest.public_key.clone(), backend);
        info.version = *version;
        info.state = newest.described.state;
        info.created = newest.described.created;
        let older = newest_first
            .map(|(version, found)| OlderVersion { version: *version, signer: signer(found) });
        Ok(RegisteredKey::new(info, signer(newest)).with_older(older.collect()))
    }

    fn absent(&self, id: &KeyId) -> BackendError {
        let named = self.shared.settings.keys.get(id).cloned();
        BackendError::NotFound(Failure::new(
            match named.map_or_else(|| self.shared.alias(id, None), Ok) {
                Ok(name) => format!("there is no key {name} in AWS, which key {id} would be"),
                Err(error) => error.to_string(),
            },
        ))
    }
}

impl Shared {
    fn new(mut settings: AwsSettings, context: &OpenContext) -> Result<Self, BackendError> {
        if let Some(logging) = settings.audit_logging {
            settings.remote.audit_logging = logging;
        }
        let remote = Remote::open(&context.name, &settings.remote, &context.base_dir)?;
        let remote = Arc::new(remote);
        let client = Client::new(&settings, context, &remote)?;
        let (public_keys, wanted) = (PublicKeys::default(), Wanted::default());
        Ok(Self { remote, client, settings, public_keys, wanted })
    }

    pub(crate) async fn retried<T, F>(
        &self,
        operation: &'static str,
        key: Option<&KeyId>,
        work: impl FnMut() -> F,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let call = Call { operation, key: key.map(KeyId::as_str), algorithm: None };
        self.remote.retried(&call, work).await
    }

    /// Asks once, inside of something else that is under way, with records of its own.
    pub(crate) async fn once<T, F>(
        &self,
        operation: &'static str,
        key: &KeyId,
        mut work: impl FnMut() -> F,
    ) -> Result<T, BackendError>
    where
        F: Future<Output = Result<T, BackendError>>,
    {
        let call = Call { operation, key: Some(key.as_str()), algorithm: None };
        // The SDK's requests are large, and what is under way has one in it already.
        self.remote.once(&call, || Box::pin(work())).await
    }

    /// Whether AWS answers and knows who asks. Whether that one may list aliases doesn't matter.
    async fn ping(&self) -> Result<(), BackendError> {
        let asked = |aws: &aws_sdk_kms::Client| aws.list_aliases().limit(1).send();
        match self.client.ask("AWS doesn't answer as it should", asked).await {
            Ok(_) | Err(Refusal { error: BackendError::Denied(_), by_credentials: false }) => {
                Ok(())
            }
            Err(refused) => Err(refused.error),
        }
    }

    async fn health(&self) -> Health {
        match self.remote.once(&Call::HEALTH, || self.ping()).await {
            Ok(()) => Health::ok(),
            Err(error) => {
                let level =
                    if error.is_retryable() { HealthLevel::Failed } else { HealthLevel::Fatal };
                Health::new(level, ErrorChain(&error).to_string())
            }
        }
    }
}

#[async_trait]
impl Backend for Aws {
    async fn register(&self, spec: &KeySpec) -> Result<RegisteredKey, BackendError> {
        if spec.derivation.is_some() {
            return Err(BackendError::Unsupported(Operation::Derive));
        }
        let id = &spec.id;
        let versions = match self.shared.look(id, spec.public_key.as_ref()).await? {
            Some(versions) => versions,
            None if spec.if_missing != IfMissing::Generate
                || self.shared.settings.keys.contains_key(id) =>
            {
                return Err(self.absent(id));
            }
            None => {
                let alias = self.shared.alias(id, None)?;
                make(&self.shared, id, spec.key_type, 1, alias).await?;
                self.shared.remote.until_usable(|| self.shared.look(id, None)).await?
            }
        };
        let other = versions.values().map(|found| found.described.key_type);
        if let Some(other) = other.into_iter().find(|found| *found != spec.key_type) {
            return Err(BackendError::WrongSecret(Failure::new(format!(
                "key {id} is there as a {other} key, and not of type {}",
                spec.key_type
            ))));
        }
        let created = versions.last_key_value().and_then(|(_, newest)| newest.described.created);
        if spec.if_missing == IfMissing::Generate
            && !self.shared.settings.keys.contains_key(id)
            && is_recent(created)
        {
            self.shared.look_for_orphans(id);
        }
        self.registered(id, &versions)
    }

    async fn list(&self, page: &PageRequest) -> Result<KeyPage, BackendError> {
        let aliases = self.shared.aliases(None).await?;
        let prefix = &self.shared.settings.alias_prefix;
        let named = aliases.iter().filter_map(|alias| names::read(prefix, alias));
        let current = named.filter(|named| named.version.is_none()).map(|named| named.id);
        let ids: BTreeSet<_> = current.chain(self.shared.settings.keys.keys().cloned()).collect();
        let mut infos = Vec::new();
        for id in ids.range::<KeyId, _>((page.start(), std::ops::Bound::Unbounded)) {
            if infos.len() > page.limit.max(1) {
                break;
            }
            match self.look(id).await.and_then(|versions| self.registered(id, &versions)) {
                Ok(key) => infos.push(key.info),
                // Deleted meanwhile, or no key of ours.
                Err(
                    BackendError::NotFound(_)
                    | BackendError::Denied(_)
                    | BackendError::Misconfigured(_)
                    | BackendError::Corrupt(_),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(KeyPage::collect(page, &infos))
    }

    async fn health(&self) -> Health {
        self.health.last()
    }

    async fn rotate(&self, id: &KeyId) -> Result<RegisteredKey, BackendError> {
        let shared = &self.shared;
        let versions = self.look(id).await?;
        let (version, newest) = versions.last_key_value().ok_or_else(|| self.absent(id))?;
        if let Some(name) = shared.settings.keys.get(id) {
            return Err(BackendError::Denied(Failure::new(format!(
                "the settings say that key {id} is {name}: it is rotated where that name is given"
            ))));
        }
        if *version == 1 {
            let alias = shared.alias(id, Some(1))?;
            let named = shared.retried("create_alias", Some(id), || async {
                match shared.name(id, &alias, &newest.described.aws_id).await {
                    // By a rotation before that was cut off, or by a try before.
                    Err(BackendError::AlreadyExists(_)) => Ok(()),
                    other => other,
                }
            });
            named.await?;
        }
        let next = version + 1;
        let alias = shared.alias(id, Some(next))?;
        let found = make(shared, id, newest.described.key_type, next, alias).await?;
        shared.make_current(id, &found.described.aws_id).await?;
        let look = || async {
            let versions = shared.look(id, None).await?;
            Ok(versions.filter(|them| them.last_key_value().is_some_and(|(it, _)| *it >= next)))
        };
        let versions = shared.remote.until_usable(look).await?;
        shared.look_for_orphans(id);
        self.registered(id, &versions)
    }

    async fn disable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        self.changed(id, Change::Disable).await
    }

    async fn enable(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        self.changed(id, Change::Enable).await
    }

    async fn schedule_delete(&self, id: &KeyId, wait: Duration) -> Result<KeyInfo, BackendError> {
        self.changed(id, Change::deletion(wait)?).await
    }

    async fn cancel_delete(&self, id: &KeyId) -> Result<KeyInfo, BackendError> {
        self.changed(id, Change::CancelDelete).await
    }

    async fn close(&self) {
        self.health.close().await;
        self.shared.remote.close().await;
    }
}
