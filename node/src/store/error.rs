//! What can go wrong with a ledger on disk.

use std::io;

use candor_ledger::ids::{Seq, TreeSize};

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller asked for an entry, or a size, that the ledger does not have yet.
    #[error("the ledger has `{size}` entries, so there is nothing at `{asked}` yet")]
    Beyond {
        /// The sequence number or size asked for.
        asked: u64,
        /// How many entries there are.
        size: TreeSize,
    },
    /// The caller's entry cannot be a line of an entry file.
    #[error("entry `{seq}` cannot be stored: {problem}")]
    BadEntry {
        /// The place it would have had.
        seq: Seq,
        /// What is wrong with it.
        problem: String,
    },
    /// The caller's checkpoint is not newer than the newest, or differs from the one kept.
    #[error("a checkpoint of size `{size}` cannot be kept: {problem}")]
    BadCheckpoint {
        /// Its size.
        size: TreeSize,
        /// What is wrong with it.
        problem: String,
    },
    /// The caller's value or tenant cannot be stored.
    #[error("a value of tenant `{tenant}` cannot be stored: {problem}")]
    BadValue {
        /// Whose it is.
        tenant: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The caller's marker is older than the one that is durable.
    #[error("a marker at size `{offered}` cannot follow the durable one at size `{durable}`")]
    BadMarker {
        /// Size of the draft.
        offered: TreeSize,
        /// Size of the newest durable marker.
        durable: TreeSize,
    },
    /// The caller asked for a consistency path between sizes that have none.
    #[error("no consistency path leads from size `{old}` to size `{new}`")]
    NoPath {
        /// The size that was to be the older one.
        old: TreeSize,
        /// The size that was to be the newer one.
        new: TreeSize,
    },
    /// The disk holds something else than was written. Nothing was repaired.
    #[error("`{file}` is damaged at `{seq}`: expected {expected}, found {found}")]
    Damaged {
        /// The file, from the node's folder.
        file: String,
        /// The entry concerned: of a tree file the first that the node covers, of a checkpoint
        /// its size, of a pack file the byte.
        seq: u64,
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The bytes of a value do not hash to its name any more; a peer may still have them.
    #[error(
        "the value `sha3-256:{}` of tenant `{tenant}` is damaged in `{file}` at byte `{offset}`",
        hex::encode(hash)
    )]
    ValueDamaged {
        /// Whose it is.
        tenant: String,
        /// SHA3-256 of its bytes.
        hash: [u8; 32],
        /// The pack file.
        file: String,
        /// Where its frame starts.
        offset: u64,
    },
    /// No slot of the marker can be read: what is durable is unknown, and the node rejoins as a
    /// new one.
    #[error("no marker can be read ({why}): this node must rejoin as a new one")]
    MarkerLost {
        /// What was found in the slots.
        why: String,
    },
    /// Another version of this program wrote these files; nothing was changed.
    #[error(
        "`{file}` has format version `{found}`, this program reads `{known}`: start the version \
         that wrote it, or join this node to the cluster with an empty folder"
    )]
    FormatUnknown {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
        /// The version read here.
        known: u32,
    },
    /// A damaged place could not be written anew, so what it holds is unknown: the process must end.
    #[error("`{file}` could not be written anew: {problem}")]
    NotRepaired {
        /// The file, from the node's folder.
        file: String,
        /// The system's word.
        problem: io::Error,
    },
    /// The system refused a read or write; of a writer, the process must end.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// An earlier write or fsync failed, so what the files hold is unknown until a restart.
    #[error("an earlier write to the ledger failed: only a restart can tell what is on disk")]
    Stopped,
}

impl StoreError {
    pub(super) fn damaged(
        file: impl Into<String>,
        seq: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Damaged {
            file: file.into(),
            seq,
            expected: expected.into(),
            found: found.into(),
        }
    }
}
