//! Clients' requests in commands.

use candor_ledger::decimal::Decimal;
use candor_ledger::digest::TaggedDigest;
use candor_ledger::entry::{
    self, KeysChange, LogKeys, Member, MemberChange, Model, Params, ParamsChange, RulesChange,
    SemanticMatch, Subject, Told, Verdict,
};
use candor_ledger::fingerprint::{ExactFields, Fingerprint, FingerprintFields, ResultOnlyFields};
use candor_ledger::fold::{
    Admin, Attest, Change, Get, ModelSupersede, Operation, ReadAsOf, Request, Revoke, Set,
    Supersede,
};
use candor_ledger::ids::{NodeId, RequestId, TreeSize};
use candor_ledger::time::Micros;

use super::CommandError;
use super::codec::{Reader, Writer};

/// What a request takes beside its value: names, digests, parameters; an estimate for packing.
pub(super) const COST: u64 = 1_024;

pub(super) fn write(to: &mut Writer, request: &Request) {
    to.text(&request.tenant);
    to.text(&request.actor);
    to.raw(&request.request_id.to_bytes());
    match &request.operation {
        Operation::Get(get) => {
            to.u8(1);
            to.raw(&get.fingerprint.0);
            to.option(get.semantic.as_ref(), write_semantic);
        }
        Operation::Set(set) => {
            to.u8(2);
            write_set(to, set);
        }
        Operation::Supersede(supersede) => {
            to.u8(3);
            to.raw(&supersede.fingerprint.0);
            to.raw(&supersede.successor.0);
            to.text(&supersede.reason);
        }
        Operation::Revoke(revoke) => {
            to.u8(4);
            write_revocation(to, revoke);
        }
        Operation::Reinstate(reinstate) => {
            to.u8(5);
            write_revocation(to, reinstate);
        }
        Operation::ModelSupersede(supersede) => {
            to.u8(6);
            for text in [
                &supersede.from.name,
                &supersede.from.version,
                &supersede.to.name,
                &supersede.to.version,
                &supersede.reason,
            ] {
                to.text(text);
            }
        }
        Operation::Attest(attest) => {
            to.u8(7);
            to.text(&attest.subject.to_string());
            to.text(attest.result.as_str());
            to.u64(attest.size.0);
            to.raw(&attest.root);
            to.raw(&attest.auditor);
            to.raw(&attest.signature);
        }
        Operation::ReadAsOf(read) => {
            to.u8(8);
            to.raw(&read.fingerprint.0);
            to.u64(read.moment.as_of.0);
            to.option(read.moment.time, |to, time| to.u64(time.0));
        }
    }
}

pub(super) fn read(from: &mut Reader) -> Result<Request, CommandError> {
    let tenant = from.text()?;
    let actor = from.text()?;
    let request_id = read_request_id(from)?;
    let operation = match from.u8()? {
        1 => Operation::Get(Get {
            fingerprint: Fingerprint(from.array()?),
            semantic: from.option(read_semantic)?,
        }),
        2 => Operation::Set(Box::new(read_set(from)?)),
        3 => Operation::Supersede(Supersede {
            fingerprint: Fingerprint(from.array()?),
            successor: Fingerprint(from.array()?),
            reason: from.text()?,
        }),
        4 => Operation::Revoke(read_revocation(from)?),
        5 => Operation::Reinstate(read_revocation(from)?),
        6 => Operation::ModelSupersede(Box::new(ModelSupersede {
            from: Model {
                name: from.text()?,
                version: from.text()?,
            },
            to: Model {
                name: from.text()?,
                version: from.text()?,
            },
            reason: from.text()?,
        })),
        7 => Operation::Attest(Box::new(Attest {
            subject: Subject::parse(&from.text()?)
                .map_err(|_| CommandError::Malformed("a subject"))?,
            result: Verdict::parse(&from.text()?).ok_or(CommandError::Malformed("a verdict"))?,
            size: TreeSize(from.u64()?),
            root: from.array()?,
            auditor: from.array()?,
            signature: from.array()?,
        })),
        8 => Operation::ReadAsOf(ReadAsOf {
            fingerprint: Fingerprint(from.array()?),
            moment: entry::ReadAsOf {
                as_of: TreeSize(from.u64()?),
                time: from.option(Reader::u64)?.map(Micros),
            },
        }),
        _ => return Err(CommandError::Malformed("unknown operation")),
    };
    Ok(Request {
        tenant,
        actor,
        request_id,
        operation,
    })
}

