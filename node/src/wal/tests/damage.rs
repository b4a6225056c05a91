//! Damage to what was acknowledged is never taken for the torn end of the log.

use super::frame::{HEADER_LEN, Header};
use super::*;
use crate::env::sim::{Crash, Tear};
use crate::env::{DiskFile, MODE_PUBLIC, OpenMode};

/// A log of several segments, closed in order; the last group covers all before it, and so does the
/// newest vote, if there are any.
async fn closed_log(with_votes: bool) -> SimDisk {
    let (disk, wal) = fresh();
    if with_votes {
        wal.save_vote(Bytes::from_static(b"old")).await.unwrap();
    }
    append(&wal, entries(1..3, 1, 100)).await;
    append(&wal, entries(3..7, 1, 900)).await;
    wal.truncate_after(Some(5)).await.unwrap();
    append(&wal, entries(6..8, 2, 300)).await;
    if with_votes {
        wal.save_vote(Bytes::from_static(b"new")).await.unwrap();
    }
    wal.close().await;
    disk
}

fn files(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk
        .list("raft")
        .unwrap()
        .into_iter()
        .map(|entry| format!("raft/{}", entry.name));
    names
        .map(|path| (path.clone(), disk.read(&path).unwrap().unwrap()))
        .collect()
}

/// Every group of a segment: where it starts and where its records end.
fn groups(segment: &[u8]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut at = 0;
    while at < segment.len() {
        let header = Header::decode(segment[at..at + HEADER_LEN].try_into().unwrap()).unwrap();
        groups.push(at..at + HEADER_LEN + usize::try_from(header.body_len).unwrap());
        at += usize::try_from(header.group_len()).unwrap();
    }
    groups
}

/// The log must be refused, and nothing about it changed.
fn assert_refused(disk: &SimDisk, what: &str) {
    let before = files(disk);
    match open(disk) {
        Err(WalError::Corrupt { .. } | WalError::UnknownVersion { .. }) => {}
        Err(error) => panic!("{what}: {error}"),
        Ok((_, recovered)) => panic!("{what}: opened as {recovered:?}"),
    }
    assert_eq!(files(disk), before, "{what}");
}

