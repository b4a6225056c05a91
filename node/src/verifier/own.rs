//! What no peer has: the Raft log, the vote, the marker, and the store of the state.
//!
//! None of it is fetched: the log is left behind once a snapshot stands for it, vote and marker are
//! written anew from memory, the state is folded again.

use tokio::sync::oneshot;

use super::{Pass, Verifier};
use crate::cluster::MarkerRequest;
use crate::env::Env;
use crate::wal::{WalError, Walk};

impl<E: Env> Verifier<E> {
    pub(super) async fn verify_own(&self, pass: &mut Pass) {
        self.verify_log(pass).await;
        self.verify_vote(pass).await;
        self.verify_marker(pass).await;
        // A store that cannot be read is deleted.
        if self.config.heal {
            self.verify_state(pass).await;
        }
    }

    /// Reads the Raft log to its durable end. The first damaged group is left together with all
    /// that lies before it, and stays named until those segments are gone.
    async fn verify_log(&self, pass: &mut Pass) {
        let wal = &self.cluster.wal;
        let mut walk = Walk::default();
        let (file, offset, problem) = loop {
            match wal.verify_next(&mut walk) {
                Ok(Some(bytes)) => pass.read(bytes).await,
                Ok(None) => return,
                Err(WalError::Corrupt {
                    file,
                    offset,
                    problem,
                }) => break (file, offset, problem.to_owned()),
                Err(other) => break ("raft".to_owned(), 0, other.to_string()),
            }
        };
        pass.left += 1;
        let new = self.repairer.note_log(&file, offset, &problem);
        let is_new = new.is_some();
        pass.found.extend(new);
        if self.config.heal && wal.leave(walk.segment()).await.is_ok() {
            if is_new {
                self.repaired(pass);
            }
            let upto = wal.left();
            tracing::warn!(
                file,
                upto,
                "the log goes on in a new segment; a snapshot must stand for the old"
            );
        }
    }

    async fn verify_vote(&self, pass: &mut Pass) {
        // An error is a log that was closed: the node ends.
        if let Ok(false) = self.cluster.wal.verify_vote(self.config.heal).await {
            self.rewritten(pass, "raft/vote");
        }
    }

    async fn verify_marker(&self, pass: &mut Pass) {
        let Err(problem) = self.repairer.check_marker() else {
            return;
        };
        if !self.config.heal {
            tracing::error!(%problem, "the marker is damaged");
            pass.left += 1;
        } else if self.marker_again().await {
            tracing::error!(%problem, "the marker was damaged");
            self.rewritten(pass, "marker");
        }
    }

    /// Has the marker written anew, and the last blocks of growing files with it: one that a marker
    /// took when it was damaged would be put back by the next start. `false` when the node ends.
    pub(super) async fn marker_again(&self) -> bool {
        let (reply, written) = oneshot::channel();
        let ask = MarkerRequest::Again { reply };
        self.cluster.markers.send(ask).await.is_ok() && written.await.is_ok()
    }

    /// Reads every record of the store that the state lies in; the first that is not what was kept
    /// makes the next command fold the ledger again.
    async fn verify_state(&self, pass: &mut Pass) {
        let mut walk = self.cluster.state.read().stored();
        loop {
            match walk.step() {
                Ok(Some(bytes)) => pass.read(bytes).await,
                Ok(None) => return,
                Err(problem) => {
                    tracing::error!(%problem, "the state's store is damaged; the ledger is folded again");
                    return self.repaired(pass);
                }
            }
        }
    }

    fn rewritten(&self, pass: &mut Pass, file: &str) {
        if self.config.heal {
            tracing::warn!(file, "written anew from memory");
            self.repaired(pass);
        } else {
            tracing::error!(file, "it is not what was written");
            pass.left += 1;
        }
    }
}
