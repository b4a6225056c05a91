//! `GetAsOf`: what a get met at a moment of the past.
//!
//! No node keeps the state of former sizes, so the answer is told from entries, by the same function
//! with which an auditor tells it. Those entries stand and do not change, so they are read first; then
//! the question gets its own entry, and only then a value leaves.

use bytes::Bytes;
use candor_ledger::digest::{TaggedDigest, sha3_256};
use candor_ledger::entry::{Entry, ReadAsOf, Subject};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::fold::{self, Effective, HistoryError, Operation, Past, PastTeller};
use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::time::Micros;
use candor_proto::audit_v1::Acknowledgement;
use candor_proto::cache_v1::get_as_of_request::AsOf;
use candor_proto::cache_v1::get_as_of_response::Outcome;
use candor_proto::cache_v1::{GetAsOfRequest, GetAsOfResponse, PastResult};
use candor_proto::error_metadata;

use super::cache::{Asked, wire_miss};
use super::call::Call;
use super::proofs::Anchor;
use super::status::{ApiError, ErrorCode};
use super::{Api, convert};
use crate::env::Env;
use crate::peers::{ASK_MAX, Source};
use crate::records;

/// Events that are read before others get their turn: about 10 ms.
const TURN: usize = 256;

/// A moment that is past, found in the ledger.
struct Found {
    asked: ReadAsOf,
    /// What deadlines are held against.
    time: Micros,
    /// The last entry that the answer can rest on.
    last: Seq,
    /// Its bytes, where its time is `time`.
    line: Option<Bytes>,
}

impl<E: Env> Api<E> {
    pub(super) async fn get_as_of(
        &self,
        call: &Call,
        m: GetAsOfRequest,
    ) -> Result<GetAsOfResponse, ApiError> {
        // A node that does not lead may lack the very entries: let the leader say so, if anybody.
        self.cluster.need_leader()?;
        let fingerprint = convert::fingerprint(&m.fingerprint, "fingerprint")?;
        let found = match m.as_of {
            Some(AsOf::Size(size)) => self.after_entry(call, TreeSize(size))?,
            Some(AsOf::Time(time)) => self.at_time(convert::micros(&time, "time")?)?,
            None => return Err(ApiError::field("as_of", "want `size` or `time`")),
        };
        let past = self.past(call, fingerprint, &found).await?;
        let operation = Operation::ReadAsOf(fold::ReadAsOf {
            fingerprint,
            moment: found.asked,
        });
        let submitted = self
            .submit(call, &m.request_id, operation, None, "")
            .await?;
        let asked = Asked::new(m.wait_for, m.known_size, 0, Acknowledgement::Sealed);
        let decided = [Ok(submitted.clone())];
        let covers = asked.waits_for(&decided).max().unwrap_or(found.last);
        self.sealed_by(Some(covers), None, call.deadline).await;
        let anchor = self.anchor(asked.known, &[covers], None)?;
        let anchor = anchor.filter(|anchor| anchor.size.covers(found.last));
        let anchor = anchor.ok_or_else(|| {
            let problem = format!("entry {} is committed and not sealed yet", found.last);
            ApiError::new(ErrorCode::NotSealed, problem).with(error_metadata::SEQ, found.last)
        })?;
        let (recorded, _) = self.recorded(call, submitted, Some(&anchor))?;
        let outcome = self.past_outcome(call, past.state, &anchor).await?;
        let moment = found
            .line
            .map(|line| self.proof(found.last, Some(line), Some(&anchor)));
        Ok(GetAsOfResponse {
            recorded: Some(recorded),
            size: found.asked.as_of.0,
            time: Some(convert::timestamp(found.time)),
            outcome: Some(outcome),
            moment: moment.transpose()?,
            checkpoint: Some(self.checkpoint_proof(&anchor, asked.known)?),
        })
    }

    /// Directly after the last of so many entries, at its time.
    fn after_entry(&self, call: &Call, size: TreeSize) -> Result<Found, ApiError> {
        let present = self.applying.borrow().size;
        let last = size.last().filter(|last| present.covers(*last));
        let last = last.ok_or_else(|| ApiError::field("size", format!("want 1 to {present}")))?;
        let line = self
            .readable(call, last)
            .map_err(|error| match error.code {
                ErrorCode::EntryNotFound => {
                    let problem =
                        format!("entry {last} is none of yours: name a time, or one that is");
                    ApiError::at(ErrorCode::EntryNotFound, "size", problem)
                }
                _ => error,
            })?;
        let time = parsed(&line)?.time;
        Ok(Found {
            asked: ReadAsOf {
                as_of: size,
                time: None,
            },
            time,
            last,
            line: Some(line),
        })
    }

