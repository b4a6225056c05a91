//! Apply: what every node does with a committed command, the same on all of them.
//!
//! `decide` makes entries and changes from the command and the state; they are appended to the
//! ledger's files and to the state, in this order, without waiting for the disk: the Raft log is
//! on a quorum's disks already, and after a restart it makes the same bytes again from the marker.
//! Nothing here reads a clock, draws a random number or asks anybody (INV-8).

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::checkpoint::{self, Checkpoint, CosignerPublic, majority};
use candor_ledger::entry::{Body, Entry, Genesis};
use candor_ledger::fold::{self, Decision, Item, LogState, Outcome};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::note::Note;
use candor_ledger::planted;
use candor_ledger::signature::KeySet;
use candor_ledger::time::Micros;
use tokio::sync::watch;

use crate::command::{Batch, BatchItem, Command};
use crate::consensus::{Consensus, LogPos, Machine, MachineError, Payload, ProposeError};
use crate::env::{Disk, Env};
use crate::fold::Fold;
use crate::markers::Offers;
use crate::records;
use crate::sealer::checkpoint_at;
use crate::snapshot::{Manifest, Shelf};
use crate::state::StateError;
use crate::store::{HashedValue, Ledger, LedgerReader, StoreError, ThinAges, ledger_damage};

/// Commands between two drafts of a marker while no checkpoint comes.
const DRAFT_EVERY: u64 = 256;

/// What a proposer learns of its command once it is applied here.
#[derive(Debug)]
pub enum Applied {
    /// A batch, item by item.
    Batch(BatchApplied),
    /// A checkpoint was taken, or ignored because its size was sealed already.
    Checkpoint,
    /// Nothing of ours: a blank or a membership entry.
    Nothing,
}

/// What a batch did.
#[derive(Debug)]
pub struct BatchApplied {
    /// One per item, in order.
    pub items: Vec<ItemApplied>,
    /// The size to be sealed, when the command closed its group.
    pub seal: Option<TreeSize>,
}

/// What one item did.
#[derive(Clone, Debug)]
pub struct ItemApplied {
    /// The rules' answer.
    pub outcome: Outcome,
    /// The entry that the answer is about, when it was made by this very item.
    pub line: Option<(Seq, Bytes)>,
    /// Ledger time when it was applied.
    pub ledger_time: Micros,
}

/// Where the ledger stands on this node; the waits of the API and of the sealer hang on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applying {
    /// Entries applied.
    pub size: TreeSize,
    /// Size under the newest checkpoint taken.
    pub sealed: TreeSize,
    /// When that checkpoint was sealed.
    pub sealed_time: Micros,
    /// The newest `ledger.seal`.
    pub last_seal: Option<Seq>,
    /// The newest entry's time.
    pub time: Micros,
    /// The ledger itself asks for a seal after so long without one; `None` before genesis.
    pub max_silence: Option<Duration>,
    /// When a tick next has work; at once after a model was superseded.
    pub next_work: Option<Micros>,
    /// The Raft position applied.
    pub index: u64,
    /// Entries appended since the process started.
    pub appended: u64,
    /// Checkpoints taken since the process started.
    pub checkpoints: u64,
}

impl Applying {
    /// The size whose checkpoint is still awaited. There is at most one.
    pub fn waiting_seal(&self) -> Option<TreeSize> {
        let size = self.last_seal?.size_including()?;
        (size > self.sealed).then_some(size)
    }

    /// Whether an entry stands after the last seal.
    pub fn unsealed_entries(&self) -> bool {
        let closed = self
            .last_seal
            .and_then(Seq::size_including)
            .unwrap_or_default();
        self.size > closed
    }
}

