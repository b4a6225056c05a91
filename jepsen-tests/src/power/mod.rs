//! The power of all nodes goes at one moment, again and again, while they do something that takes
//! several steps on disk.
//!
//! ```text
//! load runs -> the activity is seen -> a random wait -> all processes stand still
//!   -> the image behind the file system is copied -> kill -9 -> the copy is mounted in its place
//!   -> all start -> new requests are served -> settled -> checked (`check`)
//! ```
//!
//! That a cut loses what was not synced is shown in the run itself: by control files (`control`), and by
//! what the nodes' own files lose.

mod activity;
mod check;
mod control;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use candor_client::{Client, Lookup};
use candor_ledger::policy::Policy;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::real::loop_disk::{Image, LoopDisk, Lost, Survey};
use crate::real::{Cluster, PATIENCE, Setup, folders};
use crate::workload::{Acknowledged, Asked, Load, get_all};

pub use self::activity::Kind;
pub use self::check::Checked;
pub use self::control::Controls;

use self::activity::Activity;
pub(crate) use self::check::{Checker, Past};

/// Room for the ledgers of three nodes over many cuts and for the reserve that they keep free. The file
/// behind it has holes.
const DISK_BYTES: u64 = 8 << 30;
/// Requests that must be served behind a cut.
const AFTERWARDS: u64 = 12;
/// Results that are looked up behind each cut, of all that were ever set.
const LOOKED_UP: usize = 24;
/// A roll is this many entries ahead when a cut's load begins.
const BEFORE_ROLL: u64 = 200;
/// Begins the names of loads whose outputs are not their names.
const OTHER: &str = "other";
/// A long ledger is audited in full behind every so many cuts.
const AUDIT_EVERY: u32 = 10;
/// Lookups of one call while a ledger is made long.
const GROW_BY: u64 = 2_048;

/// What is done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the nodes do when the power goes.
    pub kind: Kind,
    /// How often it goes.
    pub cuts: u32,
    /// Chooses the moments.
    pub seed: u64,
    /// What the nodes run.
    pub program: PathBuf,
}

/// One cut, and what was found behind it.
#[derive(Clone, Debug)]
pub struct Cut {
    /// How far the activity was when the power went.
    pub stage: &'static str,
    /// From the sight of the activity to the stop of the last process.
    pub after: Option<Duration>,
    /// What the nodes' folders lost.
    pub lost: Lost,
    /// What of it belonged to the activity.
    pub lost_of_it: Lost,
    /// What became of the control files.
    pub controls: Controls,
    /// Copies until the device wrote nothing meanwhile.
    pub copies: u32,
    /// Stores of the state that were older than the ledger or unusable, and folded on or anew.
    pub states: [u64; 2],
    /// What was checked.
    pub checked: Checked,
    /// The whole cut with its load and its checks.
    pub took: Duration,
}

/// Cuts the power as often as planned; tells of each cut.
///
/// # Errors
/// Says which promise was broken, or what the harness could not do; the nodes' logs are named then.
pub async fn run(plan: &Plan, tell: impl FnMut(&Cut)) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("candor-power-").tempdir()?;
    // Dropped in the opposite order: nodes end before their file system does.
    let disk = LoopDisk::make(folder.path(), DISK_BYTES)?;
    let setup = Setup::new(&plan.program).folders_in(disk.path());
    let cluster = plan.kind.settings(setup).found().await?;
    let policy = Policy::parse(cluster.policy())?;
    let clients = clients(&cluster)?;
    let mut field = Field {
        cluster,
        disk,
        rng: Rng::seed_from_u64(plan.seed),
        kind: plan.kind,
    };
    let done = field.cuts(plan, &policy, clients, tell).await;
    if done.is_err() {
        // What the nodes had on disk goes with the file system.
        let kept = field.cluster.keep_folder();
        folders::copy(field.disk.path(), &kept.join("disk"))?;
        eprintln!("logs and folders of the nodes stay: {}", kept.display());
    }
    done
}

