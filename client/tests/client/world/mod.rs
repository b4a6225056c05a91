//! A cluster in one struct: the real rules over an in-memory ledger, really signed, served over a
//! real socket; and hooks that make it lie.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use candor_client::{Client, ClientBuilder, Surroundings};
use candor_ledger::checkpoint::{Checkpoint, assemble_note};
use candor_ledger::digest::{ChainHash, sha3_256, sha3_256_parts};
use candor_ledger::entry::{Body, ClusterId, Entry, Genesis, LogKeys, Member, Params};
use candor_ledger::fold::{
    Decision, Item, MemoryState, Operation, Outcome, RULES_V1, Request, Stamp, decide,
};
use candor_ledger::ids::{NodeId, RequestId, Seq, TreeSize};
use candor_ledger::policy::Policy;
use candor_ledger::signature::{CosignerKey, SUITE_1, SigningKeys};
use candor_ledger::time::Micros;
use candor_ledger::tree::{
    Frontier, MemoryNodes, NodeHash, consistency_path, inclusion_path, leaf_hash, root_at,
};
use candor_proto::audit_v1::{CheckpointProof, Proof};
use candor_proto::{audit_v1, cache_v1};
use tonic::Status;

mod past;
mod service;

pub use service::serve;

pub const ORIGIN: &str = "log.example/audit";
pub const TENANT: &str = "acme";
pub const ACTOR: &str = "service-a";

/// When every test begins: 2025-05-14T10:00:00Z.
pub const START: Micros = Micros(1_747_216_800_000_000);

/// Keys of the log and its three nodes; made once, cloned by forks.
pub struct Keys {
    pub log: SigningKeys,
    pub nodes: Vec<CosignerKey>,
}

/// What a request meets on its way in.
pub type Gate = Box<dyn FnMut(&mut World, &str, Option<&Request>) -> Option<Status> + Send>;
pub type GetLie = Box<dyn FnMut(&mut World, &mut cache_v1::GetResponse) + Send>;
pub type SetLie = Box<dyn FnMut(&mut World, &mut cache_v1::SetResponse) + Send>;
pub type ListLie = Box<dyn FnMut(&mut World, &mut audit_v1::ListLifecycleResponse) + Send>;
pub type PastLie = Box<dyn FnMut(&mut World, &mut cache_v1::GetAsOfResponse) + Send>;
pub type RangeLie = Box<dyn FnMut(&mut World, &mut audit_v1::ListRangeResponse) + Send>;
pub type CheckpointLie = Box<dyn FnMut(&mut World, &mut CheckpointProof) + Send>;

/// The cluster.
pub struct World {
    pub keys: Arc<Keys>,
    pub now: Micros,
    pub state: MemoryState,
    pub entries: Vec<Vec<u8>>,
    pub tree: MemoryNodes,
    pub notes: BTreeMap<u64, String>,
    pub values: BTreeMap<[u8; 32], Vec<u8>>,
    /// Seals by itself when a reply needs it.
    pub seals: bool,
    /// Entries of a page of a lifecycle.
    pub page: usize,
    pub requests: Vec<(String, RequestId)>,
    pub gate: Option<Gate>,
    pub lie_get: Option<GetLie>,
    pub lie_set: Option<SetLie>,
    pub lie_past: Option<PastLie>,
    pub lie_list: Option<ListLie>,
    pub lie_checkpoint: Option<CheckpointLie>,
    pub lie_range: Option<RangeLie>,
}

/// A world that a server and a test share.
pub type Shared = Arc<Mutex<World>>;

pub fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap()
}

pub fn bytes_from(seed: &str) -> impl FnMut(&mut [u8]) + use<> {
    let (seed, mut block) = (seed.to_owned(), 0_u64);
    move |target: &mut [u8]| {
        for chunk in target.chunks_mut(32) {
            let bytes = sha3_256_parts(&[seed.as_bytes(), &block.to_be_bytes()]);
            chunk.copy_from_slice(&bytes[..chunk.len()]);
            block += 1;
        }
    }
}

impl Keys {
    pub fn new(seed: &str) -> Arc<Self> {
        let fill = |what: &str| bytes_from(&format!("{seed} {what}"));
        let node = |id: u64| {
            CosignerKey::generate(ORIGIN, NodeId(id), &mut fill(&format!("node {id}"))).unwrap()
        };
        Arc::new(Self {
            log: SigningKeys::generate(ORIGIN, &mut fill("log")).unwrap(),
            nodes: (1..=3).map(node).collect(),
        })
    }

