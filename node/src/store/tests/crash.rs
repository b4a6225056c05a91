//! Every crash of one history of appends and markers.

use std::collections::BTreeSet;

use super::*;
use crate::env::sim::every_crash::{At, Pace, every_crash};
use crate::env::sim::{Crash, Pending, SECTOR_BYTES, Tear};

/// What the history did, and when which marker had become durable.
struct Story {
    /// By generation, from 2: the marker of the first start is the last that counts nothing.
    markers: BTreeMap<u64, Marker>,
    /// Step of the history at which the write of a generation had returned.
    durable: Vec<(usize, u64)>,
}

/// Grows a ledger by a few rounds of appends, checkpoints, values and markers.
fn grow(disk: &SimDisk, rounds: u64) -> Story {
    let mut a = open(disk);
    let mut story = Story {
        markers: BTreeMap::from([(a.marker.generation, a.marker.clone())]),
        durable: vec![(disk.history_len(), a.marker.generation)],
    };
    for round in a.marker.last_applied.map_or(0, |at| at.index)..rounds {
        apply(&mut a.ledger, round);
        let draft = draft(&a.ledger, round + 1);
        if round % 2 == 1 {
            // Apply goes on while the marker is being written, and is done again after a crash.
            a.ledger
                .append(&entries(size_after(round)..size_after(round) + 2))
                .unwrap();
        }
        let marker = a.markers.write(draft).unwrap().clone();
        story.durable.push((disk.history_len(), marker.generation));
        story.markers.insert(marker.generation, marker);
        if round % 2 == 1 {
            a = open(disk);
        }
    }
    story
}

/// Three checkpoints a minute, of which the third stays.
const AGES: ThinAges = ThinAges {
    minute_after_ms: 30_000,
    hour_after_ms: 3_600_000,
};

/// What one command of the Raft log does; the same on every node and after every restart.
fn apply(ledger: &mut Ledger<SimDisk>, round: u64) {
    let from = size_after(round.wrapping_sub(1));
    assert_eq!(ledger.size().0, from);
    let to = size_after(round);
    let middle = to.min(from + 2);
    ledger.append(&entries(from..middle)).unwrap();
    ledger.append(&entries(middle..to)).unwrap();
    let sealed = checkpoint(to, round);
    ledger.put_checkpoint(&sealed, &note(to)).unwrap();
    ledger.thin_checkpoints(AGES);
    let (_, bytes) = value(round);
    ledger
        .put_value(tenant(round), HashedValue::of(&bytes))
        .unwrap();
}

fn tenant(round: u64) -> &'static str {
    if round % 3 == 2 {
        "other/tenant"
    } else {
        "acme"
    }
}

/// 3, 7, 8, 12, 16, 17 ...: inside files of 8, at their end, and across it.
fn size_after(round: u64) -> u64 {
    let rounds = round.wrapping_add(1);
    rounds / 3 * 8 + [0, 3, 7][usize::try_from(rounds % 3).unwrap()]
}

/// The ledger stands at one written marker, not below the one that had become durable, and holds
/// all that this marker counts and nothing else.
fn check(disk: &SimDisk, story: &Story, at: &At) -> Opened<SimDisk> {
    let opened = Ledger::open_with(disk.clone(), SMALL).unwrap_or_else(|e| panic!("{at:?}: {e}"));
    let floor = story
        .durable
        .iter()
        .rev()
        .find(|(step, _)| *step <= at.step);
    let generation = opened.marker.generation;
    assert!(
        floor.is_none_or(|(_, floor)| generation >= *floor),
        "{at:?}: {generation}, and {floor:?} was durable"
    );
    let Some(expected) = story.markers.get(&generation) else {
        assert_eq!((generation, opened.marker.size), (1, TreeSize(0)), "{at:?}");
        return opened;
    };
    assert_eq!(&opened.marker, expected, "{at:?}");
    assert_eq!(opened.slot_lost, None, "{at:?}");
    assert!(opened.values_damaged.is_empty(), "{at:?}");
    let reader = opened.ledger.reader();
    assert_eq!(reader.size(), expected.size);
    read_all(&reader).unwrap_or_else(|error| panic!("{at:?}: {error}"));
    let kept: Vec<u64> = reader
        .checkpoints()
        .into_iter()
        .map(|size| size.0)
        .collect();
    let named: Vec<u64> = expected.checkpoints.by_size.keys().copied().collect();
    assert_eq!(kept, named, "{at:?}");
    let applied = expected.last_applied.map_or(0, |at| at.index);
    for round in 0..applied + 2 {
        let (hash, bytes) = value(round);
        let found = reader.value(tenant(round), &hash).unwrap();
        assert_eq!(found, (round < applied).then_some(bytes), "{at:?}");
    }
    opened
}

