//! The state: what the ledger's entries amount to, ready for the rules.
//!
//! The ledger is the only truth and the state is its fold (INV-5). It does not fit in memory: every
//! distinct prompt ever asked is a subject. So the live state is three layers, each asked before
//! the next:
//!
//! ```text
//! unkept   what changed since the last cut, and what the store is still taking in   bounded: apply waits
//! cache    records lately asked for; subjects surely never seen; fronts of queues   bounded: evicted
//! store    the persisted fold at the last cut that has arrived                      on disk
//! ```
//!
//! A cut is made where a marker is drafted and written once that marker is durable, beside apply
//! and with what the store then claims to hold ([`Claim`]). Its keys leave the first layer only
//! after the store has taken in all of it, so a reader never meets half a cut.
//!
//! ```text
//! apply:   decide -> append -> State::apply ... Ledger::draft_marker + State::cut
//! lane:    MarkerWriter::write(draft) -> Fold::keep(cut, durable marker)
//! ```
//!
//! The store is never believed. A start reads all of it, computes the digest anew and compares size
//! and chain head with the ledger; anything that disagrees, panics or cannot be read costs the
//! store, which is deleted, and a fold from the first entry. A running node that meets an error
//! there asks it nothing more, and folds again.

mod cache;
mod claim;
mod fence;
mod filter;
mod fjall;
mod folder;
mod kept;
mod memory;
mod open;
mod sled;
mod store;
mod unkept;
mod verify;
mod windows;

use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use candor_ledger::digest::ChainHash;
use candor_ledger::fold::{Changes, Key, Prefix, Record, StateDigest, StateView, ViewError};
use candor_ledger::ids::TreeSize;

use self::kept::Kept;
use self::store::Known;
use self::unkept::Unkept;
use self::windows::{Seen, WindowLimits, Windows};
use crate::config::{StateEngine, StateSection};
use crate::env::Disk;

pub use self::claim::Claim;
pub use self::fjall::FjallEngine;
pub use self::memory::MemoryEngine;
pub use self::open::{Rebuild, StateError, StateOrigin, open};
pub use self::sled::SledEngine;
pub use self::store::{Change, Engine, Found, KeepError, Octets, Pair, StateStore};
pub use self::verify::StoredWalk;

/// Records that one look at the store brings, when more than one is wanted.
const CHUNK: usize = 256;
/// Records that a check of the store reads at a time.
const CHECK_RECORDS: usize = 4_096;
/// The same, when one is wanted and some of them may have been forgotten since.
const STEP: usize = 4;
/// Keys of a cut that leave the first layer under one hold of the lock.
const LET_GO: usize = 512;

/// How much memory the state may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Changes that the store has not taken in yet; beyond this apply waits.
    pub unkept_bytes: usize,
    /// Records lately asked for.
    pub cache_bytes: usize,
    /// What tells subjects that were never seen.
    pub filter_bytes: usize,
    /// The store's own.
    pub store_bytes: usize,
    windows: WindowLimits,
}

/// All records of the fold at one size of the ledger; changed by apply alone.
pub struct State {
    kept: Arc<Kept>,
    unkept: Unkept,
    windows: Mutex<Windows>,
    limits: MemoryLimits,
    /// The last cut that was made; `None` before the first.
    cut: Option<Claim>,
    size: TreeSize,
    head: ChainHash,
    digest: StateDigest,
}

/// What changed between two cuts.
pub struct Cut {
    kept: Arc<Kept>,
    number: u64,
    from: Option<Claim>,
    to: Claim,
    changes: Vec<Change>,
}

impl MemoryLimits {
    /// Shares out so many bytes: a quarter to changes on their way, an eighth each to the cache and
    /// the filter, a half to the store.
    pub fn of(bytes: usize) -> Self {
        Self {
            unkept_bytes: bytes / 4,
            cache_bytes: bytes / 8,
            filter_bytes: bytes / 8,
            store_bytes: bytes / 2,
            // 32 windows of 1,024 keys of 300 bytes are 10 MB; a tick takes 1,000 keys.
            windows: WindowLimits {
                windows_max: 32,
                keys_max: 1_024,
            },
        }
    }
}

/// The engine for a node's folder, and how much memory the state takes in all: in memory alone
/// where the folder is none of the operating system.
pub fn engine_in<D: Disk>(disk: &D, config: &StateSection) -> (Box<dyn Engine>, MemoryLimits) {
    let limits = MemoryLimits::of(config.memory_bytes);
    let engine: Option<Box<dyn Engine>> = match config.engine {
        StateEngine::Fjall => boxed(FjallEngine::new(disk, limits.store_bytes)),
        StateEngine::Sled => boxed(SledEngine::new(disk, limits.store_bytes)),
    };
    (engine.unwrap_or_else(|| Box::new(MemoryEngine)), limits)
}

