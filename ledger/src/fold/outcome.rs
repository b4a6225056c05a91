//! What a command's items are answered.

use super::operation::RequestError;
use super::state::Held;
use crate::entry::{MissReason, ParamsError, Refusal, State};
use crate::ids::{NodeId, RequestId, Seq};
use crate::time::Micros;

/// What one item of a command is answered. Every variant has an entry but those that say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No entry: the ledger has its genesis already.
    AlreadyInitialised,
    /// A state-changing request took effect or was refused, now or when it was first made.
    Answered(Answered),
    /// No entry: the log cannot be changed so.
    ChangeRefused(ChangeError),
    /// The log was changed; without a position, it was so already and there is no entry.
    Done {
        /// The entry.
        seq: Option<Seq>,
    },
    /// A lookup found a result that may be disclosed.
    Hit(Hit),
    /// No entry: the request breaks a limit or a rule of form; admission should have said so.
    Malformed(RequestError),
    /// A lookup found nothing that may be disclosed.
    Miss(Miss),
    /// No entry: nothing but a genesis can be first.
    NotInitialised,
    /// A question about the past may be answered: its entry stands.
    PastRead(PastRead),
    /// No entry: the id's time is more than `max_skew` after ledger time. If it was sent once only,
    /// the request did nothing and may be made again under another id.
    RequestIdAhead {
        /// Ledger time.
        ledger_time: Micros,
    },
    /// No entry: the id was used for another request.
    RequestIdReused {
        /// Ledger time.
        ledger_time: Micros,
        /// The entry of the other request.
        seq: Seq,
    },
    /// No entry: the id is not above what was forgotten, so that nobody can say whether the request
    /// took effect earlier. If it was sent once only, it did nothing.
    RequestIdStale {
        /// Ledger time.
        ledger_time: Micros,
        /// The greatest id that was forgotten.
        floor: RequestId,
    },
    /// No entry: the command was stamped with rules that are not in force; propose it again.
    RulesMismatch {
        /// The rules in force.
        in_force: u32,
    },
    /// What a tick did; no entry where it counts none.
    Ticked(Ticked),
}

/// A value may be disclosed once a checkpoint covers its `write_seq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The `cache.read_hit`.
    pub seq: Seq,
    /// Its time.
    pub time: Micros,
    /// What is disclosed.
    pub held: Held,
}

/// Nothing may be disclosed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The `cache.read_miss`.
    pub seq: Seq,
    /// Its time.
    pub time: Micros,
    /// Why.
    pub reason: MissReason,
}

/// A question about the past stands in the ledger. What the answer is, only the entries tell: the state
/// that decides is that of the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastRead {
    /// The `cache.read_as_of`.
    pub seq: Seq,
    /// Its time.
    pub time: Micros,
}

/// The answer to a state-changing request, with the entry that recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The entry.
    pub seq: Seq,
    /// Its time.
    pub time: Micros,
    /// Whether the entry was made for an earlier try of the same request.
    pub replayed: bool,
    /// What it says.
    pub answer: Answer,
}

/// What became of a state-changing request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `cache.verify`
    Attested,
    /// `cache.write_conflict`: the offered value is not kept.
    Conflict {
        /// SHA3-256 of the value that is held and stays.
        held: [u8; 32],
        /// SHA3-256 of the value that was offered.
        offered: [u8; 32],
        /// The held result's version.
        version: u64,
        /// The held result's newest `cache.write`.
        write_seq: Seq,
    },
    /// `model.supersede`
    ModelSuperseded,
    /// `cache.refused`
    Refused {
        /// The state of the subject.
        state: State,
        /// Why.
        refusal: Refusal,
    },
    /// `cache.reinstate`
    Reinstated {
        /// The result's version.
        version: u64,
        /// ACTIVE, or EXPIRED when its deadline has passed meanwhile.
        state: State,
    },
    /// `cache.revoke`
    Revoked {
        /// The result's version.
        version: u64,
    },
    /// `cache.supersede`
    Superseded {
        /// The result's version.
        version: u64,
    },
    /// `cache.write`
    Written {
        /// The result's version.
        version: u64,
        /// Whether it was held already and got a new deadline.
        renewed: bool,
        /// Until when it may be served.
        deadline: Micros,
    },
}

/// What a tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Results that followed their superseded model.
    pub superseded: u64,
    /// Results whose deadline had passed.
    pub expired: u64,
    /// Whether there is more to do than one tick may.
    pub more: bool,
}

/// Why the log cannot be changed so; the operator's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The name of who asked is no name, or the log's own.
    #[error("the actor {0}")]
    Actor(String),
    /// Another member has this key.
    #[error("node `{0}` has the same cosigner key")]
    CosignerUsed(NodeId),
    /// The first entry of a ledger cannot say this.
    #[error("the genesis is unusable: {0}")]
    Genesis(String),
    /// A rotation is under way; the next seal ends it.
    #[error("the keys changed since the last seal: try again after the next one")]
    KeysPending,
    /// The bytes are no keys of the suite.
    #[error("the keys are unusable: {0}")]
    KeysUnusable(String),
    /// A log has at least one member.
    #[error("node `{0}` is the last member")]
    LastMember(NodeId),
    /// The file layout is fixed at genesis.
    #[error("parameter `entries_per_file` is `{0}` for ever")]
    LayoutFixed(u64),
    /// A log has at most [`crate::entry::MEMBERS_MAX`] members.
    #[error("there are `{0}` members already")]
    MembersMax(usize),
    /// A node id is used once, and is at most 2^53 - 1; a machine that comes back gets a new one.
    #[error("node id `{node}` is not above `{node_max}`, the greatest ever used, and below 2^53")]
    NodeIdUnusable {
        /// The id.
        node: NodeId,
        /// The greatest id that any member ever had.
        node_max: NodeId,
    },
    /// A number is out of its range.
    #[error(transparent)]
    Params(#[from] ParamsError),
    /// The reason is none.
    #[error("the reason {0}")]
    Reason(String),
    /// Rules that this version does not know, or that are older than those in force.
    #[error("rules `{0}` cannot follow those in force")]
    Rules(u32),
}
