//! The folder of a local cluster: what `candor dev` writes, and how it knows its own again.
//!
//! ```text
//! dev.json          says that this folder is ours, with nodes and ports; only then --fresh deletes
//! node-1.toml ..    configurations; node-1/ .. the nodes' folders, logs/ what they say
//! node-1.pid ..     process ids, while they run
//! log.key           the log's secret keys, as installed in every node's folder
//! tokens            hashes; operator.token, service-a.token the tokens themselves
//! policy            the public keys: what clients and auditors need
//! client.toml       for the commands of `candor`
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use candor_client::Config;
use candor_ledger::policy::Policy;
use candor_ledger::signature::SigningKeys;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::keys::{self, fill_random};
use crate::session;

const MARKER: &str = "dev.json";
const FORMAT: &str = "candor.dev.v1";
const NODES: u16 = 3;
const BASE_PORT: u16 = 7_400;
/// Client, peer and http.
const PORTS_PER_NODE: u16 = 3;
const TENANT: &str = "acme";
const ACTOR: &str = "service-a";

/// What the command line asks of the folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) nodes: Option<u16>,
    pub(crate) base_port: Option<u16>,
}

/// A local cluster's folder.
#[derive(Debug)]
pub(crate) struct DevFolder {
    /// As given on the command line, so that printed commands look like what was typed.
    root: PathBuf,
    marker: Marker,
}

/// `dev.json`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    format: String,
    nodes: u16,
    base_port: u16,
    /// The cluster was founded, and all files are there.
    founded: bool,
}

impl DevFolder {
    /// Reopens the folder, or makes a new one.
    ///
    /// # Errors
    /// Refuses a folder that holds something else, and one made with other numbers.
    pub(crate) fn open(root: &Path, wanted: Wanted, fresh: bool) -> anyhow::Result<Self> {
        let found = read_marker(root)?;
        if found.is_none() && !is_empty(root)? {
            bail!(
                "`{}` holds something that `candor dev` did not make: give another --dir",
                root.display()
            );
        }
        match found {
            // One that was never founded holds nothing to keep.
            Some(marker) if marker.founded && !fresh => reopen(root, marker, wanted),
            Some(_) => {
                fs::remove_dir_all(root)
                    .with_context(|| format!("cannot delete `{}`", root.display()))?;
                Self::make(root, wanted)
            }
            None => Self::make(root, wanted),
        }
    }

    fn make(root: &Path, wanted: Wanted) -> anyhow::Result<Self> {
        let marker = Marker {
            format: FORMAT.to_owned(),
            nodes: wanted.nodes.unwrap_or(NODES),
            base_port: wanted.base_port.unwrap_or(BASE_PORT),
            founded: false,
        };
        let folder = Self {
            root: root.to_owned(),
            marker,
        };
        let last = PORTS_PER_NODE.checked_mul(folder.marker.nodes);
        ensure!(
            last.and_then(|last| folder.marker.base_port.checked_add(last))
                .is_some(),
            "--base-port {} leaves no room for the ports of all nodes",
            folder.marker.base_port
        );
        fs::create_dir_all(folder.path("logs"))
            .with_context(|| format!("cannot make `{}`", root.display()))?;
        folder.write_marker()?;
        let origin = format!("candor-dev.local/{}", random_name());
        let log_key = SigningKeys::generate(&origin, &mut fill_random)?;
        keys::write_secret(&folder.path("log.key"), &log_key.to_secret_text())?;
        let tokens = folder.path("tokens");
        for (file, tenant, actor, rights) in [
            ("operator.token", "ops", "operator", "operate,audit-all"),
            ("service-a.token", TENANT, ACTOR, "read,write,audit"),
        ] {
            let token = keys::add_token(&tokens, tenant, actor, rights)?;
            keys::write_secret(&folder.path(file), &token)?;
        }
        for node in folder.nodes() {
            keys::install(&folder.path("log.key"), &folder.node_folder(node))?;
            folder.write(&format!("node-{node}.toml"), &folder.node_config(node))?;
        }
        Ok(folder)
    }

