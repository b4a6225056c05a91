//! Wire messages into the ledger's types, and back. Conversion is where validation happens: each
//! refusal names the field as the client wrote it.

use bytes::Bytes;
use candor_ledger::decimal::Decimal;
use candor_ledger::digest::{DigestAlgorithm, TaggedDigest, sha3_256};
use candor_ledger::entry::{Model, SemanticMatch, State, Subject, Told, Verdict};
use candor_ledger::fingerprint::{ExactFields, Fingerprint, FingerprintFields, ResultOnlyFields};
use candor_ledger::fold::{Attest, Get, ModelSupersede, Operation, Revoke, Set, Supersede};
use candor_ledger::ids::TreeSize;
use candor_ledger::time::Micros;
use candor_proto::audit_v1::{AttestRequest, Finding, ResultState};
use candor_proto::cache_v1::{
    self as wire, GetItem, ReinstateRequest, RevokeRequest, SetItem, SupersedeModelRequest,
    SupersedeRequest, set_item,
};

use super::status::{ApiError, ErrorCode};

pub(super) fn timestamp(time: Micros) -> prost_types::Timestamp {
    candor_proto::timestamp(time.0)
}

pub(super) fn micros(time: &prost_types::Timestamp, field: &str) -> Result<Micros, ApiError> {
    candor_proto::unix_us(time)
        .map(Micros)
        .ok_or_else(|| ApiError::field(field, "a time before 1970 or no time"))
}

pub(super) fn result_state(state: State) -> ResultState {
    match state {
        State::Absent => ResultState::Absent,
        State::Active => ResultState::Active,
        State::Erased => ResultState::Erased,
        State::Expired => ResultState::Expired,
        State::Revoked => ResultState::Revoked,
        State::Superseded => ResultState::Superseded,
    }
}

pub(super) fn operation_name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Attest(_) => "attest",
        Operation::Get(_) => "get",
        Operation::ModelSupersede(_) => "supersede_model",
        Operation::ReadAsOf(_) => "get_as_of",
        Operation::Reinstate(_) => "reinstate",
        Operation::Revoke(_) => "revoke",
        Operation::Set(_) => "set",
        Operation::Supersede(_) => "supersede",
    }
}

/// Any spelling of a fingerprint, or another subject.
pub(super) fn subject(text: &str, field: &str) -> Result<Subject, ApiError> {
    if let Ok(fingerprint) = Fingerprint::parse(text) {
        return Ok(Subject::Fingerprint(fingerprint));
    }
    Subject::parse(text).map_err(|problem| ApiError::field(field, problem.to_string()))
}

pub(super) fn get(item: &GetItem, at: &str) -> Result<Operation, ApiError> {
    let fingerprint = fingerprint(&item.fingerprint, &format!("{at}fingerprint"))?;
    let semantic = semantic(item.semantic_match.as_ref(), at)?;
    Ok(Operation::Get(Get {
        fingerprint,
        semantic,
    }))
}

/// The operation, and the value that lies beside the ledger.
pub(super) fn set(
    item: SetItem,
    value_len_max: u64,
    at: &str,
) -> Result<(Operation, Bytes), ApiError> {
    let output_len = u64::try_from(item.output.len()).unwrap_or(u64::MAX);
    if output_len > value_len_max {
        let problem = format!("{output_len} bytes; at most {value_len_max}");
        let error = ApiError::at(ErrorCode::TooLarge, format!("{at}output"), problem);
        return Err(error.with(candor_proto::error_metadata::LIMIT, value_len_max));
    }
    let output_hash = sha3_256(&item.output);
    if sha3(&item.output_hash, &format!("{at}output_hash"))? != output_hash {
        let problem = "it is not the digest of `output`";
        let field = format!("{at}output_hash");
        return Err(ApiError::at(ErrorCode::OutputHashMismatch, field, problem));
    }
    let fields = fields(item.fields, at)?;
    let claimed = fingerprint(&item.fingerprint, &format!("{at}fingerprint"))?;
    if claimed != fields.fingerprint() {
        let problem = format!("the fields give `{}`", fields.fingerprint());
        let field = format!("{at}fingerprint");
        return Err(ApiError::at(ErrorCode::FingerprintMismatch, field, problem));
    }
    let set = Set {
        fields,
        output_hash,
        output_len,
        media_type: item.media_type,
        ttl_ms: item.ttl_ms,
        told: told(item.told.unwrap_or_default(), at)?,
        semantic: semantic(item.semantic_match.as_ref(), at)?,
    };
    Ok((Operation::Set(Box::new(set)), item.output))
}

pub(super) fn supersede(m: &SupersedeRequest) -> Result<Operation, ApiError> {
    Ok(Operation::Supersede(Supersede {
        fingerprint: fingerprint(&m.fingerprint, "fingerprint")?,
        successor: fingerprint(&m.successor, "successor")?,
        reason: m.reason.clone(),
    }))
}

pub(super) fn revoke(m: &RevokeRequest) -> Result<Operation, ApiError> {
    let named = revocation(&m.fingerprint, &m.output_hash, &m.reason)?;
    Ok(Operation::Revoke(named))
}

pub(super) fn reinstate(m: &ReinstateRequest) -> Result<Operation, ApiError> {
    let named = revocation(&m.fingerprint, &m.output_hash, &m.reason)?;
    Ok(Operation::Reinstate(named))
}

