//! `cache.refused`: what the state of a subject forbade, and why.

use core::fmt;

use super::EntryError;
use super::fields::{Fields, int, join, members, sha3};
use super::op::Op;
use super::subject::Subject;
use crate::canonical::{self, Object, Value};
use crate::fingerprint::Fingerprint;
use crate::ids::TreeSize;

/// `cache.refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The operation that would have been appended.
    pub asked: Op,
    /// The state of the subject.
    pub state: State,
    /// Why, with what it rests on.
    pub refusal: Refusal,
    /// Digest of the canonical request.
    pub request: [u8; 32],
}

/// The state of a subject, by the word in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing was ever set.
    Absent,
    /// There is a result, and a lookup discloses it.
    Active,
    /// The value was erased. Reserved: no operation of rules version 1 erases.
    Erased,
    /// The newest result's deadline has passed.
    Expired,
    /// The newest result was revoked.
    Revoked,
    /// The result, or the model, gave way to another.
    Superseded,
}

/// Why an operation was refused. In entries: the code in key `reason`, what it rests on beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is nothing of this name: no result, or for an attestation no entry.
    Absent,
    /// The model of the result gave way.
    ModelSuperseded {
        /// The result's model.
        model: Subject,
        /// The model that takes its place.
        successor: Subject,
    },
    /// The provider answered with another model version than the fields say.
    ModelVersionMismatch {
        /// The version in the fields.
        model_version: String,
        /// The version that the client observed.
        observed_model_version: String,
    },
    /// To be reinstated, but not revoked.
    NotRevoked {
        /// The output that was named.
        output_hash: [u8; 32],
    },
    /// To be revoked, but not the output of the newest result.
    OutputMismatch {
        /// The output that was named.
        output_hash: [u8; 32],
    },
    /// To be set, but revoked and not reinstated.
    OutputRevoked {
        /// The output that was offered.
        output_hash: [u8; 32],
    },
    /// The newest result is revoked, and cannot be revoked or superseded.
    Revoked,
    /// So many outputs of this fingerprint are revoked that no further result is accepted.
    RevokedLimit,
    /// The attested size is greater than the ledger.
    SizeAhead {
        /// The size that was attested.
        size: TreeSize,
    },
    /// The named successor gives way, over others, to the subject itself.
    SuccessorCircular {
        /// The successor that was named.
        successor: Subject,
    },
    /// The named successor has no result.
    SuccessorAbsent {
        /// The successor that was named.
        successor: Fingerprint,
    },
    /// More successors follow each other than are looked through.
    SuccessorChainTooLong {
        /// The successor that was named.
        successor: Subject,
    },
    /// The subject gave way already.
    Superseded {
        /// To what.
        successor: Subject,
    },
    /// Another result is ACTIVE, so that none can be reinstated.
    VersionActive {
        /// The output that was named.
        output_hash: [u8; 32],
    },
}

