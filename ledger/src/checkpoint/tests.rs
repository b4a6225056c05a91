#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
use super::*;
use crate::fixture::{
    ORIGIN, SEALED_S, bytes_from, checkpoint, cosigner, good_note, log_keys, members, note_by,
};
use crate::signature::SignError;

#[test]
fn a_good_note_names_the_members_that_vouched() {
    let keys = log_keys("a");
    let bytes = good_note(&keys).encode();
    let note = Note::parse(bytes.as_bytes()).unwrap();
    let verified = verify_note(&note, keys.key_set(), &members(&[1, 2, 3])).unwrap();
    assert_eq!(verified.checkpoint, checkpoint(&keys, 5, NodeHash([7; 32])));
    assert_eq!(verified.vouched, [NodeId(1), NodeId(2)]);
    assert_eq!(
        verified.cosign_times,
        [(NodeId(1), SEALED_S), (NodeId(2), SEALED_S)]
    );
    assert!(verified.unknown.is_empty());
    assert!(verified.vouched.len() >= majority(3));
    assert_eq!([1, 2, 3, 4, 5, 6, 7].map(majority), [1, 2, 2, 3, 3, 4, 4]);
    // A verifier who knows no members learns that two unknown keys signed, and no more.
    let verified = verify_note(&note, keys.key_set(), &[]).unwrap();
    assert_eq!((verified.vouched.len(), verified.unknown.len()), (0, 2));
    assert_eq!(verified.unknown[0].0, format!("{ORIGIN}/node/1"));
}

#[test]
fn a_flipped_bit_in_any_signature_line_rejects_the_note() {
    let keys = log_keys("a");
    let note = good_note(&keys);
    let (members, mut random) = (members(&[1, 2, 3]), bytes_from("flipped bits"));
    for at in 0..note.signatures.len() {
        let len = note.signatures[at].blob.len();
        for _ in 0..24 {
            let mut draw = [0; 8];
            random(&mut draw);
            let byte = usize::try_from(u64::from_be_bytes(draw)).unwrap() % len;
            for bit in 0..8 {
                let mut forged = note.clone();
                forged.signatures[at].blob[byte] ^= 1 << bit;
                let error = verify_note(&forged, keys.key_set(), &members).unwrap_err();
                let line = 9 + at;
                let named = matches!(&error, NoteError::BadSignature { line: l, .. } if *l == line);
                assert!(named, "line {line}, byte {byte}, bit {bit}: {error}");
            }
        }
        for shorter in [0, 1, len - 1] {
            let mut forged = note.clone();
            forged.signatures[at].blob.truncate(shorter);
            assert!(verify_note(&forged, keys.key_set(), &members).is_err());
        }
        let mut forged = note.clone();
        forged.signatures[at].blob.push(0);
        assert!(verify_note(&forged, keys.key_set(), &members).is_err());
    }
}

#[test]
fn a_changed_text_rejects_the_note_whichever_line_it_is() {
    let keys = log_keys("a");
    let note = good_note(&keys);
    let genuine = checkpoint(&keys, 5, NodeHash([7; 32]));
    let change = |edit: fn(&mut Checkpoint)| {
        let mut changed = genuine.clone();
        edit(&mut changed);
        changed.text()
    };
    for text in [
        change(|c| c.origin = "log.example/other".to_owned()),
        change(|c| c.size = TreeSize(6)),
        change(|c| c.root = NodeHash([8; 32])),
        change(|c| c.chain = ChainHash([8; 32])),
        change(|c| c.keyset = [8; 32]),
        change(|c| c.sealed = Micros(c.sealed.0 + 1)),
    ] {
        let forged = Note {
            text,
            ..note.clone()
        };
        let refused = verify_note(&forged, keys.key_set(), &members(&[1, 2]));
        assert!(refused.is_err(), "{}", forged.text);
    }
}

#[test]
fn rejects_a_note_with_two_of_three_log_signatures() {
    let keys = log_keys("a");
    for (at, algorithm) in Algorithm::SUITE_1.into_iter().enumerate() {
        let mut note = good_note(&keys);
        note.signatures.remove(at);
        let error = verify_note(&note, keys.key_set(), &members(&[1, 2])).unwrap_err();
        let origin = ORIGIN.to_owned();
        assert_eq!(error, NoteError::Missing { algorithm, origin });
    }
}

