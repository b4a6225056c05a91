//! The body of `cache.write`, and what a client tells with a result.

use super::EntryError;
use super::fields::{Fields, int, join, members, sha3};
use super::subject::name_problem;
use crate::canonical::{Object, Value};
use crate::decimal::Decimal;
use crate::digest::TaggedDigest;
use crate::fingerprint::{FingerprintFields, Pattern};

/// The longest media type in bytes, as `text/plain; charset=utf-8`.
pub const MEDIA_TYPE_LEN_MAX: usize = 200;

/// `cache.write`: a result was accepted, or one that is held was renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// What was computed; its fingerprint is the entry's subject.
    pub fields: FingerprintFields,
    /// SHA3-256 of the value, which lies beside the ledger.
    pub output_hash: [u8; 32],
    /// Length of the value in bytes.
    pub output_len: u64,
    /// What kind of bytes the value is.
    pub media_type: String,
    /// How long it may be served, from the entry's time on.
    pub ttl_ms: u64,
    /// Ordinal of the result under its fingerprint, from 1; a renewal keeps it.
    pub version: u64,
    /// What else the client told.
    pub told: Told,
    /// How the asker's prompt led to the canonical one; there exactly when the pattern is
    /// `semantic`.
    pub semantic: Option<SemanticMatch>,
    /// Digest of the canonical request.
    pub request: [u8; 32],
}

/// What a client may tell about a result; nothing here is checked but its form and, of
/// `observed_model_version`, that it does not contradict the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The user's id of the decision that the result served, a name.
    pub decision: Option<String>,
    /// Tokens of the prompt as the provider counted them.
    pub input_tokens: Option<u64>,
    /// Duration of the inference.
    pub latency_ms: Option<u64>,
    /// Checksum of the model's weights.
    pub model_checksum: Option<TaggedDigest>,
    /// The version that the provider's answer named.
    pub observed_model_version: Option<String>,
    /// Tokens of the output as the provider counted them.
    pub output_tokens: Option<u64>,
    /// Pseudonym of the person whom it concerns.
    pub person: Option<TaggedDigest>,
    /// The W3C trace or the user's own, a name.
    pub trace_id: Option<String>,
}

/// How a prompt was mapped to the canonical prompt of a semantic fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SemanticMatch {
    /// Hash of the prompt as it was asked.
    pub original_prompt_hash: TaggedDigest,
    /// Similarity to the canonical prompt, by the client's measure.
    pub similarity: Decimal,
}

impl Write {
    pub(super) fn to_object(&self) -> Object {
        let mut object = self.fields.to_object();
        let rest = [
            ("media_type", Some(self.media_type.as_str().into())),
            ("output_hash", Some(sha3(&self.output_hash))),
            ("output_len", Some(int(self.output_len))),
            ("pattern", Some(self.fields.pattern().as_str().into())),
            ("request", Some(sha3(&self.request))),
            ("ttl_ms", Some(int(self.ttl_ms))),
            ("version", Some(int(self.version))),
        ];
        join(&mut object, &members(rest));
        join(&mut object, &self.told.to_object());
        join(
            &mut object,
            &SemanticMatch::optional_members(self.semantic.as_ref()),
        );
        object
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let pattern = read_pattern(fields)?;
        let computation = FingerprintFields::from_object(pattern, fields.rest())
            .map_err(|error| fields.malformed(error.field, error.problem))?;
        for (name, _) in computation.fields() {
            fields.drop_member(name);
        }
        Ok(Self {
            output_hash: fields.sha3("output_hash")?,
            output_len: fields.int("output_len")?,
            media_type: read_media_type(fields)?,
            ttl_ms: fields.int("ttl_ms")?,
            version: fields.int("version")?,
            told: Told::read(fields)?,
            semantic: match pattern {
                Pattern::Semantic => Some(SemanticMatch::read(fields)?),
                Pattern::Exact | Pattern::ResultOnly => None,
            },
            request: fields.sha3("request")?,
            fields: computation,
        })
    }
}