pub(super) fn write_admin(to: &mut Writer, admin: &Admin) {
    to.text(&admin.actor);
    to.option(admin.request_id, |to, id| to.raw(&id.to_bytes()));
    match &admin.change {
        Change::Member(MemberChange::Join(member)) => {
            to.u8(1);
            to.u64(member.node.0);
            to.raw(&member.cosigner);
        }
        Change::Member(MemberChange::Leave(node)) => {
            to.u8(2);
            to.u64(node.0);
        }
        Change::Keys(keys) => {
            to.u8(3);
            to.u32(u32::from(keys.keys.suite));
            for raw in &keys.keys.raw {
                to.bytes(raw);
            }
            to.text(&keys.reason);
        }
        Change::Params(ParamsChange { params }) => {
            to.u8(4);
            for number in numbers(params) {
                to.u64(number);
            }
        }
        Change::Rules(rules) => {
            to.u8(5);
            to.u32(rules.rules);
        }
    }
}

pub(super) fn read_admin(from: &mut Reader) -> Result<Admin, CommandError> {
    let actor = from.text()?;
    let request_id = from.option(read_request_id)?;
    let change = match from.u8()? {
        1 => Change::Member(MemberChange::Join(Member {
            node: NodeId(from.u64()?),
            cosigner: from.array()?,
        })),
        2 => Change::Member(MemberChange::Leave(NodeId(from.u64()?))),
        3 => Change::Keys(KeysChange {
            keys: LogKeys {
                suite: u16::try_from(from.u32()?)
                    .map_err(|_| CommandError::Malformed("a suite"))?,
                raw: [
                    from.bytes()?.into(),
                    from.bytes()?.into(),
                    from.bytes()?.into(),
                ],
            },
            reason: from.text()?,
        }),
        4 => Change::Params(ParamsChange {
            params: Params {
                dedup_window: from.u64()?,
                entries_per_file: from.u64()?,
                entries_per_operation_max: from.u64()?,
                max_silence_ms: from.u64()?,
                max_skew_ms: from.u64()?,
                thin_hour_after_ms: from.u64()?,
                thin_minute_after_ms: from.u64()?,
                ttl_ms_max: from.u64()?,
                value_len_max: from.u64()?,
            },
        }),
        5 => Change::Rules(RulesChange { rules: from.u32()? }),
        _ => return Err(CommandError::Malformed("unknown change")),
    };
    Ok(Admin {
        actor,
        request_id,
        change,
    })
}

fn numbers(params: &Params) -> [u64; 9] {
    [
        params.dedup_window,
        params.entries_per_file,
        params.entries_per_operation_max,
        params.max_silence_ms,
        params.max_skew_ms,
        params.thin_hour_after_ms,
        params.thin_minute_after_ms,
        params.ttl_ms_max,
        params.value_len_max,
    ]
}

fn read_request_id(from: &mut Reader) -> Result<RequestId, CommandError> {
    RequestId::from_bytes(from.array()?).map_err(|_| CommandError::Malformed("a request id"))
}

fn write_set(to: &mut Writer, set: &Set) {
    match &set.fields {
        FingerprintFields::Exact(fields) => {
            to.u8(1);
            write_exact(to, fields);
        }
        FingerprintFields::Semantic(fields) => {
            to.u8(2);
            write_exact(to, fields);
        }
        FingerprintFields::ResultOnly(fields) => {
            to.u8(3);
            for text in [
                &fields.model_version,
                &fields.computation_type,
                &fields.parameters,
                &fields.hardware_class,
            ] {
                to.text(text);
            }
        }
    }
    to.raw(&set.output_hash);
    to.u64(set.output_len);
    to.text(&set.media_type);
    to.u64(set.ttl_ms);
    to.option(set.semantic.as_ref(), write_semantic);
    write_told(to, &set.told);
}

