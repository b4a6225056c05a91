//! The newest verified checkpoint, and the chain of those before it.
//!
//! A client believes one history. Each checkpoint it accepts is proved consistent with the newest
//! one it has accepted before, so that a log that was rolled back, or forked for this client, is
//! found out. What is remembered never moves back; on disk, it holds across runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use candor_ledger::ids::TreeSize;
use candor_ledger::note::Note;
use candor_ledger::policy::Policy;
use candor_ledger::time::Micros;

use crate::checkpoint::VerifiedCheckpoint;
use crate::durable;
use crate::error::Error;

/// Checkpoints kept in memory: answers to requests that were under way together lie under a few
/// neighbouring ones. Each is 31 KiB: 2 MiB.
const RECENT_MAX: usize = 64;

/// Least time between two writes of the file: one of 31 KiB with its fsync.
const WRITE_INTERVAL_US: u64 = 1_000_000;

/// What is remembered.
pub(crate) struct Memory {
    file: Option<PathBuf>,
    /// Held for moments, never across a wait.
    state: Mutex<State>,
    /// Held by whoever proves a new checkpoint against the newest: meanwhile none may take its
    /// place.
    pub(crate) advance: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// By size; all proved consistent with each other. The last is the newest.
    recent: BTreeMap<TreeSize, Arc<VerifiedCheckpoint>>,
    /// Size in the file, and when it was written.
    written: Option<(TreeSize, Micros)>,
}

impl Memory {
    /// Reads the file, when there is one.
    ///
    /// # Errors
    /// [`Error::Memory`] when the file cannot be read, or the policy does not accept what it says.
    pub(crate) fn open(
        file: Option<PathBuf>,
        policy: &Policy,
        origin: &str,
    ) -> Result<Self, Error> {
        let mut state = State::default();
        if let Some(path) = &file
            && let Some(bytes) = read(path)?
        {
            let remembered = VerifiedCheckpoint::accept(&bytes, policy, origin)
                .map_err(|problem| unusable(path, problem))?;
            let (size, remembered) = (remembered.size(), Arc::new(remembered));
            state.recent.insert(size, remembered);
            state.written = Some((size, Micros(0)));
        }
        Ok(Self {
            file,
            state: Mutex::new(state),
            advance: tokio::sync::Mutex::new(()),
        })
    }

    /// The newest checkpoint accepted so far.
    pub(crate) fn newest(&self) -> Option<Arc<VerifiedCheckpoint>> {
        self.lock().recent.values().next_back().cloned()
    }

    /// The accepted checkpoint with this very text, whatever its signature lines.
    pub(crate) fn accepted(&self, size: TreeSize, note: &Note) -> Option<Arc<VerifiedCheckpoint>> {
        let state = self.lock();
        let held = state.recent.get(&size)?;
        (held.note().text == note.text).then(|| Arc::clone(held))
    }

    /// A remembered checkpoint that contradicts this one, and why.
    pub(crate) fn contradiction(
        &self,
        checkpoint: &VerifiedCheckpoint,
    ) -> Option<(Arc<VerifiedCheckpoint>, String)> {
        let state = self.lock();
        state.recent.values().find_map(|held| {
            let why = held.contradicts(checkpoint)?;
            Some((Arc::clone(held), why))
        })
    }

    /// Takes in a checkpoint that was proved consistent with the newest.
    ///
    /// # Errors
    /// [`Error::Memory`] when the file cannot be written.
    pub(crate) fn admit(
        &self,
        checkpoint: &Arc<VerifiedCheckpoint>,
        now: Micros,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        state
            .recent
            .insert(checkpoint.size(), Arc::clone(checkpoint));
        while state.recent.len() > RECENT_MAX {
            state.recent.pop_first();
        }
        let due = state
            .written
            .is_none_or(|(_, at)| at.0.saturating_add(WRITE_INTERVAL_US) <= now.0);
        if due {
            self.write(&mut state, now)
        } else {
            Ok(())
        }
    }

    /// Writes the newest to the file, unless it is there.
    pub(crate) fn flush(&self, now: Micros) -> Result<(), Error> {
        self.write(&mut self.lock(), now)
    }

    fn write(&self, state: &mut State, now: Micros) -> Result<(), Error> {
        let (Some(path), Some(newest)) = (&self.file, state.recent.values().next_back()) else {
            return Ok(());
        };
        if state.written.is_some_and(|(size, _)| size >= newest.size()) {
            return Ok(());
        }
        durable::replace(path, newest.note().encode().as_bytes())
            .map_err(|error| unusable(path, error))?;
        state.written = Some((newest.size(), now));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("invariant: nothing panics while holding it")
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "takes what callers have")]
fn unusable(path: &Path, problem: impl ToString) -> Error {
    Error::Memory {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}
