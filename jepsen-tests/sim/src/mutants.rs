//! The gallery of planted bugs: each is found, by which check, after how many seeds.
//!
//! What finds nothing may be blind. So every bug of `candor_ledger::mutants` is planted in turn, and the run
//! fails unless each is found, by some seed here or, where the simulated world has no fault that brings it out,
//! by a test that is named.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use candor_ledger::mutants::{ALL, Mutant, at_work};
use clap::ValueEnum as _;

use crate::run::Report;
use crate::swarm::Kind;
use crate::sweep::uptime;

/// In front of how often the planted bug did its work.
pub(crate) const REACHED: &str = "mutant reached: ";
/// A seed that takes longer does not end.
const TOO_LONG: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What was wrong is shown so far.
const SHOWN_CHARS: usize = 110;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// These alone.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The first seed of each; chosen at random, and printed, when not said.
    #[arg(long)]
    from: Option<u64>,
    /// How many seeds may miss it.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Simulated seconds during which faults come, in each seed.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Processes at once.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Runs the tests too that find what no seed does. They are built once more, with planted bugs.
    #[arg(long)]
    tests: bool,
    /// Names them, with what each does, and runs nothing.
    #[arg(long)]
    list: bool,
    /// Runs nothing, and looks whether this program holds none of them, as this very one holds each.
    #[arg(long)]
    absent_from: Option<PathBuf>,
}

/// What finds a bug.
#[derive(Clone, Copy)]
enum By {
    /// A seed of the simulation, in which these faults exist and no others; where none is named, those of the seed.
    Seed(&'static [Kind]),
    /// A test, by what follows `cargo test` in a build with `RUSTFLAGS="--cfg candor_mutants"`.
    Test(&'static str),
}

/// For each bug what finds it.
const BY: &[(&str, By)] = &[
    ("ack-before-quorum", By::Seed(&[Kind::Cut])),
    ("ack-before-sync", By::Seed(&[Kind::PowerAll])),
    (
        "answer-unbound",
        By::Test("-p candor-client --test client lies"),
    ),
    ("applied-ahead", By::Seed(&[Kind::Kill])),
    ("applied-behind", By::Seed(&[Kind::Kill])),
    (
        "checksum-unchecked",
        By::Test("-p candor-node --lib wal::tests::enumeration"),
    ),
    (
        "clock-unchecked",
        By::Test("-p candor-node --lib clock::tests"),
    ),
    (
        "corruption-cut",
        By::Test("-p candor-node --lib wal::tests::damage"),
    ),
    ("expired-served", By::Seed(&[])),
    (
        "failed-sync-retried",
        By::Seed(&[Kind::PowerAll, Kind::Sync]),
    ),
    (
        "floor-forgotten",
        By::Test("-p candor-ledger --test fold beyond_the_window"),
    ),
    ("hash-order", By::Seed(&[])),
    ("hit-unrecorded", By::Seed(&[])),
    ("last-segment-kept", By::Seed(&[Kind::PowerAll, Kind::Sync])),
    ("majority-unneeded", By::Seed(&[])),
    ("marker-before-files", By::Seed(&[Kind::PowerAll])),
    (
        "page-unproved",
        By::Test("-p candor-node --lib a_source_that_sends_what_was_not_sealed"),
    ),
    ("purge-early", By::Test("-p candor-node --lib purging")),
    ("refused-though-unknown", By::Seed(&[Kind::Hold])),
    ("requests-unfolded", By::Seed(&[Kind::Kill])),
    ("retry-renamed", By::Seed(&[Kind::Kill])),
    ("revoked-served", By::Seed(&[])),
    (
        "rules-unchecked",
        By::Test("-p candor-ledger --test fold adversary"),
    ),
    (
        "segment-unlisted",
        By::Test("-p candor-node --lib wal::tests::enumeration"),
    ),
    (
        "signature-unchecked",
        By::Test("-p candor-ledger --features sign --lib a_flipped_bit_in_any_signature_line"),
    ),
    ("snapshot-ahead", By::Seed(&[Kind::Kill])),
    (
        "state-ahead",
        By::Test("-p candor-node --lib nothing_that_a_store_hands_over"),
    ),
    ("superseded-served", By::Seed(&[])),
    ("time-goes-back", By::Seed(&[Kind::Clock, Kind::PowerAll])),
    ("tip-signed", By::Seed(&[])),
    (
        "torn-refused",
        By::Test("-p candor-node --lib wal::tests::enumeration"),
    ),
    (
        "truncation-unwritten",
        By::Test("-p candor-node --lib wal::tests::enumeration"),
    ),
    ("twice-done", By::Seed(&[Kind::Kill])),
    ("vote-unsaved", By::Seed(&[Kind::PowerAll])),
    ("vote-unsynced", By::Seed(&[Kind::PowerAll])),
    (
        "wiped-admitted",
        By::Test("-p candor-node --lib identity::tests"),
    ),
];

/// How a bug was found.
struct Found {
    seed: u64,
    tried: u64,
    what: String,
}

/// Chooses the bug of this process; an argument's parser, so that it comes before all else.
///
/// # Errors
/// When there is none of that name.
pub(crate) fn plant(name: &str) -> Result<String, String> {
    at_work::choose(name).map(|()| name.to_owned())
}

/// Whether every bug is found.
///
/// # Errors
/// When a run cannot be made, or a bug has nothing here that should find it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    check_names(arguments)?;
    if arguments.list {
        for mutant in ALL {
            println!("{:24}{:5}{}", mutant.name, mutant.breaks, mutant.does);
        }
        return Ok(true);
    }
    if let Some(program) = &arguments.absent_from {
        return absent_from(program);
    }
    let from = arguments
        .from
        .unwrap_or_else(|| rand::random::<u64>() >> 16);
    println!("seeds from {from}");
    let chosen = |mutant: &&Mutant| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == mutant.name)
    };
    let (mut queue, mut tests) = (VecDeque::new(), Vec::new());
    for mutant in ALL.iter().filter(chosen) {
        match by(mutant)? {
            By::Seed(faults) => queue.push_back((mutant, faults)),
            By::Test(test) => tests.push((mutant, test)),
        }
    }
    let (began, queue) = (uptime()?, Mutex::new(queue));
    let missed = Mutex::new(0_u64);
    std::thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            loop {
                let next = queue.lock().map_err(|_| panicked())?.pop_front();
                let Some((mutant, faults)) = next else {
                    return Ok(());
                };
                if !hunt(mutant, faults, from, arguments)? {
                    *missed.lock().map_err(|_| panicked())? += 1;
                }
            }
        };
        let workers: Vec<_> = (0..arguments.jobs).map(|_| scope.spawn(work)).collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().map_err(|_| panicked())?);
        joined.collect::<anyhow::Result<()>>()
    })?;
    for (mutant, test) in tests {
        if !arguments.tests {
            let Mutant { name, breaks, .. } = mutant;
            println!("| {name} | {breaks} | by `cargo test {test}`: `--tests` runs it | | | |");
        } else if !by_test(mutant, test)? {
            *missed.lock().map_err(|_| panicked())? += 1;
        }
    }
    let missed = missed.into_inner().map_err(|_| panicked())?;
    println!("{missed} not caught, {:.0} s", uptime()? - began);
    Ok(missed == 0)
}

