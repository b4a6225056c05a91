//! `candor export`: a range of the ledger as a folder that anybody can check offline.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use candor_client::{Client, RangeItem, VerifiedCheckpoint};
use candor_ledger::digest::sha3_256;
use candor_ledger::export::check::{Bound, ExportCheck, ExportQuestion, ExportReport};
use candor_ledger::export::{
    CHECKPOINT_FILE, DIGESTED_FILES, ENTRIES_FILE, EXPORT_FILE, Export, GENESIS_FILE, POLICY_FILE,
    README_FILE, hidden_line,
};
use candor_ledger::ids::Seq;
use candor_ledger::shown::shown;
use clap::Args;
use serde_json::json;

use crate::failure::Usage;
use crate::output::{self, Output};
use crate::session::{self, Connection};

/// Write a range of the ledger into a folder with which anybody can check it offline:
/// `candor-audit export DIR --trust POLICY`.
///
/// In it are the entries of the range, the newest checkpoint with its three signatures, the proof that
/// ties the one to the other, the ledger's first entry, and a README for whoever gets it. With the
/// right `audit-all` all entries are shown; with `audit` your tenant's and the log's own, and of the
/// others the hash alone, so that no position is left out.
///
/// A range by time is taken one entry wider at each end, so that it shows by itself that nothing in
/// between is missing. Every page is proved when it arrives, and the whole is checked before the
/// folder gets its name; until then it is called DIR.partial.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The first entry: its number, or a time in UTC such as 2026-05-14 or 2026-05-14T10:00:00Z.
    /// Default: the ledger's first.
    #[arg(long, value_name = "SEQ|TIME", value_parser = parse_start)]
    from: Option<Bound>,
    /// The last entry, itself included: its number, or a time; a day is taken whole. Default: the
    /// newest that is sealed.
    #[arg(long, value_name = "SEQ|TIME", value_parser = parse_end)]
    to: Option<Bound>,
    /// The folder to make; it must not exist.
    #[arg(long, short = 'o', value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// `candor export`
