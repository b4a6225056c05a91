//! Whether this node's wall clock may stamp commands.
//!
//! A leader proposes only while a majority, itself counted, is within `max_skew` of it, and while
//! its wall clock has not moved against its monotonic clock by more than that since it last asked.
//! This bounds what one wrong clock can do to entry times; it proves nothing to outsiders.

use std::collections::BTreeMap;
use std::time::Duration;

use candor_ledger::checkpoint::majority;
use candor_ledger::time::Micros;
use tokio::time::Instant;

/// How often peers are asked.
pub const ASK_EVERY: Duration = Duration::from_secs(1);
/// An answer older than this says nothing any more: five asks may be lost in a row.
const ANSWER_LIFE: Duration = Duration::from_secs(6);

/// What a leader may conclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockVerdict {
    /// One member only: there is nobody to ask, and `cluster status` says so.
    Alone,
    /// A majority agrees.
    Sure,
    /// Proposing is refused with `clock_unsure`.
    Unsure,
}

/// The last answers, and the two clocks when they were asked for.
#[derive(Clone, Debug)]
pub struct Clocks {
    max_skew: Duration,
    asked: Option<(Instant, Micros)>,
    answers: BTreeMap<u64, Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    at: Instant,
    /// Distance between the clocks, the round trip's uncertainty taken off.
    distance: Duration,
}

impl Clocks {
    /// No peer has answered yet.
    pub fn new(max_skew: Duration) -> Self {
        Self {
            max_skew,
            asked: None,
            answers: BTreeMap::new(),
        }
    }

    /// Notes both own clocks at the moment of asking.
    pub fn asked(&mut self, now: Instant, wall: Micros) {
        self.asked = Some((now, wall));
    }

    /// Notes a peer's wall clock: it was read somewhere between `sent` and `received`, when our own
    /// stood at `own_sent` and `own_received`.
    pub fn answered(
        &mut self,
        peer: u64,
        received: Instant,
        theirs: Micros,
        own_sent: Micros,
        own_received: Micros,
    ) {
        let ahead = theirs.0.saturating_sub(own_received.0);
        let behind = own_sent.0.saturating_sub(theirs.0);
        let distance = Duration::from_micros(ahead.max(behind));
        self.answers.insert(
            peer,
            Answer {
                at: received,
                distance,
            },
        );
    }

    /// Judges this node's clock among `members` (voters, itself included).
    pub fn verdict(
        &self,
        own: u64,
        members: impl IntoIterator<Item = u64>,
        now: Instant,
        wall: Micros,
    ) -> ClockVerdict {
        let (mut agreeing, mut total) = (0, 0);
        for member in members {
            total += 1;
            agreeing += usize::from(member == own || self.agrees(member, now));
        }
        match total {
            0 | 1 => ClockVerdict::Alone,
            _ if agreeing >= majority(total) && !self.jumped(now, wall) => ClockVerdict::Sure,
            _ => ClockVerdict::Unsure,
        }
    }

    fn agrees(&self, peer: u64, now: Instant) -> bool {
        self.answers.get(&peer).is_some_and(|answer| {
            now.saturating_duration_since(answer.at) <= ANSWER_LIFE
                && answer.distance <= self.max_skew
        })
    }

    /// Whether the wall clock moved against the monotonic one since peers were last asked.
    fn jumped(&self, now: Instant, wall: Micros) -> bool {
        self.asked.is_none_or(|(then, wall_then)| {
            let expected = u64::try_from(now.saturating_duration_since(then).as_micros())
                .unwrap_or(u64::MAX)
                .saturating_add(wall_then.0);
            Duration::from_micros(expected.abs_diff(wall.0)) > self.max_skew
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW: Duration = Duration::from_secs(2);
    const WALL: Micros = Micros(1_700_000_000_000_000);

    fn at(wall: Micros, seconds: i64) -> Micros {
        Micros(wall.0.saturating_add_signed(seconds * 1_000_000))
    }

    #[test]
    fn a_majority_within_the_bound_is_sure_and_a_minority_is_not() {
        let now = Instant::now();
        let mut clocks = Clocks::new(SKEW);
        assert_eq!(
            clocks.verdict(1, [1, 2, 3], now, WALL),
            ClockVerdict::Unsure
        );
        clocks.asked(now, WALL);
        clocks.answered(2, now, at(WALL, 1), WALL, WALL);
        clocks.answered(3, now, at(WALL, 90), WALL, WALL);
        assert_eq!(clocks.verdict(1, [1, 2, 3], now, WALL), ClockVerdict::Sure);
        clocks.answered(2, now, at(WALL, -3), WALL, WALL);
        assert_eq!(
            clocks.verdict(1, [1, 2, 3], now, WALL),
            ClockVerdict::Unsure
        );
        assert_eq!(clocks.verdict(1, [1], now, WALL), ClockVerdict::Alone);
    }

    #[test]
    fn a_jump_of_the_own_clock_and_old_answers_make_it_unsure() {
        let now = Instant::now();
        let mut clocks = Clocks::new(SKEW);
        clocks.asked(now, WALL);
        clocks.answered(2, now, WALL, WALL, WALL);
        let later = now + Duration::from_secs(4);
        assert_eq!(
            clocks.verdict(1, [1, 2], later, at(WALL, 4)),
            ClockVerdict::Sure
        );
        assert_eq!(
            clocks.verdict(1, [1, 2], later, at(WALL, 9)),
            ClockVerdict::Unsure
        );
        assert_eq!(
            clocks.verdict(1, [1, 2], later, at(WALL, -9)),
            ClockVerdict::Unsure
        );
        let much_later = now + Duration::from_secs(7);
        assert_eq!(
            clocks.verdict(1, [1, 2], much_later, at(WALL, 7)),
            ClockVerdict::Unsure
        );
    }
}
