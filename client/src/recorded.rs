//! The entry that a request made, verified.

use std::sync::Arc;

use candor_ledger::entry::Entry;
use candor_ledger::ids::Seq;
use candor_ledger::proof::TlogProof;
use candor_ledger::receipt::Receipt;
use candor_ledger::tree::NodeHash;

use crate::checkpoint::VerifiedCheckpoint;
use crate::verify::own::Own;

/// A verified entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The entry.
    pub entry: Entry,
    /// Its bytes, without LF.
    pub line: Vec<u8>,
    /// The request had taken effect before, under the same id; this is what it did then.
    pub replayed: bool,
    /// The proof, when the entry is sealed. Without one it is committed, by the word of the node
    /// that answered.
    pub sealed: Option<Sealed>,
}

/// Where a sealed entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// From the entry's leaf to the root of the checkpoint.
    pub path: Vec<NodeHash>,
    /// The checkpoint that covers it.
    pub checkpoint: Arc<VerifiedCheckpoint>,
}

impl Recorded {
    /// Its place in the ledger.
    pub fn seq(&self) -> Seq {
        self.entry.seq
    }

    /// Entry, path and checkpoint in the form that anybody can check offline; `None` until sealed.
    pub fn receipt(&self) -> Option<Receipt> {
        let Sealed { path, checkpoint } = self.sealed.as_ref()?;
        Some(Receipt {
            entry: self.line.clone(),
            proof: TlogProof {
                index: self.entry.seq,
                path: path.clone(),
                note: checkpoint.note().clone(),
            },
        })
    }

    pub(crate) fn of(own: Own, under: Option<&Arc<VerifiedCheckpoint>>) -> Self {
        let sealed = own.path.zip(under).map(|(path, under)| {
            let checkpoint = Arc::clone(under);
            Sealed { path, checkpoint }
        });
        Self {
            entry: own.entry,
            line: own.line,
            replayed: own.replayed,
            sealed,
        }
    }
}
