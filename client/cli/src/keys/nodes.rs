//! What nodes need: the log's keys in their folders, and a file of tokens.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use candor_ledger::signature::SigningKeys;
use candor_node::keys::LOG_KEY_PATH;
use candor_node::principal::{Right, Tokens, new_token, token_line};

use super::{fill_random, read_secret, write_secret};
use crate::failure::Usage;
use crate::output::write_data;

/// Copies the log's key file into a node's folder; returns the log's name.
pub(crate) fn install(log_key: &Path, folder: &Path) -> anyhow::Result<String> {
    let text = read_secret(log_key)?;
    let keys = SigningKeys::parse_secret_text(&text)
        .with_context(|| format!("`{}`", log_key.display()))?;
    let target = folder.join(LOG_KEY_PATH);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o700))?;
    }
    write_secret(&target, &text)?;
    Ok(keys.key_set().origin().to_owned())
}

/// Appends a token's line to a token file and returns the token.
pub(crate) fn add_token(
    file: &Path,
    tenant: &str,
    actor: &str,
    rights: &str,
) -> anyhow::Result<String> {
    for (flag, name) in [("--tenant", tenant), ("--actor", actor)] {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = format!("`{flag}` is printable ASCII without spaces, not `{name}`");
            return Err(Usage(problem).into());
        }
    }
    let rights = rights
        .split(',')
        .map(|word| Right::parse(word).ok_or_else(|| Usage(format!("`{word}` is no right"))))
        .collect::<Result<Vec<_>, _>>()?;
    let mut random = [0; 32];
    fill_random(&mut random);
    let token = new_token(random);
    let line = token_line(&token, tenant, actor, &rights);
    Tokens::parse(&line)?;
    let append = || {
        let mut opened = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(file)?;
        opened.write_all(line.as_bytes())?;
        opened.sync_all()
    };
    append().with_context(|| format!("cannot write `{}`", file.display()))?;
    Ok(token)
}

/// Makes a token and prints it, once.
pub(super) fn print_token(
    file: &Path,
    tenant: &str,
    actor: &str,
    rights: &str,
) -> anyhow::Result<()> {
    let token = add_token(file, tenant, actor, rights)?;
    write_data(token.as_bytes(), true)?;
    eprintln!("this token is not stored anywhere; nodes read the file when they start");
    Ok(())
}
