//! Three whole nodes in one process, on real disks and sockets: founding, set and get, sealing,
//! loss of a leader, restart, settling.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::disallowed_methods,
    reason = "test"
)]

mod shifted;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use candor_ledger::canonical::Value;
use candor_ledger::checkpoint::Checkpoint;
use candor_ledger::digest::{ChainHash, TaggedDigest, sha3_256};
use candor_ledger::entry::{ClusterId, Entry, Genesis, LogKeys, Member, Op, Params};
use candor_ledger::fingerprint::{ExactFields, FingerprintFields};
use candor_ledger::fold::RULES_V1;
use candor_ledger::ids::NodeId;
use candor_ledger::note::Note;
use candor_ledger::signature::{KeySet, SigningKeys};
use candor_ledger::time::Micros;
use candor_node::config::Config;
use candor_node::principal::{Right, Tokens, token_line};
use candor_proto::audit_v1::audit_service_client::AuditServiceClient;
use candor_proto::audit_v1::{GetCheckpointRequest, GetReceiptRequest, get_receipt_request};
use candor_proto::cache_v1::cache_service_client::CacheServiceClient;
use candor_proto::cache_v1::{
    self as wire, GetItem, GetRequest, SetItem, SetRequest, get_result, set_item, set_result,
};
use candor_proto::cluster_v1::cluster_service_client::ClusterServiceClient;
use candor_proto::cluster_v1::{
    GetIdentityRequest, GetStatusRequest, GetStatusResponse, InitializeRequest, Node,
    PrepareGenesisRequest, SettleRequest,
};
use shifted::{Ahead, Free, ShiftedEnv, Syncs};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

const TOKEN: &str = "test-token";

