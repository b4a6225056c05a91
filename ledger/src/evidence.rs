//! Evidence: one JSON file with everything needed to check what it claims.
//!
//! ```text
//! { "format": "candor.evidence.v1", "origin": .., "tenant": .., "subject": .., "size": S,
//!   "notes":   [ "<whole checkpoint note>", .. ],
//!   "entries": [ { "index": seq, "line": "<entry>", "note": <position in notes>, "path": ["<base64>", ..] }, .. ],
//!   "values":  [ { "base64": "..", "output_hash": "sha3-256:<hex>" }, .. ],
//!   "claims":  [ { "args": {..}, "type": ".." }, .. ] }
//! ```
//!
//! A file states claims and never verdicts: those are the verifier's, one for each claim
//!. No key in it is trusted, and no tlog-proof text stands in it: that is
//! rebuilt from index, path and note. Reading is strict ([`crate::canonical`]): exactly these keys,
//! canonical base64, entries by ascending index, each note, value and claim once. The spelling of
//! the JSON around them is free, so that a file survives a formatter; [`Evidence::render`] writes
//! the canonical one.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::canonical::{JsonError, Object, Value};
use crate::digest::{TaggedDigest, sha3_256};
use crate::ids::{Seq, TreeSize};
use crate::tree::NodeHash;

mod read;

/// What `format` must say.
pub const FORMAT: &str = "candor.evidence.v1";

/// Longest file in bytes: 160,000 entries of 600 bytes with 20 path hashes of 46 characters and
/// JSON around them, 1.6 KiB each.
pub const EVIDENCE_LEN_MAX: usize = 256 * 1024 * 1024;

/// Most commas and opening brackets in a file, those inside strings included.
///
/// There is no JSON value without one before it, so this bounds the memory of reading: at most
/// 100 bytes for each, 1.6 GiB, beside the strings. An entry of 600 bytes with its path has 55,
/// so the longest file of such entries has 9 million.
pub const SEPARATORS_MAX: usize = 16 * 1024 * 1024;

/// Most entries of one file.
pub const ENTRIES_MAX: usize = 1_000_000;

/// Most notes: each may be 256 KiB and costs a millisecond or so of signature checking.
pub const NOTES_MAX: usize = 10_000;

/// Most values; their bytes are bounded by the file's.
pub const VALUES_MAX: usize = 10_000;

/// Most claims: each may walk over all entries, 10^9 steps in all.
pub const CLAIMS_MAX: usize = 1_000;

/// Longest inclusion path: one hash a level, and sequence numbers stay below 2^53.
pub const PATH_LEN_MAX: usize = 53;

/// A file that was read or is to be written.
///
/// [`Evidence::parse`] and [`EvidenceBuilder`] make only well-formed ones; whoever changes the
/// fields answers for the form, and the verifier takes none of it on trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Which log.
    pub origin: String,
    /// Whose entries; `""` for the log's own.
    pub tenant: String,
    /// About what, as it stands in the entries.
    pub subject: String,
    /// The size of the newest checkpoint among `notes`: all claims are as of this size.
    pub size: TreeSize,
    /// Whole notes, each once.
    pub notes: Vec<String>,
    /// Entries by ascending index, each once.
    pub entries: Vec<ShownEntry>,
    /// Values that writes among the entries name by hash.
    pub values: Vec<ShownValue>,
    /// What the file claims; at least one.
    pub claims: Vec<Claim>,
}

/// An entry with its way to a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownEntry {
    /// The entry's bytes, without the LF that ends them in files.
    pub line: String,
    /// Its place in the tree, which must be the entry's `seq`.
    pub index: Seq,
    /// The RFC 6962 inclusion path, leaf sibling first.
    pub path: Vec<NodeHash>,
    /// Position in `notes` of the checkpoint that the path leads to.
    pub note: u64,
}

/// A value and the hash that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownValue {
    /// SHA3-256 of the bytes, as `cache.write` has it.
    pub output_hash: [u8; 32],
    /// The bytes as they were stored; ciphertext where the client encrypts.
    pub bytes: Vec<u8>,
}

