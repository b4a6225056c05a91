//! Every crash while damage is repaired, beside a ledger that grows.

use super::*;
use crate::env::sim::every_crash::{At, Pace, every_crash};
use crate::env::{DiskFile, OpenMode};

/// Entries under the marker when the damage is found.
const SIZE: u64 = 45;
/// Entries that a peer sends at once: some of each file, and not a divisor of what one holds.
const PAGE: usize = 3;
/// Checkpoints kept of [`SIZE`] entries.
const KEPT: [u64; 3] = [10, 30, SIZE];
const VALUES: u64 = 6;

/// What was whole before, what the damage made of it, and what of it was repaired by which step.
struct Story {
    whole: BTreeMap<String, Vec<u8>>,
    damaged: BTreeMap<String, Vec<u8>>,
    /// Growing files: their last block stands in the marker, damaged as it is, until that is written anew.
    tails: Vec<String>,
    /// By step, how many bytes of each file are right from its beginning on.
    right: Vec<(usize, BTreeMap<String, usize>)>,
    /// What stood in `quarantine/` at these steps.
    aside: Vec<(usize, BTreeMap<String, Vec<u8>>)>,
    /// Steps from which on a value, and both slots of the marker, are whole again.
    value: usize,
    marker: usize,
}

impl Story {
    /// Everything was durable when the repairer said that it was done.
    fn note(&mut self, disk: &SimDisk) {
        let (step, found) = (disk.history_len(), dump(disk, "ledger"));
        let right = self.whole.iter().map(|(file, whole)| {
            let found = found.get(file).map_or(&[][..], Vec::as_slice);
            let same = whole.iter().zip(found).take_while(|(a, b)| a == b);
            (file.clone(), same.count())
        });
        self.right.push((step, right.collect()));
        self.aside.push((step, quarantined(disk)));
    }
}

/// A byte in each kind of file, whole ones and such as grow, that a start does not look at.
fn light() -> Vec<(String, usize)> {
    vec![
        (names::lines(16), 700),
        (names::lines(40), 200),
        (names::offsets(16), 17),
        (names::nodes(0, 0), 166),
        (names::nodes(0, 40), 5),
        (names::nodes(1, 8), 100),
        (names::checkpoint(30), 50),
        // The second value there; the first is empty.
        (names::pack("acme", 0), 570),
    ]
}

/// What keeps a node from starting: the first entry and the last, the way up from them.
fn grave() -> Vec<(String, usize)> {
    vec![
        (names::lines(0), 3),
        (names::lines(40), 500),
        (names::nodes(3, 0), 40),
    ]
}

/// A ledger with these bytes damaged and one file gone, under a running node.
fn damaged(places: &[(String, usize)], gone: Option<String>) -> (SimDisk, Opened<SimDisk>, Story) {
    let disk = SimDisk::new();
    let mut a = open(&disk);
    for size in KEPT {
        let from = a.ledger.size().0;
        a.ledger.append(&entries(from..size)).unwrap();
        keep(&mut a.ledger, size).unwrap();
    }
    for number in 0..VALUES {
        let (_, bytes) = value(number);
        a.ledger.put_value("acme", HashedValue::of(&bytes)).unwrap();
    }
    a.markers.write(draft(&a.ledger, 1)).unwrap();
    let whole = dump(&disk, "ledger");
    for (file, byte) in places {
        disk.flip_bit(file, *byte, 2).unwrap();
    }
    if let Some(gone) = gone {
        disk.remove_file(&gone).unwrap();
        disk.sync_dir(names::ENTRIES).unwrap();
    }
    // A marker that was written when the last block was bad has it as it was.
    a.markers.write(draft(&a.ledger, 1)).unwrap();
    disk.flip_bit("marker.0", 60, 1).unwrap();
    let story = Story {
        damaged: dump(&disk, "ledger"),
        whole,
        tails: a
            .markers
            .newest()
            .tails
            .iter()
            .map(|tail| tail.file.clone())
            .collect(),
        right: Vec::new(),
        aside: Vec::new(),
        value: usize::MAX,
        marker: usize::MAX,
    };
    (disk, a, story)
}

