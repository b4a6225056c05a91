//! Models that give way, time that passes, and the bounds of both.

use candor_ledger::entry::{Body, MissReason, Refusal, Subject, SupersedeBy};
use candor_ledger::fingerprint::{Fingerprint, FingerprintFields};
use candor_ledger::fold::{
    self, Answer, Item, Operation, Outcome, Params, REVOKED_MAX, Request, SUCCESSORS_MAX, Ticked,
};

use crate::dedup::answered;
use crate::support::{
    TENANT, World, exact, exact_of, get, model, model_supersede, revocation, set, supersede,
};

const TTL_MS: u64 = 60_000;

#[test]
fn a_superseded_model_is_out_of_use_at_once_and_its_results_follow_within_bounds() {
    let mut world = World::with(Params {
        entries_per_operation_max: 10,
        ..Params::DEFAULT
    });
    let (old, new) = (model("checkpoint-1"), model("checkpoint-2"));
    let mut prompts: Vec<_> = (0..25).map(|at| exact(&format!("prompt {at}"))).collect();
    for fields in &prompts {
        world.ask(set(fields.clone(), "Paris", TTL_MS));
    }
    let elsewhere = Request {
        tenant: "other".to_owned(),
        ..world.request(set(prompts[0].clone(), "Paris", TTL_MS))
    };
    world.send(elsewhere.clone());
    let size = world.entries.len();
    world.ask(model_supersede(old.clone(), new.clone()));
    assert_eq!(world.entries.len(), size + 10, "itself and nine results");
    prompts.sort_by_key(FingerprintFields::fingerprint);
    let expected: Vec<_> = prompts.iter().map(FingerprintFields::fingerprint).collect();

    let reason = MissReason::Superseded(Subject::Model(new.clone()));
    for fields in &prompts {
        let outcome = world.ask(get(fields.fingerprint()));
        assert!(matches!(outcome, Outcome::Miss(miss) if miss.reason == reason));
    }
    let refused = answered(world.ask(set(exact("never seen"), "Paris", TTL_MS)));
    assert!(
        matches!(refused.answer, Answer::Refused { refusal, .. } if refusal
        == Refusal::ModelSuperseded {
            model: Subject::Model(old.clone()),
            successor: Subject::Model(new.clone()),
        })
    );

    // Sixteen are left, all of them overdue by now; none may expire before it followed its model.
    world.wait(TTL_MS);
    let mut ticks = Vec::new();
    for _ in 0..3 {
        ticks.push(world.tick());
    }
    let ticked = |superseded, expired, more| {
        Outcome::Ticked(Ticked {
            superseded,
            expired,
            more,
        })
    };
    // The other tenant's result of the same model only expires.
    let expected_ticks = [
        ticked(10, 0, true),
        ticked(6, 1, false),
        ticked(0, 0, false),
    ];
    assert_eq!(ticks, expected_ticks);
    let followed = world.entries.iter().filter_map(|entry| match &entry.body {
        Body::Supersede(body) => Some((&body.by, &entry.subject)),
        _ => None,
    });
    let followed: Vec<_> = followed
        .map(|(by, subject)| {
            let cause = world.entries[size].seq;
            let successor = new.clone();
            assert_eq!(*by, SupersedeBy::Model { cause, successor });
            subject.clone()
        })
        .collect();
    let expected: Vec<_> = expected.into_iter().map(Subject::Fingerprint).collect();
    assert_eq!(followed, expected);
    world.check();
}

#[test]
fn models_close_no_circle_and_give_way_once() {
    let mut world = World::new();
    let models = ["a", "b", "c"].map(model);
    let [a, b, c] = models.clone();
    for (from, to) in [(&a, &b), (&b, &c)] {
        let answer = answered(world.ask(model_supersede(from.clone(), to.clone()))).answer;
        assert_eq!(answer, Answer::ModelSuperseded);
    }
    let circle = refusal(&mut world, model_supersede(c, a.clone()));
    let successor = Subject::Model(a.clone());
    assert_eq!(circle, Refusal::SuccessorCircular { successor });
    let again = refusal(&mut world, model_supersede(a.clone(), model("d")));
    let successor = Subject::Model(b);
    assert_eq!(again, Refusal::Superseded { successor });
    let itself = world.ask(model_supersede(a.clone(), a));
    assert!(matches!(itself, Outcome::Malformed(error) if error.field == "to"));
    world.check();
}

#[test]
fn successors_are_followed_so_far_and_no_further() {
    let mut world = World::new();
    let results: Vec<_> = (0..SUCCESSORS_MAX + 2)
        .map(|at| exact(&format!("prompt {at}")))
        .collect();
    for fields in &results {
        world.ask(set(fields.clone(), "Paris", TTL_MS));
    }
    let at = |index: usize| results[index].fingerprint();
    for index in 1..SUCCESSORS_MAX {
        world.ask(supersede(at(index), at(index + 1)));
    }
    // 64 results stand in a row, the last of them ACTIVE; one more is one too many.
    let answer = answered(world.ask(supersede(at(SUCCESSORS_MAX + 1), at(1)))).answer;
    assert_eq!(answer, Answer::Superseded { version: 1 });
    let last = answered(world.ask(supersede(at(SUCCESSORS_MAX), at(0)))).answer;
    assert_eq!(last, Answer::Superseded { version: 1 });
    let successor = Subject::Fingerprint(at(1));
    let late = exact("late");
    world.ask(set(late.clone(), "Paris", TTL_MS));
    let refused = refusal(&mut world, supersede(late.fingerprint(), at(1)));
    assert_eq!(refused, Refusal::SuccessorChainTooLong { successor });
    // From the middle the way is shorter, and leads back.
    let circle = refusal(&mut world, supersede(at(0), at(2)));
    let successor = Subject::Fingerprint(at(2));
    assert_eq!(circle, Refusal::SuccessorCircular { successor });
    world.check();
}

