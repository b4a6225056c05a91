//! How a node comes to its state: from the store if the ledger bears it out, else by folding.

use std::ops::Bound;
use std::sync::Arc;

use candor_ledger::entry::{Entry, EntryError};
use candor_ledger::fold::{Changes, FoldError, Key, StateDigest, ViewError, evolve_all};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::planted;

use super::store::{Engine, KeepError, StateStore, open_record};
use super::{CHECK_RECORDS, Claim, MemoryLimits, State, unreadable};
use crate::env::Disk;
use crate::store::{LedgerReader, Marker, StoreError};

/// Bytes of entries that a fold reads at a time.
const REPLAY_BYTES: u64 = 4 * 1024 * 1024;
/// Entries whose changes are taken in together.
const FOLD_ENTRIES: usize = 1_000;
/// Records or entries between two lines of the log.
const PROGRESS: u64 = 1_000_000;

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
    /// The store could not be deleted, made or written.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The store could not be read while entries were folded into it.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// Where the state of a start came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOrigin {
    /// From the store at this size; what was appended later was folded on top.
    Loaded {
        /// Size of the ledger when the store last took in a cut.
        size: TreeSize,
    },
    /// Folded from the first entry.
    Rebuilt {
        /// What was wrong with the store.
        why: String,
    },
}

/// The state of a ledger that was just opened, at the size of its marker.
///
/// Cost: reads the store, or else folds every entry; memory within the limits either way.
///
/// # Errors
/// [`StateError`] when the ledger cannot be folded, whatever the store says, or a new store cannot
/// be made.
pub fn open<D: Disk>(
    engine: &dyn Engine,
    limits: MemoryLimits,
    ledger: &LedgerReader<D>,
    marker: &Marker,
) -> Result<(State, StateOrigin), StateError> {
    let (mut rebuild, origin) = match check(engine, limits, ledger, marker.size) {
        Ok(state) => {
            let (durable, until) = (marker.size, marker.size);
            let ledger = ledger.clone();
            let origin = StateOrigin::Loaded { size: state.size };
            let rebuild = Rebuild {
                state,
                ledger,
                durable,
                until,
            };
            (rebuild, origin)
        }
        Err(why) => {
            let why = why.0;
            tracing::warn!(%why, entries = %marker.size, "the state is folded from the first entry");
            let rebuild = Rebuild::start(engine, limits, ledger, marker.size, marker.size)?;
            (rebuild, StateOrigin::Rebuilt { why })
        }
    };
    while rebuild.step()? {}
    Ok((rebuild.finish(), origin))
}

/// A state being folded, a few entries at a time.
pub struct Rebuild<D: Disk> {
    state: State,
    ledger: LedgerReader<D>,
    /// Nothing beyond is kept.
    durable: TreeSize,
    until: TreeSize,
}

impl<D: Disk> Rebuild<D> {
    /// Deletes the store and starts with the first entry, to end at size `until`; the ledger is
    /// durable up to `durable`.
    ///
    /// # Errors
    /// [`StateError`] when the store cannot be deleted or made anew.
    pub fn start(
        engine: &dyn Engine,
        limits: MemoryLimits,
        ledger: &LedgerReader<D>,
        durable: TreeSize,
        until: TreeSize,
    ) -> Result<Self, StateError> {
        engine.wipe()?;
        Ok(Self {
            state: State::empty(engine.open()?, limits),
            ledger: ledger.clone(),
            durable,
            until,
        })
    }

    /// Folds some megabytes of entries, and says whether more are to come.
    ///
    /// # Errors
    /// [`StateError`]; the rebuilding has failed then.
    pub fn step(&mut self) -> Result<bool, StateError> {
        let next = self.state.size.0;
        if next >= self.until.0 {
            return Ok(false);
        }
        let range = Seq(next)..Seq(self.until.0);
        let lines = self.ledger.entries(range, REPLAY_BYTES)?;
        for lines in lines.chunks(FOLD_ENTRIES) {
            self.fold(lines)?;
        }
        let size = self.state.size;
        if next / PROGRESS != size.0 / PROGRESS {
            tracing::info!(%size, until = %self.until, "folding the ledger");
        }
        Ok(size < self.until)
    }

