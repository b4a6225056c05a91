//! Limits of requests, each reached and passed.

use candor_ledger::digest::{DigestAlgorithm, TaggedDigest};
use candor_ledger::entry::{Former, Genesis, MEMBERS_MAX, MemberChange, Model, Subject, Told};
use candor_ledger::fingerprint::{
    ExactFields, FingerprintFields, NAME_LEN_MAX, PARAMETERS_LEN_MAX,
};
use candor_ledger::fold::{
    self, Change, ChangeError, DecideError, Item, MemoryState, Operation, Outcome, Params, Request,
    Set,
};
use candor_ledger::ids::{NodeId, Seq, TreeSize};

use crate::dedup::{admin, answered};
use crate::support::{
    World, attest_by_anyone, exact, genesis, member, model, model_supersede, output, revocation,
    set, supersede,
};

/// DESIGN: a body has at most 60 KiB, which leaves 5 of an entry to all else.
const BODY_LEN_MAX: usize = 60 * 1024;

/// A name of the most bytes that JSON escapes, and that subjects escape.
fn longest(escaped: char) -> String {
    escaped.to_string().repeat(NAME_LEN_MAX)
}

fn longest_set() -> Set {
    let name = || longest('"');
    let digest = TaggedDigest {
        algorithm: DigestAlgorithm::HmacSha3_256,
        bytes: [0xff; 32],
    };
    // Quotes of a text inside a text inside the entry: the worst that a parameter can be.
    let quotes = "\\\"".repeat((PARAMETERS_LEN_MAX - 8) / 2);
    Set {
        fields: FingerprintFields::Exact(ExactFields {
            model_name: name(),
            model_version: name(),
            prompt_hash: digest.to_string(),
            temperature: "-0.00000000000000001".to_owned(),
            top_p: "-0.00000000000000001".to_owned(),
            system_prompt_hash: digest.to_string(),
            hardware_class: name(),
            parameters: format!("{{\"a\":\"{quotes}\"}}"),
        }),
        output_hash: [0xff; 32],
        output_len: Params::DEFAULT.value_len_max,
        media_type: name(),
        ttl_ms: Params::DEFAULT.ttl_ms_max,
        told: Told {
            decision: Some(name()),
            input_tokens: Some((1 << 53) - 1),
            latency_ms: Some((1 << 53) - 1),
            model_checksum: Some(digest),
            observed_model_version: Some(name()),
            output_tokens: Some((1 << 53) - 1),
            person: Some(digest),
            trace_id: Some(name()),
        },
        semantic: None,
    }
}

#[test]
fn the_largest_requests_fit_into_an_entry() {
    let mut world = World::new();
    let (one, two) = (exact("one"), exact("two"));
    for text in ["one", "two"] {
        world.ask(set(exact(text), "x", 1_000_000));
    }
    let reason = "\u{1}".repeat(candor_ledger::entry::REASON_LEN_MAX);
    let mut supersede = supersede(one.fingerprint(), two.fingerprint());
    if let Operation::Supersede(asked) = &mut supersede {
        asked.reason.clone_from(&reason);
    }
    let mut revoke = revocation(two.fingerprint(), "x");
    revoke.reason.clone_from(&reason);
    let slashes = |other: &str| Model {
        name: longest('/'),
        version: longest('/')[other.len()..].to_owned() + other,
    };
    let mut model_supersede = model_supersede(slashes(""), slashes("b"));
    if let Operation::ModelSupersede(asked) = &mut model_supersede {
        asked.reason.clone_from(&reason);
    }
    let again = model_supersede.clone();
    let attest = attest_by_anyone(Subject::Decision(longest('%')));
    let set = Operation::Set(Box::new(longest_set()));
    for operation in [
        set,
        supersede,
        Operation::Revoke(revoke),
        model_supersede,
        again,
        attest,
    ] {
        let request = Request {
            actor: longest('"'),
            ..world.request(operation)
        };
        let before = world.lines.len();
        answered(world.send(request));
        let [line] = &world.lines[before..] else {
            panic!("one entry")
        };
        let body = world.entries[before].body.to_object();
        let body = candor_ledger::canonical::Value::Object(body).to_bytes();
        assert!(body.len() <= BODY_LEN_MAX && line.len() - body.len() < 4 * 1024);
    }
    world.check();
}

