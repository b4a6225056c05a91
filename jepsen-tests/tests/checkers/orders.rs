//! Our search for an order against another's, which shares no line with it: porcupine-rs. On the corpus, on
//! 102 histories of etcd with known verdicts that it ships, and on random runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use candor_jepsen::check::orders::{Ask, Lives, by_key, start, step};
use candor_jepsen::check::{Call, Register, Search, Touch, search};
use candor_jepsen::history::{Found, History, Miss, What};
use candor_jepsen::workload;
use porcupine_rs::{Model, check_operations};
use rand::rngs::Xoshiro256PlusPlus as Rng;
use rand::{RngExt as _, SeedableRng as _};

use crate::corpus;
use crate::random::{self, Shape};
use crate::world::output;

/// More than any history here needs.
const STATES_MAX: usize = 1_000_000;

/// Random runs in CI, half of them with one answer changed.
const RUNS: u64 = 2_000;

#[derive(Clone)]
struct Product;

impl Model for Product {
    type State = Lives;
    type Op = Ask;
    type Metadata = ();

    fn init() -> Lives {
        start()
    }

    fn step(lives: &Lives, ask: &Ask) -> (bool, Lives) {
        match step(lives, ask) {
            Some(next) => (true, next),
            None => (false, lives.clone()),
        }
    }
}

#[derive(Clone)]
struct Plain;

type Registers = BTreeSet<Register>;

impl Model for Plain {
    type State = Registers;
    type Op = Touch;
    type Metadata = ();

    fn init() -> Registers {
        Registers::from([None])
    }

    fn step(registers: &Registers, touch: &Touch) -> (bool, Registers) {
        let next: Registers = registers.iter().flat_map(|one| touch.step(one)).collect();
        (!next.is_empty(), next)
    }
}

/// Ours, by any model of theirs.
fn ours<M: Model>(calls: &[Call<M::Op>]) -> bool
where
    M::State: Ord,
{
    let step = |state: &M::State, op: &M::Op| match M::step(state, op) {
        (true, next) => Some(next),
        (false, _) => None,
    };
    match search(calls, M::init(), step, STATES_MAX) {
        Search::Linearizable(order) => {
            assert!(
                is_an_order::<M>(calls, &order),
                "what was found is no order"
            );
            true
        }
        Search::Violated(_) => false,
        Search::Exhausted => panic!("{} calls exhaust the budget", calls.len()),
    }
}

/// The order that was found, checked by going along it.
fn is_an_order<M: Model>(calls: &[Call<M::Op>], order: &[usize]) -> bool {
    let mut state = M::init();
    let mut latest = 0;
    for at in order {
        let (possible, next) = M::step(&state, &calls[*at].op);
        let in_time = calls[*at]
            .completed
            .is_none_or(|completed| completed >= latest);
        latest = latest.max(calls[*at].invoked);
        if !possible || !in_time {
            return false;
        }
        state = next;
    }
    let placed: BTreeSet<_> = order.iter().collect();
    let answered = calls
        .iter()
        .enumerate()
        .filter(|(_, call)| call.completed.is_some());
    answered.into_iter().all(|(at, _)| placed.contains(&at))
}

fn theirs<M: Model>(calls: &[Call<M::Op>]) -> bool {
    let operation = |call: &Call<M::Op>| porcupine_rs::Operation::<M> {
        client_id: None,
        call_time: i64::try_from(call.invoked).unwrap(),
        return_time: call
            .completed
            .map_or(i64::MAX, |at| i64::try_from(at).unwrap()),
        op: call.op.clone(),
        metadata: None,
    };
    let operations: Vec<_> = calls.iter().map(operation).collect();
    check_operations(&operations)
}

/// The verdicts on all keys of a history, by the model of a result and by that of a register.
pub(crate) fn agree(history: &History, of: &str) -> (bool, bool) {
    let Ok(operations) = history.operations() else {
        return (true, true);
    };
    let (mut product, mut plain) = (true, true);
    for (key, calls) in by_key(&operations) {
        let verdict = ours::<Product>(&calls);
        assert_eq!(verdict, theirs::<Product>(&calls), "{of}, key {key}");
        product &= verdict;
    }
    let projected = read_touches(&Touch::to_jsonl(&operations));
    for (key, calls) in Touch::by_key(&operations) {
        let theirs_of = &projected[&key];
        let verdict = ours::<Plain>(&calls);
        assert_eq!(
            verdict,
            theirs::<Plain>(theirs_of),
            "register of {of}, key {key}"
        );
        plain &= verdict;
    }
    assert!(
        plain || !product,
        "{of}: possible for results, impossible for registers"
    );
    (product, plain)
}

