//! From what the SDK returns to what a history says.

use candor_client::{Attested, Error, Lookup, Missed, Recorded, Revoked, Verified};
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{MissReason, Subject};

use super::{Answer, Class, F, Found, Miss, Tries, Trouble, What, class_of};

/// The end of one operation, as an event has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion(pub What);

impl Completion {
    /// Of a lookup by a tenant's client.
    pub fn of_get(tenant: &str, result: Result<Lookup, Error>) -> Self {
        Self::of(F::Get, tenant, result, |found| match found {
            Lookup::Hit(hit) => hit_answer(&hit),
            Lookup::Miss(missed) => miss_answer(tenant, &missed),
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

    /// Of a revocation, or of one taken back.
    pub fn of_revocation(f: F, tenant: &str, result: Result<Revoked, Error>) -> Self {
        Self::of(f, tenant, result, |revoked| {
            let version = revoked.version;
            let found = match f {
                F::Reinstate => Found::Reinstated { version },
                _ => Found::Revoked { version },
            };
            own_answer(&revoked.recorded, found)
        })
    }

    /// Of a supersession, an attestation or a receipt.
    pub fn of_recorded(f: F, tenant: &str, result: Result<Recorded, Error>) -> Self {
        Self::of(f, tenant, result, |recorded| {
            let found = match f {
                F::Attest => Found::Attested,
                F::Receipt => Found::Proved,
                _ => Found::Superseded,
            };
            own_answer(&recorded, found)
        })
    }

    fn of<T>(
        f: F,
        tenant: &str,
        result: Result<T, Error>,
        answer: impl FnOnce(T) -> Answer,
    ) -> Self {
        Self(match result {
            Ok(found) => What::Answered {
                f,
                answer: answer(found),
            },
            Err(error) => of_error(f, tenant, &error),
        })
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
            let held = hex_part(held);
            let answer = bare_answer(seq.0, Found::Conflict { held });
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
                successor: successor.as_deref().map(|other| key_of_text(tenant, other)),
            };
            let answer = bare_answer(seq.0, found);
            What::Answered { f, answer }
        }
        (Class::Ok | Class::Info, _) => What::Unknown(trouble),
    }
}

fn hit_answer(hit: &Verified) -> Answer {
    let about = hit.about();
    Answer {
        request: Some(about.request_id.to_string()),
        size: Some(about.as_of.size.0),
        ..bare_answer(
            about.read_seq.0,
            Found::Hit {
                output: hex::encode(sha3_256(hit.value())),
                version: about.version,
                write_seq: about.write_seq.0,
            },
        )
    }
}

fn miss_answer(tenant: &str, missed: &Missed) -> Answer {
    let miss = match &missed.reason {
        MissReason::Absent => Miss::Absent,
        MissReason::Erased => Miss::Erased,
        MissReason::Expired => Miss::Expired,
        MissReason::Revoked => Miss::Revoked,
        MissReason::Superseded(successor) => Miss::Superseded(key_of(tenant, successor)),
    };
    Answer {
        time_us: Some(missed.entry.time.0),
        request: missed.entry.request_id.map(|id| id.to_string()),
        ..bare_answer(missed.seq.0, Found::Missed(miss))
    }
}

fn own_answer(recorded: &Recorded, found: Found) -> Answer {
    let sealed = recorded.sealed.as_ref();
    Answer {
        time_us: Some(recorded.entry.time.0),
        request: recorded.entry.request_id.map(|id| id.to_string()),
        replayed: recorded.replayed,
        size: sealed.map(|sealed| sealed.checkpoint.checkpoint().size.0),
        ..bare_answer(recorded.seq().0, found)
    }
}

fn bare_answer(seq: u64, found: Found) -> Answer {
    Answer {
        seq,
        time_us: None,
        request: None,
        replayed: false,
        size: None,
        found,
    }
}

/// `<tenant>/<hex>` for a fingerprint; the subject's own text for anything else.
fn key_of(tenant: &str, subject: &Subject) -> String {
    key_of_text(tenant, &subject.to_string())
}

fn key_of_text(tenant: &str, subject: &str) -> String {
    match subject.strip_prefix("fingerprint:") {
        Some(digest) => format!("{tenant}/{}", hex_part(digest)),
        None => subject.to_owned(),
    }
}

fn hex_part(digest: &str) -> String {
    let bare = digest.strip_prefix("sha3-256:");
    bare.unwrap_or(digest).to_owned()
}
