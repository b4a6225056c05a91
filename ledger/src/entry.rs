//! One record of the ledger: a line of canonical JSON that is never edited.
//!
//! ```text
//! {"actor":..,"body":{..},"n":..,"nonce":..,"op":..,"prev":..,"request_id":..,"seq":..,
//!  "subject":..,"subject_prev":..,"tenant":..,"time":..,"v":1}
//! ```
//!
//! Every key is there in every entry; `request_id` and `subject_prev` may be `null`. The keys of
//! `body` are exactly those of the operation, see [`Body`]. Bytes are an entry only if they are the
//! canonical JSON of what they say, so that one entry has one spelling and one hash.
//!
//! Reading fails in two ways that a verdict must keep apart. [`EntryError::Malformed`] says that
//! nobody could have written this; [`EntryError::NotUnderstood`] says that a newer version might
//! have, and then the answer is "could not check", never "good".
//!
//! What an entry may say at its place in the ledger is the business of [`crate::fold`], not of this
//! module: here is only its form.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};

use crate::canonical::{self, JsonError, Object, Value};
use crate::digest::ChainHash;
use crate::ids::{RequestId, Seq};
use crate::time::Micros;

mod cache;
mod fields;
mod log;
mod op;
mod refusal;
mod subject;
mod write;

pub use cache::{
    ATTEST_CONTEXT, ATTEST_SIGNATURE_LEN, Attestation, Expire, MissReason, ModelSupersede,
    REASON_LEN_MAX, ReadAsOf, ReadHit, ReadMiss, Revocation, Supersede, SupersedeBy, Verdict,
    WriteConflict,
};
pub use log::{
    ClusterId, Former, Genesis, KeysChange, LogKeys, MEMBERS_MAX, Member, MemberChange, Params,
    ParamsChange, ParamsError, RulesChange, Seal,
};
pub use op::Op;
pub use refusal::{Refusal, Refused, State};
pub use subject::{Model, Subject, SubjectError};
pub use write::{MEDIA_TYPE_LEN_MAX, SemanticMatch, Told, Write};

pub(crate) use fields::text_problem;
pub(crate) use log::{members_problem, origin_problem};
pub(crate) use subject::name_problem;
pub(crate) use write::{media_type_problem, number_problem};

use fields::Fields;

/// The version of this format, in key `v`.
pub const ENTRY_VERSION: u32 = 1;

/// The longest entry in bytes: C2SP tlog-tiles gives the length of an entry 16 bits.
pub const ENTRY_LEN_MAX: usize = 65_535;

/// The actor of what the log itself does; no client can have this name.
pub const LOG_ACTOR: &str = "log";

/// What makes the leaf of an entry unguessable: 128 bits from the command's secret seed.
///
/// Text form: 22 characters of base64url.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nonce(pub [u8; 16]);

/// One entry, version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position in the ledger.
    pub seq: Seq,
    /// Hash of the entry before; [`ChainHash::EMPTY`] at position 0.
    pub prev: ChainHash,
    /// The later of the command's time and the previous entry's.
    pub time: Micros,
    /// Whose entry it is; empty for entries of the log itself.
    pub tenant: String,
    /// What it is about.
    pub subject: Subject,
    /// Ordinal within the lifecycle of (tenant, subject), from 1.
    pub n: u64,
    /// Position of the lifecycle's entry before this one.
    pub subject_prev: Option<Seq>,
    /// The authenticated principal that asked, or [`LOG_ACTOR`].
    pub actor: String,
    /// The client's name for its request; `None` for what the log does by itself.
    pub request_id: Option<RequestId>,
    /// See [`Nonce`].
    pub nonce: Nonce,
    /// What happened.
    pub body: Body,
}

/// What happened: the operation and its particulars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `cache.expire`: the deadline of an ACTIVE result has passed.
    Expire(Expire),
    /// `ledger.genesis`: the first entry.
    Genesis(Box<Genesis>),
    /// `ledger.keys`: the log will sign with other keys.
    Keys(Box<KeysChange>),
    /// `ledger.member`: a node joins or has left.
    Member(MemberChange),
    /// `model.supersede`: all results of a model version give way to another's.
    ModelSupersede(ModelSupersede),
    /// `ledger.params`: the numbers of the rules change.
    Params(Box<ParamsChange>),
    /// `cache.read_as_of`: what a lookup met at a moment of the past was disclosed.
    ReadAsOf(ReadAsOf),
    /// `cache.read_hit`: a value was disclosed.
    ReadHit(ReadHit),
    /// `cache.read_miss`: nothing was disclosed.
    ReadMiss(ReadMiss),
    /// `cache.refused`: an operation that its subject's state forbids.
    Refused(Box<Refused>),
    /// `cache.reinstate`: a revoked output may be served and set again.
    Reinstate(Revocation),
    /// `cache.revoke`: an output may not be served or set any more.
    Revoke(Revocation),
    /// `ledger.rules`: another version of the rules from here on.
    Rules(RulesChange),
    /// `ledger.seal`: the end of a group.
    Seal(Seal),
    /// `cache.supersede`: a result gives way to another.
    Supersede(Supersede),
    /// `cache.verify`: an auditor's signed attestation.
    Verify(Box<Attestation>),
    /// `cache.write`: a result was accepted.
    Write(Box<Write>),
    /// `cache.write_conflict`: other bytes were offered for an ACTIVE result; nothing changed.
    WriteConflict(WriteConflict),
}

