//! Domain values as messages.

use candor_ledger::entry::{SemanticMatch, Told};
use candor_ledger::fingerprint::{ExactFields, FingerprintFields, ResultOnlyFields};
use candor_ledger::ids::RequestId;
use candor_ledger::time::Micros;
use candor_proto::audit_v1::Recorded;
use candor_proto::cache_v1 as wire;
use candor_proto::cache_v1::set_item::Fields;
use candor_proto::unix_us;

use super::batch::SetItem;
use crate::client::Inner;
use crate::verify::lookup::tagged;

/// One set under this id.
pub(crate) fn set_item(item: &SetItem, id: RequestId) -> wire::SetItem {
    wire::SetItem {
        request_id: id.to_string(),
        fields: Some(fields_to_wire(&item.fields)),
        fingerprint: item.fields.fingerprint().to_string(),
        output: item.output.clone(),
        output_hash: tagged(&item.output_hash),
        media_type: item.media_type().to_owned(),
        ttl_ms: item.ttl_ms,
        told: Some(told_to_wire(&item.options.told)),
        semantic_match: item.semantic.as_ref().map(semantic_to_wire),
    }
}

/// How a semantic request came to its canonical prompt.
pub(crate) fn semantic_to_wire(semantic: &SemanticMatch) -> wire::SemanticMatch {
    wire::SemanticMatch {
        original_prompt_hash: semantic.original_prompt_hash.to_string(),
        similarity: semantic.similarity.to_string(),
    }
}

/// Takes note of the ledger's time, which stamps the next request ids. It is believed unverified:
/// a wrong one gets ids refused, which brings the right one.
pub(crate) fn learn_time(inner: &Inner, recorded: Option<&Recorded>) {
    let time = recorded.and_then(|recorded| recorded.ledger_time.as_ref());
    if let Some(time) = time.and_then(unix_us) {
        inner.ids.learn(Micros(time), inner.around.now());
    }
}

fn fields_to_wire(fields: &FingerprintFields) -> Fields {
    match fields {
        FingerprintFields::Exact(fields) => Fields::Exact(exact_to_wire(fields)),
        FingerprintFields::Semantic(fields) => Fields::Semantic(exact_to_wire(fields)),
        FingerprintFields::ResultOnly(fields) => {
            let ResultOnlyFields {
                model_version,
                computation_type,
                parameters,
                hardware_class,
            } = fields.clone();
            Fields::ResultOnly(wire::ResultOnlyFields {
                model_version,
                computation_type,
                parameters,
                hardware_class,
            })
        }
    }
}

fn exact_to_wire(fields: &ExactFields) -> wire::ExactFields {
    let ExactFields {
        model_name,
        model_version,
        prompt_hash,
        temperature,
        top_p,
        system_prompt_hash,
        hardware_class,
        parameters,
    } = fields.clone();
    wire::ExactFields {
        model_name,
        model_version,
        prompt_hash,
        temperature,
        top_p,
        system_prompt_hash,
        hardware_class,
        parameters,
    }
}

fn told_to_wire(told: &Told) -> wire::Told {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    wire::Told {
        model_checksum: told
            .model_checksum
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
        observed_model_version: text(&told.observed_model_version),
        input_tokens: told.input_tokens,
        output_tokens: told.output_tokens,
        latency_ms: told.latency_ms,
        trace_id: text(&told.trace_id),
        decision: text(&told.decision),
        person: told
            .person
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
    }
}
