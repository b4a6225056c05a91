//! Reading the ledger: lifecycles, single entries, receipts, checkpoints.

use std::sync::Arc;

use candor_ledger::entry::{Attestation, Body, Entry, Op, Subject, Verdict, Write};
use candor_ledger::evidence::{Claim, Evidence, EvidenceBuilder, EvidenceError};
use candor_ledger::fingerprint::{FieldError, Fingerprint};
use candor_ledger::ids::{RequestId, Seq};
use candor_ledger::time::Micros;
use candor_ledger::tree::NodeHash;
use candor_proto::audit_v1 as wire;
use candor_proto::audit_v1::get_receipt_request::Entry as Wanted;
use candor_proto::timestamp;
use tokio::time::Instant;

use crate::cache::{ChangeOptions, Made, acknowledgement};
use crate::call::Kind;
use crate::checkpoint::VerifiedCheckpoint;
use crate::client::{Client, Inner};
use crate::endpoint::Line;
use crate::error::{Doubt, Error, Unproven};
use crate::recorded::{Recorded, Sealed};
use crate::report::ComplianceReport;
use crate::verify::change;
use crate::verify::lifecycle::Walk;
use crate::verify::own::same;
use crate::verify::proof::{Shown, shown_entry, unsealed_entry};

/// Entries that are asked for at a time.
const PAGE_SIZE: u32 = 500;

/// Most pages of one lifecycle: half a million events, a few hundred megabytes.
const PAGES_MAX: usize = 1_000;

/// The entries about one subject, each proved to lie in the log, without a hole between them.
///
/// That the newest shown is the newest there is, is not proved: see [`AuditTrail::caveat`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditTrail {
    /// The log.
    pub origin: String,
    /// Whose entries.
    pub tenant: String,
    /// About what.
    pub subject: Subject,
    /// Oldest first; the first is the subject's first event.
    pub entries: Vec<TrailEntry>,
    /// The checkpoint of all proofs; `None` when no entry is sealed yet.
    pub checkpoint: Option<Arc<VerifiedCheckpoint>>,
}

/// One event of a lifecycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailEntry {
    /// The entry.
    pub entry: Entry,
    /// Its bytes, without LF.
    pub line: Vec<u8>,
    /// Its verified inclusion path; `None` for an entry newer than the checkpoint, which is the
    /// answering node's word.
    pub path: Option<Vec<NodeHash>>,
}

/// Who signs an auditor's findings.
pub trait AttestSigner {
    /// The raw Ed25519 public key.
    fn public_key(&self) -> [u8; 32];

    /// Signs a statement, `None` when it cannot.
    fn sign(&self, statement: &str) -> Option<[u8; 64]>;
}

#[cfg(feature = "sign")]
impl AttestSigner for candor_ledger::signature::AttestKey {
    fn public_key(&self) -> [u8; 32] {
        let bytes = Self::public_key(self).as_bytes();
        bytes
            .try_into()
            .expect("invariant: an Ed25519 key has 32 bytes")
    }

    fn sign(&self, statement: &str) -> Option<[u8; 64]> {
        Self::sign(self, statement).ok()
    }
}

impl Client {
    /// The lifecycle of a fingerprint (any spelling, or a prefix of 8 hex digits or more) or of
    /// another subject, verified entry by entry.
    ///
    /// # Errors
    /// Also [`Error::Ambiguous`] for a prefix; see [`Error`].
    pub async fn auditlog(&self, subject: &str) -> Result<AuditTrail, Error> {
        let subject = self.subject(subject).await?;
        let deadline = self.inner.deadline(None);
        let mut walk = Walk::new(self.tenant(), subject.clone());
        let mut token = String::new();
        for _ in 0..PAGES_MAX {
            (walk, token) = self.page(walk, token, &subject, deadline).await?;
            if token.is_empty() {
                break;
            }
        }
        let (entries, checkpoint) = walk.finish().map_err(|problem| Error::Unproven {
            endpoint: "the pages of the lifecycle".to_owned(),
            problem,
        })?;
        Ok(AuditTrail {
            origin: self.origin().to_owned(),
            tenant: self.tenant().to_owned(),
            subject,
            entries,
            checkpoint,
        })
    }

