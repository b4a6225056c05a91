//! What a verifier answers: verdicts, what they rest on, and what was found wrong.

use core::fmt;

use crate::evidence::Claim;
use crate::ids::{NodeId, Seq, TreeSize};
use crate::signature::Algorithm;
use crate::time::Micros;

/// The answer to one question. There is no fourth, and none of them means another:
/// what could not be checked is never [`Verdict::Proved`] (INV-10).
pub use crate::entry::Verdict;

impl Verdict {
    /// The verdict as reports print it.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::NotProved => "not proved",
            Self::Proved => "proved",
            Self::Refuted => "refuted",
        }
    }
}

/// A verdict and the sentences that say why; foreign text in them is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The answer.
    pub verdict: Verdict,
    /// Why, at least one sentence, without full stops.
    pub reasons: Vec<String>,
}

impl Judgement {
    /// A verdict for one reason.
    pub fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self {
            verdict,
            reasons: vec![reason.into()],
        }
    }
}

/// The three tests of an audit trail. They are answered apart and never merged into one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tests {
    /// Nothing shown was changed, removed or reordered.
    pub tamper_evident: Judgement,
    /// No trust in the system that made the trail was needed.
    pub independently_verifiable: Judgement,
    /// Every event is there.
    pub complete: Judgement,
}

/// What the whole comes to, and the exit status of `candor-audit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Every stated claim is proved, under the policy given: 0.
    Proved,
    /// Something shown contradicts what was signed or committed: 1.
    Tampered,
    /// Not readable, not understood, or not enough to decide a stated claim: 3.
    CouldNotCheck,
    /// Nothing contradicts, but the auditor's conditions are not met: policy, question, or what
    /// was required: 4.
    PolicyNotMet,
}

impl Outcome {
    /// The exit status; 2 is for wrong usage.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Proved => 0,
            Self::Tampered => 1,
            Self::CouldNotCheck => 3,
            Self::PolicyNotMet => 4,
        }
    }

    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Tampered => "tampered",
            Self::CouldNotCheck => "could not check",
            Self::PolicyNotMet => "policy not met",
        }
    }

    /// The outcome of these findings, when all claims without one are proved.
    pub fn of<'a>(faults: impl IntoIterator<Item = &'a Finding>) -> Self {
        let worst = faults.into_iter().map(|finding| finding.fault).max();
        match worst {
            None => Self::Proved,
            Some(Fault::PolicyNotMet | Fault::OtherQuestion) => Self::PolicyNotMet,
            Some(Fault::NotUnderstood) => Self::CouldNotCheck,
            Some(Fault::Tampered) => Self::Tampered,
        }
    }
}

/// Who or what is at fault, the lightest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The trust policy is not met, or what was required is not there.
    PolicyNotMet,
    /// Genuine perhaps, but about another log, tenant or subject than was asked.
    OtherQuestion,
    /// Made by a version or of a kind that this verifier does not know, or not readable.
    NotUnderstood,
    /// Contradicts what was signed or committed.
    Tampered,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PolicyNotMet => "policy not met",
            Self::OtherQuestion => "other question",
            Self::NotUnderstood => "could not check",
            Self::Tampered => "tampered",
        })
    }
}

/// Something wrong, with its place; foreign text in it is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave.
    pub fault: Fault,
    /// A stable name such as `entry-not-committed`; FORMAT.md lists them.
    pub code: &'static str,
    /// The sequence number concerned, where one is.
    pub seq: Option<Seq>,
    /// Where, in words: `entry 17`, `notes[0]`, a file.
    pub place: String,
    /// What is wrong, one sentence without full stop.
    pub problem: String,
    /// What should stand there, where that can be said.
    pub expected: Option<String>,
    /// What stands there.
    pub found: Option<String>,
}

impl Finding {
    /// A finding without sequence number, expectation and value.
    pub fn new(
        fault: Fault,
        code: &'static str,
        place: impl Into<String>,
        problem: impl Into<String>,
    ) -> Self {
        Self {
            fault,
            code,
            seq: None,
            place: place.into(),
            problem: problem.into(),
            expected: None,
            found: None,
        }
    }

    /// A finding about an entry.
    pub fn at(fault: Fault, code: &'static str, seq: Seq, problem: impl Into<String>) -> Self {
        Self {
            seq: Some(seq),
            ..Self::new(fault, code, format!("entry {seq}"), problem)
        }
    }

    /// The same, with what should stand there and what does.
    #[must_use]
    pub fn but(self, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self {
            expected: Some(expected.to_string()),
            found: Some(found.to_string()),
            ..self
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(found) = &self.found {
            write!(f, "; found {found}")?;
        }
        Ok(())
    }
}

/// What is known of one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteReport {
    /// Which note: its position in the evidence, or its file.
    pub place: String,
    /// Whether the policy accepts it, and why or why not.
    pub judgement: Judgement,
    /// What it covers, when it could be read.
    pub size: Option<TreeSize>,
    /// When its seal was written, by the ledger's clock.
    pub sealed: Option<Micros>,
    /// Its key set, hex.
    pub keyset: Option<String>,
    /// The signature families of the log whose line verified: all three, or none where they do not
    /// all hold under one key set that the policy names.
    pub signatures: Vec<Algorithm>,
    /// Members whose cosignature verified.
    pub vouched: Vec<NodeId>,
    /// Outside witnesses whose cosignature verified.
    pub witnessed: Vec<String>,
    /// Signature lines by keys that the policy does not name: `<name>+<key id>`. Nothing is known
    /// of them and nothing rests on them.
    pub unknown: Vec<String>,
    /// Cosignatures that by their own time are older than the seal beyond tolerance.
    pub early: Vec<String>,
    /// Whether the policy asks for fewer than two nodes or witnesses, so that one compromised
    /// machine could have made this.
    pub one_machine: bool,
    /// Signature families that the policy distrusts; they still had to verify.
    pub distrusted: Vec<String>,
}

/// The verdict on one claim of the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimReport {
    /// The claim as stated.
    pub claim: Claim,
    /// The claim in words, as of a size.
    pub statement: String,
    /// The verdict on it.
    pub judgement: Judgement,
}

/// Everything that verifying a piece of evidence gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the whole comes to.
    pub outcome: Outcome,
    /// Which log the evidence says it is of.
    pub origin: String,
    /// Whose entries.
    pub tenant: String,
    /// About what.
    pub subject: String,
    /// As of which size.
    pub size: TreeSize,
    /// The checkpoints, in the order of the file.
    pub notes: Vec<NoteReport>,
    /// The stated claims, in the order of the file.
    pub claims: Vec<ClaimReport>,
    /// The three tests.
    pub tests: Tests,
    /// What is wrong, in the order found.
    pub findings: Vec<Finding>,
    /// What the verdicts rest on and what they do not say.
    pub caveats: Vec<String>,
}
