#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

mod damage;
mod enumeration;
mod faults;
mod model;

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt;

use super::*;
use crate::env::real::RealEnv;
use crate::env::sim::{SimDisk, SimEnv};

/// Small enough that a short story rolls segments, splits groups and reads from files.
const SMALL: Limits = Limits {
    segment_bytes: 4096,
    group_bytes: 1500,
    cache_bytes: 700,
    queue_bytes: 8192,
    idle: Duration::from_millis(100),
};

type SimWal = Wal<SimDisk>;

fn open(disk: &SimDisk) -> Result<(SimWal, Recovered), WalError> {
    Wal::open(&SimEnv::new(disk.clone(), 1), "raft", SMALL)
}

fn fresh() -> (SimDisk, SimWal) {
    let disk = SimDisk::new();
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!(recovered, Recovered::default());
    (disk, wal)
}

/// So many bytes that tell index and term apart, for each pair different ones.
fn payload(index: u64, term: u8, len: usize) -> Bytes {
    let pattern = index.to_be_bytes().into_iter().chain([term]);
    pattern.cycle().take(len).collect::<Vec<u8>>().into()
}

fn entries(range: Range<u64>, term: u8, len: usize) -> Vec<(u64, Bytes)> {
    range
        .map(|index| (index, payload(index, term, len)))
        .collect()
}

async fn append<D: Disk>(wal: &Wal<D>, records: Vec<(u64, Bytes)>) {
    let (done, durable) = oneshot::channel();
    let done = Box::new(move |result| drop(done.send(result)));
    wal.append(records, done).await.unwrap();
    durable.await.unwrap().unwrap();
}

fn all<D: Disk>(wal: &Wal<D>) -> Vec<(u64, Bytes)> {
    wal.read(0..u64::MAX, u64::MAX).unwrap()
}

#[tokio::test(start_paused = true)]
async fn entries_are_read_at_once_and_called_back_in_order_with_one_sync() {
    let (_, wal) = fresh();
    let called = Arc::new(AtomicUsize::new(0));
    for index in 1..=5 {
        let called = Arc::clone(&called);
        let done = move |result: io::Result<()>| {
            result.unwrap();
            assert_eq!(
                called.fetch_add(1, Ordering::SeqCst) + 1,
                usize::try_from(index).unwrap()
            );
        };
        wal.append(entries(index..index + 1, 1, 10), Box::new(done))
            .await
            .unwrap();
    }
    assert_eq!(all(&wal), entries(1..6, 1, 10));
    assert_eq!(
        (wal.durable_index(), called.load(Ordering::SeqCst)),
        (None, 0)
    );
    append(&wal, entries(6..7, 1, 10)).await;
    assert_eq!(
        (wal.durable_index(), called.load(Ordering::SeqCst)),
        (Some(6), 5)
    );
    let Counters {
        groups,
        entries,
        syncs,
        ..
    } = wal.counters();
    assert_eq!((groups, entries, syncs), (1, 6, 1));
}

#[tokio::test(start_paused = true)]
async fn an_idle_log_covers_its_last_group_once() {
    let (_, wal) = fresh();
    append(&wal, entries(1..2, 1, 10)).await;
    tokio::time::sleep(SMALL.idle * 10).await;
    assert_eq!(wal.counters().groups, 2);
    wal.save_vote(Bytes::from_static(b"vote")).await.unwrap();
    tokio::time::sleep(SMALL.idle * 10).await;
    assert_eq!((wal.counters().groups, wal.syncs()), (3, 4));
}

#[tokio::test(start_paused = true)]
async fn reads_are_bounded_and_reach_from_file_to_memory() {
    let (_, wal) = fresh();
    append(&wal, entries(10..30, 1, 300)).await;
    assert_eq!(all(&wal), entries(10..30, 1, 300));
    let read = |range, bytes_max| wal.read(range, bytes_max).unwrap();
    assert_eq!(read(12..40, 900), entries(12..15, 1, 300));
    assert_eq!(read(12..40, 899), entries(12..14, 1, 300));
    assert_eq!(read(12..40, 0), entries(12..13, 1, 300));
    assert_eq!(read(0..11, u64::MAX), entries(10..11, 1, 300));
    assert_eq!(read(30..40, u64::MAX), []);
    let empty = Range { start: 20, end: 12 };
    assert_eq!(read(empty, u64::MAX), []);
}

