//! The ledger as C2SP tlog-tiles, read from a real node by an implementation that shares no code with
//! ours: Cloudflare's `tlog_tiles` and `signed_note`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::time::Duration;

use candor_jepsen::real::{Cluster, PATIENCE, Setup};
use candor_jepsen::workload::get_all;
use candor_ledger::tile::{TileId, TileKind, bundle_entries};
use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::{
    Checkpoint, Error, Hash, HashReader as _, Tile, TileHashReader, TileReader, check_record,
    check_tree, prove_record, prove_tree, record_hash, stored_hash_index, tree_hash,
};

const FOR_EVER: &str = "max-age=31536000, immutable";

/// One node's HTTP port.
struct Node {
    prefix: String,
    agent: ureq::Agent,
}

/// What it answered.
struct Answer {
    status: u16,
    kind: String,
    cache: String,
    body: Vec<u8>,
}

impl Node {
    fn of(cluster: &Cluster) -> Self {
        let settings = ureq::Agent::config_builder().http_status_as_error(false);
        Self {
            prefix: format!("http://{}", cluster.http_address(1)),
            agent: settings.build().into(),
        }
    }

    fn get(&self, path: &str, token: Option<&str>) -> Answer {
        let mut request = self.agent.get(format!("{}/{path}", self.prefix));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut reply = request.call().unwrap();
        let header = |name| {
            reply
                .headers()
                .get(name)
                .map(|v| v.to_str().unwrap().to_owned())
        };
        Answer {
            status: reply.status().as_u16(),
            kind: header("content-type").unwrap_or_default(),
            cache: header("cache-control").unwrap_or_default(),
            body: reply
                .body_mut()
                .with_config()
                .limit(1 << 25)
                .read_to_vec()
                .unwrap(),
        }
    }

