//! One story, and a crash at every step of it: whole, in every subset, torn at and inside every
//! sector, and again inside the recovery from it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::env::sim::{Crash, Pending, SECTOR_BYTES, Tear};

#[tokio::test(start_paused = true)]
async fn every_crash_leaves_what_was_acknowledged_and_invents_nothing() {
    let story = Story::tell().await;
    let history = story.disk.history().unwrap();
    let mut states = 0_usize;
    for step in 0..=history.len() {
        let disk = history.disk_after(step);
        for crash in crashes(&disk.pending()) {
            let crashed = disk.fork();
            crashed.crash(&crash);
            let found = Found::by_opening(&crashed.fork(), step, &crash).await;
            story.check(step, &crash, &found);
            states += 1;
            if states.is_multiple_of(5) || crash == Crash::DropAll {
                states += crash_inside_recovery(&crashed, step, &crash, &found).await;
            }
        }
        // The process dies alone; what its successor reports must outlive the machine too.
        let killed = disk.fork();
        killed.kill();
        let crash = Crash::DropAll;
        let found = Found::by_opening(&killed, step, &crash).await;
        story.check(step, &crash, &found);
        killed.crash(&crash);
        assert_eq!(
            Found::by_opening(&killed, step, &crash).await,
            found,
            "step {step}, killed"
        );
        states += 2;
    }
    println!("{} steps, {states} states", history.len());
    assert!(states >= 500, "only {states} states");
}

/// Opens the log, and again after a crash at each step of that; all must find the same.
async fn crash_inside_recovery(disk: &SimDisk, step: usize, crash: &Crash, once: &Found) -> usize {
    let recovering = disk.fork();
    recovering.record();
    Found::by_opening(&recovering, step, crash).await;
    let history = recovering.history().unwrap();
    let mut states = 0;
    for inner in 0..=history.len() {
        let pending = history.disk_after(inner).pending().len();
        let half = Crash::Torn {
            kept: pending.saturating_sub(1),
            tear: Tear::Head(300),
        };
        // What is written over is at risk, sector by sector.
        let garbled = Crash::Torn {
            kept: pending.saturating_sub(1),
            tear: Tear::Garbage(40),
        };
        for again in [
            Crash::DropAll,
            Crash::Prefix(pending),
            half,
            garbled,
            Crash::Seeded(7),
        ] {
            let disk = history.disk_after(inner);
            disk.crash(&again);
            let twice = Found::by_opening(&disk, step, &again).await;
            assert_eq!(
                twice, *once,
                "step {step}, {crash:?}, then step {inner}, {again:?}"
            );
            states += 1;
        }
    }
    states
}

/// All that may be left of these operations, as far as it can be told apart.
fn crashes(pending: &[Pending]) -> Vec<Crash> {
    let count = pending.len();
    let mut crashes = vec![Crash::DropAll];
    if count <= 4 {
        let subset = |set: usize| (0..count).filter(|at| set >> at & 1 == 1).collect();
        let sets: Vec<BTreeSet<usize>> = (1..1 << count).map(subset).collect();
        crashes.extend(sets.into_iter().map(Crash::Subset));
    } else {
        crashes.extend((1..=count).map(Crash::Prefix));
        crashes.extend((0..16).map(Crash::Seeded));
    }
    for (kept, op) in pending.iter().enumerate() {
        if let Pending::Write { len, .. } = op {
            crashes.extend(
                tears(*len)
                    .into_iter()
                    .map(|tear| Crash::Torn { kept, tear }),
            );
        }
    }
    crashes
}

fn tears(len: usize) -> Vec<Tear> {
    let mut tears = vec![Tear::Length];
    for (bit, start) in (0..len).step_by(SECTOR_BYTES).enumerate() {
        let end = (start + SECTOR_BYTES).min(len);
        let inside = start + (end - start) / 3;
        tears.extend([
            Tear::Head(inside),
            Tear::Garbage(inside),
            Tear::Tail(inside),
        ]);
        tears.extend([Tear::Sectors(1 << bit), Tear::Sectors(!(1 << bit))]);
        if end < len {
            tears.extend([Tear::Head(end), Tear::Tail(end)]);
        }
    }
    tears
}

