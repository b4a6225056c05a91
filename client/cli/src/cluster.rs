//! `candor cluster`: founding, status and membership.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use candor_client::operator::messages::{GetIdentityResponse, GetStatusResponse, Node};
use candor_client::{Error, Operator};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::shown::shown;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::time::Instant;

use crate::output::{Output, write_data};
use crate::session::{self, Connection};
use crate::span;

mod found;
mod view;

pub(crate) use found::init;

/// One look at a node that may be down.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// One call: below the longest deadline that nodes accept by default, 60 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Elections, founding and catching up are looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Client address of a node, `host:port`; for `init` give all of them. Default: the endpoints
    /// of the client configuration.
    #[arg(long = "node", global = true, value_name = "ADDRESS")]
    nodes: Vec<String>,
    /// File with an operator's token. Default: `operator.token` beside the client configuration.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Client configuration that fills in what is not given. Default: `$CANDOR_CONFIG`, else
    /// `./.candor-dev/client.toml`.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Give up after this long.
    #[arg(long, global = true, value_name = "SPAN", default_value = "30s",
          value_parser = span::parse_positive)]
    timeout: Duration,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add a node: the ledger names it, it catches up as a learner, then it votes.
    Add {
        /// Client address of the new node, which runs with the log's keys installed.
        new: String,
    },
    /// Found a cluster: every node stores the same genesis before consensus starts. Prints the trust
    /// policy.
    Init {
        /// Write the trust policy (public keys only) here instead.
        #[arg(long, value_name = "FILE")]
        policy_out: Option<PathBuf>,
    },
    /// Remove a node for ever; its number is not used again.
    Remove {
        /// Number of the node that leaves.
        id: u64,
    },
    /// Bring all nodes to one place in the log. While nothing follows, their `ledger/` folders are
    /// the same byte by byte.
    Settle,
    /// Show what a node sees of the cluster.
    Status,
    /// Hand leadership over.
    Transfer {
        /// Number of the node that shall lead; the one that is furthest when not given.
        to: Option<u64>,
    },
}

