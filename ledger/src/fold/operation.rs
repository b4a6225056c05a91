//! What may be asked, and what a command carries.

use core::fmt;

use crate::canonical::{Object, Value};
use crate::digest::sha3_256;
use crate::entry::{
    self, ATTEST_SIGNATURE_LEN, Attestation, Body, Genesis, KeysChange, LOG_ACTOR, MemberChange,
    Model, Params, ParamsChange, REASON_LEN_MAX, Revocation, RulesChange, SemanticMatch, Subject,
    SupersedeBy, Told, Verdict, Write, media_type_problem, name_problem, number_problem,
    text_problem,
};
use crate::fingerprint::{FieldError, Fingerprint, FingerprintFields, Pattern};
use crate::ids::{RequestId, TreeSize};
use crate::signature::{Algorithm, PublicKey};
use crate::time::Micros;

/// What the leader puts on a command, once for all its items.
#[derive(Clone, Copy)]
pub struct Stamp {
    /// The leader's wall clock; entries take the later of this and the last entry's time.
    pub time: Micros,
    /// Fresh random bytes, secret: nonces come from them.
    pub seed: [u8; 32],
    /// The rules that the leader takes to be in force.
    pub rules: u32,
}

/// What a command may hold; see [`super::decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An operator's change of the log.
    Admin(Box<Admin>),
    /// A client's request.
    Client(Request),
    /// The first entry.
    Genesis(Box<Genesis>),
    /// What time brings: results that follow their model, then results that are overdue.
    Tick,
}

/// An operator's change of the log. A change that is in force already makes no entry, so retries
/// need no id; one that is given stands on the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The authenticated principal.
    pub actor: String,
    /// The operator's name for the request.
    pub request_id: Option<RequestId>,
    /// What is to change.
    pub change: Change,
}

/// A change of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Other keys from the seal after the next.
    Keys(KeysChange),
    /// A member joins or has left.
    Member(MemberChange),
    /// Other numbers.
    Params(ParamsChange),
    /// Other rules.
    Rules(RulesChange),
}

/// A client's request, with what the node knows about the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose results; from the principal.
    pub tenant: String,
    /// Who asks; from the principal, never from the request.
    pub actor: String,
    /// The client's name for the request.
    pub request_id: RequestId,
    /// What is asked.
    pub operation: Operation,
}

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Record an auditor's signed finding.
    Attest(Box<Attest>),
    /// Look a result up: decided anew each time.
    Get(Get),
    /// Have all results of a model version give way.
    ModelSupersede(Box<ModelSupersede>),
    /// Ask what a lookup met in the past; decided anew each time, as a lookup.
    ReadAsOf(ReadAsOf),
    /// Allow a revoked output again.
    Reinstate(Revoke),
    /// Forbid an output.
    Revoke(Revoke),
    /// Keep a result.
    Set(Box<Set>),
    /// Have a result give way to another.
    Supersede(Supersede),
}

/// Arguments of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Of the computation, recomputed from its fields where the client gave them.
    pub fingerprint: Fingerprint,
    /// How the asker's prompt led to the canonical one; exactly for pattern `semantic`.
    pub semantic: Option<SemanticMatch>,
}

/// Arguments of a question about the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAsOf {
    /// Of the computation.
    pub fingerprint: Fingerprint,
    /// The moment; see [`entry::ReadAsOf`].
    pub moment: entry::ReadAsOf,
}

/// Arguments of a set. The value's bytes travel beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What was computed.
    pub fields: FingerprintFields,
    /// SHA3-256 of the value.
    pub output_hash: [u8; 32],
    /// Length of the value in bytes, at most [`Params::value_len_max`].
    pub output_len: u64,
    /// What kind of bytes the value is; printable ASCII.
    pub media_type: String,
    /// How long it may be served, from 1 to [`Params::ttl_ms_max`].
    pub ttl_ms: u64,
    /// What else the client told.
    pub told: Told,
    /// As [`Get::semantic`].
    pub semantic: Option<SemanticMatch>,
}

/// Arguments of a supersession.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supersede {
    /// The result that gives way.
    pub fingerprint: Fingerprint,
    /// The result that takes its place.
    pub successor: Fingerprint,
    /// Why; 1 to [`REASON_LEN_MAX`] bytes.
    pub reason: String,
}

/// Arguments of a revocation or reinstatement. The output is named, so that nobody revokes what
/// was set a moment ago in place of what was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Under which the output was set.
    pub fingerprint: Fingerprint,
    /// SHA3-256 of the output.
    pub output_hash: [u8; 32],
    /// Why; 1 to [`REASON_LEN_MAX`] bytes.
    pub reason: String,
}

/// Arguments of a model's supersession.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSupersede {
    /// The model that gives way.
    pub from: Model,
    /// The model that takes its place; it needs no results yet.
    pub to: Model,
    /// Why; 1 to [`REASON_LEN_MAX`] bytes.
    pub reason: String,
}

