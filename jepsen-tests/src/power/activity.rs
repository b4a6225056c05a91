//! What the nodes do when the power goes, and how it is seen from outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;

use crate::real::loop_disk::{Survey, nanoseconds};
use crate::real::{Cluster, PATIENCE, Setup, folders};
use crate::workload::{Load, Work};

const LOOK_EVERY: Duration = Duration::from_millis(1);
/// An activity that is not seen within this is not waited for: the cut is made, and not counted as one
/// in its midst.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
/// The smallest that a node accepts: the log is purged after about a hundred requests.
const PURGE: &str = "purge_bytes = 65536";
/// The same; and a member that has just installed is not waited for, as it would be for a minute, so that
/// the next one can be left behind.
const INSTALL: &str = "purge_bytes = 65536\nhold_bytes = 262144";
/// The smallest that a node accepts: tables of 2 MiB are written after some seconds of load.
const STATE: &str = "[state]\nmemory_bytes = 16777216\n\n";
/// One output that fills segments of the Raft log, of 64 MiB, quickly.
const OUTPUT_BYTES: usize = 1 << 20;

/// What takes several steps on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The Raft log is purged.
    Purge,
    /// A node that was away receives and installs a snapshot.
    Install,
    /// Files of entries, offsets and tree are full, and new ones begin.
    Roll,
    /// The fold is written into its store.
    State,
}

/// The activity of one cut.
pub(super) struct Activity {
    sign: Sign,
    folders: Vec<PathBuf>,
    before: Vec<Traces>,
}

/// What is taken for a sign of the activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// A manifest is written, which the log rests on once it is purged.
    Manifest,
    /// A segment of the log is removed.
    Segment,
    /// The first entry arrives.
    Fetching,
    /// All has arrived: the node starts again with it.
    Fetched,
    /// The ledger has grown to the snapshot, and what was fetched goes.
    Installed,
    /// The next file of entries is there.
    Rolled,
    /// A file of the store is written to.
    Written,
    /// A file of the store is made.
    Table,
}

/// What one look at a node's folder finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Traces(Vec<(PathBuf, u64, i128)>);

impl Kind {
    /// Settings that make it happen often.
    pub(super) fn settings(self, setup: Setup) -> Setup {
        match self {
            Self::Purge => setup.raft(PURGE),
            Self::Install => setup.raft(INSTALL),
            Self::Roll => setup,
            Self::State => setup.sections(STATE),
        }
    }

    /// Whether a file below the disk belongs to it.
    pub(super) fn is_about(self, name: &Path) -> bool {
        let name = name.to_string_lossy();
        let Some((_, name)) = name.split_once('/') else {
            return false;
        };
        match self {
            Self::Purge => name.starts_with("raft/") || name == "snapshot",
            Self::Install => ["incoming/", "ledger/", "raft/", "marker"]
                .iter()
                .any(|start| name.starts_with(start)),
            Self::Roll => name.starts_with("ledger/") && name.contains("000000065536"),
            Self::State => name.starts_with("state/"),
        }
    }

    fn signs(self) -> &'static [Sign] {
        match self {
            Self::Purge => &[
                Sign::Manifest,
                Sign::Manifest,
                Sign::Manifest,
                Sign::Segment,
            ],
            Self::Install => &[Sign::Fetching, Sign::Fetched, Sign::Installed],
            Self::Roll => &[Sign::Rolled],
            Self::State => &[Sign::Written, Sign::Written, Sign::Written, Sign::Table],
        }
    }
}

impl Activity {
    /// Chooses what is waited for.
    pub(super) fn choose(kind: Kind, rng: &mut Rng) -> Self {
        let signs = kind.signs();
        let at = rng.random_range(0..signs.len());
        Self {
            sign: signs.get(at).copied().unwrap_or(Sign::Written),
            folders: Vec::new(),
            before: Vec::new(),
        }
    }

    /// What else than small sets and gets makes it happen: workers of each client, and their work.
    pub(super) fn other_work(&self) -> Option<(usize, Work)> {
        match self.sign {
            Sign::Segment => Some((2, Work::Output(Arc::from(vec![0x5a; OUTPUT_BYTES])))),
            Sign::Table => Some((1, Work::Misses(256))),
            Sign::Fetching | Sign::Fetched | Sign::Installed => Some((1, Work::Misses(16))),
            Sign::Manifest | Sign::Rolled | Sign::Written => None,
        }
    }

    /// Has the cluster come near it.
    pub(super) async fn prepare(
        &mut self,
        cluster: &mut Cluster,
        rng: &mut Rng,
        loads: &mut [Load],
    ) -> anyhow::Result<()> {
        let mut watched: Vec<u64> = cluster.nodes().collect();
        if matches!(self.sign, Sign::Fetching | Sign::Fetched | Sign::Installed) {
            let leader = cluster.leader().await?;
            watched.retain(|node| *node != leader);
            let at = rng.random_range(0..watched.len());
            let absent = *watched.get(at).context("a cluster has followers")?;
            watched = vec![absent];
            leave_behind(cluster, absent, loads).await?;
            cluster.spawn(absent)?;
        }
        self.folders = watched.iter().map(|node| cluster.folder(*node)).collect();
        self.before = self.look();
        Ok(())
    }

