//! Every crash of an install, from the first page that is fetched until the log goes on behind it: the
//! old ledger or the new one, and a start that goes on.

use std::collections::BTreeSet;

use super::*;
use crate::consensus::testing::LogOnDisk;
use crate::env::Disk as _;
use crate::env::sim::every_crash::{At, Pace, every_crash};
use crate::env::sim::{SimDisk, SimEnv};
use crate::snapshot::incoming::{self, Incoming};
use crate::snapshot::{install, values};
use crate::store::{HashedValue, Ledger, Opened};
use crate::wal::{Limits, Wal};

const OLD: u64 = 12;
const NEW: u64 = 40;
/// Where the log takes the ledger behind the snapshot.
const END: u64 = 43;
/// Entries that a peer sends at once.
const PAGE: u64 = 11;

/// What had come to the disk by which step.
#[derive(Default)]
struct Story {
    /// All is here and was checked.
    whole: Option<usize>,
    /// Commands in the log behind the snapshot.
    appended: Vec<(usize, u64)>,
    /// Sizes of the ledger under a marker.
    marked: Vec<(usize, u64)>,
}

/// A node with a ledger and a log of its own.
async fn behind() -> SimDisk {
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
    let (wal, recovered) = log_of(&disk);
    let mut log = LogOnDisk::open(wal, &recovered).await;
    for index in 1..=OLD {
        log.append(pos(index), vec![b'x'; 40].into()).await;
    }
    for index in OLD + 1..=NEW + 2 {
        log.append(foreign(index), vec![b'x'; 40].into()).await;
    }
    log.wal.close().await;
    disk
}

/// Where a log of another history goes on behind the old ledger, beyond the snapshot: nothing of it is
/// committed.
fn foreign(index: u64) -> LogPos {
    LogPos {
        leader: 0,
        ..pos(index)
    }
}

fn log_of(disk: &SimDisk) -> (Wal<SimDisk>, crate::wal::Recovered) {
    let env = SimEnv::new(disk.clone(), 1);
    Wal::open(&env, "raft", Limits::default()).unwrap()
}

/// Fetches, from what is here on, as `fetch.rs` does.
fn fetch(disk: &SimDisk, story: &mut Story) {
    let opened = Ledger::open(disk.clone()).unwrap();
    let (reader, base) = (opened.ledger.reader(), opened.marker.size);
    let mut incoming = Incoming::open(disk, &reader, base).unwrap();
    let (nodes, size) = (nodes(NEW), incoming.size());
    if size.0 > NEW || root_at(&nodes, size).unwrap() != incoming.root() {
        incoming::clear(disk).unwrap();
        incoming = Incoming::open(disk, &reader, base).unwrap();
    }
    while incoming.size().0 < NEW {
        let from = incoming.size().0;
        let page = entries(from..NEW.min(from + PAGE));
        incoming.append(&page).unwrap();
    }
    let manifest = manifest(NEW);
    for (size, crc) in &manifest.kept {
        let held = incoming.note(TreeSize(*size)).unwrap();
        if held.is_none_or(|held| crc32c::crc32c(held.as_bytes()) != *crc) {
            incoming.put_note(TreeSize(*size), &note(*size)).unwrap();
        }
    }
    incoming.sync().unwrap();
    manifest.store(disk, incoming::INSTALL).unwrap();
    story.whole = Some(disk.history_len());
}

/// A start, up to where consensus has the log.
async fn start(disk: &SimDisk) -> (Opened<SimDisk>, LogOnDisk) {
    let env = SimEnv::new(disk.clone(), 1);
    let opened = Ledger::open(disk.clone()).unwrap();
    let (opened, received) = install::grow(disk, opened).unwrap();
    let (wal, mut recovered) = log_of(disk);
    if let Some(manifest) = received {
        install::settle(&env, &wal, &mut recovered, &manifest)
            .await
            .unwrap();
    }
    let log = LogOnDisk::open(wal, &recovered).await;
    (opened, log)
}

/// What follows an install: the log goes on, a value is fetched, and a later start finds it.
async fn go_on(disk: &SimDisk, story: &mut Story) {
    let (mut opened, mut log) = start(disk).await;
    let (size, held) = (opened.ledger.size().0, log.from(NEW + 1).len());
    for index in size + 1..=END {
        if index > NEW + u64::try_from(held).unwrap() {
            log.append(pos(index), vec![b'y'; 40].into()).await;
            story.appended.push((disk.history_len(), index));
        }
        opened.ledger.append(&entries(index - 1..index)).unwrap();
    }
    let fetched = !opened.ledger.reader().has_value("acme", &VALUE.hash());
    if fetched {
        let repairer = opened.ledger.repairer();
        repairer.put_value("acme", VALUE.hashed()).unwrap();
    }
    let members = Some(Bytes::from_static(b"members"));
    let draft = opened
        .ledger
        .draft_marker(Some(pos(END)), members, TreeSize(NEW / 2));
    opened.markers.write(draft).unwrap();
    story.marked.push((disk.history_len(), END));
    if !fetched && disk.stat(values::WANTED).unwrap().is_some() {
        disk.remove_file(values::WANTED).unwrap();
    }
    log.wal.close().await;
}

