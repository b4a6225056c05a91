//! What a caller says about a computation; from it comes the fingerprint.
//!
//! Texts may be written as programs print them: `0.70`, `1e-05` and `0.0` are decimals, 64 bare hex
//! digits are a SHA3-256 digest. The SDK rewrites them into the one spelling that is hashed, and
//! refuses what has none. It never takes a binary float and never rounds.

use candor_ledger::decimal::Decimal;
use candor_ledger::digest::TaggedDigest;
use candor_ledger::entry::SemanticMatch;
use candor_ledger::fingerprint as ledger;
use candor_ledger::fingerprint::{ExactFields, FieldError};

use crate::parameters::Parameters;

/// The conditions of a computation whose whole prompt names it (pattern `exact`).
///
/// Everything else that can change the output (seed, token limit, stop words, tools, context ...)
/// goes into [`FingerprintFields::with_parameters`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FingerprintFields {
    /// The model as its provider calls it; printable ASCII without spaces, as all names here.
    pub model_name: String,
    /// Its exact version or checkpoint.
    pub model_version: String,
    /// Digest of the whole prompt as sent: `sha3-256:`, `sha-256:` or `hmac-sha3-256:` and 64 hex
    /// digits; bare hex is read as SHA3-256.
    pub prompt_hash: String,
    /// Decimal text; empty when left to the provider, which differs from every number.
    pub temperature: String,
    /// As `temperature`.
    pub top_p: String,
    /// As `prompt_hash`; empty when there is no system prompt, which differs from an empty one.
    pub system_prompt_hash: String,
    /// What the model runs on, such as `a100-80gb`.
    pub hardware_class: String,
}

/// The seven fields and the parameters beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldsWithParameters {
    /// The seven.
    pub fields: FingerprintFields,
    /// Everything else that can change the output.
    pub parameters: Parameters,
}

/// The conditions of a computation found by a prompt that is similar to a canonical one (pattern
/// `semantic`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SemanticFields {
    /// The conditions, `prompt_hash` being that of the canonical prompt.
    pub canonical: FieldsWithParameters,
    /// Digest of the prompt that was really asked; recorded with every get and set.
    pub original_prompt_hash: String,
    /// How similar the two are by the caller's measure, decimal text.
    pub similarity: String,
}

/// The conditions of a computation whose input shall not be named at all (pattern `result-only`).
///
/// Such a result is a record for audit: its fingerprint does not name the input, so it never
/// answers a lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultOnlyFields {
    /// The model's exact version or checkpoint.
    pub model_version: String,
    /// What was computed, such as `fraud-score`.
    pub computation_type: String,
    /// As [`FieldsWithParameters::parameters`].
    pub parameters: Parameters,
    /// As [`FingerprintFields::hardware_class`].
    pub hardware_class: String,
}

/// Anything that names a computation.
pub trait Fields {
    /// The fields in their one spelling, of which the fingerprint is taken.
    ///
    /// # Errors
    /// [`FieldError`] names the first field that has no such spelling.
    fn to_fingerprint_fields(&self) -> Result<ledger::FingerprintFields, FieldError>;

    /// How a semantic request came to its canonical prompt; `None` for the other patterns.
    ///
    /// # Errors
    /// As above.
    fn semantic_match(&self) -> Result<Option<SemanticMatch>, FieldError> {
        Ok(None)
    }
}

impl FingerprintFields {
    /// Adds everything else that can change the output.
    pub fn with_parameters(self, parameters: Parameters) -> FieldsWithParameters {
        FieldsWithParameters {
            fields: self,
            parameters,
        }
    }

    fn exact(&self, parameters: &Parameters) -> Result<ExactFields, FieldError> {
        ExactFields {
            model_name: self.model_name.clone(),
            model_version: self.model_version.clone(),
            prompt_hash: self.prompt_hash.clone(),
            temperature: self.temperature.clone(),
            top_p: self.top_p.clone(),
            system_prompt_hash: self.system_prompt_hash.clone(),
            hardware_class: self.hardware_class.clone(),
            parameters: parameters.to_text(),
        }
        .normalise()
    }
}

impl FieldsWithParameters {
    /// Marks the prompt hash as that of a canonical prompt that stands for the one asked.
    pub fn semantic(
        self,
        original_prompt_hash: impl Into<String>,
        similarity: impl Into<String>,
    ) -> SemanticFields {
        SemanticFields {
            canonical: self,
            original_prompt_hash: original_prompt_hash.into(),
            similarity: similarity.into(),
        }
    }
}

impl Fields for FingerprintFields {
    fn to_fingerprint_fields(&self) -> Result<ledger::FingerprintFields, FieldError> {
        let exact = self.exact(&Parameters::new())?;
        Ok(ledger::FingerprintFields::Exact(exact))
    }
}

impl Fields for FieldsWithParameters {
    fn to_fingerprint_fields(&self) -> Result<ledger::FingerprintFields, FieldError> {
        let exact = self.fields.exact(&self.parameters)?;
        Ok(ledger::FingerprintFields::Exact(exact))
    }
}

