//! A small ledger made by hand, entry by entry, with real keys: what `decide` would make, and what
//! it never would.
//!
//! Deterministic, so that a failure repeats. Included by tests of several crates.
#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeMap;

use candor_ledger::checkpoint::{Checkpoint, CosignerPublic, assemble_note};
use candor_ledger::digest::{ChainHash, TaggedDigest, sha3_256, sha3_256_parts};
use candor_ledger::entry::{
    Body, ClusterId, Entry, Genesis, LOG_ACTOR, LogKeys, Member, Nonce, Params, ReadHit,
    Revocation, Seal, Subject, Told, Write,
};
use candor_ledger::evidence::{Evidence, EvidenceBuilder};
use candor_ledger::fingerprint::{ExactFields, Fingerprint, FingerprintFields};
use candor_ledger::fold::{Operation, Request, Revoke, Set};
use candor_ledger::ids::{NodeId, RequestId, Seq, TreeSize};
use candor_ledger::policy::Policy;
use candor_ledger::signature::{CosignerKey, SigningKeys};
use candor_ledger::time::Micros;
use candor_ledger::tree::{MemoryNodes, inclusion_path, leaf_hash, root_at};

pub(crate) const ORIGIN: &str = "log.example/audit";
pub(crate) const TENANT: &str = "acme";

/// Who asks for everything.
const ACTOR: &str = "alice";

/// The fewest that a genesis may ask for, so that a test needs few entries for a second file.
pub(crate) const ENTRIES_PER_FILE: u64 = 256;

/// Where every sample starts: 2025-05-14T10:01:01Z.
const START_S: u64 = 1_747_216_861;

/// A ledger and the keys of its log and three nodes.
pub(crate) struct Sample {
    pub(crate) keys: SigningKeys,
    pub(crate) cosigners: Vec<CosignerKey>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) lines: Vec<Vec<u8>>,
    /// The kept notes by size.
    pub(crate) notes: BTreeMap<u64, String>,
    pub(crate) nodes: MemoryNodes,
    time: Micros,
    head: ChainHash,
    ends: BTreeMap<(String, String), (u64, Seq)>,
    prev_seal: Option<Seq>,
    requests: u16,
}

impl Sample {
    /// A ledger of genesis and the seal over it. Ledgers of one seed have the same keys.
    pub(crate) fn new(seed: &str) -> Self {
        let mut sample = Self::empty(seed);
        let genesis = sample.genesis();
        sample.push("", Subject::Ledger, Body::Genesis(Box::new(genesis)));
        sample.seal();
        sample
    }

    /// So many entries under three checkpoints: a write, and hits on it.
    pub(crate) fn of_hits(seed: &str, entries: usize) -> Self {
        let mut sample = Self::new(seed);
        let write = sample.write("what?", b"the output");
        sample.hit(write);
        sample.seal();
        while sample.lines.len() < entries - 1 {
            sample.hit(write);
        }
        sample.seal();
        sample
    }

    /// The keys, and a ledger without an entry.
    pub(crate) fn empty(seed: &str) -> Self {
        let fill = |of: &str| bytes_from(&format!("{seed} {of}"));
        let cosigner = |node: u64| {
            CosignerKey::generate(ORIGIN, NodeId(node), &mut fill(&format!("node {node}"))).unwrap()
        };
        Self {
            keys: SigningKeys::generate(ORIGIN, &mut fill("log")).unwrap(),
            cosigners: [1, 2, 3].map(cosigner).into(),
            entries: Vec::new(),
            lines: Vec::new(),
            notes: BTreeMap::new(),
            nodes: MemoryNodes::new(),
            time: Micros(START_S * 1_000_000),
            head: ChainHash::EMPTY,
            ends: BTreeMap::new(),
            prev_seal: None,
            requests: 0,
        }
    }

    /// Appends an entry with everything around the body as it should be.
    pub(crate) fn push(&mut self, tenant: &str, subject: Subject, body: Body) -> Seq {
        let entry = self.next(tenant, subject, body);
        self.push_entry(entry)
    }