/// Whether a program holds no planted bug, by the texts that each place where one is planted leaves in it.
fn absent_from(program: &Path) -> anyhow::Result<bool> {
    let own = std::fs::read(std::env::current_exe()?)?;
    let other = std::fs::read(program).with_context(|| program.display().to_string())?;
    let mut absent = true;
    for mutant in ALL {
        let text = format!("candor-mutant:{}", mutant.name);
        let text = text.as_bytes();
        ensure!(holds(&own, text), "`{}` is planted nowhere", mutant.name);
        if holds(&other, text) {
            println!("`{}` is in {}", mutant.name, program.display());
            absent = false;
        }
    }
    if absent {
        let (count, program) = (ALL.len(), program.display());
        println!("{count} planted bugs, all of them here and none in {program}");
    }
    Ok(absent)
}

fn holds(program: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(program, text).is_some()
}

/// Every bug has one place in `BY`, and nothing else has.
fn check_names(arguments: &Arguments) -> anyhow::Result<()> {
    let listed: BTreeSet<_> = ALL.iter().map(|mutant| mutant.name).collect();
    let found: BTreeSet<_> = BY.iter().map(|(name, _)| *name).collect();
    let odd: Vec<_> = listed.symmetric_difference(&found).collect();
    ensure!(odd.is_empty(), "in one of the two lists alone: {odd:?}");
    ensure!(found.len() == BY.len(), "a name stands twice");
    for name in &arguments.only {
        ensure!(
            listed.contains(name.as_str()),
            "there is no mutant `{name}`"
        );
    }
    Ok(())
}

fn by(mutant: &Mutant) -> anyhow::Result<By> {
    let found = BY.iter().find(|(name, _)| *name == mutant.name);
    let (_, by) = found.with_context(|| format!("nothing finds `{}`", mutant.name))?;
    Ok(*by)
}

/// Runs seeds with the bug until one fails, and prints its row of the table; whether one did.
fn hunt(
    mutant: &Mutant,
    faults: &[Kind],
    from: u64,
    arguments: &Arguments,
) -> anyhow::Result<bool> {
    let (began, mut reached) = (uptime()?, 0);
    let mut found = None;
    for tried in 1..=arguments.seeds {
        let seed = from + tried - 1;
        let (what, times) = one(mutant, faults, seed, arguments.seconds)?;
        reached += times;
        if let Some(what) = what {
            found = Some(Found { seed, tried, what });
            break;
        }
    }
    let took = uptime()? - began;
    let Mutant { name, breaks, .. } = mutant;
    match &found {
        Some(Found { seed, tried, what }) => {
            println!("| {name} | {breaks} | {what} | {seed} | {tried} | {took:.0} |");
        }
        None => println!(
            "| {name} | {breaks} | NOT CAUGHT, at work {reached} times | | {} | {took:.0} |",
            arguments.seeds
        ),
    }
    Ok(found.is_some())
}

