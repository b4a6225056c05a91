#!/usr/bin/env python3
"""Writes fingerprint.json: fields as a user spells them, their canonical form, the fingerprint.

Written from the rules in ledger/FORMAT.md with Python's standard library alone, and shares no code
with the Rust implementation. Deterministic: running it again changes nothing.

    python3 make_fingerprint_vectors.py            # writes fingerprint.json beside this file
    python3 make_fingerprint_vectors.py --check    # compares instead
"""

import decimal
import hashlib
import json
import pathlib
import random
import struct
import sys

FIELDS = {
    "exact": [
        "model_name",
        "model_version",
        "prompt_hash",
        "temperature",
        "top_p",
        "system_prompt_hash",
        "hardware_class",
        "parameters",
    ],
    "result-only": ["model_version", "computation_type", "parameters", "hardware_class"],
}
FIELDS["semantic"] = FIELDS["exact"]

INT_MAX = 2**53 - 1


def fingerprint_preimage(pattern, fields):
    parts = [b"candor.fingerprint.v1/" + pattern.encode("ascii") + b"\n"]
    for name in FIELDS[pattern]:
        value = fields[name].encode("utf-8")
        parts.append(struct.pack(">I", len(value)) + value)
    return b"".join(parts)


def canonical_decimal(text):
    if text == "":
        return ""
    with decimal.localcontext() as context:
        context.prec = 200
        number = decimal.Decimal(text)
        if number == 0:
            return "0"
        plain = format(number, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    assert sum(c.isdigit() for c in plain) <= 18, plain
    return plain


def canonical_digest(text):
    return "sha3-256:" + text if len(text) == 64 and ":" not in text else text


def canonical_parameters(text):
    if text == "":
        return "{}"
    value = json.loads(text)
    assert isinstance(value, dict)
    for item in value.values():
        assert isinstance(item, (str, bool, int)), item
        assert isinstance(item, (str, bool)) or abs(item) <= INT_MAX, item
    # json.dumps sorts by code point; JCS sorts by UTF-16 code unit.
    ordered = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be", "strict"))
    return json.dumps(dict(ordered), ensure_ascii=False, separators=(",", ":"))


def canonical_fields(pattern, fields):
    rules = {
        "prompt_hash": canonical_digest,
        "system_prompt_hash": canonical_digest,
        "temperature": canonical_decimal,
        "top_p": canonical_decimal,
        "parameters": canonical_parameters,
    }
    return {name: rules.get(name, str)(fields[name]) for name in FIELDS[pattern]}


def case(name, pattern, fields):
    assert list(fields) == FIELDS[pattern], name
    canonical = canonical_fields(pattern, fields)
    preimage = fingerprint_preimage(pattern, canonical)
    return {
        "name": name,
        "pattern": pattern,
        "given": fields,
        "canonical": canonical,
        "preimage": preimage.hex() if len(preimage) <= 1024 else None,
        "preimage_sha256": hashlib.sha256(preimage).hexdigest(),
        "fingerprint": "fingerprint:sha3-256:" + hashlib.sha3_256(preimage).hexdigest(),
    }


def digest(text, tag="sha3-256:"):
    return tag + hashlib.sha3_256(text.encode("utf-8")).hexdigest()


BASE_EXACT = {
    "model_name": "llama-3.1-70b-instruct",
    "model_version": "2024-07-23",
    "prompt_hash": digest("What is the capital of France?"),
    "temperature": "0.7",
    "top_p": "0.95",
    "system_prompt_hash": digest("You are a helpful assistant."),
    "hardware_class": "a100-80gb",
    "parameters": '{"max_tokens":256,"seed":7}',
}
BASE_RESULT_ONLY = {
    "model_version": "risk-model/4.2",
    "computation_type": "credit-score",
    "parameters": '{"policy":"2025-Q2"}',
    "hardware_class": "cpu-avx512",
}


def base(pattern, **changed):
    fields = dict(BASE_RESULT_ONLY if pattern == "result-only" else BASE_EXACT)
    unknown = set(changed) - set(fields)
    assert not unknown, unknown
    fields.update(changed)
    return fields


def chosen_cases():
    for pattern in ("exact", "semantic", "result-only"):
        yield case(f"{pattern}: base", pattern, base(pattern))
        yield from (
            case(f"{pattern}: parameters {name}", pattern, base(pattern, parameters=text))
            for name, text in PARAMETERS
        )
    for pattern in ("exact", "semantic"):
        empty = digest("")
        yield case(f"{pattern}: no system prompt", pattern, base(pattern, system_prompt_hash=""))
        yield case(f"{pattern}: empty system prompt", pattern, base(pattern, system_prompt_hash=empty))
        for tag in ("", "sha-256:", "hmac-sha3-256:"):
            prompt = digest("x", tag)
            yield case(f"{pattern}: prompt digest tag '{tag}'", pattern, base(pattern, prompt_hash=prompt))
    for field in ("temperature", "top_p"):
        for text in DECIMALS:
            yield case(f"exact: {field} '{text}'", "exact", base("exact", **{field: text}))
    for left, right in (("ab", "c"), ("a", "bc"), ("abc", "-"), ("-", "abc")):
        moved = base("exact", model_name=left, model_version=right)
        yield case(f"exact: boundary '{left}' '{right}'", "exact", moved)
        moved = base("result-only", model_version=left, computation_type=right)
        yield case(f"result-only: boundary '{left}' '{right}'", "result-only", moved)
    for name, text in (("shortest", "~"), ("longest", "x" * 200), ("odd", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")):
        yield case(f"exact: {name} model name", "exact", base("exact", model_name=text))
    longest = '{"a":"' + "x" * (16 * 1024 - 8) + '"}'
    yield case("exact: longest parameters", "exact", base("exact", parameters=longest))


PARAMETERS = [
    ("none", "{}"),
    ("absent", ""),
    ("respelled", ' { "z" : 1 ,\n\t"a" : "\\u0061\\/" } '),
    ("respelled canonically", '{"a":"a/","z":1}'),
    ("every kind", '{"b":true,"c":false,"i":-9007199254740991,"j":9007199254740991,"s":""}'),
    ("escapes", '{"\\u0000":"\\u001F\\b\\f\\n\\r\\t\\"\\\\\\u007f","\\u20ac":"\\u20ac"}'),
    ("beyond the BMP", '{"\\ufb33":1,"\\ud83d\\ude00":2,"\\u00f6":3,"1":4}'),
    ("composed", '{"caf\\u00e9":1}'),
    ("decomposed", '{"cafe\\u0301":1}'),
    ("number as text", '{"seed":"7"}'),
    ("number", '{"seed":7}'),
    ("truth", '{"stream":true}'),
    ("truth as text", '{"stream":"true"}'),
]

DECIMALS = [
    "", "0", "0.0", "0.00", "-0", "-0.0", "+0", "0e5",
    "1", "1.0", "+1.0", "01", "1e0", "10e-1",
    "0.7", "0.70", ".7", "7e-1",
    "0.00001", "1e-05", "1E-5",
    "100", "1E2", "1e+2",
    "-1.5", "-1.50",
    "0.00000000000000001", "999999999999999999", "12345678.0123456789",
]  # fmt: skip


def random_cases(count):
    rng = random.Random("candor.fingerprint.v1")
    printable = [chr(c) for c in range(0x21, 0x7F)]

    def name():
        return "".join(rng.choice(printable) for _ in range(rng.randint(1, 40)))

    def number():
        whole = str(rng.randint(0, 10 ** rng.randint(0, 6)))
        fraction = "".join(rng.choice("0123456789") for _ in range(rng.randint(0, 8)))
        return rng.choice(["", "-"]) + whole + ("." + fraction if fraction else "")

    def text():
        alphabet = "aZ09 \u00e9\u20ac\ufb33\U0001f600\"\\/\n\t\x01"
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, 8)))

    def parameters():
        values = [text, lambda: rng.randint(-INT_MAX, INT_MAX), lambda: rng.random() < 0.5]
        members = {text(): rng.choice(values)() for _ in range(rng.randint(0, 6))}
        return json.dumps(members, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))

    for number_of_case in range(count):
        pattern = rng.choice(["exact", "semantic", "result-only"])
        values = {
            "prompt_hash": lambda: digest(text(), rng.choice(["", "sha3-256:", "sha-256:"])),
            "system_prompt_hash": lambda: rng.choice(["", digest(text())]),
            "temperature": lambda: rng.choice(["", number()]),
            "top_p": lambda: rng.choice(["", number()]),
            "parameters": parameters,
        }
        fields = {field: values.get(field, name)() for field in FIELDS[pattern]}
        yield case(f"random {number_of_case}", pattern, fields)


