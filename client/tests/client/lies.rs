//! Every lie about a get or a set is refused, and blamed on the endpoint that told it.

use std::time::Duration;

use candor_client::{Client, Error, FingerprintFields, GetOptions, ResultOnlyFields, Unproven};
use candor_ledger::entry::{Body, Entry, Subject};
use candor_ledger::fingerprint::FingerprintFields as LedgerFields;
use candor_ledger::fold::{self, Operation};
use candor_ledger::ids::RequestId;
use candor_ledger::note::Note;
use candor_proto::audit_v1::{Acknowledgement, Proof};
use candor_proto::cache_v1 as wire;
use candor_proto::cache_v1::get_result::Outcome;

use crate::world::{self, Keys, Shared, World, lock};
use crate::{HOUR, fields, is, keys, with_paris};

type Lie = fn(&mut World, &mut wire::GetResponse);

fn hit(reply: &mut wire::GetResponse) -> &mut wire::Hit {
    match reply.result.as_mut().unwrap().outcome.as_mut().unwrap() {
        Outcome::Hit(hit) => hit,
        other => panic!("{other:?}"),
    }
}

fn write(reply: &mut wire::GetResponse) -> &mut Proof {
    hit(reply).write.as_mut().unwrap()
}

fn read(reply: &mut wire::GetResponse) -> &mut Proof {
    reply
        .result
        .as_mut()
        .unwrap()
        .recorded
        .as_mut()
        .unwrap()
        .proof
        .as_mut()
        .unwrap()
}

fn flip(bytes: &mut bytes::Bytes, at: usize) {
    let mut changed = bytes.to_vec();
    changed[at] ^= 1;
    *bytes = changed.into();
}

/// Shows another entry of the ledger as the write.
fn show_write(world: &World, reply: &mut wire::GetResponse, seq: u64) {
    let size = reply.checkpoint.as_ref().unwrap().size;
    hit(reply).write_seq = seq;
    *write(reply) = world.proof(seq, size);
    change_read(reply, |entry| {
        if let Body::ReadHit(read) = &mut entry.body {
            read.write_seq.0 = seq;
        }
    });
}

/// An unsealed entry is the node's word: it may say anything.
fn change_read(reply: &mut wire::GetResponse, change: impl FnOnce(&mut Entry)) {
    let mut entry = Entry::parse(&read(reply).entry).unwrap();
    change(&mut entry);
    read(reply).entry = entry.encode().into();
}

/// Lets the node show this checkpoint instead, with paths to match.
fn show_note(world: &World, reply: &mut wire::GetResponse, note: String) {
    let checkpoint = reply.checkpoint.as_mut().unwrap();
    checkpoint.note = note.into();
    let size = checkpoint.size;
    *write(reply) = world.proof(hit(reply).write_seq, size);
}