impl Told {
    /// The members that a client told.
    pub(crate) fn to_object(&self) -> Object {
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let digest = |digest: Option<TaggedDigest>| digest.map(|d| d.to_string().into());
        members([
            ("decision", text(&self.decision)),
            ("input_tokens", self.input_tokens.map(int)),
            ("latency_ms", self.latency_ms.map(int)),
            ("model_checksum", digest(self.model_checksum)),
            ("observed_model_version", text(&self.observed_model_version)),
            ("output_tokens", self.output_tokens.map(int)),
            ("person", digest(self.person)),
            ("trace_id", text(&self.trace_id)),
        ])
    }

    /// What is wrong with what was told, if anything: the field and a text that continues
    /// "field `x` ...".
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let names = [
            ("decision", &self.decision),
            ("observed_model_version", &self.observed_model_version),
            ("trace_id", &self.trace_id),
        ];
        let numbers = [
            ("input_tokens", self.input_tokens),
            ("latency_ms", self.latency_ms),
            ("output_tokens", self.output_tokens),
        ];
        let bad_name = names
            .into_iter()
            .find_map(|(field, name)| Some((field, name_problem(name.as_deref()?)?)));
        let bad_number = || {
            numbers
                .into_iter()
                .find_map(|(field, number)| Some((field, number_problem(number?)?)))
        };
        bad_name.or_else(bad_number)
    }

    fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            decision: fields.optional("decision", Fields::name)?,
            input_tokens: fields.optional("input_tokens", Fields::int)?,
            latency_ms: fields.optional("latency_ms", Fields::int)?,
            model_checksum: fields.optional("model_checksum", Fields::tagged)?,
            observed_model_version: fields.optional("observed_model_version", Fields::name)?,
            output_tokens: fields.optional("output_tokens", Fields::int)?,
            person: fields.optional("person", Fields::tagged)?,
            trace_id: fields.optional("trace_id", Fields::name)?,
        })
    }
}

impl SemanticMatch {
    pub(crate) fn optional_members(semantic: Option<&Self>) -> Object {
        let similarity = |s: &Self| s.similarity.as_str().into();
        let original = |s: &Self| s.original_prompt_hash.to_string().into();
        members([
            ("original_prompt_hash", semantic.map(original)),
            ("similarity", semantic.map(similarity)),
        ])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            original_prompt_hash: fields.tagged("original_prompt_hash")?,
            similarity: fields.decimal("similarity")?,
        })
    }
}

/// What is wrong with a media type, if anything: continues "field `x` ...".
pub(crate) fn media_type_problem(text: &str) -> Option<String> {
    let printable = |byte: u8| (0x20..=0x7e).contains(&byte);
    if text.is_empty() || text.len() > MEDIA_TYPE_LEN_MAX {
        let len = text.len();
        Some(format!("has `{len}` bytes, not 1 to {MEDIA_TYPE_LEN_MAX}"))
    } else if text.bytes().all(printable) {
        None
    } else {
        Some("holds other characters than printable ASCII".to_owned())
    }
}

/// What is wrong with a number of an entry, if anything: continues "field `x` ...".
pub(crate) fn number_problem(number: u64) -> Option<String> {
    let error = Value::try_from(number).err()?;
    Some(format!("cannot be written: {error}"))
}

fn read_pattern(fields: &mut Fields) -> Result<Pattern, EntryError> {
    let word = fields.text("pattern")?;
    Pattern::parse(&word).map_err(|_| fields.not_understood("pattern", &word))
}

fn read_media_type(fields: &mut Fields) -> Result<String, EntryError> {
    let media_type = fields.text("media_type")?;
    match media_type_problem(&media_type) {
        None => Ok(media_type),
        Some(problem) => Err(fields.malformed("media_type", problem)),
    }
}