/// Arguments of an attestation; see [`Attestation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attest {
    /// What was verified; not `ledger`.
    pub subject: Subject,
    /// What was found.
    pub result: Verdict,
    /// Size of the ledger that was looked at.
    pub size: TreeSize,
    /// Root of the tree at that size.
    pub root: [u8; 32],
    /// The auditor's Ed25519 key.
    pub auditor: [u8; 32],
    /// Over [`Attestation::statement`].
    pub signature: [u8; ATTEST_SIGNATURE_LEN],
}

/// A request that no state could make good: the caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` {problem}")]
pub struct RequestError {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it, continuing "field `x` ...".
    pub problem: String,
}

impl Request {
    /// Checks everything that does not depend on the state of a result. Admission calls it, to
    /// answer without a command, and [`super::decide`] again, for a command may come from a node
    /// that did not.
    ///
    /// Cost: linear in the request; 0.05 ms for the signature of an attestation.
    ///
    /// # Errors
    /// [`RequestError`] names the first field that is wrong.
    pub fn validate(&self, origin: &str, params: &Params) -> Result<(), RequestError> {
        check("tenant", name_problem(&self.tenant))?;
        check("actor", name_problem(&self.actor))?;
        if self.actor == LOG_ACTOR {
            return refuse("actor", "is the name that the log itself has");
        }
        match &self.operation {
            Operation::Attest(attest) => self.validate_attest(attest, origin),
            Operation::Get(_) => Ok(()),
            Operation::ReadAsOf(read) => read.validate(),
            Operation::ModelSupersede(supersede) => supersede.validate(),
            Operation::Reinstate(revoke) | Operation::Revoke(revoke) => {
                check("reason", text_problem(&revoke.reason, REASON_LEN_MAX))
            }
            Operation::Set(set) => set.validate(params),
            Operation::Supersede(supersede) => supersede.validate(),
        }
    }

    /// What it is about.
    pub fn subject(&self) -> Subject {
        match &self.operation {
            Operation::Attest(attest) => attest.subject.clone(),
            Operation::Get(get) => Subject::Fingerprint(get.fingerprint),
            Operation::ReadAsOf(read) => Subject::Fingerprint(read.fingerprint),
            Operation::ModelSupersede(supersede) => Subject::Model(supersede.from.clone()),
            Operation::Reinstate(revoke) | Operation::Revoke(revoke) => {
                Subject::Fingerprint(revoke.fingerprint)
            }
            Operation::Set(set) => Subject::Fingerprint(set.fields.fingerprint()),
            Operation::Supersede(supersede) => Subject::Fingerprint(supersede.fingerprint),
        }
    }

    /// Digest of the canonical request, for every operation but a lookup: SHA3-256 of the canonical
    /// JSON of `{"actor":..,"args":..,"op":..,"subject":..,"tenant":..}`, where `op` and `args` are
    /// operation and body of the entry that accepts it, the body without `request` and `version`.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let (subject, body) = (self.subject(), self.draft()?);
        Some(request_digest(&self.actor, &self.tenant, &subject, &body))
    }

    /// The body of the entry that accepts it, but for `version` and `request`, which are zero;
    /// `None` for a lookup.
    pub(super) fn draft(&self) -> Option<Body> {
        Some(match &self.operation {
            Operation::Attest(attest) => Body::Verify(Box::new(attest.to_body())),
            Operation::Get(_) | Operation::ReadAsOf(_) => return None,
            Operation::ModelSupersede(supersede) => Body::ModelSupersede(supersede.to_body()),
            Operation::Reinstate(revoke) => Body::Reinstate(revoke.to_body()),
            Operation::Revoke(revoke) => Body::Revoke(revoke.to_body()),
            Operation::Set(set) => Body::Write(Box::new(set.to_body())),
            Operation::Supersede(supersede) => Body::Supersede(supersede.to_body()),
        })
    }

    fn validate_attest(&self, attest: &Attest, origin: &str) -> Result<(), RequestError> {
        match &attest.subject {
            Subject::Decision(id) => check("subject", name_problem(id))?,
            Subject::Fingerprint(_) => {}
            Subject::Ledger => return refuse("subject", "is the log itself, which has no tenant"),
            Subject::Model(model) => check_model("subject", model)?,
        }
        check("size", number_problem(attest.size.0))?;
        let body = attest.to_body();
        if attestation_holds(&body, origin, &self.tenant, &attest.subject) {
            Ok(())
        } else {
            refuse("signature", "does not verify under `auditor`")
        }
    }
}

impl ReadAsOf {
    fn validate(&self) -> Result<(), RequestError> {
        let entry::ReadAsOf { as_of, time } = self.moment;
        if as_of == TreeSize(0) {
            return refuse("as_of", "is `0`: nothing was there to be asked");
        }
        check("as_of", number_problem(as_of.0))?;
        match time {
            Some(time) if time > Micros::MAX => refuse("as_of_time", "is after the year 9999"),
            _ => Ok(()),
        }
    }
}

