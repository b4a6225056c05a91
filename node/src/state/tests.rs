//! The state over its store against the fold of the ledger.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use candor_ledger::digest::{ChainHash, TaggedDigest, sha3_256};
use candor_ledger::entry::{ClusterId, Genesis, LogKeys, Member, Told};
use candor_ledger::fingerprint::{ExactFields, FingerprintFields};
use candor_ledger::fold::{Get, Item, Operation, Params, RULES_V1, Request, Set, Stamp, decide};
use candor_ledger::ids::{NodeId, RequestId};
use candor_ledger::time::Micros;

mod crash;
mod layers;

use super::windows::WindowLimits;
use super::*;
use crate::env::real::RealDisk;
use crate::env::sim::SimDisk;
use crate::env::{DiskFile as _, OpenMode};
use crate::fold::Fold;
use crate::store::{Ledger, MarkerWriter};

/// 2026-05-14T10:00:00Z
const START: Micros = Micros(1_778_752_800_000_000);

/// Ledger and state of one node, without consensus.
struct Node<D: Disk> {
    ledger: Ledger<D>,
    markers: MarkerWriter<D>,
    fold: Fold,
    origin: StateOrigin,
    commands: u64,
}

impl<D: Disk> Node<D> {
    fn open(disk: &D, engine: Box<dyn Engine>, commands: u64) -> Self {
        let opened = Ledger::open(disk.clone()).unwrap();
        let reader = opened.ledger.reader();
        let (state, origin) = open(engine.as_ref(), tiny(), &reader, &opened.marker).unwrap();
        assert_eq!(state.claim().size, opened.marker.size);
        assert_eq!(state.claim().head, opened.marker.head);
        Self {
            ledger: opened.ledger,
            markers: opened.markers,
            fold: Fold::new(state, engine),
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
            let decision = decide(&*self.fold.read(), &stamp, &items, closes).unwrap();
            let lines: Vec<&[u8]> = decision.entries.iter().map(|(_, line)| &line[..]).collect();
            self.ledger.append(&lines).unwrap();
            self.fold.apply(&decision.changes).unwrap();
            self.commands += 1;
        }
    }

    fn mark(&mut self) -> Cut {
        let draft = self.ledger.draft_marker(None, None, TreeSize(0));
        let cut = self.fold.cut();
        self.markers.write(draft).unwrap();
        cut
    }

    /// Writes a marker and then the store.
    fn settle(&mut self) -> Result<(), KeepError> {
        let cut = self.mark();
        self.fold.keep(&cut, self.markers.newest().size)
    }

    fn digest(&self) -> StateDigest {
        self.fold.read().digest()
    }
}