/// A value that an ACTIVE result needs.
struct Value(&'static [u8]);

const VALUE: Value = Value(b"forty-two");

impl Value {
    fn hashed(&self) -> HashedValue<'static> {
        HashedValue::of(self.0)
    }

    fn hash(&self) -> [u8; 32] {
        self.hashed().hash()
    }
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

/// One of the ledgers of the story, whole, with a log that goes on where it ends; what is said about
/// the values is true. Returns the sizes before and after what the start installs.
async fn check(disk: &SimDisk, story: &Story, at: &At) -> (u64, u64) {
    let by = |done: &[(usize, u64)]| {
        let done = done.iter().rev().find(|(step, _)| *step <= at.step);
        done.map(|(_, index)| *index)
    };
    // What a program without the install would find.
    let plain = disk.fork();
    plain.kill();
    let found = Ledger::open(plain).unwrap().marker;
    let size = found.size.0;
    assert!([OLD, NEW, END].contains(&size), "{size} {at:?}");
    assert_eq!(found.last_applied, Some(pos(size)), "{at:?}");

    let (opened, log) = start(disk).await;
    let grown = opened.marker.size.0;
    let whole = story.whole.is_some_and(|whole| whole <= at.step);
    let floor = by(&story.marked).unwrap_or(if whole { NEW } else { OLD });
    assert!(grown >= floor.max(size), "{grown}, not {floor} {at:?}");
    let tip = opened.ledger.reader().tip();
    assert_eq!(tip.root, root_at(&nodes(grown), TreeSize(grown)).unwrap());
    let kept = opened.ledger.reader().checkpoints();
    let expected = if grown == OLD {
        vec![6]
    } else {
        vec![NEW / 4, NEW / 2]
    };
    assert!(kept.iter().map(|size| size.0).eq(expected), "{at:?}");
    for size in kept {
        let text = opened.ledger.reader().checkpoint(size).unwrap();
        assert_eq!(text, Some(note(size.0)), "{at:?}");
    }

    let held = log.from(grown + 1);
    let first = grown + 1;
    let last = first + u64::try_from(held.len()).unwrap();
    let place = if grown == OLD { foreign } else { pos };
    assert!(held.into_iter().eq((first..last).map(place)), "{at:?}");
    assert!(by(&story.appended).is_none_or(|end| last > end), "{at:?}");
    if grown >= NEW {
        assert!(log.purged() <= Some(pos(NEW)), "{at:?}");
        let left = disk.list(incoming::FOLDER).unwrap_or_default();
        assert!(left.is_empty(), "{left:?} {at:?}");
        let has = opened.ledger.reader().has_value("acme", &VALUE.hash());
        let wanted = disk.stat(values::WANTED).unwrap().is_some();
        assert!(has || wanted, "nobody asks for the value {at:?}");
        let shelf = Shelf::load(disk, opened.marker.last_applied, TreeSize(grown)).unwrap();
        assert!(shelf.newest_manifest().is_some(), "{at:?}");
    }
    log.wal.close().await;
    (size, grown)
}

/// INV-1, INV-3.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_of_an_install_leaves_the_old_ledger_or_the_new_one() {
    let disk = behind().await;
    disk.kill();
    disk.record();
    let mut story = Story::default();
    fetch(&disk, &mut story);
    for _ in 0..2 {
        disk.kill();
        go_on(&disk, &mut story).await;
    }
    let (history, reference) = (disk.history().unwrap(), dump(&disk, "ledger"));
    let mut seen = BTreeMap::new();
    let mut tried = 0_usize;
    let whole = story.whole.unwrap();
    let pace = Pace {
        again: 200,
        again_killed: 40,
        // A process that died alone may have said that all is here, and it is on no disk.
        closely: whole - 3..whole + 1,
        torn: 1,
    };
    let states = every_crash(&history, pace, async |disk, at| {
        let found = check(disk, &story, at).await;
        *seen.entry(found).or_insert(0) += 1;
        tried += 1;
        if tried.is_multiple_of(20) {
            let disk = disk.fork();
            disk.kill();
            if found.1 == OLD {
                fetch(&disk, &mut Story::default());
            }
            go_on(&disk, &mut Story::default()).await;
            assert_eq!(dump(&disk, "ledger"), reference, "{at:?}");
        }
        found.1
    })
    .await;
    println!(
        "install: {} steps, {states} states, {seen:?}",
        history.len()
    );
    let seen: BTreeSet<(u64, u64)> = seen.into_keys().collect();
    let expected = [(OLD, OLD), (OLD, NEW), (NEW, NEW), (END, END)];
    assert_eq!(seen, BTreeSet::from(expected));
    assert!(states > 1_000, "only {states} states");
}

/// A bad byte in what was put aside costs the fetch, never the ledger.
#[tokio::test]
async fn what_was_put_aside_and_went_bad_is_thrown_away() {
    let disk = behind().await;
    fetch(&disk, &mut Story::default());
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