/// What evidence may claim. Bounds are inclusive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// `entry {seq}`: this entry of the tenant's subject is in the ledger at `seq`.
    Entry {
        /// Its place.
        seq: Seq,
    },
    /// `range {from, to}`: the entries shown from `from` to `to` are all that the ledger has
    /// there, chained one to the next. Only evidence about the log itself may claim it, for the
    /// entries are everybody's.
    Range {
        /// The first.
        from: Seq,
        /// The last, itself included.
        to: Seq,
    },
    /// `subject-absent {}`: the ledger has no entry of the tenant's subject.
    SubjectAbsent,
    /// `subject-complete {}`: the lifecycle shown starts with the subject's first entry and ends
    /// with its newest.
    SubjectComplete,
    /// `subject-lifecycle {from_n, to_n}`: the subject's events `from_n` to `to_n` are all shown,
    /// each linked to the one before.
    SubjectLifecycle {
        /// Ordinal of the first event, from 1.
        from_n: u64,
        /// Ordinal of the last event, itself included.
        to_n: u64,
    },
    /// `value {seq}`: the value that the `cache.write` at `seq` stored is among `values`.
    Value {
        /// The place of the write.
        seq: Seq,
    },
}

/// A file that is no evidence this reader understands. Nothing can be said about what it claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// A part with the wrong type, spelling or range.
    #[error("{at}: {problem}")]
    Field {
        /// Where, such as `entries[3].path[0]`.
        at: String,
        /// What is wrong.
        problem: String,
    },
    /// Made by another version of this format, or no evidence at all.
    #[error("the format is `{0}`, want `{FORMAT}`")]
    Format(String),
    /// Not the JSON that is read here.
    #[error("not readable as JSON: {0}")]
    Json(#[from] JsonError),
    /// Longer than [`EVIDENCE_LEN_MAX`], or with more than [`SEPARATORS_MAX`].
    #[error("the file is too large: {0}")]
    TooLarge(String),
    /// A claim of a type that this version does not know.
    #[error("claim {at} is of the unknown type `{kind}`")]
    UnknownClaim {
        /// Its position, from 0.
        at: usize,
        /// The type it gives.
        kind: String,
    },
}

impl Evidence {
    /// Reads a file.
    ///
    /// Checks the form only; nothing that it says is verified.
    ///
    /// # Errors
    /// [`EvidenceError`] names the place.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        read::parse(bytes)
    }

    /// Writes the file: canonical JSON and a LF.
    pub fn render(&self) -> String {
        let mut text = Value::Object(object([
            ("format", text_value(FORMAT)),
            ("origin", text_value(&self.origin)),
            ("tenant", text_value(&self.tenant)),
            ("subject", text_value(&self.subject)),
            ("size", number(self.size.0)),
            ("notes", list(&self.notes, |note| text_value(note))),
            ("entries", list(&self.entries, ShownEntry::to_value)),
            ("values", list(&self.values, ShownValue::to_value)),
            ("claims", list(&self.claims, Claim::to_value)),
        ]))
        .to_text();
        text.push('\n');
        text
    }

    /// The entry shown at a place.
    pub fn entry(&self, seq: Seq) -> Option<&ShownEntry> {
        let at = self.entries.binary_search_by_key(&seq, |entry| entry.index);
        self.entries.get(at.ok()?)
    }

    /// The value shown under a hash.
    pub fn value(&self, output_hash: &[u8; 32]) -> Option<&ShownValue> {
        self.values
            .iter()
            .find(|value| value.output_hash == *output_hash)
    }
}

impl Claim {
    /// The word in `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Entry { .. } => "entry",
            Self::Range { .. } => "range",
            Self::SubjectAbsent => "subject-absent",
            Self::SubjectComplete => "subject-complete",
            Self::SubjectLifecycle { .. } => "subject-lifecycle",
            Self::Value { .. } => "value",
        }
    }

    fn to_value(&self) -> Value {
        let args = match self {
            Self::Entry { seq } | Self::Value { seq } => object([("seq", number(seq.0))]),
            Self::Range { from, to } => object([("from", number(from.0)), ("to", number(to.0))]),
            Self::SubjectAbsent | Self::SubjectComplete => Object::new(),
            Self::SubjectLifecycle { from_n, to_n } => {
                object([("from_n", number(*from_n)), ("to_n", number(*to_n))])
            }
        };
        Value::Object(object([
            ("type", text_value(self.kind())),
            ("args", Value::Object(args)),
        ]))
    }
}

