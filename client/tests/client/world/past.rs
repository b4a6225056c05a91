//! Questions about the past.

use candor_ledger::entry::{Body, Entry, ReadAsOf, Subject};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::fold::{self, Effective, Operation, Outcome, Request};
use candor_ledger::ids::{RequestId, Seq, TreeSize};
use candor_ledger::time::Micros;
use candor_proto::cache_v1::get_as_of_request::AsOf;
use candor_proto::cache_v1::{self as cache, get_as_of_response};
use candor_proto::{timestamp, unix_us};
use tonic::Status;

use super::service::{miss_of, tagged};
use super::{ACTOR, TENANT, World};

impl World {
    /// Told by a plain look through all entries.
    pub(super) fn get_as_of(
        &mut self,
        asked: &cache::GetAsOfRequest,
    ) -> Result<cache::GetAsOfResponse, Status> {
        let fingerprint = Fingerprint::parse(&asked.fingerprint).unwrap();
        let entries: Vec<_> = (0..self.size()).map(|seq| self.entry(seq)).collect();
        let (size, named) = match asked.as_of.unwrap() {
            AsOf::Size(size) => (size, None),
            AsOf::Time(time) => {
                let time = Micros(unix_us(&time).unwrap());
                let not_later = entries.iter().filter(|entry| entry.time <= time);
                (u64::try_from(not_later.count()).unwrap(), Some(time))
            }
        };
        let moment = ReadAsOf {
            as_of: TreeSize(size),
            time: named,
        };
        let request = Request {
            tenant: TENANT.to_owned(),
            actor: ACTOR.to_owned(),
            request_id: RequestId::parse(&asked.request_id).unwrap(),
            operation: Operation::ReadAsOf(fold::ReadAsOf {
                fingerprint,
                moment,
            }),
        };
        self.enter("get_as_of", Some(&request))?;
        let read = match self.request(request) {
            Outcome::PastRead(read) => read,
            other => return Err(self.not_admitted(&other)),
        };
        let under = self.seal();
        let before = &entries[..usize::try_from(size).unwrap()];
        let time = named.unwrap_or(before.last().unwrap().time);
        let subject = Subject::Fingerprint(fingerprint);
        let state = state_of(before, time, &subject);
        let outcome = match (state.miss(), state) {
            (Some(reason), _) => get_as_of_response::Outcome::Miss(miss_of(&reason)),
            (None, Effective::Active(held)) => {
                let value = self.values.get(&held.output_hash);
                get_as_of_response::Outcome::Active(cache::PastResult {
                    value: value.map(|value| value.clone().into()),
                    media_type: held.media_type,
                    write_seq: held.write_seq.0,
                    version: held.version,
                    output_hash: tagged(&held.output_hash),
                    write: Some(self.proof(held.write_seq.0, under)),
                })
            }
            (None, other) => panic!("{other:?}"),
        };
        let mut reply = cache::GetAsOfResponse {
            recorded: Some(self.recorded(read.seq.0, under, &subject, false)),
            size,
            time: Some(timestamp(time.0)),
            outcome: Some(outcome),
            moment: named.is_none().then(|| self.proof(size - 1, under)),
            checkpoint: Some(self.checkpoint(under, asked.known_size)),
        };
        if let Some(mut lie) = self.lie_past.take() {
            lie(self, &mut reply);
            self.lie_past = Some(lie);
        }
        Ok(reply)
    }
}

fn state_of(before: &[Entry], time: Micros, subject: &Subject) -> Effective {
    let own = |entry: &&Entry| entry.tenant == TENANT && entry.subject == *subject;
    let events: Vec<_> = before.iter().filter(own).cloned().collect();
    let model = events.iter().find_map(|entry| match &entry.body {
        Body::Write(write) => fold::model_of(&write.fields),
        _ => None,
    });
    let gave_way = before.iter().find(|entry| match &entry.body {
        Body::ModelSupersede(body) => Some(&body.from) == model.as_ref(),
        _ => false,
    });
    let size = Seq(before.last().unwrap().seq.0).size_including().unwrap();
    fold::past(size, time, &events, gave_way).unwrap().state
}
