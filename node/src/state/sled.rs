//! The persisted fold in sled 0.34.
//!
//! sled is trusted with nothing: its `flush` issues no fsync, and damage can make it panic, on
//! opening and later. So every call is fenced, and whatever it returns goes through checksum and
//! digest.
//!
//! One tree: records under their keys, and the claim under the byte 0x00, which starts no key.

use std::ops::Bound;
use std::sync::Arc;

use super::Claim;
use super::fence::{CLAIM, fenced, from_claim};
use super::folder::Folder;
use super::store::{Change, Engine, Found, KeepError, StateStore};
use crate::env::Disk;

/// Most records in one batch of sled, about 20 MiB. A larger change is written without a claim,
/// which the last batch puts back, so a start in between finds no store.
const BATCH_MAX: usize = 50_000;

/// Stores in the folder `state/sled.<number>/`.
pub struct SledEngine<D: Disk> {
    folder: Folder<D>,
    cache_bytes: u64,
    pub(super) batch_max: usize,
}

struct SledStore {
    db: ::sled::Db,
    batch_max: usize,
}

impl<D: Disk> SledEngine<D> {
    /// In a node's folder, with so many bytes of pages in memory as far as sled keeps to it; `None`
    /// for a disk that is none of the operating system.
    pub fn new(disk: &D, cache_bytes: usize) -> Option<Self> {
        Some(Self {
            folder: Folder::new(disk, "sled")?,
            cache_bytes: u64::try_from(cache_bytes).unwrap_or(u64::MAX),
            batch_max: BATCH_MAX,
        })
    }
}

impl<D: Disk> Engine for SledEngine<D> {
    fn open(&self) -> Result<Arc<dyn StateStore>, KeepError> {
        let config = ::sled::Config::new()
            .path(self.folder.current()?)
            .cache_capacity(self.cache_bytes)
            .flush_every_ms(None);
        Ok(Arc::new(SledStore {
            db: fenced(|| config.open())?,
            batch_max: self.batch_max,
        }))
    }

    fn wipe(&self) -> Result<(), KeepError> {
        self.folder.wipe()
    }
}

impl StateStore for SledStore {
    fn claim(&self) -> Result<Option<Claim>, KeepError> {
        let claim = fenced(|| self.db.get(CLAIM))?;
        claim.map(|claim| from_claim(&claim)).transpose()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeepError> {
        let record = fenced(|| self.db.get(key))?;
        Ok(record.map(|record| record.to_vec()))
    }

    fn range(&self, from: Bound<&[u8]>, limit: usize) -> Result<Found, KeepError> {
        let from = super::fence::after_claim(from);
        let pair = |pair: ::sled::Result<(::sled::IVec, ::sled::IVec)>| {
            pair.map(|(key, record)| (key.to_vec(), record.to_vec()))
        };
        fenced(|| {
            let range = self.db.range::<&[u8], _>((from, Bound::Unbounded));
            range
                .take(limit)
                .map(pair)
                .collect::<::sled::Result<Vec<_>>>()
        })
    }

    fn keep(&self, changes: &[Change], claim: &Claim) -> Result<(), KeepError> {
        let mut batches = changes.chunks(self.batch_max).peekable();
        while let Some(changes) = batches.next() {
            let mut batch = ::sled::Batch::default();
            for (key, record) in changes {
                match record {
                    Some(record) => batch.insert(&key[..], &record[..]),
                    None => batch.remove(&key[..]),
                }
            }
            if batches.peek().is_some() {
                batch.remove(CLAIM);
            } else {
                batch.insert(CLAIM, claim.to_bytes());
            }
            fenced(|| self.db.apply_batch(std::mem::take(&mut batch)))?;
        }
        if changes.is_empty() {
            fenced(|| self.db.insert(CLAIM, claim.to_bytes()))?;
        }
        fenced(|| self.db.flush().map(drop))
    }
}
