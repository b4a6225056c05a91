//! Lies about results and models.

use candor_ledger::decimal::Decimal;
use candor_ledger::digest::TaggedDigest;
use candor_ledger::entry::{
    Body, Expire, MissReason, ModelSupersede, ReadAsOf, ReadHit, SemanticMatch, Subject, Supersede,
    SupersedeBy, Write, WriteConflict,
};
use candor_ledger::fingerprint::FingerprintFields;
use candor_ledger::fold::{self, Operation, Params, Rule};
use candor_ledger::ids::{Seq, TreeSize};

use super::{
    REQUEST, Scene, TTL_MS, accepted, forge, miss, refused, revoke_body, supersede_body, write,
    write_body,
};
use crate::support::{
    TENANT, World, exact, model, model_supersede, output, revocation, set, subject,
};

#[test]
fn a_question_about_the_past_names_a_past_and_no_record_that_answers_none() {
    let scene = Scene::new();
    let world = &scene.world;
    let size = TreeSize(u64::try_from(world.lines.len()).unwrap());
    let asked = |fields: &FingerprintFields, as_of, time| {
        scene.forge(fields, Body::ReadAsOf(ReadAsOf { as_of, time }))
    };
    for as_of in [TreeSize(1), size] {
        for time in [None, Some(world.now)] {
            accepted(world, &asked(&scene.active, as_of, time));
            accepted(world, &asked(&exact("never"), as_of, time));
            refused(world, &asked(&scene.record, as_of, time), Rule::State);
        }
    }
    for as_of in [TreeSize(0), TreeSize(size.0 + 1)] {
        refused(world, &asked(&scene.active, as_of, None), Rule::AsOf);
    }
    let later = Some(world.now.plus_millis(1));
    refused(world, &asked(&scene.active, size, later), Rule::AsOf);
}

#[test]
fn only_what_is_active_at_its_place_is_disclosed() {
    let mut scene = Scene::new();
    let hit =
        |scene: &Scene, fields: &FingerprintFields, body| scene.forge(fields, Body::ReadHit(body));
    let active = scene.active.clone();
    let world = &scene.world;
    accepted(world, &hit(&scene, &active, scene.hit(&active, 2, "A")));
    for (fields, text) in [(&scene.overdue, "x"), (&scene.gone, "G")] {
        let body = scene.hit(fields, 1, text);
        refused(world, &hit(&scene, fields, body), Rule::State);
    }
    let body = scene.hit(&scene.record, 1, "fraud");
    refused(world, &hit(&scene, &scene.record, body), Rule::State);
    let body = scene.hit(&active, 2, "A");
    refused(world, &hit(&scene, &exact("never"), body), Rule::State);

    let body = scene.hit(&active, 1, "A");
    refused(world, &hit(&scene, &active, body), Rule::Version);
    let body = scene.hit(&active, 2, "R");
    refused(world, &hit(&scene, &active, body), Rule::Output);
    let body = ReadHit {
        write_seq: Seq(3),
        ..scene.hit(&active, 2, "A")
    };
    refused(world, &hit(&scene, &active, body), Rule::WriteSeq);
    let body = ReadHit {
        semantic: Some(SemanticMatch {
            original_prompt_hash: TaggedDigest::sha3([1; 32]),
            similarity: Decimal::parse("0.9").unwrap(),
        }),
        ..scene.hit(&active, 2, "A")
    };
    refused(world, &hit(&scene, &active, body), Rule::Semantic);

    // Nor may a lookup find nothing where there is something, or not say why.
    for (fields, wrong, right) in [
        (&active, MissReason::Absent, None),
        (&active, MissReason::Expired, None),
        (
            &scene.overdue,
            MissReason::Absent,
            Some(MissReason::Expired),
        ),
        (
            &scene.gone,
            MissReason::Superseded(subject(&scene.overdue)),
            Some(MissReason::Superseded(subject(&active))),
        ),
    ] {
        refused(world, &scene.forge(fields, miss(wrong)), Rule::Reason);
        if let Some(right) = right {
            accepted(world, &scene.forge(fields, miss(right)));
        }
    }
    let record = scene.forge(&scene.record, miss(MissReason::Absent));
    refused(world, &record, Rule::State);

    let revoke = Operation::Revoke(revocation(active.fingerprint(), "A"));
    let late = scene.hit(&active, 2, "A");
    scene.world.ask(revoke);
    refused(&scene.world, &hit(&scene, &active, late), Rule::State);
}

