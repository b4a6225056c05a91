//! Commands and their entries as an independent program makes them, byte for byte.

use candor_ledger::canonical;
use candor_ledger::digest::ChainHash;
use candor_ledger::entry::{Body, Entry, SemanticMatch, Subject, SupersedeBy, Told};
use candor_ledger::fingerprint::Fingerprint;
use candor_ledger::fold::{
    self, Admin, Answer, Attest, Change, Get, Item, MemoryState, ModelSupersede, Operation,
    Outcome, RULES_V1, ReadAsOf, Request, Revoke, Set, Stamp, Supersede,
};
use candor_ledger::ids::RequestId;
use candor_ledger::time::Micros;
use serde_json::{Value, json};

use crate::support::replay;

#[test]
fn commands_make_the_entries_of_the_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../vectors/fold.json")).unwrap();
    let stories = vectors["stories"].as_array().unwrap();
    assert_eq!(stories.len(), 5);
    let mut replayed = 0;
    for story in stories {
        let mut state = MemoryState::new();
        let mut lines = Vec::new();
        for (at, command) in story["commands"].as_array().unwrap().iter().enumerate() {
            let place = format!("story {}, command {at}", story["name"]);
            let items: Vec<_> = list(&command["items"]).iter().map(item).collect();
            let closes = command["closes"].as_bool().unwrap();
            let decision = fold::decide(&state, &stamp(command), &items, closes).unwrap();
            state.apply(&decision.changes);
            let expected = &command["expected"];
            for (at, line) in expected["entries"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
            {
                let found = decision.entries.get(at).map(|(_, line)| line.as_slice());
                let found = found.map(String::from_utf8_lossy);
                assert_eq!(found.as_deref(), line.as_str(), "{place}");
            }
            let outcomes: Vec<_> = decision.outcomes.iter().map(shown).collect();
            assert_eq!(json!(outcomes), expected["outcomes"], "{place}");
            replayed += outcomes
                .iter()
                .filter(|o| o.starts_with("replayed"))
                .count();
            assert_eq!(json!(decision.size.0), expected["size"], "{place}");
            let head = ChainHash::parse(expected["head"].as_str().unwrap()).unwrap();
            assert_eq!(decision.head, head, "{place}");
            lines.extend(decision.entries.into_iter().map(|(_, line)| line));
        }
        assert_eq!(replay(&lines).unwrap(), state);
    }
    assert!(replayed > 10, "the stories repeat requests");
}

fn stamp(command: &Value) -> Stamp {
    Stamp {
        time: Micros(command["time"].as_u64().unwrap()),
        seed: hex::decode(text(&command["seed"]))
            .unwrap()
            .try_into()
            .unwrap(),
        rules: RULES_V1,
    }
}

/// The outcome in the words of the vectors.
fn shown(outcome: &Outcome) -> String {
    let answer = match outcome {
        Outcome::AlreadyInitialised => return "already_initialised".to_owned(),
        Outcome::ChangeRefused(_) => return "change_refused".to_owned(),
        Outcome::Done { .. } => return "done".to_owned(),
        Outcome::Hit(_) => return "hit".to_owned(),
        Outcome::Malformed(_) => return "malformed".to_owned(),
        Outcome::Miss(miss) => return format!("miss {}", miss.reason.as_str()),
        Outcome::PastRead(_) => return "past_read".to_owned(),
        Outcome::RequestIdAhead { .. } => return "request_id_ahead".to_owned(),
        Outcome::RequestIdReused { .. } => return "request_id_reused".to_owned(),
        Outcome::RequestIdStale { .. } => return "request_id_stale".to_owned(),
        Outcome::Ticked(_) => return "ticked".to_owned(),
        Outcome::Answered(answered) => answered,
        other => panic!("{other:?}"),
    };
    let replayed = if answer.replayed { "replayed " } else { "" };
    let word = match &answer.answer {
        Answer::Attested => "cache.verify",
        Answer::Conflict { .. } => "cache.write_conflict",
        Answer::ModelSuperseded => "model.supersede",
        Answer::Refused { refusal, .. } => return format!("{replayed}refused {refusal}"),
        Answer::Reinstated { .. } => "cache.reinstate",
        Answer::Revoked { .. } => "cache.revoke",
        Answer::Superseded { .. } => "cache.supersede",
        Answer::Written { .. } => "cache.write",
    };
    format!("{replayed}{word}")
}

fn item(item: &Value) -> Item {
    if !item["tick"].is_null() {
        return Item::Tick;
    }
    if let Body::Genesis(genesis) = body("ledger.genesis", "ledger", &item["genesis"]) {
        return Item::Genesis(genesis);
    }
    if !item["admin"].is_null() {
        return admin(&item["admin"]);
    }
    let asked = &item["client"];
    Item::Client(Request {
        tenant: text(&asked["tenant"]).to_owned(),
        actor: text(&asked["actor"]).to_owned(),
        request_id: RequestId::parse(text(&asked["request_id"])).unwrap(),
        operation: operation(asked),
    })
}

