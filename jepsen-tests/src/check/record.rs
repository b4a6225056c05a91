//! One line of the ledger, read without the product's own reader.
//!
//! The members that checkers ask for are read one by one from plain JSON; what is missing is found by the
//! checker that needs it.

use candor_ledger::digest::sha3_256;
use candor_ledger::time::Micros;
use serde_json::Value;

use crate::history::{Asked, Found, Miss, hex_of, key_of};

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its bytes, without LF.
    pub line: String,
    /// The JSON, [`Value::Null`] when it is none.
    json: Value,
}

impl Record {
    /// Takes a line as it is.
    pub fn read(line: &str) -> Self {
        Self {
            line: line.to_owned(),
            json: serde_json::from_str(line).unwrap_or_default(),
        }
    }

    /// `sha3-256:` of its bytes: the next entry's `prev`.
    pub fn digest(&self) -> String {
        format!("sha3-256:{}", hex::encode(sha3_256(self.line.as_bytes())))
    }

    /// A member that is a string.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.json.get(key)?.as_str()
    }

    /// A member that is a whole number.
    pub fn int(&self, key: &str) -> Option<u64> {
        self.json.get(key)?.as_u64()
    }

    /// A member that is a whole number or null; the outer `None` for anything else.
    pub fn int_or_null(&self, key: &str) -> Option<Option<u64>> {
        match self.json.get(key)? {
            Value::Null => Some(None),
            other => other.as_u64().map(Some),
        }
    }

    /// A member of the body that is a string.
    pub fn body_str(&self, key: &str) -> Option<&str> {
        self.json.get("body")?.get(key)?.as_str()
    }

    /// A member of the body that is a whole number.
    pub fn body_int(&self, key: &str) -> Option<u64> {
        self.json.get("body")?.get(key)?.as_u64()
    }

    /// What it says happened.
    pub fn op(&self) -> &str {
        self.str("op").unwrap_or_default()
    }

    /// Its place.
    pub fn seq(&self) -> Option<u64> {
        self.int("seq")
    }

    /// Its time, microseconds since the Unix epoch.
    pub fn time_us(&self) -> Option<u64> {
        Micros::parse(self.str("time")?).ok().map(|time| time.0)
    }

    /// Whose lifecycle it belongs to.
    pub fn lifecycle(&self) -> Option<(&str, &str)> {
        Some((self.str("tenant")?, self.str("subject")?))
    }

    /// The client's id of the request.
    pub fn request(&self) -> Option<&str> {
        self.str("request_id")
    }

    /// Whether it is the log's own doing.
    pub fn is_of_the_log(&self) -> bool {
        self.str("actor") == Some("log")
    }

    /// Whether a request behind it takes effect at most once: then it holds the request's digest.
    pub fn is_change(&self) -> bool {
        self.body_str("request").is_some()
    }

    /// The key of the result it is about, as a history spells it.
    pub fn key(&self) -> Option<String> {
        let (tenant, subject) = self.lifecycle()?;
        Some(key_of(tenant, subject))
    }

    /// The question behind it, as far as the entry tells; `None` for what no operation of a history asks.
    pub fn asked(&self) -> Option<Asked> {
        let key = self.key()?;
        let output = |name| self.body_str(name).map(hex_of);
        Some(match self.op() {
            "cache.read_hit" | "cache.read_miss" => Asked::Get { key },
            "cache.verify" => Asked::Attest { key },
            "cache.write" => Asked::Set {
                key,
                output: output("output_hash")?,
                ttl_ms: self.body_int("ttl_ms")?,
            },
            "cache.write_conflict" => Asked::Set {
                key,
                output: output("offered")?,
                ttl_ms: 0,
            },
            "cache.revoke" => Asked::Revoke {
                key,
                output: output("output_hash")?,
            },
            "cache.reinstate" => Asked::Reinstate {
                key,
                output: output("output_hash")?,
            },
            "cache.supersede" => Asked::Supersede {
                successor: key_of(self.str("tenant")?, self.body_str("successor")?),
                key,
            },
            "cache.refused" => self.refused(key)?,
            _ => return None,
        })
    }

    /// A refusal repeats of the question only what it rests on; the rest is left empty.
    fn refused(&self, key: String) -> Option<Asked> {
        let output = self.body_str("output_hash").map(hex_of).unwrap_or_default();
        Some(match self.body_str("asked")? {
            "cache.write" => Asked::Set {
                key,
                output,
                ttl_ms: 0,
            },
            "cache.revoke" => Asked::Revoke { key, output },
            "cache.reinstate" => Asked::Reinstate { key, output },
            "cache.supersede" => Asked::Supersede {
                successor: self.successor().unwrap_or_default(),
                key,
            },
            "cache.verify" => Asked::Attest { key },
            _ => return None,
        })
    }

    /// Whether it answers this question. It holds of it what its kind has room for.
    pub fn is_of(&self, asked: &Asked) -> bool {
        let Some(held) = self.asked() else {
            return false;
        };
        // A refusal tells the output only where that is the reason.
        let told = |held: &String, output| {
            held == output || (held.is_empty() && self.op() == "cache.refused")
        };
        let same = match (asked, &held) {
            (
                Asked::Set { output, ttl_ms, .. },
                Asked::Set {
                    output: held,
                    ttl_ms: held_ttl,
                    ..
                },
            ) => told(held, output) && (self.op() != "cache.write" || ttl_ms == held_ttl),
            (Asked::Revoke { output, .. }, Asked::Revoke { output: held, .. })
            | (Asked::Reinstate { output, .. }, Asked::Reinstate { output: held, .. }) => {
                told(held, output)
            }
            // A refusal because of the state names the successor that stands, not the one asked for.
            (
                Asked::Supersede { successor, .. },
                Asked::Supersede {
                    successor: held, ..
                },
            ) => {
                let of_state = self.op() == "cache.refused" && !self.is_about_successor();
                of_state || held == successor
            }
            _ => asked.f() == held.f(),
        };
        same && asked.key() == held.key()
    }

    fn is_about_successor(&self) -> bool {
        let reason = self.body_str("reason").unwrap_or_default();
        reason.starts_with("successor_")
    }

    /// What was answered, as far as the entry tells.
    pub fn found(&self) -> Option<Found> {
        let version = || self.body_int("version");
        Some(match self.op() {
            "cache.read_hit" => Found::Hit {
                output: hex_of(self.body_str("output_hash")?),
                version: version()?,
                write_seq: self.body_int("write_seq")?,
            },
            "cache.read_miss" => Found::Missed(self.miss()?),
            "cache.write" => Found::Written {
                version: version()?,
                renewed: false,
                expires_us: self
                    .body_int("ttl_ms")?
                    .checked_mul(1_000)?
                    .checked_add(self.time_us()?)?,
            },
            "cache.write_conflict" => Found::Conflict {
                held: hex_of(self.body_str("held")?),
            },
            "cache.revoke" => Found::Revoked {
                version: version()?,
            },
            "cache.reinstate" => Found::Reinstated {
                version: version()?,
            },
            "cache.supersede" => Found::Superseded,
            "cache.verify" => Found::Attested,
            "cache.refused" => Found::Refused {
                reason: self.body_str("reason")?.to_owned(),
                successor: self.successor(),
            },
            _ => return None,
        })
    }

    fn miss(&self) -> Option<Miss> {
        let successor = || self.successor().ok_or(());
        Miss::of_word(self.body_str("reason")?, successor).ok()?
    }

    fn successor(&self) -> Option<String> {
        let tenant = self.str("tenant")?;
        Some(key_of(tenant, self.body_str("successor")?))
    }
}
