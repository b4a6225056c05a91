//! What a cluster shall be like, said before it is made.

use std::path::PathBuf;
use std::sync::Arc;

use candor_node::principal::{Right, new_token};

use super::cluster::Cluster;
use super::layout::fill_random;
use super::network::Network;

/// Timers for machines that build and test other things meanwhile.
const SECTIONS: &str = "[raft]\nheartbeat_ms = 200\nelection_min_ms = 1000\nelection_max_ms = 2000\n\n\
                        [log]\nfilter = \"info,openraft=warn\"\n";

/// Who may ask, and what for.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Whose results it works on.
    pub tenant: String,
    /// Its name on entries, by which tests ask for its client; unique here.
    pub actor: String,
    /// What it may do.
    pub rights: Vec<Right>,
    /// Its bearer token.
    pub token: String,
}

impl Principal {
    fn new(tenant: &str, actor: &str, rights: &[Right]) -> Self {
        let mut random = [0; 32];
        fill_random(&mut random);
        Self {
            tenant: tenant.to_owned(),
            actor: actor.to_owned(),
            rights: rights.to_vec(),
            token: new_token(random),
        }
    }
}

/// A cluster that is not made yet: three nodes; `service-a`, `service-b` and `auditor` of tenant
/// `acme`, `service-g` of tenant `globex`, and `operator`.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) program: PathBuf,
    pub(super) nodes: u64,
    pub(super) principals: Vec<Principal>,
    pub(super) sections: String,
    pub(super) folders_in: Option<PathBuf>,
    pub(super) below: Option<PathBuf>,
    pub(super) network: Option<Arc<Network>>,
}

impl Setup {
    /// Nodes run this program: in a test `env!("CARGO_BIN_EXE_candor-jepsen")`, in the program itself
    /// `std::env::current_exe()`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        use Right::{Audit, AuditAll, Operate, Read, Write};
        let service = &[Read, Write, Audit];
        Self {
            program: program.into(),
            nodes: 3,
            principals: vec![
                Principal::new("acme", "service-a", service),
                Principal::new("acme", "service-b", service),
                Principal::new("acme", "auditor", &[Read, Audit]),
                Principal::new("globex", "service-g", service),
                Principal::new("ops", "operator", &[Operate, AuditAll]),
            ],
            sections: SECTIONS.to_owned(),
            folders_in: None,
            below: None,
            network: None,
        }
    }

    /// So many nodes at first.
    #[must_use]
    pub fn nodes(mut self, nodes: u64) -> Self {
        self.nodes = nodes;
        self
    }

    /// One more principal.
    #[must_use]
    pub fn principal(mut self, tenant: &str, actor: &str, rights: &[Right]) -> Self {
        self.principals.push(Principal::new(tenant, actor, rights));
        self
    }

    /// More TOML for every node, such as a `[sealing]` section; `[raft]` and `[log]` are there.
    #[must_use]
    pub fn sections(mut self, toml: &str) -> Self {
        self.sections.push_str(toml);
        self
    }

    /// More keys of every node's `[raft]` section.
    #[must_use]
    pub fn raft(mut self, toml: &str) -> Self {
        self.sections = self
            .sections
            .replacen("[raft]\n", &format!("[raft]\n{toml}\n"), 1);
        self
    }

    /// The nodes' folders lie here, and not beside their configurations and logs.
    #[must_use]
    pub fn folders_in(mut self, path: impl Into<PathBuf>) -> Self {
        self.folders_in = Some(path.into());
        self
    }

    /// Makes the cluster's folder in this one instead of the system's temporary folder.
    #[must_use]
    pub fn below(mut self, folder: impl Into<PathBuf>) -> Self {
        self.below = Some(folder.into());
        self
    }

    /// The nodes are on this network, and not on the loopback address.
    #[must_use]
    pub fn network(mut self, network: Arc<Network>) -> Self {
        self.network = Some(network);
        self
    }

    /// Makes the cluster, starts its nodes, founds it and waits until every node has its first checkpoint.
    ///
    /// # Errors
    /// Says which step failed; the nodes' logs are shown.
    pub async fn found(self) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster::make(self)?;
        cluster.start_all().await?;
        cluster.found().await?;
        Ok(cluster)
    }
}
