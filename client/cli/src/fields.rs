//! The conditions of a computation as flags.

use std::path::{Path, PathBuf};

use candor_client::{
    Fields, FieldsWithParameters, FingerprintFields, Parameters, ResultOnlyFields,
};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::SemanticMatch;
use candor_ledger::fingerprint::{FieldError, FingerprintFields as Computation};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::failure::Usage;

/// The conditions of the computation: everything that can change its output.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Fingerprint")]
pub(crate) struct FieldArgs {
    /// What names the computation.
    #[arg(long, value_enum, default_value_t = Pattern::Exact)]
    pub(crate) pattern: Pattern,
    /// The model as its provider calls it.
    #[arg(long, value_name = "NAME")]
    pub(crate) model_name: Option<String>,
    /// Its exact version or checkpoint.
    #[arg(long, value_name = "VERSION")]
    pub(crate) model_version: Option<String>,
    /// The whole prompt as sent; only its hash leaves this machine. With `--pattern semantic` the
    /// canonical prompt.
    #[arg(long, value_name = "TEXT", group = "prompts")]
    pub(crate) prompt: Option<String>,
    /// The prompt's digest: `sha3-256:`, `sha-256:` or `hmac-sha3-256:` and 64 hex digits, or the
    /// bare digits of a SHA3-256.
    #[arg(long, value_name = "DIGEST", group = "prompts")]
    pub(crate) prompt_hash: Option<String>,
    /// File with the prompt, byte by byte as sent.
    #[arg(long, value_name = "FILE", group = "prompts")]
    pub(crate) prompt_file: Option<PathBuf>,
    /// The system prompt; leave it out when there was none, which differs from an empty one.
    #[arg(long, value_name = "TEXT", group = "system_prompts")]
    pub(crate) system_prompt: Option<String>,
    /// The system prompt's digest, as --prompt-hash.
    #[arg(long, value_name = "DIGEST", group = "system_prompts")]
    pub(crate) system_prompt_hash: Option<String>,
    /// Sampling temperature as decimal text; leave it out when the provider chose, which differs
    /// from every number.
    #[arg(long, value_name = "DECIMAL", allow_hyphen_values = true)]
    pub(crate) temperature: Option<String>,
    /// Nucleus sampling bound, as --temperature.
    #[arg(long, value_name = "DECIMAL", allow_hyphen_values = true)]
    pub(crate) top_p: Option<String>,
    /// What the model ran on, such as `a100-80gb`.
    #[arg(long, value_name = "CLASS")]
    pub(crate) hardware_class: Option<String>,
    /// Anything else that can change the output; repeat it. Whole numbers, `true` and `false` are
    /// taken as such, all else as text; quote a text that looks like a number: `stop='"7"'`.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    pub(crate) parameters: Vec<Parameter>,
    /// With `--pattern semantic`: the prompt that was really asked.
    #[arg(long, value_name = "TEXT", group = "originals")]
    pub(crate) original_prompt: Option<String>,
    /// With `--pattern semantic`: its digest.
    #[arg(long, value_name = "DIGEST", group = "originals")]
    pub(crate) original_prompt_hash: Option<String>,
    /// With `--pattern semantic`: how similar it is to the canonical prompt, decimal text.
    #[arg(long, value_name = "DECIMAL")]
    pub(crate) similarity: Option<String>,
    /// With `--pattern result-only`: what was computed, such as `fraud-score`.
    #[arg(long, value_name = "NAME")]
    pub(crate) computation_type: Option<String>,
}

/// What names a computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pattern {
    /// The whole prompt.
    Exact,
    /// A canonical prompt that stands for many.
    Semantic,
    /// Nothing about the input: a record for audit that never answers a lookup.
    ResultOnly,
}

/// One `--param`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    name: String,
    value: ParameterValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ParameterValue {
    Bool(bool),
    Int(i64),
    Text(String),
}

/// The flags, checked and in the one spelling that is hashed.
pub(crate) struct Conditions {
    fields: Computation,
    semantic: Option<SemanticMatch>,
}

impl Fields for Conditions {
    fn to_fingerprint_fields(&self) -> Result<Computation, FieldError> {
        Ok(self.fields.clone())
    }

    fn semantic_match(&self) -> Result<Option<SemanticMatch>, FieldError> {
        Ok(self.semantic.clone())
    }
}

impl FieldArgs {
    /// Whether any flag that names a computation was given.
    pub(crate) fn any(&self) -> bool {
        self.pattern != Pattern::Exact
            || self.model_name.is_some()
            || self.model_version.is_some()
            || self.prompt.is_some()
            || self.prompt_hash.is_some()
            || self.prompt_file.is_some()
    }

