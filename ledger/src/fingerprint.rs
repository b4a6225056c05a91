//! The identity of a computation's conditions: cache key, audit id and integrity anchor at once.
//!
//! ```text
//! SHA3-256( "candor.fingerprint.v1/" || pattern || 0x0A || for each field: u32 length || bytes )
//! ```
//!
//! with lengths big-endian and the fields of a pattern in this order:
//!
//! | pattern | fields |
//! | --- | --- |
//! | `exact` | `model_name`, `model_version`, `prompt_hash`, `temperature`, `top_p`, `system_prompt_hash`, `hardware_class`, `parameters` |
//! | `semantic` | the same, `prompt_hash` being that of the canonical prompt |
//! | `result-only` | `model_version`, `computation_type`, `parameters`, `hardware_class` |
//!
//! Every field is text with one spelling. An SDK gives what its user wrote to `normalise`; the
//! server takes only what [`FingerprintFields::validate`] finds already so, because a server that
//! mended fields would let two clients disagree about what they asked.

use core::fmt;

use crate::canonical::{self, Object, Value};
use crate::decimal::Decimal;
use crate::digest::{TaggedDigest, sha3_256};

/// The longest name of a model, version, hardware class or computation type, in bytes.
pub const NAME_LEN_MAX: usize = 200;

/// The longest `parameters` text, in bytes.
///
/// Its quotes and backslashes are escaped once more inside an entry: 2 x 16 KiB, with four names
/// and four short fields below 2 KiB, leaves 26 of the 60 KiB of a body to all else.
pub const PARAMETERS_LEN_MAX: usize = 16 * 1024;

const _: () = assert!(2 * PARAMETERS_LEN_MAX + 4 * NAME_LEN_MAX + 4 * 100 < 34 * 1024);

/// A fingerprint, version 1.
///
/// Text form: `fingerprint:sha3-256:<64 lower-case hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// A text that is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint: want [fingerprint:][sha3-256:] and 64 lower-case hex digits")]
pub struct FingerprintError(pub String);

impl Fingerprint {
    /// Reads `fingerprint:sha3-256:<hex>`, `sha3-256:<hex>` or `<hex>`.
    ///
    /// # Errors
    /// Any other text, upper-case hex included.
    pub fn parse(text: &str) -> Result<Self, FingerprintError> {
        let refused = || FingerprintError(text.to_owned());
        let digits = ["fingerprint:sha3-256:", "sha3-256:"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| refused())?;
        let fingerprint = Self(bytes);
        if fingerprint.to_hex() == digits {
            Ok(fingerprint)
        } else {
            Err(refused())
        }
    }

    /// The 64 lower-case hex digits alone.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fingerprint:sha3-256:{}", self.to_hex())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a result may be found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// By exactly these conditions.
    Exact,
    /// Not at all: the fingerprint does not name the input. A record for audit alone.
    ResultOnly,
    /// By a prompt that was found similar to the canonical one.
    Semantic,
}

impl Pattern {
    /// The word in preimages and entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::ResultOnly => "result-only",
            Self::Semantic => "semantic",
        }
    }

    /// Reads the word.
    ///
    /// # Errors
    /// Any other one; the error names the field `pattern`.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        [Self::Exact, Self::ResultOnly, Self::Semantic]
            .into_iter()
            .find(|pattern| pattern.as_str() == text)
            .ok_or_else(|| {
                let found = shown(text);
                FieldError::new(
                    "pattern",
                    format!("must be exact, semantic or result-only, not {found}"),
                )
            })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fingerprint's pattern and fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FingerprintFields {
    /// Pattern `exact`.
    Exact(ExactFields),
    /// Pattern `semantic`; `prompt_hash` is that of the canonical prompt.
    Semantic(ExactFields),
    /// Pattern `result-only`.
    ResultOnly(ResultOnlyFields),
}

