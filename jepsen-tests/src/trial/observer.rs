//! Looks at every node all the time: who leads, which checkpoint it shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use candor_client::Operator;
use tokio::task::JoinSet;

use crate::real::{Cluster, http};
use crate::recorded::{Leaders, Recorder, shown};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A node that does not answer by then is not seen this time.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Looks until it is finished.
pub(super) struct Observer {
    looks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    leaders: Arc<Leaders>,
}

/// One node as it is looked at.
struct Look {
    node: u64,
    operator: Operator,
    http_address: String,
    recorder: Arc<Recorder>,
    leaders: Arc<Leaders>,
    stop: Arc<AtomicBool>,
}

impl Observer {
    pub(super) fn start(cluster: &Cluster, recorder: &Arc<Recorder>) -> anyhow::Result<Self> {
        let token = &cluster.principal("operator")?.token;
        let (stop, leaders) = (Arc::default(), Arc::default());
        let mut looks = JoinSet::new();
        for node in cluster.nodes() {
            let uri = format!("http://{}", cluster.client_address(node));
            let look = Look {
                node,
                operator: Operator::new(&uri, Some(token), LOOK_TIMEOUT)?,
                http_address: cluster.http_address(node).to_owned(),
                recorder: Arc::clone(recorder),
                leaders: Arc::clone(&leaders),
                stop: Arc::clone(&stop),
            };
            looks.spawn(look.run());
        }
        Ok(Self {
            looks,
            stop,
            leaders,
        })
    }

    /// Who said last, by terms, that it leads.
    pub(super) fn leader(&self) -> Option<u64> {
        self.leaders.last()
    }

    /// Ends the looking; how often another leader was seen than before.
    pub(super) async fn finish(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        while self.looks.join_next().await.is_some() {}
        self.leaders.changes()
    }
}

impl Look {
    async fn run(self) {
        while !self.stop.load(Ordering::Relaxed) {
            if let Ok(status) = self.operator.status().await
                && status.leader_id == Some(self.node)
            {
                self.leaders.saw(status.term, self.node);
            }
            // A node that is down, or stands still, shows nothing.
            let note = tokio::time::timeout(LOOK_TIMEOUT, self.note()).await;
            if let Ok(Ok(note)) = note {
                self.recorder.saw(self.node, note);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn note(&self) -> anyhow::Result<String> {
        let address = self.http_address.clone();
        let asked = move || http::get(&address, shown::PATH, LOOK_TIMEOUT);
        shown::note_of(&tokio::task::spawn_blocking(asked).await??)
    }
}
