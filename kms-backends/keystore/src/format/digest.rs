//! The digest over all records: so that none can be taken out, or put back as it was before.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How many records there are, and the sum (modulo 2^256) of a keyed hash of each. It can be kept up
/// to date record by record; and since the hashes are known to nobody without the store key, nobody
/// else can find other records with the same sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    count: u64,
    sum: [u8; 32],
}

impl Digest {
    /// Bytes of a digest as it is stored: the count and the sum, both big-endian.
    pub(crate) const LEN: usize = 40;

    /// Counts in the record called `name` in the table called `table`.
    pub(crate) fn add(&mut self, key: &[u8; 64], table: &str, name: &[u8], record: &[u8]) {
        self.join(&Self { count: 1, sum: hash(key, table, name, record) });
    }

    /// Counts in all that `other` has.
    pub(crate) fn join(&mut self, other: &Self) {
        self.count = self.count.wrapping_add(other.count);
        let mut carry = 0;
        for (digit, more) in self.sum.iter_mut().zip(other.sum).rev() {
            let [high, low] = (u16::from(*digit) + u16::from(more) + carry).to_be_bytes();
            *digit = low;
            carry = u16::from(high);
        }
    }

    /// Counts out the record called `name` in the table called `table`.
    pub(crate) fn remove(&mut self, key: &[u8; 64], table: &str, name: &[u8], record: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        let mut borrow = 0;
        for (digit, hash) in self.sum.iter_mut().zip(hash(key, table, name, record)).rev() {
            let (less, under) = digit.overflowing_sub(hash);
            let (less, under_again) = less.overflowing_sub(borrow);
            *digit = less;
            borrow = u8::from(under || under_again);
        }
    }

    pub(crate) fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.count.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sum);
        bytes
    }

    /// What [`Digest::to_bytes`] gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (count, sum) = bytes.split_at_checked(8)?;
        Some(Self { count: u64::from_be_bytes(count.try_into().ok()?), sum: sum.try_into().ok()? })
    }
}

fn hash(key: &[u8; 64], table: &str, name: &[u8], record: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new(key.into());
    // Where a part ends is told by its length: parts must not be mistaken for other parts that are
    // the same bytes together.
    for part in [table.as_bytes(), name] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.update(record);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 64] = [7; 64];

    fn of<'a>(records: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Digest {
        let mut digest = Digest::default();
        for (name, record) in records {
            digest.add(&KEY, "records", name, record);
        }
        digest
    }

    #[test]
    fn names_and_records_are_told_apart() {
        let (a, ab, abc): (&[u8], &[u8], &[u8]) = (b"a", b"ab", b"abc");
        assert_ne!(of([(a, &abc[1..])]), of([(ab, &abc[2..])]));
        assert_ne!(of([(a, ab)]), of([(ab, a)]));
        assert_ne!(of([(a, a)]), of([(a, a), (a, a)]));
        let mut elsewhere = Digest::default();
        elsewhere.add(&KEY, "masters", a, ab);
        assert_ne!(elsewhere, of([(a, ab)]));
    }

    proptest! {
        #[test]
        fn what_is_removed_was_never_there(
            records in vec((vec(any::<u8>(), 0..8), vec(any::<u8>(), 0..8)), 1..20),
            order in any::<u64>(),
        ) {
            let all = of(records.iter().map(|(n, r)| (&n[..], &r[..])));
            let mut shuffled = records.clone();
            let len = shuffled.len();
            shuffled.rotate_left((order % len as u64) as usize);
            prop_assert_eq!(&all, &of(shuffled.iter().map(|(n, r)| (&n[..], &r[..]))));
            let (front, back) = records.split_at(len / 2);
            let mut joined = of(front.iter().map(|(n, r)| (&n[..], &r[..])));
            joined.join(&of(back.iter().map(|(n, r)| (&n[..], &r[..]))));
            prop_assert_eq!(&all, &joined);
            prop_assert_eq!(Digest::from_bytes(&all.to_bytes()), Some(all.clone()));

            let mut digest = all;
            for (name, record) in &shuffled {
                digest.remove(&KEY, "records", name, record);
            }
            prop_assert_eq!(digest, Digest::default());
        }
    }
}