    /// As [`Client::auditlog`], told for a reader who knows neither ledgers nor hashes.
    ///
    /// # Errors
    /// As there.
    pub async fn compliance_report(&self, subject: &str) -> Result<ComplianceReport, Error> {
        Ok(ComplianceReport::of(self.auditlog(subject).await?))
    }

    /// What a fingerprint, a prefix of one, or a subject means.
    ///
    /// # Errors
    /// [`Error::Ambiguous`], [`Error::Field`], [`Error::Rejected`] with `UNKNOWN_FINGERPRINT`.
    pub async fn subject(&self, text: &str) -> Result<Subject, Error> {
        if let Ok(fingerprint) = Fingerprint::parse(text) {
            return Ok(Subject::Fingerprint(fingerprint));
        }
        let refused = |error: &dyn std::fmt::Display| FieldError {
            field: "subject",
            problem: format!("is unusable: {error}"),
        };
        match prefix_of(text) {
            Some(prefix) => self.resolve(prefix).await.map(Subject::Fingerprint),
            None => Ok(Subject::parse(text).map_err(|error| refused(&error))?),
        }
    }

    /// The one fingerprint that begins with these 8 to 64 hex digits.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] lists the candidates; [`Error::Rejected`] with `UNKNOWN_FINGERPRINT`.
    pub async fn resolve(&self, prefix: &str) -> Result<Fingerprint, Error> {
        let inner = &*self.inner;
        let send = |line: Line, _| {
            let prefix = prefix.to_owned();
            let request = line.request(wire::ResolveFingerprintRequest { prefix });
            async move { line.audit().resolve_fingerprint(request).await }
        };
        let judge = |line: Line, _, reply: wire::ResolveFingerprintResponse| async move {
            let candidates: Result<Vec<_>, _> = reply
                .candidates
                .iter()
                .map(|text| Fingerprint::parse(text))
                .collect();
            let candidates = candidates.map_err(|_| Unproven::Missing("usable candidates"))?;
            if let Some(odd) = candidates
                .iter()
                .find(|found| !found.to_hex().starts_with(prefix))
            {
                return Err(Unproven::differs("a candidate", prefix, odd).into());
            }
            match candidates.as_slice() {
                [] => Err(Doubt::Final(Error::Rejected {
                    code: candor_proto::ErrorCode::UnknownFingerprint
                        .as_str()
                        .to_owned(),
                    message: format!("no fingerprint begins with `{prefix}`"),
                    field: Some("prefix".to_owned()),
                    endpoint: line.uri,
                })),
                [only] if !reply.more => Ok(*only),
                _ => Err(Doubt::Final(Error::Ambiguous {
                    prefix: prefix.to_owned(),
                    candidates,
                })),
            }
        };
        inner.read(None, send, judge).await
    }