/// Does what an operator asked.
pub(crate) fn run(arguments: Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let (cluster, command) = arguments.resolve()?;
    session::block_on(async {
        match command {
            Command::Add { new } => add(&cluster, &new, output).await,
            Command::Init { policy_out } => {
                let policy = init(&cluster).await?;
                match policy_out {
                    Some(path) => std::fs::write(&path, policy)
                        .with_context(|| format!("cannot write `{}`", path.display()))?,
                    None => write_data(policy.as_bytes(), false)?,
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Remove { id } => {
                let leader = cluster.leader().await?;
                let done = leader.remove_node(id).await?;
                let fields = json!({ "node_id": id, "seq": done.seq, "voters": done.voters });
                output.print(fields, || {
                    format!(
                        "removed node {id} with entry {}; voters {:?}",
                        done.seq, done.voters
                    )
                })
            }
            Command::Settle => {
                let nodes = cluster.leader().await?.settle().await?;
                view::print_settled(&nodes, output)
            }
            Command::Status => {
                let status = cluster.status().await?;
                output.print(view::status_json(&status), || view::status_text(&status))
            }
            Command::Transfer { to } => {
                let leader = cluster.leader().await?;
                let done = leader.transfer_leadership(to).await?;
                let fields = json!({ "leader_id": done.leader_id, "term": done.term });
                output.print(fields, || {
                    format!("node {} leads in term {}", done.leader_id, done.term)
                })
            }
        }
    })
}

impl Arguments {
    fn resolve(self) -> anyhow::Result<(Cluster, Command)> {
        let connection = Connection {
            config: self.config,
            timeout: None,
        };
        let nodes = match self.nodes {
            nodes if nodes.is_empty() => {
                connection.settings().context("no --node given")?.endpoints
            }
            nodes => nodes,
        };
        let token_file = match self.token_file {
            Some(file) => file,
            None => connection
                .file()
                .context("no --token-file given")?
                .with_file_name("operator.token"),
        };
        let token = session::text_of(&token_file)?.trim().to_owned();
        Ok((
            Cluster {
                nodes,
                token,
                timeout: self.timeout,
            },
            self.command,
        ))
    }
}

/// A cluster as an operator reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// Client addresses.
    pub(crate) nodes: Vec<String>,
    /// An operator's token.
    pub(crate) token: String,
    /// For one command, all its calls together.
    pub(crate) timeout: Duration,
}

impl Cluster {
    /// A connection to one node.
    pub(crate) fn to(&self, address: &str) -> anyhow::Result<Operator> {
        let has_scheme = address.contains("://");
        let uri = if has_scheme {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        Ok(Operator::new(
            &uri,
            Some(&self.token),
            self.timeout.min(CALL_TIMEOUT),
        )?)
    }

    /// The view of the first node that answers.
    pub(crate) async fn status(&self) -> anyhow::Result<GetStatusResponse> {
        let mut problem = anyhow::anyhow!("no node is named");
        for address in &self.nodes {
            match self.to(address)?.status().await {
                Ok(status) => return Ok(status),
                Err(error) => problem = error.into(),
            }
        }
        Err(problem)
    }

    /// The leader, waiting out an election.
    pub(crate) async fn leader(&self) -> anyhow::Result<Operator> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let mut problem = "no node knows one".to_owned();
            for address in &self.nodes {
                match self.leader_by(address).await {
                    Ok(Some(leader)) => return Ok(leader),
                    Ok(None) => {}
                    Err(error) => problem = error.to_string(),
                }
            }
            if Instant::now() + LOOK_EVERY >= deadline {
                bail!("no leader within {} s: {problem}", self.timeout.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whom a node takes for the leader, if that one agrees.
    async fn leader_by(&self, address: &str) -> anyhow::Result<Option<Operator>> {
        let quick = Self {
            timeout: self.timeout.min(LOOK_TIMEOUT),
            ..self.clone()
        };
        let status = quick.to(address)?.status().await?;
        if status.leader_id == Some(status.node_id) {
            return Ok(Some(self.to(address)?));
        }
        if status.leader_address.is_empty() {
            return Ok(None);
        }
        let of_leader = quick.to(&status.leader_address)?.status().await?;
        let agrees = of_leader.leader_id == Some(of_leader.node_id);
        Ok(if agrees {
            Some(self.to(&status.leader_address)?)
        } else {
            None
        })
    }
}

/// A node as a member: what it says of itself.
fn member_of(identity: &GetIdentityResponse) -> anyhow::Result<Node> {
    let node = identity.node.clone().filter(|node| node.node_id > 0);
    node.context("a node does not say its number")
}

/// Whether the node asks for patience rather than for another request.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Unavailable { .. } => true,
        Error::Rejected { code, .. } => {
            matches!(
                code.as_str(),
                "MEMBERSHIP_BUSY" | "MEMBERSHIP_REFUSED" | "NO_LEADER"
            )
        }
        _ => false,
    }
}

async fn add(cluster: &Cluster, new: &str, output: Output) -> anyhow::Result<ExitCode> {
    let leader = cluster.leader().await?;
    let joining = cluster.to(new)?;
    let identity = joining.identity().await?;
    if !identity.has_log_keys {
        bail!("the new node holds no log keys: `candor keys install`, then restart it");
    }
    let (genesis, agreed) = agreed_genesis(cluster, &leader).await?;
    let stored = joining.prepare_genesis(genesis).await?;
    if stored != agreed {
        bail!(
            "the new node stored a genesis with digest {}",
            shown(&stored)
        );
    }
    let node = member_of(&identity)?;
    let node_id = node.node_id;
    let seq = leader.add_node(node).await?;
    eprintln!("entry {seq} names node {node_id}; it catches up");
    let deadline = Instant::now() + cluster.timeout;
    let voters = loop {
        match leader.promote_node(node_id).await {
            Ok(voters) => break voters,
            Err(problem) if is_passing(&problem) && Instant::now() < deadline => {
                eprintln!("{}", shown(&problem.to_string()));
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(problem) => return Err(problem).context("it is a learner, and does not vote yet"),
        }
    };
    let fields = json!({ "node_id": node_id, "seq": seq, "voters": voters });
    output.print(fields, || {
        format!("node {node_id} votes; voters {voters:?}")
    })
}

/// The genesis body that the members agreed on, with its digest: the new node joins that cluster and
/// no other.
///
/// The leader tells the body; a majority of the members, asked each by itself, must name its digest
/// and none may name another.
async fn agreed_genesis(cluster: &Cluster, leader: &Operator) -> anyhow::Result<(Vec<u8>, String)> {
    let genesis = leader.identity().await?.genesis;
    let digest = TaggedDigest::sha3(sha3_256(&genesis)).to_string();
    let members = leader.status().await?.members;
    let mut agreeing = 0;
    for node in members.iter().filter_map(|member| member.node.as_ref()) {
        let quick = Cluster {
            timeout: cluster.timeout.min(LOOK_TIMEOUT),
            ..cluster.clone()
        };
        match quick.to(&node.client_address)?.identity().await {
            Ok(identity) if identity.genesis_digest == digest => agreeing += 1,
            Ok(identity) => bail!(
                "the leader tells a genesis with digest {digest}; node {} has {}",
                node.node_id,
                shown(&identity.genesis_digest)
            ),
            Err(problem) => eprintln!("node {}: {}", node.node_id, shown(&problem.to_string())),
        }
    }
    if agreeing * 2 <= members.len() {
        let all = members.len();
        bail!("{agreeing} of {all} members confirm the genesis; it takes a majority");
    }
    Ok((genesis.to_vec(), digest))
}
