//! Breaks the world by a schedule, and mends it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use candor_jepsen::history::Step;
use candor_jepsen::recorded::Recorder;
use candor_node::env::Disk as _;
use candor_node::env::sim::{Crash, SimDisk};
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};
use serde::{Deserialize, Serialize};
use turmoil::Sim;

use crate::cluster::{CLIENTS, Progress};
use crate::damage;
use crate::host::{Host, name};
use crate::membership::Order;
use crate::streams::stream;
use crate::swarm::{Kind, Swarm};

/// Before the first fault, so that there is something to lose.
const CALM_MS: u64 = 1_000;
/// A process that ended by itself is started again after so long.
const RESTART_AFTER_MS: Range<u64> = 200..3_000;
/// The clocks of two nodes differ by at most the sum of two of these, in microseconds: less than a cluster
/// takes for one that cannot be right.
const CLOCK_OFF_MAX: i64 = 900_000;

/// What no cluster bears in a leader.
const CLOCK_FAR: Range<i64> = 5_000_000..3_600_000_000;
/// What a simulated disk says when a sync fails, or a write finds no room; a node repeats it when it ends.
const SYNC_ERROR: &str = "simulated sync error";
const FULL_ERROR: &str = "no storage space";
/// What a node says that finds at a start what only another folder mends.
const DAMAGE_ERRORS: [&str; 2] = ["is damaged", "no marker can be read"];
/// A full disk takes so many more bytes; the reserve of a node is in the middle.
const ROOM: Range<usize> = 0..400_000;
pub(crate) const RESERVE: u64 = 200_000;

/// What was done, for reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Faults by kind.
    pub(crate) faults: BTreeMap<Kind, u64>,
    /// Nodes whose power went.
    pub(crate) power_cuts: u64,
    /// Processes that were killed, or ended by themselves as they must.
    pub(crate) crashes: u64,
    /// Nodes that joined or left, and leaders that handed over.
    pub(crate) membership_changes: u64,
    /// Nodes that started by themselves while their files were damaged, and were removed from the cluster.
    pub(crate) nodes_lost: u64,
    /// Places in files that were changed silently.
    pub(crate) corruptions: u64,
}

/// One node's machine.
pub(crate) struct Machine {
    pub(crate) host: Host,
    pub(crate) disk: SimDisk,
    /// Whether its process runs.
    up: bool,
    /// A sync of its disk will fail, or has: its process must end.
    sync_fails: bool,
    /// Bytes of its files were changed, and it has not yet found and healed all of them.
    pub(crate) damaged: bool,
    /// It is to leave: its process runs on, and no fault looks for it.
    left: bool,
    /// Nothing can start it any more.
    lost: bool,
    restart_at: Option<Duration>,
}

/// What breaks things.
pub(crate) struct Nemesis {
    pub(crate) machines: BTreeMap<u64, Machine>,
    pub(crate) tally: Tally,
    acts: Vec<(Duration, Act)>,
    next: usize,
    mending: bool,
    founders: usize,
    /// With the nodes that it named when it began.
    lasting: BTreeMap<(Kind, u32), (Strike, Vec<u64>)>,
    links: BTreeMap<(u64, u64), Link>,
    latency: Duration,
    rng: Rng,
    recorder: Arc<Recorder>,
    progress: Arc<Progress>,
    make: Make,
}

/// Makes the machine of a node that joins.
type Make = Box<dyn Fn(&mut Sim<'_>, u64) -> anyhow::Result<Machine>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Begin(Kind, u32),
    End(Kind, u32),
}

/// What a fault that lasts does to whom.
#[derive(Clone, Debug)]
enum Strike {
    /// To these nodes.
    Nodes(Vec<u64>),
    /// To the packets between one side and the other, from the first to the second if it is one-way.
    Sides(BTreeSet<u64>, BTreeSet<u64>),
    /// To all packets, which take up to so long.
    Packets(Duration),
}

/// What a pair of hosts bears; of several faults the later here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Link {
    #[default]
    Whole,
    Held,
    /// Packets from the first to the second are lost.
    OneWay(bool),
    Cut,
}

impl Machine {
    pub(crate) fn new(host: Host, disk: SimDisk) -> Self {
        Self {
            host,
            disk,
            up: true,
            sync_fails: false,
            damaged: false,
            left: false,
            lost: false,
            restart_at: None,
        }
    }
}

