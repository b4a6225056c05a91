//! One recorded run on real nodes: clients ask, a nemesis breaks, all of it is written down and judged.
//!
//! ```text
//! found -> clients + observer -> faults by the schedule of the seed, overlapping -> all mended
//!   -> calm: served again -> clients end -> settled -> run folder -> checkers
//! ```

mod nemesis;
mod observer;
mod schedule;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;

use self::nemesis::Nemesis;
use self::observer::Observer;
use crate::check::{self, Demands, Judgement, Run};
use crate::real::loop_disk::LoopDisk;
use crate::real::network::{Carried, Network};
use crate::real::{Cluster, PATIENCE, Setup, folders};
use crate::recorded::{Ask, Clients, Recorder, Stored, TIMEOUT, TRY_TIMEOUT};

/// Who asks.
const ACTOR: &str = "service-a";
/// Room for the ledgers of the nodes and for the reserve that they keep free; the file has holes.
const DISK_BYTES: u64 = 8 << 30;
/// The smallest that a node accepts: who is away for some seconds fetches files.
const PURGE: &str = "purge_bytes = 65536";
/// What a node says when it has caught up by files.
const INSTALLED: &str = "a snapshot is installed";
/// How far the ledger's time, which is that of the leader, may be from the harness's in length.
const CLOCK_ERROR_MS: u64 = 1_000;
/// What lives for a moment has expired by then, by an entry of its own.
const LAST_EXPIRY: Duration = Duration::from_secs(6);
/// States that the search for an order may try, for each key.
const STATES_MAX: usize = 5_000_000;

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: u64,
    /// Clients at once.
    pub clients: u64,
    /// How long faults come.
    pub faults: Duration,
    /// How long all is well behind them.
    pub calm: Duration,
    /// Whether the power of all nodes is cut once, which needs root.
    pub power: bool,
    /// Whether packets are disturbed, which needs root and a network of this process's own.
    pub network: bool,
    /// What may take how long.
    pub bounds: Bounds,
    /// Verified answers that the run must bring.
    pub ok_least: u64,
    /// Chooses faults and questions.
    pub seed: u64,
    /// What the nodes run.
    pub program: PathBuf,
    /// Where the run is stored.
    pub folder: PathBuf,
}

/// What may take how long; `liveness` is false beyond.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A call, whose client gives up after [`TIMEOUT`].
    pub call: Duration,
    /// From the end of the last fault until a change is answered.
    pub recovery: Duration,
}

impl Bounds {
    /// What is promised, of a machine that does nothing else.
    pub const PROMISED: Self = Self {
        call: TIMEOUT,
        recovery: Duration::from_secs(15),
    };
    /// Only what hangs takes longer, whatever else the machine does.
    pub const PATIENT: Self = Self {
        call: PATIENCE,
        recovery: PATIENCE,
    };
}

/// What was seen.
#[derive(Debug)]
pub struct Report {
    /// The stored run.
    pub run: Run,
    /// What the checkers say.
    pub judgements: Vec<Judgement>,
    /// How often another node led than before.
    pub leader_changes: usize,
    /// How often a node has caught up by files.
    pub installed: usize,
    /// What became of packets, if they were disturbed.
    pub carried: Option<Carried>,
    /// With faults, calm, settling and checks.
    pub took: Duration,
}

/// Makes the run, stores it and judges it.
///
/// # Errors
/// What the harness could not do, or a node that ended by itself; a verdict is no error.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let began = Instant::now();
    let folder = tempfile::Builder::new().prefix("candor-trial-").tempdir()?;
    // Dropped in the opposite order: nodes end before their file system does.
    let disk = plan
        .power
        .then(|| LoopDisk::make(folder.path(), DISK_BYTES));
    let mut disk = disk.transpose()?;
    let setup = Setup::new(&plan.program).nodes(plan.nodes).raft(PURGE);
    let setup = match &disk {
        Some(disk) => setup.folders_in(disk.path()),
        None => setup,
    };
    let network = plan.network.then(|| Network::make(plan.nodes, plan.seed));
    let network = network.transpose()?.map(Arc::new);
    let setup = match &network {
        Some(network) => setup.network(Arc::clone(network)),
        None => setup,
    };
    let mut cluster = setup.found().await?;
    let ran = drive(plan, &mut cluster, disk.as_mut(), network.clone()).await;
    let leader_changes = match ran {
        Ok(leader_changes) => leader_changes,
        Err(problem) => {
            let kept = cluster.keep_folder().to_owned();
            if let Some(disk) = &disk {
                // What the nodes had on disk goes with the file system.
                folders::copy(disk.path(), &kept.join("disk"))?;
            }
            eprintln!("logs and folders of the nodes stay: {}", kept.display());
            return Err(problem.context(format!("seed {}", plan.seed)));
        }
    };
    let logs = cluster.nodes().map(|node| cluster.log_text(node));
    let installed = logs.map(|log| log.matches(INSTALLED).count()).sum();
    let run = Run::read(&plan.folder)?;
    let judgements = check::judge(&run);
    Ok(Report {
        run,
        judgements,
        leader_changes,
        installed,
        carried: network.map(|network| network.carried()),
        took: began.elapsed(),
    })
}