const LIES: &[(&str, Lie)] = &[
    ("other bytes", |_, r| hit(r).value = "Lyon".into()),
    ("no bytes", |_, r| hit(r).value = "".into()),
    ("another hash beside them", |_, r| {
        hit(r).output_hash = format!("sha3-256:{:064}", 0)
    }),
    ("another media type", |_, r| {
        hit(r).media_type = "text/html".to_owned()
    }),
    ("another version", |_, r| hit(r).version = 2),
    ("a changed write", |_, r| flip(&mut write(r).entry, 20)),
    ("a write elsewhere", |_, r| write(r).index -= 1),
    ("a write beyond the checkpoint", |_, r| {
        write(r).index = 1 << 40
    }),
    ("a changed path", |_, r| flip(&mut write(r).path[0], 31)),
    ("a short path", |_, r| drop(write(r).path.pop())),
    ("a long path", |_, r| write(r).path.push(vec![0; 32].into())),
    ("a hash of 31 bytes", |_, r| {
        write(r).path[0] = vec![0; 31].into()
    }),
    ("a proof of another size", |_, r| write(r).size -= 1),
    ("no write", |_, r| hit(r).write = None),
    ("a write that claims no proof", |_, r| write(r).size = 0),
    ("another prompt's write", |world, r| {
        let other = world.entry_of("Capital of Italy?");
        show_write(world, r, other);
        hit(r).value = "Rome".into();
        hit(r).output_hash = tagged_output(world, other);
    }),
    ("another tenant's write", |world, r| {
        let other = world.other_tenants_write();
        show_write(world, r, other);
    }),
    ("an entry that is no write", |world, r| {
        show_write(world, r, 0)
    }),
    ("a read without its request", |_, r| {
        change_read(r, |entry| {
            let other = "0196cdd0-0000-7000-8000-000000000000";
            entry.request_id = Some(RequestId::parse(other).unwrap());
        });
    }),
    ("another tenant's read", |_, r| {
        change_read(r, |entry| entry.tenant = "other".to_owned())
    }),
    ("a read of another subject", |_, r| {
        change_read(r, |entry| entry.subject = Subject::Decision("x".to_owned()));
    }),
    ("a read of other bytes", |_, r| {
        change_read(r, |entry| {
            if let Body::ReadHit(read) = &mut entry.body {
                read.output_hash = [9; 32];
            }
        });
    }),
    ("a read of another version", |_, r| {
        change_read(r, |entry| {
            if let Body::ReadHit(read) = &mut entry.body {
                read.version = 2;
            }
        });
    }),
    ("another place of the write beside it", |_, r| {
        hit(r).write_seq += 1;
    }),
    ("a read of another write", |_, r| {
        change_read(r, |entry| {
            if let Body::ReadHit(read) = &mut entry.body {
                read.write_seq.0 += 1;
            }
        });
    }),
    ("a read for a prompt that was never asked", |_, r| {
        change_read(r, |entry| {
            if let Body::ReadHit(read) = &mut entry.body {
                read.semantic = Some(candor_ledger::entry::SemanticMatch {
                    original_prompt_hash: candor_ledger::digest::TaggedDigest::sha3([5; 32]),
                    similarity: candor_ledger::decimal::Decimal::parse("0.9").unwrap(),
                });
            }
        });
    }),
    ("a read before the write", |world, r| {
        let seq = write(r).index - 1;
        change_read(r, |entry| entry.seq.0 = seq);
        read(r).index = seq;
        r.result.as_mut().unwrap().recorded.as_mut().unwrap().seq = seq;
        assert!(seq < world.size());
    }),
    ("a read that is a miss", |_, r| {
        change_read(r, |entry| {
            entry.body = Body::ReadMiss(candor_ledger::entry::ReadMiss {
                reason: candor_ledger::entry::MissReason::Absent,
            });
        });
    }),
    ("a read elsewhere", |_, r| read(r).index += 1),
    ("another seq", |_, r| {
        r.result.as_mut().unwrap().recorded.as_mut().unwrap().seq += 1
    }),
    ("a read said to be sealed", |_, r| {
        let recorded = r.result.as_mut().unwrap().recorded.as_mut().unwrap();
        recorded.acknowledgement = Acknowledgement::Sealed.into();
    }),
    ("a read with a false proof", |world, r| {
        let size = r.checkpoint.as_ref().unwrap().size;
        let path = world.proof(write(r).index, size).path;
        let read = read(r);
        (read.size, read.path) = (size, path);
    }),
    ("no read", |_, r| r.result.as_mut().unwrap().recorded = None),
    ("no outcome", |_, r| {
        r.result.as_mut().unwrap().outcome = None
    }),
    ("no result", |_, r| r.result = None),
    ("no checkpoint", |_, r| r.checkpoint = None),
    ("a checkpoint without its note", |_, r| {
        r.checkpoint.as_mut().unwrap().note.clear()
    }),
    ("a note of another size", |_, r| {
        r.checkpoint.as_mut().unwrap().size -= 1
    }),
    ("two log signatures", |world, r| {
        let mut note =
            Note::parse(world.notes[&r.checkpoint.as_ref().unwrap().size].as_bytes()).unwrap();
        note.signatures.remove(1);
        show_note(world, r, note.encode());
    }),
    ("one node's cosignature", |world, r| {
        let note =
            Note::parse(world.notes[&r.checkpoint.as_ref().unwrap().size].as_bytes()).unwrap();
        show_note(world, r, world.keys.sign(&note.text, 1));
    }),
    ("keys of its own", |world, r| {
        let note =
            Note::parse(world.notes[&r.checkpoint.as_ref().unwrap().size].as_bytes()).unwrap();
        let own = Keys::new("own");
        let keyset = |keys: &Keys| candor_ledger::checkpoint::Checkpoint {
            keyset: keys.log.key_set().id(),
            ..candor_ledger::checkpoint::Checkpoint::parse(&note.text).unwrap()
        };
        let signed = own.sign(&keyset(&own).text(), 3);
        show_note(world, r, signed);
    }),
    ("a changed signature", |_, r| {
        let note = &mut r.checkpoint.as_mut().unwrap().note;
        let changed = String::from_utf8(note.to_vec()).unwrap();
        let at = changed.rfind(' ').unwrap() + 40;
        let mut changed = changed.into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        *note = changed.into();
    }),
    ("a changed root", |_, r| {
        let note = &mut r.checkpoint.as_mut().unwrap().note;
        let text = String::from_utf8(note.to_vec()).unwrap();
        let root = text.lines().nth(2).unwrap().to_owned();
        let other = format!("{}=", "A".repeat(43));
        *note = text.replace(&root, &other).into();
    }),
];

