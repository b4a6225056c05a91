//! Drives the owner's [`Machine`] with what openraft has committed.
//!
//! openraft may hand entries over before this node has them on disk; the machine's own marker is
//! what must wait for the write-ahead log, not the apply step.
//!
//! Snapshots are the owner's: openraft is told where the newest one stands, so that it purges no
//! more of the log, and hands it to the network when a member needs what is gone. None is ever
//! installed through here: a receiver makes the ledger anew and starts consensus again behind it
//! ([`begin_log_after`](super::begin_log_after)).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::RaftSnapshotBuilder;
use openraft::storage::{EntryResponder, RaftStateMachine};
use tokio::sync::watch;

use super::codec::{self, CodecError};
use super::types::{
    Entry, EntryPayload, Failure, LeaderId, LogId, LogPos, Machine, Payload, Peer, Snapshots,
    StoredMembership, TypeConfig,
};

/// The machine as openraft sees it.
pub(super) struct Applier<M> {
    machine: M,
    node: u64,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: Arc<dyn Snapshots>,
    /// Part of the log is gone, so openraft insists on a snapshot.
    purged: bool,
    /// Position of the newest blank entry that this node proposed and has now applied.
    opened: watch::Sender<Option<LogPos>>,
    /// Why the machine stopped; written once.
    failed: watch::Sender<Option<Failure>>,
}

/// What the rest of consensus learns from the apply step.
pub(super) struct Signals {
    pub(super) opened: watch::Receiver<Option<LogPos>>,
    pub(super) failed: watch::Receiver<Option<Failure>>,
}

impl<M: Machine> Applier<M> {
    /// Takes over a machine where it left off.
    pub(super) fn new(
        node: u64,
        machine: M,
        snapshots: Arc<dyn Snapshots>,
        purged: bool,
    ) -> Result<(Self, Signals), CodecError> {
        let (last, membership) = machine.applied();
        let membership = match membership {
            Some(bytes) => codec::decode_stored_membership(bytes)?,
            None => StoredMembership::default(),
        };
        if membership.log_id().map(LogPos::from) > last {
            return Err(CodecError::Invalid(
                "the membership is newer than the last applied entry",
            ));
        }
        let (opened, opened_rx) = watch::channel(None);
        let (failed, failed_rx) = watch::channel(None);
        let applied = last.map(LogId::from);
        let this = Self {
            machine,
            node,
            applied,
            membership,
            snapshots,
            purged,
            opened,
            failed,
        };
        Ok((
            this,
            Signals {
                opened: opened_rx,
                failed: failed_rx,
            },
        ))
    }

    async fn apply_one(&mut self, entry: Entry) -> io::Result<M::Reply> {
        let at = LogPos::from(entry.log_id);
        let blank = matches!(entry.payload, EntryPayload::Blank);
        let payload = match entry.payload {
            EntryPayload::Blank => Payload::Blank,
            EntryPayload::Normal(command) => Payload::Command(command.0),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Payload::Membership(codec::encode_stored_membership(&self.membership))
            }
        };
        let reply = self.machine.apply(at, payload).await.map_err(|error| {
            let failure = Failure::Machine { at, error };
            let error = io::Error::other(failure.clone());
            self.failed.send_replace(Some(failure));
            error
        })?;
        self.applied = Some(entry.log_id);
        if blank && at.leader == self.node {
            self.opened.send_replace(Some(at));
        }
        Ok(reply)
    }
    /// The newest snapshot of the owner. When the log is purged and there is none, because its file
    /// was lost, an empty one at the last entry applied: nobody can be sent it, and the next real one
    /// takes its place.
    fn current(&self) -> io::Result<Option<Snapshot>> {
        let newest = self.snapshots.newest();
        let reached = |at: LogPos| self.applied >= Some(LogId::from(at));
        if let Some(newest) = newest.filter(|newest| reached(newest.at)) {
            let membership = codec::decode_stored_membership(newest.membership);
            let last_membership =
                membership.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            let meta = SnapshotMeta {
                last_log_id: Some(newest.at.into()),
                last_membership,
            };
            let snapshot = Some(newest.manifest);
            return Ok(Some(Snapshot { meta, snapshot }));
        }
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        let snapshot = None;
        Ok(self.purged.then_some(Snapshot { meta, snapshot }))
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig<M::Reply>> for Applier<M> {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig<M::Reply>>>> + Unpin + Send,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let reply = self.apply_one(entry).await?;
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let builder = self.get_snapshot_builder().await;
        let ready = matches!(&builder.0, Ok(Some(_)));
        (force || ready).then_some(builder)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder(self.current())
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, _: SnapshotData) -> io::Result<()> {
        let why = "snapshots are installed by the node, never through Raft";
        Err(io::Error::new(io::ErrorKind::Unsupported, why))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        self.current()
    }
}

/// What openraft carries for us: the owner's manifest, or nothing that could be sent.
pub(super) type SnapshotData = Option<Bytes>;

/// A snapshot that is there already: nothing is built.
pub(super) struct Builder(io::Result<Option<Snapshot>>);

impl<R: codec::Reply> RaftSnapshotBuilder<TypeConfig<R>> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let built = std::mem::replace(&mut self.0, Ok(None))?;
        built.ok_or_else(|| io::Error::other("there is no snapshot"))
    }
}

type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Peer>;
pub(super) type Snapshot = openraft::Snapshot<LeaderId, u64, Peer, SnapshotData>;
