//! Packs waiting operations into commands and proposes them, on the leader.
//!
//! No timer gathers a batch: whatever arrived while earlier commands were on their way forms the
//! next one. Only the seal and the tick have timers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::entry::Genesis;
use candor_ledger::fold::{Item, Stamp};
use candor_ledger::ids::TreeSize;
use candor_ledger::time::Micros;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::apply::{Applied, Applying, ItemApplied};
use crate::clock::ClockView;
use crate::command::{Batch, BatchItem, Command};
use crate::config::{LimitsSection, SealingSection};
use crate::consensus::{Leadership, ProposeError};
use crate::env::Env;
use crate::storage::{Pace, Storage};
use crate::store::{Damage, ledger_damage};

/// Time and expiries move at most once a second.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// An operation's own cost in the queue beside its value: request, names, promises.
const OPERATION_BYTES: u64 = 1_024;

/// Why an operation was not answered. Only [`SubmitError::Unknown`] may have taken effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// No majority vouches for this leader's clock, and no other member's either.
    #[error("no majority of the members agrees with the leader's clock")]
    ClockUnsure,
    /// Another node leads, or nobody does; nothing happened here.
    #[error("this node does not lead")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<u64>,
    },
    /// The queue holds as many operations or bytes as it may; nothing happened.
    #[error("the queue is full")]
    QueueFull,
    /// The disk of this leader is nearly full; nothing happened.
    #[error("the disk of the leader is nearly full: nothing is recorded until there is room")]
    StorageFull,
    /// A write of this leader's disk does not end; nothing happened.
    #[error("the disk of the leader has stalled: nothing is recorded until it writes again")]
    StorageSlow,
    /// The node is stopping; nothing happened.
    #[error("the node is stopping")]
    Stopping,
    /// It was proposed, and whether it is committed is not known.
    #[error("the outcome is not known")]
    Unknown,
}

/// What the rest of the node holds of the proposer.
#[derive(Clone, Debug)]
pub struct Proposer {
    queue: mpsc::Sender<Waiting>,
    bytes: Arc<Semaphore>,
}

#[derive(Debug)]
struct Waiting {
    item: BatchItem,
    reply: Reply,
    _bytes: OwnedSemaphorePermit,
}

impl Proposer {
    /// Queues one operation and waits for what it did. Committed when this returns `Ok`: a quorum
    /// has it on disk.
    ///
    /// # Errors
    /// [`SubmitError`]; the queue is never waited for.
    pub async fn submit(
        &self,
        item: Item,
        value: Option<Bytes>,
    ) -> Result<ItemApplied, SubmitError> {
        let size = value.as_ref().map_or(0, Bytes::len);
        let cost = OPERATION_BYTES.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
        let permits = u32::try_from(cost).map_err(|_| SubmitError::QueueFull)?;
        let bytes = Arc::clone(&self.bytes)
            .try_acquire_many_owned(permits)
            .map_err(|_| SubmitError::QueueFull)?;
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            item: BatchItem { item, value },
            reply,
            _bytes: bytes,
        };
        self.queue.try_send(waiting).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => SubmitError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Stopping,
        })?;
        answer.await.unwrap_or(Err(SubmitError::Unknown))
    }

    /// Operations waiting now.
    pub fn waiting(&self) -> usize {
        self.queue
            .max_capacity()
            .saturating_sub(self.queue.capacity())
    }
}

/// What the proposing task reads of the rest of the node.
pub struct Inputs {
    /// Who leads, and whether this node's own blank entry is applied.
    pub leadership: watch::Receiver<Leadership>,
    /// Size, last seal and next work, as applied here.
    pub applying: watch::Receiver<Applying>,
    /// What was found damaged here: with damage to the ledger nothing is proposed.
    pub damages: watch::Receiver<Vec<Damage>>,
    /// Does the disk take more?
    pub storage: watch::Receiver<Storage>,
    /// May this clock stamp?
    pub clock: watch::Receiver<ClockView>,
    /// The body a leader proposes at size 0.
    pub genesis: watch::Receiver<Option<Arc<Genesis>>>,
    /// Rises when the node drains: nothing more is taken.
    pub stopping: watch::Receiver<bool>,
}