pub(crate) fn run(args: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let mut draft = Draft::begin(&args.out)?;
    let (export, policy) = session::block_on(async {
        let client = args.connection.client()?;
        // First of all: later the log may have thinned this checkpoint out.
        let under = client.checkpoint(None).await?;
        let genesis = client.receipt_under(Seq(0), &under).await?;
        let (from, to) = bounds(&client, &under, args).await?;
        let export = fetch(&client, &under, (from, to), &draft).await?;
        let genesis = genesis.receipt().context("the genesis is not sealed")?;
        draft.write(CHECKPOINT_FILE, under.note().encode().as_bytes())?;
        draft.write(GENESIS_FILE, &genesis.encode())?;
        draft.write(POLICY_FILE, client.policy().to_text().as_bytes())?;
        draft.write(README_FILE, readme(&export, &under).as_bytes())?;
        Ok((export, client.policy().clone()))
    })?;
    let export = Export {
        files: std::mem::take(&mut draft.digests),
        ..export
    };
    let description = export.render();
    draft.write(EXPORT_FILE, description.as_bytes())?;
    let report = check(&draft.folder, export, &policy)?;
    draft.finish()?;
    let id = hex::encode(sha3_256(description.as_bytes()));
    // What the log itself did wrong is worth keeping, and no success.
    let good = report.findings.is_empty();
    output.print(report_json(&report, &args.out, &id), || {
        report_text(&report, &args.out, &id)
    })?;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The folder while it has another name; gone unless it is finished.
struct Draft {
    folder: PathBuf,
    out: PathBuf,
    digests: BTreeMap<String, [u8; 32]>,
    is_finished: bool,
}

impl Draft {
    fn begin(out: &Path) -> anyhow::Result<Self> {
        if fs::symlink_metadata(out).is_ok() {
            bail!("`{}` exists: an export overwrites nothing", out.display());
        }
        let name = out.file_name().with_context(|| {
            Usage(format!(
                "`{}` is no name of a folder (--out)",
                out.display()
            ))
        })?;
        let mut partial = name.to_owned();
        partial.push(".partial");
        let folder = out.with_file_name(partial);
        fs::create_dir(&folder).with_context(|| {
            let folder = folder.display();
            format!("cannot make `{folder}`; if an export was interrupted, remove what it left")
        })?;
        Ok(Self {
            folder,
            out: out.to_owned(),
            digests: BTreeMap::new(),
            is_finished: false,
        })
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write `{}`", path.display()))?;
        self.digests.insert(name.to_owned(), sha3_256(bytes));
        Ok(())
    }

    /// Gives the folder its name; all of it is on the disk before.
    fn finish(mut self) -> anyhow::Result<()> {
        let rename = || {
            File::open(&self.folder)?.sync_all()?;
            fs::rename(&self.folder, &self.out)?;
            let parent = self.out.parent().filter(|path| *path != Path::new(""));
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        rename().with_context(|| format!("cannot finish `{}`", self.out.display()))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_finished {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// The positions that the arguments mean.
async fn bounds(
    client: &Client,
    under: &Arc<VerifiedCheckpoint>,
    args: &Arguments,
) -> anyhow::Result<(Seq, Seq)> {
    let (size, sealed) = (under.size(), under.sealed());
    let last = size.last().context("the ledger is empty")?;
    let from = match args.from {
        None => Seq(0),
        Some(Bound::Seq(seq)) => seq,
        Some(Bound::Time(time)) => {
            let located = client.locate(under, |entry| entry >= time).await?;
            if located.from.is_none() {
                return Err(Usage(format!(
                    "--from {time} is later than the newest checkpoint, sealed {sealed}"
                ))
                .into());
            }
            located.before.unwrap_or(Seq(0))
        }
    };
    let to = match args.to {
        None => last,
        Some(Bound::Seq(seq)) => seq,
        Some(Bound::Time(time)) => {
            let located = client.locate(under, |entry| entry > time).await?;
            located.from.ok_or_else(|| {
                Usage(format!(
                    "--to {time} is not sealed yet: the newest checkpoint is of {sealed}; leave it out \
                     to get all up to there"
                ))
            })?
        }
    };
    if from > to {
        return Err(Usage(format!(
            "--from means entry {from}, after entry {to} of --to"
        ))
        .into());
    }
    if to > last {
        let problem =
            format!("entry {to} of --to is not sealed yet: the last one sealed is {last}");
        return Err(Usage(problem).into());
    }
    Ok((from, to))
}

/// Reads the range into the file of entries.
async fn fetch(
    client: &Client,
    under: &Arc<VerifiedCheckpoint>,
    (from, to): (Seq, Seq),
    draft: &Draft,
) -> anyhow::Result<Export> {
    let path = draft.folder.join(ENTRIES_FILE);
    let failed = || format!("cannot write `{}`", path.display());
    let mut file = BufWriter::new(File::create_new(&path).with_context(failed)?);
    let mut range = client.range(from, to, Arc::clone(under))?;
    let progress = output::bar(to.0 - from.0 + 1, "entries");
    let mut is_hidden = false;
    while let Some(page) = range.page().await? {
        progress.inc(u64::try_from(page.len()).unwrap_or(0));
        for item in page {
            let written = match item {
                RangeItem::Entry(line) => file.write_all(&line),
                RangeItem::Hidden(leaf) => {
                    is_hidden = true;
                    file.write_all(hidden_line(leaf).as_bytes())
                }
            };
            written
                .and_then(|()| file.write_all(b"\n"))
                .with_context(failed)?;
        }
    }
    progress.finish_and_clear();
    file.flush()
        .and_then(|()| file.get_ref().sync_all())
        .with_context(failed)?;
    let tenant = if is_hidden { client.tenant() } else { "" };
    Ok(Export {
        origin: client.origin().to_owned(),
        tenant: tenant.to_owned(),
        from,
        to,
        size: under.size(),
        frontier: range.frontier().to_vec(),
        path: range.path().to_vec(),
        files: BTreeMap::new(),
    })
}

/// Checks the folder as its receiver will.
fn check(
    folder: &Path,
    export: Export,
    policy: &candor_ledger::policy::Policy,
) -> anyhow::Result<ExportReport> {
    let mut check = ExportCheck::new(export, policy);
    for name in DIGESTED_FILES {
        check.push_file(name, &fs::read(folder.join(name))?);
    }
    let mut lines = BufReader::new(File::open(folder.join(ENTRIES_FILE))?);
    let mut line = Vec::new();
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line)?;
        if line.pop().is_none() || !check.push_line(&line) {
            break;
        }
    }
    Ok(check.finish(&ExportQuestion::default()))
}

fn report_json(report: &ExportReport, out: &Path, id: &str) -> serde_json::Value {
    let findings = report.findings.iter().map(ToString::to_string);
    json!({
        "folder": out.display().to_string(),
        "export": format!("sha3-256:{id}"),
        "origin": report.origin,
        "tenant": report.tenant,
        "from": report.from.0,
        "to": report.to.0,
        "size": report.size.0,
        "first_time": report.first.map(|time| time.to_string()),
        "last_time": report.last.map(|time| time.to_string()),
        "shown": report.shown,
        "hidden": report.hidden,
        "complete": report.tests.complete.verdict.as_str(),
        "findings": findings.collect::<Vec<_>>(),
    })
}

fn report_text(report: &ExportReport, out: &Path, id: &str) -> String {
    let mut text = output::Lines::default();
    let (from, to, folder) = (report.from, report.to, out.display());
    text.push(format_args!(
        "wrote      {folder}: entries {from} to {to} as of size {}",
        report.size
    ));
    let hidden = match report.hidden {
        0 => "none hidden".to_owned(),
        hidden => format!("{hidden} of others as hashes"),
    };
    text.push(format_args!(
        "shown      {} entries, {hidden}",
        report.shown
    ));
    text.push(format_args!(
        "export     sha3-256:{id} (of export.json; it stands for the whole)"
    ));
    text.push(format_args!(
        "check      candor-audit export {folder} --trust POLICY"
    ));
    for finding in &report.findings {
        text.push(format_args!("but        {}", shown(&finding.to_string())));
    }
    text.into_text()
}

/// For whoever gets the folder.
fn readme(export: &Export, under: &VerifiedCheckpoint) -> String {
    let (from, to, size) = (export.from, export.to, export.size);
    let (origin, sealed) = (shown(&export.origin), under.sealed());
    let whose = if export.tenant.is_empty() {
        "All entries of the range are shown.".to_owned()
    } else {
        format!(
            "Shown are the entries of tenant {} and the log's own. In the place of every other one\n\
             stands its hash, so that none is left out.",
            shown(&export.tenant)
        )
    };
    format!(
        "EXPORT FROM A CANDOR LEDGER\n\
         \n\
         Log:      {origin}\n\
         Entries:  {from} to {to}\n\
         As of:    the checkpoint of {size} entries, sealed {sealed}\n\
         \n\
         {whose}\n\
         \n\
         How to check it, on any machine, without a network:\n\
         \n\
         \x20   candor-audit export FOLDER --trust POLICY\n\
         \n\
         POLICY is a text file with the log's public keys. Get it from the operator of the log by a way\n\
         of your own, not with this folder: {POLICY_FILE} in here only tells which keys the sender\n\
         trusted, and whoever makes a false ledger can enclose the keys to it.\n\
         \n\
         If you asked for a range, name it (--from, --to): the tool then refuses a folder that does not\n\
         cover it. A range by time starts with the last entry before it and ends with the first one\n\
         after it.\n\
         \n\
         {ENTRIES_FILE}    one entry a line, in canonical JSON\n\
         {CHECKPOINT_FILE}       three signatures of the log and the cosignatures of its nodes\n\
         {EXPORT_FILE}      what the folder holds, and the proof that ties the entries to the checkpoint\n\
         {GENESIS_FILE}  the ledger's first entry: the keys and members that it began with\n\
         {POLICY_FILE}       what the sender trusted\n\
         \n\
         It shows what was recorded, in which order, and that nothing in it was changed since. It does\n\
         not show that an output was right, that a caller told the truth about its model, or the outputs\n\
         themselves.\n"
    )
}

fn parse_start(text: &str) -> Result<Bound, String> {
    Bound::parse_start(text).map_err(|_| WANT.to_owned())
}

fn parse_end(text: &str) -> Result<Bound, String> {
    Bound::parse_end(text).map_err(|_| WANT.to_owned())
}

const WANT: &str =
    "want an entry's number, or a time in UTC such as 2026-05-14 or 2026-05-14T10:00:00Z";
