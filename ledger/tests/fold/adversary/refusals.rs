//! Lies about what the rules forbid.

use candor_ledger::entry::{Model, Op, Refusal, State, Subject};
use candor_ledger::fingerprint::FingerprintFields;
use candor_ledger::fold::{FoldError, Rule};
use candor_ledger::ids::TreeSize;

use super::{Scene, accepted, evolve, forge, refused, refused_body};
use crate::support::{TENANT, exact, model, model_supersede, output, subject};

use Op::{CacheReadHit, CacheReinstate, CacheRevoke, CacheSupersede, CacheVerify, CacheWrite};
use State::{Absent, Active, Superseded};

type Lie<'a> = (&'a FingerprintFields, Op, State, Refusal);

#[test]
fn what_the_state_allows_cannot_be_refused() {
    let scene = Scene::new();
    let (active, overdue, gone) = (&scene.active, &scene.overdue, &scene.gone);
    let lies: [Lie<'_>; 17] = [
        // The state is another.
        (active, CacheWrite, Superseded, gave_way(active)),
        (active, CacheRevoke, Absent, Refusal::Absent),
        (overdue, CacheRevoke, Active, mismatch("y")),
        // The state is right, and forbids nothing of the kind.
        (active, CacheWrite, Active, output_revoked("A")),
        (active, CacheWrite, Active, Refusal::RevokedLimit),
        (active, CacheWrite, Active, other_model("same", "same")),
        (active, CacheWrite, Active, model_gone()),
        (active, CacheRevoke, Active, mismatch("A")),
        (active, CacheRevoke, Active, Refusal::Revoked),
        (active, CacheReinstate, Active, not_revoked("R")),
        (active, CacheReinstate, Active, version_active("B")),
        (active, CacheSupersede, Active, absent(gone)),
        (active, CacheSupersede, Active, circular(overdue)),
        (active, CacheVerify, Active, ahead(1)),
        (active, CacheVerify, Active, Refusal::Absent),
        (active, CacheReadHit, Active, Refusal::Absent),
        (gone, CacheWrite, Superseded, gave_way(overdue)),
    ];
    for (fields, asked, state, refusal) in lies {
        let shown = format!("{asked} {refusal}");
        let entry = scene.forge(fields, refused_body(asked, state, refusal));
        let error = evolve(&scene.world.state, &entry).expect_err(&shown);
        let FoldError::Broken { seq, rule, .. } = error else {
            panic!("{shown}: {error}")
        };
        let rules = [Rule::Refusal, Rule::State];
        assert!(seq == entry.seq && rules.contains(&rule), "{shown}: {rule}");
    }
}

#[test]
fn what_the_state_forbids_can_be_refused_for_its_own_reason() {
    let scene = Scene::new();
    let (active, gone, never) = (&scene.active, &scene.gone, exact("never"));
    let right: [Lie<'_>; 9] = [
        (active, CacheWrite, Active, output_revoked("R")),
        (active, CacheWrite, Active, other_model("one", "other")),
        (active, CacheRevoke, Active, mismatch("B")),
        (active, CacheReinstate, Active, version_active("R")),
        (active, CacheSupersede, Active, circular(gone)),
        (active, CacheVerify, Active, ahead(10_000)),
        (gone, CacheWrite, Superseded, gave_way(active)),
        (gone, CacheRevoke, Superseded, gave_way(active)),
        (&never, CacheRevoke, Absent, Refusal::Absent),
    ];
    for (fields, asked, state, refusal) in right {
        let entry = scene.forge(fields, refused_body(asked, state, refusal));
        accepted(&scene.world, &entry);
    }
}

#[test]
fn a_model_that_may_give_way_cannot_be_refused() {
    let scene = Scene::new();
    let from = Subject::Model(model("checkpoint-1"));
    let successor = || Subject::Model(model("x"));
    for refusal in [
        Refusal::Superseded {
            successor: successor(),
        },
        Refusal::SuccessorCircular {
            successor: successor(),
        },
        absent(&scene.active),
    ] {
        let body = refused_body(Op::ModelSupersede, Active, refusal);
        let entry = forge(&scene.world, TENANT, from.clone(), body);
        refused(&scene.world, &entry, Rule::Refusal);
    }
}

#[test]
fn a_set_for_a_model_that_gave_way_is_refused_for_that_model_and_no_other() {
    let mut scene = Scene::new();
    let [old, new, other] = ["checkpoint-1", "checkpoint-2", "checkpoint-0"].map(model);
    for gone in [&old, &other] {
        scene.world.ask(model_supersede(gone.clone(), new.clone()));
    }
    let successor = || Subject::Model(new.clone());
    let of = |model: &Model| Refusal::ModelSuperseded {
        model: Subject::Model(model.clone()),
        successor: successor(),
    };
    let forged = |fields: &FingerprintFields, state, refusal| {
        scene.forge(fields, refused_body(CacheWrite, state, refusal))
    };
    let (world, active, never) = (&scene.world, &scene.active, exact("never"));
    accepted(world, &forged(active, Superseded, of(&old)));
    refused(
        world,
        &forged(active, Superseded, of(&other)),
        Rule::Refusal,
    );
    let by_state = Refusal::Superseded {
        successor: successor(),
    };
    refused(world, &forged(active, Superseded, by_state), Rule::Refusal);
    // Of a fingerprint that was never set nobody knows the model.
    accepted(world, &forged(&never, Absent, of(&other)));
    refused(world, &forged(&never, Absent, of(&new)), Rule::Refusal);
}

fn gave_way(to: &FingerprintFields) -> Refusal {
    Refusal::Superseded {
        successor: subject(to),
    }
}

fn circular(to: &FingerprintFields) -> Refusal {
    Refusal::SuccessorCircular {
        successor: subject(to),
    }
}

fn absent(to: &FingerprintFields) -> Refusal {
    Refusal::SuccessorAbsent {
        successor: to.fingerprint(),
    }
}

fn output_revoked(text: &str) -> Refusal {
    let output_hash = output(text);
    Refusal::OutputRevoked { output_hash }
}

fn mismatch(text: &str) -> Refusal {
    let output_hash = output(text);
    Refusal::OutputMismatch { output_hash }
}

fn not_revoked(text: &str) -> Refusal {
    let output_hash = output(text);
    Refusal::NotRevoked { output_hash }
}

fn version_active(text: &str) -> Refusal {
    let output_hash = output(text);
    Refusal::VersionActive { output_hash }
}

fn ahead(size: u64) -> Refusal {
    let size = TreeSize(size);
    Refusal::SizeAhead { size }
}

fn other_model(model_version: &str, observed: &str) -> Refusal {
    Refusal::ModelVersionMismatch {
        model_version: model_version.to_owned(),
        observed_model_version: observed.to_owned(),
    }
}

fn model_gone() -> Refusal {
    Refusal::ModelSuperseded {
        model: Subject::Model(model("checkpoint-1")),
        successor: Subject::Model(model("checkpoint-2")),
    }
}
