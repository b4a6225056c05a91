//! The byte form of records: [`RECORD_VERSION`], one byte for the kind, then the fields in their
//! order.

use super::codec::{CodecError, Reader, Writer};
use super::records::{
    Cascade, DedupFloor, Held, KeysetName, Lifecycle, LogState, ModelSuperseded, Record,
    RequestRecord, ResultKind, ResultRecord, Standing,
};
use crate::digest::ChainHash;
use crate::entry::{ClusterId, Member, Model, Params, Refusal, State, Subject};
use crate::fingerprint::Pattern;
use crate::fold::Answer;
use crate::ids::{NodeId, RequestId, Seq, TreeSize};

/// Version of the byte form of records, its first byte.
pub const RECORD_VERSION: u8 = 1;

impl Record {
    /// The byte form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        let w = writer.u8(RECORD_VERSION);
        match self {
            Self::Log(log) => log.write(w.u8(0x01)),
            Self::Result(result) => result.write(w.u8(0x10)),
            Self::Lifecycle(lifecycle) => lifecycle.write(w.u8(0x11)),
            Self::ModelSuperseded(superseded) => {
                write_model(w.u8(0x12).u64(superseded.seq.0), &superseded.to);
            }
            Self::Present => {
                w.u8(0x20);
            }
            Self::Cascade(cascade) => write_model(w.u8(0x22).text(&cascade.tenant), &cascade.model),
            Self::Request(request) => request.write(w.u8(0x30)),
            Self::DedupFloor(floor) => {
                w.u8(0x31).u64(floor.count);
                w.option(floor.floor.as_ref(), |w, id| {
                    w.raw(&id.to_bytes());
                });
            }
        }
        writer.finish()
    }

    /// Reads the byte form.
    ///
    /// # Errors
    /// [`CodecError`] for all other bytes, another version's included.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new("record", bytes);
        let r = &mut reader;
        if r.u8()? != RECORD_VERSION {
            return Err(r.refused("the version is unknown"));
        }
        let record = match r.u8()? {
            0x01 => Self::Log(Box::new(LogState::read(r)?)),
            0x10 => Self::Result(Box::new(ResultRecord::read(r)?)),
            0x11 => Self::Lifecycle(Lifecycle::read(r)?),
            0x12 => Self::ModelSuperseded(ModelSuperseded {
                seq: Seq(r.u64()?),
                to: read_model(r)?,
            }),
            0x20 => Self::Present,
            0x22 => Self::Cascade(Cascade {
                tenant: r.text()?,
                model: read_model(r)?,
            }),
            0x30 => Self::Request(Box::new(RequestRecord::read(r)?)),
            0x31 => Self::DedupFloor(DedupFloor {
                count: r.u64()?,
                floor: r.option(read_request_id)?,
            }),
            _ => return Err(r.refused("the kind is unknown")),
        };
        reader.finish()?;
        Ok(record)
    }
}

impl LogState {
    fn write(&self, w: &mut Writer) {
        w.u64(self.size.0).raw(&self.head.0).u64(self.time.0);
        self.lifecycle.write(w);
        w.option(self.last_seal.as_ref(), |w, seq| {
            w.u64(seq.0);
        });
        w.text(&self.origin).raw(&self.cluster_id.0);
        w.count(self.members.len());
        for member in &self.members {
            w.u64(member.node.0).raw(&member.cosigner);
        }
        w.u64(self.node_max.0);
        self.keyset.write(w);
        w.option(self.keyset_next.as_ref(), |w, keyset| keyset.write(w));
        w.u32(self.rules);
        write_params(w, &self.params);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            size: TreeSize(r.u64()?),
            head: ChainHash(r.array()?),
            time: r.micros()?,
            lifecycle: Lifecycle::read(r)?,
            last_seal: r.option(|r| r.u64().map(Seq))?,
            origin: r.text()?,
            cluster_id: ClusterId(r.array()?),
            members: r.list(|r| {
                Ok(Member {
                    node: NodeId(r.u64()?),
                    cosigner: r.array()?,
                })
            })?,
            node_max: NodeId(r.u64()?),
            keyset: KeysetName::read(r)?,
            keyset_next: r.option(KeysetName::read)?,
            rules: r.u32()?,
            params: read_params(r)?,
        })
    }
}

impl KeysetName {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.id).u64(self.seq.0);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            id: r.array()?,
            seq: Seq(r.u64()?),
        })
    }
}

impl Lifecycle {
    fn write(self, w: &mut Writer) {
        w.u64(self.n).u64(self.last.0);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            n: r.u64()?,
            last: Seq(r.u64()?),
        })
    }
}

impl ResultRecord {
    fn write(&self, w: &mut Writer) {
        self.lifecycle.write(w);
        w.option(self.kind.as_ref(), |w, kind| {
            w.text(kind.pattern.as_str());
            w.option(kind.model.as_ref(), write_model);
        });
        w.u64(self.version_max);
        self.standing.write(w);
        w.count(self.revoked.len());
        for held in &self.revoked {
            held.write(w);
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            lifecycle: Lifecycle::read(r)?,
            kind: r.option(|r| {
                Ok(ResultKind {
                    pattern: r.parsed("a text is no pattern", |text| Pattern::parse(text).ok())?,
                    model: r.option(read_model)?,
                })
            })?,
            version_max: r.u64()?,
            standing: Standing::read(r)?,
            revoked: r.list(Held::read)?,
        })
    }
}

