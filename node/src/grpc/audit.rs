//! `candor.audit.v1`: entries, lifecycles, checkpoints and the proofs that tie them together.
#![allow(
    clippy::unused_async,
    reason = "every method has the one shape that `methods!` awaits"
)]

use bytes::Bytes;
use candor_ledger::entry::{Entry, Subject};
use candor_ledger::fold::{self, Answer, Answered, Outcome};
use candor_ledger::ids::{RequestId, Seq, TreeSize};
use candor_ledger::tree::leaf_hash;
use candor_proto::audit_v1::audit_service_server::AuditService;
use candor_proto::audit_v1::{
    Acknowledgement, AttestRequest, AttestResponse, GetCheckpointRequest, GetCheckpointResponse,
    GetConsistencyRequest, GetConsistencyResponse, GetEntryRequest, GetEntryResponse,
    GetReceiptRequest, GetReceiptResponse, ListEntriesRequest, ListEntriesResponse,
    ListLifecycleRequest, ListLifecycleResponse, ListRangeRequest, ListRangeResponse, RangeItem,
    ResolveFingerprintRequest, ResolveFingerprintResponse, get_receipt_request, range_item,
};
use candor_proto::error_metadata;
use tonic::{Request, Response, Status};

use super::cache::{Asked, refused};
use super::call::Call;
use super::proofs::hashes;
use super::status::{ApiError, ErrorCode};
use super::{Api, convert};
use crate::env::Env;
use crate::principal::Right;
use crate::records;

/// Entries of one page of a lifecycle.
const LIFECYCLE_PAGE_MAX: u32 = 1_000;
const LIFECYCLE_PAGE_DEFAULT: u32 = 100;
/// Entries of one page of the whole ledger.
const ENTRIES_PAGE_MAX: u32 = 10_000;
const ENTRIES_PAGE_DEFAULT: u32 = 1_000;
/// A page ends at this many bytes of entries, paths not counted: 32 hashes each at most double it.
const PAGE_BYTES_MAX: usize = 2 << 20;
const CANDIDATES_MAX: usize = 16;

impl<E: Env> Api<E> {
    pub(super) async fn attest(
        &self,
        call: &Call,
        m: AttestRequest,
    ) -> Result<AttestResponse, ApiError> {
        let operation = convert::attest(&m)?;
        self.check_attested_root(m.size, &m.root)?;
        let asked = Asked::new(m.wait_for, m.known_size, 0, Acknowledgement::Sealed);
        let (recorded, outcome, checkpoint) =
            self.change(call, &m.request_id, operation, &asked).await?;
        let refused = match outcome {
            Outcome::Answered(Answered {
                answer: Answer::Attested,
                ..
            }) => None,
            other => Some(refused(other)?),
        };
        Ok(AttestResponse {
            recorded: Some(recorded),
            refused,
            checkpoint,
        })
    }

    /// An attestation names a root that this ledger really had; the fold cannot know roots.
    fn check_attested_root(&self, size: u64, root: &[u8]) -> Result<(), ApiError> {
        let sealed = self.applying.borrow().sealed;
        if TreeSize(size) > sealed || size == 0 {
            return Err(ApiError::field(
                "size",
                format!("want 1 to {sealed}, the sealed size"),
            ));
        }
        if self.reader.root_at(TreeSize(size))?.0[..] != *root {
            return Err(ApiError::field(
                "root",
                "it is not this ledger's root at that size",
            ));
        }
        Ok(())
    }

    pub(super) async fn get_entry(
        &self,
        call: &Call,
        m: GetEntryRequest,
    ) -> Result<GetEntryResponse, ApiError> {
        let seq = Seq(m.seq);
        let line = self.readable(call, seq)?;
        let known = TreeSize(m.known_size);
        let anchor = self
            .anchor(known, &[seq], None)?
            .filter(|anchor| anchor.size.covers(seq));
        let proof = self.proof(seq, Some(line), anchor.as_ref())?;
        let checkpoint = anchor
            .map(|anchor| self.checkpoint_proof(&anchor, known))
            .transpose()?;
        Ok(GetEntryResponse {
            proof: Some(proof),
            checkpoint,
        })
    }

