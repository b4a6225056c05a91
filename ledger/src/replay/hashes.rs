//! A tree rebuilt from its leaf hashes alone, for an auditor who may not see entries.
//!
//! It shows that the log still has the tree that was signed, and that the tree continues those that
//! the auditor knows. It shows nothing about what the entries say.

use super::{LedgerReport, Replay};
use crate::ids::{Seq, TreeSize};
use crate::tree::NodeHash;
use crate::verify::notes::check_note;
use crate::verify::{Fault, Finding, Judgement, Outcome, Tests, Verdict};

impl Replay<'_> {
    /// Takes the checkpoint whose tree is to be rebuilt, before the first hash. Returns its size, if
    /// it can be read.
    pub fn begin_hashes(&mut self, place: &str, note: &[u8]) -> Option<TreeSize> {
        let checked = check_note(place.to_owned(), note, self.policy, &mut self.findings);
        let checkpoint = checked.checkpoint?;
        self.checkpoints += 1;
        self.keep_known_of(&checkpoint.origin);
        let size = checkpoint.size;
        self.newest = Some((checkpoint, checked.report));
        Some(size)
    }

    /// Takes the next leaf's hash, and reports every node of the tree that it completes.
    pub fn push_hash(&mut self, leaf: NodeHash, completed: &mut impl FnMut(u8, u64, NodeHash)) {
        self.frontier.push_with(leaf, completed);
        self.check_known_roots();
    }

    /// Ends the rebuilding: is it the root that was signed?
    ///
    /// The outcome is never "proved", for no entry was checked (INV-10).
    pub fn finish_hashes(mut self) -> LedgerReport {
        self.check_rollback();
        self.check_age();
        let (size, root) = (self.size(), self.frontier.root());
        let signed = self.newest.as_ref().map(|(checkpoint, _)| checkpoint);
        let agrees = signed.is_some_and(|signed| signed.size == size && signed.root == root);
        if let Some(signed) = signed.filter(|_| !agrees) {
            let problem = "the leaf hashes do not give the root that was signed";
            let (code, seq) = (
                "checkpoint-contradicts-ledger",
                Seq(signed.size.0.saturating_sub(1)),
            );
            let finding = Finding::at(Fault::Tampered, code, seq, problem);
            let finding = finding.but(signed.root, root);
            self.findings.push(finding);
        }
        let problem = "entries were not looked at: neither chain nor rules were checked";
        let (fault, code) = (Fault::NotUnderstood, "entries-not-shown");
        self.findings
            .push(Finding::new(fault, code, "the ledger", problem));
        let mut caveats = self.caveats.clone();
        if agrees {
            caveats.push(format!(
                "the hashes of {size} leaves give the root that was signed"
            ));
        }
        if self.compared {
            caveats.push("a root that you knew before is one of this tree's".to_owned());
        }
        LedgerReport {
            outcome: Outcome::of(&self.findings),
            origin: self
                .newest
                .as_ref()
                .map(|(checkpoint, _)| checkpoint.origin.clone()),
            size,
            root,
            head: self.head,
            time: self
                .newest
                .as_ref()
                .map(|(checkpoint, _)| checkpoint.sealed),
            checkpoints: self.checkpoints,
            seals: 0,
            unsealed: 0,
            stopped: None,
            tests: self.hash_tests(agrees, problem),
            caveats,
            newest: self.newest.map(|(_, report)| report),
            findings: self.findings,
        }
    }

    fn hash_tests(&self, agrees: bool, problem: &str) -> Tests {
        let not_proved = || Judgement::new(Verdict::NotProved, problem);
        let missing = || Judgement::new(Verdict::NotProved, "no checkpoint could be read");
        let vouched = self
            .newest
            .as_ref()
            .map(|(_, report)| report.judgement.clone());
        Tests {
            tamper_evident: if agrees {
                not_proved()
            } else {
                let contradicted = "the leaf hashes do not give the root that was signed";
                let verdict = match &self.newest {
                    Some(_) => Verdict::Refuted,
                    None => Verdict::NotProved,
                };
                Judgement::new(verdict, contradicted)
            },
            independently_verifiable: vouched.unwrap_or_else(missing),
            complete: not_proved(),
        }
    }
}
