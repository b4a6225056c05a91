//! What the tests of consensus put around it: a machine that writes down what it is given, nodes
//! whose power can be cut, and links that can be cut one way or both.
#![allow(clippy::unwrap_used, reason = "test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use openraft::storage::RaftLogStorage;

use super::*;
use crate::env::sim::{Crash, SimDisk, SimEnv};
use crate::wal::{Limits, Wal};

/// A machine that keeps every command in order; what it persisted survives [`Cluster::crash`].
#[derive(Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Pages>>);

#[derive(Clone, Default)]
pub(super) struct Pages {
    pub(super) commands: Vec<Bytes>,
    pub(super) applied: Option<LogPos>,
    pub(super) membership: Option<Bytes>,
    /// The machine refuses this command.
    pub(super) poison: Option<Bytes>,
}

impl Journal {
    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap()
    }

    pub(super) fn commands(&self) -> Vec<Bytes> {
        self.pages().commands.clone()
    }
}

impl Machine for Journal {
    /// How many commands were applied, this one included.
    type Reply = u64;

    fn applied(&self) -> (Option<LogPos>, Option<Bytes>) {
        let pages = self.pages();
        (pages.applied, pages.membership.clone())
    }

    async fn apply(&mut self, at: LogPos, payload: Payload) -> Result<u64, MachineError> {
        let mut pages = self.pages();
        assert!(
            pages.applied < Some(at),
            "`{at}` after `{:?}`",
            pages.applied
        );
        match payload {
            Payload::Blank => {}
            Payload::Membership(bytes) => pages.membership = Some(bytes),
            Payload::Command(bytes) if pages.poison.as_ref() == Some(&bytes) => {
                drop(pages);
                assert_ne!(bytes, "panic", "told to");
                return Err(MachineError {
                    reason: "poisoned".into(),
                });
            }
            Payload::Command(bytes) => pages.commands.push(bytes),
        }
        pages.applied = Some(at);
        Ok(u64::try_from(pages.commands.len()).unwrap())
    }
}

/// Snapshots that carry what they stand for: all commands applied so far.
#[derive(Clone, Default)]
pub(super) struct Copies {
    journal: Journal,
    /// Whether there is one to offer.
    offers: Arc<AtomicBool>,
    received: Arc<Mutex<Option<(LogPos, Bytes)>>>,
}

impl Copies {
    pub(super) fn offer(&self) {
        self.offers.store(true, Ordering::SeqCst);
    }

    pub(super) fn received(&self) -> Option<(LogPos, Bytes)> {
        self.received.lock().unwrap().clone()
    }

    /// The journal that a snapshot stands for.
    pub(super) fn pages(at: LogPos, manifest: &Bytes, membership: Option<Bytes>) -> Pages {
        let lines = manifest.split(|byte| *byte == b'\n');
        let commands = lines.filter(|line| !line.is_empty());
        Pages {
            commands: commands.map(Bytes::copy_from_slice).collect(),
            applied: Some(at),
            membership,
            poison: None,
        }
    }
}

impl Snapshots for Copies {
    fn newest(&self) -> Option<Snapshot> {
        if !self.offers.load(Ordering::SeqCst) {
            return None;
        }
        let pages = self.journal.pages();
        let mut manifest = Vec::new();
        for command in &pages.commands {
            manifest.extend_from_slice(command);
            manifest.push(b'\n');
        }
        Some(Snapshot {
            at: pages.applied?,
            membership: pages.membership.clone()?,
            manifest: manifest.into(),
        })
    }

    fn offered(&self, _: u64, at: LogPos, manifest: Option<Bytes>) -> Receiving {
        let mut received = self.received.lock().unwrap();
        if let Some(manifest) = manifest {
            *received = Some((at, manifest));
        }
        match &*received {
            Some((held, _)) if *held >= at => Receiving::Installing,
            _ => Receiving::Unknown,
        }
    }