/// `porcupine.jsonl` as its description says, for another search.
fn read_touches(text: &str) -> BTreeMap<String, Vec<Call<Touch>>> {
    let mut keys: BTreeMap<String, Vec<Call<Touch>>> = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let value = line["value"].as_str().map(str::to_owned);
        let op = match line["touch"].as_str().unwrap() {
            "is" => Touch::Is(value),
            "maybe" => Touch::Maybe(value),
            "nothing" => Touch::Nothing,
            "start" => Touch::Start(value.unwrap()),
            "write" => Touch::Write(value),
            other => panic!("{other}"),
        };
        let key = line["key"].as_str().unwrap().to_owned();
        keys.entry(key).or_default().push(Call {
            op,
            invoked: line["call"].as_u64().unwrap(),
            completed: line["return"].as_u64(),
        });
    }
    keys
}

#[test]
fn two_searches_agree_on_random_runs_and_on_runs_with_one_answer_changed() {
    let seed = workload::seed();
    let mut rng = Rng::seed_from_u64(seed);
    let (mut possible, mut impossible, mut by_register) = (0, 0, 0);
    for run in 0..RUNS {
        let shape = Shape {
            threads: rng.random_range(2..=6),
            keys: rng.random_range(1..=3),
            operations: rng.random_range(10..=40),
            unknown_one_in: [0, 20, 6][rng.random_range(0..3)],
        };
        let mut history = random::run(rng.random(), shape).history;
        let changed = run % 2 == 1 && change_one_answer(&mut history, &mut rng);
        let (product, plain) = agree(&history, &format!("run {run}"));
        assert!(
            product || changed,
            "run {run}: a right cluster is called wrong"
        );
        possible += u32::from(product);
        impossible += u32::from(!product);
        by_register += u32::from(!plain);
    }
    println!(
        "{RUNS} runs: {possible} possible, {impossible} not, {by_register} not even for registers"
    );
    assert!(impossible > 300 && by_register > 100 && possible > 1_000);
}

/// Has one answer say something else of its kind; whether there was one.
fn change_one_answer(history: &mut History, rng: &mut Rng) -> bool {
    let mut founds: Vec<&mut Found> = history
        .events
        .iter_mut()
        .filter_map(|event| match &mut event.what {
            What::Answered { answer, .. } => Some(&mut answer.found),
            _ => None,
        })
        .collect();
    if founds.is_empty() {
        return false;
    }
    let at = rng.random_range(0..founds.len());
    let other = output(["a", "b", "c", "never set"][rng.random_range(0..4)]);
    let was = founds[at].clone();
    let now = match was.clone() {
        Found::Hit { version, .. } if rng.random() => Found::Hit {
            output: other,
            version,
            write_seq: 0,
        },
        Found::Hit { .. } => {
            Found::Missed([Miss::Absent, Miss::Revoked][rng.random_range(0..2)].clone())
        }
        Found::Missed(_) if rng.random() => Found::Hit {
            output: other,
            version: 1,
            write_seq: 0,
        },
        Found::Missed(Miss::Revoked) => Found::Missed(Miss::Absent),
        Found::Missed(_) => Found::Missed(Miss::Revoked),
        Found::Written {
            version,
            renewed,
            expires_us,
        } => Found::Written {
            version: version + 1,
            renewed,
            expires_us,
        },
        Found::Conflict { .. } => Found::Conflict { held: other },
        Found::Refused { successor, .. } => Found::Refused {
            reason: "revoked".to_owned(),
            successor,
        },
        Found::Revoked { version } => Found::Revoked {
            version: version + 1,
        },
        Found::Reinstated { version } => Found::Reinstated {
            version: version + 1,
        },
        same => same,
    };
    let changed = now != was;
    *founds[at] = now;
    changed
}

#[test]
fn two_searches_agree_on_the_corpus() {
    let mut impossible = 0;
    for case in corpus::cases() {
        let (product, _) = agree(&case.run.history, &case.name);
        impossible += u32::from(!product);
    }
    assert!(impossible >= 5, "only {impossible} cases are impossible");
}

/// etcd's register: read, write, compare and swap.
#[derive(Clone)]
struct Etcd;

