"""Checks a Candor evidence file against a trust policy, with none of Candor's code.

Verified are the three log signatures and the node cosignatures of every note, the id of the key
set, the RFC 6962 path of every entry, the chain between neighbours, a write's fingerprint and the
hash of every value. Written from FORMAT.md; meant to be read.

    pip install cryptography slh-dsa          # cryptography >= 48 for ML-DSA
    python verify_evidence.py EVIDENCE POLICY

Prints one JSON object and exits 0; the first thing that does not hold exits 1 and says what.
"""

import base64
import hashlib
import json
import re
import struct
import sys

import slhdsa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

ED25519 = b"\x01"
COSIGNATURE = b"\x04"
ML_DSA_65 = b"\xffcandor.ml-dsa-65.v1"
SLH_DSA_128F = b"\xffcandor.slh-dsa-sha2-128f.v1"
SUITE_1 = [(ED25519, 32), (ML_DSA_65, 1952), (SLH_DSA_128F, 32)]

FIELDS = {
    "exact": "model_name model_version prompt_hash temperature top_p system_prompt_hash hardware_class parameters",
    "semantic": "model_name model_version prompt_hash temperature top_p system_prompt_hash hardware_class parameters",
    "result-only": "model_version computation_type parameters hardware_class",
}


class Refused(Exception):
    pass


def want(holds, what):
    if not holds:
        raise Refused(what)


def unbase64(text):
    """Canonical base64 only: one spelling for each byte string."""
    raw = base64.b64decode(text, validate=True)
    want(base64.b64encode(raw).decode() == text, f"not canonical base64: {text[:40]}")
    return raw


def sha256(data):
    return hashlib.sha256(data).digest()


def sha3(data):
    return hashlib.sha3_256(data).digest()


class Key:
    """A verifier key: `<name>+<key id>+<base64(type || raw key)>`."""

    def __init__(self, vkey):
        self.name, key_id, encoded = vkey.split("+", 2)
        data = unbase64(encoded)
        kinds = [kind for kind, _ in SUITE_1] + [COSIGNATURE]
        self.kind = next(kind for kind in kinds if data.startswith(kind))
        self.raw = data[len(self.kind):]
        self.id = sha256(self.name.encode() + b"\n" + data)[:4]
        want(self.id.hex() == key_id, f"key id of {self.name}")

    def verify(self, text, blob):
        """Whether the blob is this key's signature under the note text."""
        if self.kind == SLH_DSA_128F:
            key = slhdsa.PublicKey.from_digest(self.raw, slhdsa.sha2_128f)
            want(key.verify_pure(text, blob), f"SLH-DSA signature by {self.name}")
            return
        if self.kind == COSIGNATURE:
            (time,) = struct.unpack(">Q", blob[:8])
            text, blob = b"cosignature/v1\ntime %d\n" % time + text, blob[8:]
        family = MLDSA65PublicKey if self.kind == ML_DSA_65 else Ed25519PublicKey
        try:
            family.from_public_bytes(self.raw).verify(blob, text)
        except InvalidSignature:
            raise Refused(f"signature by {self.name} ({self.kind!r})") from None


def keyset_id(origin, suite, keys):
    parts = [origin.encode()] + [key.raw for key in keys]
    head = struct.pack(">I", len(parts[0])) + parts[0] + struct.pack(">H", suite)
    rest = b"".join(struct.pack(">I", len(part)) + part for part in parts[1:])
    return sha3(b"candor.keyset.v1\n" + head + rest)


class Policy:
    """The lines `keyset`, `node`, `group <name> <k> <members>` and `quorum` of a trust policy."""

    def __init__(self, text):
        self.keysets, self.nodes, self.groups, self.quorum = {}, {}, {}, None
        lines = text.split("\n")
        want(lines[0] == "candor-policy v1", "first line of the policy")
        for words in (line.split() for line in lines[1:] if line and not line.startswith("#")):
            if words[0] == "keyset":
                origin, suite, keys = words[1], int(words[2]), [Key(vkey) for vkey in words[3:]]
                shape = [(key.kind, len(key.raw)) for key in keys]
                want(suite == 1 and shape == SUITE_1, "a suite 1 key set")
                want(all(key.name == origin for key in keys), "key names of the key set")
                self.keysets[origin, keyset_id(origin, suite, keys)] = keys
            elif words[0] == "node":
                self.nodes[words[1]] = Key(words[2])
            elif words[0] == "group":
                self.groups[words[1]] = (words[2], words[3:])
            elif words[0] == "quorum":
                self.quorum = words[1]
            else:
                raise Refused(f"policy line `{words[0]}`, which this script does not know")

    def met(self, name, signed):
        if name == "none":
            return True
        if name not in self.groups:
            return name in signed
        count, members = self.groups[name]
        needed = {"any": 1, "all": len(members)}.get(count) or int(count)
        return sum(self.met(member, signed) for member in members) >= needed