impl Standing {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Absent => {
                w.u8(0);
            }
            Self::Active(held) => held.write(w.u8(1)),
            Self::Expired(held) => held.write(w.u8(2)),
            Self::Revoked => {
                w.u8(3);
            }
            Self::Superseded { held, successor } => {
                held.write(w.u8(4));
                w.text(&successor.to_string());
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match r.u8()? {
            0 => Self::Absent,
            1 => Self::Active(Held::read(r)?),
            2 => Self::Expired(Held::read(r)?),
            3 => Self::Revoked,
            4 => Self::Superseded {
                held: Held::read(r)?,
                successor: r.parsed("a text is no subject", |text| Subject::parse(text).ok())?,
            },
            _ => return Err(r.refused("the standing is unknown")),
        })
    }
}

impl Held {
    fn write(&self, w: &mut Writer) {
        w.u64(self.version).u64(self.write_seq.0);
        w.u64(self.written.0).u64(self.ttl_ms).u64(self.deadline.0);
        w.raw(&self.output_hash).u64(self.output_len);
        w.text(&self.media_type);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            version: r.u64()?,
            write_seq: Seq(r.u64()?),
            written: r.micros()?,
            ttl_ms: r.u64()?,
            deadline: r.micros()?,
            output_hash: r.array()?,
            output_len: r.u64()?,
            media_type: r.text()?,
        })
    }
}

impl RequestRecord {
    fn write(&self, w: &mut Writer) {
        w.raw(&self.digest).u64(self.seq.0).u64(self.time.0);
        self.answer.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            digest: r.array()?,
            seq: Seq(r.u64()?),
            time: r.micros()?,
            answer: Answer::read(r)?,
        })
    }
}

impl Answer {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Attested => w.u8(0),
            Self::Conflict {
                held,
                offered,
                version,
                write_seq,
            } => {
                w.u8(1).raw(held).raw(offered);
                w.u64(*version).u64(write_seq.0)
            }
            Self::ModelSuperseded => w.u8(2),
            // The refusal as entries have it: there are many, and one spelling is enough.
            Self::Refused { state, refusal } => {
                w.u8(3).text(state.as_str()).text(&refusal.to_text())
            }
            Self::Reinstated { version, state } => w.u8(4).u64(*version).text(state.as_str()),
            Self::Revoked { version } => w.u8(5).u64(*version),
            Self::Superseded { version } => w.u8(6).u64(*version),
            Self::Written {
                version,
                renewed,
                deadline,
            } => w.u8(7).u64(*version).flag(*renewed).u64(deadline.0),
        };
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(match r.u8()? {
            0 => Self::Attested,
            1 => Self::Conflict {
                held: r.array()?,
                offered: r.array()?,
                version: r.u64()?,
                write_seq: Seq(r.u64()?),
            },
            2 => Self::ModelSuperseded,
            3 => Self::Refused {
                state: read_state(r)?,
                refusal: r.parsed("a text is no refusal", |text| Refusal::parse(text).ok())?,
            },
            4 => Self::Reinstated {
                version: r.u64()?,
                state: read_state(r)?,
            },
            5 => Self::Revoked { version: r.u64()? },
            6 => Self::Superseded { version: r.u64()? },
            7 => Self::Written {
                version: r.u64()?,
                renewed: r.flag()?,
                deadline: r.micros()?,
            },
            _ => return Err(r.refused("the answer is unknown")),
        })
    }
}

pub(super) fn read_request_id(r: &mut Reader<'_>) -> Result<RequestId, CodecError> {
    RequestId::from_bytes(r.array()?).map_err(|_| r.refused("a request id is none"))
}

fn write_params(w: &mut Writer, params: &Params) {
    w.u64(params.dedup_window).u64(params.entries_per_file);
    w.u64(params.entries_per_operation_max);
    w.u64(params.max_silence_ms).u64(params.max_skew_ms);
    w.u64(params.thin_hour_after_ms);
    w.u64(params.thin_minute_after_ms);
    w.u64(params.ttl_ms_max).u64(params.value_len_max);
}

fn read_params(r: &mut Reader<'_>) -> Result<Params, CodecError> {
    Ok(Params {
        dedup_window: r.u64()?,
        entries_per_file: r.u64()?,
        entries_per_operation_max: r.u64()?,
        max_silence_ms: r.u64()?,
        max_skew_ms: r.u64()?,
        thin_hour_after_ms: r.u64()?,
        thin_minute_after_ms: r.u64()?,
        ttl_ms_max: r.u64()?,
        value_len_max: r.u64()?,
    })
}

fn read_state(r: &mut Reader<'_>) -> Result<State, CodecError> {
    r.parsed("a text is no state", State::parse)
}

fn write_model(w: &mut Writer, model: &Model) {
    w.text(&model.name).text(&model.version);
}

fn read_model(r: &mut Reader<'_>) -> Result<Model, CodecError> {
    Ok(Model {
        name: r.text()?,
        version: r.text()?,
    })
}