/// Something that carries a command through consensus.
pub trait Propose: Clone + Send + Sync + 'static {
    /// Proposes under `term` and waits until it is applied here.
    fn propose(
        &self,
        command: Bytes,
        term: u64,
    ) -> impl Future<Output = Result<Applied, ProposeError>> + Send;
}

/// Makes the queue and the task that empties it.
pub fn proposer<E: Env, P: Propose>(
    env: E,
    consensus: P,
    inputs: Inputs,
    limits: LimitsSection,
    sealing: SealingSection,
) -> (Proposer, impl Future<Output = ()> + Send) {
    let (queue, waiting) = mpsc::channel(limits.queue_operations);
    let permits = usize::try_from(limits.queue_bytes).unwrap_or(Semaphore::MAX_PERMITS);
    let bytes = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
    let now = env.monotonic();
    let task = Task {
        env,
        consensus,
        inputs,
        limits,
        sealing,
        waiting,
        held: None,
        term: None,
        closing: None,
        closed_at: now,
        ticked_at: now,
        since_close: 0,
    };
    (Proposer { queue, bytes }, task.run())
}

type Reply = oneshot::Sender<Result<ItemApplied, SubmitError>>;
type Replies = Vec<Reply>;

struct Task<E, P> {
    env: E,
    consensus: P,
    inputs: Inputs,
    limits: LimitsSection,
    sealing: SealingSection,
    waiting: mpsc::Receiver<Waiting>,
    /// Taken from the queue but too large for the command being packed: first of the next.
    held: Option<Waiting>,
    /// The term this node leads in, once its own blank entry is applied.
    term: Option<u64>,
    /// The closing command on its way, or the seal that waits for its checkpoint.
    closing: Option<Closing>,
    closed_at: Instant,
    ticked_at: Instant,
    /// Operations proposed since the last closing command.
    since_close: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    Proposed,
    Waits(TreeSize),
}

struct Done {
    term: u64,
    closes: bool,
    replies: Replies,
    result: Result<Applied, ProposeError>,
}

impl<E: Env, P: Propose> Task<E, P> {
    async fn run(mut self) {
        let mut flight = FuturesUnordered::new();
        loop {
            self.follow_leadership();
            self.follow_seals();
            let can_propose = self.term.is_some() && flight.len() < self.limits.commands_in_flight;
            if can_propose && let Some(command) = self.due_without_clients() {
                flight.push(self.send(command, Vec::new()));
                continue;
            }
            let refuses = self.term.is_none() || self.storage_refuses().is_some();
            let takes = refuses || (can_propose && !self.blocked());
            let wake = self.next_wake();
            tokio::select! {
                biased;
                Some(done) = flight.next(), if !flight.is_empty() => self.finish(done),
                Ok(()) = self.inputs.leadership.changed() => {}
                Ok(()) = self.inputs.applying.changed() => {}
                Ok(()) = self.inputs.clock.changed() => {}
                Ok(()) = self.inputs.damages.changed() => {}
                Ok(()) = self.inputs.storage.changed() => {}
                Ok(()) = self.inputs.genesis.changed() => {}
                changed = self.inputs.stopping.changed() => {
                    if changed.is_err() || *self.inputs.stopping.borrow() { break; }
                }
                Some(first) = next(&mut self.held, &mut self.waiting), if takes => {
                    if let Some((command, replies)) = self.take(first) {
                        flight.push(self.send(command, replies));
                    }
                }
                () = tokio::time::sleep_until(wake), if self.term.is_some() => {}
            }
        }
        // What is on its way still ends; what only waits is told that nothing happened.
        self.waiting.close();
        while let Some(done) = flight.next().await {
            self.finish(done);
        }
        while let Some(waiting) = next(&mut self.held, &mut self.waiting).await {
            let _ = waiting.reply.send(Err(SubmitError::Stopping));
        }
    }

    /// Takes over or gives up the term, as a leader with a damaged ledger does; a new leader starts with the seal that waits, if one does.
    fn follow_leadership(&mut self) {
        let damaged = ledger_damage(&self.inputs.damages.borrow_and_update()).is_some();
        let now_leads = match &*self.inputs.leadership.borrow_and_update() {
            Leadership::Leader {
                term,
                since: Some(_),
            } if !damaged => Some(*term),
            _ => None,
        };
        if now_leads != self.term {
            self.term = now_leads;
            self.since_close = 0;
            self.closed_at = self.env.monotonic();
            self.closing = self
                .inputs
                .applying
                .borrow()
                .waiting_seal()
                .map(Closing::Waits);
        }
    }