fn tagged_output(world: &World, seq: u64) -> String {
    let Body::Write(write) = world.entry(seq).body else {
        panic!("no write")
    };
    candor_ledger::digest::TaggedDigest::sha3(write.output_hash).to_string()
}

impl World {
    /// The write under a prompt of this tenant.
    fn entry_of(&self, prompt: &str) -> u64 {
        let wanted = candor_client::Fields::to_fingerprint_fields(&fields(prompt)).unwrap();
        let is_it = |seq: &u64| match self.entry(*seq).body {
            Body::Write(write) => write.fields == wanted,
            _ => false,
        };
        (0..self.size()).find(is_it).unwrap()
    }

    fn other_tenants_write(&self) -> u64 {
        (0..self.size())
            .find(|seq| self.entry(*seq).tenant == "other")
            .unwrap()
    }

    /// Another tenant sets the same output under the same conditions.
    fn set_for_other_tenant(&mut self, of: FingerprintFields) {
        let wanted = candor_client::Fields::to_fingerprint_fields(&of).unwrap();
        let millis = self.now.as_millis();
        let id = format!(
            "{:08x}-{:04x}-7000-8000-000000000001",
            millis >> 16,
            millis & 0xffff
        );
        let set = set_of(wanted, b"Paris");
        self.ask("other", RequestId::parse(&id).unwrap(), set);
    }
}

fn set_of(fields: LedgerFields, output: &[u8]) -> Operation {
    Operation::Set(Box::new(fold::Set {
        fields,
        output_hash: candor_ledger::digest::sha3_256(output),
        output_len: u64::try_from(output.len()).unwrap(),
        media_type: "text/plain; charset=utf-8".to_owned(),
        ttl_ms: 3_600_000,
        told: candor_ledger::entry::Told::default(),
        semantic: None,
    }))
}

/// A fresh client, so that the checkpoint's note has to be shown.
async fn fresh_client(world: &Shared) -> Client {
    world::client(&[world], &[world::serve(world).await])
}

#[tokio::test]
async fn no_lie_about_a_hit_is_believed() {
    let (world, client) = with_paris().await;
    client
        .set_attested(&fields("Capital of Italy?"), "Rome", HOUR)
        .await
        .unwrap();
    lock(&world).set_for_other_tenant(fields("Capital of France?"));
    lock(&world).seal();
    let asked = fields("Capital of France?");
    for (what, lie) in LIES {
        let client = fresh_client(&world).await;
        lock(&world).lie_get = Some(Box::new(lie));
        let error = client.get_verified::<String>(&asked).await.expect_err(what);
        assert_eq!(error.code(), "UNPROVEN", "{what}: {error}");
        lock(&world).lie_get = None;
        // The endpoint is left, not the log.
        let honest: Option<String> = client.get_verified(&asked).await.unwrap();
        assert_eq!(honest.as_deref(), Some("Paris"), "{what}");
    }
}

#[tokio::test]
async fn a_liar_is_left_for_an_honest_node() {
    let (world, _) = with_paris().await;
    let liar = lock(&world).fork().shared();
    lock(&liar).lie_get = Some(Box::new(|_, reply| hit(reply).value = "Lyon".into()));
    let endpoints = [world::serve(&liar).await, world::serve(&world).await];
    let client = world::client(&[&world], &endpoints);
    let asked = fields("Capital of France?");
    for _ in 0..3 {
        let value: Option<String> = client.get_verified(&asked).await.unwrap();
        assert_eq!(value.as_deref(), Some("Paris"));
    }
    assert_eq!(lock(&liar).requests.len(), 1);
    // All tries of the first request had one id.
    assert_eq!(
        lock(&liar).requests[0].1,
        lock(&world).requests.iter().rev().nth(2).unwrap().1
    );
}

