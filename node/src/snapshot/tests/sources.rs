//! Fetching from sources that lie, stall, lag and die.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use candor_ledger::checkpoint::assemble_note;
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{ClusterId, Genesis, LogKeys, Member, Params};
use candor_ledger::fold::RULES_V1;
use candor_ledger::ids::NodeId;
use candor_ledger::signature::{CosignerKey, SigningKeys};
use candor_ledger::tree::consistency_path;
use tonic::Status;

use super::*;
use crate::consensus::membership_of;
use crate::env::Disk as _;
use crate::env::sim::{SimDisk, SimEnv};
use crate::peers::Page;
use crate::snapshot::fetch::{Fetcher, Sources};
use crate::snapshot::roster::Roster;
use crate::snapshot::{incoming, install};
use crate::store::{Ledger, Opened};

const ORIGIN: &str = "candor.example/log";
const OLD: u64 = 12;
const NEW: u64 = 90;
/// Entries a source sends at once.
const PAGE: u64 = 7;

/// A log that signs, and its members, who vouch.
struct Log {
    keys: SigningKeys,
    cosigners: Vec<CosignerKey>,
}

impl Log {
    fn new(seed: u8) -> Self {
        let mut draws = u16::from(seed) << 8;
        let mut fill = |bytes: &mut [u8]| {
            for piece in bytes.chunks_mut(32) {
                draws += 1;
                piece.copy_from_slice(&sha3_256(&draws.to_le_bytes())[..piece.len()]);
            }
        };
        let keys = SigningKeys::generate(ORIGIN, &mut fill).unwrap();
        let cosigner = |node| CosignerKey::generate(ORIGIN, NodeId(node), &mut fill).unwrap();
        let cosigners = (1..=3).map(cosigner).collect();
        Self { keys, cosigners }
    }

    fn roster(&self) -> Roster {
        let raw = self.keys.key_set();
        let member = |key: &CosignerKey| Member {
            node: key.public().node,
            cosigner: key.public().key,
        };
        Roster::of_genesis(&Genesis {
            origin: ORIGIN.to_owned(),
            cluster_id: ClusterId([1; 16]),
            keys: LogKeys::of(raw),
            members: self.cosigners.iter().map(member).collect(),
            rules: RULES_V1,
            params: Params::DEFAULT,
            former: None,
        })
    }

    fn note(&self, size: u64, vouching: usize) -> String {
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size: TreeSize(size),
            root: root_at(&nodes(size), TreeSize(size)).unwrap(),
            chain: ChainHash::of(&entry(size - 1)),
            keyset: self.keys.key_set().id(),
            sealed: Micros(1_700_000_000_000_000),
        };
        let text = checkpoint.text();
        let mut fill = |bytes: &mut [u8]| bytes.fill(9);
        let lines = self.keys.sign(text.as_bytes(), &mut fill).unwrap();
        let vouched = self.cosigners.iter().take(vouching).map(|key| {
            let line = key.sign(text.as_bytes(), 1_700_000_000).unwrap();
            (key.public().node, line)
        });
        assemble_note(&text, &lines, &vouched.collect()).encode()
    }

    fn manifest(&self, size: u64, vouching: usize) -> Manifest {
        let kept = [size / 4, size / 2].map(|size| {
            let note = self.note(size, 3);
            (size, crc32c::crc32c(note.as_bytes()))
        });
        let members = (1..=8).map(|node| (node, format!("node-{node}:1 node-{node}:2")));
        Manifest {
            membership: membership_of(members.collect()),
            note: self.note(size, vouching),
            kept: BTreeMap::from(kept),
            ..manifest(size)
        }
    }
}

/// What a source does with a question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    Honest,
    /// One bit of one entry is another.
    WrongByte,
    /// Nothing, where there is something.
    Short,
    /// Entries of another place.
    Stale,
    Stalls,
    Behind,
    /// Answers so many questions, and none after them.
    DiesAfter(usize),
}

struct Crowd {
    natures: BTreeMap<u64, Nature>,
    notes: BTreeMap<u64, String>,
    asked: BTreeMap<u64, AtomicUsize>,
    first: AtomicU64,
}

