//! An export: a range of the ledger as a folder that anybody can check offline.
//!
//! ```text
//! README.txt        what this is, for people
//! checkpoint        the signed note under which the range stands
//! entries.jsonl     a line for each position of the range, LF after each: the entry, or
//!                   {"leaf":"sha-256:<hex>"} where it is not the reader's to see
//! export.json       canonical JSON and a LF:
//!   { "files": { "README.txt": "sha3-256:<hex>", .. }, "format": "candor.export.v1",
//!     "from": seq, "frontier": ["<base64>", ..], "origin": .., "path": ["<base64>", ..],
//!     "size": S, "tenant": .., "to": seq }
//! genesis.receipt   the ledger's first entry under the same checkpoint
//! policy.txt        what the exporter trusted: for comparison, never a reason to trust
//! ```
//!
//! `frontier` holds the complete subtrees before `from`; they and the lines give the root at `to + 1`,
//! and the consistency path `path` ties that to the root that the checkpoint signs. So the range
//! needs one proof in all, and no hash for an entry of its own. `tenant` is `""` where every entry
//! is shown; else the entries of that tenant and the log's own are, and of the others the leaf hashes:
//! no position is left out.
//!
//! `entries.jsonl` is not among `files`: the tree commits to each of its lines.
//!
//! A file states what it holds and never a verdict: see [`check::ExportCheck`].

use std::collections::BTreeMap;

use crate::canonical::{self, JsonError, Object, Value};
use crate::digest::{DigestAlgorithm, TaggedDigest};
use crate::ids::{Seq, TreeSize};
use crate::text::parse_base64_32;
use crate::tree::NodeHash;

pub mod check;

/// What `format` must say.
pub const FORMAT: &str = "candor.export.v1";
/// This description.
pub const EXPORT_FILE: &str = "export.json";
/// A line for each position.
pub const ENTRIES_FILE: &str = "entries.jsonl";
/// The signed note.
pub const CHECKPOINT_FILE: &str = "checkpoint";
/// The ledger's first entry.
pub const GENESIS_FILE: &str = "genesis.receipt";
/// What the exporter trusted.
pub const POLICY_FILE: &str = "policy.txt";
/// For people.
pub const README_FILE: &str = "README.txt";

/// The files that `files` must name, all of them.
pub const DIGESTED_FILES: [&str; 4] = [README_FILE, CHECKPOINT_FILE, GENESIS_FILE, POLICY_FILE];

/// Longest `export.json`: twice 64 hashes of 47 bytes, names of 256, and four digests, four times over.
pub const EXPORT_LEN_MAX: usize = 64 * 1024;

/// Most hashes of a path or a frontier.
const HASHES_MAX: usize = 64;

/// What an `export.json` says; none of it checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Which log.
    pub origin: String,
    /// Whose entries are shown beside the log's own; `""` when all are.
    pub tenant: String,
    /// The first position.
    pub from: Seq,
    /// The last, itself included.
    pub to: Seq,
    /// Ledger size of the checkpoint.
    pub size: TreeSize,
    /// The tree before `from`: roots of its complete subtrees, the largest first.
    pub frontier: Vec<NodeHash>,
    /// Consistency path from `to + 1` to `size`.
    pub path: Vec<NodeHash>,
    /// SHA3-256 of each of [`DIGESTED_FILES`].
    pub files: BTreeMap<String, [u8; 32]>,
}

/// Bytes that are no `export.json` of this version. Nothing can be said about the folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// A part is missing, of another type, or out of its range.
    #[error("`{key}`: want {want}")]
    Field {
        /// Which.
        key: &'static str,
        /// What belongs there.
        want: &'static str,
    },
    /// Of another version, or no export at all.
    #[error("the format is `{0}`, want `{FORMAT}`")]
    Format(String),
    /// Not canonical JSON.
    #[error("not canonical JSON: {0}")]
    Json(#[from] JsonError),
    /// Other bytes than this content has in its one spelling, such as a key too many.
    #[error("not in its one spelling")]
    Spelling,
    /// Longer than [`EXPORT_LEN_MAX`].
    #[error("{0} bytes, the limit is {EXPORT_LEN_MAX}")]
    TooLong(usize),
}

