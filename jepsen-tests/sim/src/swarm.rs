//! What the seed chooses before anything runs: a run with every fault on hides what needs one fault only.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use serde::{Deserialize, Serialize};

use crate::streams::stream;

/// A kind of fault; its name is the one in histories and on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The wall clock of a node is off, by less than the cluster bears.
    Clock,
    /// The wall clock of a node is off by up to an hour.
    ClockFar,
    /// Bytes in the files of one node change silently.
    Corrupt,
    /// Packets between some hosts and the others are lost.
    Cut,
    /// The disk of a node has little room left, or none.
    Full,
    /// A leader hands over.
    HandOver,
    /// Packets between some hosts and the others wait until it is over.
    Hold,
    /// The process of a node dies.
    Kill,
    /// A node joins, votes, and leaves again.
    Member,
    /// Packets from one host to another are lost, and not those of the other direction.
    OneWay,
    /// The power of a node goes.
    Power,
    /// The power of all nodes goes at once.
    PowerAll,
    /// Packets take long.
    Slow,
    /// A sync fails, and the disk forgets what it should have kept.
    Sync,
}

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    pub(crate) seed: u64,
    pub(crate) nodes: u64,
    pub(crate) clients: u64,
    /// Between two questions of a client.
    pub(crate) pause: Duration,
    /// Which faults exist.
    pub(crate) faults: BTreeSet<Kind>,
    /// How long they come.
    pub(crate) length: Duration,
    /// Faults come so many times as fast as usual, and last as much shorter.
    pub(crate) pace: u64,
    /// Packets take this long at the most, where nothing is slow.
    pub(crate) latency: Duration,
    /// Of the nodes' configurations.
    pub(crate) seal_every_ms: u64,
    pub(crate) heartbeat_ms: u64,
    pub(crate) purge_bytes: u64,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::ClockFar => "clock-far",
            Self::Corrupt => "corrupt",
            Self::Cut => "cut",
            Self::Full => "full",
            Self::HandOver => "hand-over",
            Self::Member => "member",
            Self::Hold => "hold",
            Self::Kill => "kill",
            Self::OneWay => "one-way",
            Self::Power => "power",
            Self::PowerAll => "power-all",
            Self::Slow => "slow",
            Self::Sync => "sync",
        }
    }
}

impl Swarm {
    /// The run of a seed, without some faults that it may have chosen.
    pub(crate) fn of(seed: u64, length: Duration, without: &[Kind]) -> Self {
        let mut rng = stream(seed, "swarm");
        let nodes = *[3, 3, 5].choose(&mut rng).unwrap_or(&3);
        let mut faults: BTreeSet<Kind> = Kind::value_variants()
            .iter()
            .copied()
            .filter(|_| rng.random_range(0..10) < 5)
            .collect();
        let one = Kind::value_variants().choose(&mut rng);
        faults.extend(one);
        faults.retain(|kind| !without.contains(kind));
        Self {
            seed,
            nodes,
            clients: rng.random_range(4..=10),
            pause: Duration::from_millis(rng.random_range(20..=120)),
            faults,
            length,
            pace: *[1, 1, 2, 4].choose(&mut rng).unwrap_or(&1),
            latency: Duration::from_millis(rng.random_range(1..=10)),
            seal_every_ms: rng.random_range(200..=1_500),
            heartbeat_ms: rng.random_range(50..=150),
            purge_bytes: 65_536 << rng.random_range(0..3),
        }
    }
}
