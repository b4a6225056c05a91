//! Lies about position, author, subject and request.

use candor_ledger::digest::ChainHash;
use candor_ledger::entry::{
    Attestation, Body, Entry, Expire, LOG_ACTOR, MemberChange, MissReason, ParamsChange, Seal,
    Subject, Verdict, Write,
};
use candor_ledger::fold::{self, Change, Operation, Params, Rule};
use candor_ledger::ids::{NodeId, Seq, TreeSize};

use super::{REQUEST, Scene, TTL_MS, accepted, forge, miss, refused, write_body};
use crate::dedup::admin;
use crate::support::{ACTOR, TENANT, attest_by_anyone, exact, model, request_id, set, subject};

#[test]
fn place_chain_time_and_lifecycle_are_held() {
    let scene = Scene::new();
    let (world, base) = (
        &scene.world,
        scene.forge(
            &scene.active,
            Body::ReadHit(scene.hit(&scene.active, 2, "A")),
        ),
    );
    accepted(world, &base);
    let with = |change: fn(&mut Entry)| {
        let mut entry = base.clone();
        change(&mut entry);
        entry
    };
    refused(world, &with(|e| e.seq.0 += 1), Rule::Seq);
    refused(world, &with(|e| e.seq.0 -= 1), Rule::Seq);
    refused(world, &with(|e| e.prev = ChainHash([1; 32])), Rule::Prev);
    refused(world, &with(|e| e.time.0 -= 1), Rule::Time);
    refused(world, &with(|e| e.n += 1), Rule::Lifecycle);
    refused(world, &with(|e| e.subject_prev = None), Rule::Lifecycle);
    refused(
        world,
        &with(|e| e.subject_prev = Some(Seq(1))),
        Rule::Lifecycle,
    );
    refused(
        world,
        &with(|e| e.actor = LOG_ACTOR.to_owned()),
        Rule::Actor,
    );
    refused(world, &with(|e| e.request_id = None), Rule::RequestId);
}

#[test]
fn the_log_and_clients_keep_to_their_own_operations_and_subjects() {
    let scene = Scene::new();
    let world = &scene.world;
    let log = fold::log(&world.state).unwrap().unwrap();
    let seal = Body::Seal(Seal {
        keyset: log.keyset.id,
        prev_seal: log.last_seal,
    });
    let seal = forge(world, "", Subject::Ledger, seal);
    accepted(world, &seal);
    let by_client = Entry {
        actor: ACTOR.to_owned(),
        ..seal.clone()
    };
    refused(world, &by_client, Rule::Actor);
    let named = Entry {
        request_id: Some(request_id(world.now.as_millis(), 1)),
        ..seal
    };
    refused(world, &named, Rule::RequestId);

    let expire = Body::Expire(Expire {
        write_seq: scene.write_seq(&scene.overdue),
    });
    let expire = scene.forge(&scene.overdue, expire);
    accepted(world, &expire);
    let by_client = Entry {
        actor: ACTOR.to_owned(),
        ..expire
    };
    refused(world, &by_client, Rule::Actor);

    let change = Body::Member(MemberChange::Leave(NodeId(1)));
    let by_log = Entry {
        actor: LOG_ACTOR.to_owned(),
        ..forge(world, "", Subject::Ledger, change)
    };
    refused(world, &by_log, Rule::Actor);

    let absent = || miss(MissReason::Absent);
    let of_model = forge(world, TENANT, Subject::Model(model("m")), absent());
    refused(world, &of_model, Rule::Subject);
    let nobodys = forge(world, "", subject(&exact("new")), absent());
    refused(world, &nobodys, Rule::Subject);
    let change = Body::Member(MemberChange::Leave(NodeId(1)));
    let of_tenant = forge(world, TENANT, Subject::Ledger, change);
    // The lifecycle of the ledger itself is found whatever tenant is named.
    refused(world, &of_tenant, Rule::Subject);
    let elsewhere = forge(
        world,
        TENANT,
        Subject::Model(model("m")),
        write_body(&scene.active, 3, "B"),
    );
    refused(world, &elsewhere, Rule::Subject);
}

#[test]
fn requests_take_effect_once_under_the_digest_of_what_they_ask() {
    let mut scene = Scene::new();
    let used = scene.world.entries[1].request_id;
    let base = scene.forge(&scene.active, write_body(&scene.active, 2, "A"));
    let world = &scene.world;
    accepted(world, &base);
    let with = |change: &dyn Fn(&mut Entry)| {
        let mut entry = base.clone();
        change(&mut entry);
        entry
    };
    refused(world, &with(&|e| e.request_id = used), Rule::RequestId);
    let ahead = world.now.as_millis() + Params::DEFAULT.max_skew_ms + 1;
    refused(
        world,
        &with(&|e| e.request_id = Some(request_id(ahead, 1))),
        Rule::RequestId,
    );
    refused(
        world,
        &with(&|e| e.actor = "service-b".to_owned()),
        Rule::RequestDigest,
    );
    let changes: [fn(&mut Write); 4] = [
        |w| w.ttl_ms += 1,
        |w| w.media_type.push('x'),
        |w| w.told.input_tokens = Some(1),
        |w| w.request[0] ^= 1,
    ];
    for change in changes {
        let entry = with(&|e| match &mut e.body {
            Body::Write(body) => change(body),
            other => panic!("{other:?}"),
        });
        refused(world, &entry, Rule::RequestDigest);
    }
    // With a window of one, all earlier ids are at or below the floor.
    let params = Params {
        dedup_window: 1,
        ..Params::DEFAULT
    };
    scene
        .world
        .command(&[admin(Change::Params(ParamsChange { params }))], false);
    for _ in 0..5 {
        scene.world.ask(set(scene.active.clone(), "A", TTL_MS));
    }
    let mut stale = scene.forge(&scene.active, write_body(&scene.active, 2, "A"));
    stale.request_id = used;
    refused(&scene.world, &stale, Rule::RequestId);
}

#[test]
fn attestations_carry_a_signature_over_what_they_say() {
    let scene = Scene::new();
    let world = &scene.world;
    let about = subject(&scene.active);
    let Operation::Attest(attest) = attest_by_anyone(about.clone()) else {
        panic!("an attestation")
    };
    let body = Attestation {
        result: attest.result,
        size: attest.size,
        root: attest.root,
        auditor: attest.auditor,
        signature: attest.signature,
        request: REQUEST,
    };
    let forged =
        |body: Attestation| forge(world, TENANT, about.clone(), Body::Verify(Box::new(body)));
    accepted(world, &forged(body.clone()));
    let with = |change: fn(&mut Attestation)| {
        let mut body = body.clone();
        change(&mut body);
        forged(body)
    };
    refused(
        world,
        &with(|a| a.result = Verdict::Refuted),
        Rule::Signature,
    );
    refused(world, &with(|a| a.root[0] ^= 1), Rule::Signature);
    refused(world, &with(|a| a.signature[0] ^= 1), Rule::Signature);
    refused(world, &with(|a| a.auditor = [0; 32]), Rule::Signature);
    refused(world, &with(|a| a.size = TreeSize(10_000)), Rule::Refusal);
    let elsewhere = forge(
        world,
        TENANT,
        subject(&scene.gone),
        Body::Verify(Box::new(body.clone())),
    );
    refused(world, &elsewhere, Rule::Signature);
    let of_other = forge(world, "other", about.clone(), Body::Verify(Box::new(body)));
    refused(world, &of_other, Rule::Signature);
}
