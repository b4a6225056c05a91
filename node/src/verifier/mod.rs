//! The verifier: reads everything that this node keeps, finds what is damaged, and heals it.
//!
//! One pass walks the ledger from its first entry to the newest checkpoint, computes the tree, and
//! holds entries, offsets and nodes against it; then the notes; then the value of every result; then
//! what no peer has (`own`).
//! What differs is fetched from a peer and accepted only if the tree it makes grows into the signed
//! root: neither these files nor the peer are believed. Files that agree with each other and not with
//! that root, as somebody leaves them who edits an entry and all hashes above it, are found at the end
//! of the walk; a second walk then takes every entry from peers. Between two passes it rests, and a pass is
//! no faster than its pace, so that reading for safety does not cost the node its disk; once
//! something is known to be damaged there is no pace and no rest.
//!
//! Meanwhile the damage stands in the register, and [`crate::guard`] keeps this node from leading,
//! sealing and cosigning. A pass that ends with everything in order takes it out again.

mod ledger;
mod own;
mod values;

use std::sync::Arc;
use std::time::Duration;

use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::ids::TreeSize;
use candor_ledger::note::Note;
use candor_ledger::tree::NodeHash;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::config::VerifierSection;
use crate::env::Env;
use crate::metrics::Metrics;
use crate::peers::{ASK_MAX, Source};
use crate::store::{Damage, DamageKind, Repairer, StoreError};
use crate::wal::EXIT_DISK;

/// After a pass behind which there is damage still; twice as long after each that left some.
const AGAIN: Duration = Duration::from_secs(1);

/// Verifies and heals one node's files until it drains.
pub struct Verifier<E: Env> {
    /// The node.
    pub cluster: Arc<Cluster<E>>,
    /// Writes what was damaged.
    pub repairer: Repairer<E::Disk>,
    /// How fast, how often, and whether anything is changed.
    pub config: VerifierSection,
    /// Passes and repairs are counted here.
    pub metrics: Arc<Metrics>,
    /// Raised when the node drains.
    pub stopping: watch::Receiver<bool>,
}

/// Where a pass stands.
struct Pass {
    /// The signed state that everything is held against.
    size: TreeSize,
    root: NodeHash,
    /// Bytes a second; `None` for as fast as it goes.
    pace: Option<u64>,
    began: Instant,
    /// Bytes read.
    read: u64,
    /// Places written anew.
    repaired: u64,
    /// Places that nobody could give back.
    left: u64,
    /// What was in the register when the pass began, and what it put there itself and repaired.
    found: Vec<Damage>,
}