    /// After the last entry that is not later than a time. The newest entry's time and what is after
    /// it are not past: another entry could still get such a time.
    fn at_time(&self, time: Micros) -> Result<Found, ApiError> {
        let (present, newest) = {
            let now = self.applying.borrow();
            (now.size, now.time)
        };
        if time >= newest {
            let problem = format!("want a time before {newest}, that of the newest entry");
            return Err(ApiError::field("time", problem));
        }
        // The first entry that is later: times never go back.
        let (mut from, mut until) = (0, present.0);
        while from < until {
            let middle = from.midpoint(until);
            if self.entry(Seq(middle))?.time <= time {
                from = middle + 1;
            } else {
                until = middle;
            }
        }
        let Some(last) = TreeSize(from).last() else {
            let first = self.entry(Seq(0))?.time;
            let problem = format!("the ledger begins at {first}");
            return Err(ApiError::field("time", problem));
        };
        Ok(Found {
            asked: ReadAsOf {
                as_of: TreeSize(from),
                time: Some(time),
            },
            time,
            last,
            line: None,
        })
    }

    /// Cost: the events of the fingerprint are read from the newest back, and those before the moment
    /// once more forward; only their numbers are held.
    async fn past(
        &self,
        call: &Call,
        fingerprint: Fingerprint,
        found: &Found,
    ) -> Result<Past, ApiError> {
        let (tenant, size) = (call.principal.tenant.as_str(), found.asked.as_of);
        let subject = Subject::Fingerprint(fingerprint);
        let newest = fold::lifecycle(&*self.state.read(), tenant, &subject)?;
        let (mut next, mut before, mut read) = (newest.map(|newest| newest.last), Vec::new(), 0);
        while let Some(seq) = next {
            if size.covers(seq) {
                before.push(seq);
            }
            next = self.entry(seq)?.subject_prev;
            self.turn(call, &mut read).await?;
        }
        let mut teller = PastTeller::new(size, found.time);
        for seq in before.into_iter().rev() {
            teller.event(&self.entry(seq)?).map_err(untold)?;
            self.turn(call, &mut read).await?;
        }
        let gave_way = match teller.model() {
            None => None,
            Some(model) => records::model_gave_way(&*self.state.read(), tenant, model)?,
        };
        let gave_way = gave_way.filter(|seq| size.covers(*seq));
        let gave_way = gave_way.map(|seq| self.entry(seq)).transpose()?;
        teller.end(gave_way.as_ref()).map_err(untold)
    }

    /// Lets others on, and ends when nobody waits for the answer any more.
    async fn turn(&self, call: &Call, read: &mut usize) -> Result<(), ApiError> {
        *read += 1;
        if !read.is_multiple_of(TURN) {
            return Ok(());
        }
        if self.env.monotonic() >= call.deadline {
            let problem = format!("the deadline passed over {read} events; give it more time");
            return Err(ApiError::new(ErrorCode::DeadlinePassed, problem));
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Beside that of a get the one place where a value leaves a node (INV-6, INV-9): the question has
    /// its entry, the value's result was ACTIVE at the size that the entry names, and its write is
    /// under the reply's checkpoint.
    async fn past_outcome(
        &self,
        call: &Call,
        state: Effective,
        anchor: &Anchor,
    ) -> Result<Outcome, ApiError> {
        let held = match (state.miss(), state) {
            (None, Effective::Active(held)) => held,
            (Some(reason), _) => return Ok(Outcome::Miss(wire_miss(reason))),
            (None, _) => {
                let problem = "a state of the past that is no state of a lookup";
                return Err(ApiError::new(ErrorCode::Internal, problem));
            }
        };
        Ok(Outcome::Active(PastResult {
            value: self.kept_value(call, &held.output_hash).await,
            media_type: held.media_type,
            write_seq: held.write_seq.0,
            version: held.version,
            output_hash: TaggedDigest::sha3(held.output_hash).to_string(),
            write: Some(self.proof(held.write_seq, None, Some(anchor))?),
        }))
    }

    /// A value from here, else from the first member that has it: of results that are not ACTIVE any
    /// more a node that caught up by files has none.
    async fn kept_value(&self, call: &Call, output_hash: &[u8; 32]) -> Option<Bytes> {
        let tenant = &call.principal.tenant;
        let good = |value: &Bytes| sha3_256(value) == *output_hash;
        if let Ok(Some(value)) = self.reader.value(tenant, output_hash) {
            return Some(Bytes::from(value)).filter(good);
        }
        let status = self.cluster.consensus.status();
        let others = status.peers.keys().copied();
        let name = [(tenant.clone(), *output_hash)];
        for node in others.filter(|node| *node != status.node) {
            let left = call
                .deadline
                .saturating_duration_since(self.env.monotonic());
            let from = Source {
                node,
                address: None,
            };
            // Half of what is left: one that stalls must not cost the answer.
            let found = self.peers.values(from, &name, ASK_MAX.min(left / 2)).await;
            let value = found
                .ok()
                .and_then(|found| found.into_iter().flatten().next());
            if let Some(value) = value.filter(good) {
                return Some(value);
            }
        }
        None
    }

    fn entry(&self, seq: Seq) -> Result<Entry, ApiError> {
        parsed(&self.reader.entry(seq)?)
    }
}

fn parsed(line: &[u8]) -> Result<Entry, ApiError> {
    Entry::parse(line)
        .map_err(|problem| ApiError::new(ErrorCode::StorageDamaged, problem.to_string()))
}

/// Entries that were applied here tell a past, or this program has a fault.
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn untold(problem: HistoryError) -> ApiError {
    tracing::error!(%problem, "the past cannot be told from applied entries");
    ApiError::new(ErrorCode::Internal, problem.to_string())
}
