//! What a state allows: the questions that `decide` asks before it appends, and that `evolve` asks
//! again of what was appended.

use super::operation::Change;
use super::outcome::ChangeError;
use super::state::{
    Held, LogState, REVOKED_MAX, ResultRecord, Standing, StateView, ViewError,
    get_model_superseded, get_result,
};
use crate::entry::{
    Genesis, KeysChange, MEMBERS_MAX, Member, MemberChange, MissReason, Model, ParamsChange,
    REASON_LEN_MAX, Refusal, State, Subject, Told, members_problem, number_problem, origin_problem,
    text_problem,
};
use crate::fingerprint::{Fingerprint, FingerprintFields, Pattern};
use crate::ids::NodeId;
use crate::planted;
use crate::signature::KeySet;
use crate::time::Micros;

/// The first version of the rules.
pub const RULES_V1: u32 = 1;

/// Every version of the rules that this program can apply.
pub const RULES_KNOWN: [u32; 1] = [RULES_V1];

/// How many successors are followed to find out whether a new one closes a circle.
pub const SUCCESSORS_MAX: usize = 64;

/// The state of a fingerprint for whoever asks at a certain time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effective {
    /// Nothing was ever set.
    Absent,
    /// It may be served.
    Active(Held),
    /// Its deadline has passed, whether an entry says so already or not.
    Expired(Held),
    /// It was revoked.
    Revoked,
    /// It gave way, or its model did.
    Superseded(Subject),
}

impl Effective {
    /// The word in entries.
    pub fn state(&self) -> State {
        match self {
            Self::Absent => State::Absent,
            Self::Active(_) => State::Active,
            Self::Expired(_) => State::Expired,
            Self::Revoked => State::Revoked,
            Self::Superseded(_) => State::Superseded,
        }
    }

    /// Why a lookup finds nothing; `None` when it finds something.
    pub fn miss(&self) -> Option<MissReason> {
        Some(match self {
            Self::Absent => MissReason::Absent,
            Self::Active(_) => return None,
            Self::Expired(_) => MissReason::Expired,
            Self::Revoked => MissReason::Revoked,
            Self::Superseded(successor) => MissReason::Superseded(successor.clone()),
        })
    }
}

/// The state of a fingerprint at a time: its standing, but superseded from the moment its model
/// is, and expired from its deadline on.
///
/// # Errors
/// [`ViewError`] when the state cannot be read.
pub fn effective<V: StateView>(
    view: &V,
    tenant: &str,
    record: &ResultRecord,
    time: Micros,
) -> Result<Effective, ViewError> {
    // Only where it can matter: a record more to read.
    let successor = match &record.standing {
        Standing::Active(_) | Standing::Expired(_) => {
            model_successor(view, tenant, record.model())?
        }
        Standing::Absent | Standing::Revoked | Standing::Superseded { .. } => None,
    };
    Ok(effective_given(record, successor, time))
}

/// As [`effective`], where it is known what the result's model gave way to, if it did.
pub(super) fn effective_given(
    record: &ResultRecord,
    model_successor: Option<Subject>,
    time: Micros,
) -> Effective {
    let (held, active) = match &record.standing {
        Standing::Absent => return Effective::Absent,
        Standing::Active(held) => (held, true),
        Standing::Expired(held) => (held, false),
        Standing::Revoked => return Effective::Revoked,
        Standing::Superseded { successor, .. } => {
            return Effective::Superseded(successor.clone());
        }
    };
    if let Some(to) = model_successor {
        return Effective::Superseded(to);
    }
    if active && (time < held.deadline || planted!("expired-served")) {
        Effective::Active(held.clone())
    } else {
        Effective::Expired(held.clone())
    }
}

/// What becomes of a set that its fields do not forbid already.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SetVerdict {
    /// Other bytes are held.
    Conflict(Held),
    /// It makes this new version.
    New(u64),
    /// It is refused.
    Refuse(Refusal),
    /// The same bytes are held, under this version: a new deadline.
    Renew(u64),
}

/// Why the fields of a set forbid it, whatever is held.
pub(super) fn refuse_fields<V: StateView>(
    view: &V,
    tenant: &str,
    fields: &FingerprintFields,
    told: &Told,
) -> Result<Option<Refusal>, ViewError> {
    let model_version = model_version_of(fields);
    if let Some(observed) = told.observed_model_version.as_deref()
        && observed != model_version
    {
        return Ok(Some(Refusal::ModelVersionMismatch {
            model_version: model_version.to_owned(),
            observed_model_version: observed.to_owned(),
        }));
    }
    refuse_model(view, tenant, model_of(fields).as_ref())
}

/// Why nothing may be set or reinstated for a model: it gave way.
pub(super) fn refuse_model<V: StateView>(
    view: &V,
    tenant: &str,
    model: Option<&Model>,
) -> Result<Option<Refusal>, ViewError> {
    let successor = model_successor(view, tenant, model)?;
    Ok(model.cloned().zip(successor).map(|(model, successor)| {
        let model = Subject::Model(model);
        Refusal::ModelSuperseded { model, successor }
    }))
}