/// Why this node can apply nothing more. It stops; a restart or a rejoin repairs it.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The command is not one this program understands: a newer node proposed it.
    #[error("a command at Raft index {index} is not understood: {problem}")]
    NotUnderstood {
        /// Where in the Raft log.
        index: u64,
        /// The decoder's word.
        problem: String,
    },
    /// A checkpoint that a majority vouched for differs from this node's own computation (INV-3).
    #[error(
        "this node has diverged: the cluster sealed size {size} as `{sealed}`, here it is `{own}`"
    )]
    Diverged {
        /// The sealed size.
        size: TreeSize,
        /// Root and chain of the verified note.
        sealed: String,
        /// Root and chain computed here.
        own: String,
    },
    /// A genesis other than the one agreed when the cluster was made.
    #[error("the genesis proposed is not the one in genesis.json")]
    ForeignGenesis,
    /// An entry that must hold the log's keys does not.
    #[error("entry {seq} holds no key set of the log")]
    NoKeys {
        /// Which entry.
        seq: Seq,
    },
    /// The ledger's files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state.
    #[error(transparent)]
    View(#[from] fold::ViewError),
    /// The state's store failed, and the state could not be folded again.
    #[error("the state could not be folded again: {0}")]
    Refold(#[from] StateError),
    /// The rules.
    #[error(transparent)]
    Decide(#[from] fold::DecideError),
}

/// The state machine: owns the writing half of ledger and state.
pub struct Applier<E: Env> {
    ledger: Ledger<E::Disk>,
    state: Fold,
    genesis: watch::Receiver<Option<Arc<Genesis>>>,
    position: Option<LogPos>,
    membership: Option<Bytes>,
    sealed: TreeSize,
    sealed_time: Micros,
    applying: watch::Sender<Applying>,
    offers: Offers,
    shelf: Option<Shelf>,
    /// What stood when the seal that waits was applied; its checkpoint makes a snapshot of it.
    closed: Option<Manifest>,
    /// The key set of the newest checkpoints: decoding one costs more than verifying with it.
    keys: Option<Arc<KeySet>>,
    /// Commands since the last draft.
    undrafted: u64,
    appended: u64,
    checkpoints: u64,
}

impl<E: Env> Applier<E> {
    /// Continues from what recovery found.
    ///
    /// # Errors
    /// When the newest checkpoint kept cannot be read.
    pub fn new(
        ledger: Ledger<E::Disk>,
        state: Fold,
        genesis: watch::Receiver<Option<Arc<Genesis>>>,
        recovered: (Option<LogPos>, Option<Bytes>),
        sealed: TreeSize,
        applying: watch::Sender<Applying>,
        offers: Offers,
    ) -> Result<Self, ApplyError> {
        let sealed_time = match ledger.reader().checkpoint(sealed)? {
            Some(text) => note_checkpoint(&text).map_or(Micros::default(), |c| c.sealed),
            None => Micros::default(),
        };
        let (position, membership) = recovered;
        let applier = Self {
            ledger,
            state,
            genesis,
            position,
            membership,
            sealed,
            sealed_time,
            applying,
            offers,
            shelf: None,
            closed: None,
            keys: None,
            undrafted: 0,
            appended: 0,
            checkpoints: 0,
        };
        applier.publish()?;
        Ok(applier)
    }

    /// Has the snapshots that seals make put on this shelf.
    #[must_use]
    pub fn with_shelf(mut self, snapshots: Shelf) -> Self {
        self.shelf = Some(snapshots);
        self
    }

    async fn step(&mut self, at: LogPos, payload: Payload) -> Result<Applied, ApplyError> {
        let failed = self.state.read().failed();
        if let Some(problem) = failed {
            self.refold(fold::ViewError(problem.0).into()).await?;
        }
        let full = self.state.read().wants_cut();
        let mut boundary = self.undrafted >= DRAFT_EVERY || full;
        let applied = match payload {
            Payload::Blank => Applied::Nothing,
            Payload::Membership(bytes) => {
                self.membership = Some(bytes);
                Applied::Nothing
            }
            Payload::Command(bytes) => match decode(at, &bytes)? {
                Command::Batch(batch) => {
                    // An empty batch is how `cluster settle` asks every node for a marker here.
                    boundary |= batch.items.is_empty();
                    Applied::Batch(self.batch(batch).await?)
                }
                Command::Checkpoint(note) => {
                    boundary = true;
                    self.checkpoint(&note)?;
                    Applied::Checkpoint
                }
            },
        };
        self.position = Some(at);
        if let Applied::Batch(BatchApplied {
            seal: Some(size), ..
        }) = &applied
        {
            self.closed = self.closed_at(at, *size);
        }
        if let Err(problem) = self.publish() {
            self.refold(problem).await?;
            self.publish()?;
        }
        self.undrafted = if boundary {
            0
        } else {
            self.undrafted.saturating_add(1)
        };
        if boundary {
            self.offer_marker();
        }
        if full {
            self.offers.hurry();
            self.state.room().await;
        }
        Ok(applied)
    }

    /// What a snapshot at the closing command just applied says, but for the note, which comes later.
    fn closed_at(&self, at: LogPos, size: TreeSize) -> Option<Manifest> {
        Some(Manifest {
            at,
            membership: self.membership.clone().filter(|_| self.shelf.is_some())?,
            size,
            sealed: self.sealed,
            kept: self.ledger.kept_checkpoints(),
            note: String::new(),
        })
    }

    async fn batch(&mut self, mut batch: Batch) -> Result<BatchApplied, ApplyError> {
        self.refuse_foreign_genesis(&batch)?;
        if planted!("hash-order") {
            batch
                .items
                .sort_by_cached_key(|_| RandomState::new().hash_one(()));
        }
        let (items, values): (Vec<Item>, Vec<Option<Bytes>>) = batch
            .items
            .into_iter()
            .map(|BatchItem { item, value }| (item, value))
            .unzip();
        let decide = |state: &Fold| {
            let view = state.read();
            fold::decide(&*view, &batch.stamp, &items, batch.closes).map_err(ApplyError::from)
        };
        let decision = match decide(&self.state) {
            Ok(decision) => decision,
            Err(problem) => {
                self.refold(problem).await?;
                decide(&self.state)?
            }
        };
        self.keep_values(&decision, &values)?;
        let lines: Vec<Bytes> = decision
            .entries
            .iter()
            .map(|(_, line)| Bytes::from(line.clone()))
            .collect();
        self.ledger.append(&lines)?;
        let made = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.appended = self.appended.saturating_add(made);
        let Decision {
            entries,
            outcomes,
            changes,
            seal,
            ..
        } = decision;
        if let Err(problem) = self.state.apply(&changes) {
            // The entries are in the ledger, so the new fold takes them in.
            self.refold(problem.into()).await?;
        }
        let first = entries.first().map(|(entry, _)| entry.seq);
        let ledger_time = fold::log(&*self.state.read())?.map_or(Micros::default(), |log| log.time);
        let items = outcomes
            .into_iter()
            .map(|outcome| ItemApplied {
                line: own_line(&outcome, first, &lines),
                outcome,
                ledger_time,
            })
            .collect();
        Ok(BatchApplied {
            items,
            seal: seal.map(|seal| seal.size),
        })
    }

    /// Folds the ledger again when the state cannot be read any more; any other problem stays one.
    async fn refold(&mut self, problem: ApplyError) -> Result<(), ApplyError> {
        let Some(why) = self.state.read().failed() else {
            return Err(problem);
        };
        let until = self.ledger.size();
        tracing::error!(%why, %until, "the state is folded again from the first entry");
        self.state.rebuild(&self.ledger.reader(), until).await?;
        tracing::info!(state = %self.state.read().claim(), "the state is whole again");
        Ok(())
    }

    fn refuse_foreign_genesis(&self, batch: &Batch) -> Result<(), ApplyError> {
        for item in &batch.items {
            if let Item::Genesis(proposed) = &item.item
                && self.genesis.borrow().as_deref() != Some(proposed.as_ref())
            {
                return Err(ApplyError::ForeignGenesis);
            }
        }
        Ok(())
    }

    /// Values of accepted writes go beside the ledger; those of refused ones are dropped.
    ///
    /// A result that becomes ACTIVE again by a reinstatement brings no value: it lies here since its
    /// write. One that is missing stops nothing, because what this node holds must not decide what
    /// it applies; a lookup withholds what is not here.
    fn keep_values(
        &mut self,
        decision: &Decision,
        values: &[Option<Bytes>],
    ) -> Result<(), ApplyError> {
        if decision.values.is_empty() {
            return Ok(());
        }
        let offered: BTreeMap<[u8; 32], HashedValue<'_>> = values
            .iter()
            .flatten()
            .map(|value| HashedValue::of(value))
            .map(|value| (value.hash(), value))
            .collect();
        for needed in &decision.values {
            if let Some(value) = offered.get(&needed.output_hash) {
                self.ledger.put_value(&needed.tenant, *value)?;
            } else if !self
                .ledger
                .reader()
                .has_value(&needed.tenant, &needed.output_hash)
            {
                tracing::error!(
                    tenant = needed.tenant,
                    "a value is not here; it is withheld"
                );
            }
        }
        Ok(())
    }

    /// Takes the first verified note of a size; every later or unverified one changes nothing
    /// (INV-4).
    fn checkpoint(&mut self, text: &str) -> Result<(), ApplyError> {
        let Ok(note) = Note::parse(text.as_bytes()) else {
            tracing::warn!("a proposed checkpoint is no note; ignored");
            return Ok(());
        };
        let Some(log) = fold::log(&*self.state.read())? else {
            return Ok(());
        };
        let cosigners = cosigners(&log);
        let Some(keys) = self.keys_named_by(&note)? else {
            tracing::warn!("a proposed checkpoint names keys that the ledger does not; ignored");
            return Ok(());
        };
        let verified = match checkpoint::verify_note(&note, &keys, &cosigners) {
            Ok(verified) => verified,
            Err(problem) => {
                tracing::warn!(%problem, "a proposed checkpoint does not verify; ignored");
                return Ok(());
            }
        };
        let size = verified.checkpoint.size;
        let enough =
            verified.vouched.len() >= majority(cosigners.len()) || planted!("majority-unneeded");
        // Lines that nobody here can check could make a kept note as long as somebody likes.
        if !enough || !verified.unknown.is_empty() || size <= self.sealed {
            return Ok(());
        }
        self.compare(&verified.checkpoint)?;
        self.ledger.put_checkpoint(&verified.checkpoint, text)?;
        self.ledger.thin_checkpoints(thin_ages(&log));
        self.checkpoints = self.checkpoints.saturating_add(1);
        self.sealed = size;
        self.sealed_time = verified.checkpoint.sealed;
        if let Some(shelf) = &self.shelf
            && let Some(mut closed) = self.closed.take_if(|closed| closed.size == size)
        {
            if planted!("snapshot-ahead") {
                closed.at = self.position.unwrap_or(closed.at);
            }
            let note = text.to_owned();
            shelf.sealed(Manifest { note, ..closed });
        }
        Ok(())
    }

    /// A checkpoint that a majority vouched for must be what this node computes (INV-3).
    ///
    /// With damaged files it computes nothing. It keeps the majority's note then, so that what it
    /// keeps stays a function of the Raft log, and it has ceased to lead and to cosign.
    fn compare(&self, sealed: &Checkpoint) -> Result<(), ApplyError> {
        let reader = self.ledger.reader();
        let own = match checkpoint_at(&reader, sealed.size) {
            Ok(own) => own,
            Err(problem) if ledger_damage(&reader.damages().borrow()).is_some() => {
                tracing::error!(%problem, size = %sealed.size, "a checkpoint could not be compared");
                return Ok(());
            }
            Err(problem) => return Err(problem.into()),
        };
        if own.as_ref() == Some(sealed) {
            return Ok(());
        }
        let shown = |c: &Checkpoint| format!("{:?} {}", c.root, c.chain);
        Err(ApplyError::Diverged {
            size: sealed.size,
            sealed: shown(sealed),
            own: own.as_ref().map_or_else(|| "no seal".to_owned(), shown),
        })
    }

    /// Offers this boundary to the marker lane. A draft copies the list of kept checkpoints, so not
    /// every command makes one.
    fn offer_marker(&self) {
        let mut position = self.position;
        if let Some(at) = &mut position {
            if planted!("applied-ahead") {
                at.index += 1;
            }
            if planted!("applied-behind") {
                at.index = at.index.saturating_sub(2);
            }
        }
        let draft = self
            .ledger
            .draft_marker(position, self.membership.clone(), self.sealed);
        self.offers.offer(draft, self.state.cut());
    }

    /// The key set of the seal that the note is about, from the ledger's own entry.
    fn keys_named_by(&mut self, note: &Note) -> Result<Option<Arc<KeySet>>, ApplyError> {
        let Ok(claimed) = Checkpoint::parse(&note.text) else {
            return Ok(None);
        };
        if let Some(keys) = self
            .keys
            .as_ref()
            .filter(|keys| keys.id() == claimed.keyset)
        {
            return Ok(Some(Arc::clone(keys)));
        }
        let Some(log) = fold::log(&*self.state.read())? else {
            return Ok(None);
        };
        let mut named = [Some(log.keyset), log.keyset_next].into_iter().flatten();
        let Some(name) = named.find(|name| name.id == claimed.keyset) else {
            return Ok(None);
        };
        let keys = Arc::new(log_keys(&self.ledger.reader(), &log.origin, name.seq)?);
        self.keys = Some(Arc::clone(&keys));
        Ok(Some(keys))
    }

    fn publish(&self) -> Result<(), ApplyError> {
        let view = self.state.read();
        let log = fold::log(&*view)?;
        let now = Applying {
            size: self.ledger.size(),
            sealed: self.sealed,
            sealed_time: self.sealed_time,
            last_seal: log.as_ref().and_then(|log| log.last_seal),
            time: log.as_ref().map_or(Micros::default(), |log| log.time),
            max_silence: log
                .as_ref()
                .map(|log| Duration::from_millis(log.params.max_silence_ms)),
            next_work: records::next_work(&*view)?,
            index: self.position.map_or(0, |at| at.index),
            appended: self.appended,
            checkpoints: self.checkpoints,
        };
        drop(view);
        self.applying.send_replace(now);
        Ok(())
    }
}

impl<E: Env> crate::proposer::Propose for Consensus<Applier<E>> {
    async fn propose(&self, command: Bytes, term: u64) -> Result<Applied, ProposeError> {
        Consensus::propose(self, command, term)
            .await
            .map(|done| done.reply)
    }
}

impl<E: Env> Machine for Applier<E> {
    type Reply = Applied;

    fn applied(&self) -> (Option<LogPos>, Option<Bytes>) {
        (self.position, self.membership.clone())
    }

    async fn apply(&mut self, at: LogPos, payload: Payload) -> Result<Applied, MachineError> {
        self.step(at, payload)
            .await
            .map_err(|problem| MachineError {
                reason: problem.to_string(),
            })
    }
}

/// When fewer checkpoints are kept, by the parameters in force.
fn thin_ages(log: &LogState) -> ThinAges {
    ThinAges {
        minute_after_ms: log.params.thin_minute_after_ms,
        hour_after_ms: log.params.thin_hour_after_ms,
    }
}

/// The members whose cosignatures count, as a verifier takes them.
pub fn cosigners(log: &LogState) -> Vec<CosignerPublic> {
    let member = |member: &candor_ledger::entry::Member| {
        CosignerPublic::new(&log.origin, member.node, member.cosigner)
    };
    log.members.iter().map(member).collect()
}

/// The key set that a `ledger.genesis` or `ledger.keys` entry holds.
///
/// # Errors
/// When the entry cannot be read or holds none.
pub fn log_keys<D: Disk>(
    reader: &LedgerReader<D>,
    origin: &str,
    seq: Seq,
) -> Result<KeySet, ApplyError> {
    let none = || ApplyError::NoKeys { seq };
    let entry = Entry::parse(&reader.entry(seq)?).map_err(|_| none())?;
    let keys = match entry.body {
        Body::Genesis(genesis) => genesis.keys,
        Body::Keys(change) => change.keys,
        _ => return Err(none()),
    };
    keys.key_set(origin).map_err(|_| none())
}

fn decode(at: LogPos, bytes: &Bytes) -> Result<Command, ApplyError> {
    Command::decode(bytes).map_err(|problem| ApplyError::NotUnderstood {
        index: at.index,
        problem: problem.to_string(),
    })
}

fn own_line(outcome: &Outcome, first: Option<Seq>, lines: &[Bytes]) -> Option<(Seq, Bytes)> {
    let seq = crate::outcome::made_by(outcome)?;
    let at = usize::try_from(seq.0.checked_sub(first?.0)?).ok()?;
    lines.get(at).map(|line| (seq, line.clone()))
}

fn note_checkpoint(text: &str) -> Option<Checkpoint> {
    let note = Note::parse(text.as_bytes()).ok()?;
    Checkpoint::parse(&note.text).ok()
}
