//! The end of a check: what is missing, whether it was committed, and the three verdicts.

use super::{Bound, ExportCheck, ExportQuestion, ExportReport, GENESIS_FILE, receipt_entry};
use crate::entry::Body;
use crate::export::{CHECKPOINT_FILE, Export};
use crate::ids::Seq;
use crate::signature::KeySet;
use crate::time::Micros;
use crate::tree::{Frontier, verify_consistency};
use crate::verify::{Fault, Finding, Judgement, Outcome, Tests, Verdict, quoted};

impl ExportCheck<'_> {
    /// Ends the check, and holds what was found against the question.
    pub fn finish(mut self, question: &ExportQuestion) -> ExportReport {
        let committed = self.check_committed();
        if committed {
            self.findings.append(&mut self.broken_rules);
        }
        self.check_genesis();
        if committed && self.shown == 0 {
            let (code, problem) = ("entries-not-shown", "there is no entry, but hashes alone");
            let (fault, place) = (Fault::NotUnderstood, "the export");
            let finding = Finding::new(fault, code, place, problem);
            self.findings.push(finding);
        }
        self.check_names(question);
        self.check_range(question);
        let tests = self.tests();
        let caveats = self.caveats();
        let last = self.last();
        let export = self.export;
        ExportReport {
            outcome: Outcome::of(&self.findings),
            origin: export.origin,
            tenant: export.tenant,
            from: export.from,
            to: export.to,
            size: export.size,
            shown: self.shown,
            hidden: self.hidden,
            first: self.first,
            last,
            checkpoint: self.checkpoint.map(|checked| checked.report),
            tests,
            findings: self.findings,
            caveats,
        }
    }

    /// Whether the lines are those that the checkpoint commits to; a finding where they are not.
    fn check_committed(&mut self) -> bool {
        let Some(checked) = &self.checkpoint else {
            let (code, problem) = ("checkpoint-missing", "there is no checkpoint");
            let (fault, place) = (Fault::NotUnderstood, CHECKPOINT_FILE);
            let finding = Finding::new(fault, code, place, problem);
            self.findings.push(finding);
            return false;
        };
        let (Some(signed), Some(frontier)) = (&checked.checkpoint, &self.frontier) else {
            return false;
        };
        if self.stopped {
            return false;
        }
        let (Export { from, to, .. }, size) = (&self.export, frontier.size());
        if !size.covers(*to) {
            let problem = format!("the range goes up to {to}, and the lines end before this one");
            let finding = Finding::at(Fault::Tampered, "entries-missing", Seq(size.0), problem);
            self.findings.push(finding);
            return false;
        }
        let (root, path) = (Frontier::root(frontier), &self.export.path);
        let Err(error) = verify_consistency(size, &root, signed.size, &signed.root, path) else {
            return true;
        };
        let problem = format!(
            "these lines are not what the checkpoint of size {} commits to: {error}",
            signed.size
        );
        let (code, place) = ("range-not-committed", format!("entries {from} to {to}"));
        let finding = Finding::new(Fault::Tampered, code, place, problem);
        self.findings.push(finding);
        false
    }

    /// The first entry of the ledger stands beside the range: with which cluster, keys and members it
    /// began.
    fn check_genesis(&mut self) {
        let (Some(receipt), Some(checkpoint)) = (&self.genesis, &self.checkpoint) else {
            let (code, problem) = ("genesis-not-shown", "it was not brought");
            let finding = Finding::new(Fault::NotUnderstood, code, GENESIS_FILE, problem);
            self.findings.push(finding);
            return;
        };
        let body = receipt_entry(receipt, &self.note, checkpoint).map(|entry| entry.body);
        let problem = match body {
            Err(problem) => quoted(&problem),
            Ok(Body::Genesis(genesis)) if genesis.origin == self.export.origin => {
                let keys = genesis.keys.key_set(&genesis.origin);
                let id = keys.ok().map(|keys| keys.id());
                let mut named = self.policy.keysets().iter().map(KeySet::id);
                if let Some(id) = id.filter(|id| named.all(|named| named != *id)) {
                    let id = hex::encode(id);
                    self.caveats.push(format!(
                        "the ledger began with the key set sha3-256:{id}, which your policy does not \
                         name"
                    ));
                }
                return;
            }
            Ok(_) => "it is no genesis of this log".to_owned(),
        };
        let code = "genesis-contradicted";
        let finding = Finding::new(Fault::Tampered, code, GENESIS_FILE, problem);
        self.findings.push(finding);
    }

    fn check_names(&mut self, question: &ExportQuestion) {
        let export = &self.export;
        let parts = [
            ("origin", "other-origin", &question.origin, &export.origin),
            ("tenant", "other-tenant", &question.tenant, &export.tenant),
        ];
        for (name, code, asked, found) in parts {
            if let Some(asked) = asked.as_ref().filter(|asked| *asked != found) {
                let problem = format!("this is an export of another {name} than was asked");
                let finding = Finding::new(Fault::OtherQuestion, code, name, problem);
                self.findings
                    .push(finding.but(quoted(asked), quoted(found)));
            }
        }
    }

    fn check_range(&mut self, question: &ExportQuestion) {
        let Export { from, to, .. } = self.export;
        let (first, last) = (self.first, self.last());
        // The first entry is from before the time asked for, or the ledger's very first.
        let starts = |bound| match bound {
            Bound::Seq(seq) => from <= seq,
            Bound::Time(time) => from == Seq(0) || first.is_some_and(|first| first < time),
        };
        let ends = |bound| match bound {
            Bound::Seq(seq) => to >= seq,
            Bound::Time(time) => last.is_some_and(|last| last > time),
        };
        let words = |seq: Seq, time: Option<Micros>| match time {
            Some(time) => format!("entry {seq} of {time}"),
            None => format!("entry {seq}"),
        };
        let late = question.from.filter(|bound| !starts(*bound));
        let early = question.to.filter(|bound| !ends(*bound));
        let uncovered = [
            late.map(|bound| ("starts after", bound, words(from, first))),
            early.map(|bound| ("ends before", bound, words(to, last))),
        ];
        for (how, bound, found) in uncovered.into_iter().flatten() {
            let problem = format!("the export {how} the range asked for does");
            let (code, place) = ("range-not-covered", format!("entries {from} to {to}"));
            let finding = Finding::new(Fault::OtherQuestion, code, place, problem);
            self.findings.push(match bound {
                Bound::Seq(seq) => finding.but(format_args!("entry {seq}"), found),
                Bound::Time(time) => finding.but(time, found),
            });
        }
    }

    /// Time of the entry at the last position, where it is shown.
    fn last(&self) -> Option<Micros> {
        let size = self.frontier.as_ref().map(Frontier::size);
        let is_whole = size.is_some_and(|size| size.covers(self.export.to));
        self.time.filter(|_| is_whole && self.before.is_some())
    }

    /// INV-10: starts from "not proved".
    fn tests(&self) -> Tests {
        let tamper_evident = self.tamper_evident();
        let checked = self.checkpoint.as_ref();
        let none = || Judgement::new(Verdict::NotProved, "there is no checkpoint");
        Tests {
            independently_verifiable: checked
                .map_or_else(none, |checked| checked.report.judgement.clone()),
            complete: self.complete(tamper_evident.verdict),
            tamper_evident,
        }
    }

    fn tamper_evident(&self) -> Judgement {
        let grave = |f: &&Finding| matches!(f.fault, Fault::Tampered | Fault::NotUnderstood);
        let worst = self.findings.iter().filter(grave).max_by_key(|f| f.fault);
        if let Some(finding) = worst {
            let verdict = match finding.fault {
                Fault::Tampered => Verdict::Refuted,
                _ => Verdict::NotProved,
            };
            return Judgement::new(verdict, finding.to_string());
        }
        let accepted = self.checkpoint.as_ref().filter(|checked| checked.accepted);
        let Some(signed) = accepted.and_then(|checked| checked.checkpoint.as_ref()) else {
            let reason = "the policy does not accept the checkpoint";
            return Judgement::new(Verdict::NotProved, reason);
        };
        let (Export { from, to, .. }, sealed) = (&self.export, signed.sealed);
        Judgement::new(
            Verdict::Proved,
            format!(
                "every position from {from} to {to} holds what the checkpoint sealed {sealed} commits to"
            ),
        )
    }

    fn complete(&self, tamper_evident: Verdict) -> Judgement {
        let (Export { from, to, .. }, hidden) = (&self.export, self.hidden);
        if tamper_evident != Verdict::Proved {
            let reason = "the lines are not shown to be all that was signed there";
            return Judgement::new(tamper_evident, reason);
        }
        if hidden > 0 {
            let tenant = quoted(&self.export.tenant);
            let reasons = vec![
                format!(
                    "of {hidden} positions only the hash is shown: that none of them is of tenant \
                     {tenant}, hashes do not say"
                ),
                "no position is left out, nor an event that a later one of its subject names"
                    .to_owned(),
            ];
            let verdict = Verdict::NotProved;
            return Judgement { verdict, reasons };
        }
        let mut reasons = vec![format!(
            "every entry of the ledger from {from} to {to} is here"
        )];
        if let (Some(first), Some(last)) = (self.first, self.time) {
            reasons.push(format!(
                "so every event after {first} and before {last} is, by the ledger's clock"
            ));
        }
        let verdict = Verdict::Proved;
        Judgement { verdict, reasons }
    }

    fn caveats(&self) -> Vec<String> {
        let mut caveats = vec![
            "an export rests on SHA-256 and the signatures; between neighbours that are shown also on \
             their chain of SHA3-256"
                .to_owned(),
            "not replayed: the rules as a whole, which takes every entry from the first on \
             (`candor-audit ledger`)"
                .to_owned(),
            "neither implementation of the post-quantum signatures has had a third-party audit"
                .to_owned(),
            "not shown: the outputs themselves, that one was right, that callers told the truth about \
             their models, that the named actors asked, that nothing went unrecorded"
                .to_owned(),
        ];
        if self.compared {
            caveats.push("a root that your policy pins is one of this range".to_owned());
        }
        caveats.extend(self.caveats.iter().cloned());
        caveats
    }
}