    /// The state, once there are no more steps.
    pub fn finish(self) -> State {
        self.state
    }

    fn fold<B: AsRef<[u8]>>(&mut self, lines: &[B]) -> Result<(), StateError> {
        let mut entries = Vec::with_capacity(lines.len());
        for (seq, line) in (self.state.size.0..).zip(lines) {
            let seq = Seq(seq);
            let entry = Entry::parse(line.as_ref());
            let entry = entry.map_err(|error| StateError::Entry { seq, error })?;
            entries.push((entry, line.as_ref()));
        }
        let entries = entries.iter().map(|(entry, line)| (entry, *line));
        let mut changes = evolve_all(&self.state, entries)?;
        if planted!("requests-unfolded") {
            changes = without_requests(&changes);
        }
        self.state.apply(&changes)?;
        if self.state.wants_cut() && self.state.size <= self.durable {
            let cut = self.state.cut();
            cut.write(self.durable)?;
            let mut part = 0;
            while self.state.let_go(&cut, part) {
                part += 1;
            }
        }
        Ok(())
    }
}

/// All that entries change but for what is known of requests, as a fold would that is wrong.
fn without_requests(changes: &Changes) -> Changes {
    let others = changes
        .iter()
        .filter(|(key, _)| !matches!(key, Key::Request { .. }));
    others
        .map(|(key, record)| (key.clone(), record.cloned()))
        .collect()
}

/// Reads the whole store and believes it only as far as the ledger bears it out.
fn check<D: Disk>(
    engine: &dyn Engine,
    limits: MemoryLimits,
    ledger: &LedgerReader<D>,
    durable: TreeSize,
) -> Result<State, KeepError> {
    let refused = |problem: String| Err(KeepError(problem));
    let store = engine.open()?;
    let Some(claim) = store.claim()? else {
        return refused("there is none".to_owned());
    };
    if planted!("state-ahead") {
        return State::load(&store, claim, limits);
    }
    if claim.size > durable {
        return refused(format!(
            "it is of size `{}`, ahead of the marker at `{durable}`",
            claim.size
        ));
    }
    let head = ledger.head_at(claim.size).map_err(unreadable)?;
    if claim.head != head {
        let (size, kept) = (claim.size, claim.head);
        return refused(format!(
            "at size `{size}` it has head `{kept}`, the ledger `{head}`"
        ));
    }
    State::load(&store, claim, limits)
}

impl State {
    /// The state that a store claims to hold, if its records are those.
    pub(super) fn load(
        store: &Arc<dyn StateStore>,
        claim: Claim,
        limits: MemoryLimits,
    ) -> Result<Self, KeepError> {
        let mut state = Self::empty(Arc::clone(store), limits);
        let digest = read_all(store.as_ref(), &state)?;
        if claim.digest != digest {
            let found = Claim { digest, ..claim };
            return Err(KeepError(format!("it claims {claim} but holds {found}")));
        }
        state.kept.start_from(claim);
        state.cut = Some(claim);
        (state.size, state.head, state.digest) = (claim.size, claim.head, claim.digest);
        Ok(state)
    }
}

/// The digest of all records; each subject among them is told to the state.
fn read_all(store: &dyn StateStore, state: &State) -> Result<StateDigest, KeepError> {
    let (mut digest, mut records) = (StateDigest::default(), 0_u64);
    let mut last: Option<Vec<u8>> = None;
    loop {
        let from = last.as_deref();
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let found = store.range(from, CHECK_RECORDS)?;
        for (key, kept) in &found {
            if last.as_ref().is_some_and(|last| last >= key) {
                return Err(KeepError("its keys are out of order".to_owned()));
            }
            digest.add(key, open_record(key, kept)?);
            state.kept.expect(key);
            records += 1;
            if records.is_multiple_of(PROGRESS) {
                tracing::info!(records, "checking the kept state");
            }
        }
        match found.into_iter().next_back() {
            None => return Ok(digest),
            Some((key, _)) => last = Some(key),
        }
    }
}
