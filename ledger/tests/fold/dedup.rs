//! INV-7: a request takes effect at most once.

use candor_ledger::entry::Subject;
use candor_ledger::fold::{
    Admin, Answer, Answered, Change, Item, Operation, Outcome, Params, Request,
};
use candor_ledger::ids::Seq;

use crate::support::{
    World, attest_by_anyone, exact, exact_of, get, model, model_supersede, replay, request_id,
    result_only, revocation, set, supersede,
};

const TTL_MS: u64 = 60_000;

#[test]
fn a_request_repeated_a_thousand_times_makes_one_entry_and_gets_one_answer() {
    let mut world = World::new();
    let request = world.request(set(exact("one"), "Paris", TTL_MS));
    let first = answered(world.send(request.clone()));
    assert_eq!((first.seq, first.replayed), (Seq(1), false));
    let again = vec![Item::Client(request); 1_000];
    world.wait(10 * TTL_MS);
    let decision = world.command(&again, false);
    assert!(decision.entries.is_empty() && decision.changes.is_empty());
    let expected = Outcome::Answered(Answered {
        replayed: true,
        ..first
    });
    assert_eq!(decision.outcomes, vec![expected; 1_000]);
}

#[test]
fn every_kind_of_answer_is_given_again_after_the_state_has_moved_on_and_after_a_replay() {
    let mut world = World::new();
    let (one, two) = (exact("one"), exact("two"));
    let (f1, f2) = (one.fingerprint(), two.fingerprint());
    let gone = model("checkpoint-9");
    let operations = [
        set(one.clone(), "Paris", TTL_MS),
        set(one.clone(), "Paris", TTL_MS),
        set(one.clone(), "London", TTL_MS),
        Operation::Revoke(revocation(f1, "Paris")),
        Operation::Reinstate(revocation(f1, "Paris")),
        supersede(f1, f2),
        set(two, "Paris, France", TTL_MS),
        supersede(f1, f2),
        set(result_only(), "fraud", TTL_MS),
        model_supersede(gone.clone(), model("checkpoint-1")),
        set(exact_of("one", &gone), "Paris", TTL_MS),
        attest_by_anyone(Subject::Fingerprint(f1)),
    ];
    let mut asked = Vec::new();
    for operation in operations {
        let request = world.request(operation);
        let first = answered(world.send(request.clone()));
        asked.push((request, first));
    }
    let kinds: Vec<_> = asked.iter().map(|(_, a)| &a.answer).collect();
    assert!(matches!(kinds[1], Answer::Written { renewed: true, .. }));
    assert!(matches!(kinds[2], Answer::Conflict { .. }));
    assert!(matches!(kinds[4], Answer::Reinstated { .. }));
    assert!(matches!(kinds[5], Answer::Refused { .. }));
    assert!(matches!(kinds[10], Answer::Refused { .. }));
    world.wait(10 * TTL_MS);
    world.tick();
    world.state = replay(&world.lines).unwrap();
    for (request, first) in asked {
        let again = answered(world.send(request));
        let expected = Answered {
            replayed: true,
            ..first
        };
        assert_eq!(again, expected);
    }
    world.check();
}

#[test]
fn a_used_id_with_another_request_is_refused_without_an_entry() {
    let mut world = World::new();
    let request = world.request(set(exact("one"), "Paris", TTL_MS));
    world.send(request.clone());
    let other_ttl = set(exact("one"), "Paris", TTL_MS + 1);
    let other_kind = Operation::Revoke(revocation(exact("one").fingerprint(), "Paris"));
    for operation in [other_ttl, other_kind] {
        let reused = Request {
            operation,
            ..request.clone()
        };
        let ledger_time = world.now;
        let expected = Outcome::RequestIdReused {
            ledger_time,
            seq: Seq(1),
        };
        assert_eq!(world.send(reused), expected);
    }
    // The same id of another actor, or of another tenant, is another request.
    let of_other = |actor: &str, tenant: &str| Request {
        actor: actor.to_owned(),
        tenant: tenant.to_owned(),
        ..request.clone()
    };
    assert!(!answered(world.send(of_other("service-b", "acme"))).replayed);
    assert!(!answered(world.send(of_other("service-a", "other"))).replayed);
    assert_eq!(world.entries.len(), 4);
}