/// Room for a handful of records in each layer.
pub(super) fn tiny() -> MemoryLimits {
    MemoryLimits {
        unkept_bytes: 16 * 1024,
        cache_bytes: 2 * 1024,
        filter_bytes: 64,
        store_bytes: 1 << 20,
        windows: WindowLimits {
            windows_max: 2,
            keys_max: 3,
        },
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
    let mut node = Node::open(&SimDisk::new(), Box::new(MemoryEngine), 0);
    node.run(commands);
    node.digest()
}

const ENGINES: [StateEngine; 2] = [StateEngine::Fjall, StateEngine::Sled];

fn engine<D: Disk>(disk: &D, engine: StateEngine) -> Box<dyn Engine> {
    let config = StateSection {
        engine,
        memory_bytes: 16 << 20,
    };
    engine_in(disk, &config).0
}

fn open_real(disk: &RealDisk, kind: StateEngine, commands: u64) -> Node<RealDisk> {
    wait_for_lock(disk);
    Node::open(disk, engine(disk, kind), commands)
}

/// Threads of sled may hold its file, and the lock on it, a moment longer than the handle that was
/// dropped. A node's process opens the store once; a test opens it again and again.
fn wait_for_lock(disk: &RealDisk) {
    let dirs = disk
        .stat("state")
        .unwrap()
        .map(|_| disk.list("state").unwrap());
    let sleds = dirs
        .into_iter()
        .flatten()
        .map(|dir| format!("state/{}/db", dir.name));
    for path in sleds.filter(|path| disk.stat(path).unwrap().is_some()) {
        let started = tokio::time::Instant::now();
        while disk.lock(&path).is_err() {
            assert!(started.elapsed().as_secs() < 10, "the lock is still held");
        }
    }
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
/// The folder with exactly these files. Engines make files larger than what they have written, so
/// zeros at the end are not written but left out.
fn put_back(disk: &RealDisk, files: &BTreeMap<String, Vec<u8>>) {
    if disk.stat("state").unwrap().is_some() {
        disk.remove_dir_all("state").unwrap();
    }
    for (path, bytes) in files {
        let (dir, _) = path.rsplit_once('/').unwrap();
        disk.create_dir_all(dir).unwrap();
        let file = disk.open(path, OpenMode::CreateNew).unwrap();
        let written = written(bytes);
        file.write_all_at(&bytes[..written], 0).unwrap();
        file.set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
    }
}

fn written(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |at| at + 1)
}

/// INV-5.
#[test]
fn a_start_takes_the_store_folds_the_rest_and_equals_a_state_that_never_stopped() {
    for kind in ENGINES {
        starts_and_equals(kind);
    }
    // On a simulated disk nothing is kept, and the state is the same.
    let sim = SimDisk::new();
    let mut hot = Node::open(&sim, engine(&sim, StateEngine::Fjall), 0);
    hot.run(40);
    hot.settle().unwrap();
    let cold = Node::open(&sim, engine(&sim, StateEngine::Fjall), 40);
    assert!(matches!(cold.origin, StateOrigin::Rebuilt { .. }));
    assert_eq!(cold.digest(), hot.digest());
    assert_eq!(cold.fold.read().claim(), hot.fold.read().claim());
}

fn starts_and_equals(kind: StateEngine) {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let mut node = open_real(&disk, kind, 0);
    assert!(matches!(node.origin, StateOrigin::Rebuilt { .. }));
    let mut kept_at = TreeSize(0);
    for round in 1..=4 {
        node.run(20);
        node.settle().unwrap();
        node.run(5);
        node.settle().unwrap();
        kept_at = node.ledger.size();
        // A marker without a cut: the next start folds these.
        node.run(8);
        drop(node.mark());
        drop(node);
        node = open_real(&disk, kind, round * 33);
        assert_eq!(node.origin, StateOrigin::Loaded { size: kept_at });
        assert_eq!(node.digest(), digest_after(round * 33));
    }
    assert!(kept_at > TreeSize(100));
}

#[test]
fn a_store_that_is_gone_older_or_foreign_costs_no_more_than_a_fold() {
    for kind in ENGINES {
        costs_no_more_than_a_fold(kind);
    }
}

fn costs_no_more_than_a_fold(kind: StateEngine) {
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let disk = RealDisk::open(folder.path()).unwrap();
    let mut node = open_real(&disk, kind, 0);
    node.run(15);
    node.settle().unwrap();
    let older_size = node.ledger.size();
    drop(node);
    let older = dump(&disk, "state");
    let mut node = open_real(&disk, kind, 15);
    node.run(30);
    node.settle().unwrap();
    drop(node);

    // Records of another ledger, sound in themselves, and more of them than this ledger has.
    let foreign = RealDisk::open(other.path()).unwrap();
    let mut node = open_real(&foreign, kind, 100);
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
        let mut node = open_real(&disk, kind, 45);
        match (&node.origin, origin) {
            (StateOrigin::Loaded { size }, Some(expected)) => assert_eq!(*size, expected),
            (StateOrigin::Rebuilt { .. }, None) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(node.digest(), digest_after(45));
        // The store is whole again.
        node.settle().unwrap();
        let size = node.ledger.size();
        drop(node);
        let node = open_real(&disk, kind, 45);
        assert_eq!(node.origin, StateOrigin::Loaded { size });
        assert_eq!(node.digest(), digest_after(45));
    }
}

#[test]
fn no_changed_byte_in_the_files_of_a_store_changes_the_state() {
    for kind in ENGINES {
        let rebuilt = flips(kind);
        assert!(rebuilt > 0, "{kind:?}");
    }
}

fn flips(kind: StateEngine) -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let open_small = || -> Node<RealDisk> {
        wait_for_lock(&disk);
        let commands = 60;
        match kind {
            // Small enough that there are tables on disk, not the journal alone.
            StateEngine::Fjall => {
                let mut small = FjallEngine::new(&disk, 1 << 20).unwrap();
                small.table_bytes = 4 * 1024;
                Node::open(&disk, Box::new(small), commands)
            }
            StateEngine::Sled => Node::open(&disk, engine(&disk, kind), commands),
        }
    };
    let mut node = open_small();
    node.commands = 0;
    for _ in 0..6 {
        node.run(10);
        node.settle().unwrap();
    }
    drop(node);
    let whole = dump(&disk, "state");
    let expected = digest_after(60);
    let mut rebuilt = 0;
    let worth = whole.iter().filter(|(_, bytes)| bytes.len() > 100);
    for (path, bytes) in worth {
        let written = written(bytes);
        for part in 0..2 {
            put_back(&disk, &whole);
            let file = disk.open(path, OpenMode::ReadWrite).unwrap();
            let at = written * part / 2;
            let place = u64::try_from(at).unwrap();
            file.write_all_at(&[bytes[at] ^ 0x10], place).unwrap();
            let node = open_small();
            assert_eq!(node.digest(), expected, "`{path}` part {part}");
            rebuilt += u32::from(matches!(node.origin, StateOrigin::Rebuilt { .. }));
        }
    }
    rebuilt
}

