//! The copy of the state against the fold of the ledger.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candor_ledger::digest::{ChainHash, TaggedDigest, sha3_256};
use candor_ledger::entry::{ClusterId, Genesis, LogKeys, Member, Told};
use candor_ledger::fingerprint::{ExactFields, FingerprintFields};
use candor_ledger::fold::{Get, Item, Operation, Params, RULES_V1, Request, Set, Stamp, decide};
use candor_ledger::ids::{NodeId, RequestId};
use candor_ledger::time::Micros;

use super::*;
use crate::env::real::RealDisk;
use crate::env::sim::SimDisk;
use crate::store::{Ledger, MarkerWriter};

/// 2026-05-14T10:00:00Z
const START: Micros = Micros(1_778_752_800_000_000);

/// Ledger and state of one node, without consensus.
struct Node<D: Disk> {
    ledger: Ledger<D>,
    markers: MarkerWriter<D>,
    state: State,
    keeper: Keeper,
    origin: StateOrigin,
    commands: u64,
}

impl<D: Disk> Node<D> {
    fn open(disk: &D, store: Box<dyn StateStore>, commands: u64) -> Self {
        let opened = Ledger::open(disk.clone()).unwrap();
        let reader = opened.ledger.reader();
        let (state, keeper, origin) = open(store, &reader, &opened.marker).unwrap();
        assert_eq!(state.claim().size, opened.marker.size);
        assert_eq!(state.claim().head, opened.marker.head);
        Self {
            ledger: opened.ledger,
            markers: opened.markers,
            state,
            keeper,
            origin,
            commands,
        }
    }

    /// Applies commands, each the same on every node.
    fn run(&mut self, commands: u64) {
        for _ in 0..commands {
            let stamp = Stamp {
                time: START.plus_millis(self.commands * 700),
                seed: sha3_256(&self.commands.to_be_bytes()),
                rules: RULES_V1,
            };
            let items = items(self.commands, stamp.time);
            let closes = self.commands % 10 == 9;
            let decision = decide(&self.state, &stamp, &items, closes).unwrap();
            let lines: Vec<&[u8]> = decision.entries.iter().map(|(_, line)| &line[..]).collect();
            self.ledger.append(&lines).unwrap();
            self.state.apply(decision.changes);
            self.commands += 1;
        }
    }

    fn mark(&mut self) -> Delta {
        let draft = self.ledger.draft_marker(None, None, TreeSize(0));
        let delta = self.state.cut();
        self.markers.write(draft).unwrap();
        delta
    }

    /// Writes a marker and then the copy.
    fn settle(&mut self) -> Result<bool, KeepError> {
        let delta = self.mark();
        self.keeper.keep(&delta, self.markers.newest())
    }
}

/// Command `at`: writes, lookups, renewals, and ticks that expire, so records come, change and go.
fn items(at: u64, now: Micros) -> Vec<Item> {
    if at == 0 {
        return vec![Item::Genesis(Box::new(genesis()))];
    }
    let request = |number: u64, operation| {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&now.as_millis().to_be_bytes()[2..]);
        id[8..].copy_from_slice(&(at * 4 + number).to_be_bytes());
        (id[6], id[8]) = (0x70, 0x80);
        Item::Client(Request {
            tenant: ["acme", "other"][usize::try_from(at % 2).unwrap()].to_owned(),
            actor: "service-a".to_owned(),
            request_id: RequestId::from_bytes(id).unwrap(),
            operation,
        })
    };
    let set = Operation::Set(Box::new(Set {
        fields: fields(at % 13),
        output_hash: sha3_256(b"42"),
        output_len: 2,
        media_type: "text/plain".to_owned(),
        ttl_ms: 2_000 + at % 7 * 1_000,
        told: Told::default(),
        semantic: None,
    }));
    let get = Operation::Get(Get {
        fingerprint: fields(at % 5).fingerprint(),
        semantic: None,
    });
    vec![request(1, set), request(2, get), Item::Tick]
}