class Checkpoint:
    """A note whose signatures hold under the policy."""

    def __init__(self, note, policy):
        at = note.rindex("\n\n") + 1
        text, lines = note[:at], note[at + 1:]
        want(lines.endswith("\n"), "LF at the end of the note")
        form = (
            r"([!-*,-~]+)\n([1-9][0-9]*)\n(\S+)\ncandor 1\nchain sha3-256 (\S+)\n"
            r"keyset sha3-256 (\S+)\nsealed (\S{27})\n"
        )
        match = re.fullmatch(form, text)
        want(match, "form of the checkpoint text")
        self.origin, size, root, chain, keyset, self.sealed = match.groups()
        self.size, self.root = int(size), unbase64(root)
        self.chain, self.keyset = unbase64(chain), unbase64(keyset)
        keys = policy.keysets.get((self.origin, self.keyset))
        want(keys, f"key set {self.keyset.hex()} of {self.origin} in the policy")
        self.signed, seen = set(), set()
        owners = {(key.name, key.id): (None, key) for key in keys}
        owners |= {(key.name, key.id): (name, key) for name, key in policy.nodes.items()}
        for line in lines[:-1].split("\n"):
            dash, name, encoded = line.split(" ")
            want(dash == "\u2014", "em dash before a signature")
            blob = unbase64(encoded)
            handle = (name, blob[:4])
            want(handle not in seen, f"one line for each key: {name}")
            seen.add(handle)
            if handle in owners:
                owner, key = owners[handle]
                key.verify(text.encode(), blob[4:])
                if owner:
                    self.signed.add(owner)
        for key in keys:
            want((key.name, key.id) in seen, f"a signature of each family ({key.kind!r})")
        want(policy.met(policy.quorum, self.signed), "the policy's quorum")


def root_of(leaf, index, size, path):
    """RFC 9162 section 2.1.3.2: where a path leads from a leaf."""
    want(index < size, "index below size")
    fn, sn, root = index, size - 1, leaf
    for sibling in path:
        want(sn > 0, "a path of the right length")
        if fn & 1 or fn == sn:
            root = sha256(b"\x01" + sibling + root)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = sha256(b"\x01" + root + sibling)
        fn, sn = fn >> 1, sn >> 1
    want(sn == 0, "a path of the right length")
    return root


def fingerprint(body):
    data = b"candor.fingerprint.v1/" + body["pattern"].encode() + b"\n"
    for name in FIELDS[body["pattern"]].split():
        field = body[name].encode()
        data += struct.pack(">I", len(field)) + field
    return "fingerprint:sha3-256:" + sha3(data).hex()


def check_entry(shown, evidence, checkpoints):
    line, at = shown["line"].encode(), shown["index"]
    checkpoint = checkpoints[shown["note"]]
    path = [unbase64(sibling) for sibling in shown["path"]]
    root = root_of(sha256(b"\x00" + line), at, checkpoint.size, path)
    want(root == checkpoint.root, f"entry {at} under the root of size {checkpoint.size}")
    entry = json.loads(line)
    want(entry["v"] == 1 and entry["seq"] == at, f"version and seq of entry {at}")
    owner = (entry["tenant"], entry["subject"])
    about_the_log = (evidence["tenant"], evidence["subject"]) == ("", "ledger")
    allowed = [("", "ledger"), (evidence["tenant"], evidence["subject"])]
    want(about_the_log or owner in allowed, f"whose entry {at} is")
    if entry["op"] == "cache.write":
        want(entry["subject"] == fingerprint(entry["body"]), f"fingerprint of entry {at}")
    if at == checkpoint.size - 1:
        seal = (entry["op"], sha3(line), entry["body"]["keyset"], entry["time"])
        stated = ("ledger.seal", checkpoint.chain, "sha3-256:" + checkpoint.keyset.hex(), checkpoint.sealed)
        want(seal == stated, f"the checkpoint of size {checkpoint.size} as a copy of its seal")
    return entry


def check(evidence, policy):
    want(evidence["format"] == "candor.evidence.v1", "format")
    checkpoints = [Checkpoint(note, policy) for note in evidence["notes"]]
    want(all(c.origin == evidence["origin"] for c in checkpoints), "origin of each checkpoint")
    want(max(c.size for c in checkpoints) == evidence["size"], "size of the newest checkpoint")
    entries = [check_entry(shown, evidence, checkpoints) for shown in evidence["entries"]]
    for before, shown, after in zip(entries, evidence["entries"], entries[1:]):
        want(before["seq"] < after["seq"] and before["time"] <= after["time"], "order of entries")
        if before["seq"] + 1 == after["seq"]:
            head = "sha3-256:" + sha3(shown["line"].encode()).hex()
            want(after["prev"] == head, f"chain from entry {before['seq']}")
    for value in evidence["values"]:
        digest = "sha3-256:" + sha3(unbase64(value["base64"])).hex()
        want(value["output_hash"] == digest, "hash of a value")
    newest = max(checkpoints, key=lambda checkpoint: checkpoint.size)
    return {
        "size": newest.size,
        "root": base64.b64encode(newest.root).decode(),
        "keyset": newest.keyset.hex(),
        "nodes": sorted(newest.signed),
        "entries": len(entries),
    }


def no_repeats(pairs):
    want(len(dict(pairs)) == len(pairs), "one value for each key")
    return dict(pairs)


def main(evidence, policy):
    with open(policy, encoding="utf-8") as file:
        policy = Policy(file.read())
    with open(evidence, "rb") as file:
        evidence = json.loads(file.read().decode(), object_pairs_hook=no_repeats)
    print(json.dumps(check(evidence, policy)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Refused, ValueError, KeyError, IndexError, StopIteration) as error:
        sys.exit(f"refused: {type(error).__name__}: {error}")
