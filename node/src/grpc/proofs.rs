//! Proofs for replies: which checkpoint, which path, and waiting for either.

use bytes::Bytes;
use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::note::Note;
use candor_ledger::time::Micros;
use candor_ledger::tree::NodeHash;
use candor_proto::audit_v1::{CheckpointProof, Proof};
use tokio::time::Instant;

use super::Api;
use super::status::ApiError;
use crate::env::Env;

/// The checkpoint that all proofs of one reply lead to.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    pub(super) size: TreeSize,
    note: String,
}

impl Anchor {
    pub(super) fn into_note(self) -> Bytes {
        Bytes::from(self.note)
    }
}

impl<E: Env> Api<E> {
    /// Waits until a checkpoint covers `seq` and was sealed at `not_before` or later; `false` when
    /// the deadline came first.
    pub(super) async fn sealed_by(
        &self,
        seq: Option<Seq>,
        not_before: Option<Micros>,
        deadline: Instant,
    ) -> bool {
        let mut applying = self.applying.clone();
        let enough = applying.wait_for(|now| {
            seq.is_none_or(|seq| now.sealed.covers(seq))
                && not_before.is_none_or(|time| now.sealed_time >= time)
        });
        matches!(tokio::time::timeout_at(deadline, enough).await, Ok(Ok(_)))
    }

    /// The client's own checkpoint when it is kept, covers all of `seqs` and is young enough: then
    /// nothing is signed, sent or verified anew. Else the newest.
    pub(super) fn anchor(
        &self,
        known: TreeSize,
        seqs: &[Seq],
        not_before: Option<Micros>,
    ) -> Result<Option<Anchor>, ApiError> {
        if known > TreeSize(0)
            && seqs.iter().all(|seq| known.covers(*seq))
            && let Some(note) = self.reader.checkpoint(known)?
            && not_before.is_none_or(|time| sealed_time(&note).is_some_and(|sealed| sealed >= time))
        {
            return Ok(Some(Anchor { size: known, note }));
        }
        let newest = self.reader.latest_checkpoint()?;
        Ok(newest.map(|(size, note)| Anchor { size, note }))
    }

    pub(super) fn checkpoint_proof(
        &self,
        anchor: &Anchor,
        known: TreeSize,
    ) -> Result<CheckpointProof, ApiError> {
        if anchor.size == known {
            let size = known.0;
            return Ok(CheckpointProof {
                size,
                note: Bytes::new(),
                consistency: Vec::new(),
            });
        }
        let (older, newer) = (known.min(anchor.size), known.max(anchor.size));
        let path = if older == TreeSize(0) || newer > self.reader.size() {
            Vec::new()
        } else {
            self.reader.consistency(older, newer)?
        };
        Ok(CheckpointProof {
            size: anchor.size.0,
            note: Bytes::from(anchor.note.clone()),
            consistency: hashes(&path),
        })
    }

    /// One entry, with its path when the anchor covers it.
    pub(super) fn proof(
        &self,
        seq: Seq,
        line: Option<Bytes>,
        anchor: Option<&Anchor>,
    ) -> Result<Proof, ApiError> {
        let entry = match line {
            Some(line) => line,
            None => Bytes::from(self.reader.entry(seq)?),
        };
        let covering = anchor.filter(|anchor| anchor.size.covers(seq));
        let (path, size) = match covering {
            Some(anchor) => (
                hashes(&self.reader.inclusion(seq, anchor.size)?),
                anchor.size.0,
            ),
            None => (Vec::new(), 0),
        };
        Ok(Proof {
            entry,
            index: seq.0,
            path,
            size,
        })
    }
}

pub(super) fn hashes(path: &[NodeHash]) -> Vec<Bytes> {
    path.iter()
        .map(|hash| Bytes::copy_from_slice(&hash.0))
        .collect()
}

fn sealed_time(note: &str) -> Option<Micros> {
    let note = Note::parse(note.as_bytes()).ok()?;
    Checkpoint::parse(&note.text)
        .ok()
        .map(|checkpoint| checkpoint.sealed)
}
