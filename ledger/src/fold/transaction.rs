//! A command on its way: entries appended one after the other, each over the state that the one
//! before left.

use super::decision::{DecideError, Decision, SealDue, ValueName};
use super::evolve::evolve_answered;
use super::operation::Stamp;
use super::outcome::{Answer, Outcome};
use super::overlay::Overlay;
use super::state::{LogState, StateView, ViewError, get_lifecycle, get_log};
use crate::digest::{ChainHash, sha3_256_parts};
use crate::entry::{Body, ENTRY_LEN_MAX, Entry, LOG_ACTOR, Nonce, Seal, Subject};
use crate::ids::{RequestId, Seq, TreeSize};
use crate::planted;
use crate::time::Micros;

/// The entries of one command so far, and the state after them.
pub(super) struct Transaction<'a, V> {
    view: Overlay<'a, V>,
    stamp: &'a Stamp,
    entries: Vec<(Entry, Vec<u8>)>,
    values: Vec<ValueName>,
}

/// Whose entry it is, and what about.
pub(super) struct Author<'a> {
    pub(super) tenant: &'a str,
    pub(super) subject: Subject,
    pub(super) actor: &'a str,
    pub(super) request_id: Option<RequestId>,
}

/// An entry that was appended.
pub(super) struct Appended {
    pub(super) seq: Seq,
    pub(super) time: Micros,
    pub(super) answer: Option<Answer>,
}

impl<'a> Author<'a> {
    /// The log, about itself.
    pub(super) fn log() -> Self {
        Self {
            tenant: "",
            subject: Subject::Ledger,
            actor: LOG_ACTOR,
            request_id: None,
        }
    }

    /// The log, about a tenant's subject.
    pub(super) fn log_about(tenant: &'a str, subject: Subject) -> Self {
        Self {
            tenant,
            subject,
            ..Author::log()
        }
    }
}

impl<'a, V: StateView> Transaction<'a, V> {
    pub(super) fn new(view: &'a V, stamp: &'a Stamp) -> Self {
        Self {
            view: Overlay::new(view),
            stamp,
            entries: Vec::new(),
            values: Vec::new(),
        }
    }

    /// The state after the entries so far.
    pub(super) fn view(&self) -> &Overlay<'a, V> {
        &self.view
    }

    /// The log after the entries so far; `None` before genesis.
    pub(super) fn log(&self) -> Result<Option<LogState>, ViewError> {
        get_log(&self.view)
    }

    /// The time that the next entry will have: it never goes back.
    pub(super) fn time(&self, log: Option<&LogState>) -> Micros {
        if planted!("time-goes-back") {
            return self.stamp.time;
        }
        let last = log.map_or(Micros(0), |log| log.time);
        self.stamp.time.max(last).min(Micros::MAX)
    }

    /// A value that has to be kept beside the ledger.
    pub(super) fn need_value(&mut self, value: ValueName) {
        self.values.push(value);
    }

    /// Composes the next entry, and has `evolve` take it into the state: what it would refuse in an
    /// audit can never be appended.
    pub(super) fn append(
        &mut self,
        author: Author<'_>,
        body: Body,
    ) -> Result<Appended, DecideError> {
        let log = self.log()?;
        let before = get_lifecycle(&self.view, author.tenant, &author.subject)?;
        let (seq, prev) = match &log {
            None => (Seq(0), ChainHash::EMPTY),
            Some(log) => (Seq(log.size.0), log.head),
        };
        let entry = Entry {
            seq,
            prev,
            time: self.time(log.as_ref()),
            tenant: author.tenant.to_owned(),
            subject: author.subject,
            n: before.map_or(0, |before| before.n).saturating_add(1),
            subject_prev: before.map(|before| before.last),
            actor: author.actor.to_owned(),
            request_id: author.request_id,
            nonce: self.nonce(),
            body,
        };
        let encoded = entry.encode();
        check_form(&entry, &encoded)?;
        let evolved = evolve_answered(&self.view, &entry, &encoded)?;
        self.view.apply(evolved.changes);
        let time = entry.time;
        self.entries.push((entry, encoded));
        Ok(Appended {
            seq,
            time,
            answer: evolved.answer,
        })
    }

    /// Appends the seal that closes the group; nothing before genesis.
    pub(super) fn seal(&mut self) -> Result<Option<SealDue>, DecideError> {
        let Some(log) = self.log()? else {
            return Ok(None);
        };
        let seal = Seal {
            keyset: log.keyset.id,
            prev_seal: log.last_seal,
        };
        let appended = self.append(Author::log(), Body::Seal(seal))?;
        Ok(Some(SealDue {
            size: TreeSize(appended.seq.0.saturating_add(1)),
            time: appended.time,
            keyset: log.keyset.id,
            keyset_seq: log.keyset.seq,
        }))
    }

    pub(super) fn finish(
        self,
        outcomes: Vec<Outcome>,
        seal: Option<SealDue>,
    ) -> Result<Decision, DecideError> {
        let log = self.log()?;
        let (size, head) = log.map_or_else(Default::default, |log| (log.size, log.head));
        Ok(Decision {
            entries: self.entries,
            outcomes,
            changes: self.view.into_changes(),
            seal,
            values: self.values,
            size,
            head,
        })
    }

    /// `SHA3-256("candor.nonce.v1" || seed || u32 count of the command's entry)`, the first half.
    fn nonce(&self) -> Nonce {
        let count = u32::try_from(self.entries.len());
        let count = count.expect("invariant: a command has fewer than 2^32 entries");
        let hash = sha3_256_parts(&[b"candor.nonce.v1", &self.stamp.seed, &count.to_be_bytes()]);
        let (half, _) = hash.split_at(16);
        Nonce(half.try_into().expect("invariant: half of 32 bytes"))
    }
}

/// An entry that nobody could read back would end the ledger for every auditor. Clients' requests
/// were validated by the same functions that read entries; the log's own are few, and read back.
fn check_form(entry: &Entry, encoded: &[u8]) -> Result<(), DecideError> {
    if encoded.len() > ENTRY_LEN_MAX {
        let len = encoded.len();
        return Err(DecideError::Bug(format!("an entry of `{len}` bytes")));
    }
    if entry.op().is_of_the_log() && Entry::parse(encoded).as_ref() != Ok(entry) {
        let op = entry.op();
        return Err(DecideError::Bug(format!(
            "an entry `{op}` that cannot be read"
        )));
    }
    Ok(())
}
