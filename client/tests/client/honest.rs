//! What an honest cluster's client sees.

use bytes::Bytes;
use candor_client::{
    ChangeOptions, Error, Fields, GetOptions, Lookup, Parameters, ResultOnlyFields, SetItem,
    SetOptions, Verified, WaitFor,
};
use candor_ledger::entry::{MissReason, Model, Subject, Told, Verdict};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::signature::AttestKey;
use candor_proto::ErrorCode;

use crate::world::{self, World, bytes_from, lock};
use crate::{HOUR, fields, is, keys, with_paris};

fn fingerprint(fields: &impl Fields) -> Fingerprint {
    fields.to_fingerprint_fields().unwrap().fingerprint()
}

#[tokio::test]
async fn a_value_comes_back_verified_in_the_type_the_caller_takes() {
    let (world, client) = with_paris().await;
    let asked = fields("Capital of France?");
    let text: Option<String> = client.get_verified(&asked).await.unwrap();
    assert_eq!(text.as_deref(), Some("Paris"));
    let bytes: Option<Bytes> = client.get_verified(&asked).await.unwrap();
    assert_eq!(bytes.as_deref(), Some(b"Paris".as_slice()));
    let verified: Verified = client.get_verified(&asked).await.unwrap().unwrap();
    let about = verified.about();
    assert_eq!(about.fingerprint, fingerprint(&asked));
    assert_eq!(
        (about.version, about.media_type.as_str()),
        (1, "text/plain; charset=utf-8")
    );
    assert_eq!(about.writer, world::ACTOR);
    assert!(about.as_of.size.covers(about.write_seq) && about.read_seq > about.write_seq);
    let none: Option<String> = client
        .get_verified(&fields("Capital of Chad?"))
        .await
        .unwrap();
    assert_eq!(none, None);
    let raw = [0xff, 0xfe];
    client
        .set_attested(&fields("Noise?"), raw, HOUR)
        .await
        .unwrap();
    is(
        client.get_verified::<String>(&fields("Noise?")).await,
        "NOT_TEXT",
    );

    // One known checkpoint serves many hits: the note travelled once.
    let gets = lock(&world)
        .requests
        .iter()
        .filter(|(method, _)| method == "get")
        .count();
    assert_eq!(gets, 5);
    let options = GetOptions {
        wait_for: Some(WaitFor::Sealed),
        ..GetOptions::default()
    };
    let Lookup::Hit(hit) = client.get(&asked, options).await.unwrap() else {
        panic!("a miss")
    };
    assert!(hit.about().read_sealed);
}

