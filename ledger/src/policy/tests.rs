#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
use super::*;
use crate::fixture::{
    ORIGIN, SEALED_S, checkpoint, cosigner, good_note, log_keys, members, note_by, witness,
};
use crate::signature::SigningKeys;

const ROOT: NodeHash = NodeHash([7; 32]);

fn keyset_line(keys: &SigningKeys) -> String {
    let keys = keys.key_set();
    format!("keyset {} 1 {}", keys.origin(), keys.vkeys().join(" "))
}

fn node_line(node: u64) -> String {
    format!("node n{node} {}", cosigner(node).verifier_key())
}

fn witness_line(name: &str) -> String {
    format!("witness {name} {}", witness(name).key())
}

/// Three nodes of which two are needed, and two witnesses of which one is.
fn text() -> String {
    [
        "candor-policy v1".to_owned(),
        "# who runs the log".to_owned(),
        keyset_line(&log_keys("a")),
        String::new(),
        node_line(1),
        node_line(2),
        format!("  {}\t", node_line(3).replace(' ', " \t ")),
        witness_line("w.example/1"),
        witness_line("w.example/2") + " https://w.example/2",
        "group nodes 2 n1 n2 n3".to_owned(),
        "group outside any w.example/1 w.example/2".to_owned(),
        "group both all nodes outside".to_owned(),
        "quorum both".to_owned(),
        format!("pin {ORIGIN} 5 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="),
    ]
    .join("\n")
}

fn with_witness(mut note: Note, name: &str) -> Note {
    note.signatures
        .push(witness(name).sign(&note.text, SEALED_S + 2));
    note
}

#[test]
fn a_policy_accepts_what_it_demands_and_names_who_signed() {
    let policy = Policy::parse(&text()).unwrap();
    let keys = log_keys("a");
    let note = with_witness(good_note(&keys), "w.example/2");
    let verdict = policy.check(&note);
    assert_eq!(verdict.refusals, []);
    assert_eq!(verdict.accepted(), Some(&checkpoint(&keys, 5, ROOT)));
    let vouched: Vec<_> = verdict
        .vouched
        .iter()
        .map(|v| (&*v.name, v.node.0))
        .collect();
    assert_eq!(vouched, [("n1", 1), ("n2", 2)]);
    assert_eq!(verdict.witnessed[0].name, "w.example/2");
    assert_eq!(verdict.witnessed[0].time_unix_s, SEALED_S + 2);
    assert_eq!((verdict.unknown, verdict.caveats), (vec![], vec![]));
}

#[test]
fn a_quorum_that_is_not_met_names_who_is_missing() {
    let policy = Policy::parse(&text()).unwrap();
    let keys = log_keys("a");
    let checkpoint = checkpoint(&keys, 5, ROOT);
    let missing = |note: &Note| match policy.check(note).refusals.as_slice() {
        [] => vec![],
        [Refusal::Quorum { missing, .. }] => missing.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(&good_note(&keys)), ["w.example/1", "w.example/2"]);
    let one_node = note_by(&keys, &[3], &checkpoint);
    assert_eq!(
        missing(&one_node),
        ["n1", "n2", "w.example/1", "w.example/2"]
    );
    let one_of_each = with_witness(one_node, "w.example/1");
    assert_eq!(missing(&one_of_each), ["n1", "n2"]);
    let refused = policy.check(&one_of_each);
    assert_eq!(refused.accepted(), None);
    assert_eq!(
        refused.refusals[0].to_string(),
        "quorum `both` is not met without `n1`, `n2`"
    );
    // What was found is still told: the checkpoint is validly signed by the log.
    assert!(refused.checkpoint.is_some());
    assert_eq!(refused.vouched.len(), 1);
    // A node that the policy does not name counts for nothing.
    let stranger = with_witness(note_by(&keys, &[3, 4], &checkpoint), "w.example/1");
    assert_eq!(missing(&stranger), ["n1", "n2"]);
    assert_eq!(
        policy.check(&stranger).unknown[0].0,
        format!("{ORIGIN}/node/4")
    );
}

