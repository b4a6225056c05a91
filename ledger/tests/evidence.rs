//! Evidence from a small signed ledger: what is proved, what is refused, and what is never said.
#![cfg(feature = "sign")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test"
)]

use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{Attestation, Body, ReadHit, Subject};
use candor_ledger::evidence::{Claim, Evidence};
use candor_ledger::ids::Seq;
use candor_ledger::note::Note;
use candor_ledger::policy::Policy;
use candor_ledger::signature::{AttestKey, CosignerKey};
use candor_ledger::time::Micros;
use candor_ledger::tree::{MemoryNodes, inclusion_path, leaf_hash};
use candor_ledger::verify::{Fault, Outcome, Question, Report, Verdict, verify_evidence};

#[path = "common/sample.rs"]
mod sample;

use sample::{ORIGIN, Sample, TENANT, bytes_from, fingerprint};

const OUTPUT: &[u8] = b"the output";

/// A ledger with one subject of five events, other subjects between them, all under one seal.
fn story() -> (Sample, Vec<Seq>) {
    let mut sample = Sample::new("story");
    let write = sample.write("what?", OUTPUT);
    sample.write("other", b"else");
    let first = sample.hit(write);
    let second = sample.hit(write);
    sample.write("third", b"more");
    let revoked = sample.revoke(write);
    let renewed = sample.write_version("what?", b"better", 2);
    sample.seal();
    (sample, vec![write, first, second, revoked, renewed])
}

fn subject() -> String {
    fingerprint("what?").to_string()
}

/// Evidence of the whole story with every claim that it can prove.
fn good_evidence() -> (Sample, Evidence) {
    let (sample, seqs) = story();
    let evidence = sample
        .evidence(TENANT, &subject(), &seqs)
        .value(OUTPUT)
        .claim(Claim::Entry { seq: seqs[1] })
        .claim(Claim::SubjectLifecycle { from_n: 1, to_n: 5 })
        .claim(Claim::Value { seq: seqs[0] });
    (sample, evidence.finish().unwrap())
}

fn verify(evidence: &Evidence, policy: &Policy) -> Report {
    verify_evidence(evidence, policy, &Question::default())
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.code).collect()
}

fn verdicts(report: &Report) -> Vec<Verdict> {
    report
        .claims
        .iter()
        .map(|claim| claim.judgement.verdict)
        .collect()
}

#[test]
fn whole_evidence_proves_its_claims_and_says_what_it_does_not_show() {
    let (sample, evidence) = good_evidence();
    let question = Question {
        origin: Some(ORIGIN.to_owned()),
        tenant: Some(TENANT.to_owned()),
        subject: Some(subject()),
    };
    let report = verify_evidence(&evidence, &sample.policy(), &question);
    assert_eq!(report.findings, []);
    assert_eq!(verdicts(&report), [Verdict::Proved; 3]);
    assert_eq!(report.outcome, Outcome::Proved);
    let tests = &report.tests;
    assert_eq!(tests.tamper_evident.verdict, Verdict::Proved);
    assert_eq!(tests.independently_verifiable.verdict, Verdict::Proved);
    assert_eq!(tests.complete.verdict, Verdict::NotProved);
    assert!(report.claims[1].statement.contains("events 1..5"));
    assert!(
        report.claims[1]
            .statement
            .ends_with(&format!("are unbroken as of {}", evidence.size))
    );
    assert!(
        report
            .caveats
            .iter()
            .any(|caveat| caveat.contains("SHA-256 alone"))
    );
    let one_machine = |r: &Report| {
        r.tests
            .independently_verifiable
            .reasons
            .iter()
            .any(|s| s.contains("one compromised machine"))
    };
    assert!(!one_machine(&report));
    let lonely = Policy::for_cluster(sample.keys.key_set(), &[]).unwrap();
    let report = verify(&evidence, &lonely);
    assert_eq!(report.outcome, Outcome::Proved);
    assert!(one_machine(&report));
}

