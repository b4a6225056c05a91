#![allow(clippy::unwrap_used, reason = "test")]

use candor_client::{AsOf, ConfigError, Misbehaviour, OpenError, Unproven};
use candor_ledger::entry::{Body, Entry, MissReason};
use candor_ledger::fingerprint::{FieldError, Fingerprint};
use candor_ledger::ids::{RequestId, Seq, TreeSize};
use candor_ledger::time::Micros;

use super::*;
use crate::history::Miss;

const ID: &str = "019e2600-0000-7000-8000-0000000000ff";

/// Lines of a real ledger: the stored run in which nothing is wrong.
const LEDGER: &str = include_str!("../../../corpus/valid/chain-1.jsonl");

fn entry(is_it: impl Fn(&Body) -> bool) -> (Entry, Vec<u8>) {
    let lines = LEDGER.lines().map(str::as_bytes);
    let mut entries = lines.map(|line| (Entry::parse(line).unwrap(), line.to_vec()));
    entries.find(|(entry, _)| is_it(&entry.body)).unwrap()
}

fn recorded(is_it: impl Fn(&Body) -> bool) -> Recorded {
    let (entry, line) = entry(is_it);
    Recorded {
        entry,
        line,
        replayed: true,
        sealed: None,
    }
}

fn id() -> RequestId {
    RequestId::parse(ID).unwrap()
}

/// Every error that an operation can end with, and what a history says of it: for a change, for a lookup.
#[expect(clippy::too_many_lines, reason = "a list")]
fn errors() -> Vec<(Error, &'static str, &'static str)> {
    let (fail, info) = ("fail", "info");
    let text = || "text".to_owned();
    let rejected = |code: &str| Error::Rejected {
        code: code.to_owned(),
        message: text(),
        field: None,
        endpoint: text(),
    };
    let seq = Seq(7);
    let path = std::path::PathBuf::new();
    let empty = ConfigError::Setting {
        setting: "tenant",
        problem: text(),
    };
    let contradiction: Misbehaviour = serde_json::from_value(serde_json::json!({
        "format": "", "origin": "", "explanation": "", "notes": [], "entry": null,
    }))
    .unwrap();
    vec![
        (
            Error::Ambiguous {
                prefix: text(),
                candidates: Vec::new(),
            },
            fail,
            fail,
        ),
        (Error::Config(empty), fail, fail),
        (
            Error::Field(FieldError {
                field: "top_p",
                problem: text(),
            }),
            fail,
            fail,
        ),
        (
            Error::Memory {
                path,
                problem: text(),
            },
            info,
            info,
        ),
        (Error::Misbehaviour(contradiction.into()), info, info),
        (
            Error::NotText {
                seq,
                media_type: text(),
            },
            info,
            info,
        ),
        (
            Error::NotOpened {
                seq,
                problem: OpenError::OtherKey {
                    found: text(),
                    held: text(),
                },
            },
            info,
            info,
        ),
        (
            Error::OutcomeUnknown {
                request_id: id(),
                last: text(),
            },
            info,
            info,
        ),
        (rejected("INVALID_FIELD"), fail, info),
        (rejected("REQUEST_ID_STALE"), fail, info),
        (rejected("BEHIND"), info, info),
        (rejected("NOT_SEALED"), info, info),
        (rejected("STORAGE_DAMAGED"), info, info),
        (rejected("OF_A_NEWER_NODE"), info, info),
        (
            Error::Stale {
                seen: TreeSize(3),
                problem: text(),
            },
            info,
            info,
        ),
        (Error::Unavailable { last: text() }, info, info),
        (
            Error::Unproven {
                endpoint: text(),
                problem: Unproven::Missing("the entry"),
            },
            info,
            info,
        ),
        (Error::Withheld { write_seq: seq }, info, info),
    ]
}

#[test]
fn every_error_is_told_as_what_it_proves_and_as_nothing_more() {
    for (error, of_change, of_lookup) in errors() {
        let is_known = matches!(error, Error::OutcomeUnknown { .. });
        let code = error.code().to_owned();
        let set = Completion::of_set("acme", Err(error.clone()));
        let get = Completion::of_get("acme", Err(error.clone()));
        for (completion, f, class) in [(set, F::Set, of_change), (get, F::Get, of_lookup)] {
            let trouble = Trouble {
                f,
                error: code.clone(),
                request: is_known.then(|| ID.to_owned()),
            };
            let what = match class {
                "fail" => What::Failed(trouble),
                _ => What::Unknown(trouble),
            };
            let receipt = None;
            assert_eq!(completion, Completion { what, receipt }, "{error:?}");
        }
    }
}

