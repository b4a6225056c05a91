//! Breaks nodes by a schedule, and mends them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use rand::RngExt as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;
use tokio::time::Instant;

use super::observer::Observer;
use super::recorder::Recorder;
use super::schedule::{Act, Kind};
use crate::history::Step;
use crate::real::Cluster;
use crate::real::loop_disk::LoopDisk;

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
    /// What lasts, and on which node.
    pub(super) lasting: BTreeMap<(Kind, u32), u64>,
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
        let Some(node) = self.choose() else {
            return Ok(());
        };
        match kind {
            Kind::Away | Kind::Kill => self.cluster.kill(node)?,
            Kind::Pause => self.cluster.pause(node)?,
        }
        self.recorder.fault(kind.name(), Step::Start, &[node]);
        self.lasting.insert((kind, number), node);
        Ok(())
    }

    fn end(&mut self, kind: Kind, number: u32) -> anyhow::Result<()> {
        // The power may have ended it before.
        let Some(node) = self.lasting.remove(&(kind, number)) else {
            return Ok(());
        };
        match kind {
            Kind::Away | Kind::Kill => self.cluster.spawn(node)?,
            Kind::Pause => self.cluster.resume(node)?,
        }
        self.recorder.fault(kind.name(), Step::Stop, &[node]);
        Ok(())
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
        for ((kind, _), node) in std::mem::take(&mut self.lasting) {
            self.recorder.fault(kind.name(), Step::Stop, &[node]);
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

    /// A node to strike: the leader as often as not.
    fn choose(&mut self) -> Option<u64> {
        let free = self.free();
        let leader = self.observer.leader().filter(|node| free.contains(node));
        match leader {
            Some(leader) if self.rng.random() => Some(leader),
            _ if free.is_empty() => None,
            _ => free.get(self.rng.random_range(0..free.len())).copied(),
        }
    }

    /// Nodes that nothing strikes now.
    fn free(&self) -> Vec<u64> {
        let struck: Vec<u64> = self.lasting.values().copied().collect();
        let nodes = self.cluster.nodes();
        nodes.filter(|node| !struck.contains(node)).collect()
    }

    /// No node ends by itself, whatever happens to it.
    fn all_run(&mut self) -> anyhow::Result<()> {
        let down = |kind: Kind| kind != Kind::Pause;
        let ended: Vec<u64> = self
            .lasting
            .iter()
            .filter(|((kind, _), _)| down(*kind))
            .map(|(_, node)| *node)
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