/// Runs one seed elsewhere: what was wrong, and how often the bug was at work.
fn one(
    mutant: &Mutant,
    faults: &[Kind],
    seed: u64,
    seconds: u64,
) -> anyhow::Result<(Option<String>, u64)> {
    let folder = tempfile::tempdir()?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(seed.to_string())
        .args(["--seconds", &seconds.to_string(), "--mutant", mutant.name])
        .arg("--store")
        .arg(folder.path().join("run"))
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?);
    let (with, without) = Kind::value_variants()
        .iter()
        .partition::<Vec<_>, _>(|kind| faults.contains(kind));
    if !faults.is_empty() {
        let names = |kinds: Vec<&Kind>| {
            let names: Vec<_> = kinds.into_iter().map(|kind| kind.name()).collect();
            names.join(",")
        };
        command.args(["--with", &names(with), "--without", &names(without)]);
    }
    let Some(ended) = within(&mut command, TOO_LONG)? else {
        let what = format!("does not end within {TOO_LONG:?} of the real clock");
        return Ok((Some(what), 0));
    };
    let (said, errors) = (read(&out)?, read(&err)?);
    let mut lines = said.lines();
    let reached = lines.find_map(|line| line.strip_prefix(REACHED)?.parse().ok());
    let report = said
        .lines()
        .find_map(|line| serde_json::from_str::<Report>(line).ok());
    let what = match report {
        Some(report) => caught_by(&report.wrong),
        None => Some(
            panic_of(&errors)
                .with_context(|| format!("seed {seed} of `{}`: {ended}, {errors}", mutant.name))?,
        ),
    };
    Ok((what.map(|what| shown(&what)), reached.unwrap_or_default()))
}

/// Runs the test without the bug and with it, and prints its row of the table; whether it passes and fails.
fn by_test(mutant: &Mutant, test: &str) -> anyhow::Result<bool> {
    let Mutant { name, breaks, .. } = mutant;
    let (passes, said) = cargo_test(test, None)?;
    ensure!(passes, "`cargo test {test}` fails as it is: {said}");
    let began = uptime()?;
    let (passes, said) = cargo_test(test, Some(name))?;
    let failed = said
        .lines()
        .find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    let took = uptime()? - began;
    match failed.filter(|_| !passes) {
        Some(failed) => println!("| {name} | {breaks} | test `{failed}` | | | {took:.0} |"),
        None => {
            println!("| {name} | {breaks} | NOT CAUGHT by `cargo test {test}` | | | {took:.0} |")
        }
    }
    Ok(failed.is_some() && !passes)
}

/// Whether tests pass in a build that holds the planted bugs, and what they print.
fn cargo_test(test: &str, mutant: Option<&str>) -> anyhow::Result<(bool, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root.join("target"), PathBuf::from);
    let ran = Command::new("cargo")
        .args(["test", "--target-dir"])
        .arg(target.join("mutants"))
        .args(test.split(' '))
        .current_dir(root)
        .env("RUSTFLAGS", "--cfg candor_mutants")
        .envs(mutant.map(|name| ("CANDOR_MUTANT", name)))
        .output()?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    ensure!(
        said.contains("\ntest "),
        "`cargo test {test}` ran no test: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok((ran.status.success(), said))
}

/// Runs a process to its end; one that does not come to it is killed.
fn within(command: &mut Command, most: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    let until = uptime()? + most.as_secs_f64();
    loop {
        if let Some(ended) = child.try_wait()? {
            return Ok(Some(ended));
        }
        if uptime()? > until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The names of all checkers that say no, and what the first one found; or what ended the run.
fn caught_by(wrong: &[String]) -> Option<String> {
    let first = wrong.first()?;
    let name = |text: &str| {
        let (name, rest) = text.split_once(": ")?;
        let judged = rest.starts_with("false") || rest.starts_with("unknown");
        judged.then(|| name.to_owned())
    };
    let names: Option<Vec<String>> = wrong.iter().map(|text| name(text)).collect();
    Some(match names {
        Some(names) => {
            let (_, found) = first.split_once('[').unwrap_or(("", first));
            format!("{}: {found}", names.join(", "))
        }
        None => first.clone(),
    })
}

/// The first panic that a process reported.
fn panic_of(errors: &str) -> Option<String> {
    let mut lines = errors
        .lines()
        .skip_while(|line| !line.contains("panicked at"));
    let (at, why) = (lines.next()?, lines.next().unwrap_or_default());
    let (_, place) = at.split_once("panicked at ")?;
    let place = place.rsplit('/').next().unwrap_or(place);
    Some(format!("panic: {why} ({place})"))
}

/// In one line of a table.
fn shown(what: &str) -> String {
    let line = what.replace('|', "/").replace('\n', " ");
    let mut shown: String = line.chars().take(SHOWN_CHARS).collect();
    if shown.len() < line.len() {
        shown.push_str("..");
    }
    shown
}

fn panicked() -> anyhow::Error {
    anyhow!("a worker panicked")
}
