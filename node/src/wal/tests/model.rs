//! Random stories against a model, with crashes between them.

use std::collections::BTreeMap;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::env::sim::Crash;

const SEEDS: u64 = 60;

#[tokio::test(start_paused = true)]
async fn random_stories_with_crashes_lose_nothing_acknowledged() {
    let mut crashes = 0;
    let mut lost_unacknowledged = 0;
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut story = Story::new(seed);
        for _ in 0..8 {
            story.run().await;
            lost_unacknowledged += story.crash().await;
            crashes += 1;
        }
    }
    println!("{crashes} crashes lost {lost_unacknowledged} entries nobody was told of");
    assert!(
        lost_unacknowledged > 0,
        "no crash ever hit anything unsynced"
    );
}

struct Story {
    rng: Xoshiro256PlusPlus,
    disk: SimDisk,
    wal: SimWal,
    /// The log as asked for.
    log: BTreeMap<u64, Bytes>,
    /// How many changes were acknowledged: each is the log it made.
    changes: Vec<BTreeMap<u64, Bytes>>,
    acked: Arc<AtomicUsize>,
    vote: Option<Bytes>,
    purged: u64,
    term: u8,
}

impl Story {
    fn new(seed: u64) -> Self {
        let (disk, wal) = fresh();
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let acked = Arc::new(AtomicUsize::new(0));
        let changes = vec![BTreeMap::new()];
        let log = BTreeMap::new();
        Self {
            rng,
            disk,
            wal,
            log,
            changes,
            acked,
            vote: None,
            purged: 0,
            term: 0,
        }
    }

    async fn run(&mut self) {
        for _ in 0..self.rng.random_range(0..20) {
            match self.rng.random_range(0..20) {
                0 => self.truncate().await,
                1 => self.save_vote().await,
                2 => self.purge().await,
                3 => tokio::time::sleep(SMALL.idle * 2).await,
                4..=8 => tokio::task::yield_now().await,
                _ => self.append().await,
            }
            let asked: Vec<(u64, Bytes)> = self.log.clone().into_iter().collect();
            let first = self.wal.first_index().unwrap_or(u64::MAX);
            assert!(first == u64::MAX || first <= self.purged + 1 || asked[0].0 == first);
            let kept: Vec<_> = asked
                .into_iter()
                .filter(|(index, _)| *index >= first)
                .collect();
            assert_eq!(all(&self.wal), kept);
        }
    }

    async fn append(&mut self) {
        let next = match self.log.last_key_value() {
            Some((last, _)) => last + 1,
            None => self.purged.max(1) + self.rng.random_range(0..5),
        };
        let (count, len) = (self.rng.random_range(1..4), self.rng.random_range(0..1200));
        let records = entries(next..next + count, self.term, len);
        for (index, payload) in &records {
            self.log.insert(*index, payload.clone());
            self.changes.push(self.log.clone());
        }
        let (acked, count) = (Arc::clone(&self.acked), self.changes.len() - 1);
        let done = move |result: io::Result<()>| {
            result.unwrap();
            assert!(
                acked.swap(count, Ordering::SeqCst) < count,
                "called back in order"
            );
        };
        self.wal.append(records, Box::new(done)).await.unwrap();
    }

    async fn truncate(&mut self) {
        let Some((last, _)) = self.log.last_key_value() else {
            return;
        };
        let keep = last.checked_sub(self.rng.random_range(1..6));
        let keep = keep.filter(|keep| *keep > self.purged);
        self.term = self.term.wrapping_add(1);
        self.log
            .retain(|index, _| keep.is_some_and(|keep| *index <= keep));
        self.changes.push(self.log.clone());
        self.wal.truncate_after(keep).await.unwrap();
        self.acked.store(self.changes.len() - 1, Ordering::SeqCst);
    }

    async fn save_vote(&mut self) {
        let vote = Bytes::from(self.rng.random::<[u8; 16]>().to_vec());
        self.wal.save_vote(vote.clone()).await.unwrap();
        self.vote = Some(vote);
        self.acked.store(self.changes.len() - 1, Ordering::SeqCst);
    }

    async fn purge(&mut self) {
        let Some(durable) = self.wal.durable_index() else {
            return;
        };
        self.purged = self
            .purged
            .max(durable.saturating_sub(self.rng.random_range(0..8)));
        self.wal.purge(self.purged).await.unwrap();
    }

    /// Crashes and opens again; how many changes were lost that nobody was told of.
    async fn crash(&mut self) -> usize {
        let lane = self.wal.lane.lock().unwrap().take().unwrap();
        lane.abort();
        lane.join().await;
        self.disk.crash(&Crash::Seeded(self.rng.random()));
        let (wal, recovered) = open(&self.disk).unwrap();
        self.wal = wal;
        assert_eq!(recovered.vote, self.vote);

        let found: BTreeMap<u64, Bytes> = all(&self.wal).into_iter().collect();
        let acked = self.acked.load(Ordering::SeqCst);
        let is_found = |log: &BTreeMap<u64, Bytes>| {
            let needed = self.purged + 1;
            log.range(needed..).eq(found.range(needed..))
                && found
                    .iter()
                    .all(|(index, payload)| log.get(index) == Some(payload))
        };
        let matching = self.changes[acked..].iter().rposition(is_found);
        let found_at = acked + matching.unwrap_or_else(|| panic!("{:?}", found.keys()));
        let lost = self.changes.len() - 1 - found_at;
        self.log = found;
        self.changes = vec![self.log.clone()];
        self.acked.store(0, Ordering::SeqCst);
        lost
    }
}