fn read_set(from: &mut Reader) -> Result<Set, CommandError> {
    let fields = match from.u8()? {
        1 => FingerprintFields::Exact(read_exact(from)?),
        2 => FingerprintFields::Semantic(read_exact(from)?),
        3 => FingerprintFields::ResultOnly(ResultOnlyFields {
            model_version: from.text()?,
            computation_type: from.text()?,
            parameters: from.text()?,
            hardware_class: from.text()?,
        }),
        _ => return Err(CommandError::Malformed("unknown pattern")),
    };
    Ok(Set {
        fields,
        output_hash: from.array()?,
        output_len: from.u64()?,
        media_type: from.text()?,
        ttl_ms: from.u64()?,
        semantic: from.option(read_semantic)?,
        told: read_told(from)?,
    })
}

fn write_exact(to: &mut Writer, fields: &ExactFields) {
    for text in [
        &fields.model_name,
        &fields.model_version,
        &fields.prompt_hash,
        &fields.temperature,
        &fields.top_p,
        &fields.system_prompt_hash,
        &fields.hardware_class,
        &fields.parameters,
    ] {
        to.text(text);
    }
}

fn read_exact(from: &mut Reader) -> Result<ExactFields, CommandError> {
    Ok(ExactFields {
        model_name: from.text()?,
        model_version: from.text()?,
        prompt_hash: from.text()?,
        temperature: from.text()?,
        top_p: from.text()?,
        system_prompt_hash: from.text()?,
        hardware_class: from.text()?,
        parameters: from.text()?,
    })
}

fn write_told(to: &mut Writer, told: &Told) {
    for text in [&told.decision, &told.observed_model_version, &told.trace_id] {
        to.option(text.as_ref(), |to, text| to.text(text));
    }
    for digest in [told.model_checksum, told.person] {
        to.option(digest, |to, digest| to.text(&digest.to_string()));
    }
    for number in [told.input_tokens, told.output_tokens, told.latency_ms] {
        to.option(number, Writer::u64);
    }
}

fn read_told(from: &mut Reader) -> Result<Told, CommandError> {
    Ok(Told {
        decision: from.option(Reader::text)?,
        observed_model_version: from.option(Reader::text)?,
        trace_id: from.option(Reader::text)?,
        model_checksum: from.option(read_digest)?,
        person: from.option(read_digest)?,
        input_tokens: from.option(Reader::u64)?,
        output_tokens: from.option(Reader::u64)?,
        latency_ms: from.option(Reader::u64)?,
    })
}

fn write_semantic(to: &mut Writer, semantic: &SemanticMatch) {
    to.text(&semantic.original_prompt_hash.to_string());
    to.text(semantic.similarity.as_str());
}

fn read_semantic(from: &mut Reader) -> Result<SemanticMatch, CommandError> {
    Ok(SemanticMatch {
        original_prompt_hash: read_digest(from)?,
        similarity: Decimal::parse(&from.text()?)
            .map_err(|_| CommandError::Malformed("a decimal"))?,
    })
}

fn read_digest(from: &mut Reader) -> Result<TaggedDigest, CommandError> {
    TaggedDigest::parse(&from.text()?).map_err(|_| CommandError::Malformed("a digest"))
}

fn write_revocation(to: &mut Writer, revoke: &Revoke) {
    to.raw(&revoke.fingerprint.0);
    to.raw(&revoke.output_hash);
    to.text(&revoke.reason);
}

fn read_revocation(from: &mut Reader) -> Result<Revoke, CommandError> {
    Ok(Revoke {
        fingerprint: Fingerprint(from.array()?),
        output_hash: from.array()?,
        reason: from.text()?,
    })
}
