//! A disk that fails while the log runs.

use super::*;
use crate::env::sim::{Crash, Exit};

/// Appends one entry after the other until the lane ends; how many were called back.
async fn append_until_the_end(wal: &SimWal) -> u64 {
    for index in 1..100 {
        let (done, durable) = oneshot::channel();
        let done = Box::new(move |result| drop(done.send(result)));
        let appended = wal.append(entries(index..index + 1, 1, 900), done).await;
        let is_durable = appended.is_ok() && matches!(durable.await, Ok(Ok(())));
        if !is_durable {
            return index - 1;
        }
        if index % 3 == 0 && wal.save_vote(payload(index, 0, 9)).await.is_err() {
            return index;
        }
    }
    panic!("the fault did not come");
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_ends_the_process_and_acknowledges_nothing() {
    for successes in 0..25 {
        let disk = SimDisk::new();
        let env = SimEnv::new(disk.clone(), 1);
        let (wal, _) = Wal::open(&env, "raft", SMALL).unwrap();
        disk.fail_sync_after(successes);
        let acked = append_until_the_end(&wal).await;
        assert!(
            matches!(
                env.exited(),
                Some(Exit {
                    code: EXIT_DISK,
                    ..
                })
            ),
            "{:?}",
            env.exited()
        );
        assert_eq!(wal.durable_index().unwrap_or(0), acked);
        let late = wal
            .append(entries(100..101, 1, 1), Box::new(|_| ()))
            .await
            .unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);

        disk.crash(&Crash::DropAll);
        let (wal, _) = open(&disk).unwrap();
        assert_eq!(
            all(&wal),
            entries(1..acked + 1, 1, 900),
            "after {successes} syncs"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_failed_sync_left_to_the_page_cache_is_on_disk_after_the_next_start() {
    for successes in 0..25 {
        let disk = SimDisk::new();
        let (wal, _) = open(&disk).unwrap();
        disk.fail_sync_after(successes);
        append_until_the_end(&wal).await;
        disk.kill();
        // The next process sees all of it, and cannot know that the disk forgot.
        let (wal, recovered) = open(&disk).unwrap();
        let reported = all(&wal);
        let goes_on = successes % 2 == 0;
        if goes_on {
            let next = recovered.last.map_or(1, |last| last + 1);
            append(&wal, entries(next..next + 1, 1, 900)).await;
        }
        let held = all(&wal);
        assert!(held.starts_with(&reported));
        // Or at once, before its lane has run.
        disk.crash(&Crash::DropAll);
        let (wal, again) = open(&disk).unwrap_or_else(|error| panic!("after {successes}: {error}"));
        assert_eq!((all(&wal), again.vote), (held, recovered.vote));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_ends_the_process_and_a_start_with_room_goes_on() {
    for space in (0..8_000).step_by(700) {
        let disk = SimDisk::new();
        let env = SimEnv::new(disk.clone(), 1);
        let (wal, _) = Wal::open(&env, "raft", SMALL).unwrap();
        disk.limit_space(Some(space));
        let acked = append_until_the_end(&wal).await;
        assert_eq!(env.exited().unwrap().code, EXIT_DISK);
        disk.kill();
        let (wal, _) = open(&disk).unwrap();
        assert_eq!(
            all(&wal),
            entries(1..acked + 1, 1, 900),
            "with {space} bytes"
        );
        append(&wal, entries(acked + 1..acked + 2, 1, 900)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_callback_before_the_sync_returns() {
    let (disk, wal) = fresh();
    disk.hold_syncs();
    let (done, mut durable) = oneshot::channel();
    let done = Box::new(move |result| drop(done.send(result)));
    wal.append(entries(1..2, 1, 10), done).await.unwrap();
    // The directory's sync is held first, then the segment's; each is seen to wait.
    while disk.pending().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(durable.try_recv().is_err());
    assert_eq!(wal.durable_index(), None);
    disk.release_syncs();
    durable.await.unwrap().unwrap();
    assert_eq!(wal.durable_index(), Some(1));
    assert_eq!(disk.pending(), []);
}
