//! Who is asking: bearer tokens, stored hashed, and what each may do.
//!
//! Tenant and actor of every entry come from here and never from a request.

use std::collections::BTreeMap;

use candor_ledger::digest::sha3_256_parts;

/// Longest tenant or actor name.
pub const NAME_LEN_MAX: usize = 128;
/// Tokens in one file.
pub const TOKENS_MAX: usize = 10_000;
const LABEL: &[u8] = b"candor.token.v1\n";

/// What a principal may do. One right does not imply another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Attest, read the tenant's lifecycles with proofs, and be shown results of the past.
    Audit,
    /// Read every tenant's entries.
    AuditAll,
    /// Change membership, settle, transfer leadership.
    Operate,
    /// Look results up, and read the tenant's lifecycles.
    Read,
    /// Store, supersede, revoke, reinstate.
    Write,
}

impl Right {
    const ALL: [Self; 5] = [
        Self::Audit,
        Self::AuditAll,
        Self::Operate,
        Self::Read,
        Self::Write,
    ];

    /// As written in the token file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::AuditAll => "audit-all",
            Self::Operate => "operate",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// The inverse of [`Right::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.as_str() == text)
    }
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whose results and entries it works on.
    pub tenant: String,
    /// Its name on every entry it causes.
    pub actor: String,
    rights: Vec<Right>,
}

impl Principal {
    /// A principal that another node authenticated.
    pub fn forwarded(tenant: String, actor: String, rights: Vec<Right>) -> Self {
        Self {
            tenant,
            actor,
            rights,
        }
    }

    /// Its rights.
    pub fn rights(&self) -> impl Iterator<Item = Right> {
        self.rights.iter().copied()
    }

    /// Whether the principal holds this right.
    pub fn may(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }
}

/// The token file: `<sha3-256 hex of the token> <tenant> <actor> <right>[,<right>...]` a line.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    by_hash: BTreeMap<[u8; 32], Principal>,
}

/// A token file that is refused, with the line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("tokens line {line}: {problem}")]
pub struct TokensError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, without the token's hash.
    pub problem: String,
}

impl Tokens {
    /// Reads the file; `#` starts a comment line.
    ///
    /// # Errors
    /// The first bad line: a file is taken whole or not at all.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let mut tokens = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line_text = line.trim();
            if line_text.is_empty() || line_text.starts_with('#') {
                continue;
            }
            let refuse = |problem: String| TokensError {
                line: at + 1,
                problem,
            };
            let (hash, principal) = parse_line(line_text).map_err(refuse)?;
            if tokens.by_hash.insert(hash, principal).is_some() {
                return Err(refuse("this token stands twice".to_owned()));
            }
            if tokens.by_hash.len() > TOKENS_MAX {
                return Err(refuse(format!("more than {TOKENS_MAX} tokens")));
            }
        }
        Ok(tokens)
    }

    /// The principal of a token. The map is keyed by the token's hash, so a lookup's timing tells
    /// nothing that helps to guess a token.
    pub fn principal(&self, token: &str) -> Option<&Principal> {
        self.by_hash.get(&token_hash(token))
    }

    /// The principal of an `authorization` header.
    pub fn bearer(&self, header: &str) -> Option<&Principal> {
        self.principal(header.strip_prefix("Bearer ")?)
    }
}

/// A line for the token file.
pub fn token_line(token: &str, tenant: &str, actor: &str, rights: &[Right]) -> String {
    let rights: Vec<&str> = rights.iter().map(|right| right.as_str()).collect();
    format!(
        "{} {tenant} {actor} {}\n",
        hex::encode(token_hash(token)),
        rights.join(",")
    )
}

/// A new token from 32 random bytes; its prefix lets scanners find leaked ones.
pub fn new_token(random: [u8; 32]) -> String {
    format!("candor_{}", hex::encode(random))
}

fn token_hash(token: &str) -> [u8; 32] {
    sha3_256_parts(&[LABEL, token.as_bytes()])
}

fn parse_line(line: &str) -> Result<([u8; 32], Principal), String> {
    let mut words = line.split_ascii_whitespace();
    let (Some(hash), Some(tenant), Some(actor), Some(rights), None) = (
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    ) else {
        return Err("want `<hash> <tenant> <actor> <rights>`".to_owned());
    };
    let mut bytes = [0; 32];
    hex::decode_to_slice(hash, &mut bytes)
        .map_err(|_| "the first word is not 64 hex digits".to_owned())?;
    for (what, name) in [("tenant", tenant), ("actor", actor)] {
        if name.len() > NAME_LEN_MAX || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!(
                "{what} must be 1 to {NAME_LEN_MAX} printable ASCII characters"
            ));
        }
    }
    if actor == "log" {
        return Err("actor `log` is the ledger's own".to_owned());
    }
    let rights = rights
        .split(',')
        .map(|word| Right::parse(word).ok_or_else(|| format!("`{word}` is no right")))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((
        bytes,
        Principal {
            tenant: tenant.to_owned(),
            actor: actor.to_owned(),
            rights,
        },
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn a_token_gives_its_principal_and_another_gives_nothing() {
        let token = new_token([7; 32]);
        let line = token_line(&token, "acme", "service-a", &[Right::Read, Right::Write]);
        assert!(!line.contains(&token), "the token itself is never written");
        let tokens = Tokens::parse(&format!("# two\n\n{line}")).unwrap();
        let principal = tokens.principal(&token).unwrap();
        assert_eq!(
            (principal.tenant.as_str(), principal.actor.as_str()),
            ("acme", "service-a")
        );
        assert!(principal.may(Right::Write) && !principal.may(Right::Operate));
        assert!(tokens.principal(&new_token([8; 32])).is_none());
        assert!(tokens.principal("").is_none());
    }

    #[test]
    fn refuses_bad_lines_by_number() {
        let good = token_line("t", "acme", "a", &[Right::Read]);
        for (text, line) in [
            (format!("{good}{good}"), 2),
            (format!("{good}xyz acme a read"), 2),
            (good.replace("read", "read,fly"), 1),
            (good.replace(" a ", " log "), 1),
            (good.replace(" a ", " ä "), 1),
            (good.replace(" read", ""), 1),
        ] {
            assert_eq!(Tokens::parse(&text).unwrap_err().line, line, "{text}");
        }
    }
}
