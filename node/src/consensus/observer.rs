//! What the rest of the node sees of consensus: who leads, whether it runs, and one look at all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::ServerState;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::{Instant, WatchReceiver};
use openraft::errors::Fatal;
use openraft::metrics::{RaftMetrics, RaftServerMetrics};
use tokio::sync::watch;

use super::codec::Reply;
use super::state_machine::Signals;
use super::types::{
    Failure, Health, Leadership, LogPos, Machine, PeerStatus, Role, Status, TypeConfig,
};

/// Turns openraft's metrics into what the rest of the node watches.
pub(super) struct Observer<M: Machine> {
    pub(super) node: u64,
    pub(super) server: Watched<M, RaftServerMetrics<TypeConfig<M::Reply>>>,
    pub(super) metrics: Watched<M, RaftMetrics<TypeConfig<M::Reply>>>,
    pub(super) signals: Signals,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) health: watch::Sender<Health>,
}

type Watched<M, T> = WatchReceiverOf<TypeConfig<<M as Machine>::Reply>, T>;

impl<M: Machine> Observer<M> {
    pub(super) async fn run(mut self) {
        loop {
            let server = self.server.borrow_watched().clone();
            let opened = *self.signals.opened.borrow();
            self.publish(leadership(self.node, &server, opened));
            tokio::select! {
                changed = self.server.changed() => if changed.is_err() { break },
                // The machine is dropped after the core, unless it panicked.
                opened = self.signals.opened.changed() => if opened.is_err() { break },
            }
        }
        // Nobody leads here any more, whatever the reason.
        self.publish(Leadership::None);
        let ended = self.metrics.borrow_watched().running_state.clone();
        let asked = self.stopping.load(Ordering::SeqCst);
        self.health.send_replace(match ended {
            Err(Fatal::Stopped) if asked => Health::Stopped,
            Err(fatal) => Health::Failed(failure(&fatal, &self.signals.failed)),
            // A panic leaves no last word, and a machine ends before the core hears of it.
            Ok(()) => Health::Failed(failure(
                &Fatal::<TypeConfig<M::Reply>>::Panicked,
                &self.signals.failed,
            )),
        });
    }

    fn publish(&self, now: Leadership) {
        self.leadership.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
}

fn leadership<R: Reply>(
    node: u64,
    server: &RaftServerMetrics<TypeConfig<R>>,
    opened: Option<LogPos>,
) -> Leadership {
    let elected = server.vote.leader_id;
    if server.state == ServerState::Leader && server.vote.committed && elected.node_id == node {
        let since = opened
            .filter(|blank| blank.term == elected.term)
            .map(|blank| blank.index);
        return Leadership::Leader {
            term: elected.term,
            since,
        };
    }
    match server.current_leader {
        Some(leader) if leader != node => Leadership::Follower {
            term: elected.term,
            leader,
            address: server
                .membership_config
                .get_node(&leader)
                .map(|peer| peer.address.clone()),
        },
        _ => Leadership::None,
    }
}

pub(super) fn status<R: Reply>(metrics: &RaftMetrics<TypeConfig<R>>) -> Status {
    let membership = &metrics.membership_config;
    let peers = membership.nodes().map(|(id, peer)| {
        let matched = metrics.replication.as_ref().and_then(|all| *all.get(id)?);
        let heard = metrics
            .heartbeat
            .as_ref()
            .and_then(|all| all.get(id).copied().flatten());
        let status = PeerStatus {
            address: peer.address.clone(),
            matched: matched.map(LogPos::from),
            silent: heard.map(|at| at.elapsed()),
        };
        (*id, status)
    });
    Status {
        node: metrics.id,
        role: match metrics.state {
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Stopped,
        },
        term: metrics.current_term,
        leader: metrics.current_leader,
        last_log: metrics.last_log_index,
        committed: metrics.local_committed.map(LogPos::from),
        applied: metrics.last_applied.map(LogPos::from),
        purged: metrics.purged.map(LogPos::from),
        voters: membership.voter_ids().collect(),
        learners: membership.membership().learner_ids().collect(),
        changing: membership.get_joint_config().len() > 1
            || membership.log_id() != metrics.committed_membership_config.log_id(),
        peers: peers.collect(),
    }
}

pub(super) fn failure<R: Reply>(
    fatal: &Fatal<TypeConfig<R>>,
    machine: &watch::Receiver<Option<Failure>>,
) -> Failure {
    if let Some(failure) = machine.borrow().clone() {
        return failure;
    }
    match fatal {
        Fatal::StorageError(e) => Failure::Log(e.to_string()),
        // Stopping unasked: a task the core depends on is gone.
        Fatal::Panicked | Fatal::Stopped => Failure::Panicked,
    }
}
