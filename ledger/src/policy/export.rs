//! Writing policies: our own form, and the weaker one of c2sp.org/tlog-policy.

use core::fmt;
use std::collections::BTreeSet;

use super::parse::{HEADER, NONE};
use super::{Cosigner, Group, Policy, Role, Threshold};
use crate::text::base64;

/// A policy in the C2SP form, and what it no longer demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct C2spExport {
    /// The policy file.
    pub text: String,
    /// What a reader must know before using it.
    pub warning: String,
}

const WARNING: &str = "this C2SP policy is weaker than the policy it was made from: it asks for \
    the Ed25519 signature alone, neither for ML-DSA-65 nor for SLH-DSA-SHA2-128f; it accepts any \
    one of its log keys; it calls the operator's own nodes witnesses; it knows no pins";

impl Policy {
    /// Writes the policy in one spelling, which [`Policy::parse`] reads back as the same policy.
    /// Comments and distrusted families are not part of it.
    pub fn to_text(&self) -> String {
        let mut lines = vec![HEADER.to_owned()];
        lines.extend(self.keysets.iter().map(|keys| {
            let (origin, suite, vkeys) = (keys.origin(), keys.suite(), keys.vkeys().join(" "));
            format!("keyset {origin} {suite} {vkeys}")
        }));
        lines.extend(self.cosigners.iter().map(|cosigner| match cosigner.role {
            Role::Node { .. } => format!("node {cosigner}"),
            Role::Witness { .. } => format!("witness {cosigner}"),
        }));
        lines.extend(self.quorum_lines());
        lines.extend(self.pins.iter().map(|pin| {
            let root = base64(&pin.root.0);
            format!("pin {} {} {root}", pin.origin, pin.size)
        }));
        lines.join("\n") + "\n"
    }

    /// Writes what of this policy a C2SP tlog-policy can say.
    pub fn export_c2sp(&self) -> C2spExport {
        let mut lines: Vec<_> = WARNING
            .split("; ")
            .map(|part| format!("# {part}"))
            .collect();
        // Key sets may share a key, and C2SP refuses it twice.
        let log_keys: BTreeSet<_> = self
            .keysets
            .iter()
            .map(|keys| {
                let [ed25519, ..] = keys.vkeys();
                format!("log {ed25519}")
            })
            .collect();
        lines.extend(log_keys);
        lines.extend(
            self.cosigners
                .iter()
                .map(|cosigner| format!("witness {cosigner}")),
        );
        lines.extend(self.quorum_lines());
        C2spExport {
            text: lines.join("\n") + "\n",
            warning: WARNING.to_owned(),
        }
    }

    fn quorum_lines(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|group| format!("group {group}"));
        let quorum = self.quorum.as_deref().unwrap_or(NONE);
        groups.chain([format!("quorum {quorum}")]).collect()
    }
}

impl fmt::Display for Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.key)?;
        match &self.role {
            Role::Witness { url: Some(url) } => write!(f, " {url}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.members.join(" ");
        write!(f, "{} {} {members}", self.name, self.threshold)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Any => f.write_str("any"),
            Self::AtLeast(count) => count.fmt(f),
        }
    }
}
