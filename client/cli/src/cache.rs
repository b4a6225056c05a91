//! `set`, `get` and what ends a result's life.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use candor_client::{
    Attested, ChangeOptions, Client, GetOptions, Lookup, Missed, Moment, Recorded, Revoked,
    SetOptions, Verified, WaitFor,
};
use candor_ledger::digest::TaggedDigest;
use candor_ledger::entry::{Body, MissReason, Model, Op, Subject, Told};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::shown::shown;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::failure::Usage;
use crate::fields::FieldArgs;
use crate::output::{Output, write_data};
use crate::session::{self, Connection};
use crate::{past, span};

/// Exit status of a `get` that found nothing to serve.
pub(crate) const MISSED: u8 = 3;

/// Until when a reply waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// On the disks of a quorum of nodes.
    Committed,
    /// Under a checkpoint with all signatures; the receipt is verified.
    Sealed,
}

/// Record an output under the conditions it was computed in, and wait until it is sealed.
///
/// The output is read from FILE, or from standard input. Other bytes under conditions that hold a
/// result already are refused, and the conflict is recorded: the model was not deterministic.
#[derive(Args)]
pub(crate) struct SetArgs {
    /// File with the output, `-` for standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    value: PathBuf,
    /// How long the result may be served.
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span::parse_positive)]
    ttl: Duration,
    /// Media type. Default: `text/plain; charset=utf-8` for UTF-8, `application/octet-stream` else.
    #[arg(long, value_name = "TYPE")]
    media_type: Option<String>,
    #[command(flatten)]
    fields: FieldArgs,
    #[command(flatten)]
    told: ToldArgs,
    /// Until when to wait.
    #[arg(long, value_enum, default_value_t = Wait::Sealed)]
    wait: Wait,
    #[command(flatten)]
    connection: Connection,
}

/// What you say about how the output came about. Recorded as your word, checked by nobody.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Told")]
struct ToldArgs {
    /// Digest of the model's weights.
    #[arg(long, value_name = "DIGEST")]
    model_checksum: Option<String>,
    /// The version that the provider's answer named; another than --model-version is refused.
    #[arg(long, value_name = "VERSION")]
    observed_model_version: Option<String>,
    /// Tokens of the prompt.
    #[arg(long, value_name = "N")]
    input_tokens: Option<u64>,
    /// Tokens of the output.
    #[arg(long, value_name = "N")]
    output_tokens: Option<u64>,
    /// How long the inference took, in milliseconds.
    #[arg(long, value_name = "MS")]
    latency_ms: Option<u64>,
    /// Your trace id.
    #[arg(long, value_name = "ID")]
    trace_id: Option<String>,
    /// Your id of the decision that the output serves.
    #[arg(long, value_name = "ID")]
    decision: Option<String>,
    /// Pseudonym of the person concerned: a digest, never a name.
    #[arg(long, value_name = "DIGEST")]
    person: Option<String>,
}

/// Look a result up, verify it, and write its bytes to standard output.
///
/// Give the conditions, or a fingerprint. Every look-up leaves an entry. With no result to serve
/// the exit status is 3, and the reason is on standard error. A value that fails any check is not
/// written.
#[derive(Args)]
pub(crate) struct GetArgs {
    /// The fingerprint, in any spelling, or 8 or more of its first digits.
    #[arg(value_name = "FINGERPRINT")]
    fingerprint: Option<String>,
    /// Write the value to this file instead.
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
    /// The checkpoint that proves the result may be this old. Default: 10 s.
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    max_age: Option<Duration>,
    #[command(flatten)]
    fields: FieldArgs,
    /// What a get was, or would have been, answered at that time (UTC, such as 2026-05-14T10:00:00Z or
    /// 2026-05-14), or directly after the entry with that number. For auditors: needs the right
    /// `audit`, and leaves an entry that names the moment. The value written is the one that was
    /// active THEN; it may have been revoked since.
    #[arg(
        long,
        value_name = "TIME|SEQ",
        value_parser = past::parse_moment,
        conflicts_with_all = ["max_age", "wait"]
    )]
    as_of: Option<Moment>,
    /// Until when to wait: `sealed` has a majority of nodes vouch that the result was active when
    /// it was read.
    #[arg(long, value_enum, default_value_t = Wait::Committed)]
    wait: Wait,
    #[command(flatten)]
    connection: Connection,
}