/// Where in the rendered file the bytes of each kind lie: entries, paths, checkpoint, signatures.
fn flippable(evidence: &Evidence, file: &str) -> [Vec<usize>; 4] {
    let span = |text: &str| {
        let json = serde_json::to_string(text).unwrap();
        let inner = &json[1..json.len() - 1];
        let at = file.find(inner).unwrap();
        at..at + inner.len()
    };
    let lines = evidence.entries.iter().flat_map(|entry| span(&entry.line));
    let hashes = evidence.entries.iter().flat_map(|entry| &entry.path);
    let note = Note::parse(evidence.notes[0].as_bytes()).unwrap();
    let text = span(&note.text);
    let signatures = text.end..span(&evidence.notes[0]).end;
    [
        lines.collect(),
        hashes.flat_map(|hash| span(&hash.to_string())).collect(),
        text.collect(),
        signatures.collect(),
    ]
}

/// An accepted flip may only have turned a cosigner's line into a stranger's, who is reported.
fn assert_only_a_stranger_came(evidence: &Evidence, report: &Report, sample: &Sample, case: &str) {
    let note = Note::parse(evidence.notes[0].as_bytes()).unwrap();
    let named = |name: &str, id: [u8; 4]| {
        let log = sample.keys.key_set().keys();
        let nodes = sample.cosigners.iter().map(CosignerKey::verifier_key);
        let mut keys = log.iter().chain(nodes);
        keys.any(|key| key.name() == name && key.key_id() == id)
    };
    let strangers: Vec<_> = note
        .signatures
        .iter()
        .filter(|line| !named(&line.name, line.key_id))
        .collect();
    assert_eq!(
        strangers.len(),
        1,
        "{case}: accepted, and no line became a stranger's"
    );
    let reported = format!("{}+{}", strangers[0].name, hex::encode(strangers[0].key_id));
    assert_eq!(
        report.notes[0].unknown,
        [reported],
        "{case}: accepted and not reported"
    );
    assert!(
        report.notes[0].vouched.len() >= 2,
        "{case}: accepted with too few nodes"
    );
}

#[test]
fn no_flipped_byte_of_entries_paths_checkpoint_or_signatures_is_accepted() {
    const FLIPS_PER_KIND: usize = 600;
    let seed = std::env::var("CANDOR_SEED").unwrap_or_else(|_| "evidence flips".to_owned());
    println!("seed: {seed} (set CANDOR_SEED to change it)");
    let (sample, evidence) = good_evidence();
    let (policy, file) = (sample.policy(), evidence.render());
    let mut random = bytes_from(&seed);
    let mut draw = |below: usize| {
        let mut bytes = [0; 8];
        random(&mut bytes);
        usize::try_from(u64::from_be_bytes(bytes) % u64::try_from(below).unwrap()).unwrap()
    };
    let mut accepted = 0;
    for (kind, places) in flippable(&evidence, &file).iter().enumerate() {
        for flip in 0..FLIPS_PER_KIND {
            let at = places[draw(places.len())];
            // Every other one keeps the byte ASCII, so that it gets past UTF-8.
            let mask = u8::try_from(1 + draw(if flip % 2 == 0 { 255 } else { 127 })).unwrap();
            let mut bytes = file.clone().into_bytes();
            bytes[at] ^= mask;
            let case = format!("seed {seed}, kind {kind}, byte {at} ^ {mask:#04x}");
            let Ok(changed) = Evidence::parse(&bytes) else {
                continue;
            };
            let report = verify(&changed, &policy);
            if report.outcome == Outcome::Proved {
                assert_eq!(kind, 3, "{case}: accepted");
                assert_only_a_stranger_came(&changed, &report, &sample, &case);
                accepted += 1;
            } else {
                assert!(
                    !report.findings.is_empty(),
                    "{case}: refused without saying why"
                );
            }
        }
    }
    println!(
        "{} flips, {accepted} of them in a line that then nobody knew",
        4 * FLIPS_PER_KIND
    );
}

/// Changes the note of the evidence, and nothing else.
fn with_note(evidence: &Evidence, change: impl FnOnce(&mut Note)) -> Evidence {
    let mut note = Note::parse(evidence.notes[0].as_bytes()).unwrap();
    change(&mut note);
    let mut evidence = evidence.clone();
    evidence.notes[0] = note.encode();
    evidence
}