    pub(super) async fn get_receipt(
        &self,
        call: &Call,
        m: GetReceiptRequest,
    ) -> Result<GetReceiptResponse, ApiError> {
        let seq = match m.entry {
            Some(get_receipt_request::Entry::Seq(seq)) => Seq(seq),
            Some(get_receipt_request::Entry::RequestId(text)) => self.seq_of(call, &text)?,
            None => return Err(ApiError::field("entry", "want `seq` or `request_id`")),
        };
        let line = self.readable(call, seq)?;
        if !self.sealed_by(Some(seq), None, call.deadline).await {
            let problem = format!("entry {seq} is committed and not sealed yet");
            return Err(ApiError::new(ErrorCode::NotSealed, problem).with(error_metadata::SEQ, seq));
        }
        let known = TreeSize(m.known_size);
        let anchor = self
            .anchor(known, &[seq], None)?
            .ok_or_else(|| unknown(ErrorCode::UnknownCheckpoint, "a checkpoint"))?;
        let proof = self.proof(seq, Some(line), Some(&anchor))?;
        let checkpoint = Some(self.checkpoint_proof(&anchor, known)?);
        Ok(GetReceiptResponse {
            proof: Some(proof),
            checkpoint,
        })
    }

    fn seq_of(&self, call: &Call, text: &str) -> Result<Seq, ApiError> {
        let request_id = RequestId::parse(text)
            .map_err(|problem| ApiError::field("request_id", problem.to_string()))?;
        let (tenant, actor) = (call.principal.tenant.clone(), call.principal.actor.clone());
        let view = self.state.read();
        let found = records::request_entry(&*view, &tenant, request_id, &actor)?;
        found.ok_or_else(|| {
            unknown(
                ErrorCode::UnknownRequest,
                "a state-changing request of yours under this id",
            )
        })
    }

