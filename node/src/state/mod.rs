//! The state: what the ledger's entries amount to, ready for the rules.
//!
//! The ledger is the only truth and the state is its fold (INV-5). The live state is all records in
//! memory, changed by apply as it appends. Beside it a [`StateStore`] may keep a copy, so that a
//! start need not fold the whole ledger: written in the background, only up to a durable marker,
//! each time as one batch, with what the copy claims to be ([`Claim`]).
//!
//! The copy is never believed. A start reads all of it, computes the digest anew and compares size
//! and chain head with the ledger; anything that disagrees, panics or cannot be read costs the copy,
//! which is deleted, and a fold from the first entry.
//!
//! ```text
//! apply:   decide -> append -> State::apply ... Ledger::draft_marker + State::cut
//! lane:    MarkerWriter::write(draft) -> Keeper::keep(delta, durable marker)
//! ```

mod claim;
mod memory;
mod sled;

use candor_ledger::entry::{Entry, EntryError};
use candor_ledger::fold::{
    Changes, FoldError, Key, MemoryState, Prefix, Record, StateDigest, StateView, ViewError, evolve,
};
use candor_ledger::ids::{Seq, TreeSize};

use crate::env::Disk;
use crate::store::{LedgerReader, Marker, StoreError};

pub use self::claim::Claim;
pub use self::memory::MemoryStore;
pub use self::sled::SledStore;

/// Bytes of entries that a replay reads at a time.
const REPLAY_BYTES: u64 = 4 * 1024 * 1024;

/// All records of the fold at one size of the ledger; owned by apply.
pub struct State {
    memory: MemoryState,
    /// Changes since the last cut; `None` when nothing keeps them.
    pending: Option<Changes>,
    /// What the store holds once all cuts have reached it; `None`: nothing.
    cut: Option<Claim>,
}

impl State {
    /// Takes in what one entry changed.
    pub fn apply(&mut self, changes: Changes) {
        self.memory.apply(&changes);
        if let Some(pending) = &mut self.pending {
            pending.merge(changes);
        }
    }

    /// Size, chain head and digest of the state.
    pub fn claim(&self) -> Claim {
        Claim::of(&self.memory)
    }

    /// The digest of all records; equal on all nodes at one size.
    pub fn digest(&self) -> StateDigest {
        self.memory.digest()
    }

    /// Splits off what has changed since the last cut, for [`Keeper::keep`]; made at the boundary
    /// at which the marker is drafted, and kept in order, none left out.
    pub fn cut(&mut self) -> Delta {
        let to = self.claim();
        let changes = self.pending.as_mut().map(std::mem::take);
        let from = self.cut.replace(to);
        Delta { from, to, changes }
    }
}

impl StateView for State {
    fn get(&self, key: &Key) -> Result<Option<Record>, ViewError> {
        self.memory.get(key)
    }

    fn next(
        &self,
        within: &Prefix,
        after: Option<&Key>,
    ) -> Result<Option<(Key, Record)>, ViewError> {
        self.memory.next(within, after)
    }
}

/// What changed between two cuts.
#[derive(Debug)]
pub struct Delta {
    from: Option<Claim>,
    to: Claim,
    changes: Option<Changes>,
}

/// Somewhere to keep a copy of the state.
pub trait StateStore: Send + 'static {
    /// Whether [`StateStore::keep`] keeps anything.
    fn keeps(&self) -> bool;

    /// Hands over all records, by the bytes of key and record, and what they claim to be; `None`
    /// when there is no claim.
    fn load(&mut self, take: &mut Take<'_>) -> Result<Option<Claim>, KeepError>;

    /// Keeps changes and, in the same step, the claim of the records after them.
    ///
    /// Atomic where the store says so, not durable: a start finds the copy before or after, or one
    /// that its claim does not fit.
    fn keep(&mut self, changes: &Changes, claim: &Claim) -> Result<(), KeepError>;

    /// Forgets everything.
    fn wipe(&mut self) -> Result<(), KeepError>;
}

/// Takes one record, by the bytes of its key and its own.
pub type Take<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), KeepError> + 'a;

/// The copy of the state failed: no harm to the ledger or to the state in memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kept state: {0}")]
pub struct KeepError(pub String);

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// An entry breaks the rules, or this program does not know the rules it follows.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// An entry is none of this format.
    #[error("entry `{seq}` of the ledger is none: {error}")]
    Entry {
        /// Which.
        seq: Seq,
        /// What is wrong with it.
        error: EntryError,
    },
    /// The ledger could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A copy that cannot be used could not be deleted either.
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// Where the state of a start came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOrigin {
    /// From the copy at this size; what was appended later was folded on top.
    Loaded {
        /// Size of the ledger when the copy was kept.
        size: TreeSize,
    },
    /// Folded from the first entry.
    Rebuilt {
        /// What was wrong with the copy.
        why: String,
    },
}

