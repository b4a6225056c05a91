#![allow(clippy::unwrap_used, reason = "test")]
use proptest::prelude::*;

use super::*;

fn text_of(json: &str) -> String {
    parse(json.as_bytes())
        .unwrap_or_else(|error| panic!("{json}: {error}"))
        .to_text()
}

#[test]
fn writes_the_one_canonical_spelling() {
    for (given, canonical) in [
        (" null ", "null"),
        ("\t[ true ,\r\nfalse ]", "[true,false]"),
        ("{ }", "{}"),
        ("[ ]", "[]"),
        (
            r#"{"b":1,"a":{"d":-2,"c":[]}}"#,
            r#"{"a":{"c":[],"d":-2},"b":1}"#,
        ),
        // RFC 8785 section 3.2.2.2: short escapes where they exist, lower-case \u00xx elsewhere.
        (
            r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#,
            r#""€$\u000f\nA'B\"\\\\\"/""#,
        ),
        (
            r#""\u0000\u0008\u0009\u000a\u000b\u000c\u000d\u001F\u007f\u2028""#,
            "\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}\u{2028}\"",
        ),
        (r#""\ud83d\uDE02""#, "\"\u{1f602}\""),
        ("9007199254740991", "9007199254740991"),
        ("-9007199254740991", "-9007199254740991"),
    ] {
        assert_eq!(text_of(given), canonical);
        assert_eq!(text_of(canonical), canonical);
        assert!(parse_canonical(canonical.as_bytes()).is_ok());
    }
}

#[test]
fn sorts_keys_by_utf16_code_units_as_rfc_8785_section_3_2_3_shows() {
    let given = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet",
        "1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin"}"#;
    let Value::Object(object) = parse(given.as_bytes()).unwrap() else {
        panic!("an object")
    };
    let keys: Vec<&str> = object.iter().map(|(key, _)| key).collect();
    // By UTF-8 bytes the smiley (U+1F600) would come after the dalet (U+FB33).
    let expected = ["\r", "1", "\u{80}", "ö", "€", "\u{1f600}", "\u{fb33}"];
    assert_eq!(keys, expected);
    for key in expected {
        assert!(object.get(key).is_some(), "{key:?} is found");
    }
}