#[test]
fn a_checkpoint_without_all_signatures_or_by_other_keys_is_refused_by_name() {
    let (sample, evidence) = good_evidence();
    let policy = sample.policy();
    for at in 0..3 {
        let two_of_three = with_note(&evidence, |note| drop(note.signatures.remove(at)));
        let report = verify(&two_of_three, &policy);
        assert_eq!(codes(&report), ["signature-missing"]);
        assert_eq!(report.outcome, Outcome::PolicyNotMet);
    }
    let one_node = with_note(&evidence, |note| note.signatures.truncate(4));
    let report = verify(&one_node, &policy);
    assert_eq!(codes(&report), ["quorum-not-met"]);
    assert_eq!(report.outcome, Outcome::PolicyNotMet);
    assert_eq!(verdicts(&report), [Verdict::NotProved; 3]);

    let doubled = with_note(&evidence, |note| {
        note.signatures.push(note.signatures[4].clone());
    });
    let report = verify(&doubled, &policy);
    assert_eq!(codes(&report), ["signature-repeated"]);
    assert_eq!(report.outcome, Outcome::Tampered);

    let stranger = Sample::new("keys of its own");
    let report = verify(&evidence, &stranger.policy());
    assert_eq!(codes(&report), ["keyset-not-named"]);
    assert_eq!(report.outcome, Outcome::PolicyNotMet);
    assert_eq!(verdicts(&report), [Verdict::NotProved; 3]);
    assert_eq!(
        report.tests.independently_verifiable.verdict,
        Verdict::NotProved
    );
}

#[test]
fn genuine_evidence_about_something_else_is_refused_by_name() {
    let (sample, evidence) = good_evidence();
    let policy = sample.policy();
    let ask = |origin: Option<&str>, tenant: Option<&str>, subject: Option<&str>| Question {
        origin: origin.map(str::to_owned),
        tenant: tenant.map(str::to_owned),
        subject: subject.map(str::to_owned),
    };
    for (question, code) in [
        (ask(Some("log.example/other"), None, None), "other-origin"),
        (ask(None, Some("rival"), None), "other-tenant"),
        (ask(None, None, Some("decision:7")), "other-subject"),
    ] {
        let report = verify_evidence(&evidence, &policy, &question);
        assert_eq!(codes(&report), [code]);
        assert_eq!(report.findings[0].fault, Fault::OtherQuestion);
        assert_eq!(report.outcome, Outcome::PolicyNotMet);
        assert_eq!(verdicts(&report), [Verdict::NotProved; 3]);
    }
    // The header rewritten to what was asked: the entries say otherwise.
    let rewrites: [fn(&mut Evidence); 3] = [
        |evidence| evidence.tenant = "rival".to_owned(),
        |evidence| evidence.subject = "decision:7".to_owned(),
        |evidence| evidence.origin = "log.example/other".to_owned(),
    ];
    for (rewrite, code) in
        rewrites
            .into_iter()
            .zip(["entry-foreign", "entry-foreign", "note-foreign"])
    {
        let mut evidence = evidence.clone();
        rewrite(&mut evidence);
        let report = verify(&evidence, &policy);
        assert_eq!(codes(&report)[0], code);
        assert_eq!(report.outcome, Outcome::Tampered);
    }
}