impl ShownEntry {
    fn to_value(&self) -> Value {
        Value::Object(object([
            ("line", text_value(&self.line)),
            ("index", number(self.index.0)),
            (
                "path",
                list(&self.path, |hash| text_value(&hash.to_string())),
            ),
            ("note", number(self.note)),
        ]))
    }
}

impl ShownValue {
    fn to_value(&self) -> Value {
        let hash = TaggedDigest::sha3(self.output_hash).to_string();
        Value::Object(object([
            ("output_hash", Value::Str(hash)),
            ("base64", Value::Str(BASE64_STANDARD.encode(&self.bytes))),
        ]))
    }
}

/// Puts evidence together; entries and notes may come in any order and more than once.
#[derive(Clone, Debug)]
pub struct EvidenceBuilder(Evidence);

impl EvidenceBuilder {
    /// Evidence about one subject of one tenant, without content yet.
    pub fn new(origin: &str, tenant: &str, subject: &str) -> Self {
        Self(Evidence {
            origin: origin.to_owned(),
            tenant: tenant.to_owned(),
            subject: subject.to_owned(),
            size: TreeSize(0),
            notes: Vec::new(),
            entries: Vec::new(),
            values: Vec::new(),
            claims: Vec::new(),
        })
    }

    /// Adds a checkpoint note, and `size`, what it covers.
    #[must_use]
    pub fn note(mut self, note: &str, size: TreeSize) -> Self {
        self.0.size = self.0.size.max(size);
        self.note_position(note);
        self
    }

    /// Adds an entry, the path to its root and the note that states the root, of this size.
    #[must_use]
    pub fn entry(
        mut self,
        line: &str,
        index: Seq,
        path: &[NodeHash],
        (note, size): (&str, TreeSize),
    ) -> Self {
        self.0.size = self.0.size.max(size);
        let entry = ShownEntry {
            line: line.to_owned(),
            index,
            path: path.to_vec(),
            note: self.note_position(note),
        };
        let entries = &mut self.0.entries;
        match entries.binary_search_by_key(&index, |entry| entry.index) {
            Ok(_) => (),
            Err(at) => entries.insert(at, entry),
        }
        self
    }

    /// Adds a value under its own hash.
    #[must_use]
    pub fn value(mut self, bytes: &[u8]) -> Self {
        let output_hash = sha3_256(bytes);
        if self.0.value(&output_hash).is_none() {
            self.0.values.push(ShownValue {
                output_hash,
                bytes: bytes.to_vec(),
            });
        }
        self
    }

    /// Adds a claim.
    #[must_use]
    pub fn claim(mut self, claim: Claim) -> Self {
        if !self.0.claims.contains(&claim) {
            self.0.claims.push(claim);
        }
        self
    }

    /// The finished file.
    ///
    /// # Errors
    /// As [`Evidence::parse`] of what it would write: without a claim or a note, or too large.
    pub fn finish(self) -> Result<Evidence, EvidenceError> {
        read::check_form(&self.0)?;
        Ok(self.0)
    }

    fn note_position(&mut self, note: &str) -> u64 {
        let notes = &mut self.0.notes;
        let held = notes.iter().position(|held| held == note);
        let at = held.unwrap_or_else(|| {
            notes.push(note.to_owned());
            notes.len() - 1
        });
        u64::try_from(at).expect("invariant: a list is shorter than 2^64")
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Object {
    members
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn list<T>(items: &[T], to_value: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(to_value).collect())
}

fn text_value(text: &str) -> Value {
    Value::Str(text.to_owned())
}

/// Numbers above 2^53 - 1 do not come from a reader; [`read::check_form`] refuses them.
fn number(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
