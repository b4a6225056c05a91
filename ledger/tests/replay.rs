//! The full audit of a small signed ledger: what passes, and where each falsification is found.
#![cfg(feature = "sign")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeMap;

use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::{Body, Entry, MemberChange, Subject, Told};
use candor_ledger::fold::{Get, Item, MemoryState, Operation, Request, Revoke, Set, Stamp, decide};
use candor_ledger::ids::{NodeId, Seq, TreeSize};
use candor_ledger::policy::Policy;
use candor_ledger::replay::{LedgerReport, Replay};
use candor_ledger::time::Micros;
use candor_ledger::verify::{Fault, Outcome, Verdict};

#[path = "common/sample.rs"]
mod sample;

use sample::{ORIGIN, Sample, TENANT, fields, fingerprint, request_id};

/// A ledger with writes, hits, a revocation and three kept checkpoints.
fn story() -> Sample {
    let mut sample = Sample::new("replay");
    let write = sample.write("what?", b"the output");
    sample.hit(write);
    sample.seal();
    for prompt in ["a", "b", "c", "d", "e", "f"] {
        let write = sample.write(prompt, prompt.as_bytes());
        sample.hit(write);
    }
    sample.revoke(write);
    sample.seal();
    sample
}

/// What lies in a folder: lines and notes.
#[derive(Clone)]
struct Files {
    lines: Vec<Vec<u8>>,
    notes: BTreeMap<u64, String>,
}

fn files(sample: &Sample) -> Files {
    Files {
        lines: sample.lines.clone(),
        notes: sample.notes.clone(),
    }
}

/// Replays lines and notes as they are, checkpoints where their size is reached.
fn audit(files: &Files, policy: &Policy, since: Option<&str>) -> LedgerReport {
    let mut replay = Replay::new(policy);
    if let Some(note) = since {
        replay.since("the old checkpoint", note.as_bytes());
    }
    let mut notes = files.notes.iter().peekable();
    for line in &files.lines {
        if !replay.push_entry(line, &mut |_, _, _| ()) {
            break;
        }
        let size = replay.size().0;
        while let Some((at, note)) = notes.next_if(|(at, _)| **at <= size) {
            replay.push_checkpoint(&format!("checkpoint {at}"), note.as_bytes());
        }
    }
    for (at, note) in notes {
        replay.push_beyond(&format!("checkpoint {at}"), note.as_bytes());
    }
    replay.finish()
}

fn codes(report: &LedgerReport) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.code).collect()
}

/// The one thing wrong is this, here.
fn assert_tampered(report: &LedgerReport, code: &str, seq: u64) {
    assert_eq!(codes(report), [code], "{:?}", report.findings);
    assert_eq!(report.findings[0].seq, Some(Seq(seq)));
    assert_eq!(report.outcome, Outcome::Tampered);
    assert_eq!(report.tests.tamper_evident.verdict, Verdict::Refuted);
    assert_ne!(report.tests.complete.verdict, Verdict::Proved);
}

#[test]
fn an_untouched_ledger_is_proved_by_each_of_the_three_tests() {
    let sample = story();
    let report = audit(&files(&sample), &sample.policy(), Some(&sample.notes[&5]));
    assert_eq!(report.findings, []);
    assert_eq!(report.outcome, Outcome::Proved);
    for test in [
        &report.tests.tamper_evident,
        &report.tests.independently_verifiable,
        &report.tests.complete,
    ] {
        assert_eq!(test.verdict, Verdict::Proved);
    }
    assert_eq!(report.origin.as_deref(), Some(ORIGIN));
    assert_eq!(
        (report.checkpoints, report.seals, report.unsealed),
        (3, 3, 0)
    );
    assert_eq!(report.root, sample.nodes.root());
    assert!(report.tests.complete.reasons[1].contains("cannot show"));
}