#[test]
fn requests_beyond_a_limit_are_malformed_and_leave_no_entry() {
    let mut world = World::new();
    let (params, fingerprint) = (Params::DEFAULT, exact("one").fingerprint());
    let with = |change: &dyn Fn(&mut Set)| {
        let Operation::Set(mut asked) = set(exact("one"), "x", 1_000) else {
            panic!("a set")
        };
        change(&mut asked);
        Operation::Set(asked)
    };
    let mut wordy = revocation(fingerprint, "x");
    wordy.reason = "x".repeat(candor_ledger::entry::REASON_LEN_MAX + 1);
    let mut unfounded = wordy.clone();
    unfounded.reason.clear();
    let mut forged = attest_by_anyone(Subject::Fingerprint(fingerprint));
    if let Operation::Attest(attest) = &mut forged {
        attest.size.0 = 2;
    }
    let huge = Model {
        version: "x".repeat(NAME_LEN_MAX + 1),
        ..model("x")
    };
    for (field, operation) in [
        ("ttl_ms", with(&|s| s.ttl_ms = 0)),
        ("ttl_ms", with(&|s| s.ttl_ms = params.ttl_ms_max + 1)),
        (
            "output_len",
            with(&|s| s.output_len = params.value_len_max + 1),
        ),
        ("media_type", with(&|s| s.media_type = "é".to_owned())),
        (
            "media_type",
            with(&|s| s.media_type = "x".repeat(NAME_LEN_MAX + 1)),
        ),
        (
            "trace_id",
            with(&|s| s.told.trace_id = Some("a b".to_owned())),
        ),
        (
            "input_tokens",
            with(&|s| s.told.input_tokens = Some(1 << 53)),
        ),
        ("reason", Operation::Revoke(wordy)),
        ("reason", Operation::Reinstate(unfounded)),
        ("successor", supersede(fingerprint, fingerprint)),
        ("to", model_supersede(model("x"), huge)),
        ("to", model_supersede(model("x"), model("x"))),
        ("subject", attest_by_anyone(Subject::Ledger)),
        ("signature", forged),
    ] {
        match world.ask(operation) {
            Outcome::Malformed(error) => assert_eq!(error.field, field, "{error}"),
            other => panic!("{field}: {other:?}"),
        }
    }
    for (field, tenant, actor) in [
        ("tenant", "", "a"),
        ("tenant", "a b", "a"),
        ("actor", "a", "log"),
        ("actor", "a", ""),
    ] {
        let request = Request {
            tenant: tenant.to_owned(),
            actor: actor.to_owned(),
            ..world.request(with(&|_| ()))
        };
        let outcome = world.send(request);
        assert!(matches!(outcome, Outcome::Malformed(error) if error.field == field));
    }
    assert_eq!(world.entries.len(), 1);
}

#[test]
fn a_log_has_so_many_members_and_no_more() {
    let mut full = genesis(Params::DEFAULT);
    let count = u8::try_from(MEMBERS_MAX).unwrap();
    full.members = (1..=count).map(member).collect();
    let mut stamp = crate::support::stamp(crate::support::START, 0);
    let mut state = MemoryState::new();
    let items = [Item::Genesis(Box::new(full.clone()))];
    let decided = fold::decide(&state, &stamp, &items, false).unwrap();
    assert_eq!(decided.outcomes, [Outcome::Done { seq: Some(Seq(0)) }]);
    state.apply(&decided.changes);
    stamp.time = stamp.time.plus_millis(1);
    let join = Change::Member(MemberChange::Join(member(count + 1)));
    let decided = fold::decide(&state, &stamp, &[admin(join)], false).unwrap();
    let error = ChangeError::MembersMax(MEMBERS_MAX);
    assert_eq!(decided.outcomes, [Outcome::ChangeRefused(error)]);
    full.members.push(member(count + 1));
    let items = [Item::Genesis(Box::new(full))];
    let decided = fold::decide(&MemoryState::new(), &stamp, &items, false).unwrap();
    assert!(matches!(decided.outcomes[..], [Outcome::ChangeRefused(_)]));
}

#[test]
fn values_are_needed_for_what_may_be_served_and_for_nothing_else() {
    let mut world = World::new();
    let fingerprint = exact("one").fingerprint();
    let mut needed = |operation, wait_ms| {
        world.wait(wait_ms);
        let request = world.request(operation);
        let values = world.command(&[Item::Client(request)], false).values;
        let values = values.into_iter();
        values
            .map(|value| (value.output_hash, value.output_len))
            .collect::<Vec<_>>()
    };
    let paris = vec![(output("Paris"), 5)];
    let set = |text| set(exact("one"), text, 1_000);
    let (revoke, back) = (Operation::Revoke, Operation::Reinstate);
    assert_eq!(needed(set("Paris"), 0), paris);
    assert_eq!(needed(set("Paris"), 0), paris);
    assert!(needed(set("London"), 0).is_empty(), "a conflict");
    assert!(needed(revoke(revocation(fingerprint, "Paris")), 0).is_empty());
    assert!(needed(set("Paris"), 0).is_empty(), "refused");
    assert_eq!(needed(back(revocation(fingerprint, "Paris")), 999), paris);
    assert!(needed(revoke(revocation(fingerprint, "Paris")), 0).is_empty());
    let expired = needed(back(revocation(fingerprint, "Paris")), 1);
    assert!(expired.is_empty(), "it comes back EXPIRED");
}

#[test]
fn commands_under_rules_that_are_not_in_force_do_nothing() {
    let mut world = World::new();
    let request = world.request(set(exact("one"), "x", 1_000));
    let mut stamp = crate::support::stamp(world.now, 1);
    stamp.rules = 2;
    let decided = fold::decide(&world.state, &stamp, &[Item::Client(request.clone())], true);
    assert_eq!(decided, Err(DecideError::UnknownRules(2)));

    stamp.rules = 1;
    let empty = MemoryState::new();
    let items = [Item::Client(request), Item::Tick];
    let decided = fold::decide(&empty, &stamp, &items, true).unwrap();
    assert_eq!(
        decided.outcomes,
        [Outcome::NotInitialised, Outcome::NotInitialised]
    );
    assert!(decided.entries.is_empty() && decided.seal.is_none());
    let changes: [fn(&mut Genesis); 4] = [
        |g| g.rules = 2,
        |g| g.keys.suite = 2,
        |g| g.members[2].node = NodeId(1 << 53),
        |g| {
            g.former = Some(Former {
                origin: "old".to_owned(),
                size: TreeSize(1 << 53),
                root: [0; 32],
                cause: "lost".to_owned(),
            });
        },
    ];
    for change in changes {
        let mut other = genesis(Params::DEFAULT);
        change(&mut other);
        let items = [Item::Genesis(Box::new(other))];
        let decided = fold::decide(&empty, &stamp, &items, true).unwrap();
        assert!(matches!(decided.outcomes[..], [Outcome::ChangeRefused(_)]));
        assert!(decided.entries.is_empty() && decided.seal.is_none());
    }
}
