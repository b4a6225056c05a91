//! Keys and records: one byte form each, and keys in the order in which they are walked.

use candor_ledger::entry::{Model, Subject};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::fold::{Key, MemoryState, Operation, Params, Prefix, Record, StateView as _};
use candor_ledger::ids::Seq;
use candor_ledger::time::Micros;
use proptest::prelude::*;

use crate::support::{
    World, attest_by_anyone, exact, get, model, model_supersede, request_id, result_only,
    revocation, set, supersede,
};

/// A state with a record of every kind.
fn state() -> MemoryState {
    let mut world = World::with(Params {
        entries_per_operation_max: 2,
        ..Params::DEFAULT
    });
    let [one, two, three] = ["one", "two", "three"].map(exact);
    let (f1, f2) = (one.fingerprint(), two.fingerprint());
    for fields in [&one, &two, &three, &exact("four"), &result_only()] {
        world.ask(set(fields.clone(), "x", 1_000));
    }
    world.ask(supersede(f1, f2));
    world.ask(supersede(f1, f2));
    world.ask(set(two.clone(), "y", 1_000));
    world.ask(Operation::Revoke(revocation(f2, "x")));
    world.ask(get(exact("never").fingerprint()));
    world.ask(attest_by_anyone(Subject::Decision("loan/42".to_owned())));
    world.ask(set(two, "y", 1_000));
    world.ask(model_supersede(
        model("checkpoint-1"),
        model("checkpoint-2"),
    ));
    world.ask(Operation::Reinstate(revocation(f2, "x")));
    world.state
}

#[test]
fn records_and_keys_have_one_byte_form_and_no_other_bytes_are_read() {
    let state = state();
    let mut kinds = std::collections::BTreeSet::new();
    for (key, record) in state.iter() {
        kinds.insert(key[0]);
        let read = Key::from_bytes(key).unwrap();
        assert_eq!(read.to_bytes(), key);
        let bytes = record.to_bytes();
        assert_eq!(Record::from_bytes(&bytes).as_ref(), Ok(record));
        for at in 0..bytes.len() {
            assert!(Record::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x01;
            if let Ok(other) = Record::from_bytes(&flipped) {
                assert_eq!(other.to_bytes(), flipped, "a second spelling, at {at}");
            }
        }
        let more = [&bytes[..], &[0]].concat();
        assert!(Record::from_bytes(&more).is_err());
        assert!(Key::from_bytes(&[key, &[0]].concat()).is_err());
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

#[test]
fn the_digest_of_a_state_does_not_depend_on_how_it_came_to_be() {
    let state = state();
    let mut digest = candor_ledger::fold::StateDigest::default();
    let mut records: Vec<_> = state.iter().collect();
    records.reverse();
    for (key, record) in &records {
        digest.add(key, &record.to_bytes());
    }
    assert_eq!(digest, state.digest());
    let (key, record) = records[0];
    digest.subtract(key, &record.to_bytes());
    assert_ne!(digest, state.digest());
    digest.add(key, &record.to_bytes());
    assert_eq!(digest, state.digest());
    for (key, record) in records {
        digest.subtract(key, &record.to_bytes());
    }
    assert_eq!(digest, MemoryState::new().digest());
}

#[test]
fn a_walk_finds_the_keys_of_its_prefix_in_order() {
    let state = state();
    let prefixes = [
        Prefix::deadlines(),
        Prefix::cascades(),
        Prefix::requests("acme"),
        Prefix::results("acme", &[]),
        Prefix::by_model("acme", &model("checkpoint-1")),
        Prefix::results("acm", &[]),
    ];
    for within in prefixes {
        let wanted = state.iter().map(|(key, _)| key.to_vec());
        let wanted: Vec<_> = wanted
            .filter(|key| key.starts_with(within.as_bytes()))
            .collect();
        let (mut found, mut after) = (Vec::new(), None);
        while let Some((key, _)) = state.next(&within, after.as_ref()).unwrap() {
            found.push(key.to_bytes());
            after = Some(key);
        }
        assert_eq!(found, wanted);
    }
}

proptest! {
    #[test]
    fn keys_of_one_kind_order_field_by_field(
        a in ("[!-~]{1,4}", "[!-~]{1,3}", 0..3_u64, 0..3_u8),
        b in ("[!-~]{1,4}", "[!-~]{1,3}", 0..3_u64, 0..3_u8),
    ) {
        let by = |key: fn(&(String, String, u64, u8)) -> Key| key(&a).to_bytes().cmp(&key(&b).to_bytes());
        let deadline = by(|(name, _, number, byte)| Key::Deadline {
            deadline: Micros(*number),
            tenant: name.clone(),
            fingerprint: Fingerprint([*byte; 32]),
        });
        prop_assert_eq!(deadline, (a.2, &a.0, a.3).cmp(&(b.2, &b.0, b.3)));
        let request = by(|(tenant, actor, number, _)| Key::Request {
            tenant: tenant.clone(),
            request_id: request_id(*number, 1),
            actor: actor.clone(),
        });
        prop_assert_eq!(request, (&a.0, a.2, &a.1).cmp(&(&b.0, b.2, &b.1)));
        let by_model = by(|(name, version, _, byte)| Key::ByModel {
            tenant: "t".to_owned(),
            model: Model { name: name.clone(), version: version.clone() },
            fingerprint: Fingerprint([*byte; 32]),
        });
        prop_assert_eq!(by_model, (&a.0, &a.1, a.3).cmp(&(&b.0, &b.1, b.3)));
        let cascade = by(|(_, _, number, _)| Key::Cascade { cause: Seq(*number) });
        prop_assert_eq!(cascade, a.2.cmp(&b.2));
    }
}