impl Nemesis {
    pub(crate) fn new(
        swarm: &Swarm,
        machines: BTreeMap<u64, Machine>,
        recorder: Arc<Recorder>,
        progress: Arc<Progress>,
        make: Make,
    ) -> Self {
        let mut rng = stream(swarm.seed, "nemesis");
        Self {
            founders: machines.len(),
            machines,
            tally: Tally::default(),
            acts: schedule(swarm, &mut rng),
            next: 0,
            mending: false,
            lasting: BTreeMap::new(),
            links: BTreeMap::new(),
            latency: swarm.latency,
            rng,
            recorder,
            progress,
            make,
        }
    }

    /// Does what is due, this long after the faults began. Whether all of it is done.
    ///
    /// # Errors
    /// When a machine cannot be made.
    pub(crate) fn tick(&mut self, sim: &mut Sim<'_>, at: Duration) -> anyhow::Result<bool> {
        while let Some((due, act)) = self.acts.get(self.next).copied() {
            if due > at {
                return Ok(false);
            }
            self.next += 1;
            match act {
                Act::Begin(kind, number) => self.begin(sim, kind, number)?,
                Act::End(kind, number) => self.end(sim, kind, number),
            }
        }
        Ok(true)
    }

    /// Starts what ended by itself, when its time has come.
    ///
    /// # Errors
    /// When a process ended that no fault explains.
    pub(crate) fn look_after(&mut self, sim: &mut Sim<'_>, at: Duration) -> anyhow::Result<()> {
        let nodes: Vec<u64> = self.machines.keys().copied().collect();
        for node in nodes {
            let Some(machine) = self.machines.get_mut(&node) else {
                continue;
            };
            if machine.damaged && self.progress.seen.is_healed(node) {
                tracing::info!(node, "healed");
                machine.damaged = false;
            }
            if let Some(why) = machine.host.take_end() {
                let is_full = machine.disk.free_bytes()? < u64::MAX;
                let again = machine.sync_fails && why.contains(SYNC_ERROR)
                    || is_full && why.contains(FULL_ERROR);
                let lost = machine.damaged && DAMAGE_ERRORS.iter().any(|it| why.contains(it));
                anyhow::ensure!(
                    again || lost,
                    "node {node} ended by itself, and no fault explains it: {why}"
                );
                tracing::info!(node, why, again, "ended by itself");
                if again {
                    let after = self.rng.random_range(RESTART_AFTER_MS);
                    machine.restart_at = Some(at + Duration::from_millis(after));
                }
                self.stop(sim, node, None);
                if !again {
                    self.lose(node);
                }
            } else if machine.restart_at.is_some_and(|due| due <= at) {
                self.start(sim, node);
            }
        }
        Ok(())
    }

    /// Members that have not healed yet.
    pub(crate) fn damaged(&self) -> Vec<u64> {
        let damaged = self
            .machines
            .iter()
            .filter(|(_, machine)| machine.damaged && !machine.left);
        damaged.map(|(node, _)| *node).collect()
    }

    /// Mends all that is left.
    pub(crate) fn mend_all(&mut self, sim: &mut Sim<'_>) {
        self.mending = true;
        while let Some(((kind, number), _)) = self.lasting.first_key_value() {
            let (kind, number) = (*kind, *number);
            self.end(sim, kind, number);
        }
        let down: Vec<u64> = self.machines.keys().copied().collect();
        for node in down {
            self.start(sim, node);
        }
    }

    fn begin(&mut self, sim: &mut Sim<'_>, kind: Kind, number: u32) -> anyhow::Result<()> {
        let Some(strike) = self.choose(kind) else {
            return Ok(());
        };
        tracing::info!(kind = kind.name(), ?strike, "begins");
        let nodes = strike.nodes(&self.machines);
        self.recorder.fault(kind.name(), Step::Start, &nodes);
        *self.tally.faults.entry(kind).or_default() += 1;
        if let Strike::Nodes(nodes) = &strike {
            for node in nodes {
                self.strike(sim, kind, *node)?;
            }
        }
        if kind == Kind::HandOver {
            self.progress.membership.order(Order::HandOver);
        }
        self.lasting.insert((kind, number), (strike, nodes));
        self.disturb(sim);
        Ok(())
    }