fn boxed<E: Engine>(engine: Option<E>) -> Option<Box<dyn Engine>> {
    engine.map(|engine| -> Box<dyn Engine> { Box::new(engine) })
}

impl State {
    /// The state of the empty ledger, over an empty store.
    fn empty(store: Arc<dyn StateStore>, limits: MemoryLimits) -> Self {
        Self {
            kept: Arc::new(Kept::new(store, &limits)),
            unkept: Unkept::default(),
            windows: Mutex::new(Windows::new(limits.windows)),
            limits,
            cut: None,
            size: TreeSize(0),
            head: ChainHash::EMPTY,
            digest: StateDigest::default(),
        }
    }

    /// Takes in what entries changed: all of it, or with an error nothing.
    ///
    /// # Errors
    /// [`ViewError`] when what stood there before cannot be read.
    pub fn apply(&mut self, changes: &Changes) -> Result<(), ViewError> {
        let mut digest = self.digest;
        let mut encoded: Vec<Change> = Vec::with_capacity(changes.len());
        for (key, record) in changes.by_bytes() {
            let before = self.find(key)?;
            let record = record.map(|record| Arc::from(record.to_bytes()));
            if before == record {
                continue;
            }
            if let Some(before) = before {
                digest.subtract(key, &before);
            }
            if let Some(record) = &record {
                digest.add(key, record);
            }
            encoded.push((Arc::from(key), record));
        }
        if let Some(Some(Record::Log(log))) = changes.get(&Key::Log) {
            (self.size, self.head) = (log.size, log.head);
        }
        self.digest = digest;
        let windows = self.windows.get_mut();
        let windows = windows.unwrap_or_else(PoisonError::into_inner);
        for (key, record) in encoded {
            windows.change(&key, record.as_ref());
            self.kept.expect(&key);
            self.unkept.put(key, record);
        }
        Ok(())
    }

    /// Size, chain head and digest of the state.
    pub fn claim(&self) -> Claim {
        Claim {
            size: self.size,
            head: self.head,
            digest: self.digest,
        }
    }

    /// The digest of all records; equal on all nodes at one size.
    pub fn digest(&self) -> StateDigest {
        self.digest
    }

    /// Why the state cannot be read any more; it has to be folded again then.
    pub fn failed(&self) -> Option<KeepError> {
        self.kept.failed()
    }

    /// Whether what is on its way to the store takes more memory than it may.
    pub fn is_full(&self) -> bool {
        self.unkept.bytes() > self.limits.unkept_bytes
    }

    /// Whether a cut should be made soon, so that apply need never wait.
    pub fn wants_cut(&self) -> bool {
        self.unkept.pending_bytes() > self.limits.unkept_bytes / 4
    }

    /// How much memory the state may take.
    pub fn limits(&self) -> MemoryLimits {
        self.limits
    }

    /// Bytes of memory, as far as they grow with use: unkept changes, and the cache.
    pub fn memory_bytes(&self) -> (usize, usize) {
        (self.unkept.bytes(), self.kept.cache_bytes())
    }

    /// Splits off what has changed since the last cut, to be kept: made at the boundary at which
    /// the marker is drafted, and kept in order, none left out.
    pub fn cut(&mut self) -> Cut {
        let to = self.claim();
        let (number, changes) = self.unkept.cut();
        Cut {
            kept: Arc::clone(&self.kept),
            number,
            from: self.cut.replace(to),
            to,
            changes: changes.into_iter().collect(),
        }
    }

    /// Whether the cut is one of this state, not of one that stood in its place.
    pub(crate) fn made(&self, cut: &Cut) -> bool {
        Arc::ptr_eq(&self.kept, &cut.kept)
    }

    /// Lets go of a part of a cut that the store holds, and says whether there are more parts.
    pub(crate) fn let_go(&mut self, cut: &Cut, part: usize) -> bool {
        if !self.made(cut) {
            return false;
        }
        let mut parts = cut.changes.chunks(LET_GO).skip(part);
        if let Some(changes) = parts.next() {
            self.unkept.let_go(cut.number, changes);
            return true;
        }
        self.unkept.arrived();
        false
    }