    pub fn policy(&self) -> Policy {
        let members: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.public().clone())
            .collect();
        Policy::for_cluster(self.log.key_set(), &members).unwrap()
    }

    fn genesis(&self) -> Genesis {
        let raw = self
            .log
            .key_set()
            .keys()
            .clone()
            .map(|k| k.public_key().as_bytes().to_vec());
        let member = |node: &CosignerKey| Member {
            node: node.public().node,
            cosigner: node.public().key,
        };
        Genesis {
            origin: ORIGIN.to_owned(),
            cluster_id: ClusterId([7; 16]),
            keys: LogKeys {
                suite: SUITE_1,
                raw,
            },
            members: self.nodes.iter().map(member).collect(),
            rules: RULES_V1,
            params: Params::DEFAULT,
            former: None,
        }
    }

    /// A note over this text by all keys, with the cosignatures of so many nodes.
    pub fn sign(&self, text: &str, nodes: usize) -> String {
        let log_lines = self
            .log
            .sign(text.as_bytes(), &mut bytes_from(text))
            .unwrap();
        let seconds = Checkpoint::parse(text).unwrap().sealed.as_seconds();
        let cosign = |node: &CosignerKey| {
            (
                node.public().node,
                node.sign(text.as_bytes(), seconds).unwrap(),
            )
        };
        let node_lines = self.nodes.iter().take(nodes).map(cosign).collect();
        assemble_note(text, &log_lines, &node_lines).encode()
    }
}

impl World {
    /// A ledger with its genesis, sealed.
    pub fn new(keys: &Arc<Keys>) -> Self {
        let mut world = Self::empty(Arc::clone(keys));
        let genesis = Item::Genesis(Box::new(keys.genesis()));
        world.apply(&[genesis], true);
        world
    }

    fn empty(keys: Arc<Keys>) -> Self {
        Self {
            keys,
            now: START,
            state: MemoryState::new(),
            entries: Vec::new(),
            tree: MemoryNodes::new(),
            notes: BTreeMap::new(),
            values: BTreeMap::new(),
            seals: true,
            page: 100,
            requests: Vec::new(),
            gate: None,
            lie_get: None,
            lie_set: None,
            lie_past: None,
            lie_list: None,
            lie_checkpoint: None,
            lie_range: None,
        }
    }

    /// The same ledger, free to go another way from here.
    pub fn fork(&self) -> Self {
        let mut fork = Self::empty(Arc::clone(&self.keys));
        fork.now = self.now;
        fork.state = self.state.clone();
        fork.tree = self.tree.clone();
        fork.entries.clone_from(&self.entries);
        fork.notes.clone_from(&self.notes);
        fork.values.clone_from(&self.values);
        fork
    }

    pub fn shared(self) -> Shared {
        Arc::new(Mutex::new(self))
    }

    pub fn size(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap()
    }

    pub fn sealed_size(&self) -> u64 {
        *self.notes.keys().next_back().unwrap()
    }

    pub fn advance(&mut self, by: Duration) {
        self.now.0 += u64::try_from(by.as_micros()).unwrap();
    }

    /// Decides items by the real rules.
    pub fn apply(&mut self, items: &[Item], closes: bool) -> Decision {
        let stamp = Stamp {
            time: self.now,
            seed: sha3_256(&self.size().to_be_bytes()),
            rules: RULES_V1,
        };
        let decision = decide(&self.state, &stamp, items, closes).unwrap();
        self.state.apply(&decision.changes);
        for (_, line) in &decision.entries {
            self.append(line.clone());
        }
        if let Some(seal) = &decision.seal {
            let text = self.checkpoint_text(seal.size.0, seal.time);
            self.notes.insert(seal.size.0, self.keys.sign(&text, 2));
        }
        decision
    }

    pub fn request(&mut self, request: Request) -> Outcome {
        self.apply(&[Item::Client(request)], false)
            .outcomes
            .remove(0)
    }

    pub fn ask(&mut self, tenant: &str, id: RequestId, operation: Operation) -> Outcome {
        self.request(Request {
            tenant: tenant.to_owned(),
            actor: ACTOR.to_owned(),
            request_id: id,
            operation,
        })
    }

    pub fn seal(&mut self) -> u64 {
        self.apply(&[], true);
        self.sealed_size()
    }

    /// A line that no rule has seen.
    pub fn append(&mut self, line: Vec<u8>) -> u64 {
        self.tree.push(leaf_hash(&line));
        self.entries.push(line);
        self.size() - 1
    }

    /// What the log states about itself at a size.
    pub fn checkpoint_text(&self, size: u64, sealed: Micros) -> String {
        let last = &self.entries[usize::try_from(size - 1).unwrap()];
        Checkpoint {
            origin: ORIGIN.to_owned(),
            size: TreeSize(size),
            root: root_at(&self.tree, TreeSize(size)).unwrap(),
            chain: ChainHash::of(last),
            keyset: self.keys.log.key_set().id(),
            sealed,
        }
        .text()
    }

