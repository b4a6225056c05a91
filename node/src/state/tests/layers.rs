//! The three layers against all records in memory: random changes, cuts, keeps, reads and starts,
//! with room for next to nothing in every layer.

use std::collections::VecDeque;

use candor_ledger::entry::Model;
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::fold::{Lifecycle, MemoryState};
use candor_ledger::ids::Seq;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;

/// Most of them over the store in memory, which opens no files.
const SEEDS: u64 = 12;
const SEEDS_ON_DISK: u64 = 2;
const STEPS: u32 = 300;

/// INV-5.
#[test]
fn every_layer_and_every_store_shows_what_all_records_in_memory_would() {
    for seed in 0..SEEDS {
        let on_disk = ENGINES.iter().copied().filter(|_| seed < SEEDS_ON_DISK);
        for kind in [None].into_iter().chain(on_disk.map(Some)) {
            println!("seed {seed} {kind:?}");
            let folder = tempfile::tempdir().unwrap();
            let disk = RealDisk::open(folder.path()).unwrap();
            let mut story = Story::new(seed, &disk, kind);
            for _ in 0..STEPS {
                story.step();
                story.compare();
            }
        }
    }
}

struct Story {
    rng: Rng,
    disk: RealDisk,
    kind: Option<StateEngine>,
    fold: Fold,
    all: MemoryState,
    /// Cuts that are not kept yet, with all records at each.
    cuts: VecDeque<(Cut, MemoryState)>,
    kept: MemoryState,
}

impl Story {
    fn new(seed: u64, disk: &RealDisk, kind: Option<StateEngine>) -> Self {
        let engine = Self::engine(disk, kind);
        let state = State::empty(engine.open().unwrap(), tiny());
        Self {
            rng: Rng::seed_from_u64(seed),
            disk: disk.clone(),
            kind,
            fold: Fold::new(state, engine),
            all: MemoryState::new(),
            cuts: VecDeque::new(),
            kept: MemoryState::new(),
        }
    }

    fn engine(disk: &RealDisk, kind: Option<StateEngine>) -> Box<dyn Engine> {
        match kind {
            Some(kind) => engine(disk, kind),
            None => Box::new(MemoryEngine),
        }
    }

    fn step(&mut self) {
        match self.rng.random_range(0..20) {
            0..10 => self.change(),
            10..13 => {
                let cut = self.fold.cut();
                self.cuts.push_back((cut, self.all.clone()));
            }
            13..17 => self.keep(),
            // A long time without a marker, and a queue taken from its front.
            17 => (0..6).for_each(|_| self.change()),
            18 => self.take_from_the_front(),
            _ if self.rng.random_bool(0.3) => self.start(),
            _ => {}
        }
    }

    fn change(&mut self) {
        let count = self.rng.random_range(1..6);
        let changes: Changes = (0..count)
            .map(|_| {
                let key = self.key();
                let last = Seq(self.rng.random_range(0..4));
                let n = self.rng.random_range(1..4);
                // Subjects are never forgotten.
                let gone = !Key::is_subject(&key.to_bytes()) && self.rng.random_bool(0.4);
                (
                    key,
                    (!gone).then_some(Record::Lifecycle(Lifecycle { n, last })),
                )
            })
            .collect();
        self.apply(&changes);
    }

    fn apply(&mut self, changes: &Changes) {
        self.fold.apply(changes).unwrap();
        self.all.apply(changes);
    }

    fn keep(&mut self) {
        if let Some((cut, all)) = self.cuts.pop_front() {
            self.fold.keep(&cut, TreeSize(0)).unwrap();
            self.kept = all;
        }
    }

    fn take_from_the_front(&mut self) {
        let within = self.prefix();
        for _ in 0..4 {
            let first = self.fold.read().next(&within, None).unwrap();
            assert_eq!(first, self.all.next(&within, None).unwrap());
            match first {
                Some((key, _)) if !Key::is_subject(&key.to_bytes()) => {
                    self.apply(&Changes::from_iter([(key, None)]));
                }
                _ => return,
            }
        }
    }

    /// Starts again from what the store holds.
    fn start(&mut self) {
        let Some(kind) = self.kind else { return };
        self.cuts.clear();
        let gone = State::empty(MemoryEngine.open().unwrap(), tiny());
        self.fold = Fold::new(gone, Box::new(MemoryEngine));
        wait_for_lock(&self.disk);
        let engine = engine(&self.disk, kind);
        let store = engine.open().unwrap();
        let state = match store.claim().unwrap() {
            Some(claim) => State::load(&store, claim, tiny()).unwrap(),
            None => State::empty(store, tiny()),
        };
        self.fold = Fold::new(state, engine);
        self.all = self.kept.clone();
    }

    fn compare(&mut self) {
        assert_eq!(self.fold.read().digest(), self.all.digest());
        for _ in 0..6 {
            let key = self.key();
            let found = self.fold.read().get(&key).unwrap();
            assert_eq!(found, self.all.get(&key).unwrap(), "{key:?}");
            let within = self.prefix();
            let key = self.rng.random_bool(0.6).then(|| self.key());
            let after = key.filter(|key| key.to_bytes().starts_with(within.as_bytes()));
            let found = self.fold.read().next(&within, after.as_ref()).unwrap();
            let want = self.all.next(&within, after.as_ref()).unwrap();
            assert_eq!(found, want, "{within:?} after {after:?}");
        }
    }

    fn key(&mut self) -> Key {
        let tenant = ["a", "b"][self.rng.random_range(0..2)].to_owned();
        let number = self.rng.random_range(0..12_u8);
        let fingerprint = Fingerprint([number * 16; 32]);
        let at = u64::from(number);
        match self.rng.random_range(0..5) {
            0 => Key::Cascade { cause: Seq(at) },
            1 => Key::Deadline {
                deadline: Micros(at / 3),
                tenant,
                fingerprint,
            },
            2 => Key::ByModel {
                tenant,
                model: model(number % 2),
                fingerprint,
            },
            3 => Key::Request {
                tenant,
                request_id: request_id(number),
                actor: "actor".to_owned(),
            },
            _ => Key::Result {
                tenant,
                fingerprint,
            },
        }
    }

    fn prefix(&mut self) -> Prefix {
        let tenant = ["a", "b"][self.rng.random_range(0..2)];
        match self.rng.random_range(0..6) {
            0 => Prefix::cascades(),
            1 => Prefix::deadlines(),
            2 => Prefix::by_model(tenant, &model(0)),
            3 => Prefix::requests(tenant),
            4 => Prefix::results(tenant, &[16 * self.rng.random_range(0..12)]),
            _ => Prefix::results(tenant, &[]),
        }
    }
}

fn model(number: u8) -> Model {
    Model {
        name: "model".to_owned(),
        version: number.to_string(),
    }
}

pub(super) fn request_id(number: u8) -> RequestId {
    let mut id = [number; 16];
    (id[6], id[8]) = (0x70, 0x80);
    RequestId::from_bytes(id).unwrap()
}
