//! The life of one result, as small as it can be said.
//!
//! Written from `ledger/FORMAT.md` alone and sharing no line with the product's own rules, because a
//! checker that asked the code under test what is right would agree with every mistake of it.
//!
//! Time is not in it: whoever uses it says when a deadline has passed ([`Life::expired`]). What concerns
//! two results at once is not in it either: whether a successor may take over is told from outside.

use std::collections::BTreeMap;

use crate::history::{Asked, Found, Miss};

/// More revoked outputs than these a result cannot have (`revoked_limit`).
const REVOKED_MAX: usize = 32;

/// Where a result stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Standing {
    #[default]
    Absent,
    Active,
    Expired,
    Revoked,
    /// To which key.
    Superseded(String),
}

/// Everything about one key that an answer can depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Life {
    pub(super) standing: Standing,
    /// The newest result's output and version; meaningless while ABSENT.
    pub(super) output: String,
    pub(super) version: u64,
    /// The greatest version ever given.
    version_max: u64,
    /// Revoked outputs with their versions.
    revoked: BTreeMap<String, u64>,
}

impl Life {
    /// What an ACTIVE result is once its deadline has passed; `None` for others, which time leaves alone.
    pub(super) fn expired(&self) -> Option<Self> {
        (self.standing == Standing::Active).then(|| Self {
            standing: Standing::Expired,
            ..self.clone()
        })
    }

    /// What is answered here, and what is so from then on. What the model does not know is left at
    /// zero: compare with [`agrees`].
    ///
    /// `hindrance` is why the successor that is asked for cannot take over, if so.
    pub(super) fn decide(&self, asked: &Asked, hindrance: Option<&str>) -> (Found, Self) {
        match asked {
            Asked::Attest { .. } => (Found::Attested, self.clone()),
            Asked::Receipt { .. } => (Found::Proved, self.clone()),
            Asked::Get { .. } => (self.get(), self.clone()),
            Asked::Set { output, .. } => self.set(output),
            Asked::Revoke { output, .. } => self.revoke(output),
            Asked::Reinstate { output, .. } => self.reinstate(output),
            Asked::Supersede { successor, .. } => self.supersede(successor, hindrance),
        }
    }

    fn get(&self) -> Found {
        match &self.standing {
            Standing::Active => Found::Hit {
                output: self.output.clone(),
                version: self.version,
                write_seq: 0,
            },
            Standing::Absent => Found::Missed(Miss::Absent),
            Standing::Expired => Found::Missed(Miss::Expired),
            Standing::Revoked => Found::Missed(Miss::Revoked),
            Standing::Superseded(to) => Found::Missed(Miss::Superseded(to.clone())),
        }
    }

    fn set(&self, output: &str) -> (Found, Self) {
        let active = self.standing == Standing::Active;
        if matches!(self.standing, Standing::Superseded(_)) {
            return self.refuse();
        }
        if self.revoked.contains_key(output) {
            return self.refuse_with("output_revoked");
        }
        if active && self.output == output {
            return (written(self.version, true), self.clone());
        }
        if active {
            let held = self.output.clone();
            return (Found::Conflict { held }, self.clone());
        }
        if self.revoked.len() == REVOKED_MAX {
            return self.refuse_with("revoked_limit");
        }
        let version = self.version_max + 1;
        let next = Self {
            standing: Standing::Active,
            output: output.to_owned(),
            version,
            version_max: version,
            revoked: self.revoked.clone(),
        };
        (written(version, false), next)
    }

    fn revoke(&self, output: &str) -> (Found, Self) {
        match self.standing {
            Standing::Active | Standing::Expired if self.output == output => {
                let mut next = self.clone();
                next.standing = Standing::Revoked;
                next.revoked.insert(output.to_owned(), self.version);
                let version = self.version;
                (Found::Revoked { version }, next)
            }
            Standing::Active | Standing::Expired => self.refuse_with("output_mismatch"),
            _ => self.refuse(),
        }
    }

    fn reinstate(&self, output: &str) -> (Found, Self) {
        if matches!(self.standing, Standing::Absent | Standing::Superseded(_)) {
            return self.refuse();
        }
        match self.revoked.get(output) {
            None => self.refuse_with("not_revoked"),
            Some(_) if self.standing == Standing::Active => self.refuse_with("version_active"),
            Some(version) => {
                let version = *version;
                let mut next = self.clone();
                next.standing = Standing::Active;
                output.clone_into(&mut next.output);
                next.version = version;
                next.revoked.remove(output);
                (Found::Reinstated { version }, next)
            }
        }
    }

    fn supersede(&self, successor: &str, hindrance: Option<&str>) -> (Found, Self) {
        match (&self.standing, hindrance) {
            (Standing::Active | Standing::Expired, Some(reason)) => {
                let (reason, successor) = (reason.to_owned(), Some(successor.to_owned()));
                (Found::Refused { reason, successor }, self.clone())
            }
            (Standing::Active | Standing::Expired, None) => {
                let mut next = self.clone();
                next.standing = Standing::Superseded(successor.to_owned());
                (Found::Superseded, next)
            }
            _ => self.refuse(),
        }
    }

    /// Refuses because of the standing.
    fn refuse(&self) -> (Found, Self) {
        match &self.standing {
            Standing::Absent => self.refuse_with("absent"),
            Standing::Active => self.refuse_with("active"),
            Standing::Expired => self.refuse_with("expired"),
            Standing::Revoked => self.refuse_with("revoked"),
            Standing::Superseded(to) => {
                let (reason, successor) = ("superseded".to_owned(), Some(to.clone()));
                (Found::Refused { reason, successor }, self.clone())
            }
        }
    }

    fn refuse_with(&self, reason: &str) -> (Found, Self) {
        let reason = reason.to_owned();
        let successor = None;
        (Found::Refused { reason, successor }, self.clone())
    }
}

/// Whether an answer is the one that the model demands, as far as the model knows.
pub(super) fn agrees(demanded: &Found, got: &Found) -> bool {
    match (demanded, got) {
        (
            Found::Hit {
                output, version, ..
            },
            Found::Hit {
                output: got_output,
                version: got_version,
                ..
            },
        ) => output == got_output && version == got_version,
        (
            Found::Written {
                version, renewed, ..
            },
            Found::Written {
                version: got_version,
                renewed: got_renewed,
                ..
            },
        ) => version == got_version && renewed == got_renewed,
        _ => demanded == got,
    }
}

/// Refusals of a supersession that depend on other results.
pub(super) fn is_about_successor(found: &Found) -> Option<&str> {
    match found {
        Found::Refused { reason, .. } if reason.starts_with("successor_") => Some(reason),
        _ => None,
    }
}

fn written(version: u64, renewed: bool) -> Found {
    Found::Written {
        version,
        renewed,
        expires_us: 0,
    }
}
