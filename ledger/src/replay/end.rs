//! The end of an audit: what is missing, and the three verdicts.

use super::Replay;
use crate::digest::ChainHash;
use crate::ids::{Seq, TreeSize};
use crate::time::Micros;
use crate::tree::NodeHash;
use crate::verify::notes::{check_note, count};
use crate::verify::{Fault, Finding, Judgement, NoteReport, Outcome, Tests, Verdict};

/// Everything that a full audit gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerReport {
    /// What the whole comes to.
    pub outcome: Outcome,
    /// The log's name, from its genesis.
    pub origin: Option<String>,
    /// Entries replayed.
    pub size: TreeSize,
    /// Root of the tree over them.
    pub root: NodeHash,
    /// Hash of the last of them.
    pub head: ChainHash,
    /// Time of the last of them.
    pub time: Option<Micros>,
    /// The newest kept checkpoint.
    pub newest: Option<NoteReport>,
    /// How many kept checkpoints were checked.
    pub checkpoints: u64,
    /// How many seals there are.
    pub seals: u64,
    /// Entries after the newest checkpoint, of which nothing is proved.
    pub unsealed: u64,
    /// The entry at which the replay stopped, when it did.
    pub stopped: Option<Seq>,
    /// The three tests.
    pub tests: Tests,
    /// What is wrong, in the order found.
    pub findings: Vec<Finding>,
    /// What the verdicts rest on and do not say.
    pub caveats: Vec<String>,
}

