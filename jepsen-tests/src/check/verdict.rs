//! What a checker says, and how it comes to say it.

use std::fmt;

/// The three answers. Only [`Verdict::True`] passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// A violation was found.
    False,
    /// Nothing was violated, and there was something to violate.
    True,
    /// It could not be judged. Counts as failed.
    Unknown,
}

/// A checker's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Which checker.
    pub checker: &'static str,
    /// The answer.
    pub verdict: Verdict,
    /// How much was looked at.
    pub looked_at: u64,
    /// The same in words.
    pub seen: String,
    /// Violations or doubts in words, at most [`FINDINGS_MAX`].
    pub findings: Vec<String>,
    /// How many there were.
    pub found: usize,
}

/// What a reader looks at; the rest is counted.
pub const FINDINGS_MAX: usize = 10;

/// A checker at work: it notes what it looks at, and what is wrong or in doubt.
#[derive(Debug, Default)]
pub(super) struct Notes {
    seen: u64,
    violations: Vec<String>,
    violated: usize,
    doubts: Vec<String>,
}

impl Notes {
    /// One more thing was looked at.
    pub(super) fn saw(&mut self) {
        self.seen += 1;
    }

    /// A violation.
    pub(super) fn violated(&mut self, what: String) {
        self.violated += 1;
        if self.violations.len() < FINDINGS_MAX {
            self.violations.push(what);
        }
    }

    /// A violation, unless this holds.
    pub(super) fn demand(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violated(what());
        }
    }

    /// Something that could not be judged.
    pub(super) fn doubted(&mut self, what: String) {
        if self.doubts.len() < FINDINGS_MAX {
            self.doubts.push(what);
        }
    }

    /// The judgement: false with a violation, else unknown with a doubt or with nothing seen.
    pub(super) fn close(self, checker: &'static str, of: &str) -> Judgement {
        let seen = format!("{} {of}", self.seen);
        let (verdict, findings, found) = if self.violated > 0 {
            (Verdict::False, self.violations, self.violated)
        } else if self.doubts.is_empty() && self.seen > 0 {
            (Verdict::True, Vec::new(), 0)
        } else {
            let mut doubts = self.doubts;
            if self.seen == 0 && doubts.is_empty() {
                doubts.push("there was nothing to judge".to_owned());
            }
            let found = doubts.len();
            (Verdict::Unknown, doubts, found)
        };
        Judgement {
            checker,
            verdict,
            looked_at: self.seen,
            seen,
            findings,
            found,
        }
    }
}

impl Verdict {
    /// The word in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::False => "false",
            Self::True => "true",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
