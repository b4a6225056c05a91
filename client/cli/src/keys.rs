//! `candor keys`: the log's keys, a node's, and tokens. Secrets are written to files of mode 0600
//! and printed never, but for a new token, which is shown once.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use candor_client::TenantKey;
use candor_ledger::signature::{AttestKey, SigningKeys};
use clap::{Subcommand, ValueEnum};
use rand::TryRng as _;
use zeroize::Zeroizing;

use crate::failure::Usage;
use crate::output::write_data;

#[cfg(feature = "server")]
mod nodes;

#[cfg(feature = "server")]
pub(crate) use nodes::{add_token, install};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a new key file: the log's three keys, an auditor's for attestations, or a tenant's, with
    /// which nodes see pseudonyms and ciphertext only.
    Generate {
        /// What the key is for.
        #[arg(long, value_enum, default_value = "log")]
        purpose: Purpose,
        /// Name of the ledger, for example `ledger.example.com/audit`: no space, no `+`.
        #[arg(long, required_if_eq("purpose", "log"))]
        origin: Option<String>,
        /// Whose prompts and outputs it hides; goes into `client.toml` as `tenant_key_file`.
        #[arg(long, required_if_eq("purpose", "tenant"))]
        tenant: Option<String>,
        /// Where to write it; must not exist.
        #[arg(long)]
        out: PathBuf,
    },
    /// Copy the log's key file into a node's folder, mode 0600. Do this on every node.
    #[cfg(feature = "server")]
    Install {
        /// The log's key file, mode 0600.
        #[arg(long)]
        log_key: PathBuf,
        /// The node's folder; made if need be.
        #[arg(long)]
        folder: PathBuf,
    },
    /// Print the public half of a key file: verifier keys, and the key-set line of a trust policy.
    ExportPublic {
        /// The key file.
        file: PathBuf,
    },
    /// Make a bearer token: its hash goes into the token file, the token itself is printed once.
    #[cfg(feature = "server")]
    Token {
        /// The node's token file; a line is appended.
        #[arg(long)]
        file: PathBuf,
        /// Whose results and entries it works on.
        #[arg(long)]
        tenant: String,
        /// The name on every entry it causes.
        #[arg(long)]
        actor: String,
        /// Comma-separated: read, write, audit, audit-all, operate.
        #[arg(long, default_value = "read,write")]
        rights: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// An auditor's Ed25519 key for `cache.verify` entries.
    Attest,
    /// Ed25519, ML-DSA-65 and SLH-DSA-SHA2-128f, held by every node.
    Log,
    /// For the privacy option of clients: HMAC-SHA3-256 pseudonyms and AES-SIV values.
    Tenant,
}

/// Makes, installs and shows keys and tokens.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Generate {
            purpose,
            origin,
            tenant,
            out,
        } => generate(purpose, origin.as_deref(), tenant.as_deref(), &out)?,
        #[cfg(feature = "server")]
        Command::Install { log_key, folder } => {
            let origin = install(&log_key, &folder)?;
            eprintln!("installed the keys of `{origin}`");
        }
        Command::ExportPublic { file } => export_public(&file)?,
        #[cfg(feature = "server")]
        Command::Token {
            file,
            tenant,
            actor,
            rights,
        } => {
            nodes::print_token(&file, &tenant, &actor, &rights)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Fresh bytes from the operating system.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    rand::rngs::SysRng
        .try_fill_bytes(bytes)
        .expect("invariant: the operating system gives random bytes");
}

/// Writes a secret to a new file that only its owner can read.
pub(crate) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make `{}`", path.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(())
}

fn generate(
    purpose: Purpose,
    origin: Option<&str>,
    tenant: Option<&str>,
    out: &Path,
) -> anyhow::Result<()> {
    for (given, for_it, flag) in [
        (origin.is_some(), purpose == Purpose::Log, "--origin"),
        (tenant.is_some(), purpose == Purpose::Tenant, "--tenant"),
    ] {
        if given && !for_it {
            return Err(Usage(format!("`{flag}` has no place in this key")).into());
        }
    }
    let text = match purpose {
        Purpose::Attest => AttestKey::generate(&mut fill_random)?.to_secret_text(),
        Purpose::Log => {
            let origin = origin.ok_or_else(|| Usage("a log's keys need --origin".to_owned()))?;
            SigningKeys::generate(origin, &mut fill_random)?.to_secret_text()
        }
        Purpose::Tenant => {
            let tenant = tenant.ok_or_else(|| Usage("a tenant's key needs --tenant".to_owned()))?;
            TenantKey::generate(tenant, &mut fill_random)?.to_secret_text()
        }
    };
    write_secret(out, &text)?;
    eprintln!("wrote {}; keep it secret, and keep a copy", out.display());
    Ok(())
}

fn export_public(file: &Path) -> anyhow::Result<()> {
    let text = read_secret(file)?;
    if let Ok(key) = AttestKey::parse_secret_text(&text) {
        let line = format!("ed25519 {}", hex::encode(key.public_key().as_bytes()));
        return write_data(line.as_bytes(), true);
    }
    let keys =
        SigningKeys::parse_secret_text(&text).with_context(|| format!("`{}`", file.display()))?;
    let set = keys.key_set();
    let line = format!(
        "keyset {} {} {}",
        set.origin(),
        set.suite(),
        set.vkeys().join(" ")
    );
    write_data(line.as_bytes(), true)
}

/// The text of a secret file, which nobody else may be able to read.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let shown = path.display();
    let mode = fs::metadata(path)
        .with_context(|| format!("cannot read `{shown}`"))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        bail!(
            "`{shown}` has mode {:o}; a secret's must be 600",
            mode & 0o777
        );
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{shown}`"))?;
    Ok(Zeroizing::new(text))
}
