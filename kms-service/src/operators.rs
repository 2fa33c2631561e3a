//! The operators of a node: named pieces of code that may use a secret for something other than
//! signing.

use std::collections::BTreeMap;
use std::sync::Arc;

use kms_keys::{KeyType, Operator, X25519Operator};

/// The operators of a node, as a type: who puts the node together names it as the second parameter
/// of [`KmsService`](crate::KmsService). A request names an operator; it can't bring its own.
pub trait Operators: Send + Sync + 'static {
    /// Makes the operators, once per start of the service.
    fn operators() -> Vec<Arc<dyn Operator>>;
}

/// No operators: secrets sign and do nothing else.
#[derive(Debug)]
pub enum NoOperators {}

/// The operators that this crate ships: `x25519` (RFC 7748), Diffie–Hellman with the X25519 form of
/// an Ed25519 key.
#[derive(Debug)]
pub enum ShippedOperators {}

impl Operators for NoOperators {
    fn operators() -> Vec<Arc<dyn Operator>> {
        Vec::new()
    }
}

impl Operators for ShippedOperators {
    fn operators() -> Vec<Arc<dyn Operator>> {
        vec![Arc::new(X25519Operator)]
    }
}

/// The operators of a running service, by name.
#[derive(Default)]
pub(crate) struct OperatorTable(BTreeMap<&'static str, OperatorEntry>);

/// An operator, and the key type it is for – asked once, so that the service loop runs no foreign
/// code.
pub(crate) struct OperatorEntry {
    pub(crate) key_type: KeyType,
    pub(crate) operator: Arc<dyn Operator>,
}

impl OperatorTable {
    /// The table of `operators`, or the name that two of them share.
    pub(crate) fn new(operators: Vec<Arc<dyn Operator>>) -> Result<Self, &'static str> {
        let mut table = BTreeMap::new();
        for operator in operators {
            let name = operator.name();
            let entry = OperatorEntry { key_type: operator.key_type(), operator };
            if table.insert(name, entry).is_some() {
                return Err(name);
            }
        }
        Ok(Self(table))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&OperatorEntry> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_operators_are_found_by_name() {
        let table = OperatorTable::new(ShippedOperators::operators()).unwrap();
        assert_eq!(table.get("x25519").unwrap().key_type, KeyType::Ed25519);
        assert!(table.get("X25519").is_none());
    }

    #[test]
    fn two_operators_of_one_name_are_a_mistake() {
        let twice = [ShippedOperators::operators(), ShippedOperators::operators()].concat();
        assert_eq!(OperatorTable::new(twice).err(), Some("x25519"));
    }
}
