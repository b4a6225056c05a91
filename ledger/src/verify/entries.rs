//! Entries: each against its checkpoint, its own form, and whose it must be.

use super::notes::CheckedNote;
use super::{Fault, Finding, quoted};
use crate::digest::{ChainHash, TaggedDigest, sha3_256};
use crate::entry::{Body, Entry, EntryError, Subject};
use crate::evidence::{Evidence, ShownEntry};
use crate::ids::{Seq, TreeSize};
use crate::signature::{Algorithm, PublicKey};
use crate::tree::{leaf_hash, verify_inclusion};

/// How far an entry got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// In the tree of a checkpoint that the policy accepts, and good in itself.
    Proved,
    /// In the tree of a checkpoint that the policy does not accept.
    NotTrusted,
    /// Could not be checked.
    NotUnderstood,
    /// Contradicts what was committed, or the format.
    Refuted,
}

/// An entry of the evidence after checking.
pub(super) struct CheckedEntry<'a> {
    pub(super) shown: &'a ShownEntry,
    pub(super) standing: Standing,
    /// The entry, when it could be read and is committed.
    pub(super) entry: Option<Entry>,
    /// Whether it is of the evidence's tenant and subject.
    pub(super) about_subject: bool,
    /// The size of the checkpoint that it was proved under, when that could be read.
    pub(super) size: Option<TreeSize>,
}

impl CheckedEntry<'_> {
    pub(super) fn seq(&self) -> Seq {
        self.shown.index
    }
}

/// Checks every entry, and reports what is wrong with any.
pub(super) fn check_entries<'a>(
    evidence: &'a Evidence,
    notes: &[CheckedNote],
    findings: &mut Vec<Finding>,
) -> Vec<CheckedEntry<'a>> {
    let check = |shown| check_entry(shown, evidence, notes, findings);
    evidence.entries.iter().map(check).collect()
}

/// Checks that every value hashes to the name it stands under.
pub(super) fn check_values(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for (at, value) in evidence.values.iter().enumerate() {
        let found = sha3_256(&value.bytes);
        if found != value.output_hash {
            let problem = "the value does not hash to the name it stands under";
            let place = format!("values[{at}]");
            let finding = Finding::new(Fault::Tampered, "value-changed", place, problem);
            let [expected, found] = [value.output_hash, found].map(TaggedDigest::sha3);
            findings.push(finding.but(expected, found));
        }
    }
}

fn check_entry<'a>(
    shown: &'a ShownEntry,
    evidence: &Evidence,
    notes: &[CheckedNote],
    findings: &mut Vec<Finding>,
) -> CheckedEntry<'a> {
    let note = usize::try_from(shown.note)
        .ok()
        .and_then(|at| notes.get(at));
    let checkpoint = note.and_then(|note| note.checkpoint.as_ref());
    let mut checked = CheckedEntry {
        shown,
        standing: Standing::NotUnderstood,
        entry: None,
        about_subject: false,
        size: checkpoint.map(|checkpoint| checkpoint.size),
    };
    let (Some(note), Some(checkpoint)) = (note, checkpoint) else {
        return checked;
    };
    let line = shown.line.as_bytes();
    let leaf = leaf_hash(line);
    let (index, size) = (shown.index, checkpoint.size);
    if let Err(error) = verify_inclusion(&leaf, index, size, &shown.path, &checkpoint.root) {
        let problem = format!(
            "these bytes are not what the checkpoint of size {size} commits to at this place: {error}"
        );
        findings.push(Finding::at(
            Fault::Tampered,
            "entry-not-committed",
            index,
            problem,
        ));
        checked.standing = Standing::Refuted;
        return checked;
    }
    match Entry::parse(line) {
        Ok(entry) => {
            let wrong = content_problems(&entry, shown, evidence)
                .or_else(|| seal_problem(&entry, line, note));
            checked.about_subject = is_about(&entry, evidence);
            checked.entry = Some(entry);
            checked.standing = match wrong {
                Some(finding) => {
                    findings.push(finding);
                    Standing::Refuted
                }
                None if note.accepted => Standing::Proved,
                None => Standing::NotTrusted,
            };
        }
        Err(error) => {
            let (finding, standing) = unreadable(index, &error);
            findings.push(finding);
            checked.standing = standing;
        }
    }
    checked
}

fn unreadable(index: Seq, error: &EntryError) -> (Finding, Standing) {
    let (fault, code, standing) = match error {
        EntryError::NotUnderstood { .. } => (
            Fault::NotUnderstood,
            "entry-not-understood",
            Standing::NotUnderstood,
        ),
        _ => (Fault::Tampered, "entry-malformed", Standing::Refuted),
    };
    let error = quoted(&error.to_string());
    let problem = format!("committed, but not an entry of version 1: {error}");
    (Finding::at(fault, code, index, problem), standing)
}