    /// The same, by a given actor.
    pub(crate) fn push_by(&mut self, actor: &str, subject: Subject, body: Body) -> Seq {
        let entry = Entry {
            actor: actor.to_owned(),
            ..self.next("", subject, body)
        };
        self.push_entry(entry)
    }

    /// What [`Sample::push`] would append.
    pub(crate) fn next(&mut self, tenant: &str, subject: Subject, body: Body) -> Entry {
        let key = (tenant.to_owned(), subject.to_string());
        let last = self.ends.get(&key).copied();
        let of_the_log = tenant.is_empty() || matches!(body, Body::Expire(_));
        self.time = Micros(self.time.0 + 1_000);
        self.requests += 1;
        let seq = Seq(u64::try_from(self.lines.len()).unwrap());
        Entry {
            seq,
            prev: self.head,
            time: self.time,
            tenant: tenant.to_owned(),
            subject,
            n: last.map_or(1, |(n, _)| n + 1),
            subject_prev: last.map(|(_, seq)| seq),
            actor: if of_the_log { LOG_ACTOR } else { ACTOR }.to_owned(),
            request_id: (!of_the_log).then(|| request_id(self.time.as_millis(), self.requests)),
            nonce: Nonce(first_16(sha3_256(&seq.0.to_be_bytes()))),
            body,
        }
    }

    /// Appends any entry.
    pub(crate) fn push_entry(&mut self, entry: Entry) -> Seq {
        let line = entry.encode();
        let key = (entry.tenant.clone(), entry.subject.to_string());
        self.ends.insert(key, (entry.n, entry.seq));
        self.head = ChainHash::of(&line);
        self.nodes.push(leaf_hash(&line));
        self.lines.push(line);
        let seq = entry.seq;
        self.entries.push(entry);
        seq
    }

    /// Closes the group and keeps its checkpoint, signed by the log and all nodes.
    pub(crate) fn seal(&mut self) -> TreeSize {
        self.seal_by(&[1, 2, 3])
    }

    /// The same, cosigned by these nodes only.
    pub(crate) fn seal_by(&mut self, nodes: &[u64]) -> TreeSize {
        let seal = Seal {
            keyset: self.keys.key_set().id(),
            prev_seal: self.prev_seal,
        };
        let seq = self.push("", Subject::Ledger, Body::Seal(seal));
        self.prev_seal = Some(seq);
        let size = seq.size_including().unwrap();
        self.keep_checkpoint(size, nodes);
        size
    }

    /// Signs and keeps the checkpoint over the seal before `size`.
    pub(crate) fn keep_checkpoint(&mut self, size: TreeSize, nodes: &[u64]) {
        let note = self.sign(&self.checkpoint(size), nodes);
        self.notes.insert(size.0, note);
    }

