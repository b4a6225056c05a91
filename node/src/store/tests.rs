//! The store against a model that keeps everything in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

mod crash;
mod damage;
mod repairing;

use std::collections::BTreeMap;

use candor_ledger::digest::sha3_256;
use candor_ledger::time::Micros;
use candor_ledger::tree::{MemoryNodes, leaf_hash, verify_consistency, verify_inclusion};

use super::*;
use crate::env::real::{RealDisk, RealEnv};
use crate::env::sim::SimDisk;
use crate::env::{Env, TaskEnd};

/// Small files, so that a short ledger has several.
const SMALL: Layout = Layout {
    entries_per_file: 8,
    pack_bytes_max: 600,
};

fn open<D: Disk>(disk: &D) -> Opened<D> {
    Ledger::open_with(disk.clone(), SMALL).unwrap()
}

/// Entry `seq` of every ledger in these tests; lengths differ, some cross a sector.
fn entry(seq: u64) -> Vec<u8> {
    let filler = "x".repeat(usize::try_from(seq * 37 % 190).unwrap());
    format!("{{\"body\":\"{filler}\",\"seq\":{seq}}}").into_bytes()
}

fn entries(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(entry).collect()
}

fn note(size: u64) -> String {
    format!("candor.example/log\n{size}\n\n{}\n", "s".repeat(300))
}

/// What the note of a size says; a checkpoint every 20 seconds.
fn checkpoint(size: u64, number: u64) -> Checkpoint {
    Checkpoint {
        origin: "candor.example/log".to_owned(),
        size: TreeSize(size),
        root: NodeHash([0; 32]),
        chain: ChainHash::EMPTY,
        keyset: [0; 32],
        sealed: Micros(number * 20_000_000),
    }
}

fn keep<D: Disk>(ledger: &mut Ledger<D>, size: u64) -> Result<(), StoreError> {
    ledger.put_checkpoint(&checkpoint(size, size), &note(size))
}

fn value(number: u64) -> ([u8; 32], Vec<u8>) {
    let bytes = vec![u8::try_from(number).unwrap(); usize::try_from(number * 50).unwrap()];
    (sha3_256(&bytes), bytes)
}

fn draft<D: Disk>(ledger: &Ledger<D>, index: u64) -> MarkerDraft {
    let at = LogPos {
        term: 1,
        leader: 7,
        index,
    };
    ledger.draft_marker(Some(at), None, TreeSize(0))
}

fn model(size: u64) -> MemoryNodes {
    let mut nodes = MemoryNodes::new();
    (0..size).for_each(|seq| nodes.push(leaf_hash(&entry(seq))));
    nodes
}

