//! The copy of the state in sled 0.34.
//!
//! sled is fast to read and to write in batches, and is trusted with nothing: its `flush` issues no
//! fsync, and damage can make it panic, on opening and later. So every call is fenced by
//! `catch_unwind`, and whatever it returns goes through the digest.
//!
//! One tree: the bytes of a record under the bytes of its key, and the claim under the byte 0x00,
//! which starts no key.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use candor_ledger::fold::Changes;

use super::{Claim, KeepError, StateStore, Take};
use crate::env::Disk;

/// The folder within the node's.
const FOLDER: &str = "state";

const CLAIM: &[u8] = &[0];

/// Pages that sled may hold in memory: the records are in memory already, so just enough for the
/// inner nodes of a tree that batches touch at random.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Most records in one batch of sled, about 20 MiB. A larger change is written without a claim,
/// which the last batch puts back, so a start in between finds no copy.
const BATCH_MAX: usize = 50_000;

/// A store in the folder `state/`.
pub struct SledStore<D: Disk> {
    disk: D,
    path: PathBuf,
    pub(super) batch_max: usize,
    /// Opened at the first use; gone after a wipe.
    db: Option<sled::Db>,
}

impl<D: Disk> SledStore<D> {
    /// A store in a node's folder; `None` for a disk that is none of the operating system.
    pub fn new(disk: &D) -> Option<Self> {
        Some(Self {
            path: disk.real_path(FOLDER)?,
            disk: disk.clone(),
            batch_max: BATCH_MAX,
            db: None,
        })
    }

    fn db(&mut self) -> Result<sled::Db, KeepError> {
        if let Some(db) = &self.db {
            return Ok(db.clone());
        }
        let config = sled::Config::new()
            .path(&self.path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None);
        let db = fenced(|| config.open())?;
        self.db = Some(db.clone());
        Ok(db)
    }
}

impl<D: Disk> StateStore for SledStore<D> {
    fn keeps(&self) -> bool {
        true
    }

    fn load(&mut self, take: &mut Take<'_>) -> Result<Option<Claim>, KeepError> {
        let db = self.db()?;
        let Some(claim) = fenced(|| db.get(CLAIM))? else {
            return Ok(None);
        };
        let claim = Claim::from_bytes(&claim)
            .ok_or_else(|| KeepError("its claim is none of this version".to_owned()))?;
        let mut records = fenced(|| Ok(db.range(&[CLAIM, &[0]].concat()[..]..)))?;
        while let Some((key, record)) = fenced(|| records.next().transpose())? {
            take(&key, &record)?;
        }
        Ok(Some(claim))
    }

    fn keep(&mut self, changes: &Changes, claim: &Claim) -> Result<(), KeepError> {
        let db = self.db()?;
        let mut batch = sled::Batch::default();
        let mut in_batch = 0;
        for (key, record) in changes.iter() {
            if in_batch == self.batch_max {
                batch.remove(CLAIM);
                fenced(|| db.apply_batch(std::mem::take(&mut batch)))?;
                in_batch = 0;
            }
            in_batch += 1;
            match record {
                Some(record) => batch.insert(key.to_bytes(), record.to_bytes()),
                None => batch.remove(key.to_bytes()),
            }
        }
        batch.insert(CLAIM, claim.to_bytes());
        fenced(|| db.apply_batch(std::mem::take(&mut batch)))?;
        fenced(|| db.flush().map(drop))
    }

    fn wipe(&mut self) -> Result<(), KeepError> {
        // The last handle closes the files; a panic in there leaves them to the removal.
        let db = self.db.take();
        let _ = fenced(|| {
            drop(db);
            Ok(())
        });
        let removed = match self.disk.stat(FOLDER) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => self.disk.remove_dir_all(FOLDER),
            Err(error) => Err(error),
        };
        removed.map_err(|error| KeepError(error.to_string()))
    }
}

/// Calls sled; a panic in there is an error like any other.
fn fenced<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, KeepError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(|error| KeepError(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("no message");
            Err(KeepError(format!("sled panicked: {text}")))
        }
    }
}