#[test]
fn what_decide_makes_passes_with_its_checkpoints() {
    let mut state = MemoryState::new();
    let mut sample = Sample::empty("decided");
    let (genesis, start) = (Box::new(sample.genesis()), 1_747_216_861_000_000);
    let set = |prompt: &str, output: &[u8]| {
        Operation::Set(Box::new(Set {
            fields: fields(prompt),
            output_hash: sha3_256(output),
            output_len: u64::try_from(output.len()).unwrap(),
            media_type: "text/plain".to_owned(),
            ttl_ms: 1_000,
            told: Told::default(),
            semantic: None,
        }))
    };
    let get = |prompt: &str| {
        Operation::Get(Get {
            fingerprint: fingerprint(prompt),
            semantic: None,
        })
    };
    let revoke = Operation::Revoke(Revoke {
        fingerprint: fingerprint("b"),
        output_hash: sha3_256(b"2"),
        reason: "wrong".to_owned(),
    });
    let commands: [(u64, Vec<Operation>); 5] = [
        (0, vec![set("a", b"1"), set("b", b"2"), get("a"), get("c")]),
        (10, vec![set("a", b"other"), set("a", b"1"), get("b")]),
        (20, vec![revoke, get("b"), set("b", b"2")]),
        (2_000, vec![]),
        (2_010, vec![get("a"), set("a", b"3")]),
    ];
    let mut run = |sample: &mut Sample, at_ms: u64, items: &[Item]| {
        let time = Micros(start + at_ms * 1_000);
        let stamp = Stamp {
            time,
            seed: [7; 32],
            rules: 1,
        };
        let decision = decide(&state, &stamp, items, true).unwrap();
        for (entry, line) in &decision.entries {
            sample.push_entry(entry.clone());
            assert_eq!(sample.lines.last().unwrap(), line);
        }
        state.apply(&decision.changes);
        sample.keep_checkpoint(decision.seal.unwrap().size, &[1, 3]);
    };
    run(&mut sample, 0, &[Item::Genesis(genesis)]);
    let mut count = 0;
    for (at_ms, operations) in commands {
        let request = |operation: Operation| {
            count += 1;
            Item::Client(Request {
                tenant: TENANT.to_owned(),
                actor: "alice".to_owned(),
                request_id: request_id(start / 1_000 + at_ms, count),
                operation,
            })
        };
        let mut items: Vec<Item> = operations.into_iter().map(request).collect();
        items.push(Item::Tick);
        run(&mut sample, at_ms, &items);
    }
    let report = audit(&files(&sample), &sample.policy(), None);
    assert_eq!(codes(&report), Vec::<&str>::new(), "{:?}", report.findings);
    assert_eq!(report.outcome, Outcome::Proved);
    assert!(report.size >= TreeSize(20), "{}", report.size);
}

#[test]
fn a_changed_byte_in_any_old_entry_is_found_at_that_entry() {
    let sample = story();
    let policy = sample.policy();
    for at in 0..sample.lines.len() - 1 {
        for (from, to) in [
            ("\"actor\":\"", "\"actor\":\"x"),
            ("\"nonce\":\"", "\"nonce\":\"A"),
        ] {
            let mut changed = files(&sample);
            let line = String::from_utf8(changed.lines[at].clone()).unwrap();
            let mut line = line.replacen(from, to, 1);
            if from.contains("nonce") {
                // Keep the length: a well-formed entry with another nonce.
                let place = line.find(to).unwrap() + to.len();
                line.remove(place);
            }
            changed.lines[at] = line.into_bytes();
            let report = audit(&changed, &policy, None);
            let seq = report.findings[0].seq.unwrap();
            assert_eq!(seq.0, u64::try_from(at).unwrap(), "{:?}", report.findings);
            assert_eq!(report.outcome, Outcome::Tampered);
        }
    }
}

#[test]
fn dropped_and_swapped_entries_are_named() {
    let sample = story();
    let policy = sample.policy();
    let len = u64::try_from(sample.lines.len()).unwrap();

    let mut cut = files(&sample);
    cut.lines.truncate(sample.lines.len() - 10);
    let report = audit(&cut, &policy, None);
    assert_tampered(&report, "entries-missing", len - 10);

    let mut holed = files(&sample);
    holed.lines.remove(7);
    let report = audit(&holed, &policy, None);
    assert_tampered(&report, "entry-out-of-order", 7);
    assert_eq!(report.findings[0].expected.as_deref(), Some("7"));
    assert_eq!(report.findings[0].found.as_deref(), Some("8"));

    let mut swapped = files(&sample);
    swapped.lines.swap(7, 8);
    assert_tampered(&audit(&swapped, &policy, None), "entry-out-of-order", 7);
}

