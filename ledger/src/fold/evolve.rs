//! From an entry to the state after it, or to the rule that it breaks.

use core::fmt::Display;

use super::dedup::{Asker, Seen};
use super::error::{FoldError, Rule};
use super::operation::request_digest;
use super::outcome::Answer;
use super::overlay::Overlay;
use super::state::{
    Changes, Key, Lifecycle, LogState, Record, RequestRecord, ResultRecord, Standing, StateView,
    get_lifecycle, get_log, get_result,
};
use crate::digest::{ChainHash, TaggedDigest};
use crate::entry::{Body, Entry, LOG_ACTOR, Subject, SupersedeBy};
use crate::fingerprint::Fingerprint;
use crate::ids::{Seq, TreeSize};
use crate::planted;

mod log;
mod model;
mod refusal;
mod result;

/// Takes one entry into the state before it.
///
/// `encoded` are the entry's bytes, which become the head of the chain; the caller has the entry
/// from them, or them from the entry.
///
/// Cost: a handful of records; 0.05 ms more for an attestation's signature.
///
/// # Errors
/// [`FoldError::Broken`] for whatever [`super::decide`] could not have appended here,
/// [`FoldError::NotUnderstood`] where an entry rests on rules or keys of a newer version.
pub fn evolve<V: StateView>(view: &V, entry: &Entry, encoded: &[u8]) -> Result<Changes, FoldError> {
    evolve_answered(view, entry, encoded).map(|evolved| evolved.changes)
}

/// Takes entries in, one after the other, and says what they change together: a record that each of
/// them changes is changed once.
///
/// # Errors
/// As [`evolve`], of the first entry that is refused.
pub fn evolve_all<'e, V: StateView>(
    view: &V,
    entries: impl IntoIterator<Item = (&'e Entry, &'e [u8])>,
) -> Result<Changes, FoldError> {
    let mut overlay = Overlay::new(view);
    for (entry, encoded) in entries {
        let changes = evolve(&overlay, entry, encoded)?;
        overlay.apply(changes);
    }
    Ok(overlay.into_changes())
}

/// What an entry does.
pub(super) struct Evolved {
    pub(super) changes: Changes,
    /// What the client of a state-changing request is answered, now and on every retry.
    pub(super) answer: Option<Answer>,
}

/// As [`evolve`], with the answer that is remembered.
pub(super) fn evolve_answered<V: StateView>(
    view: &V,
    entry: &Entry,
    encoded: &[u8],
) -> Result<Evolved, FoldError> {
    let head = ChainHash::of(encoded);
    let Some(log) = get_log(view)? else {
        return log::first(entry, head);
    };
    let step = Step {
        view,
        log: &log,
        entry,
    };
    step.check_place()?;
    step.check_author()?;
    step.check_subject()?;
    let (mut changes, mut after) = (Changes::default(), log.clone());
    let answer = if entry.op().is_of_the_log() {
        step.change_log(&mut after)?;
        after.lifecycle = step.lifecycle();
        None
    } else {
        step.change_tenant(&mut changes)?
    };
    step.remember(answer.as_ref(), &mut changes)?;
    after.size = TreeSize(entry.seq.0.saturating_add(1));
    (after.head, after.time) = (head, entry.time);
    changes.put(Key::Log, Record::Log(Box::new(after)));
    Ok(Evolved { changes, answer })
}

/// One entry before the state that it meets.
struct Step<'a, V> {
    view: &'a V,
    log: &'a LogState,
    entry: &'a Entry,
}

