#!/usr/bin/env python3
"""Writes canonical.json: JSON texts with their canonical form, and texts that must be refused.

Standard library alone; shares no code with the Rust implementation. Good texts are canonicalised by
`json.dumps`, whose key order (code points) is that of RFC 8785 (UTF-16 code units) as long as no key
goes beyond the BMP; those that do are written by hand below.

    python3 make_canonical_vectors.py            # writes canonical.json beside this file
    python3 make_canonical_vectors.py --check    # compares instead
"""

import json
import pathlib
import random
import sys

INT_MAX = 2**53 - 1
DEPTH_MAX = 8


def canonical(value):
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def spelled(text):
    return {"text": text, "canonical": canonical(json.loads(text))}


CHOSEN = [
    "null",
    " true ",
    "\r\n\t false",
    "0",
    "-1",
    str(INT_MAX),
    str(-INT_MAX),
    '""',
    '"\\/\\"\\\\\\b\\f\\n\\r\\t"',
    '"' + "".join(f"\\u{c:04X}" for c in range(0x20)) + '"',
    '"\\u007f\\u0080\\u2028\\u2029\\ufeff\\ufffe\\uffff"',
    '"\\ud83d\\ude00 \\uD834\\uDD1E \\udbff\\udfff"',
    "[]",
    "{}",
    "[ 1 , [ ] , { } ]",
    '{"b":1,"a":2}',
    '{"a":{"b":{"d":1,"c":2}}}',
    '{"":1," ":2,"\\u0000":3}',
    '{"aa":1,"a":2,"B":3,"_":4,"1":5,"10":6,"2":7}',
    '{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\u0080":5,"\\u00f6":6}',
    '{"caf\\u00e9":1,"cafe\\u0301":2}',
    "[" * DEPTH_MAX + "]" * DEPTH_MAX,
    '{"a":' * DEPTH_MAX + "1" + "}" * DEPTH_MAX,
]

# By code point U+FB33 and U+FFFF come before U+10000 and U+1F600; by UTF-16 code unit they come after,
# for a character beyond the BMP starts with a unit from D800 to DBFF.
BY_HAND = [
    (
        '{"\\ufb33":1,"\\ud83d\\ude00":2,"\\u00f6":3}',
        '{"\u00f6":3,"\U0001f600":2,"\ufb33":1}',
    ),
    (
        '{"\\uffff":1,"\\ud800\\udc00":2,"\\ue000":3,"\\ud7ff":4}',
        '{"\ud7ff":4,"\U00010000":2,"\ue000":3,"\uffff":1}',
    ),
    (
        '{"x\\uffff":1,"x\\ud83d\\ude00":2,"x":3,"x\\ud83d\\udc00":4}',
        '{"x":3,"x\U0001f400":4,"x\U0001f600":2,"x\uffff":1}',
    ),
]

