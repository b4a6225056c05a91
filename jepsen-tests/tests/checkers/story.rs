//! A run told step by step, and the folder that stores it.

use std::collections::BTreeMap;
use std::path::Path;

use candor_jepsen::history::{
    Answer, Asked, Event, Fault, Found, History, Process, Step, Trouble, What,
};
use candor_ledger::checkpoint::{Checkpoint, CosignerPublic, assemble_note};
use candor_ledger::digest::ChainHash;
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::note::Note;
use candor_ledger::policy::Policy;
use candor_ledger::proof::TlogProof;
use candor_ledger::receipt::Receipt;
use candor_ledger::time::Micros;
use candor_ledger::tree::{MemoryNodes, inclusion_path, leaf_hash, root_at};
use serde_json::{Value, json};

use crate::world::{ACTOR, COSIGNERS, KEYS, ORIGIN, World, bytes_from, output};

const MS: u64 = 1_000_000;
/// Results outlive the story.
const LONG_MS: u64 = 3_600_000;
/// A result that does not.
const SHORT_MS: u64 = 200;

/// The teller.
pub(crate) struct Story {
    world: World,
    now_ns: u64,
    sealed: Option<u64>,
    process: BTreeMap<u64, u64>,
    history: History,
    receipts: Vec<(u64, u64)>,
    /// Lines known by a name.
    pub(crate) keys: BTreeMap<&'static str, String>,
}

impl Story {
    pub(crate) fn new() -> Self {
        let mut world = World::new();
        let names = ["k1", "k2", "k3", "k4"];
        Self {
            keys: names.map(|name| (name, world.key(name))).into(),
            world,
            now_ns: 0,
            sealed: Some(2),
            process: (0..3).map(|thread| (thread, thread)).collect(),
            history: History::default(),
            receipts: Vec::new(),
        }
    }

    pub(crate) fn wait(&mut self, millis: u64) {
        self.now_ns += millis * MS;
    }

    pub(crate) fn seal(&mut self) {
        self.world.seal(self.now_ns);
        self.sealed = u64::try_from(self.world.lines.len()).ok();
    }

    /// Lets the log notice what is overdue.
    pub(crate) fn tick(&mut self) {
        self.world.tick(self.now_ns);
    }

    /// A question that is answered.
    pub(crate) fn ask(&mut self, thread: u64, asked: &Asked) -> Answer {
        self.record(thread, What::Asked(asked.clone()));
        let mut answer = if let Asked::Receipt { seq } = asked {
            let index = self.history.events.last().unwrap().index;
            self.receipts.push((index, *seq));
            Answer::new(*seq, Found::Proved)
        } else {
            let id = self.world.fresh_id(self.now_ns);
            self.world.ask(self.now_ns, id, asked)
        };
        answer.size = self.sealed;
        self.answer(thread, asked, &answer);
        answer
    }

    /// One id, sent twice: the second is answered what the first did.
    pub(crate) fn ask_twice(&mut self, thread: u64, asked: &Asked) {
        let id = self.world.fresh_id(self.now_ns);
        for _ in 0..2 {
            self.record(thread, What::Asked(asked.clone()));
            let answer = self.world.ask(self.now_ns, id, asked);
            self.answer(thread, asked, &answer);
        }
    }

    /// A change done a second time, by a cluster that forgot the first, and answered under the same id.
    pub(crate) fn ask_as(&mut self, thread: u64, asked: &Asked, id: String) {
        let again = self.world.fresh_id(self.now_ns);
        self.record(thread, What::Asked(asked.clone()));
        let mut answer = self.world.ask(self.now_ns, again, asked);
        let line = self.world.lines.last_mut().unwrap();
        *line = line.replace(&again.to_string(), &id);
        answer.request = Some(id);
        self.answer(thread, asked, &answer);
    }

    /// Has each of the last two answers tell the other's entry.
    pub(crate) fn swap_last_two_answers(&mut self) {
        let answers = self.history.events.iter_mut().rev();
        let mut answers = answers.filter_map(|event| match &mut event.what {
            What::Answered { answer, .. } => Some(answer),
            _ => None,
        });
        let (last, before) = (answers.next().unwrap(), answers.next().unwrap());
        std::mem::swap(last, before);
    }

