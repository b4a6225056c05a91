//! Which of two files that contradict each other is the damaged one.
//!
//! Every byte of the ledger is bound by a second place: lines and offsets by each other, an entry
//! by its leaf, a node by its children and its parent. One damaged place breaks two of these
//! bonds, and where they cross it stands. With more than one damaged place the name may be off by
//! one; that something is damaged is certain all the same.

use candor_ledger::tree::{NodeHash, leaf_hash, node_hash};

use super::entries::ENTRY_BYTES_MAX;
use super::{Shared, StoreError, names, read_locked};
use crate::env::Disk;

impl<D: Disk> Shared<D> {
    /// What a node should be: of the leaves the hash of the entry, of others that of the children.
    pub(super) fn recomputed(&self, level: u8, index: u64) -> Result<NodeHash, StoreError> {
        match level.checked_sub(1) {
            None => {
                let entry = self.unchecked_run(index, index + 1, 0)?;
                Ok(leaf_hash(&entry.concat()))
            }
            Some(below) => {
                let left = self.tree.stored_one(below, index * 2)?;
                let right = self.tree.stored_one(below, index * 2 + 1)?;
                Ok(node_hash(&left, &right))
            }
        }
    }

    /// A node does not agree with what it stands over: the lowest that does not is damaged.
    pub(super) fn blame_node(&self, level: u8, index: u64) -> StoreError {
        self.find_node(level, index).unwrap_or_else(|error| error)
    }

    fn find_node(&self, level: u8, index: u64) -> Result<StoreError, StoreError> {
        let (stored, own) = (
            self.tree.stored_one(level, index)?,
            self.recomputed(level, index)?,
        );
        let Some(below) = level.checked_sub(1) else {
            return Ok(self.blame_entry(index, &own, &stored));
        };
        for child in [index * 2, index * 2 + 1] {
            let (stored, own) = (
                self.tree.stored_one(below, child)?,
                self.recomputed(below, child)?,
            );
            if stored != own && below == 0 {
                // The parent holds neither: the leaf is bad, unless entry and parent both are.
                return Ok(self.tree.damaged(below, child, text(&own), text(&stored)));
            }
            if stored != own {
                return self.find_node(below, child);
            }
        }
        Ok(self.tree.damaged(level, index, text(&own), text(&stored)))
    }

    /// An entry does not hash to its leaf: where a parent holds the leaf, the entry is damaged.
    pub(super) fn blame_entry(&self, seq: u64, own: &NodeHash, stored: &NodeHash) -> StoreError {
        match self.parent_holds(seq) {
            Err(error) => error,
            Ok(Some(false)) => self.tree.damaged(0, seq, text(own), text(stored)),
            // The last entry has no parent yet; its chain head then stands in the marker.
            Ok(Some(true) | None) => {
                let file = names::lines(self.entries.first_of(seq));
                let expected = format!("an entry with leaf hash {}", text(stored));
                StoreError::damaged(file, seq, expected, text(own))
            }
        }
    }

    /// Whether the parent of a leaf agrees with it and its sibling; `None` before it is complete.
    fn parent_holds(&self, seq: u64) -> Result<Option<bool>, StoreError> {
        let parent = seq / 2;
        if parent >= read_locked(&self.published).size / 2 {
            return Ok(None);
        }
        let agrees = self.recomputed(1, parent)? == self.tree.stored_one(1, parent)?;
        Ok(Some(agrees))
    }

    /// The bytes at an entry's offsets are not one line: the leaf tells whether the offsets or the
    /// lines are damaged.
    pub(super) fn blame_line(&self, seq: u64) -> StoreError {
        self.find_line(seq).unwrap_or_else(|error| error)
    }

    fn find_line(&self, seq: u64) -> Result<StoreError, StoreError> {
        let first = self.entries.first_of(seq);
        let offsets = |seq| {
            let expected = "the end of its line";
            StoreError::damaged(names::offsets(first), seq, expected, "another place")
        };
        let lines = |seq| {
            let file = names::lines(first);
            StoreError::damaged(file, seq, "one line", "no line, or several")
        };
        let leaf = self.tree.stored_one(0, seq)?;
        let span = self.entries.span(seq)?;
        let before = span.start.saturating_sub(1);
        let starts = span.start == 0 || self.entries.bytes(seq, before, 1)? == b"\n";
        let rest = self.entries.bytes(seq, span.start, ENTRY_BYTES_MAX + 1)?;
        let ends = rest.iter().position(|byte| *byte == b'\n');
        let line = ends.and_then(|end| rest.get(..end));
        let is_entry = line.is_some_and(|line| leaf_hash(line) == leaf);
        Ok(match (starts, is_entry) {
            (true, true) => offsets(seq),
            (true, false) => lines(seq),
            // The entry before ends elsewhere, or its LF is gone.
            (false, true) => lines(seq - 1),
            (false, false) => offsets(seq - 1),
        })
    }
}

fn text(node: &NodeHash) -> String {
    format!("`{node}`")
}
