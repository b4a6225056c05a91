//! Reading the ledger, verified: lifecycles, evidence, receipts, checkpoints, attestations.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use candor_client::{
    AttestSigner, AuditTrail, ChangeOptions, Client, ComplianceReport, GetOptions, Lookup, Moment,
    VerifiedCheckpoint, WaitFor,
};
use candor_ledger::entry::{Subject, Verdict};
use candor_ledger::evidence::Evidence;
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::ids::{RequestId, Seq};
use candor_ledger::signature::AttestKey;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cache::{recorded_json, recorded_text};
use crate::failure::Usage;
use crate::output::{Lines, Output, write_data};
use crate::session::{self, Connection};
use crate::{keys, lifecycle, past};

/// Print a computation's lifecycle: every write, read, miss, revocation ... of it, verified.
///
/// One line for each event, oldest first. `verified=true` stands at a read only if the receipt of
/// the write that it disclosed was verified by this very command. The footer comes from checking the
/// sealed events as an auditor would, with the public keys of your policy alone.
#[derive(Args)]
pub(crate) struct AuditlogArgs {
    /// A fingerprint in any spelling, 8 or more of its first digits, or another subject:
    /// `model:<name>/<version>`, `decision:<id>`.
    subject: String,
    /// Whole hashes, microseconds and places in the ledger.
    #[arg(long)]
    full: bool,
    /// Tell it for a reader who knows neither ledgers nor hashes.
    #[arg(long, conflicts_with_all = ["full", "as_of"])]
    report: bool,
    /// As it stood at that time (UTC, such as 2026-05-14T10:00:00Z or 2026-05-14), or directly after
    /// the entry with that number; and what a lookup would have been answered then.
    #[arg(long, value_name = "TIME|SEQ", value_parser = past::parse_moment)]
    as_of: Option<Moment>,
    #[command(flatten)]
    connection: Connection,
}

