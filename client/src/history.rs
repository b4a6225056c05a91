//! The past of one subject, told from proved entries alone.

use candor_ledger::entry::{Body, Model, Subject};
use candor_ledger::fingerprint::FieldError;
use candor_ledger::fold::{self, Past};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::time::Micros;
use candor_proto::ErrorCode;

use crate::audit::{AuditTrail, TrailEntry};
use crate::client::Client;
use crate::error::{Error, Unproven};

/// A moment in the life of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Directly after this entry, at its time.
    After(Seq),
    /// At this time: after the last entry that is not later.
    At(Micros),
}

/// The lifecycle of a subject as it stood at a moment.
///
/// Nothing in it is the answering node's word but what [`PastTrail::caveats`] says: every entry is
/// proved to lie in the log, and what stood follows from the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastTrail {
    /// The events that had happened by then.
    pub trail: AuditTrail,
    /// The ledger's time then: deadlines are held against it.
    pub time: Micros,
    /// What stood then, if the subject is a fingerprint.
    pub past: Option<Past>,
    /// The first event after that moment, if there was one since. It names the event before, so it
    /// proves that none is missing.
    pub next: Option<Seq>,
    /// The `model.supersede` from the result's model, if one stood by then.
    pub gave_way: Option<TrailEntry>,
    /// The result's model, whether it gave way or not.
    model: Option<Model>,
}

impl Client {
    /// The lifecycle of a subject as it stood at a moment that a checkpoint covers, verified entry by
    /// entry; and of a fingerprint, what a lookup would have been answered then.
    ///
    /// # Errors
    /// [`Error::Field`] when the ledger is not sealed up to that moment, or the entry named is another
    /// tenant's and this principal may not read it: then its time is not known. See [`Error`].
    pub async fn auditlog_as_of(&self, subject: &str, as_of: Moment) -> Result<PastTrail, Error> {
        let trail = self.auditlog(subject).await?;
        let (size, time) = self.bounds(&trail, as_of).await?;
        self.past_trail(trail, size, time).await
    }

    /// What a lifecycle was when the ledger had that size, at that time.
    pub(crate) async fn past_trail(
        &self,
        mut trail: AuditTrail,
        size: TreeSize,
        time: Micros,
    ) -> Result<PastTrail, Error> {
        let is_past = |event: &TrailEntry| {
            event.path.is_some() && size.covers(event.entry.seq) && event.entry.time <= time
        };
        let count = trail
            .entries
            .iter()
            .take_while(|event| is_past(event))
            .count();
        let later = trail.entries.split_off(count);
        let next = later.first().filter(|event| event.path.is_some());
        let next = next.map(|event| event.entry.seq);
        let model = model_of(&trail);
        let gave_way = match &model {
            Some(model) => self.gave_way(model, is_past).await?,
            None => None,
        };
        let past = match trail.subject {
            Subject::Fingerprint(_) => Some(told(&trail, gave_way.as_ref(), size, time)?),
            _ => None,
        };
        Ok(PastTrail {
            trail,
            time,
            past,
            next,
            gave_way,
            model,
        })
    }

    /// Below which size and not after which time a moment's events lie.
    async fn bounds(&self, trail: &AuditTrail, as_of: Moment) -> Result<(TreeSize, Micros), Error> {
        let sealed = trail.checkpoint.as_ref();
        let (covered, sealed) = sealed.map_or((TreeSize(0), Micros(0)), |under| {
            (under.size(), under.sealed())
        });
        match as_of {
            // Entries of the seal's own time could follow the seal.
            Moment::At(time) if time < sealed => Ok((covered, time)),
            Moment::At(_) => Err(not_yet(&format!("the ledger is sealed up to {sealed}"))),
            Moment::After(seq) if covered.covers(seq) => {
                let own = trail.entries.iter().find(|event| event.entry.seq == seq);
                let time = match own {
                    Some(event) => event.entry.time,
                    None => self.time_of(seq).await?,
                };
                Ok((seq.size_including().unwrap_or(covered), time))
            }
            Moment::After(_) => Err(not_yet(&format!(
                "the ledger is sealed up to size {covered}"
            ))),
        }
    }

    async fn time_of(&self, seq: Seq) -> Result<Micros, Error> {
        match self.receipt(seq).await {
            Ok(recorded) => Ok(recorded.entry.time),
            Err(error) if is_code(&error, ErrorCode::EntryNotFound) => Err(not_yet(&format!(
                "entry {seq} is another tenant's, and only an auditor of the whole cluster is told \
                 its time; name a time, or an entry of your own"
            ))),
            Err(error) => Err(error),
        }
    }

    /// The entry by which a model gave way by then.
    async fn gave_way(
        &self,
        model: &Model,
        is_past: impl Fn(&TrailEntry) -> bool,
    ) -> Result<Option<TrailEntry>, Error> {
        let subject = Subject::Model(model.clone()).to_string();
        let trail = match self.auditlog(&subject).await {
            Ok(trail) => trail,
            Err(error) if is_code(&error, ErrorCode::UnknownFingerprint) => return Ok(None),
            Err(error) => return Err(error),
        };
        let gave_way = |event: &TrailEntry| matches!(event.entry.body, Body::ModelSupersede(_));
        let mut events = trail.entries.into_iter();
        Ok(events.find(|event| gave_way(event) && is_past(event)))
    }
}

impl PastTrail {
    /// The events, for a caller who goes on with them; none are left here.
    pub fn take_trail(&mut self) -> AuditTrail {
        let entries = std::mem::take(&mut self.trail.entries);
        AuditTrail {
            entries,
            ..self.trail.clone()
        }
    }

    /// What is not proved, one sentence each.
    pub fn caveats(&self) -> Vec<String> {
        let mut caveats = Vec::new();
        if self.next.is_none() {
            let told = "the answering node's word: no later event names the last one";
            caveats.push(format!(
                "that no further event had happened by then is {told}"
            ));
        }
        if let (Some(model), None) = (&self.model, &self.gave_way) {
            caveats.push(format!(
                "that model {model} had not given way by then is the answering node's word"
            ));
        }
        caveats
    }
}

/// The model that the subject's writes name; they all name the same.
fn model_of(trail: &AuditTrail) -> Option<Model> {
    trail
        .entries
        .iter()
        .find_map(|event| match &event.entry.body {
            Body::Write(write) => fold::model_of(&write.fields),
            _ => None,
        })
}

fn told(
    trail: &AuditTrail,
    gave_way: Option<&TrailEntry>,
    size: TreeSize,
    time: Micros,
) -> Result<Past, Error> {
    let events: Vec<_> = trail
        .entries
        .iter()
        .map(|event| event.entry.clone())
        .collect();
    let gave_way = gave_way.map(|event| &event.entry);
    fold::past(size, time, &events, gave_way).map_err(|problem| Error::Unproven {
        endpoint: "the lifecycle".to_owned(),
        problem: Unproven::differs("the past", "one that the rules allow", problem),
    })
}

fn is_code(error: &Error, code: ErrorCode) -> bool {
    matches!(error, Error::Rejected { code: found, .. } if found == code.as_str())
}

fn not_yet(problem: &str) -> Error {
    let field = "as_of";
    let problem = format!("cannot be answered: {problem}");
    FieldError { field, problem }.into()
}