#[test]
fn sled_keeps_a_large_change_in_several_batches_and_counts_it_from_the_last_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    let small = |batch_max| {
        wait_for_lock(&disk);
        let mut store = SledEngine::new(&disk, 1 << 20).unwrap();
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
    assert_eq!(node.digest(), digest_after(39));
    drop(node);
    // Between two batches there is no claim.
    wait_for_lock(&disk);
    let [dir] = &disk.list("state").unwrap()[..] else {
        panic!("more than one store");
    };
    let path = disk.real_path(&format!("state/{}", dir.name)).unwrap();
    let db = ::sled::open(path).unwrap();
    db.remove([0]).unwrap().unwrap();
    drop(db);
    let node = open_real(&disk, StateEngine::Sled, 39);
    assert!(matches!(node.origin, StateOrigin::Rebuilt { .. }));
    assert_eq!(node.digest(), digest_after(39));
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

impl Engine for Shelf {
    fn open(&self) -> Result<Arc<dyn StateStore>, KeepError> {
        Ok(Arc::new(self.clone()))
    }

    fn wipe(&self) -> Result<(), KeepError> {
        *self.0.lock().unwrap() = Shelved::default();
        Ok(())
    }
}

impl Shelf {
    fn asked(&self) -> Result<MutexGuard<'_, Shelved>, KeepError> {
        let shelved = self.0.lock().unwrap();
        if shelved.fails {
            return Err(KeepError("no room".to_owned()));
        }
        Ok(shelved)
    }
}

