//! The past told from a few entries is the past that a replica stopped there would tell.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use candor_ledger::digest::sha3_256_parts;
use candor_ledger::entry::{Body, Entry, Op, Subject};
use candor_ledger::fingerprint::FingerprintFields;
use candor_ledger::fold::{
    self, Effective, HistoryError, Item, MemoryState, Outcome, Params, Past,
};
use candor_ledger::ids::{Seq, TreeSize};

use crate::support::{
    ACTOR, TENANT, World, attest_by_anyone, exact_of, get, model, model_supersede, read_as_of,
    request_id, result_only, revocation, set, stamp, subject, supersede,
};

const MODELS: usize = 8;
const PROMPTS: usize = 5;
const STEPS: usize = 3_000;
const QUESTIONS: usize = 1_000;

/// Numbers from a seed that is printed, so that a failure can be run again.
struct Random {
    seed: u64,
    count: u64,
}

impl Random {
    #[expect(
        clippy::disallowed_methods,
        reason = "the seed of a failure, to run it again"
    )]
    fn new() -> Self {
        let given = std::env::var("CANDOR_SEED").ok();
        let given = given.and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        println!("CANDOR_SEED={seed}");
        Self { seed, count: 0 }
    }

    fn below(&mut self, limit: usize) -> usize {
        self.count += 1;
        let bytes = sha3_256_parts(&[&self.seed.to_be_bytes(), &self.count.to_be_bytes()]);
        let number = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        usize::try_from(number % u64::try_from(limit).unwrap()).unwrap()
    }
}

fn computations() -> Vec<FingerprintFields> {
    let mut all = vec![result_only()];
    for version in 0..MODELS {
        let model = model(&format!("v{version}"));
        all.extend((0..PROMPTS).map(|prompt| exact_of(&format!("{prompt}"), &model)));
    }
    all
}

/// A ledger in which everything happens that can happen to a result.
fn busy(random: &mut Random, all: &[FingerprintFields]) -> World {
    let mut world = World::with(Params {
        entries_per_operation_max: 3,
        ..Params::DEFAULT
    });
    for _ in 0..STEPS {
        let (one, other) = (random.below(all.len()), random.below(all.len()));
        let (a, b) = (&all[one], all[other].fingerprint());
        let text = ["x", "y", "z"][random.below(3)];
        let operation = match random.below(200) {
            0..50 => get(a.fingerprint()),
            50..120 => set(a.clone(), text, [40, 400, 1_000_000][random.below(3)]),
            120..140 => fold::Operation::Revoke(revocation(a.fingerprint(), text)),
            140..160 => fold::Operation::Reinstate(revocation(a.fingerprint(), text)),
            160..163 => supersede(a.fingerprint(), b),
            163 => {
                let [from, to] = [random.below(MODELS), random.below(MODELS)];
                let [from, to] = [from, to].map(|version| model(&format!("v{version}")));
                model_supersede(from, to)
            }
            164..168 => attest_by_anyone(subject(a)),
            180..184 => read_as_of(a.fingerprint(), 1),
            168..175 => {
                world.tick();
                continue;
            }
            175..180 => {
                world.command(&[], true);
                continue;
            }
            _ => {
                world.wait(u64::try_from(random.below(30)).unwrap());
                continue;
            }
        };
        world.ask(operation);
    }
    world
}

/// What a reader takes from the entries before `size`.
fn told(entries: &[Entry], size: TreeSize, about: &Subject) -> Result<Past, HistoryError> {
    let before = &entries[..usize::try_from(size.0).unwrap()];
    let events: Vec<_> = before
        .iter()
        .filter(|e| e.subject == *about)
        .cloned()
        .collect();
    let model = events.iter().find_map(|entry| match &entry.body {
        Body::Write(write) => fold::model_of(&write.fields),
        _ => None,
    });
    let gave_way = before.iter().find(|entry| match &entry.body {
        Body::ModelSupersede(body) => Some(&body.from) == model.as_ref(),
        _ => false,
    });
    fold::past(size, before.last().unwrap().time, &events, gave_way)
}

