"""Checks a Candor evidence file against a trust policy, with none of Candor's code.

Verified are the three log signatures and the node cosignatures of every note, the id of the key
set, the RFC 6962 path, form, fingerprint and attestation of every entry, the chain, times,
lifecycles and hits among those shown, and the hash of every value. Written from FORMAT.md; meant
to be read.

    pip install cryptography slh-dsa          # cryptography >= 48 for ML-DSA
    python verify_evidence.py EVIDENCE POLICY

Prints one JSON object and exits 0; the first thing that does not hold exits 1 and says what.
"""

import base64
import json
import sys

from candor_entries import Row, check_alone, check_seal, parse_entry
from candor_formats import (
    Checkpoint,
    Policy,
    Refused,
    leaf_hash,
    parse_json,
    root_of,
    tagged_sha3,
    unbase64,
    want,
)


def check_entry(shown, evidence, checkpoints):
    line, at = shown["line"].encode(), shown["index"]
    checkpoint = checkpoints[shown["note"]]
    path = [unbase64(sibling, 32) for sibling in shown["path"]]
    root = root_of(leaf_hash(line), at, checkpoint.size, path)
    what = f"entry {at} under the root of size {checkpoint.size}"
    want(root == checkpoint.root, "entry-not-committed", what)
    entry = parse_entry(line)
    want(entry["seq"] == at, "entry-seq", f"seq of entry {at}")
    owner = (entry["tenant"], entry["subject"])
    about_the_log = (evidence["tenant"], evidence["subject"]) == ("", "ledger")
    allowed = [("", "ledger"), (evidence["tenant"], evidence["subject"])]
    want(about_the_log or owner in allowed, "entry-foreign", f"whose entry {at} is")
    check_alone(entry, evidence["origin"])
    if at == checkpoint.size - 1:
        check_seal(entry, line, checkpoint)
    return entry


def check(evidence, policy):
    want(evidence["format"] == "candor.evidence.v1", "not-readable", "format")
    checkpoints = [Checkpoint(note.encode(), policy) for note in evidence["notes"]]
    for checkpoint in checkpoints:
        want(checkpoint.origin == evidence["origin"], "note-foreign", "origin of a checkpoint")
    newest = max(checkpoints, key=lambda checkpoint: checkpoint.size)
    want(newest.size == evidence["size"], "size-contradicted", "size of the newest checkpoint")
    entries = [check_entry(shown, evidence, checkpoints) for shown in evidence["entries"]]
    row = Row()
    for entry, shown in zip(entries, evidence["entries"]):
        row.check_chain(entry)
        row.push(entry, shown["line"].encode())
    for value in evidence["values"]:
        digest = tagged_sha3(unbase64(value["base64"]))
        want(value["output_hash"] == digest, "value-changed", "hash of a value")
    return {
        "size": newest.size,
        "root": base64.b64encode(newest.root).decode(),
        "keyset": newest.keyset.hex(),
        "nodes": sorted(newest.signed),
        "entries": len(entries),
    }


def main(evidence, policy):
    with open(policy, encoding="utf-8") as file:
        policy = Policy(file.read())
    with open(evidence, "rb") as file:
        evidence = parse_json(file.read())
    print(json.dumps(check(evidence, policy)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Refused, ValueError, KeyError, IndexError, StopIteration) as error:
        sys.exit(f"refused: {type(error).__name__}: {error}")
