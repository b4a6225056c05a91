//! `candor dev`: a local cluster of real processes, and four acts that show what it is for.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cluster;
use crate::session;

mod acts;
mod auditor;
mod closing;
mod compare;
mod folder;
mod load;
mod price;
mod processes;
mod tamper;

use auditor::Auditor;
use folder::{DevFolder, Wanted};
use price::Price;
use processes::Nodes;

/// Exit status after Ctrl-C in the middle of an act: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;
/// A call to a freshly started node on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_mins(2);
/// Enough to keep groups full, few enough for two cores.
const WORKERS: NonZeroUsize = NonZeroUsize::new(16).expect("invariant: 16 is not zero");

/// Run a local cluster and see it work: cache, crash, tampering, verification.
///
/// Makes or reopens a folder with three nodes, keys, tokens, a trust policy and a client
/// configuration, and starts each node as a process of its own on loopback. Then four acts, every
/// timing of which is measured: a recorded trace of real inferences is replayed; the leader is
/// killed with SIGKILL under load; one byte of a copy of the ledger is changed and the auditor
/// names the entry; untouched evidence is verified with public keys alone. Afterwards the cluster
/// serves until Ctrl-C, and a node that dies is started again: try
/// `kill -9 $(cat .candor-dev/node-1.pid)`.
///
/// Ends with a failure when anything does not come out as it must.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where the cluster lies.
    #[arg(long, value_name = "FOLDER", default_value = ".candor-dev")]
    dir: PathBuf,
    /// Nodes of a new cluster; 3 if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(3..=7))]
    nodes: Option<u16>,
    /// Ports of a new cluster follow this one, three for each node; 7400 if not given.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    base_port: Option<u16>,
    /// End after the acts instead of serving.
    #[arg(long)]
    exit: bool,
    /// Start over: delete the folder first, if `candor dev` made it, and nothing else ever.
    #[arg(long)]
    fresh: bool,
    /// Price of a million prompt tokens, in any currency; with --price-out act 1 counts money.
    #[arg(long, value_name = "PRICE", requires = "price_out")]
    price_in: Option<Price>,
    /// Price of a million output tokens.
    #[arg(long, value_name = "PRICE", requires = "price_in")]
    price_out: Option<Price>,
}

/// Runs the cluster and the acts.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let auditor = Auditor::find()?;
    let wanted = Wanted {
        nodes: arguments.nodes,
        base_port: arguments.base_port,
    };
    let folder = DevFolder::open(&arguments.dir, wanted, arguments.fresh)?;
    session::block_on(async {
        let mut stop = Stop::listen()?;
        let mut nodes = Nodes::new(&folder)?;
        let outcome = phases(arguments, &folder, &mut nodes, &auditor, &mut stop).await;
        nodes.stop().await;
        outcome
    })
}

/// The acts, then serving. To be stopped in the middle of an act is no success; while it serves it
/// is how it ends.
async fn phases(
    arguments: &Arguments,
    folder: &DevFolder,
    nodes: &mut Nodes,
    auditor: &Auditor,
    stop: &mut Stop,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        shown = show(arguments, folder, nodes, auditor) => shown?,
        () = stop.asked() => return Ok(ExitCode::from(INTERRUPTED)),
    }
    if arguments.exit {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "serving; Ctrl-C ends it. Nodes that die are started again: kill -9 $(cat {})",
        folder.pid_file(1).display()
    );
    tokio::select! {
        problem = nodes.keep_running() => match problem? {},
        () = stop.asked() => Ok(ExitCode::SUCCESS),
    }
}

/// Ctrl-C and SIGTERM. What arrives while nobody waits is kept.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn show(
    arguments: &Arguments,
    folder: &DevFolder,
    nodes: &mut Nodes,
    auditor: &Auditor,
) -> anyhow::Result<()> {
    nodes.start_all().await?;
    let cluster = folder.cluster(PATIENCE)?;
    if !folder.is_founded() {
        let policy = cluster::init(&cluster).await?;
        folder.finish(&policy)?;
    }
    // A reopened cluster has to elect first.
    cluster.leader().await?;
    let prices = arguments.price_in.zip(arguments.price_out);
    let mut stage = acts::Stage {
        folder,
        nodes,
        cluster,
        auditor,
    };
    let subject = stage.replay(prices).await.context("act 1")?;
    stage.kill_leader().await.context("act 2")?;
    stage.tamper(&subject).await.context("act 3")?;
    stage.verify(&subject).await.context("act 4")?;
    closing::print(folder, auditor, &subject, arguments.exit)
}
