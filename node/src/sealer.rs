//! Sealing: the leader signs a closed group three ways, gathers the cosignatures of a majority of
//! members that recomputed it, and proposes the note. No signature or note leaves the peer
//! connections before its checkpoint command is committed (INV-4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use candor_ledger::checkpoint::{Checkpoint, CosignerPublic, assemble_note, majority};
use candor_ledger::entry::{Body, Entry};
use candor_ledger::ids::{NodeId, TreeSize};
use candor_ledger::note::NoteSignature;
use candor_ledger::planted;
use candor_ledger::signature::{CosignerKey, SignError, SigningKeys};
use candor_ledger::tree::NodeHash;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};

use crate::apply::Applying;
use crate::command::Command;
use crate::consensus::Leadership;
use crate::env::{Disk, Env};
use crate::fold::Fold;
use crate::proposer::Propose;
use crate::store::{Damage, LedgerReader, StoreError, ledger_damage};

/// Pause between two tries of one member, doubled up to the second.
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_LAST: Duration = Duration::from_millis(500);
/// One ask: a member answers from its own files within milliseconds.
pub const COSIGN_TIMEOUT: Duration = Duration::from_secs(2);

/// A member's answer to `Cosign(size, root)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CosignAnswer {
    /// It recomputed the same text.
    Cosigned(NoteSignature),
    /// It computes another root: one of the two has diverged.
    Differs(NodeHash),
    /// It has not applied that size yet.
    NotYet,
}

/// Asks another member to cosign.
pub trait AskCosign: Clone + Send + Sync + 'static {
    /// One ask, bounded by [`COSIGN_TIMEOUT`]; `None` when the member did not answer.
    fn cosign(
        &self,
        member: NodeId,
        size: TreeSize,
        root: NodeHash,
    ) -> impl Future<Output = Option<CosignAnswer>> + Send;
}

/// What the ledger says at a size that ends with a seal; `None` when it does not.
///
/// Every node computes it from its own files; equal ledgers give equal text (INV-3).
///
/// # Errors
/// When the files cannot be read.
pub fn checkpoint_at<D: Disk>(
    reader: &LedgerReader<D>,
    size: TreeSize,
) -> Result<Option<Checkpoint>, StoreError> {
    let Some(last) = size.last().filter(|_| size <= reader.size()) else {
        return Ok(None);
    };
    let line = reader.entry(last)?;
    let Ok(entry) = Entry::parse(&line) else {
        return Ok(None);
    };
    let Body::Seal(seal) = &entry.body else {
        return Ok(None);
    };
    let genesis = reader.entry(candor_ledger::ids::Seq(0))?;
    let Some(origin) = Entry::parse(&genesis)
        .ok()
        .and_then(|first| match first.body {
            Body::Genesis(genesis) => Some(genesis.origin),
            _ => None,
        })
    else {
        return Ok(None);
    };
    Ok(Some(Checkpoint {
        origin,
        size,
        root: if planted!("tip-signed") {
            reader.root_at(reader.size())?
        } else {
            reader.root_at(size)?
        },
        chain: candor_ledger::digest::ChainHash::of(&line),
        keyset: seal.keyset,
        sealed: entry.time,
    }))
}

/// Answers a leader's `Cosign` from this node's own files.
///
/// # Errors
/// When files are damaged, those in question or others: the node must not cosign then.
pub fn answer_cosign<E: Env>(
    env: &E,
    reader: &LedgerReader<E::Disk>,
    key: &CosignerKey,
    size: TreeSize,
    root: &NodeHash,
) -> Result<CosignAnswer, StoreError> {
    if let Some(damage) = ledger_damage(&reader.damages().borrow()) {
        return Err(StoreError::Damaged {
            file: damage.file.clone(),
            seq: damage.place,
            expected: "no damage where a node cosigns".to_owned(),
            found: "the damage found before".to_owned(),
        });
    }
    if size > reader.size() {
        return Ok(CosignAnswer::NotYet);
    }
    let own = match checkpoint_at(reader, size)? {
        Some(own) if own.root == *root => own,
        Some(own) => return Ok(CosignAnswer::Differs(own.root)),
        None => return Ok(CosignAnswer::Differs(reader.root_at(size)?)),
    };
    match key.sign(own.text().as_bytes(), env.wall().as_seconds()) {
        Ok(line) => Ok(CosignAnswer::Cosigned(line)),
        Err(problem) => {
            tracing::error!(%problem, "cosigning failed");
            Ok(CosignAnswer::NotYet)
        }
    }
}