#[test]
fn rejects_a_note_with_one_signature_of_another_key_set() {
    let (keys, other) = (log_keys("a"), log_keys("b"));
    let text = checkpoint(&keys, 5, NodeHash([7; 32])).text();
    assert!(matches!(
        other.sign(text.as_bytes(), &mut bytes_from("hedge")),
        Err(SignError::NotOurs { .. })
    ));
    let foreign = good_note(&other);
    for at in 0..3 {
        // Under its own key id the foreign line is an unknown one, and ours is missing.
        let mut note = good_note(&keys);
        note.signatures[at] = foreign.signatures[at].clone();
        let error = verify_note(&note, keys.key_set(), &[]).unwrap_err();
        assert!(matches!(error, NoteError::Missing { .. }), "{error}");
        // Under our key id it fails.
        note.signatures[at].key_id = keys.key_set().keys()[at].key_id();
        let error = verify_note(&note, keys.key_set(), &[]).unwrap_err();
        assert!(matches!(error, NoteError::BadSignature { .. }), "{error}");
    }
    // A whole note of another key set of the same log is not ours either.
    let error = verify_note(&foreign, keys.key_set(), &[]).unwrap_err();
    assert!(matches!(error, NoteError::KeySet { .. }), "{error}");
}

#[test]
fn counts_members_and_keys_never_lines() {
    let keys = log_keys("a");
    let checkpoint = checkpoint(&keys, 5, NodeHash([7; 32]));
    let note = note_by(&keys, &[1], &checkpoint);
    // The same line twice, and a second good line by the same key.
    let later = cosigner(1)
        .sign(note.text.as_bytes(), SEALED_S + 1)
        .unwrap();
    for second in [note.signatures[3].clone(), later] {
        let mut note = note.clone();
        note.signatures.push(second);
        let error = verify_note(&note, keys.key_set(), &members(&[1, 2])).unwrap_err();
        assert!(
            matches!(error, NoteError::Repeated { line: 13, .. }),
            "{error}"
        );
    }
    // One key under the names of two members: C2SP cosignatures do not sign the name.
    let mut shared = members(&[1, 2]);
    shared[1].key = shared[0].key;
    let mut twice = note.clone();
    let mut line = note.signatures[3].clone();
    line.name.clone_from(&shared[1].name);
    line.key_id = key_id(&line.name, KeyKind::Cosignature.note_type(), &shared[1].key);
    twice.signatures.push(line);
    let verified = verify_note(&twice, keys.key_set(), &shared).unwrap();
    assert_eq!(verified.vouched, [NodeId(1)]);
    // A member with two keys, during a change of its key, counts once.
    let mut both = members(&[1, 2]);
    both[1].node = NodeId(1);
    let note = note_by(&keys, &[1, 2], &checkpoint);
    let verified = verify_note(&note, keys.key_set(), &both).unwrap();
    assert_eq!(verified.vouched, [NodeId(1)]);
}

#[test]
fn swapped_names_vouch_for_nobody() {
    let keys = log_keys("a");
    let mut note = good_note(&keys);
    let (one, two) = (
        note.signatures[3].name.clone(),
        note.signatures[4].name.clone(),
    );
    note.signatures[3].name = two;
    note.signatures[4].name = one;
    // The key id holds the name: with swapped names the ids belong to nobody.
    let verified = verify_note(&note, keys.key_set(), &members(&[1, 2])).unwrap();
    assert_eq!((verified.vouched.len(), verified.unknown.len()), (0, 2));
    // With swapped ids as well, known keys fail.
    let (one, two) = (note.signatures[3].key_id, note.signatures[4].key_id);
    note.signatures[3].key_id = two;
    note.signatures[4].key_id = one;
    let error = verify_note(&note, keys.key_set(), &members(&[1, 2])).unwrap_err();
    assert!(
        matches!(error, NoteError::BadSignature { line: 12, .. }),
        "{error}"
    );
    // The log's own lines with swapped key ids.
    let mut note = good_note(&keys);
    let (first, second) = (note.signatures[0].key_id, note.signatures[1].key_id);
    note.signatures[0].key_id = second;
    note.signatures[1].key_id = first;
    assert!(verify_note(&note, keys.key_set(), &[]).is_err());
}

#[test]
fn lines_of_unknown_keys_are_accepted_and_reported() {
    let keys = log_keys("a");
    let mut note = good_note(&keys);
    let stranger = |name: &str, key_id| NoteSignature {
        name: name.to_owned(),
        key_id,
        blob: vec![1; 2_432],
    };
    // Shares its name with a known key, or its id, but not both.
    let known = note.signatures[3].clone();
    let same_name = stranger(&known.name, [9; 4]);
    let same_id = stranger("witness.example", known.key_id);
    note.signatures.insert(0, same_name);
    note.signatures.push(same_id);
    let bytes = note.encode();
    let note = Note::parse(bytes.as_bytes()).unwrap();
    let verified = verify_note(&note, keys.key_set(), &members(&[1, 2])).unwrap();
    assert_eq!(verified.vouched, [NodeId(1), NodeId(2)]);
    assert_eq!(
        verified.unknown,
        [
            (known.name, [9; 4]),
            ("witness.example".to_owned(), known.key_id)
        ]
    );
}

