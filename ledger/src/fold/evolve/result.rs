//! Entries about results.

use super::Step;
use crate::entry::{
    Body, Expire, ReadAsOf, ReadHit, ReadMiss, Refusal, Revocation, State, Supersede, SupersedeBy,
    Write, WriteConflict,
};
use crate::fingerprint::{Fingerprint, Pattern};
use crate::fold::effect::effect;
use crate::fold::error::{FoldError, Rule};
use crate::fold::outcome::Answer;
use crate::fold::rules::{
    Effective, SetVerdict, effective, judge_reinstate, judge_revoke, judge_set, judge_supersede,
    refuse_fields,
};
use crate::fold::state::{
    Cascade, Changes, Key, Prefix, Record, ResultRecord, Standing, StateView, get_model_superseded,
};
use crate::ids::TreeSize;

impl<V: StateView> Step<'_, V> {
    /// The record after the entry, and what the client is answered.
    pub(super) fn result_after(
        &self,
        fingerprint: Fingerprint,
        before: &ResultRecord,
        changes: &mut Changes,
    ) -> Result<(ResultRecord, Option<Answer>), FoldError> {
        let answer = self.check_result(fingerprint, before, changes)?;
        let after = effect(before, self.entry);
        let after = after.ok_or_else(|| {
            let expected = "an entry that fits what stands before it";
            self.broken(Rule::State, expected, before.state())
        })?;
        Ok((after, answer))
    }

    /// Whether the rules allow the entry here.
    fn check_result(
        &self,
        fingerprint: Fingerprint,
        before: &ResultRecord,
        changes: &mut Changes,
    ) -> Result<Option<Answer>, FoldError> {
        let now = effective(self.view, &self.entry.tenant, before, self.entry.time)?;
        match &self.entry.body {
            Body::Expire(body) => self.expire(fingerprint, before, *body),
            Body::ReadAsOf(body) => self.read_as_of(before, *body),
            Body::ReadHit(body) => self.read_hit(before, &now, body),
            Body::ReadMiss(body) => self.read_miss(before, &now, body),
            Body::Refused(body) => {
                let answer = self.refused_result(fingerprint, before, &now, body)?;
                Ok(Some(answer))
            }
            Body::Reinstate(body) => self.reinstate(before, &now, body),
            Body::Revoke(body) => self.revoke(&now, body),
            Body::Supersede(body) => match &body.by {
                SupersedeBy::Client { successor, .. } => {
                    self.supersede(fingerprint, *successor, &now, body)
                }
                SupersedeBy::Model { .. } => self.follow_model(fingerprint, before, body, changes),
            },
            Body::Verify(body) => Ok(Some(self.attested(body)?)),
            Body::Write(body) => self.write(fingerprint, before, &now, body),
            Body::WriteConflict(body) => self.write_conflict(before, &now, *body),
            _ => Err(self.broken(Rule::Subject, "another subject", &self.entry.subject)),
        }
    }

    fn write(
        &self,
        fingerprint: Fingerprint,
        before: &ResultRecord,
        now: &Effective,
        body: &Write,
    ) -> Result<Option<Answer>, FoldError> {
        self.require(Rule::Fingerprint, &body.fields.fingerprint(), &fingerprint)?;
        self.check_limits(body)?;
        let tenant = &self.entry.tenant;
        self.refuse_none(refuse_fields(self.view, tenant, &body.fields, &body.told)?)?;
        let pattern = body.fields.pattern();
        let (version, renewed) = match judge_set(before, now, pattern, body.output_hash) {
            SetVerdict::Conflict(held) => {
                self.require_digest(Rule::Output, held.output_hash, body.output_hash)?;
                (held.version, true)
            }
            SetVerdict::New(version) => (version, false),
            SetVerdict::Refuse(refusal) => {
                self.refuse_none(Some(refusal))?;
                (0, false)
            }
            SetVerdict::Renew(version) => (version, true),
        };
        self.require(Rule::Version, &version, &body.version)?;
        Ok(Some(Answer::Written {
            version,
            renewed,
            deadline: self.entry.time.plus_millis(body.ttl_ms),
        }))
    }

    fn check_limits(&self, body: &Write) -> Result<(), FoldError> {
        let params = &self.log.params;
        let (len_max, ttl_ms_max) = (params.value_len_max, params.ttl_ms_max);
        if body.output_len > len_max {
            let expected = format!("output_len of at most `{len_max}`");
            return Err(self.broken(Rule::Limit, expected, body.output_len));
        }
        if !(1..=ttl_ms_max).contains(&body.ttl_ms) {
            let expected = format!("ttl_ms of 1 to `{ttl_ms_max}`");
            return Err(self.broken(Rule::Limit, expected, body.ttl_ms));
        }
        Ok(())
    }

    fn write_conflict(
        &self,
        before: &ResultRecord,
        now: &Effective,
        body: WriteConflict,
    ) -> Result<Option<Answer>, FoldError> {
        let pattern = before.pattern().unwrap_or(Pattern::Exact);
        let verdict = judge_set(before, now, pattern, body.offered);
        let SetVerdict::Conflict(held) = verdict else {
            let expected = "a set that meets other bytes";
            return Err(self.broken(Rule::State, expected, now.state()));
        };
        self.require_digest(Rule::Output, held.output_hash, body.held)?;
        self.require(Rule::Version, &held.version, &body.version)?;
        self.require(Rule::WriteSeq, &held.write_seq, &body.write_seq)?;
        let answer = Answer::Conflict {
            held: body.held,
            offered: body.offered,
            version: body.version,
            write_seq: body.write_seq,
        };
        Ok(Some(answer))
    }

    /// INV-6: only what is ACTIVE at this place is disclosed.
    fn read_hit(
        &self,
        before: &ResultRecord,
        now: &Effective,
        body: &ReadHit,
    ) -> Result<Option<Answer>, FoldError> {
        let pattern = self.check_lookup(before)?;
        let Effective::Active(held) = now else {
            return Err(self.broken(Rule::State, State::Active, now.state()));
        };
        self.require_digest(Rule::Output, held.output_hash, body.output_hash)?;
        self.require(Rule::Version, &held.version, &body.version)?;
        self.require(Rule::WriteSeq, &held.write_seq, &body.write_seq)?;
        let wanted = pattern == Some(Pattern::Semantic);
        if wanted != body.semantic.is_some() {
            let shown = |there| if there { "a similarity" } else { "none" };
            let (expected, found) = (shown(wanted), shown(!wanted));
            return Err(self.broken(Rule::Semantic, expected, found));
        }
        Ok(None)
    }

    fn read_miss(
        &self,
        before: &ResultRecord,
        now: &Effective,
        body: &ReadMiss,
    ) -> Result<Option<Answer>, FoldError> {
        self.check_lookup(before)?;
        let expected = now.miss();
        if expected.as_ref() != Some(&body.reason) {
            let expected = expected.map_or("a hit".to_owned(), |reason| reason.to_string());
            return Err(self.broken(Rule::Reason, expected, &body.reason));
        }
        Ok(None)
    }

    /// The state of then is not at hand: only that there was one, for anybody to tell.
    fn read_as_of(
        &self,
        before: &ResultRecord,
        body: ReadAsOf,
    ) -> Result<Option<Answer>, FoldError> {
        self.check_lookup(before)?;
        let size = self.log.size;
        if body.as_of == TreeSize(0) || body.as_of > size {
            let expected = format!("1 to `{size}` entries");
            return Err(self.broken(Rule::AsOf, expected, body.as_of));
        }
        match body.time {
            Some(time) if time > self.entry.time => {
                let expected = format!("`{}` or earlier", self.entry.time);
                Err(self.broken(Rule::AsOf, expected, time))
            }
            _ => Ok(None),
        }
    }

    fn check_lookup(&self, before: &ResultRecord) -> Result<Option<Pattern>, FoldError> {
        let pattern = before.pattern();
        if pattern == Some(Pattern::ResultOnly) {
            let expected = "no lookup of a `result-only` record";
            return Err(self.broken(Rule::State, expected, self.entry.op()));
        }
        Ok(pattern)
    }

    fn supersede(
        &self,
        fingerprint: Fingerprint,
        successor: Fingerprint,
        now: &Effective,
        body: &Supersede,
    ) -> Result<Option<Answer>, FoldError> {
        let tenant = &self.entry.tenant;
        let verdict = judge_supersede(self.view, tenant, fingerprint, now, successor)?;
        let version = self.allowed(verdict)?;
        self.require(Rule::Version, &version, &body.version)?;
        Ok(Some(Answer::Superseded { version }))
    }

    /// Results follow their model one by one, in the order of fingerprints.
    fn follow_model(
        &self,
        fingerprint: Fingerprint,
        before: &ResultRecord,
        body: &Supersede,
        changes: &mut Changes,
    ) -> Result<Option<Answer>, FoldError> {
        let SupersedeBy::Model { cause, successor } = &body.by else {
            return Err(self.broken(Rule::Cause, "a cause", "none"));
        };
        let key = Key::Cascade { cause: *cause };
        let tenant = self.entry.tenant.clone();
        let model = match self.view.get(&key)? {
            Some(Record::Cascade(Cascade { tenant: of, model })) if of == tenant => model,
            _ => {
                let expected = "a `model.supersede` that results have to follow";
                return Err(self.broken(Rule::Cause, expected, cause));
            }
        };
        let within = Prefix::by_model(&tenant, &model);
        let due = self.view.next(&within, None)?.map(|(key, _)| key);
        let own = Key::ByModel {
            tenant,
            model: model.clone(),
            fingerprint,
        };
        self.require_first(due, &own)?;
        if self.view.next(&within, Some(&own))?.is_none() {
            changes.forget(key);
        }
        let to = get_model_superseded(self.view, &self.entry.tenant, &model)?;
        let to = to.map_or_else(String::new, |to| to.to.to_string());
        self.require(Rule::Cause, &to, &successor.to_string())?;
        let version = before.held().map_or(0, |held| held.version);
        self.require(Rule::Version, &version, &body.version)?;
        Ok(None)
    }

    /// Ticks let results follow their models first, and then expire what is overdue, the earliest
    /// deadline first.
    fn expire(
        &self,
        fingerprint: Fingerprint,
        before: &ResultRecord,
        body: Expire,
    ) -> Result<Option<Answer>, FoldError> {
        let Standing::Active(held) = &before.standing else {
            return Err(self.broken(Rule::State, State::Active, before.state()));
        };
        if self.entry.time < held.deadline {
            let expected = format!("`{}` or later", held.deadline);
            return Err(self.broken(Rule::Deadline, expected, self.entry.time));
        }
        self.require(Rule::WriteSeq, &held.write_seq, &body.write_seq)?;
        if self.view.next(&Prefix::cascades(), None)?.is_some() {
            let expected = "results that follow their model first";
            return Err(self.broken(Rule::Order, expected, self.entry.op()));
        }
        let due = self.view.next(&Prefix::deadlines(), None)?;
        let own = Key::Deadline {
            deadline: held.deadline,
            tenant: self.entry.tenant.clone(),
            fingerprint,
        };
        self.require_first(due.map(|(key, _)| key), &own)?;
        Ok(None)
    }

    /// The entry is about the result that an index has first.
    fn require_first(&self, first: Option<Key>, own: &Key) -> Result<(), FoldError> {
        let first = match first {
            Some(first) if first == *own => return Ok(()),
            Some(Key::ByModel { fingerprint, .. } | Key::Deadline { fingerprint, .. }) => {
                fingerprint.to_string()
            }
            _ => "nothing".to_owned(),
        };
        Err(self.broken(Rule::Order, first, &self.entry.subject))
    }

    fn revoke(&self, now: &Effective, body: &Revocation) -> Result<Option<Answer>, FoldError> {
        let version = self.allowed(judge_revoke(now, body.output_hash))?;
        self.require(Rule::Version, &version, &body.version)?;
        Ok(Some(Answer::Revoked { version }))
    }

    fn reinstate(
        &self,
        before: &ResultRecord,
        now: &Effective,
        body: &Revocation,
    ) -> Result<Option<Answer>, FoldError> {
        let tenant = &self.entry.tenant;
        let verdict = judge_reinstate(self.view, tenant, before, now, body.output_hash)?;
        let held = self.allowed(verdict)?;
        self.require(Rule::Version, &held.version, &body.version)?;
        let state = if self.entry.time < held.deadline {
            State::Active
        } else {
            State::Expired
        };
        Ok(Some(Answer::Reinstated {
            version: body.version,
            state,
        }))
    }

    fn allowed<T>(&self, verdict: Result<T, Refusal>) -> Result<T, FoldError> {
        verdict.map_err(|refusal| {
            let expected = format!("`cache.refused` for `{refusal}`");
            self.broken(Rule::Refusal, expected, self.entry.op())
        })
    }
}