    /// Waits until it is under way; says since when.
    pub(super) async fn seen(&mut self) -> Option<Instant> {
        let deadline = Instant::now() + SEEN_WITHIN;
        while Instant::now() < deadline {
            let now = self.look();
            let mut pairs = self.before.iter().zip(&now);
            if pairs.any(|(before, now)| self.sign.shows(before, now)) {
                return Some(Instant::now());
            }
            self.before = now;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        None
    }

    /// How long the power stays then.
    pub(super) fn wait(&self, rng: &mut Rng) -> Duration {
        let most = match self.sign {
            Sign::Manifest | Sign::Segment | Sign::Written | Sign::Table => 15_000,
            Sign::Fetching | Sign::Fetched | Sign::Installed => 80_000,
            // A marker counts the new files half a second later.
            Sign::Rolled => 500_000,
        };
        // Every fourth time at once.
        let most = if rng.random_range(0..4) == 0 { 1 } else { most };
        Duration::from_micros(rng.random_range(0..most))
    }

    /// How far it was, from what the nodes' folders held when they stood still.
    pub(super) fn stage(&self, disk: &Path, live: &Survey) -> &'static str {
        let has = |name: &str| {
            let folders = self.folders.iter();
            folders
                .filter_map(|folder| folder.strip_prefix(disk).ok())
                .filter(|folder| {
                    live.0
                        .keys()
                        .any(|file| file.starts_with(folder.join(name)))
                })
                .count()
        };
        match self.sign {
            Sign::Manifest => "a manifest was just written",
            Sign::Segment => "a segment was just removed",
            Sign::Written => "the store was just written to",
            Sign::Table => "a file of the store was just made",
            Sign::Rolled => match has("ledger/entries/000000065536.jsonl") {
                1 => "one node had rolled",
                2 => "two nodes had rolled",
                _ => "all nodes had rolled",
            },
            _ if has("incoming/install") > 0 => "fetched, not installed to the end",
            _ if has("incoming") > 0 => "fetching",
            _ if has("values-wanted") > 0 => "installed, values still wanted",
            _ => "installed",
        }
    }

    fn look(&self) -> Vec<Traces> {
        let folders = self.folders.iter();
        folders.map(|folder| self.sign.traces(folder)).collect()
    }
}

impl Sign {
    /// Whether it lies between two looks.
    fn shows(self, before: &Traces, now: &Traces) -> bool {
        let gone = || {
            before
                .names()
                .any(|name| !now.names().any(|left| left == name))
        };
        let made = || {
            now.names()
                .any(|name| !before.names().any(|was| was == name))
        };
        match self {
            Self::Manifest | Self::Written => before != now && !before.0.is_empty(),
            Self::Segment | Self::Installed => gone(),
            Self::Fetching | Self::Fetched | Self::Rolled | Self::Table => made(),
        }
    }

    fn traces(self, folder: &Path) -> Traces {
        let one = |name: &str| Traces::of(vec![folder.join(name)]);
        match self {
            Self::Manifest => one("snapshot"),
            Self::Fetching => one("incoming"),
            Self::Fetched | Self::Installed => one("incoming/install"),
            Self::Rolled => one("ledger/entries/000000065536.jsonl"),
            Self::Segment => Traces::below(&folder.join("raft")),
            Self::Written | Self::Table => Traces::below(&folder.join("state")),
        }
    }
}

impl Traces {
    fn of(files: Vec<PathBuf>) -> Self {
        let seen = files.into_iter().filter_map(|file| {
            // It may be renamed or removed at any moment.
            let meta = fs::metadata(&file).ok()?;
            Some((file, meta.len(), nanoseconds(&meta)))
        });
        Self(seen.collect())
    }

    fn below(folder: &Path) -> Self {
        // Folders are made and removed under the look.
        let Ok(names) = folders::files_below(folder) else {
            return Self::default();
        };
        let mut files: Vec<PathBuf> = names.into_iter().map(|name| folder.join(name)).collect();
        files.sort();
        Self::of(files)
    }

    fn names(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(file, _, _)| file.as_path())
    }
}

/// Kills a node, and waits until the others' logs begin behind what it has.
async fn leave_behind(
    cluster: &mut Cluster,
    absent: u64,
    loads: &mut [Load],
) -> anyhow::Result<()> {
    let last = cluster.status(absent).await?.last_log_index;
    cluster.kill(absent)?;
    let deadline = Instant::now() + PATIENCE;
    for node in cluster.nodes().filter(|node| *node != absent) {
        loop {
            // It may be electing.
            let purged = cluster.status(node).await.map(|status| status.purged_index);
            if purged.is_ok_and(|index| index > last) {
                break;
            }
            ensure!(Instant::now() < deadline, "node {node} purges nothing");
            for load in &mut *loads {
                load.wait_for(5).await?;
            }
        }
    }
    Ok(())
}
