//! Rows of the tree's hashes, as tiles hold them.

use candor_ledger::ids::TreeSize;
use candor_ledger::tree::{NodeHash, Nodes as _, node_hash};

use super::{LedgerReader, Shared, StoreError, u64_of};
use crate::env::Disk;

impl<D: Disk> LedgerReader<D> {
    /// `count` complete nodes of one level, from `first` on.
    ///
    /// They are compared with what stands above them: each aligned block with the node over it, so
    /// 256 leaves cost one read and at most 8 more, and no entry.
    ///
    /// # Errors
    /// [`StoreError::Beyond`] when the last of them is not complete; damage.
    pub fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<NodeHash>, StoreError> {
        let end = first.saturating_add(u64_of(count));
        let asked = end.checked_mul(1_u64.checked_shl(level.into()).unwrap_or(0));
        self.0
            .within(asked.filter(|_| level < 64).unwrap_or(u64::MAX))?;
        self.noted(self.0.row(level, first, count))
    }

    /// The size of the newest kept checkpoint: what anybody may be shown.
    pub fn newest_checkpoint(&self) -> Option<TreeSize> {
        self.0.checkpoints.newest()
    }
}

impl<D: Disk> Shared<D> {
    fn row(&self, level: u8, first: u64, count: usize) -> Result<Vec<NodeHash>, StoreError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let row = self.tree.stored(level, first, count)?;
        let (mut at, mut rest) = (first, row.as_slice());
        while !rest.is_empty() {
            let height = block_height(at, rest.len());
            let (block, after) = rest.split_at(1 << height);
            // A block of one is a node by itself: compared with what it stands over.
            let above = self.node(level + height, at >> height)?;
            if peak(block.to_vec()) != Some(above) {
                return Err(self.blame_row(level, at, block.len()));
            }
            at += u64_of(block.len());
            rest = after;
        }
        Ok(row)
    }

    /// The block and the node over it differ: the lowest that does not agree with what it stands
    /// over is damaged; the node over it where all agree.
    fn blame_row(&self, level: u8, first: u64, count: usize) -> StoreError {
        for index in (first..).take(count) {
            let stored = self.tree.stored_one(level, index);
            match (stored, self.recomputed(level, index)) {
                (Ok(stored), Ok(own)) if stored == own => {}
                (Ok(_), Ok(_)) => return self.blame_node(level, index),
                (Err(error), _) | (_, Err(error)) => return error,
            }
        }
        let height = block_height(first, count);
        self.blame_node(level + height, first >> height)
    }
}

/// The height of the largest complete subtree that starts at `first` and has no more than `count`
/// nodes below it.
fn block_height(first: u64, count: usize) -> u8 {
    let aligned = first.trailing_zeros().min(63);
    let height = aligned.min(count.ilog2());
    u8::try_from(height).expect("invariant: below 64")
}

/// The node over a row as long as a power of two.
fn peak(mut row: Vec<NodeHash>) -> Option<NodeHash> {
    while row.len() > 1 {
        let pairs = row.chunks_exact(2).map(|pair| match pair {
            [left, right] => node_hash(left, right),
            _ => unreachable!("chunks_exact gives pairs"),
        });
        row = pairs.collect();
    }
    row.pop()
}
