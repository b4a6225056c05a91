//! The command line, and the help that goes with it.

use std::path::PathBuf;
use std::time::Duration;

use candor_ledger::export::check::Bound;
use candor_ledger::signature::Algorithm;
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Check a Candor ledger, or a piece of evidence from one, with public keys alone.
///
/// Nothing is asked over a network unless you name a URL, and nothing that the ledger, the evidence
/// or their makers say about themselves is believed: what counts is the trust policy you bring. It
/// names the log's three public keys, the nodes or witnesses that must have recomputed what was
/// signed, and perhaps a checkpoint you kept from before. Get it from the operator once, compare its
/// key-set id over another way (`candor-audit policy --check FILE` prints it), and keep it.
#[derive(Debug, Parser)]
#[command(name = "candor-audit", version, after_long_help = EXIT_STATUS)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// One JSON object, for programs.
    Json,
    /// Lines for people.
    Text,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Completions(CompletionsArgs),
    Export(ExportArgs),
    Ledger(LedgerArgs),
    Policy(PolicyArgs),
    Verify(VerifyArgs),
}

/// Check an evidence file: every claim in it gets a verdict of its own.
///
/// The file carries entries, their paths to a signed checkpoint, and the claims it makes. Checked
/// are: the three log signatures and the policy's quorum on each checkpoint used; that each entry
/// is in the tree under it, in canonical form, at its place; that fingerprints, hashes, ordinals
/// and links between the entries hold. Keys inside the file count for nothing.
///
/// Say what you asked for with --tenant, --subject and --origin: genuine evidence about something
/// else is then refused by name.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct VerifyArgs {
    /// The evidence file, or `-` for standard input.
    pub(crate) evidence: PathBuf,

    /// Your trust policy.
    #[arg(long, value_name = "POLICY")]
    pub(crate) trust: PathBuf,

    /// Refuse evidence about another tenant.
    #[arg(long)]
    pub(crate) tenant: Option<String>,

    /// Refuse evidence about another subject: `fingerprint:sha3-256:<hex>`, `decision:<id>`,
    /// `model:<name>/<version>` or `ledger`; a bare digest means a fingerprint.
    #[arg(long)]
    pub(crate) subject: Option<String>,

    /// Refuse evidence from another log.
    #[arg(long)]
    pub(crate) origin: Option<String>,

    #[command(flatten)]
    pub(crate) distrust: Distrust,

    /// What must be proved beyond the claims of the file.
    #[arg(long, value_enum)]
    pub(crate) require: Option<Requirement>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Requirement {
    /// That no event is missing: of the subject, the newest included; or of the range.
    Complete,
}

/// Check an export: a range of the ledger in a folder, as `candor export` writes it.
///
/// Checked are: the three log signatures and the policy's quorum on the checkpoint; that the lines of
/// the folder, in their order and without a gap, are what that checkpoint commits to from the first
/// position to the last; each entry's form, place, fingerprint and owner; and chain, time and
/// lifecycles, as far as neighbours are shown. Nothing is asked over a network.
///
/// In the place of an entry that its sender may not show stands its hash: then completeness is not
/// proved. Say what you asked for with --from, --to, --tenant and --origin: a genuine export of
/// something else is then refused by name.
///
/// Memory holds the last event of each subject in the range.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct ExportArgs {
    /// The folder.
    pub(crate) dir: PathBuf,

    /// Your trust policy; one that lies in the folder is not yours.
    #[arg(long, value_name = "POLICY")]
    pub(crate) trust: PathBuf,

    /// Refuse an export that starts later: at an entry's number, or a time in UTC such as 2026-05-14 or
    /// 2026-05-14T10:00:00Z.
    #[arg(long, value_name = "SEQ|TIME", value_parser = parse_start)]
    pub(crate) from: Option<Bound>,

    /// Refuse an export that ends before this entry or time; a day is meant whole.
    #[arg(long, value_name = "SEQ|TIME", value_parser = parse_end)]
    pub(crate) to: Option<Bound>,

    /// Refuse an export that shows another tenant's entries; `""` means that all must be shown.
    #[arg(long)]
    pub(crate) tenant: Option<String>,

    /// Refuse an export from another log.
    #[arg(long)]
    pub(crate) origin: Option<String>,

    #[command(flatten)]
    pub(crate) distrust: Distrust,

    /// What must be proved beyond what the export states.
    #[arg(long, value_enum)]
    pub(crate) require: Option<Requirement>,
}

