//! A crash at every step of a history, and at every step of the recovery from it.

use std::fmt::Debug;
use std::ops::Range;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::{Crash, History, Pending, SECTOR_BYTES, SimDisk, Tear};

/// Where a story was cut off.
#[derive(Clone, Debug)]
pub(crate) struct At {
    /// Steps of the story that were done.
    pub(crate) step: usize,
    /// How it ended there.
    pub(crate) end: End,
    /// After so many steps of the recovery another crash came.
    pub(crate) again: Option<(usize, Crash)>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With the machine.
    Crash(Crash),
    /// Alone: what it wrote is still seen, and on no disk.
    Killed,
}

/// How thorough to be: the cost is that of `look`, which differs from protocol to protocol.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// The recovery is crashed at its steps too for one in so many crashes.
    pub(crate) again: usize,
    /// And for one in so many deaths of the process alone, of which each is followed by a crash at the
    /// end of the recovery.
    pub(crate) again_killed: usize,
    /// At these steps of the story it is crashed whatever came before.
    pub(crate) closely: Range<usize>,
    /// Writes of a step that are torn, at most: the last, and others by throw of a coin.
    pub(crate) torn: usize,
}

/// Steps of a recovery that are tried, about, when there are more.
const STEPS_AGAIN: usize = 40;

/// Looks at the disk after every crash at each step of a history, and after every crash at each step
/// of what looking did. Returns how many states that were.
///
/// `look` recovers, checks and says what it found. Once the recovery has ended nothing may change
/// that any more: a process goes by what it found, also when its predecessor had died alone and what
/// it found was on no disk.
pub(crate) async fn every_crash<T: Debug + PartialEq>(
    history: &History,
    pace: Pace,
    mut look: impl AsyncFnMut(&SimDisk, &At) -> T,
) -> usize {
    let mut states = 0_usize;
    for step in 0..=history.len() {
        let before = history.disk_after(step);
        let ends = crashes(&before.pending(), step, pace.torn);
        for end in ends.into_iter().map(End::Crash).chain([End::Killed]) {
            let disk = before.fork();
            match &end {
                End::Crash(crash) => disk.crash(crash),
                End::Killed => disk.kill(),
            }
            disk.record();
            let mut at = At {
                step,
                end,
                again: None,
            };
            let found = look(&disk, &at).await;
            states += 1;
            let (count, of) = match at.end {
                End::Killed => (step, pace.again_killed),
                End::Crash(_) => (states, pace.again),
            };
            let recovery = disk.history().expect("invariant: it is being recorded");
            let stride = recovery.len() / STEPS_AGAIN + 1;
            let again = count.is_multiple_of(of) || pace.closely.contains(&step);
            let steps = if again { 0..recovery.len() } else { 0..0 };
            // Behind the last step what was found counts, so it must be on disk.
            let end = (at.end == End::Killed || !steps.is_empty()).then_some(recovery.len());
            for inner in steps.step_by(stride).chain(end) {
                let half = recovery.disk_after(inner);
                for crash in few(&half.pending(), states + inner) {
                    let disk = half.fork();
                    disk.crash(&crash);
                    at.again = Some((inner, crash));
                    let twice = look(&disk, &at).await;
                    assert!(
                        twice == found || inner < recovery.len(),
                        "{at:?}: {twice:?}, and before the second crash {found:?}"
                    );
                    states += 1;
                }
            }
        }
    }
    states
}

/// What may be left of these operations: of a few every subset; of more all, none, names without
/// content and the other way round, and some by throw of a coin; of the writes also parts.
fn crashes(pending: &[Pending], seed: usize, torn: usize) -> Vec<Crash> {
    let count = pending.len();
    let mut crashes = vec![Crash::DropAll];
    if count <= 3 {
        let subset = |set: usize| (0..count).filter(|at| set >> at & 1 == 1).collect();
        crashes.extend((1..1 << count).map(|set| Crash::Subset(subset(set))));
    } else {
        crashes.extend([count, count - 1].map(Crash::Prefix));
        let last = count - 1;
        crashes.push(Crash::Subset([last].into()));
        for names in [true, false] {
            let is_name = |at: &usize| (pending.get(*at) == Some(&Pending::Name)) == names;
            crashes.push(Crash::Subset((0..count).filter(is_name).collect()));
        }
        let seed = u64::try_from(seed).unwrap_or(0) * 16;
        crashes.extend((seed..seed + 3).map(Crash::Seeded));
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(u64::try_from(seed).unwrap_or(0));
    let writes: Vec<(usize, usize, usize)> = pending.iter().enumerate().filter_map(write).collect();
    for left in 0..torn.min(writes.len()) {
        let chosen = match left {
            0 => writes.len() - 1,
            _ => rng.random_range(0..writes.len()),
        };
        let (kept, offset, len) = writes.get(chosen).copied().unwrap_or_default();
        let tears = tears(offset, len).into_iter();
        crashes.extend(tears.map(|tear| Crash::Torn { kept, tear }));
    }
    crashes
}

/// The crashes of a recovery: those that found something once, in any protocol.
fn few(pending: &[Pending], seed: usize) -> Vec<Crash> {
    let count = pending.len();
    let mut crashes = vec![Crash::DropAll];
    if count > 0 {
        let seed = u64::try_from(seed).unwrap_or(0);
        crashes.extend([Crash::Prefix(count), Crash::Seeded(seed)]);
    }
    if let Some((kept, _, len)) = pending.iter().enumerate().filter_map(write).next_back() {
        let tear = Tear::Garbage(len / 2);
        crashes.push(Crash::Torn { kept, tear });
    }
    crashes
}

fn write((at, pending): (usize, &Pending)) -> Option<(usize, usize, usize)> {
    match pending {
        Pending::Write { offset, len } => Some((at, *offset, *len)),
        Pending::Length | Pending::Name => None,
    }
}

/// The tears of a write in its first, a middle and its last sector, and at their borders.
fn tears(offset: usize, len: usize) -> Vec<Tear> {
    // Sectors are the disk's, and a write may begin inside one.
    let border = |sector: usize| (sector * SECTOR_BYTES).saturating_sub(offset).min(len);
    let first = offset / SECTOR_BYTES;
    let last = (offset + len.saturating_sub(1)) / SECTOR_BYTES;
    let mut tears = vec![Tear::Length];
    let mut sectors = vec![first, first.midpoint(last), last];
    sectors.dedup();
    for sector in sectors {
        let (start, end) = (border(sector), border(sector + 1));
        let inside = start + (end - start) / 3;
        let bit = 1_u64.checked_shl(u32::try_from(sector - first).unwrap_or(64));
        let bit = bit.unwrap_or(0);
        tears.extend([
            Tear::Garbage(inside),
            Tear::Head(inside),
            Tear::Head(end),
            Tear::Sectors(bit),
            Tear::Sectors(!bit),
            Tear::Tail(inside),
        ]);
    }
    tears
}
