//! From what the SDK returns to what a history says.

use candor_client::{About, Attested, Error, Lookup, Missed, Recorded, Revoked};
use candor_ledger::digest::sha3_256;

use super::{Answer, Class, F, Found, Tries, Trouble, What, class_of, hex_of, key_of};

/// The end of one operation, as a run stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// For the history.
    pub what: What,
    /// For `receipts.jsonl`: the proof that came with the answer. A receipt that was asked for has one, or
    /// the run is not judged.
    pub receipt: Option<String>,
}

impl Completion {
    /// Of a lookup by a tenant's client.
    pub fn of_get(tenant: &str, result: Result<Lookup, Error>) -> Self {
        Self::of(F::Get, tenant, result, |found| match found {
            Lookup::Hit(hit) => (hit_answer(hit.value(), hit.about()), None),
            Lookup::Miss(missed) => (miss_answer(tenant, &missed), None),
        })
    }

    /// Of a set.
    pub fn of_set(tenant: &str, result: Result<Attested, Error>) -> Self {
        Self::of(F::Set, tenant, result, |attested| {
            let found = Found::Written {
                version: attested.version,
                renewed: attested.renewed,
                expires_us: attested.expires.0,
            };
            own_answer(&attested.recorded, found)
        })
    }

    /// Of a revocation.
    pub fn of_revoke(tenant: &str, result: Result<Revoked, Error>) -> Self {
        Self::of(F::Revoke, tenant, result, |revoked| {
            let version = revoked.version;
            own_answer(&revoked.recorded, Found::Revoked { version })
        })
    }

    /// Of a revocation taken back.
    pub fn of_reinstate(tenant: &str, result: Result<Revoked, Error>) -> Self {
        Self::of(F::Reinstate, tenant, result, |revoked| {
            let version = revoked.version;
            own_answer(&revoked.recorded, Found::Reinstated { version })
        })
    }

    /// Of a supersession.
    pub fn of_supersede(tenant: &str, result: Result<Recorded, Error>) -> Self {
        Self::of(F::Supersede, tenant, result, |recorded| {
            own_answer(&recorded, Found::Superseded)
        })
    }

    /// Of an attestation.
    pub fn of_attest(tenant: &str, result: Result<Recorded, Error>) -> Self {
        Self::of(F::Attest, tenant, result, |recorded| {
            own_answer(&recorded, Found::Attested)
        })
    }

    /// Of the proof of an entry. The entry is another request's: neither its id nor that it was repeated
    /// says anything of this one.
    pub fn of_receipt(tenant: &str, result: Result<Recorded, Error>) -> Self {
        Self::of(F::Receipt, tenant, result, |recorded| {
            let (mut answer, receipt) = own_answer(&recorded, Found::Proved);
            (answer.request, answer.replayed) = (None, false);
            (answer, receipt)
        })
    }

    fn of<T>(
        f: F,
        tenant: &str,
        result: Result<T, Error>,
        answer: impl FnOnce(T) -> (Answer, Option<String>),
    ) -> Self {
        match result {
            Ok(found) => {
                let (answer, receipt) = answer(found);
                let what = What::Answered { f, answer };
                Self { what, receipt }
            }
            Err(error) => {
                let (what, receipt) = (of_error(f, tenant, &error), None);
                Self { what, receipt }
            }
        }
    }
}

fn of_error(f: F, tenant: &str, error: &Error) -> What {
    let trouble = Trouble {
        f,
        error: error.code().to_owned(),
        request: match error {
            Error::OutcomeUnknown { request_id, .. } => Some(request_id.to_string()),
            _ => None,
        },
    };
    match (class_of(error, f, Tries::Many), error) {
        (Class::Fail, _) => What::Failed(trouble),
        (Class::Ok, Error::Conflict { seq, held, .. }) => {
            let held = hex_of(held);
            let answer = Answer::new(seq.0, Found::Conflict { held });
            What::Answered { f, answer }
        }
        (
            Class::Ok,
            Error::Refused {
                seq,
                reason,
                successor,
            },
        ) => {
            let found = Found::Refused {
                reason: reason.clone(),
                successor: successor.as_deref().map(|other| key_of(tenant, other)),
            };
            let answer = Answer::new(seq.0, found);
            What::Answered { f, answer }
        }
        (Class::Ok | Class::Info, _) => What::Unknown(trouble),
    }
}

fn hit_answer(value: &[u8], about: &About) -> Answer {
    let found = Found::Hit {
        output: hex::encode(sha3_256(value)),
        version: about.version,
        write_seq: about.write_seq.0,
    };
    Answer {
        request: Some(about.request_id.to_string()),
        size: Some(about.as_of.size.0),
        ..Answer::new(about.read_seq.0, found)
    }
}

fn miss_answer(tenant: &str, missed: &Missed) -> Answer {
    let reason = missed.reason.clone();
    let miss = reason.map(|successor| key_of(tenant, &successor.to_string()));
    Answer {
        time_us: Some(missed.entry.time.0),
        request: missed.entry.request_id.map(|id| id.to_string()),
        ..Answer::new(missed.seq.0, Found::Missed(miss))
    }
}

/// The answer that an entry is, and its proof if it is sealed.
fn own_answer(recorded: &Recorded, found: Found) -> (Answer, Option<String>) {
    let sealed = recorded.sealed.as_ref();
    let receipt = recorded.receipt().map(|receipt| receipt.encode());
    let answer = Answer {
        time_us: Some(recorded.entry.time.0),
        request: recorded.entry.request_id.map(|id| id.to_string()),
        replayed: recorded.replayed,
        size: sealed.map(|sealed| sealed.checkpoint.checkpoint().size.0),
        ..Answer::new(recorded.seq().0, found)
    };
    (
        answer,
        receipt.and_then(|text| String::from_utf8(text).ok()),
    )
}

#[cfg(test)]
mod tests;
