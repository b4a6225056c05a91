//! One node, from an empty folder to a clean stop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use candor_ledger::ids::{NodeId, TreeSize};
use candor_ledger::tree::NodeHash;
use candor_proto::audit_v1::audit_service_server::AuditServiceServer;
use candor_proto::cache_v1::cache_service_server::CacheServiceServer;
use candor_proto::cluster_v1::cluster_service_server::ClusterServiceServer;
use candor_proto::raft_v1::peer_service_server::PeerServiceServer;
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tonic::transport::Server;

use crate::apply::{Applier, ApplyError, Applying};
use crate::clock::{ASK_EVERY, ClockVerdict, ClockView, Clocks};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::consensus::{Consensus, Health, Leadership, RaftCall, Settings, StartError};
use crate::env::{Disk, Env, Listener, Task};
use crate::fold::Fold;
use crate::genesis::{GenesisRefused, StoredGenesis};
use crate::grpc::{Api, MESSAGE_LEN_MAX as CLIENT_MESSAGE_LEN_MAX, NewSubjects, Service};
use crate::guard::{hand_over, watch_damage};
use crate::http::{Face, Pages};
use crate::identity::{Identity, IdentityError};
use crate::keys::{Keys, KeysError};
use crate::markers::{Markers, Offers};
use crate::metrics::Metrics;
use crate::peers::{
    Forwarded, Handle, Introductions, MESSAGE_LEN_MAX as PEER_MESSAGE_LEN_MAX, PeerApi, Peers,
    Settled,
};
use crate::principal::Tokens;
use crate::proposer::{self, Inputs};
use crate::sealer::{CosignAnswer, Sealer, Signer, answer_cosign};
use crate::snapshot::fetch::{Fetcher, known};
use crate::snapshot::purge::Purger;
use crate::snapshot::values::ValueFetcher;
use crate::snapshot::{self, Shelf};
use crate::state::{self, StateError};
use crate::storage::{Room, Storage, watch_storage};
use crate::store::{Ledger, Opened, StoreError};
use crate::verifier::Verifier;
use crate::wal::{Wal, WalError};

/// Load balancers and clients see "not ready" this long before connections are refused.
const DRAIN_GRACE: Duration = Duration::from_millis(300);
/// A leader's hand-over on the way out may take this long.
const HAND_OVER: Duration = Duration::from_secs(3);
/// The gauges and the address books follow the node at this pace.
const OBSERVE_EVERY: Duration = Duration::from_millis(500);