/// Why a result's life ends or goes on, for those who read the ledger.
#[derive(Args, Clone, Debug)]
struct ReasonArgs {
    /// Why, in your words. It is never edited or erased: no personal data.
    #[arg(long = "reason", value_name = "TEXT")]
    text: String,
    /// Until when to wait.
    #[arg(long, value_enum, default_value_t = Wait::Sealed)]
    wait: Wait,
    #[command(flatten)]
    connection: Connection,
}

/// End a result in favour of another one, which look-ups then name.
#[derive(Args)]
pub(crate) struct SupersedeArgs {
    /// The result that ends.
    fingerprint: String,
    /// The result that takes its place; it exists already.
    successor: String,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// Withdraw a result: its bytes are refused under this fingerprint until they are reinstated.
#[derive(Args)]
pub(crate) struct RevokeArgs {
    /// Whose result.
    fingerprint: String,
    /// Digest of the bytes to withdraw. Default: those that were set last.
    #[arg(long, value_name = "DIGEST")]
    output_hash: Option<String>,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// Take a revocation back. The deadline of the result is not renewed.
#[derive(Args)]
pub(crate) struct ReinstateArgs {
    /// Whose result.
    fingerprint: String,
    /// Digest of the bytes to accept again. Default: those that were revoked last.
    #[arg(long, value_name = "DIGEST")]
    output_hash: Option<String>,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// End all results of one model version, at once for every look-up.
#[derive(Args)]
pub(crate) struct SupersedeModelArgs {
    /// The version that ends, `NAME/VERSION`; `/` and `%` in a name are written `%2F` and `%25`.
    #[arg(value_parser = parse_model)]
    from: Model,
    /// The version that takes its place.
    #[arg(value_parser = parse_model)]
    to: Model,
    #[command(flatten)]
    reason: ReasonArgs,
}

/// `candor set`
pub(crate) fn set(args: &SetArgs, output: Output) -> anyhow::Result<ExitCode> {
    let conditions = args.fields.conditions()?;
    let told = args.told.told()?;
    let value = read_value(&args.value)?;
    let options = SetOptions {
        media_type: args.media_type.clone(),
        told,
        wait_for: Some(args.wait.into()),
        timeout: None,
    };
    session::block_on(async {
        let client = args.connection.client()?;
        let attested = client.set(&conditions, value, args.ttl, options).await?;
        output.print(attested_json(&attested), || attested_text(&attested))
    })
}

/// `candor get`
pub(crate) fn get(args: &GetArgs, output: Output) -> anyhow::Result<ExitCode> {
    let options = GetOptions {
        wait_for: Some(args.wait.into()),
        max_age: args.max_age,
        timeout: None,
    };
    if args.fingerprint.is_some() && args.fields.any() {
        let problem = "give a fingerprint or the conditions it is taken of, not both";
        return Err(Usage(problem.to_owned()).into());
    }
    let conditions = match args.fingerprint {
        Some(_) => None,
        None => Some(args.fields.conditions()?),
    };
    if let Some(moment) = args.as_of {
        let answer = session::block_on(async {
            let client = args.connection.client()?;
            let fingerprint = if let Some(conditions) = &conditions {
                client.fingerprint(conditions)?
            } else {
                let named = args.fingerprint.as_deref().unwrap_or_default();
                session::fingerprint(&client, named).await?
            };
            Ok(client.get_as_of(fingerprint, moment).await?)
        })?;
        return past::answer(&answer, args.out.as_deref(), output);
    }
    let found = session::block_on(async {
        let client = args.connection.client()?;
        Ok(match (&conditions, &args.fingerprint) {
            (Some(conditions), _) => client.get(conditions, options).await?,
            (None, named) => {
                let named = named.as_deref().unwrap_or_default();
                let fingerprint = session::fingerprint(&client, named).await?;
                client.look_up(fingerprint, None, options).await?
            }
        })
    })?;
    match found {
        Lookup::Hit(verified) => hit(&verified, args.out.as_deref(), output),
        Lookup::Miss(missed) => miss(&missed, output),
    }
}

/// `candor supersede`
pub(crate) fn supersede(args: &SupersedeArgs, output: Output) -> anyhow::Result<ExitCode> {
    args.reason.change(async |client, reason, options| {
        let from = session::fingerprint(&client, &args.fingerprint).await?;
        let to = session::fingerprint(&client, &args.successor).await?;
        let recorded = client.supersede(from, to, reason, options).await?;
        let fields = json!({
            "fingerprint": from.to_string(),
            "successor": to.to_string(),
            "entry": recorded_json(&recorded),
        });
        output.print(fields, || {
            format!(
                "superseded {from}\nby         {to}\n{}",
                recorded_text(&recorded)
            )
        })
    })
}

/// `candor revoke`
pub(crate) fn revoke(args: &RevokeArgs, output: Output) -> anyhow::Result<ExitCode> {
    let output_hash = parse_output_hash(args.output_hash.as_deref())?;
    args.reason.change(async |client, reason, options| {
        let fingerprint = session::fingerprint(&client, &args.fingerprint).await?;
        let output_hash = match output_hash {
            Some(hash) => hash,
            None => newest_output(&client, fingerprint, Op::CacheWrite).await?,
        };
        let revoked = client
            .revoke(fingerprint, output_hash, reason, options)
            .await?;
        print_revocation("revoked", &fingerprint.to_string(), &revoked, output)
    })
}

/// `candor reinstate`
pub(crate) fn reinstate(args: &ReinstateArgs, output: Output) -> anyhow::Result<ExitCode> {
    let output_hash = parse_output_hash(args.output_hash.as_deref())?;
    args.reason.change(async |client, reason, options| {
        let fingerprint = session::fingerprint(&client, &args.fingerprint).await?;
        let output_hash = match output_hash {
            Some(hash) => hash,
            None => newest_output(&client, fingerprint, Op::CacheRevoke).await?,
        };
        let revoked = client
            .reinstate(fingerprint, output_hash, reason, options)
            .await?;
        print_revocation("reinstated", &fingerprint.to_string(), &revoked, output)
    })
}

/// `candor supersede-model`
pub(crate) fn supersede_model(
    args: &SupersedeModelArgs,
    output: Output,
) -> anyhow::Result<ExitCode> {
    args.reason.change(async |client, reason, options| {
        let recorded = client
            .supersede_model(&args.from, &args.to, reason, options)
            .await?;
        let fields = json!({
            "from": args.from.to_string(),
            "to": args.to.to_string(),
            "entry": recorded_json(&recorded),
        });
        output.print(fields, || {
            format!(
                "superseded model {}\nby               {}\n{}",
                args.from,
                args.to,
                recorded_text(&recorded)
            )
        })
    })
}

impl From<Wait> for WaitFor {
    fn from(wait: Wait) -> Self {
        match wait {
            Wait::Committed => Self::Committed,
            Wait::Sealed => Self::Sealed,
        }
    }
}

impl ReasonArgs {
    fn change(
        &self,
        work: impl AsyncFnOnce(Client, &str, ChangeOptions) -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        if self.text.trim().is_empty() {
            return Err(
                Usage("`--reason` is empty: say why, for those who will ask".to_owned()).into(),
            );
        }
        let options = ChangeOptions {
            wait_for: Some(self.wait.into()),
            timeout: None,
        };
        session::block_on(async { work(self.connection.client()?, &self.text, options).await })
    }
}

impl ToldArgs {
    fn told(&self) -> Result<Told, Usage> {
        Ok(Told {
            decision: self.decision.clone(),
            input_tokens: self.input_tokens,
            latency_ms: self.latency_ms,
            model_checksum: parse_digest("--model-checksum", self.model_checksum.as_deref())?,
            observed_model_version: self.observed_model_version.clone(),
            output_tokens: self.output_tokens,
            person: parse_digest("--person", self.person.as_deref())?,
            trace_id: self.trace_id.clone(),
        })
    }
}

/// What became of a request's entry, for programs.
pub(crate) fn recorded_json(recorded: &Recorded) -> Value {
    let checkpoint = recorded.sealed.as_ref().map(|sealed| {
        json!({
            "size": sealed.checkpoint.size().0,
            "sealed": sealed.checkpoint.sealed().to_string(),
            "vouched": sealed.checkpoint.vouched().iter().map(|node| node.0).collect::<Vec<_>>(),
        })
    });
    json!({
        "seq": recorded.seq().0,
        "op": recorded.entry.op().as_str(),
        "time": recorded.entry.time.to_string(),
        "request_id": recorded.entry.request_id.map(|id| id.to_string()),
        "state": if checkpoint.is_some() { "sealed" } else { "committed" },
        "replayed": recorded.replayed,
        "checkpoint": checkpoint,
    })
}

/// What became of a request's entry, for people.
pub(crate) fn recorded_text(recorded: &Recorded) -> String {
    let seq = recorded.seq();
    match &recorded.sealed {
        None => format!(
            "entry      {seq}, committed; not sealed yet: `candor receipt {seq}` brings the proof"
        ),
        Some(sealed) => {
            let nodes = sealed.checkpoint.vouched().iter().map(ToString::to_string);
            format!(
                "entry      {seq}, sealed under the checkpoint of size {}; receipt verified, vouched \
                 by node {}",
                sealed.checkpoint.size(),
                nodes.collect::<Vec<_>>().join(", ")
            )
        }
    }
}

fn attested_json(attested: &Attested) -> Value {
    json!({
        "fingerprint": attested.fingerprint.to_string(),
        "version": attested.version,
        "renewed": attested.renewed,
        "expires": attested.expires.to_string(),
        "entry": recorded_json(&attested.recorded),
    })
}

fn attested_text(attested: &Attested) -> String {
    let renewed = if attested.renewed {
        ", held already: its deadline is new"
    } else {
        ""
    };
    format!(
        "{}\nversion    {}{renewed}\nexpires    {}\n{}",
        attested.fingerprint,
        attested.version,
        attested.expires,
        recorded_text(&attested.recorded)
    )
}

fn print_revocation(
    what: &str,
    fingerprint: &str,
    revoked: &Revoked,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let hash = TaggedDigest::sha3(revoked.output_hash).to_string();
    let fields = json!({
        "fingerprint": fingerprint,
        "version": revoked.version,
        "output_hash": hash,
        "entry": recorded_json(&revoked.recorded),
    });
    output.print(fields, || {
        format!(
            "{what} version {} of {fingerprint}\noutput     {hash}\n{}",
            revoked.version,
            recorded_text(&revoked.recorded)
        )
    })
}

fn hit(verified: &Verified, out: Option<&Path>, output: Output) -> anyhow::Result<ExitCode> {
    if let Some(path) = out {
        std::fs::write(path, verified.value())
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if output == Output::Json {
        return output.print(hit_json(verified, out), String::new);
    }
    if out.is_none() {
        let line_feed = std::io::stdout().is_terminal();
        write_data(verified.value(), line_feed)?;
    }
    let about = verified.about();
    eprintln!(
        "hit: version {} by {}, written {} (entry {}), expires {}; verified under the checkpoint of \
         size {} sealed {}; this read is entry {}",
        about.version,
        shown(&about.writer),
        about.written,
        about.write_seq,
        about.expires,
        about.as_of.size,
        about.as_of.sealed,
        about.read_seq,
    );
    Ok(ExitCode::SUCCESS)
}

fn hit_json(verified: &Verified, out: Option<&Path>) -> Value {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let about = verified.about();
    let value = out
        .is_none()
        .then(|| BASE64_STANDARD.encode(verified.value()));
    json!({
        "outcome": "hit",
        "fingerprint": about.fingerprint.to_string(),
        "version": about.version,
        "media_type": about.media_type,
        "value_base64": value,
        "value_file": out.map(|path| path.display().to_string()),
        "value_len": verified.value().len(),
        "write_seq": about.write_seq.0,
        "writer": about.writer,
        "written": about.written.to_string(),
        "expires": about.expires.to_string(),
        "read_seq": about.read_seq.0,
        "read_sealed": about.read_sealed,
        "checkpoint": {
            "size": about.as_of.size.0,
            "sealed": about.as_of.sealed.to_string(),
        },
        "told": {
            "input_tokens": about.input_tokens,
            "output_tokens": about.output_tokens,
            "latency_ms": about.latency_ms,
        },
    })
}

fn miss(missed: &Missed, output: Output) -> anyhow::Result<ExitCode> {
    let (reason, successor) = miss_words(&missed.reason);
    if output == Output::Json {
        let fields = json!({
            "outcome": "miss",
            "reason": reason,
            "successor": successor,
            "read_seq": missed.seq.0,
        });
        output.print(fields, String::new)?;
    } else {
        let by = successor
            .map(|successor| format!(" by {successor}"))
            .unwrap_or_default();
        eprintln!("miss: {reason}{by}; this read is entry {}", missed.seq);
    }
    Ok(ExitCode::from(MISSED))
}

/// The reason of a miss as in the ledger, and what took the result's place.
pub(crate) fn miss_words(reason: &MissReason) -> (&'static str, Option<String>) {
    match reason {
        MissReason::Absent => ("absent", None),
        MissReason::Erased => ("erased", None),
        MissReason::Expired => ("expired", None),
        MissReason::Revoked => ("revoked", None),
        MissReason::Superseded(successor) => ("superseded", Some(successor.to_string())),
    }
}

fn read_value(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()));
    }
    let mut bytes = Vec::new();
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("reading the output from standard input; Ctrl-D ends it");
    }
    stdin
        .read_to_end(&mut bytes)
        .context("cannot read standard input")?;
    Ok(bytes)
}

