//! From a command to its entries and answers.

use super::decision::{DecideError, Decision, ValueName};
use super::dedup::Asker;
use super::operation::{
    Admin, Change, Get, Item, Operation, Request, RequestError, Stamp, request_digest,
};
use super::outcome::{Answered, ChangeError, Hit, Miss, Outcome, PastRead};
use super::rules::{
    Effective, RULES_KNOWN, SetVerdict, check_genesis, effective, judge_change, judge_reinstate,
    judge_revoke, judge_set, judge_supersede, refuse_fields, refuse_model_supersede,
};
use super::state::{
    Held, Lifecycle, LogState, ResultRecord, StateView, get_model_superseded, get_result,
};
use super::tick;
use super::transaction::{Appended, Author, Transaction};
use crate::entry::{
    self, Body, Genesis, LOG_ACTOR, ReadHit, ReadMiss, Refusal, Refused, State, Subject,
    SupersedeBy, Write, WriteConflict, name_problem,
};
use crate::fingerprint::Pattern;
use crate::ids::{Seq, TreeSize};
use crate::planted;
use crate::time::Micros;

/// Decides the items of one command, one after the other, each over the state that those before it
/// left; and seals after them if the command closes its group.
///
/// Pure: the same view, stamp and items bring the same entries on every node. Without a genesis
/// there are no entries but one; items stamped with other rules than those in force get no entry,
/// and then there is no seal either.
///
/// Cost: per item a few records read, one to three hashes of an entry, and up to
/// `entries_per_operation_max` entries for a tick or a model's supersession.
///
/// # Errors
/// [`DecideError`]: nothing was decided, and the node has to stop or to read its state anew.
pub fn decide<V: StateView>(
    view: &V,
    stamp: &Stamp,
    items: &[Item],
    closes: bool,
) -> Result<Decision, DecideError> {
    if !RULES_KNOWN.contains(&stamp.rules) {
        return Err(DecideError::UnknownRules(stamp.rules));
    }
    let mut transaction = Transaction::new(view, stamp);
    let mut outcomes = Vec::with_capacity(items.len());
    for item in items {
        outcomes.push(decide_item(&mut transaction, stamp, item)?);
    }
    let in_force = transaction
        .log()?
        .is_some_and(|log| log.rules == stamp.rules);
    let seal = if closes && in_force {
        transaction.seal()?
    } else {
        None
    };
    transaction.finish(outcomes, seal)
}

fn decide_item<V: StateView>(
    transaction: &mut Transaction<'_, V>,
    stamp: &Stamp,
    item: &Item,
) -> Result<Outcome, DecideError> {
    let log = transaction.log()?;
    let Some(log) = log else {
        return match item {
            Item::Genesis(genesis) => decide_genesis(transaction, stamp, genesis),
            Item::Admin(_) | Item::Client(_) | Item::Tick => Ok(Outcome::NotInitialised),
        };
    };
    if log.rules != stamp.rules {
        let in_force = log.rules;
        return Ok(Outcome::RulesMismatch { in_force });
    }
    match item {
        Item::Admin(admin) => decide_admin(transaction, &log, admin),
        Item::Client(request) => decide_request(transaction, &log, request),
        Item::Genesis(_) => Ok(Outcome::AlreadyInitialised),
        Item::Tick => {
            let entries_max = log.params.entries_per_operation_max;
            tick::decide_tick(transaction, entries_max).map(Outcome::Ticked)
        }
    }
}

fn decide_genesis<V: StateView>(
    transaction: &mut Transaction<'_, V>,
    stamp: &Stamp,
    genesis: &Genesis,
) -> Result<Outcome, DecideError> {
    let refused = |problem| Ok(Outcome::ChangeRefused(ChangeError::Genesis(problem)));
    let (named, stamped) = (genesis.rules, stamp.rules);
    if named != stamped {
        return refused(format!(
            "its rules are `{named}`, the command's `{stamped}`"
        ));
    }
    if let Err(problem) = check_genesis(genesis) {
        return refused(problem);
    }
    let body = Body::Genesis(Box::new(genesis.clone()));
    let appended = transaction.append(Author::log(), body)?;
    Ok(Outcome::Done {
        seq: Some(appended.seq),
    })
}

