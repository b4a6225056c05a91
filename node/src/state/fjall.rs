//! The persisted fold in fjall 3, a log-structured merge tree.
//!
//! Trusted as little as sled: every call is fenced, and whatever it returns goes through checksum
//! and digest. One keyspace: records under their keys, and the claim under the byte 0x00, which
//! starts no key. A cut and its claim are one batch of its journal, so a start finds the store
//! before a cut or after it.

use std::ops::Bound;
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::Claim;
use super::fence::{CLAIM, after_claim, fenced, from_claim};
use super::folder::Folder;
use super::store::{Change, Engine, Found, KeepError, StateStore};
use crate::env::Disk;

/// The one keyspace.
const KEYSPACE: &str = "fold";

/// Its journal may grow to this before tables are written for its sake; the least that fjall takes.
const JOURNAL_BYTES: u64 = 64 << 20;

/// Stores in the folder `state/fjall.<number>/`.
pub struct FjallEngine<D: Disk> {
    folder: Folder<D>,
    cache_bytes: u64,
    /// A table in memory of this size is written to disk.
    pub(super) table_bytes: u64,
}

struct FjallStore {
    database: Database,
    records: Keyspace,
}

impl<D: Disk> FjallEngine<D> {
    /// In a node's folder, with so many bytes of memory: half of it for blocks of tables, a quarter
    /// for the table being filled, as much for those being written. `None` for a disk that is none
    /// of the operating system.
    pub fn new(disk: &D, memory_bytes: usize) -> Option<Self> {
        let memory_bytes = u64::try_from(memory_bytes).unwrap_or(u64::MAX);
        Some(Self {
            folder: Folder::new(disk, "fjall")?,
            cache_bytes: memory_bytes / 2,
            table_bytes: memory_bytes / 4,
        })
    }
}

impl<D: Disk> Engine for FjallEngine<D> {
    fn open(&self) -> Result<Arc<dyn StateStore>, KeepError> {
        let path = self.folder.current()?;
        fenced(|| {
            let database = Database::builder(path)
                .cache_size(self.cache_bytes)
                .max_journaling_size(JOURNAL_BYTES)
                .worker_threads(1)
                .open()?;
            let table = self.table_bytes;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(table);
            let records = database.keyspace(KEYSPACE, options)?;
            let store: Arc<dyn StateStore> = Arc::new(FjallStore { database, records });
            Ok::<_, fjall::Error>(store)
        })
    }

    fn wipe(&self) -> Result<(), KeepError> {
        self.folder.wipe()
    }
}

impl StateStore for FjallStore {
    fn claim(&self) -> Result<Option<Claim>, KeepError> {
        let claim = fenced(|| self.records.get(CLAIM))?;
        claim.map(|claim| from_claim(&claim)).transpose()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeepError> {
        let record = fenced(|| self.records.get(key))?;
        Ok(record.map(|record| record.to_vec()))
    }

    fn range(&self, from: Bound<&[u8]>, limit: usize) -> Result<Found, KeepError> {
        let range = (after_claim(from), Bound::Unbounded);
        let pair = |guard: fjall::Guard| {
            let (key, record) = guard.into_inner()?;
            Ok::<_, fjall::Error>((key.to_vec(), record.to_vec()))
        };
        fenced(|| {
            self.records
                .range::<&[u8], _>(range)
                .take(limit)
                .map(pair)
                .collect()
        })
    }

    fn keep(&self, changes: &[Change], claim: &Claim) -> Result<(), KeepError> {
        fenced(|| {
            let mut batch = self.database.batch();
            for (key, record) in changes {
                match record {
                    Some(record) => batch.insert(&self.records, &key[..], &record[..]),
                    None => batch.remove(&self.records, &key[..]),
                }
            }
            batch.insert(&self.records, CLAIM, claim.to_bytes());
            batch.commit()?;
            self.database.persist(PersistMode::Buffer)
        })
    }
}