    /// A question that is never answered, and takes effect or does not.
    pub(crate) fn ask_in_vain(&mut self, thread: u64, asked: &Asked, takes_effect: bool) {
        self.record(thread, What::Asked(asked.clone()));
        let id = takes_effect.then(|| {
            let id = self.world.fresh_id(self.now_ns);
            self.world.ask(self.now_ns, id, asked);
            id
        });
        let is_change = asked.f().is_change();
        let error = if is_change {
            "OUTCOME_UNKNOWN"
        } else {
            "UNAVAILABLE"
        };
        let trouble = Trouble {
            f: asked.f(),
            error: error.to_owned(),
            request: id.filter(|_| is_change).map(|id| id.to_string()),
        };
        self.record(thread, What::Unknown(trouble));
        *self.process.get_mut(&thread).unwrap() += 3;
    }

    pub(crate) fn fail(&mut self, thread: u64, asked: &Asked) {
        self.record(thread, What::Asked(asked.clone()));
        let trouble = Trouble {
            f: asked.f(),
            error: "INVALID_FIELD".to_owned(),
            request: None,
        };
        self.record(thread, What::Failed(trouble));
    }

    pub(crate) fn fault(&mut self, name: &str, step: Step) {
        self.wait(1);
        let fault = Fault {
            name: name.to_owned(),
            step,
            nodes: vec![3],
        };
        self.push(Process::Nemesis, None, What::Fault(fault));
    }

    pub(crate) fn get(&self, key: &str) -> Asked {
        let key = self.keys[key].clone();
        Asked::Get { key }
    }

    pub(crate) fn set(&self, key: &str, name: &str, ttl_ms: u64) -> Asked {
        Asked::Set {
            key: self.keys[key].clone(),
            output: output(name),
            ttl_ms,
        }
    }

    pub(crate) fn revoke(&self, key: &str, name: &str) -> Asked {
        let (key, output) = (self.keys[key].clone(), output(name));
        Asked::Revoke { key, output }
    }

    pub(crate) fn reinstate(&self, key: &str, name: &str) -> Asked {
        let (key, output) = (self.keys[key].clone(), output(name));
        Asked::Reinstate { key, output }
    }

    fn answer(&mut self, thread: u64, asked: &Asked, answer: &Answer) {
        let (f, answer) = (asked.f(), answer.clone());
        self.record(thread, What::Answered { f, answer });
    }

    fn record(&mut self, thread: u64, what: What) {
        self.wait(1);
        let process = Process::Client(self.process[&thread]);
        self.push(process, Some(thread + 1), what);
    }

    fn push(&mut self, process: Process, node: Option<u64>, what: What) {
        self.history.events.push(Event {
            index: u64::try_from(self.history.events.len()).unwrap(),
            time_ns: self.now_ns,
            process,
            node,
            what,
        });
    }

    /// The story that most of the corpus changes one thing of: every operation, every state, a fault, what is
    /// unknown, and an answer at the end that no checkpoint covers.
    pub(crate) fn whole() -> Self {
        let mut story = Self::new();
        story.first_life();
        story.unknown_ones();
        story.second_life();
        story
    }

    /// Set, hit, conflict, renewal, revocation, next version.
    fn first_life(&mut self) {
        let first = self.ask(0, &self.set("k1", "A", LONG_MS));
        self.seal();
        let index = 0;
        self.receipts.push((index, first.seq));
        self.ask(1, &self.get("k1"));
        self.ask(0, &self.set("k1", "B", LONG_MS));
        self.ask(1, &self.set("k1", "A", LONG_MS));
        self.fault("kill", Step::Start);
        self.ask(0, &self.revoke("k1", "A"));
        self.ask(1, &self.get("k1"));
        self.ask(0, &self.set("k1", "A", LONG_MS));
        self.ask(1, &self.set("k1", "B", LONG_MS));
        self.seal();
        self.ask(1, &self.get("k1"));
    }