#[test]
fn evidence_that_omits_events_is_never_called_complete() {
    let (sample, seqs) = story();
    let policy = sample.policy();
    let shown = |seqs: &[Seq], claim: Claim| {
        let evidence = sample.evidence(TENANT, &subject(), seqs);
        verify(&evidence.claim(claim).finish().unwrap(), &policy)
    };
    // The newest is omitted: nothing contradicts, and nothing is called complete.
    let report = shown(&seqs[..4], Claim::SubjectLifecycle { from_n: 1, to_n: 4 });
    assert_eq!(report.outcome, Outcome::Proved);
    assert_eq!(report.tests.complete.verdict, Verdict::NotProved);
    assert!(report.tests.complete.reasons[0].contains("newer events could exist"));
    assert_eq!(report.require_complete().outcome, Outcome::PolicyNotMet);
    let report = shown(&seqs[..4], Claim::SubjectComplete);
    assert_eq!(verdicts(&report), [Verdict::NotProved]);
    assert_eq!(report.outcome, Outcome::CouldNotCheck);
    assert_eq!(report.require_complete().outcome, Outcome::CouldNotCheck);
    // Nor when all are there, for nothing shows that they are.
    assert_eq!(
        verdicts(&shown(&seqs, Claim::SubjectComplete)),
        [Verdict::NotProved]
    );
    // One in between is omitted: the ordinals show it.
    let holed = [&seqs[..2], &seqs[3..]].concat();
    let report = shown(&holed, Claim::SubjectLifecycle { from_n: 1, to_n: 5 });
    assert_eq!(verdicts(&report), [Verdict::NotProved]);
    assert_eq!(
        report.claims[0].judgement.reasons,
        ["events are not shown: 3"]
    );
    assert_eq!(
        verdicts(&shown(&holed, Claim::SubjectComplete)),
        [Verdict::Refuted]
    );
    assert_eq!(
        verdicts(&shown(&holed, Claim::SubjectAbsent)),
        [Verdict::Refuted]
    );
    assert_eq!(
        verdicts(&shown(&[], Claim::SubjectAbsent)),
        [Verdict::NotProved]
    );
}

#[test]
fn a_row_of_events_under_two_checkpoints_is_no_row() {
    let (mut sample, seqs) = story();
    let old = sample.sealed();
    let late = sample.push(
        TENANT,
        Subject::Fingerprint(fingerprint("what?")),
        sample.entries[usize::try_from(seqs[0].0).unwrap()]
            .body
            .clone(),
    );
    sample.seal();
    let old_path = inclusion_path(&sample.nodes, seqs[4], old).unwrap();
    let line = core::str::from_utf8(&sample.lines[usize::try_from(seqs[4].0).unwrap()]).unwrap();
    let evidence = sample
        .evidence(TENANT, &subject(), &[late])
        .entry(line, seqs[4], &old_path, (&sample.notes[&old.0], old))
        .claim(Claim::SubjectLifecycle { from_n: 5, to_n: 6 })
        .claim(Claim::Entry { seq: seqs[4] })
        .finish()
        .unwrap();
    let report = verify(&evidence, &sample.policy());
    assert_eq!(verdicts(&report), [Verdict::NotProved, Verdict::Proved]);
    assert!(report.claims[0].judgement.reasons[0].contains("one history"));
}

#[test]
fn a_disclosure_that_the_events_shown_forbid_is_found_under_good_signatures() {
    let mut sample = Sample::new("forbidden");
    let write = sample.write("what?", OUTPUT);
    let revoked = sample.revoke(write);
    let hit = sample.hit(write);
    sample.seal();
    let claim = Claim::SubjectLifecycle { from_n: 1, to_n: 3 };
    let evidence = sample
        .evidence(TENANT, &subject(), &[write, revoked, hit])
        .claim(claim);
    let report = verify(&evidence.finish().unwrap(), &sample.policy());
    assert_eq!(codes(&report), ["disclosure-forbidden"]);
    assert_eq!(report.findings[0].seq, Some(hit));
    assert!(
        report.findings[0]
            .problem
            .contains("rule broken by the cluster")
    );
    assert_eq!(verdicts(&report), [Verdict::Refuted]);
    assert_eq!(report.outcome, Outcome::Tampered);
    // With the revocation left out the ordinals show a hole, and nothing is proved of the row.
    let claim = Claim::SubjectLifecycle { from_n: 1, to_n: 3 };
    let evidence = sample
        .evidence(TENANT, &subject(), &[write, hit])
        .claim(claim);
    let report = verify(&evidence.finish().unwrap(), &sample.policy());
    assert_eq!(verdicts(&report), [Verdict::NotProved]);
}

