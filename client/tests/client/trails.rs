//! Lifecycles: whole, in order, and nothing slipped in.

use std::time::Duration;

use candor_client::{AuditTrail, Client, ComplianceReport, Fields};
use candor_ledger::entry::{State, Subject};
use candor_ledger::evidence::Evidence;
use candor_proto::audit_v1::ListLifecycleResponse;

use crate::world::{self, Shared, World, lock};
use crate::{HOUR, fields, is, with_paris};

fn subject() -> String {
    let fields = fields("Capital of France?")
        .to_fingerprint_fields()
        .unwrap();
    fields.fingerprint().to_string()
}

/// A write, a conflict and six reads, the last two not sealed; two events a page.
async fn busy() -> (Shared, Client) {
    let (world, client) = with_paris().await;
    let asked = fields("Capital of France?");
    is(client.set_attested(&asked, "Lyon", HOUR).await, "CONFLICT");
    for _ in 0..4 {
        client.get_verified::<String>(&asked).await.unwrap();
    }
    client
        .set_attested(&fields("Capital of Italy?"), "Rome", HOUR)
        .await
        .unwrap();
    for _ in 0..2 {
        client.get_verified::<String>(&asked).await.unwrap();
    }
    lock(&world).page = 2;
    (world, client)
}

#[tokio::test]
async fn a_lifecycle_is_read_whole_over_pages_and_says_what_is_not_sealed() {
    let (world, client) = busy().await;
    let trail = client.auditlog(&subject()).await.unwrap();
    let sealed: Vec<_> = trail
        .entries
        .iter()
        .map(|event| event.path.is_some())
        .collect();
    assert_eq!(sealed, [true, true, true, true, true, true, false, false]);
    let numbers: Vec<_> = trail.entries.iter().map(|event| event.entry.n).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    let bare = &subject()["fingerprint:sha3-256:".len()..];
    for spelling in [bare, &bare[..12], &format!("sha3-256:{bare}")] {
        assert_eq!(
            client.auditlog(spelling).await.unwrap().subject,
            trail.subject
        );
    }
    is(client.auditlog("00000000").await, "UNKNOWN_FINGERPRINT");
    is(client.auditlog("what?").await, "INVALID_FIELD");

    // The sealed part is evidence for anybody with the keys, and the value with it.
    let evidence = trail.evidence(&[b"Paris"]).unwrap();
    let evidence = Evidence::parse(evidence.render().as_bytes()).unwrap();
    assert_eq!((evidence.entries.len(), evidence.values.len()), (6, 1));
    let policy = lock(&world).keys.policy();
    let question = candor_ledger::verify::Question::default();
    let report = candor_ledger::verify::verify_evidence(&evidence, &policy, &question);
    assert_eq!(
        report.outcome,
        candor_ledger::verify::Outcome::Proved,
        "{report:?}"
    );
}

#[tokio::test]
async fn a_report_tells_a_lay_reader_what_happened_and_what_is_proved() {
    let (_, client) = busy().await;
    let report: ComplianceReport = client.compliance_report(&subject()).await.unwrap();
    assert_eq!(report.state, State::Active);
    let counts = report.counts;
    assert_eq!((counts.writes, counts.reads, counts.conflicts), (1, 6, 1));
    let text = report.to_string();
    for part in [
        "model version: checkpoint-20260501",
        "temperature: 0.7",
        "a different result was offered",
        "tamper-evident: proved for the sealed events. 6 of 8",
        "nodes 1, 2 recomputed it",
        "complete: not proved",
        "nobody outside the operator has witnessed this",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[tokio::test]
async fn no_lie_about_a_lifecycle_is_believed() {
    type Lie = fn(&World, &mut ListLifecycleResponse);
    let lies: [(&str, Lie); 11] = [
        ("another subject's lifecycle", |world, page| {
            let other = fields("Capital of Italy?").to_fingerprint_fields().unwrap();
            let other = Subject::Fingerprint(other.fingerprint());
            let size = page.checkpoint.as_ref().unwrap().size;
            let about = |seq: &u64| world.entry(*seq).subject == other;
            page.entries = (0..size)
                .rev()
                .filter(about)
                .map(|seq| world.proof(seq, size))
                .collect();
            page.next_page_token.clear();
        }),
        ("an event left out", |_, page| drop(page.entries.remove(1))),
        ("events in another order", |_, page| page.entries.reverse()),
        ("an event twice", |_, page| {
            page.entries.push(page.entries[1].clone())
        }),
        ("the first event hidden", |world, page| {
            if page.next_page_token.is_empty() {
                page.entries.pop();
            }
            assert!(world.size() > 0);
        }),
        ("the oldest page hidden", |_, page| {
            page.next_page_token.clear()
        }),
        ("another subject's event", |world, page| {
            let size = page.checkpoint.as_ref().unwrap().size;
            page.entries[1] = world.proof(0, size);
        }),
        ("a sealed event said not to be", |world, page| {
            let proof = page.entries.iter_mut().find(|proof| proof.size > 0);
            if let Some(proof) = proof {
                *proof = world.proof(proof.index, 0);
            }
        }),
        ("a changed event", |_, page| {
            for proof in page.entries.iter_mut().filter(|proof| proof.size > 0) {
                let text = String::from_utf8(proof.entry.to_vec()).unwrap();
                proof.entry = text.replace("service-a", "service-b").into();
            }
        }),
        ("another subject in name", |_, page| {
            page.subject = "decision:x".to_owned()
        }),
        ("another checkpoint on a later page", |world, page| {
            if page.checkpoint.as_ref().unwrap().note.is_empty() {
                page.checkpoint = Some(world.checkpoint(world.sealed_size(), 0));
                page.checkpoint.as_mut().unwrap().size = 1;
            }
        }),
    ];
    for (what, lie) in lies {
        let (world, _) = busy().await;
        let client = world::client(&[&world], &[world::serve(&world).await]);
        let honest: AuditTrail = client.auditlog(&subject()).await.unwrap();
        lock(&world).lie_list = Some(Box::new(move |world, page| lie(world, page)));
        let error = client.auditlog(&subject()).await.expect_err(what);
        assert_eq!(error.code(), "UNPROVEN", "{what}: {error}");
        lock(&world).lie_list = None;
        lock(&world).advance(Duration::from_millis(1));
        let again = client.auditlog(&subject()).await.unwrap();
        assert_eq!(again.entries.len(), honest.entries.len());
    }
}