    /// The conditions that the flags say.
    ///
    /// # Errors
    /// Names the flag that is missing, does not belong to the pattern, or cannot be read.
    pub(crate) fn conditions(&self) -> anyhow::Result<Conditions> {
        self.refuse_foreign()?;
        match self.pattern {
            Pattern::Exact => conditions(&self.exact()?),
            Pattern::Semantic => {
                let original = one_of(
                    self.original_prompt.as_deref(),
                    self.original_prompt_hash.as_deref(),
                    None,
                )?;
                let original = need(original, "--original-prompt or --original-prompt-hash")?;
                let similarity = need(self.similarity.clone(), "--similarity")?;
                conditions(&self.exact()?.semantic(original, similarity))
            }
            Pattern::ResultOnly => conditions(&ResultOnlyFields {
                model_version: need(self.model_version.clone(), "--model-version")?,
                computation_type: need(self.computation_type.clone(), "--computation-type")?,
                parameters: self.parameters(),
                hardware_class: need(self.hardware_class.clone(), "--hardware-class")?,
            }),
        }
    }

    fn exact(&self) -> anyhow::Result<FieldsWithParameters> {
        let prompt = one_of(
            self.prompt.as_deref(),
            self.prompt_hash.as_deref(),
            self.prompt_file.as_deref(),
        )?;
        let system = one_of(
            self.system_prompt.as_deref(),
            self.system_prompt_hash.as_deref(),
            None,
        )?;
        let fields = FingerprintFields {
            model_name: need(self.model_name.clone(), "--model-name")?,
            model_version: need(self.model_version.clone(), "--model-version")?,
            prompt_hash: need(prompt, "--prompt, --prompt-hash or --prompt-file")?,
            temperature: self.temperature.clone().unwrap_or_default(),
            top_p: self.top_p.clone().unwrap_or_default(),
            system_prompt_hash: system.unwrap_or_default(),
            hardware_class: need(self.hardware_class.clone(), "--hardware-class")?,
        };
        Ok(fields.with_parameters(self.parameters()))
    }

    fn parameters(&self) -> Parameters {
        self.parameters
            .iter()
            .fold(Parameters::new(), |all, parameter| {
                let name = parameter.name.clone();
                match &parameter.value {
                    ParameterValue::Bool(value) => all.with(name, *value),
                    ParameterValue::Int(value) => all.with(name, *value),
                    ParameterValue::Text(value) => all.with(name, value.as_str()),
                }
            })
    }

    /// A flag that the pattern has no field for would be lost in silence.
    fn refuse_foreign(&self) -> Result<(), Usage> {
        let semantic = self.pattern == Pattern::Semantic;
        let result_only = self.pattern == Pattern::ResultOnly;
        for (given, allowed, flag) in [
            (
                self.original_prompt.is_some(),
                semantic,
                "--original-prompt",
            ),
            (
                self.original_prompt_hash.is_some(),
                semantic,
                "--original-prompt-hash",
            ),
            (self.similarity.is_some(), semantic, "--similarity"),
            (
                self.computation_type.is_some(),
                result_only,
                "--computation-type",
            ),
            (self.model_name.is_some(), !result_only, "--model-name"),
            (self.prompt.is_some(), !result_only, "--prompt"),
            (self.prompt_hash.is_some(), !result_only, "--prompt-hash"),
            (self.prompt_file.is_some(), !result_only, "--prompt-file"),
            (
                self.system_prompt.is_some(),
                !result_only,
                "--system-prompt",
            ),
            (
                self.system_prompt_hash.is_some(),
                !result_only,
                "--system-prompt-hash",
            ),
            (self.temperature.is_some(), !result_only, "--temperature"),
            (self.top_p.is_some(), !result_only, "--top-p"),
        ] {
            if given && !allowed {
                let pattern = self.pattern.to_possible_value();
                let pattern = pattern.as_ref().map_or("", |value| value.get_name());
                return Err(Usage(format!(
                    "`{flag}` has no place in the pattern `{pattern}`"
                )));
            }
        }
        Ok(())
    }
}

/// The digest of a text as it is hashed into a fingerprint.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    TaggedDigest::sha3(sha3_256(bytes)).to_string()
}

fn conditions(fields: &dyn Fields) -> anyhow::Result<Conditions> {
    Ok(Conditions {
        fields: fields.to_fingerprint_fields()?,
        semantic: fields.semantic_match()?,
    })
}

