//! The state at any size: the real road from decide to disk without consensus, in a process of its
//! own, killed with SIGKILL and opened again.
//!
//! Each operation is a get on a fingerprint never seen, which makes an entry and a subject. What a
//! node does beside it (Raft, seals, signatures, gRPC) takes no memory that grows with subjects.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use candor_client::Fields as _;
use candor_jepsen::workload::fields;
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::{ClusterId, Genesis, LogKeys, Member};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::fold::{Get, Item, Operation, Params, RULES_V1, Request, Stamp, decide};
use candor_ledger::ids::{NodeId, RequestId, TreeSize};
use candor_ledger::time::Micros;
use candor_node::config::{StateEngine, StateSection};
use candor_node::env::real::RealDisk;
use candor_node::fold::Fold;
use candor_node::state::{self, Cut};
use candor_node::store::{Ledger, MarkerDraft, MarkerWriter, Opened};
use clap::{Args, ValueEnum};

/// Operations in one command.
const COMMAND: u64 = 256;
/// Commands between two markers.
const MARKER_EVERY: u64 = 64;
/// Lookups behind each line of latencies.
const LOOKUPS: u64 = 20_000;
/// 2026-05-14T10:00:00Z
const START: Micros = Micros(1_778_752_800_000_000);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Subjects to grow to.
    #[arg(long, default_value_t = 10_000_000)]
    subjects: u64,
    /// What holds the state on disk.
    #[arg(long, value_enum, default_value = "fjall")]
    engine: EngineName,
    /// Memory for the state, in MiB.
    #[arg(long, default_value_t = 512)]
    memory_mib: usize,
    /// A folder to work in, empty or left by an earlier run; a temporary one otherwise.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Only one part, in this process; the whole runs itself for each.
    #[arg(long, value_enum, hide = true)]
    part: Option<Part>,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineName {
    Fjall,
    Sled,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    Grow,
    Open,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = arguments.folder.as_deref();
    match (arguments.part, folder) {
        (Some(Part::Grow), Some(folder)) => grow(arguments, folder),
        (Some(Part::Open), Some(folder)) => open(arguments, folder),
        (Some(_), None) => anyhow::bail!("a part needs a folder"),
        (None, Some(folder)) => whole(arguments, folder),
        (None, None) => {
            let folder = tempfile::tempdir()?;
            whole(arguments, folder.path())
        }
    }
}

/// Grows in one process, kills it, and opens in another.
fn whole(arguments: &Arguments, folder: &Path) -> anyhow::Result<()> {
    let mut growing = part(arguments, folder, "grow")?
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(growing.stdout.take().context("its output")?).lines();
    for line in lines {
        let line = line?;
        println!("{line}");
        if line == GROWN {
            break;
        }
    }
    growing.kill()?;
    growing.wait()?;
    println!("killed with SIGKILL; opened again:");
    let opened = part(arguments, folder, "open")?.status()?;
    anyhow::ensure!(opened.success(), "it did not open again");
    Ok(())
}

/// The last line of a process that has grown, which then waits to be killed.
const GROWN: &str = "grown";

fn part(arguments: &Arguments, folder: &Path, name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let engine = arguments.engine.to_possible_value().context("a name")?;
    command
        .arg("state")
        .args(["--part", name])
        .arg("--folder")
        .arg(folder);
    command.args(["--engine", engine.get_name()]);
    command.args(["--subjects", &arguments.subjects.to_string()]);
    command.args(["--memory-mib", &arguments.memory_mib.to_string()]);
    Ok(command)
}