impl Refusal {
    /// Every code, ascending.
    pub const CODES: [&'static str; 14] = [
        "absent",
        "model_superseded",
        "model_version_mismatch",
        "not_revoked",
        "output_mismatch",
        "output_revoked",
        "revoked",
        "revoked_limit",
        "size_ahead",
        "successor_absent",
        "successor_chain_too_long",
        "successor_circular",
        "superseded",
        "version_active",
    ];

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::ModelSuperseded { .. } => "model_superseded",
            Self::ModelVersionMismatch { .. } => "model_version_mismatch",
            Self::NotRevoked { .. } => "not_revoked",
            Self::OutputMismatch { .. } => "output_mismatch",
            Self::OutputRevoked { .. } => "output_revoked",
            Self::Revoked => "revoked",
            Self::RevokedLimit => "revoked_limit",
            Self::SizeAhead { .. } => "size_ahead",
            Self::SuccessorAbsent { .. } => "successor_absent",
            Self::SuccessorChainTooLong { .. } => "successor_chain_too_long",
            Self::SuccessorCircular { .. } => "successor_circular",
            Self::Superseded { .. } => "superseded",
            Self::VersionActive { .. } => "version_active",
        }
    }

    /// The successor that stands in the way, or that was named and is none.
    pub fn successor(&self) -> Option<Subject> {
        match self {
            Self::ModelSuperseded { successor, .. }
            | Self::SuccessorChainTooLong { successor }
            | Self::SuccessorCircular { successor }
            | Self::Superseded { successor } => Some(successor.clone()),
            Self::SuccessorAbsent { successor } => Some(Subject::Fingerprint(*successor)),
            _ => None,
        }
    }

    /// Code and what it rests on, as canonical JSON.
    pub(crate) fn to_text(&self) -> String {
        let mut object = self.to_object();
        object.insert("reason".to_owned(), self.code().into());
        Value::Object(object).to_text()
    }

    /// Reads what [`Refusal::to_text`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, EntryError> {
        let mut fields = Fields::of_entry(canonical::parse_canonical(text.as_bytes())?)?;
        let refusal = Self::read(&mut fields)?;
        fields.finish()?;
        Ok(refusal)
    }

    fn to_object(&self) -> Object {
        let rests_on: (&str, Value) = match self {
            Self::Absent | Self::Revoked | Self::RevokedLimit => return Object::new(),
            Self::SuccessorChainTooLong { successor }
            | Self::SuccessorCircular { successor }
            | Self::Superseded { successor } => ("successor", successor.to_string().into()),
            Self::ModelSuperseded { model, successor } => {
                return members([
                    ("model", Some(model.to_string().into())),
                    ("successor", Some(successor.to_string().into())),
                ]);
            }
            Self::SuccessorAbsent { successor } => ("successor", successor.to_string().into()),
            Self::NotRevoked { output_hash }
            | Self::OutputMismatch { output_hash }
            | Self::OutputRevoked { output_hash }
            | Self::VersionActive { output_hash } => ("output_hash", sha3(output_hash)),
            Self::SizeAhead { size } => ("size", int(size.0)),
            Self::ModelVersionMismatch {
                model_version,
                observed_model_version,
            } => {
                let observed = observed_model_version.as_str().into();
                return members([
                    ("model_version", Some(model_version.as_str().into())),
                    ("observed_model_version", Some(observed)),
                ]);
            }
        };
        let (key, value) = rests_on;
        members([(key, Some(value))])
    }

    fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let code = fields.text("reason")?;
        Ok(match code.as_str() {
            "absent" => Self::Absent,
            "model_superseded" => Self::ModelSuperseded {
                model: fields.model_subject("model")?,
                successor: fields.model_subject("successor")?,
            },
            "model_version_mismatch" => Self::ModelVersionMismatch {
                model_version: fields.name("model_version")?,
                observed_model_version: fields.name("observed_model_version")?,
            },
            "not_revoked" => Self::NotRevoked {
                output_hash: fields.sha3("output_hash")?,
            },
            "output_mismatch" => Self::OutputMismatch {
                output_hash: fields.sha3("output_hash")?,
            },
            "output_revoked" => Self::OutputRevoked {
                output_hash: fields.sha3("output_hash")?,
            },
            "revoked" => Self::Revoked,
            "revoked_limit" => Self::RevokedLimit,
            "size_ahead" => Self::SizeAhead {
                size: TreeSize(fields.int("size")?),
            },
            "successor_absent" => Self::SuccessorAbsent {
                successor: match fields.successor("successor")? {
                    Subject::Fingerprint(successor) => successor,
                    other => {
                        return Err(fields.malformed("successor", format!("cannot be `{other}`")));
                    }
                },
            },
            "successor_chain_too_long" => Self::SuccessorChainTooLong {
                successor: fields.successor("successor")?,
            },
            "successor_circular" => Self::SuccessorCircular {
                successor: fields.successor("successor")?,
            },
            "superseded" => Self::Superseded {
                successor: fields.successor("successor")?,
            },
            "version_active" => Self::VersionActive {
                output_hash: fields.sha3("output_hash")?,
            },
            other => return Err(fields.not_understood("reason", other)),
        })
    }
}

impl Refused {
    pub(super) fn to_object(&self) -> Object {
        let mut object = self.refusal.to_object();
        let rest = [
            ("asked", Some(self.asked.as_str().into())),
            ("reason", Some(self.refusal.code().into())),
            ("request", Some(sha3(&self.request))),
            ("state", Some(self.state.as_str().into())),
        ];
        join(&mut object, &members(rest));
        object
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let (asked, state) = (fields.text("asked")?, fields.text("state")?);
        Ok(Self {
            asked: Op::parse(&asked).ok_or_else(|| fields.not_understood("asked", &asked))?,
            state: State::parse(&state).ok_or_else(|| fields.not_understood("state", &state))?,
            refusal: Refusal::read(fields)?,
            request: fields.sha3("request")?,
        })
    }
}

impl State {
    /// Every state, in the order of the words.
    pub const ALL: [Self; 6] = [
        Self::Absent,
        Self::Active,
        Self::Erased,
        Self::Expired,
        Self::Revoked,
        Self::Superseded,
    ];

    /// The word in entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Active => "active",
            Self::Erased => "erased",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Superseded => "superseded",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