fn fields(prompt: u64) -> FingerprintFields {
    let prompt_hash = TaggedDigest::sha3(sha3_256(&prompt.to_be_bytes())).to_string();
    FingerprintFields::Exact(ExactFields {
        model_name: "gpt-4-0613".to_owned(),
        model_version: "checkpoint-1".to_owned(),
        prompt_hash,
        temperature: "0".to_owned(),
        top_p: "1".to_owned(),
        system_prompt_hash: String::new(),
        hardware_class: "a100-80gb".to_owned(),
        parameters: "{}".to_owned(),
    })
}

fn genesis() -> Genesis {
    // RFC 8032 section 7.1, test 1.
    let ed25519 = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    Genesis {
        origin: "log.example/acme".to_owned(),
        cluster_id: ClusterId([0xc1; 16]),
        keys: LogKeys {
            suite: 1,
            raw: [hex::decode(ed25519).unwrap(), vec![7; 1_952], vec![7; 32]],
        },
        members: vec![Member {
            node: NodeId(1),
            cosigner: [1; 32],
        }],
        rules: RULES_V1,
        params: Params::DEFAULT,
        former: None,
    }
}

/// The state after so many commands on a node that keeps nothing.
fn digest_after(commands: u64) -> StateDigest {
    let mut node = Node::open(&SimDisk::new(), Box::new(MemoryStore), 0);
    node.run(commands);
    node.state.digest()
}

fn open_real(disk: &RealDisk, commands: u64) -> Node<RealDisk> {
    wait_for_lock(disk);
    Node::open(disk, store_in(disk), commands)
}

/// Threads of sled may hold its file, and the lock on it, a moment longer than the handle that was
/// dropped. A node's process opens the copy once; a test opens it again and again.
fn wait_for_lock(disk: &RealDisk) {
    if disk.stat("state/db").unwrap().is_none() {
        return;
    }
    let started = tokio::time::Instant::now();
    while started.elapsed().as_secs() < 10 {
        if disk.lock("state/db").is_ok() {
            return;
        }
    }
    panic!("the copy's lock is still held");
}