impl Fields for SemanticFields {
    fn to_fingerprint_fields(&self) -> Result<ledger::FingerprintFields, FieldError> {
        let exact = self.canonical.fields.exact(&self.canonical.parameters)?;
        Ok(ledger::FingerprintFields::Semantic(exact))
    }

    fn semantic_match(&self) -> Result<Option<SemanticMatch>, FieldError> {
        let refused = |field, problem: String| FieldError { field, problem };
        Ok(Some(SemanticMatch {
            original_prompt_hash: TaggedDigest::parse(&self.original_prompt_hash).map_err(
                |error| refused("original_prompt_hash", format!("is unusable: {error}")),
            )?,
            similarity: Decimal::normalise(&self.similarity)
                .map_err(|error| refused("similarity", format!("is unusable: {error}")))?,
        }))
    }
}

impl Fields for ResultOnlyFields {
    fn to_fingerprint_fields(&self) -> Result<ledger::FingerprintFields, FieldError> {
        let fields = ledger::ResultOnlyFields {
            model_version: self.model_version.clone(),
            computation_type: self.computation_type.clone(),
            parameters: self.parameters.to_text(),
            hardware_class: self.hardware_class.clone(),
        };
        Ok(ledger::FingerprintFields::ResultOnly(fields.normalise()?))
    }
}

/// Fields read back from a ledger are fields too.
impl Fields for ledger::FingerprintFields {
    fn to_fingerprint_fields(&self) -> Result<ledger::FingerprintFields, FieldError> {
        self.clone().normalise()
    }
}

impl<T: Fields + ?Sized> Fields for &T {
    fn to_fingerprint_fields(&self) -> Result<ledger::FingerprintFields, FieldError> {
        (**self).to_fingerprint_fields()
    }

    fn semantic_match(&self) -> Result<Option<SemanticMatch>, FieldError> {
        (**self).semantic_match()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    fn seven() -> FingerprintFields {
        FingerprintFields {
            model_name: "gpt-4-0613".to_owned(),
            model_version: "checkpoint-20260501".to_owned(),
            prompt_hash: "ab".repeat(32),
            temperature: 0.7_f32.to_string(),
            top_p: "1.0".to_owned(),
            system_prompt_hash: String::new(),
            hardware_class: "a100-80gb".to_owned(),
        }
    }

    fn fingerprint(fields: &impl Fields) -> String {
        fields
            .to_fingerprint_fields()
            .unwrap()
            .fingerprint()
            .to_string()
    }

    #[test]
    fn spellings_of_one_computation_have_one_fingerprint_and_others_another() {
        let first = fingerprint(&seven());
        for (temperature, top_p, prompt) in [
            ("0.70", "1", "sha3-256:"),
            ("7e-1", "1.00", ""),
            (".7", "1e0", "sha3-256:"),
        ] {
            let prompt_hash = format!("{prompt}{}", "ab".repeat(32));
            let (temperature, top_p) = (temperature.to_owned(), top_p.to_owned());
            let other = FingerprintFields {
                prompt_hash,
                temperature,
                top_p,
                ..seven()
            };
            assert_eq!(fingerprint(&other), first);
        }
        assert_eq!(
            fingerprint(&seven().with_parameters(Parameters::new())),
            first
        );
        let seeded = seven().with_parameters(Parameters::new().with("seed", 7));
        assert_ne!(fingerprint(&seeded), first);
        let semantic = seven()
            .with_parameters(Parameters::new())
            .semantic("cd".repeat(32), "0.930");
        assert_ne!(fingerprint(&semantic), first);
        let found = semantic.semantic_match().unwrap().unwrap();
        let original = format!("sha3-256:{}", "cd".repeat(32));
        assert_eq!(found.original_prompt_hash.to_string(), original);
        assert_eq!(found.similarity.as_str(), "0.93");
    }

    #[test]
    fn a_field_without_a_spelling_is_named() {
        let fault = |fields: &dyn Fields| {
            let fault = fields.to_fingerprint_fields().map(|_| ());
            fault
                .and_then(|()| fields.semantic_match().map(|_| ()))
                .unwrap_err()
                .field
        };
        let nan = FingerprintFields {
            temperature: f32::NAN.to_string(),
            ..seven()
        };
        assert_eq!(fault(&nan), "temperature");
        let short = FingerprintFields {
            prompt_hash: "ab".to_owned(),
            ..seven()
        };
        assert_eq!(fault(&short), "prompt_hash");
        let plain = || seven().with_parameters(Parameters::new());
        assert_eq!(
            fault(&plain().semantic("what?", "1")),
            "original_prompt_hash"
        );
        assert_eq!(
            fault(&plain().semantic("ab".repeat(32), "high")),
            "similarity"
        );
        let huge = seven().with_parameters(Parameters::new().with("seed", i64::MAX));
        assert_eq!(fault(&huge), "parameters");
        let nameless = ResultOnlyFields {
            model_version: "1".to_owned(),
            ..Default::default()
        };
        assert_eq!(fault(&nameless), "computation_type");
    }
}
