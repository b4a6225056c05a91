//! Which checkpoints an age has made superfluous.
//!
//! A checkpoint is kept while it is young; then the last of each minute is, and later the last of
//! each hour. Minutes and hours are those of UTC, so which one is the last does not depend on when
//! somebody looks. The last one under a key set is kept for good: it is signed with the keys that
//! the next ones replaced, and so what ties the new keys to the old.
//!
//! What goes is a function of the list of kept checkpoints, of the time of the newest and of the
//! ages asked for. A [`Thinner`] remembers only how far nothing is left to do, so one that starts
//! anew over the same list, after a restart or an install, drops the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use candor_ledger::time::Micros;

use super::checkpoints::Kept;

/// Checkpoints dropped when one is taken. Ten a second are made at the default interval, of which
/// 9.8 a second go an hour later: a log that was silent for so long that all are overdue has caught
/// up with 36,000 after as many as 36.
pub(super) const DROPPED_MAX: usize = 1_000;

const MINUTE_US: u64 = 60_000_000;
const HOUR_US: u64 = 60 * MINUTE_US;

/// The ages from which on fewer checkpoints are kept: parameters of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThinAges {
    /// From here on the last of each minute.
    pub minute_after_ms: u64,
    /// From here on the last of each hour.
    pub hour_after_ms: u64,
}

/// How far each pass has come: the first size that it has not looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thinner {
    hours: u64,
    minutes: u64,
}

impl Thinner {
    /// The sizes to drop now that the newest of `kept` was taken, at most [`DROPPED_MAX`]; the
    /// caller drops them all.
    ///
    /// Cost: those that came of age since the last call; of a new thinner all of age.
    pub(super) fn superfluous(
        &mut self,
        kept: &BTreeMap<u64, Kept>,
        ages: ThinAges,
    ) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let Some(now) = kept.last_key_value().map(|(_, newest)| newest.sealed) else {
            return found;
        };
        let hourly = Pass {
            kept,
            now,
            after_ms: ages.hour_after_ms,
            slot_us: HOUR_US,
        };
        self.hours = hourly.run(self.hours, &mut found);
        let minutely = Pass {
            after_ms: ages.minute_after_ms,
            slot_us: MINUTE_US,
            ..hourly
        };
        self.minutes = minutely.run(self.minutes, &mut found);
        found
    }
}

/// Of each slot of time the last checkpoint stays.
struct Pass<'a> {
    kept: &'a BTreeMap<u64, Kept>,
    now: Micros,
    after_ms: u64,
    slot_us: u64,
}

impl Pass<'_> {
    /// Looks at what is of age at the time of the newest, from size `from` on, and returns where it
    /// stopped.
    fn run(&self, from: u64, found: &mut BTreeSet<u64>) -> u64 {
        for (size, kept) in self.kept.range(from..) {
            let of_age = kept.sealed.plus_millis(self.after_ms) < self.now;
            if !of_age || found.len() >= DROPPED_MAX {
                return *size;
            }
            if self.gives_way(*size, kept) {
                found.insert(*size);
            }
        }
        // Everything there is was of age, which the newest never is.
        from
    }

    fn gives_way(&self, size: u64, kept: &Kept) -> bool {
        let later = (Bound::Excluded(size), Bound::Unbounded);
        let next = self.kept.range(later).next();
        let slot = |kept: &Kept| kept.sealed.0 / self.slot_us;
        !kept.last_of_keys && next.is_some_and(|(_, next)| slot(next) == slot(kept))
    }
}

#[cfg(test)]
mod tests;
