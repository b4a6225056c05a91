//! A ledger in memory that is asked, and checked from its bytes after everything asked.

use std::sync::Mutex;

use candor_ledger::digest::{DigestAlgorithm, TaggedDigest, sha3_256};
use candor_ledger::entry::{
    self, ClusterId, Entry, Genesis, LogKeys, Member, Model, Subject, Told, Verdict,
};
use candor_ledger::fingerprint::{ExactFields, Fingerprint, FingerprintFields, ResultOnlyFields};
use candor_ledger::fold::{
    self, Attest, Decision, Get, Item, MemoryState, ModelSupersede, Operation, Outcome, Params,
    RULES_V1, ReadAsOf, Request, Revoke, Set, Stamp, Supersede,
};
use candor_ledger::ids::{NodeId, RequestId, TreeSize};
use candor_ledger::time::Micros;
use ed25519_dalek::{Signer as _, SigningKey};

pub(crate) const TENANT: &str = "acme";
pub(crate) const ACTOR: &str = "service-a";
/// 2026-05-14T10:00:00Z
pub(crate) const START: Micros = Micros(1_778_752_800_000_000);

pub(crate) struct World {
    pub(crate) state: MemoryState,
    pub(crate) entries: Vec<Entry>,
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) now: Micros,
    commands: u64,
    requests: u64,
}

impl World {
    /// A ledger with its genesis.
    pub(crate) fn new() -> Self {
        Self::with(Params::DEFAULT)
    }

    pub(crate) fn with(params: Params) -> Self {
        let (entry, line, state) = begun(params);
        Self {
            state,
            entries: vec![entry],
            lines: vec![line],
            now: START,
            commands: 1,
            requests: 0,
        }
    }

    pub(crate) fn wait(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    /// Decides and applies a command.
    pub(crate) fn command(&mut self, items: &[Item], closes: bool) -> Decision {
        let decision =
            fold::decide(&self.state, &stamp(self.now, self.commands), items, closes).unwrap();
        self.commands += 1;
        self.state.apply(&decision.changes);
        for (entry, line) in &decision.entries {
            assert_eq!(Entry::parse(line).as_ref(), Ok(entry));
            self.entries.push(entry.clone());
            self.lines.push(line.clone());
        }
        decision
    }

    /// Has a client ask, under a new request id.
    pub(crate) fn ask(&mut self, operation: Operation) -> Outcome {
        let request = self.request(operation);
        self.send(request)
    }

    pub(crate) fn send(&mut self, request: Request) -> Outcome {
        let mut decision = self.command(&[Item::Client(request)], false);
        decision.outcomes.pop().unwrap()
    }

    pub(crate) fn request(&mut self, operation: Operation) -> Request {
        self.requests += 1;
        Request {
            tenant: TENANT.to_owned(),
            actor: ACTOR.to_owned(),
            request_id: request_id(self.now.as_millis(), self.requests),
            operation,
        }
    }

    pub(crate) fn tick(&mut self) -> Outcome {
        self.command(&[Item::Tick], false).outcomes.pop().unwrap()
    }

    /// INV-5: folds all bytes again with `evolve` alone, and finds the same state.
    pub(crate) fn check(&self) {
        let replayed = replay(&self.lines).unwrap();
        assert_eq!(replayed.digest(), self.state.digest());
        assert_eq!(replayed, self.state);
    }
}

pub(crate) fn replay(lines: &[Vec<u8>]) -> Result<MemoryState, fold::FoldError> {
    let (mut state, mut rest) = (MemoryState::new(), lines);
    let known = GENESES.lock().unwrap();
    if let Some(first) = known
        .iter()
        .find(|first| Some(&first.line) == lines.first())
    {
        (state, rest) = (first.state.clone(), &lines[1..]);
    }
    drop(known);
    for line in rest {
        let entry = Entry::parse(line).unwrap();
        let changes = fold::evolve(&state, &entry, line)?;
        state.apply(&changes);
    }
    Ok(state)
}

/// A ledger of nothing but its genesis. Decoding the post-quantum keys takes longer than all other
/// work of a test, so each is made, and folded, once.
struct First {
    params: Params,
    entry: Entry,
    line: Vec<u8>,
    state: MemoryState,
}

static GENESES: Mutex<Vec<First>> = Mutex::new(Vec::new());

fn begun(params: Params) -> (Entry, Vec<u8>, MemoryState) {
    let mut known = GENESES.lock().unwrap();
    let known_one = known.iter().find(|first| first.params == params);
    if let Some(first) = known_one {
        return (first.entry.clone(), first.line.clone(), first.state.clone());
    }
    let item = Item::Genesis(Box::new(genesis(params)));
    let empty = MemoryState::new();
    let mut decision = fold::decide(&empty, &stamp(START, 0), &[item], false).unwrap();
    let (entry, line) = decision.entries.pop().unwrap();
    let mut state = MemoryState::new();
    state.apply(&fold::evolve(&empty, &entry, &line).unwrap());
    let made = (entry.clone(), line.clone(), state.clone());
    known.push(First {
        params,
        entry,
        line,
        state,
    });
    made
}

pub(crate) fn stamp(time: Micros, commands: u64) -> Stamp {
    Stamp {
        time,
        seed: sha3_256(&commands.to_be_bytes()),
        rules: RULES_V1,
    }
}

pub(crate) fn genesis(params: Params) -> Genesis {
    Genesis {
        origin: "log.example/acme".to_owned(),
        cluster_id: ClusterId([0xc1; 16]),
        keys: keys(7),
        members: [1, 2, 3].map(member).to_vec(),
        rules: RULES_V1,
        params,
        former: None,
    }
}

/// Keys that decode; nobody signs with them here.
pub(crate) fn keys(fill: u8) -> LogKeys {
    // RFC 8032 section 7.1, test 1.
    let ed25519 = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    LogKeys {
        suite: 1,
        raw: [
            hex::decode(ed25519).unwrap(),
            vec![fill; 1_952],
            vec![fill; 32],
        ],
    }
}

pub(crate) fn member(node: u8) -> Member {
    Member {
        node: NodeId(u64::from(node)),
        cosigner: [node; 32],
    }
}

pub(crate) fn request_id(millis: u64, random: u64) -> RequestId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes[8..].copy_from_slice(&random.to_be_bytes());
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    RequestId::from_bytes(bytes).unwrap()
}