fn admin(asked: &Value) -> Item {
    let change = match body(text(&asked["op"]), "ledger", &asked["body"]) {
        Body::Keys(change) => Change::Keys(*change),
        Body::Member(change) => Change::Member(change),
        Body::Params(change) => Change::Params(*change),
        other => panic!("{other:?}"),
    };
    Item::Admin(Box::new(Admin {
        actor: text(&asked["actor"]).to_owned(),
        request_id: Some(RequestId::parse(text(&asked["request_id"])).unwrap()),
        change,
    }))
}

fn operation(asked: &Value) -> Operation {
    let (op, about) = (text(&asked["op"]), text(&asked["subject"]));
    if op == "get" {
        return Operation::Get(Get {
            fingerprint: Fingerprint::parse(about).unwrap(),
            semantic: semantic(&asked["args"]),
        });
    }
    if op == "cache.read_as_of" {
        let Body::ReadAsOf(moment) = body(op, about, &asked["args"]) else {
            panic!("a question about the past")
        };
        let fingerprint = Fingerprint::parse(about).unwrap();
        return Operation::ReadAsOf(ReadAsOf {
            fingerprint,
            moment,
        });
    }
    let mut args = asked["args"].clone();
    args["request"] = json!(format!("sha3-256:{}", "00".repeat(32)));
    if !matches!(op, "model.supersede" | "cache.verify") {
        args["version"] = json!(0);
    }
    let fingerprint = || Fingerprint::parse(about).unwrap();
    match body(op, about, &args) {
        Body::ModelSupersede(body) => Operation::ModelSupersede(Box::new(ModelSupersede {
            from: body.from,
            to: body.to,
            reason: body.reason,
        })),
        Body::Reinstate(body) => Operation::Reinstate(Revoke {
            fingerprint: fingerprint(),
            output_hash: body.output_hash,
            reason: body.reason,
        }),
        Body::Revoke(body) => Operation::Revoke(Revoke {
            fingerprint: fingerprint(),
            output_hash: body.output_hash,
            reason: body.reason,
        }),
        Body::Supersede(body) => match body.by {
            SupersedeBy::Client {
                successor, reason, ..
            } => Operation::Supersede(Supersede {
                fingerprint: fingerprint(),
                successor,
                reason,
            }),
            other @ SupersedeBy::Model { .. } => panic!("{other:?}"),
        },
        Body::Verify(body) => Operation::Attest(Box::new(Attest {
            subject: Subject::parse(about).unwrap(),
            result: body.result,
            size: body.size,
            root: body.root,
            auditor: body.auditor,
            signature: body.signature,
        })),
        Body::Write(body) => {
            assert_eq!(body.fields.fingerprint(), fingerprint());
            Operation::Set(Box::new(Set {
                fields: body.fields,
                output_hash: body.output_hash,
                output_len: body.output_len,
                media_type: body.media_type,
                ttl_ms: body.ttl_ms,
                told: Told { ..body.told },
                semantic: body.semantic,
            }))
        }
        other => panic!("{other:?}"),
    }
}

fn semantic(args: &Value) -> Option<SemanticMatch> {
    let mut args = args.clone();
    args.as_object().filter(|args| !args.is_empty())?;
    args["output_hash"] = json!(format!("sha3-256:{}", "00".repeat(32)));
    (args["version"], args["write_seq"]) = (json!(0), json!(0));
    let about = format!("fingerprint:sha3-256:{}", "00".repeat(32));
    match body("cache.read_hit", &about, &args) {
        Body::ReadHit(body) => body.semantic,
        other => panic!("{other:?}"),
    }
}

/// Reads a body by way of an entry around it; a genesis from nothing reads as a seal.
fn body(op: &str, about: &str, body: &Value) -> Body {
    let (op, body) = if body.is_null() {
        let nothing = json!({"keyset": format!("sha3-256:{}", "00".repeat(32)), "prev_seal": null});
        ("ledger.seal", nothing)
    } else {
        (op, body.clone())
    };
    let entry = json!({
        "v": 1,
        "seq": 0,
        "prev": ChainHash::EMPTY.to_string(),
        "time": "1970-01-01T00:00:00.000000Z",
        "op": op,
        "body": body,
        "tenant": "",
        "subject": about,
        "n": 1,
        "subject_prev": null,
        "actor": "log",
        "request_id": null,
        "nonce": "AAAAAAAAAAAAAAAAAAAAAA",
    });
    let canonical = canonical::parse(entry.to_string().as_bytes()).unwrap();
    Entry::parse(&canonical.to_bytes()).unwrap().body
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
