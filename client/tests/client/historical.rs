//! Answers about the past: what is told and proved, and lies about it.

use std::time::Duration;

use candor_client::{ChangeOptions, Client, Moment, Then};
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{Body, MissReason};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::ids::Seq;
use candor_ledger::time::Micros;
use candor_proto::cache_v1::get_as_of_response::Outcome;
use candor_proto::cache_v1::{GetAsOfResponse, MissReason as Wire, PastResult};

use crate::world::{Shared, World, lock};
use crate::{HOUR, fields, is, with_paris};

/// Paris was set, then revoked a minute later, then London was set.
struct Scene {
    world: Shared,
    client: Client,
    about: Fingerprint,
    /// The write of Paris.
    set: Seq,
    revoked: Seq,
}

async fn scene() -> Scene {
    let (world, client) = with_paris().await;
    let asked = fields("Capital of France?");
    let about = client.fingerprint(&asked).unwrap();
    lock(&world).advance(Duration::from_secs(60));
    let hash = sha3_256(b"Paris");
    let options = ChangeOptions::default();
    let revoked = client.revoke(about, hash, "wrong", options).await.unwrap();
    lock(&world).advance(Duration::from_secs(60));
    client.set_attested(&asked, "London", HOUR).await.unwrap();
    let trail = client.auditlog(&about.to_string()).await.unwrap();
    Scene {
        set: trail.entries[0].entry.seq,
        revoked: revoked.recorded.seq(),
        world,
        client,
        about,
    }
}

#[tokio::test]
async fn what_was_active_once_is_shown_as_of_then_with_what_proves_it() {
    let scene = scene().await;
    let ask = async |moment| scene.client.get_as_of(scene.about, moment).await.unwrap();
    let answer = ask(Moment::After(scene.set)).await;
    let Then::Value(value) = answer.then() else {
        panic!("{answer:?}")
    };
    assert_eq!(value.bytes, &b"Paris"[..]);
    assert_eq!(value.held.write_seq, scene.set);
    let Body::ReadAsOf(read) = &answer.read().entry.body else {
        panic!("{answer:?}")
    };
    assert_eq!((read.as_of, read.time), (answer.size(), None));
    assert_eq!(answer.past().next, Some(scene.revoked));
    // The model: nothing names the absent end of one.
    assert_eq!(answer.caveats().len(), 1, "{:?}", answer.caveats());

    let answer = ask(Moment::After(scene.revoked)).await;
    assert_eq!(answer.then(), &Then::Nothing(MissReason::Revoked));
    let between = lock(&scene.world).entry(scene.revoked.0).time.0 - 1;
    let answer = ask(Moment::At(Micros(between))).await;
    assert!(matches!(answer.then(), Then::Value(_)), "{answer:?}");
    assert_eq!(answer.size().0, scene.revoked.0);
    assert_eq!(answer.caveats().len(), 2, "{:?}", answer.caveats());

    // Without the bytes, what they were is told and proved all the same.
    lock(&scene.world).values.remove(&sha3_256(b"Paris"));
    let answer = ask(Moment::After(scene.set)).await;
    let Then::NotKept(held) = answer.then() else {
        panic!("{answer:?}")
    };
    assert_eq!(held.output_hash, sha3_256(b"Paris"));
}

fn result(reply: &mut GetAsOfResponse) -> &mut PastResult {
    match &mut reply.outcome {
        Some(Outcome::Active(result)) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_lie_about_the_past_is_believed() {
    type Lie = fn(&mut World, &mut GetAsOfResponse);
    let nothing: Lie = |_, reply| {
        reply.outcome = Some(Outcome::Miss(candor_proto::cache_v1::Miss {
            reason: Wire::Absent.into(),
            successor: String::new(),
        }));
    };
    let lies: [(&str, Lie); 12] = [
        ("other bytes", |_, r| {
            result(r).value = Some((&b"London"[..]).into())
        }),
        ("the newer result", |_, r| {
            let value = result(r);
            value.value = Some((&b"London"[..]).into());
            value.output_hash = format!("sha3-256:{}", hex::encode(sha3_256(b"London")));
            value.version = 2;
        }),
        ("another version", |_, r| result(r).version = 2),
        ("another write", |_, r| result(r).write_seq += 1),
        ("another media type", |_, r| result(r).media_type.push('x')),
        ("nothing", nothing),
        ("no outcome", |_, r| r.outcome = None),
        ("another size", |_, r| r.size += 1),
        ("another time", |_, r| r.time.as_mut().unwrap().seconds += 1),
        ("no entry of then", |_, r| r.moment = None),
        ("another entry of then", |world, r| {
            let under = r.checkpoint.as_ref().unwrap().size;
            r.moment = Some(world.proof(r.size, under));
        }),
        ("an earlier question's entry", |world, r| {
            let under = r.checkpoint.as_ref().unwrap().size;
            let own = r.recorded.as_mut().unwrap();
            own.seq = r.size - 1;
            own.proof = Some(world.proof(r.size - 1, under));
        }),
    ];
    for (what, lie) in lies {
        let scene = scene().await;
        lock(&scene.world).lie_past = Some(Box::new(lie));
        let told = scene
            .client
            .get_as_of(scene.about, Moment::After(scene.set));
        let error = told.await.expect_err(what);
        assert_eq!(error.code(), "UNPROVEN", "{what}: {error}");
    }
}

#[tokio::test]
async fn a_result_that_was_not_active_then_is_not_believed_though_its_bytes_are_right() {
    let scene = scene().await;
    let ask = async |moment| scene.client.get_as_of(scene.about, moment).await;
    // What was revoked by then, served nevertheless.
    let hash = sha3_256(b"Paris");
    lock(&scene.world).lie_past = Some(Box::new(move |world, reply| {
        reply.outcome = Some(Outcome::Active(PastResult {
            value: Some(world.values[&hash].clone().into()),
            media_type: "text/plain; charset=utf-8".to_owned(),
            write_seq: 1,
            version: 1,
            output_hash: format!("sha3-256:{}", hex::encode(hash)),
            write: None,
        }));
    }));
    is(ask(Moment::After(scene.revoked)).await, "UNPROVEN");
}
