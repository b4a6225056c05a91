//! How fast the disk takes the Raft log.

use std::time::Duration;

use tokio::time::Instant;

use crate::wal::WriteTimes;

/// Slow writes among the last eight that make a disk slow: one alone may be anything.
const SLOW_WRITES: usize = 3;
/// Writes longer ago say nothing about now.
const LATELY: Duration = Duration::from_secs(30);

/// How fast the disk takes what must be durable before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// As it should.
    #[default]
    Prompt,
    /// Write after write takes long.
    Slow,
    /// A write was begun and does not end.
    Stalled,
}

impl Pace {
    /// The pace that these writes show.
    pub(super) fn of(writes: &WriteTimes, now: Instant, slow: Duration, stalled: Duration) -> Self {
        if writes.under_way(now) >= stalled {
            Self::Stalled
        } else if writes.slower(slow, now, LATELY) >= SLOW_WRITES {
            Self::Slow
        } else {
            Self::Prompt
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_that_of_write_after_write_and_of_one_that_does_not_end() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let pace = |writes: &WriteTimes, ms: u64| {
            Pace::of(
                writes,
                at(ms),
                Duration::from_millis(100),
                Duration::from_secs(1),
            )
        };
        let mut writes = WriteTimes::default();
        assert_eq!(pace(&writes, 0), Pace::Prompt);
        // Two long ones are chance, a third under way is not.
        for (from, to) in [(0, 100), (100, 200)] {
            writes.begin(at(from));
            writes.end(at(to));
            assert_eq!(pace(&writes, to), Pace::Prompt);
        }
        writes.begin(at(300));
        assert_eq!(pace(&writes, 399), Pace::Prompt);
        assert_eq!(pace(&writes, 400), Pace::Slow);
        assert_eq!(pace(&writes, 1_299), Pace::Slow);
        assert_eq!(pace(&writes, 1_300), Pace::Stalled);
        writes.end(at(1_400));
        assert_eq!(pace(&writes, 1_400), Pace::Slow);
        // Forgotten after a while ..
        assert_eq!(pace(&writes, 30_100), Pace::Slow);
        assert_eq!(pace(&writes, 30_201), Pace::Prompt);
        // .. or when enough prompt ones came after.
        for ms in 2_000..2_006 {
            assert_eq!(pace(&writes, ms), Pace::Slow);
            writes.begin(at(ms));
            writes.end(at(ms + 1));
        }
        assert_eq!(pace(&writes, 2_006), Pace::Prompt);
    }
}
