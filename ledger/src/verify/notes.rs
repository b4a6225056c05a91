//! Checkpoints against the policy.

use super::{Fault, Finding, Judgement, NoteReport, Verdict, quoted};
use crate::checkpoint::{Checkpoint, NoteError};
use crate::entry::Params;
use crate::evidence::Evidence;
use crate::note::Note;
use crate::policy::{Caveat, Policy, PolicyVerdict, Refusal};
use crate::signature::Algorithm;

/// How much a cosignature may be older than the seal before it is reported, where the log's own
/// `max_skew` is not known: the default one, and a second because cosignatures count whole ones.
pub(crate) const EARLY_MS: u64 = Params::DEFAULT.max_skew_ms + 1_000;

/// A note of the evidence after checking.
pub(crate) struct CheckedNote {
    /// What it states, when it could be read; checked or not.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Whether the policy accepts it.
    pub(crate) accepted: bool,
    pub(crate) report: NoteReport,
}

/// Checks every note, then what they say about each other and the file.
pub(crate) fn check_notes(
    evidence: &Evidence,
    policy: &Policy,
    findings: &mut Vec<Finding>,
) -> Vec<CheckedNote> {
    let numbered = evidence.notes.iter().enumerate();
    let notes: Vec<CheckedNote> = numbered
        .map(|(at, text)| check_note(format!("notes[{at}]"), text.as_bytes(), policy, findings))
        .collect();
    check_origin(evidence, &notes, findings);
    check_size(evidence, &notes, findings);
    check_one_text_a_size(&notes, findings);
    notes
}

/// Checks one note, and reports it under the name of its place.
pub(crate) fn check_note(
    place: String,
    bytes: &[u8],
    policy: &Policy,
    findings: &mut Vec<Finding>,
) -> CheckedNote {
    let note = match Note::parse(bytes) {
        Ok(note) => note,
        Err(error) => {
            let problem = error.to_string();
            let report = empty_report(place, &problem);
            let (code, place) = ("note-not-readable", report.place.clone());
            findings.push(Finding::new(Fault::NotUnderstood, code, place, problem));
            return CheckedNote {
                checkpoint: None,
                accepted: false,
                report,
            };
        }
    };
    let verdict = policy.check(&note);
    for refusal in &verdict.refusals {
        let (fault, code) = fault_of(refusal);
        let problem = quoted_free(&refusal.to_string());
        findings.push(Finding::new(fault, code, place.clone(), problem));
    }
    let checkpoint = Checkpoint::parse(&note.text).ok();
    let report = report(place, &verdict, checkpoint.as_ref());
    CheckedNote {
        accepted: verdict.accepted().is_some(),
        checkpoint,
        report,
    }
}

fn empty_report(place: String, problem: &str) -> NoteReport {
    NoteReport {
        place,
        judgement: Judgement::new(Verdict::NotProved, problem),
        size: None,
        sealed: None,
        keyset: None,
        signatures: Vec::new(),
        vouched: Vec::new(),
        witnessed: Vec::new(),
        unknown: Vec::new(),
        early: Vec::new(),
        one_machine: false,
        distrusted: Vec::new(),
    }
}

fn report(place: String, verdict: &PolicyVerdict, checkpoint: Option<&Checkpoint>) -> NoteReport {
    let early = verdict.early(EARLY_MS).into_iter();
    let unknown = verdict.unknown.iter();
    NoteReport {
        judgement: judgement(verdict),
        size: checkpoint.map(|checkpoint| checkpoint.size),
        sealed: checkpoint.map(|checkpoint| checkpoint.sealed),
        keyset: checkpoint.map(|checkpoint| hex::encode(checkpoint.keyset)),
        signatures: match verdict.checkpoint {
            Some(_) => Algorithm::SUITE_1.to_vec(),
            None => Vec::new(),
        },
        vouched: verdict.vouched.iter().map(|vouched| vouched.node).collect(),
        witnessed: verdict.witnessed.iter().map(|w| w.name.clone()).collect(),
        unknown: unknown
            .map(|(name, id)| format!("{name}+{}", hex::encode(id)))
            .collect(),
        early: early
            .map(|(name, time)| format!("{name} at {time} s"))
            .collect(),
        one_machine: verdict.caveats.contains(&Caveat::OneMachine),
        distrusted: distrusted(verdict),
        ..empty_report(place, "")
    }
}

