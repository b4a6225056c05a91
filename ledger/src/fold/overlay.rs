//! The state while a command is decided: what its entries changed, over what was before.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::state::{Changes, Key, Prefix, Record, StateView, ViewError};

/// Changes over a view, with what was read kept: a rule, its entry and its check ask for the same
/// records, and below may be a disk.
pub(super) struct Overlay<'a, V> {
    below: &'a V,
    changes: Changes,
    read: RefCell<BTreeMap<Vec<u8>, Option<Record>>>,
    /// For each prefix that was walked: every key below, up to and with this one, is changed here.
    /// Without it a tick that forgets 1,000 deadlines would walk past them 1,000 times.
    passed: RefCell<BTreeMap<Vec<u8>, Key>>,
}

impl<'a, V: StateView> Overlay<'a, V> {
    pub(super) fn new(below: &'a V) -> Self {
        Self {
            below,
            changes: Changes::default(),
            read: RefCell::default(),
            passed: RefCell::default(),
        }
    }

    pub(super) fn apply(&mut self, changes: Changes) {
        self.changes.merge(changes);
    }

    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }

    /// The first key below that is not changed here.
    fn next_below(
        &self,
        within: &Prefix,
        after: Option<&Key>,
    ) -> Result<Option<(Key, Record)>, ViewError> {
        let passed = self.passed.borrow().get(within.as_bytes()).cloned();
        let mut at = match (after, passed) {
            (Some(after), Some(passed)) if after.to_bytes() > passed.to_bytes() => {
                Some(after.clone())
            }
            (after, None) => after.cloned(),
            (_, passed) => passed,
        };
        let from_start = after.is_none();
        while let Some((key, record)) = self.below.next(within, at.as_ref())? {
            if !self.changes.covers(&key.to_bytes()) {
                return Ok(Some((key, record)));
            }
            if from_start {
                let mut passed = self.passed.borrow_mut();
                passed.insert(within.as_bytes().to_owned(), key.clone());
            }
            at = Some(key);
        }
        Ok(None)
    }
}

impl<V: StateView> StateView for Overlay<'_, V> {
    fn get(&self, key: &Key) -> Result<Option<Record>, ViewError> {
        if let Some(changed) = self.changes.get(key) {
            return Ok(changed.cloned());
        }
        let bytes = key.to_bytes();
        if let Some(read) = self.read.borrow().get(&bytes) {
            return Ok(read.clone());
        }
        let record = self.below.get(key)?;
        self.read.borrow_mut().insert(bytes, record.clone());
        Ok(record)
    }

    fn next(
        &self,
        within: &Prefix,
        after: Option<&Key>,
    ) -> Result<Option<(Key, Record)>, ViewError> {
        let below = self.next_below(within, after)?;
        let after = after.map(Key::to_bytes);
        let here = self.changes.next_kept(within, after.as_deref());
        let here = here.map(|(key, record)| (key.clone(), record.clone()));
        Ok(match (below, here) {
            (Some(below), Some(here)) if here.0.to_bytes() < below.0.to_bytes() => Some(here),
            (None, here) => here,
            (below, _) => below,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use proptest::prelude::*;

    use super::*;
    use crate::fold::state::{Lifecycle, MemoryState};
    use crate::ids::Seq;

    fn change(at: u64, number: Option<u64>) -> Changes {
        let (cause, mut changes) = (Seq(at), Changes::default());
        let lifecycle = |n| Record::Lifecycle(Lifecycle { n, last: cause });
        match number {
            Some(n) => changes.put(Key::Cascade { cause }, lifecycle(n)),
            None => changes.forget(Key::Cascade { cause }),
        }
        changes
    }

    proptest! {
        #[test]
        fn an_overlay_shows_what_applying_its_changes_would(
            below in prop::collection::vec((0..12_u64, 0..9_u64), 0..12),
            steps in prop::collection::vec(
                (0..12_u64, prop::option::of(0..9_u64), prop::option::of(0..12_u64)),
                1..40,
            )
        ) {
            let mut base = MemoryState::new();
            for (at, number) in below {
                base.apply(&change(at, Some(number)));
            }
            let (mut overlay, mut applied) = (Overlay::new(&base), base.clone());
            let within = Prefix::cascades();
            for (at, number, after) in steps {
                let changes = change(at, number);
                applied.apply(&changes);
                overlay.apply(changes);
                let after = after.map(|after| Key::Cascade { cause: Seq(after) });
                for after in [None, after] {
                    prop_assert_eq!(
                        overlay.next(&within, after.as_ref()).unwrap(),
                        applied.next(&within, after.as_ref()).unwrap()
                    );
                }
                let key = Key::Cascade { cause: Seq(at) };
                prop_assert_eq!(overlay.get(&key).unwrap(), applied.get(&key).unwrap());
            }
            let mut result = base.clone();
            result.apply(&overlay.into_changes());
            prop_assert_eq!(result, applied);
        }
    }
}
