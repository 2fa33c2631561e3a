//! The service that checks everything with public keys alone. It never talks to the key management
//! service.

use kms_keys::{Bls12381PublicKey, PublicKey, Signature, SigningScheme};
use overwatch::services::relay::InboundRelay;
use overwatch::services::state::{NoOperator, NoState};
use overwatch::services::status::StatusUpdater;
use overwatch::services::status::handle::ServiceAPI;
use overwatch::services::{ServiceCore, ServiceData};
use overwatch::{DynError, OpaqueServiceResourcesHandle};

use crate::block::{AttestedBlock, Hash};
use crate::event::{Event, EventSender, SlotReport};
use crate::node::RuntimeServiceId;
use crate::record::{NodeRecord, SignedRecord};

/// Settings of this service.
#[derive(Clone, Debug)]
pub struct VerifierSettings {
    /// Where to tell what became of each slot.
    pub events: EventSender,
}

/// What there is to verify.
#[derive(Clone, Debug)]
pub enum VerifierMessage {
    /// Who this node is.
    Record(Box<SignedRecord>),
    /// The attesters' public keys, each with its proof of possession.
    Attesters(Vec<(PublicKey, Signature)>),
    /// A block.
    Block(Box<AttestedBlock>),
}

/// The service.
pub struct Verifier {
    inbound: InboundRelay<VerifierMessage>,
    status: StatusUpdater<ServiceAPI>,
    settings: VerifierSettings,
    chain: Chain,
}

impl ServiceData for Verifier {
    type Settings = VerifierSettings;
    type State = NoState<Self::Settings>;
    type StateOperator = NoOperator<Self::State>;
    type Message = VerifierMessage;
}

#[async_trait::async_trait]
impl ServiceCore<RuntimeServiceId> for Verifier {
    fn init(
        resources: OpaqueServiceResourcesHandle<Self, RuntimeServiceId>,
        _initial_state: Self::State,
    ) -> Result<Self, DynError> {
        Ok(Self {
            inbound: resources.inbound_relay,
            status: resources.status_updater,
            settings: resources.settings_handle.notifier().get_updated_settings(),
            chain: Chain::default(),
        })
    }

    async fn run(mut self) -> Result<(), DynError> {
        self.status.notify_ready();
        while let Some(message) = self.inbound.recv().await {
            match message {
                VerifierMessage::Record(signed) => self.chain.take_record(*signed),
                VerifierMessage::Attesters(proofs) => self.chain.take_attesters(proofs),
                VerifierMessage::Block(block) => {
                    let verified = self.chain.take_block(&block);
                    self.settings.events.send(Event::Slot(report(&block, verified)));
                }
            }
        }
        Ok(())
    }
}

fn report(attested: &AttestedBlock, verified: bool) -> SlotReport {
    let AttestedBlock { block, attestation } = attested;
    SlotReport {
        slot: block.header.slot,
        hash: block.header.hash(),
        proposer: block.proposer.clone(),
        attesters: attestation.public_keys.len(),
        verified,
        micros: block.began.elapsed().as_micros(),
    }
}

/// What has been verified so far: who signs, and where the chain of blocks ends.
#[derive(Default)]
struct Chain {
    record: Option<NodeRecord>,
    attesters: Vec<PublicKey>,
    head: Hash,
}

impl Chain {
    fn take_record(&mut self, signed: SignedRecord) {
        if signed.is_signed_by_identity() {
            self.record = Some(signed.record);
        } else {
            tracing::error!("the node record's signature does not verify");
        }
    }

    fn take_attesters(&mut self, proofs: Vec<(PublicKey, Signature)>) {
        let proven = |(key, proof): &(PublicKey, Signature)| {
            key.verify(SigningScheme::BlsPopProve, &[], proof).is_ok()
        };
        if proofs.iter().all(proven) {
            self.attesters = proofs.into_iter().map(|(key, _)| key).collect();
        } else {
            tracing::error!("an attester's proof of possession does not verify");
        }
    }

    fn take_block(&mut self, attested: &AttestedBlock) -> bool {
        let parent = attested.block.header.parent;
        let verified =
            parent == self.head && self.is_signed(attested) && self.is_attested(attested);
        self.head = attested.block.header.hash();
        verified
    }

    fn is_signed(&self, AttestedBlock { block, .. }: &AttestedBlock) -> bool {
        let proposer = self.record.as_ref().and_then(|record| record.key(&block.proposer));
        proposer.is_some_and(|key| {
            let message = block.header.to_bytes();
            key.verify(SigningScheme::EcdsaSha256, &message, &block.signature).is_ok()
        })
    }

    /// The keys of the attestation must be the ones that have proven their possession: verifying an
    /// aggregate over one message is safe with such keys alone.
    fn is_attested(&self, AttestedBlock { block, attestation }: &AttestedBlock) -> bool {
        let Signature::Bls12381(aggregate) = &attestation.signature else {
            return false;
        };
        let keys: Vec<Bls12381PublicKey> = self.attesters.iter().filter_map(bls).collect();
        attestation.public_keys == self.attesters
            && aggregate.fast_aggregate_verify(&keys, &block.header.hash().0).is_ok()
    }
}

fn bls(key: &PublicKey) -> Option<Bls12381PublicKey> {
    match key {
        PublicKey::Bls12381(key) => Some(*key),
        _ => None,
    }
}
