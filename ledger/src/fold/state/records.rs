//! What the fold remembers: all that a rule may ever read.

use crate::digest::ChainHash;
use crate::entry::{ClusterId, Member, Model, Params, State, Subject};
use crate::fingerprint::Pattern;
use crate::fold::Answer;
use crate::ids::{NodeId, RequestId, Seq, TreeSize};
use crate::time::Micros;

/// One remembered thing. Which kind belongs to which [`super::Key`] is said there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Results that have to follow their model.
    Cascade(Cascade),
    /// What a tenant's remembered requests amount to.
    DedupFloor(DedupFloor),
    /// Entries about a model or decision.
    Lifecycle(Lifecycle),
    /// The log.
    Log(Box<LogState>),
    /// A model that gave way.
    ModelSuperseded(ModelSuperseded),
    /// Nothing: an index says all with its key.
    Present,
    /// A request that took effect or was refused.
    Request(Box<RequestRecord>),
    /// A computation's result.
    Result(Box<ResultRecord>),
}

/// The log as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Entries so far.
    pub size: TreeSize,
    /// Hash of the last entry.
    pub head: ChainHash,
    /// Time of the last entry: ledger time.
    pub time: Micros,
    /// Entries about the log itself.
    pub lifecycle: Lifecycle,
    /// The last `ledger.seal`.
    pub last_seal: Option<Seq>,
    /// The log's name.
    pub origin: String,
    /// The cluster named in genesis.
    pub cluster_id: ClusterId,
    /// The members, by ascending id.
    pub members: Vec<Member>,
    /// The greatest id that any member ever had.
    pub node_max: NodeId,
    /// The keys that the next seal names.
    pub keyset: KeysetName,
    /// The keys that seals after the next one name, from a `ledger.keys` since the last seal.
    pub keyset_next: Option<KeysetName>,
    /// Version of the rules in force.
    pub rules: u32,
    /// The numbers of the rules.
    pub params: Params,
}

/// A key set by its id, and the entry that holds the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysetName {
    /// The id, as seals name it.
    pub id: [u8; 32],
    /// The `ledger.genesis` or `ledger.keys` entry.
    pub seq: Seq,
}

/// Where the entries about one subject stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// How many there are, at least 1.
    pub n: u64,
    /// The newest.
    pub last: Seq,
}

/// All that is remembered of one (tenant, fingerprint).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultRecord {
    /// Its entries, lookups included.
    pub lifecycle: Lifecycle,
    /// Pattern and model, which the fingerprint fixes; `None` while nothing was ever set.
    pub kind: Option<ResultKind>,
    /// The greatest version ever given, 0 before the first.
    pub version_max: u64,
    /// What became of the newest result.
    pub standing: Standing,
    /// Revoked results, oldest first, at most [`REVOKED_MAX`]; for `result-only` at most the
    /// newest.
    pub revoked: Vec<Held>,
}

/// The most revoked outputs of one fingerprint; with as many, no further result is accepted, so
/// that whatever is ACTIVE can always be revoked. 32 results of at most 300 bytes are below 10 KiB.
pub const REVOKED_MAX: usize = 32;

/// What a fingerprint says about every result under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultKind {
    /// How results may be found again.
    pub pattern: Pattern,
    /// Which model computes them; `None` for `result-only`, whose fields do not name it.
    pub model: Option<Model>,
}

/// What became of the newest result, as entries have it: an ACTIVE result may be overdue, or its
/// model superseded. [`crate::fold::effective`] takes both into account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was ever set.
    Absent,
    /// It may be served until its deadline.
    Active(Held),
    /// Its deadline has passed.
    Expired(Held),
    /// It was revoked, and stands in [`ResultRecord::revoked`].
    Revoked,
    /// It gave way.
    Superseded {
        /// The result that gave way.
        held: Held,
        /// A fingerprint or model.
        successor: Subject,
    },
}

/// One result: what a lookup answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its ordinal under the fingerprint, from 1.
    pub version: u64,
    /// Its newest `cache.write`.
    pub write_seq: Seq,
    /// Time of that entry.
    pub written: Micros,
    /// How long it may be served from then on.
    pub ttl_ms: u64,
    /// From when on it is overdue.
    pub deadline: Micros,
    /// SHA3-256 of the value.
    pub output_hash: [u8; 32],
    /// Length of the value in bytes.
    pub output_len: u64,
    /// What kind of bytes the value is.
    pub media_type: String,
}

/// A model version that gave way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSuperseded {
    /// The `model.supersede`.
    pub seq: Seq,
    /// To which model.
    pub to: Model,
}

/// A `model.supersede` whose ACTIVE results are not all superseded yet; the next one is the first
/// of [`super::Prefix::by_model`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cascade {
    /// Whose.
    pub tenant: String,
    /// The model that gave way.
    pub model: Model,
}

/// A request that took effect or was refused, so that it does so once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Digest of the canonical request.
    pub digest: [u8; 32],
    /// The entry.
    pub seq: Seq,
    /// Time of the entry.
    pub time: Micros,
    /// What it was answered.
    pub answer: Answer,
}

/// What a tenant's remembered requests amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DedupFloor {
    /// How many are remembered.
    pub count: u64,
    /// The greatest id that was ever dropped.
    pub floor: Option<RequestId>,
}

impl LogState {
    /// Whether an entry stands after the last seal.
    pub fn is_unsealed(&self) -> bool {
        let sealed = self.last_seal.and_then(Seq::size_including);
        sealed.unwrap_or_default() < self.size
    }
}

impl ResultRecord {
    /// Of a fingerprint under which nothing was ever set.
    pub(in crate::fold) fn absent(lifecycle: Lifecycle) -> Self {
        Self {
            lifecycle,
            kind: None,
            version_max: 0,
            standing: Standing::Absent,
            revoked: Vec::new(),
        }
    }

    /// The newest result, unless it was revoked or never was.
    pub fn held(&self) -> Option<&Held> {
        match &self.standing {
            Standing::Active(held)
            | Standing::Expired(held)
            | Standing::Superseded { held, .. } => Some(held),
            Standing::Absent | Standing::Revoked => None,
        }
    }

    /// Every result whose value may be served or reinstated.
    pub fn results(&self) -> impl Iterator<Item = &Held> {
        self.held().into_iter().chain(&self.revoked)
    }

    /// The pattern, if anything was ever set.
    pub fn pattern(&self) -> Option<Pattern> {
        self.kind.as_ref().map(|kind| kind.pattern)
    }

    /// The model, if anything was ever set and its fields name one.
    pub fn model(&self) -> Option<&Model> {
        self.kind.as_ref()?.model.as_ref()
    }

    /// The revoked result of this output.
    pub fn revoked(&self, output_hash: [u8; 32]) -> Option<&Held> {
        let mut revoked = self.revoked.iter();
        revoked.find(|held| held.output_hash == output_hash)
    }

    /// The state as entries have it, without a look at deadline or model.
    pub fn state(&self) -> State {
        match &self.standing {
            Standing::Absent => State::Absent,
            Standing::Active(_) => State::Active,
            Standing::Expired(_) => State::Expired,
            Standing::Revoked => State::Revoked,
            Standing::Superseded { .. } => State::Superseded,
        }
    }
}