impl Set {
    fn validate(&self, params: &Params) -> Result<(), RequestError> {
        self.fields.validate()?;
        check("media_type", media_type_problem(&self.media_type))?;
        let (len, len_max) = (self.output_len, params.value_len_max);
        if len > len_max {
            return refuse("output_len", format!("is `{len}`, more than {len_max}"));
        }
        let (ttl_ms, ttl_ms_max) = (self.ttl_ms, params.ttl_ms_max);
        if !(1..=ttl_ms_max).contains(&ttl_ms) {
            return refuse("ttl_ms", format!("is `{ttl_ms}`, not 1 to {ttl_ms_max}"));
        }
        if let Some((field, problem)) = self.told.problem() {
            return refuse(field, problem);
        }
        let (field, pattern) = ("original_prompt_hash", self.fields.pattern());
        match (pattern, &self.semantic) {
            (Pattern::Semantic, None) => refuse(field, "is missing for pattern `semantic`"),
            (Pattern::Exact | Pattern::ResultOnly, Some(_)) => {
                refuse(field, format!("has no place in pattern `{pattern}`"))
            }
            _ => Ok(()),
        }
    }

    fn to_body(&self) -> Write {
        Write {
            fields: self.fields.clone(),
            output_hash: self.output_hash,
            output_len: self.output_len,
            media_type: self.media_type.clone(),
            ttl_ms: self.ttl_ms,
            version: 0,
            told: self.told.clone(),
            semantic: self.semantic.clone(),
            request: [0; 32],
        }
    }
}

impl Supersede {
    fn validate(&self) -> Result<(), RequestError> {
        if self.successor == self.fingerprint {
            return refuse("successor", "is the result itself");
        }
        check("reason", text_problem(&self.reason, REASON_LEN_MAX))
    }

    fn to_body(&self) -> entry::Supersede {
        entry::Supersede {
            version: 0,
            by: SupersedeBy::Client {
                successor: self.successor,
                reason: self.reason.clone(),
                request: [0; 32],
            },
        }
    }
}

impl Revoke {
    fn to_body(&self) -> Revocation {
        Revocation {
            version: 0,
            output_hash: self.output_hash,
            reason: self.reason.clone(),
            request: [0; 32],
        }
    }
}

impl ModelSupersede {
    fn validate(&self) -> Result<(), RequestError> {
        check_model("from", &self.from)?;
        check_model("to", &self.to)?;
        if self.from == self.to {
            return refuse("to", "is the model itself");
        }
        check("reason", text_problem(&self.reason, REASON_LEN_MAX))
    }

    fn to_body(&self) -> entry::ModelSupersede {
        entry::ModelSupersede {
            from: self.from.clone(),
            to: self.to.clone(),
            reason: self.reason.clone(),
            request: [0; 32],
        }
    }
}

impl Attest {
    /// What the auditor signs; see [`Attestation::statement`].
    pub fn statement(&self, origin: &str, tenant: &str) -> String {
        self.to_body().statement(origin, tenant, &self.subject)
    }

    fn to_body(&self) -> Attestation {
        Attestation {
            result: self.result,
            size: self.size,
            root: self.root,
            auditor: self.auditor,
            signature: self.signature,
            request: [0; 32],
        }
    }
}

impl fmt::Debug for Stamp {
    /// Without the seed, which is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stamp({}, rules {})", self.time, self.rules)
    }
}

impl From<FieldError> for RequestError {
    fn from(error: FieldError) -> Self {
        Self {
            field: error.field,
            problem: error.problem,
        }
    }
}

/// See [`Request::digest`]; the body's own `request` and `version` do not enter.
pub(super) fn request_digest(
    actor: &str,
    tenant: &str,
    subject: &Subject,
    body: &Body,
) -> [u8; 32] {
    let mut args = body.to_object();
    args.remove("request");
    args.remove("version");
    let members: [(&str, Value); 5] = [
        ("actor", actor.into()),
        ("args", args.into()),
        ("op", body.op().as_str().into()),
        ("subject", subject.to_string().into()),
        ("tenant", tenant.into()),
    ];
    let members = members.map(|(key, value)| (key.to_owned(), value));
    let object: Object = members.into_iter().collect();
    sha3_256(&Value::Object(object).to_bytes())
}

/// Whether the auditor's signature verifies, strictly (RFC 8032).
pub(super) fn attestation_holds(
    attestation: &Attestation,
    origin: &str,
    tenant: &str,
    subject: &Subject,
) -> bool {
    let statement = attestation.statement(origin, tenant, subject);
    let key = PublicKey::from_bytes(Algorithm::Ed25519, &attestation.auditor);
    key.is_ok_and(|key| {
        let verified = key.verify(statement.as_bytes(), &attestation.signature);
        verified.is_ok()
    })
}

fn check_model(field: &'static str, model: &Model) -> Result<(), RequestError> {
    check(field, name_problem(&model.name))?;
    check(field, name_problem(&model.version))
}

fn check(field: &'static str, problem: Option<String>) -> Result<(), RequestError> {
    match problem {
        None => Ok(()),
        Some(problem) => refuse(field, problem),
    }
}

fn refuse(field: &'static str, problem: impl Into<String>) -> Result<(), RequestError> {
    let problem = problem.into();
    Err(RequestError { field, problem })
}