    /// What the checkpoint over the seal before `size` states.
    pub(crate) fn checkpoint(&self, size: TreeSize) -> Checkpoint {
        let at = usize::try_from(size.0 - 1).unwrap();
        Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: root_at(&self.nodes, size).unwrap(),
            chain: ChainHash::of(&self.lines[at]),
            keyset: self.keys.key_set().id(),
            sealed: self.entries[at].time,
        }
    }

    /// A note over any checkpoint.
    pub(crate) fn sign(&self, checkpoint: &Checkpoint, nodes: &[u64]) -> String {
        let text = checkpoint.text();
        let log_lines = self
            .keys
            .sign(text.as_bytes(), &mut bytes_from("hedge"))
            .unwrap();
        let time = checkpoint.sealed.as_seconds();
        let signing = self
            .cosigners
            .iter()
            .filter(|c| nodes.contains(&c.public().node.0));
        let node_lines = signing
            .map(|c| (c.public().node, c.sign(text.as_bytes(), time).unwrap()))
            .collect();
        assemble_note(&text, &log_lines, &node_lines).encode()
    }

    pub(crate) fn write(&mut self, prompt: &str, output: &[u8]) -> Seq {
        self.write_version(prompt, output, 1)
    }

    pub(crate) fn write_version(&mut self, prompt: &str, output: &[u8], version: u64) -> Seq {
        let set = Set {
            fields: fields(prompt),
            output_hash: sha3_256(output),
            output_len: u64::try_from(output.len()).unwrap(),
            media_type: "text/plain".to_owned(),
            ttl_ms: 3_600_000,
            told: Told::default(),
            semantic: None,
        };
        let request = digest(Operation::Set(Box::new(set.clone())));
        let body = Write {
            fields: set.fields,
            output_hash: set.output_hash,
            output_len: set.output_len,
            media_type: set.media_type,
            ttl_ms: set.ttl_ms,
            version,
            told: set.told,
            semantic: set.semantic,
            request,
        };
        let subject = Subject::Fingerprint(fingerprint(prompt));
        self.push(TENANT, subject, Body::Write(Box::new(body)))
    }

    /// A hit on the write at `write_seq`.
    pub(crate) fn hit(&mut self, write_seq: Seq) -> Seq {
        let write = &self.entries[usize::try_from(write_seq.0).unwrap()];
        let Body::Write(body) = &write.body else {
            panic!("entry {write_seq} is no write");
        };
        let hit = ReadHit {
            write_seq,
            version: body.version,
            output_hash: body.output_hash,
            semantic: None,
        };
        let (tenant, subject) = (write.tenant.clone(), write.subject.clone());
        self.push(&tenant, subject, Body::ReadHit(hit))
    }

    pub(crate) fn revoke(&mut self, write_seq: Seq) -> Seq {
        let write = &self.entries[usize::try_from(write_seq.0).unwrap()];
        let Body::Write(body) = &write.body else {
            panic!("entry {write_seq} is no write");
        };
        let Subject::Fingerprint(fingerprint) = write.subject else {
            panic!("entry {write_seq} is about no fingerprint");
        };
        let revoke = Revoke {
            fingerprint,
            output_hash: body.output_hash,
            reason: "wrong".to_owned(),
        };
        let revocation = Revocation {
            version: body.version,
            output_hash: body.output_hash,
            reason: revoke.reason.clone(),
            request: digest(Operation::Revoke(revoke)),
        };
        let subject = Subject::Fingerprint(fingerprint);
        self.push(TENANT, subject, Body::Revoke(revocation))
    }

    /// Everybody's policy: this key set, and two of the three nodes.
    pub(crate) fn policy(&self) -> Policy {
        Policy::for_cluster(self.keys.key_set(), &self.members()).unwrap()
    }

    pub(crate) fn members(&self) -> Vec<CosignerPublic> {
        self.cosigners.iter().map(|c| c.public().clone()).collect()
    }

    /// The newest checkpoint's size.
    pub(crate) fn sealed(&self) -> TreeSize {
        TreeSize(*self.notes.last_key_value().unwrap().0)
    }

    /// Evidence about a subject with these entries under the newest checkpoint, without a claim.
    pub(crate) fn evidence(&self, tenant: &str, subject: &str, seqs: &[Seq]) -> EvidenceBuilder {
        let size = self.sealed();
        let note = &self.notes[&size.0];
        let builder = EvidenceBuilder::new(ORIGIN, tenant, subject).note(note, size);
        seqs.iter().fold(builder, |builder, seq| {
            let path = inclusion_path(&self.nodes, *seq, size).unwrap();
            let line = &self.lines[usize::try_from(seq.0).unwrap()];
            builder.entry(
                core::str::from_utf8(line).unwrap(),
                *seq,
                &path,
                (note, size),
            )
        })
    }

    /// Writes the files of a node's `ledger` folder.
    pub(crate) fn write_folder(&self, ledger: &std::path::Path) {
        use std::fs;
        for folder in ["entries", "tree", "checkpoints"] {
            fs::create_dir_all(ledger.join(folder)).unwrap();
        }
        let per_file = usize::try_from(ENTRIES_PER_FILE).unwrap();
        for (file, chunk) in self.lines.chunks(per_file).enumerate() {
            let (mut entries, mut offsets) = (Vec::new(), Vec::new());
            for line in chunk {
                entries.extend_from_slice(line);
                entries.push(b'\n');
                offsets.extend(u64::try_from(entries.len()).unwrap().to_le_bytes());
            }
            let first = file * per_file;
            fs::write(ledger.join(format!("entries/{first:012}.jsonl")), entries).unwrap();
            fs::write(ledger.join(format!("entries/{first:012}.offsets")), offsets).unwrap();
        }
        let mut levels: Vec<Vec<u8>> = Vec::new();
        let mut frontier = candor_ledger::tree::Frontier::new();
        for line in &self.lines {
            frontier.push_with(leaf_hash(line), &mut |level, _, hash| {
                let level = usize::from(level);
                levels.resize_with(levels.len().max(level + 1), Vec::new);
                levels[level].extend(hash.0);
            });
        }
        for (level, hashes) in levels.iter().enumerate() {
            for (file, hashes) in hashes.chunks(per_file * 32).enumerate() {
                let name = format!("tree/{level:02}-{:012}", file * per_file);
                fs::write(ledger.join(name), hashes).unwrap();
            }
        }
        for (size, note) in &self.notes {
            fs::write(ledger.join(format!("checkpoints/{size:016}")), note).unwrap();
        }
    }

    pub(crate) fn genesis(&self) -> Genesis {
        let keys = self.keys.key_set();
        let raw = keys
            .keys()
            .each_ref()
            .map(|key| key.public_key().as_bytes().to_vec());
        let member = |public: CosignerPublic| Member {
            node: public.node,
            cosigner: public.key,
        };
        Genesis {
            origin: ORIGIN.to_owned(),
            cluster_id: ClusterId(first_16(sha3_256(b"cluster"))),
            keys: LogKeys {
                suite: keys.suite(),
                raw,
            },
            members: self.members().into_iter().map(member).collect(),
            rules: 1,
            params: Params {
                entries_per_file: ENTRIES_PER_FILE,
                ..Params::DEFAULT
            },
            former: None,
        }
    }
}