/// INV-1, INV-3.
#[tokio::test]
async fn a_crash_at_any_step_recovers_exactly_a_durable_marker_and_grows_to_the_same_bytes() {
    // 19 entries: three files of entries and of leaves, two of their parents.
    const ROUNDS: u64 = 7;
    let disk = SimDisk::new();
    disk.record();
    let story = grow(&disk, ROUNDS);
    let history = disk.history().unwrap();
    let reference = dump(&disk, "ledger");
    for rolled in [names::lines(16), names::nodes(0, 16), names::nodes(1, 8)] {
        assert!(reference.contains_key(&rolled), "{rolled}");
    }
    let kept: Vec<u64> = story.markers.values().last().map_or(Vec::new(), |last| {
        let kept = last.checkpoints.by_size.keys();
        kept.copied().collect()
    });
    assert_eq!(kept, [2, 5, 6].map(size_after));
    let (mut tried, mut seen) = (0_usize, BTreeSet::new());
    let pace = Pace {
        again: 150,
        again_killed: 30,
        closely: 0..0,
        torn: 1,
    };
    let states = every_crash(&history, pace, async |disk, at| {
        let generation = check(disk, &story, at).marker.generation;
        seen.insert(generation);
        tried += 1;
        // The Raft log is applied again; the odd rounds' last appends are beyond the end.
        if tried.is_multiple_of(10) {
            let disk = disk.fork();
            grow(&disk, ROUNDS);
            assert_eq!(dump(&disk, "ledger"), reference, "{at:?}");
        }
        generation
    })
    .await;
    println!(
        "ledger and marker: {} steps, {states} states",
        history.len()
    );
    assert_eq!(seen, (1..=ROUNDS + 2).collect(), "generations");
    assert!(states > 2_000, "only {states} states");
}

/// A write whose power goes may spoil the durable bytes that share its block.
#[test]
fn puts_back_a_block_that_a_cut_off_write_has_spoilt() {
    let disk = SimDisk::new();
    let mut a = open(&disk);
    a.ledger.append(&entries(0..5)).unwrap();
    a.markers.write(draft(&a.ledger, 1)).unwrap();
    a.ledger.append(&entries(5..7)).unwrap();
    let pending = disk.pending();
    let spoilt: BTreeSet<String> = (0..pending.len())
        .filter(
            |at| matches!(pending[*at], Pending::Write { offset, .. } if offset % SECTOR_BYTES > 0),
        )
        .flat_map(|kept| {
            let disk = disk.fork();
            let tear = Tear::Garbage(0);
            disk.crash(&Crash::Torn { kept, tear });
            let opened = open(&disk);
            read_all(&opened.ledger.reader()).unwrap();
            assert!(open(&disk).restored.is_empty(), "it is put back durably");
            opened.restored
        })
        .collect();
    let files = [
        "ledger/entries/000000000000.jsonl",
        "ledger/entries/000000000000.offsets",
    ];
    for file in files
        .into_iter()
        .chain(["ledger/tree/00-000000000000", "ledger/tree/01-000000000000"])
    {
        assert!(spoilt.contains(file), "{spoilt:?}");
    }
}
