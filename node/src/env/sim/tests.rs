#![allow(clippy::unwrap_used, reason = "test")]

use std::collections::BTreeSet;
use std::io;

use super::*;
use crate::env::{Disk, DiskFile, OpenMode, TaskEnd};

/// A disk on which `file` durably holds `held`, and its open handle.
fn disk_holding(held: &[u8]) -> (SimDisk, SimFile) {
    let disk = SimDisk::new();
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    file.write_all_at(held, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    (disk, file)
}

fn after(disk: &SimDisk, crash: &Crash) -> Option<Vec<u8>> {
    let fork = disk.fork();
    fork.crash(crash);
    fork.read("file").unwrap()
}

#[test]
fn content_and_names_become_durable_apart() {
    let disk = SimDisk::new();
    disk.create_dir_all("dir").unwrap();
    let file = disk.open("dir/file", OpenMode::Create).unwrap();
    file.write_all_at(b"bytes", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("dir").unwrap();
    let fork = disk.fork();
    fork.crash(&Crash::DropAll);
    assert_eq!(
        fork.stat("dir").unwrap(),
        None,
        "the directory's own name was not synced"
    );

    disk.sync_dir("").unwrap();
    disk.rename("dir/file", "dir/other").unwrap();
    let fork = disk.fork();
    fork.crash(&Crash::DropAll);
    assert_eq!(fork.read("dir/file").unwrap().unwrap(), b"bytes");
    assert_eq!(fork.read("dir/other").unwrap(), None);
    disk.sync_dir("dir").unwrap();
    disk.remove_file("dir/other").unwrap();
    disk.crash(&Crash::DropAll);
    assert_eq!(disk.read("dir/other").unwrap().unwrap(), b"bytes");
    assert!(
        file.sync_data().is_err(),
        "a file opened before the crash is dead"
    );
}

#[test]
fn a_crash_keeps_what_it_is_told_to() {
    let (disk, file) = disk_holding(b"......");
    file.write_all_at(b"a", 0).unwrap();
    file.write_all_at(b"b", 1).unwrap();
    file.set_len(3).unwrap();
    assert_eq!(disk.pending().len(), 3);
    let subset = Crash::Subset(BTreeSet::from([1, 2]));
    assert_eq!(after(&disk, &Crash::DropAll).unwrap(), b"......");
    assert_eq!(after(&disk, &Crash::Prefix(1)).unwrap(), b"a.....");
    assert_eq!(after(&disk, &subset).unwrap(), b".b.");
    assert_eq!(
        after(&disk, &Crash::Seeded(7)),
        after(&disk, &Crash::Seeded(7))
    );
    assert_eq!(disk.read("file").unwrap().unwrap(), b"ab.");
}

#[test]
fn a_torn_write_leaves_the_part_chosen() {
    let (disk, file) = disk_holding(&[b'.'; 1024]);
    file.write_all_at(&[b'n'; 1024], 256).unwrap();
    let torn = |tear| after(&disk, &Crash::Torn { kept: 0, tear }).unwrap();
    let runs = |bytes: &[u8]| {
        let runs = bytes.chunk_by(|a, b| a == b);
        runs.map(|run| (char::from(*run.first().unwrap()), run.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        runs(&torn(Tear::Head(300))),
        [('.', 256), ('n', 300), ('.', 468)]
    );
    assert_eq!(runs(&torn(Tear::Tail(300))), [('.', 556), ('n', 724)]);
    assert_eq!(runs(&torn(Tear::Length)), [('.', 1024), ('\0', 256)]);
    // The write's sectors hold 256, 512 and 256 of its bytes.
    assert_eq!(
        runs(&torn(Tear::Sectors(0b101))),
        [('.', 256), ('n', 256), ('.', 512), ('n', 256)]
    );
    let garbage = torn(Tear::Garbage(300));
    assert_eq!(garbage.len(), 1024);
    assert!(
        garbage
            .iter()
            .take(512)
            .all(|byte| matches!(byte, b'.' | b'n'))
    );
    assert!(
        garbage
            .iter()
            .skip(512)
            .take(512)
            .filter(|byte| **byte == b'n')
            .count()
            < 20
    );
}

#[test]
fn a_failed_sync_forgets_what_the_process_still_sees() {
    let (disk, file) = disk_holding(b"old");
    file.write_all_at(b"new", 0).unwrap();
    disk.fail_sync_after(0);
    assert!(file.sync_data().is_err());
    assert_eq!(disk.read("file").unwrap().unwrap(), b"new");
    file.sync_data().unwrap();
    assert_eq!(after(&disk, &Crash::DropAll).unwrap(), b"old");
}

#[test]
fn faults_hit_the_place_they_are_set_on() {
    let (disk, file) = disk_holding(b"abcdef");
    disk.limit_space(Some(2));
    let full = file.write_all_at(b"DEFGHIJ", 3).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.read("file").unwrap().unwrap(), b"abcDEFGH");
    disk.limit_space(None);
    disk.flip_bit("file", 0, 5).unwrap();
    assert_eq!(disk.read("file").unwrap().unwrap(), b"AbcDEFGH");
    assert_eq!(after(&disk, &Crash::DropAll).unwrap(), b"Abcdef");
    disk.damage_read("file", 4).unwrap();
    let mut buf = [0; 4];
    file.read_exact_at(&mut buf, 0).unwrap();
    assert!(file.read_at(&mut buf, 1).is_err());
}

#[test]
fn history_gives_back_the_disk_of_every_step() {
    let (disk, file) = disk_holding(b"0");
    disk.record();
    for byte in [b"1", b"2", b"3"] {
        file.write_all_at(byte, 0).unwrap();
        file.sync_data().unwrap();
    }
    let history = disk.history().unwrap();
    let kept = |steps, crash| after(&history.disk_after(steps), &crash).unwrap();
    assert_eq!(history.len(), 6);
    assert_eq!(kept(0, Crash::DropAll), b"0");
    assert_eq!(kept(3, Crash::DropAll), b"1");
    assert_eq!(kept(3, Crash::Prefix(1)), b"2");
    assert_eq!(kept(6, Crash::DropAll), b"3");
}

#[test]
fn a_folder_has_one_holder_until_the_crash() {
    let disk = SimDisk::new();
    let held = disk.lock("lock").unwrap();
    assert_eq!(
        disk.lock("lock").unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    disk.crash(&Crash::DropAll);
    let again = disk.lock("lock").unwrap();
    drop(held);
    assert!(
        disk.lock("lock").is_err(),
        "the dead holder let go of what it no longer held"
    );
    drop(again);
    disk.lock("lock").unwrap();
}

#[tokio::test]
async fn an_exit_ends_the_task_and_is_noted() {
    let env = SimEnv::new(SimDisk::new(), 1);
    let inside = env.clone();
    let lane = env.lane("exits", move || async move { inside.exit(3, "on purpose") });
    assert_eq!(lane.join().await, TaskEnd::Lost);
    assert_eq!(
        env.exited(),
        Some(Exit {
            code: 3,
            why: "on purpose".to_owned()
        })
    );
}

#[test]
fn equal_seeds_give_equal_bytes() {
    let draw = |seed| {
        let mut bytes = [0; 32];
        SimEnv::new(SimDisk::new(), seed).fill_random(&mut bytes);
        bytes
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