fn parse_digest(flag: &str, text: Option<&str>) -> Result<Option<TaggedDigest>, Usage> {
    text.map(TaggedDigest::parse)
        .transpose()
        .map_err(|problem| Usage(format!("`{flag}`: {problem}")))
}

fn parse_output_hash(text: Option<&str>) -> anyhow::Result<Option<[u8; 32]>> {
    let Some(digest) = parse_digest("--output-hash", text)? else {
        return Ok(None);
    };
    ensure!(
        digest.to_string().starts_with("sha3-256:"),
        Usage("`--output-hash` is a SHA3-256 digest".to_owned())
    );
    Ok(Some(digest.bytes))
}

/// The output that was set last, or revoked last, by the verified lifecycle.
async fn newest_output(
    client: &Client,
    fingerprint: Fingerprint,
    op: Op,
) -> anyhow::Result<[u8; 32]> {
    let trail = client.auditlog(&fingerprint.to_string()).await?;
    let mut newest_first = trail
        .entries
        .iter()
        .rev()
        .filter(|event| event.entry.op() == op);
    let output = newest_first.find_map(|event| match &event.entry.body {
        Body::Write(write) => Some(write.output_hash),
        Body::Revoke(revoked) => Some(revoked.output_hash),
        _ => None,
    });
    output.with_context(|| format!("{fingerprint} has no `{op}` entry: name the --output-hash"))
}

fn parse_model(text: &str) -> Result<Model, String> {
    match Subject::parse(&format!("model:{text}")) {
        Ok(Subject::Model(model)) => Ok(model),
        _ => Err("want NAME/VERSION, with `/` and `%` inside a part as `%2F` and `%25`".to_owned()),
    }
}
