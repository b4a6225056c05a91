#!/usr/bin/env python3
"""Writes privacy.json: tenant keys, pseudonyms, sealed values and the fingerprints they lead to.

Written from client/PRIVACY.md and ledger/FORMAT.md with Python's standard library and `cryptography`
(HKDF, AES-SIV); shares no code with the Rust implementation. Deterministic: running it again
changes nothing.

    python3 make_privacy_vectors.py            # writes privacy.json beside this file
    python3 make_privacy_vectors.py --check    # compares instead
"""

import base64
import hashlib
import hmac
import json
import pathlib
import random
import struct
import sys

from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA3_256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

EXACT = [
    "model_name",
    "model_version",
    "prompt_hash",
    "temperature",
    "top_p",
    "system_prompt_hash",
    "hardware_class",
    "parameters",
]


class TenantKey:
    def __init__(self, tenant, secret):
        def derive(purpose, length):
            info = b"candor.tenant-key.v1/" + purpose + b"\n" + tenant.encode("ascii")
            return HKDFExpand(SHA3_256(), length, info).derive(secret)

        encoded = base64.b64encode(secret).decode("ascii")
        self.file = f"candor-tenant-key v1\ntenant {tenant}\nsecret {encoded}\n"
        self.digest = derive(b"digest", 32)
        self.value = derive(b"value", 64)
        self.id = derive(b"id", 4).hex()

    def pseudonym(self, field, digest):
        if not digest or digest.startswith("hmac-sha3-256:"):
            return digest
        tagged = digest if ":" in digest else "sha3-256:" + digest
        message = f"{field}\n{tagged}".encode("ascii")
        return "hmac-sha3-256:" + hmac.new(self.digest, message, hashlib.sha3_256).hexdigest()

    def seal(self, media_type, output):
        name = media_type.encode("ascii")
        plain = bytes([len(name)]) + name + output
        return AESSIV(self.value).encrypt(plain, [b"candor.value.v1"])


def sha3(data):
    return "sha3-256:" + hashlib.sha3_256(data).hexdigest()


def fingerprint(fields):
    preimage = b"candor.fingerprint.v1/exact\n"
    for name in EXACT:
        value = fields[name].encode("utf-8")
        preimage += struct.pack(">I", len(value)) + value
    return "fingerprint:" + sha3(preimage)


def case(rng, tenant):
    key = TenantKey(tenant, rng.randbytes(32))
    digests = {
        "prompt_hash": rng.choice([sha3(rng.randbytes(9)), rng.randbytes(32).hex()]),
        "system_prompt_hash": rng.choice(["", sha3(b""), "sha-256:" + rng.randbytes(32).hex()]),
        "parameters.context": sha3(rng.randbytes(9)),
        "parameters.tools": rng.randbytes(32).hex(),
        "person": "hmac-sha3-256:" + rng.randbytes(32).hex(),
    }
    pseudonyms = {field: key.pseudonym(field, digest) for field, digest in digests.items()}
    conditions = {
        "model_name": "gpt-4-0613",
        "model_version": "checkpoint-20260501",
        "temperature": "0.7",
        "top_p": "",
        "hardware_class": "a100-80gb",
    }
    parameters = {"stop": "\n", "seed": 7}

    def with_digests(of):
        fields = {name: of[name] for name in ("prompt_hash", "system_prompt_hash")}
        beside = {name: of["parameters." + name] for name in ("context", "tools")}
        text = json.dumps({**parameters, **beside}, sort_keys=True, separators=(",", ":"))
        return {**conditions, **fields, "parameters": text}

    values = []
    for media_type, length in (("text/plain; charset=utf-8", 5), ("a/b", 0), ("x" * 200, 700)):
        output = rng.randbytes(length)
        sealed = key.seal(media_type, output)
        values.append(
            {
                "media_type": media_type,
                "output": output.hex(),
                "sealed": sealed.hex(),
                "output_hash": sha3(sealed),
            }
        )
    return {
        "tenant": tenant,
        "file": key.file,
        "id": key.id,
        "fields": with_digests(digests),
        "concealed": with_digests(pseudonyms),
        "fingerprint": fingerprint(with_digests(pseudonyms)),
        "person": [digests["person"], pseudonyms["person"]],
        "values": values,
    }


def main():
    rng = random.Random("candor privacy vectors 1")
    cases = [case(rng, tenant) for tenant in ("acme", "t", "tenant-with/odd+name", "acme")]
    vectors = {"generator": "make_privacy_vectors.py", "cases": cases}
    write("privacy.json", json.dumps(vectors, indent=1, ensure_ascii=True) + "\n")


def write(name, text):
    path = pathlib.Path(__file__).with_name(name)
    if "--check" in sys.argv[1:]:
        assert path.read_text("ascii") == text, f"{name} is not what this script writes"
    else:
        path.write_text(text, "ascii")


if __name__ == "__main__":
    main()
