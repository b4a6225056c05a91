//! Records that were lately asked for, bounded in bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::store::{Known, OVERHEAD_BYTES, Octets};

/// What the store holds for some keys, and which of those it does not hold.
///
/// Second chance: the oldest entry goes first, unless it was asked for since it came or was last
/// spared. Every step costs the same, so no answer waits for a sweep.
pub(super) struct Cache {
    entries: BTreeMap<Octets, Entry>,
    /// Every entry once, the oldest first.
    queue: VecDeque<Octets>,
    bytes: usize,
    bytes_max: usize,
}

struct Entry {
    record: Option<Octets>,
    asked: bool,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            queue: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// What is known of a key.
    pub(super) fn get(&mut self, key: &[u8]) -> Known {
        let Some(entry) = self.entries.get_mut(key) else {
            return Known::Unknown;
        };
        entry.asked = true;
        Known::from(&entry.record)
    }

    /// Takes in what the store holds now.
    pub(super) fn put(&mut self, key: &Octets, record: Option<Octets>) {
        let entry = Entry {
            record,
            asked: false,
        };
        self.bytes += cost(key, &entry);
        if let Some(before) = self.entries.insert(Arc::clone(key), entry) {
            self.bytes -= cost(key, &before);
        } else {
            self.queue.push_back(Arc::clone(key));
        }
        self.evict();
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max
            && let Some(key) = self.queue.pop_front()
        {
            match self.entries.get_mut(&key) {
                Some(entry) if entry.asked => {
                    entry.asked = false;
                    self.queue.push_back(key);
                }
                _ => {
                    if let Some(entry) = self.entries.remove(&key) {
                        self.bytes -= cost(&key, &entry);
                    }
                }
            }
        }
    }
}

fn cost(key: &[u8], entry: &Entry) -> usize {
    key.len() + entry.record.as_ref().map_or(0, |record| record.len()) + OVERHEAD_BYTES
}
