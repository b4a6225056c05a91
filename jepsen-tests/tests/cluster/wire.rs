//! The API as it stands on the wire: errors with their codes and fields, values of full size, and
//! reflection. Plain gRPC against real processes; the SDK would keep most of these mistakes back.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::HashMap;
use std::time::Duration;

use candor_jepsen::real::{Cluster, PATIENCE, Setup};
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::{Entry, Op};
use candor_ledger::fingerprint::{ExactFields, FingerprintFields};
use candor_proto::audit_v1::audit_service_client::AuditServiceClient;
use candor_proto::audit_v1::{ListLifecycleRequest, ResolveFingerprintRequest};
use candor_proto::cache_v1 as wire;
use candor_proto::cache_v1::cache_service_client::CacheServiceClient;
use candor_proto::cache_v1::{GetItem, GetRequest, SetItem, SetRequest, get_result, set_result};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

const MIB: usize = 1 << 20;
/// The default limit of a value.
const VALUE_LEN_MAX: usize = 8 * MIB;
/// Two operations wait, one is on its way: the rest of a crowd is refused.
const TINY_QUEUE: &str = "[limits]\nqueue_operations = 2\ncommand_operations = 1\n\
                          commands_in_flight = 1\n";
const CROWD: usize = 200;

/// What a refused call must say.
struct Refused {
    grpc: Code,
    reason: &'static str,
    field: Option<&'static str>,
}

/// A node as `service-a` reaches it.
struct Node {
    channel: Channel,
    token: String,
}

impl Node {
    fn of(cluster: &Cluster, node: u64) -> Self {
        let url = format!("http://{}", cluster.client_address(node));
        Self {
            channel: Channel::from_shared(url).unwrap().connect_lazy(),
            token: cluster.principal("service-a").unwrap().token.clone(),
        }
    }

    fn cache(&self) -> CacheServiceClient<Channel> {
        CacheServiceClient::new(self.channel.clone()).max_decoding_message_size(2 * VALUE_LEN_MAX)
    }

    fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone())
    }

    /// With this token and without a deadline.
    fn bare<M>(token: &str, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    fn timed<M>(&self, message: M) -> Request<M> {
        let mut request = Self::bare(&self.token, message);
        request.set_timeout(Duration::from_secs(30));
        request
    }

    async fn set(&self, item: SetItem) -> Result<wire::SetResult, Status> {
        let request = SetRequest {
            item: Some(item),
            ..SetRequest::default()
        };
        let reply = self.cache().set(self.timed(request)).await?;
        Ok(reply.into_inner().result.unwrap())
    }

    async fn get(&self, fingerprint: &str) -> Result<wire::GetResult, Status> {
        let reply = self.cache().get(self.timed(get(fingerprint))).await?;
        Ok(reply.into_inner().result.unwrap())
    }

    /// Elections and starts take their time.
    async fn value(&self, fingerprint: &str) -> Vec<u8> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.get(fingerprint).await {
                Ok(wire::GetResult {
                    outcome: Some(get_result::Outcome::Hit(hit)),
                    ..
                }) => return hit.value.to_vec(),
                other => assert!(tokio::time::Instant::now() < deadline, "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
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

fn conditions(prompt: &str) -> ExactFields {
    ExactFields {
        model_name: "model".to_owned(),
        model_version: "v1".to_owned(),
        prompt_hash: TaggedDigest::sha3(sha3_256(prompt.as_bytes())).to_string(),
        temperature: "0.7".to_owned(),
        top_p: "1".to_owned(),
        system_prompt_hash: String::new(),
        hardware_class: "cpu".to_owned(),
        parameters: "{}".to_owned(),
    }
}

fn fingerprint(prompt: &str) -> String {
    let fields = FingerprintFields::Exact(conditions(prompt));
    fields.fingerprint().to_string()
}

fn set_item(prompt: &str, output: &[u8]) -> SetItem {
    let fields = conditions(prompt);
    SetItem {
        request_id: new_request_id(),
        fingerprint: fingerprint(prompt),
        output: output.to_vec().into(),
        output_hash: TaggedDigest::sha3(sha3_256(output)).to_string(),
        media_type: "application/octet-stream".to_owned(),
        ttl_ms: 3_600_000,
        told: None,
        semantic_match: None,
        fields: Some(wire::set_item::Fields::Exact(wire::ExactFields {
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

fn new_request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn check<T: std::fmt::Debug>(what: &str, answer: Result<T, Status>, want: &Refused) {
    let status = answer.expect_err(what);
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("{what}: no ErrorInfo: {status:?}"));
    assert_eq!(
        (status.code(), info.domain.as_str(), info.reason.as_str()),
        (want.grpc, "candor", want.reason),
        "{what}: {status:?}"
    );
    let fields = details.bad_request().map(|bad| &bad.field_violations[..]);
    let field = fields
        .unwrap_or_default()
        .first()
        .map(|found| found.field.as_str());
    assert_eq!(field, want.field, "{what}: {status:?}");
    assert!(!status.message().is_empty(), "{what}");
}

fn malformed(reason: &'static str, field: &'static str) -> Refused {
    Refused {
        grpc: Code::InvalidArgument,
        reason,
        field: Some(field),
    }
}

/// Entries of clients: the seals of silent minutes are the log's own.
fn of_clients(cluster: &Cluster, node: u64) -> Vec<Entry> {
    let mut entries = cluster.entries(node).unwrap();
    entries.retain(|entry| !entry.tenant.is_empty());
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_has_its_code_and_field_and_leaves_nothing_behind() {
    let mut cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .sections(TINY_QUEUE)
        .found()
        .await
        .unwrap();
    let leader = cluster.leader().await.unwrap();
    let follower = cluster.nodes().find(|node| *node != leader).unwrap();
    for node in [leader, follower] {
        let node = Node::of(&cluster, node);
        wrong_callers(&node).await;
        wrong_messages(&node).await;
    }
    assert_eq!(of_clients(&cluster, leader), [], "nothing was recorded");

    for node in [leader, follower] {
        full_queue(&cluster, leader, &Node::of(&cluster, node)).await;
    }
    ambiguous_prefix(&cluster, &Node::of(&cluster, follower)).await;
    cluster.settle().await.unwrap();
    cluster.same_ledgers().unwrap();
    cluster.stop_all().await.unwrap();
}

/// Who asks, and until when.
async fn wrong_callers(node: &Node) {
    let question = || get(&fingerprint("nobody asked"));
    let unauthenticated = Refused {
        grpc: Code::Unauthenticated,
        reason: "UNAUTHENTICATED",
        field: None,
    };
    let mut request = Node::bare("not-a-token", question());
    request.set_timeout(Duration::from_secs(30));
    check(
        "wrong token",
        node.cache().get(request).await,
        &unauthenticated,
    );
    let mut request = Request::new(question());
    request.set_timeout(Duration::from_secs(30));
    check(
        "no token",
        node.cache().get(request).await,
        &unauthenticated,
    );

    let missing = Refused {
        grpc: Code::InvalidArgument,
        reason: "DEADLINE_MISSING",
        field: None,
    };
    let request = Node::bare(&node.token, question());
    check("no deadline", node.cache().get(request).await, &missing);

    let passed = Refused {
        grpc: Code::DeadlineExceeded,
        reason: "DEADLINE_PASSED",
        field: None,
    };
    // Too short for an answer's way back, so refused at once; our own end may give up first.
    let mut answers = 0;
    for _ in 0..500 {
        let mut request = Node::bare(&node.token, question());
        request.set_timeout(Duration::from_millis(19));
        let answer = node.cache().get(request).await;
        let status = answer.as_ref().expect_err("a deadline that has passed");
        if status.get_error_details().error_info().is_some() {
            check("passed deadline", answer, &passed);
            answers += 1;
            break;
        }
        assert!(
            matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded),
            "{status:?}"
        );
    }
    assert_eq!(answers, 1, "the node never answered in time");
}

/// What they ask.
async fn wrong_messages(node: &Node) {
    let item = set_item("too large", &vec![7; VALUE_LEN_MAX + 1]);
    let refused = node.set(item).await;
    let limit = refused.as_ref().unwrap_err().get_error_details();
    let limit = limit.error_info().unwrap().metadata.get("limit").cloned();
    assert_eq!(limit, Some(VALUE_LEN_MAX.to_string()));
    check(
        "oversized value",
        refused,
        &malformed("TOO_LARGE", "item.output"),
    );

    for bad in ["sha3-256:0123", "md5:d41d8cd98f00b204e9800998ecf8427e", ""] {
        let mut item = set_item("bad digest", b"4");
        item.output_hash = bad.to_owned();
        let want = malformed("INVALID_FIELD", "item.output_hash");
        check(bad, node.set(item).await, &want);
    }
    let mut item = set_item("another digest", b"4");
    item.output_hash = TaggedDigest::sha3(sha3_256(b"5")).to_string();
    let want = malformed("OUTPUT_HASH_MISMATCH", "item.output_hash");
    check("another's digest", node.set(item).await, &want);
    let mut item = set_item("another fingerprint", b"4");
    item.fingerprint = fingerprint("of another prompt");
    let want = malformed("FINGERPRINT_MISMATCH", "item.fingerprint");
    check("another's fingerprint", node.set(item).await, &want);

    for bad in ["0.70", "-0", "1e-1", ".7", "0,7", "NaN"] {
        let mut item = set_item("bad decimal", b"4");
        if let Some(wire::set_item::Fields::Exact(fields)) = &mut item.fields {
            bad.clone_into(&mut fields.temperature);
        }
        let want = malformed("INVALID_FIELD", "item.exact.temperature");
        check(bad, node.set(item).await, &want);
    }

    let request = ListLifecycleRequest {
        subject: fingerprint("never asked"),
        ..ListLifecycleRequest::default()
    };
    let unknown = Refused {
        grpc: Code::NotFound,
        reason: "UNKNOWN_FINGERPRINT",
        field: None,
    };
    let answer = node.audit().list_lifecycle(node.timed(request)).await;
    check("unknown fingerprint", answer, &unknown);
    let prefix = ResolveFingerprintRequest {
        prefix: "0123".to_owned(),
    };
    let answer = node.audit().resolve_fingerprint(node.timed(prefix)).await;
    check(
        "short prefix",
        answer,
        &malformed("INVALID_FIELD", "prefix"),
    );
}

/// More gets at once than may wait: each is answered with its own entry, or refused without one.
async fn full_queue(cluster: &Cluster, leader: u64, node: &Node) {
    let before = of_clients(cluster, leader).len();
    let asked = fingerprint("a crowd asks");
    let crowd = (0..CROWD).map(|_| {
        let request = get(&asked);
        let id = request.item.clone().unwrap().request_id;
        let (mut cache, request) = (node.cache(), node.timed(request));
        tokio::spawn(async move { (id, cache.get(request).await) })
    });
    let crowd: Vec<_> = crowd.collect();
    let (mut answered, mut refused) = (Vec::new(), 0);
    let full = Refused {
        grpc: Code::ResourceExhausted,
        reason: "QUEUE_FULL",
        field: None,
    };
    for one in crowd {
        match one.await.unwrap() {
            (id, Ok(_)) => answered.push(id),
            (_, Err(status)) => {
                let retry = status.get_error_details().retry_info().cloned();
                assert!(
                    retry.and_then(|retry| retry.retry_delay).is_some(),
                    "{status:?}"
                );
                check("full queue", Err::<(), _>(status), &full);
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && !answered.is_empty(), "{refused} refused");
    let entries = of_clients(cluster, leader);
    let mut recorded: Vec<String> = entries[before..]
        .iter()
        .map(|entry| {
            assert_eq!(entry.op(), Op::CacheReadMiss);
            entry.request_id.unwrap().to_string()
        })
        .collect();
    recorded.sort_unstable();
    answered.sort_unstable();
    assert_eq!(
        recorded, answered,
        "one entry for each answer, none for a refusal"
    );
    println!("of {CROWD} gets at once {refused} were refused");
}

/// The server lists what a prefix may mean; the SDK makes an error of it.
async fn ambiguous_prefix(cluster: &Cluster, node: &Node) {
    let (one, two, digits) = two_of_one_prefix();
    for prompt in [&one, &two] {
        let written = node.set(set_item(prompt, b"4")).await.unwrap();
        let outcome = written.outcome.unwrap();
        assert!(
            matches!(outcome, set_result::Outcome::Written(_)),
            "{outcome:?}"
        );
    }
    // Each node looks through what it has applied, and a follower applies a little later.
    cluster.settle().await.unwrap();
    let prefix = digits.clone();
    let request = node.timed(ResolveFingerprintRequest { prefix });
    let found = node.audit().resolve_fingerprint(request).await.unwrap();
    let mut both = [fingerprint(&one), fingerprint(&two)];
    both.sort_unstable();
    assert_eq!(found.into_inner().candidates, both);
    let client = cluster.client("service-a").unwrap();
    let refused = client.resolve(&digits).await.unwrap_err();
    assert_eq!(refused.code(), "AMBIGUOUS_PREFIX");
    assert!(
        both.iter()
            .all(|candidate| format!("{refused:?}").contains(&candidate[21..40]))
    );
}

/// Two prompts whose fingerprints begin with the same 8 digits: among 200,000 there are about five
/// such pairs, always the same ones.
fn two_of_one_prefix() -> (String, String, String) {
    let mut seen = HashMap::new();
    for number in 0..200_000 {
        let prompt = format!("prompt {number}");
        let digits = fingerprint(&prompt)["fingerprint:sha3-256:".len()..][..8].to_owned();
        if let Some(first) = seen.insert(digits.clone(), prompt.clone()) {
            return (first, prompt, digits);
        }
    }
    panic!("no two of 200,000 fingerprints begin alike");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_full_size_crosses_a_follower_and_a_restart_of_all_nodes() {
    let mut cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let leader = cluster.leader().await.unwrap();
    let followers: Vec<u64> = cluster.nodes().filter(|node| *node != leader).collect();
    // Not compressible, and each MiB of it another.
    let output: Vec<u8> = (0..VALUE_LEN_MAX / 32)
        .flat_map(|block| sha3_256(&block.to_be_bytes()))
        .collect();
    let written = Node::of(&cluster, followers[0])
        .set(set_item("large", &output))
        .await
        .unwrap();
    let outcome = written.outcome.unwrap();
    assert!(
        matches!(outcome, set_result::Outcome::Written(_)),
        "{outcome:?}"
    );
    let asked = fingerprint("large");
    for node in cluster.nodes() {
        assert!(
            Node::of(&cluster, node).value(&asked).await == output,
            "node {node}"
        );
    }
    cluster.stop_all().await.unwrap();
    cluster.start_all().await.unwrap();
    assert!(
        Node::of(&cluster, followers[1]).value(&asked).await == output,
        "after a stop"
    );
    cluster.kill_all().unwrap();
    cluster.start_all().await.unwrap();
    for node in cluster.nodes() {
        assert!(
            Node::of(&cluster, node).value(&asked).await == output,
            "after a kill: {node}"
        );
    }
}

/// With a client that nobody here wrote and that knows nothing but what the server says of itself.
#[cfg(feature = "outside-tools")]
#[tokio::test(flavor = "multi_thread")]
async fn reflection_tells_buf_curl_all_it_needs_to_call() {
    let cluster = Setup::new(env!("CARGO_BIN_EXE_candor-jepsen"))
        .found()
        .await
        .unwrap();
    let url = format!("http://{}", cluster.client_address(1));
    let token = &cluster.principal("service-a").unwrap().token;
    let buf = |more: &[&str], path: &str| {
        let output = std::process::Command::new("buf")
            .args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"])
            .args(["--header", &format!("authorization: Bearer {token}")])
            .args(more)
            .arg(format!("{url}{path}"))
            .output()
            .expect("`buf` on the path: `pip install --requirement .ci/requirements.txt`");
        let said = [&output.stdout[..], b"\n", &output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (listed, services) = buf(&["--list-services"], "");
    assert!(listed, "{services}");
    for service in [
        "candor.audit.v1.AuditService",
        "candor.cache.v1.CacheService",
        "candor.cluster.v1.ClusterService",
        "grpc.health.v1.Health",
    ] {
        assert!(services.lines().any(|line| line == service), "{services}");
    }
    let (listed, methods) = buf(&["--list-methods"], "");
    assert!(listed, "{methods}");
    for method in [
        "candor.cache.v1.CacheService/BatchGet",
        "candor.audit.v1.AuditService/Attest",
    ] {
        assert!(methods.lines().any(|line| line == method), "{methods}");
    }
    let (called, health) = buf(&["--data", "{}"], "/grpc.health.v1.Health/Check");
    assert!(called && health.contains("SERVING"), "{health}");
    let call = "/candor.audit.v1.AuditService/GetCheckpoint";
    let (called, checkpoint) = buf(&["--timeout", "20s", "--data", "{}"], call);
    assert!(called && checkpoint.contains("\"note\""), "{checkpoint}");
    // Without a deadline; details arrive as bytes: the reason and the domain of an ErrorInfo.
    let (called, refused) = buf(&["--data", "{}"], call);
    assert!(!called, "{refused}");
    let info = "ChBERUFETElORV9NSVNTSU5HEgZjYW5kb3I";
    for word in ["invalid_argument", "google.rpc.ErrorInfo", info] {
        assert!(refused.contains(word), "no {word}: {refused}");
    }
}