/// What a log held when it was opened.
#[derive(Debug, PartialEq)]
struct Found {
    vote: Option<Bytes>,
    log: BTreeMap<u64, Bytes>,
}

impl Found {
    async fn by_opening(disk: &SimDisk, step: usize, crash: &Crash) -> Self {
        let opened = open(disk);
        let (wal, recovered) = opened.unwrap_or_else(|error| panic!("{step}, {crash:?}: {error}"));
        let log: BTreeMap<u64, Bytes> = all(&wal).into_iter().collect();
        wal.close().await;
        assert_eq!(log.keys().next().copied(), recovered.first);
        assert_eq!(log.keys().last().copied(), recovered.last);
        let first = recovered.first.unwrap_or(0);
        assert!(
            log.keys().copied().eq((first..).take(log.len())),
            "a gap: {:?}",
            log.keys()
        );
        Self {
            vote: recovered.vote,
            log,
        }
    }
}

/// What was asked of a log, and at which step of its disk each request was made and acknowledged.
struct Story {
    disk: SimDisk,
    /// The log after each single change, from the empty one.
    logs: Vec<Moment<BTreeMap<u64, Bytes>>>,
    votes: Vec<Moment<Option<Bytes>>>,
    /// For each vote, how many changes of the log were asked for before it.
    logs_before_vote: Vec<usize>,
    /// Highest index that was purged, and the step when this was asked for.
    purged: Option<(u64, usize)>,
}

/// A state, the step when it was asked for, and the step when it was acknowledged by itself.
struct Moment<T> {
    state: T,
    asked: usize,
    acked: Arc<AtomicUsize>,
}

const NEVER: usize = usize::MAX;

impl<T> Moment<T> {
    fn new(state: T, asked: usize, acked_at: usize) -> Self {
        Self {
            state,
            asked,
            acked: Arc::new(AtomicUsize::new(acked_at)),
        }
    }

    fn acked_by(&self, step: usize) -> bool {
        self.acked.load(Ordering::SeqCst) <= step
    }
}

impl Story {
    async fn tell() -> Self {
        let disk = SimDisk::new();
        disk.record();
        let (wal, _) = open(&disk).unwrap();
        let mut story = Self {
            disk,
            logs: vec![Moment::new(BTreeMap::new(), 0, 0)],
            votes: vec![Moment::new(None, 0, 0)],
            logs_before_vote: vec![1],
            purged: None,
        };
        let pause = || tokio::time::sleep(Duration::from_millis(1));
        story.vote(&wal, b"vote 1").await;
        story.append(&wal, entries(1..2, 1, 20)).await;
        pause().await;
        // Three appends and a vote waiting for one lane.
        story.append(&wal, entries(2..5, 1, 30)).await;
        story.append(&wal, entries(5..7, 1, 600)).await;
        story.append(&wal, entries(7..8, 1, 0)).await;
        story.vote(&wal, b"vote 2").await;
        wal.save_committed(Bytes::from_static(b"hint")).unwrap();
        story.append(&wal, entries(8..9, 1, 2500)).await;
        pause().await;
        // Truncated while it is still queued, and replaced.
        story.append(&wal, entries(9..11, 1, 50)).await;
        story.truncate(&wal, Some(4)).await;
        story.append(&wal, entries(5..8, 2, 40)).await;
        story.vote(&wal, b"vote 3").await;
        // Split over several groups and segments.
        story.append(&wal, entries(8..16, 2, 900)).await;
        pause().await;
        tokio::time::sleep(SMALL.idle * 2).await;
        story.purge(&wal, 11).await;
        story.append(&wal, entries(16..17, 2, 100)).await;
        story.vote(&wal, b"vote 4").await;
        story.truncate(&wal, None).await;
        story.append(&wal, entries(50..52, 3, 700)).await;
        story.append(&wal, entries(52..53, 3, 10)).await;
        story.vote(&wal, b"vote 5").await;
        wal.close().await;
        assert!(
            story
                .logs
                .last()
                .unwrap()
                .acked_by(story.disk.history_len())
        );
        story
    }

