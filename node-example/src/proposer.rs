//! The service that proposes a block in every slot and signs its header.

use std::time::{Duration, Instant};

use kms_keys::{KeyId, KeyType};
use kms_service::{KeyHandle, KeyRequest, KmsApi};
use overwatch::overwatch::OverwatchHandle;
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::status::StatusUpdater;
use overwatch::services::status::handle::ServiceAPI;
use overwatch::services::{ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle};
use tokio::time::MissedTickBehavior;

use crate::attesters::Attesters;
use crate::block::{Block, Hash, Header};
use crate::event::{EventSender, KeyFailure};
use crate::node::{Kms, RuntimeServiceId};

/// Settings of this service.
#[derive(Clone, Debug)]
pub struct ProposerSettings {
    /// The key that signs block headers.
    pub key: KeyId,
    /// How long a slot is.
    pub slot: Duration,
    /// Where to tell what can't go on.
    pub events: EventSender,
}

/// The service.
pub struct Proposer {
    handle: OverwatchHandle<RuntimeServiceId>,
    status: StatusUpdater<ServiceAPI>,
    settings: ProposerSettings,
}

impl ServiceData for Proposer {
    type Settings = ProposerSettings;
    type State = NoState<Self::Settings>;
    type StateOperator = NoOperator<Self::State>;
    type Message = ();
}

#[async_trait::async_trait]
impl ServiceCore<RuntimeServiceId> for Proposer {
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
        match self.propose().await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.settings.events.fail("proposer", failure).into()),
        }
    }
}

impl Proposer {
    async fn propose(&self) -> Result<(), KeyFailure> {
        let id = &self.settings.key;
        let kms = KmsApi::connect::<Kms, Proposer>(&self.handle).await.map_err(KeyFailure::new)?;
        let request = KeyRequest::new(id.as_str(), KeyType::Secp256k1);
        let key = kms.register(request).await.map_err(|error| KeyFailure::of(id, error))?;
        let attesters = self.handle.relay::<Attesters>().await.map_err(KeyFailure::new)?;
        self.status.notify_ready();

        let mut parent = Hash::default();
        let mut slot = 0;
        let mut clock = tokio::time::interval(self.settings.slot);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            let header = Header { slot: slot + 1, parent };
            let Some(block) = sign(&key, header).await? else {
                continue;
            };
            (slot, parent) = (block.header.slot, block.header.hash());
            attesters.send(block).await.map_err(|(error, _)| KeyFailure::new(error))?;
        }
    }
}

/// The signed block; `None` if the key can't be used just now, and the next slot may try again.
async fn sign(key: &KeyHandle, header: Header) -> Result<Option<Block>, KeyFailure> {
    let began = Instant::now();
    match key.sign(header.to_bytes()).await {
        Ok(signature) => Ok(Some(Block { header, proposer: key.id().clone(), signature, began })),
        Err(error) if error.is_retryable() => {
            tracing::warn!(slot = header.slot, %error, "no block in this slot");
            Ok(None)
        }
        Err(error) => Err(KeyFailure::of(key.id(), error)),
    }
}