    fn unknown_ones(&mut self) {
        self.ask_in_vain(2, &self.set("k2", "A", LONG_MS), true);
        self.ask_in_vain(1, &self.get("k4"), true);
        self.ask_in_vain(0, &self.get("k4"), false);
        self.fault("kill", Step::Stop);
        self.fail(0, &self.set("k2", "C", LONG_MS));
        self.seal();
    }

    /// Expiry, supersession, reinstatement, a receipt of long ago.
    fn second_life(&mut self) {
        self.ask(0, &self.set("k3", "C", SHORT_MS));
        self.seal();
        self.ask(1, &self.get("k3"));
        self.wait(SHORT_MS + 100);
        self.ask(1, &self.get("k3"));
        self.ask(0, &self.set("k3", "D", LONG_MS));
        let (key, successor) = (self.keys["k3"].clone(), self.keys["k1"].clone());
        self.ask(0, &Asked::Supersede { key, successor });
        self.ask(1, &self.get("k3"));
        self.ask(0, &self.set("k3", "C", LONG_MS));
        self.ask(2, &self.reinstate("k1", "A"));
        self.ask(1, &Asked::Receipt { seq: 2 });
        self.seal();
        self.ask(0, &self.set("k4", "E", LONG_MS));
    }

    /// What is stored of it.
    pub(crate) fn stored(self) -> Stored {
        let chains = BTreeMap::from([(1, self.world.lines)]);
        let mut stored = Stored {
            plan: plan(),
            history: self.history,
            chains,
            checkpoints: Vec::new(),
            receipts: Vec::new(),
            policy: None,
            given: self.receipts,
            is_signed: false,
        };
        stored.prove();
        stored
    }
}

fn plan() -> Value {
    json!({
        "seed": 0,
        "nodes": [1],
        "concurrency": 3,
        "timeout_ms": 10_000,
        "clock_error_ms": 10,
        "recovery_ms": 1_000,
        "states_max": 100_000,
        "actors": [ACTOR],
        "demands": {
            "ok": 15,
            "ok_of": {"get": 4, "set": 6, "revoke": 1, "supersede": 1, "reinstate": 1, "receipt": 1},
            "ok_during": {"kill": 3},
        },
    })
}

/// The files of a run before they are files.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) plan: Value,
    pub(crate) history: History,
    pub(crate) chains: BTreeMap<u64, Vec<String>>,
    pub(crate) checkpoints: Vec<String>,
    pub(crate) receipts: Vec<(u64, String)>,
    /// In place of the cluster's own.
    pub(crate) policy: Option<String>,
    /// Receipts to be made: operation and entry.
    given: Vec<(u64, u64)>,
    pub(crate) is_signed: bool,
}

impl Stored {
    /// Makes another ledger of these entries, as a cluster that lies to everybody would: links, checkpoints
    /// and receipts fit.
    pub(crate) fn rewrite(&mut self, change: impl FnOnce(&mut Vec<Value>)) {
        let parse = |line: &String| serde_json::from_str(line).unwrap();
        let mut entries: Vec<Value> = self.chains[&1].iter().map(parse).collect();
        change(&mut entries);
        let lines = linked(entries);
        for chain in self.chains.values_mut() {
            chain.clone_from(&lines);
        }
        self.prove();
    }

    /// Has a second node hold the same.
    pub(crate) fn second_node(&mut self) -> &mut Vec<String> {
        self.plan["nodes"] = json!([1, 2]);
        let lines = self.chains[&1].clone();
        self.chains.entry(2).or_insert(lines)
    }