fn decide_admin<V: StateView>(
    transaction: &mut Transaction<'_, V>,
    log: &LogState,
    admin: &Admin,
) -> Result<Outcome, DecideError> {
    let reserved = || (admin.actor == LOG_ACTOR).then(|| "is the log's own name".to_owned());
    if let Some(problem) = name_problem(&admin.actor).or_else(reserved) {
        return Ok(Outcome::ChangeRefused(ChangeError::Actor(problem)));
    }
    match judge_change(log, &admin.change) {
        Err(error) => return Ok(Outcome::ChangeRefused(error)),
        Ok(false) => return Ok(Outcome::Done { seq: None }),
        Ok(true) => {}
    }
    let body = match admin.change.clone() {
        Change::Keys(change) => Body::Keys(Box::new(change)),
        Change::Member(change) => Body::Member(change),
        Change::Params(change) => Body::Params(Box::new(change)),
        Change::Rules(change) => Body::Rules(change),
    };
    let author = Author {
        actor: &admin.actor,
        request_id: admin.request_id,
        ..Author::log()
    };
    let appended = transaction.append(author, body)?;
    Ok(Outcome::Done {
        seq: Some(appended.seq),
    })
}

fn decide_request<V: StateView>(
    transaction: &mut Transaction<'_, V>,
    log: &LogState,
    request: &Request,
) -> Result<Outcome, DecideError> {
    if let Err(error) = request.validate(&log.origin, &log.params) {
        return Ok(Outcome::Malformed(error));
    }
    let mut case = Case::open(transaction, log, request)?;
    match &request.operation {
        Operation::Get(get) => return case.get(get),
        Operation::ReadAsOf(read) => return case.read_as_of(read.moment),
        _ => {}
    }
    let Some(draft) = request.draft() else {
        return Err(DecideError::Bug("a request without a draft".to_owned()));
    };
    let digest = request_digest(&request.actor, &request.tenant, &case.subject, &draft);
    let asker = Asker {
        tenant: &request.tenant,
        actor: &request.actor,
        request_id: request.request_id,
    };
    let seen = asker.seen(case.transaction.view(), log, case.time)?;
    if let Some(outcome) = seen.outcome(digest, case.time) {
        return Ok(outcome);
    }
    case.change(draft, digest)
}

/// One request before the state that it meets.
struct Case<'t, 'a, V> {
    transaction: &'t mut Transaction<'a, V>,
    request: &'t Request,
    log: &'t LogState,
    subject: Subject,
    /// Of the entry that will be made.
    time: Micros,
    /// What is remembered of the subject, if it is a fingerprint.
    record: ResultRecord,
    /// Its state at that time.
    now: Effective,
}

impl<'t, 'a, V: StateView> Case<'t, 'a, V> {
    fn open(
        transaction: &'t mut Transaction<'a, V>,
        log: &'t LogState,
        request: &'t Request,
    ) -> Result<Self, DecideError> {
        let (subject, time) = (request.subject(), transaction.time(Some(log)));
        let (view, tenant) = (transaction.view(), request.tenant.as_str());
        let record = match subject {
            Subject::Fingerprint(fingerprint) => get_result(view, tenant, fingerprint)?,
            _ => None,
        };
        let nothing = Lifecycle { n: 0, last: Seq(0) };
        let record = record.unwrap_or_else(|| ResultRecord::absent(nothing));
        let now = effective(view, tenant, &record, time)?;
        Ok(Self {
            transaction,
            request,
            log,
            subject,
            time,
            record,
            now,
        })
    }

