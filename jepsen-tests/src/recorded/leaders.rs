//! Who led, by the nodes' own words.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Everybody who said that it leads, by term, and within a term by node: openraft's advanced leader ids allow a
/// second leader in a term, which ends the first.
#[derive(Debug, Default)]
pub struct Leaders(Mutex<BTreeSet<(u64, u64)>>);

impl Leaders {
    /// A node said that it leads in this term.
    pub fn saw(&self, term: u64, node: u64) {
        self.all().insert((term, node));
    }

    /// Who leads, as far as was seen.
    pub fn last(&self) -> Option<u64> {
        self.all().last().map(|(_, node)| *node)
    }

    /// How often another node led than before.
    pub fn changes(&self) -> usize {
        let in_order: Vec<u64> = self.all().iter().map(|(_, node)| *node).collect();
        let pairs = in_order.windows(2);
        pairs.filter(|pair| pair.first() != pair.last()).count()
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<(u64, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
