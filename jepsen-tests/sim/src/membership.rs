//! Nodes that join and leave, and leaders that hand over, as an operator has it done.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};

use anyhow::{Context as _, ensure};
use candor_client::Operator;
use candor_client::operator::messages::MemberStatus;
use candor_jepsen::real::node_of;

use crate::host::lock;

/// What is refused to an operator for good.
const REFUSED: &str = "MEMBERSHIP_REFUSED";

/// What the operator is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// A node with an empty folder becomes a learner, and once it has caught up a voter.
    Join(u64),
    /// A member leaves for ever.
    Leave(u64),
    /// Whoever leads has another lead.
    HandOver,
}

/// The members, and what is still to be done to them.
#[derive(Default)]
pub(crate) struct Membership(Mutex<State>);

#[derive(Default)]
struct State {
    members: BTreeSet<u64>,
    orders: VecDeque<Order>,
    lost: BTreeSet<u64>,
    done: u64,
}

impl Membership {
    pub(crate) fn found(&self, nodes: &[u64]) {
        self.state().members.extend(nodes);
    }

    pub(crate) fn order(&self, order: Order) {
        self.state().orders.push_back(order);
    }

    /// A node will never run again: it has to leave, and need not have joined first.
    pub(crate) fn lose(&self, node: u64) {
        self.state().lost.insert(node);
        self.order(Order::Leave(node));
    }

    /// What is to be done next.
    pub(crate) fn next(&self) -> Option<Order> {
        self.state().orders.front().copied()
    }

    /// Who is a member, as far as orders were carried out.
    pub(crate) fn members(&self) -> BTreeSet<u64> {
        self.state().members.clone()
    }

    /// How many orders were carried out.
    pub(crate) fn done(&self) -> u64 {
        self.state().done
    }

    fn is_lost(&self, node: u64) -> bool {
        self.state().lost.contains(&node)
    }

    fn carried_out(&self, order: Order) {
        let mut state = self.state();
        match order {
            Order::Join(node) => _ = state.members.insert(node),
            Order::Leave(node) => _ = state.members.remove(&node),
            Order::HandOver => {}
        }
        state.orders.pop_front();
        state.done += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

/// One try; whatever it leaves half done the next one finds so.
///
/// # Errors
/// Why it is not done yet.
pub(crate) async fn carry_out(
    membership: &Membership,
    order: Order,
    operator: impl Fn(u64) -> anyhow::Result<Operator>,
) -> anyhow::Result<()> {
    let leader = leader(membership, &operator).await?;
    match order {
        Order::Join(node) if membership.is_lost(node) => {}
        Order::Join(node) => join(&leader, node, &operator(node)?).await?,
        Order::Leave(node) => {
            // Nobody removes itself.
            if leader.status().await?.node_id == node {
                leader.transfer_leadership(None).await?;
            }
            match leader.remove_node(node).await {
                // It never came so far as to be named.
                Err(problem)
                    if membership.is_lost(node) && problem.to_string().contains(REFUSED) => {}
                removed => _ = removed?,
            }
        }
        Order::HandOver => _ = leader.transfer_leadership(None).await?,
    }
    membership.carried_out(order);
    Ok(())
}

async fn join(leader: &Operator, node: u64, joining: &Operator) -> anyhow::Result<()> {
    let known = |members: &[MemberStatus]| {
        let mut members = members.iter();
        members
            .find(|member| member.node.as_ref().is_some_and(|it| it.node_id == node))
            .map(|member| member.voter)
    };
    let told = leader.identity().await?;
    let itself = node_of(joining.identity().await?)?;
    joining.prepare_genesis(told.genesis.to_vec()).await?;
    if known(&leader.status().await?.members).is_none() {
        leader.add_node(itself).await?;
    }
    let voters = leader.promote_node(node).await?;
    ensure!(voters.contains(&node), "it does not vote yet");
    Ok(())
}

/// Whoever is said to lead by itself.
async fn leader(
    membership: &Membership,
    operator: impl Fn(u64) -> anyhow::Result<Operator>,
) -> anyhow::Result<Operator> {
    for node in membership.members() {
        let operator = operator(node)?;
        if operator
            .status()
            .await
            .is_ok_and(|status| status.leader_id == Some(node))
        {
            return Ok(operator);
        }
    }
    None.context("nobody leads")
}