impl Crowd {
    fn of(log: &Log, natures: &[(u64, Nature)]) -> Arc<Self> {
        Arc::new(Self {
            natures: natures.iter().copied().collect(),
            notes: [NEW / 4, NEW / 2, NEW]
                .map(|size| (size, log.note(size, 3)))
                .into(),
            asked: natures
                .iter()
                .map(|(node, _)| (*node, AtomicUsize::new(0)))
                .collect(),
            first: AtomicU64::new(u64::MAX),
        })
    }

    fn asked(&self, node: u64) -> usize {
        self.asked[&node].load(Ordering::SeqCst)
    }

    async fn nature(&self, node: u64, address: &str) -> Result<Nature, Status> {
        assert_eq!(address, format!("node-{node}:1"));
        let Some(nature) = self.natures.get(&node).copied() else {
            return Err(Status::unavailable("down"));
        };
        let before = self.asked[&node].fetch_add(1, Ordering::SeqCst);
        match nature {
            Nature::Stalls => std::future::pending().await,
            Nature::Behind => Err(Status::out_of_range("shorter")),
            Nature::DiesAfter(most) if before >= most => Err(Status::unavailable("dead")),
            other => Ok(other),
        }
    }
}

impl Sources for Arc<Crowd> {
    async fn page(
        &self,
        node: u64,
        address: &str,
        range: Range<Seq>,
        proof: TreeSize,
    ) -> Result<Page, Status> {
        let nature = self.nature(node, address).await?;
        if range.start < range.end {
            self.first.fetch_min(range.start.0, Ordering::SeqCst);
        }
        let end = range.end.0.min(range.start.0 + PAGE);
        let mut sent = entries(range.start.0..end);
        match nature {
            Nature::WrongByte => {
                let mut bytes = sent
                    .pop()
                    .unwrap_or_else(|| Bytes::from_static(b"??"))
                    .to_vec();
                bytes[1] ^= 1;
                sent.push(bytes.into());
            }
            Nature::Short => sent.clear(),
            Nature::Stale => sent = entries(0..end - range.start.0),
            _ => {}
        }
        let path = consistency_path(&nodes(proof.0), TreeSize(end), proof).unwrap_or_default();
        Ok(Page {
            entries: sent,
            path,
        })
    }

    async fn note(
        &self,
        node: u64,
        address: &str,
        size: TreeSize,
    ) -> Result<Option<String>, Status> {
        let nature = self.nature(node, address).await?;
        let held = self.notes.get(&size.0).cloned();
        Ok(match nature {
            Nature::WrongByte => held.map(|text| text.replace("candor 1", "candor 2")),
            Nature::Short => None,
            _ => held,
        })
    }
}

fn old_ledger(disk: &SimDisk) -> Opened<SimDisk> {
    let mut opened = Ledger::open(disk.clone()).unwrap();
    if opened.marker.size.0 == 0 {
        opened.ledger.append(&entries(0..OLD)).unwrap();
        let draft = opened
            .ledger
            .draft_marker(Some(pos(OLD)), None, TreeSize(0));
        opened.markers.write(draft).unwrap();
    }
    opened
}

/// One life of a node that is offered a snapshot; ends when all is here.
async fn fetch(disk: &SimDisk, log: &Log, offer: &Manifest, crowd: &Arc<Crowd>) -> Progress {
    let opened = old_ledger(disk);
    let shelf = Shelf::load(disk, opened.marker.last_applied, TreeSize(OLD)).unwrap();
    let bytes = Bytes::from(offer.encode());
    assert!(matches!(
        shelf.offered(8, offer.at, Some(bytes)),
        Receiving::Fetching { .. }
    ));
    let roster = log.roster();
    let fetcher = Fetcher {
        env: SimEnv::new(disk.clone(), 1),
        node: 7,
        shelf: shelf.clone(),
        reader: opened.ledger.reader(),
        roster: Box::new(move || Some(roster.clone())),
        sources: Arc::clone(crowd),
    };
    tokio::select! {
        () = fetcher.run() => {}
        () = tokio::time::sleep(Duration::from_mins(50)) => {}
    }
    shelf.progress()
}

