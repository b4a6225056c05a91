#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use candor_ledger::decimal::Decimal;
use candor_ledger::digest::TaggedDigest;
use candor_ledger::entry::{
    self, ClusterId, KeysChange, LogKeys, Member, MemberChange, Model, Params, ParamsChange,
    RulesChange, SemanticMatch, Subject, Told, Verdict,
};
use candor_ledger::fingerprint::{ExactFields, Fingerprint, FingerprintFields, ResultOnlyFields};
use candor_ledger::fold::{
    Admin, Attest, Change, Get, ModelSupersede, Operation, ReadAsOf, Request, Revoke, Set,
    Supersede,
};
use candor_ledger::ids::{NodeId, RequestId, TreeSize};

use super::*;

fn exact() -> ExactFields {
    ExactFields {
        model_name: "m".to_owned(),
        model_version: "v".to_owned(),
        prompt_hash: "sha3-256:00".to_owned(),
        temperature: "0.7".to_owned(),
        top_p: String::new(),
        system_prompt_hash: "ü".to_owned(),
        hardware_class: "cpu".to_owned(),
        parameters: "{}".to_owned(),
    }
}

fn past(time: Option<Micros>) -> Operation {
    Operation::ReadAsOf(ReadAsOf {
        fingerprint: Fingerprint([1; 32]),
        moment: entry::ReadAsOf {
            as_of: TreeSize(5),
            time,
        },
    })
}

fn operations() -> Vec<Operation> {
    let semantic = SemanticMatch {
        original_prompt_hash: TaggedDigest::sha3([9; 32]),
        similarity: Decimal::parse("0.93").unwrap(),
    };
    let result_only = ResultOnlyFields {
        model_version: "v".to_owned(),
        computation_type: "fraud".to_owned(),
        parameters: "{\"a\":1}".to_owned(),
        hardware_class: "cpu".to_owned(),
    };
    let told = Told {
        decision: Some("d-1".to_owned()),
        input_tokens: Some(3),
        latency_ms: Some(u64::MAX),
        model_checksum: Some(TaggedDigest::sha3([4; 32])),
        observed_model_version: Some("v".to_owned()),
        output_tokens: None,
        person: Some(TaggedDigest::sha3([5; 32])),
        trace_id: Some("t".to_owned()),
    };
    let set = |fields, told: Told, semantic| {
        Operation::Set(Box::new(Set {
            fields,
            output_hash: [2; 32],
            output_len: 5,
            media_type: "text/plain".to_owned(),
            ttl_ms: 1,
            told,
            semantic,
        }))
    };
    let revoke = Revoke {
        fingerprint: Fingerprint([3; 32]),
        output_hash: [4; 32],
        reason: "wrong".to_owned(),
    };
    let model = |version: &str| Model {
        name: "m".to_owned(),
        version: version.to_owned(),
    };
    vec![
        Operation::Get(Get {
            fingerprint: Fingerprint([1; 32]),
            semantic: None,
        }),
        Operation::Get(Get {
            fingerprint: Fingerprint([1; 32]),
            semantic: Some(semantic.clone()),
        }),
        set(FingerprintFields::Exact(exact()), Told::default(), None),
        set(
            FingerprintFields::Semantic(exact()),
            told.clone(),
            Some(semantic),
        ),
        set(FingerprintFields::ResultOnly(result_only), told, None),
        Operation::Supersede(Supersede {
            fingerprint: Fingerprint([1; 32]),
            successor: Fingerprint([2; 32]),
            reason: "newer".to_owned(),
        }),
        Operation::Revoke(revoke.clone()),
        Operation::Reinstate(revoke),
        Operation::ModelSupersede(Box::new(ModelSupersede {
            from: model("1"),
            to: model("2"),
            reason: "update".to_owned(),
        })),
        Operation::Attest(Box::new(Attest {
            subject: Subject::Fingerprint(Fingerprint([7; 32])),
            result: Verdict::NotProved,
            size: TreeSize(12),
            root: [1; 32],
            auditor: [2; 32],
            signature: [3; 64],
        })),
        past(None),
        past(Some(Micros(7))),
    ]
}

fn items() -> Vec<Item> {
    let request_id = RequestId::parse("017f22e2-79b0-7cc3-98c4-dc0c0c07398f").unwrap();
    let member = Member {
        node: NodeId(4),
        cosigner: [6; 32],
    };
    let keys = LogKeys {
        suite: 1,
        raw: [vec![1; 32], vec![2; 1952], vec![3; 32]],
    };
    let genesis = Genesis {
        origin: "o".to_owned(),
        cluster_id: ClusterId([8; 16]),
        keys: keys.clone(),
        members: vec![member.clone()],
        rules: 1,
        params: Params::DEFAULT,
        former: None,
    };
    let changes = [
        Change::Member(MemberChange::Join(member)),
        Change::Member(MemberChange::Leave(NodeId(2))),
        Change::Keys(KeysChange {
            keys,
            reason: "rotation".to_owned(),
        }),
        Change::Params(ParamsChange {
            params: Params {
                dedup_window: 7,
                ..Params::DEFAULT
            },
        }),
        Change::Rules(RulesChange { rules: 2 }),
    ];
    let (tenant, actor) = ("acme".to_owned(), "service-a".to_owned());
    let clients = operations().into_iter().map(|operation| {
        let (tenant, actor) = (tenant.clone(), actor.clone());
        Item::Client(Request {
            tenant,
            actor,
            request_id,
            operation,
        })
    });
    let admins = changes.into_iter().map(|change| {
        let actor = actor.clone();
        Item::Admin(Box::new(Admin {
            actor,
            request_id: Some(request_id),
            change,
        }))
    });
    clients
        .chain(admins)
        .chain([Item::Tick, Item::Genesis(Box::new(genesis))])
        .collect()
}

#[test]
fn every_item_survives_the_raft_log_and_nothing_shorter_is_taken_for_it() {
    let items: Vec<BatchItem> = items()
        .into_iter()
        .enumerate()
        .map(|(at, item)| BatchItem {
            item,
            value: (at % 2 == 0).then(|| Bytes::from(vec![7; at])),
        })
        .collect();
    let stamp = Stamp {
        time: Micros(17),
        seed: [1; 32],
        rules: 1,
    };
    let batch = Batch {
        stamp,
        closes: true,
        items: items.clone(),
    };
    let bytes = Command::Batch(batch).encode();
    let Command::Batch(read) = Command::decode(&bytes).unwrap() else {
        panic!("a batch")
    };
    assert_eq!(
        (read.stamp.time, read.stamp.seed, read.stamp.rules),
        (Micros(17), [1; 32], 1)
    );
    assert!(read.closes);
    assert_eq!(read.items.len(), items.len());
    for (read, written) in read.items.iter().zip(&items) {
        assert_eq!((&read.item, &read.value), (&written.item, &written.value));
    }
    for length in 0..bytes.len() {
        assert!(
            Command::decode(&bytes.slice(..length)).is_err(),
            "cut to {length} bytes"
        );
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(
        Command::decode(&Bytes::from(longer)).is_err(),
        "a byte too many"
    );
}

#[test]
fn a_newer_version_is_not_guessed_at() {
    let note = Command::Checkpoint("a\n\n— b c\n".to_owned());
    let mut bytes = note.encode().to_vec();
    assert!(matches!(
        Command::decode(&Bytes::from(bytes.clone())),
        Ok(Command::Checkpoint(_))
    ));
    bytes[0] = 2;
    assert_eq!(
        Command::decode(&Bytes::from(bytes)).unwrap_err(),
        CommandError::Version(2)
    );
}