    /// Keeps the trust policy of the founded cluster, after comparing it with the keys that lie
    /// here; from then on the folder is reopened as it is.
    pub(crate) fn finish(&self, policy: &str) -> anyhow::Result<()> {
        let log_key = SigningKeys::parse_secret_text(&session::text_of(&self.path("log.key"))?)?;
        let stated = Policy::parse(policy)?;
        ensure!(
            stated
                .keysets()
                .iter()
                .any(|set| set.id() == log_key.key_set().id()),
            "the nodes state another key set than the one installed"
        );
        self.write("policy", policy)?;
        self.write("client.toml", &self.client_config())?;
        let marker = Marker {
            founded: true,
            ..self.marker.clone()
        };
        Self {
            root: self.root.clone(),
            marker,
        }
        .write_marker()
    }

    /// Whether the cluster was founded before.
    pub(crate) fn is_founded(&self) -> bool {
        self.marker.founded
    }

    /// The nodes' numbers.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = u16> + use<> {
        1..=self.marker.nodes
    }

    /// A file or folder in it.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// Whether the commands of `candor` find it without being told.
    pub(crate) fn is_default(&self) -> bool {
        let found = Path::new(candor_client::DEV_CONFIG).canonicalize();
        let ours = self.path("client.toml").canonicalize();
        matches!((found, ours), (Ok(found), Ok(ours)) if found == ours)
    }

    /// A node's own folder.
    pub(crate) fn node_folder(&self, node: u16) -> PathBuf {
        self.path(format!("node-{node}"))
    }

    /// Where a node's process id stands while it runs.
    pub(crate) fn pid_file(&self, node: u16) -> PathBuf {
        self.path(format!("node-{node}.pid"))
    }

    /// The cluster as its operator reaches it.
    pub(crate) fn cluster(&self, timeout: Duration) -> anyhow::Result<Cluster> {
        let token = session::text_of(&self.path("operator.token"))?;
        let nodes = self.nodes().map(|node| self.client_address(node)).collect();
        Ok(Cluster {
            nodes,
            token: token.trim().to_owned(),
            timeout,
        })
    }

    /// The settings of `service-a`.
    pub(crate) fn client_settings(&self, timeout: Duration) -> anyhow::Result<Config> {
        let mut config = Config::read(&self.path("client.toml"))?;
        config.timeout = Some(timeout);
        Ok(config)
    }

    /// Where clients reach a node.
    pub(crate) fn client_address(&self, node: u16) -> String {
        self.address(node, 1)
    }

    fn address(&self, node: u16, which: u16) -> String {
        let port = self.marker.base_port + (node - 1) * PORTS_PER_NODE + which;
        format!("127.0.0.1:{port}")
    }

    fn node_config(&self, node: u16) -> String {
        format!(
            "# Written by `candor dev`; `candor config example` shows every key.\n\n\
             [node]\nid = {node}\nfolder = \"node-{node}\"\n\n\
             [listen]\nclient = \"{}\"\npeer = \"{}\"\nhttp = \"{}\"\n\n\
             [keys]\ntokens = \"tokens\"\n\n\
             [log]\nfilter = \"info,openraft=warn\"\n",
            self.address(node, 1),
            self.address(node, 2),
            self.address(node, 3),
        )
    }

    fn client_config(&self) -> String {
        let endpoints: Vec<String> = self
            .nodes()
            .map(|node| format!("\"http://{}\"", self.client_address(node)))
            .collect();
        format!(
            "# Written by `candor dev` for the commands of `candor`, and for the SDK.\n\
             endpoints = [{}]\n\
             tenant = \"{TENANT}\"\n\
             token_file = \"{ACTOR}.token\"\n\
             policy_file = \"policy\"\n\
             # The newest checkpoint verified: what the log shows later must continue it.\n\
             checkpoint_file = \"checkpoint.note\"\n\
             misbehaviour_dir = \".\"\n",
            endpoints.join(", ")
        )
    }

    fn write_marker(&self) -> anyhow::Result<()> {
        self.write(
            MARKER,
            &(serde_json::to_string_pretty(&self.marker)? + "\n"),
        )
    }

    /// Whole or not at all, so that a marker that is there can be read.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (path, draft) = (self.path(name), self.path(format!("{name}.new")));
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }
}

