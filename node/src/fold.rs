//! The live fold, shared: apply writes it, everybody reads it.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use candor_ledger::fold::Changes;

use crate::state::{Delta, State};

/// A handle on the node's one [`State`]. A guard is never held across an await.
#[derive(Clone)]
pub struct Fold(Arc<RwLock<State>>);

impl Fold {
    /// Shares a state.
    pub fn new(state: State) -> Self {
        Self(Arc::new(RwLock::new(state)))
    }

    /// The state as of the last command applied.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a command changed: apply alone does this.
    pub(crate) fn apply(&self, changes: Changes) {
        self.write().apply(changes);
    }

    /// Splits off what changed since the last cut, for the lane that keeps the copy.
    pub(crate) fn cut(&self) -> Delta {
        self.write().cut()
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
