//! Breaks nodes by a schedule, and mends them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use tokio::time::Instant;

use super::observer::Observer;
use super::schedule::{Act, Kind};
use crate::history::Step;
use crate::real::Cluster;
use crate::real::loop_disk::LoopDisk;
use crate::real::network::{CLIENTS, Link, Network};
use crate::recorded::Recorder;

/// How often it is looked whether a node that should run does.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What breaks things.
pub(super) struct Nemesis<'a> {
    pub(super) cluster: &'a mut Cluster,
    /// Where the nodes' folders lie, if the power can be cut.
    pub(super) disk: Option<&'a mut LoopDisk>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) observer: &'a Observer,
    pub(super) rng: Rng,
    /// What the nodes are on, if it can be disturbed.
    pub(super) network: Option<Arc<Network>>,
    pub(super) lasting: BTreeMap<(Kind, u32), Strike>,
}

/// What a fault that lasts does to whom.
#[derive(Clone, Debug)]
pub(super) enum Strike {
    /// To a node.
    Node(u64),
    /// To packets, by `(from, to)`; the nodes that it is about.
    Links(Vec<u64>, BTreeMap<(u64, u64), Link>),
}

impl Nemesis<'_> {
    /// Does all of it at its times, and then mends what is left.
    ///
    /// # Errors
    /// When a node ends that nobody ended.
    pub(super) async fn run(&mut self, schedule: &[(Duration, Act)]) -> anyhow::Result<()> {
        let start = Instant::now();
        for (at, act) in schedule {
            while start.elapsed() < *at {
                self.all_run()?;
                tokio::time::sleep(LOOK_EVERY.min(at.saturating_sub(start.elapsed()))).await;
            }
            self.act(*act).await?;
        }
        self.mend_all()?;
        self.cluster.start_all().await?;
        if let Some(disk) = &self.disk {
            ensure!(disk.faults()? == 0, "the copied file system is broken");
        }
        Ok(())
    }

    async fn act(&mut self, act: Act) -> anyhow::Result<()> {
        match act {
            Act::Begin(kind, number) => self.begin(kind, number),
            Act::End(kind, number) => self.end(kind, number),
            Act::Power => self.power(),
            Act::Transfer => {
                self.transfer().await;
                Ok(())
            }
        }
    }

    fn begin(&mut self, kind: Kind, number: u32) -> anyhow::Result<()> {
        let strike = match kind {
            Kind::OneWay | Kind::Partition | Kind::Rough => {
                let (nodes, links) = self.choose_links(kind);
                Strike::Links(nodes, links)
            }
            Kind::Away | Kind::Kill | Kind::Pause => match self.choose() {
                None => return Ok(()),
                Some(node) => Strike::Node(node),
            },
        };
        match (&strike, kind) {
            (Strike::Links(..), _) => {}
            (Strike::Node(node), Kind::Pause) => self.cluster.pause(*node)?,
            (Strike::Node(node), _) => self.cluster.kill(*node)?,
        }
        let nodes = strike.nodes();
        self.lasting.insert((kind, number), strike);
        self.disturb();
        self.recorder.fault(kind.name(), Step::Start, &nodes);
        Ok(())
    }

    fn end(&mut self, kind: Kind, number: u32) -> anyhow::Result<()> {
        // The power may have ended it before.
        let Some(strike) = self.lasting.remove(&(kind, number)) else {
            return Ok(());
        };
        match (&strike, kind) {
            (Strike::Links(..), _) => self.disturb(),
            (Strike::Node(node), Kind::Pause) => self.cluster.resume(*node)?,
            (Strike::Node(node), _) => self.cluster.spawn(*node)?,
        }
        self.recorder
            .fault(kind.name(), Step::Stop, &strike.nodes());
        Ok(())
    }

    /// Has the network do what all lasting faults together do to packets.
    fn disturb(&self) {
        let Some(network) = &self.network else {
            return;
        };
        let mut all: BTreeMap<(u64, u64), Link> = BTreeMap::new();
        for strike in self.lasting.values() {
            if let Strike::Links(_, links) = strike {
                for (direction, link) in links {
                    let both = all.entry(*direction).or_default();
                    *both = both.and(*link);
                }
            }
        }
        network.disturb(all);
    }

    /// Packets to strike, and the nodes that this is about.
    fn choose_links(&mut self, kind: Kind) -> (Vec<u64>, BTreeMap<(u64, u64), Link>) {
        let nodes: Vec<u64> = self.cluster.nodes().collect();
        let one = self.one_of(&nodes);
        let between = |hosts: &[u64]| {
            let pairs = hosts
                .iter()
                .flat_map(|from| hosts.iter().map(|to| (*from, *to)));
            pairs.filter(|(from, to)| from != to).collect::<Vec<_>>()
        };
        let (about, struck, link): (Vec<u64>, Vec<(u64, u64)>, Link) = match kind {
            Kind::Rough => {
                let hosts: Vec<u64> = nodes.iter().copied().chain([CLIENTS]).collect();
                let link = Link {
                    delay: Duration::from_millis(self.rng.random_range(1..40)),
                    jitter: Duration::from_millis(self.rng.random_range(0..60)),
                    lost: self.rng.random_range(0..6),
                    twice: self.rng.random_range(0..20),
                    ..Link::default()
                };
                (nodes, between(&hosts), link)
            }
            Kind::OneWay => {
                let away: bool = self.rng.random();
                let is_struck = |(from, to): &(u64, u64)| *if away { from } else { to } == one;
                let struck = between(&nodes).into_iter().filter(is_struck).collect();
                (vec![one], struck, Link::CUT)
            }
            _ => {
                let mut side: Vec<u64> = nodes.clone();
                side.retain(|_| self.rng.random());
                if side.is_empty() || side.len() == nodes.len() {
                    side = vec![one];
                }
                let parts = |(from, to): &(u64, u64)| side.contains(from) != side.contains(to);
                let struck = between(&nodes).into_iter().filter(parts).collect();
                (side, struck, Link::CUT)
            }
        };
        let links = struck.into_iter().map(|direction| (direction, link));
        (about, links.collect())
    }

    /// All at one moment: what is not synced is lost, on every node.
    fn power(&mut self) -> anyhow::Result<()> {
        let Some(disk) = self.disk.as_deref_mut() else {
            bail!("the power was to be cut, and the nodes are on no disk of their own")
        };
        let nodes: Vec<u64> = self.cluster.nodes().collect();
        self.cluster.freezer()?.freeze()?;
        self.recorder.fault("power", Step::Start, &nodes);
        let image = disk.copy()?;
        self.cluster.kill_all()?;
        disk.switch(image)?;
        for node in &nodes {
            self.cluster.spawn(*node)?;
        }
        let of_nodes = |_: &(Kind, u32), strike: &mut Strike| matches!(strike, Strike::Node(_));
        for ((kind, _), strike) in self.lasting.extract_if(.., of_nodes) {
            self.recorder
                .fault(kind.name(), Step::Stop, &strike.nodes());
        }
        self.recorder.fault("power", Step::Stop, &nodes);
        Ok(())
    }

    /// Whoever leads is asked to have another lead; in trouble it may not.
    async fn transfer(&mut self) {
        let free = self.free();
        let leader = self.observer.leader().filter(|node| free.contains(node));
        if let Some(operator) = leader.and_then(|node| self.cluster.operator(node).ok()) {
            let to = free.iter().copied().filter(|node| Some(*node) != leader);
            let to: Vec<u64> = to.collect();
            let to = to.get(self.rng.random_range(0..to.len().max(1))).copied();
            let asked = operator.transfer_leadership(to);
            let _ = tokio::time::timeout(Duration::from_secs(2), asked).await;
        }
    }

    fn mend_all(&mut self) -> anyhow::Result<()> {
        let lasting: Vec<_> = self.lasting.keys().copied().collect();
        for (kind, number) in lasting {
            self.end(kind, number)?;
        }
        Ok(())
    }

    /// A node to strike that nothing strikes yet.
    fn choose(&mut self) -> Option<u64> {
        let free = self.free();
        (!free.is_empty()).then(|| self.one_of(&free))
    }

    /// One of these nodes: the leader as often as not. 0 when there is none.
    fn one_of(&mut self, nodes: &[u64]) -> u64 {
        let leader = self.observer.leader();
        match leader.filter(|leader| nodes.contains(leader)) {
            Some(leader) if self.rng.random() => leader,
            _ => {
                let at = self.rng.random_range(0..nodes.len().max(1));
                nodes.get(at).copied().unwrap_or_default()
            }
        }
    }

    /// Nodes that are neither down nor still.
    fn free(&self) -> Vec<u64> {
        let struck = |node: &u64| {
            let mut strikes = self.lasting.values();
            strikes.any(|strike| matches!(strike, Strike::Node(struck) if struck == node))
        };
        let nodes = self.cluster.nodes();
        nodes.filter(|node| !struck(node)).collect()
    }

    /// No node ends by itself, whatever happens to it.
    fn all_run(&mut self) -> anyhow::Result<()> {
        let lasting = self.lasting.iter();
        let ended: Vec<u64> = lasting
            .filter(|((kind, _), _)| matches!(kind, Kind::Away | Kind::Kill))
            .flat_map(|(_, strike)| strike.nodes())
            .collect();
        for node in self.cluster.nodes().filter(|node| !ended.contains(node)) {
            let problem = self.cluster.ended(node)?;
            ensure!(
                problem.is_none(),
                "node {node} ended by itself: {problem:?}"
            );
        }
        Ok(())
    }
}

impl Strike {
    fn nodes(&self) -> Vec<u64> {
        match self {
            Self::Node(node) => vec![*node],
            Self::Links(nodes, _) => nodes.clone(),
        }
    }
}