struct TestNode {
    config: Config,
    folder: PathBuf,
    ahead: Ahead,
    free: Free,
    syncs: Syncs,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl TestNode {
    fn new(id: u64, dir: &Path, log_key: &str, ahead: &Ahead) -> Self {
        let folder = dir.join(format!("node-{id}"));
        let keys = folder.join("keys");
        std::fs::create_dir_all(&keys).unwrap();
        write_secret(&keys.join("log.key"), log_key);
        let [client, peer, http] = [0; 3].map(|_| free_port());
        let text = format!(
            "[node]\nid = {id}\nfolder = \"x\"\n[listen]\nclient = \"127.0.0.1:{client}\"\n\
             peer = \"127.0.0.1:{peer}\"\nhttp = \"127.0.0.1:{http}\"\n[keys]\ntokens = \"x\"\n\
             [raft]\nheartbeat_ms = 200\nelection_min_ms = 1000\nelection_max_ms = 2000\n"
        );
        Self {
            config: Config::parse(&text).unwrap(),
            folder,
            ahead: ahead.clone(),
            free: Free::default(),
            syncs: Syncs::default(),
            running: None,
        }
    }

    fn start(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (config, folder) = (self.config.clone(), self.folder.clone());
        let (ahead, free, syncs) = (self.ahead.clone(), self.free.clone(), self.syncs.clone());
        let running = tokio::spawn(async move {
            let env = ShiftedEnv::open(&folder, &ahead, &free, &syncs).unwrap();
            let rights = [
                Right::Read,
                Right::Write,
                Right::Audit,
                Right::AuditAll,
                Right::Operate,
            ];
            let tokens = Tokens::parse(&token_line(TOKEN, "acme", "service-a", &rights)).unwrap();
            let stop = async {
                let _ = stopped.await;
            };
            candor_node::node::run(env, config, tokens, stop)
                .await
                .unwrap();
        });
        self.running = Some((stop, running));
    }

    async fn stop(&mut self) {
        let (stop, running) = self.running.take().unwrap();
        stop.send(()).unwrap();
        running.await.unwrap();
    }

    fn channel(&self) -> Channel {
        let url = format!("http://{}", self.config.listen.client);
        Channel::from_shared(url).unwrap().connect_lazy()
    }

    fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel())
    }

    async fn status(&self) -> GetStatusResponse {
        let status = self.cluster().get_status(timed(GetStatusRequest {})).await;
        status.unwrap().into_inner()
    }

    fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel())
    }

    fn cache(&self) -> CacheServiceClient<Channel> {
        CacheServiceClient::new(self.channel()).max_decoding_message_size(16 << 20)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn a_cluster_is_founded_caches_seals_and_survives_its_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = founded(dir.path(), &Ahead::default()).await;

    let mut served = Vec::new();
    // A set through every node answers with a sealed entry; a get finds it on every other node.
    for (at, node) in nodes.iter().enumerate() {
        let output = format!("output {at}");
        let item = set_item(at, output.as_bytes());
        let fingerprint = item.fingerprint.clone();
        let request = SetRequest {
            item: Some(item),
            ..SetRequest::default()
        };
        let reply = set(node, &request).await;
        let result = reply.result.unwrap();
        assert!(
            matches!(result.outcome, Some(set_result::Outcome::Written(_))),
            "{result:?}"
        );
        let proof = result.recorded.unwrap().proof.unwrap();
        assert!(proof.size > proof.index, "a set waits until it is sealed");
        for other in &nodes {
            let got = got(other, &fingerprint).await.result.unwrap();
            let Some(get_result::Outcome::Hit(hit)) = got.outcome else {
                panic!("a sealed result is served by every node");
            };
            assert_eq!(hit.value, output.as_bytes());
            let read = Entry::parse(&got.recorded.unwrap().proof.unwrap().entry).unwrap();
            served.push(read.request_id);
            let entry = Entry::parse(&hit.write.unwrap().entry).unwrap();
            assert_eq!(
                (entry.tenant.as_str(), entry.actor.as_str()),
                ("acme", "service-a")
            );
        }
    }

    // The leader leaves; the others go on; it comes back and all settle on the same bytes.
    let leader = leader_of(&nodes).await;
    nodes[leader].stop().await;
    let survivor = &nodes[(leader + 1) % 3];
    let item = set_item(99, b"after the leader left");
    let request = SetRequest {
        item: Some(item),
        ..SetRequest::default()
    };
    let reply = set(survivor, &request).await;
    assert!(matches!(
        reply.result.unwrap().outcome,
        Some(set_result::Outcome::Written(_))
    ));
    nodes[leader].start();
    settle(&nodes, 30).await;
    // Nothing is going on now: the marker may stand before it is asked for, and is told all the same.
    settle(&nodes, 1).await;

    // INV-3, INV-4, INV-8: three nodes computed the same entries, tree and checkpoints from the
    // same commands, one of them partly after a restart.
    let folders: Vec<_> = nodes
        .iter()
        .map(|node| files(&node.folder.join("ledger")))
        .collect();
    assert!(folders[0].len() > 5, "there is something to compare");
    assert_eq!(folders[0], folders[1]);
    assert_eq!(folders[1], folders[2]);

    // INV-2, INV-6: the chain holds over every entry, and every value that was disclosed has its
    // own one.
    let entries = whole_ledger(&folders[0]);
    let mut prev = ChainHash::EMPTY;
    let mut disclosed = BTreeSet::new();
    for (seq, line) in entries.iter().enumerate() {
        let entry = Entry::parse(line).unwrap();
        assert_eq!(
            (usize::try_from(entry.seq.0).unwrap(), entry.prev),
            (seq, prev)
        );
        prev = ChainHash::of(line);
        if entry.op() == Op::CacheReadHit {
            disclosed.insert(entry.request_id);
        }
    }
    assert_eq!(served.len(), 9);
    assert_eq!(
        served.iter().collect::<BTreeSet<_>>().len(),
        9,
        "each read has its own id"
    );
    assert!(
        served.iter().all(|id| disclosed.contains(id)),
        "and each its own entry"
    );

    // INV-9: what cannot be recorded is not served. One node of three has the value, and no quorum.
    let fingerprint = set_item(0, b"output 0").fingerprint;
    let (last, others) = nodes.split_first_mut().unwrap();
    for node in others {
        node.stop().await;
    }
    let mut request = timed(get(&fingerprint));
    request.set_timeout(Duration::from_secs(5));
    let alone = last.cache().get(request).await;
    assert!(alone.is_err(), "served without a quorum: {alone:?}");
    last.stop().await;
}

