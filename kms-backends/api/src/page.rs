//! Lists of keys, a page at a time.

use std::ops::Bound;

use kms_keys::KeyId;

use crate::KeyInfo;

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Keys up to and with this id have been seen already; `None` for the first page.
    pub after: Option<KeyId>,
    /// The most keys to give, at least 1.
    pub limit: usize,
}

/// A part of a list of keys, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyInfo>,
    /// What to ask for next ([`PageRequest::after`]); `None` if this was the last page.
    pub next: Option<KeyId>,
}

impl PageRequest {
    /// The first `limit` keys.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }

    /// Where in a sorted map this page begins.
    #[must_use]
    pub fn start(&self) -> Bound<&KeyId> {
        self.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded)
    }
}

impl KeyPage {
    /// The page that `request` asks for, from `keys` in the order of their ids beginning at
    /// [`PageRequest::start`]. Looks at no more keys than it gives and one.
    pub fn collect<'a>(request: &PageRequest, keys: impl IntoIterator<Item = &'a KeyInfo>) -> Self {
        let limit = request.limit.max(1);
        let mut rest = keys.into_iter();
        let keys: Vec<_> = rest.by_ref().take(limit).cloned().collect();
        let next = rest.next().and(keys.last()).map(|key| key.id.clone());
        Self { keys, next }
    }
}