#[derive(Clone, Debug)]
enum EtcdOp {
    Read(Option<u32>),
    Write(u32),
    Cas(u32, u32, bool),
    /// Of unknown outcome.
    MayCas(u32, u32),
    Unread,
}

impl Model for Etcd {
    type State = Option<u32>;
    type Op = EtcdOp;
    type Metadata = ();

    fn init() -> Option<u32> {
        None
    }

    fn step(held: &Option<u32>, op: &EtcdOp) -> (bool, Option<u32>) {
        match *op {
            EtcdOp::Read(value) => (value == *held, *held),
            EtcdOp::Write(value) => (true, Some(value)),
            EtcdOp::Cas(from, to, true) => (*held == Some(from), Some(to)),
            EtcdOp::Cas(from, _, false) => (*held != Some(from), *held),
            EtcdOp::MayCas(from, to) if *held == Some(from) => (true, Some(to)),
            EtcdOp::MayCas(..) | EtcdOp::Unread => (true, *held),
        }
    }
}

#[test]
fn the_search_finds_the_known_verdicts_on_102_histories_of_etcd() {
    let shipped = porcupine_folder();
    let verdicts = std::fs::read_to_string(shipped.join("tests/etcd_jepsen.rs")).unwrap();
    let mut judged = 0;
    for line in verdicts.lines() {
        let case = line
            .strip_prefix("etcd_test!(")
            .and_then(|rest| rest.strip_suffix(");"));
        let Some((number, expected)) = case.and_then(|case| case.split_once(", ")) else {
            continue;
        };
        let log = format!(
            "test_data/jepsen/etcd_{:03}.log",
            number.parse::<u32>().unwrap()
        );
        let log = std::fs::read_to_string(shipped.join(&log)).unwrap();
        let calls = etcd_calls(&log);
        assert_eq!(
            ours::<Etcd>(&calls).to_string(),
            expected,
            "history {number}"
        );
        judged += 1;
    }
    assert_eq!(judged, 102);
}

fn etcd_calls(log: &str) -> Vec<Call<EtcdOp>> {
    let mut calls: Vec<Call<EtcdOp>> = Vec::new();
    let mut open: BTreeMap<u32, (usize, String)> = BTreeMap::new();
    for (time, line) in (0..).zip(log.lines()) {
        let Some((_, event)) = line.split_once("jepsen.util - ") else {
            continue;
        };
        let mut words = event.split_whitespace();
        let Some(process) = words.next().and_then(|word| word.parse().ok()) else {
            continue;
        };
        let (Some(kind), Some(f)) = (words.next(), words.next()) else {
            continue;
        };
        let value: String = words.collect::<Vec<_>>().join(" ");
        if kind == ":invoke" {
            open.insert(process, (calls.len(), value.clone()));
            let op = etcd_op(f, &value, &value, ":info");
            calls.push(Call {
                op,
                invoked: time,
                completed: None,
            });
            continue;
        }
        let Some((at, asked)) = open.remove(&process) else {
            continue;
        };
        calls[at].op = etcd_op(f, &asked, &value, kind);
        let is_read = f == ":read";
        calls[at].completed = (kind != ":info" && !(is_read && kind == ":fail")).then_some(time);
    }
    calls
}

fn etcd_op(f: &str, asked: &str, value: &str, kind: &str) -> EtcdOp {
    let number = |text: &str| text.trim_matches(['[', ']']).parse::<u32>().ok();
    match (f, kind) {
        (":read", ":ok") => EtcdOp::Read(number(value)),
        (":read", _) => EtcdOp::Unread,
        (":write", _) => EtcdOp::Write(number(asked).unwrap()),
        _ => {
            let (from, to) = asked.split_once(' ').unwrap();
            let (from, to) = (number(from).unwrap(), number(to).unwrap());
            match kind {
                ":ok" => EtcdOp::Cas(from, to, true),
                ":fail" => EtcdOp::Cas(from, to, false),
                _ => EtcdOp::MayCas(from, to),
            }
        }
    }
}

/// Where the package's sources lie, its test data among them.
fn porcupine_folder() -> PathBuf {
    let cargo = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    // Of this platform only: what others need was not downloaded.
    let about = cargo(&["-vV"]);
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let metadata = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--offline",
        "--filter-platform",
        host,
    ]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let found = packages
        .iter()
        .find(|package| package["name"] == "porcupine-rs")
        .unwrap();
    let manifest = PathBuf::from(found["manifest_path"].as_str().unwrap());
    manifest.parent().unwrap().to_path_buf()
}