impl<V: StateView> Step<'_, V> {
    /// Position, chain, time and lifecycle: INV-2.
    fn check_place(&self) -> Result<(), FoldError> {
        let (log, entry) = (self.log, self.entry);
        self.require(Rule::Seq, &log.size.0, &entry.seq.0)?;
        self.require(Rule::Prev, &log.head, &entry.prev)?;
        if entry.time < log.time && !planted!("time-goes-back") {
            let expected = format!("`{}` or later", log.time);
            return Err(self.broken(Rule::Time, expected, entry.time));
        }
        let before = get_lifecycle(self.view, &entry.tenant, &entry.subject)?;
        let n = before.map_or(0, |before| before.n).saturating_add(1);
        self.require(Rule::Lifecycle, &n, &entry.n)?;
        let shown = |seq: Option<Seq>| seq.map_or("null".to_owned(), |seq| seq.to_string());
        let last = shown(before.map(|before| before.last));
        self.require(Rule::Lifecycle, &last, &shown(entry.subject_prev))
    }

    /// The log does what time and groups bring, under its own name; clients do the rest under
    /// theirs, and name their requests.
    fn check_author(&self) -> Result<(), FoldError> {
        let by_log = match &self.entry.body {
            Body::Expire(_) | Body::Genesis(_) | Body::Seal(_) => true,
            Body::Supersede(supersede) => matches!(supersede.by, SupersedeBy::Model { .. }),
            _ => false,
        };
        let (actor, named) = (&self.entry.actor, self.entry.request_id.is_some());
        if by_log != (actor == LOG_ACTOR) {
            let expected = if by_log { LOG_ACTOR } else { "a client" };
            return Err(self.broken(Rule::Actor, expected, actor));
        }
        let must_be_named = !by_log && !self.entry.op().is_of_the_log();
        if (by_log && named) || (must_be_named && !named) {
            let shown = |named| if named { "an id" } else { "null" };
            return Err(self.broken(Rule::RequestId, shown(!named), shown(named)));
        }
        Ok(())
    }

    fn check_subject(&self) -> Result<(), FoldError> {
        let (tenant, subject) = (&self.entry.tenant, &self.entry.subject);
        let of_the_log = self.entry.op().is_of_the_log();
        if of_the_log != tenant.is_empty() {
            let expected = if of_the_log { "no tenant" } else { "a tenant" };
            return Err(self.broken(Rule::Subject, expected, format!("`{tenant}`")));
        }
        let (fits, expected) = match &self.entry.body {
            _ if of_the_log => (*subject == Subject::Ledger, "the ledger"),
            Body::Refused(_) | Body::Verify(_) => {
                (*subject != Subject::Ledger, "a subject of the tenant")
            }
            Body::ModelSupersede(body) => {
                let from = Subject::Model(body.from.clone());
                (*subject == from, "the model that gives way")
            }
            _ => (matches!(subject, Subject::Fingerprint(_)), "a fingerprint"),
        };
        if fits {
            Ok(())
        } else {
            Err(self.broken(Rule::Subject, expected, subject))
        }
    }

    /// Entries about a tenant's subjects.
    fn change_tenant(&self, changes: &mut Changes) -> Result<Option<Answer>, FoldError> {
        match self.entry.subject.clone() {
            Subject::Fingerprint(fingerprint) => self.change_result(fingerprint, changes),
            subject => {
                let answer = self.change_other(changes)?;
                let tenant = self.entry.tenant.clone();
                let lifecycle = Record::Lifecycle(self.lifecycle());
                changes.put(Key::Subject { tenant, subject }, lifecycle);
                Ok(Some(answer))
            }
        }
    }

    fn change_result(
        &self,
        fingerprint: Fingerprint,
        changes: &mut Changes,
    ) -> Result<Option<Answer>, FoldError> {
        let before = get_result(self.view, &self.entry.tenant, fingerprint)?;
        let before = before.unwrap_or_else(|| ResultRecord::absent(self.lifecycle()));
        let (after, answer) = self.result_after(fingerprint, &before, changes)?;
        self.index(fingerprint, &before, &after, changes);
        let tenant = self.entry.tenant.clone();
        let key = Key::Result {
            tenant,
            fingerprint,
        };
        changes.put(key, Record::Result(Box::new(after)));
        Ok(answer)
    }

    /// Keeps the indexes of ACTIVE results: by deadline, and by model.
    fn index(
        &self,
        fingerprint: Fingerprint,
        before: &ResultRecord,
        after: &ResultRecord,
        changes: &mut Changes,
    ) {
        let keys = |record: &ResultRecord| {
            let Standing::Active(held) = &record.standing else {
                return Vec::new();
            };
            let deadline = Key::Deadline {
                deadline: held.deadline,
                tenant: self.entry.tenant.clone(),
                fingerprint,
            };
            let by_model = record.model().map(|model| Key::ByModel {
                tenant: self.entry.tenant.clone(),
                model: model.clone(),
                fingerprint,
            });
            [Some(deadline), by_model].into_iter().flatten().collect()
        };
        let (before, after) = (keys(before), keys(after));
        for key in &before {
            if !after.contains(key) {
                changes.forget(key.clone());
            }
        }
        for key in after {
            if !before.contains(&key) {
                changes.put(key, Record::Present);
            }
        }
    }

    /// INV-7: a state-changing request takes effect once, under the digest of what it asked.
    fn remember(&self, answer: Option<&Answer>, changes: &mut Changes) -> Result<(), FoldError> {
        let (Some(digest), Some(answer)) = (self.entry.body.request(), answer) else {
            return Ok(());
        };
        let Some(request_id) = self.entry.request_id else {
            return Err(self.broken(Rule::RequestId, "an id", "null"));
        };
        let asker = Asker {
            tenant: &self.entry.tenant,
            actor: &self.entry.actor,
            request_id,
        };
        match asker.seen(self.view, self.log, self.entry.time)? {
            Seen::Never => {}
            Seen::Known(earlier) => {
                let found = format!("`{request_id}`, used at seq {}", earlier.seq);
                return Err(self.broken(Rule::RequestId, "an id that was not used", found));
            }
            Seen::Ahead => {
                let expected = "an id of the entry's time";
                return Err(self.broken(Rule::RequestId, expected, request_id));
            }
            Seen::Stale(floor) => {
                let expected = format!("an id above `{floor}`");
                return Err(self.broken(Rule::RequestId, expected, request_id));
            }
        }
        self.check_digest(digest)?;
        let record = RequestRecord {
            digest,
            seq: self.entry.seq,
            time: self.entry.time,
            answer: answer.clone(),
        };
        asker.remember(self.view, self.log, record, changes)?;
        Ok(())
    }

    /// Conflicts and refusals do not repeat what was asked, so theirs cannot be recomputed.
    fn check_digest(&self, found: [u8; 32]) -> Result<(), FoldError> {
        let entry = self.entry;
        if matches!(entry.body, Body::Refused(_) | Body::WriteConflict(_)) {
            return Ok(());
        }
        let expected = request_digest(&entry.actor, &entry.tenant, &entry.subject, &entry.body);
        self.require_digest(Rule::RequestDigest, expected, found)
    }

    fn lifecycle(&self) -> Lifecycle {
        Lifecycle {
            n: self.entry.n,
            last: self.entry.seq,
        }
    }

    fn require<T: PartialEq + Display>(
        &self,
        rule: Rule,
        expected: &T,
        found: &T,
    ) -> Result<(), FoldError> {
        if expected == found || planted!("rules-unchecked") {
            Ok(())
        } else {
            Err(self.broken(rule, format!("`{expected}`"), format!("`{found}`")))
        }
    }

    fn require_digest(
        &self,
        rule: Rule,
        expected: [u8; 32],
        found: [u8; 32],
    ) -> Result<(), FoldError> {
        let (expected, found) = (TaggedDigest::sha3(expected), TaggedDigest::sha3(found));
        self.require(rule, &expected, &found)
    }

    fn broken(&self, rule: Rule, expected: impl Display, found: impl Display) -> FoldError {
        broken(Seq(self.log.size.0), rule, expected, found)
    }
}

/// `seq` is the position at which the entry stands, whatever it says itself.
fn broken(seq: Seq, rule: Rule, expected: impl Display, found: impl Display) -> FoldError {
    FoldError::Broken {
        seq,
        rule,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