    /// An entry, changed, under a seal that the rules never saw: the log signs nonsense.
    pub fn sign_nonsense(&mut self, change: impl FnOnce(&mut Entry)) -> u64 {
        let last = self.entries.last().unwrap().clone();
        let mut entry = Entry::parse(&last).unwrap();
        entry.seq = Seq(self.size());
        entry.prev = ChainHash::of(&last);
        change(&mut entry);
        let at = self.append(entry.encode());
        let seal = Entry {
            seq: Seq(self.size()),
            prev: ChainHash::of(self.entries.last().unwrap()),
            time: self.now,
            tenant: String::new(),
            subject: candor_ledger::entry::Subject::Ledger,
            n: 99,
            subject_prev: Some(Seq(0)),
            actor: "log".to_owned(),
            request_id: None,
            nonce: candor_ledger::entry::Nonce([3; 16]),
            body: Body::Seal(candor_ledger::entry::Seal {
                keyset: self.keys.log.key_set().id(),
                prev_seal: None,
            }),
        };
        self.append(seal.encode());
        let text = self.checkpoint_text(self.size(), self.now);
        self.notes.insert(self.size(), self.keys.sign(&text, 2));
        at
    }

    pub fn entry(&self, seq: u64) -> Entry {
        Entry::parse(&self.entries[usize::try_from(seq).unwrap()]).unwrap()
    }

    /// An entry, with its path when this checkpoint covers it.
    pub fn proof(&self, seq: u64, size: u64) -> Proof {
        let covered = seq < size;
        let path = if covered {
            inclusion_path(&self.tree, Seq(seq), TreeSize(size)).unwrap()
        } else {
            Vec::new()
        };
        Proof {
            entry: self.entries[usize::try_from(seq).unwrap()].clone().into(),
            index: seq,
            path: path
                .into_iter()
                .map(|hash| hash.0.to_vec().into())
                .collect(),
            size: if covered { size } else { 0 },
        }
    }

    /// A page of a range as a tenant's auditor is shown it.
    pub fn range(&self, asked: &audit_v1::ListRangeRequest) -> audit_v1::ListRangeResponse {
        let page = match asked.page_size {
            0 => u64::try_from(self.page).unwrap(),
            page => page.into(),
        };
        let until = asked.end.min(asked.start + page);
        let mut frontier = Frontier::new();
        let mut items = Vec::new();
        for seq in 0..until {
            let line = &self.entries[usize::try_from(seq).unwrap()];
            let leaf = leaf_hash(line);
            if seq < asked.start {
                frontier.push(leaf);
                continue;
            }
            let tenant = Entry::parse(line).unwrap().tenant;
            let item = if tenant.is_empty() || tenant == TENANT {
                audit_v1::range_item::Item::Entry(line.clone().into())
            } else {
                audit_v1::range_item::Item::LeafHash(leaf.0.to_vec().into())
            };
            items.push(audit_v1::RangeItem { item: Some(item) });
        }
        let bytes = |hash: &NodeHash| hash.0.to_vec().into();
        audit_v1::ListRangeResponse {
            items,
            frontier: frontier.nodes().iter().map(bytes).collect(),
            path: self.consistency(until, asked.size),
        }
    }

    pub fn checkpoint(&self, size: u64, known: u64) -> CheckpointProof {
        if size == known {
            return CheckpointProof {
                size,
                ..CheckpointProof::default()
            };
        }
        CheckpointProof {
            size,
            note: self.notes[&size].clone().into(),
            consistency: self.consistency(size, known),
        }
    }

    /// The path between two sizes, in either order, as far as this ledger holds them.
    pub fn consistency(&self, one: u64, other: u64) -> Vec<bytes::Bytes> {
        let (old, new) = (one.min(other), one.max(other));
        if old == 0 || new > self.size() {
            return Vec::new();
        }
        let path = consistency_path(&self.tree, TreeSize(old), TreeSize(new)).unwrap();
        path.into_iter()
            .map(|hash| hash.0.to_vec().into())
            .collect()
    }
}

/// A client of these endpoints whose clock is the first world's.
pub fn client(worlds: &[&Shared], endpoints: &[String]) -> Client {
    builder(worlds, endpoints).build().unwrap()
}

pub fn builder(worlds: &[&Shared], endpoints: &[String]) -> ClientBuilder {
    let world = Arc::clone(worlds[0]);
    let policy = lock(&world).keys.policy().to_text();
    let around = Surroundings::real().with_wall(move || lock(&world).now);
    let builder = Client::builder()
        .tenant(TENANT)
        .token("token")
        .policy(policy)
        // A machine that is busy with other things shall fail no test.
        .timeout(Duration::from_secs(120))
        .attempt_timeout(Duration::from_secs(60))
        .surroundings(around);
    endpoints.iter().fold(builder, ClientBuilder::endpoint)
}