#[test]
fn a_refusal_that_is_an_entry_is_an_answer() {
    let conflict = Error::Conflict {
        seq: Seq(5),
        held: "sha3-256:51".to_owned(),
        offered: "sha3-256:52".to_owned(),
    };
    let held = "51".to_owned();
    let answer = Answer::new(5, Found::Conflict { held });
    let what = What::Answered { f: F::Set, answer };
    assert_eq!(Completion::of_set("acme", Err(conflict)).what, what);
    for (successor, key) in [
        (None, None),
        (Some("fingerprint:sha3-256:0a"), Some("acme/0a")),
        (Some("model:m/2"), Some("model:m/2")),
    ] {
        let refused = Error::Refused {
            seq: Seq(6),
            reason: "superseded".to_owned(),
            successor: successor.map(str::to_owned),
        };
        let reason = "superseded".to_owned();
        let successor = key.map(str::to_owned);
        let answer = Answer::new(6, Found::Refused { reason, successor });
        let f = F::Revoke;
        let what = What::Answered { f, answer };
        assert_eq!(Completion::of_revoke("acme", Err(refused)).what, what);
    }
}

/// The answer of a completion that is of this kind of question, and could be.
fn answer(completion: Completion, wanted: F) -> Answer {
    assert_eq!(completion.receipt, None, "nothing here is sealed");
    match completion.what {
        What::Answered { f, answer } if f == wanted && answer.found.is_of(f) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_answer_is_told_with_the_entry_that_it_rests_on() {
    let write = recorded(|body| matches!(body, Body::Write(_)));
    let own = |found| Answer {
        time_us: Some(write.entry.time.0),
        request: write.entry.request_id.map(|id| id.to_string()),
        replayed: true,
        ..Answer::new(write.seq().0, found)
    };
    let attested = Attested {
        fingerprint: Fingerprint::parse(&"9f".repeat(32)).unwrap(),
        version: 3,
        renewed: true,
        expires: Micros(17),
        recorded: write.clone(),
    };
    let (version, renewed, expires_us) = (3, true, 17);
    let written = Found::Written {
        version,
        renewed,
        expires_us,
    };
    let told = answer(Completion::of_set("acme", Ok(attested)), F::Set);
    assert_eq!(told, own(written));
    assert!(told.request.is_some());
    let revoked = || Revoked {
        version,
        output_hash: [7; 32],
        recorded: write.clone(),
    };
    let told = answer(Completion::of_revoke("acme", Ok(revoked())), F::Revoke);
    assert_eq!(told, own(Found::Revoked { version }));
    let told = answer(
        Completion::of_reinstate("acme", Ok(revoked())),
        F::Reinstate,
    );
    assert_eq!(told, own(Found::Reinstated { version }));
    let told = answer(
        Completion::of_supersede("acme", Ok(write.clone())),
        F::Supersede,
    );
    assert_eq!(told, own(Found::Superseded));
    let told = answer(Completion::of_attest("acme", Ok(write.clone())), F::Attest);
    assert_eq!(told, own(Found::Attested));
    let told = answer(
        Completion::of_receipt("acme", Ok(write.clone())),
        F::Receipt,
    );
    let of_another = Answer {
        request: None,
        replayed: false,
        ..own(Found::Proved)
    };
    assert_eq!(told, of_another, "whose proof it is did not ask for it");
}

#[test]
fn what_a_lookup_found_is_told_with_its_own_entry() {
    let about = About {
        fingerprint: Fingerprint::parse(&"9f".repeat(32)).unwrap(),
        version: 2,
        media_type: "text/plain".to_owned(),
        write_seq: Seq(4),
        writer: "service-a".to_owned(),
        written: Micros(1),
        expires: Micros(2),
        read_seq: Seq(9),
        request_id: id(),
        read_sealed: false,
        as_of: AsOf {
            size: TreeSize(6),
            sealed: Micros(3),
        },
        input_tokens: None,
        output_tokens: None,
        latency_ms: None,
    };
    let found = Found::Hit {
        output: hex::encode(sha3_256(b"value")),
        version: 2,
        write_seq: 4,
    };
    let hit = Answer {
        request: Some(ID.to_owned()),
        size: Some(6),
        ..Answer::new(9, found)
    };
    assert_eq!(hit_answer(b"value", &about), hit);

    let (entry, _) = entry(
        |body| matches!(body, Body::ReadMiss(miss) if matches!(miss.reason, MissReason::Superseded(_))),
    );
    let Body::ReadMiss(miss) = &entry.body else {
        panic!("{entry:?}")
    };
    let missed = Missed {
        seq: entry.seq,
        reason: miss.reason.clone(),
        entry: entry.clone(),
    };
    let lookup = Lookup::Miss(Box::new(missed));
    let told = answer(Completion::of_get("acme", Ok(lookup)), F::Get);
    let Found::Missed(Miss::Superseded(by)) = &told.found else {
        panic!("{told:?}")
    };
    assert!(
        by.strip_prefix("acme/").is_some_and(|hex| hex.len() == 64),
        "{by}"
    );
    assert_eq!((told.seq, told.time_us), (entry.seq.0, Some(entry.time.0)));
    assert_eq!(told.request, entry.request_id.map(|id| id.to_string()));
}
