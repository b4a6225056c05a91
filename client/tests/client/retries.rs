//! One request, one id, one effect.

use std::collections::BTreeSet;
use std::time::Duration;

use candor_client::{ChangeOptions, Error, SetItem, SetOptions};
use candor_ledger::fold::Request;
use candor_ledger::ids::RequestId;
use candor_proto::ErrorCode;
use tonic::Status;

use crate::world::{self, Gate, World, lock};
use crate::{HOUR, fields, is, keys, with_paris};

fn ids_of(world: &World, method: &str) -> Vec<RequestId> {
    let of = |(name, id): &(String, RequestId)| (name == method).then_some(*id);
    world.requests.iter().filter_map(of).collect()
}

fn writes(world: &World) -> usize {
    let is_write = |at: &u64| world.entry(*at).op().as_str() == "cache.write";
    (0..world.size()).filter(is_write).count()
}

/// Loses the reply of so many sets after they took effect.
fn losing(mut replies: usize) -> Gate {
    Box::new(move |_, method, _| {
        let lose = method == "set decided" && replies > 0;
        replies -= usize::from(lose);
        lose.then(|| Status::unavailable("the connection broke"))
    })
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_under_the_same_id() {
    let (world, client) = with_paris().await;
    let before = {
        let world = lock(&world);
        (writes(&world), ids_of(&world, "set").len())
    };
    lock(&world).gate = Some(losing(3));
    let set = client
        .set_attested(&fields("lost?"), "no", HOUR)
        .await
        .unwrap();
    assert!(set.recorded.replayed && set.recorded.sealed.is_some());
    let world = lock(&world);
    assert_eq!(writes(&world), before.0 + 1);
    let tries = ids_of(&world, "set").split_off(before.1);
    assert_eq!(tries.len(), 4);
    assert_eq!(tries.iter().collect::<BTreeSet<_>>().len(), 1);
}

#[tokio::test]
async fn an_id_with_a_lost_try_is_never_replaced() {
    // Codes that a node also sends when the entry is committed and its proof cannot be read.
    let codes = [
        ErrorCode::Behind,
        ErrorCode::NotSealed,
        ErrorCode::StorageDamaged,
    ];
    for lost in codes.map(Some).into_iter().chain([None]) {
        let (world, client) = with_paris().await;
        let before = ids_of(&lock(&world), "set").len();
        let mut tries = 0;
        lock(&world).gate = Some(Box::new(move |world, method, request: Option<&Request>| {
            tries += usize::from(request.is_some());
            match (method, tries, lost) {
                ("set", 1, Some(code)) => Some(world.refused(code)),
                ("set", 1, None) => Some(Status::unavailable("the connection broke")),
                ("set", 2, _) => Some(world.refused(ErrorCode::RequestIdStale)),
                _ => None,
            }
        }));
        let error = is(
            client.set_attested(&fields("lost?"), "?", HOUR).await,
            "OUTCOME_UNKNOWN",
        );
        let Error::OutcomeUnknown { request_id, .. } = error else {
            panic!("{error}")
        };
        let tries = ids_of(&lock(&world), "set").split_off(before);
        assert_eq!(tries, [request_id; 2]);
        is(client.receipt_of(request_id).await, "UNKNOWN_REQUEST");
    }
}

#[tokio::test]
async fn an_id_that_the_ledger_refused_at_once_is_replaced_by_one_of_its_time() {
    for hours in [-2_i64, 2] {
        let world = World::new(&keys()).shared();
        let endpoints = [world::serve(&world).await];
        let theirs = world.clone();
        let around = candor_client::Surroundings::real().with_wall(move || {
            let offset = hours * 3_600_000_000;
            candor_ledger::time::Micros(lock(&theirs).now.0.checked_add_signed(offset).unwrap())
        });
        // Its clock is hours off, so no checkpoint looks right to it; sets need none to be young.
        let client = world::builder(&[&world], &endpoints)
            .surroundings(around)
            .build()
            .unwrap();
        let mut stale = hours < 0;
        lock(&world).gate = Some(Box::new(move |world, method, _| {
            let refuse = method == "set" && std::mem::take(&mut stale);
            refuse.then(|| world.refused(ErrorCode::RequestIdStale))
        }));
        client
            .set_attested(&fields("late?"), "no", HOUR)
            .await
            .unwrap();
        client
            .set_attested(&fields("again?"), "no", HOUR)
            .await
            .unwrap();
        let world = lock(&world);
        let tries = ids_of(&world, "set");
        assert_eq!(tries.len(), 3, "one replaced, then none");
        let off = |id: &RequestId| id.unix_millis().abs_diff(world.now.as_millis());
        assert!(off(&tries[0]) > 7_000_000 && off(&tries[1]) < 2_000 && off(&tries[2]) < 2_000);
    }
}

#[tokio::test]
async fn the_leader_is_followed_and_other_nodes_are_tried() {
    let (world, _) = with_paris().await;
    let (leader, follower) = (world::serve(&world).await, lock(&world).fork().shared());
    let address = leader.trim_start_matches("http://").to_owned();
    lock(&follower).gate = Some(Box::new(move |world, _, _| {
        Some(world.refused_with(ErrorCode::NotLeader, &[("leader_address", &address)]))
    }));
    let dead = "http://127.0.0.1:1".to_owned();
    let endpoints = [dead, world::serve(&follower).await];
    let client = world::client(&[&world], &endpoints);
    client
        .set_attested(&fields("followed?"), "yes", HOUR)
        .await
        .unwrap();
    client
        .set_attested(&fields("still?"), "yes", HOUR)
        .await
        .unwrap();
    assert_eq!(lock(&follower).requests.len(), 1);
}

#[tokio::test]
async fn a_refusal_is_final_and_names_code_and_field() {
    let (world, client) = with_paris().await;
    lock(&world).gate = Some(Box::new(|world, method, _| {
        (method == "set").then(|| world.refused(ErrorCode::TooLarge))
    }));
    let before = lock(&world).requests.len();
    let error = is(
        client.set_attested(&fields("big?"), "yes", HOUR).await,
        "TOO_LARGE",
    );
    assert_eq!(error.fault(), candor_client::Fault::Caller);
    assert_eq!(lock(&world).requests.len(), before + 1);
    let nan = candor_client::FingerprintFields {
        temperature: f32::NAN.to_string(),
        ..fields("nan?")
    };
    let error = is(client.set_attested(&nan, "?", HOUR).await, "INVALID_FIELD");
    assert!(error.to_string().contains("temperature"));
    is(
        client
            .set_attested(&fields("ttl?"), "?", Duration::ZERO)
            .await,
        "INVALID_FIELD",
    );
    assert_eq!(lock(&world).requests.len(), before + 1);
}

#[tokio::test]
async fn retries_stop_at_the_deadline_and_at_the_end_of_the_budget() {
    let (world, _) = with_paris().await;
    let down =
        |world: &mut World, _: &str, _: Option<&Request>| Some(world.refused(ErrorCode::NoLeader));
    lock(&world).gate = Some(Box::new(down));
    let endpoints = [world::serve(&world).await];
    let client = world::builder(&[&world], &endpoints)
        .retries_max(2)
        .build()
        .unwrap();
    let before = lock(&world).requests.len();
    // Nothing was done, and the nodes said so: unavailable, not unknown.
    is(
        client.set_attested(&fields("down?"), "yes", HOUR).await,
        "UNAVAILABLE",
    );
    assert_eq!(lock(&world).requests.len(), before + 3);
    is(
        client.set_attested(&fields("down?"), "yes", HOUR).await,
        "UNAVAILABLE",
    );
    assert_eq!(lock(&world).requests.len(), before + 4);

    let patient = world::client(&[&world], &endpoints);
    let options = SetOptions {
        timeout: Some(Duration::from_millis(300)),
        ..SetOptions::default()
    };
    is(
        patient.set(&fields("down?"), "yes", HOUR, options).await,
        "UNAVAILABLE",
    );
    lock(&world).gate = Some(losing(usize::MAX));
    let options = SetOptions {
        timeout: Some(Duration::from_millis(300)),
        ..SetOptions::default()
    };
    is(
        patient.set(&fields("lost?"), "yes", HOUR, options).await,
        "OUTCOME_UNKNOWN",
    );
}

#[tokio::test]
async fn items_of_a_batch_are_replaced_and_retried_each_for_itself() {
    let (world, client) = with_paris().await;
    let before = ids_of(&lock(&world), "set").len();
    let mut seen = 0;
    lock(&world).gate = Some(Box::new(move |world, method, _| {
        if method != "set" {
            return None;
        }
        seen += 1;
        match seen {
            1 => Some(world.refused(ErrorCode::RequestIdStale)),
            2 => Some(world.refused(ErrorCode::QueueFull)),
            3 => Some(world.refused(ErrorCode::PermissionDenied)),
            _ => None,
        }
    }));
    let item = |at: usize| SetItem::new(&fields(&format!("item {at}")), "x", HOUR).unwrap();
    let mut outcomes = client
        .set_batch((0..4).map(item).collect(), None, None)
        .await
        .unwrap();
    is(outcomes.remove(2), "PERMISSION_DENIED");
    assert!(outcomes.iter().all(Result::is_ok));
    let tries = ids_of(&lock(&world), "set").split_off(before);
    assert_eq!(tries.len(), 6);
    assert_ne!(tries[0], tries[4], "a stale id is replaced");
    assert_eq!(tries[1], tries[5], "one that a full queue refused is kept");
}

#[tokio::test]
async fn every_call_can_be_spawned() {
    let (_, client) = with_paris().await;
    let task = tokio::spawn(async move {
        let asked = fields("Capital of France?");
        let paris = candor_client::Fields::to_fingerprint_fields(&asked)
            .unwrap()
            .fingerprint();
        let report = client.compliance_report(&paris.to_string()).await.unwrap();
        let output_hash = report.trail.newest_write().unwrap().1.output_hash;
        client
            .revoke(paris, output_hash, "over", ChangeOptions::default())
            .await
            .unwrap();
        client.entry(candor_ledger::ids::Seq(0)).await.unwrap()
    });
    assert_eq!(task.await.unwrap().entry.op().as_str(), "ledger.genesis");
}