BAD = [
    ("nothing", ""),
    ("only white space", " \n"),
    ("a byte order mark", "\ufeff1"),
    ("bytes after the value", "1 2"),
    ("a form feed as white space", "\f1"),
    ("a no-break space as white space", "\u00a01"),
    ("a comment", "1 // one"),
    ("an unknown word", "nil"),
    ("half a word", "tru"),
    ("upper case", "True"),
    ("single quotes", "'a'"),
    ("an unended string", '"a'),
    ("an unended list", "[1"),
    ("an unended object", '{"a":1'),
    ("a comma at the end of a list", "[1,]"),
    ("a comma at the end of an object", '{"a":1,}'),
    ("a comma at the start", "[,1]"),
    ("no comma", "[1 2]"),
    ("no colon", '{"a" 1}'),
    ("no key", "{1:1}"),
    ("no value", '{"a":}'),
    ("a wrong bracket", "[1}"),
    ("a raw line feed in a string", '"a\nb"'),
    ("a raw NUL in a string", '"\x00"'),
    ("a raw U+001F in a string", '"\x1f"'),
    ("an unknown escape", '"\\a"'),
    ("a hexadecimal escape", '"\\x41"'),
    ("three hex digits", '"\\u123"'),
    ("a sign among hex digits", '"\\u+123"'),
    ("hex digits beyond ASCII", '"\\u12\uff13\uff14"'),
    ("an upper-case U", '"\\U0041"'),
    ("a backslash at the end", '"\\'),
    ("a high surrogate alone", '"\\ud800"'),
    ("a low surrogate alone", '"\\udc00"'),
    ("two high surrogates", '"\\ud800\\ud800"'),
    ("surrogates the wrong way round", '"\\udc00\\ud800"'),
    ("a high surrogate before another escape", '"\\ud800\\n"'),
    ("a surrogate alone in a key", '{"\\ud800":1}'),
    ("a fraction", "0.5"),
    ("a whole number with a point", "1.0"),
    ("a point without digits", "1."),
    ("an exponent", "1e2"),
    ("an upper-case exponent", "1E2"),
    ("a negative exponent", "1e-2"),
    ("minus zero", "-0"),
    ("minus zero with a fraction", "-0.0"),
    ("a leading zero", "01"),
    ("a leading zero behind a minus", "-01"),
    ("a plus", "+1"),
    ("a minus alone", "-"),
    ("a minus and a letter", "-a"),
    ("NaN", "NaN"),
    ("Infinity", "-Infinity"),
    ("hexadecimal", "0x10"),
    ("2^53", "9007199254740992"),
    ("-2^53", "-9007199254740992"),
    ("2^63", "9223372036854775808"),
    ("2^64", "18446744073709551616"),
    ("a number of 400 digits", "1" * 400),
    ("a duplicate key", '{"a":1,"b":2,"a":1}'),
    ("a duplicate key in another spelling", '{"a":1,"\\u0061":1}'),
    ("a duplicate key beyond the BMP", '{"\U0001f600":1,"\\ud83d\\ude00":1}'),
    ("a duplicate empty key", '{"":1,"":2}'),
    ("a duplicate key deep inside", '[{"a":{"k":1,"k":1}}]'),
    ("lists too deep", "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1)),
    ("objects too deep", '{"a":' * (DEPTH_MAX + 1) + "1" + "}" * (DEPTH_MAX + 1)),
    ("ten thousand brackets", "[" * 10_000),
]

BAD_BYTES = [
    ("a surrogate as UTF-8", b'"\xed\xa0\x80"'),
    ("a pair of surrogates as UTF-8 (CESU-8)", b'"\xed\xa0\xbd\xed\xb8\x80"'),
    ("an overlong quote", b'"\xc0\xa2"'),
    ("an overlong NUL", b'"\xc0\x80"'),
    ("a character beyond U+10FFFF", b'"\xf4\x90\x80\x80"'),
    ("half a character", b'"\xe2\x82"'),
    ("a continuation byte alone", b'"\x80"'),
    ("Latin-1", b'"caf\xe9"'),
    ("UTF-16", '"a"'.encode("utf-16-le")),
    ("UTF-16 with a byte order mark", '"a"'.encode("utf-16")),
]


def random_good(count):
    rng = random.Random("candor.canonical.v1")
    # Nothing beyond the BMP: see above.
    alphabet = 'abAB01_ "\\/\b\f\n\r\t\x00\x1f\x7f\u00e9\u2028\u20ac\ud7ff\ue000\ufb33\uffff'

    def text():
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, 5)))

    def value(depth):
        kind = rng.randint(0, 5 if depth < 4 else 3)
        if kind == 0:
            return rng.choice([None, True, False])
        if kind == 1:
            return rng.choice([rng.randint(-20, 20), rng.randint(-INT_MAX, INT_MAX)])
        if kind in (2, 3):
            return text()
        if kind == 4:
            return [value(depth + 1) for _ in range(rng.randint(0, 4))]
        return {text(): value(depth + 1) for _ in range(rng.randint(0, 5))}

    for _ in range(count):
        indent, ascii_only = rng.choice([None, 0, 2]), rng.random() < 0.5
        yield json.dumps(value(0), indent=indent, ensure_ascii=ascii_only)


def main():
    good = [spelled(text) for text in [*CHOSEN, *random_good(120)]]
    good += [{"text": text, "canonical": form} for text, form in BY_HAND]
    for text, form in BY_HAND:
        assert json.loads(text) == json.loads(form), text
    bad = [*((name, text.encode("utf-8")) for name, text in BAD), *BAD_BYTES]
    refused = [{"name": name, "bytes": data.hex()} for name, data in bad]
    vectors = {"generator": "make_canonical_vectors.py", "good": good, "refused": refused}
    write("canonical.json", json.dumps(vectors, indent=1, ensure_ascii=True) + "\n")


def write(name, content):
    file = pathlib.Path(__file__).with_name(name)
    if "--check" in sys.argv[1:]:
        assert file.read_text("ascii") == content, f"{name} is not what this script writes"
    else:
        file.write_text(content, "ascii")


if __name__ == "__main__":
    main()
