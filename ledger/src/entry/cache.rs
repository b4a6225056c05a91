//! Bodies of the entries about a tenant's results and models.

use core::fmt;

use super::EntryError;
use super::fields::{Fields, base64, int, join, members, sha3};
use super::subject::{Model, Subject};
use super::write::SemanticMatch;
use crate::canonical::{Object, Value};
use crate::fingerprint::Fingerprint;
use crate::ids::{Seq, TreeSize};
use crate::text;
use crate::time::Micros;

/// The longest reason of a supersession, revocation, reinstatement or key rotation, in bytes.
///
/// A control character takes six bytes in JSON: 6 KiB of the 60 of a body.
pub const REASON_LEN_MAX: usize = 1_024;

/// Bytes of an auditor's Ed25519 signature.
pub const ATTEST_SIGNATURE_LEN: usize = 64;

/// The first line of what an auditor signs: its key signs nothing else.
pub const ATTEST_CONTEXT: &str = "candor.attest.v1";

/// `cache.read_as_of`: an auditor was answered what a lookup met at a moment of the past, with the
/// value where one was ACTIVE then and is still kept.
///
/// What was answered is not repeated: it follows from the entries before [`ReadAsOf::as_of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAsOf {
    /// Of how many entries the answer is; from 1 to the entry's own position.
    pub as_of: TreeSize,
    /// The time that deadlines were held against, where the moment was named by a time; else it is
    /// that of entry `as_of - 1`. Not after the entry's own.
    pub time: Option<Micros>,
}

/// `cache.read_hit`: the value of an ACTIVE result may be disclosed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadHit {
    /// The newest `cache.write` of this version: it proves output and deadline.
    pub write_seq: Seq,
    /// The result's version.
    pub version: u64,
    /// SHA3-256 of the value.
    pub output_hash: [u8; 32],
    /// There exactly when the result's pattern is `semantic`.
    pub semantic: Option<SemanticMatch>,
}

/// `cache.read_miss`: there was nothing to disclose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadMiss {
    /// Why.
    pub reason: MissReason,
}

/// Why a lookup found nothing that it may disclose.
///
/// `S` is how a successor is written: the entry's own way, unless somebody keeps another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MissReason<S = Subject> {
    /// Nothing was ever set.
    Absent,
    /// The value was erased. Reserved: no operation of rules version 1 erases.
    Erased,
    /// The deadline has passed.
    Expired,
    /// The result was revoked.
    Revoked,
    /// The result, or all results of its model version, gave way to this fingerprint or model.
    Superseded(S),
}

/// `cache.write_conflict`: other bytes were offered for an ACTIVE result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteConflict {
    /// SHA3-256 of the value that is held and stays.
    pub held: [u8; 32],
    /// SHA3-256 of the value that was offered.
    pub offered: [u8; 32],
    /// The held result's version.
    pub version: u64,
    /// The held result's newest `cache.write`.
    pub write_seq: Seq,
    /// Digest of the canonical request.
    pub request: [u8; 32],
}

/// `cache.supersede`: the subject's result gives way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supersede {
    /// Version of the result that gives way.
    pub version: u64,
    /// To what, and on whose word.
    pub by: SupersedeBy,
}

/// To what a result gives way, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupersedeBy {
    /// A client's, to another result of the tenant.
    Client {
        /// The result that takes its place.
        successor: Fingerprint,
        /// Why; 1 to [`REASON_LEN_MAX`] bytes.
        reason: String,
        /// Digest of the canonical request.
        request: [u8; 32],
    },
    /// The log's own, following a `model.supersede`.
    Model {
        /// The entry that it follows.
        cause: Seq,
        /// The model that takes the place of the result's.
        successor: Model,
    },
}

/// `cache.revoke` and `cache.reinstate`: an output and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Version of the result that has this output.
    pub version: u64,
    /// SHA3-256 of the output.
    pub output_hash: [u8; 32],
    /// Why; 1 to [`REASON_LEN_MAX`] bytes.
    pub reason: String,
    /// Digest of the canonical request.
    pub request: [u8; 32],
}

/// `model.supersede`: all results of one model version give way to another model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSupersede {
    /// The model that gives way, the entry's subject.
    pub from: Model,
    /// The model that takes its place.
    pub to: Model,
    /// Why; 1 to [`REASON_LEN_MAX`] bytes.
    pub reason: String,
    /// Digest of the canonical request.
    pub request: [u8; 32],
}

/// `cache.expire`: a result's deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expire {
    /// The result's newest `cache.write`.
    pub write_seq: Seq,
}