/// A version 7 UUID of a time, told apart by a count.
pub(crate) fn request_id(unix_millis: u64, count: u16) -> RequestId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&unix_millis.to_be_bytes()[2..]);
    (bytes[6], bytes[8]) = (0x70, 0x80);
    bytes[14..].copy_from_slice(&count.to_be_bytes());
    RequestId::from_bytes(bytes).unwrap()
}

/// What was computed for a prompt.
pub(crate) fn fields(prompt: &str) -> FingerprintFields {
    FingerprintFields::Exact(ExactFields {
        model_name: "tiny".to_owned(),
        model_version: "1".to_owned(),
        prompt_hash: TaggedDigest::sha3(sha3_256(prompt.as_bytes())).to_string(),
        temperature: "0".to_owned(),
        top_p: "1".to_owned(),
        system_prompt_hash: String::new(),
        hardware_class: "cpu".to_owned(),
        parameters: "{}".to_owned(),
    })
}

pub(crate) fn fingerprint(prompt: &str) -> Fingerprint {
    fields(prompt).fingerprint()
}

fn digest(operation: Operation) -> [u8; 32] {
    let request = Request {
        tenant: TENANT.to_owned(),
        actor: ACTOR.to_owned(),
        request_id: RequestId::parse("017f22e2-79b0-7cc3-98c4-dc0c0c07398f").unwrap(),
        operation,
    };
    request.digest().unwrap()
}

/// The same bytes for the same seed, on every machine.
pub(crate) fn bytes_from(seed: &str) -> impl FnMut(&mut [u8]) + use<> {
    let (seed, mut block) = (seed.to_owned(), 0_u64);
    move |target: &mut [u8]| {
        for chunk in target.chunks_mut(32) {
            let bytes = sha3_256_parts(&[seed.as_bytes(), &block.to_be_bytes()]);
            chunk.copy_from_slice(&bytes[..chunk.len()]);
            block += 1;
        }
    }
}

fn first_16(bytes: [u8; 32]) -> [u8; 16] {
    *bytes.first_chunk().unwrap()
}

/// The claims' evidence when there is nothing wrong with it.
pub(crate) fn finished(builder: EvidenceBuilder) -> Evidence {
    builder.finish().unwrap()
}
