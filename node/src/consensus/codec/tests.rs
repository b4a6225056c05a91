#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use openraft::entry::RaftEntry;
use proptest::prelude::*;

use super::*;

type C = TypeConfig<()>;

fn log_id() -> impl Strategy<Value = LogId> {
    any::<(u64, u64, u64)>().prop_map(|(term, node_id, index)| LogId {
        leader_id: LeaderId { term, node_id },
        index,
    })
}

fn vote() -> impl Strategy<Value = Vote> {
    any::<(u64, u64, bool)>().prop_map(|(term, node_id, committed)| Vote {
        leader_id: LeaderId { term, node_id },
        committed,
    })
}

fn membership() -> impl Strategy<Value = Membership> {
    let nodes = prop::collection::btree_map(any::<u64>(), "[a-z0-9.:-]{0,260}", 1..=8);
    (nodes, any::<u8>(), any::<bool>()).prop_map(|(nodes, mask, joint)| {
        let ids: Vec<u64> = nodes.keys().copied().collect();
        let old = ids
            .iter()
            .copied()
            .enumerate()
            .filter(|(i, _)| mask >> i & 1 == 1)
            .map(|(_, id)| id);
        let mut sets = vec![old.collect::<BTreeSet<u64>>(), ids.into_iter().collect()];
        sets.retain(|set| !set.is_empty());
        if !joint {
            sets.truncate(1);
        }
        let nodes: BTreeMap<u64, Peer> = nodes
            .into_iter()
            .map(|(id, address)| (id, Peer { address }))
            .collect();
        Membership::new(sets, nodes).unwrap()
    })
}

fn payload() -> impl Strategy<Value = EntryPayload> {
    prop_oneof![
        Just(EntryPayload::Blank),
        prop::collection::vec(any::<u8>(), 0..200)
            .prop_map(|bytes| EntryPayload::Normal(Command(bytes.into()))),
        membership().prop_map(EntryPayload::Membership),
    ]
}

fn append() -> impl Strategy<Value = AppendEntriesRequest<C>> {
    let previous = prop::option::of(log_id().prop_map(|mut id| {
        id.index %= 1 << 40;
        id
    }));
    let entries = prop::collection::vec((any::<(u64, u64)>(), payload()), 0..4);
    (vote(), previous, prop::option::of(log_id()), entries).prop_map(
        |(vote, prev_log_id, leader_commit, entries)| {
            let first = prev_log_id.map_or(0, |id| id.index + 1);
            let entries = (first..)
                .zip(entries)
                .map(|(index, ((term, node_id), payload))| {
                    Entry::new(
                        LogId {
                            leader_id: LeaderId { term, node_id },
                            index,
                        },
                        payload,
                    )
                });
            let entries = entries.collect();
            AppendEntriesRequest {
                vote,
                prev_log_id,
                entries,
                leader_commit,
            }
        },
    )
}

