//! A cluster that is always right: the product's own rules over a ledger in memory.
//!
//! What it answers is the measure of the checkers' own model: a run of it that a checker refuses shows that
//! the model is not the product's.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use candor_client::Fields as _;
use candor_jepsen::history::{Answer, Asked, Found};
use candor_jepsen::workload;
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{ClusterId, Genesis, LogKeys, Member, Subject, Told};
use candor_ledger::fingerprint::{Fingerprint, FingerprintFields};
use candor_ledger::fold::{
    self, Get, Item, MemoryState, Operation, Outcome, Params, RULES_V1, Request, Revoke, Set,
    Stamp, Supersede,
};
use candor_ledger::ids::{NodeId, RequestId};
use candor_ledger::signature::{CosignerKey, SigningKeys};
use candor_ledger::time::Micros;

pub(crate) const ORIGIN: &str = "log.example/acme";
pub(crate) const TENANT: &str = "acme";
pub(crate) const ACTOR: &str = "service-a";

/// Where ledger time stands when the harness's clock stands at 0: 2026-05-14T10:00:00Z.
const START_US: u64 = 1_778_752_800_000_000;

/// Making the keys takes longer than everything else.
pub(crate) static KEYS: LazyLock<SigningKeys> =
    LazyLock::new(|| SigningKeys::generate(ORIGIN, &mut bytes_from("log")).unwrap());

pub(crate) static COSIGNERS: LazyLock<Vec<CosignerKey>> = LazyLock::new(|| {
    let key = |node: u64| {
        let fill = &mut bytes_from(&format!("node {node}"));
        CosignerKey::generate(ORIGIN, NodeId(node), fill).unwrap()
    };
    (1..=3).map(key).collect()
});

/// A ledger of its genesis.
static FIRST: LazyLock<World> = LazyLock::new(|| {
    let mut world = World {
        state: MemoryState::new(),
        lines: Vec::new(),
        commands: 0,
        requests: 0,
        fields: BTreeMap::new(),
    };
    let member = |key: &CosignerKey| Member {
        node: key.public().node,
        cosigner: key.public().key,
    };
    let genesis = Genesis {
        origin: ORIGIN.to_owned(),
        cluster_id: ClusterId([0xc1; 16]),
        keys: LogKeys::of(KEYS.key_set()),
        members: COSIGNERS.iter().map(member).collect(),
        rules: RULES_V1,
        params: Params::DEFAULT,
        former: None,
    };
    world.command(0, &[Item::Genesis(Box::new(genesis))], true);
    world
});

/// The ledger and its state.
#[derive(Clone)]
pub(crate) struct World {
    state: MemoryState,
    pub(crate) lines: Vec<String>,
    commands: u64,
    requests: u64,
    /// What each key is the fingerprint of.
    fields: BTreeMap<String, FingerprintFields>,
}

impl World {
    pub(crate) fn new() -> Self {
        FIRST.clone()
    }

    /// The key of a computation known by a name.
    pub(crate) fn key(&mut self, name: &str) -> String {
        let fields = workload::fields(name).to_fingerprint_fields().unwrap();
        let key = format!("{TENANT}/{}", fields.fingerprint().to_hex());
        self.fields.insert(key.clone(), fields);
        key
    }

    /// An id that no request had.
    pub(crate) fn fresh_id(&mut self, now_ns: u64) -> RequestId {
        self.requests += 1;
        let mut bytes = [0; 16];
        let millis = START_US / 1_000 + now_ns / 1_000_000;
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[8..].copy_from_slice(&self.requests.to_be_bytes());
        bytes[6] = 0x70;
        bytes[8] = 0x80;
        RequestId::from_bytes(bytes).unwrap()
    }

    /// Lets a request take effect; answers it.
    pub(crate) fn ask(&mut self, now_ns: u64, id: RequestId, asked: &Asked) -> Answer {
        let request = Request {
            tenant: TENANT.to_owned(),
            actor: ACTOR.to_owned(),
            request_id: id,
            operation: self.operation(asked),
        };
        let outcome = self.command(now_ns, &[Item::Client(request)], false);
        let answer = answer(outcome, id);
        assert!(matches!(asked, Asked::Receipt { .. }) || !self.lines.is_empty());
        answer
    }