/// Write a file with which anybody can check the lifecycle offline: `candor-audit verify FILE`.
#[derive(Args)]
pub(crate) struct EvidenceArgs {
    /// A fingerprint in any spelling, 8 or more of its first digits, or another subject.
    subject: String,
    /// Where to write it. Default: standard output.
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
    /// Put the value in as well. It is looked up for that, and the look-up leaves its entry.
    #[arg(long)]
    value: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Print the newest checkpoint, verified: the signed statement about the whole ledger.
///
/// Keep one from time to time: a log that was rewritten or cut cannot be consistent with it.
#[derive(Args)]
pub(crate) struct CheckpointArgs {
    /// A checkpoint that you kept: prove that the newest one continues it.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Where to write it. Default: standard output.
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// Print the receipt of one entry: its line, its path, and the checkpoint above it.
#[derive(Args)]
pub(crate) struct ReceiptArgs {
    /// The entry's sequence number, or the id of a request that changed something: what became of
    /// it.
    #[arg(value_name = "SEQ|REQUEST_ID", value_parser = parse_wanted)]
    entry: Wanted,
    /// Where to write it. Default: standard output.
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// Record an auditor's finding about a computation, signed with the auditor's own key.
///
/// Without --finding the lifecycle is verified first, and what came out of that is attested.
#[derive(Args)]
pub(crate) struct AttestArgs {
    /// What was examined: a fingerprint, 8 or more of its first digits, or another subject.
    subject: String,
    /// The auditor's key file: `candor keys generate --purpose attest`.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What was found.
    #[arg(long, value_enum)]
    finding: Option<Finding>,
    #[command(flatten)]
    connection: Connection,
}

/// What an auditor found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Finding {
    /// It could not be decided.
    NotProved,
    /// It holds.
    Proved,
    /// It does not hold.
    Refuted,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    Request(RequestId),
    Seq(Seq),
}

/// `candor auditlog`
pub(crate) fn auditlog(args: &AuditlogArgs, output: Output) -> anyhow::Result<ExitCode> {
    let (trail, past, policy) = session::block_on(async {
        let client = args.connection.client()?;
        let policy = client.policy().clone();
        let Some(moment) = args.as_of else {
            return Ok((client.auditlog(&args.subject).await?, None, policy));
        };
        let mut past = client.auditlog_as_of(&args.subject, moment).await?;
        Ok((past.take_trail(), Some(past), policy))
    })?;
    if let Some(past) = &past
        && trail.entries.is_empty()
    {
        output.print(past::json(past), || past::text(past))?;
        return Ok(ExitCode::SUCCESS);
    }
    refuse_empty(&trail)?;
    if args.report && output == Output::Table {
        write_data(ComplianceReport::of(trail).to_string().as_bytes(), false)?;
        return Ok(ExitCode::SUCCESS);
    }
    let checked = lifecycle::check(trail, &policy)?;
    let mut fields = checked.to_json()?;
    if let (Some(past), Some(fields)) = (&past, fields.as_object_mut()) {
        fields.insert("as_of".to_owned(), past::json(past));
    }
    output.print(fields, || {
        let told = past.as_ref().map(past::text).unwrap_or_default();
        checked.text(args.full) + &told
    })?;
    Ok(if checked.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `candor evidence`
pub(crate) fn evidence(args: &EvidenceArgs, output: Output) -> anyhow::Result<ExitCode> {
    let evidence = session::block_on(async {
        let client = args.connection.client()?;
        match client.subject(&args.subject).await? {
            Subject::Fingerprint(fingerprint) => {
                evidence_of(&client, fingerprint, args.value).await
            }
            _ if args.value => Err(Usage(format!("`{}` has no value", args.subject)).into()),
            subject => {
                let trail = client.auditlog(&subject.to_string()).await?;
                refuse_empty(&trail)?;
                Ok(trail.evidence(&[])?)
            }
        }
    })?;
    let text = evidence.render();
    let Some(path) = &args.out else {
        write_data(text.as_bytes(), false)?;
        return Ok(ExitCode::SUCCESS);
    };
    write_file(path, text.as_bytes())?;
    let (entries, size) = (evidence.entries.len(), evidence.size);
    let fields = json!({
        "file": path.display().to_string(),
        "subject": evidence.subject,
        "entries": entries,
        "size": size.0,
    });
    output.print(fields, || {
        format!(
            "wrote {}: {entries} entries as of size {size}",
            path.display()
        )
    })
}

/// Evidence about a computation, with its value when that is asked for and there is one.
pub(crate) async fn evidence_of(
    client: &Client,
    fingerprint: Fingerprint,
    with_value: bool,
) -> anyhow::Result<Evidence> {
    let mut values = Vec::new();
    if with_value {
        let options = GetOptions {
            wait_for: Some(WaitFor::Sealed),
            ..GetOptions::default()
        };
        match client.look_up(fingerprint, None, options).await? {
            Lookup::Hit(verified) => values.push(verified.into_value()),
            Lookup::Miss(missed) => {
                bail!(
                    "there is no value to serve: {}",
                    crate::cache::miss_words(&missed.reason).0
                )
            }
        }
    }
    let trail = client.auditlog(&fingerprint.to_string()).await?;
    refuse_empty(&trail)?;
    let values: Vec<&[u8]> = values.iter().map(AsRef::as_ref).collect();
    Ok(trail.evidence(&values)?)
}

/// `candor checkpoint`
pub(crate) fn checkpoint(args: &CheckpointArgs, output: Output) -> anyhow::Result<ExitCode> {
    let since = args.since.as_deref().map(session::text_of).transpose()?;
    let (newest, old) = session::block_on(async {
        let client = args.connection.client()?;
        Ok(match &since {
            None => (client.checkpoint(None).await?, None),
            Some(note) => {
                let (old, newest) = client.consistency(note).await?;
                (newest, Some(old))
            }
        })
    })?;
    let note = newest.note().encode();
    if let Some(path) = &args.out {
        write_file(path, note.as_bytes())?;
    }
    let continues = old.as_ref().map(|old| {
        let way = if old.size() <= newest.size() {
            "continues"
        } else {
            "is continued by"
        };
        format!("it {way} the one kept, of size {}", old.size())
    });
    match output {
        Output::Json => {
            let mut fields = checkpoint_json(&newest);
            if let Some(fields) = fields.as_object_mut() {
                fields.insert("note".to_owned(), note.into());
                let size = old.map(|old| old.size().0);
                fields.insert("consistent_with_size".to_owned(), json!(size));
            }
            output.print(fields, String::new)
        }
        Output::Table => {
            if args.out.is_none() {
                write_data(note.as_bytes(), false)?;
            }
            eprint!("{}", checkpoint_text(&newest));
            if let Some(continues) = continues {
                eprintln!("{continues}");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `candor receipt`
pub(crate) fn receipt(args: &ReceiptArgs, output: Output) -> anyhow::Result<ExitCode> {
    let recorded = session::block_on(async {
        let client = args.connection.client()?;
        Ok(match args.entry {
            Wanted::Request(id) => client.receipt_of(id).await?,
            Wanted::Seq(seq) => client.receipt(seq).await?,
        })
    })?;
    let receipt = recorded
        .receipt()
        .context("the entry is not sealed yet")?
        .encode();
    if let Some(path) = &args.out {
        write_file(path, &receipt)?;
    }
    match output {
        Output::Json => {
            let text = String::from_utf8_lossy(&receipt).into_owned();
            output.print(
                json!({ "entry": recorded_json(&recorded), "receipt": text }),
                String::new,
            )
        }
        Output::Table => {
            if args.out.is_none() {
                write_data(&receipt, false)?;
            }
            eprintln!("{}", recorded_text(&recorded));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `candor attest`
pub(crate) fn attest(args: &AttestArgs, output: Output) -> anyhow::Result<ExitCode> {
    let key = AttestKey::parse_secret_text(&keys::read_secret(&args.key)?)
        .with_context(|| format!("`{}`", args.key.display()))?;
    session::block_on(async {
        let client = args.connection.client()?;
        let subject = client.subject(&args.subject).await?;
        let finding = if let Some(finding) = args.finding {
            finding.into()
        } else {
            let trail = client.auditlog(&subject.to_string()).await?;
            refuse_empty(&trail)?;
            lifecycle::check(trail, client.policy())?.finding()
        };
        let options = ChangeOptions::default();
        let recorded = client.attest(&subject, finding, &Key(key), options).await?;
        let fields = json!({
            "subject": subject.to_string(),
            "finding": finding.as_str(),
            "entry": recorded_json(&recorded),
        });
        output.print(fields, || {
            format!(
                "attested   {subject}: {}\n{}",
                finding.as_str(),
                recorded_text(&recorded)
            )
        })
    })
}

/// An auditor's key as the SDK signs with it.
struct Key(AttestKey);

impl AttestSigner for Key {
    fn public_key(&self) -> [u8; 32] {
        let key = self.0.public_key().as_bytes();
        key.try_into()
            .expect("invariant: an Ed25519 key has 32 bytes")
    }

    fn sign(&self, statement: &str) -> Option<[u8; 64]> {
        self.0.sign(statement).ok()
    }
}

impl From<Finding> for Verdict {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::NotProved => Self::NotProved,
            Finding::Proved => Self::Proved,
            Finding::Refuted => Self::Refuted,
        }
    }
}

fn checkpoint_json(checkpoint: &VerifiedCheckpoint) -> serde_json::Value {
    let text = checkpoint.checkpoint();
    json!({
        "origin": text.origin,
        "size": checkpoint.size().0,
        "root": text.root.to_string(),
        "chain": text.chain.to_string(),
        "keyset": hex::encode(text.keyset),
        "sealed": checkpoint.sealed().to_string(),
        "vouched": checkpoint.vouched().iter().map(|node| node.0).collect::<Vec<_>>(),
        "witnessed": checkpoint.witnessed(),
        "unknown_lines": checkpoint.unknown(),
        "caveats": checkpoint.caveats().iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn checkpoint_text(checkpoint: &VerifiedCheckpoint) -> String {
    let nodes: Vec<String> = checkpoint
        .vouched()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut text = Lines::default();
    text.push(format_args!(
        "verified: size {}, sealed {}; all three log signatures hold; vouched by nodes {}",
        checkpoint.size(),
        checkpoint.sealed(),
        nodes.join(", ")
    ));
    for caveat in checkpoint.caveats() {
        text.push(format_args!("but: {caveat}"));
    }
    text.into_text()
}

fn refuse_empty(trail: &AuditTrail) -> anyhow::Result<()> {
    if trail.entries.is_empty() {
        bail!(
            "the ledger shows no entry of `{}` for tenant `{}`",
            trail.subject,
            trail.tenant
        );
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

fn parse_wanted(text: &str) -> Result<Wanted, String> {
    if let Ok(seq) = text.parse() {
        return Ok(Wanted::Seq(Seq(seq)));
    }
    RequestId::parse(text)
        .map(Wanted::Request)
        .map_err(|_| "want a sequence number, or a request id (UUIDv7 in lower case)".to_owned())
}
