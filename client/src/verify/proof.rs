//! One entry under one checkpoint.

use candor_ledger::digest::ChainHash;
use candor_ledger::entry::{Body, Entry, EntryError, Subject};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::{NodeHash, leaf_hash, verify_inclusion};
use candor_proto::audit_v1::Proof;

use crate::checkpoint::VerifiedCheckpoint;
use crate::error::{Doubt, Unproven};
use crate::misbehaviour::Misbehaviour;

/// An entry as an endpoint shows it.
#[derive(Clone, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) index: Seq,
    /// The checkpoint that the path leads to; 0 when it is not sealed.
    pub(crate) size: TreeSize,
    pub(crate) line: &'a [u8],
    pub(crate) path: Vec<NodeHash>,
}

impl<'a> Shown<'a> {
    /// # Errors
    /// A hash of other than 32 bytes.
    pub(crate) fn of(proof: &'a Proof) -> Result<Self, Unproven> {
        Ok(Self {
            index: Seq(proof.index),
            size: TreeSize(proof.size),
            line: &proof.entry,
            path: hashes(&proof.path)?,
        })
    }

    /// The endpoint claims no proof for it.
    pub(crate) fn is_unsealed(&self) -> bool {
        self.size == TreeSize(0)
    }
}

/// Hashes from the wire.
pub(crate) fn hashes(path: &[bytes::Bytes]) -> Result<Vec<NodeHash>, Unproven> {
    path.iter()
        .map(|hash| match <[u8; 32]>::try_from(hash.as_ref()) {
            Ok(hash) => Ok(NodeHash(hash)),
            Err(_) => Err(Unproven::differs("the length of a hash", 32, hash.len())),
        })
        .collect()
}

/// Reads an entry that no checkpoint covers yet: the endpoint's word, checked for form and place.
pub(crate) fn unsealed_entry(shown: &Shown<'_>) -> Result<Entry, Doubt> {
    let entry = parse(shown)?;
    if entry.seq == shown.index {
        Ok(entry)
    } else {
        Err(Unproven::differs("the entry's seq", shown.index, entry.seq).into())
    }
}

/// Reads an entry and proves that it lies under the checkpoint.
///
/// # Errors
/// Unproven when the path does not lead to the root; misbehaviour when it does, and the entry
/// contradicts its place, the checkpoint or itself: then the log has signed it.
pub(crate) fn shown_entry(shown: &Shown<'_>, under: &VerifiedCheckpoint) -> Result<Entry, Doubt> {
    let (index, size) = (shown.index, under.size());
    let root = &under.checkpoint().root;
    let leaf = leaf_hash(shown.line);
    let included =
        shown.size == size && verify_inclusion(&leaf, index, size, &shown.path, root).is_ok();
    if !included {
        return Err(Unproven::Inclusion { index, size }.into());
    }
    let signed = |explanation| {
        let found = Misbehaviour::of_entry(explanation, under, shown);
        Doubt::Misbehaviour(Box::new(found))
    };
    let entry = match Entry::parse(shown.line) {
        Ok(entry) => entry,
        // A newer version may have written it: this one cannot tell.
        Err(EntryError::NotUnderstood { .. }) => return Err(unreadable(shown)),
        Err(error) => {
            return Err(signed(format!(
                "entry {index} is signed and malformed: {error}"
            )));
        }
    };
    match contradiction(&entry, shown, under) {
        None => Ok(entry),
        Some(explanation) => Err(signed(explanation)),
    }
}

fn parse(shown: &Shown<'_>) -> Result<Entry, Doubt> {
    Entry::parse(shown.line).map_err(|_| unreadable(shown))
}

fn unreadable(shown: &Shown<'_>) -> Doubt {
    let problem = match Entry::parse(shown.line) {
        Ok(_) => "it can".to_owned(),
        Err(error) => error.to_string(),
    };
    let index = shown.index;
    Unproven::Entry { index, problem }.into()
}

/// What a signed entry says that its place, its checkpoint or its own fields refute.
fn contradiction(entry: &Entry, shown: &Shown<'_>, under: &VerifiedCheckpoint) -> Option<String> {
    let index = shown.index;
    if entry.seq != index {
        return Some(format!(
            "entry {index} is signed and says it is entry {}",
            entry.seq
        ));
    }
    if entry.time > under.sealed() {
        let (time, sealed) = (entry.time, under.sealed());
        return Some(format!(
            "entry {index} of {time} lies under a seal of {sealed}"
        ));
    }
    if let (Body::Write(write), Subject::Fingerprint(subject)) = (&entry.body, &entry.subject) {
        let computed = write.fields.fingerprint();
        if computed != *subject {
            return Some(format!(
                "entry {index} is about {subject}, its fields give {computed}"
            ));
        }
    }
    if under.size().last() == Some(index) {
        return seal_contradiction(entry, shown, under);
    }
    None
}

/// The last entry under a checkpoint is its seal, of which the checkpoint's lines are copies.
fn seal_contradiction(
    entry: &Entry,
    shown: &Shown<'_>,
    under: &VerifiedCheckpoint,
) -> Option<String> {
    let checkpoint = under.checkpoint();
    let Body::Seal(seal) = &entry.body else {
        return Some(format!(
            "the checkpoint of size {} ends with no seal",
            checkpoint.size
        ));
    };
    let differs = if seal.keyset != checkpoint.keyset {
        "key set"
    } else if entry.time != checkpoint.sealed {
        "time"
    } else if ChainHash::of(shown.line) != checkpoint.chain {
        "chain head"
    } else {
        return None;
    };
    Some(format!(
        "the checkpoint of size {} states another {differs} than its seal",
        checkpoint.size
    ))
}