    async fn append(&mut self, wal: &SimWal, records: Vec<(u64, Bytes)>) {
        for (index, payload) in &records {
            let mut log = self.logs.last().unwrap().state.clone();
            log.insert(*index, payload.clone());
            self.logs
                .push(Moment::new(log, self.disk.history_len(), NEVER));
        }
        let acked = Arc::clone(&self.logs.last().unwrap().acked);
        let disk = self.disk.clone();
        let done = move |result: io::Result<()>| {
            result.unwrap();
            acked.store(disk.history_len(), Ordering::SeqCst);
        };
        wal.append(records, Box::new(done)).await.unwrap();
    }

    async fn truncate(&mut self, wal: &SimWal, last: Option<u64>) {
        let mut log = self.logs.last().unwrap().state.clone();
        log.retain(|index, _| last.is_some_and(|last| *index <= last));
        self.logs
            .push(Moment::new(log, self.disk.history_len(), NEVER));
        wal.truncate_after(last).await.unwrap();
        self.logs
            .last()
            .unwrap()
            .acked
            .store(self.disk.history_len(), Ordering::SeqCst);
    }

    async fn vote(&mut self, wal: &SimWal, vote: &'static [u8]) {
        let vote = Bytes::from_static(vote);
        self.votes.push(Moment::new(
            Some(vote.clone()),
            self.disk.history_len(),
            NEVER,
        ));
        self.logs_before_vote.push(self.logs.len());
        wal.save_vote(vote).await.unwrap();
        self.votes
            .last()
            .unwrap()
            .acked
            .store(self.disk.history_len(), Ordering::SeqCst);
    }

    async fn purge(&mut self, wal: &SimWal, upto: u64) {
        self.purged = Some((upto, self.disk.history_len()));
        wal.purge(upto).await.unwrap();
    }

    /// What was found after a crash at `step` must be the log at some moment between the last one
    /// acknowledged and the last one asked for, and the vote likewise.
    fn check(&self, step: usize, crash: &Crash, found: &Found) {
        let vote = self
            .votes
            .iter()
            .rposition(|vote| vote.state == found.vote)
            .unwrap();
        let vote_acked = self
            .votes
            .iter()
            .rposition(|vote| vote.acked_by(step))
            .unwrap();
        assert!(
            vote >= vote_acked,
            "step {step}, {crash:?}: vote {vote} after {vote_acked}"
        );
        assert!(
            self.votes[vote].asked <= step,
            "step {step}, {crash:?}: vote {vote} is invented"
        );

        // A vote that is there was not saved before the entries asked for before it.
        let acked = self
            .logs
            .iter()
            .rposition(|log| log.acked_by(step))
            .unwrap();
        let oldest = acked.max(self.logs_before_vote[vote] - 1);
        let purged = self
            .purged
            .filter(|(_, asked)| *asked <= step)
            .map(|(upto, _)| upto);
        let mut possible = self.logs[oldest..].iter().filter(|log| log.asked <= step);
        let is_found = possible.any(|log| is_same(&log.state, &found.log, purged));
        assert!(
            is_found,
            "step {step}, {crash:?}: {:?}, acked {oldest}",
            found.log.keys()
        );
    }
}

/// Whether the log found is the one expected, entries up to `purged` being optional.
fn is_same(
    expected: &BTreeMap<u64, Bytes>,
    found: &BTreeMap<u64, Bytes>,
    purged: Option<u64>,
) -> bool {
    let needed = purged.map_or(0, |upto| upto + 1);
    let is_whole = expected.range(needed..).eq(found.range(needed..));
    is_whole
        && found
            .iter()
            .all(|(index, payload)| expected.get(index) == Some(payload))
}
