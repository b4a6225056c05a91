//! One command each: its arguments, and the figures of a run as `node/ARCHITECTURE.md` has them.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod full;
pub(crate) mod grow;
pub(crate) mod long;
pub(crate) mod power;
pub(crate) mod smoke;
pub(crate) mod state;
pub(crate) mod volume;

use candor_jepsen::long::Spread;
use clap::Args;

/// What random choices begin from.
#[derive(Args)]
pub(crate) struct Seed {
    /// Chooses the moments; random if absent, and printed.
    #[arg(long)]
    seed: Option<u64>,
}

impl Seed {
    pub(crate) fn choose(&self) -> u64 {
        self.seed.unwrap_or_else(rand::random)
    }
}

pub(crate) fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// A row for each node: its Raft log on disk, and its memory.
pub(crate) fn print_spreads(nodes: &[(u64, Spread, Spread)]) {
    for (node, log, memory) in nodes {
        let [log, memory] = [log, memory].map(|of| {
            let [min, median, max] = [of.min, of.median, of.max].map(mib);
            format!("{min} / {median} / {max} MiB")
        });
        println!("| node {node}: Raft log on disk, memory; min / median / max | {log}, {memory} |");
    }
}
