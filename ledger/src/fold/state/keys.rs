//! Names of records, with bytes whose order is the order in which ranges are walked.

use super::codec::{CodecError, Reader, Writer};
use crate::entry::{Model, Subject};
use crate::fingerprint::Fingerprint;
use crate::ids::{RequestId, Seq};
use crate::time::Micros;

const LOG: u8 = 0x01;
const RESULT: u8 = 0x10;
const SUBJECT: u8 = 0x11;
const MODEL_SUPERSEDED: u8 = 0x12;
const DEADLINE: u8 = 0x20;
const BY_MODEL: u8 = 0x21;
const CASCADE: u8 = 0x22;
const REQUEST: u8 = 0x30;
const DEDUP_FLOOR: u8 = 0x31;

/// Name of a record.
///
/// Byte form: one byte for the kind, then the fields in their order: names and subjects end in a
/// zero byte, which they never hold; all else has its length by its type, numbers big-endian. So
/// the bytes of keys of one kind compare field by field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// 0x01, the one [`super::LogState`].
    Log,
    /// 0x10, a [`super::ResultRecord`].
    Result {
        /// Whose.
        tenant: String,
        /// The computation.
        fingerprint: Fingerprint,
    },
    /// 0x11, the [`super::Lifecycle`] of a model or decision.
    Subject {
        /// Whose.
        tenant: String,
        /// Neither a fingerprint nor `ledger`.
        subject: Subject,
    },
    /// 0x12, a [`super::ModelSuperseded`].
    ModelSuperseded {
        /// Whose.
        tenant: String,
        /// The model that gave way.
        model: Model,
    },
    /// 0x20, an ACTIVE result by its deadline; the record is [`super::Record::Present`].
    Deadline {
        /// From when on the result is overdue.
        deadline: Micros,
        /// Whose.
        tenant: String,
        /// The computation.
        fingerprint: Fingerprint,
    },
    /// 0x21, an ACTIVE result by its model; the record is [`super::Record::Present`].
    ByModel {
        /// Whose.
        tenant: String,
        /// The result's model.
        model: Model,
        /// The computation.
        fingerprint: Fingerprint,
    },
    /// 0x22, a [`super::Cascade`]: a `model.supersede` that results still have to follow.
    Cascade {
        /// The `model.supersede`.
        cause: Seq,
    },
    /// 0x30, a [`super::RequestRecord`].
    Request {
        /// Whose.
        tenant: String,
        /// The client's name for its request.
        request_id: RequestId,
        /// Who asked.
        actor: String,
    },
    /// 0x31, a [`super::DedupFloor`].
    DedupFloor {
        /// Whose.
        tenant: String,
    },
}

/// The leading bytes that a range of keys shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(Vec<u8>);

impl Prefix {
    /// The ACTIVE results of one model version, by fingerprint.
    pub fn by_model(tenant: &str, model: &Model) -> Self {
        let mut writer = Writer::default();
        writer.u8(BY_MODEL).name(tenant);
        writer.name(&model.name).name(&model.version);
        Self(writer.finish())
    }

    /// The supersessions of models that results still have to follow, oldest first.
    pub fn cascades() -> Self {
        Self(vec![CASCADE])
    }

    /// The deadlines of every tenant's ACTIVE results, earliest first.
    pub fn deadlines() -> Self {
        Self(vec![DEADLINE])
    }

    /// The remembered requests of a tenant, by request id.
    pub fn requests(tenant: &str) -> Self {
        let mut writer = Writer::default();
        writer.u8(REQUEST).name(tenant);
        Self(writer.finish())
    }

    /// The results of a tenant whose fingerprints start with these bytes, by fingerprint.
    pub fn results(tenant: &str, fingerprint_head: &[u8]) -> Self {
        let mut writer = Writer::default();
        writer.u8(RESULT).name(tenant).raw(fingerprint_head);
        Self(writer.finish())
    }

    /// The results of all tenants, by tenant and fingerprint.
    pub fn all_results() -> Self {
        Self(vec![RESULT])
    }

    /// The bytes with which every key of the range starts.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether rules take this range from its front again and again, forgetting what they have
    /// taken: all ranges but those of results.
    pub fn is_queue(&self) -> bool {
        self.0.first() != Some(&RESULT)
    }
}

impl Key {
    /// The byte form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.finish()
    }

    /// Whether the bytes name a subject other than the ledger: there is one for whatever was ever
    /// asked, and none is ever forgotten.
    pub fn is_subject(bytes: &[u8]) -> bool {
        matches!(bytes.first(), Some(&(RESULT | SUBJECT)))
    }

    /// Reads the byte form.
    ///
    /// # Errors
    /// [`CodecError`] for all other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new("key", bytes);
        let key = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(key)
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Log => w.u8(LOG),
            Self::Result {
                tenant,
                fingerprint,
            } => w.u8(RESULT).name(tenant).raw(&fingerprint.0),
            Self::Subject { tenant, subject } => {
                w.u8(SUBJECT).name(tenant).name(&subject.to_string())
            }
            Self::ModelSuperseded { tenant, model } => {
                w.u8(MODEL_SUPERSEDED).name(tenant);
                w.name(&model.name).name(&model.version)
            }
            Self::Deadline {
                deadline,
                tenant,
                fingerprint,
            } => {
                w.u8(DEADLINE).u64(deadline.0);
                w.name(tenant).raw(&fingerprint.0)
            }
            Self::ByModel {
                tenant,
                model,
                fingerprint,
            } => {
                w.u8(BY_MODEL).name(tenant).name(&model.name);
                w.name(&model.version).raw(&fingerprint.0)
            }
            Self::Cascade { cause } => w.u8(CASCADE).u64(cause.0),
            Self::Request {
                tenant,
                request_id,
                actor,
            } => {
                w.u8(REQUEST).name(tenant);
                w.raw(&request_id.to_bytes()).name(actor)
            }
            Self::DedupFloor { tenant } => w.u8(DEDUP_FLOOR).name(tenant),
        };
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match r.u8()? {
            LOG => Self::Log,
            RESULT => Self::Result {
                tenant: r.name()?,
                fingerprint: Fingerprint(r.array()?),
            },
            SUBJECT => Self::Subject {
                tenant: r.name()?,
                subject: read_subject(r)?,
            },
            MODEL_SUPERSEDED => Self::ModelSuperseded {
                tenant: r.name()?,
                model: read_model(r)?,
            },
            DEADLINE => Self::Deadline {
                deadline: r.micros()?,
                tenant: r.name()?,
                fingerprint: Fingerprint(r.array()?),
            },
            BY_MODEL => Self::ByModel {
                tenant: r.name()?,
                model: read_model(r)?,
                fingerprint: Fingerprint(r.array()?),
            },
            CASCADE => Self::Cascade {
                cause: Seq(r.u64()?),
            },
            REQUEST => Self::Request {
                tenant: r.name()?,
                request_id: super::read_request_id(r)?,
                actor: r.name()?,
            },
            DEDUP_FLOOR => Self::DedupFloor { tenant: r.name()? },
            _ => return Err(r.refused("the kind is unknown")),
        })
    }
}

fn read_subject(reader: &mut Reader<'_>) -> Result<Subject, CodecError> {
    let text = reader.name()?;
    Subject::parse(&text).map_err(|_| reader.refused("a text is no subject"))
}

fn read_model(reader: &mut Reader<'_>) -> Result<Model, CodecError> {
    Ok(Model {
        name: reader.name()?,
        version: reader.name()?,
    })
}
