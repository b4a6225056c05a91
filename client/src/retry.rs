//! When to try again, and when to stop.
//!
//! Waiting grows exponentially with full jitter, so that clients that failed together do not come
//! back together. A budget shared by all calls of a client bounds what retries add to the load: a
//! cluster that is down is asked once per call, and not more, when the budget is spent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::surroundings::Surroundings;

/// The longest first wait.
const WAIT_FIRST: Duration = Duration::from_millis(25);

/// The longest wait: a third of a usual election, so that a new leader is found soon.
const WAIT_MAX: Duration = Duration::from_millis(800);

/// The waits of one call.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    rounds: u32,
}

impl Backoff {
    /// How long to wait now; at least `at_least`.
    pub(crate) fn next(&mut self, around: &Surroundings, at_least: Duration) -> Duration {
        let longest = WAIT_FIRST
            .saturating_mul(1 << self.rounds.min(16))
            .min(WAIT_MAX);
        self.rounds += 1;
        let micros = u64::try_from(longest.as_micros()).expect("invariant: below a second");
        at_least + Duration::from_micros(around.below(micros))
    }
}

/// Retries that all calls of a client may still make.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Thousandths of a retry.
    balance: AtomicU64,
    max: u64,
}

/// What one retry costs.
const RETRY: u64 = 1_000;

/// What a success gives back: a fifth of a retry, so that lasting retries add at most 20 % load.
const SUCCESS: u64 = 200;

impl Budget {
    /// A full budget of so many retries.
    pub(crate) fn new(retries_max: u32) -> Self {
        let max = u64::from(retries_max) * RETRY;
        Self {
            balance: AtomicU64::new(max),
            max,
        }
    }

    /// Takes one retry; `false` when none is left.
    pub(crate) fn withdraw(&self) -> bool {
        let taken = self.change(|balance| balance.checked_sub(RETRY));
        taken.is_ok()
    }

    /// A call has succeeded.
    pub(crate) fn deposit(&self) {
        let max = self.max;
        let _ = self.change(|balance| Some(balance.saturating_add(SUCCESS).min(max)));
    }

    fn change(&self, change: impl Fn(u64) -> Option<u64>) -> Result<u64, u64> {
        self.balance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_end_when_nothing_succeeds_and_come_back_slowly() {
        let budget = Budget::new(3);
        budget.deposit();
        assert!((0..3).all(|_| budget.withdraw()));
        assert!(!budget.withdraw());
        for _ in 0..4 {
            budget.deposit();
            assert!(!budget.withdraw());
        }
        budget.deposit();
        assert!(budget.withdraw());
        assert!(!budget.withdraw());
    }

    #[test]
    fn waits_grow_to_a_bound_and_never_undercut_what_a_node_asked_for() {
        // The most that jitter can give.
        let around = Surroundings::real().with_random(|bytes| bytes.fill(0xff));
        let least = Duration::from_millis(70);
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            let wait = backoff.next(&around, least);
            assert!(wait >= least && wait <= least + WAIT_MAX, "{wait:?}");
        }
    }
}