/// What a run works on.
struct Field {
    // Dropped in this order.
    cluster: Cluster,
    disk: LoopDisk,
    rng: Rng,
    kind: Kind,
}

/// A long ledger that each cut begins with.
struct Base {
    image: Image,
    past: Past,
}

impl Field {
    async fn cuts(
        &mut self,
        plan: &Plan,
        policy: &Policy,
        mut clients: Vec<Client>,
        mut tell: impl FnMut(&Cut),
    ) -> anyhow::Result<()> {
        let base = match self.kind {
            Kind::Roll => Some(self.grow(&clients).await?),
            _ => None,
        };
        let mut checker = Checker::new(policy, Past::new(), true);
        for number in 0..plan.cuts {
            let began = Instant::now();
            if let Some(base) = &base {
                // Another future of the same past: whoever remembers the one before would call it a fork.
                self.cluster.kill_all()?;
                let image = self.disk.again(&base.image)?;
                self.disk.switch(image)?;
                self.cluster.start_all().await?;
                clients = self::clients(&self.cluster)?;
                // All signatures of so long a ledger take a while.
                let audits = number % AUDIT_EVERY == 0 || number + 1 == plan.cuts;
                checker = Checker::new(policy, base.past.clone(), audits);
            }
            let cut = self.cut(number, &clients, &mut checker).await;
            let mut cut = cut.with_context(|| format!("cut {number}"))?;
            cut.took = began.elapsed();
            tell(&cut);
        }
        checker.finish()
    }

    async fn cut(
        &mut self,
        number: u32,
        clients: &[Client],
        checker: &mut Checker<'_>,
    ) -> anyhow::Result<Cut> {
        // 1. Load, until the activity is seen.
        let (cluster, rng) = (&mut self.cluster, &mut self.rng);
        let mut activity = Activity::choose(self.kind, rng);
        let mut loads = vec![Load::start(&format!("cut {number}"), clients, 4)];
        if let Some((workers, work)) = activity.other_work() {
            let name = format!("{OTHER} {number}");
            loads.push(Load::start_with(&name, clients, workers, work));
        }
        activity.prepare(cluster, rng, &mut loads).await?;
        let controls = Controls::sync(self.disk.path(), number)?;
        let freezer = self.cluster.freezer()?;
        let seen = activity.seen().await;
        tokio::time::sleep(activity.wait(&mut self.rng)).await;

        // 2. The power goes, and comes back.
        controls.write(self.disk.path())?;
        freezer.freeze()?;
        let after = seen.map(|seen| seen.elapsed());
        let image = self.disk.copy()?;
        let copies = image.copies;
        self.cluster.kill_all()?;
        let before = self.survey()?;
        self.disk.switch(image)?;
        let left = self.survey()?;
        let controls = controls.found(self.disk.path());
        ensure!(controls.synced, "what was synced is not on the copied disk");
        let started = self.starts();

        // 3. All start, serve, and hold what was promised.
        self.cluster.start_all().await?;
        let mut acknowledged = Vec::new();
        for load in &mut loads {
            load.wait_for(AFTERWARDS).await?;
        }
        for load in loads {
            acknowledged.extend(load.finish().await?);
        }
        self.cluster.settle().await?;
        ensure!(self.disk.faults()? == 0, "the copied file system is broken");
        checker.acknowledged(acknowledged);
        let good = checker.check(&self.cluster)?;
        self.look_up(clients, checker).await?;
        Ok(Cut {
            stage: activity.stage(self.disk.path(), &before),
            after,
            lost: before.lost(&left, is_of_a_node),
            lost_of_it: before.lost(&left, |name| self.kind.is_about(name)),
            controls,
            copies,
            states: self.states_since(&started),
            checked: good,
            took: Duration::ZERO,
        })
    }