#[test]
fn results_are_written_only_where_and_as_the_rules_allow() {
    let scene = Scene::new();
    let (world, active) = (&scene.world, &scene.active);
    let with = |fields: &FingerprintFields, change: fn(&mut Write)| {
        let mut body = write(fields, 2, "A");
        change(&mut body);
        scene.forge(fields, Body::Write(Box::new(body)))
    };
    accepted(world, &with(active, |_| ()));
    refused(
        world,
        &with(active, |w| w.output_hash = output("B")),
        Rule::Output,
    );
    refused(world, &with(active, |w| w.version = 3), Rule::Version);
    refused(
        world,
        &with(active, |w| w.output_hash = output("R")),
        Rule::Refusal,
    );
    refused(world, &with(active, |w| w.ttl_ms = 0), Rule::Limit);
    refused(
        world,
        &with(active, |w| w.ttl_ms = Params::DEFAULT.ttl_ms_max + 1),
        Rule::Limit,
    );
    refused(
        world,
        &with(active, |w| w.output_len = (8 << 20) + 1),
        Rule::Limit,
    );
    refused(
        world,
        &with(active, |w| {
            w.told.observed_model_version = Some("other".to_owned());
        }),
        Rule::Refusal,
    );
    refused(world, &with(&scene.gone, |_| ()), Rule::Refusal);
    let other_subject = scene.forge(&scene.overdue, write_body(active, 2, "A"));
    refused(world, &other_subject, Rule::Fingerprint);
    // Overdue: the next version, even of the same bytes.
    refused(
        world,
        &with(&scene.overdue, |w| w.version = 1),
        Rule::Version,
    );
    accepted(world, &with(&scene.overdue, |_| ()));
    // A record never renews.
    refused(
        world,
        &with(&scene.record, |w| w.version = 1),
        Rule::Version,
    );
    accepted(world, &with(&scene.record, |_| ()));
}

#[test]
fn a_conflict_is_about_other_bytes_than_those_that_are_held() {
    let scene = Scene::new();
    let (world, active) = (&scene.world, &scene.active);
    let conflict = WriteConflict {
        held: output("A"),
        offered: output("B"),
        version: 2,
        write_seq: scene.write_seq(active),
        request: REQUEST,
    };
    let forged = |body| scene.forge(active, Body::WriteConflict(body));
    accepted(world, &forged(conflict));
    for (rule, body) in [
        (
            Rule::Output,
            WriteConflict {
                held: output("B"),
                ..conflict
            },
        ),
        (
            Rule::State,
            WriteConflict {
                offered: output("A"),
                ..conflict
            },
        ),
        (
            Rule::State,
            WriteConflict {
                offered: output("R"),
                ..conflict
            },
        ),
        (
            Rule::Version,
            WriteConflict {
                version: 1,
                ..conflict
            },
        ),
        (
            Rule::WriteSeq,
            WriteConflict {
                write_seq: Seq(0),
                ..conflict
            },
        ),
    ] {
        refused(world, &forged(body), rule);
    }
    let elsewhere = scene.forge(&scene.overdue, Body::WriteConflict(conflict));
    refused(world, &elsewhere, Rule::State);
}

#[test]
fn nothing_is_written_for_a_model_that_gave_way() {
    let mut scene = Scene::new();
    let gone = model_supersede(model("checkpoint-1"), model("checkpoint-2"));
    scene.world.ask(gone);
    let (world, fresh) = (&scene.world, exact("fresh"));
    refused(
        world,
        &scene.forge(&fresh, write_body(&fresh, 1, "A")),
        Rule::Refusal,
    );
}

#[test]
fn results_give_way_only_by_the_rules() {
    let scene = Scene::new();
    let (world, active) = (&scene.world, &scene.active);
    let own = active.fingerprint();
    let to = scene.overdue.fingerprint();
    accepted(world, &scene.forge(active, supersede_body(2, to)));
    for (rule, body) in [
        (Rule::Version, supersede_body(1, to)),
        (Rule::Refusal, supersede_body(2, own)),
        (Rule::Refusal, supersede_body(2, scene.gone.fingerprint())),
        (
            Rule::Refusal,
            supersede_body(2, exact("never").fingerprint()),
        ),
    ] {
        refused(world, &scene.forge(active, body), rule);
    }
    refused(
        world,
        &scene.forge(&scene.gone, supersede_body(1, to)),
        Rule::Refusal,
    );
    refused(
        world,
        &scene.forge(&exact("never"), supersede_body(1, to)),
        Rule::Refusal,
    );
    let uncaused = Supersede {
        version: 2,
        by: SupersedeBy::Model {
            cause: Seq(1),
            successor: model("checkpoint-2"),
        },
    };
    refused(
        world,
        &scene.forge(active, Body::Supersede(uncaused)),
        Rule::Cause,
    );
}

