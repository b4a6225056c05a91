//! What a run did, as its clients and its nemesis saw it.
//!
//! A history is a list of [`Event`]s, in the order of one monotonic clock: a process asks, and is
//! answered `:ok`, `:fail` or `:info`. Which is which, `SEMANTICS.md` says and [`classify`] decides. The
//! keys are Jepsen's, so that its tools read the EDN form; the JSON form says the same, a line an event.
//!
//! ```text
//! {:index 4, :time 1203944, :process 3, :type :invoke, :f :get, :value {:key "acme/9f.."}, :node 2}
//! {:index 5, :time 1904100, :process 3, :type :ok, :f :get, :value {:found :hit, :output "51..", ..}, :node 2}
//! ```

mod classify;
mod codec;
mod operations;
mod sdk;
mod term;

use candor_ledger::entry::MissReason;

pub use classify::{Class, Tries, class_of, class_of_code, is_alarm};
pub use codec::HistoryError;
pub use operations::{Malformed, Operation, Outcome, once_each};
pub use sdk::Completion;
pub use term::{Term, TermError};

/// Everything that happened in a run, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// By ascending `index`, which counts from 0.
    pub events: Vec<Event>,
}

/// One thing that a client or the nemesis did or saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the history.
    pub index: u64,
    /// Nanoseconds of the harness's one monotonic clock: before a request was sent, after an answer was
    /// read.
    pub time_ns: u64,
    /// Whose.
    pub process: Process,
    /// The node that was asked first; the SDK may go on to others.
    pub node: Option<u64>,
    /// What happened.
    pub what: What,
}

/// Who does one thing after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// A logical client. One that got `:info` never speaks again: its thread goes on as another.
    Client(u64),
    /// What breaks things, and heals them.
    Nemesis,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `:invoke`: a client is about to ask.
    Asked(Asked),
    /// `:ok`: the answer was verified, and stands in the ledger.
    Answered {
        /// What had been asked.
        f: F,
        /// The answer.
        answer: Answer,
    },
    /// `:fail`: the call is proved to have made no entry, and never will.
    Failed(Trouble),
    /// `:info`: it may have taken effect, or may yet.
    Unknown(Trouble),
    /// What the nemesis did.
    Fault(Fault),
}

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum F {
    /// An auditor's attestation.
    Attest,
    /// A lookup.
    Get,
    /// The proof of an entry.
    Receipt,
    /// A revocation taken back.
    Reinstate,
    /// A revocation.
    Revoke,
    /// A result.
    Set,
    /// A result that gives way.
    Supersede,
}

/// What a client asked. A key is `<tenant>/<64 hex digits of the fingerprint>`; an output is the 64
/// hex digits of its SHA3-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// Records that an auditor looked.
    Attest {
        /// About which result.
        key: String,
    },
    /// Looks a result up.
    Get {
        /// Which.
        key: String,
    },
    /// Asks for the proof of an entry.
    Receipt {
        /// Which.
        seq: u64,
    },
    /// Takes a revocation back.
    Reinstate {
        /// Of which computation.
        key: String,
        /// Which output.
        output: String,
    },
    /// Withdraws an output.
    Revoke {
        /// Of which computation.
        key: String,
        /// Which output.
        output: String,
    },
    /// Records an output.
    Set {
        /// Of which computation.
        key: String,
        /// Which output.
        output: String,
        /// How long it may be served.
        ttl_ms: u64,
    },
    /// Has a result give way.
    Supersede {
        /// Which.
        key: String,
        /// To which other key.
        successor: String,
    },
}

/// A verified answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The entry that the answer rests on: the request's own, but for [`Asked::Receipt`].
    pub seq: u64,
    /// That entry's time, microseconds of the ledger, where the answer says it.
    pub time_us: Option<u64>,
    /// The request's id, where the answer says it. A receipt's is not that of its entry.
    pub request: Option<String>,
    /// The request had taken effect before, under the same id.
    pub replayed: bool,
    /// Size of the newest checkpoint that came with the answer.
    pub size: Option<u64>,
    /// What was answered.
    pub found: Found,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// The attestation stands.
    Attested,
    /// Other bytes are held.
    Conflict {
        /// Which.
        held: String,
    },
    /// A value was served.
    Hit {
        /// Its digest.
        output: String,
        /// Version of the result.
        version: u64,
        /// The newest entry that wrote it.
        write_seq: u64,
    },
    /// Nothing was served.
    Missed(Miss),
    /// The proof holds.
    Proved,
    /// The state forbids it, and an entry says so.
    Refused {
        /// The stable reason.
        reason: String,
        /// What stands in the result's place, where that is the reason.
        successor: Option<String>,
    },
    /// The output may be served again.
    Reinstated {
        /// Version of the result.
        version: u64,
    },
    /// The output may not be served any more.
    Revoked {
        /// Version of the result.
        version: u64,
    },
    /// The result gave way.
    Superseded,
    /// The output is recorded.
    Written {
        /// Version of the result.
        version: u64,
        /// It was held already; its deadline is new.
        renewed: bool,
        /// When it expires, microseconds of the ledger.
        expires_us: u64,
    },
}

