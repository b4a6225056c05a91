//! A store that keeps nothing: every start folds the ledger. For simulated disks.

use candor_ledger::fold::Changes;

use super::{Claim, KeepError, StateStore, Take};

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryStore;

impl StateStore for MemoryStore {
    fn keeps(&self) -> bool {
        false
    }

    fn load(&mut self, _: &mut Take<'_>) -> Result<Option<Claim>, KeepError> {
        Ok(None)
    }

    fn keep(&mut self, _: &Changes, _: &Claim) -> Result<(), KeepError> {
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), KeepError> {
        Ok(())
    }
}