#[tokio::test]
async fn a_checkpoint_is_as_young_as_asked_by_this_machines_clock() {
    let (world, client) = with_paris().await;
    let asked = fields("Capital of France?");
    let endpoints = [world::serve(&world).await];
    let hasty = world::builder(&[&world], &endpoints)
        .retries_max(2)
        .build()
        .unwrap();
    let options = GetOptions {
        max_age: Some(Duration::from_secs(1)),
        ..GetOptions::default()
    };
    // The node keeps showing what it has: within the tolerance of clocks first, beyond it then.
    let size = lock(&world).sealed_size();
    let stick = move |world: &mut World, reply: &mut wire::GetResponse| {
        reply.checkpoint = Some(world.checkpoint(size, 0));
        *write(reply) = world.proof(hit(reply).write_seq, size);
        *read(reply) = world.proof(read(reply).index, 0);
        let recorded = reply.result.as_mut().unwrap().recorded.as_mut().unwrap();
        recorded.acknowledgement = Acknowledgement::Committed.into();
    };
    lock(&world).lie_get = Some(Box::new(stick));
    lock(&world).advance(Duration::from_secs(6));
    client.get(&asked, options).await.unwrap();
    lock(&world).advance(Duration::from_micros(1));
    is(hasty.get(&asked, options).await, "STALE");
    // Dated ahead, it would look young for long.
    lock(&world).now.0 -= 11_000_002;
    let problem = is(client.get(&asked, options).await, "UNPROVEN");
    assert!(
        problem.to_string().contains("the time of the seal"),
        "{problem}"
    );
}

