//! The service that says who this node is: it signs the node record, and agrees on a session key
//! with a second identity.

use kms_backend::PageRequest;
use kms_keys::{KeyId, KeyType, PublicKey};
use kms_secrets::SecretBytes;
use kms_service::{KeyFilter, KeyHandle, KeyRequest, KmsApi, KmsError};
use overwatch::overwatch::OverwatchHandle;
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::status::StatusUpdater;
use overwatch::services::status::handle::ServiceAPI;
use overwatch::services::{ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle};

use crate::event::{EventSender, KeyFailure};
use crate::node::{Kms, RuntimeServiceId};
use crate::record::{NodeRecord, SignedRecord};
use crate::verifier::{Verifier, VerifierMessage};

/// Settings of this service.
#[derive(Clone, Debug)]
pub struct IdentitySettings {
    /// The key that signs the node record.
    pub key: KeyId,
    /// The second identity, for the key agreement.
    pub peer: KeyId,
    /// Where to tell what can't go on.
    pub events: EventSender,
}

/// The service.
pub struct Identity {
    handle: OverwatchHandle<RuntimeServiceId>,
    status: StatusUpdater<ServiceAPI>,
    settings: IdentitySettings,
}

impl ServiceData for Identity {
    type Settings = IdentitySettings;
    type State = NoState<Self::Settings>;
    type StateOperator = NoOperator<Self::State>;
    type Message = ();
}

#[async_trait::async_trait]
impl ServiceCore<RuntimeServiceId> for Identity {
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        _initial_state: Self::State,
    ) -> Result<Self, DynError> {
        Ok(Self {
            handle: resources.overwatch_handle,
            status: resources.status_updater,
            settings: resources.settings_handle.notifier().get_updated_settings(),
        })
    }

    async fn run(mut self) -> Result<(), DynError> {
        if let Err(failure) = self.announce().await {
            return Err(self.settings.events.fail("identity", failure).into());
        }
        self.status.notify_ready();
        // All is said; the service stays until it is stopped.
        std::future::pending().await
    }
}

impl Identity {
    async fn announce(&self) -> Result<(), KeyFailure> {
        let IdentitySettings { key, peer, .. } = &self.settings;
        let kms = KmsApi::connect::<Kms, Identity>(&self.handle).await.map_err(KeyFailure::new)?;
        let ours = register(&kms, key).await?;
        let theirs = register(&kms, peer).await?;
        agree(&ours, &theirs).await?;

        let record = NodeRecord { identity: key.clone(), keys: all_keys(&kms).await? };
        let signature =
            ours.sign(record.to_bytes()).await.map_err(|error| KeyFailure::of(key, error))?;
        let verifier = self.handle.relay::<Verifier>().await.map_err(KeyFailure::new)?;
        let message = VerifierMessage::Record(Box::new(SignedRecord { record, signature }));
        verifier.send(message).await.map_err(|(error, _)| KeyFailure::new(error))
    }
}

async fn register(kms: &KmsApi, id: &KeyId) -> Result<KeyHandle, KeyFailure> {
    let request = KeyRequest::new(id.as_str(), KeyType::Ed25519);
    kms.register(request).await.map_err(|error| KeyFailure::of(id, error))
}

/// Agrees on a session key from both sides – in this example both are in one node – and checks that
/// they match.
async fn agree(ours: &KeyHandle, theirs: &KeyHandle) -> Result<(), KeyFailure> {
    let one = shared_secret(ours, theirs.public_key()).await?;
    let other = shared_secret(theirs, ours.public_key()).await?;
    if one.expose() == other.expose() {
        tracing::info!(ours = %ours.id(), theirs = %theirs.id(), "agreed on a session key");
        Ok(())
    } else {
        Err(KeyFailure::of(ours.id(), "the two sides of the key agreement don't match"))
    }
}

async fn shared_secret(key: &KeyHandle, peer: &PublicKey) -> Result<SecretBytes, KeyFailure> {
    let PublicKey::Ed25519(peer) = peer else {
        return Err(KeyFailure::of(key.id(), "the peer's key is not Ed25519"));
    };
    let agreed = key.execute("x25519", peer.to_x25519()).await;
    agreed.map_err(|error| KeyFailure::of(key.id(), error))
}

async fn all_keys(kms: &KmsApi) -> Result<Vec<(KeyId, PublicKey)>, KeyFailure> {
    let mut keys = Vec::new();
    let mut page = PageRequest::first(100);
    loop {
        let listed = kms.list(KeyFilter::default(), page.clone()).await;
        let listed = listed.map_err(|error: KmsError| KeyFailure::new(error))?;
        keys.extend(listed.keys.into_iter().map(|key| (key.id, key.public_key)));
        match listed.next {
            Some(next) => page.after = Some(next),
            None => return Ok(keys),
        }
    }
}