#[test]
fn a_hit_on_a_later_write_is_found_without_the_events_before_it() {
    let mut sample = Sample::new("foresight");
    let first = sample.write("what?", OUTPUT);
    let later = Seq(first.0 + 2);
    let hit = ReadHit {
        write_seq: later,
        version: 2,
        output_hash: sha3_256(b"another"),
        semantic: None,
    };
    let about = Subject::Fingerprint(fingerprint("what?"));
    let hit = sample.push(TENANT, about, Body::ReadHit(hit));
    assert_eq!(sample.write_version("what?", b"another", 2), later);
    sample.seal();
    let claim = Claim::SubjectLifecycle { from_n: 2, to_n: 3 };
    let evidence = sample
        .evidence(TENANT, &subject(), &[hit, later])
        .claim(claim);
    let report = verify(&evidence.finish().unwrap(), &sample.policy());
    assert_eq!(codes(&report), ["disclosure-forbidden"]);
    assert_eq!(report.findings[0].seq, Some(hit));
    assert!(report.findings[0].problem.contains("comes after it"));
}

#[test]
fn a_checkpoint_that_contradicts_its_seal_or_another_of_its_size_proves_misbehaviour() {
    let (sample, seqs) = story();
    let size = sample.sealed();
    let seal = size.last().unwrap();
    let honest = sample.checkpoint(size);
    let mut lies = [honest.clone(), honest.clone()];
    lies[0].chain.0[7] ^= 1;
    lies[1].sealed = Micros(lies[1].sealed.0 + 1);
    for lie in lies {
        let note = sample.sign(&lie, &[1, 2, 3]);
        let mut evidence = sample
            .evidence(TENANT, &subject(), &[seqs[0], seal])
            .claim(Claim::Entry { seq: seqs[0] })
            .finish()
            .unwrap();
        let both = {
            let mut both = evidence.clone();
            both.notes.push(note.clone());
            both
        };
        let report = verify(&both, &sample.policy());
        assert_eq!(codes(&report), ["two-histories"]);
        assert_eq!(report.outcome, Outcome::Tampered);
        evidence.notes[0] = note;
        let report = verify(&evidence, &sample.policy());
        assert_eq!(codes(&report), ["checkpoint-contradicts-seal"]);
        assert_eq!(report.findings[0].seq, Some(seal));
        assert_eq!(report.outcome, Outcome::Tampered);
    }
}

/// INV-10: what this version does not know is never proved, and not called tampered either.
#[test]
fn what_could_not_be_checked_is_never_called_proved() {
    let (sample, seqs) = story();
    let mut strange = sample;
    let line =
        String::from_utf8(strange.lines[usize::try_from(seqs[0].0).unwrap()].clone()).unwrap();
    for (from, to) in [
        ("\"v\":1", "\"v\":2"),
        ("\"op\":\"cache.write\"", "\"op\":\"cache.wrote\""),
        ("\"tenant\":", "\"tenacity\":1,\"tenant\":"),
    ] {
        let unknown = line.replace(from, to);
        assert_ne!(unknown, line);
        let at = usize::try_from(seqs[0].0).unwrap();
        strange.lines[at] = unknown.into_bytes();
        strange.nodes = MemoryNodes::new();
        for line in &strange.lines {
            strange.nodes.push(leaf_hash(line));
        }
        let size = strange.sealed();
        let note = strange.sign(&strange.checkpoint(size), &[1, 2, 3]);
        strange.notes.insert(size.0, note);
        let evidence = strange
            .evidence(TENANT, &subject(), &seqs)
            .value(OUTPUT)
            .claim(Claim::Entry { seq: seqs[0] })
            .claim(Claim::SubjectLifecycle { from_n: 1, to_n: 5 })
            .claim(Claim::Value { seq: seqs[0] })
            .finish()
            .unwrap();
        let report = verify(&evidence, &strange.policy());
        assert_eq!(codes(&report), ["entry-not-understood"], "{to}");
        assert_eq!(verdicts(&report), [Verdict::NotProved; 3], "{to}");
        assert_eq!(report.outcome, Outcome::CouldNotCheck, "{to}");
        assert_eq!(
            report.tests.tamper_evident.verdict,
            Verdict::NotProved,
            "{to}"
        );
    }
    // Nor a checkpoint that is none of ours.
    let mut evidence = good_evidence().1;
    evidence.notes[0] = evidence.notes[0].replace("candor 1\n", "candor 2\n");
    let report = verify(&evidence, &strange.policy());
    assert_eq!(report.outcome, Outcome::CouldNotCheck);
    assert_eq!(verdicts(&report), [Verdict::NotProved; 3]);
}

