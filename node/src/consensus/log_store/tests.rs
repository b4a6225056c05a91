//! openraft's own conformance suite, on our log store.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::sync::Arc;

use futures::StreamExt;
use openraft::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{SnapshotMeta, StorageError};

use super::*;
use crate::consensus::state_machine::Applier;
use crate::consensus::testing::Journal;
use crate::consensus::types::{EntryPayload, LeaderId};
use crate::env::sim::{SimDisk, SimEnv};
use crate::wal::Limits;

type C = TypeConfig<u64>;

/// Our state machine adapter with the snapshots it does not have: the suite purges, and after a
/// purge openraft asks for one. Nothing is learnt here about snapshots.
struct WithSnapshots {
    inner: Applier<Journal>,
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<C>>>>,
    installed: bool,
}

impl RaftStateMachine<C> for WithSnapshots {
    type SnapshotData = ();
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembershipOf<C>)> {
        match &*self.snapshot.lock().unwrap() {
            Some(meta) if self.installed => {
                return Ok((meta.last_log_id, meta.last_membership.clone()));
            }
            _ => {}
        }
        self.inner.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<C>>> + Unpin + Send,
    {
        self.inner.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let (last_log_id, last_membership) = self.applied_state().await.unwrap();
        let meta = SnapshotMeta {
            last_log_id,
            last_membership,
        };
        Builder {
            meta,
            snapshot: Arc::clone(&self.snapshot),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<C>, (): ()) -> io::Result<()> {
        *self.snapshot.lock().unwrap() = Some(meta.clone());
        self.installed = true;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<C, ()>>> {
        let meta = self.snapshot.lock().unwrap().clone();
        Ok(meta.map(|meta| openraft::Snapshot { meta, snapshot: () }))
    }
}

struct Builder {
    meta: SnapshotMetaOf<C>,
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<C>>>>,
}

impl RaftSnapshotBuilder<C> for Builder {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<C, ()>> {
        *self.snapshot.lock().unwrap() = Some(self.meta.clone());
        Ok(openraft::Snapshot {
            meta: self.meta.clone(),
            snapshot: (),
        })
    }
}

struct Builders;

impl StoreBuilder<C, LogStore<SimDisk>, WithSnapshots> for Builders {
    async fn build(&self) -> Result<((), LogStore<SimDisk>, WithSnapshots), StorageError<C>> {
        let env = SimEnv::new(SimDisk::new(), 1);
        let (wal, recovered) = Wal::open(&env, "raft", Limits::default()).unwrap();
        let log = LogStore::open(wal, &recovered).await.unwrap();
        let (inner, _signals) = Applier::new(0, Journal::default(), Arc::new(()), false).unwrap();
        Ok((
            (),
            log,
            WithSnapshots {
                inner,
                snapshot: Arc::default(),
                installed: false,
            },
        ))
    }
}

#[tokio::test]
async fn passes_the_suite_of_openraft() {
    Suite::test_all(Builders).await.unwrap();
}

async fn four_blanks(term: u64) -> LogStore<SimDisk> {
    let env = SimEnv::new(SimDisk::new(), 1);
    let (wal, recovered) = Wal::open(&env, "raft", Limits::default()).unwrap();
    let mut log = LogStore::open(wal, &recovered).await.unwrap();
    let entries = (0..4).map(|index| Entry {
        log_id: id(term, index),
        payload: EntryPayload::Blank,
    });
    RaftLogStorage::<C>::append(&mut log, entries, IOFlushed::noop())
        .await
        .unwrap();
    log
}

fn id(term: u64, index: u64) -> LogId {
    LogId {
        leader_id: LeaderId { term, node_id: 1 },
        index,
    }
}

#[tokio::test]
async fn replication_may_read_what_was_just_cut_off_and_apply_may_not() {
    let mut log = four_blanks(4).await;
    let mut reader = log.clone();
    let mut stream = Box::pin(RaftLogReader::<C>::entries_stream(&mut reader, 0..4).await);
    RaftLogStorage::<C>::truncate_after(&mut log, Some(id(4, 1)))
        .await
        .unwrap();

    let cut = RaftLogReader::<C>::limited_get_log_entries(&mut log, 2, 4)
        .await
        .unwrap();
    assert_eq!(cut, []);
    let kept = RaftLogReader::<C>::limited_get_log_entries(&mut log, 1, 4)
        .await
        .unwrap();
    assert_eq!(kept.len(), 1);
    for expected in [id(4, 0), id(4, 1)] {
        assert_eq!(stream.next().await.unwrap().unwrap().log_id, expected);
    }
    assert!(
        stream.next().await.unwrap().is_err(),
        "a committed entry is missing"
    );
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_commit_index_is_believed_only_for_an_entry_the_log_holds() {
    let mut log = four_blanks(4).await;
    // Held; replaced under a later leader before the crash; lost with the crash.
    for (saved, believed) in [
        (id(4, 2), Some(id(4, 2))),
        (id(5, 2), None),
        (id(4, 9), None),
    ] {
        RaftLogStorage::<C>::save_committed(&mut log, Some(saved))
            .await
            .unwrap();
        let read = RaftLogStorage::<C>::read_committed(&mut log).await.unwrap();
        assert_eq!(read, believed);
    }
}