/// Every file below a folder with its bytes.
fn dump<D: Disk>(disk: &D, dir: &str) -> BTreeMap<String, Vec<u8>> {
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

/// Reads all a ledger has, and fails on the first thing that is not as in the model.
fn read_all<D: Disk>(reader: &LedgerReader<D>) -> Result<(), StoreError> {
    let tip = reader.tip();
    let size = tip.size.0;
    let mut found = Vec::new();
    while u64_of(found.len()) < size {
        found.extend(reader.entries(Seq(u64_of(found.len()))..Seq(size), 500)?);
    }
    assert_eq!(found, entries(0..size));
    let nodes = model(size);
    assert_eq!(tip.root, nodes.root());
    let head = size
        .checked_sub(1)
        .map_or(ChainHash::EMPTY, |last| ChainHash::of(&entry(last)));
    assert_eq!(tip.head, head);
    for seq in (0..size).map(Seq) {
        let path = reader.inclusion(seq, tip.size)?;
        verify_inclusion(&leaf_hash(&entry(seq.0)), seq, tip.size, &path, &tip.root).unwrap();
    }
    let mut grown = MemoryNodes::new();
    for old in (1..=size).map(TreeSize) {
        grown.push(leaf_hash(&entry(old.0 - 1)));
        let (path, root) = (reader.consistency(old, tip.size)?, reader.root_at(old)?);
        assert_eq!(root, grown.root());
        verify_consistency(old, &root, tip.size, &tip.root, &path).unwrap();
    }
    for kept in reader.checkpoints() {
        assert_eq!(reader.checkpoint(kept)?, Some(note(kept.0)));
    }
    Ok(())
}

#[test]
fn reads_and_proves_every_entry_hot_and_cold() {
    let disk = SimDisk::new();
    let Opened {
        mut ledger,
        mut markers,
        ..
    } = open(&disk);
    let reader = ledger.reader();
    let mut size = 0;
    for batch in [1, 2, 3, 5, 8, 13, 1, 0, 1, 7] {
        let appended = ledger.append(&entries(size..size + batch)).unwrap();
        size += batch;
        assert_eq!(appended, TreeSize(size));
        read_all(&reader).unwrap();
    }
    for (range, bytes_max) in [(3..9, 1), (3..20, 700), (0..41, u64::MAX), (5..5, 9)] {
        let found = reader
            .entries(Seq(range.start)..Seq(range.end), bytes_max)
            .unwrap();
        assert_eq!(
            found,
            entries(range.start..range.start + u64_of(found.len()))
        );
        let bytes: u64 = found.iter().map(|entry| bytes_of(entry) + 1).sum();
        assert!(bytes <= bytes_max || found.len() == 1, "{bytes}");
        let more = bytes + bytes_of(&entry(range.start + u64_of(found.len()))) + 1;
        assert!(u64_of(found.len()) == range.end - range.start || more > bytes_max);
    }
    let beyond = reader.entry(Seq(41)).unwrap_err();
    assert!(
        matches!(beyond, StoreError::Beyond { asked: 42, .. }),
        "{beyond}"
    );
    assert_eq!(
        reader.head_at(TreeSize(3)).unwrap(),
        ChainHash::of(&entry(2))
    );

    markers.write(draft(&ledger, 1)).unwrap();
    let cold = open(&disk);
    assert_eq!(cold.ledger.size(), TreeSize(41));
    assert_eq!((cold.restored.len(), cold.slot_lost), (0, None));
    read_all(&cold.ledger.reader()).unwrap();
}

/// INV-3.
#[test]
fn nodes_with_equal_markers_have_equal_folders() {
    // Same entries and checkpoints; batches, markers, restarts and values differ.
    let [one, two] = [SimDisk::new(), SimDisk::new()];
    let mut a = open(&one);
    a.ledger.append(&entries(0..20)).unwrap();
    for size in [4, 9, 20] {
        keep(&mut a.ledger, size).unwrap();
    }
    a.ledger.drop_checkpoint(TreeSize(4));
    a.markers.write(draft(&a.ledger, 9)).unwrap();

    for seq in 0..20 {
        let mut b = open(&two);
        assert_eq!(b.marker.size, TreeSize(seq));
        b.ledger.append(&entries(seq..seq + 1)).unwrap();
        if [3, 8, 19].contains(&seq) {
            keep(&mut b.ledger, seq + 1).unwrap();
        }
        if seq == 19 {
            assert!(b.ledger.drop_checkpoint(TreeSize(4)));
        }
        let (_, bytes) = value(seq);
        b.ledger.put_value("acme", HashedValue::of(&bytes)).unwrap();
        b.markers.write(draft(&b.ledger, seq)).unwrap();
        // What no marker counts is gone at the next start.
        b.ledger.append(&entries(seq + 1..seq + 12)).unwrap();
        keep(&mut b.ledger, seq + 12).unwrap();
    }
    drop(open(&two));
    assert_eq!(dump(&one, "ledger"), dump(&two, "ledger"));
}

#[test]
fn keeps_a_checkpoint_until_a_durable_marker_does_not_name_it() {
    let disk = SimDisk::new();
    let mut a = open(&disk);
    a.ledger.append(&entries(0..30)).unwrap();
    for size in [10, 20, 30] {
        keep(&mut a.ledger, size).unwrap();
        keep(&mut a.ledger, size).unwrap();
    }
    for (size, text) in [(30, "other"), (25, "older"), (31, "beyond")] {
        assert!(
            a.ledger
                .put_checkpoint(&checkpoint(size, size), text)
                .is_err()
        );
    }
    let reader = a.ledger.reader();
    let covering = |seq| {
        reader
            .first_checkpoint_covering(Seq(seq))
            .unwrap()
            .map(|(s, _)| s.0)
    };
    for (seq, size) in [
        (0, Some(10)),
        (9, Some(10)),
        (10, Some(20)),
        (29, Some(30)),
        (30, None),
    ] {
        assert_eq!(covering(seq), size, "{seq}");
    }
    let early = draft(&a.ledger, 1);
    a.ledger.drop_checkpoint(TreeSize(20));
    assert_eq!(covering(10), Some(30));
    a.markers.write(early).unwrap();
    let file = "ledger/checkpoints/0000000000000020";
    assert!(disk.stat(file).unwrap().is_some(), "the marker names it");
    a.markers.write(draft(&a.ledger, 2)).unwrap();
    assert!(disk.stat(file).unwrap().is_none());
    assert_eq!(
        reader.latest_checkpoint().unwrap(),
        Some((TreeSize(30), note(30)))
    );
    assert_eq!(reader.checkpoint(TreeSize(20)).unwrap(), None);
}

#[test]
fn refuses_what_is_no_entry_or_value_before_writing() {
    let disk = SimDisk::new();
    let mut a = open(&disk);
    a.ledger.append(&entries(0..3)).unwrap();
    let before = dump(&disk, "ledger");
    let longest = vec![b'x'; usize::try_from(ENTRY_BYTES_MAX).unwrap()];
    let too_long = vec![b'x'; longest.len() + 1];
    for bad in [&b""[..], b"two\nlines", &too_long] {
        let refused = a.ledger.append(&[b"fine", bad]).unwrap_err();
        assert!(
            matches!(refused, StoreError::BadEntry { seq: Seq(4), .. }),
            "{refused}"
        );
    }
    let (_, bytes) = value(3);
    assert!(a.ledger.put_value("", HashedValue::of(&bytes)).is_err());
    assert_eq!(before, dump(&disk, "ledger"));
    assert!(dump(&disk, "values").is_empty());
    a.ledger.append(&[&longest]).unwrap();
    assert_eq!(a.ledger.reader().entry(Seq(3)).unwrap(), longest);
}

#[test]
fn every_65536_entries_offsets_and_nodes_of_a_level_fill_a_file() {
    let disk = SimDisk::new();
    let mut a = Ledger::open(disk.clone()).unwrap();
    let size = 2 * ENTRIES_PER_FILE + 2;
    let lines: Vec<String> = (0..size).map(|seq| seq.to_string()).collect();
    a.ledger.append(&lines).unwrap();
    a.markers.write(draft(&a.ledger, 1)).unwrap();
    let reader = Ledger::open(disk.clone()).unwrap().ledger.reader();
    for from in [ENTRIES_PER_FILE - 2, size - 4] {
        let found = reader.entries(Seq(from)..Seq(from + 4), u64::MAX).unwrap();
        let expected: Vec<Vec<u8>> = (from..from + 4).map(|n| n.to_string().into()).collect();
        assert_eq!(found, expected);
    }
    let root = a.ledger.reader().tip().root;
    assert_eq!(reader.root_at(TreeSize(size)).unwrap(), root);
    for seq in [0, ENTRIES_PER_FILE - 1, ENTRIES_PER_FILE, size - 1] {
        let path = reader.inclusion(Seq(seq), TreeSize(size)).unwrap();
        let leaf = leaf_hash(seq.to_string().as_bytes());
        verify_inclusion(&leaf, Seq(seq), TreeSize(size), &path, &root).unwrap();
    }
    let lengths = |dir| -> BTreeMap<String, u64> {
        let found = disk.list(dir).unwrap().into_iter();
        found.map(|entry| (entry.name, entry.len)).collect()
    };
    let entries = lengths("ledger/entries");
    assert_eq!(entries.len(), 6);
    assert_eq!(entries["000000000000.offsets"], ENTRIES_PER_FILE * 8);
    assert_eq!(entries["000000065536.offsets"], ENTRIES_PER_FILE * 8);
    assert_eq!(entries["000000131072.offsets"], 2 * 8);
    assert_eq!(entries["000000131072.jsonl"], 2 * 7);
    let tree = lengths("ledger/tree");
    assert_eq!(tree.len(), 3 + 2 + 16);
    assert_eq!(tree["00-000000000000"], ENTRIES_PER_FILE * 32);
    assert_eq!(tree["00-000000065536"], ENTRIES_PER_FILE * 32);
    assert_eq!(tree["00-000000131072"], 2 * 32);
    assert_eq!(tree["01-000000000000"], ENTRIES_PER_FILE * 32);
    assert_eq!(tree["01-000000065536"], 32);
    assert_eq!(tree["17-000000000000"], 32);
}

#[test]
fn stores_a_value_once_per_tenant_and_finds_it_after_a_restart() {
    let disk = SimDisk::new();
    let mut a = open(&disk);
    for number in 0..20 {
        let (_, bytes) = value(number);
        for tenant in ["acme", "Acme"] {
            assert!(a.ledger.put_value(tenant, HashedValue::of(&bytes)).unwrap());
            assert!(!a.ledger.put_value(tenant, HashedValue::of(&bytes)).unwrap());
        }
    }
    a.markers.write(draft(&a.ledger, 1)).unwrap();
    let (late, bytes) = value(20);
    a.ledger.put_value("acme", HashedValue::of(&bytes)).unwrap();
    for ledger in [a.ledger.reader(), open(&disk).ledger.reader()] {
        for (number, tenant) in (0..20).zip(["acme", "Acme"].into_iter().cycle()) {
            let (hash, bytes) = value(number);
            assert_eq!(ledger.value(tenant, &hash).unwrap(), Some(bytes));
            assert!(!ledger.has_value("other", &hash));
        }
    }
    assert_eq!(
        open(&disk).ledger.reader().value("acme", &late).unwrap(),
        None
    );
    let packs = dump(&disk, "values");
    assert!(
        packs.len() > 4,
        "values spread over packs: {:?}",
        packs.keys()
    );
}

#[test]
fn stops_for_good_after_a_failed_write_or_sync() {
    let disk = SimDisk::new();
    let mut a = open(&disk);
    a.ledger.append(&entries(0..3)).unwrap();
    disk.fail_sync_after(2);
    let early = draft(&a.ledger, 1);
    assert!(matches!(
        a.markers.write(early.clone()),
        Err(StoreError::Io(_))
    ));
    assert!(matches!(a.markers.write(early), Err(StoreError::Stopped)));
    disk.limit_space(Some(100));
    assert!(matches!(
        a.ledger.append(&entries(3..9)),
        Err(StoreError::Io(_))
    ));
    disk.limit_space(None);
    assert!(matches!(
        a.ledger.append(&entries(3..9)),
        Err(StoreError::Stopped)
    ));
    assert_eq!(
        a.ledger.size(),
        TreeSize(3),
        "readers see whole appends only"
    );
    assert_eq!(open(&disk).marker.size, TreeSize(0));
}

#[tokio::test]
async fn readers_and_markers_run_beside_appends() {
    let folder = tempfile::tempdir().unwrap();
    let env = RealEnv::open(folder.path()).unwrap();
    let Opened {
        mut ledger,
        mut markers,
        ..
    } = open(env.disk());
    let (drafts, mut queue) = tokio::sync::mpsc::unbounded_channel::<MarkerDraft>();
    let marking = env.lane("markers", move || async move {
        while let Some(draft) = queue.recv().await {
            markers.write(draft).unwrap();
        }
    });
    let reader = ledger.reader();
    let reading = env.lane("reader", move || async move {
        while reader.size() < TreeSize(600) {
            let tip = reader.tip();
            let from = tip.size.0.saturating_sub(30);
            let found = reader
                .entries(Seq(from)..Seq(tip.size.0), u64::MAX)
                .unwrap();
            assert_eq!(found, entries(from..from + u64_of(found.len())));
            assert_eq!(reader.root_at(tip.size).unwrap(), tip.root);
        }
    });
    for seq in 0..600 {
        ledger.append(&entries(seq..seq + 1)).unwrap();
        if seq % 20 == 0 {
            drafts.send(draft(&ledger, seq)).unwrap();
        }
    }
    drop(drafts);
    for task in [marking, reading] {
        assert_eq!(task.join().await, TaskEnd::Finished);
    }
    let cold = Ledger::open_with(RealDisk::open(folder.path()).unwrap(), SMALL).unwrap();
    assert_eq!(cold.marker.size, TreeSize(581));
    read_all(&cold.ledger.reader()).unwrap();
}