    /// One entry by its place, with its proof when it is sealed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn entry(&self, seq: Seq) -> Result<Recorded, Error> {
        let inner = &*self.inner;
        let send = |line: Line, _| {
            let (seq, known_size) = (seq.0, line.known_size());
            let request = line.request(wire::GetEntryRequest { seq, known_size });
            async move { line.audit().get_entry(request).await }
        };
        let judge = |line: Line, _, reply: wire::GetEntryResponse| async move {
            let under = inner.establish(&line, reply.checkpoint.as_ref()).await?;
            let recorded = one_entry(reply.proof.as_ref(), under)?;
            same("the entry's seq", seq, recorded.seq())?;
            Ok(recorded)
        };
        inner.read(None, send, judge).await
    }

    /// One entry with its proof; waits until it is sealed, or the client's timeout.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn receipt(&self, seq: Seq) -> Result<Recorded, Error> {
        self.receipt_by(seq, self.inner.deadline(None)).await
    }

    /// What became of a state-changing request of this principal, for as long as the ledger
    /// remembers it: the answer to [`Error::OutcomeUnknown`].
    ///
    /// # Errors
    /// [`Error::Rejected`] with `UNKNOWN_REQUEST` when no such request is remembered; it may still
    /// be under way.
    pub async fn receipt_of(&self, request_id: RequestId) -> Result<Recorded, Error> {
        let wanted = Wanted::RequestId(request_id.to_string());
        let recorded = self
            .receipt_of_entry(wanted, self.inner.deadline(None))
            .await?;
        match recorded.entry.request_id {
            Some(found) if found == request_id => Ok(recorded),
            found => {
                let found = found.map(|id| id.to_string()).unwrap_or_default();
                Err(Error::Unproven {
                    endpoint: "the receipt".to_owned(),
                    problem: Unproven::differs("the entry's request id", request_id, found),
                })
            }
        }
    }

    /// The newest checkpoint, verified; with `min_sealed`, waits for one sealed then or later.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn checkpoint(
        &self,
        min_sealed: Option<Micros>,
    ) -> Result<Arc<VerifiedCheckpoint>, Error> {
        let inner = &*self.inner;
        let send = |line: Line, _| {
            let request = line.request(wire::GetCheckpointRequest {
                size: 0,
                min_sealed: min_sealed.map(|time| timestamp(time.0)),
                known_size: line.known_size(),
            });
            async move { line.audit().get_checkpoint(request).await }
        };
        let judge = |line: Line, _, reply: wire::GetCheckpointResponse| async move {
            let shown = inner.establish(&line, reply.checkpoint.as_ref()).await?;
            let shown = shown.ok_or(Unproven::Missing("a checkpoint"))?;
            let (size, sealed) = (shown.size(), shown.sealed());
            if min_sealed.is_some_and(|min| sealed < min) {
                let shown = size;
                return Err(Doubt::TooOld { shown, sealed });
            }
            Ok(shown)
        };
        inner.read(None, send, judge).await
    }

    /// Proves that a checkpoint from the caller's own hand, such as one kept since last year, is a
    /// prefix of the log as it is now. Returns the two, verified.
    ///
    /// # Errors
    /// [`Error::Unproven`] when the old note does not meet the policy or no path ties it to the
    /// newest checkpoint; [`Error::Misbehaviour`] when the two contradict each other.
    pub async fn consistency(
        &self,
        old_note: &str,
    ) -> Result<(VerifiedCheckpoint, Arc<VerifiedCheckpoint>), Error> {
        let inner = &*self.inner;
        let accepted =
            VerifiedCheckpoint::accept(old_note.as_bytes(), &inner.policy, &inner.origin);
        let old = accepted.map_err(|problem| Error::Unproven {
            endpoint: "the old checkpoint".to_owned(),
            problem,
        })?;
        let newest = self.checkpoint(None).await?;
        let (from, to) = (&old, &newest);
        let send = |line: Line, _| {
            let request = line.request(wire::GetConsistencyRequest {
                old_size: from.size().0.min(to.size().0),
                new_size: to.size().0.max(from.size().0),
            });
            async move { line.audit().get_consistency(request).await }
        };
        let judge = |_, _, reply: wire::GetConsistencyResponse| async move {
            Inner::consistent(from, to, &reply.path)
        };
        inner.read(None, send, judge).await?;
        Ok((old, newest))
    }

    /// Records an auditor's finding about a subject under the auditor's own signature, as of the
    /// newest checkpoint that this client has verified.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no such subject; and see [`Error`].
    pub async fn attest(
        &self,
        subject: &Subject,
        finding: Verdict,
        signer: &(impl AttestSigner + Sync),
        options: ChangeOptions,
    ) -> Result<Recorded, Error> {
        let examined = match self.inner.memory.newest() {
            Some(newest) => newest,
            None => self.checkpoint(None).await?,
        };
        let mut attestation = Attestation {
            result: finding,
            size: examined.size(),
            root: examined.checkpoint().root.0,
            auditor: signer.public_key(),
            signature: [0; 64],
            request: [0; 32],
        };
        let statement = attestation.statement(self.origin(), self.tenant(), subject);
        attestation.signature = signer.sign(&statement).ok_or_else(|| FieldError {
            field: "signature",
            problem: "could not be made with this key".to_owned(),
        })?;
        let made = &attestation;
        let send = |line: Line, id: RequestId| {
            let request = line.request(wire::AttestRequest {
                request_id: id.to_string(),
                subject: subject.to_string(),
                finding: finding_to_wire(finding).into(),
                size: made.size.0,
                root: made.root.to_vec().into(),
                auditor_key: made.auditor.to_vec().into(),
                signature: made.signature.to_vec().into(),
                wait_for: acknowledgement(options.wait_for),
                known_size: line.known_size(),
            });
            async move { line.audit().attest(request).await }
        };
        let read = |reply: wire::AttestResponse| Made {
            recorded: reply.recorded,
            checkpoint: reply.checkpoint,
            refused: reply.refused,
        };
        let check = |entry: &Entry| change::attested(entry, made);
        Ok(self
            .change(Op::CacheVerify, subject, options, send, read, check)
            .await?
            .0)
    }

    pub(crate) async fn receipt_by(&self, seq: Seq, deadline: Instant) -> Result<Recorded, Error> {
        let recorded = self.receipt_of_entry(Wanted::Seq(seq.0), deadline).await?;
        same("the entry's seq", seq, recorded.seq()).map_err(|problem| Error::Unproven {
            endpoint: "the receipt".to_owned(),
            problem,
        })?;
        Ok(recorded)
    }

    async fn receipt_of_entry(&self, wanted: Wanted, deadline: Instant) -> Result<Recorded, Error> {
        let (inner, wanted) = (&*self.inner, &wanted);
        let send = |line: Line, _| {
            let request = line.request(wire::GetReceiptRequest {
                entry: Some(wanted.clone()),
                known_size: line.known_size(),
            });
            async move { line.audit().get_receipt(request).await }
        };
        let judge = |line: Line, _, reply: wire::GetReceiptResponse| async move {
            let under = inner.establish(&line, reply.checkpoint.as_ref()).await?;
            let recorded = one_entry(reply.proof.as_ref(), under)?;
            match recorded.sealed {
                Some(_) => Ok(recorded),
                None => Err(Unproven::Missing("the path of the entry").into()),
            }
        };
        inner.read(Some(deadline), send, judge).await
    }

    /// Reads one page onto the walk; an answer that is not proved leaves it as it was.
    async fn page(
        &self,
        walk: Walk,
        token: String,
        subject: &Subject,
        deadline: Instant,
    ) -> Result<(Walk, String), Error> {
        let (inner, walk, token) = (&*self.inner, &walk, &token);
        // Later pages are proved under the first one's checkpoint.
        let known = |mut line: Line| {
            line.known = walk.under().cloned().or(line.known);
            line
        };
        let send = |line: Line, _| {
            let line = known(line);
            let request = line.request(wire::ListLifecycleRequest {
                subject: subject.to_string(),
                page_size: PAGE_SIZE,
                page_token: token.clone(),
                known_size: line.known_size(),
            });
            async move { line.audit().list_lifecycle(request).await }
        };
        let judge = |line: Line, _, reply: wire::ListLifecycleResponse| async move {
            let under = inner
                .establish(&known(line), reply.checkpoint.as_ref())
                .await?;
            let walk = walk.clone().page(&reply, under)?;
            Ok((walk, reply.next_page_token))
        };
        inner.read(Some(deadline), send, judge).await
    }
}

