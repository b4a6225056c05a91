//! What a node gives up once its files are damaged.
//!
//! Damage to the ledger (entries, offsets, tree, checkpoints): this node no longer leads, proposes,
//! seals or cosigns, because each of these says "I have the ledger and this is what it holds". It
//! goes on voting and following, which rest on the Raft log alone, and it answers the reads that do
//! not touch the damage. It returns to duty when the verifier has healed all of it.
//!
//! Damage to a value: the value is not served from here (INV-9), and a leader hands over once,
//! because gets are answered by the leader and the others most likely have it. It goes on sealing
//! and may lead again: no hash of the ledger rests on a value, and a cluster of which every node has
//! lost some value must still serve all others.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::consensus::{Abstention, Leadership};
use crate::env::Env;
use crate::metrics::Metrics;
use crate::store::{Damage, DamageKind, ledger_damage};

/// A leader's hand-over may take this long before it is tried again.
const HAND_OVER: Duration = Duration::from_secs(3);
/// Pause between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// Names each damage as it is found and gives up what rests on it; ends when the node drains.
pub async fn watch_damage<E: Env>(
    cluster: Arc<Cluster<E>>,
    metrics: Arc<Metrics>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut damages = cluster.reader.damages();
    let mut named: Vec<Damage> = Vec::new();
    loop {
        let found = damages.borrow_and_update().clone();
        let is_new = |damage: &&Damage| !named.contains(damage);
        for damage in found.iter().filter(is_new) {
            let kind = damage.kind.as_str();
            metrics.damages.get_or_create(&[("kind", kind)]).inc();
            let (file, place, problem) = (&damage.file, damage.place, &damage.problem);
            tracing::error!(kind, file, place, problem, "damage was found");
        }
        let of_ledger = ledger_damage(&found).is_some();
        if of_ledger {
            cluster.consensus.abstain(Abstention::Damage);
        } else if ledger_damage(&named).is_some() {
            tracing::info!("the ledger's files are whole again: back to duty");
            cluster.consensus.resume(Abstention::Damage);
        }
        let mut new = found.iter().filter(is_new);
        let new_value = new.any(|damage| damage.kind == DamageKind::Value);
        named.clone_from(&found);
        if of_ledger || new_value {
            hand_over(&cluster, HAND_OVER).await;
        }
        let still_leads = of_ledger && leads(&cluster) && has_others(&cluster);
        tokio::select! {
            changed = damages.changed() => if changed.is_err() { return },
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(AGAIN), if still_leads => {}
        }
    }
}

/// Hands leadership to the voter that is furthest, if this node has it and there is another; whether
/// nothing of that is left to do.
pub async fn hand_over<E: Env>(cluster: &Cluster<E>, within: Duration) -> bool {
    if !leads(cluster) || !has_others(cluster) {
        return true;
    }
    let deadline = cluster.env.monotonic() + within;
    match cluster.transfer(0, deadline).await {
        Ok((leader, _)) => tracing::info!(leader, "leadership handed over"),
        Err(ref problem) => {
            tracing::warn!(%problem, "leadership was not handed over");
            return false;
        }
    }
    true
}

fn leads<E: Env>(cluster: &Cluster<E>) -> bool {
    let leadership = cluster.consensus.leadership();
    matches!(*leadership.borrow(), Leadership::Leader { .. })
}

fn has_others<E: Env>(cluster: &Cluster<E>) -> bool {
    cluster.consensus.status().voters.len() > 1
}
