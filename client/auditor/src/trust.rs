//! The auditor's trust policy, and what reports say of it: which keys were trusted and why.

use std::path::Path;

use candor_ledger::policy::{POLICY_LEN_MAX, Policy};
use candor_ledger::shown::shown;
use candor_ledger::signature::Algorithm;
use serde_json::{Value, json};

use crate::read::{self, CouldNotRead};

/// What a policy trusts, for a report.
pub(crate) struct TrustSummary {
    source: String,
    keysets: Vec<KeySetSummary>,
    required_nodes: usize,
    pins: usize,
    distrusted: Vec<Algorithm>,
}

struct KeySetSummary {
    origin: String,
    id: String,
}

/// Reads a policy file.
///
/// # Errors
/// When it cannot be read or is no policy; the line is named.
pub(crate) fn policy(path: &Path, distrust: &[Algorithm]) -> Result<Policy, CouldNotRead> {
    let bytes = read::file(path, POLICY_LEN_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| CouldNotRead::new(path, "not UTF-8"))?;
    let mut policy = Policy::parse(&text).map_err(|error| CouldNotRead::new(path, error))?;
    for algorithm in distrust {
        policy.distrust(*algorithm);
    }
    Ok(policy)
}

impl TrustSummary {
    pub(crate) fn new(path: &Path, policy: &Policy, distrust: &[Algorithm]) -> Self {
        let keysets = policy.keysets().iter().map(|keys| KeySetSummary {
            origin: keys.origin().to_owned(),
            id: hex::encode(keys.id()),
        });
        Self {
            source: path.display().to_string(),
            keysets: keysets.collect(),
            required_nodes: policy.required_nodes(),
            pins: policy.pins().len(),
            distrusted: distrust.to_vec(),
        }
    }

    /// Lines with their labels, for the text form.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        for keys in &self.keysets {
            let label = if lines.is_empty() { "trusting" } else { "" };
            lines.push((
                label,
                format!("key set sha3-256:{} of {}", keys.id, shown(&keys.origin)),
            ));
        }
        let source = shown(&self.source);
        lines.push((
            "",
            format!("because your policy `{source}` names it, and for no other reason"),
        ));
        let nodes = self.required_nodes;
        lines.push((
            "",
            format!("and demands cosignatures that take {nodes} nodes at least"),
        ));
        if self.pins > 0 {
            lines.push(("", format!("and pins {} known roots", self.pins)));
        }
        for family in &self.distrusted {
            lines.push(("", format!("and {family} is held for broken")));
        }
        lines
    }

    pub(crate) fn to_json(&self) -> Value {
        let keysets = self.keysets.iter();
        let keysets = keysets.map(|keys| json!({ "origin": keys.origin, "keyset": keys.id }));
        json!({
            "policy": self.source,
            "keysets": keysets.collect::<Vec<_>>(),
            "required_nodes": self.required_nodes,
            "pins": self.pins,
            "distrusted": self.distrusted.iter().map(|a| a.name()).collect::<Vec<_>>(),
        })
    }
}
