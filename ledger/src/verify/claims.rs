//! Claims against everything that was checked.
//!
//! INV-10: each function here starts from "not proved" and returns "proved" at its end only, after
//! every condition was met; whatever is missing or unknown leaves early.

use std::collections::BTreeMap;

use super::entries::{CheckedEntry, Standing, is_about_the_log};
use super::notes::{CheckedNote, count};
use super::{ClaimReport, Fault, Finding, Judgement, Tests, Verdict, is_about_shown, quoted};
use crate::digest::sha3_256;
use crate::entry::Body;
use crate::evidence::{Claim, Evidence};
use crate::ids::Seq;

/// How many holes a sentence names.
const NAMED_MAX: usize = 10;

/// Everything a claim is judged by.
pub(super) struct Shown<'a> {
    evidence: &'a Evidence,
    notes: &'a [CheckedNote],
    entries: &'a [CheckedEntry<'a>],
    findings: &'a [Finding],
    /// Whether the evidence is about what was asked.
    asked: bool,
    /// The committed events of the subject, by ordinal.
    events: BTreeMap<u64, &'a CheckedEntry<'a>>,
    /// The first thing at each entry that contradicts what was committed.
    faults: BTreeMap<Seq, &'a Finding>,
}

/// Why a claim is not proved: an early way out.
type Judged<T> = Result<T, Judgement>;

