//! A cluster that lies: entries of the right form, in an unbroken chain, that the rules forbid.

use candor_ledger::canonical;
use candor_ledger::digest::sha3_256;
use candor_ledger::entry::{
    Body, Entry, LOG_ACTOR, MissReason, Nonce, Op, ReadHit, ReadMiss, Refusal, Refused, Revocation,
    State, Subject, Supersede, SupersedeBy, Told, Write,
};
use candor_ledger::fingerprint::{Fingerprint, FingerprintFields};
use candor_ledger::fold::{self, Changes, FoldError, MemoryState, Operation, Rule};
use candor_ledger::ids::Seq;
use serde_json::{Value, json};

use crate::support::{
    ACTOR, TENANT, World, exact, output, request_id, result_only, revocation, set, subject,
    supersede,
};

mod log;
mod place;
mod refusals;
mod results;
mod rewritten;

const TTL_MS: u64 = 60_000;
const REQUEST: [u8; 32] = [0; 32];

/// Puts an entry at the end of a ledger as only its own cluster can: position, chain, lifecycle and
/// digest of the request are right, whatever the body says.
fn forge(world: &World, tenant: &str, subject: Subject, body: Body) -> Entry {
    let lifecycle = fold::lifecycle(&world.state, tenant, &subject).unwrap();
    let log = fold::log(&world.state).unwrap().unwrap();
    let of_the_log = matches!(
        body,
        Body::Expire(_)
            | Body::Seal(_)
            | Body::Supersede(Supersede {
                by: SupersedeBy::Model { .. },
                ..
            })
    );
    let named = !of_the_log && !body.op().is_of_the_log();
    let mut entry = Entry {
        seq: Seq(log.size.0),
        prev: log.head,
        time: world.now.max(log.time),
        tenant: tenant.to_owned(),
        subject,
        n: lifecycle.map_or(1, |l| l.n + 1),
        subject_prev: lifecycle.map(|l| l.last),
        actor: if of_the_log { LOG_ACTOR } else { ACTOR }.to_owned(),
        request_id: named.then(|| request_id(world.now.as_millis(), 999_999)),
        nonce: Nonce([9; 16]),
        body,
    };
    sign_request(&mut entry);
    entry
}

/// Writes the digest of what the entry says into its body, where the entry repeats the request.
fn sign_request(entry: &mut Entry) {
    let mut args = entry.body.to_object();
    args.remove("request");
    args.remove("version");
    let args: Value = serde_json::from_str(&canonical::Value::Object(args).to_text()).unwrap();
    let request = json!({
        "actor": entry.actor,
        "args": args,
        "op": entry.op().as_str(),
        "subject": entry.subject.to_string(),
        "tenant": entry.tenant,
    });
    let request = canonical::parse(request.to_string().as_bytes()).unwrap();
    let digest = sha3_256(&request.to_bytes());
    match &mut entry.body {
        Body::ModelSupersede(body) => body.request = digest,
        Body::Reinstate(body) | Body::Revoke(body) => body.request = digest,
        Body::Supersede(Supersede {
            by: SupersedeBy::Client { request, .. },
            ..
        }) => *request = digest,
        Body::Verify(body) => body.request = digest,
        Body::Write(body) => body.request = digest,
        _ => {}
    }
}

fn evolve(state: &MemoryState, entry: &Entry) -> Result<Changes, FoldError> {
    fold::evolve(state, entry, &entry.encode())
}

#[track_caller]
fn refused(world: &World, entry: &Entry, rule: Rule) {
    match evolve(&world.state, entry) {
        Err(FoldError::Broken {
            seq, rule: found, ..
        }) => {
            assert_eq!(
                (seq.0, found),
                (u64::try_from(world.lines.len()).unwrap(), rule)
            );
        }
        other => panic!("{:?}, wanted {rule}", other.map(|_| "accepted")),
    }
}

#[track_caller]
fn accepted(world: &World, entry: &Entry) {
    evolve(&world.state, entry).unwrap();
}

/// Something of everything: what the entries of the tests below lie about.
struct Scene {
    world: World,
    /// ACTIVE, version 2, output `A`; output `R` of version 1 is revoked.
    active: FingerprintFields,
    /// ACTIVE by its entries, with a deadline that has passed; then one with a later deadline.
    overdue: FingerprintFields,
    overdue_later: FingerprintFields,
    /// Gave way to `active`.
    gone: FingerprintFields,
    /// A `result-only` record.
    record: FingerprintFields,
}

impl Scene {
    fn new() -> Self {
        let [active, overdue, overdue_later, gone] =
            ["active", "overdue", "later", "gone"].map(exact);
        let record = result_only();
        let mut world = World::new();
        world.ask(set(overdue_later.clone(), "x", TTL_MS + 1));
        world.ask(set(overdue.clone(), "x", TTL_MS));
        world.wait(2 * TTL_MS);
        let fingerprint = active.fingerprint();
        world.ask(set(active.clone(), "R", TTL_MS));
        world.ask(Operation::Revoke(revocation(fingerprint, "R")));
        world.ask(set(active.clone(), "A", TTL_MS));
        world.ask(set(gone.clone(), "G", TTL_MS));
        world.ask(supersede(gone.fingerprint(), fingerprint));
        world.ask(set(record.clone(), "fraud", TTL_MS));
        world.command(&[], true);
        Self {
            world,
            active,
            overdue,
            overdue_later,
            gone,
            record,
        }
    }

    fn forge(&self, fields: &FingerprintFields, body: Body) -> Entry {
        forge(&self.world, TENANT, subject(fields), body)
    }

    fn write_seq(&self, fields: &FingerprintFields) -> Seq {
        let view = &self.world.state;
        let record = fold::lookup(view, TENANT, fields.fingerprint()).unwrap();
        record.unwrap().held().unwrap().write_seq
    }

    fn hit(&self, fields: &FingerprintFields, version: u64, text: &str) -> ReadHit {
        ReadHit {
            write_seq: self.write_seq(fields),
            version,
            output_hash: output(text),
            semantic: None,
        }
    }
}

fn write(fields: &FingerprintFields, version: u64, text: &str) -> Write {
    Write {
        fields: fields.clone(),
        output_hash: output(text),
        output_len: 1,
        media_type: "text/plain".to_owned(),
        ttl_ms: TTL_MS,
        version,
        told: Told::default(),
        semantic: None,
        request: REQUEST,
    }
}

fn write_body(fields: &FingerprintFields, version: u64, text: &str) -> Body {
    Body::Write(Box::new(write(fields, version, text)))
}

fn miss(reason: MissReason) -> Body {
    Body::ReadMiss(ReadMiss { reason })
}

fn revoke_body(version: u64, text: &str) -> Revocation {
    Revocation {
        version,
        output_hash: output(text),
        reason: "wrong".to_owned(),
        request: REQUEST,
    }
}

fn supersede_body(version: u64, successor: Fingerprint) -> Body {
    Body::Supersede(Supersede {
        version,
        by: SupersedeBy::Client {
            successor,
            reason: "better".to_owned(),
            request: REQUEST,
        },
    })
}

fn refused_body(asked: Op, state: State, refusal: Refusal) -> Body {
    Body::Refused(Box::new(Refused {
        asked,
        state,
        refusal,
        request: REQUEST,
    }))
}
