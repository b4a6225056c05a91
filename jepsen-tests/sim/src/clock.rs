//! The one true time of a run, which nodes see only through their own clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use candor_ledger::time::Micros;

/// When every run begins: 2027-01-15, 08:00 UTC.
pub(crate) const EPOCH: Duration = Duration::from_hours(500_000);

/// Time since the run began. Within a host it is as fine as the host's own; outside it is that of the tick.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    pub(crate) fn now(&self) -> Duration {
        let tick = Duration::from_nanos(self.0.load(Ordering::SeqCst));
        turmoil::sim_elapsed().unwrap_or_default().max(tick)
    }

    /// What a right wall clock shows.
    pub(crate) fn wall(&self) -> Micros {
        let wall = EPOCH + self.now();
        Micros(u64::try_from(wall.as_micros()).unwrap_or(u64::MAX))
    }

    /// A tick begins.
    pub(crate) fn advance(&self, to: Duration) {
        let nanos = u64::try_from(to.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos, Ordering::SeqCst);
    }
}