/// `cache.verify`: what an auditor found out about the subject, under the auditor's own signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// What was found.
    pub result: Verdict,
    /// Size of the ledger that was looked at.
    pub size: TreeSize,
    /// Root of the tree at that size. The fold holds no tree and cannot check it.
    pub root: [u8; 32],
    /// The auditor's Ed25519 key.
    pub auditor: [u8; 32],
    /// Over [`Attestation::statement`].
    pub signature: [u8; ATTEST_SIGNATURE_LEN],
    /// Digest of the canonical request.
    pub request: [u8; 32],
}

/// The three answers of a verification; "could not check" is the third.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Neither shown nor shown to be wrong.
    NotProved,
    /// Shown.
    Proved,
    /// Shown to be wrong.
    Refuted,
}

impl ReadAsOf {
    pub(super) fn to_object(self) -> Object {
        members([
            ("as_of", Some(int(self.as_of.0))),
            ("as_of_time", self.time.map(|time| time.to_string().into())),
        ])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            as_of: TreeSize(fields.int("as_of")?),
            time: fields.optional("as_of_time", |fields, key| {
                fields.parsed(key, |text| Micros::parse(text).ok())
            })?,
        })
    }
}

impl ReadHit {
    pub(super) fn to_object(&self) -> Object {
        let mut object = members([
            ("output_hash", Some(sha3(&self.output_hash))),
            ("version", Some(int(self.version))),
            ("write_seq", Some(int(self.write_seq.0))),
        ]);
        join(
            &mut object,
            &SemanticMatch::optional_members(self.semantic.as_ref()),
        );
        object
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let semantic = fields.has("original_prompt_hash") || fields.has("similarity");
        Ok(Self {
            write_seq: Seq(fields.int("write_seq")?),
            version: fields.int("version")?,
            output_hash: fields.sha3("output_hash")?,
            semantic: if semantic {
                Some(SemanticMatch::read(fields)?)
            } else {
                None
            },
        })
    }
}

impl ReadMiss {
    pub(super) fn to_object(&self) -> Object {
        let successor = match &self.reason {
            MissReason::Superseded(successor) => Some(successor.to_string().into()),
            _ => None,
        };
        members([
            ("reason", Some(self.reason.as_str().into())),
            ("successor", successor),
        ])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let word = fields.text("reason")?;
        let reason = MissReason::of_word(&word, || fields.successor("successor"))?;
        let reason = reason.ok_or_else(|| fields.not_understood("reason", &word))?;
        Ok(Self { reason })
    }
}

impl<S> MissReason<S> {
    /// The reason of a word in entries, `None` of another word; the successor is read where the reason
    /// has one.
    ///
    /// # Errors
    /// Those of the successor.
    pub fn of_word<E>(
        word: &str,
        successor: impl FnOnce() -> Result<S, E>,
    ) -> Result<Option<Self>, E> {
        Ok(Some(match word {
            "absent" => Self::Absent,
            "erased" => Self::Erased,
            "expired" => Self::Expired,
            "revoked" => Self::Revoked,
            "superseded" => Self::Superseded(successor()?),
            _ => return Ok(None),
        }))
    }

    /// The same reason with its successor written another way.
    pub fn map<T>(self, write: impl FnOnce(S) -> T) -> MissReason<T> {
        match self {
            Self::Absent => MissReason::Absent,
            Self::Erased => MissReason::Erased,
            Self::Expired => MissReason::Expired,
            Self::Revoked => MissReason::Revoked,
            Self::Superseded(successor) => MissReason::Superseded(write(successor)),
        }
    }

    /// The word in entries.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Erased => "erased",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Superseded(_) => "superseded",
        }
    }
}

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded(successor) => write!(f, "superseded by {successor}"),
            other => f.write_str(other.as_str()),
        }
    }
}

impl WriteConflict {
    pub(super) fn to_object(self) -> Object {
        members([
            ("held", Some(sha3(&self.held))),
            ("offered", Some(sha3(&self.offered))),
            ("request", Some(sha3(&self.request))),
            ("version", Some(int(self.version))),
            ("write_seq", Some(int(self.write_seq.0))),
        ])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            held: fields.sha3("held")?,
            offered: fields.sha3("offered")?,
            version: fields.int("version")?,
            write_seq: Seq(fields.int("write_seq")?),
            request: fields.sha3("request")?,
        })
    }
}

impl Supersede {
    pub(super) fn request(&self) -> Option<[u8; 32]> {
        match &self.by {
            SupersedeBy::Client { request, .. } => Some(*request),
            SupersedeBy::Model { .. } => None,
        }
    }

