use core::fmt;

use crate::fingerprint::{Fingerprint, NAME_LEN_MAX};

/// What an entry is about.
///
/// Text form: `fingerprint:sha3-256:<hex>`, `decision:<id>`, `model:<name>/<version>` or `ledger`.
/// Inside an id, name or version, `%` and `/` are written `%25` and `%2F`, so that two subjects
/// never share a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A decision that a result served, by the user's own id for it.
    Decision(String),
    /// A computation.
    Fingerprint(Fingerprint),
    /// The log itself.
    Ledger,
    /// A model version.
    Model(Model),
}

/// A model at one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Model {
    /// 1 to [`NAME_LEN_MAX`] characters of printable ASCII without space.
    pub name: String,
    /// As `name`.
    pub version: String,
}

/// A text that is no subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no subject: want fingerprint:sha3-256:<hex>, decision:<id>, model:<name>/<version> or ledger"
)]
pub struct SubjectError(pub String);

impl Subject {
    /// Reads the text form and nothing else.
    ///
    /// # Errors
    /// [`SubjectError`] for any other spelling.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        let subject = match text.split_once(':') {
            None if text == "ledger" => Some(Self::Ledger),
            Some(("fingerprint", _)) => Fingerprint::parse(text).ok().map(Self::Fingerprint),
            Some(("decision", id)) => parse_part(id).map(Self::Decision),
            Some(("model", pair)) => Model::parse(pair).map(Self::Model),
            _ => None,
        };
        // Writing it again catches escapes that were not needed and those in lower case.
        subject
            .filter(|subject| subject.to_string() == text)
            .ok_or_else(|| SubjectError(text.to_owned()))
    }
}

impl Model {
    /// Reads `<name>/<version>`, escapes resolved.
    pub(crate) fn parse(pair: &str) -> Option<Self> {
        let (name, version) = pair.split_once('/')?;
        Some(Self {
            name: parse_part(name)?,
            version: parse_part(version)?,
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decision(id) => write!(f, "decision:{}", escape(id)),
            Self::Fingerprint(fingerprint) => fingerprint.fmt(f),
            Self::Ledger => f.write_str("ledger"),
            Self::Model(model) => write!(f, "model:{model}"),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", escape(&self.name), escape(&self.version))
    }
}

/// What is wrong with a name of a tenant, actor, model, version or decision, if anything:
/// continues "field `x` ...".
pub(crate) fn name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        Some("is empty".to_owned())
    } else if name.len() > NAME_LEN_MAX {
        let len = name.len();
        Some(format!("has `{len}` bytes, more than {NAME_LEN_MAX}"))
    } else {
        let char = name.chars().find(|char| !char.is_ascii_graphic())?;
        let char = char.escape_unicode();
        Some(format!(
            "holds `{char}`: names are printable ASCII without spaces"
        ))
    }
}

fn escape(part: &str) -> String {
    part.replace('%', "%25").replace('/', "%2F")
}

fn parse_part(text: &str) -> Option<String> {
    let part = text.replace("%2F", "/").replace("%25", "%");
    name_problem(&part).is_none().then_some(part)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn subjects_have_one_spelling_and_parts_cannot_reach_into_each_other() {
        let model = |name: &str, version: &str| {
            Subject::Model(Model {
                name: name.to_owned(),
                version: version.to_owned(),
            })
        };
        let hex = "ab".repeat(32);
        for (subject, text) in [
            (Subject::Ledger, "ledger"),
            (model("org/llm", "1%2F"), "model:org%2Fllm/1%252F"),
            (Subject::Decision("a:b/c".to_owned()), "decision:a:b%2Fc"),
            (
                Subject::Fingerprint(Fingerprint([0xab; 32])),
                &format!("fingerprint:sha3-256:{hex}"),
            ),
        ] {
            assert_eq!(subject.to_string(), text);
            assert_eq!(Subject::parse(text).unwrap(), subject);
        }
        assert_ne!(model("a/b", "c").to_string(), model("a", "b/c").to_string());
        for text in [
            "",
            "ledger:",
            "Ledger",
            "model:a",
            "model:/b",
            "model:a/b/c",
            "model:a%2f/b",
            "model:a%41/b",
            "model:a b/c",
            "decision:",
            "decision:a/b",
            &hex,
            &format!("fingerprint:{hex}"),
            &format!("fingerprint:sha3-256:{}", hex.to_uppercase()),
            "person:x",
        ] {
            assert!(Subject::parse(text).is_err(), "{text}");
        }
    }
}
