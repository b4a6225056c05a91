#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

mod crash;
mod purging;
mod sources;

use std::collections::BTreeMap;

use bytes::Bytes;
use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::digest::ChainHash;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::note::{Note, NoteSignature};
use candor_ledger::time::Micros;
use candor_ledger::tree::{MemoryNodes, leaf_hash, root_at};

use super::purge::Pace;
use super::*;
use crate::env::Env as _;
use crate::env::sim::{SimDisk, SimEnv};
use crate::wal::{Limits, Wal};

/// Entry `seq` of every ledger in these tests.
fn entry(seq: u64) -> Bytes {
    let filler = "x".repeat(usize::try_from(seq * 37 % 190).unwrap());
    format!("{{\"body\":\"{filler}\",\"seq\":{seq}}}").into()
}

fn entries(range: std::ops::Range<u64>) -> Vec<Bytes> {
    range.map(entry).collect()
}

fn nodes(size: u64) -> MemoryNodes {
    let mut nodes = MemoryNodes::new();
    (0..size).for_each(|seq| nodes.push(leaf_hash(&entry(seq))));
    nodes
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint {
        origin: "candor.example/log".to_owned(),
        size: TreeSize(size),
        root: root_at(&nodes(size), TreeSize(size)).unwrap(),
        chain: ChainHash::of(&entry(size - 1)),
        keyset: [7; 32],
        sealed: Micros(1_700_000_000_000_000),
    }
}

/// The note of a size; nobody signed it.
fn note(size: u64) -> String {
    let line = NoteSignature {
        name: "candor.example/log".to_owned(),
        key_id: [1; 4],
        blob: vec![2; 64],
    };
    let text = checkpoint(size).text();
    let signatures = vec![line];
    Note { text, signatures }.encode()
}

fn pos(index: u64) -> LogPos {
    LogPos {
        term: 2,
        leader: 1,
        index,
    }
}

/// The snapshot at a size, with the notes of two earlier ones.
fn manifest(size: u64) -> Manifest {
    let kept = [size / 4, size / 2].map(|size| (size, crc32c::crc32c(note(size).as_bytes())));
    Manifest {
        at: pos(size),
        membership: Bytes::from_static(b"members"),
        size: TreeSize(size),
        sealed: TreeSize(size / 2),
        kept: BTreeMap::from(kept),
        note: note(size),
    }
}

#[test]
fn a_manifest_is_read_as_it_was_written_and_no_changed_byte_of_it() {
    let manifest = manifest(40);
    let bytes = manifest.encode();
    assert_eq!(Manifest::decode(&bytes), Some(manifest));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_eq!(Manifest::decode(&changed), None, "byte {at}");
        assert_eq!(Manifest::decode(&bytes[..at]), None, "cut at {at}");
    }
}

/// Neither marker may be the one that a start finds, below the snapshot that the log begins behind.
#[test]
fn a_snapshot_is_offered_once_both_markers_have_reached_it() {
    let disk = SimDisk::new();
    let shelf = Shelf::load(&disk, None, TreeSize(0)).unwrap();
    let newest = || shelf.newest_manifest().map(|newest| newest.at);
    for size in [8, 16, 24] {
        shelf.sealed(manifest(size));
    }
    for (older, offered) in [
        (None, None),
        (Some(7), None),
        (Some(8), Some(8)),
        (Some(23), Some(8)),
        (Some(30), Some(24)),
    ] {
        shelf.durable(older.map(pos), TreeSize(40));
        assert_eq!(newest(), offered.map(pos), "older marker at {older:?}");
    }
    // A start finds what was written down, unless its marker is behind it.
    manifest(24).store(&disk, FILE).unwrap();
    for (applied, found) in [(23, false), (24, true)] {
        let shelf = Shelf::load(&disk, Some(pos(applied)), TreeSize(40)).unwrap();
        assert_eq!(shelf.newest_manifest().is_some(), found);
    }
}

#[test]
fn the_log_is_purged_to_where_it_stood_when_it_was_purged_before() {
    let mut pace = Pace::new(100, 0);
    assert_eq!(pace.due(99, 5), None);
    assert_eq!(pace.due(100, 6), None, "nothing is that old yet");
    assert_eq!(pace.due(199, 8), None);
    assert_eq!(pace.due(230, 9), Some(6));
    assert_eq!(pace.due(329, 11), None);
    assert_eq!(pace.due(330, 12), Some(9));
    // What starts leave behind does not add up.
    assert_eq!(Pace::new(100, 200).due(0, 3), Some(3));
    assert_eq!(Pace::new(100, 150).due(0, 3), None);
    assert_eq!(Pace::new(100, 60).due(39, 3), None);
}