#[test]
fn outputs_are_revoked_and_results_expire_only_by_the_rules() {
    let scene = Scene::new();
    let (world, active) = (&scene.world, &scene.active);
    accepted(
        world,
        &scene.forge(active, Body::Revoke(revoke_body(2, "A"))),
    );
    refused(
        world,
        &scene.forge(active, Body::Revoke(revoke_body(1, "A"))),
        Rule::Version,
    );
    refused(
        world,
        &scene.forge(active, Body::Revoke(revoke_body(2, "B"))),
        Rule::Refusal,
    );
    refused(
        world,
        &scene.forge(active, Body::Reinstate(revoke_body(1, "R"))),
        Rule::Refusal,
    );
    refused(
        world,
        &scene.forge(active, Body::Reinstate(revoke_body(1, "B"))),
        Rule::Refusal,
    );

    let expire = |fields: &FingerprintFields, write_seq| {
        scene.forge(fields, Body::Expire(Expire { write_seq }))
    };
    accepted(
        world,
        &expire(&scene.overdue, scene.write_seq(&scene.overdue)),
    );
    refused(world, &expire(&scene.overdue, Seq(0)), Rule::WriteSeq);
    refused(
        world,
        &expire(active, scene.write_seq(active)),
        Rule::Deadline,
    );
    refused(
        world,
        &expire(&scene.gone, scene.write_seq(&scene.gone)),
        Rule::State,
    );
    let later = &scene.overdue_later;
    refused(world, &expire(later, scene.write_seq(later)), Rule::Order);
}

#[test]
fn results_follow_their_model_in_order_and_before_anything_expires() {
    let mut world = World::with(Params {
        entries_per_operation_max: 2,
        ..Params::DEFAULT
    });
    let mut results: Vec<_> = ["a", "b", "c", "d"].map(exact).to_vec();
    for fields in &results {
        world.ask(set(fields.clone(), "x", TTL_MS));
    }
    world.ask(model_supersede(
        model("checkpoint-1"),
        model("checkpoint-2"),
    ));
    world.wait(TTL_MS);
    results.sort_by_key(FingerprintFields::fingerprint);
    let cause = world.entries[world.entries.len() - 2].seq;
    let follow = |fields: &FingerprintFields, cause, version, to: &str| {
        let body = Body::Supersede(Supersede {
            version,
            by: SupersedeBy::Model {
                cause,
                successor: model(to),
            },
        });
        forge(&world, TENANT, subject(fields), body)
    };
    accepted(&world, &follow(&results[1], cause, 1, "checkpoint-2"));
    refused(
        &world,
        &follow(&results[2], cause, 1, "checkpoint-2"),
        Rule::Order,
    );
    refused(
        &world,
        &follow(&results[0], cause, 1, "checkpoint-2"),
        Rule::Order,
    );
    refused(
        &world,
        &follow(&results[1], Seq(1), 1, "checkpoint-2"),
        Rule::Cause,
    );
    refused(
        &world,
        &follow(&results[1], cause, 1, "checkpoint-3"),
        Rule::Cause,
    );
    refused(
        &world,
        &follow(&results[1], cause, 2, "checkpoint-2"),
        Rule::Version,
    );
    let record = fold::lookup(&world.state, TENANT, results[1].fingerprint()).unwrap();
    let write_seq = record.unwrap().held().unwrap().write_seq;
    let expire = Body::Expire(Expire { write_seq });
    let expire = forge(&world, TENANT, subject(&results[1]), expire);
    refused(&world, &expire, Rule::Order);
}

#[test]
fn a_model_gives_way_once_and_closes_no_circle() {
    let mut world = World::new();
    world.ask(model_supersede(
        model("checkpoint-1"),
        model("checkpoint-2"),
    ));
    let again = Body::ModelSupersede(ModelSupersede {
        from: model("checkpoint-1"),
        to: model("checkpoint-3"),
        reason: "again".to_owned(),
        request: REQUEST,
    });
    let from = Subject::Model(model("checkpoint-1"));
    refused(
        &world,
        &forge(&world, TENANT, from, again.clone()),
        Rule::Refusal,
    );
    let other = Subject::Model(model("checkpoint-2"));
    refused(
        &world,
        &forge(&world, TENANT, other.clone(), again),
        Rule::Subject,
    );
    let back = Body::ModelSupersede(ModelSupersede {
        from: model("checkpoint-2"),
        to: model("checkpoint-1"),
        reason: "back".to_owned(),
        request: REQUEST,
    });
    refused(&world, &forge(&world, TENANT, other, back), Rule::Refusal);
}