fn installed(disk: &SimDisk) -> Opened<SimDisk> {
    let opened = Ledger::open(disk.clone()).unwrap();
    install::grow(disk, opened).unwrap().0
}

#[tokio::test(start_paused = true)]
async fn a_source_that_sends_what_was_not_sealed_or_stalls_is_left_for_another() {
    let (log, disk) = (Log::new(1), SimDisk::new());
    let crowd = Crowd::of(
        &log,
        &[
            (1, Nature::WrongByte),
            (2, Nature::Short),
            (3, Nature::Stale),
            (4, Nature::Stalls),
            (5, Nature::Behind),
            (6, Nature::DiesAfter(3)),
            (8, Nature::Honest),
        ],
    );
    let progress = fetch(&disk, &log, &log.manifest(NEW, 2), &crowd).await;
    assert_eq!(progress.stage, Stage::Installing, "{progress:?}");
    assert_eq!((progress.done, progress.total), (NEW, NEW));
    assert_eq!(progress.notes, 2, "each note is progress");
    assert_eq!(progress.refused, 3);
    for liar in 1..=3 {
        assert!(crowd.asked(liar) <= 3, "a liar is asked again at once");
    }
    assert_eq!(
        crowd.first.load(Ordering::SeqCst),
        OLD,
        "its own entries are not fetched"
    );
    let opened = installed(&disk);
    assert_eq!(opened.marker.size, TreeSize(NEW));
    let kept: Vec<u64> = opened.marker.checkpoints.by_size.keys().copied().collect();
    assert_eq!(kept, [NEW / 4, NEW / 2]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_where_it_was_after_a_restart_and_under_another_leader() {
    let (log, disk) = (Log::new(2), SimDisk::new());
    let dying = Crowd::of(&log, &[(1, Nature::DiesAfter(6))]);
    let offer = log.manifest(NEW, 3);
    let progress = fetch(&disk, &log, &offer, &dying).await;
    assert_eq!(progress.stage, Stage::Fetching);
    let done = progress.done;
    assert!((OLD + 1..NEW).contains(&done), "{done}");

    // The process dies; the next leader's snapshot is another, of the same ledger.
    disk.kill();
    let honest = Crowd::of(&log, &[(8, Nature::Honest)]);
    let later = Manifest {
        at: pos(NEW + 5),
        ..offer
    };
    let progress = fetch(&disk, &log, &later, &honest).await;
    assert_eq!(progress.stage, Stage::Installing);
    assert_eq!(
        honest.first.load(Ordering::SeqCst),
        done,
        "nothing is fetched twice"
    );

    // The same with a byte gone bad meanwhile: what does not join is fetched again, not installed.
    let disk = SimDisk::new();
    let dying = Crowd::of(&log, &[(1, Nature::DiesAfter(6))]);
    fetch(&disk, &log, &later, &dying).await;
    disk.kill();
    disk.flip_bit(&format!("{}/{OLD:012}.jsonl", incoming::FOLDER), 40, 0)
        .unwrap();
    let honest = Crowd::of(&log, &[(1, Nature::WrongByte), (8, Nature::Honest)]);
    let progress = fetch(&disk, &log, &later, &honest).await;
    assert_eq!(progress.stage, Stage::Installing);
    assert_eq!(honest.first.load(Ordering::SeqCst), OLD);
    disk.kill();
    assert_eq!(installed(&disk).marker.size, TreeSize(NEW));
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_the_log_did_not_sign_or_no_majority_vouched_for_is_refused() {
    let (log, disk) = (Log::new(3), SimDisk::new());
    let crowd = Crowd::of(&log, &[(8, Nature::Honest)]);
    let foreign = Log::new(4).manifest(NEW, 3);
    let mut changed = log.manifest(NEW, 3);
    changed.note = changed.note.replace("sealed 2023", "sealed 2024");
    for refused in [foreign, changed, log.manifest(NEW, 1)] {
        let progress = fetch(&disk, &log, &refused, &crowd).await;
        assert_ne!(progress.stage, Stage::Installing);
        assert_eq!(disk.stat(incoming::INSTALL).unwrap(), None);
        disk.kill();
    }
    assert_eq!(installed(&disk).marker.size, TreeSize(OLD));
}
