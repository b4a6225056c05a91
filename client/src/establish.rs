//! From a reply's `CheckpointProof` to a checkpoint that may be believed.

use std::sync::Arc;
use std::time::Duration;

use candor_ledger::ids::TreeSize;
use candor_ledger::note::Note;
use candor_ledger::tree::{NodeHash, verify_consistency};
use candor_proto::audit_v1::{CheckpointProof, GetConsistencyRequest};

use crate::checkpoint::VerifiedCheckpoint;
use crate::client::Inner;
use crate::endpoint::Line;
use crate::error::{Doubt, Unproven};
use crate::misbehaviour::Misbehaviour;
use crate::verify::proof::hashes;

/// How long an endpoint may take over a consistency path, while other answers wait for it.
const LINK_TIMEOUT: Duration = Duration::from_secs(2);

/// A root that is known at a size.
#[derive(Clone, Copy)]
struct Known {
    size: TreeSize,
    root: NodeHash,
}

impl Inner {
    /// Verifies the checkpoint of a reply: signatures under the policy, and consistency with what
    /// is remembered. `line.known` is what the request told the endpoint.
    ///
    /// The answer may be older than the newest that is remembered by now, never older than what was
    /// remembered when the request was sent.
    pub(crate) async fn establish(
        &self,
        line: &Line,
        proof: Option<&CheckpointProof>,
    ) -> Result<Option<Arc<VerifiedCheckpoint>>, Doubt> {
        let Some(proof) = proof else {
            return Ok(None);
        };
        let size = TreeSize(proof.size);
        if proof.note.is_empty() {
            let known = line.known.as_ref().filter(|known| known.size() == size);
            let known = known.ok_or(Unproven::Missing("the checkpoint's note"))?;
            return Ok(Some(Arc::clone(known)));
        }
        let note = Note::parse(&proof.note).map_err(|error| Unproven::Policy(error.to_string()))?;
        if let Some(accepted) = self.seen(line, size, &note) {
            return Ok(Some(accepted));
        }
        let _advance = self.memory.advance.lock().await;
        // Whoever held it may have proved this very checkpoint.
        if let Some(accepted) = self.seen(line, size, &note) {
            return Ok(Some(accepted));
        }
        self.prove(line, proof).await.map(Some)
    }

    /// An accepted checkpoint of this text that is not behind what the request knew.
    fn seen(&self, line: &Line, size: TreeSize, note: &Note) -> Option<Arc<VerifiedCheckpoint>> {
        let known = line
            .known
            .as_ref()
            .map_or(TreeSize(0), |known| known.size());
        let accepted = self.memory.accepted(size, note);
        accepted.filter(|accepted| accepted.size() >= known)
    }

    /// Proves a checkpoint that is new to this client. The caller holds `advance`.
    async fn prove(
        &self,
        line: &Line,
        proof: &CheckpointProof,
    ) -> Result<Arc<VerifiedCheckpoint>, Doubt> {
        let shown = VerifiedCheckpoint::accept(&proof.note, &self.policy, &self.origin)?;
        if shown.size() != TreeSize(proof.size) {
            return Err(
                Unproven::differs("the checkpoint's size", proof.size, shown.size()).into(),
            );
        }
        if let Some((held, why)) = self.memory.contradiction(&shown) {
            let found = Misbehaviour::of_two(why, &held, &shown);
            return Err(Doubt::Misbehaviour(Box::new(found)));
        }
        let newest = self.memory.newest();
        match &newest {
            None => self.link_to_pins(line, &shown).await?,
            Some(newest) => {
                let known = Known {
                    size: newest.size(),
                    root: newest.checkpoint().root,
                };
                let told = line.known.as_ref().map(|known| known.size());
                let sent = (told == Some(known.size)).then_some(proof.consistency.as_slice());
                Self::refuse_behind(line, &shown, proof)?;
                self.link(line, known, &shown, sent).await?;
            }
        }
        let shown = Arc::new(shown);
        self.memory.admit(&shown, self.around.now())?;
        Ok(shown)
    }