    fn find(&self, key: &[u8]) -> Result<Option<Octets>, ViewError> {
        match self.unkept.get(key) {
            Known::Nothing => Ok(None),
            Known::Record(record) => Ok(Some(record)),
            Known::Unknown => self.kept.get(key),
        }
    }

    /// The first key of a range after another, through the range's window if it has one.
    fn find_next(&self, within: &Prefix, after: Option<&[u8]>) -> Result<Option<Pair>, ViewError> {
        let bytes = within.as_bytes();
        if !within.is_queue() {
            return Ok(self.merged(bytes, after, 1)?.0.pop());
        }
        loop {
            let windows = || self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = windows().next(bytes, after);
            match seen {
                Seen::Next(next) => return Ok(next),
                Seen::Unknown => return Ok(self.merged(bytes, after, 1)?.0.pop()),
                Seen::Continue(from) => {
                    // Not under the lock: nothing changes while the state is borrowed, and whoever
                    // else extends the same window brings the same keys.
                    let (found, whole) = self.merged(bytes, from.as_deref(), CHUNK)?;
                    windows().extend(bytes, from.as_deref(), &found, whole);
                }
            }
        }
    }

    /// The first keys of a range after another, unkept and kept, at most `limit`; and whether the
    /// range holds no more.
    fn merged(
        &self,
        within: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<Pair>, bool), ViewError> {
        let mut found = Vec::new();
        let mut unkept = self.unkept.range(start(within, after)).peekable();
        let mut from: Option<Octets> = after.map(Arc::from);
        loop {
            let step = limit.max(STEP);
            let kept = self.kept.range(start(within, from.as_deref()), step)?;
            let last_look = kept.len() < step;
            let here = |key: &[u8]| key.starts_with(within);
            let beyond = kept.last().is_none_or(|(key, _)| !here(key));
            let ends = last_look || beyond;
            for (key, record) in kept.into_iter().filter(|(key, _)| here(key)) {
                // Whatever changed before this key comes first, and a change of the key holds.
                let mut changed = false;
                while let Some((new, record)) = unkept.next_if(|(new, _)| **new <= key) {
                    changed |= *new == key;
                    if push(&mut found, limit, new, record) {
                        return Ok((found, false));
                    }
                }
                if !changed && push(&mut found, limit, &key, Some(&record)) {
                    return Ok((found, false));
                }
                from = Some(key);
            }
            if ends {
                while let Some((new, record)) = unkept.next_if(|(new, _)| here(new)) {
                    if push(&mut found, limit, new, record) {
                        return Ok((found, false));
                    }
                }
                return Ok((found, true));
            }
        }
    }
}

/// Takes a key in unless it is forgotten, and says whether there are enough.
fn push(found: &mut Vec<Pair>, limit: usize, key: &Octets, record: Option<&Octets>) -> bool {
    if let Some(record) = record {
        found.push((Arc::clone(key), Arc::clone(record)));
    }
    found.len() >= limit
}

impl StateView for State {
    fn get(&self, key: &Key) -> Result<Option<Record>, ViewError> {
        let record = self.find(&key.to_bytes())?;
        let record = record.map(|record| Record::from_bytes(&record));
        Ok(record.transpose()?)
    }

    fn next(
        &self,
        within: &Prefix,
        after: Option<&Key>,
    ) -> Result<Option<(Key, Record)>, ViewError> {
        let after = after.map(Key::to_bytes);
        match self.find_next(within, after.as_deref())? {
            None => Ok(None),
            Some((key, record)) => Ok(Some((Key::from_bytes(&key)?, Record::from_bytes(&record)?))),
        }
    }
}

impl Cut {
    /// Writes the cut into its store.
    ///
    /// # Errors
    /// [`KeepError`] when the store fails, or when the cut does not follow the one before or is
    /// ahead of the durable ledger. The state is unreadable then and has to be folded again.
    pub(crate) fn write(&self, durable: TreeSize) -> Result<(), KeepError> {
        if self.to.size > durable {
            let size = self.to.size;
            let ahead = format!("size `{size}` is ahead of the durable marker at `{durable}`");
            return Err(self.kept.fail(KeepError(ahead)));
        }
        self.kept.keep(self.from, &self.changes, &self.to)?;
        self.kept.remember(&self.changes);
        Ok(())
    }
}

/// Where a walk within a prefix starts.
fn start<'a>(within: &'a [u8], after: Option<&'a [u8]>) -> Bound<&'a [u8]> {
    after.map_or(Bound::Included(within), Bound::Excluded)
}

fn unreadable(error: impl std::fmt::Display) -> KeepError {
    KeepError(error.to_string())
}

#[cfg(test)]
mod tests;
