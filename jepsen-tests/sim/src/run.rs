//! One seed, from start to verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, ensure};
use candor_jepsen::check::{self, Covered, Demands, Judgement, Run, Verdict};
use candor_jepsen::recorded::{Recorder, Stored, TIMEOUT, Taken, lines_of};
use candor_ledger::signature::SigningKeys;
use candor_node::config::Config;
use candor_node::env::sim::SimDisk;
use candor_node::env::{Disk as _, MODE_SECRET};
use candor_node::keys::LOG_KEY_PATH;
use candor_node::principal::Tokens;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use turmoil::Sim;

use crate::canon::{self, Canon};
use crate::clock::{Clock, EPOCH};
use crate::cluster::{self, ACTOR, CLIENT_PORT, HTTP_PORT, NAME, Outside, PEER_PORT, Progress};
use crate::host::{Host, address, name};
use crate::mutants;
use crate::nemesis::{Machine, Nemesis, RESERVE, Tally};
use crate::streams::stream;
use crate::swarm::{Kind, Swarm};

const TICK: Duration = Duration::from_millis(1);
/// The invariant of all the time is looked at so often.
const LOOK_EVERY: u32 = 50;
/// All is well for so long behind the faults, and clients still ask.
const CALM: Duration = Duration::from_secs(20);
/// All is well for so long: then no file is damaged any more.
const HEALED_WITHIN: Duration = Duration::from_mins(1);
/// Beyond the faults, a run takes at most this.
const SPARE: Duration = Duration::from_mins(4);
/// A lost packet ends a connection here, and nobody sends it again: until both ends have noticed, a link that was
/// mended carries nothing.
const RECOVERY: Duration = Duration::from_secs(15);
const STATES_MAX: usize = 5_000_000;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The seed that decides everything.
    pub(crate) seed: u64,
    /// Simulated seconds during which faults come.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Kinds of faults that are left out, whatever the seed chose.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) without: Vec<Kind>,
    /// Kinds of faults that are there, whatever the seed chose.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) with: Vec<Kind>,
    /// A bug that is planted: `mutants --list` names them.
    #[arg(long, value_parser = mutants::plant)]
    pub(crate) mutant: Option<String>,
    /// What nodes and harness log, such as `info` or `trace,turmoil=info`; times are simulated.
    #[arg(long, default_value = "off")]
    pub(crate) log: String,
    /// Stores the run here, for `candor-jepsen check`.
    #[arg(long)]
    pub(crate) store: Option<PathBuf>,
}

/// What a run did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) nodes: u64,
    pub(crate) clients: u64,
    /// Which faults existed.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) simulated_ms: u64,
    pub(crate) operations: u64,
    pub(crate) answered: u64,
    pub(crate) entries: u64,
    pub(crate) leader_changes: u64,
    pub(crate) tally: Tally,
    /// Digest of the history and the ledger.
    pub(crate) digest: String,
    pub(crate) covered: Covered,
    /// What was wrong; none in a good run.
    pub(crate) wrong: Vec<String>,
}

/// Runs a seed and prints its report, one line of JSON; whether it is good.
///
/// # Errors
/// What the harness could not do.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(arguments.seed));
    let _clocks = mad_turmoil::time::SimClocksGuard::init();
    let clock = Clock::default();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&arguments.log)?)
        .with_timer(SimulatedTime(clock.clone()))
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .init();
    let length = Duration::from_secs(arguments.seconds);
    let mut swarm = Swarm::of(arguments.seed, length, &arguments.without);
    swarm.faults.extend(&arguments.with);
    tracing::info!(?swarm, "begins");
    let (report, stored) = simulate(&swarm, &clock, arguments.store.clone())?;
    println!("{}", serde_json::to_string(&report)?);
    if arguments.mutant.is_some() {
        println!(
            "{}{}",
            mutants::REACHED,
            candor_ledger::mutants::at_work::reached()
        );
    }
    if let Some(folder) = stored {
        // Its name may differ from run to run, and standard output may not.
        eprintln!("stored in {}", folder.display());
    }
    Ok(report.wrong.is_empty())
}

