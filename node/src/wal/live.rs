//! Which entries the log holds now, where they lie, and the newest of them in memory.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

/// Where a record lies; 16 bytes, held for every entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// First sequence number of its segment.
    pub(super) segment: u64,
    /// Of the record's first byte.
    pub(super) offset: u32,
    /// Of its payload.
    pub(super) len: u32,
}

/// The entries of the log, without gaps; those not written yet are always in memory.
///
/// ```text
/// range        first ......................... end
/// locations    first ............ written
/// tail                   end - tail.len() .... end     reaches down to `written` or below
/// ```
#[derive(Debug, Default)]
pub(super) struct Live {
    first: u64,
    end: u64,
    locations: VecDeque<Location>,
    tail: VecDeque<Bytes>,
    tail_bytes: usize,
}

impl Live {
    /// The indices held.
    pub(super) fn range(&self) -> Range<u64> {
        self.first..self.end
    }

    pub(super) fn first(&self) -> Option<u64> {
        (self.first < self.end).then_some(self.first)
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.first().and(self.end.checked_sub(1))
    }

    /// Whether an entry may come next: an empty log begins anywhere, else without a gap. The last
    /// number of all is left free, so that every index has one behind it.
    pub(super) fn accepts(&self, index: u64) -> bool {
        index < u64::MAX && (self.first == self.end || index == self.end)
    }

    /// Takes the next entry, not written yet.
    pub(super) fn push(&mut self, index: u64, payload: Bytes) {
        debug_assert!(self.accepts(index), "the caller has asked");
        if self.first == self.end {
            self.first = index;
        }
        self.end = index.saturating_add(1);
        self.tail_bytes += payload.len();
        self.tail.push_back(payload);
    }

    /// Says where an entry was written; entries are written in order.
    pub(super) fn written(&mut self, index: u64, location: Location) {
        debug_assert_eq!(index, self.written_end(), "written in order");
        self.locations.push_back(location);
    }

    /// Removes every entry from this index on.
    pub(super) fn truncate(&mut self, from: u64) {
        while from < self.end && self.first < self.end {
            self.end -= 1;
            if let Some(payload) = self.tail.pop_back() {
                self.tail_bytes -= payload.len();
            }
        }
        if self.first == self.end {
            (self.first, self.end) = (0, 0);
        }
        let held = usize::try_from(self.end - self.first).unwrap_or(usize::MAX);
        self.locations.truncate(held);
    }

    /// Forgets the oldest entries, those written to segments before this one.
    pub(super) fn drop_before(&mut self, segment: u64) {
        while self
            .locations
            .front()
            .is_some_and(|at| at.segment < segment)
        {
            self.locations.pop_front();
            self.first += 1;
        }
        while self.tail_first() < self.first {
            self.drop_tail_front();
        }
    }

    /// Forgets the oldest payloads that are on file, until the rest fit.
    pub(super) fn evict(&mut self, bytes_max: usize) {
        while self.tail_bytes > bytes_max && self.tail_first() < self.written_end() {
            self.drop_tail_front();
        }
    }

    /// The payload, if it is in memory.
    pub(super) fn cached(&self, index: u64) -> Option<Bytes> {
        let at = usize::try_from(index.checked_sub(self.tail_first())?).ok()?;
        self.tail.get(at).cloned()
    }

    /// Where the entry was written, if it was.
    pub(super) fn location(&self, index: u64) -> Option<Location> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.locations.get(at).copied()
    }

    /// The oldest segment that holds an entry above `upto`; `None` when none is written.
    pub(super) fn oldest_segment_above(&self, upto: u64) -> Option<u64> {
        let from = upto.saturating_add(1).max(self.first);
        self.location(from).map(|at| at.segment)
    }

    fn drop_tail_front(&mut self) {
        if let Some(payload) = self.tail.pop_front() {
            self.tail_bytes -= payload.len();
        }
    }

    fn tail_first(&self) -> u64 {
        self.end - length(self.tail.len())
    }

    fn written_end(&self) -> u64 {
        self.first + length(self.locations.len())
    }
}

fn length(len: usize) -> u64 {
    u64::try_from(len).expect("invariant: a length in memory fits 64 bits")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    fn payload(index: u64) -> Bytes {
        Bytes::from(index.to_be_bytes().to_vec())
    }

    fn at(segment: u64) -> Location {
        Location {
            segment,
            offset: 0,
            len: 8,
        }
    }

    #[test]
    fn what_is_not_written_stays_in_memory_and_the_oldest_goes_first() {
        let mut live = Live::default();
        (10..15).for_each(|index| live.push(index, payload(index)));
        live.evict(0);
        assert_eq!(live.cached(10), Some(payload(10)));
        (10..13).for_each(|index| live.written(index, at(1)));
        live.evict(24);
        assert_eq!(
            (live.cached(11), live.cached(12)),
            (None, Some(payload(12)))
        );
        live.evict(0);
        assert_eq!(
            (live.cached(12), live.cached(13)),
            (None, Some(payload(13)))
        );
        assert_eq!((live.location(12), live.location(13)), (Some(at(1)), None));
    }

    #[test]
    fn truncation_reaches_what_is_cached_what_is_on_file_and_everything() {
        let mut live = Live::default();
        (5..10).for_each(|index| live.push(index, payload(index)));
        (5..9).for_each(|index| live.written(index, at(1)));
        live.evict(8);
        live.truncate(9);
        assert_eq!((live.range(), live.cached(9)), (5..9, None));
        live.truncate(7);
        assert_eq!((live.range(), live.location(7)), (5..7, None));
        assert!(live.accepts(7) && !live.accepts(8));
        live.push(7, payload(70));
        assert_eq!(live.cached(7), Some(payload(70)));
        live.truncate(0);
        assert_eq!((live.first(), live.last()), (None, None));
        assert!(live.accepts(1_000));
    }

    #[test]
    fn old_segments_take_their_entries_along() {
        let mut live = Live::default();
        (1..7).for_each(|index| live.push(index, payload(index)));
        (1..4).for_each(|index| live.written(index, at(1)));
        (4..6).for_each(|index| live.written(index, at(4)));
        assert_eq!(live.oldest_segment_above(2), Some(1));
        assert_eq!(live.oldest_segment_above(3), Some(4));
        assert_eq!(live.oldest_segment_above(5), None);
        live.drop_before(4);
        assert_eq!((live.range(), live.location(4)), (4..7, Some(at(4))));
        assert_eq!(live.cached(6), Some(payload(6)));
    }
}