impl Replay<'_> {
    /// Takes the note of a checkpoint whose size the entries do not reach: they were there when
    /// it was signed. Call it after the last entry.
    pub fn push_beyond(&mut self, place: &str, note: &[u8]) {
        let checked = check_note(place.to_owned(), note, self.policy, &mut self.findings);
        self.checkpoints += 1;
        let (Some(checkpoint), None) = (checked.checkpoint, self.stopped) else {
            return;
        };
        let (size, seq) = (self.size(), Seq(self.size().0));
        let problem = format!(
            "{place} covers {} entries, but there are {size}: those from {seq} on are missing",
            checkpoint.size
        );
        let finding = Finding::at(Fault::Tampered, "entries-missing", seq, problem);
        self.findings.push(finding.but(checkpoint.size, size));
    }

    /// Ends the audit. A known root that was not met is reported as a rollback.
    pub fn finish(mut self) -> LedgerReport {
        self.majority_is_due();
        if self.stopped.is_none() {
            self.check_rollback();
            self.check_age();
            self.check_kept();
        }
        if self.size() == TreeSize(0) && self.stopped.is_none() {
            let (code, problem) = ("ledger-empty", "there is no entry");
            self.findings.push(Finding::new(
                Fault::NotUnderstood,
                code,
                "the ledger",
                problem,
            ));
        } else if self.newest.is_none() && self.stopped.is_none() {
            let problem = "there is no checkpoint: nothing that is here was signed";
            let (fault, place) = (Fault::NotUnderstood, "the ledger");
            self.findings
                .push(Finding::new(fault, "checkpoint-missing", place, problem));
        }
        let tests = self.tests();
        let log = self.log();
        let sealed = self.sealed();
        LedgerReport {
            outcome: Outcome::of(&self.findings),
            origin: log.as_ref().map(|log| log.origin.clone()),
            size: self.size(),
            root: self.frontier.root(),
            head: self.head,
            time: log.map(|log| log.time),
            checkpoints: self.checkpoints,
            seals: self.seals,
            unsealed: self.size().0.saturating_sub(sealed.0),
            stopped: self.stopped,
            tests,
            caveats: self.caveats(),
            newest: self.newest.map(|(_, report)| report),
            findings: self.findings,
        }
    }

    /// A root known for a size that no checkpoint here covers: an older ledger was put in place.
    pub(super) fn check_rollback(&mut self) {
        let (size, sealed) = (self.size(), self.sealed());
        let Some(known) = self.known_newest.take().filter(|known| known.size > sealed) else {
            return;
        };
        let problem = format!(
            "an older ledger was put in place: {} is of size {}, the ledger has {size} entries and \
             its newest checkpoint covers {sealed}",
            known.source, known.size
        );
        let finding = Finding::at(Fault::Tampered, "rolled-back", Seq(sealed.0), problem);
        let expected = format!("a checkpoint of size {} or more", known.size);
        self.findings.push(finding.but(expected, sealed));
    }

    /// The newest checkpoint is as young as the auditor demands.
    pub(super) fn check_age(&mut self) {
        let newest = self.newest.as_ref().map(|(newest, _)| newest.sealed);
        let (Some(since), Some(sealed)) = (self.sealed_since, newest) else {
            return;
        };
        if sealed < since {
            let problem = "the newest checkpoint is older than you demand: the log stands still, or \
                           what was read is an old state of it";
            let (fault, place) = (Fault::PolicyNotMet, "the newest checkpoint");
            let finding = Finding::new(fault, "too-old", place, problem);
            let expected = format!("sealed at {since} or later");
            self.findings.push(finding.but(expected, sealed));
        }
    }

    /// A seal's checkpoint is kept unless it is the last seal's, which may still wait, or thinned
    /// out, which takes its time: a log seals a group only after it kept the previous checkpoint.
    fn check_kept(&mut self) {
        let last = self
            .log()
            .and_then(|log| log.last_seal)
            .and_then(Seq::size_including);
        self.unkept.retain(|(size, _)| Some(*size) != last);
        let Some((size, _)) = self.unkept.front() else {
            return;
        };
        let more = match self.unkept.len() - 1 {
            0 => String::new(),
            more => format!(", nor are {more} later ones"),
        };
        if self.unkept_excused {
            self.caveats.push(format!(
                "no checkpoint of size {size} was served{more}: thinned out meanwhile, or withheld"
            ));
            return;
        }
        let problem = format!(
            "the checkpoint of size {size} is not kept, though the log went on after its seal{more}"
        );
        let seq = Seq(size.0 - 1);
        self.findings.push(Finding::at(
            Fault::Tampered,
            "checkpoint-missing",
            seq,
            problem,
        ));
    }

    fn tests(&self) -> Tests {
        Tests {
            tamper_evident: self.tamper_evident(),
            independently_verifiable: self.independently_verifiable(),
            complete: self.complete(),
        }
    }

    /// INV-10: starts from "not proved"; "proved" needs a replay to the end of what an accepted
    /// checkpoint covers, without a finding that contradicts or could not be checked.
    fn tamper_evident(&self) -> Judgement {
        let graver = |fault: &Fault| matches!(fault, Fault::Tampered | Fault::NotUnderstood);
        let worst = self
            .findings
            .iter()
            .filter(|f| graver(&f.fault))
            .max_by_key(|f| f.fault);
        if let Some(finding) = worst {
            let verdict = match finding.fault {
                Fault::Tampered => Verdict::Refuted,
                _ => Verdict::NotProved,
            };
            return Judgement::new(verdict, finding.to_string());
        }
        match self.accepted() {
            None => Judgement::new(
                Verdict::NotProved,
                "no checkpoint is accepted by the policy",
            ),
            Some((size, sealed)) => Judgement::new(
                Verdict::Proved,
                format!(
                    "every entry below {size} is the one committed to by the checkpoint sealed \
                     {sealed}, chained, in order, and as the rules allow"
                ),
            ),
        }
    }

    fn independently_verifiable(&self) -> Judgement {
        let Some((_, report)) = &self.newest else {
            return Judgement::new(
                Verdict::NotProved,
                "there is no checkpoint that could be read",
            );
        };
        let of_trust = |f: &&Finding| {
            matches!(
                f.code,
                "keyset-not-named"
                    | "quorum-not-met"
                    | "signature-missing"
                    | "signature-bad"
                    | "signature-repeated"
                    | "majority-not-met"
                    | "all-families-distrusted"
                    | "pin-contradicted"
            )
        };
        if report.judgement.verdict != Verdict::Proved {
            return report.judgement.clone();
        }
        match self
            .findings
            .iter()
            .filter(of_trust)
            .max_by_key(|f| f.fault)
        {
            Some(finding) if finding.fault == Fault::Tampered => {
                Judgement::new(Verdict::Refuted, finding.to_string())
            }
            Some(finding) => Judgement::new(Verdict::NotProved, finding.to_string()),
            None => report.judgement.clone(),
        }
    }

    fn complete(&self) -> Judgement {
        let tamper_evident = self.tamper_evident();
        if tamper_evident.verdict != Verdict::Proved {
            return Judgement {
                verdict: tamper_evident.verdict,
                reasons: vec!["the entries are not all there as they were signed".to_owned()],
            };
        }
        let sealed = self.sealed();
        let mut reasons = vec![
            format!("every entry from 0 on was replayed, as of size {sealed}"),
            "whether the log has grown since, what was read cannot show".to_owned(),
        ];
        if !self.compared {
            reasons.push(
                "no checkpoint or pin of yours was compared: an older copy of the whole ledger \
                 would look the same"
                    .to_owned(),
            );
        }
        Judgement {
            verdict: Verdict::Proved,
            reasons,
        }
    }

    fn accepted(&self) -> Option<(TreeSize, Micros)> {
        let (checkpoint, report) = self.newest.as_ref()?;
        let proved = report.judgement.verdict == Verdict::Proved;
        proved.then_some((checkpoint.size, checkpoint.sealed))
    }

    fn caveats(&self) -> Vec<String> {
        let mut caveats = vec![
            "a full replay rests on both hash families, SHA3-256 and SHA-256".to_owned(),
            "neither implementation of the post-quantum signatures has had a third-party audit"
                .to_owned(),
            "not shown: that an output was right, that callers told the truth about their models, \
             that the named actors asked, that nothing went unrecorded"
                .to_owned(),
        ];
        let unsealed = self.size().0.saturating_sub(self.sealed().0);
        if unsealed > 0 {
            let entries = count(
                usize::try_from(unsealed).unwrap_or(usize::MAX),
                "newest entry",
            );
            caveats.push(format!(
                "{entries} not sealed yet: replayed, but not proved"
            ));
        }
        caveats.extend(self.caveats.iter().cloned());
        if let Some(seq) = self.stopped {
            caveats.push(format!(
                "the replay stopped at entry {seq}: nothing after it was checked"
            ));
        }
        caveats
    }
}