#[tokio::test]
async fn what_has_expired_is_not_taken_from_a_node_that_holds_on_to_it() {
    let (world, client) = with_paris().await;
    let asked = fields("Capital of France?");
    // The node decides by a clock that stands still; the client's goes on.
    let frozen = lock(&world).fork().shared();
    let endpoint = world::serve(&frozen).await;
    let client_of_frozen = world::client(&[&world], std::slice::from_ref(&endpoint));
    let options = GetOptions {
        max_age: Some(Duration::from_secs(86_400)),
        ..GetOptions::default()
    };
    lock(&world).advance(HOUR + Duration::from_secs(4));
    client_of_frozen.get(&asked, options).await.unwrap();
    lock(&world).advance(Duration::from_secs(1));
    let problem = is(client_of_frozen.get(&asked, options).await, "UNPROVEN");
    assert!(problem.to_string().contains("the deadline"), "{problem}");
    let none: Option<String> = client.get_verified(&asked).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn a_result_that_does_not_name_its_input_answers_no_question() {
    let (world, client) = with_paris().await;
    let asked = ResultOnlyFields {
        model_version: "fraud-7".to_owned(),
        computation_type: "fraud-score".to_owned(),
        parameters: candor_client::Parameters::new(),
        hardware_class: "cpu".to_owned(),
    };
    let set = client.set_attested(&asked, "0.2", HOUR).await.unwrap();
    let seq = set.recorded.seq().0;
    lock(&world).lie_get = Some(Box::new(move |world, reply| {
        let size = world.sealed_size();
        let Body::Write(held) = world.entry(seq).body else {
            panic!("no write")
        };
        let mut entry = Entry::parse(&read(reply).entry).unwrap();
        let of_write = world.entry(seq);
        (entry.tenant, entry.subject) = (of_write.tenant, of_write.subject);
        entry.request_id = world.requests.last().map(|(_, id)| *id);
        entry.body = Body::ReadHit(candor_ledger::entry::ReadHit {
            write_seq: candor_ledger::ids::Seq(seq),
            version: 1,
            output_hash: held.output_hash,
            semantic: None,
        });
        read(reply).entry = entry.encode().into();
        reply.result.as_mut().unwrap().outcome = Some(Outcome::Hit(wire::Hit {
            value: "0.2".into(),
            media_type: held.media_type.clone(),
            write_seq: seq,
            version: 1,
            output_hash: tagged_output(world, seq),
            write: Some(world.proof(seq, size)),
        }));
        reply.checkpoint = Some(world.checkpoint(size, 0));
    }));
    let found = client
        .look_up(set.fingerprint, None, GetOptions::default())
        .await;
    let problem = is(found, "UNPROVEN");
    assert!(problem.to_string().contains("the pattern"), "{problem}");
}

#[tokio::test]
async fn no_lie_about_a_miss_is_believed() {
    let (world, client) = with_paris().await;
    let asked = fields("Capital of Chad?");
    type MissLie = fn(&mut wire::Miss);
    let lies: [MissLie; 3] = [
        |miss| miss.reason = wire::MissReason::Revoked.into(),
        |miss| miss.reason = 77,
        |miss| miss.successor = "model:a/b".to_owned(),
    ];
    for lie in lies {
        lock(&world).lie_get = Some(Box::new(move |_, reply| {
            match reply.result.as_mut().unwrap().outcome.as_mut().unwrap() {
                Outcome::Miss(miss) => lie(miss),
                other => panic!("{other:?}"),
            }
        }));
        is(client.get_verified::<String>(&asked).await, "UNPROVEN");
    }
}

#[tokio::test]
async fn a_set_that_was_recorded_otherwise_than_sent_is_not_called_attested() {
    let (world, client) = with_paris().await;
    type SetLie = fn(&mut wire::SetResponse);
    fn change(
        reply: &mut wire::SetResponse,
        change: impl FnOnce(&mut candor_ledger::entry::Write),
    ) {
        let recorded = reply.result.as_mut().unwrap().recorded.as_mut().unwrap();
        let proof = recorded.proof.as_mut().unwrap();
        let mut entry = Entry::parse(&proof.entry).unwrap();
        let Body::Write(write) = &mut entry.body else {
            panic!("no write")
        };
        change(write);
        proof.entry = entry.encode().into();
        // Said to be committed only, so that nothing but the entry's own words is there to check.
        (proof.size, proof.path) = (0, Vec::new());
        recorded.acknowledgement = Acknowledgement::Committed.into();
    }
    fn outcome(reply: &mut wire::SetResponse) -> &mut wire::set_result::Outcome {
        reply.result.as_mut().unwrap().outcome.as_mut().unwrap()
    }
    let lies: [(&str, SetLie); 10] = [
        ("another deadline, twice", |r| {
            change(r, |write| write.ttl_ms += 1_000);
            if let wire::set_result::Outcome::Written(written) = outcome(r) {
                written.expires.as_mut().unwrap().seconds += 1;
            }
        }),
        ("other bytes", |r| {
            change(r, |write| write.output_hash = [1; 32])
        }),
        ("another length", |r| {
            change(r, |write| write.output_len += 1)
        }),
        ("another deadline", |r| change(r, |write| write.ttl_ms -= 1)),
        ("another media type", |r| {
            change(r, |write| write.media_type = "a/b".to_owned())
        }),
        ("other conditions", |r| {
            change(r, |write| {
                if let LedgerFields::Exact(fields) = &mut write.fields {
                    fields.temperature = "0.9".to_owned();
                }
            });
        }),
        ("something told", |r| {
            change(r, |write| write.told.input_tokens = Some(1))
        }),
        ("another version", |r| change(r, |write| write.version = 7)),
        ("a conflict that is none", |r| {
            *outcome(r) = wire::set_result::Outcome::Conflict(wire::Conflict::default());
        }),
        ("a refusal that is none", |r| {
            let refused = candor_proto::audit_v1::Refused {
                reason: "revoked".to_owned(),
                ..Default::default()
            };
            *outcome(r) = wire::set_result::Outcome::Refused(refused);
        }),
    ];
    for (at, (what, lie)) in lies.into_iter().enumerate() {
        lock(&world).lie_set = Some(Box::new(move |_, reply| lie(reply)));
        let asked = fields(&format!("lie {at}"));
        // Whether the liar recorded it is unknown, and the caller learns the id to find out.
        let error = client
            .set_attested(&asked, "true", HOUR)
            .await
            .expect_err(what);
        let Error::OutcomeUnknown { request_id, last } = error else {
            panic!("{what}: {error}")
        };
        assert!(last.contains("UNPROVEN"), "{what}: {last}");
        let found = client.receipt_of(request_id).await.unwrap();
        assert_eq!(found.entry.request_id, Some(request_id));
    }
}

#[tokio::test]
async fn an_unproven_answer_names_the_check_and_the_endpoint() {
    let (world, client) = with_paris().await;
    lock(&world).lie_get = Some(Box::new(|_, reply| flip(&mut write(reply).path[0], 0)));
    let error = is(
        client
            .get_verified::<String>(&fields("Capital of France?"))
            .await,
        "UNPROVEN",
    );
    assert_eq!(error.fault(), candor_client::Fault::Endpoint);
    let Error::Unproven { endpoint, problem } = error else {
        panic!("{error}")
    };
    assert!(endpoint.starts_with("http://127.0.0.1:"));
    assert!(matches!(problem, Unproven::Inclusion { .. }), "{problem}");
    let _ = keys();
}
