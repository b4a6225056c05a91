//! Every crash of ledger, marker and store together, over an engine that syncs nothing.
//!
//! The engines of the product open files of their own, which no simulated disk sees. This one keeps
//! each record in a file and promises as little as they do (`StateStore::keep`), so a crash leaves of
//! a keep whatever subset it likes; the folders are switched by the product's own code.

use super::*;
use crate::env::sim::every_crash::{Pace, every_crash};
use crate::state::folder::Folder;
use crate::state::store::{Found, KeepError};

struct FileEngine(Folder<SimDisk>, SimDisk);

struct FileStore {
    disk: SimDisk,
    dir: String,
}

const CLAIM: &str = "claim";

impl FileEngine {
    fn boxed(disk: &SimDisk) -> Box<dyn Engine> {
        Box::new(Self(Folder::on(disk, "files"), disk.clone()))
    }
}

impl Engine for FileEngine {
    fn open(&self) -> Result<Arc<dyn StateStore>, KeepError> {
        let dir = self.0.settle(false).map_err(unreadable)?;
        let disk = self.1.clone();
        Ok(Arc::new(FileStore { disk, dir }))
    }

    fn wipe(&self) -> Result<(), KeepError> {
        self.0.wipe()
    }
}

impl FileStore {
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, KeepError> {
        let path = format!("{}/{name}", self.dir);
        self.disk.read(&path).map_err(unreadable)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let path = format!("{}/{name}", self.dir);
        let file = self.disk.open(&path, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_all_at(bytes, 0)
    }

    fn forget(&self, name: &str) -> std::io::Result<()> {
        let path = format!("{}/{name}", self.dir);
        match self.disk.stat(&path)? {
            Some(_) => self.disk.remove_file(&path),
            None => Ok(()),
        }
    }
}

impl StateStore for FileStore {
    fn claim(&self) -> Result<Option<Claim>, KeepError> {
        let bytes = self.read(CLAIM)?;
        let claim = |bytes: Vec<u8>| Claim::from_bytes(&bytes).ok_or(KeepError("torn".into()));
        bytes.map(claim).transpose()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KeepError> {
        self.read(&hex::encode(key))
    }

    fn range(&self, from: Bound<&[u8]>, limit: usize) -> Result<Found, KeepError> {
        let names = self.disk.list(&self.dir).map_err(unreadable)?.into_iter();
        let keys = names.filter_map(|found| hex::decode(found.name).ok());
        let behind = |key: &Vec<u8>| match from {
            Bound::Unbounded => true,
            Bound::Included(from) => &key[..] >= from,
            Bound::Excluded(from) => &key[..] > from,
        };
        let record = |key: Vec<u8>| Ok((key.clone(), self.get(&key)?.unwrap_or_default()));
        keys.filter(behind).take(limit).map(record).collect()
    }

    fn keep(&self, changes: &[Change], claim: &Claim) -> Result<(), KeepError> {
        let write = || {
            for (key, record) in changes {
                match record {
                    Some(record) => self.write(&hex::encode(key), record)?,
                    None => self.forget(&hex::encode(key))?,
                }
            }
            self.write(CLAIM, &claim.to_bytes())
        };
        write().map_err(unreadable)
    }
}

/// INV-5.
#[tokio::test]
async fn a_crash_at_any_step_of_a_keep_costs_at_most_a_fold_and_never_a_record() {
    let disk = SimDisk::new();
    disk.record();
    let mut node = Node::open(&disk, FileEngine::boxed(&disk), 0);
    // By size of the ledger the fold of it; by step which of these was durable.
    let mut folds = BTreeMap::from([(TreeSize(0), node.digest())]);
    let mut durable = vec![(disk.history_len(), TreeSize(0))];
    for (round, commands) in [1, 1, 2].into_iter().enumerate() {
        node.run(commands);
        folds.insert(node.ledger.size(), node.digest());
        let cut = node.mark();
        durable.push((disk.history_len(), node.ledger.size()));
        node.fold.keep(&cut, node.markers.newest().size).unwrap();
        if round == 1 {
            // Its store is of no use to the next start, which deletes it.
            let dir = Folder::on(&disk, "files").settle(false).unwrap();
            disk.remove_file(&format!("{dir}/{CLAIM}")).unwrap();
            node = Node::open(&disk, FileEngine::boxed(&disk), node.commands);
            assert!(matches!(node.origin, StateOrigin::Rebuilt { .. }));
        }
    }
    let history = disk.history().unwrap();
    let (mut loaded, mut rebuilt) = (BTreeMap::new(), 0_usize);
    let pace = Pace {
        again: 300,
        again_killed: 60,
        closely: 0..0,
        torn: 0,
    };
    let states = every_crash(&history, pace, async |disk, at| {
        let node = Node::open(disk, FileEngine::boxed(disk), 0);
        let size = node.ledger.size();
        let floor = durable.iter().rev().find(|(step, _)| *step <= at.step);
        assert!(floor.is_none_or(|(_, floor)| size >= *floor), "{at:?}");
        assert_eq!(Some(&node.digest()), folds.get(&size), "{at:?}");
        match node.origin {
            StateOrigin::Loaded { size } => *loaded.entry(size).or_insert(0) += 1,
            StateOrigin::Rebuilt { .. } => rebuilt += 1,
        }
        size
    })
    .await;
    let steps = history.len();
    println!("state: {steps} steps, {states} states, {rebuilt} folded, loaded {loaded:?}");
    assert!(loaded.len() >= 3 && rebuilt > states / 10);
    assert!(states > 1_000, "only {states} states");
}
