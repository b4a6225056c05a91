//! The C2SP signed note: text, a blank line, signature lines.
//!
//! ```text
//! <text, ends with LF>
//! LF
//! — <key name> <base64(key id, 4 bytes || signature)> LF        one line for each signature
//! ```
//!
//! Parsing is strict: UTF-8, no control byte but LF, canonical base64, single spaces. What
//! [`Note::parse`] accepts, [`Note::encode`] writes byte for byte. Nothing here says whether a
//! signature is good; see [`crate::checkpoint::verify_note`] and [`crate::policy::Policy`].
//!
//! Source: c2sp.org/signed-note v1.0.0.

use core::fmt;

use crate::text::{base64, parse_base64};

mod vkey;

#[cfg(feature = "sign")]
pub(crate) use vkey::cosigned_message;
pub use vkey::{KeyKind, VerifierKey, VkeyError, key_id};

/// Longest note in bytes.
///
/// Three log lines are 27 KiB; 61 further lines of the largest standardised witness signature
/// (ML-DSA-44, 3,244 characters) under names of 255 bytes are 209 KiB: 236 KiB beside the text.
pub const NOTE_LEN_MAX: usize = 256 * 1024;

/// Most signature lines of a note: three of the log and 61 cosigners. C2SP asks for 16 or more.
pub const NOTE_SIGNATURES_MAX: usize = 64;

/// Before every signature line: em dash (U+2014), space.
const LINE_START: &str = "\u{2014} ";

/// A text and the signatures that stand under it, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Everything up to and with the LF before the blank line: the bytes that are signed.
    pub text: String,
    /// The signature lines in the note's order.
    pub signatures: Vec<NoteSignature>,
}

/// One signature line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NoteSignature {
    /// The key's name: not empty, no Unicode space, no `+`.
    pub name: String,
    /// The first four bytes of a hash of name, type and key; a handle, not a commitment.
    pub key_id: [u8; 4],
    /// The bytes after the key id, whose meaning the key's type decides.
    pub blob: Vec<u8>,
}

/// Bytes that are no signed note.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteParseError {
    /// A control byte other than LF; CRLF line ends are the usual cause.
    #[error("control byte 0x{byte:02x} in line {line} of the note: only LF may stand there")]
    Control {
        /// From 1.
        line: usize,
        /// The byte.
        byte: u8,
    },
    /// A signature line that is not of the one form.
    #[error("line {line} of the note is no signature line: {problem}")]
    Line {
        /// From 1, counted from the start of the note.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// No blank line, no text before it, or no signature line after it.
    #[error("the note has no text, or no signatures under a blank line")]
    NoSignatures,
    /// Bytes that are not UTF-8.
    #[error("the note is not UTF-8 after byte {valid_len}")]
    NotUtf8 {
        /// Length of the valid start.
        valid_len: usize,
    },
    /// Longer than [`NOTE_LEN_MAX`].
    #[error("the note has {len} bytes, the limit is {NOTE_LEN_MAX}")]
    TooLong {
        /// The length found.
        len: usize,
    },
    /// More lines than [`NOTE_SIGNATURES_MAX`].
    #[error("the note has {count} signature lines, the limit is {NOTE_SIGNATURES_MAX}")]
    TooManySignatures {
        /// The number found.
        count: usize,
    },
}

impl Note {
    /// Reads a note in its one spelling.
    ///
    /// # Errors
    /// [`NoteParseError`] names the line; nothing is repaired or skipped.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteParseError> {
        let whole = as_text(bytes)?;
        let end = whole.rfind("\n\n").ok_or(NoteParseError::NoSignatures)? + 1;
        let (text, rest) = whole.split_at(end);
        let lines = rest
            .strip_prefix('\n')
            .and_then(|rest| rest.strip_suffix('\n'))
            .ok_or(NoteParseError::NoSignatures)?;
        let count = lines.split('\n').count();
        if count > NOTE_SIGNATURES_MAX {
            return Err(NoteParseError::TooManySignatures { count });
        }
        let first = first_signature_line(text);
        let signatures = (first..)
            .zip(lines.split('\n'))
            .map(|(line, content)| {
                NoteSignature::parse(content)
                    .map_err(|problem| NoteParseError::Line { line, problem })
            })
            .collect::<Result<_, _>>()?;
        let text = text.to_owned();
        Ok(Self { text, signatures })
    }

    /// Writes the note.
    pub fn encode(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            note.push_str(&signature.to_string());
            note.push('\n');
        }
        note
    }

    /// The signature lines with their line numbers in the note, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &NoteSignature)> {
        (first_signature_line(&self.text)..).zip(&self.signatures)
    }
}

impl NoteSignature {
    /// Reads `— <name> <base64>`, without LF, in its one spelling.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn parse(line: &str) -> Result<Self, &'static str> {
        let rest = line
            .strip_prefix(LINE_START)
            .ok_or("it does not start with an em dash and a space")?;
        let (name, encoded) = rest
            .split_once(' ')
            .ok_or("it has no signature after the name")?;
        if !is_key_name(name) {
            return Err("the key name is empty or holds a space or `+`");
        }
        let bytes = parse_base64(encoded).ok_or("the signature is not canonical base64")?;
        match bytes.split_first_chunk::<4>() {
            Some((key_id, blob)) if !blob.is_empty() => Ok(Self {
                name: name.to_owned(),
                key_id: *key_id,
                blob: blob.to_vec(),
            }),
            _ => Err("the signature is shorter than 5 bytes"),
        }
    }
}

/// The line without its LF.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id, self.blob.as_slice()].concat();
        write!(f, "{LINE_START}{} {}", self.name, base64(&bytes))
    }
}

impl fmt::Debug for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, len) = (hex::encode(self.key_id), self.blob.len());
        write!(f, "NoteSignature({}+{id}, {len} bytes)", self.name)
    }
}

/// Whether C2SP allows the text as a key name.
pub(crate) fn is_key_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && !name.contains(forbidden)
}

/// The text is lines with one LF each, then comes the blank line.
fn first_signature_line(text: &str) -> usize {
    text.matches('\n').count() + 2
}

fn as_text(bytes: &[u8]) -> Result<&str, NoteParseError> {
    let len = bytes.len();
    if len > NOTE_LEN_MAX {
        return Err(NoteParseError::TooLong { len });
    }
    let line_at = |at: usize| bytes.iter().take(at).filter(|b| **b == b'\n').count() + 1;
    let control = |byte: &u8| *byte < 0x20 && *byte != b'\n';
    if let Some((at, byte)) = bytes.iter().enumerate().find(|(_, b)| control(b)) {
        let line = line_at(at);
        return Err(NoteParseError::Control { line, byte: *byte });
    }
    core::str::from_utf8(bytes).map_err(|error| NoteParseError::NotUtf8 {
        valid_len: error.valid_up_to(),
    })
}

#[cfg(test)]
mod tests;