    /// A refusal: its status and code, which no cache may keep.
    fn refused(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let answer = self.get(path, token);
        assert_eq!(answer.cache, "no-store", "{path}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, body["code"].as_str().unwrap().to_owned())
    }

    /// The first checkpoint of so many entries that comes.
    async fn sealed(&self, vkey: &str, entries: u64) -> Checkpoint {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let checkpoint = self.checkpoint(vkey);
            if checkpoint.size() >= entries {
                return checkpoint;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{}",
                checkpoint.size()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The checkpoint, of which the outside reader has verified the Ed25519 line.
    fn checkpoint(&self, vkey: &str) -> Checkpoint {
        let answer = self.get("checkpoint", None);
        assert_eq!(
            (answer.status, answer.kind.as_str()),
            (200, "text/plain; charset=utf-8")
        );
        let note = signed_note::Note::from_bytes(&answer.body).unwrap();
        let known = VerifierList::new(vec![Box::new(StandardVerifier::new(vkey).unwrap())]);
        let (verified, _) = note.verify(&known).unwrap();
        assert_eq!(verified.len(), 1);
        Checkpoint::from_bytes(note.text()).unwrap()
    }

    /// All entries of a tree, by full bundles and a partial one.
    fn entries(&self, size: u64, token: &str) -> Vec<Vec<u8>> {
        let mut entries = Vec::new();
        for index in 0.. {
            let tile = TileId::at(TileKind::Entries, index, candor_ledger::ids::TreeSize(size));
            let Some(tile) = tile else { break };
            let answer = self.get(&tile.to_string(), Some(token));
            assert_eq!(answer.status, 200);
            assert_eq!(answer.kind, "application/octet-stream");
            assert_eq!(answer.cache, format!("private, {FOR_EVER}"));
            let found = bundle_entries(&answer.body, tile.width).unwrap();
            entries.extend(found.into_iter().map(<[u8]>::to_vec));
        }
        entries
    }
}

impl TileReader for Node {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &Tile| {
            // Theirs is the path of Go's checksum database, with the height in it.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            let answer = self.get(&path, None);
            assert_eq!(
                (answer.status, &*answer.kind),
                (200, "application/octet-stream"),
                "{path}"
            );
            assert_eq!(answer.cache, format!("public, {FOR_EVER}"));
            Ok(answer.body)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Everything that a reader of this size can check, with what it asks the node for.
fn read_all(node: &Node, checkpoint: &Checkpoint, token: &str) {
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    let tiles = TileHashReader::new(size, root, node);
    assert_eq!(tree_hash(size, &tiles).unwrap(), root);
    let entries = node.entries(size, token);
    assert_eq!(u64::try_from(entries.len()).unwrap(), size);
    let leaves: Vec<u64> = (0..size).map(|seq| stored_hash_index(0, seq)).collect();
    let leaves: Vec<Hash> = tiles.read_hashes(&leaves).unwrap();
    for (seq, (entry, leaf)) in (0..).zip(entries.iter().zip(&leaves)) {
        assert_eq!(record_hash(entry), *leaf, "entry {seq}");
    }
    for seq in [0, size / 2, size - 1] {
        let path = prove_record(size, seq, &tiles).unwrap();
        let leaf = leaves[usize::try_from(seq).unwrap()];
        check_record(&path, size, root, seq, leaf).unwrap();
    }
}

async fn misses(cluster: &Cluster, from: u32, to: u32) {
    let names: Vec<_> = (from..to).map(|n| format!("prompt {n}")).collect();
    let client = cluster.client("service-a").unwrap();
    for names in names.chunks(100) {
        get_all(&client, names).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_reader_rebuilds_the_root_from_tiles_and_entries_are_for_auditors_alone() {
    let setup = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen")).nodes(1);
    let cluster = setup.found().await.unwrap();
    let keyset = cluster
        .policy()
        .lines()
        .find(|line| line.starts_with("keyset "))
        .unwrap();
    let vkey = keyset.split(' ').nth(3).unwrap();
    let token = |actor| cluster.principal(actor).unwrap().token.as_str();
    let (auditor, service) = (token("operator"), token("service-a"));
    let node = Node::of(&cluster);

    // A partial tile alone, then full ones and two partial ones above each other.
    misses(&cluster, 0, 120).await;
    let small = node.sealed(vkey, 120).await;
    assert!(small.size() < 256, "{}", small.size());
    read_all(&node, &small, auditor);
    misses(&cluster, 120, 700).await;
    let large = node.sealed(vkey, 700).await;
    assert!(large.size() < 1_000, "{}", large.size());
    read_all(&node, &large, auditor);

    // The smaller size's tile is still there beside the full one, and proves the smaller tree.
    read_all(&node, &small, auditor);
    let tiles = TileHashReader::new(large.size(), *large.hash(), &node);
    let path = prove_tree(large.size(), small.size(), &tiles).unwrap();
    check_tree(
        &path,
        large.size(),
        *large.hash(),
        small.size(),
        *small.hash(),
    )
    .unwrap();

    // The smaller size's checkpoint is kept under its own name.
    let kept = node.get(&format!("checkpoint/{}", small.size()), None);
    let kept = signed_note::Note::from_bytes(&kept.body).unwrap();
    let kept = Checkpoint::from_bytes(kept.text()).unwrap();
    assert_eq!((kept.size(), kept.hash()), (small.size(), small.hash()));
    let never = (404, "UNKNOWN_CHECKPOINT".to_owned());
    assert_eq!(node.refused("checkpoint/1000000", None), never);
    assert_eq!(
        node.refused(&format!("checkpoint/0{}", small.size()), None),
        never
    );

    // What is not sealed, not wide enough or not spelled so does not exist.
    let beyond = large.size() / 256 + 100;
    for path in [
        &*format!("tile/0/{beyond:03}"),
        &*format!("tile/1/000.p/{}", large.size() / 256 + 50),
        "tile/1/000",
        "tile/2/000.p/1",
        "tile/63/000.p/1",
        "tile/0/0",
        "tile/0/%30%30%30",
        "tile/0/000.p/256",
        "tile/8/0/000",
    ] {
        assert_eq!(
            node.refused(path, Some(auditor)),
            (404, "UNKNOWN_TILE".to_owned()),
            "{path}"
        );
    }
    let bundle = "tile/entries/000";
    let unknown = (401, "UNAUTHENTICATED".to_owned());
    assert_eq!(node.refused(bundle, None), unknown);
    assert_eq!(node.refused(bundle, Some("candor_0")), unknown);
    assert_eq!(
        node.refused(bundle, Some(service)),
        (403, "PERMISSION_DENIED".to_owned())
    );
}