#[test]
fn with_as_many_revoked_outputs_as_are_remembered_no_further_result_is_accepted() {
    let mut world = World::new();
    let (fields, fingerprint) = (exact("one"), exact("one").fingerprint());
    for at in 0..REVOKED_MAX {
        let output = format!("output {at}");
        world.ask(set(fields.clone(), &output, TTL_MS));
        let revoked = world.ask(Operation::Revoke(revocation(fingerprint, &output)));
        assert!(matches!(answered(revoked).answer, Answer::Revoked { .. }));
    }
    let refused = refusal(&mut world, set(fields.clone(), "one more", TTL_MS));
    assert_eq!(refused, Refusal::RevokedLimit);
    world.ask(Operation::Reinstate(revocation(fingerprint, "output 7")));
    world.wait(TTL_MS);
    let answer = answered(world.ask(set(fields, "one more", TTL_MS))).answer;
    let version = u64::try_from(REVOKED_MAX).unwrap() + 1;
    assert!(matches!(answer, Answer::Written { version: v, renewed: false, .. } if v == version));
    world.check();
}

#[test]
fn a_reinstated_result_keeps_the_deadline_that_it_had() {
    let mut world = World::new();
    let (fields, fingerprint) = (exact("one"), exact("one").fingerprint());
    world.ask(set(fields, "Paris", TTL_MS));
    world.ask(Operation::Revoke(revocation(fingerprint, "Paris")));
    world.wait(TTL_MS - 1);
    world.ask(Operation::Reinstate(revocation(fingerprint, "Paris")));
    assert!(matches!(world.ask(get(fingerprint)), Outcome::Hit(_)));
    world.ask(Operation::Revoke(revocation(fingerprint, "Paris")));
    world.wait(1);
    let late = world.ask(Operation::Reinstate(revocation(fingerprint, "Paris")));
    let expected = Answer::Reinstated {
        version: 1,
        state: candor_ledger::entry::State::Expired,
    };
    assert_eq!(answered(late).answer, expected);
    world.check();
}

#[test]
fn ticks_expire_by_deadline_and_a_renewal_moves_it() {
    let mut world = World::new();
    let [first, second, renewed] = ["a", "b", "c"].map(exact);
    world.ask(set(second.clone(), "x", 2 * TTL_MS));
    world.ask(set(first.clone(), "x", TTL_MS));
    world.ask(set(renewed.clone(), "x", TTL_MS));
    world.wait(TTL_MS / 2);
    world.ask(set(renewed.clone(), "x", 2 * TTL_MS));
    assert!(world.command(&[Item::Tick], false).entries.is_empty());
    world.wait(2 * TTL_MS);
    let size = world.entries.len();
    world.tick();
    let expired: Vec<_> = world.entries[size..].iter().map(|e| &e.subject).collect();
    let expected = [&first, &second, &renewed].map(|f| Subject::Fingerprint(f.fingerprint()));
    assert_eq!(expired, expected.iter().collect::<Vec<_>>());
    world.check();
}

#[test]
fn a_prefix_finds_the_fingerprints_that_share_it() {
    let mut world = World::new();
    let mut all: Vec<_> = (0..40)
        .map(|at| exact_of(&at.to_string(), &model("m")))
        .collect();
    for fields in &all {
        world.ask(set(fields.clone(), "x", TTL_MS));
    }
    all.sort_by_key(FingerprintFields::fingerprint);
    let all: Vec<Fingerprint> = all.iter().map(FingerprintFields::fingerprint).collect();
    let resolve = |tenant, digits: &str, limit| {
        fold::resolve_prefix(&world.state, tenant, digits, limit).unwrap()
    };
    assert_eq!(resolve(TENANT, "", 100), all);
    assert_eq!(resolve(TENANT, "", 3), all[..3]);
    for fingerprint in &all {
        let hex = fingerprint.to_hex();
        for len in [1, 2, 7, 8, 63, 64] {
            let head = &hex[..len];
            let expected = all.iter().filter(|other| other.to_hex().starts_with(head));
            let expected: Vec<_> = expected.copied().collect();
            assert_eq!(resolve(TENANT, head, 100), expected, "{head}");
        }
        assert!(resolve("other", &hex, 100).is_empty());
    }
    for digits in ["xyz", "é", "A"] {
        assert!(resolve(TENANT, digits, 100).is_empty(), "{digits}");
    }
}

fn refusal(world: &mut World, operation: Operation) -> Refusal {
    match answered(world.ask(operation)).answer {
        Answer::Refused { refusal, .. } => refusal,
        other => panic!("{other:?}"),
    }
}