#[tokio::test]
async fn a_result_lives_and_ends_by_the_rules_and_every_answer_says_so() {
    let (world, client) = with_paris().await;
    let (asked, options) = (fields("Capital of France?"), ChangeOptions::default());
    let paris = fingerprint(&asked);
    let renewed = client.set_attested(&asked, "Paris", HOUR).await.unwrap();
    assert!(renewed.renewed && renewed.version == 1);
    let receipt = renewed.recorded.receipt().unwrap();
    receipt.verify(client.policy()).unwrap();
    assert_eq!(
        candor_ledger::receipt::Receipt::parse(&receipt.encode()).unwrap(),
        receipt
    );

    let conflict = is(client.set_attested(&asked, "Lyon", HOUR).await, "CONFLICT");
    assert!(matches!(&conflict, Error::Conflict { held, offered, .. } if held != offered));
    let held = client.auditlog(&paris.to_string()).await.unwrap();
    let output_hash = held.newest_write().unwrap().1.output_hash;
    let revoked = client
        .revoke(paris, output_hash, "wrong tone", options)
        .await
        .unwrap();
    assert_eq!((revoked.version, revoked.output_hash), (1, output_hash));
    let none: Option<String> = client.get_verified(&asked).await.unwrap();
    assert_eq!(none, None);
    let refused = is(client.set_attested(&asked, "Paris", HOUR).await, "REFUSED");
    assert!(matches!(refused, Error::Refused { reason, .. } if reason == "output_revoked"));
    client
        .reinstate(paris, output_hash, "tone is fine", options)
        .await
        .unwrap();
    let back: Option<String> = client.get_verified(&asked).await.unwrap();
    assert_eq!(back.as_deref(), Some("Paris"));

    let next = fields("Capital of France, please?");
    client.set_attested(&next, "Paris.", HOUR).await.unwrap();
    let successor = fingerprint(&next);
    client
        .supersede(paris, successor, "asked politely", options)
        .await
        .unwrap();
    let Lookup::Miss(miss) = client.get(&asked, GetOptions::default()).await.unwrap() else {
        panic!("a superseded result was served")
    };
    assert_eq!(
        miss.reason,
        MissReason::Superseded(Subject::Fingerprint(successor))
    );
    let refused = is(client.set_attested(&asked, "Paris", HOUR).await, "REFUSED");
    let named = successor.to_string();
    assert!(matches!(refused, Error::Refused { successor: Some(s), .. } if s == named));

    let model = |version: &str| Model {
        name: "gpt-4-0613".to_owned(),
        version: version.to_owned(),
    };
    let (from, to) = (model("checkpoint-20260501"), model("checkpoint-20260601"));
    client
        .supersede_model(&from, &to, "model update", options)
        .await
        .unwrap();
    let Lookup::Miss(miss) = client.get(&next, GetOptions::default()).await.unwrap() else {
        panic!("a result of a superseded model was served")
    };
    assert_eq!(miss.reason, MissReason::Superseded(Subject::Model(to)));

    lock(&world).now.0 += 1;
    let key = AttestKey::generate(&mut bytes_from("auditor")).unwrap();
    let subject = Subject::Fingerprint(paris);
    let found = client
        .attest(&subject, Verdict::Proved, &Signer(key), options)
        .await
        .unwrap();
    assert_eq!(found.entry.op().as_str(), "cache.verify");
}

struct Signer(AttestKey);

impl candor_client::AttestSigner for Signer {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_bytes().try_into().unwrap()
    }

    fn sign(&self, statement: &str) -> Option<[u8; 64]> {
        self.0.sign(statement).ok()
    }
}

#[tokio::test]
async fn all_three_patterns_and_everything_that_is_told_are_recorded_as_sent() {
    let world = World::new(&keys()).shared();
    let client = world::client(&[&world], &[world::serve(&world).await]);
    let told = Told {
        decision: Some("loan-4711".to_owned()),
        input_tokens: Some(12),
        latency_ms: Some(250),
        observed_model_version: Some("checkpoint-20260501".to_owned()),
        output_tokens: Some(1),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        ..Told::default()
    };
    let options = SetOptions {
        told: told.clone(),
        ..SetOptions::default()
    };
    let exact = fields("2+2?").with_parameters(Parameters::new().with("seed", 7));
    client.set(&exact, "4", HOUR, options).await.unwrap();
    let hit: Verified<String> = client.get_verified(&exact).await.unwrap().unwrap();
    assert_eq!(hit.about().input_tokens, Some(12));
    let trail = client
        .auditlog(&fingerprint(&exact).to_string())
        .await
        .unwrap();
    assert_eq!(trail.newest_write().unwrap().1.told, told);
    let other: Option<String> = client.get_verified(&fields("2+2?")).await.unwrap();
    assert_eq!(other, None);

    let semantic = fields("2 + 2 = ?")
        .with_parameters(Parameters::new())
        .semantic("ab".repeat(32), "0.970");
    client.set_attested(&semantic, "4", HOUR).await.unwrap();
    let hit: Option<String> = client.get_verified(&semantic).await.unwrap();
    assert_eq!(hit.as_deref(), Some("4"));

    let result_only = ResultOnlyFields {
        model_version: "fraud-7".to_owned(),
        computation_type: "fraud-score".to_owned(),
        parameters: Parameters::new(),
        hardware_class: "cpu".to_owned(),
    };
    let first = client
        .set_attested(&result_only, "0.2", HOUR)
        .await
        .unwrap();
    let second = client
        .set_attested(&result_only, "0.9", HOUR)
        .await
        .unwrap();
    assert_eq!((first.version, second.version), (1, 2));
    is(
        client.get_verified::<String>(&result_only).await,
        "INVALID_FIELD",
    );
}