#[test]
fn an_older_ledger_put_in_place_is_found_by_a_checkpoint_kept_from_before() {
    let sample = story();
    let policy = sample.policy();
    let newest = sample.notes.last_key_value().unwrap().1.clone();
    // Entries and checkpoints cut back together: consistent in itself.
    let mut older = files(&sample);
    older.lines.truncate(5);
    older.notes.retain(|size, _| *size <= 5);
    let report = audit(&older, &policy, None);
    assert_eq!(report.outcome, Outcome::Proved);
    let said = report.tests.complete.reasons.last().unwrap();
    assert!(
        said.contains("no checkpoint or pin of yours was compared"),
        "{said}"
    );
    let report = audit(&older, &policy, Some(&newest));
    assert_tampered(&report, "rolled-back", 5);
    assert!(
        report.findings[0]
            .problem
            .contains("an older ledger was put in place")
    );
    // The same from a pin in the policy.
    let size = sample.sealed();
    let pin = format!(
        "{}pin {ORIGIN} {size} {}\n",
        policy.to_text(),
        sample.nodes.root()
    );
    let pinned = Policy::parse(&pin).unwrap();
    assert_tampered(&audit(&older, &pinned, None), "rolled-back", 5);
    assert_eq!(
        audit(&files(&sample), &pinned, None).outcome,
        Outcome::Proved
    );
    // Only the checkpoints cut back.
    let mut unkept = files(&sample);
    unkept.notes.retain(|size, _| *size <= 5);
    assert_tampered(&audit(&unkept, &policy, Some(&newest)), "rolled-back", 5);
}

#[test]
fn a_rewritten_history_contradicts_the_checkpoint_kept_from_before() {
    let sample = story();
    // The operator holds all keys and starts again, with one output changed.
    let mut rewritten = Sample::new("replay");
    let write = rewritten.write("what?", b"another output");
    rewritten.hit(write);
    rewritten.seal();
    for prompt in ["a", "b"] {
        rewritten.write(prompt, b"x");
    }
    rewritten.seal();
    let policy = sample.policy();
    assert_eq!(
        audit(&files(&rewritten), &policy, None).outcome,
        Outcome::Proved
    );
    let report = audit(&files(&rewritten), &policy, Some(&sample.notes[&5]));
    assert_tampered(&report, "history-rewritten", 4);
}

#[test]
fn a_well_signed_ledger_that_breaks_a_rule_is_refused_at_the_entry() {
    let mut sample = Sample::new("broken");
    let write = sample.write("what?", b"the output");
    sample.hit(write);
    sample.revoke(write);
    let hit = sample.hit(write);
    sample.write("after", b"more");
    sample.seal();
    let report = audit(&files(&sample), &sample.policy(), None);
    assert_tampered(&report, "rule-broken", hit.0);
    assert!(
        report.findings[0]
            .problem
            .contains("rule broken by the cluster at seq")
    );
    assert!(
        report
            .caveats
            .iter()
            .any(|c| c.contains(&format!("stopped at entry {hit}")))
    );
}

#[test]
fn a_checkpoint_that_says_other_than_the_entries_is_refuted_line_by_line() {
    let sample = story();
    let size = sample.sealed();
    let honest = sample.checkpoint(size);
    let mut lies = [honest.clone(), honest.clone(), honest];
    lies[0].root.0[0] ^= 1;
    lies[1].chain.0[0] ^= 1;
    lies[2].sealed = Micros(lies[2].sealed.0 + 1);
    for lie in lies {
        let mut changed = files(&sample);
        changed.notes.insert(size.0, sample.sign(&lie, &[1, 2, 3]));
        let report = audit(&changed, &sample.policy(), None);
        assert_tampered(&report, "checkpoint-contradicts-ledger", size.0 - 1);
    }
    let mut early = sample.checkpoint(size);
    early.size = TreeSize(7);
    let mut changed = files(&sample);
    changed.notes.insert(7, sample.sign(&early, &[1, 2, 3]));
    let report = audit(&changed, &sample.policy(), None);
    assert_eq!(codes(&report), ["checkpoint-without-seal"]);
}

