//! Lies about the log itself.

use candor_ledger::digest::ChainHash;
use candor_ledger::entry::{
    Body, Entry, Former, Genesis, KeysChange, LOG_ACTOR, MemberChange, ParamsChange, RulesChange,
    Seal, Subject,
};
use candor_ledger::fold::{Change, FoldError, MemoryState, Params, Rule};
use candor_ledger::ids::{NodeId, Seq, TreeSize};

use super::{accepted, evolve, forge, refused};
use crate::dedup::admin;
use crate::support::{ACTOR, TENANT, World, genesis, keys, member};

#[test]
fn the_first_entry_and_no_other_is_a_usable_genesis() {
    let world = World::new();
    let first = &world.entries[0];
    let empty = MemoryState::new();
    evolve(&empty, first).unwrap();
    let broken = |change: &dyn Fn(&mut Entry), rule: Rule| {
        let mut entry = first.clone();
        change(&mut entry);
        let error = evolve(&empty, &entry).unwrap_err();
        assert!(
            matches!(error, FoldError::Broken { rule: found, .. } if found == rule),
            "{error}"
        );
    };
    let with = |change: fn(&mut Genesis)| move |entry: &mut Entry| with_genesis(entry, change);
    broken(&|e| e.seq = Seq(1), Rule::Seq);
    broken(&|e| e.prev = ChainHash([1; 32]), Rule::Prev);
    broken(&|e| e.n = 2, Rule::Lifecycle);
    broken(&|e| e.subject_prev = Some(Seq(0)), Rule::Lifecycle);
    broken(&|e| e.tenant = TENANT.to_owned(), Rule::Subject);
    broken(&|e| e.actor = ACTOR.to_owned(), Rule::Actor);
    broken(
        &with(|g| g.params.entries_per_operation_max = 1),
        Rule::Genesis,
    );
    broken(&with(|g| g.members.clear()), Rule::Genesis);
    broken(&with(|g| g.members.reverse()), Rule::Genesis);
    broken(
        &with(|g| g.members[1].cosigner = g.members[0].cosigner),
        Rule::Genesis,
    );
    broken(&with(|g| g.keys.raw[0] = vec![0; 32]), Rule::Genesis);
    broken(&with(|g| g.origin = "a+b".to_owned()), Rule::Genesis);
    let follows = |origin: &str, size| Former {
        origin: origin.to_owned(),
        size: TreeSize(size),
        root: [0; 32],
        cause: "lost".to_owned(),
    };
    for former in [follows("log.example/acme", 1), follows("a b", 1)] {
        let told = |e: &mut Entry| with_genesis(e, |g| g.former = Some(former.clone()));
        broken(&told, Rule::Genesis);
    }
    broken(
        &|e| {
            e.body = Body::Seal(Seal {
                keyset: [0; 32],
                prev_seal: None,
            });
        },
        Rule::Genesis,
    );
    let mut newer = first.clone();
    with(|g| g.rules = 2)(&mut newer);
    let error = evolve(&empty, &newer).unwrap_err();
    assert!(
        matches!(error, FoldError::NotUnderstood { seq: Seq(0), .. }),
        "{error}"
    );

    let again = Body::Genesis(Box::new(genesis(Params::DEFAULT)));
    let mut again = forge(&world, "", Subject::Ledger, again);
    again.actor = LOG_ACTOR.to_owned();
    refused(&world, &again, Rule::Genesis);
}

#[test]
fn seals_keys_members_and_numbers_change_only_by_the_rules() {
    let mut world = World::new();
    let ledger = |world: &World, body| forge(world, "", Subject::Ledger, body);
    let seal =
        |world: &World, keyset, prev_seal| ledger(world, Body::Seal(Seal { keyset, prev_seal }));
    let keyset = |fill| keys(fill).key_set("log.example/acme").unwrap().id();
    let (old, new) = (keyset(7), keyset(8));
    accepted(&world, &seal(&world, old, None));
    refused(&world, &seal(&world, new, None), Rule::Keyset);
    refused(&world, &seal(&world, old, Some(Seq(0))), Rule::PrevSeal);

    let rotate = |fill| KeysChange {
        keys: keys(fill),
        reason: "yearly".to_owned(),
    };
    refused(
        &world,
        &ledger(&world, Body::Keys(Box::new(rotate(7)))),
        Rule::Change,
    );
    world.command(&[admin(Change::Keys(rotate(8)))], false);
    refused(
        &world,
        &ledger(&world, Body::Keys(Box::new(rotate(9)))),
        Rule::Change,
    );
    refused(&world, &seal(&world, new, None), Rule::Keyset);
    let sealed = world.command(&[], true).seal.unwrap();
    assert_eq!(
        sealed.keyset, old,
        "the seal after a rotation names the old keys"
    );
    refused(&world, &seal(&world, old, Some(Seq(2))), Rule::Keyset);
    refused(&world, &seal(&world, new, None), Rule::PrevSeal);
    accepted(&world, &seal(&world, new, Some(Seq(2))));

    let join = |node, cosigner| {
        let mut joined = member(node);
        joined.cosigner = [cosigner; 32];
        Body::Member(MemberChange::Join(joined))
    };
    accepted(&world, &ledger(&world, join(4, 4)));
    for body in [
        join(3, 4),
        join(3, 3),
        join(4, 3),
        Body::Member(MemberChange::Leave(NodeId(9))),
        Body::Params(Box::new(ParamsChange {
            params: Params::DEFAULT,
        })),
        Body::Params(Box::new(ParamsChange {
            params: Params {
                entries_per_file: 1 << 15,
                ..Params::DEFAULT
            },
        })),
        Body::Params(Box::new(ParamsChange {
            params: Params {
                dedup_window: 0,
                ..Params::DEFAULT
            },
        })),
        Body::Rules(RulesChange { rules: 1 }),
    ] {
        refused(&world, &ledger(&world, body), Rule::Change);
    }
    for node in [2, 3] {
        world.command(
            &[admin(Change::Member(MemberChange::Leave(NodeId(node))))],
            false,
        );
    }
    let last = Body::Member(MemberChange::Leave(NodeId(1)));
    refused(&world, &ledger(&world, last), Rule::Change);
    let back = join(3, 33);
    refused(&world, &ledger(&world, back), Rule::Change);

    let newer = ledger(&world, Body::Rules(RulesChange { rules: 2 }));
    let error = evolve(&world.state, &newer).unwrap_err();
    assert!(matches!(error, FoldError::NotUnderstood { .. }), "{error}");
}

fn with_genesis(entry: &mut Entry, change: impl FnOnce(&mut Genesis)) {
    match &mut entry.body {
        Body::Genesis(genesis) => change(genesis),
        other => panic!("{other:?}"),
    }
}
