//! `candor-audit ledger grpc://...`: the same audit of a running node, and of nodes that lie in every
//! part.
#![cfg(feature = "online")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use candor_ledger::digest::sha3_256;
use candor_proto::audit_v1 as wire;
use candor_proto::audit_v1::audit_service_server::{AuditService, AuditServiceServer};
use candor_proto::{ErrorCode, error_domain};
use serde_json::Value;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

mod desk;
#[path = "../../../ledger/tests/common/sample.rs"]
mod sample;

use desk::{Desk, TOKEN};
use sample::Sample;

/// Of an auditor of the whole cluster, and of one tenant's.
const TENANTS_TOKEN: &str = "candor_of_a_tenants_auditor";

/// 60 entries under three checkpoints.
fn shared() -> &'static Sample {
    static SHARED: OnceLock<Sample> = OnceLock::new();
    SHARED.get_or_init(|| Sample::of_hits("grpc", 60))
}

/// What a node has to show.
#[derive(Clone)]
struct Shown {
    lines: Vec<Vec<u8>>,
    notes: BTreeMap<u64, Vec<u8>>,
    /// Entries of one answer.
    page: usize,
    /// So many answers are refused before the first one is given.
    refusals: u32,
    /// The node refuses for good with this code.
    broken: Option<ErrorCode>,
}

impl Shown {
    fn honest() -> Self {
        let notes = shared().notes.iter();
        Self {
            lines: shared().lines.clone(),
            notes: notes
                .map(|(size, note)| (*size, note.clone().into_bytes()))
                .collect(),
            page: 7,
            refusals: 0,
            broken: None,
        }
    }

    fn newest(&mut self) -> &mut Vec<u8> {
        self.notes.last_entry().unwrap().into_mut()
    }
}

fn refused(code: ErrorCode) -> Status {
    let details =
        ErrorDetails::with_error_info(code.as_str(), error_domain::CANDOR, HashMap::new());
    Status::with_error_details(code.grpc(), "as the test wants it", details)
}

struct Node(Arc<Mutex<Shown>>);

impl Node {
    /// Who asks must be known, and an answer must be due.
    fn enter<T>(&self, request: &Request<T>, tokens: &[&str]) -> Result<Shown, Status> {
        let mut shown = self.0.lock().unwrap();
        let header = request.metadata().get("authorization");
        let header = header.and_then(|value| value.to_str().ok()).unwrap_or("");
        if ![TOKEN, TENANTS_TOKEN]
            .iter()
            .any(|token| header == format!("Bearer {token}"))
        {
            return Err(refused(ErrorCode::Unauthenticated));
        }
        if !tokens
            .iter()
            .any(|token| header == format!("Bearer {token}"))
        {
            return Err(refused(ErrorCode::PermissionDenied));
        }
        if let Some(code) = shown.broken {
            return Err(refused(code));
        }
        if shown.refusals > 0 {
            shown.refusals -= 1;
            return Err(refused(ErrorCode::NoLeader));
        }
        Ok(shown.clone())
    }
}

