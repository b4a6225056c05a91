//! What gets met, asked again later: with the value, by those who may, each time as an entry.

use std::time::Duration;

use candor_client::{
    ChangeOptions, Client, Error, FingerprintFields, GetOptions, Historical, Lookup, Moment,
    ResultOnlyFields, Then,
};
use candor_jepsen::real::folders::{files_below, flip};
use candor_jepsen::real::{Cluster, Setup};
use candor_jepsen::workload::{TTL, fields};
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{Body, Entry, MissReason, Model, Op, Subject};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::ids::Seq;
use candor_ledger::time::Micros;
use candor_node::principal::Right;

/// Longer than what a frame of a pack has before its value.
const FIRST: &str = "the first output, which is long enough for a byte of it to be flipped";
/// Where a byte of the first value of a pack lies.
const IN_FIRST: usize = 60;
/// A result is read within this time after it was set, on however busy a machine.
const SHORT: Duration = Duration::from_secs(3);

/// What a get met, and where.
struct Met {
    about: Fingerprint,
    seq: Seq,
    time: Micros,
    found: Result<Vec<u8>, MissReason>,
}

fn clients(cluster: &Cluster) -> [Client; 4] {
    ["service-a", "inspector", "reader", "service-g"].map(|actor| cluster.client(actor).unwrap())
}

async fn met(client: &Client, about: &FingerprintFields) -> Met {
    let found = client.get(about, GetOptions::default()).await.unwrap();
    let (seq, found) = match found {
        Lookup::Hit(hit) => (hit.about().read_seq, Ok(hit.into_value().to_vec())),
        Lookup::Miss(missed) => (missed.seq, Err(missed.reason)),
    };
    let read = client.receipt(seq).await.unwrap();
    Met {
        about: client.fingerprint(about).unwrap(),
        seq,
        time: read.entry.time,
        found,
    }
}

/// Missed, set, overdue, set anew, revoked, reinstated, superseded by another, and that one's model gone: a
/// get after each step.
async fn live(client: &Client) -> Vec<Met> {
    let (about, other) = (fields("asked"), fields("other"));
    let [one, two] = [&about, &other].map(|fields| client.fingerprint(fields).unwrap());
    let (options, hash) = (ChangeOptions::default(), sha3_256(b"second"));
    let mut all = vec![met(client, &about).await];
    client.set_attested(&about, FIRST, SHORT).await.unwrap();
    all.push(met(client, &about).await);
    tokio::time::sleep(SHORT).await;
    all.push(met(client, &about).await);
    client.set_attested(&about, "second", TTL).await.unwrap();
    all.push(met(client, &about).await);
    let revoked = client.revoke(one, hash, "wrong", options).await;
    revoked.unwrap();
    all.push(met(client, &about).await);
    let back = client
        .reinstate(one, hash, "right after all", options)
        .await;
    back.unwrap();
    all.push(met(client, &about).await);
    client.set_attested(&other, "better", TTL).await.unwrap();
    all.push(met(client, &other).await);
    client.supersede(one, two, "better", options).await.unwrap();
    all.push(met(client, &about).await);
    let [from, to] = ["1", "2"].map(|version| Model {
        name: "model".to_owned(),
        version: version.to_owned(),
    });
    let gone = client.supersede_model(&from, &to, "retired", options).await;
    gone.unwrap();
    all.push(met(client, &other).await);
    all
}

fn same(then: &Then, met: &Met) {
    match (then, &met.found) {
        (Then::Value(value), Ok(bytes)) => assert_eq!(value.bytes, bytes[..]),
        (Then::Nothing(reason), Err(expected)) => assert_eq!(reason, expected),
        (then, found) => panic!("{then:?}, and a get met {found:?}"),
    }
}

/// Each stage by the size before its get, by the size with it, and by its time.
async fn asked_again(inspector: &Client, all: &[Met]) -> Vec<Historical> {
    let mut answers = Vec::new();
    for met in all {
        let before = Moment::After(Seq(met.seq.0 - 1));
        for moment in [before, Moment::After(met.seq), Moment::At(met.time)] {
            let answer = inspector.get_as_of(met.about, moment).await.unwrap();
            same(answer.then(), met);
            assert_eq!(answer.fingerprint(), met.about);
            assert!(answer.read().sealed.is_some());
            assert!(answer.past().next.is_some(), "the question is an event");
            let size = answer.size().0;
            match moment {
                Moment::After(seq) => assert_eq!(size, seq.0 + 1),
                Moment::At(time) => {
                    assert!(size > met.seq.0);
                    assert_eq!(answer.time(), time);
                }
            }
            answers.push(answer);
        }
    }
    answers
}

