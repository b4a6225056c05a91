//! Everything beside the seven fields that can change an output.

use candor_ledger::canonical::{self, Object, Value};
use candor_ledger::decimal::{Decimal, DecimalError};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::fingerprint::FieldError;

/// Named settings: strings, integers and booleans. Their canonical JSON is the eighth field of a
/// fingerprint.
///
/// Put in whatever can change the output: seed, token limit, stop words, tools, response format,
/// retrieved context, policy version. A list or object goes in as a digest of its bytes, a fraction
/// as a decimal; a binary float has no place, for which digits it prints depends on the language.
///
/// Range: 16 KiB of canonical JSON, integers within 2^53 - 1; checked when the fingerprint is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Object);

/// A value that a parameter may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterValue(Value);

impl Parameters {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a setting, in the place of an earlier one of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<ParameterValue>) -> Self {
        self.0.insert(name.into(), value.into().0);
        self
    }

    /// Adds a fraction by its text, `0.95` or `1e-05`, in its one spelling.
    ///
    /// # Errors
    /// What is no decimal number, or needs more than 18 digits.
    pub fn with_decimal(self, name: impl Into<String>, text: &str) -> Result<Self, DecimalError> {
        let decimal = Decimal::normalise(text)?;
        Ok(self.with(name, decimal.to_string()))
    }

    /// Adds the SHA3-256 digest of anything that is no string, integer or boolean.
    ///
    /// The caller fixes the bytes: the same tools must come in the same order and spelling.
    #[must_use]
    pub fn with_digest_of(self, name: impl Into<String>, bytes: &[u8]) -> Self {
        self.with(name, TaggedDigest::sha3(sha3_256(bytes)).to_string())
    }

    /// Reads a JSON object of strings, integers and booleans.
    ///
    /// # Errors
    /// Names what stands in the way: a duplicate key, a fraction, a list, an object, null, an
    /// integer beyond 2^53 - 1.
    pub fn parse(json: &str) -> Result<Self, FieldError> {
        let refused = |problem| FieldError {
            field: "parameters",
            problem,
        };
        let value = canonical::parse(json.as_bytes())
            .map_err(|error| refused(format!("is not usable JSON: {error}")))?;
        let object = value
            .as_object()
            .ok_or_else(|| refused("is no object".to_owned()))?;
        let placeable =
            |value: &Value| matches!(value, Value::Str(_) | Value::Int(_) | Value::Bool(_));
        match object.iter().find(|(_, value)| !placeable(value)) {
            None => Ok(Self(object.clone())),
            Some((key, value)) => Err(refused(format!(
                "holds {} under `{}`: give a digest of it, or a decimal as text",
                value.kind(),
                key.escape_debug()
            ))),
        }
    }

    /// The same with other texts: `other` says which, by name and text, or that it stays.
    pub(crate) fn map_texts(&self, other: impl Fn(&str, &str) -> Option<String>) -> Self {
        let map = |(name, value): (&str, &Value)| {
            let text = match value {
                Value::Str(text) => other(name, text),
                _ => None,
            };
            (
                name.to_owned(),
                text.map_or_else(|| value.clone(), Value::from),
            )
        };
        Self(self.0.iter().map(map).collect())
    }

    /// The canonical JSON, `{}` when there is nothing.
    pub fn to_text(&self) -> String {
        Value::Object(self.0.clone()).to_text()
    }
}

impl From<&str> for ParameterValue {
    fn from(text: &str) -> Self {
        Self(Value::from(text))
    }
}

impl From<String> for ParameterValue {
    fn from(text: String) -> Self {
        Self(Value::from(text))
    }
}

impl From<i64> for ParameterValue {
    fn from(number: i64) -> Self {
        Self(Value::Int(number))
    }
}

impl From<i32> for ParameterValue {
    fn from(number: i32) -> Self {
        Self(Value::Int(i64::from(number)))
    }
}

impl From<u32> for ParameterValue {
    fn from(number: u32) -> Self {
        Self(Value::from(number))
    }
}

impl From<bool> for ParameterValue {
    fn from(truth: bool) -> Self {
        Self(Value::from(truth))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn parameters_have_one_text_and_refuse_what_has_none() {
        let built = Parameters::new()
            .with("seed", 7)
            .with("json", true)
            .with("stop", "\n")
            .with_decimal("min_p", "5e-2")
            .unwrap();
        let text = r#"{"json":true,"min_p":"0.05","seed":7,"stop":"\n"}"#;
        assert_eq!(built.to_text(), text);
        assert_eq!(Parameters::parse(text).unwrap(), built);
        let tools = Parameters::new().with_digest_of("tools", b"[]").to_text();
        assert!(tools.starts_with(r#"{"tools":"sha3-256:"#));
        for refused in [
            r#"{"seed":1,"seed":2}"#,
            r#"{"min_p":0.05}"#,
            r#"{"tools":[]}"#,
            r#"{"format":{}}"#,
            r#"{"stop":null}"#,
            r#"{"seed":9007199254740992}"#,
            "[]",
            "",
        ] {
            assert_eq!(
                Parameters::parse(refused).unwrap_err().field,
                "parameters",
                "{refused}"
            );
        }
        assert!(Parameters::new().with_decimal("min_p", "NaN").is_err());
    }
}
