//! A store that persists nothing: every start folds the ledger. For simulated disks.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use super::Claim;
use super::store::{Change, Engine, Found, KeepError, Octets, StateStore};

/// Makes stores in memory, each empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryEngine;

#[derive(Default)]
struct MemoryStore(RwLock<Contents>);

#[derive(Default)]
struct Contents {
    records: BTreeMap<Octets, Octets>,
    claim: Option<Claim>,
}

impl Engine for MemoryEngine {
    fn open(&self) -> Result<Arc<dyn StateStore>, KeepError> {
        Ok(Arc::new(MemoryStore::default()))
    }

    fn wipe(&self) -> Result<(), KeepError> {
        Ok(())
    }
}

impl StateStore for MemoryStore {
    fn claim(&self) -> Result<Option<Claim>, KeepError> {
        let contents = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(contents.claim)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeepError> {
        let contents = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(contents.records.get(key).map(|record| record.to_vec()))
    }

    fn range(&self, from: Bound<&[u8]>, limit: usize) -> Result<Found, KeepError> {
        let contents = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = contents.records.range::<[u8], _>((from, Bound::Unbounded));
        let pairs = range.map(|(key, record)| (key.to_vec(), record.to_vec()));
        Ok(pairs.take(limit).collect())
    }

    fn keep(&self, changes: &[Change], claim: &Claim) -> Result<(), KeepError> {
        let mut contents = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (key, record) in changes {
            match record {
                Some(record) => drop(contents.records.insert(Arc::clone(key), Arc::clone(record))),
                None => drop(contents.records.remove(key)),
            }
        }
        contents.claim = Some(*claim);
        Ok(())
    }
}