#[test]
fn a_value_must_be_the_bytes_that_its_write_names() {
    let (sample, evidence) = good_evidence();
    let mut swapped = evidence.clone();
    swapped.values[0].bytes = b"the outputs".to_vec();
    let report = verify(&swapped, &sample.policy());
    assert_eq!(codes(&report), ["value-changed"]);
    assert_eq!(verdicts(&report)[2], Verdict::Refuted);
    assert_eq!(report.outcome, Outcome::Tampered);
    let mut missing = evidence;
    missing.values.clear();
    let report = verify(&missing, &sample.policy());
    assert_eq!(verdicts(&report)[2], Verdict::NotProved);
    assert_eq!(report.outcome, Outcome::CouldNotCheck);
}

#[test]
fn an_attestation_counts_only_under_the_signature_of_the_auditor_it_names() {
    let key = AttestKey::generate(&mut bytes_from("auditor")).unwrap();
    let mut sample = Sample::new("attested");
    let subject = Subject::Decision("7".to_owned());
    let mut attestation = Attestation {
        result: Verdict::Proved,
        size: sample.sealed(),
        root: sample.nodes.root().0,
        auditor: key.public_key().as_bytes().try_into().unwrap(),
        signature: [0; 64],
        request: [0; 32],
    };
    let statement = attestation.statement(ORIGIN, TENANT, &subject);
    attestation.signature = key.sign(&statement).unwrap();
    let good = sample.push(
        TENANT,
        subject.clone(),
        Body::Verify(Box::new(attestation.clone())),
    );
    attestation.result = Verdict::Refuted;
    let bad = sample.push(TENANT, subject.clone(), Body::Verify(Box::new(attestation)));
    sample.seal();
    for (seq, expected) in [(good, Verdict::Proved), (bad, Verdict::Refuted)] {
        let claim = Claim::Entry { seq };
        let evidence = sample
            .evidence(TENANT, &subject.to_string(), &[seq])
            .claim(claim);
        let report = verify(&evidence.finish().unwrap(), &sample.policy());
        assert_eq!(verdicts(&report), [expected], "{:?}", report.findings);
        let bad = expected == Verdict::Refuted;
        assert_eq!(codes(&report).contains(&"entry-attestation"), bad);
    }
}

#[test]
fn a_range_of_the_log_is_proved_link_by_link() {
    let (sample, _) = story();
    let last = sample.sealed().last().unwrap();
    let all: Vec<Seq> = (0..=last.0).map(Seq).collect();
    let claim = Claim::Range {
        from: Seq(0),
        to: last,
    };
    let evidence = sample
        .evidence("", "ledger", &all)
        .claim(claim.clone())
        .finish()
        .unwrap();
    let report = verify(&evidence, &sample.policy());
    assert_eq!((report.outcome, codes(&report)), (Outcome::Proved, vec![]));
    let mut holed = evidence.clone();
    holed.entries.remove(4);
    let report = verify(&holed, &sample.policy());
    assert_eq!(
        report.claims[0].judgement.reasons,
        ["entries are not shown: 4"]
    );
    assert_eq!(report.outcome, Outcome::CouldNotCheck);
    let about_subject = sample
        .evidence(TENANT, &subject(), &[])
        .claim(claim)
        .finish()
        .unwrap();
    assert_eq!(
        verify(&about_subject, &sample.policy()).outcome,
        Outcome::CouldNotCheck
    );
    assert!(matches!(sample.entries[0].body, Body::Genesis(_)));
}