    pub(super) async fn list_lifecycle(
        &self,
        call: &Call,
        m: ListLifecycleRequest,
    ) -> Result<ListLifecycleResponse, ApiError> {
        let subject = convert::subject(&m.subject, "subject")?;
        let tenant = match subject {
            Subject::Ledger => "",
            _ => call.principal.tenant.as_str(),
        };
        let page = page_size(m.page_size, LIFECYCLE_PAGE_DEFAULT, LIFECYCLE_PAGE_MAX)?;
        let known = TreeSize(m.known_size);
        let (anchor, mut next) = match m.page_token.as_str() {
            "" => {
                let newest =
                    fold::lifecycle(&*self.state.read(), tenant, &subject)?.map(|l| l.last);
                let newest =
                    newest.ok_or_else(|| unknown(ErrorCode::UnknownFingerprint, "this subject"))?;
                (self.anchor(known, &[newest], None)?, Some(newest))
            }
            token => {
                let (size, seq) = page_token(token)?;
                let anchor = self
                    .anchor(size, &[], None)?
                    .filter(|anchor| anchor.size == size);
                // All pages lead to one checkpoint; it may be thinned out between two of them.
                if anchor.is_none() && size > TreeSize(0) {
                    let problem = "the first page's checkpoint is not kept any more: list again";
                    return Err(ApiError::new(ErrorCode::UnknownCheckpoint, problem));
                }
                (anchor, Some(seq))
            }
        };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(seq) = next {
            let line = Bytes::from(self.reader.entry(seq)?);
            let entry = Entry::parse(&line)
                .map_err(|problem| ApiError::new(ErrorCode::StorageDamaged, problem.to_string()))?;
            if entry.tenant != tenant || entry.subject != subject {
                return Err(ApiError::field(
                    "page_token",
                    "it belongs to another lifecycle",
                ));
            }
            bytes += line.len();
            entries.push(self.proof(seq, Some(line), anchor.as_ref())?);
            next = entry.subject_prev;
            if entries.len() >= page || bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
        let size = anchor.as_ref().map_or(0, |anchor| anchor.size.0);
        let next_page_token = next.map(|seq| format!("{size}.{seq}")).unwrap_or_default();
        let checkpoint = anchor
            .map(|anchor| self.checkpoint_proof(&anchor, known))
            .transpose()?;
        let subject = subject.to_string();
        Ok(ListLifecycleResponse {
            subject,
            entries,
            checkpoint,
            next_page_token,
        })
    }

    pub(super) async fn resolve_fingerprint(
        &self,
        call: &Call,
        m: ResolveFingerprintRequest,
    ) -> Result<ResolveFingerprintResponse, ApiError> {
        let digits = m
            .prefix
            .trim_start_matches("fingerprint:")
            .trim_start_matches("sha3-256:");
        let hex = digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || !(8..=64).contains(&digits.len()) {
            return Err(ApiError::field(
                "prefix",
                "want 8 to 64 lower-case hex digits",
            ));
        }
        let view = self.state.read();
        let tenant = &call.principal.tenant;
        let mut found = fold::resolve_prefix(&*view, tenant, digits, CANDIDATES_MAX + 1)?;
        let more = found.len() > CANDIDATES_MAX;
        found.truncate(CANDIDATES_MAX);
        let candidates = found
            .into_iter()
            .map(|fingerprint| fingerprint.to_string())
            .collect();
        Ok(ResolveFingerprintResponse { candidates, more })
    }

    pub(super) async fn get_checkpoint(
        &self,
        call: &Call,
        m: GetCheckpointRequest,
    ) -> Result<GetCheckpointResponse, ApiError> {
        let known = TreeSize(m.known_size);
        let min_sealed = m
            .min_sealed
            .map(|time| convert::micros(&time, "min_sealed"))
            .transpose()?;
        if m.size == 0 && min_sealed.is_some() {
            self.sealed_by(None, min_sealed, call.deadline).await;
        }
        let anchor = match m.size {
            0 => self.anchor(TreeSize(0), &[], None)?,
            size => self
                .anchor(TreeSize(size), &[], None)?
                .filter(|a| a.size.0 == size),
        };
        let anchor = anchor
            .ok_or_else(|| unknown(ErrorCode::UnknownCheckpoint, "a checkpoint of that size"))?;
        let mut checkpoint = self.checkpoint_proof(&anchor, known)?;
        checkpoint.note = anchor.into_note();
        Ok(GetCheckpointResponse {
            checkpoint: Some(checkpoint),
        })
    }

    pub(super) async fn get_consistency(
        &self,
        _call: &Call,
        m: GetConsistencyRequest,
    ) -> Result<GetConsistencyResponse, ApiError> {
        let sealed = self.applying.borrow().sealed;
        if m.old_size == 0 || m.old_size > m.new_size || TreeSize(m.new_size) > sealed {
            let problem = format!("want 1 <= old_size <= new_size <= {sealed}");
            return Err(ApiError::field("new_size", problem));
        }
        let path = self
            .reader
            .consistency(TreeSize(m.old_size), TreeSize(m.new_size))?;
        Ok(GetConsistencyResponse {
            path: hashes(&path),
        })
    }

    pub(super) async fn list_entries(
        &self,
        _call: &Call,
        m: ListEntriesRequest,
    ) -> Result<ListEntriesResponse, ApiError> {
        let count = page_size(m.page_size, ENTRIES_PAGE_DEFAULT, ENTRIES_PAGE_MAX)?;
        let size = self.reader.size();
        let end = m
            .start
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX))
            .min(size.0);
        let range = Seq(m.start.min(end))..Seq(end);
        let page = u64::try_from(PAGE_BYTES_MAX).unwrap_or(u64::MAX);
        let entries = self
            .reader
            .entries(range, page)?
            .into_iter()
            .map(Bytes::from)
            .collect();
        let sealed_size = self.applying.borrow().sealed.0;
        Ok(ListEntriesResponse {
            entries,
            size: size.0,
            sealed_size,
        })
    }

    pub(super) async fn list_range(
        &self,
        call: &Call,
        m: ListRangeRequest,
    ) -> Result<ListRangeResponse, ApiError> {
        let count = page_size(m.page_size, ENTRIES_PAGE_DEFAULT, ENTRIES_PAGE_MAX)?;
        let sealed = self.applying.borrow().sealed;
        if m.size == 0 || TreeSize(m.size) > sealed {
            let problem = format!("want 1 to {sealed}, the sealed size");
            return Err(ApiError::field("size", problem));
        }
        if m.start >= m.end || m.end > m.size {
            let problem = format!("want more than `start`, and at most {}, the size", m.size);
            return Err(ApiError::field("end", problem));
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let range = Seq(m.start)..Seq(m.end.min(m.start.saturating_add(count)));
        let page = u64::try_from(PAGE_BYTES_MAX).unwrap_or(u64::MAX);
        let lines = self.reader.entries(range, page)?;
        let read = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let end = TreeSize(m.start.saturating_add(read));
        let items: Result<Vec<_>, _> = lines
            .into_iter()
            .map(|line| range_item_for(call, line))
            .collect();
        Ok(ListRangeResponse {
            items: items?,
            frontier: hashes(self.reader.frontier(TreeSize(m.start))?.nodes()),
            path: hashes(&self.reader.consistency(end, TreeSize(m.size))?),
        })
    }

    /// An entry that this caller may see: its own tenant's, the log's own, or any with `audit-all`.
    pub(super) fn readable(&self, call: &Call, seq: Seq) -> Result<Bytes, ApiError> {
        if !self.reader.size().covers(seq) {
            return Err(unknown(ErrorCode::EntryNotFound, "an entry of this number"));
        }
        let line = Bytes::from(self.reader.entry(seq)?);
        if may_read(call, &line)? {
            return Ok(line);
        }
        // The same answer as for an entry that does not exist: positions of others tell nothing.
        Err(unknown(ErrorCode::EntryNotFound, "an entry of this number"))
    }
}