    fn end(&mut self, sim: &mut Sim<'_>, kind: Kind, number: u32) {
        let Some((strike, nodes)) = self.lasting.remove(&(kind, number)) else {
            return;
        };
        tracing::info!(kind = kind.name(), ?strike, "ends");
        if let Strike::Nodes(nodes) = &strike {
            for node in nodes {
                self.mend(sim, kind, *node);
            }
        }
        self.disturb(sim);
        self.recorder.fault(kind.name(), Step::Stop, &nodes);
    }

    fn strike(&mut self, sim: &mut Sim<'_>, kind: Kind, node: u64) -> anyhow::Result<()> {
        match kind {
            Kind::Member => {
                let machine = (self.make)(sim, node)?;
                self.machines.insert(node, machine);
                self.progress.membership.order(Order::Join(node));
            }
            Kind::Kill => self.stop(sim, node, None),
            Kind::Power | Kind::PowerAll => {
                let crash = match self.rng.random_range(0..4) {
                    0 => Crash::DropAll,
                    1 => Crash::Prefix(self.rng.random_range(0..50)),
                    _ => Crash::Seeded(self.rng.random()),
                };
                self.stop(sim, node, Some(&crash));
            }
            Kind::Clock => {
                let off = self.rng.random_range(-CLOCK_OFF_MAX..=CLOCK_OFF_MAX);
                if let Some(machine) = self.machines.get(&node) {
                    machine.host.set_offset(off);
                }
            }
            Kind::ClockFar => {
                let far = self.rng.random_range(CLOCK_FAR);
                let off = if self.rng.random() { far } else { -far };
                if let Some(machine) = self.machines.get(&node) {
                    machine.host.set_offset(off);
                }
            }
            Kind::Corrupt => self.corrupt(node),
            Kind::Full => {
                let room = self.rng.random_range(ROOM);
                if let Some(machine) = self.machines.get(&node) {
                    machine.disk.limit_space(Some(room));
                }
            }
            Kind::Sync => {
                let after = self.rng.random_range(0..20);
                if let Some(machine) = self.machines.get_mut(&node) {
                    machine.disk.fail_sync_after(after);
                    machine.sync_fails = true;
                }
            }
            Kind::Cut | Kind::HandOver | Kind::Hold | Kind::OneWay | Kind::Slow => {}
        }
        Ok(())
    }

    fn mend(&mut self, sim: &mut Sim<'_>, kind: Kind, node: u64) {
        match kind {
            Kind::Kill | Kind::Power | Kind::PowerAll => self.start(sim, node),
            Kind::Clock | Kind::ClockFar => {
                if let Some(machine) = self.machines.get(&node) {
                    machine.host.set_offset(0);
                }
            }
            Kind::Full => {
                if let Some(machine) = self.machines.get(&node) {
                    machine.disk.limit_space(None);
                }
            }
            // Unless it came: then the process has ended, and is started again by itself.
            Kind::Sync => {
                if let Some(machine) = self.machines.get_mut(&node) {
                    machine.disk.fail_sync_after(u64::MAX);
                    machine.sync_fails = false;
                }
            }
            // One that joined last may stay.
            Kind::Member if !self.mending => self.leave(node),
            // A node mends its files itself.
            Kind::Corrupt
            | Kind::Cut
            | Kind::HandOver
            | Kind::Hold
            | Kind::Member
            | Kind::OneWay
            | Kind::Slow => {}
        }
    }

