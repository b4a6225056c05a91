//! Drives the owner's [`Machine`] with what openraft has committed.
//!
//! openraft may hand entries over before this node has them on disk; the machine's own marker is
//! what must wait for the write-ahead log, not the apply step.
//!
//! There are no snapshots in this version: the log is never purged, so openraft never needs one,
//! and [`NoSnapshot`] has no value that could be built, sent or installed.

use std::io;

use futures::{Stream, StreamExt};
use openraft::alias::SnapshotOf;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{RaftSnapshotBuilder, RaftTypeConfig};
use tokio::sync::watch;

use super::codec::{self, CodecError};
use super::types::{
    Entry, EntryPayload, Failure, LeaderId, LogId, LogPos, Machine, Payload, Peer,
    StoredMembership, TypeConfig,
};

/// The machine as openraft sees it.
pub(super) struct Applier<M> {
    machine: M,
    node: u64,
    applied: Option<LogId>,
    membership: StoredMembership,
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
    pub(super) fn new(node: u64, machine: M) -> Result<(Self, Signals), CodecError> {
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
}

impl<M: Machine> RaftStateMachine<TypeConfig<M::Reply>> for Applier<M> {
    type SnapshotData = NoSnapshot;
    type SnapshotBuilder = NoBuilder;

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

    async fn get_snapshot_builder(&mut self) -> NoBuilder {
        NoBuilder
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: NoSnapshot,
    ) -> io::Result<()> {
        match snapshot {}
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(None)
    }
}

/// A snapshot that cannot exist.
pub(super) enum NoSnapshot {}

/// Refuses to build a snapshot, should openraft ever ask for one.
pub(super) struct NoBuilder;

impl<C: RaftTypeConfig> RaftSnapshotBuilder<C> for NoBuilder {
    type SnapshotData = NoSnapshot;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<C, NoSnapshot>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the raft log is never purged",
        ))
    }
}

type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Peer>;
type Snapshot = openraft::Snapshot<LeaderId, u64, Peer, NoSnapshot>;