/// INV-3: what a node keeps is a function of the Raft log, restarts or not.
#[tokio::test(flavor = "multi_thread")]
async fn old_checkpoints_thin_out_the_same_on_every_node() {
    let dir = tempfile::tempdir().unwrap();
    let ahead = Ahead::default();
    let mut nodes = founded(dir.path(), &ahead).await;
    for number in 0..8 {
        ahead.advance(Duration::from_secs(17));
        put(&nodes[0], number).await;
    }
    let away = (leader_of(&nodes).await + 1) % 3;
    nodes[away].stop().await;
    // The first ones come of age one by one.
    ahead.advance(Duration::from_mins(58));
    for number in 8..16 {
        ahead.advance(Duration::from_secs(17));
        put(&nodes[(away + 1) % 3], number).await;
    }
    nodes[away].start();
    settle(&nodes, 30).await;
    let kept = kept_of(&nodes[0]);
    let seals = seals_of(&nodes[0]);
    assert_eq!(kept, due(&seals), "of {} seals", seals.len());
    assert!(kept.len() + 3 < seals.len(), "{} kept", kept.len());

    // After another restart too, and then nothing is of age any more.
    nodes[away].stop().await;
    nodes[away].start();
    put(&nodes[away], 16).await;
    settle(&nodes, 30).await;
    let folders: Vec<_> = nodes
        .iter()
        .map(|node| files(&node.folder.join("ledger")))
        .collect();
    assert_eq!(folders[0], folders[1]);
    assert_eq!(folders[1], folders[2]);
    assert_eq!(kept_of(&nodes[0]), due(&seals_of(&nodes[0])));

    // What rested on a checkpoint that is gone rests on a later one.
    let gone = seals.iter().find(|seal| !kept.contains(seal)).unwrap().0;
    let mut audit = nodes[0].audit();
    let of_size = |size| GetCheckpointRequest {
        size,
        ..GetCheckpointRequest::default()
    };
    let refused = audit
        .get_checkpoint(timed(of_size(gone)))
        .await
        .unwrap_err();
    let reason = refused
        .get_error_details()
        .error_info()
        .cloned()
        .unwrap()
        .reason;
    assert_eq!(reason, "UNKNOWN_CHECKPOINT");
    let receipt = GetReceiptRequest {
        entry: Some(get_receipt_request::Entry::Seq(gone - 1)),
        known_size: gone,
    };
    let receipt = audit
        .get_receipt(timed(receipt))
        .await
        .unwrap()
        .into_inner();
    let (checkpoint, proof) = (receipt.checkpoint.unwrap(), receipt.proof.unwrap());
    assert!(checkpoint.size > gone && !checkpoint.note.is_empty());
    assert!(!checkpoint.consistency.is_empty() && proof.size == checkpoint.size);
    for node in nodes {
        let mut node = node;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_ledger_is_sealed_as_often_as_it_asks_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let params = Params {
        max_silence_ms: 1_000,
        ..Params::DEFAULT
    };
    // The nodes' own setting is a minute.
    let mut nodes = founded_with(dir.path(), &Ahead::default(), params).await;
    until(&nodes[0], |status| status.sealed_size > 0).await;
    let first = nodes[0].status().await.sealed_size;
    until(&nodes[0], |status| status.sealed_size >= first + 4).await;
    let seals = seals_of(&nodes[0]);
    for pair in seals.windows(2).rev().take(4) {
        assert_eq!(pair[1].0, pair[0].0 + 1, "nothing but seals");
    }
    for node in &mut nodes {
        node.stop().await;
    }
}

/// INV-1, INV-9: what has no room is refused before it is begun, and comes back by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_refuses_in_time_and_comes_back_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = founded(dir.path(), &Ahead::default()).await;
    put(&nodes[0], 0).await;

    // The leader's disk: the others have room, so one of them leads, and requests go on.
    let full = leader_of(&nodes).await;
    nodes[full].free.set(300 << 20);
    let trouble = |status: &GetStatusResponse| status.trouble.concat().contains("nearly full");
    until(&nodes[full], |status| {
        trouble(status) && status.leader_id != Some(status.node_id)
    })
    .await;
    put(&nodes[full], 1).await;
    assert!(
        stored(&nodes[full]).await > 0,
        "it stores what others decide"
    );

    // Too little to store anything for others either: two of three go on without it.
    nodes[full].free.set(100 << 20);
    until(&nodes[full], |status| {
        status.trouble.concat().contains("stores nothing")
    })
    .await;
    let behind = stored(&nodes[full]).await;
    put(&nodes[(full + 1) % 3], 2).await;
    assert_eq!(stored(&nodes[full]).await, behind);

    // All of them: a typed refusal, and not one entry.
    for node in &nodes {
        node.free.set(300 << 20);
    }
    for node in &nodes {
        until(node, trouble).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let size = nodes[full].status().await.ledger_size;
    let refused = refusal(&nodes[full], 3).await;
    assert_eq!(refused, ("STORAGE_FULL".to_owned(), true));
    assert_eq!(nodes[full].status().await.ledger_size, size);

    for node in &nodes {
        node.free.set(u64::MAX);
    }
    put(&nodes[full], 3).await;
    settle(&nodes, 30).await;
    assert_same_folders(&nodes);
    for node in &mut nodes {
        node.stop().await;
    }
}

/// INV-1: what a stalled disk holds up is refused by type or waits; what is acknowledged is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_hands_over_and_one_that_stalls_refuses_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut nodes = founded(dir.path(), &Ahead::default()).await;
    put(&nodes[0], 0).await;

    // The leader's disk: another one leads, and requests go on.
    let slow = leader_of(&nodes).await;
    nodes[slow].syncs.take(Duration::from_millis(600));
    put(&nodes[slow], 1).await;
    until(&nodes[slow], |status| {
        let trouble = status.trouble.concat();
        trouble.contains("the disk is slow") && status.leader_id != Some(status.node_id)
    })
    .await;
    put(&nodes[slow], 2).await;
    nodes[slow].syncs.at_once();
    for number in 10..20 {
        put(&nodes[slow], number).await;
    }
    until(&nodes[slow], |status| status.trouble.is_empty()).await;

    // All of them stall: what was proposed waits, what comes then is refused by its type.
    for node in &nodes {
        node.syncs.stall();
    }
    let leader = leader_of(&nodes).await;
    let proposed = SetRequest {
        item: Some(set_item(3, b"output")),
        ..SetRequest::default()
    };
    let waiting = tokio::spawn({
        let (mut cache, proposed) = (nodes[leader].cache(), proposed.clone());
        async move { cache.set(timed(proposed)).await.is_ok() }
    });
    until(&nodes[leader], |status| {
        status.trouble.concat().contains("does not end")
    })
    .await;
    let refused = refusal(&nodes[leader], 4).await;
    assert_eq!(refused, ("STORAGE_SLOW".to_owned(), true));
    assert!(!waiting.is_finished(), "its outcome is not known yet");

    for node in &nodes {
        node.syncs.at_once();
    }
    // The same request again: once in the ledger, whatever became of the first try.
    waiting.await.unwrap();
    set(&nodes[leader], &proposed).await;
    put(&nodes[leader], 5).await;
    settle(&nodes, 30).await;
    assert_same_folders(&nodes);
    let id = proposed.item.unwrap().request_id;
    let lines = whole_ledger(&files(&nodes[leader].folder.join("ledger")));
    let named = lines
        .iter()
        .filter(|line| String::from_utf8_lossy(line).contains(&id));
    assert_eq!(named.count(), 1);
    for node in &mut nodes {
        node.stop().await;
    }
}

