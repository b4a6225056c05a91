//! Silent damage at rest, and how a node says that it has healed.

use candor_node::env::sim::{SECTOR_BYTES, SimDisk};
use candor_node::env::{Disk as _, DiskFile as _, OpenMode};
use candor_proto::cluster_v1 as wire;
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::seq::IndexedRandom as _;

/// What a node must be able to get back, or to write anew: all but its keys, and the genesis under which it runs.
const BELOW: [&str; 3] = ["ledger", "values", "raft"];
const MARKERS: [&str; 2] = ["marker.0", "marker.1"];
/// Places in one go.
const PLACES_MAX: u64 = 12;

/// Changes bytes of a disk in some places; in how many.
pub(crate) fn spoil(disk: &SimDisk, rng: &mut Rng) -> u64 {
    let mut files = Vec::new();
    for dir in BELOW {
        below(disk, dir, &mut files);
    }
    files.extend(MARKERS.map(str::to_owned));
    let places = rng.random_range(1..=PLACES_MAX);
    (0..places)
        .map(|_| u64::from(spoil_one(disk, &files, rng).is_some()))
        .sum()
}

fn spoil_one(disk: &SimDisk, files: &[String], rng: &mut Rng) -> Option<()> {
    let path = files.choose(rng)?;
    let file = disk.open(path, OpenMode::Read).ok()?;
    let len = usize::try_from(file.len().ok()?)
        .ok()
        .filter(|len| *len > 0)?;
    let at = rng.random_range(0..len);
    let sector = at - at % SECTOR_BYTES;
    match rng.random_range(0..4) {
        0 | 1 => disk.flip_bit(path, at, rng.random_range(0..8)).ok()?,
        2 => disk.overwrite(path, sector, &[0; SECTOR_BYTES]).ok()?,
        _ => {
            // What was meant for another place.
            let other = disk.open(files.choose(rng)?, OpenMode::Read).ok()?;
            let len = usize::try_from(other.len().ok()?).ok()?;
            let from = rng.random_range(0..=len) / SECTOR_BYTES * SECTOR_BYTES;
            let mut bytes = [0; SECTOR_BYTES];
            other.read_at(&mut bytes, u64::try_from(from).ok()?).ok()?;
            disk.overwrite(path, sector, &bytes).ok()?;
        }
    }
    tracing::info!(path, at, "spoilt");
    Some(())
}

fn below(disk: &SimDisk, dir: &str, files: &mut Vec<String>) {
    for entry in disk.list(dir).unwrap_or_default() {
        let path = format!("{dir}/{}", entry.name);
        if entry.is_dir {
            below(disk, &path, files);
        } else {
            files.push(path);
        }
    }
}

/// What a node says of its verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Passes that came to their end.
    pub(crate) passes: u64,
    /// Entries that the last of them covered.
    pub(crate) entries: u64,
    /// Entries that the node holds.
    pub(crate) held: u64,
    /// Whether the node knows of damage.
    pub(crate) knows_damage: bool,
}

impl Verified {
    /// From a node's metrics and status.
    pub(crate) fn read(metrics: &str, status: &wire::GetStatusResponse) -> Self {
        let metric = |name: &str| {
            let mut lines = metrics.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value
                .and_then(|value| value.parse().ok())
                .unwrap_or_default()
        };
        Self {
            passes: metric("candor_verifier_passes_total"),
            entries: metric("candor_verifier_entries"),
            held: status.ledger_size,
            knows_damage: !status.damages.is_empty(),
        }
    }

    /// Whether all that was damaged before `since` was said is healed now: one pass may have been on its way,
    /// the one behind it covers all that was held.
    pub(crate) fn heals(self, since: Self) -> bool {
        !self.knows_damage && self.passes >= since.passes + 2 && self.entries >= since.held
    }
}