    fn sent(&self, _: u64, _: LogPos, _: Option<Receiving>) {}
}

/// Calls go straight to the other node's `handle`, unless the link is cut.
#[derive(Clone, Default)]
pub(super) struct Hub(Arc<Mutex<Links>>);

#[derive(Default)]
struct Links {
    nodes: BTreeMap<u64, (Consensus<Journal>, Power)>,
    /// Directions that carry nothing.
    cut: BTreeSet<(u64, u64)>,
}

/// Turned off at the moment of a crash: nothing that a node does afterwards is seen by others.
#[derive(Clone, Default)]
struct Power(Arc<AtomicBool>);

impl Power {
    fn turn_off(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), PeerError> {
        let off = self.0.load(Ordering::SeqCst);
        if off {
            Err(PeerError::Unreachable("no power".into()))
        } else {
            Ok(())
        }
    }
}

impl Hub {
    fn links(&self) -> MutexGuard<'_, Links> {
        self.0.lock().unwrap()
    }

    fn check(&self, from: u64, to: u64) -> Result<(), PeerError> {
        let cut = self.links().cut.contains(&(from, to));
        if cut {
            Err(PeerError::Unreachable("cut".into()))
        } else {
            Ok(())
        }
    }
}

#[derive(Clone)]
pub(super) struct Plug {
    node: u64,
    power: Power,
    hub: Hub,
}

impl Plug {
    /// Of a node that knows no other.
    pub(super) fn alone(node: u64) -> Self {
        Self {
            node,
            power: Power::default(),
            hub: Hub::default(),
        }
    }
}

impl PeerTransport for Plug {
    async fn call(
        &self,
        to: u64,
        address: &str,
        kind: RaftCall,
        body: Bytes,
        _timeout: Duration,
    ) -> Result<Bytes, PeerError> {
        assert_eq!(address, Cluster::peer(to).address);
        if matches!(kind, RaftCall::Append | RaftCall::Heartbeat) {
            let entries = codec::decode_append::<u64>(body.clone())
                .unwrap()
                .entries
                .len();
            let full = usize::try_from(APPEND_BYTES_MAX).unwrap() + (64 << 10);
            assert!(
                body.len()
                    <= if entries > 1 {
                        full
                    } else {
                        PEER_MESSAGE_LEN_MAX
                    }
            );
            assert!(kind == RaftCall::Append || entries == 0);
        }
        let kind = RaftCall::try_from(u8::from(kind)).unwrap();
        self.power.check()?;
        self.hub.check(self.node, to)?;
        let target = self.hub.links().nodes.get(&to).cloned();
        let (target, power) = target.ok_or(PeerError::Unreachable("down".into()))?;
        let answer = target.handle(kind, self.node, body).await;
        let answer = answer.map_err(|e| PeerError::Refused(e.to_string()))?;
        // The call has taken effect, but its answer may be lost.
        power.check()?;
        self.hub.check(to, self.node)?;
        Ok(answer)
    }
}

/// Nodes of one process, with what each of them has on disk.
#[derive(Default)]
pub(super) struct Cluster {
    /// No election unless it is asked for, however busy the machine.
    calm: bool,
    hub: Hub,
    pub(super) disks: BTreeMap<u64, SimDisk>,
    pub(super) wals: BTreeMap<u64, Wal<SimDisk>>,
    pub(super) journals: BTreeMap<u64, Journal>,
    pub(super) copies: BTreeMap<u64, Copies>,
}

impl Cluster {
    /// Three nodes, one of them leading.
    pub(super) async fn founded() -> Self {
        Self::found(false).await
    }

    /// The same for a test that needs no second leader.
    pub(super) async fn calm() -> Self {
        Self::found(true).await
    }

    async fn found(calm: bool) -> Self {
        let mut cluster = Self::default();
        cluster.calm = calm;
        for id in 1..=3 {
            cluster.start(id).await;
        }
        let members = (1..=3).map(|id| (id, Self::peer(id))).collect();
        cluster.node(1).initialize(members).await.unwrap();
        cluster
    }