    pub(super) fn to_object(&self) -> Object {
        let version = ("version", Some(int(self.version)));
        match &self.by {
            SupersedeBy::Client {
                successor,
                reason,
                request,
            } => members([
                ("reason", Some(reason.as_str().into())),
                ("request", Some(sha3(request))),
                ("successor", Some(successor.to_string().into())),
                version,
            ]),
            SupersedeBy::Model { cause, successor } => {
                let successor = Subject::Model(successor.clone());
                members([
                    ("cause", Some(int(cause.0))),
                    ("successor", Some(successor.to_string().into())),
                    version,
                ])
            }
        }
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let version = fields.int("version")?;
        let by = match fields.subject("successor")? {
            Subject::Fingerprint(successor) => SupersedeBy::Client {
                successor,
                reason: fields.text_within("reason", REASON_LEN_MAX)?,
                request: fields.sha3("request")?,
            },
            Subject::Model(successor) => SupersedeBy::Model {
                cause: Seq(fields.int("cause")?),
                successor,
            },
            other => return Err(fields.malformed("successor", format!("cannot be `{other}`"))),
        };
        Ok(Self { version, by })
    }
}

impl Revocation {
    pub(super) fn to_object(&self) -> Object {
        members([
            ("output_hash", Some(sha3(&self.output_hash))),
            ("reason", Some(self.reason.as_str().into())),
            ("request", Some(sha3(&self.request))),
            ("version", Some(int(self.version))),
        ])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            version: fields.int("version")?,
            output_hash: fields.sha3("output_hash")?,
            reason: fields.text_within("reason", REASON_LEN_MAX)?,
            request: fields.sha3("request")?,
        })
    }
}

impl ModelSupersede {
    pub(super) fn to_object(&self) -> Object {
        members([
            ("from", Some(self.from.to_value())),
            ("reason", Some(self.reason.as_str().into())),
            ("request", Some(sha3(&self.request))),
            ("to", Some(self.to.to_value())),
        ])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            from: Model::read(fields, "from")?,
            to: Model::read(fields, "to")?,
            reason: fields.text_within("reason", REASON_LEN_MAX)?,
            request: fields.sha3("request")?,
        })
    }
}

impl Model {
    /// `{"name":..,"version":..}`
    pub(crate) fn to_value(&self) -> Value {
        let object = members([
            ("name", Some(self.name.as_str().into())),
            ("version", Some(self.version.as_str().into())),
        ]);
        object.into()
    }

    fn read(fields: &mut Fields, key: &str) -> Result<Self, EntryError> {
        let mut fields = fields.object(key)?;
        let model = Self {
            name: fields.name("name")?,
            version: fields.name("version")?,
        };
        fields.finish()?;
        Ok(model)
    }
}

impl Expire {
    pub(super) fn to_object(self) -> Object {
        members([("write_seq", Some(int(self.write_seq.0)))])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let write_seq = Seq(fields.int("write_seq")?);
        Ok(Self { write_seq })
    }
}

impl Attestation {
    /// What the auditor signs:
    /// `candor.attest.v1\n<origin>\n<tenant>\n<subject>\n<size>\n<base64 root>\n<result>\n`.
    ///
    /// None of the parts holds LF: names of a ledger never do.
    pub fn statement(&self, origin: &str, tenant: &str, subject: &Subject) -> String {
        let (size, root) = (self.size, text::base64(&self.root));
        let result = self.result.as_str();
        format!("{ATTEST_CONTEXT}\n{origin}\n{tenant}\n{subject}\n{size}\n{root}\n{result}\n")
    }

    pub(super) fn to_object(&self) -> Object {
        members([
            ("auditor", Some(base64(&self.auditor))),
            ("request", Some(sha3(&self.request))),
            ("result", Some(self.result.as_str().into())),
            ("root", Some(base64(&self.root))),
            ("signature", Some(base64(&self.signature))),
            ("size", Some(int(self.size.0))),
        ])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let result = fields.text("result")?;
        Ok(Self {
            result: Verdict::parse(&result)
                .ok_or_else(|| fields.not_understood("result", &result))?,
            size: TreeSize(fields.int("size")?),
            root: fields.base64("root")?,
            auditor: fields.base64("auditor")?,
            signature: fields.base64("signature")?,
            request: fields.sha3("request")?,
        })
    }
}

impl Verdict {
    /// The word in entries and signed statements.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotProved => "not-proved",
            Self::Proved => "proved",
            Self::Refuted => "refuted",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::NotProved, Self::Proved, Self::Refuted]
            .into_iter()
            .find(|verdict| verdict.as_str() == word)
    }
}