    /// Some of the results that were ever set are served, with their values.
    async fn look_up(&mut self, clients: &[Client], checker: &Checker<'_>) -> anyhow::Result<()> {
        let sets = checker.named_sets();
        let client = clients.first().context("a client was made")?;
        let mut names = Vec::new();
        for _ in 0..LOOKED_UP.min(sets.len()) {
            let at = self.rng.random_range(0..sets.len());
            names.extend(sets.get(at).map(|name| (*name).clone()));
        }
        for (name, answer) in names.iter().zip(get_all(client, &names).await?) {
            let Lookup::Hit(verified) = answer else {
                anyhow::bail!("the value of `{name}` was lost")
            };
            ensure!(
                verified.value()[..] == *name.as_bytes(),
                "another value of `{name}`"
            );
        }
        Ok(())
    }

    /// A store's journal has its length from the start, so it is read; other files only grow.
    fn survey(&self) -> anyhow::Result<Survey> {
        let is_store = |name: &Path| self.kind == Kind::State && self.kind.is_about(name);
        Survey::of(self.disk.path(), is_store)
    }

    /// How often each node has opened its ledger.
    fn starts(&self) -> Vec<usize> {
        let nodes = self.cluster.nodes();
        nodes.map(|node| self.opened(node).len()).collect()
    }

    /// Stores that were taken over and folded on, and stores that were folded anew.
    fn states_since(&self, before: &[usize]) -> [u64; 2] {
        let mut states = [0; 2];
        let [older, anew] = &mut states;
        for (node, before) in self.cluster.nodes().zip(before) {
            for line in self.opened(node).iter().skip(*before) {
                *older += u64::from(line.contains("Loaded"));
                *anew += u64::from(line.contains("Rebuilt"));
            }
        }
        states
    }

    fn opened(&self, node: u64) -> Vec<String> {
        let log = self.cluster.log_text(node);
        let lines = log.lines().filter(|line| line.contains(check::OPENED));
        lines.map(str::to_owned).collect()
    }

    /// Makes the ledger so long that the next file of entries is near, and keeps the disk.
    async fn grow(&mut self, clients: &[Client]) -> anyhow::Result<Base> {
        let client = clients.first().context("a client was made")?;
        let until = candor_node::store::ENTRIES_PER_FILE - BEFORE_ROLL;
        let leader = self.cluster.leader().await?;
        let mut acknowledged = Vec::new();
        for call in 0.. {
            let size = self.cluster.status(leader).await?.ledger_size;
            let left = until.saturating_sub(size);
            if left == 0 {
                break;
            }
            let count = left.min(GROW_BY);
            let names: Vec<String> = (0..count).map(|at| format!("grow {call}/{at}")).collect();
            for (name, answer) in names.iter().zip(get_all(client, &names).await?) {
                let Lookup::Miss(missed) = answer else {
                    anyhow::bail!("what nobody has set is found")
                };
                let id = missed
                    .entry
                    .request_id
                    .context("a miss without its request")?;
                let (what, name) = (Asked::Miss, name.clone());
                acknowledged.push(Acknowledged { id, what, name });
            }
        }
        self.cluster.settle().await?;
        self.cluster.stop_all().await?;
        let past = Past::of(self.cluster.lines(1)?, acknowledged)?;
        let image = self.disk.keep()?;
        Ok(Base { image, past })
    }
}

/// Clients whose calls outlive a cut: their tries go on under one request id.
pub(crate) fn clients(cluster: &Cluster) -> anyhow::Result<Vec<Client>> {
    let each = [("service-a", 1), ("service-b", 2), ("service-a", 3)];
    let each = each.map(|(actor, first)| {
        let settings = cluster.client_builder(actor, first)?;
        let settings = settings.retries_max(1_000_000).timeout(PATIENCE);
        Ok(settings.build()?)
    });
    each.into_iter().collect()
}

fn is_of_a_node(name: &Path) -> bool {
    let first = name.components().next();
    first.is_some_and(|first| first.as_os_str().to_string_lossy().starts_with("node-"))
}