    fn follow_seals(&mut self) {
        let sealed = self.inputs.applying.borrow_and_update().sealed;
        if let Some(Closing::Waits(size)) = self.closing
            && sealed >= size
        {
            self.closing = None;
        }
    }

    /// A full group waits for its checkpoint before the next command.
    fn blocked(&self) -> bool {
        (self.closing.is_some() && self.since_close >= self.sealing.group_limit)
            || self.inputs.applying.borrow().size == TreeSize(0)
    }

    /// Nothing new is begun then; what stands is still sealed.
    fn storage_refuses(&self) -> Option<SubmitError> {
        let storage = *self.inputs.storage.borrow();
        (!storage.takes_more()).then_some(match storage.pace {
            Pace::Stalled => SubmitError::StorageSlow,
            Pace::Prompt | Pace::Slow => SubmitError::StorageFull,
        })
    }

    fn clock_sure(&self) -> bool {
        let (now, wall) = (self.env.monotonic(), self.env.wall());
        self.inputs.clock.borrow().may_stamp(now, wall)
    }

    /// Genesis, a tick or an empty closing command, when its time has come.
    fn due_without_clients(&mut self) -> Option<Batch> {
        if !self.clock_sure() {
            return None;
        }
        let applying = *self.inputs.applying.borrow();
        if applying.size == TreeSize(0) {
            // One at a time: the next look finds the size grown, or the proposal failed.
            let genesis = self.inputs.genesis.borrow().clone()?;
            if self.closing.is_some() {
                return None;
            }
            return Some(self.batch(
                vec![BatchItem::alone(Item::Genesis(Box::new(Genesis::clone(
                    &genesis,
                ))))],
                true,
            ));
        }
        let now = self.env.monotonic();
        let low = self.storage_refuses().is_some();
        let seals = !low || applying.unsealed_entries();
        if self.held.is_none() && self.waiting.is_empty() && seals && self.seal_due(now) {
            return Some(self.batch(Vec::new(), true));
        }
        let tick_due = !low
            && now.saturating_duration_since(self.ticked_at) >= TICK_EVERY
            && !self.full_group()
            && applying.next_work.is_some_and(|at| at <= self.env.wall());
        tick_due.then(|| {
            self.ticked_at = now;
            let closes = self.seal_due(now);
            self.batch(vec![BatchItem::alone(Item::Tick)], closes)
        })
    }

    fn full_group(&self) -> bool {
        self.closing.is_some() && self.since_close >= self.sealing.group_limit
    }

    fn seal_due(&self, now: Instant) -> bool {
        let applying = *self.inputs.applying.borrow();
        let unsealed = self.since_close > 0 || applying.unsealed_entries();
        let since = now.saturating_duration_since(self.closed_at);
        self.closing.is_none()
            && ((unsealed && since >= Duration::from_millis(self.sealing.interval_ms))
                || self.since_close >= self.sealing.group_limit
                || since >= self.max_silence(&applying))
    }

    /// This node's setting, and no longer than the ledger allows: its readers hold that against it.
    fn max_silence(&self, applying: &Applying) -> Duration {
        let own = Duration::from_millis(self.sealing.max_silence_ms);
        applying.max_silence.map_or(own, |most| own.min(most))
    }

    fn next_wake(&self) -> Instant {
        let applying = *self.inputs.applying.borrow();
        let unsealed = self.since_close > 0 || applying.unsealed_entries();
        let seal_after = match (self.closing, unsealed) {
            (Some(_), _) => TICK_EVERY,
            (None, true) => Duration::from_millis(self.sealing.interval_ms),
            (None, false) => self.max_silence(&applying),
        };
        let floor = self.env.monotonic() + Duration::from_millis(1);
        (self.closed_at + seal_after)
            .min(self.ticked_at + TICK_EVERY)
            .max(floor)
    }

