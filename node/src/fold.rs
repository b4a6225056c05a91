//! The live fold, shared: apply writes it, everybody reads it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use candor_ledger::fold::{Changes, ViewError};
use candor_ledger::ids::TreeSize;
use tokio::sync::Notify;

use crate::env::Disk;
use crate::state::{Cut, Engine, KeepError, Rebuild, State, StateError};
use crate::store::LedgerReader;

/// A handle on the node's one [`State`]. A guard is never held across an await.
#[derive(Clone)]
pub struct Fold(Arc<Shared>);

struct Shared {
    /// Written by apply; the marker lane lets go of what is kept.
    state: RwLock<State>,
    /// Makes the store anew when it has failed.
    engine: Box<dyn Engine>,
    /// Size of the newest durable marker that was heard of.
    durable: AtomicU64,
    /// The lane that keeps has ended: the node stops.
    ended: AtomicBool,
    /// Something was kept, or can no more be.
    kept: Notify,
}

impl Fold {
    /// Shares a state, whose store the engine made; the ledger is durable as far as it goes.
    pub fn new(state: State, engine: Box<dyn Engine>) -> Self {
        Self(Arc::new(Shared {
            engine,
            durable: AtomicU64::new(state.claim().size.0),
            state: RwLock::new(state),
            ended: AtomicBool::new(false),
            kept: Notify::new(),
        }))
    }

    /// The state as of the last command applied.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a command changed, all of it or with an error nothing: apply alone does this.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    pub fn apply(&self, changes: &Changes) -> Result<(), ViewError> {
        self.write().apply(changes)
    }

    /// Splits off what changed since the last cut, for the lane that keeps it.
    pub fn cut(&self) -> Cut {
        self.write().cut()
    }

    /// Folds the ledger's first entries anew and puts that state in the place of this one, which
    /// is given up at once.
    ///
    /// # Errors
    /// [`StateError`] when the ledger cannot be folded or no new store be made.
    pub(crate) async fn rebuild<D: Disk>(
        &self,
        ledger: &LedgerReader<D>,
        until: TreeSize,
    ) -> Result<(), StateError> {
        let (limits, durable) = (self.read().limits(), self.0.durable.load(Ordering::Acquire));
        let (engine, durable) = (self.0.engine.as_ref(), TreeSize(durable));
        let mut rebuild = Rebuild::start(engine, limits, ledger, durable, until)?;
        while rebuild.step()? {
            tokio::task::yield_now().await;
        }
        self.replace(rebuild.finish());
        Ok(())
    }

    /// Puts another state in the place of this one; cuts of the old one are kept no more.
    pub(crate) fn replace(&self, state: State) {
        let old = std::mem::replace(&mut *self.write(), state);
        drop(old);
        self.0.kept.notify_waiters();
    }

    /// Waits until changes on their way to the store leave room for more, or never will.
    pub(crate) async fn room(&self) {
        loop {
            let kept = self.0.kept.notified();
            {
                let state = self.read();
                let ended = self.0.ended.load(Ordering::Acquire);
                if !state.is_full() || state.failed().is_some() || ended {
                    return;
                }
            }
            kept.await;
        }
    }

    /// Nothing more is kept; nobody waits for it any longer.
    pub(crate) fn end_keeping(&self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.kept.notify_waiters();
    }

    /// Keeps a cut, in the order in which they were made, once the ledger is durable up to it.
    ///
    /// The long part holds no lock; what the store has taken in is then let go of in small parts.
    ///
    /// # Errors
    /// [`KeepError`], after which this state cannot be read and has to be folded again.
    pub fn keep(&self, cut: &Cut, durable: TreeSize) -> Result<(), KeepError> {
        self.0.durable.fetch_max(durable.0, Ordering::AcqRel);
        if !self.read().made(cut) {
            return Ok(());
        }
        let written = cut.write(durable);
        if written.is_err() && !self.read().made(cut) {
            return Ok(());
        }
        let mut part = 0;
        while written.is_ok() && self.write().let_go(cut, part) {
            part += 1;
        }
        self.0.kept.notify_waiters();
        written
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.0.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