fn grow(arguments: &Arguments, folder: &Path) -> anyhow::Result<()> {
    let (mut ledger, markers, fold) = arguments.open(folder)?;
    let (sender, lane) = marker_lane(markers, fold.clone());
    let started = Instant::now();
    let mut at_three_millions = None;
    let (mut next, mut command) = (subjects_in(ledger.size()), 0_u64);
    let from = next;
    while next < arguments.subjects {
        let until = arguments.subjects.min(next + COMMAND);
        apply(&mut ledger, &fold, next..until)?;
        if next / 1_000_000 != until / 1_000_000 {
            let rss = rss_mib()?;
            let rate = per_second(until - from, started.elapsed());
            println!(
                "{until} subjects: {rss} MiB resident, {rate} a second so far, state {} MiB on disk",
                disk_mib(&folder.join("state"))?
            );
            if until / 1_000_000 == 3 {
                at_three_millions = Some(rss);
            }
        }
        next = until;
        command += 1;
        if command.is_multiple_of(MARKER_EVERY) || fold.read().wants_cut() {
            let draft = ledger.draft_marker(None, None, TreeSize(0));
            sender.send((draft, fold.cut()))?;
            while fold.read().is_full() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    let draft = ledger.draft_marker(None, None, TreeSize(0));
    sender.send((draft, fold.cut()))?;
    drop(sender);
    lane.join()
        .map_err(|_| anyhow::anyhow!("the marker lane panicked"))??;
    let rss = rss_mib()?;
    println!(
        "{} subjects: {rss} MiB resident at the end",
        arguments.subjects
    );
    if let Some(before) = at_three_millions {
        println!(
            "memory from 3x10^6 on: {before} -> {rss} MiB, {}",
            percent(rss, before)
        );
    }
    let bytes = disk_mib(&folder.join("state"))? << 20;
    println!(
        "state on disk: {} bytes a subject",
        bytes / arguments.subjects.max(1)
    );
    latencies(&fold, arguments.subjects, fingerprint)?;
    println!("{GROWN}");
    std::thread::sleep(Duration::from_hours(1));
    Ok(())
}

fn open(arguments: &Arguments, folder: &Path) -> anyhow::Result<()> {
    let (ledger, _, fold) = arguments.open(folder)?;
    let subjects = subjects_in(ledger.size());
    latencies(&fold, subjects, fingerprint)?;
    println!(
        "{subjects} subjects: {} MiB resident after that",
        rss_mib()?
    );
    Ok(())
}

pub(crate) type Parts = (Ledger<RealDisk>, MarkerWriter<RealDisk>, Fold);

impl Arguments {
    fn open(&self, folder: &Path) -> anyhow::Result<Parts> {
        let engine = match self.engine {
            EngineName::Fjall => StateEngine::Fjall,
            EngineName::Sled => StateEngine::Sled,
        };
        let memory_bytes = self.memory_mib << 20;
        open_all(
            folder,
            &StateSection {
                engine,
                memory_bytes,
            },
        )
    }
}

/// What a node that is down has in its folder: ledger and state, checked as at a start.
pub(crate) fn open_all(folder: &Path, config: &StateSection) -> anyhow::Result<Parts> {
    fs::create_dir_all(folder)?;
    let disk = RealDisk::open(folder)?;
    let started = Instant::now();
    let Opened {
        ledger,
        markers,
        marker,
        ..
    } = Ledger::open(disk.clone())?;
    let (engine, limits) = state::engine_in(&disk, config);
    let (state, origin) = state::open(engine.as_ref(), limits, &ledger.reader(), &marker)?;
    println!(
        "opened at {} entries in {:.1?}: {origin:?}, {} MiB resident",
        marker.size,
        started.elapsed(),
        rss_mib()?
    );
    Ok((ledger, markers, Fold::new(state, engine)))
}

type Lane = std::thread::JoinHandle<anyhow::Result<()>>;

/// Writes markers and keeps the state beside the loop, as a node does.
fn marker_lane(
    mut markers: MarkerWriter<RealDisk>,
    fold: Fold,
) -> (mpsc::Sender<(MarkerDraft, Cut)>, Lane) {
    let (sender, receiver) = mpsc::channel();
    let lane = std::thread::spawn(move || {
        for (draft, cut) in receiver {
            let durable = markers.write(draft)?.size;
            fold.keep(&cut, durable)?;
        }
        Ok(())
    });
    (sender, lane)
}

fn apply(
    ledger: &mut Ledger<RealDisk>,
    fold: &Fold,
    subjects: std::ops::Range<u64>,
) -> anyhow::Result<()> {
    let mut items = Vec::new();
    if ledger.size() == TreeSize(0) {
        items.push(Item::Genesis(Box::new(genesis()?)));
    }
    let stamp = stamp(subjects.start);
    for subject in subjects {
        items.push(get(subject, fingerprint, stamp.time)?);
    }
    let decision = decide(&*fold.read(), &stamp, &items, false)?;
    let lines: Vec<&[u8]> = decision.entries.iter().map(|(_, line)| &line[..]).collect();
    ledger.append(&lines)?;
    fold.apply(&decision.changes)?;
    Ok(())
}

/// decide alone, one operation a command: on subjects spread over all, on few, and on new ones.
pub(crate) fn latencies(
    fold: &Fold,
    subjects: u64,
    named: impl Fn(u64) -> anyhow::Result<Fingerprint>,
) -> anyhow::Result<()> {
    let spread = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % subjects.max(1);
    let asked: [(&str, &dyn Fn(u64) -> u64); 3] = [
        ("cold (any subject)", &spread),
        ("hot (100 subjects)", &|at| spread(at % 100)),
        ("never seen", &|at| u64::MAX / 2 + at),
    ];
    for (name, which) in asked {
        let mut took = Vec::new();
        for at in 0..LOOKUPS {
            let stamp = stamp(subjects + at);
            let items = [get(which(at), &named, stamp.time)?];
            let view = fold.read();
            let started = Instant::now();
            decide(&*view, &stamp, &items, false)?;
            took.push(started.elapsed());
        }
        took.sort_unstable();
        let at = |part: usize| {
            took.get(took.len() * part / 1_000)
                .copied()
                .unwrap_or_default()
        };
        println!(
            "decide, {name}: p50 {:.1?}, p99 {:.1?}, p99.9 {:.1?}",
            at(500),
            at(990),
            at(999)
        );
    }
    Ok(())
}

/// Entries but the genesis.
fn subjects_in(size: TreeSize) -> u64 {
    size.0.saturating_sub(1)
}

fn stamp(at: u64) -> Stamp {
    Stamp {
        time: START.plus_millis(at / 10),
        seed: sha3_256(&at.to_be_bytes()),
        rules: RULES_V1,
    }
}

fn get(
    subject: u64,
    named: impl Fn(u64) -> anyhow::Result<Fingerprint>,
    now: Micros,
) -> anyhow::Result<Item> {
    let mut id = [0; 16];
    let millis = now.as_millis().to_be_bytes();
    for (to, from) in id.iter_mut().zip(millis.iter().skip(2)) {
        *to = *from;
    }
    for (to, from) in id.iter_mut().skip(8).zip(subject.to_be_bytes()) {
        *to = from;
    }
    for (place, bits) in [(6, 0x70), (8, 0x80)] {
        if let Some(byte) = id.get_mut(place) {
            *byte = bits;
        }
    }
    Ok(Item::Client(Request {
        tenant: "acme".to_owned(),
        actor: "service-a".to_owned(),
        request_id: RequestId::from_bytes(id).context("a request id")?,
        operation: Operation::Get(Get {
            fingerprint: named(subject)?,
            semantic: None,
        }),
    }))
}

fn fingerprint(subject: u64) -> anyhow::Result<Fingerprint> {
    let fields = fields(&subject.to_string()).to_fingerprint_fields()?;
    Ok(fields.fingerprint())
}

fn genesis() -> anyhow::Result<Genesis> {
    // RFC 8032 section 7.1, test 1. Nothing is signed here.
    let point = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let digest = TaggedDigest::parse(point)?;
    Ok(Genesis {
        origin: "log.example/growth".to_owned(),
        cluster_id: ClusterId([0xc1; 16]),
        keys: LogKeys {
            suite: 1,
            raw: [digest.bytes.to_vec(), vec![7; 1_952], vec![7; 32]],
        },
        members: vec![Member {
            node: NodeId(1),
            cosigner: [1; 32],
        }],
        rules: RULES_V1,
        params: Params::DEFAULT,
        former: None,
    })
}

fn rss_mib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("VmRSS")?.parse::<u64>()? / 1_024)
}

/// What a folder takes up on disk, holes in its files not counted.
pub(crate) fn disk_mib(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut blocks = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for found in fs::read_dir(folder)? {
            let found = found?;
            // A table may be merged away while it is looked at.
            let Ok(meta) = found.metadata() else { continue };
            if meta.is_dir() {
                folders.push(found.path());
            } else {
                blocks += meta.blocks();
            }
        }
    }
    Ok((blocks * 512) >> 20)
}

fn per_second(count: u64, took: Duration) -> u64 {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    count * 1_000 / millis
}

fn percent(now: u64, before: u64) -> String {
    let percent = now * 1_000 / before.max(1);
    format!("{}.{} %", percent / 10, percent % 10)
}
