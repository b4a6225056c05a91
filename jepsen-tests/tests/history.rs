//! The past of one computation, asked of a real node after everything has happened to it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::time::Duration;

use candor_client::{
    ChangeOptions, Client, Error, FingerprintFields, GetOptions, Moment, PastTrail,
};
use candor_jepsen::real::{Cluster, PATIENCE, Setup};
use candor_jepsen::workload::{TTL, fields};
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{Entry, Model, Op, State, Subject};
use candor_ledger::ids::Seq;
use candor_ledger::time::Micros;

/// A result is read within this time after it was set, on however busy a machine.
const SHORT_MS: u64 = 3_000;

async fn as_of(client: &Client, subject: &Subject, moment: Moment) -> PastTrail {
    client
        .auditlog_as_of(&subject.to_string(), moment)
        .await
        .unwrap()
}

fn state(past: &PastTrail) -> State {
    past.past.as_ref().unwrap().state.state()
}

fn model(version: &str) -> Model {
    Model {
        name: "model".to_owned(),
        version: version.to_owned(),
    }
}

/// Waits until the ledger is sealed beyond this time.
async fn sealed_after(client: &Client, time: Micros) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while client.checkpoint(None).await.unwrap().sealed() <= time {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not sealed after {time}"
        );
        client
            .get(&fields("another"), GetOptions::default())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A life: missed, set, read, overdue, set anew, revoked, reinstated, its model gone. Returns its last
/// event, which is sealed, and the ledger beyond it.
async fn live(client: &Client, about: &FingerprintFields) -> Entry {
    let (fingerprint, options) = (client.fingerprint(about).unwrap(), ChangeOptions::default());
    let subject = Subject::Fingerprint(fingerprint);
    client.get(about, GetOptions::default()).await.unwrap();
    let short = Duration::from_millis(SHORT_MS);
    client.set_attested(about, "x", short).await.unwrap();
    client.get(about, GetOptions::default()).await.unwrap();
    tokio::time::sleep(short).await;
    client.set_attested(about, "y", TTL).await.unwrap();
    let hash = sha3_256(b"y");
    client
        .revoke(fingerprint, hash, "wrong", options)
        .await
        .unwrap();
    client
        .reinstate(fingerprint, hash, "right after all", options)
        .await
        .unwrap();
    client
        .supersede_model(&model("1"), &model("2"), "retired", options)
        .await
        .unwrap();
    client.get(about, GetOptions::default()).await.unwrap();
    let last = client
        .auditlog(&subject.to_string())
        .await
        .unwrap()
        .entries
        .pop()
        .unwrap();
    client.receipt(last.entry.seq).await.unwrap();
    sealed_after(client, last.entry.time).await;
    last.entry
}

/// A future is not told, nor the time of another tenant's entry.
async fn refuses_what_it_cannot_know(cluster: &Cluster, subject: &Subject, past: &Entry) {
    let client = cluster.client("service-a").unwrap();
    let future = Moment::At(Micros(past.time.0 + 3_600_000_000));
    for moment in [future, Moment::After(Seq(1_000_000))] {
        let refused = client.auditlog_as_of(&subject.to_string(), moment).await;
        assert!(matches!(refused, Err(Error::Field(_))), "{refused:?}");
    }
    let other = cluster.client("service-g").unwrap();
    other
        .get(&fields("asked"), GetOptions::default())
        .await
        .unwrap();
    let refused = other
        .auditlog_as_of(&subject.to_string(), Moment::After(past.seq))
        .await;
    assert!(matches!(refused, Err(Error::Field(_))), "{refused:?}");
}

#[tokio::test]
async fn the_past_of_a_result_is_told_for_every_moment_and_proved_by_what_came_after() {
    let setup = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen")).nodes(1);
    let cluster = setup.found().await.unwrap();
    let client = cluster.client("service-a").unwrap();
    let about = fields("asked");
    let fingerprint = client.fingerprint(&about).unwrap();
    let subject = Subject::Fingerprint(fingerprint);

    let last = live(&client, &about).await;

    // After each of its events, what that event left behind.
    let trail = client.auditlog(&subject.to_string()).await.unwrap();
    let events: Vec<&Entry> = trail.entries.iter().map(|event| &event.entry).collect();
    let expected = |event: &Entry, active: State| match event.op() {
        Op::CacheReadMiss | Op::CacheWrite | Op::CacheReadHit | Op::CacheReinstate => active,
        Op::CacheRevoke => State::Revoked,
        Op::CacheSupersede => State::Superseded,
        Op::CacheExpire => State::Expired,
        other => panic!("{other}"),
    };
    for (at, event) in events.iter().enumerate() {
        let past = as_of(&client, &subject, Moment::After(event.seq)).await;
        let active = match (event.n, event.op()) {
            (1, _) => State::Absent,
            (_, Op::CacheReadMiss) => State::Superseded,
            _ => State::Active,
        };
        assert_eq!(
            state(&past),
            expected(event, active),
            "after {}",
            event.op()
        );
        assert_eq!(past.trail.entries, trail.entries.get(..=at).unwrap());
        assert_eq!(past.next, events.get(at + 1).map(|next| next.seq));
    }
    assert_eq!(events.last().unwrap().op(), Op::CacheReadMiss);

    // Before the first event it was absent, and the first event proves it. Overdue is overdue, with
    // or without an entry that says so; a model's end reaches its results at once.
    let before = as_of(&client, &subject, Moment::After(Seq(0))).await;
    assert_eq!(
        (state(&before), before.next),
        (State::Absent, Some(events[0].seq))
    );
    let read = events
        .iter()
        .find(|event| event.op() == Op::CacheReadHit)
        .unwrap();
    let write = events
        .iter()
        .find(|event| event.op() == Op::CacheWrite)
        .unwrap();
    let deadline = write.time.plus_millis(SHORT_MS);
    let just_before = Micros(deadline.0 - 1);
    assert!(read.time < just_before);
    assert_eq!(
        state(&as_of(&client, &subject, Moment::At(just_before)).await),
        State::Active
    );
    assert_eq!(
        state(&as_of(&client, &subject, Moment::At(deadline)).await),
        State::Expired
    );
    let models = client
        .auditlog(&Subject::Model(model("1")).to_string())
        .await
        .unwrap();
    let gone = &models.entries[0].entry;
    let past = as_of(&client, &subject, Moment::After(gone.seq)).await;
    assert_eq!((state(&past), past.caveats().len()), (State::Superseded, 0));
    refuses_what_it_cannot_know(&cluster, &subject, &last).await;
}