fn reopen(root: &Path, marker: Marker, wanted: Wanted) -> anyhow::Result<DevFolder> {
    for (flag, wanted, found) in [
        ("--nodes", wanted.nodes, marker.nodes),
        ("--base-port", wanted.base_port, marker.base_port),
    ] {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            bail!(
                "`{}` was made with {flag} {found}, not {wanted}: give another --dir, or --fresh",
                root.display()
            );
        }
    }
    Ok(DevFolder {
        root: root.to_owned(),
        marker,
    })
}

fn read_marker(root: &Path) -> anyhow::Result<Option<Marker>> {
    let path = root.join(MARKER);
    if !path.is_file() {
        return Ok(None);
    }
    let marker: Marker = serde_json::from_str(&session::text_of(&path)?)
        .with_context(|| format!("`{}` is damaged", path.display()))?;
    ensure!(
        marker.format == FORMAT,
        "`{}` has the format `{}`, this program writes `{FORMAT}`",
        path.display(),
        marker.format
    );
    Ok(Some(marker))
}

fn is_empty(root: &Path) -> anyhow::Result<bool> {
    match fs::read_dir(root) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", root.display())),
    }
}

/// Two local clusters must not share an origin: a client that knew one would call the other a liar.
pub(crate) fn random_name() -> String {
    let mut bytes = [0; 4];
    fill_random(&mut bytes);
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    const ANY: Wanted = Wanted {
        nodes: None,
        base_port: None,
    };

    fn refused(root: &Path, wanted: Wanted, fresh: bool) -> String {
        DevFolder::open(root, wanted, fresh)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn only_a_folder_of_ours_is_reopened_or_deleted() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("dev");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("thesis.txt"), "years of work").unwrap();
        for fresh in [false, true] {
            assert!(refused(&root, ANY, fresh).contains("did not make"));
        }
        assert!(root.join("thesis.txt").is_file());
        fs::remove_file(root.join("thesis.txt")).unwrap();

        let folder = DevFolder::open(&root, ANY, false).unwrap();
        let first = fs::read(root.join("log.key")).unwrap();
        assert!(!folder.is_founded());
        DevFolder::open(&root, ANY, false).unwrap();
        assert_ne!(
            fs::read(root.join("log.key")).unwrap(),
            first,
            "half-made: made again"
        );

        let marker = Marker {
            founded: true,
            ..folder.marker.clone()
        };
        DevFolder {
            root: root.clone(),
            marker,
        }
        .write_marker()
        .unwrap();
        let kept = fs::read(root.join("log.key")).unwrap();
        assert!(DevFolder::open(&root, ANY, false).unwrap().is_founded());
        assert_eq!(fs::read(root.join("log.key")).unwrap(), kept);
        let five = Wanted {
            nodes: Some(5),
            ..ANY
        };
        assert!(refused(&root, five, false).contains("--nodes 3"));
        let other = Wanted {
            base_port: Some(9_000),
            ..ANY
        };
        assert!(refused(&root, other, false).contains("--base-port 7400"));
        assert!(!DevFolder::open(&root, other, true).unwrap().is_founded());
    }

    #[test]
    fn what_it_writes_is_read_by_node_and_client() {
        let outside = tempfile::tempdir().unwrap();
        let folder = DevFolder::open(&outside.path().join("dev"), ANY, false).unwrap();
        for node in folder.nodes() {
            let text = fs::read_to_string(folder.path(format!("node-{node}.toml"))).unwrap();
            let config = candor_node::config::Config::parse(&text).unwrap();
            assert_eq!(
                config.listen.client.to_string(),
                folder.client_address(node)
            );
        }
        let tokens = fs::read_to_string(folder.path("tokens")).unwrap();
        let tokens = candor_node::principal::Tokens::parse(&tokens).unwrap();
        let token = fs::read_to_string(folder.path("service-a.token")).unwrap();
        assert_eq!(tokens.principal(&token).unwrap().actor, ACTOR);
        fs::write(folder.path("policy"), "candor-policy v1\n").unwrap();
        fs::write(folder.path("client.toml"), folder.client_config()).unwrap();
        let settings = folder.client_settings(Duration::from_secs(1)).unwrap();
        assert_eq!(
            (settings.endpoints.len(), settings.tenant.as_str()),
            (3, TENANT)
        );
    }
}
