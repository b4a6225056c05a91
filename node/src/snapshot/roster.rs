//! Who may have signed: keys and members as the ledger's own entries name them.

use std::collections::BTreeMap;
use std::sync::Arc;

use candor_ledger::checkpoint::{self, Checkpoint, CosignerPublic, majority};
use candor_ledger::entry::{Body, Entry, Genesis, Member, MemberChange};
use candor_ledger::ids::{NodeId, TreeSize};
use candor_ledger::note::Note;
use candor_ledger::signature::KeySet;

/// The log's key sets and members, as of some size.
#[derive(Clone)]
pub struct Roster {
    origin: String,
    keys: Vec<Arc<KeySet>>,
    members: BTreeMap<NodeId, Member>,
}

/// Why a note is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    /// It names keys that no entry known so far holds.
    #[error("it names keys that the entries known so far do not")]
    KeysUnknown,
    /// A signature, or its form.
    #[error("{0}")]
    Bad(String),
    /// Too few of the members recomputed it.
    #[error("{have} of the {members} members vouch for it")]
    TooFew {
        /// Members whose cosignature verifies.
        have: usize,
        /// Members.
        members: usize,
    },
}

impl Roster {
    /// As the stored genesis has it, which the operator gave this node.
    pub fn of_genesis(genesis: &Genesis) -> Self {
        let keys = genesis.keys.key_set(&genesis.origin).ok().map(Arc::new);
        let members = genesis.members.iter();
        Self {
            origin: genesis.origin.clone(),
            keys: keys.into_iter().collect(),
            members: members
                .map(|member| (member.node, member.clone()))
                .collect(),
        }
    }

    /// Goes on from what the node has folded of its own ledger.
    #[must_use]
    pub fn folded(mut self, members: &[Member], keys: Vec<Arc<KeySet>>) -> Self {
        let named = members.iter().map(|member| (member.node, member.clone()));
        self.members = named.collect();
        self.keys.extend(keys);
        self
    }

    /// Takes in entries of the log itself below a size, in order; one taken in twice does no harm.
    #[must_use]
    pub fn read(mut self, entries: &[Entry], below: TreeSize) -> Self {
        for entry in entries.iter().filter(|entry| entry.seq.0 < below.0) {
            match &entry.body {
                Body::Member(MemberChange::Join(member)) => {
                    self.members.insert(member.node, member.clone());
                }
                Body::Member(MemberChange::Leave(node)) => {
                    self.members.remove(node);
                }
                Body::Keys(change) => {
                    self.keys
                        .extend(change.keys.key_set(&self.origin).ok().map(Arc::new));
                }
                _ => {}
            }
        }
        self
    }

    /// Checks the three log signatures of a note and whatever cosignatures of members it has.
    ///
    /// # Errors
    /// [`NotVouched`].
    pub fn signed(&self, text: &str) -> Result<(Checkpoint, usize), NotVouched> {
        let bad = |problem: &dyn std::fmt::Display| NotVouched::Bad(problem.to_string());
        let note = Note::parse(text.as_bytes()).map_err(|e| bad(&e))?;
        let claimed = Checkpoint::parse(&note.text).map_err(|e| bad(&e))?;
        let keys = self.keys.iter().find(|keys| keys.id() == claimed.keyset);
        let keys = keys.ok_or(NotVouched::KeysUnknown)?;
        let public =
            |member: &Member| CosignerPublic::new(&self.origin, member.node, member.cosigner);
        let cosigners: Vec<CosignerPublic> = self.members.values().map(public).collect();
        let verified = checkpoint::verify_note(&note, keys, &cosigners).map_err(|e| bad(&e))?;
        Ok((verified.checkpoint, verified.vouched.len()))
    }

    /// Checks a note in full: three log signatures, and the cosignatures of a majority.
    ///
    /// # Errors
    /// [`NotVouched`].
    pub fn vouched(&self, text: &str) -> Result<Checkpoint, NotVouched> {
        let (checkpoint, have) = self.signed(text)?;
        let members = self.members.len();
        if have < majority(members) {
            return Err(NotVouched::TooFew { have, members });
        }
        Ok(checkpoint)
    }
}
