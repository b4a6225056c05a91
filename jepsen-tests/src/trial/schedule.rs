//! Which fault begins and ends when: chosen before the run, by its seed.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;

/// A kind of fault that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A node is killed, and started much later: by then the log is purged beyond it.
    Away,
    /// A node is killed with SIGKILL.
    Kill,
    /// All packets of one direction to or from a node are lost.
    OneWay,
    /// Some nodes cannot reach the others, nor these them.
    Partition,
    /// A node stands still.
    Pause,
    /// Packets between all hosts are late, lost and doubled.
    Rough,
}

/// Something that the nemesis does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    /// The fault of this number begins.
    Begin(Kind, u32),
    /// It ends.
    End(Kind, u32),
    /// Another node is asked to lead.
    Transfer,
    /// The power of all nodes goes, and comes back.
    Power,
}

/// How often a kind comes and how long it lasts, in milliseconds.
struct Rhythm {
    kind: Kind,
    every: std::ops::Range<u64>,
    lasts: std::ops::Range<u64>,
}

const OF_NODES: [Rhythm; 2] = [
    Rhythm {
        kind: Kind::Kill,
        every: 4_000..9_000,
        lasts: 500..4_000,
    },
    Rhythm {
        kind: Kind::Pause,
        every: 5_000..10_000,
        lasts: 300..5_000,
    },
];
const OF_THE_NETWORK: [Rhythm; 3] = [
    Rhythm {
        kind: Kind::OneWay,
        every: 9_000..15_000,
        lasts: 1_000..6_000,
    },
    Rhythm {
        kind: Kind::Partition,
        every: 7_000..12_000,
        lasts: 1_000..7_000,
    },
    Rhythm {
        kind: Kind::Rough,
        every: 10_000..16_000,
        lasts: 3_000..8_000,
    },
];
const TRANSFER_EVERY_MS: std::ops::Range<u64> = 6_000..12_000;
/// Before the first fault, so that there is something to lose.
const CALM_MS: u64 = 3_000;

/// Acts in their order, each with its time; each kind by itself, so that faults overlap. At the end nothing
/// lasts.
pub(super) fn schedule(
    length: Duration,
    (power, network): (bool, bool),
    rng: &mut Rng,
) -> Vec<(Duration, Act)> {
    let end_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let mut acts = Vec::new();
    let of_the_network = OF_THE_NETWORK.into_iter().filter(|_| network);
    for Rhythm { kind, every, lasts } in OF_NODES.into_iter().chain(of_the_network) {
        let (mut at, mut number) = (CALM_MS, 0);
        loop {
            at += rng.random_range(every.clone());
            let until = at + rng.random_range(lasts.clone());
            if until > end_ms {
                break;
            }
            acts.push((at, Act::Begin(kind, number)));
            acts.push((until, Act::End(kind, number)));
            number += 1;
            // One of a kind at a time; kinds overlap.
            at = at.max(until.saturating_sub(every.start));
        }
    }
    let mut at = CALM_MS;
    loop {
        at += rng.random_range(TRANSFER_EVERY_MS);
        if at > end_ms {
            break;
        }
        acts.push((at, Act::Transfer));
    }
    acts.push((CALM_MS, Act::Begin(Kind::Away, 0)));
    acts.push((end_ms * 45 / 100, Act::End(Kind::Away, 0)));
    if power {
        acts.push((
            rng.random_range(end_ms * 60 / 100..end_ms * 80 / 100),
            Act::Power,
        ));
    }
    acts.sort_unstable();
    let acts = acts.into_iter();
    acts.map(|(at, act)| (Duration::from_millis(at), act))
        .collect()
}

impl Kind {
    /// As in histories.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Kill => "kill",
            Self::OneWay => "one-way",
            Self::Partition => "partition",
            Self::Pause => "pause",
            Self::Rough => "rough",
        }
    }
}