#[tokio::test(start_paused = true)]
async fn truncated_entries_never_count_as_durable_again() {
    let (disk, wal) = fresh();
    append(&wal, entries(1..10, 1, 10)).await;
    wal.append(entries(10..12, 1, 10), Box::new(|_| ()))
        .await
        .unwrap();
    // The lane has not run: the append is queued when it is truncated and replaced.
    let truncating = wal.truncate_after(Some(7));
    tokio::pin!(truncating);
    assert!(truncating.as_mut().now_or_never().is_none());
    assert_eq!((wal.last_index(), wal.durable_index()), (Some(7), Some(7)));
    wal.append(entries(8..9, 2, 10), Box::new(|_| ()))
        .await
        .unwrap();
    assert_eq!((wal.last_index(), wal.durable_index()), (Some(8), Some(7)));
    truncating.await.unwrap();
    append(&wal, entries(9..10, 2, 10)).await;
    let mut expected = entries(1..8, 1, 10);
    expected.extend(entries(8..10, 2, 10));
    assert_eq!(
        (all(&wal), wal.durable_index()),
        (expected.clone(), Some(9))
    );
    wal.close().await;
    assert_eq!(all(&open(&disk).unwrap().0), expected);
}

#[tokio::test(start_paused = true)]
async fn purging_removes_whole_segments_and_a_restart_agrees() {
    let (disk, wal) = fresh();
    append(&wal, entries(1..40, 1, 300)).await;
    let files = || disk.list("raft").unwrap().len();
    let before = files();
    wal.purge(20).await.unwrap();
    let first = wal.first_index().unwrap();
    assert!(
        files() < before && 1 < first && first <= 21,
        "first is {first}"
    );
    assert_eq!(all(&wal), entries(first..40, 1, 300));
    wal.close().await;
    let (wal, recovered) = open(&disk).unwrap();
    assert_eq!((recovered.first, recovered.last), (Some(first), Some(39)));
    wal.purge(1_000).await.unwrap();
    wal.truncate_after(None).await.unwrap();
    append(&wal, entries(1_001..1_003, 2, 10)).await;
    wal.close().await;
    assert_eq!(all(&open(&disk).unwrap().0), entries(1_001..1_003, 2, 10));
}

#[tokio::test(start_paused = true)]
async fn an_append_waits_while_the_queue_is_full() {
    let (_, wal) = fresh();
    let first = wal.append(entries(1..9, 1, 1000), Box::new(|_| ()));
    first.now_or_never().unwrap().unwrap();
    let second = wal.append(entries(9..10, 1, 1000), Box::new(|_| ()));
    tokio::pin!(second);
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(wal.last_index(), Some(8));
    second.await.unwrap();
    assert_eq!(wal.last_index(), Some(9));
    // One longer than the whole queue waits until it is alone.
    append(&wal, entries(10..11, 1, 2 * SMALL.queue_bytes)).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_appended_is_refused_whole() {
    let (_, wal) = fresh();
    append(&wal, entries(5..7, 1, 10)).await;
    let gap_inside = vec![(7, Bytes::new()), (9, Bytes::new())];
    let too_long = vec![(7, Bytes::new()), (8, vec![0; RECORD_LEN_MAX + 1].into())];
    for refused in [
        gap_inside,
        too_long,
        entries(8..9, 1, 1),
        entries(6..8, 1, 1),
    ] {
        let error = wal.append(refused, Box::new(|_| ())).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let too_long = Bytes::from(vec![0; VOTE_LEN_MAX + 1]);
    assert!(wal.save_vote(too_long.clone()).await.is_err());
    assert!(wal.save_committed(too_long).is_err());
    wal.save_vote(vec![1; VOTE_LEN_MAX].into()).await.unwrap();
    assert_eq!(all(&wal), entries(5..7, 1, 10));
    append(&wal, vec![(7, vec![0; RECORD_LEN_MAX].into())]).await;
    wal.close().await;
    let closed = wal
        .append(entries(8..9, 1, 1), Box::new(|_| ()))
        .await
        .unwrap_err();
    assert_eq!(closed.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(
        wal.save_vote(Bytes::new()).await.unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}

#[tokio::test]
async fn a_real_folder_holds_the_log_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let env = RealEnv::open(folder.path()).unwrap();
    let (wal, _) = Wal::open(&env, "raft", SMALL).unwrap();
    append(&wal, entries(1..20, 1, 300)).await;
    wal.save_vote(Bytes::from_static(b"first")).await.unwrap();
    wal.save_vote(Bytes::from_static(b"second")).await.unwrap();
    wal.truncate_after(Some(15)).await.unwrap();
    wal.save_committed(Bytes::from_static(b"hint")).unwrap();
    append(&wal, entries(16..18, 2, 300)).await;
    wal.close().await;

    let (wal, recovered) = Wal::open(&env, "raft", Limits::default()).unwrap();
    assert_eq!(recovered.vote, Some(Bytes::from_static(b"second")));
    assert_eq!(recovered.committed, Some(Bytes::from_static(b"hint")));
    assert_eq!((recovered.first, recovered.last), (Some(1), Some(17)));
    let mut expected = entries(1..16, 1, 300);
    expected.extend(entries(16..18, 2, 300));
    assert_eq!(all(&wal), expected);
}
