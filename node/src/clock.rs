//! Whether this node's wall clock may stamp commands.
//!
//! A leader proposes only while a majority, itself counted, is within `max_skew` of it, and while
//! its wall clock has not moved against its monotonic clock by more than that since it last asked.
//! This bounds what one wrong clock can do to entry times; it proves nothing to outsiders.

use std::collections::BTreeMap;
use std::time::Duration;

use candor_ledger::checkpoint::majority;
use candor_ledger::planted;
use candor_ledger::time::Micros;
use tokio::time::Instant;

/// How often peers are asked.
pub const ASK_EVERY: Duration = Duration::from_secs(1);
/// An answer older than this says nothing any more: five asks may be lost in a row.
const ANSWER_LIFE: Duration = Duration::from_secs(6);

/// What the peers' answers allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockVerdict {
    /// One member only: there is nobody to ask, and `cluster status` says so.
    Alone,
    /// A majority agrees.
    Sure,
    /// Proposing is refused with `clock_unsure`.
    Unsure,
}

/// What this node knows of its wall clock; the proposer asks it before it stamps a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockView {
    /// By the peers' last answers.
    pub verdict: ClockVerdict,
    /// Each peer's clock minus this node's, as last answered, in milliseconds.
    pub offsets_ms: BTreeMap<u64, i64>,
    /// Both own clocks when peers were last asked.
    asked: Option<(Instant, Micros)>,
    max_skew: Duration,
}

impl ClockView {
    /// Before anybody was asked.
    pub fn unsure() -> Self {
        Self {
            verdict: ClockVerdict::Unsure,
            offsets_ms: BTreeMap::new(),
            asked: None,
            max_skew: Duration::ZERO,
        }
    }

    /// Whether the wall clock, which stands at `wall`, may date a command.
    pub fn may_stamp(&self, now: Instant, wall: Micros) -> bool {
        match self.verdict {
            ClockVerdict::Alone => true,
            ClockVerdict::Sure => !self.jumped(now, wall) || planted!("clock-unchecked"),
            ClockVerdict::Unsure => planted!("clock-unchecked"),
        }
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

/// The last answers, and the two clocks when they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    asked: Option<(Instant, Micros)>,
    answers: BTreeMap<u64, Answer>,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    at: Instant,
    /// What our own wall clock showed then.
    own: Micros,
    /// Distance between the clocks, the round trip's uncertainty taken off.
    distance: Duration,
    offset_ms: i64,
}

impl Clocks {
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
        let middle = own_sent.0.midpoint(own_received.0);
        let offset_ms = i64::try_from(theirs.0.abs_diff(middle) / 1_000).unwrap_or(i64::MAX);
        self.answers.insert(
            peer,
            Answer {
                at: received,
                own: own_received,
                distance: Duration::from_micros(ahead.max(behind)),
                offset_ms: if theirs.0 < middle {
                    -offset_ms
                } else {
                    offset_ms
                },
            },
        );
    }

    /// How far our wall clock moved against the monotonic one between an answer and the last asking: so much of
    /// what the answer said of it is no longer true.
    fn moved_since(&self, answer: &Answer) -> Duration {
        let Some((asked, wall)) = self.asked else {
            return Duration::MAX;
        };
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let before = micros(asked.saturating_duration_since(answer.at));
        let behind = micros(answer.at.saturating_duration_since(asked));
        let expected = answer
            .own
            .0
            .saturating_add_signed(before.saturating_sub(behind));
        Duration::from_micros(expected.abs_diff(wall.0))
    }