#[test]
fn a_member_whose_bytes_are_no_key_can_have_signed_nothing() {
    let keys = log_keys("a");
    let mut note = good_note(&keys);
    // The identity point: under it anybody could sign.
    let mut identity = [0; 32];
    identity[0] = 1;
    let broken = CosignerPublic::new(ORIGIN, NodeId(3), identity);
    let kind = KeyKind::Cosignature.note_type();
    note.signatures.push(NoteSignature {
        name: broken.name.clone(),
        key_id: key_id(&broken.name, kind, &broken.key),
        blob: vec![0; 72],
    });
    let error = verify_note(&note, keys.key_set(), &[broken]).unwrap_err();
    assert!(
        matches!(error, NoteError::BadSignature { line: 14, .. }),
        "{error}"
    );
}

#[test]
fn the_text_has_one_spelling() {
    let keys = log_keys("a");
    let text = checkpoint(&keys, 5, NodeHash([7; 32])).text();
    assert_eq!(Checkpoint::parse(&text).unwrap().text(), text);
    let seven = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    for (from, to, line) in [
        (ORIGIN, "", 1),
        ("\n5\n", "\n05\n", 2),
        ("\n5\n", "\n0\n", 2),
        ("\n5\n", "\n+5\n", 2),
        ("\n5\n", "\n5 \n", 2),
        (seven, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwd=", 3),
        (seven, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==", 3),
        ("candor 1", "candor 2", 4),
        ("candor 1", "candor  1", 4),
        ("chain sha3-256", "chain sha-256", 5),
        ("keyset sha3-256 ", "keyset sha3-256  ", 6),
        (".250000Z", ".25Z", 7),
        (".250000Z\n", ".250000Z", 7),
        (".250000Z\n", ".250000Z\n\n", 8),
        (".250000Z\n", ".250000Z\r\n", 7),
        (".250000Z\n", ".250000Z\nother extension\n", 8),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        let error = Checkpoint::parse(&changed).unwrap_err();
        assert_eq!(error.line, line, "{changed}");
    }
    assert!(Checkpoint::parse("").is_err());
}

#[test]
fn cosignature_times_before_the_seal_are_told_apart() {
    let keys = log_keys("a");
    let checkpoint = checkpoint(&keys, 5, NodeHash([7; 32]));
    let mut note = note_by(&keys, &[1], &checkpoint);
    let early = cosigner(2).sign(note.text.as_bytes(), SEALED_S - 4);
    note.signatures.push(early.unwrap());
    let verified = verify_note(&note, keys.key_set(), &members(&[1, 2])).unwrap();
    let early = |bound_ms| verified.early(bound_ms).collect::<Vec<_>>();
    assert_eq!(early(5_000), []);
    // Sealed a quarter of a second into its second, cosigned 4 whole seconds before.
    assert_eq!(early(4_250), []);
    assert_eq!(early(4_249), [(NodeId(2), SEALED_S - 4)]);
    assert!(cosigner(2).sign(note.text.as_bytes(), u64::MAX).is_err());
}

#[test]
fn cosigners_sign_checkpoints_of_their_own_log_and_nothing_else() {
    let keys = log_keys("a");
    let mut checkpoint = checkpoint(&keys, 5, NodeHash([7; 32]));
    checkpoint.origin = format!("{ORIGIN}/node");
    for text in [
        checkpoint.text().as_str(),
        "log.example/audit\n",
        "",
        "candor.attest.v1\n",
    ] {
        assert!(
            cosigner(1).sign(text.as_bytes(), SEALED_S).is_err(),
            "{text}"
        );
        let signed = keys.sign(text.as_bytes(), &mut bytes_from("hedge"));
        assert!(signed.is_err(), "{text}");
    }
    for name in [
        "log.example/audit/node/01",
        "log.example/audit/node/",
        "node/1",
        "x/node/1 ",
    ] {
        assert_eq!(parse_cosigner_name(name), None, "{name}");
    }
    assert_eq!(
        parse_cosigner_name("a/node/1/node/2"),
        Some(("a/node/1", NodeId(2)))
    );
}
