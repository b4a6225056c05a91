//! How long writes took.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Writes remembered.
const KEPT: usize = 8;

/// The write under way, and how long the last eight took: each a group or a vote, with its sync.
#[derive(Clone, Debug, Default)]
pub struct WriteTimes {
    began: Option<Instant>,
    /// When each ended, and how long it took.
    ended: VecDeque<(Instant, Duration)>,
}

impl WriteTimes {
    pub(crate) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    pub(crate) fn end(&mut self, now: Instant) {
        let Some(began) = self.began.take() else {
            return;
        };
        if self.ended.len() == KEPT {
            self.ended.pop_front();
        }
        self.ended
            .push_back((now, now.saturating_duration_since(began)));
    }

    /// How long the write under way has lasted; zero when none is.
    pub fn under_way(&self, now: Instant) -> Duration {
        self.began
            .map_or(Duration::ZERO, |began| now.saturating_duration_since(began))
    }

    /// The longest, that under way included.
    pub fn longest(&self, now: Instant) -> Duration {
        let ended = self.ended.iter().map(|(_, took)| *took);
        ended.max().unwrap_or_default().max(self.under_way(now))
    }

    /// How many took at least so long and ended not longer than `lately` ago, that under way included.
    pub fn slower(&self, than: Duration, now: Instant, lately: Duration) -> usize {
        let counts = |(ended, took): &&(Instant, Duration)| {
            *took >= than && now.saturating_duration_since(*ended) <= lately
        };
        self.ended.iter().filter(counts).count() + usize::from(self.under_way(now) >= than)
    }
}