impl Inner {
    /// A call that changes nothing.
    pub(crate) async fn read<R, A, SF, JF>(
        &self,
        deadline: Option<Instant>,
        send: impl Fn(Line, RequestId) -> SF + Send,
        judge: impl Fn(Line, RequestId, R) -> JF + Send,
    ) -> Result<A, Error>
    where
        SF: Future<Output = Result<tonic::Response<R>, tonic::Status>> + Send,
        JF: Future<Output = Result<A, Doubt>> + Send,
    {
        let deadline = deadline.unwrap_or_else(|| self.deadline(None));
        let id = self.ids.mint(&self.around);
        Ok(self
            .call(Kind::Read, deadline, id, send, judge)
            .await?
            .answer)
    }
}

impl AuditTrail {
    /// Where the verified list ends, in words: what it does not prove.
    pub fn caveat(&self) -> String {
        match &self.checkpoint {
            Some(under) => format!(
                "complete: not proved (events newer than the checkpoint of {} could exist)",
                under.sealed()
            ),
            None => "complete: not proved (no event is under a checkpoint yet)".to_owned(),
        }
    }

    /// The newest accepted write.
    pub fn newest_write(&self) -> Option<(&TrailEntry, &Write)> {
        self.entries
            .iter()
            .rev()
            .find_map(|event| match &event.entry.body {
                Body::Write(write) => Some((event, &**write)),
                _ => None,
            })
    }