/// The fields of the patterns `exact` and `semantic`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExactFields {
    /// Printable ASCII without spaces, 1 to [`NAME_LEN_MAX`] bytes.
    pub model_name: String,
    /// As `model_name`.
    pub model_version: String,
    /// Tagged digest of the prompt.
    pub prompt_hash: String,
    /// Canonical decimal, or empty: left to the provider, which differs from every number.
    pub temperature: String,
    /// As `temperature`.
    pub top_p: String,
    /// Tagged digest of the system prompt, or empty: there is none, which differs from an empty
    /// one.
    pub system_prompt_hash: String,
    /// As `model_name`; the class of accelerator, such as `a100-80gb`.
    pub hardware_class: String,
    /// Everything else that can change the output: canonical JSON of an object of strings,
    /// integers and booleans, at most [`PARAMETERS_LEN_MAX`] bytes; `{}` when there is nothing.
    pub parameters: String,
}

/// The fields of the pattern `result-only`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultOnlyFields {
    /// As [`ExactFields::model_name`].
    pub model_version: String,
    /// As [`ExactFields::model_name`].
    pub computation_type: String,
    /// As [`ExactFields::parameters`].
    pub parameters: String,
    /// As [`ExactFields::hardware_class`].
    pub hardware_class: String,
}

/// A field that is not what it must be; the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` {problem}")]
pub struct FieldError {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it and what is wanted, continuing "field `x` ...".
    pub problem: String,
}

impl FingerprintFields {
    /// Which pattern these are the fields of.
    pub fn pattern(&self) -> Pattern {
        match self {
            Self::Exact(_) => Pattern::Exact,
            Self::ResultOnly(_) => Pattern::ResultOnly,
            Self::Semantic(_) => Pattern::Semantic,
        }
    }

    /// Names and values in the order of the preimage.
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Exact(fields) | Self::Semantic(fields) => fields.named().into(),
            Self::ResultOnly(fields) => fields.named().into(),
        }
    }

    /// Checks that every field is in its one spelling and within its limit.
    ///
    /// # Errors
    /// Names the first field that is not.
    pub fn validate(&self) -> Result<(), FieldError> {
        match self {
            Self::Exact(fields) | Self::Semantic(fields) => fields.validate(),
            Self::ResultOnly(fields) => fields.validate(),
        }
    }

    /// Rewrites every field into its one spelling; see [`ExactFields::normalise`].
    ///
    /// # Errors
    /// Names the first field that has none.
    pub fn normalise(self) -> Result<Self, FieldError> {
        Ok(match self {
            Self::Exact(fields) => Self::Exact(fields.normalise()?),
            Self::ResultOnly(fields) => Self::ResultOnly(fields.normalise()?),
            Self::Semantic(fields) => Self::Semantic(fields.normalise()?),
        })
    }

    /// The bytes that are hashed. Meaningful for fields that [`Self::validate`] accepts.
    ///
    /// # Panics
    /// For a field of 4 GiB or more.
    pub fn preimage(&self) -> Vec<u8> {
        let mut bytes = b"candor.fingerprint.v1/".to_vec();
        bytes.extend_from_slice(self.pattern().as_str().as_bytes());
        bytes.push(b'\n');
        for (_, value) in self.fields() {
            let len = u32::try_from(value.len()).expect("invariant: valid fields are short");
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(value.as_bytes());
        }
        bytes
    }

    /// The fingerprint. Meaningful for fields that [`Self::validate`] accepts.
    ///
    /// # Panics
    /// For a field of 4 GiB or more.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(sha3_256(&self.preimage()))
    }

    /// The fields as members of an entry's body: each a string under its own name. The pattern is
    /// not among them.
    pub fn to_object(&self) -> Object {
        let fields = self.fields().into_iter();
        fields
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect()
    }

    /// The fields of an entry's body, validated; other members are not looked at.
    ///
    /// # Errors
    /// Names the first field that is missing, no string, or not valid.
    pub fn from_object(pattern: Pattern, object: &Object) -> Result<Self, FieldError> {
        let fields = match pattern {
            Pattern::Exact => Self::Exact(ExactFields::from_object(object)?),
            Pattern::ResultOnly => Self::ResultOnly(ResultOnlyFields::from_object(object)?),
            Pattern::Semantic => Self::Semantic(ExactFields::from_object(object)?),
        };
        fields.validate()?;
        Ok(fields)
    }
}