#[tokio::test]
async fn a_batch_has_an_outcome_and_an_id_for_each_item() {
    let (world, client) = with_paris().await;
    let items = ["Paris", "Rome", "Bern"]
        .map(|city| SetItem::new(&fields(&format!("Where is {city}?")), city, HOUR).unwrap());
    let conflicting = SetItem::new(&fields("Capital of France?"), "Lyon", HOUR).unwrap();
    let items = items.into_iter().chain([conflicting]).collect();
    let set = client.set_batch(items, None, None).await.unwrap();
    assert_eq!(set.len(), 4);
    for attested in &set[..3] {
        assert!(attested.as_ref().unwrap().recorded.sealed.is_some());
    }
    is(set.into_iter().nth(3).unwrap(), "CONFLICT");
    let (rome, oslo, paris) = (
        fields("Where is Rome?"),
        fields("Where is Oslo?"),
        fields("Capital of France?"),
    );
    let asked: [&(dyn Fields + Sync); 3] = [&rome, &oslo, &paris];
    let found = client
        .get_batch(&asked, GetOptions::default())
        .await
        .unwrap();
    let values = found.into_iter().map(|lookup| match lookup.unwrap() {
        Lookup::Hit(hit) => Some(hit.into_value()),
        Lookup::Miss(_) => None,
    });
    let values: Vec<_> = values.collect();
    assert_eq!(
        values,
        [Some(Bytes::from("Rome")), None, Some(Bytes::from("Paris"))]
    );
    let requests = lock(&world).requests.clone();
    let mut ids: Vec<_> = requests.iter().map(|(_, id)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), requests.len());
}

#[tokio::test]
async fn concurrent_callers_share_one_history() {
    let (world, client) = with_paris().await;
    let one = |at: usize| {
        let client = client.clone();
        tokio::spawn(async move {
            let asked = fields(&format!("question {at}"));
            client
                .set_attested(&asked, format!("answer {at}"), HOUR)
                .await
                .unwrap();
            client
                .get_verified::<String>(&asked)
                .await
                .unwrap()
                .unwrap()
        })
    };
    let tasks: Vec<_> = (0..24).map(one).collect();
    for (at, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), format!("answer {at}"));
    }
    let newest = client.checkpoint(None).await.unwrap();
    assert_eq!(newest.size().0, lock(&world).sealed_size());
}

#[tokio::test]
async fn a_value_waits_for_its_seal_and_a_set_says_when_it_has_none() {
    let (world, client) = with_paris().await;
    lock(&world).seals = false;
    let asked = fields("Still unsealed?");
    let endpoints = [world::serve(&world).await];
    let hasty = world::builder(&[&world], &endpoints)
        .retries_max(2)
        .build()
        .unwrap();
    let set = hasty.set_attested(&asked, "yes", HOUR).await.unwrap();
    assert!(set.recorded.sealed.is_none());
    let hasty = world::builder(&[&world], &endpoints)
        .retries_max(2)
        .build()
        .unwrap();
    is(hasty.get_verified::<String>(&asked).await, "WITHHELD");
    // Also when the last try was sent too late to be taken.
    let mut tries = 0;
    lock(&world).gate = Some(Box::new(move |world, method, _| {
        tries += usize::from(method == "get");
        (tries > 1).then(|| world.refused(ErrorCode::DeadlinePassed))
    }));
    is(client.get_verified::<String>(&asked).await, "WITHHELD");
    lock(&world).gate = None;
    lock(&world).seal();
    lock(&world).seals = true;
    let sealed = client.receipt(set.recorded.seq()).await.unwrap();
    assert_eq!(sealed.line, set.recorded.line);
    assert!(sealed.sealed.is_some());
    let hit: Option<String> = client.get_verified(&asked).await.unwrap();
    assert_eq!(hit.as_deref(), Some("yes"));
}
