//! What only the cluster itself can do: entries and checkpoints that break the rules, under good
//! signatures.

use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::digest::ChainHash;
use candor_ledger::entry::{
    Attestation, Body, Entry, Expire, MissReason, ReadMiss, Seal, Subject, Verdict,
};
use candor_ledger::export::GENESIS_FILE;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::note::Note;
use candor_ledger::proof::TlogProof;
use candor_ledger::receipt::Receipt;
use candor_ledger::time::Micros;
use candor_ledger::tree::inclusion_path;

use crate::sample::{Sample, TENANT, fingerprint};
use crate::{Case, OTHER, damage, pack};

/// Each crime in an export of everything, and in one that starts after the write.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, commit) in CRIMES {
        let mut sample = honest();
        commit(&mut sample);
        if sample.notes.is_empty() {
            sample.seal();
        }
        for (from, tenant) in [(0, None), (3, None), (2, Some(TENANT))] {
            let folder = pack(&sample, from, sample.sealed().0 - 1, tenant);
            let name = format!("{name}, from {from} on");
            cases.push(Case { name, folder });
        }
    }
    cases.push(genesis_of_another_place());
    cases
}

/// Genesis, three writes of two tenants, a hit; no checkpoint yet. Of the same keys as the story.
fn honest() -> Sample {
    let mut sample = Sample::empty("python");
    let genesis = sample.genesis();
    sample.push("", Subject::Ledger, Body::Genesis(Box::new(genesis)));
    let write = sample.write("what?", b"the output");
    let body = sample.entries[1].body.clone();
    sample.push(OTHER, subject("what?"), body);
    sample.write("else?", b"something else");
    sample.hit(write);
    sample
}

const WRITE: Seq = Seq(1);
const OF_ANOTHER: u64 = 2;
const HIT: u64 = 4;

type Crime = fn(&mut Sample);

/// Not all are crimes in every export, and some in none: then both must accept.
const CRIMES: [(&str, Crime); 31] = [
    ("nothing", |_| ()),
    ("time goes back", |s| {
        push_changed(s, |e| e.time = Micros(e.time.0 - 10_000));
    }),
    ("a prev of another entry", |s| {
        push_changed(s, |e| e.prev = ChainHash::of(b"x"));
    }),
    ("a seq too high", |s| {
        push_changed(s, |e| e.seq = Seq(e.seq.0 + 1));
    }),
    ("an ordinal too high", |s| push_changed(s, |e| e.n += 1)),
    ("an ordinal twice", |s| push_changed(s, |e| e.n -= 1)),
    ("ordinal 0", |s| push_changed(s, |e| e.n = 0)),
    ("ordinal 1 again", |s| {
        push_changed(s, |e| (e.n, e.subject_prev) = (1, None));
    }),
    ("a link to nothing", |s| {
        push_changed(s, |e| e.subject_prev = None);
    }),
    ("a link to itself", |s| {
        push_changed(s, |e| e.subject_prev = Some(e.seq));
    }),
    ("a link too far back", |s| {
        push_changed(s, |e| e.subject_prev = Some(WRITE));
    }),
    ("a hole, and a link to another's entry", |s| {
        s.write("third?", b"in between");
        push_changed(s, |e| (e.n, e.subject_prev) = (e.n + 1, Some(Seq(HIT + 1))));
    }),
    ("no hole, and a link to another's entry", |s| {
        s.write("third?", b"in between");
        push_changed(s, |e| e.subject_prev = Some(Seq(HIT + 1)));
    }),
    ("a first event with a link into the range", |s| {
        let mut entry = s.next(
            TENANT,
            subject("never"),
            Body::Expire(Expire { write_seq: WRITE }),
        );
        (entry.n, entry.subject_prev) = (2, Some(Seq(OF_ANOTHER)));
        s.push_entry(entry);
    }),
    ("fields of another fingerprint", |s| {
        s.push(TENANT, subject("x"), write_body(s));
    }),
    ("a hit on nothing", |s| {
        s.push(TENANT, subject("never"), hit_body(s));
    }),
    ("a hit on a later write", |s| {
        push_hit(s, |e| write_seq(e, 99));
    }),
    ("a hit on another's write", |s| {
        push_hit(s, |e| write_seq(e, OF_ANOTHER));
    }),
    ("a hit with another version", |s| {
        push_hit(s, |e| version(e, 7));
    }),
    ("a hit too late", |s| {
        push_changed(s, |e| e.time = Micros(e.time.0 + 3_600_000_000));
    }),
    ("a hit after a revocation", |s| {
        s.revoke(WRITE);
        s.hit(WRITE);
    }),
    ("a hit after a reinstatement", |s| {
        let revoked = s.revoke(WRITE);
        reinstate(s, revoked, 1);
        s.hit(WRITE);
    }),
    ("a hit after a reinstatement of another version", |s| {
        let revoked = s.revoke(WRITE);
        reinstate(s, revoked, 2);
        s.hit(WRITE);
    }),
    ("a hit after an expiry", |s| {
        s.push(
            TENANT,
            subject("what?"),
            Body::Expire(Expire { write_seq: WRITE }),
        );
        s.hit(WRITE);
    }),
    ("a hit after a miss that found it expired", |s| {
        miss(s, MissReason::Expired);
        s.hit(WRITE);
    }),
    ("a hit after a miss that found it absent", |s| {
        miss(s, MissReason::Absent);
        s.hit(WRITE);
    }),
    ("a hit on the write before the newest", |s| {
        s.write_version("what?", b"more", 2);
        s.hit(WRITE);
    }),
    ("an attestation that nobody signed", |s| {
        let attestation = Attestation {
            result: Verdict::Proved,
            size: TreeSize(1),
            root: [1; 32],
            auditor: s.members()[0].key,
            signature: [2; 64],
            request: [3; 32],
        };
        s.push(
            TENANT,
            subject("what?"),
            Body::Verify(Box::new(attestation)),
        );
    }),
    ("a checkpoint over no seal", |s| {
        s.keep_checkpoint(TreeSize(HIT + 1), &[1, 2, 3]);
    }),
    ("a seal of another key set", |s| {
        let seal = Seal {
            keyset: [7; 32],
            prev_seal: None,
        };
        let seq = s.push("", Subject::Ledger, Body::Seal(seal));
        s.keep_checkpoint(seq.size_including().unwrap(), &[1, 2, 3]);
    }),
    ("a checkpoint that is no copy of its seal", |s| {
        let size = s.seal();
        let honest = s.checkpoint(size);
        let sealed = Micros(honest.sealed.0 + 1);
        let note = s.sign(&Checkpoint { sealed, ..honest }, &[1, 2, 3]);
        s.notes.insert(size.0, note);
    }),
];