    fn get(&mut self, get: &Get) -> Result<Outcome, DecideError> {
        if let Some(problem) = lookup_problem(self.record.pattern(), get) {
            return Ok(Outcome::Malformed(problem));
        }
        match (self.now.miss(), &self.now) {
            (Some(reason), _) => {
                let body = ReadMiss {
                    reason: reason.clone(),
                };
                let Appended { seq, time, .. } = self.append(Body::ReadMiss(body))?;
                Ok(Outcome::Miss(Miss { seq, time, reason }))
            }
            (None, Effective::Active(held)) => {
                let held = held.clone();
                if planted!("hit-unrecorded") {
                    let (seq, time) = (held.write_seq, self.time);
                    return Ok(Outcome::Hit(Hit { seq, time, held }));
                }
                let body = ReadHit {
                    write_seq: held.write_seq,
                    version: held.version,
                    output_hash: held.output_hash,
                    semantic: get.semantic.clone(),
                };
                let Appended { seq, time, .. } = self.append(Body::ReadHit(body))?;
                Ok(Outcome::Hit(Hit { seq, time, held }))
            }
            (None, other) => {
                let state = other.state();
                Err(DecideError::Bug(format!("a lookup that finds {state}")))
            }
        }
    }

    /// The entry alone: what a lookup met then is told from the entries before that moment, which the
    /// state does not keep.
    fn read_as_of(&mut self, moment: entry::ReadAsOf) -> Result<Outcome, DecideError> {
        let problem = past_problem(self.record.pattern(), moment, self.log.size, self.time);
        if let Some(problem) = problem {
            return Ok(Outcome::Malformed(problem));
        }
        let Appended { seq, time, .. } = self.append(Body::ReadAsOf(moment))?;
        Ok(Outcome::PastRead(PastRead { seq, time }))
    }

    /// A request that takes effect once: an entry says what it did, or why it could not.
    fn change(&mut self, draft: Body, request: [u8; 32]) -> Result<Outcome, DecideError> {
        let asked = draft.op();
        let body = match self.judge(draft, request)? {
            Ok(body) => body,
            Err(refusal) => Body::Refused(Box::new(Refused {
                asked,
                state: self.state()?,
                refusal,
                request,
            })),
        };
        let follows = matches!(body, Body::ModelSupersede(_));
        let appended = self.append(body)?;
        if follows {
            let entries_max = self.log.params.entries_per_operation_max;
            let left = entries_max.saturating_sub(1);
            tick::follow_cause(self.transaction, appended.seq, left)?;
        }
        let missing = || DecideError::Bug("an entry without an answer".to_owned());
        Ok(Outcome::Answered(Answered {
            seq: appended.seq,
            time: appended.time,
            replayed: false,
            answer: appended.answer.ok_or_else(missing)?,
        }))
    }

    /// The body of the entry that does what is asked, or why it is refused.
    fn judge(
        &mut self,
        draft: Body,
        request: [u8; 32],
    ) -> Result<Result<Body, Refusal>, DecideError> {
        let (view, tenant) = (self.transaction.view(), self.request.tenant.as_str());
        Ok(match draft {
            Body::ModelSupersede(mut body) => {
                body.request = request;
                let refusal = refuse_model_supersede(view, tenant, &body.from, &body.to)?;
                refusal.map_or(Ok(Body::ModelSupersede(body)), Err)
            }
            Body::Reinstate(mut body) => {
                body.request = request;
                let hash = body.output_hash;
                let held = judge_reinstate(view, tenant, &self.record, &self.now, hash)?;
                held.map(|held| {
                    body.version = held.version;
                    if self.time < held.deadline {
                        self.transaction.need_value(value_of(tenant, &held));
                    }
                    Body::Reinstate(body)
                })
            }
            Body::Revoke(mut body) => {
                body.request = request;
                judge_revoke(&self.now, body.output_hash).map(|version| {
                    body.version = version;
                    Body::Revoke(body)
                })
            }
            Body::Supersede(body) => self.judge_supersede(body, request)?,
            Body::Verify(mut body) => {
                body.request = request;
                if self.log.size < body.size {
                    Err(Refusal::SizeAhead { size: body.size })
                } else {
                    Ok(Body::Verify(body))
                }
            }
            Body::Write(mut body) => {
                body.request = request;
                self.judge_write(body)?
            }
            other => {
                let op = other.op();
                return Err(DecideError::Bug(format!("a client that asks for `{op}`")));
            }
        })
    }