fn quarantined(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let made = disk.stat("quarantine").unwrap();
    made.map_or(BTreeMap::new(), |_| dump(disk, "quarantine"))
}

/// One pass of the verifier, by entries that a peer has shown to be the ledger's.
fn heal(disk: &SimDisk, opened: &mut Opened<SimDisk>, mut story: Option<&mut Story>) {
    let repairer = opened.ledger.repairer();
    for size in opened.ledger.reader().checkpoints() {
        if opened.ledger.reader().checkpoint(size).is_err() {
            assert!(repairer.repair_note(size, &note(size.0)).unwrap());
        }
    }
    if let Some(story) = story.as_deref_mut() {
        story.note(disk);
    }
    let mut walk = Walk::default();
    let mut grows = story.is_some();
    while walk.size().0 < SIZE {
        let until = repairer.file_end(walk.size()).0.min(SIZE);
        let until = until.min(walk.size().0 + u64_of(PAGE));
        let page = entries(walk.size().0..until);
        let stretch = repairer.stretch(&walk, &page);
        repairer.repair(&stretch).unwrap();
        if let Some(story) = story.as_deref_mut() {
            story.note(disk);
        }
        walk = stretch.to;
        if grows && walk.size().0 > 20 {
            // Apply goes on, and so do the markers.
            opened.ledger.append(&entries(SIZE..SIZE + 2)).unwrap();
            opened.markers.write(draft(&opened.ledger, 2)).unwrap();
            opened.ledger.append(&entries(SIZE + 2..SIZE + 4)).unwrap();
            grows = false;
        }
    }
    opened.markers.again().unwrap();
    repairer.check_marker().unwrap();
    if let Some(story) = story.as_deref_mut() {
        story.marker = disk.history_len();
    }
    for number in 0..VALUES {
        let (hash, bytes) = value(number);
        if !matches!(opened.ledger.reader().value("acme", &hash), Ok(Some(_))) {
            repairer.put_value("acme", HashedValue::of(&bytes)).unwrap();
        }
    }
    let index = opened.marker.last_applied.map_or(0, |at| at.index).max(2);
    opened.markers.write(draft(&opened.ledger, index)).unwrap();
    if let Some(story) = story {
        story.value = disk.history_len();
    }
}