impl Export {
    /// Reads the file in its one spelling.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ExportError> {
        if bytes.len() > EXPORT_LEN_MAX {
            return Err(ExportError::TooLong(bytes.len()));
        }
        let text = bytes.strip_suffix(b"\n").ok_or(ExportError::Spelling)?;
        let Value::Object(file) = canonical::parse_canonical(text)? else {
            return Err(ExportError::Format(String::new()));
        };
        let format = file
            .get("format")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if format != FORMAT {
            return Err(ExportError::Format(format.to_owned()));
        }
        let export = Self {
            origin: text_of(&file, "origin")?,
            tenant: text_of(&file, "tenant")?,
            from: Seq(number_of(&file, "from")?),
            to: Seq(number_of(&file, "to")?),
            size: TreeSize(number_of(&file, "size")?),
            frontier: hashes_of(&file, "frontier")?,
            path: hashes_of(&file, "path")?,
            files: files_of(&file)?,
        };
        if export.from > export.to {
            let want = "the position of `from` or a later one";
            return Err(ExportError::Field { key: "to", want });
        }
        if !export.size.covers(export.to) {
            let want = "more than `to`";
            return Err(ExportError::Field { key: "size", want });
        }
        if export.render().as_bytes() == bytes {
            Ok(export)
        } else {
            Err(ExportError::Spelling)
        }
    }

    /// Writes the file.
    pub fn render(&self) -> String {
        let hashes = |list: &[NodeHash]| {
            Value::Array(
                list.iter()
                    .map(|hash| Value::Str(hash.to_string()))
                    .collect(),
            )
        };
        let digest = |(name, hash): (&String, &[u8; 32])| {
            (
                name.clone(),
                Value::Str(TaggedDigest::sha3(*hash).to_string()),
            )
        };
        let members = [
            (
                "files",
                Value::Object(self.files.iter().map(digest).collect()),
            ),
            ("format", Value::Str(FORMAT.to_owned())),
            ("from", number(self.from.0)),
            ("frontier", hashes(&self.frontier)),
            ("origin", Value::Str(self.origin.clone())),
            ("path", hashes(&self.path)),
            ("size", number(self.size.0)),
            ("tenant", Value::Str(self.tenant.clone())),
            ("to", number(self.to.0)),
        ];
        let members = members.map(|(key, value)| (key.to_owned(), value));
        let mut text = Value::Object(members.into_iter().collect()).to_text();
        text.push('\n');
        text
    }
}

/// The line of an entry that is not the reader's to see.
pub fn hidden_line(leaf: NodeHash) -> String {
    format!("{HIDDEN_BEFORE}{}{HIDDEN_AFTER}", hex::encode(leaf.0))
}

/// The leaf hash that stands for an entry, if the line is of that kind.
pub fn parse_hidden(line: &[u8]) -> Option<NodeHash> {
    let text = core::str::from_utf8(line).ok()?;
    let digest = text
        .strip_prefix(r#"{"leaf":""#)?
        .strip_suffix(HIDDEN_AFTER)?;
    let digest = TaggedDigest::parse(digest).ok()?;
    let leaf = NodeHash(digest.bytes);
    (digest.algorithm == DigestAlgorithm::Sha256 && hidden_line(leaf) == text).then_some(leaf)
}

const HIDDEN_BEFORE: &str = r#"{"leaf":"sha-256:"#;
const HIDDEN_AFTER: &str = r#""}"#;

fn text_of(file: &Object, key: &'static str) -> Result<String, ExportError> {
    let text = file.get(key).and_then(Value::as_str).map(str::to_owned);
    text.ok_or(ExportError::Field {
        key,
        want: "a text",
    })
}

fn number_of(file: &Object, key: &'static str) -> Result<u64, ExportError> {
    let want = "a number from 0";
    let number = file.get(key).and_then(Value::as_u64);
    number.ok_or(ExportError::Field { key, want })
}

fn hashes_of(file: &Object, key: &'static str) -> Result<Vec<NodeHash>, ExportError> {
    let want = "at most 64 hashes of 32 bytes, each in base64";
    let refused = ExportError::Field { key, want };
    let list = file.get(key).and_then(Value::as_array);
    let list = list
        .filter(|list| list.len() <= HASHES_MAX)
        .ok_or(refused.clone())?;
    let hash = |value: &Value| value.as_str().and_then(parse_base64_32).map(NodeHash);
    list.iter().map(hash).collect::<Option<_>>().ok_or(refused)
}

fn files_of(file: &Object) -> Result<BTreeMap<String, [u8; 32]>, ExportError> {
    let want = "the SHA3-256 of each other file but the entries, and of nothing else";
    let refused = ExportError::Field { key: "files", want };
    let listed = file
        .get("files")
        .and_then(Value::as_object)
        .ok_or(refused.clone())?;
    let digest = |name: &str| {
        let digest = TaggedDigest::parse(listed.get(name)?.as_str()?).ok()?;
        let is_sha3 = digest.algorithm == DigestAlgorithm::Sha3_256;
        is_sha3.then(|| (name.to_owned(), digest.bytes))
    };
    let files: Option<_> = DIGESTED_FILES.into_iter().map(digest).collect();
    files.ok_or(refused)
}

/// Sizes above 2^53 - 1 do not come from a ledger.
fn number(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