/// Why a node does not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process holds the folder, or the disk failed.
    #[error("the node's folder: {0}")]
    Folder(#[source] std::io::Error),
    /// The folder is another node's.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The stored genesis cannot be used.
    #[error(transparent)]
    Genesis(#[from] GenesisRefused),
    /// The ledger's files.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fold of the ledger's files.
    #[error(transparent)]
    State(#[from] StateError),
    /// The Raft log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// Raft.
    #[error(transparent)]
    Consensus(#[from] StartError),
    /// What recovery found cannot be continued.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// An address cannot be listened on.
    #[error("`{what}` cannot listen on {address}: {source}")]
    Listen {
        /// Which of the three.
        what: &'static str,
        /// As configured.
        address: std::net::SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// Consensus stopped by itself.
    #[error("consensus stopped: {0}")]
    Failed(String),
    /// A majority computes another ledger than this node.
    #[error("a majority of the members computes another ledger than this node; it must be rebuilt")]
    Diverged,
}

/// Runs one node until `stop` resolves or it cannot go on.
///
/// Durable on return: the Raft log, and a marker at the last entry applied.
///
/// # Errors
/// [`NodeError`]; the process should exit with a failure then.
pub async fn run<E: Env>(
    env: E,
    config: Config,
    tokens: Tokens,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), NodeError> {
    // One process per folder.
    let _lock = env.disk().lock("lock").map_err(NodeError::Folder)?;
    let mut stop = std::pin::pin!(stop);
    loop {
        match life(env.clone(), config.clone(), tokens.clone(), stop.as_mut()).await? {
            Ended::Stopped => return Ok(()),
            Ended::Received => tracing::info!("starting again with the snapshot received"),
        }
    }
}

/// Why a life of the node ended in good order.
enum Ended {
    /// It was told to.
    Stopped,
    /// A snapshot is whole: the next start installs it.
    Received,
}

/// One start and what follows it.
///
/// A snapshot is installed by a new start and not under a running node: readers, state, sealer, lanes
/// and Raft each hold a part of the ledger, and a start is where all of them take it up from the disk in
/// one known order, which the crash tests walk through.
#[expect(
    clippy::too_many_lines,
    reason = "one ordered protocol: the start of a node"
)]
async fn life<E: Env>(
    env: E,
    config: Config,
    tokens: Tokens,
    stop: impl Future<Output = ()> + Send,
) -> Result<Ended, NodeError> {
    // 1. Who this folder is, durable before anybody is told.
    let identity = Identity::start(&env, config.node.id)?;
    let node = NodeId(config.node.id);
    let keys = Keys::load(&env, node)?;
    let stored = StoredGenesis::load(&env)?;

    // 2. The ledger is cut to its marker, or grown to a snapshot that was received; the fold follows
    //    it; the Raft log has the rest.
    let opened = Ledger::open(env.disk().clone())?;
    let (opened, received) = snapshot::install::grow(env.disk(), opened)?;
    let Opened {
        ledger,
        markers,
        marker,
        slot_lost,
        restored,
        ..
    } = opened;
    if let Some(why) = slot_lost {
        tracing::error!(%why, "a marker slot is damaged; the other one is used");
    }
    for problem in restored {
        tracing::error!(%problem, "a derived file was damaged and has been made anew");
    }
    let reader = ledger.reader();
    let repairer = ledger.repairer();
    let (engine, limits) = state::engine_in(env.disk(), &config.state);
    let (state, origin) = state::open(engine.as_ref(), limits, &reader, &marker)?;
    let claim = state.claim();
    let fold = Fold::new(state, engine);
    tracing::info!(%node, sealed = %marker.sealed, state = %claim, ?origin, "ledger opened");
    let (wal, mut recovered) = Wal::open(&env, "raft", crate::wal::Limits::default())?;
    if let Some(torn) = &recovered.torn {
        tracing::info!(?torn, "the unacknowledged end of the raft log was cut off");
    }

    if let Some(manifest) = received {
        let settled = snapshot::install::settle(&env, &wal, &mut recovered, &manifest);
        settled.await.map_err(NodeError::Folder)?;
    }
    let shelf = Shelf::load(env.disk(), marker.last_applied, marker.size);
    let shelf = shelf.map_err(NodeError::Folder)?;

    // 3. What the parts tell each other.
    let body = stored.as_ref().map(|stored| Arc::clone(&stored.body));
    let (genesis, _) = watch::channel(body);
    let (applying_sender, applying) = watch::channel(Applying::default());
    let offers = Offers::default();
    let (stopping_sender, stopping) = watch::channel(false);
    let (clock_sender, clock) = watch::channel(ClockView::unsure());
    let (storage_sender, storage) = watch::channel(Storage::default());
    let (diverged_sender, mut diverged) = watch::channel(false);
    let (marker_requests, marker_inbox) = mpsc::channel(16);
    let metrics = Arc::new(Metrics::default());
    let digest = stored.as_ref().map(|stored| stored.digest);
    let introductions = Arc::new(Introductions::new(
        env.clone(),
        identity,
        digest,
        wal.clone(),
    )?);
    if let Some(stored) = &stored {
        introductions.bind(
            &stored.body.cluster_id.to_string(),
            &stored.body.origin,
            stored.digest,
        )?;
    }
    let peer_addresses = Arc::new(Mutex::new(BTreeMap::new()));
    let peers = Peers::new(
        env.clone(),
        Arc::clone(&introductions),
        Arc::clone(&peer_addresses),
    );

    // 4. Consensus, with apply as its machine.
    let position = (marker.last_applied, marker.membership.clone());
    let applier = Applier::new(
        ledger,
        fold.clone(),
        genesis.subscribe(),
        position,
        marker.sealed,
        applying_sender,
        offers.clone(),
    )?
    .with_shelf(shelf.clone());
    let settings = Settings {
        heartbeat: Duration::from_millis(config.raft.heartbeat_ms),
        election_min: Duration::from_millis(config.raft.election_min_ms),
        election_max: Duration::from_millis(config.raft.election_max_ms),
        ..Settings::new(node.0, "candor")
    };
    let log = (wal.clone(), &recovered);
    let snapshots = Arc::new(shelf.clone());
    let consensus =
        Consensus::start(&env, &settings, log, applier, peers.clone(), snapshots).await?;

    // 5. What runs beside it: proposing, sealing, markers, clocks.
    let inputs = Inputs {
        leadership: consensus.leadership(),
        applying: applying.clone(),
        damages: reader.damages(),
        storage: storage.clone(),
        clock: clock.clone(),
        genesis: genesis.subscribe(),
        stopping: stopping.clone(),
    };
    let (proposer, proposing) = proposer::proposer(
        env.clone(),
        consensus.clone(),
        inputs,
        config.limits.clone(),
        config.sealing.clone(),
    );
    let mut tasks = vec![env.spawn("proposer", proposing)];
    if let (Some(log), Some(cosigner)) = (&keys.log, &keys.cosigner) {
        let sealer = Sealer {
            env: env.clone(),
            consensus: consensus.clone(),
            peers: peers.clone(),
            node,
            reader: reader.clone(),
            state: fold.clone(),
            cosigner: Arc::clone(cosigner),
            signer: Signer::start(&env, Arc::clone(log)),
            leadership: consensus.leadership(),
            damages: reader.damages(),
            applying: applying.clone(),
            diverged: diverged_sender,
        };
        tasks.push(env.spawn("sealer", until_raised(stopping.clone(), sealer.run())));
    }
    let marker_lane = crate::markers::start(
        &env,
        Markers {
            env: env.clone(),
            wal: wal.clone(),
            offers,
            requests: marker_inbox,
            writer: markers,
            state: fold.clone(),
            consensus: consensus.clone(),
            shelf: shelf.clone(),
            introductions: Arc::clone(&introductions),
            stopping: stopping.clone(),
        },
    );
    let purger = Purger {
        env: env.clone(),
        consensus: consensus.clone(),
        wal: wal.clone(),
        shelf: shelf.clone(),
        limits: config.raft.clone(),
        stopping: stopping.clone(),
    };
    tasks.push(snapshot::purge::start(&env, purger));
    let fetcher = Fetcher {
        env: env.clone(),
        node: node.0,
        shelf: shelf.clone(),
        reader: reader.clone(),
        roster: known(genesis.subscribe(), fold.clone(), reader.clone()),
        sources: peers.clone(),
    };
    tasks.push(env.spawn("fetcher", until_raised(stopping.clone(), fetcher.run())));
    let values = ValueFetcher {
        env: env.clone(),
        consensus: consensus.clone(),
        peers: peers.clone(),
        reader: reader.clone(),
        repairer: repairer.clone(),
        state: fold.clone(),
    };
    tasks.push(env.spawn("values", until_raised(stopping.clone(), values.run())));
    let cluster = Arc::new(Cluster {
        env: env.clone(),
        node,
        own_addresses: (
            config.listen.peer.to_string(),
            config.listen.client.to_string(),
        ),
        introductions: Arc::clone(&introductions),
        keys,
        genesis,
        consensus: consensus.clone(),
        proposer: proposer.clone(),
        peers: peers.clone(),
        applying: applying.clone(),
        reader: reader.clone(),
        state: fold.clone(),
        markers: marker_requests,
        shelf: shelf.clone(),
        wal: wal.clone(),
    });
    tasks.push(env.spawn(
        "clock",
        watch_clocks(Arc::clone(&cluster), clock_sender, stopping.clone()),
    ));

    tasks.push(env.spawn(
        "guard",
        watch_damage(Arc::clone(&cluster), Arc::clone(&metrics), stopping.clone()),
    ));

    let verifier = Verifier {
        cluster: Arc::clone(&cluster),
        repairer,
        config: config.verifier.clone(),
        metrics: Arc::clone(&metrics),
        stopping: stopping.clone(),
    };
    tasks.push(env.spawn("verifier", verifier.run()));

    tasks.push(env.spawn(
        "storage",
        watch_storage(
            Arc::clone(&cluster),
            wal.clone(),
            Arc::clone(&metrics),
            config.limits.clone(),
            storage_sender,
            stopping.clone(),
        ),
    ));

    // 6. The faces: peers, clients, machines that watch.
    let api = Arc::new(Api {
        env: env.clone(),
        tokens,
        limits: config.limits.clone(),
        proposer,
        reader,
        state: fold,
        applying: applying.clone(),
        peers,
        metrics: Arc::clone(&metrics),
        new_subjects: NewSubjects::default(),
        cluster: Arc::clone(&cluster),
        clock,
        storage,
        stopping: stopping.clone(),
        started: env.monotonic(),
    });
    let faces = listen(&env, &config).await?;
    tasks.extend(serve(&env, &api, faces, &introductions, &stopping));
    tasks.push(env.spawn(
        "observer",
        observe(Arc::clone(&api), peer_addresses, stopping.clone()),
    ));
    tracing::info!(%node, client = %config.listen.client, "serving");

    // 7. Until told to stop, or something only a restart repairs.
    let mut health = consensus.health();
    let ended = tokio::select! {
        () = stop => Ok(Ended::Stopped),
        () = shelf.ready() => Ok(Ended::Received),
        failed = health.wait_for(|health| !matches!(health, Health::Running)) => {
            Err(NodeError::Failed(failed.map_or_else(|e| e.to_string(), |h| format!("{:?}", *h))))
        }
        Ok(_) = diverged.wait_for(|diverged| *diverged) => Err(NodeError::Diverged),
    };

    // 8. Drain: not ready, hand over, finish what is on its way, a last marker.
    tracing::info!(%node, "stopping");
    hand_over(&cluster, HAND_OVER).await;
    stopping_sender.send_replace(true);
    tokio::time::sleep(DRAIN_GRACE).await;
    for task in tasks {
        let name = task.name();
        if tokio::time::timeout(HAND_OVER, task.join()).await.is_err() {
            tracing::warn!(name, "a task did not end in time");
        }
    }
    consensus.shutdown().await;
    let _ = tokio::time::timeout(HAND_OVER, marker_lane.join()).await;
    // The next start in this process opens it again.
    wal.close().await;
    ended
}

struct Faces<L> {
    client: L,
    peer: L,
    http: L,
}

async fn listen<E: Env>(env: &E, config: &Config) -> Result<Faces<E::Listener>, NodeError> {
    let on = async |what, address| {
        env.listen(address)
            .await
            .map_err(|source| NodeError::Listen {
                what,
                address,
                source,
            })
    };
    Ok(Faces {
        peer: on("listen.peer", config.listen.peer).await?,
        client: on("listen.client", config.listen.client).await?,
        http: on("listen.http", config.listen.http).await?,
    })
}

fn serve<E: Env>(
    env: &E,
    api: &Arc<Api<E>>,
    faces: Faces<E::Listener>,
    introductions: &Arc<Introductions<E>>,
    stopping: &watch::Receiver<bool>,
) -> Vec<Task> {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(candor_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let limit = CLIENT_MESSAGE_LEN_MAX;
    let mut clients = Server::builder()
        .max_concurrent_streams(4_096)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_service(health)
        .add_service(
            CacheServiceServer::new(Service(Arc::clone(api)))
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
        )
        .add_service(
            AuditServiceServer::new(Service(Arc::clone(api))).max_encoding_message_size(limit),
        )
        .add_service(ClusterServiceServer::new(Service(Arc::clone(api))));
    match reflection {
        Ok(reflection) => clients = clients.add_service(reflection),
        Err(problem) => tracing::error!(%problem, "reflection is not available"),
    }
    let peer_service = PeerServiceServer::new(PeerApi::new(
        env.clone(),
        Arc::clone(introductions),
        Arc::new(PeerFace(Arc::clone(api))),
        api.reader.clone(),
    ))
    .max_decoding_message_size(PEER_MESSAGE_LEN_MAX)
    .max_encoding_message_size(PEER_MESSAGE_LEN_MAX);
    let peer_server = Server::builder().add_service(peer_service);
    let client_stop = raised(stopping.clone());
    let peer_stop = raised(stopping.clone());
    let http_stop = raised(stopping.clone());
    let pages: Arc<dyn Pages> = Arc::new(Face(Arc::clone(api)));
    vec![
        env.spawn("grpc", async move {
            let served = clients
                .serve_with_incoming_shutdown(incoming(faces.client), client_stop)
                .await;
            log_end("client", served);
        }),
        env.spawn("peers", async move {
            let served = peer_server
                .serve_with_incoming_shutdown(incoming(faces.peer), peer_stop)
                .await;
            log_end("peer", served);
        }),
        env.spawn("http", crate::http::serve(faces.http, pages, http_stop)),
        env.spawn(
            "health",
            report_health(Arc::clone(api), health_reporter, stopping.clone()),
        ),
    ]
}

fn log_end(what: &str, served: Result<(), tonic::transport::Error>) {
    if let Err(problem) = served {
        tracing::error!(%problem, "the {what} listener ended");
    }
}

fn incoming<L: Listener>(
    listener: L,
) -> impl futures::Stream<Item = std::io::Result<L::Stream>> + Send {
    futures::stream::unfold(listener, |mut listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    })
}

async fn raised(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Work that may be dropped at any await, and is when the node stops.
async fn until_raised(stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = raised(stopping) => {}
    }
}

/// Asks peers for their clocks and judges this node's; a leader whose clock is unsure hands over.
async fn watch_clocks<E: Env>(
    cluster: Arc<Cluster<E>>,
    view: watch::Sender<ClockView>,
    stopping: watch::Receiver<bool>,
) {
    let own = cluster.node.0;
    let mut clocks = Clocks::default();
    let mut unsure = 0;
    while !*stopping.borrow() {
        let status = cluster.consensus.status();
        clocks.asked(cluster.env.monotonic(), cluster.env.wall());
        let asks = status
            .voters
            .iter()
            .copied()
            .filter(|voter| *voter != own)
            .map(|peer| {
                let cluster = &cluster;
                async move {
                    let sent = cluster.env.wall();
                    let theirs = cluster.peers.clock(peer).await?;
                    let received = (cluster.env.monotonic(), cluster.env.wall());
                    Some((peer, candor_ledger::time::Micros(theirs), sent, received))
                }
            });
        for (peer, theirs, sent, (received, own)) in
            futures::future::join_all(asks).await.into_iter().flatten()
        {
            clocks.answered(peer, received, theirs, sent, own);
        }
        // Before genesis there is nothing to stamp.
        let max_skew = cluster
            .genesis
            .borrow()
            .as_ref()
            .map_or(0, |g| g.params.max_skew_ms);
        let max_skew = Duration::from_millis(max_skew);
        let voters = status.voters.iter().copied();
        let judged = clocks.judge(own, voters, max_skew, cluster.env.monotonic());
        unsure = if judged.verdict == ClockVerdict::Unsure {
            unsure + 1
        } else {
            0
        };
        view.send_replace(judged);
        if unsure == 3 {
            tracing::warn!("no majority agrees with this node's clock");
            hand_over(&cluster, HAND_OVER).await;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Keeps gauges and the address book current.
async fn observe<E: Env>(
    api: Arc<Api<E>>,
    peers: Arc<Mutex<BTreeMap<u64, String>>>,
    stopping: watch::Receiver<bool>,
) {
    let mut metrics = api.cluster.consensus.leadership();
    while !*stopping.borrow() {
        let addresses = api.cluster.addresses().into_iter();
        *peers.lock().unwrap_or_else(PoisonError::into_inner) =
            addresses.map(|(id, (peer, _))| (id, peer)).collect();
        let applying = *api.applying.borrow();
        api.metrics.entries.set(applying.size.0);
        api.metrics.sealed.set(applying.sealed.0);
        api.metrics.applied.set(applying.index);
        let leads = matches!(*metrics.borrow_and_update(), Leadership::Leader { .. });
        api.metrics.leading.set(u64::from(leads));
        api.metrics
            .queued
            .set(u64::try_from(api.proposer.waiting()).unwrap_or(u64::MAX));
        observe_catch_up(&api);
        let syncs = api.env.disk().syncs();
        api.metrics
            .syncs
            .set(syncs.files.saturating_add(syncs.dirs));
        tokio::select! {
            () = tokio::time::sleep(OBSERVE_EVERY) => {}
            _ = metrics.changed() => {}
        }
    }
}

fn observe_catch_up<E: Env>(api: &Api<E>) {
    let (metrics, progress) = (&api.metrics, api.cluster.shelf.progress());
    let kept = api.cluster.wal.kept_bytes();
    metrics.log_bytes.set(kept.unwrap_or_default());
    let [done, total] = &metrics.catch_up;
    done.set(progress.done);
    total.set(progress.total);
    metrics.sources_refused.set(progress.refused);
}

async fn report_health<E: Env>(
    api: Arc<Api<E>>,
    reporter: tonic_health::server::HealthReporter,
    stopping: watch::Receiver<bool>,
) {
    use tonic_health::ServingStatus::{NotServing, Serving};
    let mut last = None;
    while !*stopping.borrow() {
        let ready = api.trouble().is_empty();
        if last != Some(ready) {
            let status = if ready { Serving } else { NotServing };
            for service in [
                "",
                "candor.cache.v1.CacheService",
                "candor.audit.v1.AuditService",
                "candor.cluster.v1.ClusterService",
            ] {
                reporter.set_service_status(service, status).await;
            }
            last = Some(ready);
        }
        tokio::time::sleep(OBSERVE_EVERY).await;
    }
}

struct PeerFace<E: Env>(Arc<Api<E>>);

impl<E: Env> Handle for PeerFace<E> {
    async fn raft(&self, kind: RaftCall, from: u64, body: Bytes) -> Result<Bytes, Status> {
        // Refused here, an entry is not on this disk, and nobody believes it is. Stored until the
        // disk is full it would end the process, and the next start too.
        if kind == RaftCall::Append && self.0.storage.borrow().room == Room::Exhausted {
            return Err(Status::resource_exhausted("the disk is nearly full"));
        }
        let handled = self.0.cluster.consensus.handle(kind, from, body).await;
        handled.map_err(|problem| Status::aborted(problem.to_string()))
    }

    fn is_removed(&self, node: u64) -> bool {
        // A state that cannot be read stops apply; it is no reason to believe anybody.
        let log = candor_ledger::fold::log(&*self.0.state.read());
        let Ok(log) = log else { return true };
        log.is_some_and(|log| {
            let named = log.members.iter().any(|member| member.node.0 == node);
            node <= log.node_max.0 && !named
        })
    }

    fn cosign(&self, size: TreeSize, root: NodeHash) -> Result<CosignAnswer, Status> {
        let cluster = &self.0.cluster;
        let key = cluster.keys.cosigner.as_ref();
        let key = key.ok_or_else(|| Status::failed_precondition("no cosigner key here"))?;
        answer_cosign(&cluster.env, &cluster.reader, key, size, &root)
            .map_err(|problem| Status::data_loss(problem.to_string()))
    }

    async fn forwarded(&self, call: Forwarded) -> Result<Bytes, Status> {
        self.0.forwarded(call).await
    }

    async fn settle(&self, index: u64) -> Result<Settled, Status> {
        self.0.cluster.settle(index).await.map_err(Status::from)
    }
}