    pub(super) fn peer(id: u64) -> Peer {
        Peer {
            address: format!("node-{id}:7000"),
        }
    }

    pub(super) fn node(&self, id: u64) -> Consensus<Journal> {
        self.hub.links().nodes.get(&id).unwrap().0.clone()
    }

    pub(super) fn journal(&self, id: u64) -> &Journal {
        self.journals.get(&id).unwrap()
    }

    pub(super) fn disk(&self, id: u64) -> &SimDisk {
        self.disks.get(&id).unwrap()
    }

    /// Index of the last entry in a node's log, on disk or not.
    pub(super) fn last(&self, id: u64) -> Option<u64> {
        self.wals.get(&id).unwrap().last_index()
    }

    /// Starts a node on whatever its disk holds.
    pub(super) async fn start(&mut self, id: u64) {
        let disk = self.disks.entry(id).or_default().clone();
        let journal = self.journals.entry(id).or_default().clone();
        let env = SimEnv::new(disk, id);
        let (wal, recovered) = Wal::open(&env, "raft", Limits::default()).unwrap();
        self.wals.insert(id, wal.clone());
        let power = Power::default();
        let plug = Plug {
            node: id,
            power: power.clone(),
            hub: self.hub.clone(),
        };
        let log = (wal, &recovered);
        let copies = Copies {
            journal: journal.clone(),
            ..Copies::default()
        };
        self.copies.insert(id, copies.clone());
        let copies = Arc::new(copies);
        let node = Consensus::start(&env, &settings(id, self.calm), log, journal, plug, copies)
            .await
            .unwrap();
        self.hub.links().nodes.insert(id, (node, power));
    }

    /// Cuts the power of a node: its memory is gone, and of what was not synced `crash` decides.
    pub(super) async fn crash(&mut self, id: u64, crash: &Crash) {
        let (node, power) = self.hub.links().nodes.remove(&id).unwrap();
        power.turn_off();
        let disk = self.disk(id).fork();
        disk.crash(crash);
        self.journals.insert(id, Journal::default());
        // What is left of the old node runs on a disk nobody will look at again.
        self.disks.insert(id, disk).unwrap().release_syncs();
        node.shutdown().await;
        self.wals.remove(&id).unwrap().close().await;
    }

    /// Stops one node in good order; its journal stays.
    pub(super) async fn stop_one(&mut self, id: u64) {
        let (node, _) = self.hub.links().nodes.remove(&id).unwrap();
        node.shutdown().await;
        self.wals.remove(&id).unwrap().close().await;
    }

    /// Stops every node in good order.
    pub(super) async fn stop(&self) {
        let nodes = std::mem::take(&mut self.hub.links().nodes);
        for (node, _) in nodes.into_values() {
            node.shutdown().await;
        }
        for wal in self.wals.values() {
            wal.close().await;
        }
    }

    /// Cuts one direction.
    pub(super) fn cut(&self, from: u64, to: u64) {
        self.hub.links().cut.insert((from, to));
    }

    pub(super) fn isolate(&self, id: u64) {
        for other in self.disks.keys().filter(|other| **other != id) {
            self.cut(id, *other);
            self.cut(*other, id);
        }
    }

    pub(super) fn heal(&self) {
        self.hub.links().cut.clear();
    }

    /// Waits until one of `among` may propose.
    pub(super) async fn leader(&self, among: &[u64]) -> (Consensus<Journal>, u64) {
        until("a leader that may propose", || {
            among
                .iter()
                .find_map(|id| match *self.node(*id).leadership().borrow() {
                    Leadership::Leader {
                        term,
                        since: Some(_),
                    } => Some((self.node(*id), term)),
                    _ => None,
                })
        })
        .await
    }