    /// The sealed events in the form that anybody with the public keys can check offline, with the
    /// bytes of outputs that the caller adds. It claims what can be proved: that these events are
    /// unbroken, and the values. That no newer one exists is for the verifier to judge.
    ///
    /// # Errors
    /// [`EvidenceError`] when nothing is sealed yet, or a limit of the format is reached.
    pub fn evidence(&self, values: &[&[u8]]) -> Result<Evidence, EvidenceError> {
        let subject = self.subject.to_string();
        let mut builder = EvidenceBuilder::new(&self.origin, &self.tenant, &subject);
        if let Some(under) = &self.checkpoint {
            let note = under.note().encode();
            let sealed = || {
                self.entries
                    .iter()
                    .filter_map(|event| Some((event, event.path.as_ref()?)))
            };
            for (event, path) in sealed() {
                let line = String::from_utf8_lossy(&event.line);
                builder = builder.entry(&line, event.entry.seq, path, (&note, under.size()));
            }
            if let (Some((first, _)), Some((last, _))) = (sealed().next(), sealed().next_back()) {
                builder = builder.claim(Claim::SubjectLifecycle {
                    from_n: first.entry.n,
                    to_n: last.entry.n,
                });
            }
            for value in values {
                builder = self.with_value(builder, value);
            }
        }
        builder.finish()
    }

    /// Adds a value and claims it for the newest sealed write that names it.
    fn with_value(&self, builder: EvidenceBuilder, value: &[u8]) -> EvidenceBuilder {
        let digest = candor_ledger::digest::sha3_256(value);
        let names = |event: &&TrailEntry| match &event.entry.body {
            Body::Write(write) => event.path.is_some() && write.output_hash == digest,
            _ => false,
        };
        let builder = builder.value(value);
        match self.entries.iter().rev().find(names) {
            Some(event) => builder.claim(Claim::Value {
                seq: event.entry.seq,
            }),
            None => builder,
        }
    }
}

/// An entry that is shown alone; it must be the tenant's or the log's.
pub(crate) fn one_entry(
    proof: Option<&wire::Proof>,
    under: Option<Arc<VerifiedCheckpoint>>,
) -> Result<Recorded, Doubt> {
    let proof = proof.ok_or(Unproven::Missing("an entry"))?;
    let shown = Shown::of(proof)?;
    let (entry, sealed) = if shown.is_unsealed() {
        (unsealed_entry(&shown)?, None)
    } else {
        let checkpoint = under.ok_or(Unproven::Missing("the checkpoint of the entry"))?;
        let entry = shown_entry(&shown, &checkpoint)?;
        let path = shown.path.clone();
        (entry, Some(Sealed { path, checkpoint }))
    };
    Ok(Recorded {
        line: shown.line.to_vec(),
        replayed: false,
        entry,
        sealed,
    })
}

/// The hex digits of a prefix that is not a whole fingerprint.
fn prefix_of(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("fingerprint:").unwrap_or(text);
    let digits = digits.strip_prefix("sha3-256:").unwrap_or(digits);
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    ((8..64).contains(&digits.len()) && digits.bytes().all(hex)).then_some(digits)
}

fn finding_to_wire(finding: Verdict) -> wire::Finding {
    match finding {
        Verdict::NotProved => wire::Finding::NotProved,
        Verdict::Proved => wire::Finding::Proved,
        Verdict::Refuted => wire::Finding::Refuted,
    }
}