/// Nobody but an auditor, nothing but a past, nobody else's times, and no record that answers no get.
async fn refuses(cluster: &Cluster, all: &[Met], record: Fingerprint) {
    let [service, inspector, reader, other] = clients(cluster);
    let (about, last) = (all[0].about, all.last().unwrap());
    let refused = async |client: &Client, about, moment| match client
        .get_as_of(about, moment)
        .await
        .unwrap_err()
    {
        Error::Rejected { code, field, .. } => (code, field.unwrap_or_default()),
        error => panic!("{error:?}"),
    };
    let is = |code: &str, field: &str| (code.to_owned(), field.to_owned());
    let past = Moment::After(last.seq);
    assert_eq!(
        refused(&reader, about, past).await,
        is("PERMISSION_DENIED", "")
    );
    let future = Moment::At(Micros(last.time.0 + 3_600_000_000));
    for (moment, field) in [
        (Moment::After(Seq(1_000_000)), "size"),
        (Moment::After(Seq(u64::MAX)), "size"),
        (Moment::At(Micros(0)), "time"),
        (future, "time"),
    ] {
        let found = refused(&inspector, about, moment).await;
        assert_eq!(found, is("INVALID_FIELD", field), "{moment:?}");
    }
    assert_eq!(
        refused(&inspector, record, past).await,
        is("INVALID_FIELD", "fingerprint")
    );
    // Of another tenant's entry not even the time, nor of its results that there are any.
    assert_eq!(
        refused(&other, about, past).await,
        is("ENTRY_NOT_FOUND", "size")
    );
    other
        .get(&fields("asked"), GetOptions::default())
        .await
        .unwrap();
    let answer = other.get_as_of(about, Moment::At(last.time)).await.unwrap();
    assert_eq!(answer.then(), &Then::Nothing(MissReason::Absent));
    let never = service.fingerprint(&fields("never")).unwrap();
    let answer = inspector.get_as_of(never, past).await.unwrap();
    assert_eq!(answer.then(), &Then::Nothing(MissReason::Absent));
}

/// The entries that the questions left, and no answer without one.
fn recorded(entries: &[Entry], answers: &[Historical]) {
    let asked = |entry: &&Entry| entry.op() == Op::CacheReadAsOf && entry.actor == "inspector";
    assert!(entries.iter().filter(asked).count() >= answers.len());
    for answer in answers {
        let entry = &entries[usize::try_from(answer.read().seq().0).unwrap()];
        let Body::ReadAsOf(body) = &entry.body else {
            panic!("entry {} is {}", entry.seq, entry.op());
        };
        assert_eq!(*entry, answer.read().entry);
        assert_eq!(
            (entry.tenant.as_str(), entry.actor.as_str()),
            ("acme", "inspector")
        );
        assert_eq!(entry.subject, Subject::Fingerprint(answer.fingerprint()));
        assert_eq!(body.as_of, answer.size());
        let last = &entries[usize::try_from(body.as_of.0 - 1).unwrap()];
        match body.time {
            None => assert_eq!(answer.time(), last.time),
            Some(time) => {
                let next = &entries[usize::try_from(body.as_of.0).unwrap()];
                assert!(
                    last.time <= time && time < next.time,
                    "{time}: {}",
                    body.as_of
                );
                assert_eq!(answer.time(), time);
            }
        }
    }
}

/// A value that a node lost is had from another; one that all lost is said not to be kept.
async fn loses_the_first_value(cluster: &Cluster, inspector: &Client, met: &Met) {
    let damage = |node| {
        let folder = cluster.folder(node).join("values");
        let file = files_below(&folder).unwrap().into_iter().next().unwrap();
        flip(&folder.join(file), IN_FIRST).unwrap();
    };
    let leader = cluster.leader().await.unwrap();
    damage(leader);
    let answer = inspector.get_as_of(met.about, Moment::After(met.seq)).await;
    same(answer.unwrap().then(), met);
    cluster
        .nodes()
        .filter(|node| *node != leader)
        .for_each(damage);
    let answer = inspector.get_as_of(met.about, Moment::After(met.seq)).await;
    let answer = answer.unwrap();
    assert!(
        matches!(answer.then(), Then::NotKept(_)),
        "{:?}",
        answer.then()
    );
}

/// INV-6 of the past: whoever is shown what was ACTIVE once had the right to, and left an entry.
#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_answered_as_it_was_by_size_and_time_to_auditors_with_an_entry_each() {
    let cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .principal("acme", "inspector", &[Right::Audit])
        .principal("acme", "reader", &[Right::Read, Right::Write])
        .sections("[verifier]\nheal = false\n")
        .found()
        .await
        .unwrap();
    let [service, inspector, ..] = clients(&cluster);
    let all = live(&service).await;
    let record = ResultOnlyFields {
        model_version: "1".to_owned(),
        computation_type: "fraud-check".to_owned(),
        hardware_class: "cpu".to_owned(),
        ..ResultOnlyFields::default()
    };
    let record = service.set_attested(&record, "fraud", TTL).await.unwrap();
    let answers = asked_again(&inspector, &all).await;
    refuses(&cluster, &all, record.fingerprint).await;
    cluster.settle().await.unwrap();
    cluster.same_ledgers().unwrap();
    recorded(&cluster.entries(2).unwrap(), &answers);
    let first = all.iter().find(|met| met.found.is_ok()).unwrap();
    loses_the_first_value(&cluster, &inspector, first).await;
}