    /// Proposes under whichever of `among` leads, until it is known to have been applied.
    ///
    /// The command must be unlike any other.
    pub(super) async fn insist(&self, among: &[u64], command: impl Into<Bytes>) {
        let command = command.into();
        loop {
            let (leader, term) = self.leader(among).await;
            match leader.propose(command.clone(), term).await {
                Ok(_) => return,
                // Nothing was appended.
                Err(ProposeError::NotLeader { .. } | ProposeError::NoQuorum) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // What a new leader has not applied before it may propose is gone for good.
                Err(ProposeError::Unknown) => {
                    if self.settle(among).await.contains(&command) {
                        return;
                    }
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    /// Waits until `ids` have applied everything committed so far; returns what that is.
    pub(super) async fn settle(&self, ids: &[u64]) -> Vec<Bytes> {
        let (leader, _) = self.leader(ids).await;
        let count = self.journal(leader.status().node).commands().len();
        self.agree(ids, count).await
    }

    /// Waits until the journals of `ids` are equal and hold `count` commands.
    pub(super) async fn agree(&self, ids: &[u64], count: usize) -> Vec<Bytes> {
        let first = self.journal(*ids.first().unwrap());
        until("every node has applied every command", || {
            let done = ids
                .iter()
                .all(|id| self.journal(*id).commands().len() == count);
            done.then_some(())
        })
        .await;
        for id in ids {
            assert_eq!(self.journal(*id).commands(), first.commands(), "node {id}");
        }
        first.commands()
    }
}

impl Drop for Cluster {
    /// Lets a test that fails end: its runtime waits for threads in a held sync.
    fn drop(&mut self) {
        for disk in self.disks.values() {
            disk.release_syncs();
        }
    }
}

pub(super) fn settings(id: u64, calm: bool) -> Settings {
    let slower = if calm { 20 } else { 1 };
    Settings {
        heartbeat: Duration::from_millis(300),
        election_min: Duration::from_millis(1500) * slower,
        election_max: Duration::from_secs(3) * slower,
        ..Settings::new(id, "test")
    }
}

/// Waits for `check`, far longer than it can take; what is waited for, not how long, is the test.
pub(super) async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = check() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("waited in vain for: {what}");
}

/// The Raft log as consensus keeps it, for tests of what stands beside it on one disk.
pub(crate) struct LogOnDisk {
    pub(crate) wal: Wal<SimDisk>,
    log: LogStore<SimDisk>,
}

impl LogOnDisk {
    /// Takes over a log as [`Consensus::start`] does.
    pub(crate) async fn open(wal: Wal<SimDisk>, recovered: &Recovered) -> Self {
        let log = LogStore::open(wal.clone(), recovered).await.unwrap();
        Self { wal, log }
    }

    /// Appends one command, which is on disk on return.
    pub(crate) async fn append(&mut self, at: LogPos, command: Bytes) {
        let entry = types::Entry {
            log_id: at.into(),
            payload: types::EntryPayload::Normal(Command(command)),
        };
        let done = openraft::storage::IOFlushed::noop();
        let log = &mut self.log;
        let appended = RaftLogStorage::<TypeConfig<u64>>::append(log, [entry], done);
        appended.await.unwrap();
        while self.wal.durable_index() < Some(at.index) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn purge(&mut self, upto: LogPos) {
        let purged = RaftLogStorage::<TypeConfig<u64>>::purge(&mut self.log, upto.into());
        purged.await.unwrap();
    }

    pub(crate) fn purged(&self) -> Option<LogPos> {
        self.log.purged().map(LogPos::from)
    }

    /// The entries that a start would apply from `index` on.
    pub(crate) fn from(&self, index: u64) -> Vec<LogPos> {
        let last = self.log.last().map_or(0, |last| last.index);
        let entry = |index| LogPos::from(self.log.entry(index).unwrap().log_id);
        (index..=last).map(entry).collect()
    }
}
