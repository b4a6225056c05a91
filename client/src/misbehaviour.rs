//! Proof that a log lied: signed statements that cannot all be true, in one file.
//!
//! Anybody can check the file with the log's public keys: the notes verify under the policy, and
//! either contradict each other, or hold an entry that contradicts them or itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use candor_ledger::digest::sha3_256;
use candor_ledger::ids::Seq;
use candor_ledger::policy::Policy;
use candor_ledger::tree::NodeHash;
use serde::{Deserialize, Serialize};

use crate::checkpoint::VerifiedCheckpoint;
use crate::durable;
use crate::error::Doubt;
use crate::verify::proof::{Shown, shown_entry};

/// What `format` says in the file.
const FORMAT: &str = "candor.misbehaviour.v1";

/// A contradiction between validly signed statements of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Misbehaviour {
    format: String,
    /// The log.
    pub origin: String,
    /// What cannot be, in one sentence.
    pub explanation: String,
    /// The signed notes, whole.
    pub notes: Vec<String>,
    /// The entry that contradicts the one note, when that is the contradiction.
    pub entry: Option<ContradictingEntry>,
    /// Where the file was written.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// An entry that lies under a signed root and contradicts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContradictingEntry {
    /// Its place in the tree.
    pub index: u64,
    /// Its bytes.
    pub base64: String,
    /// Its inclusion path, base64.
    pub path: Vec<String>,
}

impl Misbehaviour {
    pub(crate) fn of_two(
        explanation: String,
        first: &VerifiedCheckpoint,
        second: &VerifiedCheckpoint,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            origin: first.checkpoint().origin.clone(),
            explanation,
            notes: vec![first.note().encode(), second.note().encode()],
            entry: None,
            file: None,
        }
    }

    pub(crate) fn of_entry(
        explanation: String,
        under: &VerifiedCheckpoint,
        shown: &Shown<'_>,
    ) -> Self {
        let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        Self {
            format: FORMAT.to_owned(),
            origin: under.checkpoint().origin.clone(),
            explanation,
            notes: vec![under.note().encode()],
            entry: Some(ContradictingEntry {
                index: shown.index.0,
                base64: base64(shown.line),
                path: shown.path.iter().map(|hash| base64(&hash.0)).collect(),
            }),
            file: None,
        }
    }

    /// Reads a file that a client wrote.
    ///
    /// # Errors
    /// When it is not such a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let found: Self = serde_json::from_slice(&fs::read(path)?)?;
        if found.format == FORMAT {
            Ok(found)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("format `{}`", found.format),
            ))
        }
    }

    /// Checks under somebody's own policy that the statements are signed and contradict each other;
    /// says why, `None` when nothing is shown.
    pub fn check(&self, policy: &Policy) -> Option<String> {
        let accept =
            |note: &String| VerifiedCheckpoint::accept(note.as_bytes(), policy, &self.origin).ok();
        let notes: Option<Vec<_>> = self.notes.iter().map(accept).collect();
        match (notes?.as_slice(), &self.entry) {
            ([first, second], None) => first.contradicts(second),
            ([under], Some(entry)) => entry.contradicts(under),
            _ => None,
        }
    }

    /// Writes the file into a folder, under a name that the contents give: found twice, it is one
    /// file. Durable on return: whoever it convicts may have a hand on the power switch.
    pub(crate) fn write(&mut self, folder: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        let digest = hex::encode(sha3_256(&json));
        let name = format!(
            "candor-misbehaviour-{}.json",
            digest.get(..16).unwrap_or(&digest)
        );
        let path = folder.join(name);
        durable::replace(&path, &json)?;
        self.file = Some(path);
        Ok(())
    }
}

impl ContradictingEntry {
    fn contradicts(&self, under: &VerifiedCheckpoint) -> Option<String> {
        let decode = |text: &String| BASE64_STANDARD.decode(text).ok();
        let hash = |text| decode(text)?.try_into().ok().map(NodeHash);
        let path: Option<Vec<_>> = self.path.iter().map(hash).collect();
        let line = decode(&self.base64)?;
        let shown = Shown {
            index: Seq(self.index),
            size: under.size(),
            line: &line,
            path: path?,
        };
        match shown_entry(&shown, under) {
            Err(Doubt::Misbehaviour(found)) => Some(found.explanation),
            _ => None,
        }
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explanation)?;
        match &self.file {
            Some(path) => write!(f, " (proof in `{}`)", path.display()),
            None => Ok(()),
        }
    }
}