/// Decoding gives back what was encoded; every shorter or longer text is refused.
fn exact<T: PartialEq + std::fmt::Debug>(
    bytes: &Bytes,
    expected: &T,
    decode: impl Fn(Bytes) -> Result<T, CodecError>,
) {
    assert_eq!(&decode(bytes.clone()).unwrap(), expected);
    for len in 0..bytes.len() {
        if let Ok(other) = decode(bytes.slice(..len)) {
            panic!(
                "the first {len} of {} bytes were accepted as {other:?}",
                bytes.len()
            );
        }
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(
        decode(longer.into()).is_err(),
        "a byte too many was accepted"
    );
    let mut newer = bytes.to_vec();
    newer[0] += 1;
    assert_eq!(
        decode(newer.into()).unwrap_err(),
        CodecError::Version(VERSION + 1)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn stored_records_come_back_exactly(
        hard in (prop::option::of(vote()), prop::option::of(log_id())),
        id in log_id(),
        stored in (prop::option::of(log_id()), membership()),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let hard = HardState { vote: hard.0, purged: hard.1 };
        exact(&encode_hard_state(&hard), &hard, decode_hard_state);
        exact(&encode_hint(&id), &id, decode_hint);

        let blank = Entry::new(id, EntryPayload::Blank);
        exact(&encode_entry(&blank), &blank, decode_entry);
        let member = Entry::new(id, EntryPayload::Membership(stored.1.clone()));
        exact(&encode_entry(&member), &member, decode_entry);
        // A command ends where its record ends, so that any shorter record is a shorter command.
        let command = Entry::new(id, EntryPayload::Normal(Command(body.into())));
        let bytes = encode_entry(&command);
        assert_eq!(bytes.len(), entry_len(&command));
        assert_eq!(decode_entry(bytes).unwrap(), command);

        let stored = StoredMembership::new(stored.0, stored.1);
        exact(&encode_stored_membership(&stored), &stored, decode_stored_membership);
    }

    #[test]
    fn peer_messages_come_back_exactly(
        append in append(),
        votes in (vote(), vote()),
        ids in (prop::option::of(log_id()), prop::option::of(log_id())),
        flag: bool,
        to: u64,
    ) {
        let decode = |bytes| decode_append::<()>(bytes).map(|m| format!("{m:?}"));
        exact(&encode_append(&append), &format!("{append:?}"), decode);
        let body = encode_append(&append);
        for (sent, got) in append.entries.iter().zip(decode_append::<()>(body).unwrap().entries) {
            assert_eq!(*sent, got);
        }

        for reply in [
            AppendEntriesResponse::<C>::Success,
            AppendEntriesResponse::PartialSuccess(ids.0),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(votes.0),
        ] {
            exact(&encode_appended(&reply), &reply, decode_appended);
        }

        let mut ballot = VoteRequest::<C>::new(votes.0, ids.0);
        ballot.leadership_transfer = flag;
        exact(&encode_ballot(&ballot), &ballot, decode_ballot);
        let answer = VoteResponse::<C>::new(votes.0, ids.0, flag);
        exact(&encode_answer(&answer), &answer, decode_answer);

        let transfer = TransferLeaderRequest::<C>::new(votes.0, to, ids.0);
        exact(&encode_transfer(&transfer), &transfer, decode_transfer);
        let changed = TransferLeaderError::VoteChanged { expected: votes.0, actual: votes.1 };
        let behind = TransferLeaderError::LogNotFlushed { expected: ids.0, actual: ids.1 };
        for reply in [Ok(()), Err(changed), Err(behind)] {
            exact(&encode_transferred::<()>(&reply), &reply, decode_transferred::<()>);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), version: bool) {
        let mut bytes = bytes;
        if version && let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        let bytes = Bytes::from(bytes);
        let _ = decode_hard_state(bytes.clone());
        let _ = decode_hint(bytes.clone());
        let _ = decode_entry(bytes.clone());
        let _ = decode_stored_membership(bytes.clone());
        let _ = decode_append::<()>(bytes.clone());
        let _ = decode_appended::<()>(bytes.clone());
        let _ = decode_ballot::<()>(bytes.clone());
        let _ = decode_answer::<()>(bytes.clone());
        let _ = decode_transfer::<()>(bytes.clone());
        let _ = decode_transferred::<()>(bytes);
    }
}

/// What other nodes and later versions read: the bytes themselves, written down once.
#[test]
fn entries_have_the_documented_bytes() {
    let id = LogId {
        leader_id: LeaderId {
            term: 2,
            node_id: 3,
        },
        index: 0x0102,
    };
    let entry = Entry::new(id, EntryPayload::Normal(Command(Bytes::from_static(b"go"))));
    assert_eq!(
        hex::encode(encode_entry(&entry)),
        "0101000000000000000200000000000000030000000000000102676f"
    );
    let nodes = BTreeMap::from([(
        7,
        Peer {
            address: "a:1".into(),
        },
    )]);
    let membership = Membership::new(vec![BTreeSet::from([7])], nodes).unwrap();
    let entry = Entry::new(id, EntryPayload::Membership(membership));
    assert_eq!(
        hex::encode(encode_entry(&entry)),
        "0102000000000000000200000000000000030000000000000102\
         0100010000000000000007000100000000000000070003613a31"
    );
}

#[test]
fn contradictions_and_excesses_are_refused() {
    let entry = |tail: &str| {
        let head = "0102000000000000000200000000000000030000000000000102";
        decode_entry(hex::decode(format!("{head}{tail}")).unwrap().into()).unwrap_err()
    };
    // A voter the membership does not describe.
    let unknown = "01000100000000000000080001\
                   00000000000000070003613a31";
    assert!(matches!(entry(unknown), CodecError::Invalid(_)));
    // The same voter twice.
    let twice = "010002000000000000000700000000000000070000";
    assert!(matches!(entry(twice), CodecError::Invalid(_)));
    // Three sets of voters, and more voters than allowed.
    assert!(matches!(
        entry("03"),
        CodecError::TooLong {
            what: "voter sets",
            ..
        }
    ));
    assert!(matches!(
        entry("010041"),
        CodecError::TooLong {
            what: "voters",
            len: 65,
            ..
        }
    ));
    // Entries that leave out an index.
    let id = |index| LogId {
        leader_id: LeaderId {
            term: 1,
            node_id: 1,
        },
        index,
    };
    let request = AppendEntriesRequest::<C> {
        vote: Vote {
            leader_id: LeaderId {
                term: 1,
                node_id: 1,
            },
            committed: true,
        },
        prev_log_id: Some(id(4)),
        entries: vec![Entry::new(id(6), EntryPayload::Blank)],
        leader_commit: None,
    };
    let refused = decode_append::<()>(encode_append(&request)).unwrap_err();
    assert_eq!(
        refused,
        CodecError::Invalid("entries do not follow each other")
    );
    // A command above the limit.
    let long = vec![0; COMMAND_LEN_MAX + 1];
    let long = Entry::new(id(0), EntryPayload::Normal(Command(long.into())));
    assert!(matches!(
        decode_entry(encode_entry(&long)).unwrap_err(),
        CodecError::TooLong {
            what: "command",
            ..
        }
    ));
}