/// What a lookup is answered at once by a node of this state.
fn asked(state: &MemoryState, about: &FingerprintFields) -> Outcome {
    let time = fold::log(state).unwrap().unwrap().time;
    let request = fold::Request {
        tenant: TENANT.to_owned(),
        actor: ACTOR.to_owned(),
        request_id: request_id(time.as_millis(), 0),
        operation: get(about.fingerprint()),
    };
    let item = Item::Client(request);
    let decision = fold::decide(state, &stamp(time, 0), &[item], false);
    decision.unwrap().outcomes.pop().unwrap()
}

#[test]
fn the_past_told_from_entries_is_what_a_replica_stopped_there_answers() {
    let mut random = Random::new();
    let all = computations();
    let world = busy(&mut random, &all);
    let ops: BTreeSet<Op> = world.entries.iter().map(Entry::op).collect();
    for op in Op::ALL.into_iter().filter(|op| !op.is_of_the_log()) {
        assert!(ops.contains(&op), "{op} never happened");
    }
    let mut questions: Vec<_> = (0..QUESTIONS)
        .map(|_| (random.below(world.lines.len()) + 1, random.below(all.len())))
        .collect();
    questions.sort_unstable();
    let (mut replica, mut size) = (MemoryState::new(), 0);
    let mut seen = BTreeSet::new();
    for (at, one) in questions {
        while size < at {
            let changes = fold::evolve(&replica, &world.entries[size], &world.lines[size]);
            replica.apply(&changes.unwrap());
            size += 1;
        }
        let about = &all[one];
        let log = fold::log(&replica).unwrap().unwrap();
        let past = told(&world.entries, log.size, &subject(about)).unwrap();
        let record = fold::lookup(&replica, TENANT, about.fingerprint()).unwrap();
        assert_eq!(past.record, record, "size {at}, {}", subject(about));
        match asked(&replica, about) {
            Outcome::Hit(hit) => assert_eq!(past.state, Effective::Active(hit.held)),
            Outcome::Miss(miss) => assert_eq!(past.state.miss(), Some(miss.reason)),
            // A `result-only` record answers no lookup; its state has to be right all the same.
            other => assert!(
                matches!(other, Outcome::Malformed(_)) && one == 0,
                "{other:?}"
            ),
        }
        seen.insert(past.state.state());
    }
    assert_eq!(
        seen.len(),
        5,
        "absent, active, expired, revoked, superseded: {seen:?}"
    );
}

#[test]
fn a_past_with_a_hole_or_with_foreign_or_later_entries_is_not_told() {
    let mut world = World::new();
    let (one, other) = (exact_of("one", &model("v1")), exact_of("two", &model("v1")));
    for step in [
        set(one.clone(), "x", 1_000),
        set(other.clone(), "y", 1_000),
        get(one.fingerprint()),
    ] {
        world.ask(step);
    }
    world.ask(fold::Operation::Revoke(revocation(one.fingerprint(), "x")));
    world.ask(model_supersede(model("v1"), model("v2")));
    let entries = world.entries.clone();
    let [_, set_one, set_two, hit, revoked, gave_way]: [Entry; 6] =
        entries[..6].to_vec().try_into().unwrap();
    let time = entries.last().unwrap().time;
    let past = |size, events: &[&Entry], gave_way| {
        let events: Vec<_> = events.iter().copied().cloned().collect();
        fold::past(TreeSize(size), time, &events, gave_way)
    };
    let all = [&set_one, &hit, &revoked];
    assert_eq!(
        past(6, &all, Some(&gave_way)).unwrap().state,
        Effective::Revoked
    );
    let hole = |n, seq| Err(HistoryError::Hole { n, found: Seq(seq) });
    assert_eq!(past(6, &[&set_one, &revoked], None), hole(2, 4));
    assert_eq!(past(6, &[&hit], None), hole(1, 3));
    assert_eq!(
        past(6, &[&set_one, &set_two], None),
        Err(HistoryError::Foreign(Seq(2)))
    );
    let late = |seq, size| {
        Err(HistoryError::Late {
            seq: Seq(seq),
            size: TreeSize(size),
        })
    };
    assert_eq!(past(4, &all, None), late(4, 4));
    assert_eq!(past(5, &all, Some(&gave_way)), late(5, 5));
    assert_eq!(
        past(6, &all, Some(&set_two)),
        Err(HistoryError::Foreign(Seq(2)))
    );
}