fn distrusted(verdict: &PolicyVerdict) -> Vec<String> {
    let name = |caveat: &Caveat| match caveat {
        Caveat::Distrusted(algorithm) => Some(algorithm.to_string()),
        Caveat::OneMachine | Caveat::NotWitnessed => None,
    };
    verdict.caveats.iter().filter_map(name).collect()
}

fn judgement(verdict: &PolicyVerdict) -> Judgement {
    if verdict.accepted().is_some() {
        let mut reasons = vec![format!(
            "all three log signatures verify under a key set that the policy names, {} and {} cosigned",
            count(verdict.vouched.len(), "node"),
            count(verdict.witnessed.len(), "outside witness"),
        )];
        reasons.extend(verdict.caveats.iter().map(ToString::to_string));
        return Judgement {
            verdict: Verdict::Proved,
            reasons,
        };
    }
    let refuted = |refusal| fault_of(refusal).0 == Fault::Tampered;
    let refuted = verdict.refusals.iter().any(refuted);
    Judgement {
        verdict: if refuted {
            Verdict::Refuted
        } else {
            Verdict::NotProved
        },
        reasons: verdict
            .refusals
            .iter()
            .map(|r| quoted_free(&r.to_string()))
            .collect(),
    }
}

/// `1 node`, `2 nodes`, `1 outside witness`, `2 outside witnesses`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {noun}{plural}")
}

/// A message that may repeat names of others: escaped as a whole.
fn quoted_free(message: &str) -> String {
    crate::shown::shown(message).to_string()
}

fn fault_of(refusal: &Refusal) -> (Fault, &'static str) {
    match refusal {
        Refusal::NothingTrusted => (Fault::PolicyNotMet, "all-families-distrusted"),
        Refusal::Note(NoteError::Checkpoint(_)) => {
            (Fault::NotUnderstood, "checkpoint-not-readable")
        }
        Refusal::Note(NoteError::BadSignature { .. }) => (Fault::Tampered, "signature-bad"),
        Refusal::Note(NoteError::Repeated { .. }) => (Fault::Tampered, "signature-repeated"),
        Refusal::Note(NoteError::Missing { .. }) => (Fault::PolicyNotMet, "signature-missing"),
        Refusal::Note(NoteError::KeySet { .. } | NoteError::Origin { .. })
        | Refusal::UnknownKeySet { .. } => (Fault::PolicyNotMet, "keyset-not-named"),
        Refusal::Pin { .. } => (Fault::Tampered, "pin-contradicted"),
        Refusal::Quorum { .. } => (Fault::PolicyNotMet, "quorum-not-met"),
    }
}

fn check_origin(evidence: &Evidence, notes: &[CheckedNote], findings: &mut Vec<Finding>) {
    for note in notes {
        let Some(checkpoint) = &note.checkpoint else {
            continue;
        };
        if checkpoint.origin != evidence.origin {
            let problem = "the checkpoint is of another log than the evidence says it is";
            let place = note.report.place.clone();
            let finding = Finding::new(Fault::Tampered, "note-foreign", place, problem);
            let [expected, found] = [&evidence.origin, &checkpoint.origin].map(|o| quoted(o));
            findings.push(finding.but(expected, found));
        }
    }
}

fn check_size(evidence: &Evidence, notes: &[CheckedNote], findings: &mut Vec<Finding>) {
    let sizes = notes
        .iter()
        .map(|note| Some(note.checkpoint.as_ref()?.size));
    let newest: Option<Vec<_>> = sizes.collect();
    let newest = newest.and_then(|sizes| sizes.into_iter().max());
    if let Some(newest) = newest.filter(|newest| *newest != evidence.size) {
        let problem = "the evidence is not as of the newest checkpoint in it";
        let finding = Finding::new(Fault::Tampered, "size-contradicted", "size", problem);
        findings.push(finding.but(newest, evidence.size));
    }
}

/// INV-4: one size has one text; two that the log's keys signed prove that it told two histories.
fn check_one_text_a_size(notes: &[CheckedNote], findings: &mut Vec<Finding>) {
    let mut seen = std::collections::BTreeMap::new();
    for note in notes.iter().filter(|note| note.accepted) {
        let Some(checkpoint) = &note.checkpoint else {
            continue;
        };
        let text = checkpoint.text();
        let place = &note.report.place;
        let (first, held) = seen
            .entry(checkpoint.size)
            .or_insert_with(|| (place.clone(), text.clone()));
        if *held != text {
            let problem = format!(
                "it states another history of size {} than {first}, and the log signed both",
                checkpoint.size
            );
            let code = "two-histories";
            findings.push(Finding::new(Fault::Tampered, code, place.clone(), problem));
        }
    }
}