    /// Checkpoints of all seals, and the receipts under the newest.
    pub(crate) fn prove(&mut self) {
        let lines = &self.chains[&1];
        let mut nodes = MemoryNodes::new();
        let mut by_size: BTreeMap<u64, Note> = BTreeMap::new();
        for (size, line) in (1_u64..).zip(lines) {
            nodes.push(leaf_hash(line.as_bytes()));
            let entry: Value = serde_json::from_str(line).unwrap();
            if entry["op"] == "ledger.seal" {
                let checkpoint = Checkpoint {
                    origin: ORIGIN.to_owned(),
                    size: TreeSize(size),
                    root: root_at(&nodes, TreeSize(size)).unwrap(),
                    chain: ChainHash::of(line.as_bytes()),
                    keyset: KEYS.key_set().id(),
                    sealed: Micros::parse(entry["time"].as_str().unwrap()).unwrap(),
                };
                by_size.insert(size, note(&checkpoint, self.is_signed));
            }
        }
        self.checkpoints = by_size.values().map(Note::encode).collect();
        let receipt = |(index, seq): &(u64, u64)| {
            let after = if *index == 0 { *seq } else { 1_000 };
            let covers = |(size, _): &(&u64, &Note)| **size > after;
            let (size, note) = by_size
                .iter()
                .find(covers)
                .or(by_size.iter().last())
                .unwrap();
            let proof = TlogProof {
                index: Seq(*seq),
                path: inclusion_path(&nodes, Seq(*seq), TreeSize(*size)).unwrap(),
                note: note.clone(),
            };
            let entry = lines[usize::try_from(*seq).unwrap()].clone().into_bytes();
            let receipt = Receipt { entry, proof }.encode();
            (*index, String::from_utf8(receipt).unwrap())
        };
        self.receipts = self.given.iter().map(receipt).collect();
    }

    /// Everything by file name.
    pub(crate) fn files(&self) -> BTreeMap<String, String> {
        let lines = |lines: &[String]| lines.iter().map(|line| line.clone() + "\n").collect();
        let seen = |note: &String| json!({"node": 1, "time": 0, "note": note}).to_string();
        let given = |(index, receipt): &(u64, String)| {
            json!({"index": index, "receipt": receipt}).to_string()
        };
        let seen: Vec<String> = self.checkpoints.iter().map(seen).collect();
        let given: Vec<String> = self.receipts.iter().map(given).collect();
        let mut files = BTreeMap::from([
            ("run.json".to_owned(), format!("{:#}\n", self.plan)),
            ("history.edn".to_owned(), self.history.to_edn()),
            ("checkpoints.jsonl".to_owned(), lines(&seen)),
            ("receipts.jsonl".to_owned(), lines(&given)),
        ]);
        for (node, chain) in &self.chains {
            files.insert(format!("chain-{node}.jsonl"), lines(chain));
        }
        if self.is_signed {
            let members: Vec<CosignerPublic> =
                COSIGNERS.iter().map(|key| key.public().clone()).collect();
            let policy = || Policy::text_for_cluster(KEYS.key_set(), &members).unwrap();
            let policy = self.policy.clone().unwrap_or_else(policy);
            files.insert("policy".to_owned(), policy);
        }
        files
    }

    pub(crate) fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        for (name, text) in self.files() {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }
}

/// Entries in this order, with the links and ordinals that belong to it.
fn linked(entries: Vec<Value>) -> Vec<String> {
    let mut prev = ChainHash::EMPTY;
    let mut ends: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    let mut lines = Vec::new();
    for (seq, mut entry) in (0_u64..).zip(entries) {
        let part = |key: &str| entry[key].as_str().unwrap().to_owned();
        let lifecycle = (part("tenant"), part("subject"));
        let last = ends.get(&lifecycle).copied();
        let n = last.map_or(1, |(n, _)| n + 1);
        entry["seq"] = json!(seq);
        entry["prev"] = json!(prev.to_string());
        entry["n"] = json!(n);
        entry["subject_prev"] = json!(last.map(|(_, seq)| seq));
        ends.insert(lifecycle, (n, seq));
        let line = entry.to_string();
        prev = ChainHash::of(line.as_bytes());
        lines.push(line);
    }
    lines
}

/// Real signatures are 28 KB of text, so most of the corpus does without.
fn note(checkpoint: &Checkpoint, is_signed: bool) -> Note {
    let text = checkpoint.text();
    if !is_signed {
        let signatures = Vec::new();
        return Note { text, signatures };
    }
    let log = KEYS
        .sign(text.as_bytes(), &mut bytes_from("hedge"))
        .unwrap();
    let seconds = checkpoint.sealed.as_seconds();
    let cosign = COSIGNERS.iter().take(2);
    let cosign = cosign.map(|key| {
        (
            key.public().node,
            key.sign(text.as_bytes(), seconds).unwrap(),
        )
    });
    assemble_note(&text, &log, &cosign.collect())
}
