//! The service that attests to every block, with several BLS keys and one aggregate signature.

use std::time::Duration;

use kms_keys::{KeyId, KeyType, PublicKey, Signature, SigningScheme};
use kms_service::{AggregateSignature, KeyRequest, KmsApi};
use overwatch::overwatch::OverwatchHandle;
use overwatch::services::relay::InboundRelay;
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::status::StatusUpdater;
use overwatch::services::status::handle::ServiceAPI;
use overwatch::services::{ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle};

use crate::block::{AttestedBlock, Block};
use crate::event::{EventSender, KeyFailure};
use crate::node::{Kms, RuntimeServiceId};
use crate::verifier::{Verifier, VerifierMessage};

/// How long to wait before an attestation is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Settings of this service.
#[derive(Clone, Debug)]
pub struct AttestersSettings {
    /// The keys that attest.
    pub keys: Vec<KeyId>,
    /// Where to tell what can't go on.
    pub events: EventSender,
}

/// The service. Its messages are the blocks to attest to.
pub struct Attesters {
    inbound: InboundRelay<Block>,
    handle: OverwatchHandle<RuntimeServiceId>,
    status: StatusUpdater<ServiceAPI>,
    settings: AttestersSettings,
}

impl ServiceData for Attesters {
    type Settings = AttestersSettings;
    type State = NoState<Self::Settings>;
    type StateOperator = NoOperator<Self::State>;
    type Message = Block;
}

#[async_trait::async_trait]
impl ServiceCore<RuntimeServiceId> for Attesters {
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        _initial_state: Self::State,
    ) -> Result<Self, DynError> {
        Ok(Self {
            inbound: resources.inbound_relay,
            handle: resources.overwatch_handle,
            status: resources.status_updater,
            settings: resources.settings_handle.notifier().get_updated_settings(),
        })
    }

    async fn run(mut self) -> Result<(), DynError> {
        match self.attest().await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.settings.events.fail("attesters", failure).into()),
        }
    }
}

impl Attesters {
    async fn attest(&mut self) -> Result<(), KeyFailure> {
        let kms = KmsApi::connect::<Kms, Attesters>(&self.handle).await.map_err(KeyFailure::new)?;
        let verifier = self.handle.relay::<Verifier>().await.map_err(KeyFailure::new)?;
        let mut proofs = Vec::with_capacity(self.settings.keys.len());
        for id in &self.settings.keys {
            proofs.push(prove_possession(&kms, id).await?);
        }
        let message = VerifierMessage::Attesters(proofs);
        verifier.send(message).await.map_err(|(error, _)| KeyFailure::new(error))?;
        self.status.notify_ready();

        while let Some(block) = self.inbound.recv().await {
            let attestation = self.attestation(&kms, &block).await?;
            let attested = AttestedBlock { block, attestation };
            verifier
                .send(VerifierMessage::Block(Box::new(attested)))
                .await
                .map_err(|(error, _)| KeyFailure::new(error))?;
        }
        Ok(())
    }

    /// Tries until it succeeds, whatever passes by itself: the next block builds on this one, so
    /// none may be left out.
    async fn attestation(
        &self,
        kms: &KmsApi,
        block: &Block,
    ) -> Result<AggregateSignature, KeyFailure> {
        let hash = block.header.hash();
        loop {
            match kms.sign_aggregate(&self.settings.keys, hash.0).await {
                Err(error) if error.is_retryable() => {
                    tracing::warn!(slot = block.header.slot, %error, "no attestation yet");
                    tokio::time::sleep(TRY_AGAIN_AFTER).await;
                }
                outcome => return outcome.map_err(KeyFailure::new),
            }
        }
    }
}

/// The key's public key, and the proof that its secret is known: without it, an aggregate could be
/// forged with a public key computed from the others'.
async fn prove_possession(kms: &KmsApi, id: &KeyId) -> Result<(PublicKey, Signature), KeyFailure> {
    let request = KeyRequest::new(id.as_str(), KeyType::Bls12381);
    let key = kms.register(request).await.map_err(|error| KeyFailure::of(id, error))?;
    let proof = key.sign([]).scheme(SigningScheme::BlsPopProve).await;
    let proof = proof.map_err(|error| KeyFailure::of(id, error))?;
    Ok((key.public_key().clone(), proof))
}