/// What a committed entry says that does not fit its place, the evidence or its own fields.
fn content_problems(entry: &Entry, shown: &ShownEntry, evidence: &Evidence) -> Option<Finding> {
    let at = |code, problem: &str| Finding::at(Fault::Tampered, code, shown.index, problem);
    if entry.seq != shown.index {
        let problem = "the entry at this place in the tree says it is another";
        return Some(at("entry-seq", problem).but(shown.index, entry.seq));
    }
    if !belongs(entry, evidence) {
        let problem = "the entry is about another tenant or subject than the evidence says it is";
        let (expected, found) = (
            format!(
                "{} of {}",
                quoted(&evidence.subject),
                quoted(&evidence.tenant)
            ),
            format!(
                "{} of {}",
                quoted(&entry.subject.to_string()),
                quoted(&entry.tenant)
            ),
        );
        return Some(at("entry-foreign", problem).but(expected, found));
    }
    fingerprint_problem(entry).or_else(|| attestation_problem(entry, &evidence.origin))
}

/// An auditor's finding carries the auditor's own signature.
pub(crate) fn attestation_problem(entry: &Entry, origin: &str) -> Option<Finding> {
    let Body::Verify(attestation) = &entry.body else {
        return None;
    };
    let statement = attestation.statement(origin, &entry.tenant, &entry.subject);
    let key = PublicKey::from_bytes(Algorithm::Ed25519, &attestation.auditor);
    let holds = |key: PublicKey| {
        key.verify(statement.as_bytes(), &attestation.signature)
            .is_ok()
    };
    if key.is_ok_and(holds) {
        return None;
    }
    let problem = "the attestation is not signed by the auditor's key that it names";
    Some(Finding::at(
        Fault::Tampered,
        "entry-attestation",
        entry.seq,
        problem,
    ))
}

/// A write's fingerprint is that of the fields it lists.
pub(crate) fn fingerprint_problem(entry: &Entry) -> Option<Finding> {
    let Body::Write(write) = &entry.body else {
        return None;
    };
    let computed = write.fields.fingerprint();
    if entry.subject == Subject::Fingerprint(computed) {
        return None;
    }
    let problem = "the write's fields have another fingerprint than its subject";
    let finding = Finding::at(Fault::Tampered, "entry-fingerprint", entry.seq, problem);
    Some(finding.but(computed, quoted(&entry.subject.to_string())))
}

/// The lines after the root are copies of the seal: one that differs is misbehaviour that this one
/// checkpoint proves.
pub(crate) fn seal_problem(entry: &Entry, line: &[u8], note: &CheckedNote) -> Option<Finding> {
    let checkpoint = note.checkpoint.as_ref()?;
    if checkpoint.size.last() != Some(entry.seq) {
        return None;
    }
    let contradiction = |what: &str| {
        let problem = format!("the checkpoint over this seal contradicts it: {what}");
        Finding::at(
            Fault::Tampered,
            "checkpoint-contradicts-seal",
            entry.seq,
            problem,
        )
    };
    let Body::Seal(seal) = &entry.body else {
        let what = "a checkpoint ends with a ledger.seal";
        return Some(contradiction(what).but("ledger.seal", entry.op()));
    };
    let chain = ChainHash::of(line);
    if chain != checkpoint.chain {
        return Some(contradiction("line chain").but(chain, checkpoint.chain));
    }
    if seal.keyset != checkpoint.keyset {
        let [expected, found] = [seal.keyset, checkpoint.keyset].map(TaggedDigest::sha3);
        return Some(contradiction("line keyset").but(expected, found));
    }
    if entry.time != checkpoint.sealed {
        return Some(contradiction("line sealed").but(entry.time, checkpoint.sealed));
    }
    None
}

/// Evidence about the log itself may show anybody's entries; other evidence its subject's own and
/// the log's.
fn belongs(entry: &Entry, evidence: &Evidence) -> bool {
    is_about(entry, evidence) || is_of_the_log(entry) || is_about_the_log(evidence)
}

fn is_about(entry: &Entry, evidence: &Evidence) -> bool {
    entry.tenant == evidence.tenant && entry.subject.to_string() == evidence.subject
}

fn is_of_the_log(entry: &Entry) -> bool {
    entry.tenant.is_empty() && entry.subject == Subject::Ledger
}

/// Whether the evidence is about the log itself.
pub(super) fn is_about_the_log(evidence: &Evidence) -> bool {
    evidence.tenant.is_empty() && evidence.subject == "ledger"
}