/// What becomes of a set of this output. A revoked one is refused even where other bytes are
/// held; a `result-only` one is always a new record.
pub(super) fn judge_set(
    record: &ResultRecord,
    effective: &Effective,
    pattern: Pattern,
    output_hash: [u8; 32],
) -> SetVerdict {
    if let Effective::Superseded(successor) = effective {
        let successor = successor.clone();
        return SetVerdict::Refuse(Refusal::Superseded { successor });
    }
    let next = SetVerdict::New(record.version_max.saturating_add(1));
    if pattern == Pattern::ResultOnly {
        return next;
    }
    if record.revoked(output_hash).is_some() {
        return SetVerdict::Refuse(Refusal::OutputRevoked { output_hash });
    }
    match effective {
        Effective::Active(held) if held.output_hash == output_hash => {
            SetVerdict::Renew(held.version)
        }
        Effective::Active(held) => SetVerdict::Conflict(held.clone()),
        _ if record.revoked.len() >= REVOKED_MAX => SetVerdict::Refuse(Refusal::RevokedLimit),
        _ => next,
    }
}

/// The version that gives way, or why none can.
pub(super) fn judge_supersede<V: StateView>(
    view: &V,
    tenant: &str,
    fingerprint: Fingerprint,
    effective: &Effective,
    successor: Fingerprint,
) -> Result<Result<u64, Refusal>, ViewError> {
    let held = match standing_result(effective) {
        Ok(held) => held,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let refusal = refuse_successor(view, tenant, fingerprint, successor)?;
    Ok(refusal.map_or(Ok(held.version), Err))
}

/// The version that is revoked, or why none can be.
pub(super) fn judge_revoke(effective: &Effective, output_hash: [u8; 32]) -> Result<u64, Refusal> {
    let held = standing_result(effective)?;
    if held.output_hash == output_hash {
        Ok(held.version)
    } else {
        Err(Refusal::OutputMismatch { output_hash })
    }
}

/// The result that is reinstated, or why none can be.
pub(super) fn judge_reinstate<V: StateView>(
    view: &V,
    tenant: &str,
    record: &ResultRecord,
    effective: &Effective,
    output_hash: [u8; 32],
) -> Result<Result<Held, Refusal>, ViewError> {
    match effective {
        Effective::Absent => return Ok(Err(Refusal::Absent)),
        Effective::Superseded(successor) => {
            let successor = successor.clone();
            return Ok(Err(Refusal::Superseded { successor }));
        }
        Effective::Active(_) | Effective::Expired(_) | Effective::Revoked => {}
    }
    if let Some(refusal) = refuse_model(view, tenant, record.model())? {
        return Ok(Err(refusal));
    }
    Ok(match (record.revoked(output_hash), effective) {
        (None, _) => Err(Refusal::NotRevoked { output_hash }),
        (Some(_), Effective::Active(_)) => Err(Refusal::VersionActive { output_hash }),
        (Some(held), _) => Ok(held.clone()),
    })
}

/// Why one model cannot give way to the other.
pub(super) fn refuse_model_supersede<V: StateView>(
    view: &V,
    tenant: &str,
    from: &Model,
    to: &Model,
) -> Result<Option<Refusal>, ViewError> {
    if let Some(successor) = model_successor(view, tenant, Some(from))? {
        return Ok(Some(Refusal::Superseded { successor }));
    }
    let successor = Subject::Model(to.clone());
    let mut at = to.clone();
    for _ in 0..SUCCESSORS_MAX {
        if at == *from {
            return Ok(Some(Refusal::SuccessorCircular { successor }));
        }
        match get_model_superseded(view, tenant, &at)? {
            None => return Ok(None),
            Some(superseded) => at = superseded.to,
        }
    }
    Ok(Some(Refusal::SuccessorChainTooLong { successor }))
}

/// Whether a change of the log is one: `false` when it is in force already.
pub(super) fn judge_change(log: &LogState, change: &Change) -> Result<bool, ChangeError> {
    match change {
        Change::Keys(keys) => judge_keys(log, keys),
        Change::Member(MemberChange::Join(member)) => judge_join(log, member),
        Change::Member(MemberChange::Leave(node)) => judge_leave(log, *node),
        Change::Params(ParamsChange { params }) => {
            params.check()?;
            if params.entries_per_file != log.params.entries_per_file {
                return Err(ChangeError::LayoutFixed(log.params.entries_per_file));
            }
            Ok(*params != log.params)
        }
        Change::Rules(change) => {
            if change.rules < log.rules || !RULES_KNOWN.contains(&change.rules) {
                return Err(ChangeError::Rules(change.rules));
            }
            Ok(change.rules != log.rules)
        }
    }
}

/// The keys of a genesis, or what is wrong with it. Its rules are the caller's question.
pub(super) fn check_genesis(genesis: &Genesis) -> Result<KeySet, String> {
    genesis.params.check().map_err(|error| error.to_string())?;
    let mut members = genesis.members.iter();
    let problem = members_problem(&genesis.members)
        .or_else(|| members.find_map(|member| number_problem(member.node.0)))
        .or_else(|| former_problem(genesis));
    if let Some(problem) = problem {
        return Err(problem);
    }
    let keys = genesis.keys.key_set(&genesis.origin);
    keys.map_err(|error| error.to_string())
}

fn former_problem(genesis: &Genesis) -> Option<String> {
    let former = genesis.former.as_ref()?;
    if former.origin == genesis.origin {
        return Some("the former origin is the same".to_owned());
    }
    origin_problem(&former.origin)
        .or_else(|| number_problem(former.size.0))
        .or_else(|| text_problem(&former.cause, REASON_LEN_MAX))
        .map(|problem| format!("what is said about the former origin {problem}"))
}

/// The version of the model that the fields name.
pub(super) fn model_version_of(fields: &FingerprintFields) -> &str {
    match fields {
        FingerprintFields::Exact(fields) | FingerprintFields::Semantic(fields) => {
            &fields.model_version
        }
        FingerprintFields::ResultOnly(fields) => &fields.model_version,
    }
}

/// The model that the fields name; `result-only` fields do not.
pub fn model_of(fields: &FingerprintFields) -> Option<Model> {
    match fields {
        FingerprintFields::Exact(fields) | FingerprintFields::Semantic(fields) => Some(Model {
            name: fields.model_name.clone(),
            version: fields.model_version.clone(),
        }),
        FingerprintFields::ResultOnly(_) => None,
    }
}

/// The result that can be superseded or revoked: one that is held and not out of use for ever.
fn standing_result(effective: &Effective) -> Result<&Held, Refusal> {
    match effective {
        Effective::Absent => Err(Refusal::Absent),
        Effective::Active(held) | Effective::Expired(held) => Ok(held),
        Effective::Revoked => Err(Refusal::Revoked),
        Effective::Superseded(successor) => Err(Refusal::Superseded {
            successor: successor.clone(),
        }),
    }
}

fn model_successor<V: StateView>(
    view: &V,
    tenant: &str,
    model: Option<&Model>,
) -> Result<Option<Subject>, ViewError> {
    let Some(model) = model else {
        return Ok(None);
    };
    let superseded = get_model_superseded(view, tenant, model)?;
    Ok(superseded.map(|superseded| Subject::Model(superseded.to)))
}

/// Successors exist, are not the subject, and close no circle.
fn refuse_successor<V: StateView>(
    view: &V,
    tenant: &str,
    fingerprint: Fingerprint,
    successor: Fingerprint,
) -> Result<Option<Refusal>, ViewError> {
    let named = Subject::Fingerprint(successor);
    let mut at = successor;
    for step in 0..SUCCESSORS_MAX {
        if at == fingerprint {
            return Ok(Some(Refusal::SuccessorCircular { successor: named }));
        }
        let standing = get_result(view, tenant, at)?.map(|record| record.standing);
        match standing {
            None | Some(Standing::Absent) if step == 0 => {
                return Ok(Some(Refusal::SuccessorAbsent { successor }));
            }
            Some(Standing::Superseded {
                successor: Subject::Fingerprint(next),
                ..
            }) => at = next,
            _ => return Ok(None),
        }
    }
    Ok(Some(Refusal::SuccessorChainTooLong { successor: named }))
}

fn judge_keys(log: &LogState, change: &KeysChange) -> Result<bool, ChangeError> {
    if let Some(problem) = text_problem(&change.reason, REASON_LEN_MAX) {
        return Err(ChangeError::Reason(problem));
    }
    let keys = change.keys.key_set(&log.origin);
    let id = keys
        .map_err(|error| ChangeError::KeysUnusable(error.to_string()))?
        .id();
    match &log.keyset_next {
        Some(next) if next.id == id => Ok(false),
        Some(_) => Err(ChangeError::KeysPending),
        None => Ok(log.keyset.id != id),
    }
}

fn judge_join(log: &LogState, member: &Member) -> Result<bool, ChangeError> {
    if log.members.contains(member) {
        return Ok(false);
    }
    let (node, node_max) = (member.node, log.node_max);
    if node <= node_max || number_problem(node.0).is_some() {
        return Err(ChangeError::NodeIdUnusable { node, node_max });
    }
    let mut members = log.members.iter();
    if let Some(other) = members.find(|other| other.cosigner == member.cosigner) {
        return Err(ChangeError::CosignerUsed(other.node));
    }
    if log.members.len() >= MEMBERS_MAX {
        return Err(ChangeError::MembersMax(log.members.len()));
    }
    Ok(true)
}

fn judge_leave(log: &LogState, node: NodeId) -> Result<bool, ChangeError> {
    match log.members.as_slice() {
        [only] if only.node == node => Err(ChangeError::LastMember(node)),
        members => Ok(members.iter().any(|member| member.node == node)),
    }
}
