//! Which subjects were surely never seen.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits that one key sets. At 13 bits a key, 10^7 keys in 16 MiB, one absent key in 330 is looked
/// up in the store after all; at 5 bits one in 14.
const PROBES: u64 = 5;

/// A Bloom filter of fixed size: it grows less sure, never larger.
///
/// It holds only keys that are never forgotten, so nothing is ever taken out of it.
pub(super) struct Filter {
    words: Box<[AtomicU64]>,
}

impl Filter {
    /// An empty filter of so many bytes or a little less.
    pub(super) fn new(bytes: usize) -> Self {
        let words = (bytes / 8).max(1);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(super) fn add(&self, key: &[u8]) {
        for (word, bit) in self.places(key) {
            if let Some(word) = self.words.get(word) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// Whether the key may have been added; `false` is certain.
    pub(super) fn may_hold(&self, key: &[u8]) -> bool {
        self.places(key).all(|(word, bit)| {
            let word = self.words.get(word);
            word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
        })
    }

    fn places(&self, key: &[u8]) -> impl Iterator<Item = (usize, u64)> {
        let mut hasher = DefaultHasher::new();
        hasher.write(key);
        let first = hasher.finish();
        hasher.write_u8(0);
        // Odd, so that the probes differ.
        let step = hasher.finish() | 1;
        let words = u64::try_from(self.words.len()).unwrap_or(u64::MAX);
        (0..PROBES).map(move |probe| {
            let at = first.wrapping_add(step.wrapping_mul(probe));
            let word = usize::try_from((at >> 6) % words).unwrap_or_default();
            (word, 1 << (at & 63))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn whatever_was_added_is_found_and_little_else() {
        let filter = Filter::new(16 * 1024);
        let key = |at: u32| at.to_be_bytes();
        for at in 0..10_000 {
            filter.add(&key(at));
        }
        assert!((0..10_000).all(|at| filter.may_hold(&key(at))));
        let others = (10_000..60_000).filter(|at| filter.may_hold(&key(*at)));
        assert!(others.count() < 500);
    }
}