    /// Judges this node's clock among `members` (voters, itself included).
    pub fn judge(
        &self,
        own: u64,
        members: impl IntoIterator<Item = u64>,
        max_skew: Duration,
        now: Instant,
    ) -> ClockView {
        let fresh = |answer: &Answer| now.saturating_duration_since(answer.at) <= ANSWER_LIFE;
        let agrees = |peer: u64| {
            let answer = self.answers.get(&peer).filter(|answer| fresh(answer));
            answer.is_some_and(|answer| {
                answer.distance.saturating_add(self.moved_since(answer)) <= max_skew
            })
        };
        let (mut agreeing, mut total) = (0, 0);
        for member in members {
            total += 1;
            agreeing += usize::from(member == own || agrees(member));
        }
        let verdict = match total {
            0 | 1 => ClockVerdict::Alone,
            _ if agreeing >= majority(total) => ClockVerdict::Sure,
            _ => ClockVerdict::Unsure,
        };
        let offsets = self.answers.iter().filter(|(_, answer)| fresh(answer));
        ClockView {
            verdict,
            offsets_ms: offsets
                .map(|(peer, answer)| (*peer, answer.offset_ms))
                .collect(),
            asked: self.asked,
            max_skew,
        }
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
        let mut clocks = Clocks::default();
        let verdict = |clocks: &Clocks, members: &[u64]| {
            let view = clocks.judge(1, members.iter().copied(), SKEW, now);
            (view.verdict, view.may_stamp(now, WALL))
        };
        assert_eq!(verdict(&clocks, &[1, 2, 3]), (ClockVerdict::Unsure, false));
        clocks.asked(now, WALL);
        clocks.answered(2, now, at(WALL, 1), WALL, WALL);
        clocks.answered(3, now, at(WALL, 90), WALL, WALL);
        assert_eq!(verdict(&clocks, &[1, 2, 3]), (ClockVerdict::Sure, true));
        clocks.answered(2, now, at(WALL, -3), WALL, WALL);
        assert_eq!(verdict(&clocks, &[1, 2, 3]), (ClockVerdict::Unsure, false));
        assert_eq!(verdict(&clocks, &[1]), (ClockVerdict::Alone, true));
        let offsets = clocks.judge(1, [1, 2, 3], SKEW, now).offsets_ms;
        assert_eq!(offsets, BTreeMap::from([(2, -3_000), (3, 90_000)]));
    }

    #[test]
    fn a_clock_that_jumped_since_peers_were_asked_dates_nothing() {
        let now = Instant::now();
        let mut clocks = Clocks::default();
        clocks.asked(now, WALL);
        clocks.answered(2, now, WALL, WALL, WALL);
        let view = clocks.judge(1, [1, 2], SKEW, now);
        let later = now + Duration::from_secs(4);
        assert!(view.may_stamp(later, at(WALL, 4)));
        assert!(!view.may_stamp(later, at(WALL, 9)));
        assert!(!view.may_stamp(later, at(WALL, -9)));
    }

    #[test]
    fn an_answer_from_before_the_clock_jumped_says_nothing_of_it_any_more() {
        let now = Instant::now();
        let mut clocks = Clocks::default();
        clocks.asked(now, WALL);
        clocks.answered(2, now, WALL, WALL, WALL);
        // Asked again, and nobody answers.
        let later = now + Duration::from_secs(1);
        for (wall, verdict) in [
            (at(WALL, 1), ClockVerdict::Sure),
            (at(WALL, 1_500), ClockVerdict::Unsure),
            (at(WALL, -1_500), ClockVerdict::Unsure),
        ] {
            clocks.asked(later, wall);
            let view = clocks.judge(1, [1, 2], SKEW, later);
            assert_eq!(view.verdict, verdict);
            assert_eq!(view.may_stamp(later, wall), verdict == ClockVerdict::Sure);
        }
    }

    #[test]
    fn an_old_answer_says_nothing_any_more() {
        let now = Instant::now();
        let mut clocks = Clocks::default();
        clocks.asked(now, WALL);
        clocks.answered(2, now, WALL, WALL, WALL);
        let view = clocks.judge(1, [1, 2], SKEW, now + Duration::from_secs(7));
        assert_eq!(view.verdict, ClockVerdict::Unsure);
        assert_eq!(view.offsets_ms, BTreeMap::new());
    }
}