impl ExactFields {
    /// Rewrites every field into its one spelling: bare hex digests get their tag, decimals lose
    /// what does not count, `parameters` becomes canonical and, where empty, `{}`.
    ///
    /// # Errors
    /// Names the first field that has no such spelling. Nothing is rounded or dropped, and names
    /// are never changed.
    pub fn normalise(self) -> Result<Self, FieldError> {
        let fields = Self {
            prompt_hash: tagged("prompt_hash", &self.prompt_hash)?,
            temperature: or_empty(&self.temperature, |text| decimal("temperature", text))?,
            top_p: or_empty(&self.top_p, |text| decimal("top_p", text))?,
            system_prompt_hash: or_empty(&self.system_prompt_hash, |text| {
                tagged("system_prompt_hash", text)
            })?,
            parameters: parameters(&self.parameters)?,
            ..self
        };
        fields.validate()?;
        Ok(fields)
    }

    fn validate(&self) -> Result<(), FieldError> {
        check_name("model_name", &self.model_name)?;
        check_name("model_version", &self.model_version)?;
        check_digest("prompt_hash", &self.prompt_hash)?;
        check_decimal("temperature", &self.temperature)?;
        check_decimal("top_p", &self.top_p)?;
        if !self.system_prompt_hash.is_empty() {
            check_digest("system_prompt_hash", &self.system_prompt_hash)?;
        }
        check_name("hardware_class", &self.hardware_class)?;
        check_parameters(&self.parameters)
    }

    /// In the order of the preimage.
    fn named(&self) -> [(&'static str, &str); 8] {
        [
            ("model_name", &self.model_name),
            ("model_version", &self.model_version),
            ("prompt_hash", &self.prompt_hash),
            ("temperature", &self.temperature),
            ("top_p", &self.top_p),
            ("system_prompt_hash", &self.system_prompt_hash),
            ("hardware_class", &self.hardware_class),
            ("parameters", &self.parameters),
        ]
    }

    fn from_object(object: &Object) -> Result<Self, FieldError> {
        Ok(Self {
            model_name: text_of(object, "model_name")?,
            model_version: text_of(object, "model_version")?,
            prompt_hash: text_of(object, "prompt_hash")?,
            temperature: text_of(object, "temperature")?,
            top_p: text_of(object, "top_p")?,
            system_prompt_hash: text_of(object, "system_prompt_hash")?,
            hardware_class: text_of(object, "hardware_class")?,
            parameters: text_of(object, "parameters")?,
        })
    }
}

impl ResultOnlyFields {
    /// Makes `parameters` canonical and, where empty, `{}`; as [`ExactFields::normalise`].
    ///
    /// # Errors
    /// Names the first field that has no such spelling.
    pub fn normalise(self) -> Result<Self, FieldError> {
        let fields = Self {
            parameters: parameters(&self.parameters)?,
            ..self
        };
        fields.validate()?;
        Ok(fields)
    }

    fn validate(&self) -> Result<(), FieldError> {
        check_name("model_version", &self.model_version)?;
        check_name("computation_type", &self.computation_type)?;
        check_parameters(&self.parameters)?;
        check_name("hardware_class", &self.hardware_class)
    }

