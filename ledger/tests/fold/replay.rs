//! INV-5 and INV-8: whatever is asked, the entries alone give the same state.

use candor_ledger::entry::{Body, Subject};
use candor_ledger::fingerprint::FingerprintFields;
use candor_ledger::fold::{
    self, Effective, Item, Key, MemoryState, Operation, Outcome, Params, Record, Request,
};
use proptest::prelude::*;

use crate::support::{
    World, exact, exact_of, get, model, model_supersede, result_only, revocation, set, supersede,
};

/// One thing that a command may hold, by numbers that proptest can shrink.
type Step = (u8, usize, usize, u64);

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn entries_alone_give_the_state_and_every_hit_was_active(
        commands in prop::collection::vec(
            (prop::collection::vec((0..9_u8, 0..6_usize, 0..6_usize, 0..2_000_u64), 0..6), any::<bool>()),
            1..30,
        )
    ) {
        let mut world = World::with(small());
        for (steps, closes) in commands {
            world.wait(steps.len().try_into().unwrap());
            let items: Vec<_> = steps.iter().map(|step| item(&mut world, *step)).collect();
            let before = world.state.clone();
            let decision = world.command(&items, closes);
            prop_assert_eq!(decision.outcomes.len(), items.len());
            if decision.entries.is_empty() {
                prop_assert_eq!(&before, &world.state, "no entry, no change");
            }
            for outcome in &decision.outcomes {
                hit_is_active(&world, outcome);
            }
            indexes_hold(&world.state);
        }
        world.check();
    }

    #[test]
    fn a_batch_does_what_its_items_do_one_by_one(
        steps in prop::collection::vec((0..9_u8, 0..6_usize, 0..6_usize, 0..2_000_u64), 1..25)
    ) {
        let (mut together, mut apart) = (World::with(small()), World::with(small()));
        let items: Vec<_> = steps.iter().map(|step| item(&mut together, *step)).collect();
        let batch = together.command(&items, false);
        apart.now = together.now;
        let mut outcomes = Vec::new();
        for item in items {
            outcomes.extend(apart.command(&[item], false).outcomes);
        }
        prop_assert_eq!(batch.outcomes, outcomes);
        // Nonces differ by command, and chains with them; nothing else does.
        let facts = |world: &World| -> Vec<_> {
            let entries = world.entries.iter();
            entries.map(|e| (e.time, e.subject.clone(), e.n, e.body.clone())).collect()
        };
        prop_assert_eq!(facts(&together), facts(&apart));
    }
}

/// Bounds that a few dozen operations reach.
fn small() -> Params {
    Params {
        dedup_window: 8,
        entries_per_operation_max: 3,
        ..Params::DEFAULT
    }
}

fn item(world: &mut World, (kind, one, other, number): Step) -> Item {
    let (a, b) = (fields(one), fields(other));
    let text = ["x", "y", "z"][other % 3];
    let operation = match kind {
        0 | 1 => get(a.fingerprint()),
        2 | 3 => set(a, text, number + 1),
        4 => supersede(a.fingerprint(), b.fingerprint()),
        5 => Operation::Revoke(revocation(a.fingerprint(), text)),
        6 => Operation::Reinstate(revocation(a.fingerprint(), text)),
        7 if number < 200 => model_supersede(version(one), version(other)),
        _ => {
            world.wait(number / 4);
            return Item::Tick;
        }
    };
    let request = world.request(operation);
    // Some come twice, or under an id that another has.
    let random = number % 97;
    let request_id = crate::support::request_id(world.now.as_millis(), random);
    let request_id = if number % 5 == 0 {
        request_id
    } else {
        request.request_id
    };
    Item::Client(Request {
        request_id,
        ..request
    })
}

fn version(at: usize) -> candor_ledger::entry::Model {
    model(["checkpoint-1", "checkpoint-2", "checkpoint-3"][at % 3])
}

fn fields(at: usize) -> FingerprintFields {
    match at {
        0 => result_only(),
        1 => exact("one"),
        2 => exact("two"),
        3 => exact("three"),
        4 => exact_of("one", &version(1)),
        _ => exact_of("two", &version(1)),
    }
}

fn hit_is_active(world: &World, outcome: &Outcome) {
    let Outcome::Hit(hit) = outcome else {
        return;
    };
    assert!(hit.time < hit.held.deadline);
    let at = |seq: candor_ledger::ids::Seq| &world.entries[usize::try_from(seq.0).unwrap()];
    match &at(hit.held.write_seq).body {
        Body::Write(write) => {
            assert_eq!(write.output_hash, hit.held.output_hash);
            assert_eq!(write.version, hit.held.version);
        }
        other => panic!("{other:?}"),
    }
}

/// The indexes name exactly the results that are ACTIVE by their entries, and cascades exactly the
/// superseded models that still have some.
fn indexes_hold(state: &MemoryState) {
    let (mut indexed, mut wanted) = (Vec::new(), Vec::new());
    let (mut cascades, mut waiting) = (0, std::collections::BTreeSet::new());
    for (key, record) in state.iter() {
        match (Key::from_bytes(key).unwrap(), record) {
            (key @ (Key::Deadline { .. } | Key::ByModel { .. }), Record::Present) => {
                indexed.push(key);
            }
            (Key::Cascade { .. }, Record::Cascade(_)) => cascades += 1,
            (
                Key::Result {
                    tenant,
                    fingerprint,
                },
                Record::Result(result),
            ) => {
                let fold::Standing::Active(held) = &result.standing else {
                    continue;
                };
                let deadline = held.deadline;
                wanted.push(Key::Deadline {
                    deadline,
                    tenant: tenant.clone(),
                    fingerprint,
                });
                let Some(model) = result.model().cloned() else {
                    continue;
                };
                let now = fold::effective(state, &tenant, result, held.written).unwrap();
                if let Effective::Superseded(Subject::Model(_)) = now {
                    waiting.insert((tenant.clone(), model.name.clone(), model.version.clone()));
                }
                wanted.push(Key::ByModel {
                    tenant,
                    model,
                    fingerprint,
                });
            }
            _ => {}
        }
    }
    let sorted = |mut keys: Vec<Key>| {
        keys.sort_by_key(Key::to_bytes);
        keys
    };
    assert_eq!(sorted(indexed), sorted(wanted));
    assert_eq!(cascades, waiting.len());
}
