//! What becomes of the packets of one direction.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;

/// One direction between two hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Nothing comes through.
    pub cut: bool,
    /// Each packet is late by this ..
    pub delay: Duration,
    /// .. and by up to this more, each by itself, so that they overtake each other.
    pub jitter: Duration,
    /// Of a hundred packets so many are lost.
    pub lost: u8,
    /// Of a hundred packets so many come twice.
    pub twice: u8,
}

impl Link {
    /// Nothing comes through.
    pub const CUT: Self = Self {
        cut: true,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        lost: 0,
        twice: 0,
    };

    /// Both at once: what either does to packets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            cut: self.cut || other.cut,
            delay: self.delay.max(other.delay),
            jitter: self.jitter.max(other.jitter),
            lost: self.lost.max(other.lost),
            twice: self.twice.max(other.twice),
        }
    }

    /// When a packet arrives, counted from now: not at all, once, or twice.
    pub(super) fn arrivals(self, rng: &mut Rng) -> [Option<Duration>; 2] {
        if self.cut || happens(self.lost, rng) {
            return [None, None];
        }
        let twice = happens(self.twice, rng);
        let second = twice.then(|| self.late(rng));
        [Some(self.late(rng)), second]
    }

    fn late(self, rng: &mut Rng) -> Duration {
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        self.delay + Duration::from_micros(rng.random_range(0..=jitter))
    }
}

fn happens(percent: u8, rng: &mut Rng) -> bool {
    percent > 0 && rng.random_range(0..100) < percent
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn packets_are_lost_doubled_and_late_as_often_as_said() {
        let mut rng = Rng::seed_from_u64(7);
        let link = Link {
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(5),
            lost: 10,
            twice: 50,
            ..Link::default()
        };
        let (mut lost, mut twice) = (0, 0);
        for _ in 0..10_000 {
            let arrivals = link.arrivals(&mut rng);
            lost += u32::from(arrivals[0].is_none());
            twice += u32::from(arrivals[1].is_some());
            for late in arrivals.into_iter().flatten() {
                assert!((20..=25).contains(&late.as_millis()), "{late:?}");
            }
        }
        assert!((900..1_100).contains(&lost), "{lost} lost");
        assert!((4_300..4_700).contains(&twice), "{twice} came twice");
        assert_eq!(Link::CUT.arrivals(&mut rng), [None, None]);
        let whole = Link::default().arrivals(&mut rng);
        assert_eq!(whole, [Some(Duration::ZERO), None]);
    }
}
