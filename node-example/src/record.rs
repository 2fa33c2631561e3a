//! The node record: who this node is, signed by its identity.

use kms_keys::{KeyId, KeyType, PublicKey, Signature, SigningScheme};

/// The public keys of a node, by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// The id of the key that signs the record.
    pub identity: KeyId,
    /// All keys of the node, the identity's among them.
    pub keys: Vec<(KeyId, PublicKey)>,
}

/// A node record and its identity's signature.
#[derive(Clone, Debug)]
pub struct SignedRecord {
    /// The record.
    pub record: NodeRecord,
    /// The identity's Ed25519 signature over [`NodeRecord::to_bytes`].
    pub signature: Signature,
}

impl NodeRecord {
    /// What is signed: a text with a line for the identity and for each key.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("node record of {}\n", self.identity);
        for (id, key) in &self.keys {
            text.push_str(&format!("{id} {} {key}\n", key.key_type()));
        }
        text.into_bytes()
    }

    /// The public key called `id`.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<&PublicKey> {
        self.keys.iter().find(|(known, _)| known == id).map(|(_, key)| key)
    }

    /// All public keys of a type.
    pub fn keys_of(&self, key_type: KeyType) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(|(_, key)| key).filter(move |key| key.key_type() == key_type)
    }
}

impl SignedRecord {
    /// Whether the identity's key, as the record itself names it, signed the record.
    #[must_use]
    pub fn is_signed_by_identity(&self) -> bool {
        self.record.key(&self.record.identity).is_some_and(|key| {
            key.verify(SigningScheme::Ed25519, &self.record.to_bytes(), &self.signature).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use kms_keys::SecretKey;

    use super::*;

    fn signed(signer: &SecretKey, identity: &str) -> SignedRecord {
        let id = |text| KeyId::new(text).unwrap();
        let record = NodeRecord {
            identity: id(identity),
            keys: vec![(id("node/identity"), signer.public_key())],
        };
        let signature = signer.sign(SigningScheme::Ed25519, &record.to_bytes()).unwrap();
        SignedRecord { record, signature }
    }

    #[test]
    fn the_identity_signs_the_whole_record() {
        let key = SecretKey::generate(KeyType::Ed25519).unwrap();
        let good = signed(&key, "node/identity");
        assert!(good.is_signed_by_identity());

        let mut other_key = good.clone();
        let other = SecretKey::generate(KeyType::Ed25519).unwrap();
        other_key.record.keys.push((KeyId::new("added").unwrap(), other.public_key()));
        assert!(!other_key.is_signed_by_identity());
    }

    #[test]
    fn a_record_without_its_identity_is_signed_by_nobody() {
        let key = SecretKey::generate(KeyType::Ed25519).unwrap();
        assert!(!signed(&key, "node/somebody").is_signed_by_identity());
    }
}