#[test]
fn a_majority_of_the_members_that_the_ledger_names_must_have_vouched() {
    let mut sample = Sample::new("members");
    sample.write("what?", b"the output");
    sample.seal_by(&[2]);
    sample.seal();
    // The auditor demands no nodes; the ledger itself does.
    let lax = Policy::for_cluster(sample.keys.key_set(), &[]).unwrap();
    let report = audit(&files(&sample), &lax, None);
    assert_eq!(codes(&report), ["majority-not-met"]);
    assert_eq!(report.outcome, Outcome::Tampered);
    // A member that leaves before the next seal frees a checkpoint that two of three did not sign.
    let mut sample = Sample::new("members");
    sample.write("what?", b"the output");
    sample.seal_by(&[1]);
    for node in [2, 3] {
        let leave = Body::Member(MemberChange::Leave(NodeId(node)));
        sample.push_by("operator", Subject::Ledger, leave);
    }
    sample.seal_by(&[1]);
    let lax = Policy::for_cluster(sample.keys.key_set(), &[]).unwrap();
    assert_eq!(
        codes(&audit(&files(&sample), &lax, None)),
        Vec::<&str>::new()
    );
}

#[test]
fn checkpoints_that_were_taken_away_are_missed() {
    let sample = story();
    let mut unkept = files(&sample);
    unkept.notes.remove(&5);
    let report = audit(&unkept, &sample.policy(), None);
    assert_tampered(&report, "checkpoint-missing", 4);
    // The last seal's may still wait: what it covers is then not sealed.
    let mut waiting = files(&sample);
    let newest = sample.sealed().0;
    waiting.notes.remove(&newest);
    let report = audit(&waiting, &sample.policy(), None);
    assert_eq!(report.outcome, Outcome::Proved);
    assert_eq!(report.unsealed, newest - 5);
    assert!(
        report
            .caveats
            .iter()
            .any(|caveat| caveat.contains("not sealed"))
    );
}

/// INV-10 for a whole ledger.
#[test]
fn a_ledger_that_could_not_be_checked_is_not_called_proved() {
    let sample = story();
    let policy = sample.policy();
    let mut empty = Sample::empty("replay");
    let report = audit(&files(&empty), &policy, None);
    assert_eq!(report.outcome, Outcome::CouldNotCheck);
    assert_eq!(report.tests.complete.verdict, Verdict::NotProved);

    empty.push_entry(sample.entries[0].clone());
    let report = audit(&files(&empty), &policy, None);
    assert_eq!(report.outcome, Outcome::CouldNotCheck);
    assert_eq!(report.tests.tamper_evident.verdict, Verdict::NotProved);

    let mut unknown = files(&sample);
    let line = String::from_utf8(unknown.lines[6].clone()).unwrap();
    unknown.lines[6] = line.replace("\"v\":1", "\"v\":2").into_bytes();
    let report = audit(&unknown, &policy, None);
    assert_eq!(codes(&report), ["entry-not-understood"]);
    assert_eq!(report.findings[0].fault, Fault::NotUnderstood);
    assert_eq!(report.outcome, Outcome::CouldNotCheck);
    assert_eq!(report.tests.tamper_evident.verdict, Verdict::NotProved);
    assert_eq!(report.tests.complete.verdict, Verdict::NotProved);

    let stranger = Sample::new("somebody else").policy();
    let report = audit(&files(&sample), &stranger, None);
    assert!(codes(&report).contains(&"keyset-not-named"));
    assert_eq!(report.outcome, Outcome::PolicyNotMet);
    assert_ne!(report.tests.tamper_evident.verdict, Verdict::Proved);
    assert_ne!(
        report.tests.independently_verifiable.verdict,
        Verdict::Proved
    );
}

#[test]
fn the_chain_is_what_openssl_computes_over_each_line() {
    let sample = story();
    for (line, next) in sample.lines.iter().zip(sample.lines.iter().skip(1)).take(6) {
        let script = "printf %s \"$line\" | openssl dgst -sha3-256";
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .env("line", core::str::from_utf8(line).unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let hex = said.trim().rsplit(' ').next().unwrap();
        let digest = TaggedDigest::parse(hex).unwrap();
        assert_eq!(
            digest.to_string(),
            Entry::parse(next).unwrap().prev.to_string()
        );
    }
}