/// Bytes that are no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not JSON, or not in its canonical form.
    #[error("the entry is not canonical JSON: {0}")]
    Json(#[from] JsonError),
    /// No version of this format has such an entry.
    #[error("key `{key}` of the entry {problem}")]
    Malformed {
        /// Which key; keys of the body as `body.key`.
        key: String,
        /// What is wrong with it, continuing "key `x` of the entry ...".
        problem: String,
    },
    /// A newer version may have written this: it could not be checked.
    #[error("could not check: this version does not know {found:?} as key or value of `{key}`")]
    NotUnderstood {
        /// Where it stands.
        key: String,
        /// What is unknown.
        found: String,
    },
    /// Longer than [`ENTRY_LEN_MAX`].
    #[error("an entry of `{len}` bytes is longer than {ENTRY_LEN_MAX}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl Entry {
    /// The operation.
    pub fn op(&self) -> Op {
        self.body.op()
    }

    /// The canonical bytes, without a line feed.
    ///
    /// # Panics
    /// When a number is above 2^53 - 1. [`Entry::parse`] makes no such entry, nor does
    /// [`crate::fold::decide`].
    pub fn encode(&self) -> Vec<u8> {
        let mut object = Object::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("actor", self.actor.as_str().into());
        put("body", self.body.to_object().into());
        put("n", fields::int(self.n));
        put("nonce", BASE64_URL_SAFE_NO_PAD.encode(self.nonce.0).into());
        put("op", self.op().as_str().into());
        put("prev", self.prev.to_string().into());
        let request_id = self.request_id.map(|id| id.to_string().into());
        put("request_id", request_id.unwrap_or(Value::Null));
        put("seq", fields::int(self.seq.0));
        put("subject", self.subject.to_string().into());
        let subject_prev = self.subject_prev.map(|seq| fields::int(seq.0));
        put("subject_prev", subject_prev.unwrap_or(Value::Null));
        put("tenant", self.tenant.as_str().into());
        put("time", self.time.to_string().into());
        put("v", ENTRY_VERSION.into());
        Value::Object(object).to_bytes()
    }

    /// Reads the bytes of one entry, without a line feed.
    ///
    /// Cost: linear; the bytes are written once more to compare.
    ///
    /// # Errors
    /// [`EntryError::NotUnderstood`] for an unknown version, operation, key or word, all else that
    /// is not the one spelling of an entry as one of the others.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > ENTRY_LEN_MAX {
            return Err(EntryError::TooLong { len: bytes.len() });
        }
        let mut fields = Fields::of_entry(canonical::parse_canonical(bytes)?)?;
        let version = fields.int("v")?;
        if version != u64::from(ENTRY_VERSION) {
            return Err(fields.not_understood("v", &version.to_string()));
        }
        let op = fields.text("op")?;
        let op = Op::parse(&op).ok_or_else(|| fields.not_understood("op", &op))?;
        let entry = Self {
            seq: Seq(fields.int("seq")?),
            prev: fields.parsed("prev", |text| ChainHash::parse(text).ok())?,
            time: fields.parsed("time", |text| Micros::parse(text).ok())?,
            tenant: fields.name_or_empty("tenant")?,
            subject: fields.subject("subject")?,
            n: fields.int("n")?,
            subject_prev: fields.int_or_null("subject_prev")?.map(Seq),
            actor: fields.name("actor")?,
            request_id: fields.parsed_or_null("request_id", |text| RequestId::parse(text).ok())?,
            nonce: fields.parsed("nonce", parse_nonce)?,
            body: Body::from_fields(op, fields.object("body")?)?,
        };
        fields.finish()?;
        Ok(entry)
    }
}

