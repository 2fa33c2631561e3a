//! Where needles lie in a piece of memory or text.

use super::Needle;

/// Needles by their first two bytes.
pub struct Search<'n>(Vec<Vec<&'n Needle>>);

impl<'n> Search<'n> {
    /// A search for `needles`.
    #[must_use]
    pub fn new(needles: &'n [Needle]) -> Self {
        let mut by_start: Vec<Vec<&Needle>> = Vec::new();
        by_start.resize_with(1 << 16, Vec::new);
        for needle in needles {
            by_start[start(&needle.bytes)].push(needle);
        }
        Self(by_start)
    }

    /// The names of the needles that lie in `bytes`, each with the place where it begins.
    #[must_use]
    pub fn of(&self, bytes: &[u8]) -> Vec<(usize, &'n str)> {
        let mut found = Vec::new();
        for at in 0..bytes.len().saturating_sub(1) {
            let rest = &bytes[at..];
            for needle in &self.0[start(rest)] {
                if rest.starts_with(&needle.bytes) {
                    found.push((at, needle.name.as_str()));
                }
            }
        }
        found
    }
}

fn start(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}
