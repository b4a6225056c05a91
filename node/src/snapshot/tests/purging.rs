//! Every crash while the Raft log is purged beside the markers that allow it.

use super::*;
use crate::consensus::testing::LogOnDisk;
use crate::env::sim::every_crash::{At, Pace, every_crash};
use crate::env::sim::{SimDisk, SimEnv};
use crate::store::{Ledger, Opened, StoreError};
use crate::wal::{Limits, Wal};

/// Commands of the story; each makes one entry.
const COMMANDS: u64 = 12;

/// Two commands fill a segment.
fn small() -> Limits {
    Limits {
        segment_bytes: 2_048,
        group_bytes: 1_024,
        ..Limits::default()
    }
}

/// What had come to the disk by which step.
#[derive(Default)]
struct Story {
    appended: Vec<(usize, u64)>,
    marked: Vec<(usize, u64)>,
}

async fn log_of(disk: &SimDisk) -> LogOnDisk {
    let env = SimEnv::new(disk.clone(), 1);
    let (wal, recovered) = Wal::open(&env, "raft", small()).unwrap();
    LogOnDisk::open(wal, &recovered).await
}

/// One life: what the log has and the ledger has not is applied; then commands come, markers are
/// written, and behind every second one the log is purged as far as it may.
async fn live(disk: &SimDisk, until: u64, story: &mut Story) {
    let Opened {
        mut ledger,
        mut markers,
        marker,
        ..
    } = Ledger::open(disk.clone()).unwrap();
    let mut log = log_of(disk).await;
    let shelf = Shelf::load(disk, marker.last_applied, marker.size).unwrap();
    let next = ledger.size().0 + 1;
    let held = log.from(next).last().map_or(next - 1, |last| last.index);
    for index in next..=until {
        if index > held {
            log.append(pos(index), vec![b'x'; 700].into()).await;
            story.appended.push((disk.history_len(), index));
        }
        ledger.append(&entries(index - 1..index)).unwrap();
        if index > 4 {
            shelf.sealed(manifest(index));
        }
        if index % 2 == 0 {
            let draft = ledger.draft_marker(Some(pos(index)), None, TreeSize(0));
            markers.write(draft).unwrap();
            story.marked.push((disk.history_len(), index));
            shelf.durable(markers.purgeable(), markers.newest().size);
        }
        let newest = shelf.newest_manifest().filter(|_| index % 4 == 0);
        if let Some(newest) = newest {
            // As `purge.rs` does it.
            newest.store(disk, FILE).unwrap();
            log.purge(newest.at).await;
        }
    }
    log.wal.close().await;
}

/// The log goes on where the ledger ends, whichever marker a start can read, and holds all that was
/// acknowledged; where it begins behind something, a snapshot stands for that.
async fn check(disk: &SimDisk, story: &Story, at: &At) -> (u64, Option<u64>) {
    let by = |done: &[(usize, u64)]| {
        let done = done.iter().rev().find(|(step, _)| *step <= at.step);
        done.map_or(0, |(_, index)| *index)
    };
    let marker = Ledger::open(disk.clone()).unwrap().marker;
    let applied = marker.last_applied.map_or(0, |at| at.index);
    assert!(applied >= by(&story.marked), "{at:?}: marker at {applied}");
    let log = log_of(disk).await;
    let purged = log.purged();
    assert!(
        purged <= marker.last_applied,
        "{at:?}: {purged:?} > {applied}"
    );
    let held = log.from(applied + 1);
    let end = applied + u64::try_from(held.len()).unwrap();
    assert!(end >= by(&story.appended), "{at:?}: the log ends at {end}");
    assert!(held.into_iter().eq((applied + 1..=end).map(pos)), "{at:?}");
    if purged.is_some() {
        let shelf = Shelf::load(disk, marker.last_applied, marker.size).unwrap();
        let newest = shelf.newest_manifest().map(|newest| newest.at);
        assert!(newest >= purged, "{at:?}: {newest:?} for {purged:?}");
    }
    log.wal.close().await;

    // The newest slot goes bad too: the older one must do.
    let older = disk.fork();
    older.kill();
    let newest = format!("marker.{}", marker.generation % 2);
    older.flip_bit(&newest, 50, 3).unwrap();
    match Ledger::open(older.clone()) {
        Ok(opened) => {
            let older = opened.marker.last_applied;
            assert!(purged <= older, "{at:?}: {purged:?}, marker at {older:?}");
        }
        // In the first start there is no other.
        Err(StoreError::MarkerLost { .. }) => assert_eq!(marker.generation, 1, "{at:?}"),
        Err(other) => panic!("{at:?}: {other}"),
    }
    (applied, purged.map(|at| at.index))
}

/// INV-1.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_of_a_purge_leaves_a_log_that_goes_on_where_either_marker_ends() {
    let disk = SimDisk::new();
    disk.record();
    let mut story = Story::default();
    live(&disk, COMMANDS - 4, &mut story).await;
    disk.kill();
    live(&disk, COMMANDS, &mut story).await;
    let history = disk.history().unwrap();
    let (mut seen, mut tried) = (std::collections::BTreeSet::new(), 0_usize);
    let pace = Pace {
        again: 200,
        again_killed: 40,
        closely: 0..0,
        torn: 1,
    };
    let states = every_crash(&history, pace, async |disk, at| {
        let found = check(disk, &story, at).await;
        seen.insert(found.1);
        tried += 1;
        if tried.is_multiple_of(25) {
            let disk = disk.fork();
            disk.kill();
            live(&disk, COMMANDS, &mut Story::default()).await;
            let tip = Ledger::open(disk).unwrap().ledger.reader().tip();
            assert_eq!(
                tip.root,
                root_at(&nodes(COMMANDS), TreeSize(COMMANDS)).unwrap()
            );
        }
        found
    })
    .await;
    println!(
        "purge: {} steps, {states} states, purged {seen:?}",
        history.len()
    );
    assert!(seen.len() >= 3, "{seen:?}");
    assert!(states > 1_000, "only {states} states");
}