    /// Lets time take effect.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        self.command(now_ns, &[Item::Tick], false);
    }

    /// Closes the group; the size is then due for a checkpoint.
    pub(crate) fn seal(&mut self, now_ns: u64) {
        self.command(now_ns, &[], true);
    }

    fn command(&mut self, now_ns: u64, items: &[Item], closes: bool) -> Option<Outcome> {
        let stamp = Stamp {
            time: Micros(START_US + now_ns / 1_000),
            seed: sha3_256(&self.commands.to_be_bytes()),
            rules: RULES_V1,
        };
        self.commands += 1;
        let mut decision = fold::decide(&self.state, &stamp, items, closes).unwrap();
        self.state.apply(&decision.changes);
        let lines = decision.entries.into_iter().map(|(_, line)| line);
        self.lines
            .extend(lines.map(|line| String::from_utf8(line).unwrap()));
        decision.outcomes.pop()
    }

    fn operation(&self, asked: &Asked) -> Operation {
        let revoke = |key: &str, output: &str| Revoke {
            fingerprint: fingerprint(key),
            output_hash: hex::decode(output).unwrap().try_into().unwrap(),
            reason: "wrong".to_owned(),
        };
        match asked {
            Asked::Get { key } => Operation::Get(Get {
                fingerprint: fingerprint(key),
                semantic: None,
            }),
            Asked::Set {
                key,
                output,
                ttl_ms,
            } => Operation::Set(Box::new(Set {
                fields: self.fields[key].clone(),
                output_hash: hex::decode(output).unwrap().try_into().unwrap(),
                output_len: 6,
                media_type: "text/plain".to_owned(),
                ttl_ms: *ttl_ms,
                told: Told::default(),
                semantic: None,
            })),
            Asked::Revoke { key, output } => Operation::Revoke(revoke(key, output)),
            Asked::Reinstate { key, output } => Operation::Reinstate(revoke(key, output)),
            Asked::Supersede { key, successor } => Operation::Supersede(Supersede {
                fingerprint: fingerprint(key),
                successor: fingerprint(successor),
                reason: "newer".to_owned(),
            }),
            Asked::Attest { .. } | Asked::Receipt { .. } => unreachable!("not asked here"),
        }
    }
}

/// The digest of an output known by a name.
pub(crate) fn output(name: &str) -> String {
    hex::encode(sha3_256(name.as_bytes()))
}

/// The same bytes for the same seed.
pub(crate) fn bytes_from(seed: &str) -> impl FnMut(&mut [u8]) + use<> {
    let (seed, mut block) = (seed.to_owned(), 0_u64);
    move |target: &mut [u8]| {
        for chunk in target.chunks_mut(32) {
            let bytes = sha3_256(format!("{seed}/{block}").as_bytes());
            chunk.copy_from_slice(&bytes[..chunk.len()]);
            block += 1;
        }
    }
}

fn fingerprint(key: &str) -> Fingerprint {
    let (_, hex) = key.split_once('/').unwrap();
    Fingerprint::parse(hex).unwrap()
}

fn answer(outcome: Option<Outcome>, id: RequestId) -> Answer {
    let (seq, time, replayed, found) = match outcome.unwrap() {
        Outcome::Hit(hit) => {
            let found = Found::Hit {
                output: hex::encode(hit.held.output_hash),
                version: hit.held.version,
                write_seq: hit.held.write_seq.0,
            };
            (hit.seq, hit.time, false, found)
        }
        Outcome::Miss(miss) => {
            let reason = miss.reason.map(|by| key_of(&by));
            (miss.seq, miss.time, false, Found::Missed(reason))
        }
        Outcome::Answered(answered) => {
            let found = found(answered.answer);
            (answered.seq, answered.time, answered.replayed, found)
        }
        other => unreachable!("{other:?}"),
    };
    Answer {
        seq: seq.0,
        time_us: Some(time.0),
        request: Some(id.to_string()),
        replayed,
        size: None,
        found,
    }
}

fn found(answer: fold::Answer) -> Found {
    match answer {
        fold::Answer::Conflict { held, .. } => Found::Conflict {
            held: hex::encode(held),
        },
        fold::Answer::Refused { refusal, .. } => Found::Refused {
            reason: refusal.code().to_owned(),
            successor: refusal.successor().map(|by| key_of(&by)),
        },
        fold::Answer::Reinstated { version, .. } => Found::Reinstated { version },
        fold::Answer::Revoked { version } => Found::Revoked { version },
        fold::Answer::Superseded { .. } => Found::Superseded,
        fold::Answer::Written {
            version,
            renewed,
            deadline,
        } => Found::Written {
            version,
            renewed,
            expires_us: deadline.0,
        },
        fold::Answer::Attested | fold::Answer::ModelSuperseded => unreachable!("not asked here"),
    }
}

fn key_of(subject: &Subject) -> String {
    match subject {
        Subject::Fingerprint(fingerprint) => format!("{TENANT}/{}", fingerprint.to_hex()),
        other => other.to_string(),
    }
}