    /// An endpoint that shows less than the request said it knows is behind. That is no alarm:
    /// nothing of it is accepted. A path that it adds must be right.
    fn refuse_behind(
        line: &Line,
        shown: &VerifiedCheckpoint,
        proof: &CheckpointProof,
    ) -> Result<(), Doubt> {
        let Some(told) = line
            .known
            .as_ref()
            .filter(|told| shown.size() < told.size())
        else {
            return Ok(());
        };
        let (shown_size, known) = (shown.size(), told.size());
        let (old, new) = (&shown.checkpoint().root, &told.checkpoint().root);
        let path = hashes(&proof.consistency)?;
        let consistent = verify_consistency(shown_size, old, known, new, &path).is_ok();
        if path.is_empty() || consistent {
            Err(Doubt::Behind {
                shown: shown_size,
                known,
            })
        } else {
            let shown = shown_size;
            Err(Unproven::Consistency { known, shown }.into())
        }
    }

    /// Roots that the policy pins count as remembered from the start.
    async fn link_to_pins(&self, line: &Line, shown: &VerifiedCheckpoint) -> Result<(), Doubt> {
        for pin in self
            .policy
            .pins()
            .iter()
            .filter(|pin| pin.origin == self.origin)
        {
            if shown.size() < pin.size {
                return Err(Doubt::Behind {
                    shown: shown.size(),
                    known: pin.size,
                });
            }
            let known = Known {
                size: pin.size,
                root: pin.root,
            };
            self.link(line, known, shown, None).await?;
        }
        Ok(())
    }

    /// Proves that what is known and what is shown are prefixes of one log. `sent` is the path of
    /// the reply, when it is the one between these two; otherwise the endpoint is asked for it.
    async fn link(
        &self,
        line: &Line,
        known: Known,
        shown: &VerifiedCheckpoint,
        sent: Option<&[bytes::Bytes]>,
    ) -> Result<(), Doubt> {
        let shown = Known {
            size: shown.size(),
            root: shown.checkpoint().root,
        };
        let (old, new) = if known.size <= shown.size {
            (known, shown)
        } else {
            (shown, known)
        };
        let unlinked = || Unproven::Consistency {
            known: known.size,
            shown: shown.size,
        };
        let path = match sent {
            Some(path) => hashes(path)?,
            None => self
                .consistency_path(line, old.size, new.size)
                .await
                .ok_or_else(unlinked)?,
        };
        verify_consistency(old.size, &old.root, new.size, &new.root, &path)
            .map_err(|_| unlinked().into())
    }

    /// Two checkpoints are proved to be of one log by this path between their sizes.
    pub(crate) fn consistent(
        one: &VerifiedCheckpoint,
        other: &VerifiedCheckpoint,
        path: &[bytes::Bytes],
    ) -> Result<(), Doubt> {
        if let Some(why) = one.contradicts(other) {
            let found = Misbehaviour::of_two(why, one, other);
            return Err(Doubt::Misbehaviour(Box::new(found)));
        }
        let (old, new) = if one.size() <= other.size() {
            (one, other)
        } else {
            (other, one)
        };
        let (from, to) = (&old.checkpoint().root, &new.checkpoint().root);
        verify_consistency(old.size(), from, new.size(), to, &hashes(path)?).map_err(|_| {
            let (known, shown) = (one.size(), other.size());
            Unproven::Consistency { known, shown }.into()
        })
    }

    async fn consistency_path(
        &self,
        line: &Line,
        old: TreeSize,
        new: TreeSize,
    ) -> Option<Vec<NodeHash>> {
        if old == new {
            return Some(Vec::new());
        }
        let mut line = line.clone();
        line.timeout = line.timeout.min(LINK_TIMEOUT);
        let request = line.request(GetConsistencyRequest {
            old_size: old.0,
            new_size: new.0,
        });
        let reply = tokio::time::timeout(LINK_TIMEOUT, line.audit().get_consistency(request)).await;
        hashes(&reply.ok()?.ok()?.into_inner().path).ok()
    }
}