    /// Packs what waits behind `first` into one command, or refuses it when this node may not.
    fn take(&mut self, first: Waiting) -> Option<(Batch, Replies)> {
        let refusal = if self.term.is_none() {
            Some(SubmitError::NotLeader {
                leader: leader(&self.inputs.leadership.borrow()),
            })
        } else {
            let unsure = || (!self.clock_sure()).then_some(SubmitError::ClockUnsure);
            self.storage_refuses().or_else(unsure)
        };
        if let Some(refusal) = refusal {
            let _ = first.reply.send(Err(refusal));
            return None;
        }
        let (mut items, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        let room = self.room();
        let mut following = Some(first);
        while let Some(waiting) = following {
            bytes += waiting.item.cost();
            items.push(waiting.item);
            replies.push(waiting.reply);
            following = if items.len() < room {
                self.waiting.try_recv().ok()
            } else {
                None
            };
            if let Some(large) = following
                .take_if(|next| bytes.saturating_add(next.item.cost()) > self.limits.command_bytes)
            {
                self.held = Some(large);
            }
        }
        let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
        self.since_close = self.since_close.saturating_add(count);
        let closes = self.seal_due(self.env.monotonic());
        Some((self.batch(items, closes), replies))
    }

    /// Operations the next command may hold, so that no group outgrows its limit.
    fn room(&self) -> usize {
        let left = self
            .sealing
            .group_limit
            .saturating_sub(self.since_close)
            .max(1);
        self.limits
            .command_operations
            .min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn batch(&mut self, items: Vec<BatchItem>, closes: bool) -> Batch {
        if closes {
            self.closing = Some(Closing::Proposed);
            self.closed_at = self.env.monotonic();
            self.since_close = 0;
        }
        let mut seed = [0; 32];
        self.env.fill_random(&mut seed);
        let time = self.env.wall().min(Micros::MAX);
        let rules = candor_ledger::fold::RULES_V1;
        Batch {
            stamp: Stamp { time, seed, rules },
            closes,
            items,
        }
    }

    fn send(
        &self,
        batch: Batch,
        replies: Replies,
    ) -> impl Future<Output = Done> + Send + use<E, P> {
        let consensus = self.consensus.clone();
        let term = self.term.unwrap_or_default();
        let closes = batch.closes;
        let command = Command::Batch(batch).encode();
        async move {
            let result = consensus.propose(command, term).await;
            Done {
                term,
                closes,
                replies,
                result,
            }
        }
    }

    fn finish(&mut self, done: Done) {
        if done.closes && self.term == Some(done.term) {
            self.closing = match &done.result {
                Ok(Applied::Batch(batch)) => batch.seal.map(Closing::Waits),
                // Unknown or refused: the ledger as applied here says what waits, if anything.
                _ => self
                    .inputs
                    .applying
                    .borrow()
                    .waiting_seal()
                    .map(Closing::Waits),
            };
        }
        let error = match done.result {
            Ok(Applied::Batch(batch)) => {
                let results = batch.items.into_iter().map(Ok);
                let missing = std::iter::repeat_with(|| Err(SubmitError::Unknown));
                for (reply, result) in done.replies.into_iter().zip(results.chain(missing)) {
                    let _ = reply.send(result);
                }
                return;
            }
            Ok(_) | Err(ProposeError::Unknown) => SubmitError::Unknown,
            Err(ProposeError::NotLeader { leader }) => SubmitError::NotLeader {
                leader: leader.map(|(id, _)| id),
            },
            Err(ProposeError::NoQuorum) => SubmitError::NotLeader { leader: None },
            Err(ProposeError::TooLong(_)) => SubmitError::QueueFull,
            Err(ProposeError::Shutdown | ProposeError::Fatal(_)) => SubmitError::Stopping,
        };
        for reply in done.replies {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

fn leader(leadership: &Leadership) -> Option<u64> {
    match leadership {
        Leadership::Follower { leader, .. } => Some(*leader),
        Leadership::Leader { .. } | Leadership::None => None,
    }
}

async fn next(held: &mut Option<Waiting>, queue: &mut mpsc::Receiver<Waiting>) -> Option<Waiting> {
    match held.take() {
        Some(waiting) => Some(waiting),
        None => queue.recv().await,
    }
}