/// The methods that no auditor asks for.
macro_rules! unasked {
    ($($name:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl AuditService for Node {
            async fn get_checkpoint(
                &self,
                rpc: Request<wire::GetCheckpointRequest>,
            ) -> Result<Response<wire::GetCheckpointResponse>, Status> {
                let shown = self.enter(&rpc, &[TOKEN, TENANTS_TOKEN])?;
                let found = match rpc.get_ref().size {
                    0 => shown.notes.last_key_value(),
                    size => shown.notes.get_key_value(&size),
                };
                let (size, note) = found.ok_or_else(|| refused(ErrorCode::UnknownCheckpoint))?;
                let checkpoint = wire::CheckpointProof {
                    size: *size,
                    note: note.clone().into(),
                    consistency: Vec::new(),
                };
                let checkpoint = Some(checkpoint);
                Ok(Response::new(wire::GetCheckpointResponse { checkpoint }))
            }

            async fn list_entries(
                &self,
                rpc: Request<wire::ListEntriesRequest>,
            ) -> Result<Response<wire::ListEntriesResponse>, Status> {
                let shown = self.enter(&rpc, &[TOKEN])?;
                let start = usize::try_from(rpc.get_ref().start).unwrap();
                let entries = shown.lines.iter().skip(start).take(shown.page);
                Ok(Response::new(wire::ListEntriesResponse {
                    entries: entries.map(|line| line.clone().into()).collect(),
                    ..wire::ListEntriesResponse::default()
                }))
            }

            $(async fn $name(
                &self,
                _: Request<wire::$request>,
            ) -> Result<Response<wire::$response>, Status> {
                Err(Status::unimplemented("no auditor asks for it"))
            })*
        }
    };
}

unasked! {
    attest(AttestRequest) -> AttestResponse;
    get_consistency(GetConsistencyRequest) -> GetConsistencyResponse;
    get_entry(GetEntryRequest) -> GetEntryResponse;
    get_receipt(GetReceiptRequest) -> GetReceiptResponse;
    list_lifecycle(ListLifecycleRequest) -> ListLifecycleResponse;
    list_range(ListRangeRequest) -> ListRangeResponse;
    resolve_fingerprint(ResolveFingerprintRequest) -> ResolveFingerprintResponse;
}

/// Serves for the rest of the test.
fn serve(shown: Shown) -> (String, Arc<Mutex<Shown>>) {
    let shown = Arc::new(Mutex::new(shown));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
    let listener = runtime.block_on(listener).unwrap();
    let address = listener.local_addr().unwrap();
    let service = AuditServiceServer::new(Node(Arc::clone(&shown)));
    thread::spawn(move || {
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.block_on(server.serve_with_incoming(TcpListenerStream::new(listener)))
    });
    (format!("grpc://{address}"), shown)
}

impl Desk {
    /// The audit of a node that changed what it shows; its first finding.
    fn lied(&self, change: impl FnOnce(&mut Shown), more: &[&str]) -> (i32, String, Option<u64>) {
        let mut shown = Shown::honest();
        change(&mut shown);
        let (url, _) = serve(shown);
        let (status, report, said) = self.audit(&url, &[&["--token-file", "token"], more].concat());
        let finding = &report["findings"][0];
        let code = finding["code"].as_str().unwrap_or(&said).to_owned();
        (status, code, finding["seq"].as_u64())
    }
}

#[test]
fn the_audit_over_grpc_is_the_audit_of_the_folder() {
    let desk = Desk::of(shared()).token("tenants", TENANTS_TOKEN);
    let (_, folder, _) = desk.audit("node", &[]);
    // A node in the middle of an election is asked again.
    let mut shown = Shown::honest();
    shown.refusals = 2;
    let (url, shown) = serve(shown);
    let reader = ["--token-file", "token"];
    let (status, online, said) = desk.audit(&url, &reader);
    assert_eq!(status, 0, "{online:#} {said}");
    for key in [
        "outcome",
        "origin",
        "size",
        "root",
        "head",
        "seals",
        "checkpoints",
        "tests",
        "findings",
    ] {
        assert_eq!(online[key], folder[key], "{key}");
    }
    // What is committed and not sealed is no part of it, and a thinned checkpoint no fault.
    {
        let mut shown = shown.lock().unwrap();
        let last = shown.lines.last().unwrap().clone();
        shown.lines.push(last);
        shown.notes.pop_first();
    }
    let (status, report, _) = desk.audit(&url, &reader);
    assert_eq!(
        (status, &report["size"]),
        (0, &folder["size"]),
        "{report:#}"
    );
    // Without the right nothing is said about the ledger, and who asks learns which right it takes.
    for (more, code) in [
        (&["--token-file", "tenants"][..], "PERMISSION_DENIED"),
        (&[], "UNAUTHENTICATED"),
    ] {
        let (status, report, said) = desk.audit(&url, more);
        assert_eq!((status, report), (3, Value::Null), "{said}");
        assert!(said.contains(code) && said.contains("audit-all"), "{said}");
    }
    shown.lock().unwrap().broken = Some(ErrorCode::EntryNotFound);
    let (status, _, said) = desk.audit(&url, &reader);
    assert!(status == 3 && said.contains("ENTRY_NOT_FOUND"), "{said}");
}

#[test]
fn a_node_that_changes_omits_cuts_or_shows_the_past_is_found_and_named() {
    let desk = Desk::of(shared());
    let sealed = shared().sealed();
    let first = *shared().notes.keys().next().unwrap();
    let changed = |shown: &mut Shown| {
        let line = String::from_utf8(shown.lines[20].clone()).unwrap();
        shown.lines[20] = line
            .replacen("\"actor\":\"alice\"", "\"actor\":\"mallo\"", 1)
            .into();
    };
    assert_eq!(
        desk.lied(changed, &[]),
        (1, "chain-broken".to_owned(), Some(20))
    );
    let omitted = |shown: &mut Shown| drop(shown.lines.remove(20));
    assert_eq!(
        desk.lied(omitted, &[]),
        (1, "entry-out-of-order".to_owned(), Some(20))
    );
    let swapped = |shown: &mut Shown| shown.lines.swap(30, 31);
    assert_eq!(
        desk.lied(swapped, &[]),
        (1, "entry-out-of-order".to_owned(), Some(30))
    );
    let cut = |shown: &mut Shown| shown.lines.truncate(33);
    assert_eq!(
        desk.lied(cut, &[]),
        (1, "entries-missing".to_owned(), Some(33))
    );
    // The very last entry is in no later one's `prev`: its own checkpoint tells.
    let last = |shown: &mut Shown| {
        let line = String::from_utf8(shown.lines.pop().unwrap()).unwrap();
        shown
            .lines
            .push(line.replacen("\"nonce\":\"", "\"nonce\":\"A", 1).into());
    };
    assert_eq!(desk.lied(last, &[]).0, 1);
    let forged = |size: u64| {
        move |shown: &mut Shown| {
            let note = shown.notes.get_mut(&size).unwrap();
            let at = note.len() - 40;
            note[at] = if note[at] == b'A' { b'B' } else { b'A' };
        }
    };
    for size in [first, sealed.0] {
        assert_eq!(desk.lied(forged(size), &[]).1, "signature-bad", "{size}");
    }
    // Another size's checkpoint in the place of one.
    let other = |shown: &mut Shown| {
        let newest = shown.newest().clone();
        shown.notes.insert(first, newest);
    };
    assert_eq!(desk.lied(other, &[]).1, "checkpoint-without-seal");
    // An old state of the log, whole and well signed.
    let stale = |shown: &mut Shown| {
        shown.notes.retain(|size, _| *size == first);
        shown.lines.truncate(usize::try_from(first).unwrap());
    };
    assert_eq!(desk.lied(stale, &[]).0, 0);
    let since = format!("note-{sealed}");
    assert_eq!(desk.lied(stale, &["--since", &since]).1, "rolled-back");
    let (status, code, _) = desk.lied(stale, &["--max-age", "1d"]);
    assert_eq!((status, &*code), (4, "too-old"));
    let no_note = |shown: &mut Shown| shown.newest().clear();
    assert_eq!(desk.lied(no_note, &[]).0, 3);
}

/// Any bit of an entry or a note, one at a time.
#[test]
fn no_flipped_bit_of_an_answer_is_accepted() {
    let seed = std::env::var("CANDOR_SEED").unwrap_or_else(|_| "grpc".to_owned());
    println!("CANDOR_SEED={seed}");
    let desk = Desk::of(shared());
    let (url, shown) = serve(Shown::honest());
    for round in 0..40_u32 {
        let random = sha3_256(format!("{seed} {round}").as_bytes());
        let number = |at: usize| usize::from(u16::from_be_bytes([random[at], random[at + 1]]));
        let mut lie = Shown::honest();
        let (what, bytes) = if round % 3 == 0 {
            let size = *lie.notes.keys().nth(number(0) % lie.notes.len()).unwrap();
            (format!("note {size}"), lie.notes.get_mut(&size).unwrap())
        } else {
            let seq = number(0) % lie.lines.len();
            (format!("entry {seq}"), &mut lie.lines[seq])
        };
        let (at, bit) = (number(2) % bytes.len(), number(4) % 8);
        bytes[at] ^= 1 << bit;
        *shown.lock().unwrap() = lie;
        let (status, report, _) = desk.audit(&url, &["--token-file", "token"]);
        assert_ne!(status, 0, "{what}, byte {at}, bit {bit}: {report:#}");
        assert_ne!(report["outcome"], "proved");
    }
}