/// The log behind the snapshot is kept for a member that receives it, and a while longer.
#[tokio::test(start_paused = true)]
async fn the_log_is_held_for_a_member_until_it_has_had_time_to_go_on_from_it() {
    let disk = SimDisk::new();
    let shelf = Shelf::load(&disk, None, TreeSize(0)).unwrap();
    let fetching = Some(Receiving::Fetching { done: 0, total: 9 });
    shelf.sent(4, pos(30), fetching);
    shelf.sent(5, pos(20), fetching);
    assert_eq!(shelf.held(), Some(20));
    shelf.sent(5, pos(20), None);
    tokio::time::advance(GRACE / 2).await;
    assert_eq!(shelf.held(), Some(20));
    tokio::time::advance(GRACE).await;
    assert_eq!(shelf.held(), Some(30));
}

/// Whoever goes away without a word is taken for dead after a minute, however long the install takes.
#[tokio::test(start_paused = true)]
async fn a_node_goes_away_to_install_only_once_the_leader_knows_or_when_none_asks() {
    let disk = SimDisk::new();
    for asked in [true, false] {
        let shelf = Shelf::load(&disk, None, TreeSize(0)).unwrap();
        let offer = manifest(40);
        shelf.offered(1, offer.at, Some(Bytes::from(offer.encode())));
        shelf
            .0
            .progress
            .send_modify(|progress| progress.stage = Stage::Installing);
        let early = tokio::time::timeout(TOLD_WITHIN / 2, shelf.ready()).await;
        assert!(early.is_err(), "it went away without a word");
        let before = Instant::now();
        if asked {
            assert_eq!(shelf.offered(1, offer.at, None), Receiving::Installing);
        }
        shelf.ready().await;
        assert_eq!(before.elapsed() < TOLD_WITHIN, asked);
    }
}

#[test]
fn a_receiver_tells_how_far_it_is_with_the_snapshot_asked_after() {
    let disk = SimDisk::new();
    let shelf = Shelf::load(&disk, None, TreeSize(0)).unwrap();
    let ask = |size: u64, offer: bool| {
        let manifest = manifest(size);
        let bytes = offer.then(|| Bytes::from(manifest.encode()));
        shelf.offered(1, manifest.at, bytes)
    };
    let fetching = Receiving::Fetching { done: 0, total: 0 };
    assert_eq!(ask(40, false), Receiving::Unknown);
    assert_eq!(
        shelf.offered(1, pos(40), Some(Bytes::from_static(b"?"))),
        Receiving::Unknown
    );
    assert_eq!(ask(40, true), fetching);
    assert_eq!(ask(40, false), fetching);
    // A later leader has a later one; an earlier one is on the way to it.
    assert_eq!(ask(80, false), Receiving::Unknown);
    assert_eq!(ask(80, true), fetching);
    assert_eq!(ask(40, true), fetching);
    // Notes follow the entries, and are no stall.
    shelf.0.progress.send_modify(|progress| progress.notes = 1);
    assert_ne!(ask(40, true), fetching);
    assert_eq!(
        shelf.0.offer.borrow().as_ref().unwrap().manifest.size,
        TreeSize(80)
    );
}

#[tokio::test(start_paused = true)]
async fn an_old_snapshot_that_came_late_does_not_replace_the_one_that_the_log_rests_on() {
    let env = SimEnv::new(SimDisk::new(), 1);
    let (wal, mut recovered) = Wal::open(&env, "raft", Limits::default()).unwrap();
    for (held, late, left) in [(None, 10, 10), (Some(20), 10, 20), (Some(20), 30, 30)] {
        if let Some(held) = held {
            manifest(held).store(env.disk(), FILE).unwrap();
        }
        let late = manifest(late);
        install::settle(&env, &wal, &mut recovered, &late)
            .await
            .unwrap();
        assert_eq!(
            Manifest::load(env.disk(), FILE).unwrap(),
            Some(manifest(left))
        );
    }
}