fn dump(disk: &RealDisk, dir: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for found in disk.list(dir).unwrap() {
        let path = format!("{dir}/{}", found.name);
        if found.is_dir {
            files.extend(dump(disk, &path));
        } else {
            let bytes = disk.read(&path).unwrap().unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

/// The folder with exactly these files.
fn put_back(disk: &RealDisk, files: &BTreeMap<String, Vec<u8>>) {
    if disk.stat("state").unwrap().is_some() {
        disk.remove_dir_all("state").unwrap();
    }
    for (path, bytes) in files {
        let (dir, _) = path.rsplit_once('/').unwrap();
        disk.create_dir_all(dir).unwrap();
        disk.write_durable(path, bytes, 0o644).unwrap();
    }
}

/// INV-5.
#[test]
fn a_start_loads_the_copy_folds_the_rest_and_equals_a_state_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let mut node = open_real(&disk, 0);
    assert!(matches!(node.origin, StateOrigin::Rebuilt { .. }));
    let mut kept_at = TreeSize(0);
    for round in 1..=4 {
        node.run(20);
        assert!(node.settle().unwrap());
        node.run(5);
        assert!(node.settle().unwrap());
        kept_at = node.ledger.size();
        // A marker without a copy: the next start folds these.
        node.run(8);
        drop(node.mark());
        drop(node);
        node = open_real(&disk, round * 33);
        assert_eq!(node.origin, StateOrigin::Loaded { size: kept_at });
        assert_eq!(node.state.digest(), digest_after(round * 33));
    }
    // On a simulated disk nothing is kept, and the state is the same.
    assert!(kept_at > TreeSize(100));
    let sim = SimDisk::new();
    let mut hot = Node::open(&sim, store_in(&sim), 0);
    hot.run(40);
    assert!(!hot.settle().unwrap());
    let cold = Node::open(&sim, store_in(&sim), 40);
    assert!(matches!(cold.origin, StateOrigin::Rebuilt { .. }));
    assert_eq!(cold.state.digest(), hot.state.digest());
    assert_eq!(cold.state.claim(), hot.state.claim());
}

#[test]
fn a_copy_that_is_gone_older_or_foreign_costs_no_more_than_a_fold() {
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let disk = RealDisk::open(folder.path()).unwrap();
    let mut node = open_real(&disk, 0);
    node.run(15);
    node.settle().unwrap();
    let older_size = node.ledger.size();
    drop(node);
    let older = dump(&disk, "state");
    let mut node = open_real(&disk, 15);
    node.run(30);
    node.settle().unwrap();
    drop(node);

    // Records of another ledger, sound in themselves, and more of them than this ledger has.
    let foreign = RealDisk::open(other.path()).unwrap();
    let mut node = open_real(&foreign, 100);
    node.commands = 0;
    node.run(1);
    node.commands = 200;
    node.run(60);
    node.settle().unwrap();
    drop(node);
    let foreign = dump(&foreign, "state");

    for (files, origin) in [
        (BTreeMap::new(), None),
        (older, Some(older_size)),
        (foreign, None),
    ] {
        put_back(&disk, &files);
        let mut node = open_real(&disk, 45);
        match (&node.origin, origin) {
            (StateOrigin::Loaded { size }, Some(expected)) => assert_eq!(*size, expected),
            (StateOrigin::Rebuilt { .. }, None) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(node.state.digest(), digest_after(45));
        // The copy is whole again.
        assert!(node.settle().unwrap());
        let size = node.ledger.size();
        drop(node);
        let node = open_real(&disk, 45);
        assert_eq!(node.origin, StateOrigin::Loaded { size });
        assert_eq!(node.state.digest(), digest_after(45));
    }
}

#[test]
fn no_changed_byte_in_the_files_of_sled_changes_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let mut node = open_real(&disk, 0);
    node.run(60);
    node.settle().unwrap();
    drop(node);
    let whole = dump(&disk, "state");
    let expected = digest_after(60);
    let mut rebuilt = 0;
    for (path, bytes) in &whole {
        // sled makes its file larger than what it has written: places within the written part.
        let written = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        for part in 0..12 {
            let mut bytes = bytes.clone();
            let Some(byte) = bytes.get_mut(written * part / 12) else {
                continue;
            };
            *byte ^= 0x10;
            put_back(&disk, &whole);
            disk.write_durable(path, &bytes, 0o644).unwrap();
            let node = open_real(&disk, 60);
            assert_eq!(node.state.digest(), expected, "`{path}` part {part}");
            rebuilt += u32::from(matches!(node.origin, StateOrigin::Rebuilt { .. }));
        }
    }
    assert!(rebuilt > 5, "{rebuilt}");
}

#[test]
fn a_large_change_is_kept_in_several_batches_and_counts_from_the_last_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let small = |batch_max| {
        let mut store = SledStore::new(&disk).unwrap();
        store.batch_max = batch_max;
        Box::new(store)
    };
    let mut node = Node::open(&disk, small(7), 0);
    node.run(30);
    node.settle().unwrap();
    node.run(9);
    node.settle().unwrap();
    let size = node.ledger.size();
    drop(node);
    let node = Node::open(&disk, small(7), 39);
    assert_eq!(node.origin, StateOrigin::Loaded { size });
    assert_eq!(node.state.digest(), digest_after(39));
    drop(node);
    // Between two batches there is no claim.
    let db = ::sled::open(disk.real_path("state").unwrap()).unwrap();
    db.remove([0]).unwrap().unwrap();
    drop(db);
    let node = open_real(&disk, 39);
    assert!(matches!(node.origin, StateOrigin::Rebuilt { .. }));
    assert_eq!(node.state.digest(), digest_after(39));
}

/// A store whose content the test sees and changes.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Shelved>>);

#[derive(Clone, Default)]
struct Shelved {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    claim: Option<Claim>,
    fails: bool,
}

impl StateStore for Shelf {
    fn keeps(&self) -> bool {
        true
    }

    fn load(&mut self, take: &mut Take<'_>) -> Result<Option<Claim>, KeepError> {
        let shelved = self.0.lock().unwrap();
        for (key, record) in &shelved.records {
            take(key, record)?;
        }
        Ok(shelved.claim)
    }

    fn keep(&mut self, changes: &Changes, claim: &Claim) -> Result<(), KeepError> {
        let mut shelved = self.0.lock().unwrap();
        if shelved.fails {
            return Err(KeepError("no room".to_owned()));
        }
        for (key, record) in changes.iter() {
            match record {
                Some(record) => drop(shelved.records.insert(key.to_bytes(), record.to_bytes())),
                None => drop(shelved.records.remove(&key.to_bytes())),
            }
        }
        shelved.claim = Some(*claim);
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), KeepError> {
        *self.0.lock().unwrap() = Shelved::default();
        Ok(())
    }
}

#[test]
fn nothing_that_a_store_hands_over_is_believed_beyond_the_ledger() {
    let (disk, shelf) = (SimDisk::new(), Shelf::default());
    let mut node = Node::open(&disk, Box::new(shelf.clone()), 0);
    node.run(25);
    node.settle().unwrap();
    let good = shelf.0.lock().unwrap().clone();
    let behind = disk.fork();
    node.run(10);
    node.settle().unwrap();
    let ahead = shelf.0.lock().unwrap().clone();
    let claim = good.claim.unwrap();
    let with_claim = |claim| Shelved {
        claim: Some(claim),
        ..good.clone()
    };
    let mut fewer = good.clone();
    fewer.records.pop_last().unwrap();
    let mut stale = good.clone();
    for (key, record) in &mut stale.records {
        if let Some(later) = ahead.records.get(key).filter(|_| key[0] != 0x01) {
            record.clone_from(later);
        }
    }
    let mut garbled = good.clone();
    garbled.records.first_entry().unwrap().get_mut().push(0);
    let other_head = Claim {
        head: ChainHash([1; 32]),
        ..claim
    };
    let other_size = Claim {
        size: TreeSize(claim.size.0 - 1),
        ..claim
    };
    let bad = [
        ("ahead of the marker", ahead.clone()),
        ("head", with_claim(other_head)),
        ("head", with_claim(other_size)),
        ("claims", fewer),
        ("claims", stale),
        ("record", garbled),
        ("none", Shelved::default()),
    ];
    for (reason, shelved) in bad {
        let shelf = Shelf(Arc::new(Mutex::new(shelved)));
        let node = Node::open(&behind, Box::new(shelf.clone()), 25);
        let StateOrigin::Rebuilt { why } = &node.origin else {
            panic!("{reason}: {:?}", node.origin);
        };
        assert!(why.contains(reason), "{reason}: {why}");
        assert_eq!(node.state.digest(), claim.digest);
        assert!(shelf.0.lock().unwrap().records.is_empty(), "{reason}");
    }
    let node = Node::open(&behind, Box::new(Shelf(Arc::new(Mutex::new(good)))), 25);
    assert_eq!(node.origin, StateOrigin::Loaded { size: claim.size });
}

#[test]
fn keeps_deltas_in_order_behind_the_marker_and_stops_after_a_failure() {
    let (disk, shelf) = (SimDisk::new(), Shelf::default());
    let mut node = Node::open(&disk, Box::new(shelf.clone()), 0);
    node.run(5);
    let early = node.state.cut();
    let ahead = node.keeper.keep(&early, node.markers.newest()).unwrap_err();
    assert!(ahead.0.contains("ahead of the durable marker"), "{ahead}");
    assert_eq!(shelf.0.lock().unwrap().claim, None);

    let mut node = Node::open(&disk, Box::new(shelf.clone()), 0);
    node.run(5);
    assert!(node.settle().unwrap());
    node.run(5);
    drop(node.mark());
    node.run(5);
    let missing = node.settle().unwrap_err();
    assert!(missing.0.contains("missing"), "{missing}");
    assert!(!node.settle().unwrap(), "told once");
    assert_eq!(
        node.state.digest(),
        digest_after(15),
        "and the state goes on"
    );

    let mut node = Node::open(&disk, Box::new(shelf.clone()), 15);
    assert!(matches!(node.origin, StateOrigin::Loaded { .. }));
    shelf.0.lock().unwrap().fails = true;
    assert!(node.settle().is_err());
    shelf.0.lock().unwrap().fails = false;
    assert!(!node.settle().unwrap());
}
