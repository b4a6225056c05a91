//! What lies where in a cluster's folder: written once, before the first node starts.
//!
//! ```text
//! node-1.toml ..   configurations; node-1/ .. the nodes' folders, unless they lie elsewhere;
//! node-1.log ..    what the nodes say
//! tokens           hashes of the principals' tokens
//! client-0/ ..     where each client writes a proof of misbehaviour, if it ever finds one
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use candor_ledger::signature::SigningKeys;
use candor_node::config::Config;
use candor_node::keys::LOG_KEY_PATH;
use candor_node::principal::token_line;
use rand::TryRng as _;

use super::ports::Ports;
use super::setup::Principal;

/// One node's files and addresses.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) config: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) log: PathBuf,
    /// Where clients reach it.
    pub(super) client_address: String,
    /// Where it serves HTTP.
    pub(super) http_address: String,
}

/// Writes the tokens of all principals.
pub(super) fn write_tokens(root: &Path, principals: &[Principal]) -> anyhow::Result<()> {
    let lines: String = principals
        .iter()
        .map(|one| token_line(&one.token, &one.tenant, &one.actor, &one.rights))
        .collect();
    write_secret(&root.join("tokens"), &lines)
}

/// Writes what a node needs to start: configuration and the log's keys.
pub(super) fn write_node(
    root: &Path,
    folders_in: &Path,
    id: u64,
    host: &str,
    keys: &SigningKeys,
    ports: &mut Ports,
    sections: &str,
) -> anyhow::Result<Place> {
    let place = Place {
        config: root.join(format!("node-{id}.toml")),
        folder: folders_in.join(format!("node-{id}")),
        log: root.join(format!("node-{id}.log")),
        client_address: format!("{host}:{}", ports.take()?),
        http_address: format!("{host}:{}", ports.take()?),
    };
    let text = format!(
        "[node]\nid = {id}\nfolder = \"{}\"\n\n\
         [listen]\nclient = \"{}\"\npeer = \"{host}:{}\"\nhttp = \"{}\"\n\n\
         [keys]\ntokens = \"tokens\"\n\n{sections}",
        place.folder.display(),
        place.client_address,
        ports.take()?,
        place.http_address,
    );
    Config::parse(&text).with_context(|| format!("the configuration of node {id}:\n{text}"))?;
    fs::write(&place.config, text)?;
    let key = place.folder.join(LOG_KEY_PATH);
    let key_folder = key.parent().context("a key lies in a folder")?;
    fs::create_dir_all(key_folder)?;
    write_secret(&key, &keys.to_secret_text())?;
    for folder in [key_folder, &place.folder, folders_in] {
        File::open(folder)?.sync_all()?;
    }
    Ok(place)
}

/// Fresh bytes from the operating system.
pub(super) fn fill_random(bytes: &mut [u8]) {
    rand::rngs::SysRng
        .try_fill_bytes(bytes)
        .expect("the operating system gives random bytes");
}

fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make `{}`", path.display()))?;
    file.write_all(text.as_bytes())?;
    // What is installed survives a power cut, as with `candor keys install`.
    Ok(file.sync_all()?)
}