#[test]
fn beyond_the_window_a_retry_is_stale_and_the_ids_above_the_floor_are_new() {
    let mut world = World::with(Params {
        dedup_window: 3,
        ..Params::DEFAULT
    });
    let millis = world.now.as_millis();
    let request = |random| Request {
        tenant: "acme".to_owned(),
        actor: "service-a".to_owned(),
        request_id: request_id(millis, random),
        operation: set(exact("one"), "Paris", TTL_MS),
    };
    for random in [10, 20, 30] {
        assert!(!answered(world.send(request(random))).replayed);
    }
    assert!(
        answered(world.send(request(10))).replayed,
        "still remembered"
    );
    // The fourth one is the smallest of all: it takes effect, and is forgotten at once.
    assert!(!answered(world.send(request(5))).replayed);
    let stale = |world: &World, floor| Outcome::RequestIdStale {
        ledger_time: world.now,
        floor: request_id(millis, floor),
    };
    for random in [1, 5] {
        let expected = stale(&world, 5);
        assert_eq!(world.send(request(random)), expected);
    }
    // The fifth pushes 10 out; 15 was never seen, but is above the floor.
    assert!(!answered(world.send(request(40))).replayed);
    let expected = stale(&world, 10);
    assert_eq!(world.send(request(10)), expected);
    assert!(!answered(world.send(request(15))).replayed);
    assert_eq!(world.send(request(15)), stale(&world, 15));
    for random in [20, 30, 40] {
        assert!(answered(world.send(request(random))).replayed, "{random}");
    }
    world.check();
}

#[test]
fn a_smaller_window_fills_up_two_requests_at_a_time() {
    let mut world = World::new();
    let first: Vec<_> = (0..6).map(|_| send_set(&mut world)).collect();
    let params = Params {
        dedup_window: 2,
        ..Params::DEFAULT
    };
    let change = Change::Params(candor_ledger::entry::ParamsChange { params });
    world.command(&[admin(change)], false);
    let later: Vec<_> = (0..3).map(|_| send_set(&mut world)).collect();
    // 7 - 2, 6 - 2, 5 - 2: three remain, and the next one leaves two.
    let last = send_set(&mut world);
    for request in first.iter().chain(&later[..2]) {
        let outcome = world.send(request.clone());
        assert!(matches!(outcome, Outcome::RequestIdStale { .. }));
    }
    for request in [&later[2], &last] {
        assert!(answered(world.send(request.clone())).replayed);
    }
    world.check();
}

#[test]
fn an_id_ahead_of_ledger_time_by_more_than_the_skew_does_nothing() {
    let mut world = World::new();
    let skew = Params::DEFAULT.max_skew_ms;
    let mut request = world.request(set(exact("one"), "Paris", TTL_MS));
    request.request_id = request_id(world.now.as_millis() + skew + 1, 1);
    let ledger_time = world.now;
    let expected = Outcome::RequestIdAhead { ledger_time };
    assert_eq!(world.send(request.clone()), expected);
    assert_eq!(world.entries.len(), 1);
    world.wait(1);
    assert!(!answered(world.send(request)).replayed);
}

#[test]
fn a_lookup_is_decided_anew_each_time_and_leaves_its_own_entry() {
    let mut world = World::new();
    world.ask(set(exact("one"), "Paris", TTL_MS));
    let request = world.request(get(exact("one").fingerprint()));
    let first = world.send(request.clone());
    world.wait(TTL_MS);
    let second = world.send(request);
    assert!(matches!(first, Outcome::Hit(_)), "{first:?}");
    assert!(matches!(second, Outcome::Miss(_)), "{second:?}");
    let [.., hit, miss] = world.entries.as_slice() else {
        panic!("two entries")
    };
    assert_eq!(hit.request_id, miss.request_id);
}

pub(crate) fn answered(outcome: Outcome) -> Answered {
    match outcome {
        Outcome::Answered(answered) => answered,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn admin(change: Change) -> Item {
    Item::Admin(Box::new(Admin {
        actor: "operator".to_owned(),
        request_id: None,
        change,
    }))
}

fn send_set(world: &mut World) -> Request {
    let request = world.request(set(exact("one"), "Paris", TTL_MS));
    assert!(!answered(world.send(request.clone())).replayed);
    request
}
