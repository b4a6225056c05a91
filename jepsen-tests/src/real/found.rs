//! Founding, step by step as `candor cluster init` does it.

use anyhow::{Context as _, ensure};
use candor_client::Operator;
use candor_client::operator::messages::{GetIdentityResponse, InitializeRequest, Node};
use candor_ledger::canonical::Value;
use candor_ledger::entry::{ClusterId, Genesis, LogKeys, Member, Params};
use candor_ledger::fold::RULES_V1;
use candor_ledger::ids::NodeId;
use candor_ledger::signature::KeySet;

/// Has every node store one genesis body, then starts consensus on the first.
///
/// # Errors
/// What a node refused.
pub async fn found(
    operators: &[Operator],
    keys: &KeySet,
    cluster_id: ClusterId,
) -> anyhow::Result<()> {
    let mut members = Vec::new();
    for operator in operators {
        members.push(node_of(operator.identity().await?)?);
    }
    let genesis = genesis(&members, keys, cluster_id)?;
    let mut genesis_digest = String::new();
    for operator in operators {
        genesis_digest = operator.prepare_genesis(genesis.clone()).await?;
    }
    let first = operators.first().context("a cluster needs a node")?;
    let request = InitializeRequest {
        members,
        genesis_digest,
    };
    first.initialize(request).await?;
    Ok(())
}

/// What a node says of itself, if it can be a member.
///
/// # Errors
/// What it lacks.
pub fn node_of(identity: GetIdentityResponse) -> anyhow::Result<Node> {
    ensure!(identity.has_log_keys, "a node holds no log keys");
    identity.node.context("a node does not say who it is")
}

fn genesis(members: &[Node], keys: &KeySet, cluster_id: ClusterId) -> anyhow::Result<Vec<u8>> {
    let member = |node: &Node| {
        let cosigner = <[u8; 32]>::try_from(&node.cosigner_key[..])?;
        anyhow::Ok(Member {
            node: NodeId(node.node_id),
            cosigner,
        })
    };
    let genesis = Genesis {
        origin: keys.origin().to_owned(),
        cluster_id,
        keys: LogKeys::of(keys),
        members: members.iter().map(member).collect::<Result<_, _>>()?,
        rules: RULES_V1,
        params: Params::DEFAULT,
        former: None,
    };
    Ok(Value::Object(genesis.to_object()).to_bytes())
}