pub(crate) fn model(version: &str) -> Model {
    Model {
        name: "gpt-4-0613".to_owned(),
        version: version.to_owned(),
    }
}

pub(crate) fn exact(prompt: &str) -> FingerprintFields {
    exact_of(prompt, &model("checkpoint-1"))
}

pub(crate) fn exact_of(prompt: &str, model: &Model) -> FingerprintFields {
    FingerprintFields::Exact(ExactFields {
        model_name: model.name.clone(),
        model_version: model.version.clone(),
        prompt_hash: hash_text(prompt),
        temperature: "0".to_owned(),
        top_p: "1".to_owned(),
        system_prompt_hash: String::new(),
        hardware_class: "a100-80gb".to_owned(),
        parameters: "{}".to_owned(),
    })
}

pub(crate) fn result_only() -> FingerprintFields {
    FingerprintFields::ResultOnly(ResultOnlyFields {
        model_version: "checkpoint-1".to_owned(),
        computation_type: "fraud-check".to_owned(),
        parameters: "{}".to_owned(),
        hardware_class: "a100-80gb".to_owned(),
    })
}

pub(crate) fn hash_text(text: &str) -> String {
    let digest = TaggedDigest {
        algorithm: DigestAlgorithm::Sha3_256,
        bytes: output(text),
    };
    digest.to_string()
}

/// The hash of an output that is this text.
pub(crate) fn output(text: &str) -> [u8; 32] {
    sha3_256(text.as_bytes())
}

pub(crate) fn get(fingerprint: Fingerprint) -> Operation {
    Operation::Get(Get {
        fingerprint,
        semantic: None,
    })
}

/// A question about the ledger of so many entries.
pub(crate) fn read_as_of(fingerprint: Fingerprint, size: u64) -> Operation {
    Operation::ReadAsOf(ReadAsOf {
        fingerprint,
        moment: entry::ReadAsOf {
            as_of: TreeSize(size),
            time: None,
        },
    })
}

pub(crate) fn set(fields: FingerprintFields, text: &str, ttl_ms: u64) -> Operation {
    Operation::Set(Box::new(Set {
        fields,
        output_hash: output(text),
        output_len: u64::try_from(text.len()).unwrap(),
        media_type: "text/plain".to_owned(),
        ttl_ms,
        told: Told::default(),
        semantic: None,
    }))
}

pub(crate) fn supersede(fingerprint: Fingerprint, successor: Fingerprint) -> Operation {
    Operation::Supersede(Supersede {
        fingerprint,
        successor,
        reason: "model_update".to_owned(),
    })
}

pub(crate) fn revocation(fingerprint: Fingerprint, text: &str) -> Revoke {
    Revoke {
        fingerprint,
        output_hash: output(text),
        reason: "wrong".to_owned(),
    }
}

pub(crate) fn model_supersede(from: Model, to: Model) -> Operation {
    Operation::ModelSupersede(Box::new(ModelSupersede {
        from,
        to,
        reason: "retired".to_owned(),
    }))
}

pub(crate) fn subject(fields: &FingerprintFields) -> Subject {
    Subject::Fingerprint(fields.fingerprint())
}

/// An attestation under a key that nobody has to trust, over the first entry.
pub(crate) fn attest_by_anyone(subject: Subject) -> Operation {
    let key = SigningKey::from_bytes(&[0x42; 32]);
    let mut attest = Attest {
        subject,
        result: Verdict::Proved,
        size: TreeSize(1),
        root: output("root"),
        auditor: key.verifying_key().to_bytes(),
        signature: [0; 64],
    };
    let statement = attest.statement("log.example/acme", TENANT);
    attest.signature = key.sign(statement.as_bytes()).to_bytes();
    Operation::Attest(Box::new(attest))
}