impl StateStore for Shelf {
    fn claim(&self) -> Result<Option<Claim>, KeepError> {
        Ok(self.asked()?.claim)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeepError> {
        Ok(self.asked()?.records.get(key).cloned())
    }

    fn range(&self, from: Bound<&[u8]>, limit: usize) -> Result<Found, KeepError> {
        let shelved = self.asked()?;
        let range = shelved.records.range::<[u8], _>((from, Bound::Unbounded));
        let pairs = range.map(|(key, record)| (key.clone(), record.clone()));
        Ok(pairs.take(limit).collect())
    }

    fn keep(&self, changes: &[Change], claim: &Claim) -> Result<(), KeepError> {
        let mut shelved = self.asked()?;
        for (key, record) in changes {
            match record {
                Some(record) => drop(shelved.records.insert(key.to_vec(), record.to_vec())),
                None => drop(shelved.records.remove(&key[..])),
            }
        }
        shelved.claim = Some(*claim);
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
        ("damaged", garbled),
        ("none", Shelved::default()),
    ];
    for (reason, shelved) in bad {
        let shelf = Shelf(Arc::new(Mutex::new(shelved)));
        let mut node = Node::open(&behind, Box::new(shelf.clone()), 25);
        let StateOrigin::Rebuilt { why } = &node.origin else {
            panic!("{reason}: {:?}", node.origin);
        };
        assert!(why.contains(reason), "{reason}: {why}");
        assert_eq!(node.digest(), claim.digest);
        node.settle().unwrap();
        assert_eq!(shelf.0.lock().unwrap().claim, Some(claim), "{reason}");
    }
    let node = Node::open(&behind, Box::new(Shelf(Arc::new(Mutex::new(good)))), 25);
    assert_eq!(node.origin, StateOrigin::Loaded { size: claim.size });
}

#[test]
fn a_walk_over_the_store_finds_a_record_that_nobody_asks_for() {
    let (disk, shelf) = (SimDisk::new(), Shelf::default());
    let mut node = Node::open(&disk, Box::new(shelf.clone()), 0);
    node.run(40);
    node.settle().unwrap();
    let mut walk = node.fold.read().stored();
    let kept: usize = std::iter::from_fn(|| walk.step().unwrap()).sum();
    assert!(kept > 10_000, "{kept} bytes");
    let mut shelved = shelf.0.lock().unwrap();
    let (key, mut record) = shelved.records.pop_last().unwrap();
    record[0] ^= 1;
    shelved.records.insert(key, record);
    drop(shelved);
    assert!(node.fold.read().failed().is_none());
    let mut walk = node.fold.read().stored();
    let found = std::iter::from_fn(|| walk.step().transpose()).find_map(Result::err);
    assert!(found.unwrap().0.contains("damaged"));
    assert!(node.fold.read().failed().is_some());
}

#[tokio::test]
async fn keeps_cuts_in_order_behind_the_marker_and_folds_again_after_a_failure() {
    let (disk, shelf) = (SimDisk::new(), Shelf::default());
    let mut node = Node::open(&disk, Box::new(shelf.clone()), 0);
    node.run(5);
    let early = node.fold.cut();
    let ahead = node.fold.keep(&early, node.markers.newest().size);
    let ahead = ahead.unwrap_err();
    assert!(ahead.0.contains("ahead of the durable marker"), "{ahead}");
    assert_eq!(shelf.0.lock().unwrap().claim, None);
    assert!(node.fold.read().failed().is_some());

    let mut node = Node::open(&disk, Box::new(shelf.clone()), 0);
    node.run(5);
    node.settle().unwrap();
    node.run(5);
    drop(node.mark());
    node.run(5);
    let missing = node.settle().unwrap_err();
    assert!(missing.0.contains("missing"), "{missing}");
    node.fold.room().await;

    // A store that failed once is asked nothing more, not even whether a key is absent.
    let mut node = Node::open(&disk, Box::new(shelf.clone()), 15);
    node.settle().unwrap();
    let digest = node.digest();
    let unseen = |actor: &str| Key::Request {
        tenant: "acme".to_owned(),
        request_id: layers::request_id(7),
        actor: actor.to_owned(),
    };
    assert_eq!(node.fold.read().get(&unseen("one")), Ok(None));
    shelf.0.lock().unwrap().fails = true;
    assert!(node.fold.read().get(&unseen("two")).is_err());
    shelf.0.lock().unwrap().fails = false;
    assert!(node.fold.read().get(&unseen("three")).is_err());
    assert!(node.settle().is_err());

    let until = node.ledger.size();
    node.fold
        .rebuild(&node.ledger.reader(), until)
        .await
        .unwrap();
    assert_eq!(node.digest(), digest);
    node.run(5);
    node.settle().unwrap();
    assert_eq!(node.digest(), digest_after(20));
}