#[test]
fn a_known_key_that_fails_rejects_the_note_and_its_witnesses_with_it() {
    let policy = Policy::parse(&text()).unwrap();
    let keys = log_keys("a");
    let note = with_witness(good_note(&keys), "w.example/1");
    for at in 0..note.signatures.len() {
        let mut forged = note.clone();
        *forged.signatures[at].blob.last_mut().unwrap() ^= 1;
        let verdict = policy.check(&forged);
        let bad = matches!(
            verdict.refusals.as_slice(),
            [Refusal::Note(NoteError::BadSignature { line, .. })] if *line == 9 + at
        );
        assert!(bad, "{verdict:?}");
        assert!(verdict.checkpoint.is_none() && verdict.accepted().is_none());
        assert!(verdict.vouched.is_empty() && verdict.witnessed.is_empty());
    }
    for (at, algorithm) in Algorithm::SUITE_1.into_iter().enumerate() {
        let mut two_of_three = note.clone();
        two_of_three.signatures.remove(at);
        let origin = ORIGIN.to_owned();
        let want = Refusal::Note(NoteError::Missing { algorithm, origin });
        assert_eq!(policy.check(&two_of_three).refusals, [want]);
    }
}

#[test]
fn key_sets_are_alternatives_and_never_mixed() {
    let (old, new, other) = (log_keys("a"), log_keys("b"), log_keys("c"));
    let policy = [
        "candor-policy v1",
        &keyset_line(&old),
        &keyset_line(&new),
        "quorum none",
    ];
    let policy = Policy::parse(&policy.join("\n")).unwrap();
    for keys in [&old, &new] {
        let verdict = policy.check(&good_note(keys));
        assert_eq!(verdict.accepted().unwrap().keyset, keys.key_set().id());
        assert_eq!(verdict.unknown.len(), 2);
    }
    let keyset = hex::encode(other.key_set().id());
    let origin = ORIGIN.to_owned();
    let refused = policy.check(&good_note(&other));
    assert_eq!(
        refused.refusals,
        [Refusal::UnknownKeySet { origin, keyset }]
    );
    // Two lines of one set and the third of the other.
    let mut mixed = good_note(&old);
    mixed.signatures[2] = good_note(&new).signatures[2].clone();
    assert!(policy.check(&mixed).accepted().is_none());
    // All three of the old set, and a failing line of the new one beside them.
    let mut beside = good_note(&old);
    beside
        .signatures
        .push(good_note(&new).signatures[0].clone());
    let refused = policy.check(&beside);
    assert!(matches!(
        refused.refusals.as_slice(),
        [Refusal::Note(NoteError::BadSignature { line: 14, .. })]
    ));
}

#[test]
fn nodes_of_another_log_say_nothing_about_this_one() {
    let keys = log_keys("a");
    let mut fill = crate::fixture::bytes_from("other log");
    let other = SigningKeys::generate("other.example", &mut fill).unwrap();
    let foreign = witness("other.example/node/1");
    let policy = [
        "candor-policy v1".to_owned(),
        keyset_line(&keys),
        keyset_line(&other),
        format!("node foreign {}", foreign.key()),
        "quorum foreign".to_owned(),
    ];
    let policy = Policy::parse(&policy.join("\n")).unwrap();
    let mut note = good_note(&keys);
    note.signatures.push(foreign.sign(&note.text, SEALED_S));
    let verdict = policy.check(&note);
    assert!(verdict.vouched.is_empty());
    assert!(matches!(
        verdict.refusals.as_slice(),
        [Refusal::Quorum { .. }]
    ));
}

#[test]
fn a_note_that_contradicts_a_pin_is_refused_and_both_roots_are_shown() {
    let policy = Policy::parse(&text()).unwrap();
    let keys = log_keys("a");
    let other = NodeHash([8; 32]);
    let note = |size, root| {
        let checkpoint = checkpoint(&keys, size, root);
        with_witness(note_by(&keys, &[1, 2], &checkpoint), "w.example/1")
    };
    let size = TreeSize(5);
    let want = Refusal::Pin {
        size,
        want: ROOT,
        got: other,
    };
    assert_eq!(policy.check(&note(5, other)).refusals, [want]);
    assert!(policy.check(&note(5, ROOT)).accepted().is_some());
    assert!(policy.check(&note(6, other)).accepted().is_some());
    assert_eq!(policy.pins()[0].size, size);
}

