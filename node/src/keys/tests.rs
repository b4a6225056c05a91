//! What a node is known by to others: it must not be somebody else after a crash.
#![allow(clippy::unwrap_used, reason = "test")]

use candor_ledger::canonical::Value;
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{ClusterId, Genesis, LogKeys, Member, Params};
use candor_ledger::fold::RULES_V1;

use super::*;
use crate::env::sim::every_crash::{At, Pace, every_crash};
use crate::env::sim::{SimDisk, SimEnv};
use crate::genesis::StoredGenesis;
use crate::identity::{Identity, LogMark, PeerMemory};

const NODE: NodeId = NodeId(3);

/// What one start told others.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    incarnation: String,
    boot_id: String,
    cosigner: Option<[u8; 32]>,
    genesis: Option<[u8; 32]>,
    /// Up to where it remembers another node's log.
    acknowledged: u64,
}

/// One start, up to where it would listen. `seed` makes its random draws its own.
fn start(disk: &SimDisk, seed: u64) -> (Identity, Keys, Option<StoredGenesis>, PeerMemory) {
    let env = SimEnv::new(disk.clone(), seed);
    let identity = Identity::start(&env, NODE.0).unwrap();
    let keys = Keys::load(&env, NODE).unwrap();
    let genesis = StoredGenesis::load(&env).unwrap();
    (identity, keys, genesis, PeerMemory::load(&env).unwrap())
}

/// Whether a peer that has acknowledged up to here is still known to have.
fn remembers(memory: &PeerMemory, index: u64) -> bool {
    let back = LogMark {
        term: 1,
        index: index.saturating_sub(1),
    };
    let boots = ["b1", "b2"].map(str::to_owned);
    memory.clone().admit(1, "aa", &boots, back).is_err()
}

fn told(disk: &SimDisk, seed: u64) -> (Identity, Told) {
    let (identity, keys, genesis, memory) = start(disk, seed);
    let told = Told {
        incarnation: identity.incarnation.clone(),
        boot_id: identity.boot_id().to_owned(),
        cosigner: keys.cosigner.map(|key| key.public().key),
        genesis: genesis.map(|genesis| genesis.digest),
        acknowledged: (1..4)
            .filter(|index| remembers(&memory, *index))
            .count()
            .try_into()
            .unwrap(),
    };
    (identity, told)
}

fn genesis(keys: &Keys) -> Vec<u8> {
    let log = keys.log.as_ref().unwrap().key_set();
    let own = keys.cosigner.as_ref().unwrap().public();
    let body = Genesis {
        origin: log.origin().to_owned(),
        cluster_id: ClusterId([1; 16]),
        keys: LogKeys::of(log),
        members: vec![Member {
            node: NODE,
            cosigner: own.key,
        }],
        rules: RULES_V1,
        params: Params::DEFAULT,
        former: None,
    };
    Value::Object(body.to_object()).to_bytes()
}

#[tokio::test]
async fn a_crash_at_any_step_of_the_first_starts_leaves_a_node_what_it_told_others_to_be() {
    let disk = SimDisk::new();
    let mut draws = 0_u64;
    let mut fill = |bytes: &mut [u8]| {
        for piece in bytes.chunks_mut(32) {
            draws += 1;
            let hash = sha3_256(&draws.to_le_bytes());
            piece.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        }
    };
    let log = SigningKeys::generate("log.example/acme", &mut fill).unwrap();
    disk.create_dir_all("keys").unwrap();
    disk.sync_dir("").unwrap();
    let text = log.to_secret_text();
    disk.write_durable(LOG_KEY_PATH, text.as_bytes(), MODE_SECRET)
        .unwrap();
    disk.record();

    // By step, what anybody may have heard by then.
    let mut heard: Vec<(usize, Told)> = Vec::new();
    for life in 1..=2 {
        let (_, keys, _, mut memory) = start(&disk, life);
        let env = SimEnv::new(disk.clone(), 10 + life);
        let bytes = genesis(&keys);
        StoredGenesis::prepare(&env, &bytes, NODE, &keys).unwrap();
        let mark = LogMark {
            term: 1,
            index: life,
        };
        memory.admit(1, "aa", &["b1".to_owned()], mark).unwrap();
        memory.acknowledged(1, mark);
        memory.save(&env).unwrap();
        let (_, told) = told(&disk, 20 + life);
        heard.push((disk.history_len(), told));
        disk.kill();
    }
    let history = disk.history().unwrap();
    let pace = Pace {
        // A start in this build takes 50 ms: it derives the log's keys.
        again: 100,
        again_killed: 8,
        closely: 0..0,
        torn: 0,
    };
    let mut lives = 100;
    let states = every_crash(&history, pace, async |disk, at: &At| {
        lives += 1;
        let (identity, told) = told(disk, lives);
        let last = heard.iter().rev().find(|(step, _)| *step <= at.step);
        if let Some((_, last)) = last {
            assert_eq!(told.incarnation, last.incarnation, "{at:?}");
            assert!(identity.boot_ids.contains(&last.boot_id), "{at:?}");
            assert_eq!(told.cosigner, last.cosigner, "{at:?}");
            assert_eq!(told.genesis, last.genesis, "{at:?}");
            assert!(told.acknowledged >= last.acknowledged, "{at:?}");
        }
        // The boot id is of one start; all else is told as it was found.
        Told {
            boot_id: String::new(),
            ..told
        }
    })
    .await;
    println!(
        "identity, keys, genesis: {} steps, {states} states",
        history.len()
    );
    assert!(states > 200, "only {states} states");
}
