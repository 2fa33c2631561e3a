//! Which keys a list shows.

use kms_backend::KeyInfo;
use kms_keys::KeyType;

/// Which keys a list shows. The default shows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyFilter {
    /// Only keys whose id begins with this text.
    pub prefix: String,
    /// Only keys of this type.
    pub key_type: Option<KeyType>,
}

impl KeyFilter {
    /// Only keys whose id begins with `prefix`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Only keys of this type.
    #[must_use]
    pub fn key_type(mut self, key_type: KeyType) -> Self {
        self.key_type = Some(key_type);
        self
    }

    pub(crate) fn matches(&self, key: &KeyInfo) -> bool {
        key.id.as_str().starts_with(&self.prefix)
            && self.key_type.is_none_or(|key_type| key_type == key.key_type)
    }
}
