#!/usr/bin/env python3
"""Writes note.json: a checkpoint signed three ways and cosigned twice, with keys, policy and receipt.

Everything is computed from the formats as FORMAT.md states them, with hashlib and three libraries
that share no code with the Rust implementation: `cryptography` (Ed25519; it also checks ML-DSA),
`dilithium-py` (ML-DSA-65) and `slh-dsa` (SLH-DSA-SHA2-128f). Keys come from fixed seeds and every
signature is the deterministic variant, so the file is the same on every run.

    pip install 'cryptography>=46' 'dilithium-py==1.5.1' 'slh-dsa==0.2.5'
    python3 make_note_vectors.py            # writes note.json beside this file; takes seconds
    python3 make_note_vectors.py --check    # compares instead
"""

import base64
import hashlib
import json
import pathlib
import sys

from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dilithium_py.ml_dsa import ML_DSA_65
from slhdsa import SecretKey, sha2_128f
from slhdsa.lowlevel.addresses import Address
from slhdsa.lowlevel.xmss import XMSS

ORIGIN = "vectors.example/candor"
SEALED_S = 1_747_216_861
SEALED = "2025-05-14T10:01:01.250000Z"
INDEX = 5

ML_DSA_TYPE = b"\xffcandor.ml-dsa-65.v1"
SLH_DSA_TYPE = b"\xffcandor.slh-dsa-sha2-128f.v1"


def b64(data):
    return base64.b64encode(data).decode()


def seed(label, length):
    return hashlib.shake_256(b"candor note vectors: " + label.encode()).digest(length)


class Ed25519:
    def __init__(self, label):
        self.secret = seed(label, 32)
        self.key = Ed25519PrivateKey.from_private_bytes(self.secret)
        self.public = self.key.public_key().public_bytes_raw()

    def sign(self, message):
        return self.key.sign(message)


class MlDsa:
    def __init__(self, label):
        self.secret = seed(label, 32)
        self.public, self.expanded = ML_DSA_65.key_derive(self.secret)

    def sign(self, message):
        signature = ML_DSA_65.sign(self.expanded, message, ctx=b"", deterministic=True)
        mldsa.MLDSA65PublicKey.from_public_bytes(self.public).verify(signature, message)
        return signature


class SlhDsa:
    def __init__(self, label):
        par, random = sha2_128f, seed(label, 48)
        sk_seed, sk_prf, pk_seed = random[:16], random[16:32], random[32:]
        root = XMSS(par).node(sk_seed, 0, par.h_m, pk_seed, Address(par.d - 1, 0))
        self.secret = random + root
        self.key = SecretKey.from_digest(self.secret, par)
        self.public = self.key.pubkey.digest()

    def sign(self, message):
        signature = self.key.sign_pure(message)
        assert self.key.pubkey.verify_pure(message, signature)
        return signature


def key_id(name, kind, public):
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def vkey(name, kind, public):
    return f"{name}+{key_id(name, kind, public).hex()}+{b64(kind + public)}"


def line(name, kind, public, blob):
    return f"\u2014 {name} {b64(key_id(name, kind, public) + blob)}\n"


def cosign(name, key, time, text):
    message = f"cosignature/v1\ntime {time}\n".encode() + text
    return line(name, b"\x04", key.public, time.to_bytes(8, "big") + key.sign(message))


def key_set_id(publics):
    preimage = b"candor.keyset.v1\n" + len(ORIGIN).to_bytes(4, "big") + ORIGIN.encode()
    preimage += (1).to_bytes(2, "big")
    for public in publics:
        preimage += len(public).to_bytes(4, "big") + public
    return hashlib.sha3_256(preimage).digest()


def mth(leaves):
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(index, leaves):
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return path(index, leaves[:k]) + [mth(leaves[k:])]
    return path(index - k, leaves[k:]) + [mth(leaves[:k])]


def split(count):
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def secret_file(header, fields, secrets):
    lines = [header]
    lines += [f"{name} {value}" for name, value in fields]
    lines += [f"secret {name} {b64(secret)}" for name, secret in secrets]
    return "\n".join(lines) + "\n"