#[test]
fn refuses_what_two_readers_could_understand_differently() {
    use JsonError as E;
    let unexpected = |at, expected, found| E::Unexpected {
        at,
        expected,
        found,
    };
    let duplicate = |at, key: &str| E::DuplicateKey {
        at,
        key: key.to_owned(),
    };
    let cases: [(&[u8], JsonError); 23] = [
        (br#"{"a":1,"b":2,"a":1}"#, duplicate(13, "a")),
        (br#"{"a":1,"\u0061":2}"#, duplicate(7, "a")),
        (br#"[{"":{"k":1, "k":1}}]"#, duplicate(13, "k")),
        (b"-", unexpected(1, "a digit", Found::End)),
        (b"+1", unexpected(0, "a value", Found::Char('+'))),
        (b".5", unexpected(0, "a value", Found::Char('.'))),
        (b"NaN", unexpected(0, "a value", Found::Char('N'))),
        (b"nul", unexpected(3, "`null`", Found::End)),
        (b"", unexpected(0, "a value", Found::End)),
        (b"[1,]", unexpected(3, "a value", Found::Char(']'))),
        (b"[1 2]", unexpected(3, "`,` or `]`", Found::Char('2'))),
        (br#"{"a":1,}"#, unexpected(7, "a key", Found::Char('}'))),
        (b"{a:1}", unexpected(1, "a key", Found::Char('a'))),
        (br#"{"a" 1}"#, unexpected(5, "`:`", Found::Char('1'))),
        (br#""a"#, unexpected(2, "the end of the string", Found::End)),
        (
            b"1 \xe2\x82\xac",
            E::Trailing {
                at: 2,
                found: Found::Char('€'),
            },
        ),
        (b"\xef\xbb\xbf1", E::ByteOrderMark),
        // U+D800 as three raw bytes: UTF-8 has no surrogates.
        (b"\"\xed\xa0\x80\"", E::InvalidUtf8 { at: 1, byte: 0xed }),
        (
            br#""\ud800""#,
            E::LoneSurrogate {
                at: 1,
                unit: 0xd800,
            },
        ),
        (
            br#""x\udc00\ud800""#,
            E::LoneSurrogate {
                at: 2,
                unit: 0xdc00,
            },
        ),
        (
            br#""\ud800\ud800""#,
            E::LoneSurrogate {
                at: 1,
                unit: 0xd800,
            },
        ),
        (
            br#""\u+123""#,
            E::Escape {
                at: 1,
                found: "u+123".to_owned(),
            },
        ),
        (b"\"a\nb\"", E::ControlCharacter { at: 2, byte: 10 }),
    ];
    for (bytes, error) in cases {
        assert_eq!(parse(bytes), Err(error), "{}", bytes.escape_ascii());
    }
}

#[test]
fn refuses_numbers_that_readers_round_or_spell_differently() {
    let number = |at, found: &str, problem| JsonError::Number {
        at,
        found: found.to_owned(),
        problem,
    };
    let cases: [(&[u8], JsonError); 9] = [
        (b"1.0", number(0, "1", NumberProblem::Fraction)),
        (b"[1e2]", number(1, "1", NumberProblem::Exponent)),
        (b"1E2", number(0, "1", NumberProblem::Exponent)),
        (b"-0", number(0, "-0", NumberProblem::NegativeZero)),
        (b"-0.5", number(0, "-0", NumberProblem::Fraction)),
        (b"01", number(0, "01", NumberProblem::LeadingZero)),
        (b"-00", number(0, "-00", NumberProblem::LeadingZero)),
        (
            b"9007199254740992",
            number(0, "9007199254740992", NumberProblem::OutOfRange),
        ),
        (
            b"-99999999999999999999",
            number(0, "-99999999999999999999", NumberProblem::OutOfRange),
        ),
    ];
    for (bytes, error) in cases {
        assert_eq!(parse(bytes), Err(error), "{}", bytes.escape_ascii());
    }
}

#[test]
fn errors_stay_short_however_long_the_input() {
    let long = "1".repeat(100_000);
    for text in [long.clone(), format!(r#"{{"{long}":1,"{long}":1}}"#)] {
        let message = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(message.contains("1111") && message.len() < 200, "{message}");
    }
}

#[test]
fn names_the_first_byte_that_is_not_canonical() {
    for (given, at) in [
        (&br#"{"a": 1}"#[..], 5),
        (br#"{"b":1,"a":2}"#, 2),
        (br#""\u0041""#, 1),
        (b"1 ", 1),
    ] {
        let error = parse_canonical(given).unwrap_err();
        assert_eq!(error, JsonError::NotCanonical { at });
    }
}

#[test]
fn nests_to_the_limit_and_no_deeper() {
    for (open, close) in [("[", "]"), (r#"{"":"#, "}")] {
        let nested = |levels| format!("{}1{}", open.repeat(levels), close.repeat(levels));
        assert_eq!(text_of(&nested(DEPTH_MAX)), nested(DEPTH_MAX));
        let too_deep = parse(nested(DEPTH_MAX + 1).as_bytes()).unwrap_err();
        assert!(matches!(too_deep, JsonError::TooDeep { .. }), "{too_deep}");
    }
    let hostile = "[".repeat(1_000_000);
    assert!(
        parse(hostile.as_bytes()).is_err(),
        "refused without recursion"
    );
}

#[test]
fn an_object_holds_each_key_once() {
    let mut object = Object::new();
    assert_eq!(object.insert("b".into(), 1.into()), None);
    assert_eq!(object.insert("a".into(), "x".into()), None);
    assert_eq!(object.insert("b".into(), true.into()), Some(Value::Int(1)));
    assert_eq!(object.len(), 2);
    assert_eq!(
        Value::from(object.clone()).to_text(),
        r#"{"a":"x","b":true}"#
    );
    assert_eq!(object.remove("b"), Some(Value::Bool(true)));
    assert_eq!(object.remove("b"), None);
    assert_eq!(object.get("b"), None);
}

#[test]
fn integers_stop_where_other_readers_round() {
    let max = u64::try_from(INT_MAX).unwrap();
    assert_eq!(Value::try_from(max), Ok(Value::Int(INT_MAX)));
    assert_eq!(Value::try_from(max + 1), Err(IntTooLarge(max + 1)));
    assert_eq!(Value::try_from(u64::MAX), Err(IntTooLarge(u64::MAX)));
}

/// Values of every kind, with strings that need escapes and keys beyond the BMP.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-INT_MAX..=INT_MAX).prop_map(Value::Int),
        strings().prop_map(Value::Str),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((strings(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn strings() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\u{0}-\u{20}\"\\\\a-c]{0,6}",
        "[\u{e000}-\u{10ffff}]{0,3}",
        any::<String>()
    ]
}

fn to_serde(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        Value::Str(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(to_serde).collect(),
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.to_owned(), to_serde(value)))
            .collect(),
    }
}

proptest! {
    #[test]
    fn agrees_with_an_independent_canonicalizer(value in values()) {
        let other = serde_json_canonicalizer::to_vec(&to_serde(&value)).unwrap();
        prop_assert_eq!(value.to_bytes(), other.clone());
        prop_assert_eq!(parse_canonical(&other), Ok(value));
    }

    #[test]
    fn what_is_accepted_means_the_same_to_another_reader(
        value in values(),
        pretty in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let serde = to_serde(&value);
        let mut bytes = if pretty {
            serde_json::to_vec_pretty(&serde).unwrap()
        } else {
            serde_json::to_vec(&serde).unwrap()
        };
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes.splice(at..=at, [byte]);
        }
        // Nothing makes the reader panic, and it reads no text in a meaning of its own.
        if let Ok(read) = parse(&bytes) {
            let other: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(to_serde(&read), other);
        }
    }
}
