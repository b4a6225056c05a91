//! The persisted fold as the live state reads it.

use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candor_ledger::fold::{Key, ViewError};

use super::cache::Cache;
use super::filter::Filter;
use super::store::{Change, KeepError, Known, Octets, Pair, StateStore, open_record, seal_record};
use super::{Claim, MemoryLimits};

/// One store, with the memory that answers most questions about it.
///
/// The first error ends it: from then on it answers nothing, because a record that is wrongly
/// absent would make this node decide otherwise than the others.
pub(super) struct Kept {
    store: Arc<dyn StateStore>,
    /// Records as the store holds them; a key that is unkept is never read here.
    cache: Mutex<Cache>,
    /// Every subject in the store or on its way there.
    subjects: Filter,
    /// What the store holds; `None` before the first cut has arrived.
    reached: Mutex<Option<Claim>>,
    failed: Mutex<Option<KeepError>>,
}

impl Kept {
    pub(super) fn new(store: Arc<dyn StateStore>, limits: &MemoryLimits) -> Self {
        Self {
            store,
            cache: Mutex::new(Cache::new(limits.cache_bytes)),
            subjects: Filter::new(limits.filter_bytes),
            reached: Mutex::new(None),
            failed: Mutex::new(None),
        }
    }

    /// A record, from memory if it can be.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Octets>, ViewError> {
        if Key::is_subject(key) && !self.subjects.may_hold(key) {
            return Ok(None);
        }
        let known = lock(&self.cache).get(key);
        match known {
            Known::Nothing => return Ok(None),
            Known::Record(record) => return Ok(Some(record)),
            Known::Unknown => {}
        }
        let record = self.guarded(|store| {
            let kept = store.get(key)?;
            let record = kept.as_deref().map(|kept| open_record(key, kept));
            Ok(record.transpose()?.map(Arc::from))
        })?;
        lock(&self.cache).put(&Arc::from(key), record.clone());
        Ok(record)
    }

    /// The first records from a place on.
    pub(super) fn range(&self, from: Bound<&[u8]>, limit: usize) -> Result<Vec<Pair>, ViewError> {
        self.guarded(|store| {
            let found = store.range(from, limit)?.into_iter();
            found
                .map(|(key, kept)| {
                    let record = Arc::from(open_record(&key, &kept)?);
                    Ok((Arc::from(key), record))
                })
                .collect()
        })
    }

    /// The store will hold this key.
    pub(super) fn expect(&self, key: &[u8]) {
        if Key::is_subject(key) {
            self.subjects.add(key);
        }
    }

    /// Writes a cut, which must be the one after the last.
    pub(super) fn keep(
        &self,
        from: Option<Claim>,
        changes: &[Change],
        to: &Claim,
    ) -> Result<(), KeepError> {
        let done = self.guarded(|store| {
            if *lock(&self.reached) != from {
                return Err(KeepError("a cut is missing before this one".to_owned()));
            }
            let sealed: Vec<Change> = changes
                .iter()
                .map(|(key, record)| {
                    let kept = record.as_ref().map(|record| seal_record(key, record));
                    (Arc::clone(key), kept.map(Arc::from))
                })
                .collect();
            store.keep(&sealed, to)
        });
        done.map_err(|error| KeepError(error.0))?;
        *lock(&self.reached) = Some(*to);
        Ok(())
    }

    /// Takes in what the store holds by now.
    pub(super) fn remember(&self, changes: &[Change]) {
        let mut cache = lock(&self.cache);
        for (key, record) in changes {
            cache.put(key, record.clone());
        }
    }

    pub(super) fn start_from(&self, claim: Claim) {
        *lock(&self.reached) = Some(claim);
    }

    pub(super) fn cache_bytes(&self) -> usize {
        lock(&self.cache).bytes()
    }

    pub(super) fn failed(&self) -> Option<KeepError> {
        lock(&self.failed).clone()
    }

    /// Ends it.
    pub(super) fn fail(&self, error: KeepError) -> KeepError {
        lock(&self.failed).get_or_insert_with(|| error.clone());
        error
    }

    fn guarded<T>(
        &self,
        ask: impl FnOnce(&dyn StateStore) -> Result<T, KeepError>,
    ) -> Result<T, ViewError> {
        let answer = match self.failed() {
            Some(error) => return Err(ViewError(error.0)),
            None => ask(self.store.as_ref()),
        };
        answer.map_err(|error| ViewError(self.fail(error).0))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