/// Replay a whole ledger from a node's folder, or from a node.
///
/// DIR is a node's `ledger` folder or a node's folder that has one; or, in a build with the feature
/// `online`, a running node: `grpc://host:port` is its client port, `http://host:port` its HTTP port,
/// read as C2SP tlog-tiles. Every entry is read, in order, and nothing is written. Checked are: the hash chain; the Merkle tree; every kept checkpoint
/// with its signatures and the majority of members that vouched for it; each subject's lifecycle;
/// and the rules of the ledger, replayed entry by entry, so that a disclosure of a revoked result
/// is found even in a ledger that is correctly chained and signed. The stored tree and offsets are
/// recomputed and compared, or over HTTP the tiles of hashes; over gRPC neither is shown.
///
/// A ledger whose tail was cut off together with its checkpoints looks like a younger ledger.
/// Bring a checkpoint that you kept (--since), or a `pin` in the policy, and it is found out. A node
/// that shows an old state of a living log is found out by --max-age as well.
///
/// Memory holds the state that the rules need: it grows with the subjects, not with the entries.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_STATUS)]
pub(crate) struct LedgerArgs {
    /// A node's `ledger` folder, a node's folder, or the URL of a node's client or HTTP port.
    #[arg(value_name = "DIR|URL")]
    pub(crate) dir: PathBuf,

    /// Your trust policy.
    #[arg(long, value_name = "POLICY")]
    pub(crate) trust: PathBuf,

    /// A checkpoint file that you kept: the ledger must be its continuation.
    #[arg(long, value_name = "OLD_CHECKPOINT")]
    pub(crate) since: Option<PathBuf>,

    /// Refuse a ledger whose newest checkpoint is older than this by your clock, such as `10m` or
    /// `2h`. A living log makes one a minute at least.
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    pub(crate) max_age: Option<Duration>,

    /// With a URL: a file with the token of an auditor of the whole cluster, who may read entries. It
    /// goes to the node as it is; use it over networks that you trust.
    #[cfg(feature = "online")]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// With http://: rebuild the root from the tree's leaf hashes, which anybody may read, and look at no
    /// entry. Exit status 3 then means that all was well as far as it was looked at.
    #[cfg(feature = "online")]
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) hashes_only: bool,

    #[command(flatten)]
    pub(crate) distrust: Distrust,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Distrust {
    /// A signature family that you hold for broken; repeatable. It must still verify, and the
    /// verdict says that it rests on the others.
    #[arg(long = "distrust", value_name = "FAMILY", value_enum)]
    families: Vec<Family>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Family {
    #[value(name = "ed25519")]
    Ed25519,
    #[value(name = "ml-dsa-65")]
    MlDsa65,
    #[value(name = "slh-dsa-sha2-128f")]
    SlhDsaSha2128f,
}

impl Distrust {
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let algorithm = |family: &Family| match family {
            Family::Ed25519 => Algorithm::Ed25519,
            Family::MlDsa65 => Algorithm::MlDsa65,
            Family::SlhDsaSha2128f => Algorithm::SlhDsaSha2128f,
        };
        self.families.iter().map(algorithm).collect()
    }
}

/// Print what makes a shell complete commands and options.
///
/// bash: `candor-audit completions bash > ~/.local/share/bash-completion/completions/candor-audit`;
/// zsh: into a file `_candor-audit` of a folder in `$fpath`; fish: into
/// `~/.config/fish/completions/candor-audit.fish`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    pub(crate) shell: Shell,
}

/// Look at a trust policy, or export it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXIT_STATUS)]
#[group(required = true, multiple = false)]
pub(crate) struct PolicyArgs {
    /// Say what the policy trusts, and what it would let pass.
    #[arg(long, value_name = "POLICY")]
    pub(crate) check: Option<PathBuf>,

    /// Write the policy as C2SP tlog-policy, for witnesses and verifiers that know no Candor. That
    /// form is weaker: it accepts any one of the three log signatures.
    #[arg(long, value_name = "POLICY")]
    pub(crate) export_c2sp: Option<PathBuf>,
}

fn parse_start(text: &str) -> Result<Bound, String> {
    Bound::parse_start(text).map_err(|_| WANT_BOUND.to_owned())
}

fn parse_end(text: &str) -> Result<Bound, String> {
    Bound::parse_end(text).map_err(|_| WANT_BOUND.to_owned())
}

const WANT_BOUND: &str =
    "want an entry's number, or a time in UTC such as 2026-05-14 or 2026-05-14T10:00:00Z";

/// A whole number and its unit.
fn parse_span(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_s = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return Err(WANT_SPAN.to_owned()),
    };
    let seconds = number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(unit_s));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| WANT_SPAN.to_owned())
}

const WANT_SPAN: &str = "want a number with its unit `d`, `h`, `m` or `s`";

const EXIT_STATUS: &str = "\
Exit status:
  0  every stated claim is proved, under your policy
  1  tampered: something contradicts what was signed or committed; the place is named
  2  wrong usage
  3  could not check: not readable, not understood, or not enough to decide
  4  nothing contradicts, but your conditions are not met: keys, quorum, --tenant, --subject,
     --origin, --require

Verdicts are `proved`, `refuted` or `not proved`; what could not be checked is never `proved`.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