    /// In the order of the preimage.
    fn named(&self) -> [(&'static str, &str); 4] {
        [
            ("model_version", &self.model_version),
            ("computation_type", &self.computation_type),
            ("parameters", &self.parameters),
            ("hardware_class", &self.hardware_class),
        ]
    }

    fn from_object(object: &Object) -> Result<Self, FieldError> {
        Ok(Self {
            model_version: text_of(object, "model_version")?,
            computation_type: text_of(object, "computation_type")?,
            parameters: text_of(object, "parameters")?,
            hardware_class: text_of(object, "hardware_class")?,
        })
    }
}

impl FieldError {
    fn new(field: &'static str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self { field, problem }
    }
}

fn text_of(object: &Object, field: &'static str) -> Result<String, FieldError> {
    match object.get(field) {
        Some(Value::Str(text)) => Ok(text.clone()),
        Some(other) => {
            let kind = other.kind();
            Err(FieldError::new(field, format!("is {kind}, not a string")))
        }
        None => Err(FieldError::new(field, "is missing")),
    }
}

fn check_name(field: &'static str, name: &str) -> Result<(), FieldError> {
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > NAME_LEN_MAX {
        let len = name.len();
        format!("has `{len}` bytes, more than {NAME_LEN_MAX}")
    } else if let Some(char) = name.chars().find(|char| !char.is_ascii_graphic()) {
        let char = char.escape_unicode();
        format!("holds `{char}`: names are printable ASCII without spaces")
    } else {
        return Ok(());
    };
    Err(FieldError::new(field, problem))
}

fn check_digest(field: &'static str, text: &str) -> Result<(), FieldError> {
    check_spelling(field, text, &tagged(field, text)?)
}

fn check_decimal(field: &'static str, text: &str) -> Result<(), FieldError> {
    check_spelling(field, text, &or_empty(text, |text| decimal(field, text))?)
}

fn check_parameters(text: &str) -> Result<(), FieldError> {
    // Canonical text is never longer than another spelling of it, so a longer one is not read.
    let len = text.len();
    if len > PARAMETERS_LEN_MAX {
        let problem = format!("has `{len}` bytes, more than {PARAMETERS_LEN_MAX}");
        return Err(FieldError::new("parameters", problem));
    }
    check_spelling("parameters", text, &parameters(text)?)
}

fn check_spelling(field: &'static str, found: &str, wanted: &str) -> Result<(), FieldError> {
    if found == wanted {
        return Ok(());
    }
    let (found, wanted) = (shown(found), shown(wanted));
    let problem = format!("must be written {wanted}, not {found}");
    Err(FieldError::new(field, problem))
}

/// Empty text stays: it stands for "not given".
fn or_empty(
    text: &str,
    normalise: impl FnOnce(&str) -> Result<String, FieldError>,
) -> Result<String, FieldError> {
    match text {
        "" => Ok(String::new()),
        given => normalise(given),
    }
}

fn tagged(field: &'static str, text: &str) -> Result<String, FieldError> {
    let digest = TaggedDigest::parse(text).map_err(|_| {
        let found = shown(text);
        let want = "sha3-256:, sha-256: or hmac-sha3-256: and 64 lower-case hex digits";
        FieldError::new(field, format!("must be {want}, not {found}"))
    })?;
    Ok(digest.to_string())
}

fn decimal(field: &'static str, text: &str) -> Result<String, FieldError> {
    let decimal = Decimal::normalise(text)
        .map_err(|error| FieldError::new(field, format!("is no usable number: {error}")))?;
    Ok(decimal.to_string())
}

/// The canonical text of an object of strings, integers and booleans.
fn parameters(text: &str) -> Result<String, FieldError> {
    let refused = |problem| FieldError::new("parameters", problem);
    if text.is_empty() {
        return Ok("{}".to_owned());
    }
    let value = canonical::parse(text.as_bytes())
        .map_err(|error| refused(format!("is not usable JSON: {error}")))?;
    let Value::Object(object) = &value else {
        let kind = value.kind();
        return Err(refused(format!("is {kind}, not an object")));
    };
    for (key, value) in object.iter() {
        if !matches!(value, Value::Str(_) | Value::Int(_) | Value::Bool(_)) {
            let (key, kind) = (shown(key), value.kind());
            return Err(refused(format!(
                "holds {kind} under {key}: write a list or object as a tagged digest of it"
            )));
        }
    }
    Ok(value.to_text())
}

/// A text for a message: escaped, and cut where it is long.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    let start: String = text.chars().take(CHARS_MAX).collect();
    let more = if start.len() < text.len() { " ..." } else { "" };
    format!("`{}`{more}", start.escape_debug())
}

#[cfg(test)]
mod tests;