/// Why a set is refused, and whether the refusal says when to come again.
async fn refusal(node: &TestNode, number: usize) -> (String, bool) {
    loop {
        let request = SetRequest {
            item: Some(set_item(number, b"output")),
            ..SetRequest::default()
        };
        let refused = node.cache().set(timed(request)).await.unwrap_err();
        let details = refused.get_error_details();
        let reason = details.error_info().cloned().unwrap().reason;
        // Leadership goes round once.
        if reason != "NO_LEADER" && reason != "NOT_LEADER" {
            return (reason, details.retry_info().is_some());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn assert_same_folders(nodes: &[TestNode]) {
    let folders: Vec<_> = nodes
        .iter()
        .map(|node| files(&node.folder.join("ledger")))
        .collect();
    assert_eq!(folders[0], folders[1]);
    assert_eq!(folders[1], folders[2]);
}

async fn stored(node: &TestNode) -> u64 {
    node.status().await.last_log_index
}

async fn until(node: &TestNode, what: impl Fn(&GetStatusResponse) -> bool) {
    for _ in 0..600 {
        if what(&node.status().await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came: {:?}", node.status().await.trouble);
}

/// Size and time of every seal.
fn seals_of(node: &TestNode) -> Vec<(u64, Micros)> {
    let entries = whole_ledger(&files(&node.folder.join("ledger")));
    let entries = entries.iter().map(|line| Entry::parse(line).unwrap());
    entries
        .filter(|entry| entry.op() == Op::LedgerSeal)
        .map(|entry| (entry.seq.0 + 1, entry.time))
        .collect()
}

/// Size and time of every checkpoint in the folder.
fn kept_of(node: &TestNode) -> Vec<(u64, Micros)> {
    let notes = files(&node.folder.join("ledger/checkpoints"));
    let parsed = notes.iter().map(|(_, bytes)| {
        let signed = Note::parse(bytes).unwrap();
        Checkpoint::parse(&signed.text).unwrap()
    });
    parsed.map(|kept| (kept.size.0, kept.sealed)).collect()
}

/// What the parameters leave of these: the young ones, and of older ones the last of each minute.
fn due(seals: &[(u64, Micros)]) -> Vec<(u64, Micros)> {
    let newest = seals.last().unwrap().1;
    let minute = |time: Micros| time.0 / 60_000_000;
    let stays = |at: &usize| {
        let young = seals[*at]
            .1
            .plus_millis(Params::DEFAULT.thin_minute_after_ms)
            >= newest;
        let next = seals.get(at + 1);
        young || next.is_none_or(|next| minute(next.1) != minute(seals[*at].1))
    };
    let stays = (0..seals.len()).filter(stays);
    stays.map(|at| seals[at]).collect()
}

async fn put(node: &TestNode, number: usize) {
    let request = SetRequest {
        item: Some(set_item(number, b"output")),
        ..SetRequest::default()
    };
    set(node, &request).await;
}

async fn founded(dir: &Path, ahead: &Ahead) -> Vec<TestNode> {
    founded_with(dir, ahead, Params::DEFAULT).await
}

async fn founded_with(dir: &Path, ahead: &Ahead, params: Params) -> Vec<TestNode> {
    let keys = SigningKeys::generate("test.example/ledger", &mut fill).unwrap();
    let mut nodes: Vec<TestNode> = (1..=3)
        .map(|id| TestNode::new(id, dir, &keys.to_secret_text(), ahead))
        .collect();
    for node in &mut nodes {
        node.start();
    }
    found(&nodes, keys.key_set(), params).await;
    nodes
}

fn whole_ledger(files: &[(String, Vec<u8>)]) -> Vec<Vec<u8>> {
    files
        .iter()
        .filter(|(name, _)| {
            name.starts_with("entries/")
                && Path::new(name)
                    .extension()
                    .is_some_and(|found| found == "jsonl")
        })
        .flat_map(|(_, bytes)| bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec))
        .filter(|line| !line.is_empty())
        .collect()
}

async fn set(node: &TestNode, request: &SetRequest) -> wire::SetResponse {
    retried(|| {
        let (mut client, request) = (node.cache(), request.clone());
        async move { client.set(timed(request)).await }
    })
    .await
}

async fn got(node: &TestNode, fingerprint: &str) -> wire::GetResponse {
    retried(|| {
        let (mut client, request) = (node.cache(), get(fingerprint));
        async move { client.get(timed(request)).await }
    })
    .await
}

async fn found(nodes: &[TestNode], keys: &KeySet, params: Params) {
    let mut members = Vec::new();
    for node in nodes {
        let identity = retried(|| {
            let mut client = node.cluster();
            async move { client.get_identity(timed(GetIdentityRequest {})).await }
        })
        .await;
        assert!(identity.has_log_keys);
        members.push(identity.node.unwrap());
    }
    let genesis = Genesis {
        origin: keys.origin().to_owned(),
        cluster_id: ClusterId([7; 16]),
        keys: LogKeys::of(keys),
        members: members.iter().map(member).collect(),
        rules: RULES_V1,
        params,
        former: None,
    };
    let genesis = Value::Object(genesis.to_object()).to_bytes();
    let mut genesis_digest = String::new();
    for node in nodes {
        let request = PrepareGenesisRequest {
            genesis: genesis.clone().into(),
        };
        genesis_digest = node
            .cluster()
            .prepare_genesis(timed(request))
            .await
            .unwrap()
            .into_inner()
            .genesis_digest;
    }
    let request = InitializeRequest {
        members,
        genesis_digest,
    };
    nodes[0].cluster().initialize(timed(request)).await.unwrap();
}

fn member(node: &Node) -> Member {
    Member {
        node: NodeId(node.node_id),
        cosigner: node.cosigner_key[..].try_into().unwrap(),
    }
}

async fn leader_of(nodes: &[TestNode]) -> usize {
    loop {
        for node in nodes {
            let status = node.cluster().get_status(timed(GetStatusRequest {})).await;
            if let Ok(Some(leader)) = status.map(|status| status.into_inner().leader_id) {
                return usize::try_from(leader).unwrap() - 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn settle(nodes: &[TestNode], tries: usize) {
    for _ in 0..tries {
        // Long enough for the marker lane to have nothing left to do.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leader = leader_of(nodes).await;
        if let Ok(reply) = nodes[leader]
            .cluster()
            .settle(timed(SettleRequest {}))
            .await
        {
            let settled = reply.into_inner().nodes;
            let first = settled[0].clone();
            let same = |node: &candor_proto::cluster_v1::SettledNode| {
                node.trouble.is_empty()
                    && node.applied_index == first.applied_index
                    && node.head == first.head
            };
            if settled.len() == 3 && settled.iter().all(same) {
                return;
            }
        }
    }
    panic!("the nodes did not settle");
}

/// Elections and starts take their time on a loaded machine; every other error is final.
async fn retried<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(
    call: impl Fn() -> F,
) -> T {
    let mut last = None;
    for _ in 0..120 {
        match call().await {
            Ok(reply) => return reply.into_inner(),
            Err(status) => last = Some(status),
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("no answer: {last:?}");
}

fn timed<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(20));
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    request
}

fn set_item(number: usize, output: &[u8]) -> SetItem {
    let fields = ExactFields {
        model_name: "model".to_owned(),
        model_version: "v1".to_owned(),
        prompt_hash: TaggedDigest::sha3(sha3_256(number.to_string().as_bytes())).to_string(),
        temperature: "0".to_owned(),
        top_p: "1".to_owned(),
        system_prompt_hash: String::new(),
        hardware_class: "cpu".to_owned(),
        parameters: "{}".to_owned(),
    };
    let fingerprint = FingerprintFields::Exact(fields.clone()).fingerprint();
    SetItem {
        request_id: new_request_id(),
        fingerprint: fingerprint.to_string(),
        output: output.to_vec().into(),
        output_hash: TaggedDigest::sha3(sha3_256(output)).to_string(),
        media_type: "text/plain".to_owned(),
        ttl_ms: 3_600_000,
        told: None,
        semantic_match: None,
        fields: Some(set_item::Fields::Exact(wire::ExactFields {
            model_name: fields.model_name,
            model_version: fields.model_version,
            prompt_hash: fields.prompt_hash,
            temperature: fields.temperature,
            top_p: fields.top_p,
            system_prompt_hash: fields.system_prompt_hash,
            hardware_class: fields.hardware_class,
            parameters: fields.parameters,
        })),
    }
}

fn get(fingerprint: &str) -> GetRequest {
    let item = GetItem {
        request_id: new_request_id(),
        fingerprint: fingerprint.to_owned(),
        semantic_match: None,
    };
    GetRequest {
        item: Some(item),
        ..GetRequest::default()
    }
}

fn new_request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// A port that no outgoing connection gets, as the system gives those from 32,768 on: one that was
/// free a moment ago may be taken by a connection of these very nodes otherwise.
fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 25_000 + u16::try_from(std::process::id() % 6_000).unwrap();
    loop {
        let port = first + TAKEN.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn fill(bytes: &mut [u8]) {
    use rand::TryRng as _;
    rand::rngs::SysRng.try_fill_bytes(bytes).unwrap();
}

fn write_secret(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
