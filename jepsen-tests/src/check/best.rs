//! The best of what lies before a place, in the logarithm of its number.

use std::collections::BTreeMap;

/// Values at places, of which only those are kept that are greater than all before them.
#[derive(Debug)]
pub(super) struct Best<V> {
    steps: BTreeMap<u64, V>,
}

impl<V> Default for Best<V> {
    fn default() -> Self {
        let steps = BTreeMap::new();
        Self { steps }
    }
}

impl<V: Copy + Ord> Best<V> {
    pub(super) fn put(&mut self, at: u64, value: V) {
        let before = self.steps.range(..=at).next_back();
        if before.is_some_and(|(_, before)| *before >= value) {
            return;
        }
        let behind = self.steps.range(at..);
        let beaten: Vec<u64> = behind
            .take_while(|(_, behind)| **behind <= value)
            .map(|(at, _)| *at)
            .collect();
        for at in beaten {
            self.steps.remove(&at);
        }
        self.steps.insert(at, value);
    }

    /// The greatest value at a place before this one.
    pub(super) fn before(&self, at: u64) -> Option<V> {
        self.steps.range(..at).next_back().map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_greatest_of_all_that_were_put_before() {
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let (mut best, mut all) = (Best::default(), Vec::new());
        for _ in 0..2_000 {
            let (at, value, asked) = (next(50), next(1_000), next(52));
            best.put(at, value);
            all.push((at, value));
            if all.len() % 40 == 0 {
                (best, all) = (Best::default(), Vec::new());
            }
            let before = all.iter().filter(|(at, _)| *at < asked);
            let greatest = before.map(|(_, value)| *value).max();
            assert_eq!(best.before(asked), greatest, "before {asked} of {all:?}");
        }
    }
}
