//! Every crash of an install: the old ledger or the new one, and a start that ends at the new one.

use std::collections::BTreeSet;

use super::*;
use crate::consensus::last_on_disk;
use crate::env::Disk as _;
use crate::env::sim::{Crash, Pending, SimDisk, SimEnv};
use crate::snapshot::incoming::{self, Incoming};
use crate::snapshot::{install, values};
use crate::store::{Ledger, Opened};
use crate::wal::{Limits, Wal};

const OLD: u64 = 12;
const NEW: u64 = 40;

/// A node with a ledger of its own and a snapshot that waits for its next start.
async fn prepared() -> SimDisk {
    let disk = SimDisk::new();
    let mut opened = Ledger::open(disk.clone()).unwrap();
    opened.ledger.append(&entries(0..OLD)).unwrap();
    // A note of its own that is not kept at the snapshot any more.
    opened
        .ledger
        .put_checkpoint(&checkpoint(6), &note(6))
        .unwrap();
    let draft = opened
        .ledger
        .draft_marker(Some(pos(OLD)), Some(Bytes::new()), TreeSize(6));
    opened.markers.write(draft).unwrap();
    let env = SimEnv::new(disk.clone(), 1);
    let (wal, _) = Wal::open(&env, "raft", Limits::default()).unwrap();
    wal.close().await;

    let reader = opened.ledger.reader();
    let mut incoming = Incoming::open(&disk, &reader, TreeSize(OLD)).unwrap();
    incoming.append(&entries(OLD..NEW)).unwrap();
    let manifest = manifest(NEW);
    for size in manifest.kept.keys() {
        incoming.put_note(TreeSize(*size), &note(*size)).unwrap();
    }
    incoming.sync().unwrap();
    manifest.store(&disk, incoming::INSTALL).unwrap();
    disk
}

/// A start, up to where consensus would begin.
async fn start(disk: &SimDisk) -> Opened<SimDisk> {
    let env = SimEnv::new(disk.clone(), 1);
    let opened = Ledger::open(disk.clone()).unwrap();
    let (opened, received) = install::grow(disk, opened).unwrap();
    let (wal, mut recovered) = Wal::open(&env, "raft", Limits::default()).unwrap();
    if let Some(manifest) = received {
        install::settle(&env, &wal, &mut recovered, &manifest)
            .await
            .unwrap();
    }
    let last = last_on_disk(&wal).unwrap();
    assert_eq!(
        last, opened.marker.last_applied,
        "the log begins behind the ledger"
    );
    wal.close().await;
    opened
}

fn dump(disk: &SimDisk, dir: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for found in disk.list(dir).unwrap() {
        let path = format!("{dir}/{}", found.name);
        if found.is_dir {
            files.extend(dump(disk, &path));
        } else {
            let bytes = disk.read(&path).unwrap().unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

fn crashes(pending: &[Pending], steps: usize) -> Vec<Crash> {
    let count = pending.len();
    let seed = u64::try_from(steps).unwrap() * 10;
    let mut crashes = vec![Crash::DropAll, Crash::Prefix(count)];
    crashes.extend((seed..seed + 3).map(Crash::Seeded));
    for names in [true, false] {
        let is_name = |at: &usize| (pending[*at] == Pending::Name) == names;
        let kept: BTreeSet<usize> = (0..count).filter(is_name).collect();
        crashes.push(Crash::Subset(kept));
    }
    crashes
}

/// INV-1, INV-3.
#[tokio::test]
async fn a_crash_at_any_step_of_an_install_leaves_the_old_ledger_or_the_new_one() {
    let before = prepared().await;
    let honest = before.fork();
    honest.kill();
    drop(start(&honest).await);
    let reference = dump(&honest, "ledger");
    assert_eq!(
        reference
            .keys()
            .filter(|name| name.contains("checkpoints"))
            .count(),
        2
    );

    let disk = before.fork();
    disk.kill();
    disk.record();
    drop(start(&disk).await);
    let history = disk.history().unwrap();
    let (mut tried, mut seen) = (0, BTreeSet::new());
    for steps in 0..=history.len() {
        let at = history.disk_after(steps);
        for crash in crashes(&at.pending(), steps) {
            let context = || format!("after {steps} steps, {crash:?}");
            let disk = at.fork();
            disk.crash(&crash);
            // What a program without the install would find: one of the two, whole.
            let plain = disk.fork();
            plain.kill();
            let found = Ledger::open(plain).unwrap().marker;
            let size = found.size.0;
            assert!([OLD, NEW].contains(&size), "{size} {}", context());
            assert_eq!(found.last_applied, Some(pos(size)), "{}", context());
            seen.insert(size);
            disk.kill();
            let opened = start(&disk).await;
            assert_eq!(opened.marker.size, TreeSize(NEW), "{}", context());
            assert_eq!(opened.marker.sealed, TreeSize(NEW / 2), "{}", context());
            drop(opened);
            assert_eq!(dump(&disk, "ledger"), reference, "{}", context());
            let left = disk.list(incoming::FOLDER).unwrap_or_default();
            assert!(left.is_empty(), "{left:?} {}", context());
            assert!(
                disk.stat(values::WANTED).unwrap().is_some(),
                "{}",
                context()
            );
            tried += 1;
        }
    }
    println!("{tried} crashes of {} steps", history.len());
    assert_eq!(seen, BTreeSet::from([OLD, NEW]));
    assert!(tried > 200, "{tried}");
}

/// A bad byte in what was put aside costs the fetch, never the ledger.
#[tokio::test]
async fn what_was_put_aside_and_went_bad_is_thrown_away() {
    let disk = prepared().await;
    disk.kill();
    let file = format!("{}/{OLD:012}.jsonl", incoming::FOLDER);
    disk.flip_bit(&file, 300, 0).unwrap();
    let opened = start_without(&disk);
    assert_eq!(opened.marker.size, TreeSize(OLD));
    assert_eq!(opened.ledger.size(), TreeSize(OLD));
    assert_eq!(disk.stat(incoming::FOLDER).unwrap(), None);
}

fn start_without(disk: &SimDisk) -> Opened<SimDisk> {
    let opened = Ledger::open(disk.clone()).unwrap();
    let (opened, received) = install::grow(disk, opened).unwrap();
    assert_eq!(received, None);
    opened
}