#[test]
fn what_a_policy_leaves_open_is_said() {
    let keys = log_keys("a");
    let caveats = |lines: &[String], nodes: &[u64]| {
        let head = ["candor-policy v1".to_owned(), keyset_line(&keys)];
        let policy = Policy::parse(&[&head, lines].concat().join("\n")).unwrap();
        let verdict = policy.check(&note_by(&keys, nodes, &checkpoint(&keys, 5, ROOT)));
        assert_eq!(verdict.refusals, []);
        verdict.caveats
    };
    let both = [Caveat::OneMachine, Caveat::NotWitnessed];
    assert_eq!(caveats(&["quorum none".to_owned()], &[1, 2]), both);
    assert_eq!(caveats(&[node_line(1), "quorum n1".to_owned()], &[1]), both);
    let (one, two) = (node_line(1), node_line(2));
    let any = ["group g any n1 n2", "quorum g"].map(str::to_owned);
    assert_eq!(
        caveats(&[&[one.clone(), two.clone()], &any[..]].concat(), &[1, 2]),
        both
    );
    let all = ["group g all n1 n2", "quorum g"].map(str::to_owned);
    let caveats = caveats(&[&[one, two], &all[..]].concat(), &[1, 2]);
    assert_eq!(caveats, [Caveat::NotWitnessed]);
    assert_eq!(
        Caveat::OneMachine.to_string(),
        "one compromised machine could have made this"
    );
}

#[test]
fn required_nodes_is_the_cheapest_way_to_meet_the_quorum() {
    let lines = |tail: &[&str]| {
        let mut lines = vec!["candor-policy v1".to_owned(), keyset_line(&log_keys("a"))];
        lines.extend((1..=5).map(node_line));
        lines.extend(["w/1", "w/2", "w/3"].map(witness_line));
        lines.extend(tail.iter().map(|line| (*line).to_owned()));
        Policy::parse(&lines.join("\n")).unwrap().required_nodes()
    };
    assert_eq!(lines(&["quorum none"]), 0);
    assert_eq!(lines(&["quorum n1"]), 1);
    assert_eq!(lines(&["quorum w/1"]), 0);
    assert_eq!(lines(&["group g 3 n1 n2 n3 n4 n5", "quorum g"]), 3);
    // A group that witnesses alone can meet needs no node.
    assert_eq!(lines(&["group g 2 n1 n2 w/1 w/2", "quorum g"]), 0);
    assert_eq!(lines(&["group g 3 n1 n2 w/1 w/2", "quorum g"]), 1);
    let nested = [
        "group a 2 n1 n2 n3",
        "group b any n4 w/1",
        "group c all a b",
        "quorum c",
    ];
    assert_eq!(lines(&nested), 2);
    let either = [
        "group a all n1 n2 n3",
        "group b all n4 n5 w/1",
        "group c any a b",
        "quorum c",
    ];
    assert_eq!(lines(&either), 2);
}

#[test]
fn distrusted_families_are_named_and_must_still_sign() {
    let keys = log_keys("a");
    let mut policy = Policy::for_cluster(keys.key_set(), &members(&[1, 2, 3])).unwrap();
    policy.distrust(Algorithm::MlDsa65);
    let verdict = policy.check(&good_note(&keys));
    assert!(verdict.accepted().is_some());
    assert_eq!(
        verdict.caveats,
        [Caveat::Distrusted(Algorithm::MlDsa65), Caveat::NotWitnessed]
    );
    let mut without = good_note(&keys);
    without.signatures.remove(1);
    assert!(policy.check(&without).accepted().is_none());
    policy.distrust(Algorithm::Ed25519);
    assert!(policy.check(&good_note(&keys)).accepted().is_some());
    policy.distrust(Algorithm::SlhDsaSha2128f);
    let verdict = policy.check(&good_note(&keys));
    assert_eq!(verdict.refusals, [Refusal::NothingTrusted]);
}

#[test]
fn cosignatures_from_before_the_seal_are_told_apart() {
    let keys = log_keys("a");
    let policy = Policy::parse(&text()).unwrap();
    let mut note = good_note(&keys);
    note.signatures
        .push(witness("w.example/1").sign(&note.text, SEALED_S - 9));
    let verdict = policy.check(&note);
    assert_eq!(verdict.early(9_249), [("w.example/1", SEALED_S - 9)]);
    assert_eq!(verdict.early(9_250), []);
    assert_eq!(verdict.early(249).len(), 3);
}