/// What the sealing task reads and uses.
pub struct Sealer<E: Env, P, A> {
    /// The node's seams.
    pub env: E,
    /// Carries the checkpoint command.
    pub consensus: P,
    /// Asks other members.
    pub peers: A,
    /// This node's number.
    pub node: NodeId,
    /// This node's files.
    pub reader: LedgerReader<E::Disk>,
    /// Members and cosigner keys, from the ledger.
    pub state: Fold,
    /// This node's cosigner key.
    pub cosigner: Arc<CosignerKey>,
    /// The signing lane.
    pub signer: Signer,
    /// Who leads.
    pub leadership: watch::Receiver<Leadership>,
    /// What was found damaged here.
    pub damages: watch::Receiver<Vec<Damage>>,
    /// What is applied.
    pub applying: watch::Receiver<Applying>,
    /// Rises when a majority computes something else: this leader hands over and stops.
    pub diverged: watch::Sender<bool>,
}

impl<E: Env, P: Propose, A: AskCosign> Sealer<E, P, A> {
    /// Seals whatever waits, as long as this node leads. May be dropped at any await: the next leader, or
    /// the next start, begins anew from the ledger.
    pub async fn run(mut self) {
        loop {
            // What is signed must come from files that are whole: a damaged node leaves it to others.
            let damaged = ledger_damage(&self.damages.borrow_and_update()).is_some();
            let term = match &*self.leadership.borrow_and_update() {
                Leadership::Leader {
                    term,
                    since: Some(_),
                } if !damaged => Some(*term),
                _ => None,
            };
            let waiting = self.applying.borrow_and_update().waiting_seal();
            if let (Some(term), Some(size)) = (term, waiting) {
                tokio::select! {
                    biased;
                    result = self.seal(term, size) => if let Err(problem) = result {
                        tracing::error!(%problem, %size, "sealing failed; trying again");
                        tokio::time::sleep(RETRY_LAST).await;
                    },
                    () = lost(self.leadership.clone(), term) => {}
                    () = damaged_now(self.damages.clone()) => {}
                }
                continue;
            }
            tokio::select! {
                changed = self.leadership.changed() => if changed.is_err() { return },
                changed = self.applying.changed() => if changed.is_err() { return },
                changed = self.damages.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One size, from text to committed checkpoint. Dropped when leadership is lost; the next
    /// leader starts over from its own files.
    async fn seal(&self, term: u64, size: TreeSize) -> Result<(), SealError> {
        // 1. The text, from this node's own files.
        let Some(checkpoint) = checkpoint_at(&self.reader, size)? else {
            return Err(SealError::NoSeal(size));
        };
        let text = checkpoint.text();
        // 2. Three signatures on their own lane, while members recompute and cosign.
        let signing = self.signer.sign(text.clone());
        let (signatures, nodes) = tokio::join!(signing, self.gather(&checkpoint, &text));
        let signatures = signatures.ok_or(SealError::SignerGone)?;
        let Some(nodes) = nodes? else {
            self.diverged.send_replace(true);
            return Err(SealError::MajorityDiffers(size));
        };
        // 3. The note becomes the checkpoint when this command is applied, here and everywhere.
        let note = assemble_note(&text, &signatures, &nodes);
        let command = Command::Checkpoint(note.encode()).encode();
        match self.consensus.propose(command, term).await {
            Ok(_) => Ok(()),
            Err(problem) => Err(SealError::NotCommitted(problem.to_string())),
        }
    }

    /// Asks every member until a majority, itself included, has cosigned; `None` when a majority
    /// computes something else.
    async fn gather(
        &self,
        checkpoint: &Checkpoint,
        text: &str,
    ) -> Result<Option<BTreeMap<NodeId, NoteSignature>>, SealError> {
        let members = self.members()?;
        let need = if planted!("majority-unneeded") {
            1
        } else {
            majority(members.len())
        };
        let mut lines = BTreeMap::new();
        let own = self
            .cosigner
            .sign(text.as_bytes(), self.env.wall().as_seconds())?;
        if members.iter().any(|member| member.node == self.node) {
            lines.insert(self.node, own);
        }
        let mut asks: FuturesUnordered<_> = members
            .iter()
            .filter(|member| member.node != self.node)
            .map(|member| self.ask_until_answered(member.clone(), checkpoint, text))
            .collect();
        let mut differing = 0;
        while lines.len() < need {
            match asks.next().await {
                Some((node, Some(line))) => {
                    lines.insert(node, line);
                }
                Some((node, None)) => {
                    differing += 1;
                    tracing::error!(%node, size = %checkpoint.size, "a member computes another root");
                    if differing >= need {
                        return Ok(None);
                    }
                }
                None => {
                    return Err(SealError::TooFew {
                        have: lines.len(),
                        need,
                    });
                }
            }
        }
        // Whoever answered in the meantime stands on the note as well.
        while let Some(Some((node, Some(line)))) = ready(asks.next()) {
            lines.insert(node, line);
        }
        Ok(Some(lines))
    }

    async fn ask_until_answered(
        &self,
        member: CosignerPublic,
        checkpoint: &Checkpoint,
        text: &str,
    ) -> (NodeId, Option<NoteSignature>) {
        let mut pause = RETRY_FIRST;
        loop {
            match self
                .peers
                .cosign(member.node, checkpoint.size, checkpoint.root)
                .await
            {
                Some(CosignAnswer::Cosigned(line)) if member.verify(text, &line).is_ok() => {
                    return (member.node, Some(line));
                }
                Some(CosignAnswer::Cosigned(_)) => {
                    tracing::error!(node = %member.node, "a member's cosignature does not verify");
                }
                Some(CosignAnswer::Differs(_)) => return (member.node, None),
                Some(CosignAnswer::NotYet) | None => {}
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(RETRY_LAST);
        }
    }

    fn members(&self) -> Result<Vec<CosignerPublic>, SealError> {
        let log = candor_ledger::fold::log(&*self.state.read())?.ok_or(SealError::NoGenesis)?;
        Ok(crate::apply::cosigners(&log))
    }
}

/// Why a seal did not come about; it is tried again.
#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error("a majority of the members computes another root at size {0}")]
    MajorityDiffers(TreeSize),
    #[error("the ledger has no genesis")]
    NoGenesis,
    #[error("the entry before size {0} is no seal")]
    NoSeal(TreeSize),
    #[error("the checkpoint command was not committed: {0}")]
    NotCommitted(String),
    #[error("cosigning failed: {0}")]
    Sign(#[from] SignError),
    #[error("the signing lane has ended")]
    SignerGone,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{have} of {need} cosignatures, and every other member answered")]
    TooFew { have: usize, need: usize },
    #[error(transparent)]
    View(#[from] candor_ledger::fold::ViewError),
}

type Signing = (String, oneshot::Sender<[NoteSignature; 3]>);

/// The lane that makes the three log signatures, about 8 ms of one core each time.
#[derive(Clone, Debug)]
pub struct Signer(mpsc::Sender<Signing>);

impl Signer {
    /// Starts the lane; it ends when the last handle is dropped.
    pub fn start<E: Env>(env: &E, keys: Arc<SigningKeys>) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Signing>(2);
        let lane_env = env.clone();
        let _ = env.lane("sealer", move || async move {
            while let Some((text, reply)) = receiver.recv().await {
                let mut fill = |bytes: &mut [u8]| lane_env.fill_random(bytes);
                match keys.sign(text.as_bytes(), &mut fill) {
                    Ok(signatures) => drop(reply.send(signatures)),
                    Err(problem) => tracing::error!(%problem, "signing failed"),
                }
            }
        });
        Self(sender)
    }

    async fn sign(&self, text: String) -> Option<[NoteSignature; 3]> {
        let (reply, answer) = oneshot::channel();
        self.0.send((text, reply)).await.ok()?;
        answer.await.ok()
    }
}

async fn damaged_now(mut damages: watch::Receiver<Vec<Damage>>) {
    let _ = damages
        .wait_for(|found| ledger_damage(found).is_some())
        .await;
}

async fn lost(mut leadership: watch::Receiver<Leadership>, term: u64) {
    let leads = |l: &Leadership| matches!(l, Leadership::Leader { term: now, .. } if *now == term);
    let _ = leadership.wait_for(|l| !leads(l)).await;
}

fn ready<F: Future>(future: F) -> Option<F::Output> {
    futures::FutureExt::now_or_never(future)
}
