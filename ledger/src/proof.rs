//! An entry's place in a signed ledger, in the public C2SP form.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index <decimal>
//! <base64 hash>            one line for each step of the path, the leaf's sibling first
//!
//! <checkpoint note, verbatim>
//! ```
//!
//! The optional `extra` line of the specification is not used and refused: nothing signs it.
//!
//! Source: c2sp.org/tlog-proof at commit 5ba5ee83.

use crate::ids::Seq;
use crate::note::{NOTE_LEN_MAX, Note, NoteParseError};
use crate::text::{base64, parse_base64_32, parse_decimal};
use crate::tree::NodeHash;

/// Most hashes of a path: a tree of 2^64 - 1 entries is 64 levels high.
pub const PROOF_PATH_MAX: usize = 64;

/// Longest proof in bytes: the first line (23) and the index (27), a path of 64 lines of 45, the
/// empty line, the note.
pub const PROOF_LEN_MAX: usize = 23 + 27 + PROOF_PATH_MAX * 45 + 1 + NOTE_LEN_MAX;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// An index, an inclusion path and the checkpoint that it leads to; none of it checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// The position of the entry.
    pub index: Seq,
    /// From the leaf's sibling up to the root's child (RFC 6962 section 2.1.1).
    pub path: Vec<NodeHash>,
    /// The checkpoint with its signatures.
    pub note: Note,
}

/// Bytes that are no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofParseError {
    /// A line that is not of the form.
    #[error("line {line} of the proof: want {want}")]
    Line {
        /// From 1.
        line: usize,
        /// What belongs there.
        want: &'static str,
    },
    /// The part after the empty line is no note.
    #[error("the checkpoint of the proof: {0}")]
    Note(#[from] NoteParseError),
    /// Longer than [`PROOF_LEN_MAX`].
    #[error("the proof has {len} bytes, the limit is {PROOF_LEN_MAX}")]
    TooLong {
        /// The length found.
        len: usize,
    },
}

impl TlogProof {
    /// Reads a proof in its one spelling.
    ///
    /// # Errors
    /// [`ProofParseError`] names the line.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofParseError> {
        let len = bytes.len();
        if len > PROOF_LEN_MAX {
            return Err(ProofParseError::TooLong { len });
        }
        let wrong = |line, want| ProofParseError::Line { line, want };
        let end = bytes.windows(2).position(|pair| pair == b"\n\n");
        let (head, rest) = end
            .and_then(|end| bytes.split_at_checked(end))
            .ok_or(wrong(1, "a proof with an empty line before its checkpoint"))?;
        let head = core::str::from_utf8(head).map_err(|_| wrong(1, "UTF-8 throughout"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(wrong(1, "`c2sp.org/tlog-proof@v1`"));
        }
        let index = lines
            .next()
            .and_then(|line| parse_decimal(line.strip_prefix("index ")?))
            .ok_or(wrong(
                2,
                "`index <decimal>`; an `extra` line is not accepted",
            ))?;
        let mut path = Vec::new();
        for (line, content) in (3..).zip(lines) {
            let hash = parse_base64_32(content).filter(|_| path.len() < PROOF_PATH_MAX);
            let hash = hash.ok_or(wrong(
                line,
                "the base64 of a 32-byte hash, 64 of them at most",
            ))?;
            path.push(NodeHash(hash));
        }
        let note = Note::parse(rest.get(2..).unwrap_or_default())?;
        Ok(Self {
            index: Seq(index),
            path,
            note,
        })
    }

    /// Writes the proof.
    pub fn encode(&self) -> String {
        let path: String = self
            .path
            .iter()
            .map(|hash| base64(&hash.0) + "\n")
            .collect();
        let note = self.note.encode();
        format!("{FIRST_LINE}\nindex {}\n{path}\n{note}", self.index)
    }
}