/// Keeps the copy, beside apply; owned by the lane that writes the markers.
pub struct Keeper {
    store: Box<dyn StateStore>,
    kept: Option<Claim>,
    /// A failed store gets nothing more; the next start judges what it has.
    failed: bool,
}

impl Keeper {
    /// Keeps a delta, and says whether it did: not in a store that keeps nothing, and not after
    /// the first error.
    ///
    /// # Errors
    /// [`KeepError`] once, when the store fails, or when the delta does not follow the one before
    /// or is ahead of the durable marker. The node works on without a copy.
    pub fn keep(&mut self, delta: &Delta, durable: &Marker) -> Result<bool, KeepError> {
        let Some(changes) = &delta.changes else {
            return Ok(false);
        };
        if self.failed {
            return Ok(false);
        }
        self.failed = true;
        if delta.from != self.kept {
            return Err(KeepError("a delta is missing before this one".to_owned()));
        }
        if delta.to.size > durable.size {
            let (size, durable) = (delta.to.size, durable.size);
            let ahead = format!("size `{size}` is ahead of the durable marker at `{durable}`");
            return Err(KeepError(ahead));
        }
        self.store.keep(changes, &delta.to)?;
        self.kept = Some(delta.to);
        self.failed = false;
        Ok(true)
    }
}

/// The store for a node's folder: sled where the folder is one of the operating system.
pub fn store_in<D: Disk>(disk: &D) -> Box<dyn StateStore> {
    match SledStore::new(disk) {
        Some(store) => Box::new(store),
        None => Box::new(MemoryStore),
    }
}

/// The state of a ledger that was just opened, at the size of its marker.
///
/// Cost: reads the copy, or else folds every entry.
///
/// # Errors
/// [`StateError`] when the ledger cannot be folded, whatever the copy says.
pub fn open<D: Disk>(
    mut store: Box<dyn StateStore>,
    ledger: &LedgerReader<D>,
    marker: &Marker,
) -> Result<(State, Keeper, StateOrigin), StateError> {
    let (memory, cut, origin) = match load(store.as_mut(), ledger, marker) {
        Ok((memory, claim)) => {
            let size = claim.size;
            (memory, Some(claim), StateOrigin::Loaded { size })
        }
        Err(why) => {
            store.wipe()?;
            let why = why.0;
            (MemoryState::new(), None, StateOrigin::Rebuilt { why })
        }
    };
    let pending = store.keeps().then(Changes::default);
    let mut state = State {
        memory,
        pending,
        cut,
    };
    replay(&mut state, ledger, marker.size)?;
    let keeper = Keeper {
        store,
        kept: cut,
        failed: false,
    };
    Ok((state, keeper, origin))
}

/// Folds the entries from the state's size up to `until`.
fn replay<D: Disk>(
    state: &mut State,
    ledger: &LedgerReader<D>,
    until: TreeSize,
) -> Result<(), StateError> {
    let mut next = state.claim().size.0;
    while next < until.0 {
        for bytes in ledger.entries(Seq(next)..Seq(until.0), REPLAY_BYTES)? {
            let seq = Seq(next);
            let entry = Entry::parse(&bytes).map_err(|error| StateError::Entry { seq, error })?;
            let changes = evolve(&*state, &entry, &bytes)?;
            state.apply(changes);
            next += 1;
        }
    }
    Ok(())
}

/// Reads the copy and believes it only as far as the ledger bears it out.
fn load<D: Disk>(
    store: &mut dyn StateStore,
    ledger: &LedgerReader<D>,
    marker: &Marker,
) -> Result<(MemoryState, Claim), KeepError> {
    let mut memory = MemoryState::new();
    let claim = store.load(&mut |key, record| {
        let key = Key::from_bytes(key).map_err(unreadable)?;
        let record = Record::from_bytes(record).map_err(unreadable)?;
        memory.apply(&Changes::from_iter([(key, Some(record))]));
        Ok(())
    })?;
    let refused = |problem: String| Err(KeepError(problem));
    let Some(claim) = claim else {
        return refused("there is none".to_owned());
    };
    if claim.size > marker.size {
        return refused(format!(
            "it is of size `{}`, ahead of the marker at `{}`",
            claim.size, marker.size
        ));
    }
    let head = ledger.head_at(claim.size).map_err(unreadable)?;
    if claim.head != head {
        let (size, kept) = (claim.size, claim.head);
        return refused(format!(
            "at size `{size}` it has head `{kept}`, the ledger `{head}`"
        ));
    }
    let found = Claim::of(&memory);
    if found != claim {
        return refused(format!("it claims {claim} but holds {found}"));
    }
    Ok((memory, claim))
}

fn unreadable(error: impl std::fmt::Display) -> KeepError {
    KeepError(error.to_string())
}

#[cfg(test)]
mod tests;
