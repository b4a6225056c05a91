#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
use super::*;
use crate::signature::{Algorithm, KeyError};

/// The example of c2sp.org/signed-note.
const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

#[test]
fn verifies_the_example_of_the_specification() {
    let note = Note::parse(NOTE.as_bytes()).unwrap();
    let key = VerifierKey::parse(VKEY).unwrap();
    assert_eq!(key.to_string(), VKEY);
    assert_eq!(key.kind(), KeyKind::Log(Algorithm::Ed25519));
    assert!(key.names(&note.signatures[0]));
    assert_eq!(key.verify(&note.text, &note.signatures[0].blob), Ok(None));
    let other = note.text.replace("example", "Example");
    assert!(key.verify(&other, &note.signatures[0].blob).is_err());
    assert_eq!(note.encode(), NOTE);
    assert_eq!(note.lines().next().unwrap().0, 3);
}

#[test]
fn texts_with_blank_lines_and_signature_lookalikes_end_at_the_last_blank_line() {
    let inner = format!("{NOTE}\n\nmore\n");
    let whole = format!("{inner}\n\u{2014} x AQIDBAU=\n");
    let note = Note::parse(whole.as_bytes()).unwrap();
    assert_eq!(note.text, inner);
    assert_eq!(note.signatures.len(), 1);
    assert_eq!(note.signatures[0].key_id, [1, 2, 3, 4]);
    assert_eq!(note.signatures[0].blob, [5]);
    assert_eq!(note.encode(), whole);
}

#[test]
fn refuses_every_other_spelling_and_names_the_line() {
    let line = |tail: &str| format!("text\n\n\u{2014} {tail}");
    for (content, at) in [
        (line("x AQIDBAU=\n\u{2014} y AQIDBAU\n"), 4),
        (line("x AQIDBAV=\n"), 3),
        (line("x AQIDBA==\n"), 3),
        (line("x AQIDBAU= \n"), 3),
        (line("x  AQIDBAU=\n"), 3),
        (line(" x AQIDBAU=\n"), 3),
        (line("x+y AQIDBAU=\n"), 3),
        (line("x\u{a0}y AQIDBAU=\n"), 3),
        (line("x\u{2003}y AQIDBAU=\n"), 3),
        (line("x\n"), 3),
        (line("x AQIDBAU=\nrest\n"), 4),
        ("text\n\n- x AQIDBAU=\n".to_owned(), 3),
        ("text\n\n\u{2013} x AQIDBAU=\n".to_owned(), 3),
    ] {
        let error = Note::parse(content.as_bytes()).unwrap_err();
        let named = matches!(error, NoteParseError::Line { line, .. } if line == at);
        assert!(named, "{content:?}: {error}");
    }
    for content in [
        "",
        "\n",
        "\n\n",
        "text\n\n",
        "text\n\n\u{2014} x AQIDBAU=",
        "text\n",
    ] {
        let error = Note::parse(content.as_bytes()).unwrap_err();
        assert_eq!(error, NoteParseError::NoSignatures, "{content:?}");
    }
    let crlf = NOTE.replace('\n', "\r\n");
    let error = Note::parse(crlf.as_bytes()).unwrap_err();
    assert_eq!(error, NoteParseError::Control { line: 1, byte: 13 });
    let error = Note::parse(NOTE.replacen("foo ", "foo\t", 1).as_bytes()).unwrap_err();
    assert_eq!(error, NoteParseError::Control { line: 3, byte: 9 });
    let error = Note::parse(b"a\xff\n\n").unwrap_err();
    assert_eq!(error, NoteParseError::NotUtf8 { valid_len: 1 });
}

#[test]
fn a_note_cut_anywhere_is_refused() {
    for end in 0..NOTE.len() {
        assert!(
            Note::parse(&NOTE.as_bytes()[..end]).is_err(),
            "cut at {end}"
        );
    }
}

#[test]
fn limits_hold_at_their_values() {
    let lines = |count: usize| "\u{2014} x AQIDBAU=\n".repeat(count);
    let full = format!("text\n\n{}", lines(NOTE_SIGNATURES_MAX));
    assert_eq!(Note::parse(full.as_bytes()).unwrap().signatures.len(), 64);
    let error = Note::parse(format!("text\n\n{}", lines(65)).as_bytes()).unwrap_err();
    assert_eq!(error, NoteParseError::TooManySignatures { count: 65 });
    let tail = "\n\n\u{2014} x AQIDBAU=\n";
    let longest = format!("{}{tail}", "a".repeat(NOTE_LEN_MAX - tail.len()));
    assert!(Note::parse(longest.as_bytes()).is_ok());
    let error = Note::parse(format!("a{longest}").as_bytes()).unwrap_err();
    let len = NOTE_LEN_MAX + 1;
    assert_eq!(error, NoteParseError::TooLong { len });
}

#[test]
fn verifier_keys_have_one_spelling_and_a_true_id() {
    let (name, rest) = VKEY.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    let form = |text: &str| assert_eq!(VerifierKey::parse(text), Err(VkeyError::Form), "{text}");
    for text in [
        "",
        name,
        &format!("{name}+{id}"),
        &format!("+{id}+{key}"),
        &format!("a b+{id}+{key}"),
        &format!("{name}+{id}+{key}="),
        &format!("{name}+{id}+"),
        &format!("{VKEY}+"),
    ] {
        form(text);
    }
    for text in [
        format!("{name}+{}+{key}", id.to_uppercase()),
        format!("{name}+530d903b+{key}"),
        format!("other{VKEY}"),
    ] {
        let error = VerifierKey::parse(&text).unwrap_err();
        assert!(matches!(error, VkeyError::KeyId { .. }), "{text}: {error}");
    }
    let typed = |bytes: &[u8]| VerifierKey::parse(&format!("x+00000000+{}", base64(bytes)));
    assert_eq!(typed(&[6; 1_313]), Err(VkeyError::UnknownType(6)));
    assert_eq!(
        typed(b"\xffcandor.ml-dsa-87.v1"),
        Err(VkeyError::UnknownType(0xff))
    );
    assert!(matches!(
        typed(&[1; 32]),
        Err(VkeyError::Key(KeyError::Length { .. }))
    ));
    let unusable = [&[1, 1][..], &[0; 31]].concat();
    assert!(matches!(
        typed(&unusable),
        Err(VkeyError::Key(KeyError::Unusable { .. }))
    ));
}
