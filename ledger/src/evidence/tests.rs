#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
use super::*;
use crate::canonical;

fn sample() -> Evidence {
    let hash = NodeHash([7; 32]);
    EvidenceBuilder::new("example.org/log", "acme", "decision:42")
        .entry(
            "{\"seq\":9}",
            Seq(9),
            &[hash, hash],
            ("later\n", TreeSize(12)),
        )
        .entry(
            "{\"seq\":3,\"x\":\"\u{1f600}\"}",
            Seq(3),
            &[],
            ("first\n", TreeSize(4)),
        )
        .entry(
            "{\"seq\":9}",
            Seq(9),
            &[hash, hash],
            ("later\n", TreeSize(12)),
        )
        .value(b"the output")
        .value(b"the output")
        .claim(Claim::Entry { seq: Seq(3) })
        .claim(Claim::SubjectLifecycle { from_n: 1, to_n: 2 })
        .claim(Claim::SubjectComplete)
        .claim(Claim::SubjectAbsent)
        .claim(Claim::Range {
            from: Seq(3),
            to: Seq(9),
        })
        .claim(Claim::Value { seq: Seq(9) })
        .finish()
        .unwrap()
}

#[test]
fn what_is_built_is_sorted_holds_each_part_once_and_reads_back_as_written() {
    let evidence = sample();
    assert_eq!(evidence.size, TreeSize(12));
    assert_eq!(evidence.notes.len(), 2);
    assert_eq!(evidence.values.len(), 1);
    let indices: Vec<u64> = evidence.entries.iter().map(|e| e.index.0).collect();
    assert_eq!(indices, [3, 9]);
    let text = evidence.render();
    assert_eq!(Evidence::parse(text.as_bytes()).unwrap(), evidence);
    assert!(canonical::parse_canonical(text.trim_end().as_bytes()).is_ok());
    assert_eq!(evidence.entry(Seq(9)).unwrap().line, "{\"seq\":9}");
    assert!(evidence.entry(Seq(4)).is_none());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn formatting_is_free_but_keys_types_and_spellings_are_not() {
    let text = sample().render();
    let spaced = text.replace("\"claims\"", " \n\t\"claims\"");
    assert_eq!(Evidence::parse(spaced.as_bytes()).unwrap(), sample());
    let hash = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    for (from, to, says) in [
        (
            "evidence.v1",
            "evidence.v2",
            "the format is `candor.evidence.v2`",
        ),
        ("\"format\":", "\"formats\":", "the format is ``"),
        (
            "\"origin\":",
            "\"extra\":1,\"origin\":",
            "the key `extra` is unknown",
        ),
        (
            "\"tenant\":\"acme\",",
            "",
            "the file: the key `tenant` is missing",
        ),
        (
            "\"tenant\":\"acme\"",
            "\"tenant\":null",
            "tenant: want a string, found null",
        ),
        (
            "\"size\":12",
            "\"size\":-12",
            "size: want an integer from 0",
        ),
        ("\"size\":12", "\"size\":1e1", "not readable as JSON"),
        (
            "\"size\":12",
            "\"size\":12,\"size\":12",
            "not readable as JSON",
        ),
        (
            "\"index\":9",
            "\"index\":3",
            "entries[1]: index `3` does not ascend from `3`",
        ),
        (
            "\"index\":3",
            "\"index\":10",
            "entries[1]: index `9` does not ascend from `10`",
        ),
        (
            "\"note\":1",
            "\"note\":2",
            "note `2` is not among the 2 notes",
        ),
        (
            hash,
            &hash.replace("wc=", "wd="),
            "path[0]: want canonical base64",
        ),
        (
            hash,
            &hash.replace("wc=", "wc"),
            "path[0]: want canonical base64",
        ),
        (hash, "BwcHBw==", "path[0]: want 32 bytes"),
        ("\"sha3-256:", "\"sha-256:", "output_hash: want sha3-256:"),
        (
            "\"output_hash\":\"sha3-256:",
            "\"output_hash\":\"",
            "output_hash: want sha3-256:",
        ),
        (
            "\"first\\n\"",
            "\"later\\n\"",
            "notes[1]: the same as notes[0]",
        ),
        (
            "\"subject-absent\"",
            "\"subject-gone\"",
            "claim 3 is of the unknown type `subject-gone`",
        ),
        (
            "\"subject-absent\"",
            "\"subject-complete\"",
            "claims[3]: the same as claims[2]",
        ),
        (
            "\"from_n\":1",
            "\"from_n\":0",
            "want 1 <= `from_n` <= `to_n`",
        ),
        (
            "\"from_n\":1",
            "\"from_n\":3",
            "want 1 <= `from_n` <= `to_n`",
        ),
        ("\"from\":3", "\"from\":10", "`from` is after `to`"),
        (
            "{\"seq\":9},\"type\"",
            "{\"seq\":9,\"n\":1},\"type\"",
            "the key `n` is unknown",
        ),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from} is not in the sample");
        let error = Evidence::parse(changed.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
}

#[test]
fn evidence_without_a_claim_or_a_note_is_not_made() {
    let empty = EvidenceBuilder::new("o", "t", "ledger");
    assert!(
        empty
            .clone()
            .claim(Claim::SubjectComplete)
            .finish()
            .is_err()
    );
    assert!(empty.clone().note("n", TreeSize(1)).finish().is_err());
    let least = empty.note("n", TreeSize(1)).claim(Claim::SubjectComplete);
    assert!(least.finish().is_ok());
}

#[test]
fn limits_hold_before_memory_is_spent() {
    let mut commas = sample().render().into_bytes();
    commas.extend(vec![b','; SEPARATORS_MAX]);
    let refused = Evidence::parse(&commas).unwrap_err();
    assert!(matches!(refused, EvidenceError::TooLarge(_)), "{refused}");

    let mut long = sample();
    long.entries[0].path = vec![NodeHash([0; 32]); PATH_LEN_MAX + 1];
    assert!(Evidence::parse(long.render().as_bytes()).is_err());
    let mut many = sample();
    many.claims = (0..=u64::try_from(CLAIMS_MAX).unwrap())
        .map(|seq| Claim::Entry { seq: Seq(seq) })
        .collect();
    assert!(Evidence::parse(many.render().as_bytes()).is_err());
    let mut noted = sample();
    noted.notes = (0..=NOTES_MAX).map(|note| note.to_string()).collect();
    assert!(Evidence::parse(noted.render().as_bytes()).is_err());
}