async fn assert_opens_whole(disk: &SimDisk, what: &str) {
    let (wal, recovered) = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut expected = entries(1..3, 1, 100);
    expected.extend(entries(3..6, 1, 900));
    expected.extend(entries(6..8, 2, 300));
    assert_eq!(all(&wal), expected, "{what}");
    let newest = disk
        .stat("raft/vote")
        .unwrap()
        .map(|_| Bytes::from_static(b"new"));
    assert_eq!(recovered.vote, newest, "{what}");
    wal.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_byte_in_a_covered_group_is_corruption_and_in_the_last_is_a_torn_end() {
    for with_votes in [false, true] {
        let changed = change_each_byte(&closed_log(with_votes).await).await;
        println!("{changed} bytes changed, with votes: {with_votes}");
        assert!(changed > 3_000);
    }
}

async fn change_each_byte(disk: &SimDisk) -> usize {
    let segments: Vec<_> = files(disk)
        .into_iter()
        .filter(|(path, _)| path != "raft/vote")
        .collect();
    assert!(segments.len() > 1);
    let (last_path, last) = segments.last().unwrap();
    let closing = groups(last).last().unwrap().clone();
    let version = closing.start + 6..closing.start + 8;
    let mut changed = 0;
    for (path, bytes) in &segments {
        for at in groups(bytes).into_iter().flatten() {
            let damaged = disk.fork();
            damaged
                .flip_bit(path, at, u8::try_from(at % 8).unwrap())
                .unwrap();
            let what = format!("{path} byte {at}");
            let is_closing = path == last_path && closing.contains(&at);
            if is_closing && !version.contains(&at) {
                assert_opens_whole(&damaged, &what).await;
            } else {
                assert_refused(&damaged, &what);
            }
            changed += 1;
        }
    }
    changed
}

#[tokio::test(start_paused = true)]
async fn a_running_log_finds_each_changed_byte_and_goes_on_behind_it() {
    let (disk, wal) = fresh();
    wal.save_vote(Bytes::from_static(b"old")).await.unwrap();
    append(&wal, entries(1..3, 1, 100)).await;
    append(&wal, entries(3..7, 1, 900)).await;
    wal.truncate_after(Some(5)).await.unwrap();
    append(&wal, entries(6..8, 2, 300)).await;
    wal.save_vote(Bytes::from_static(b"new")).await.unwrap();
    let mut segments = files(&disk);
    segments.retain(|(path, _)| path != "raft/vote");
    assert!(segments.len() > 1 && verified(&wal).unwrap() > 4_000);
    let mut changed = 0;
    for (path, bytes) in &segments {
        for group in groups(bytes) {
            for at in group.clone() {
                let bit = u8::try_from(at % 8).unwrap();
                disk.flip_bit(path, at, bit).unwrap();
                let Err(WalError::Corrupt { file, offset, .. }) = verified(&wal) else {
                    panic!("{path} byte {at} was not found");
                };
                let start = u64::try_from(group.start).unwrap();
                assert_eq!((file, offset), (path.clone(), start));
                disk.flip_bit(path, at, bit).unwrap();
                changed += 1;
            }
        }
    }
    assert!(changed > 3_000, "{changed}");

    // The segment written to is left with the others, and goes when its entries may.
    let (newest, bytes) = segments.last().unwrap();
    let last_group = groups(bytes).last().unwrap().start;
    disk.flip_bit(newest, last_group, 1).unwrap();
    let number: u64 = newest["raft/".len()..newest.len() - 4].parse().unwrap();
    wal.leave(number).await.unwrap();
    wal.leave(number).await.unwrap();
    assert_eq!(wal.left(), Some(7));
    append(&wal, entries(8..10, 3, 100)).await;
    assert!(verified(&wal).is_err());
    wal.purge(7).await.unwrap();
    assert_eq!(wal.left(), None);
    assert!(verified(&wal).unwrap() > 0);

    // Both slots of the vote are written anew.
    for slot in [20, 4096 + 20] {
        assert!(wal.verify_vote(true).await.unwrap());
        disk.flip_bit("raft/vote", slot, 0).unwrap();
        assert!(!wal.verify_vote(false).await.unwrap());
        assert!(!wal.verify_vote(true).await.unwrap());
    }
    assert!(wal.verify_vote(true).await.unwrap());
    wal.close().await;
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(all(&wal), entries(8..10, 3, 100));
    assert_eq!(recovered.vote, Some(Bytes::from_static(b"new")));
    wal.close().await;
}

/// Bytes of all groups, each of which is what was written.
fn verified(wal: &SimWal) -> Result<usize, WalError> {
    let mut walk = Walk::default();
    let mut bytes = 0;
    while let Some(group) = wal.verify_next(&mut walk)? {
        bytes += group;
    }
    Ok(bytes)
}

#[tokio::test(start_paused = true)]
async fn a_changed_vote_is_corruption_when_it_is_the_newest() {
    let disk = closed_log(true).await;
    // Vote 1 lies in the second slot, vote 2, the newest, in the first.
    for at in 0..51 {
        let damaged = disk.fork();
        damaged.flip_bit("raft/vote", at, 0).unwrap();
        assert_refused(&damaged, &format!("newest vote, byte {at}"));
        let damaged = disk.fork();
        damaged.flip_bit("raft/vote", 4096 + at, 0).unwrap();
        match at {
            6 | 7 => assert_refused(&damaged, "version of the older vote"),
            _ => assert_opens_whole(&damaged, &format!("older vote, byte {at}")).await,
        }
    }
    let damaged = disk.fork();
    damaged.remove_file("raft/vote").unwrap();
    assert_refused(&damaged, "vote file gone");
}

#[tokio::test(start_paused = true)]
async fn a_missing_or_shortened_segment_is_corruption() {
    for with_votes in [false, true] {
        let disk = closed_log(with_votes).await;
        let mut paths: Vec<String> = files(&disk).into_iter().map(|(path, _)| path).collect();
        paths.retain(|path| path != "raft/vote");
        for path in &paths {
            // Alone, the end of the newest segment has nothing behind it to tell of it.
            if with_votes || Some(path) != paths.last() {
                assert_lost(&disk, path);
            }
        }
    }
}

fn assert_lost(disk: &SimDisk, path: &str) {
    let damaged = disk.fork();
    damaged.remove_file(path).unwrap();
    assert_refused(&damaged, &format!("{path} gone"));
    let damaged = disk.fork();
    let file = damaged.open(path, OpenMode::ReadWrite).unwrap();
    let len = file.len().unwrap();
    file.set_len(len - 1024).unwrap();
    assert_refused(&damaged, &format!("{path} shortened"));
    file.set_len(0).unwrap();
    assert_refused(&damaged, &format!("{path} emptied"));
}

#[tokio::test(start_paused = true)]
async fn a_segment_or_vote_of_another_log_is_refused() {
    let disk = closed_log(true).await;
    let other = SimDisk::new();
    let (wal, _) = Wal::open(&SimEnv::new(other.clone(), 2), "raft", SMALL).unwrap();
    wal.save_vote(Bytes::from_static(b"new")).await.unwrap();
    append(&wal, entries(1..3, 1, 100)).await;
    wal.close().await;
    for path in ["raft/0000000000000001.wal", "raft/vote"] {
        let mixed = disk.fork();
        let bytes = other.read(path).unwrap().unwrap();
        mixed.write_durable(path, &bytes, MODE_PUBLIC).unwrap();
        assert_refused(&mixed, path);
    }
}

#[tokio::test(start_paused = true)]
async fn segments_of_two_histories_of_one_log_do_not_mix() {
    let (disk, wal) = fresh();
    append(&wal, entries(1..3, 1, 100)).await;
    wal.close().await;
    // A copied folder: both go on with the same entries, but for one byte of the first.
    let copy = disk.fork();
    for (disk, term) in [(&disk, 2), (&copy, 3)] {
        let (wal, _) = open(disk).unwrap();
        append(&wal, entries(3..4, term, 100)).await;
        append(&wal, entries(4..5, 4, 3000)).await;
        wal.close().await;
    }
    let (rolled, bytes) = files(&copy).pop().unwrap();
    assert_eq!(disk.list("raft").unwrap().len(), 2);
    disk.write_durable(&rolled, &bytes, MODE_PUBLIC).unwrap();
    assert_refused(&disk, "the second segment of the copy");
}

#[tokio::test(start_paused = true)]
async fn a_vote_covers_the_log_before_it() {
    let (disk, wal) = fresh();
    append(&wal, entries(1..3, 1, 100)).await;
    wal.save_vote(Bytes::from_static(b"vote")).await.unwrap();
    let path = "raft/0000000000000001.wal";
    assert_eq!(
        groups(&disk.read(path).unwrap().unwrap()).len(),
        1,
        "no later group covers it"
    );
    disk.kill();
    disk.flip_bit(path, 200, 0).unwrap();
    assert_refused(&disk, "the only group");
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_looks_like_a_later_group_covers_nothing() {
    let (disk, wal) = fresh();
    append(&wal, entries(1..2, 1, 10)).await;
    // What a client could know of a header; it cannot know the id of the log.
    let forged = Header {
        log_id: [0; 16],
        sequence: 99,
        body_len: 0,
        records: 0,
        body_crc: 0,
        votes: 0,
        previous: frame::Previous::default(),
    };
    // A body begins at byte 88 of its group and a payload 17 later: the header lies at byte 512.
    let forged = [[0; 407].as_slice(), &forged.encode()].concat();
    wal.append(vec![(2, forged.into())], Box::new(|_| ()))
        .await
        .unwrap();
    tokio::task::yield_now().await;
    disk.kill();
    let path = "raft/0000000000000001.wal";
    let second = groups(&disk.read(path).unwrap().unwrap())[1].clone();
    disk.flip_bit(path, second.start, 0).unwrap();
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(all(&wal), entries(1..2, 1, 10));
    assert_eq!(
        recovered.torn.unwrap().offset,
        u64::try_from(second.start).unwrap()
    );
}

#[tokio::test(start_paused = true)]
async fn a_torn_group_leaves_nothing_behind_a_shorter_one() {
    let (disk, wal) = fresh();
    append(&wal, entries(1..2, 1, 10)).await;
    disk.record();
    append(&wal, entries(2..3, 1, 2000)).await;
    // As it was between write and sync; the first sector is lost, the rest arrives.
    let disk = disk.history().unwrap().disk_after(1);
    disk.crash(&Crash::Torn {
        kept: 0,
        tear: Tear::Tail(512),
    });
    let (wal, recovered) = open(&disk).unwrap();
    assert!(recovered.torn.is_some());
    append(&wal, entries(2..3, 2, 3000)).await;
    wal.close().await;
    assert_eq!(all(&open(&disk).unwrap().0).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_read_error_is_neither_an_end_nor_damage() {
    let disk = closed_log(true).await;
    let before = files(&disk);
    disk.damage_read("raft/0000000000000001.wal", 700).unwrap();
    assert!(matches!(open(&disk), Err(WalError::Io(_))));
    assert_eq!(files(&disk.fork()), before);
}

#[tokio::test(start_paused = true)]
async fn an_entry_damaged_under_a_running_log_is_not_served() {
    let (disk, wal) = fresh();
    append(&wal, entries(1..5, 1, 900)).await;
    disk.flip_bit("raft/0000000000000001.wal", 500, 0).unwrap();
    let damaged = wal.read(1..5, u64::MAX).unwrap_err();
    assert_eq!(damaged.kind(), io::ErrorKind::InvalidData);
    assert_eq!(wal.read(2..5, u64::MAX).unwrap(), entries(2..5, 1, 900));
}