#[test]
fn a_policy_reads_back_from_its_own_text() {
    let policy = Policy::parse(&text()).unwrap();
    let written = policy.to_text();
    let again = Policy::parse(&written).unwrap();
    assert_eq!(again, policy);
    assert_eq!(again.to_text(), written);
    assert!(!written.contains("# who"));
    let keys = log_keys("a");
    let cluster = Policy::for_cluster(keys.key_set(), &members(&[1, 2, 3])).unwrap();
    assert_eq!(Policy::parse(&cluster.to_text()).unwrap(), cluster);
    assert_eq!(cluster.required_nodes(), 2);
    assert!(
        cluster
            .to_text()
            .ends_with("group nodes 2 node-1 node-2 node-3\nquorum nodes\n")
    );
    let nobody = Policy::for_cluster(keys.key_set(), &[]).unwrap();
    assert!(nobody.to_text().ends_with("\nquorum none\n"));
    let twice = [members(&[1]), members(&[1])].concat();
    assert!(Policy::for_cluster(keys.key_set(), &twice).is_err());
}

#[test]
fn the_c2sp_form_keeps_the_quorum_and_says_what_it_loses() {
    let policy = Policy::parse(&text()).unwrap();
    let export = policy.export_c2sp();
    let lines: Vec<_> = export
        .text
        .lines()
        .filter(|l| !l.starts_with('#'))
        .collect();
    let [ed25519, ..] = log_keys("a").key_set().vkeys();
    assert_eq!(lines[0], format!("log {ed25519}"));
    assert_eq!(lines[1], node_line(1).replace("node n1", "witness n1"));
    assert_eq!(
        lines[5],
        witness_line("w.example/2") + " https://w.example/2"
    );
    assert_eq!(lines.last(), Some(&"quorum both"));
    assert_eq!(lines.len(), 1 + 5 + 3 + 1);
    assert!(export.warning.contains("weaker") && export.text.starts_with("# this C2SP policy is"));
}

fn problem(text: &str, line: usize) -> PolicyProblem {
    let error = Policy::parse(text).unwrap_err();
    assert_eq!(error.line, line, "{error}");
    error.problem
}

/// A policy of four good lines, and these.
fn base(lines: &[&str]) -> String {
    let (keys, first, second) = (keyset_line(&log_keys("a")), node_line(1), node_line(2));
    [&["candor-policy v1", &keys, &first, &second], lines]
        .concat()
        .join("\n")
}

#[test]
fn refuses_a_file_that_breaks_a_rule() {
    use PolicyProblem as P;
    let [ed25519, ml_dsa, slh_dsa] = log_keys("a").key_set().vkeys();
    assert_eq!(problem("", 1), P::NotAPolicy);
    assert_eq!(problem("# first\ncandor-policy v1", 1), P::NotAPolicy);
    assert_eq!(problem("candor-policy v2", 1), P::NotAPolicy);
    assert_eq!(problem("candor-policy v1\r\n", 1), P::Control(13));
    assert_eq!(problem("candor-policy v1\nquorum none", 3), P::NoKeySet);
    assert_eq!(problem(&base(&[]), 5), P::NoQuorum);
    assert_eq!(problem(&base(&["# \u{85}"]), 5), P::Control(0x85));
    let second = base(&["group g any n1", "group h any n1"]);
    assert_eq!(problem(&second, 6), P::AlreadyMember { name: "n1".into() });
    assert_eq!(
        problem(&base(&["quorum n1", "quorum none"]), 6),
        P::Second("quorum")
    );
    let pin = format!("pin {ORIGIN} 5 {}", "A".repeat(43) + "=");
    assert_eq!(problem(&base(&[&pin, &pin]), 6), P::Second("pin"));
    for keyset in [
        format!("keyset {ORIGIN} 1 {ed25519} {slh_dsa} {ml_dsa}"),
        format!("keyset {ORIGIN} 2 {ed25519} {ml_dsa} {slh_dsa}"),
        format!("keyset other 1 {ed25519} {ml_dsa} {slh_dsa}"),
    ] {
        let text = format!("candor-policy v1\n{keyset}");
        assert!(matches!(problem(&text, 2), P::KeySet(_)));
    }
    let two = format!("candor-policy v1\nkeyset {ORIGIN} 1 {ed25519} {ml_dsa}");
    assert!(matches!(problem(&two, 2), P::Form(_)));
}

