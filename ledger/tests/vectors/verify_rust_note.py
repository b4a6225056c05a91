#!/usr/bin/env python3
"""Checks a receipt that the Rust code made, with Python alone.

    cargo run -p candor-ledger --features sign --example sign_sample -- FOLDER [SEED]
    python3 verify_rust_note.py FOLDER

Reads `policy.txt` (for the public keys) and `receipt.txt` from the folder. Checks that the key ids
and the key-set id follow from the keys, that the three log signatures and the cosignatures of at
least two nodes verify, and that the receipt's entry lies under the signed root; then that each of
these checks fails after one bit is changed. Needs the packages that make_note_vectors.py names;
`dilithium-py` is not used, ML-DSA being checked by OpenSSL through `cryptography`.
"""

import base64
import hashlib
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from slhdsa import PublicKey, sha2_128f

TYPES = [
    (b"\x01", 32),
    (b"\x04", 32),
    (b"\xffcandor.ml-dsa-65.v1", 1952),
    (b"\xffcandor.slh-dsa-sha2-128f.v1", 32),
]


def decode(text):
    data = base64.b64decode(text, validate=True)
    assert base64.b64encode(data).decode() == text, "base64 has one spelling"
    return data


def parse_vkey(vkey):
    name, key_id, data = vkey.split("+", 2)
    data = decode(data)
    [(kind, length)] = [(k, n) for k, n in TYPES if data.startswith(k) and len(data) == len(k) + n]
    public = data[len(kind) :]
    computed = hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]
    assert computed.hex() == key_id, f"key id of {name}"
    return name, computed, kind, public


def holds(kind, public, text, blob):
    if kind == b"\x04":
        time, blob = int.from_bytes(blob[:8], "big"), blob[8:]
        text = f"cosignature/v1\ntime {time}\n".encode() + text
    if kind == TYPES[3][0]:
        return PublicKey.from_digest(public, sha2_128f).verify_pure(text, blob)
    family = MLDSA65PublicKey if kind == TYPES[2][0] else None
    if family is None:
        key = Ed25519PublicKey.from_public_bytes(public)
    else:
        key = family.from_public_bytes(public)
    try:
        key.verify(blob, text)
        return True
    except InvalidSignature:
        return False


def key_set_id(origin, suite, publics):
    preimage = b"candor.keyset.v1\n" + len(origin).to_bytes(4, "big") + origin.encode()
    preimage += suite.to_bytes(2, "big")
    for public in publics:
        preimage += len(public).to_bytes(4, "big") + public
    return hashlib.sha3_256(preimage).digest()


def root_from(entry, index, size, path):
    """RFC 9162 section 2.1.3.2."""
    node, last = index, size - 1
    digest = hashlib.sha256(b"\x00" + entry).digest()
    for sibling in path:
        assert last > 0, "the path is too long"
        if node % 2 == 1 or node == last:
            digest = hashlib.sha256(b"\x01" + sibling + digest).digest()
            while node % 2 == 0 and node != 0:
                node, last = node // 2, last // 2
        else:
            digest = hashlib.sha256(b"\x01" + digest + sibling).digest()
        node, last = node // 2, last // 2
    assert last == 0, "the path is too short"
    return digest


def flip(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def main(folder):
    policy = [line.split() for line in (folder / "policy.txt").read_text().splitlines()]
    assert policy[0] == ["candor-policy", "v1"]
    [[origin, suite, *vkeys]] = [items[1:] for items in policy if items[:1] == ["keyset"]]
    log = [parse_vkey(vkey) for vkey in vkeys]
    assert [key[2] for key in log] == [TYPES[0][0], TYPES[2][0], TYPES[3][0]]
    nodes = [parse_vkey(items[2]) for items in policy if items[:1] == ["node"]]

    receipt = (folder / "receipt.txt").read_bytes()
    entry, proof = receipt.split(b"\n", 1)
    head, note = proof.split(b"\n\n", 1)
    header, index, *path = head.decode().split("\n")
    assert header == "c2sp.org/tlog-proof@v1"
    index = int(index.removeprefix("index "))
    text, lines = note.rsplit(b"\n\n", 1)
    text += b"\n"

    named, size, root, version, chain, keyset, sealed = text.decode().splitlines()
    assert (named, version) == (origin, "candor 1")
    assert chain.startswith("chain sha3-256 ") and sealed.startswith("sealed ")
    stated = decode(keyset.removeprefix("keyset sha3-256 "))
    assert stated == key_set_id(origin, int(suite), [key[3] for key in log]), "key-set id"

    found = set()
    for line in lines.decode().splitlines():
        dash, name, data = line.split(" ")
        assert dash == "\u2014"
        data = decode(data)
        for key in log + nodes:
            if key[:2] == (name, data[:4]):
                assert key not in found, "one line for each key"
                assert holds(*key[2:], text, data[4:]), f"signature by {name}"
                assert not holds(*key[2:], text, flip(data[4:])), f"flipped signature by {name}"
                assert not holds(*key[2:], flip(text), data[4:]), f"signature by {name}, other text"
                found.add(key)
    assert found >= set(log), "all three log signatures"
    vouched = found - set(log)
    assert len(vouched) >= 2, "two nodes"

    path = [decode(step) for step in path]
    assert root_from(entry, index, int(size), path) == decode(root), "inclusion"
    assert root_from(flip(entry), index, int(size), path) != decode(root), "inclusion of another entry"
    print(f"entry {index} of {size} is under three signatures by {origin}; {len(vouched)} nodes vouch")


if not __debug__:
    sys.exit("python -O would skip every check")
main(pathlib.Path(sys.argv[1]))