impl Body {
    /// The operation.
    pub fn op(&self) -> Op {
        match self {
            Self::Expire(_) => Op::CacheExpire,
            Self::Genesis(_) => Op::LedgerGenesis,
            Self::Keys(_) => Op::LedgerKeys,
            Self::Member(_) => Op::LedgerMember,
            Self::ModelSupersede(_) => Op::ModelSupersede,
            Self::Params(_) => Op::LedgerParams,
            Self::ReadAsOf(_) => Op::CacheReadAsOf,
            Self::ReadHit(_) => Op::CacheReadHit,
            Self::ReadMiss(_) => Op::CacheReadMiss,
            Self::Refused(_) => Op::CacheRefused,
            Self::Reinstate(_) => Op::CacheReinstate,
            Self::Revoke(_) => Op::CacheRevoke,
            Self::Rules(_) => Op::LedgerRules,
            Self::Seal(_) => Op::LedgerSeal,
            Self::Supersede(_) => Op::CacheSupersede,
            Self::Verify(_) => Op::CacheVerify,
            Self::Write(_) => Op::CacheWrite,
            Self::WriteConflict(_) => Op::CacheWriteConflict,
        }
    }

    /// The digest of the client's canonical request, in entries that took effect or were refused
    /// once and for all; see [`crate::fold::Request::digest`].
    pub fn request(&self) -> Option<[u8; 32]> {
        match self {
            Self::ModelSupersede(body) => Some(body.request),
            Self::Refused(body) => Some(body.request),
            Self::Reinstate(body) | Self::Revoke(body) => Some(body.request),
            Self::Supersede(body) => body.request(),
            Self::Verify(body) => Some(body.request),
            Self::Write(body) => Some(body.request),
            Self::WriteConflict(body) => Some(body.request),
            Self::Expire(_)
            | Self::Genesis(_)
            | Self::Keys(_)
            | Self::Member(_)
            | Self::Params(_)
            | Self::ReadAsOf(_)
            | Self::ReadHit(_)
            | Self::ReadMiss(_)
            | Self::Rules(_)
            | Self::Seal(_) => None,
        }
    }

    /// The members of key `body`.
    pub fn to_object(&self) -> Object {
        match self {
            Self::Expire(body) => body.to_object(),
            Self::Genesis(body) => body.to_object(),
            Self::Keys(body) => body.to_object(),
            Self::Member(body) => body.to_object(),
            Self::ModelSupersede(body) => body.to_object(),
            Self::Params(body) => body.to_object(),
            Self::ReadAsOf(body) => body.to_object(),
            Self::ReadHit(body) => body.to_object(),
            Self::ReadMiss(body) => body.to_object(),
            Self::Refused(body) => body.to_object(),
            Self::Reinstate(body) | Self::Revoke(body) => body.to_object(),
            Self::Rules(body) => body.to_object(),
            Self::Seal(body) => body.to_object(),
            Self::Supersede(body) => body.to_object(),
            Self::Verify(body) => body.to_object(),
            Self::Write(body) => body.to_object(),
            Self::WriteConflict(body) => body.to_object(),
        }
    }

    fn from_fields(op: Op, mut fields: Fields) -> Result<Self, EntryError> {
        let f = &mut fields;
        let body = match op {
            Op::CacheExpire => Self::Expire(Expire::read(f)?),
            Op::CacheReadAsOf => Self::ReadAsOf(ReadAsOf::read(f)?),
            Op::CacheReadHit => Self::ReadHit(ReadHit::read(f)?),
            Op::CacheReadMiss => Self::ReadMiss(ReadMiss::read(f)?),
            Op::CacheRefused => Self::Refused(Box::new(Refused::read(f)?)),
            Op::CacheReinstate => Self::Reinstate(Revocation::read(f)?),
            Op::CacheRevoke => Self::Revoke(Revocation::read(f)?),
            Op::CacheSupersede => Self::Supersede(Supersede::read(f)?),
            Op::CacheVerify => Self::Verify(Box::new(Attestation::read(f)?)),
            Op::CacheWrite => Self::Write(Box::new(Write::read(f)?)),
            Op::CacheWriteConflict => Self::WriteConflict(WriteConflict::read(f)?),
            Op::LedgerGenesis => Self::Genesis(Box::new(Genesis::read(f)?)),
            Op::LedgerKeys => Self::Keys(Box::new(KeysChange::read(f)?)),
            Op::LedgerMember => Self::Member(MemberChange::read(f)?),
            Op::LedgerParams => Self::Params(Box::new(ParamsChange::read(f)?)),
            Op::LedgerRules => Self::Rules(RulesChange::read(f)?),
            Op::LedgerSeal => Self::Seal(Seal::read(f)?),
            Op::ModelSupersede => Self::ModelSupersede(ModelSupersede::read(f)?),
        };
        fields.finish()?;
        Ok(body)
    }
}

fn parse_nonce(text: &str) -> Option<Nonce> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    bytes.try_into().ok().map(Nonce)
}