#[test]
fn refuses_a_line_that_breaks_a_rule_and_names_it() {
    use PolicyProblem as P;
    let (keys, n1) = (keyset_line(&log_keys("a")), node_line(1));
    let [ed25519, ..] = log_keys("a").key_set().vkeys();
    for (line, want) in [
        (&*format!("log {ed25519}"), P::LogLine),
        ("trust me", P::UnknownItem("trust".into())),
        ("quorum", P::Form("quorum <name>|none")),
        ("quorum n3", P::Undefined("n3".into())),
        (&n1, P::DuplicateName("n1".into())),
        (
            &n1.replace("n1", "n9"),
            P::DuplicateKey { name: "n9".into() },
        ),
        (&n1.replace("n1", "none"), P::Reserved),
        (&keys, P::Second("keyset")),
        ("group g all n1 n3", P::Undefined("n3".into())),
        ("group g all g", P::Undefined("g".into())),
        ("group g all none", P::Reserved),
        ("group n1 all n2", P::DuplicateName("n1".into())),
        ("group g any n1 n1", P::AlreadyMember { name: "n1".into() }),
        (
            "group g 0 n1",
            P::Threshold {
                got: "0".into(),
                members: 1,
            },
        ),
        (
            "group g 2 n1",
            P::Threshold {
                got: "2".into(),
                members: 1,
            },
        ),
        (
            "group g 01 n1",
            P::Threshold {
                got: "01".into(),
                members: 1,
            },
        ),
        (
            "group g all",
            P::Threshold {
                got: "all".into(),
                members: 0,
            },
        ),
        ("group g", P::Form("group <name> all|any|<k> <members...>")),
        ("pin x 5 BwcH", P::Form("pin <origin> <size> <base64 root>")),
        (
            &*format!("pin x 5 {}", "A".repeat(43) + "="),
            P::Undefined("x".into()),
        ),
        (
            &*format!("node n3 {ed25519}"),
            P::NotACosigner(crate::note::KeyKind::Log(Algorithm::Ed25519)),
        ),
        (
            &*witness_line("other.example/node/3").replace("witness", "node"),
            P::NodeName("other.example/node/3".into()),
        ),
        (
            &*node_line(3).replace("node n3", "witness n3"),
            P::NodeAsWitness(format!("{ORIGIN}/node/3")),
        ),
    ] {
        assert_eq!(problem(&base(&[line]), 5), want);
    }
}

#[test]
fn limits_hold_at_their_values() {
    let mut lines = vec!["candor-policy v1".to_owned()];
    let keysets: Vec<_> = (0..=POLICY_KEYS_MAX)
        .map(|n| keyset_line(&log_keys(&format!("many {n}"))))
        .collect();
    lines.extend(keysets.iter().take(POLICY_KEYS_MAX).cloned());
    lines.extend((0..POLICY_KEYS_MAX).map(|n| witness_line(&format!("w{n}"))));
    lines.extend((0..POLICY_GROUPS_MAX).map(|n| format!("group g{n} all w{n}")));
    lines.push("quorum g63".to_owned());
    let policy = Policy::parse(&lines.join("\n")).unwrap();
    assert_eq!(policy.keysets().len(), 64);
    assert_eq!(Policy::parse(&policy.to_text()).unwrap(), policy);
    for (line, item) in [
        (keysets[64].clone(), "keyset"),
        (witness_line("more"), "node and witness"),
        ("group more all g0".to_owned(), "group"),
    ] {
        let text = [&lines[..], &[line]].concat().join("\n");
        let max = 64;
        let problem = Policy::parse(&text).unwrap_err().problem;
        assert_eq!(problem, PolicyProblem::TooMany { item, max });
    }
    let long = format!("{}\n# {}", lines.join("\n"), "x".repeat(POLICY_LEN_MAX));
    let error = Policy::parse(&long).unwrap_err();
    assert!(matches!(error.problem, PolicyProblem::TooLong { .. }));
}