def refused_cases():
    """(name, field that must be named, fields): neither an SDK nor a server takes them."""
    for name, text in (
        ("empty", ""),
        ("too long", "x" * 201),
        ("a space", "a b"),
        ("beyond ASCII", "mod\u00e8le"),
        ("a control character", "a\u0000"),
        ("DEL", "a\u007f"),
    ):
        for field in ("model_name", "model_version", "hardware_class"):
            yield f"{field}: {name}", field, "exact", base("exact", **{field: text})
        yield f"computation_type: {name}", "computation_type", "result-only", base(
            "result-only", computation_type=text
        )
    for name, text in (
        ("empty", ""),
        ("upper case", digest("x").upper()),
        ("upper-case digits", "sha3-256:" + "AB" * 32),
        ("unknown algorithm", "md5:" + "00" * 32),
        ("one digit short", digest("x")[:-1]),
        ("one digit more", digest("x") + "0"),
        ("a space before", " " + digest("x")),
    ):
        yield f"prompt_hash: {name}", "prompt_hash", "semantic", base("semantic", prompt_hash=text)
        if text:
            yield f"system_prompt_hash: {name}", "system_prompt_hash", "exact", base(
                "exact", system_prompt_hash=text
            )
    for text in (
        "NaN", "nan", "inf", "-Infinity", "0x1p3", "1_000", "0,7", " 1", "1 ", "--1", "1.2.3", "e5", "1e", ".", "-",
        "1e18", "1e-18", "0.123456789012345678", "1234567890.123456789", "1e999999999999999999999", "0" * 65,
        "\u0661",
    ):  # fmt: skip
        for field in ("temperature", "top_p"):
            yield f"{field}: '{text}'", field, "exact", base("exact", **{field: text})
    for name, text in (
        ("an integer above 2^53 - 1", '{"a":9007199254740992}'),
        ("an integer below -(2^53 - 1)", '{"a":-9007199254740992}'),
        ("an integer beyond 64 bits", '{"a":18446744073709551616}'),
        ("a fraction", '{"temperature":0.7}'),
        ("a whole number with a point", '{"a":1.0}'),
        ("an exponent", '{"a":1e2}'),
        ("minus zero", '{"a":-0}'),
        ("a leading zero", '{"a":07}'),
        ("NaN", '{"a":NaN}'),
        ("a duplicate key", '{"a":1,"a":1}'),
        ("a duplicate key in another spelling", '{"a":1,"\\u0061":2}'),
        ("null", '{"a":null}'),
        ("a list", '{"stop":["\\n"]}'),
        ("an object", '{"a":{}}'),
        ("a list at the top", "[]"),
        ("a string at the top", '"a"'),
        ("half a surrogate pair", '{"a":"\\ud800"}'),
        ("a raw line feed in a string", '{"a":"\n"}'),
        ("bytes after the object", "{} {}"),
        ("a byte order mark", "\ufeff{}"),
        ("a comma too many", '{"a":1,}'),
        ("only a space", " "),
    ):
        for pattern in ("exact", "result-only"):
            yield f"parameters: {name}", "parameters", pattern, base(pattern, parameters=text)
    too_long = '{"a":"' + "x" * (16 * 1024 - 7) + '"}'
    fields = base("exact", parameters=too_long)
    yield "parameters: more than 16 KiB", "parameters", "exact", fields


def main():
    cases = [*chosen_cases(), *random_cases(60)]
    refused = [
        {"name": name, "field": field, "pattern": pattern, "given": fields}
        for name, field, pattern, fields in refused_cases()
    ]
    vectors = {"generator": "make_fingerprint_vectors.py", "cases": cases, "refused": refused}
    write("fingerprint.json", json.dumps(vectors, indent=1, ensure_ascii=True) + "\n")


def write(name, text):
    path = pathlib.Path(__file__).with_name(name)
    if "--check" in sys.argv[1:]:
        assert path.read_text("ascii") == text, f"{name} is not what this script writes"
    else:
        path.write_text(text, "ascii")


if __name__ == "__main__":
    main()