async fn drive(
    plan: &Plan,
    cluster: &mut Cluster,
    disk: Option<&mut LoopDisk>,
    network: Option<Arc<Network>>,
) -> anyhow::Result<usize> {
    let mut rng = Rng::seed_from_u64(plan.seed);
    let means = (plan.power, plan.network);
    let schedule = schedule::schedule(plan.faults, means, &mut rng);
    let origin = Instant::now();
    let recorder = Arc::new(Recorder::new(move || origin.elapsed()));
    let observer = Observer::start(cluster, &recorder)?;
    let clients = Clients::start(&recorder, plan.ask(cluster)?);

    let mut nemesis = Nemesis {
        cluster,
        disk,
        recorder: Arc::clone(&recorder),
        observer: &observer,
        rng,
        network,
        lasting: BTreeMap::new(),
    };
    nemesis.run(&schedule).await?;
    tokio::time::sleep(plan.calm).await;
    clients.finish().await?;
    let leader_changes = observer.finish().await;

    // Behind the last expiry nothing is written any more, so all nodes can be read at one size.
    tokio::time::sleep(LAST_EXPIRY).await;
    let settled = cluster.settle().await;
    settled.context("the cluster does not settle")?;
    let taken = recorder.finish();
    let of_node = |node| anyhow::Ok((node, cluster.lines(node)?));
    let stored = Stored {
        plan: &plan.checked(),
        taken: &taken,
        policy: cluster.policy(),
        chains: cluster.nodes().map(of_node).collect::<Result<_, _>>()?,
    };
    stored.write(&plan.folder)?;
    Ok(leader_changes)
}

impl Plan {
    /// What clients ask, each at a node of its own as far as there are so many.
    fn ask(&self, cluster: &Cluster) -> anyhow::Result<Ask> {
        let nodes: Vec<u64> = cluster.nodes().collect();
        let client = |(_, node)| {
            let settings = cluster.client_builder(ACTOR, node)?;
            let settings = settings.timeout(TIMEOUT).attempt_timeout(TRY_TIMEOUT);
            anyhow::Ok((node, settings.retries_max(1_000_000).build()?))
        };
        let each = (0..self.clients).zip(nodes.into_iter().cycle());
        Ok(Ask {
            tenant: cluster.principal(ACTOR)?.tenant.clone(),
            clients: each.map(client).collect::<Result<_, _>>()?,
            pause: Duration::ZERO,
            seed: self.seed,
        })
    }

    /// What the checkers hold the run against.
    fn checked(&self) -> check::Plan {
        let of = |names: &[&str], least: u64| {
            let each = names.iter().map(|name| ((*name).to_owned(), least));
            each.collect::<BTreeMap<String, u64>>()
        };
        let kinds = ["get", "set", "revoke", "reinstate", "supersede", "receipt"];
        // Of fewer nodes two that are down are a majority, and all clients may be waiting.
        let serves = u64::from(self.nodes >= 5);
        let mut faults = of(&["away", "kill", "pause"], serves);
        if self.network {
            faults.extend(of(&["one-way", "partition", "rough"], serves));
        }
        if self.power {
            // The nodes stand still meanwhile: that it was cut is enough.
            faults.insert("power".to_owned(), 0);
        }
        check::Plan {
            seed: self.seed,
            nodes: (1..=self.nodes).collect(),
            concurrency: self.clients,
            timeout_ms: millis(self.bounds.call),
            clock_error_ms: CLOCK_ERROR_MS,
            recovery_ms: millis(self.bounds.recovery),
            states_max: STATES_MAX,
            actors: vec![ACTOR.to_owned()],
            demands: Demands {
                ok: self.ok_least,
                ok_of: of(&kinds, 1),
                ok_during: faults,
            },
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