fn simulate(
    swarm: &Swarm,
    clock: &Clock,
    store: Option<PathBuf>,
) -> anyhow::Result<(Report, Option<PathBuf>)> {
    let mut random = stream(swarm.seed, "log keys");
    let fill = &mut |bytes: &mut [u8]| random.fill_bytes(bytes);
    let keys = SigningKeys::generate("sim.test/log", fill)?;
    let progress = Arc::new(Progress::default());
    let recorder = {
        let clock = clock.clone();
        Arc::new(Recorder::new(move || clock.now()))
    };
    let mut sim = turmoil::Builder::new()
        .rng_seed(swarm.seed)
        .epoch(UNIX_EPOCH + EPOCH)
        .tick_duration(TICK)
        .simulation_duration(swarm.length + SPARE + SPARE)
        .min_message_latency(Duration::ZERO)
        .max_message_latency(swarm.latency)
        .tcp_capacity(1 << 16)
        .enable_random_order()
        .build();
    let mut machines = BTreeMap::new();
    for node in 1..=swarm.nodes {
        machines.insert(node, machine(&mut sim, swarm, clock, node, &keys)?);
    }
    let outside = Outside {
        swarm: swarm.clone(),
        clock: clock.clone(),
        keys: keys.key_set().clone(),
        recorder: Arc::clone(&recorder),
        progress: Arc::clone(&progress),
    };
    sim.client(NAME, async move { Ok(outside.run().await?) });
    let make = {
        let (swarm, clock) = (swarm.clone(), clock.clone());
        Box::new(move |sim: &mut Sim<'_>, node| machine(sim, &swarm, &clock, node, &keys))
    };
    let known = (Arc::clone(&recorder), Arc::clone(&progress));
    let mut nemesis = Nemesis::new(swarm, machines, known.0, known.1, make);
    let mut canon = Canon::default();
    let driven = drive(&mut sim, swarm, clock, &progress, &mut nemesis, &mut canon);
    let mut wrong: Vec<String> = driven
        .err()
        .map(|problem| format!("{problem:#}"))
        .into_iter()
        .collect();
    wrong.extend(progress.seen.wrong());

    let taken = recorder.finish();
    let asked_for = store.is_some();
    let folder = store.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("candor-sim-{}-{}", swarm.seed, std::process::id()))
    });
    let policy = progress
        .policy
        .lock()
        .map(|text| text.clone())
        .unwrap_or_default();
    let members = progress.membership.members();
    let run = judged(swarm, (&members, &nemesis), &taken, &policy, &folder)?;
    let mut covered = Covered::default();
    if wrong.is_empty() {
        let judgements = check::judge(&run);
        covered = Covered::of(&run, &judgements);
        let bad = judgements
            .iter()
            .filter(|judged| judged.verdict != Verdict::True);
        wrong.extend(bad.map(said));
    }
    let keep = asked_for || !wrong.is_empty();
    if !keep {
        std::fs::remove_dir_all(&folder).ok();
    }
    let report = Report {
        seed: swarm.seed,
        nodes: swarm.nodes,
        clients: swarm.clients,
        kinds: swarm.faults.iter().copied().collect(),
        simulated_ms: u64::try_from(sim.elapsed().as_millis())?,
        operations: asked(&taken),
        answered: answered(&taken),
        entries: u64::try_from(canon.len())?,
        leader_changes: u64::try_from(progress.seen.leaders.changes())?,
        tally: Tally {
            membership_changes: progress.membership.done(),
            ..nemesis.tally.clone()
        },
        digest: digest(&taken, &run),
        covered,
        wrong,
    };
    Ok((report, keep.then_some(folder)))
}

/// Ticks until the outside is done.
fn drive(
    sim: &mut Sim<'_>,
    swarm: &Swarm,
    clock: &Clock,
    progress: &Progress,
    nemesis: &mut Nemesis,
    canon: &mut Canon,
) -> anyhow::Result<()> {
    let mut founded_at = None;
    let mut mended_at = None;
    for tick in 0_u32.. {
        let finished = sim.step().map_err(|problem| anyhow!("{problem}"))?;
        let now = sim.elapsed();
        clock.advance(now);
        if finished {
            return Ok(());
        }
        ensure!(now < swarm.length + SPARE, "the run does not end");
        if founded_at.is_none() && progress.founded.load(Ordering::SeqCst) {
            founded_at = Some(now);
        }
        let since = now.saturating_sub(founded_at.unwrap_or(now));
        nemesis.look_after(sim, since)?;
        if let Some(at) = mended_at {
            let damaged = nemesis.damaged();
            ensure!(
                damaged.is_empty() || now < at + HEALED_WITHIN,
                "the files of node {damaged:?} do not heal"
            );
            if now >= at + CALM && damaged.is_empty() {
                progress.enough.store(true, Ordering::SeqCst);
            }
        } else if founded_at.is_some() {
            let done = nemesis.tick(sim, since)?;
            if done && since >= swarm.length {
                nemesis.mend_all(sim);
                mended_at = Some(now);
            }
        }
        if tick % LOOK_EVERY == 0 {
            look(nemesis, progress, canon)?;
        }
    }
    Ok(())
}

fn look(nemesis: &Nemesis, progress: &Progress, canon: &mut Canon) -> anyhow::Result<()> {
    let serving = progress.seen.serving();
    for (node, machine) in &nemesis.machines {
        if serving.contains(node) && !machine.damaged {
            canon.look(*node, &machine.disk)?;
        } else {
            canon.forget(*node);
        }
    }
    if let Some(wrong) = progress.seen.wrong() {
        return Err(anyhow!(wrong));
    }
    Ok(())
}