fn subject(prompt: &str) -> Subject {
    Subject::Fingerprint(fingerprint(prompt))
}

fn write_body(sample: &Sample) -> Body {
    sample.entries[1].body.clone()
}

fn hit_body(sample: &Sample) -> Body {
    sample.entries[4].body.clone()
}

/// One more hit on the write, which the cluster spoiled.
fn push_changed(sample: &mut Sample, change: fn(&mut Entry)) {
    let mut entry = sample.next(TENANT, subject("what?"), hit_body(sample));
    change(&mut entry);
    sample.push_entry(entry);
}

fn push_hit(sample: &mut Sample, change: fn(&mut Body)) {
    let mut body = hit_body(sample);
    change(&mut body);
    sample.push(TENANT, subject("what?"), body);
}

fn write_seq(body: &mut Body, seq: u64) {
    if let Body::ReadHit(hit) = body {
        hit.write_seq = Seq(seq);
    }
}

fn version(body: &mut Body, version: u64) {
    if let Body::ReadHit(hit) = body {
        hit.version = version;
    }
}

fn reinstate(sample: &mut Sample, revoked: Seq, version: u64) {
    let revoked = &sample.entries[usize::try_from(revoked.0).unwrap()];
    let Body::Revoke(mut revocation) = revoked.body.clone() else {
        panic!("entry {} is no revocation", revoked.seq);
    };
    revocation.version = version;
    sample.push(TENANT, subject("what?"), Body::Reinstate(revocation));
}

fn miss(sample: &mut Sample, reason: MissReason) {
    sample.push(
        TENANT,
        subject("what?"),
        Body::ReadMiss(ReadMiss { reason }),
    );
}

/// A second genesis, with other members, shown as if it were the first.
fn genesis_of_another_place() -> Case {
    let mut sample = damage::story();
    let mut genesis = sample.genesis();
    genesis.members.truncate(1);
    let seq = sample.push("", Subject::Ledger, Body::Genesis(Box::new(genesis)));
    let size = sample.seal();
    let receipt = Receipt {
        entry: sample.lines[usize::try_from(seq.0).unwrap()].clone(),
        proof: TlogProof {
            index: seq,
            path: inclusion_path(&sample.nodes, seq, size).unwrap(),
            note: Note::parse(sample.notes[&size.0].as_bytes()).unwrap(),
        },
    };
    let mut folder = pack(&sample, 4, 9, None);
    folder.insert(GENESIS_FILE, receipt.encode());
    damage::mend(&mut folder, false);
    let name = "a genesis of another place".to_owned();
    Case { name, folder }
}