/// Whether a start goes on; everything is either as it was before the damage or as the damage left it,
/// and nothing repaired is damaged again.
fn check(disk: &SimDisk, story: &Story, at: &At) -> bool {
    let opened = Ledger::open_with(disk.clone(), SMALL);
    let found = dump(disk, "ledger");
    for (file, whole) in &story.whole {
        let empty = Vec::new();
        let damaged = story.damaged.get(file);
        let found = match (found.get(file), damaged) {
            (Some(found), _) => found,
            (None, None) => &empty,
            (None, Some(_)) => panic!("{at:?}: `{file}` is gone"),
        };
        let damaged = damaged.unwrap_or(&empty);
        let right = story.right.iter().rev().find(|(step, _)| *step <= at.step);
        let right = right.map_or(0, |(_, right)| right[file]);
        let in_tail = at.step < story.marker && story.tails.contains(file);
        for (byte, whole) in whole.iter().enumerate() {
            let (found, damaged) = (found.get(byte), damaged.get(byte));
            let repaired = byte < right && !in_tail;
            let fine = found == Some(whole) || !repaired && found == damaged;
            assert!(
                fine,
                "{at:?}: `{file}`, byte {byte}: {found:?}, of {right} right"
            );
        }
    }
    let aside = story.aside.iter().rev().find(|(step, _)| *step <= at.step);
    let found = quarantined(disk);
    for (file, bytes) in aside.into_iter().flat_map(|(_, files)| files) {
        assert_eq!(found.get(file), Some(bytes), "{at:?}: `{file}`");
    }
    match opened {
        Ok(opened) => {
            let reader = opened.ledger.reader();
            let lost = (0..VALUES).filter(|number| {
                let (hash, bytes) = value(*number);
                match reader.value("acme", &hash) {
                    Ok(Some(found)) => found != bytes,
                    _ => true,
                }
            });
            let lost = lost.count();
            assert!(at.step < story.value || lost == 0, "{at:?}: {lost} values");
            assert!(at.step < story.marker || opened.slot_lost.is_none());
            true
        }
        Err(StoreError::Damaged { .. }) if at.step < story.marker => false,
        Err(other) => panic!("{at:?}: {other}"),
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_repair_leaves_whole_what_was_whole_and_the_rest_damaged_or_healed()
 {
    let mut all = 0;
    for (what, places, gone) in [
        ("light", light(), None),
        ("grave", grave(), Some(names::lines(24))),
    ] {
        let (disk, mut opened, mut story) = damaged(&places, gone);
        disk.record();
        heal(&disk, &mut opened, Some(&mut story));
        let history = disk.history().unwrap();
        for (file, bytes) in &story.whole {
            let found = disk.read(file).unwrap().unwrap();
            assert!(found.starts_with(bytes), "`{file}` is not healed");
        }
        let pace = Pace {
            again: 200,
            again_killed: 40,
            closely: 0..0,
            torn: 1,
        };
        let (mut starts, mut tried) = (0_usize, 0_usize);
        let states = every_crash(&history, pace, async |disk, at| {
            let started = check(disk, &story, at);
            starts += usize::from(started);
            tried += 1;
            if started && tried.is_multiple_of(15) {
                let disk = disk.fork();
                heal(&disk, &mut open(&disk), None);
                let healed = dump(&disk, "ledger");
                for (file, bytes) in &story.whole {
                    assert!(healed[file].starts_with(bytes), "{at:?}: `{file}`");
                }
            }
            started
        })
        .await;
        let steps = history.len();
        println!("repair of {what} damage: {steps} steps, {states} states, {starts} starts");
        match what {
            "light" => assert_eq!(
                starts, states,
                "what a start does not look at keeps none back"
            ),
            _ => assert!((1..states).contains(&starts), "{starts} of {states}"),
        }
        all += states;
    }
    assert!(all > 2_000, "only {all} states");
}

#[test]
fn what_is_written_down_of_a_repair_is_never_believed_when_it_is_damaged() {
    let (disk, opened, story) = damaged(&grave(), None);
    disk.record();
    let repairer = opened.ledger.repairer();
    let page = entries(0..3);
    repairer
        .repair(&repairer.stretch(&Walk::default(), &page))
        .unwrap();
    let history = disk.history().unwrap();
    let steps = 0..history.len();
    let mut under_way = steps.map(|step| history.disk_after(step));
    let disk = under_way
        .find(|disk| disk.stat("repair").unwrap().is_some())
        .unwrap();
    disk.kill();
    let bytes = disk.read("repair").unwrap().unwrap();
    for byte in (0..bytes.len()).step_by(7) {
        let damaged = disk.fork();
        damaged.flip_bit("repair", byte, 5).unwrap();
        let _ = Ledger::open_with(damaged.clone(), SMALL);
        let found = damaged.read(&names::lines(0)).unwrap();
        assert_eq!(
            found.as_ref(),
            story.damaged.get(&names::lines(0)),
            "byte {byte}"
        );
        let left = damaged.open("repair", OpenMode::Read);
        assert!(left.is_err(), "{:?}", left.map(|file| file.len()));
    }
    let _ = Ledger::open_with(disk.clone(), SMALL);
    let found = disk.read(&names::lines(0)).unwrap();
    assert_eq!(found.as_ref(), story.whole.get(&names::lines(0)));
}