fn machine(
    sim: &mut Sim<'_>,
    swarm: &Swarm,
    clock: &Clock,
    node: u64,
    keys: &SigningKeys,
) -> anyhow::Result<Machine> {
    let disk = SimDisk::new();
    let folder = LOG_KEY_PATH
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    disk.create_dir_all(folder)?;
    disk.write_durable(LOG_KEY_PATH, keys.to_secret_text().as_bytes(), MODE_SECRET)?;
    disk.sync_dir("")?;
    let host = Host::new(disk.clone(), clock.clone(), stream(swarm.seed, &name(node)));
    let config = config(swarm, node)?;
    let tokens = Tokens::parse(&cluster::tokens())?;
    let world = host.clone();
    sim.host(name(node), move || {
        let (host, config, tokens) = (world.clone(), config.clone(), tokens.clone());
        async move {
            let run = candor_node::node::run(host.clone(), config, tokens, std::future::pending());
            let why = match run.await {
                Ok(()) => "it stopped".to_owned(),
                Err(problem) => format!("{problem:#}"),
            };
            host.end(why);
            // The driver takes it away at the end of the tick.
            std::future::pending().await
        }
    });
    Ok(Machine::new(host, disk))
}

fn config(swarm: &Swarm, node: u64) -> anyhow::Result<Config> {
    let at = |port| address(node, port);
    let (client, peer, http) = (at(CLIENT_PORT), at(PEER_PORT), at(HTTP_PORT));
    let Swarm {
        seal_every_ms,
        heartbeat_ms,
        purge_bytes,
        ..
    } = swarm;
    let (least, most) = (heartbeat_ms * 5, heartbeat_ms * 10);
    let text = format!(
        "[node]\nid = {node}\nfolder = \"simulated\"\n\
         [listen]\nclient = \"{client}\"\npeer = \"{peer}\"\nhttp = \"{http}\"\n\
         [keys]\ntokens = \"simulated\"\n\
         [sealing]\ninterval_ms = {seal_every_ms}\nmax_silence_ms = 5000\n\
         [raft]\nheartbeat_ms = {heartbeat_ms}\nelection_min_ms = {least}\nelection_max_ms = {most}\n\
         purge_bytes = {purge_bytes}\n\
         [verifier]\npause_s = 2\n\
         [limits]\ndisk_reserve_bytes = {RESERVE}\n"
    );
    Config::parse(&text).with_context(|| text.clone())
}

/// Stores the run and reads it again, as an outsider would.
fn judged(
    swarm: &Swarm,
    (members, nemesis): (&BTreeSet<u64>, &Nemesis),
    taken: &Taken,
    policy: &str,
    folder: &std::path::Path,
) -> anyhow::Result<Run> {
    let mut chains = BTreeMap::new();
    for node in members {
        if let Some(machine) = nemesis.machines.get(node) {
            chains.insert(*node, chain(&machine.disk)?);
        }
    }
    let stored = Stored {
        plan: &plan(swarm, members),
        taken,
        policy,
        chains,
    };
    stored.write(folder)?;
    Ok(Run::read(folder)?)
}

fn chain(disk: &SimDisk) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    for file in canon::files(disk)? {
        let bytes = disk.read(&file)?.unwrap_or_default();
        lines.extend(lines_of(&bytes).map(<[u8]>::to_vec));
    }
    Ok(lines)
}

fn plan(swarm: &Swarm, members: &BTreeSet<u64>) -> check::Plan {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let kinds = ["get", "set"].map(|kind| (kind.to_owned(), 1));
    check::Plan {
        seed: swarm.seed,
        nodes: members.iter().copied().collect(),
        concurrency: swarm.clients,
        timeout_ms: millis(TIMEOUT),
        clock_error_ms: 4_000,
        recovery_ms: millis(RECOVERY),
        states_max: STATES_MAX,
        actors: vec![ACTOR.to_owned()],
        demands: Demands {
            ok: 100,
            ok_of: BTreeMap::from(kinds),
            ok_during: BTreeMap::new(),
        },
    }
}

fn said(judged: &Judgement) -> String {
    let name = &judged.checker;
    format!("{name}: {} {:?}", judged.verdict, judged.findings)
}

fn asked(taken: &Taken) -> u64 {
    count(taken, |what| {
        matches!(what, candor_jepsen::history::What::Asked(_))
    })
}

fn answered(taken: &Taken) -> u64 {
    count(taken, |what| {
        matches!(what, candor_jepsen::history::What::Answered { .. })
    })
}

fn count(taken: &Taken, of: impl Fn(&candor_jepsen::history::What) -> bool) -> u64 {
    let counted = taken
        .history
        .events
        .iter()
        .filter(|event| of(&event.what))
        .count();
    u64::try_from(counted).unwrap_or(u64::MAX)
}

fn digest(taken: &Taken, run: &Run) -> String {
    let text = format!("{}{:?}", taken.history.to_edn(), run.chains);
    candor_ledger::digest::TaggedDigest::sha3(candor_ledger::digest::sha3_256(text.as_bytes()))
        .to_string()
}

/// Simulated time in front of log lines, so that those of two runs can be compared.
struct SimulatedTime(Clock);

impl FormatTime for SimulatedTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:>12.6}", self.0.now().as_secs_f64())
    }
}