/// Its own tenant's entries, the log's own, and all with `audit-all`.
fn may_read(call: &Call, line: &[u8]) -> Result<bool, ApiError> {
    if call.principal.may(Right::AuditAll) {
        return Ok(true);
    }
    let entry = Entry::parse(line)
        .map_err(|problem| ApiError::new(ErrorCode::StorageDamaged, problem.to_string()))?;
    Ok(entry.tenant == call.principal.tenant || entry.tenant.is_empty())
}

fn range_item_for(call: &Call, line: Vec<u8>) -> Result<RangeItem, ApiError> {
    let item = if may_read(call, &line)? {
        range_item::Item::Entry(Bytes::from(line))
    } else {
        range_item::Item::LeafHash(Bytes::copy_from_slice(&leaf_hash(&line).0))
    };
    Ok(RangeItem { item: Some(item) })
}

fn page_size(asked: u32, default: u32, most: u32) -> Result<usize, ApiError> {
    match asked {
        0 => Ok(usize::try_from(default).unwrap_or(usize::MAX)),
        asked if asked <= most => Ok(usize::try_from(asked).unwrap_or(usize::MAX)),
        _ => Err(ApiError::field(
            "page_size",
            format!("want 1 to {most}, or 0"),
        )),
    }
}

fn page_token(token: &str) -> Result<(TreeSize, Seq), ApiError> {
    let parsed = token
        .split_once('.')
        .and_then(|(size, seq)| Some((TreeSize(size.parse().ok()?), Seq(seq.parse().ok()?))));
    parsed.ok_or_else(|| ApiError::field("page_token", "it is not one of this server's"))
}

fn unknown(code: ErrorCode, what: &str) -> ApiError {
    ApiError::new(code, format!("{what} is not known"))
}

macro_rules! methods {
    ($($name:ident($request:ty) -> $response:ty, [$($right:ident),+];)*) => {
        #[tonic::async_trait]
        impl<E: Env> AuditService for super::Service<E> {
            $(async fn $name(
                &self,
                request: Request<$request>,
            ) -> Result<Response<$response>, Status> {
                let method = concat!("/candor.audit.v1.AuditService/", stringify!($name));
                self.answer(request, method, &[$(Right::$right),+], async |api, call, message| {
                    api.$name(call, message).await
                })
                .await
            })*
        }

        impl<E: Env> Api<E> {
            /// Answers an audit call that another node sent on.
            pub(super) async fn forwarded_audit(
                &self,
                method: &str,
                call: &Call,
                message: Bytes,
            ) -> Option<Result<Bytes, ApiError>> {
                $(if method == concat!("/candor.audit.v1.AuditService/", stringify!($name)) {
                    let rights = &[$(Right::$right),+];
                    return Some(super::relay(call, rights, message, async |message| {
                        self.$name(call, message).await
                    }).await);
                })*
                None
            }
        }
    };
}

methods! {
    attest(AttestRequest) -> AttestResponse, [Audit];
    get_entry(GetEntryRequest) -> GetEntryResponse, [Read, Audit, AuditAll];
    get_receipt(GetReceiptRequest) -> GetReceiptResponse, [Read, Write, Audit, AuditAll];
    list_lifecycle(ListLifecycleRequest) -> ListLifecycleResponse, [Read, Audit, AuditAll];
    resolve_fingerprint(ResolveFingerprintRequest) -> ResolveFingerprintResponse, [Read, Audit];
    get_checkpoint(GetCheckpointRequest) -> GetCheckpointResponse,
        [Read, Write, Audit, AuditAll, Operate];
    get_consistency(GetConsistencyRequest) -> GetConsistencyResponse,
        [Read, Write, Audit, AuditAll, Operate];
    list_entries(ListEntriesRequest) -> ListEntriesResponse, [AuditAll];
    list_range(ListRangeRequest) -> ListRangeResponse, [Audit, AuditAll];
}