def make():
    ed25519, ml_dsa, slh_dsa = Ed25519("ed25519"), MlDsa("ml-dsa"), SlhDsa("slh-dsa")
    log = [(b"\x01", ed25519), (ML_DSA_TYPE, ml_dsa), (SLH_DSA_TYPE, slh_dsa)]
    nodes = {node: Ed25519(f"node {node}") for node in (1, 2, 3)}
    witness, attest = Ed25519("witness"), Ed25519("attest")
    keyset = key_set_id([key.public for _, key in log])

    # Lines stand for entries: nothing in a note or a receipt depends on what they say.
    entries = [b'{"seq":%d,"v":1}' % seq for seq in range(12)]
    entries.append(b'{"keyset":"sha3-256:%s","seq":12,"v":1}' % keyset.hex().encode())
    root = mth(entries)
    chain = hashlib.sha3_256(entries[-1]).digest()
    text = (
        f"{ORIGIN}\n{len(entries)}\n{b64(root)}\ncandor 1\nchain sha3-256 {b64(chain)}\n"
        f"keyset sha3-256 {b64(keyset)}\nsealed {SEALED}\n"
    ).encode()

    note = text.decode() + "\n"
    for kind, key in log:
        note += line(ORIGIN, kind, key.public, key.sign(text))
    names = {node: f"{ORIGIN}/node/{node}" for node in nodes}
    for node in (1, 3):
        note += cosign(names[node], nodes[node], SEALED_S + node, text)
    witnessed = note + cosign("witness.example/w", witness, SEALED_S + 60, text)

    vkeys = [vkey(ORIGIN, kind, key.public) for kind, key in log]
    node_vkeys = {node: vkey(names[node], b"\x04", key.public) for node, key in nodes.items()}
    witness_vkey = vkey("witness.example/w", b"\x04", witness.public)
    policy = "candor-policy v1\n"
    policy += f"keyset {ORIGIN} 1 {' '.join(vkeys)}\n"
    policy += "".join(f"node n{node} {key}\n" for node, key in node_vkeys.items())
    policy += f"witness w {witness_vkey}\n"
    policy += "group nodes 2 n1 n2 n3\ngroup both all nodes w\nquorum both\n"
    policy += f"pin {ORIGIN} {len(entries)} {b64(root)}\n"

    steps = "".join(b64(step) + "\n" for step in path(INDEX, entries))
    proof = f"c2sp.org/tlog-proof@v1\nindex {INDEX}\n{steps}\n{witnessed}"
    statement = (
        f"candor.attest.v1\n{ORIGIN}\nacme\nledger\n{len(entries)}\n{b64(root)}\nproved\n"
    )
    return {
        "origin": ORIGIN,
        "public_keys": [key.public.hex() for _, key in log],
        "key_ids": [key_id(ORIGIN, kind, key.public).hex() for kind, key in log],
        "vkeys": vkeys,
        "keyset": keyset.hex(),
        "secrets": secret_file(
            "candor-log-keys v1",
            [("origin", ORIGIN), ("suite", "1")],
            [
                ("ed25519", ed25519.secret),
                ("ml-dsa-65", ml_dsa.secret),
                ("slh-dsa-sha2-128f", slh_dsa.secret),
            ],
        ),
        "nodes": [
            {
                "node": node,
                "public_key": key.public.hex(),
                "vkey": node_vkeys[node],
                "secret": secret_file(
                    "candor-cosigner-key v1", [("name", names[node])], [("ed25519", key.secret)]
                ),
            }
            for node, key in nodes.items()
        ],
        "size": len(entries),
        "root": root.hex(),
        "chain": chain.hex(),
        "sealed": SEALED,
        "text": text.decode(),
        "note": note,
        "cosign_times": [[1, SEALED_S + 1], [3, SEALED_S + 3]],
        "witnessed_note": witnessed,
        "policy": policy,
        "receipt": entries[INDEX].decode() + "\n" + proof,
        "index": INDEX,
        "attest": {
            "secret": secret_file("candor-attest-key v1", [], [("ed25519", attest.secret)]),
            "public_key": attest.public.hex(),
            "statement": statement,
            "signature": attest.sign(statement.encode()).hex(),
        },
    }


def main():
    target = pathlib.Path(__file__).with_name("note.json")
    made = json.dumps(make(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        if target.read_text(encoding="utf-8") != made:
            sys.exit(f"{target} is not what this script makes")
    else:
        target.write_text(made, encoding="utf-8")


main()