    fn judge_supersede(
        &self,
        mut body: entry::Supersede,
        request: [u8; 32],
    ) -> Result<Result<Body, Refusal>, DecideError> {
        let (
            Subject::Fingerprint(fingerprint),
            SupersedeBy::Client {
                successor, reason, ..
            },
        ) = (&self.subject, body.by)
        else {
            return Err(DecideError::Bug("a supersession of no result".to_owned()));
        };
        let (view, tenant) = (self.transaction.view(), self.request.tenant.as_str());
        let version = judge_supersede(view, tenant, *fingerprint, &self.now, successor)?;
        body.by = SupersedeBy::Client {
            successor,
            reason,
            request,
        };
        Ok(version.map(|version| {
            body.version = version;
            Body::Supersede(body)
        }))
    }

    fn judge_write(&mut self, mut body: Box<Write>) -> Result<Result<Body, Refusal>, DecideError> {
        let (view, tenant) = (self.transaction.view(), self.request.tenant.as_str());
        if let Some(refusal) = refuse_fields(view, tenant, &body.fields, &body.told)? {
            return Ok(Err(refusal));
        }
        let pattern = body.fields.pattern();
        match judge_set(&self.record, &self.now, pattern, body.output_hash) {
            SetVerdict::Conflict(held) => {
                return Ok(Ok(Body::WriteConflict(WriteConflict {
                    held: held.output_hash,
                    offered: body.output_hash,
                    version: held.version,
                    write_seq: held.write_seq,
                    request: body.request,
                })));
            }
            SetVerdict::New(version) | SetVerdict::Renew(version) => body.version = version,
            SetVerdict::Refuse(refusal) => return Ok(Err(refusal)),
        }
        self.transaction.need_value(ValueName {
            tenant: tenant.to_owned(),
            output_hash: body.output_hash,
            output_len: body.output_len,
        });
        Ok(Ok(Body::Write(body)))
    }

    /// Models and decisions are always ACTIVE, but for models that gave way.
    fn state(&self) -> Result<State, DecideError> {
        let (view, tenant) = (self.transaction.view(), self.request.tenant.as_str());
        Ok(match &self.subject {
            Subject::Fingerprint(_) => self.now.state(),
            Subject::Model(model) if get_model_superseded(view, tenant, model)?.is_some() => {
                State::Superseded
            }
            Subject::Decision(_) | Subject::Ledger | Subject::Model(_) => State::Active,
        })
    }

    fn append(&mut self, body: Body) -> Result<Appended, DecideError> {
        let author = Author {
            tenant: &self.request.tenant,
            subject: self.subject.clone(),
            actor: &self.request.actor,
            request_id: Some(self.request.request_id),
        };
        self.transaction.append(author, body)
    }
}

/// Why a lookup makes no sense, given what the fingerprint is of.
fn lookup_problem(pattern: Option<Pattern>, get: &Get) -> Option<RequestError> {
    let problem = |field, problem: &str| {
        let problem = problem.to_owned();
        Some(RequestError { field, problem })
    };
    match (pattern?, &get.semantic) {
        (Pattern::ResultOnly, _) => problem(
            "fingerprint",
            "has pattern `result-only`, which cannot be looked up",
        ),
        (Pattern::Semantic, None) => {
            problem("original_prompt_hash", "is missing for pattern `semantic`")
        }
        (Pattern::Exact, Some(_)) => {
            problem("original_prompt_hash", "has no place in pattern `exact`")
        }
        _ => None,
    }
}

/// Why a question about the past makes no sense here: `result-only` records answer no lookup, then or
/// now, and what is asked about has to be past.
fn past_problem(
    pattern: Option<Pattern>,
    moment: entry::ReadAsOf,
    size: TreeSize,
    now: Micros,
) -> Option<RequestError> {
    let refuse = |field, problem| Some(RequestError { field, problem });
    if pattern == Some(Pattern::ResultOnly) {
        let problem = "has pattern `result-only`, which cannot be looked up".to_owned();
        return refuse("fingerprint", problem);
    }
    if moment.as_of > size {
        let problem = format!("is `{}`, more than the {size} entries", moment.as_of);
        return refuse("as_of", problem);
    }
    match moment.time {
        Some(time) if time > now => refuse("as_of_time", format!("is `{time}`, after `{now}`")),
        _ => None,
    }
}

fn value_of(tenant: &str, held: &Held) -> ValueName {
    ValueName {
        tenant: tenant.to_owned(),
        output_hash: held.output_hash,
        output_len: held.output_len,
    }
}
