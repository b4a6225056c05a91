#![allow(clippy::unwrap_used, reason = "test")]
use proptest::prelude::*;

use super::*;

fn exact() -> ExactFields {
    ExactFields {
        model_name: "llama-3.1-70b".to_owned(),
        model_version: "2024-07-23".to_owned(),
        prompt_hash: format!("sha3-256:{}", "ab".repeat(32)),
        temperature: "0.7".to_owned(),
        top_p: String::new(),
        system_prompt_hash: String::new(),
        hardware_class: "a100-80gb".to_owned(),
        parameters: r#"{"max_tokens":256,"seed":7}"#.to_owned(),
    }
}

fn result_only() -> ResultOnlyFields {
    ResultOnlyFields {
        model_version: "2024-07-23".to_owned(),
        computation_type: "credit-score".to_owned(),
        parameters: "{}".to_owned(),
        hardware_class: "cpu".to_owned(),
    }
}

#[test]
fn the_preimage_is_laid_out_as_documented() {
    let fields = FingerprintFields::ResultOnly(result_only());
    let expected = [
        &b"candor.fingerprint.v1/result-only\n"[..],
        b"\0\0\0\x0a2024-07-23",
        b"\0\0\0\x0ccredit-score",
        b"\0\0\0\x02{}",
        b"\0\0\0\x03cpu",
    ]
    .concat();
    assert_eq!(fields.preimage(), expected);
    assert_eq!(fields.fingerprint(), Fingerprint(sha3_256(&expected)));
}

