//! Reading a store again beside everything else, a few records at a time.

use std::ops::Bound;
use std::sync::Arc;

use candor_ledger::fold::ViewError;

use super::kept::Kept;
use super::store::Octets;
use super::{CHECK_RECORDS, State};

/// A walk over the records that the store holds, while cuts go on arriving there.
///
/// Each record must be what was sealed under its key. Whether all are there only a start tells, by
/// the digest: no walk meets one moment of a store that changes.
pub struct StoredWalk {
    kept: Arc<Kept>,
    after: Option<Octets>,
}

impl State {
    /// Begins a walk with the first record.
    pub fn stored(&self) -> StoredWalk {
        StoredWalk {
            kept: Arc::clone(&self.kept),
            after: None,
        }
    }
}

impl StoredWalk {
    /// Reads the next records and returns their length in bytes; `None` behind the last.
    ///
    /// # Errors
    /// [`ViewError`] when one cannot be read or is damaged; the state has failed then.
    pub fn step(&mut self) -> Result<Option<usize>, ViewError> {
        let after = self.after.as_deref();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.kept.range(from, CHECK_RECORDS)?;
        let bytes = found
            .iter()
            .map(|(key, record)| key.len() + record.len())
            .sum();
        let last = found.into_iter().next_back();
        Ok(last.map(|(key, _)| {
            self.after = Some(key);
            bytes
        }))
    }
}