impl<'a> Shown<'a> {
    /// Everything that was checked; `asked` is whether the evidence is about what was asked.
    pub(super) fn new(
        evidence: &'a Evidence,
        notes: &'a [CheckedNote],
        entries: &'a [CheckedEntry<'a>],
        findings: &'a [Finding],
        asked: bool,
    ) -> Self {
        let about_subject = entries.iter().filter(|checked| checked.about_subject);
        let events = about_subject.filter_map(|checked| Some((checked.entry.as_ref()?.n, checked)));
        let tampered = findings.iter().rev().filter(|f| f.fault == Fault::Tampered);
        Self {
            evidence,
            notes,
            entries,
            findings,
            asked,
            events: events.collect(),
            faults: tampered.filter_map(|f| Some((f.seq?, f))).collect(),
        }
    }

    /// The verdict on one claim.
    pub(super) fn judge(&self, claim: &Claim) -> ClaimReport {
        let judged = match claim {
            _ if !self.asked => Err(not_proved(
                "this evidence is about something else than was asked",
            )),
            Claim::Entry { seq } => self.judge_entry(*seq).map(|_| ()),
            Claim::Range { from, to } => self.judge_range(*from, *to),
            Claim::SubjectAbsent => Err(self.judge_absent()),
            Claim::SubjectComplete => Err(self.judge_complete()),
            Claim::SubjectLifecycle { from_n, to_n } => self.judge_lifecycle(*from_n, *to_n),
            Claim::Value { seq } => self.judge_value(*seq),
        };
        let judgement = judged.err().unwrap_or_else(|| {
            Judgement::new(Verdict::Proved, format!("under {}", self.resting_on(claim)))
        });
        ClaimReport {
            claim: claim.clone(),
            statement: self.statement(claim),
            judgement,
        }
    }

    /// The three tests. They share no reason and no verdict.
    pub(super) fn tests(&self, claims: &[ClaimReport]) -> Tests {
        Tests {
            tamper_evident: self.tamper_evident(claims),
            independently_verifiable: self.independently_verifiable(),
            complete: Self::complete(claims),
        }
    }

    /// What the verdicts rest on and do not say.
    pub(super) fn caveats(&self) -> Vec<String> {
        let mut caveats = vec![
            "each path to a checkpoint rests on SHA-256 alone; a full replay of the ledger rests \
             on SHA3-256 as well"
                .to_owned(),
            "neither implementation of the post-quantum signatures has had a third-party audit"
                .to_owned(),
            "not shown: that an output was right, that the caller told the truth about its model, \
             that the named actor asked"
                .to_owned(),
        ];
        let texts = self
            .notes
            .iter()
            .filter_map(|note| note.checkpoint.as_ref());
        let sizes: std::collections::BTreeSet<_> = texts.map(|c| c.size).collect();
        if sizes.len() > 1 {
            caveats.push(format!(
                "nothing here shows that its {} checkpoints are of one history",
                sizes.len()
            ));
        }
        let unknown: usize = self
            .notes
            .iter()
            .map(|note| note.report.unknown.len())
            .sum();
        if unknown > 0 {
            caveats.push(format!(
                "{} by keys that the policy does not name: ignored",
                count(unknown, "signature line")
            ));
        }
        caveats
    }

    fn judge_entry(&self, seq: Seq) -> Judged<&CheckedEntry<'_>> {
        let checked = self.proved_entry(seq)?;
        if !checked.about_subject {
            return Err(not_proved(format!(
                "entry {seq} is about the log, not about this subject"
            )));
        }
        self.no_fault_at(seq)?;
        Ok(checked)
    }

    fn judge_range(&self, from: Seq, to: Seq) -> Judged<()> {
        if !is_about_the_log(self.evidence) {
            return Err(not_proved(
                "only evidence about the log itself can show a range",
            ));
        }
        let first = self.entries.partition_point(|checked| checked.seq() < from);
        let rest = self.entries.iter().skip(first).map(CheckedEntry::seq);
        let shown: Vec<Seq> = rest.take_while(|seq| *seq <= to).collect();
        let wanted = to.0 - from.0;
        if u64::try_from(shown.len()).ok() != wanted.checked_add(1) {
            let holes = holes(from.0, to.0, shown.iter().map(|seq| seq.0));
            return Err(not_proved(format!("entries are not shown: {holes}")));
        }
        for seq in shown {
            let checked = self.proved_entry(seq)?;
            self.is_as_of_size(checked)?;
            self.no_fault_at(seq)?;
        }
        Ok(())
    }

    fn judge_lifecycle(&self, from_n: u64, to_n: u64) -> Judged<()> {
        let events = &self.events;
        let wanted = to_n - from_n;
        let shown: Vec<_> = events.range(from_n..=to_n).collect();
        if u64::try_from(shown.len()).ok() != wanted.checked_add(1) {
            let holes = holes(from_n, to_n, shown.iter().map(|(n, _)| **n));
            return Err(not_proved(format!("events are not shown: {holes}")));
        }
        for (_, checked) in shown {
            self.proved_entry(checked.seq())?;
            self.is_as_of_size(checked)?;
            self.no_fault_at(checked.seq())?;
        }
        Ok(())
    }

    fn judge_value(&self, seq: Seq) -> Judged<()> {
        let checked = self.judge_entry(seq)?;
        let Some(Body::Write(write)) = checked.entry.as_ref().map(|entry| &entry.body) else {
            return Err(not_proved(format!("entry {seq} is no cache.write")));
        };
        let Some(value) = self.evidence.value(&write.output_hash) else {
            return Err(not_proved(format!(
                "the value of entry {seq} is not in the file"
            )));
        };
        if sha3_256(&value.bytes) != write.output_hash {
            let problem = format!("the value does not hash to the output_hash of entry {seq}");
            return Err(Judgement::new(Verdict::Refuted, problem));
        }
        let len = u64::try_from(value.bytes.len()).unwrap_or(u64::MAX);
        if len != write.output_len {
            let problem = format!("entry {seq} says {} bytes, it has {len}", write.output_len);
            return Err(Judgement::new(Verdict::Refuted, problem));
        }
        Ok(())
    }

    /// Until checkpoints commit to a map of subjects, this is refuted or not proved.
    fn judge_complete(&self) -> Judgement {
        let events = &self.events;
        let last = events.last_key_value().map_or(0, |(n, _)| *n);
        let missing = holes(1, last, events.keys().copied());
        if !missing.is_empty() {
            let problem = format!("the file itself shows that events are missing: {missing}");
            return Judgement::new(Verdict::Refuted, problem);
        }
        not_proved(NEWER_EVENTS)
    }

    /// Until checkpoints commit to a map of subjects, this is refuted or not proved.
    fn judge_absent(&self) -> Judgement {
        match self.events.first_key_value() {
            Some((_, checked)) => {
                let problem = format!("entry {} is about this subject", checked.seq());
                Judgement::new(Verdict::Refuted, problem)
            }
            None => not_proved("no checkpoint of this version commits to which subjects exist"),
        }
    }

    fn proved_entry(&self, seq: Seq) -> Judged<&CheckedEntry<'_>> {
        let Some(checked) = self.shown_at(seq) else {
            return Err(not_proved(format!("entry {seq} is not in the file")));
        };
        match checked.standing {
            Standing::Proved => Ok(checked),
            Standing::NotTrusted => Err(not_proved(format!(
                "the policy does not accept the checkpoint over entry {seq}"
            ))),
            Standing::NotUnderstood => Err(not_proved(format!(
                "entry {seq} or its checkpoint could not be read"
            ))),
            Standing::Refuted => {
                let reason = format!("entry {seq} is not what was committed, or breaks its format");
                Err(Judgement::new(Verdict::Refuted, reason))
            }
        }
    }

    fn shown_at(&self, seq: Seq) -> Option<&CheckedEntry<'_>> {
        let at = self.entries.binary_search_by_key(&seq, CheckedEntry::seq);
        self.entries.get(at.ok()?)
    }

    /// A row of entries is a row only within one tree: two checkpoints could be of two histories.
    fn is_as_of_size(&self, checked: &CheckedEntry<'_>) -> Judged<()> {
        if checked.size == Some(self.evidence.size) {
            return Ok(());
        }
        Err(not_proved(format!(
            "entry {} is shown under another checkpoint than the newest, and nothing shows that \
             the two are of one history",
            checked.seq()
        )))
    }

    /// A finding at one of its entries refutes a claim.
    fn no_fault_at(&self, seq: Seq) -> Judged<()> {
        match self.faults.get(&seq) {
            Some(finding) => Err(Judgement::new(Verdict::Refuted, finding.to_string())),
            None => Ok(()),
        }
    }

    fn tamper_evident(&self, claims: &[ClaimReport]) -> Judgement {
        let tampered: Vec<_> = self
            .findings
            .iter()
            .filter(|f| f.fault == Fault::Tampered)
            .collect();
        let refuted = claims
            .iter()
            .any(|c| c.judgement.verdict == Verdict::Refuted);
        if refuted || !tampered.is_empty() {
            let first = tampered
                .first()
                .map_or("a claim is refuted".to_owned(), ToString::to_string);
            return Judgement::new(Verdict::Refuted, first);
        }
        let mut about_shown = claims
            .iter()
            .filter(|c| is_about_shown(&c.claim))
            .peekable();
        if about_shown.peek().is_none() {
            return not_proved("no claim is about entries that are shown");
        }
        match about_shown.find(|c| c.judgement.verdict != Verdict::Proved) {
            Some(claim) => not_proved(format!("not proved: {}", claim.statement)),
            None => Judgement::new(
                Verdict::Proved,
                "every entry that a claim is about is the one committed, at its place, in one order",
            ),
        }
    }

    fn independently_verifiable(&self) -> Judgement {
        if let Some(bad) = self.notes.iter().find(|note| !note.accepted) {
            let judgement = &bad.report.judgement;
            let mut reasons = vec![format!("{} is not accepted", bad.report.place)];
            reasons.extend(judgement.reasons.iter().cloned());
            return Judgement {
                verdict: judgement.verdict,
                reasons,
            };
        }
        if self.notes.is_empty() {
            return not_proved("there is no checkpoint");
        }
        let mut reasons = vec![
            "every checkpoint verifies under keys that came with the policy, not with the evidence"
                .to_owned(),
        ];
        if self.notes.iter().any(|note| note.report.one_machine) {
            reasons.push("one compromised machine could have made this".to_owned());
        }
        for family in self.notes.iter().flat_map(|note| &note.report.distrusted) {
            let reason = format!("`{family}` is distrusted: this rests on the other families");
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        Judgement {
            verdict: Verdict::Proved,
            reasons,
        }
    }

    fn complete(claims: &[ClaimReport]) -> Judgement {
        let refuted =
            |c: &&ClaimReport| !is_about_shown(&c.claim) && c.judgement.verdict == Verdict::Refuted;
        match claims.iter().find(refuted) {
            Some(claim) => claim.judgement.clone(),
            None => not_proved(NEWER_EVENTS),
        }
    }

    /// A claim in words.
    fn statement(&self, claim: &Claim) -> String {
        let (subject, size) = (quoted(&self.evidence.subject), self.evidence.size);
        match claim {
            Claim::Entry { seq } => match self.op_of(*seq) {
                Some(op) => format!("entry {seq} ({op}) about {subject} is in the ledger"),
                None => format!("entry {seq} about {subject} is in the ledger"),
            },
            Claim::Range { from, to } => {
                format!("entries {from}..{to} are unbroken as of {size}")
            }
            Claim::SubjectAbsent => format!("{subject} has no entry as of {size}"),
            Claim::SubjectComplete => format!("the events of {subject} are all there as of {size}"),
            Claim::SubjectLifecycle { from_n, to_n } => {
                format!("events {from_n}..{to_n} of {subject} are unbroken as of {size}")
            }
            Claim::Value { seq } => format!("the value that entry {seq} names is the one shown"),
        }
    }

    fn op_of(&self, seq: Seq) -> Option<String> {
        Some(self.shown_at(seq)?.entry.as_ref()?.op().to_string())
    }

    fn resting_on(&self, claim: &Claim) -> String {
        let size = match claim {
            Claim::Entry { seq } | Claim::Value { seq } => {
                self.shown_at(*seq).and_then(|checked| checked.size)
            }
            _ => Some(self.evidence.size),
        };
        let of_size = |note: &&CheckedNote| note.report.size == size && note.accepted;
        let sealed = self
            .notes
            .iter()
            .find(of_size)
            .and_then(|note| note.report.sealed);
        match (size, sealed) {
            (Some(size), Some(sealed)) => format!("the checkpoint of size {size} sealed {sealed}"),
            _ => "a checkpoint".to_owned(),
        }
    }
}

const NEWER_EVENTS: &str = "newer events could exist: nothing here shows that the newest event shown is the newest there is";

fn not_proved(reason: impl Into<String>) -> Judgement {
    Judgement::new(Verdict::NotProved, reason)
}

/// The numbers from `from` to `to` that are not among the ascending ones given, in words; empty
/// when there are none.
fn holes(from: u64, to: u64, present: impl Iterator<Item = u64>) -> String {
    let mut named = Vec::new();
    let mut next = from;
    let ends = present.chain([to.saturating_add(1)]);
    for number in ends {
        match number.saturating_sub(next) {
            0 => (),
            1 => named.push(next.to_string()),
            _ => named.push(format!("{next}..{}", number - 1)),
        }
        next = number.saturating_add(1);
    }
    let more = named.len().saturating_sub(NAMED_MAX);
    named.truncate(NAMED_MAX);
    let named = named.join(", ");
    if more > 0 {
        return format!("{named} and {more} more");
    }
    named
}
