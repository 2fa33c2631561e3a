//! The node: which services it has, and what its key management service is made of.

use kms_service::{KmsService, ShippedOperators};
use overwatch::derive_services;

use crate::attesters::Attesters;
use crate::identity::Identity;
use crate::observe::Observe;
use crate::proposer::Proposer;
use crate::verifier::Verifier;

/// The places where this node's keys may live.
pub type NodeBackends = kms_backends::AnyBackend;

/// The operators that may use this node's secrets.
pub type NodeOperators = ShippedOperators;

/// This node's key management service.
pub type Kms = KmsService<NodeBackends, NodeOperators, RuntimeServiceId>;

/// The services of the node; `RuntimeServiceId` and `NodeServiceSettings` are made from it.
#[derive_services]
pub struct Node {
    kms: Kms,
    identity: Identity,
    proposer: Proposer,
    attesters: Attesters,
    verifier: Verifier,
    observe: Observe,
}