/// Why nothing was served; a successor is written as a key.
pub type Miss = MissReason<String>;

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What was asked.
    pub f: F,
    /// The stable code of the error. Never empty: what has no reason is not understood.
    pub error: String,
    /// The request's id, where it is known.
    pub request: Option<String>,
}

/// Something that the nemesis did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name, such as `kill`.
    pub name: String,
    /// What of it.
    pub step: Step,
    /// Whom it strikes.
    pub nodes: Vec<u64>,
}

/// What of a fault happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It took effect, or may have, and lasts.
    Start,
    /// It is over.
    Stop,
}

/// The key of a result: `<tenant>/<hex>` for a fingerprint however it is tagged, the subject itself for
/// others.
pub fn key_of(tenant: &str, subject: &str) -> String {
    let digest = subject.strip_prefix("fingerprint:").unwrap_or(subject);
    match digest.strip_prefix("sha3-256:") {
        Some(hex) => format!("{tenant}/{hex}"),
        None => subject.to_owned(),
    }
}

/// The hex digits of a digest with or without its tag.
pub fn hex_of(digest: &str) -> String {
    let bare = digest.strip_prefix("sha3-256:");
    bare.unwrap_or(digest).to_owned()
}

impl Answer {
    /// One that says nothing but what was found, and where.
    pub fn new(seq: u64, found: Found) -> Self {
        Self {
            seq,
            time_us: None,
            request: None,
            replayed: false,
            size: None,
            found,
        }
    }
}

impl Found {
    /// Whether it can answer this kind of question.
    pub fn is_of(&self, f: F) -> bool {
        match self {
            Self::Attested => f == F::Attest,
            Self::Conflict { .. } | Self::Written { .. } => f == F::Set,
            Self::Hit { .. } | Self::Missed(_) => f == F::Get,
            Self::Proved => f == F::Receipt,
            Self::Refused { .. } => f.is_change(),
            Self::Reinstated { .. } => f == F::Reinstate,
            Self::Revoked { .. } => f == F::Revoke,
            Self::Superseded => f == F::Supersede,
        }
    }
}

impl Asked {
    /// Which kind it is.
    pub fn f(&self) -> F {
        match self {
            Self::Attest { .. } => F::Attest,
            Self::Get { .. } => F::Get,
            Self::Receipt { .. } => F::Receipt,
            Self::Reinstate { .. } => F::Reinstate,
            Self::Revoke { .. } => F::Revoke,
            Self::Set { .. } => F::Set,
            Self::Supersede { .. } => F::Supersede,
        }
    }

    /// The computation it is about, if it is about one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Attest { key }
            | Self::Get { key }
            | Self::Reinstate { key, .. }
            | Self::Revoke { key, .. }
            | Self::Set { key, .. }
            | Self::Supersede { key, .. } => Some(key),
            Self::Receipt { .. } => None,
        }
    }
}

impl F {
    /// Every kind, in alphabetical order.
    pub const ALL: [Self; 7] = [
        Self::Attest,
        Self::Get,
        Self::Receipt,
        Self::Reinstate,
        Self::Revoke,
        Self::Set,
        Self::Supersede,
    ];

    /// The word in a history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attest => "attest",
            Self::Get => "get",
            Self::Receipt => "receipt",
            Self::Reinstate => "reinstate",
            Self::Revoke => "revoke",
            Self::Set => "set",
            Self::Supersede => "supersede",
        }
    }

    /// Whether an answer to it has an entry of its own, and it takes effect at most once.
    pub fn is_change(self) -> bool {
        !matches!(self, Self::Get | Self::Receipt)
    }

    /// Whether an answer to it has an entry of its own.
    pub fn makes_entry(self) -> bool {
        self != Self::Receipt
    }
}

#[cfg(test)]
mod tests;