    /// Has a member leave for ever.
    fn leave(&mut self, node: u64) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if !machine.left {
            machine.left = true;
            self.progress.membership.order(Order::Leave(node));
        }
    }

    /// A node is of no use any more.
    fn lose(&mut self, node: u64) {
        if let Some(machine) = self.machines.get_mut(&node) {
            (machine.left, machine.lost) = (true, true);
            self.progress.membership.lose(node);
            self.tally.nodes_lost += 1;
        }
    }

    /// Changes bytes of a running node, in one place or many.
    fn corrupt(&mut self, node: u64) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let changed = damage::spoil(&machine.disk, &mut self.rng);
        self.tally.corruptions += changed;
        if changed > 0 {
            machine.damaged = true;
            self.progress.seen.watch(node);
        }
    }

    /// Ends a process; with a crash the machine under it too. What it still does on its way out reaches no disk.
    fn stop(&mut self, sim: &mut Sim<'_>, node: u64, crash: Option<&Crash>) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if let Some(crash) = crash {
            machine.disk.crash(crash);
        }
        // Its open files are dead, and a sync that did not fail yet will not.
        let room = machine
            .disk
            .free_bytes()
            .ok()
            .filter(|room| *room < u64::MAX);
        machine.disk.kill();
        let room = room.and_then(|room| usize::try_from(room).ok());
        machine.disk.limit_space(room);
        machine.sync_fails = false;
        if machine.up {
            machine.up = false;
            sim.crash(name(node));
            // Whatever ended in the same tick is part of this end.
            machine.host.take_end();
            self.tally.crashes += 1;
        }
        self.tally.power_cuts += u64::from(crash.is_some());
        self.progress.seen.gone(node);
    }

    /// Starts a node whose process does not run, unless a fault still keeps it down.
    fn start(&mut self, sim: &mut Sim<'_>, node: u64) {
        let kept = self.lasting.iter().any(|((kind, _), (strike, _))| {
            let kind_keeps = matches!(kind, Kind::Kill | Kind::Power | Kind::PowerAll);
            kind_keeps && matches!(strike, Strike::Nodes(nodes) if nodes.contains(&node))
        });
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        machine.restart_at = None;
        if kept || machine.up || machine.lost {
            return;
        }
        machine.up = true;
        sim.bounce(name(node));
    }

    fn choose(&mut self, kind: Kind) -> Option<Strike> {
        let stay = self.machines.iter().filter(|(_, machine)| !machine.left);
        let all: Vec<u64> = stay.map(|(node, _)| *node).collect();
        let hosts: BTreeSet<u64> = all.iter().copied().chain([CLIENTS]).collect();
        Some(match kind {
            // A node whose files are damaged may not start again. Enough of the others must hold what it held.
            Kind::PowerAll | Kind::Corrupt if !self.damaged().is_empty() => return None,
            // A cluster that has lost a node for ever is not asked to bear another; and clients that trust a
            // majority of its founders need two of three, not one and one who came later.
            Kind::Corrupt | Kind::Member if self.tally.nodes_lost > 0 => return None,
            Kind::Corrupt if all.len() > self.founders => return None,
            Kind::Member if !self.damaged().is_empty() => return None,
            Kind::PowerAll => Strike::Nodes(all),
            Kind::HandOver => Strike::Nodes(Vec::new()),
            Kind::Member => Strike::Nodes(vec![self.machines.keys().last()? + 1]),
            Kind::Clock | Kind::ClockFar => Strike::Nodes(vec![*all.choose(&mut self.rng)?]),
            Kind::Corrupt | Kind::Full | Kind::Kill | Kind::Power | Kind::Sync => {
                let stay = self.machines.iter().filter(|(_, machine)| !machine.left);
                let up = stay.filter(|(_, machine)| machine.up);
                let whole = up.filter(|(_, machine)| !machine.sync_fails && !machine.damaged);
                let whole: Vec<u64> = whole.map(|(node, _)| *node).collect();
                // A majority stays, mostly.
                let spare = whole.len() > all.len() / 2 + 1;
                if !spare && self.rng.random_range(0..4) != 0 {
                    return None;
                }
                Strike::Nodes(vec![*whole.choose(&mut self.rng)?])
            }
            Kind::Cut | Kind::Hold => {
                let many = self.rng.random_range(1..all.len());
                let one: BTreeSet<u64> = all
                    .iter()
                    .copied()
                    .sample(&mut self.rng, many)
                    .into_iter()
                    .collect();
                let mut other: BTreeSet<u64> = hosts.difference(&one).copied().collect();
                if self.rng.random() {
                    // Clients reach both sides.
                    other.remove(&CLIENTS);
                }
                Strike::Sides(one, other)
            }
            Kind::OneWay => {
                let two: Vec<u64> = hosts.into_iter().sample(&mut self.rng, 2);
                let (from, to) = (*two.first()?, *two.last()?);
                let (from, to) = if self.rng.random() {
                    (from, to)
                } else {
                    (to, from)
                };
                Strike::Sides(BTreeSet::from([from]), BTreeSet::from([to]))
            }
            Kind::Slow => Strike::Packets(Duration::from_millis(self.rng.random_range(30..300))),
        })
    }

    /// Has every pair of hosts bear what all lasting faults together do to it.
    fn disturb(&mut self, sim: &Sim<'_>) {
        let mut want: BTreeMap<(u64, u64), Link> = BTreeMap::new();
        let mut latency = self.latency;
        for ((kind, _), (strike, _)) in &self.lasting {
            match strike {
                Strike::Packets(most) => latency = latency.max(*most),
                Strike::Nodes(_) => {}
                Strike::Sides(one, other) => {
                    for (from, to) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
                        let forward = from < to;
                        let pair = if forward { (from, to) } else { (to, from) };
                        let link = match kind {
                            Kind::OneWay => Link::OneWay(forward),
                            Kind::Hold => Link::Held,
                            _ => Link::Cut,
                        };
                        let at = want.entry(pair).or_default();
                        *at = match (*at, link) {
                            (Link::OneWay(a), Link::OneWay(b)) if a != b => Link::Cut,
                            (a, b) => a.max(b),
                        };
                    }
                }
            }
        }
        sim.set_max_message_latency(latency);
        let pairs: BTreeSet<(u64, u64)> = want.keys().chain(self.links.keys()).copied().collect();
        for pair in pairs {
            let link = want.get(&pair).copied().unwrap_or_default();
            if self.links.get(&pair).copied().unwrap_or_default() == link {
                continue;
            }
            let (a, b) = (host_name(pair.0), host_name(pair.1));
            sim.release(a.as_str(), b.as_str());
            sim.repair(a.as_str(), b.as_str());
            match link {
                Link::Whole => {}
                Link::Held => sim.hold(a.as_str(), b.as_str()),
                Link::OneWay(true) => sim.partition_oneway(a.as_str(), b.as_str()),
                Link::OneWay(false) => sim.partition_oneway(b.as_str(), a.as_str()),
                Link::Cut => sim.partition(a.as_str(), b.as_str()),
            }
            self.links.insert(pair, link);
        }
    }
}

