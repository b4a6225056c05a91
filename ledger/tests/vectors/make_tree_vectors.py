#!/usr/bin/env python3
"""Writes tree.json: roots, inclusion paths and consistency paths of small trees.

The definitions of RFC 6962 section 2.1, recursive as they stand there, with hashlib alone; shares no
code with the Rust implementation. Entry number i is the ASCII text "entry <i>".

    python3 make_tree_vectors.py            # writes tree.json beside this file
    python3 make_tree_vectors.py --check    # compares instead
"""

import base64
import functools
import hashlib
import json
import pathlib
import sys

ROOTS_UP_TO = 64
PROOF_SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 32, 33, 63, 64]


def entry(index):
    return b"entry %d" % index


def k_of(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


@functools.lru_cache(maxsize=None)
def mth(start, end):
    n = end - start
    if n == 0:
        return hashlib.sha256(b"").digest()
    if n == 1:
        return hashlib.sha256(b"\x00" + entry(start)).digest()
    k = k_of(n)
    return hashlib.sha256(b"\x01" + mth(start, start + k) + mth(start + k, end)).digest()


def path(m, start, end):
    n = end - start
    if n == 1:
        return []
    k = k_of(n)
    if m < k:
        return path(m, start, start + k) + [mth(start + k, end)]
    return path(m - k, start + k, end) + [mth(start, start + k)]


def subproof(m, start, end, known):
    n = end - start
    if m == n:
        return [] if known else [mth(start, end)]
    k = k_of(n)
    if m <= k:
        return subproof(m, start, start + k, known) + [mth(start + k, end)]
    return subproof(m - k, start + k, end, False) + [mth(start, start + k)]


def text(digest):
    return base64.b64encode(digest).decode("ascii")


def some(numbers):
    """The first three, the last three, and every fifth between them."""
    numbers = list(numbers)
    return sorted({*numbers[:3], *numbers[-3:], *numbers[::5]})


def main():
    inclusion = [
        {"size": size, "index": index, "path": [text(h) for h in path(index, 0, size)]}
        for size in PROOF_SIZES
        for index in some(range(size))
    ]
    consistency = [
        {"old": old, "new": new, "path": [text(h) for h in subproof(old, 0, new, True)]}
        for new in PROOF_SIZES
        for old in some(range(1, new + 1))
    ]
    vectors = {
        "generator": "make_tree_vectors.py",
        "leaves": [text(mth(index, index + 1)) for index in range(ROOTS_UP_TO)],
        "roots": [text(mth(0, size)) for size in range(ROOTS_UP_TO + 1)],
        "inclusion": inclusion,
        "consistency": consistency,
    }
    write("tree.json", json.dumps(vectors, indent=1) + "\n")


def write(name, content):
    file = pathlib.Path(__file__).with_name(name)
    if "--check" in sys.argv[1:]:
        assert file.read_text("ascii") == content, f"{name} is not what this script writes"
    else:
        file.write_text(content, "ascii")


if __name__ == "__main__":
    main()