impl<E: Env> Verifier<E> {
    /// Passes follow each other until the node drains.
    pub async fn run(self) {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = self.passes() => {}
        }
    }

    async fn passes(&self) {
        let mut damages = self.cluster.reader.damages();
        let pause = Duration::from_secs(self.config.pause_s);
        let mut again = AGAIN;
        loop {
            let urgent = self.config.heal && !damages.borrow_and_update().is_empty();
            let rest = if urgent { again.min(pause) } else { pause };
            tokio::select! {
                _ = damages.changed(), if !urgent && self.config.heal => {}
                () = tokio::time::sleep(rest) => {}
            }
            let known = damages.borrow_and_update().clone();
            again = match self.pass(&known).await {
                Ok(0) => AGAIN,
                Ok(left) => {
                    tracing::error!(left, "damage is left; the next pass tries again");
                    again.saturating_mul(2)
                }
                // A disk that failed to write or sync is not asked again.
                Err(problem @ StoreError::NotRepaired { .. }) => {
                    self.cluster.env.exit(EXIT_DISK, &problem.to_string())
                }
                Err(problem) => {
                    tracing::error!(%problem, "a pass of the verifier ended early");
                    again.saturating_mul(2)
                }
            };
        }
    }

    /// One pass; returns how many places are damaged still.
    async fn pass(&self, known: &[Damage]) -> Result<u64, StoreError> {
        let Some(mut pass) = self.begin(known).await? else {
            return Ok(0);
        };
        self.verify_ledger(&mut pass).await?;
        self.verify_notes(&mut pass).await?;
        self.verify_values(&mut pass).await?;
        self.verify_own(&mut pass).await;
        self.metrics.verifier_passes.inc();
        self.metrics.verifier_size.set(pass.size.0);
        let (size, read, repaired) = (pass.size, pass.read, pass.repaired);
        let took = pass.began.elapsed();
        tracing::info!(%size, read, repaired, left = pass.left, ?took, "the files were verified");
        if pass.left == 0 {
            let healed: Vec<Damage> = self
                .cluster
                .reader
                .damages()
                .borrow()
                .iter()
                .filter(|damage| pass.has_seen(damage))
                .cloned()
                .collect();
            for damage in &healed {
                tracing::info!(file = damage.file, place = damage.place, "healed");
            }
            self.repairer.healed(&healed);
        }
        Ok(pass.left)
    }

    /// The newest checkpoint is what a pass goes by; `None` before the first.
    async fn begin(&self, known: &[Damage]) -> Result<Option<Pass>, StoreError> {
        let Some(size) = self.cluster.reader.checkpoints().pop() else {
            return Ok(None);
        };
        if let Err(StoreError::Damaged { .. }) = self.cluster.reader.checkpoint(size) {
            self.heal_note(size).await?;
        }
        // It may have been dropped meanwhile, or nobody has it: the next pass takes a later one.
        let Some(text) = self.cluster.reader.checkpoint(size)? else {
            return Ok(None);
        };
        let parsed = Note::parse(text.as_bytes()).ok();
        let checkpoint = parsed.and_then(|note| Checkpoint::parse(&note.text).ok());
        Ok(checkpoint.map(|checkpoint| Pass {
            size,
            root: checkpoint.root,
            pace: Some(self.config.bytes_per_second)
                .filter(|_| known.is_empty() || !self.config.heal),
            began: Instant::now(),
            read: 0,
            repaired: 0,
            left: 0,
            found: known.to_vec(),
        }))
    }

    async fn verify_notes(&self, pass: &mut Pass) -> Result<(), StoreError> {
        for size in self.cluster.reader.checkpoints() {
            match self.cluster.reader.checkpoint(size) {
                Ok(note) => pass.read(note.map_or(0, |note| note.len())).await,
                Err(StoreError::Damaged { .. }) if self.heal_note(size).await? => {
                    self.repaired(pass);
                }
                Err(StoreError::Damaged { .. }) => pass.left += 1,
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }

    /// Fetches the note that was kept; another one of the same size is none of ours.
    async fn heal_note(&self, size: TreeSize) -> Result<bool, StoreError> {
        if !self.config.heal {
            return Ok(false);
        }
        for node in self.sources() {
            let from = Source {
                node,
                address: None,
            };
            if let Ok(Some(note)) = self.cluster.peers.note(from, size, ASK_MAX).await
                && self.repairer.repair_note(size, &note)?
            {
                tracing::info!(%size, node, "a note was fetched");
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn repaired(&self, pass: &mut Pass) {
        pass.repaired += 1;
        self.metrics.verifier_repairs.inc();
    }

    /// Whom to ask, the leader first: it has most.
    fn sources(&self) -> Vec<u64> {
        let status = self.cluster.consensus.status();
        let members = status.voters.iter().chain(&status.learners).copied();
        let others = members.filter(|node| Some(*node) != status.leader);
        let all = status.leader.into_iter().chain(others);
        all.filter(|node| *node != self.cluster.node.0).collect()
    }
}

impl Pass {
    /// Counts bytes, and waits until the pace allows more.
    async fn read(&mut self, bytes: usize) {
        self.read = self
            .read
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let due = match self.pace {
            None => Duration::ZERO,
            Some(pace) => Duration::from_millis(self.read.saturating_mul(1_000) / pace.max(1)),
        };
        let ahead = due.saturating_sub(self.began.elapsed());
        if ahead > Duration::from_millis(20) {
            tokio::time::sleep(ahead).await;
        } else {
            // Others wait for this thread as well.
            tokio::task::yield_now().await;
        }
    }

    /// Whether this pass has looked at a damaged place after it was noted.
    fn has_seen(&self, damage: &Damage) -> bool {
        // Behind the checkpoint nothing was looked at; a size stands for itself.
        let reached = damage.kind != DamageKind::Ledger || damage.place <= self.size.0;
        reached && self.found.contains(damage)
    }
}
