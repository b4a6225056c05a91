//! Founding a cluster: one genesis body, on every first member's disk before consensus starts.

use anyhow::{Context as _, bail};
use candor_client::operator::messages::{GetIdentityResponse, InitializeRequest, Node};
use candor_client::{Error, Operator};
use candor_ledger::canonical::Value;
use candor_ledger::entry::{ClusterId, Genesis, LogKeys, Member, Params};
use candor_ledger::fold::RULES_V1;
use candor_ledger::ids::NodeId;
use candor_ledger::signature::{KeySet, SUITE_1};
use tokio::time::Instant;

use super::{Cluster, LOOK_EVERY, member_of};
use crate::keys::fill_random;

/// Founds a cluster of these nodes and returns its trust policy. Founding again what was founded
/// half is refused by the nodes only where another genesis is stored already.
pub(crate) async fn init(cluster: &Cluster) -> anyhow::Result<String> {
    let deadline = Instant::now() + cluster.timeout;
    let mut operators = Vec::new();
    let mut identities = Vec::new();
    for address in &cluster.nodes {
        let operator = cluster.to(address)?;
        identities.push(identity(&operator, address, deadline).await?);
        operators.push(operator);
    }
    let genesis = genesis(&identities)?;
    let mut digest = String::new();
    for operator in &operators {
        digest = operator.prepare_genesis(genesis.clone()).await?;
    }
    let members = identities
        .iter()
        .map(member_of)
        .collect::<anyhow::Result<Vec<Node>>>()?;
    let first = operators.first().context("a cluster needs a node")?;
    let request = InitializeRequest {
        members,
        genesis_digest: digest,
    };
    let cluster_id = first.initialize(request).await?;
    eprintln!(
        "founded cluster {cluster_id} with {} nodes",
        operators.len()
    );
    first_checkpoint(first, deadline).await?;
    Ok(first.policy().await?)
}

/// What a node says of itself; one that was started a moment ago is waited for.
async fn identity(
    operator: &Operator,
    address: &str,
    deadline: Instant,
) -> anyhow::Result<GetIdentityResponse> {
    loop {
        match operator.identity().await {
            Err(Error::Unavailable { .. }) if Instant::now() + LOOK_EVERY < deadline => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            answer => return answer.with_context(|| format!("node at `{address}`")),
        }
    }
}

/// The cluster works once a majority has recomputed and cosigned its first checkpoint.
async fn first_checkpoint(node: &Operator, deadline: Instant) -> anyhow::Result<()> {
    loop {
        let status = node.status().await?;
        if status.sealed_size > 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("the cluster is founded, but no checkpoint came in time; see `cluster status`");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The body every first member stores: built once, from what each says of itself.
fn genesis(identities: &[GetIdentityResponse]) -> anyhow::Result<Vec<u8>> {
    let first = identities.first().context("a cluster needs a node")?;
    let mut members = Vec::new();
    for identity in identities {
        let node = member_of(identity)?;
        if !identity.has_log_keys {
            bail!(
                "node {} holds no log keys: `candor keys install`, then restart it",
                node.node_id
            );
        }
        if identity.keyset_id != first.keyset_id {
            bail!("node {} holds other log keys", node.node_id);
        }
        let cosigner = <[u8; 32]>::try_from(&node.cosigner_key[..])
            .with_context(|| format!("node {} shows no cosigner key", node.node_id))?;
        members.push(Member {
            node: NodeId(node.node_id),
            cosigner,
        });
    }
    members.sort_by_key(|member| member.node);
    let [a, b, c] = first.log_keys.as_slice() else {
        bail!("a key set has three keys")
    };
    let keys = KeySet::from_vkeys(&first.origin, SUITE_1, [a, b, c])?;
    let raw = keys
        .keys()
        .each_ref()
        .map(|key| key.public_key().as_bytes().to_vec());
    let mut id = [0; 16];
    fill_random(&mut id);
    let genesis = Genesis {
        origin: first.origin.clone(),
        cluster_id: ClusterId(id),
        keys: LogKeys {
            suite: keys.suite(),
            raw,
        },
        members,
        rules: RULES_V1,
        params: Params::DEFAULT,
        former: None,
    };
    Ok(Value::Object(genesis.to_object()).to_bytes())
}