impl Strike {
    fn nodes(&self, all: &BTreeMap<u64, Machine>) -> Vec<u64> {
        match self {
            Self::Nodes(nodes) => nodes.clone(),
            Self::Sides(one, other) => {
                let both = one.union(other).copied();
                both.filter(|host| *host != CLIENTS).collect()
            }
            Self::Packets(_) => all.keys().copied().collect(),
        }
    }
}

/// How often a kind comes and how long it lasts, in milliseconds.
fn rhythm(kind: Kind) -> (Range<u64>, Range<u64>) {
    match kind {
        Kind::Clock => (2_000..8_000, 1_000..10_000),
        Kind::ClockFar => (4_000..12_000, 1_000..8_000),
        Kind::Corrupt => (500..2_000, 1..2),
        Kind::Cut => (5_000..12_000, 500..6_000),
        Kind::Full => (4_000..12_000, 1_000..5_000),
        Kind::HandOver => (2_000..8_000, 1..2),
        Kind::Hold => (3_000..9_000, 500..6_000),
        Kind::Kill => (2_000..7_000, 100..5_000),
        Kind::Member => (1_000..6_000, 3_000..12_000),
        Kind::OneWay => (5_000..12_000, 500..5_000),
        Kind::Power => (2_500..8_000, 100..5_000),
        Kind::PowerAll => (6_000..15_000, 100..2_000),
        Kind::Slow => (4_000..12_000, 1_000..6_000),
        Kind::Sync => (5_000..12_000, 1_000..2_000),
    }
}

/// Acts in their order, each with its time; each kind by itself, so that faults overlap.
fn schedule(swarm: &Swarm, rng: &mut Rng) -> Vec<(Duration, Act)> {
    let end = u64::try_from(swarm.length.as_millis()).unwrap_or(u64::MAX);
    let mut acts = Vec::new();
    for kind in &swarm.faults {
        let (every, lasts) = rhythm(*kind);
        let (mut at, mut number) = (CALM_MS, 0);
        loop {
            at += rng.random_range(every.clone()) / swarm.pace;
            let until = at + 1 + rng.random_range(lasts.clone()) / swarm.pace;
            if until > end {
                break;
            }
            acts.push((Duration::from_millis(at), Act::Begin(*kind, number)));
            acts.push((Duration::from_millis(until), Act::End(*kind, number)));
            number += 1;
            // One of a kind at a time; kinds overlap.
            at = until;
        }
    }
    acts.sort_unstable();
    acts
}

fn host_name(host: u64) -> String {
    if host == CLIENTS {
        crate::cluster::NAME.to_owned()
    } else {
        name(host)
    }
}