fn one_of(
    text: Option<&str>,
    digest: Option<&str>,
    file: Option<&Path>,
) -> anyhow::Result<Option<String>> {
    use anyhow::Context as _;
    Ok(match (text, digest, file) {
        (Some(text), ..) => Some(digest_of(text.as_bytes())),
        (_, Some(digest), _) => Some(digest.to_owned()),
        (.., Some(file)) => {
            let bytes =
                std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
            Some(digest_of(&bytes))
        }
        (None, None, None) => None,
    })
}

fn need<T>(value: Option<T>, flag: &str) -> Result<T, Usage> {
    value.ok_or_else(|| Usage(format!("{flag} is needed")))
}

fn parse_parameter(text: &str) -> Result<Parameter, String> {
    let (name, value) = text.split_once('=').ok_or("want NAME=VALUE")?;
    if name.is_empty() {
        return Err("want a name before the `=`".to_owned());
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    let value = match value {
        "true" => ParameterValue::Bool(true),
        "false" => ParameterValue::Bool(false),
        _ if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = value.parse().map_err(|_| {
                format!("`{value}` is beyond 2^53 - 1; quote it to give it as text: '\"{value}\"'")
            })?;
            ParameterValue::Int(number)
        }
        _ if value.starts_with('"') => match serde_json::from_str(value) {
            Ok(Value::String(text)) => ParameterValue::Text(text),
            _ => return Err(format!("`{value}` is no quoted JSON text")),
        },
        _ => ParameterValue::Text(value.to_owned()),
    };
    Ok(Parameter {
        name: name.to_owned(),
        value,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        fields: FieldArgs,
    }

    fn line(words: &str) -> FieldArgs {
        Line::try_parse_from(["x"].into_iter().chain(words.split(' ')))
            .unwrap()
            .fields
    }

    fn refused(words: &str) -> String {
        line(words).conditions().err().unwrap().to_string()
    }

    const EXACT: &str = "--model-name m --model-version 1 --prompt hello --hardware-class c";

    #[test]
    fn flags_say_the_same_as_the_sdk() {
        let flags = format!(
            "{EXACT} --temperature 0.70 --top-p 1e0 --param seed=7 --param json=true --param stop=x"
        );
        let parameters = Parameters::new()
            .with("seed", 7)
            .with("json", true)
            .with("stop", "x");
        let fields = FingerprintFields {
            model_name: "m".to_owned(),
            model_version: "1".to_owned(),
            prompt_hash: hex::encode(sha3_256(b"hello")),
            temperature: "0.7".to_owned(),
            top_p: "1".to_owned(),
            hardware_class: "c".to_owned(),
            ..FingerprintFields::default()
        };
        let by_sdk = fields
            .with_parameters(parameters)
            .to_fingerprint_fields()
            .unwrap();
        let by_flags = line(&flags).conditions().unwrap().fields;
        assert_eq!(by_flags.fingerprint(), by_sdk.fingerprint());
    }

    #[test]
    fn parameters_are_typed_and_big_numbers_are_not_rounded() {
        let value = |text: &str| parse_parameter(text).unwrap().value;
        assert_eq!(value("a=-7"), ParameterValue::Int(-7));
        assert_eq!(value("a=false"), ParameterValue::Bool(false));
        assert_eq!(value("a=0.5"), ParameterValue::Text("0.5".to_owned()));
        assert_eq!(value("a=\"7\""), ParameterValue::Text("7".to_owned()));
        assert_eq!(value("a=b=c"), ParameterValue::Text("b=c".to_owned()));
        assert_eq!(value("a="), ParameterValue::Text(String::new()));
        for text in ["a", "=1", "a=99999999999999999999", "a=\"b"] {
            assert!(parse_parameter(text).is_err(), "{text}");
        }
        assert!(refused(&format!("{EXACT} --param n=9007199254740992")).contains("parameters"));
    }

    #[test]
    fn what_is_missing_or_out_of_place_is_named() {
        assert!(refused("--model-name m").contains("--model-version"));
        assert!(refused("--model-name m --model-version 1").contains("--prompt"));
        assert!(refused(&format!("{EXACT} --temperature warm")).contains("temperature"));
        assert!(refused(&format!("{EXACT} --similarity 1")).contains("--similarity"));
        assert!(refused(&format!("{EXACT} --pattern semantic")).contains("--original-prompt"));
        let result_only = "--pattern result-only --model-version 1 --hardware-class c";
        assert!(refused(result_only).contains("--computation-type"));
        assert!(refused(&format!("{result_only} --prompt x")).contains("--prompt"));
        assert!(
            line(&format!("{result_only} --computation-type score"))
                .conditions()
                .is_ok()
        );
    }
}