pub(super) fn supersede_model(m: &SupersedeModelRequest) -> Result<Operation, ApiError> {
    let model = |side: &Option<wire::ModelVersion>, field: &str| {
        let side = side
            .as_ref()
            .ok_or_else(|| ApiError::field(field, "missing"))?;
        Ok::<_, ApiError>(Model {
            name: side.name.clone(),
            version: side.version.clone(),
        })
    };
    Ok(Operation::ModelSupersede(Box::new(ModelSupersede {
        from: model(&m.from, "from")?,
        to: model(&m.to, "to")?,
        reason: m.reason.clone(),
    })))
}

pub(super) fn attest(m: &AttestRequest) -> Result<Operation, ApiError> {
    let result = match Finding::try_from(m.finding) {
        Ok(Finding::Proved) => Verdict::Proved,
        Ok(Finding::Refuted) => Verdict::Refuted,
        Ok(Finding::NotProved) => Verdict::NotProved,
        Ok(Finding::Unspecified) | Err(_) => {
            return Err(ApiError::field(
                "finding",
                "want PROVED, REFUTED or NOT_PROVED",
            ));
        }
    };
    Ok(Operation::Attest(Box::new(Attest {
        subject: subject(&m.subject, "subject")?,
        result,
        size: TreeSize(m.size),
        root: bytes(&m.root, "root")?,
        auditor: bytes(&m.auditor_key, "auditor_key")?,
        signature: bytes(&m.signature, "signature")?,
    })))
}

/// The output that a revocation or reinstatement names.
pub(super) fn named_output(operation: &Operation) -> String {
    match operation {
        Operation::Revoke(revoke) | Operation::Reinstate(revoke) => {
            TaggedDigest::sha3(revoke.output_hash).to_string()
        }
        _ => String::new(),
    }
}

/// The bytes are named by the caller and never looked up here: whoever revokes says what was looked
/// at, and a retry says the same again.
fn revocation(text: &str, output_hash: &str, reason: &str) -> Result<Revoke, ApiError> {
    Ok(Revoke {
        fingerprint: fingerprint(text, "fingerprint")?,
        output_hash: sha3(output_hash, "output_hash")?,
        reason: reason.to_owned(),
    })
}

fn fields(fields: Option<set_item::Fields>, at: &str) -> Result<FingerprintFields, ApiError> {
    let exact = |f: wire::ExactFields| ExactFields {
        model_name: f.model_name,
        model_version: f.model_version,
        prompt_hash: f.prompt_hash,
        temperature: f.temperature,
        top_p: f.top_p,
        system_prompt_hash: f.system_prompt_hash,
        hardware_class: f.hardware_class,
        parameters: f.parameters,
    };
    let (fields, name) = match fields {
        Some(set_item::Fields::Exact(f)) => (FingerprintFields::Exact(exact(f)), "exact"),
        Some(set_item::Fields::Semantic(f)) => (FingerprintFields::Semantic(exact(f)), "semantic"),
        Some(set_item::Fields::ResultOnly(f)) => {
            let fields = ResultOnlyFields {
                model_version: f.model_version,
                computation_type: f.computation_type,
                parameters: f.parameters,
                hardware_class: f.hardware_class,
            };
            (FingerprintFields::ResultOnly(fields), "result_only")
        }
        None => {
            let field = format!("{at}fields");
            return Err(ApiError::field(
                field,
                "want `exact`, `semantic` or `result_only`",
            ));
        }
    };
    fields.validate().map_err(|refused| {
        ApiError::field(format!("{at}{name}.{}", refused.field), refused.problem)
    })?;
    Ok(fields)
}

fn semantic(
    given: Option<&wire::SemanticMatch>,
    at: &str,
) -> Result<Option<SemanticMatch>, ApiError> {
    let Some(given) = given else { return Ok(None) };
    let field = |name: &str| format!("{at}semantic_match.{name}");
    let original_prompt_hash = TaggedDigest::parse(&given.original_prompt_hash)
        .map_err(|problem| ApiError::field(field("original_prompt_hash"), problem.to_string()))?;
    let similarity = Decimal::parse(&given.similarity)
        .map_err(|problem| ApiError::field(field("similarity"), problem.to_string()))?;
    Ok(Some(SemanticMatch {
        original_prompt_hash,
        similarity,
    }))
}

fn told(told: wire::Told, at: &str) -> Result<Told, ApiError> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let digest = |text: String, field: &str| {
        let parse = |text: String| {
            TaggedDigest::parse(&text).map_err(|problem| {
                ApiError::field(format!("{at}told.{field}"), problem.to_string())
            })
        };
        some(text).map(parse).transpose()
    };
    Ok(Told {
        decision: some(told.decision),
        input_tokens: told.input_tokens,
        latency_ms: told.latency_ms,
        model_checksum: digest(told.model_checksum, "model_checksum")?,
        observed_model_version: some(told.observed_model_version),
        output_tokens: told.output_tokens,
        person: digest(told.person, "person")?,
        trace_id: some(told.trace_id),
    })
}

pub(super) fn fingerprint(text: &str, field: &str) -> Result<Fingerprint, ApiError> {
    Fingerprint::parse(text).map_err(|problem| ApiError::field(field, problem.to_string()))
}

fn sha3(text: &str, field: &str) -> Result<[u8; 32], ApiError> {
    match TaggedDigest::parse(text) {
        Ok(TaggedDigest {
            algorithm: DigestAlgorithm::Sha3_256,
            bytes,
        }) => Ok(bytes),
        Ok(_) => Err(ApiError::field(field, "want a `sha3-256:` digest")),
        Err(problem) => Err(ApiError::field(field, problem.to_string())),
    }
}

fn bytes<const N: usize>(given: &[u8], field: &str) -> Result<[u8; N], ApiError> {
    <[u8; N]>::try_from(given).map_err(|_| ApiError::field(field, format!("want {N} bytes")))
}
