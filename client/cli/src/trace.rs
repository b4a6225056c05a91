//! A recorded trace: requests to a model with their results, one JSON object a line.

use std::path::Path;

use anyhow::{Context as _, bail};
use candor_client::{FieldsWithParameters, FingerprintFields, Parameters};
use candor_ledger::fingerprint::FieldError;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fields::digest_of;
use crate::session;

/// The trace that comes with the program: 517 real inferences of SmolLM2-135M-Instruct.
const EMBEDDED: &str = include_str!("../../examples/data/trace.jsonl");

/// One request and what the model answered. Keys of the file that are not here are not needed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) model_name: String,
    pub(crate) model_version: String,
    #[serde(default)]
    pub(crate) model_checksum: Option<String>,
    pub(crate) prompt: String,
    /// Absent: there was none.
    #[serde(default)]
    pub(crate) system_prompt: Option<String>,
    /// Decimal text, as in the file; absent: left to the provider.
    #[serde(default)]
    pub(crate) temperature: Option<String>,
    #[serde(default)]
    pub(crate) top_p: Option<String>,
    #[serde(default)]
    pub(crate) hardware_class: String,
    #[serde(default)]
    pub(crate) parameters: Map<String, Value>,
    pub(crate) output: String,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) latency_ms: u64,
}

/// The embedded trace.
pub(crate) fn embedded() -> anyhow::Result<Vec<Request>> {
    parse(EMBEDDED).context("the embedded trace")
}

/// A trace from a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Request>> {
    parse(&session::text_of(path)?).with_context(|| format!("`{}`", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Vec<Request>> {
    let mut requests = Vec::new();
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let line_number = at + 1;
        let request: Request =
            serde_json::from_str(line).with_context(|| format!("line {line_number}"))?;
        request
            .fields()
            .with_context(|| format!("line {line_number}"))?;
        requests.push(request);
    }
    if requests.is_empty() {
        bail!("the trace holds no request");
    }
    Ok(requests)
}

impl Request {
    /// The conditions of the inference.
    pub(crate) fn fields(&self) -> Result<FieldsWithParameters, FieldError> {
        Ok(self.fields_with(self.parameters()?))
    }

    /// The conditions with one more parameter, which makes another computation of it.
    #[cfg(feature = "server")]
    pub(crate) fn fields_and(
        &self,
        name: &str,
        value: &str,
    ) -> Result<FieldsWithParameters, FieldError> {
        Ok(self.fields_with(self.parameters()?.with(name, value)))
    }

    fn parameters(&self) -> Result<Parameters, FieldError> {
        Parameters::parse(&Value::Object(self.parameters.clone()).to_string())
    }

    fn fields_with(&self, parameters: Parameters) -> FieldsWithParameters {
        let system = self
            .system_prompt
            .as_ref()
            .map(|text| digest_of(text.as_bytes()));
        let fields = FingerprintFields {
            model_name: self.model_name.clone(),
            model_version: self.model_version.clone(),
            prompt_hash: digest_of(self.prompt.as_bytes()),
            temperature: self.temperature.clone().unwrap_or_default(),
            top_p: self.top_p.clone().unwrap_or_default(),
            system_prompt_hash: system.unwrap_or_default(),
            hardware_class: self.hardware_class.clone(),
        };
        fields.with_parameters(parameters)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use std::collections::BTreeSet;

    use candor_client::Fields as _;

    use super::*;

    #[test]
    fn the_embedded_trace_has_as_many_computations_as_its_read_me_says() {
        let requests = embedded().unwrap();
        let fingerprints: BTreeSet<String> = requests
            .iter()
            .map(|request| {
                let fields = request.fields().unwrap().to_fingerprint_fields().unwrap();
                fields.fingerprint().to_string()
            })
            .collect();
        assert_eq!((requests.len(), fingerprints.len()), (517, 417));
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = EMBEDDED.lines().next().unwrap();
        let of = |text: &str| format!("{:#}", parse(text).err().unwrap());
        assert!(of(&format!("{good}\n{{}}\n")).contains("line 2"));
        let odd = good.replace("\"min_p\": \"0.05\"", "\"min_p\": 0.05");
        assert_ne!(odd, good);
        assert!(of(&odd).contains("parameters"));
        assert!(of("\n").contains("no request"));
    }
}