#[test]
fn a_fingerprint_is_read_in_three_spellings_and_written_in_one() {
    let hex = "0123456789abcdef".repeat(4);
    let full = format!("fingerprint:sha3-256:{hex}");
    for text in [&full, &format!("sha3-256:{hex}"), &hex] {
        let fingerprint = Fingerprint::parse(text).unwrap();
        assert_eq!(fingerprint.to_string(), full);
        assert_eq!(fingerprint.to_hex(), hex);
    }
    for text in [
        "",
        &hex.to_uppercase(),
        &format!("fingerprint:{hex}"),
        &format!("sha-256:{hex}"),
        &format!("fingerprint:sha3-256:{hex}0"),
        &format!("fingerprint:fingerprint:sha3-256:{hex}"),
        &format!(" {hex}"),
    ] {
        assert!(Fingerprint::parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_two_users_mean_alike_is_one_fingerprint() {
    let canonical = exact();
    let spelled = ExactFields {
        prompt_hash: "ab".repeat(32),
        temperature: "0.70".to_owned(),
        parameters: "{ \"seed\": 7,\n \"max\\u005ftokens\": 256 }".to_owned(),
        ..exact()
    };
    assert_eq!(spelled.clone().normalise(), Ok(canonical.clone()));
    assert_eq!(canonical.clone().normalise(), Ok(canonical.clone()));
    FingerprintFields::Exact(canonical).validate().unwrap();
    // The server mends nothing.
    let refused = FingerprintFields::Exact(spelled).validate().unwrap_err();
    assert_eq!(refused.field, "prompt_hash");
    let none = ExactFields {
        parameters: String::new(),
        ..exact()
    };
    assert_eq!(none.normalise().unwrap().parameters, "{}");
}

#[test]
fn a_refusal_names_the_field_and_the_wanted_form() {
    let long_name = "x".repeat(NAME_LEN_MAX + 1);
    let upper_hex = "AB".repeat(32);
    let long_text = format!(r#"{{"a":"{}"}}"#, "x".repeat(PARAMETERS_LEN_MAX - 7));
    for (field, value, problem) in [
        ("model_name", "", "is empty"),
        ("model_name", &long_name, "`201` bytes"),
        ("model_version", "two words", "`\\u{20}`"),
        ("model_version", "é", "`\\u{e9}`"),
        ("hardware_class", "\u{7f}", "`\\u{7f}`"),
        ("prompt_hash", "", "64 lower-case"),
        ("prompt_hash", &upper_hex, "64 lower-case"),
        ("system_prompt_hash", "md5:00", "64 lower-case"),
        ("temperature", "NaN", "NaN"),
        ("top_p", "1e-18", "18 digits"),
        ("parameters", r#"{"a":0.5}"#, "has a fraction"),
        ("parameters", r#"{"a":9007199254740992}"#, "2^53"),
        ("parameters", r#"{"a":1,"\u0061":1}"#, "second time"),
        ("parameters", r#"{"stop":[]}"#, "a list under `stop`"),
        ("parameters", r#"{"a":null}"#, "null under `a`"),
        ("parameters", "1", "not an object"),
        ("parameters", &long_text, "`16385` bytes"),
    ] {
        let mut fields = exact();
        *field_mut(&mut fields, field) = value.to_owned();
        for refused in [
            fields.clone().normalise().unwrap_err(),
            FingerprintFields::Semantic(fields).validate().unwrap_err(),
        ] {
            assert_eq!(refused.field, field, "{refused}");
            assert!(refused.problem.contains(problem), "{refused}");
        }
    }
    let mut fields = result_only();
    fields.computation_type = "credit score".to_owned();
    let refused = FingerprintFields::ResultOnly(fields)
        .normalise()
        .unwrap_err();
    assert_eq!(refused.field, "computation_type");
}

fn field_mut<'a>(fields: &'a mut ExactFields, name: &str) -> &'a mut String {
    match name {
        "model_name" => &mut fields.model_name,
        "model_version" => &mut fields.model_version,
        "prompt_hash" => &mut fields.prompt_hash,
        "temperature" => &mut fields.temperature,
        "top_p" => &mut fields.top_p,
        "system_prompt_hash" => &mut fields.system_prompt_hash,
        "hardware_class" => &mut fields.hardware_class,
        "parameters" => &mut fields.parameters,
        other => panic!("no field {other}"),
    }
}

#[test]
fn limits_are_reached_and_not_passed() {
    let mut fields = exact();
    fields.model_name = "x".repeat(NAME_LEN_MAX);
    fields.parameters = format!(r#"{{"a":"{}"}}"#, "x".repeat(PARAMETERS_LEN_MAX - 8));
    assert_eq!(fields.parameters.len(), PARAMETERS_LEN_MAX);
    assert_eq!(fields.clone().normalise(), Ok(fields.clone()));
    // The limit is one of the canonical text, however wide its user wrote it.
    let wide = ExactFields {
        parameters: fields.parameters.replace(':', " :\n "),
        ..fields.clone()
    };
    assert_eq!(wide.clone().normalise(), Ok(fields));
    let refused = FingerprintFields::Exact(wide).validate().unwrap_err();
    assert_eq!(refused.field, "parameters");
}

#[test]
fn an_entry_body_gives_its_fields_back() {
    for fields in [
        FingerprintFields::Exact(exact()),
        FingerprintFields::Semantic(exact()),
        FingerprintFields::ResultOnly(result_only()),
    ] {
        let mut body = fields.to_object();
        assert_eq!(body.len(), fields.fields().len());
        body.insert("output_len".to_owned(), Value::Int(1));
        let pattern = Pattern::parse(fields.pattern().as_str()).unwrap();
        assert_eq!(FingerprintFields::from_object(pattern, &body), Ok(fields));

        body.insert("hardware_class".to_owned(), Value::Int(1));
        let refused = FingerprintFields::from_object(pattern, &body).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "field `hardware_class` is an integer, not a string"
        );
        body.remove("hardware_class");
        let refused = FingerprintFields::from_object(pattern, &body).unwrap_err();
        assert_eq!(refused.to_string(), "field `hardware_class` is missing");
        body.insert("hardware_class".to_owned(), "two words".into());
        assert!(
            FingerprintFields::from_object(pattern, &body).is_err(),
            "not valid"
        );
    }
    assert_eq!(Pattern::parse("Exact").unwrap_err().field, "pattern");
}

proptest! {
    #[test]
    fn different_fields_have_different_preimages(
        left in prop::array::uniform4("[a-b\u{0}]{0,3}"),
        right in prop::array::uniform4("[a-b\u{0}]{0,3}"),
    ) {
        let preimage = |[model_version, computation_type, parameters, hardware_class]: [String; 4]| {
            FingerprintFields::ResultOnly(ResultOnlyFields {
                model_version,
                computation_type,
                parameters,
                hardware_class,
            })
            .preimage()
        };
        prop_assert_eq!(left == right, preimage(left) == preimage(right));
    }
}
