//! What has changed and is not in the store yet.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::store::{Change, Changed, Known, OVERHEAD_BYTES, Octets};

/// Changes since the last cut, and those of earlier cuts that the store is still taking in.
///
/// Every key whose record in the store may differ from the live one is here, and stays until the
/// store surely holds what is here. So whoever asks here first never sees a store half written.
#[derive(Default)]
pub(super) struct Unkept {
    /// The newest change of every key, and in which cut it is.
    newest: BTreeMap<Octets, Newest>,
    /// Those since the last cut.
    pending: Changed,
    pending_bytes: usize,
    /// Bytes of each cut that is on its way, the oldest first.
    on_its_way: VecDeque<usize>,
    /// Number of the cut that `pending` will be.
    next_cut: u64,
}

struct Newest {
    cut: u64,
    record: Option<Octets>,
}

impl Unkept {
    pub(super) fn put(&mut self, key: Octets, record: Option<Octets>) {
        self.pending_bytes += cost(&key, record.as_deref());
        let before = self.pending.insert(Arc::clone(&key), record.clone());
        if let Some(before) = before {
            self.pending_bytes -= cost(&key, before.as_deref());
        }
        let cut = self.next_cut;
        self.newest.insert(key, Newest { cut, record });
    }

    /// What becomes of a key; unknown where the store has the last word.
    pub(super) fn get(&self, key: &[u8]) -> Known {
        let newest = self.newest.get(key);
        newest.map_or(Known::Unknown, |newest| Known::from(&newest.record))
    }

    /// The changed keys of a range, ascending.
    pub(super) fn range<'a>(
        &'a self,
        from: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Octets, Option<&'a Octets>)> {
        let range = self.newest.range::<[u8], _>((from, Bound::Unbounded));
        range.map(|(key, newest)| (key, newest.record.as_ref()))
    }

    /// Bytes in memory for all this.
    pub(super) fn bytes(&self) -> usize {
        self.pending_bytes + self.on_its_way.iter().sum::<usize>()
    }

    /// Bytes of what the next cut will hold.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Splits off what has changed since the last cut; the keys stay until they are let go.
    pub(super) fn cut(&mut self) -> (u64, Changed) {
        let number = self.next_cut;
        self.next_cut += 1;
        let bytes = std::mem::take(&mut self.pending_bytes);
        self.on_its_way.push_back(bytes);
        (number, std::mem::take(&mut self.pending))
    }

    /// Forgets keys of a cut that the store holds, but for those that changed again since.
    pub(super) fn let_go(&mut self, cut: u64, changes: &[Change]) {
        for (key, _) in changes {
            if self.newest.get(key).is_some_and(|newest| newest.cut <= cut) {
                self.newest.remove(key);
            }
        }
    }

    /// The oldest cut on its way is in the store.
    pub(super) fn arrived(&mut self) {
        self.on_its_way.pop_front();
    }
}

/// A key stands in two maps; its bytes are shared.
fn cost(key: &[u8], record: Option<&[u8]>) -> usize {
    key.len() + record.map_or(0, <[u8]>::len) + 2 * OVERHEAD_BYTES
}
