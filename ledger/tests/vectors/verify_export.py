"""Checks Candor exports against a trust policy, with none of Candor's code.

Verified are the spelling of `export.json`, the digest of each other file, the note's three log
signatures and its node cosignatures, the first entry's receipt; that the lines and the subtrees
before them make a tree of which the checkpoint's is a continuation; each entry's form, place,
fingerprint and attestation; and of entries shown the chain, the times, the lifecycles and the hits.
Written from FORMAT.md; meant to be read.

    pip install cryptography slh-dsa          # cryptography >= 48 for ML-DSA
    python verify_export.py POLICY EXPORT...

Prints one JSON object for each export: what it shows, or `refused` with the code of the first thing
that does not hold and `why`. Exits 0 when every export holds, else 1.
"""

import base64
import json
import pathlib
import re
import sys

from candor_entries import Row, check_alone, check_seal, parse_entry
from candor_formats import (
    Checkpoint,
    Frontier,
    Policy,
    Refused,
    is_consistent,
    leaf_hash,
    parse_canonical,
    root_of,
    tagged_sha3,
    unbase64,
    want,
)

DIGESTED = ["README.txt", "checkpoint", "genesis.receipt", "policy.txt"]
KEYS = "files format from frontier origin path size tenant to".split()
HASHES_MAX = 64
EXPORT_LEN_MAX = 64 * 1024
HIDDEN = re.compile(rb'\{"leaf":"sha-256:([0-9a-f]{64})"\}')


class Export:
    """What an `export.json` says."""

    def __init__(self, data):
        try:
            self.read(data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused("not-readable", f"export.json: {error}") from None

    def read(self, data):
        if len(data) > EXPORT_LEN_MAX or not data.endswith(b"\n"):
            raise ValueError("want at most 64 KiB with a LF at the end")
        stated = parse_canonical(data[:-1])
        if sorted(stated) != KEYS or stated["format"] != "candor.export.v1":
            raise ValueError("want the format and the keys of candor.export.v1")
        self.first, self.last, self.size = (stated[key] for key in ("from", "to", "size"))
        if any(type(number) is not int for number in (self.first, self.last, self.size)):
            raise ValueError("want numbers")
        if not 0 <= self.first <= self.last < self.size:
            raise ValueError("want from <= to < size")
        self.origin, self.tenant, self.files = (stated[k] for k in ("origin", "tenant", "files"))
        if type(self.origin) is not str or type(self.tenant) is not str:
            raise ValueError("want texts")
        digests = list(self.files.values())
        if sorted(self.files) != DIGESTED or not all(map(is_sha3, digests)):
            raise ValueError("want a digest of each file but the entries")
        for key in ("frontier", "path"):
            if type(stated[key]) is not list or len(stated[key]) > HASHES_MAX:
                raise ValueError(f"want at most {HASHES_MAX} hashes in `{key}`")
        self.path = [unbase64(step, 32) for step in stated["path"]]
        self.frontier = [unbase64(root, 32) for root in stated["frontier"]]


def is_sha3(text):
    return re.fullmatch("sha3-256:[0-9a-f]{64}", text) is not None


def read(folder, name):
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise Refused("not-readable", f"{name}: {error.strerror}") from None


RECEIPT = re.compile(
    rb"([^\n]+)\nc2sp\.org/tlog-proof@v1\nindex (0|[1-9][0-9]*)\n((?:[^\n]+\n)*)\n(.*)", re.DOTALL
)


def check_genesis(receipt, note, checkpoint, origin):
    """That entry 0 lies under the same checkpoint, and founds the log of this name."""
    try:
        line, index, path, own_note = RECEIPT.fullmatch(receipt).groups()
        path = [unbase64(step.decode(), 32) for step in path.split(b"\n")[:-1]]
        entry = parse_entry(line)
    except (AttributeError, ValueError, Refused) as error:
        raise Refused("genesis-contradicted", error) from None
    want(len(path) <= HASHES_MAX, "genesis-contradicted", "a path too long")
    want(own_note == note, "genesis-contradicted", "the receipt's checkpoint is another")
    root = root_of(leaf_hash(line), 0, checkpoint.size, path)
    want(root == checkpoint.root, "genesis-contradicted", "its path leads to another root")
    is_first = (index, entry["seq"], entry["op"]) == (b"0", 0, "ledger.genesis")
    want(is_first, "genesis-contradicted", "another entry than the first")
    want(entry["body"]["origin"] == origin, "genesis-contradicted", "its origin")


class Range:
    """The lines of an export, in turn."""

    def __init__(self, export, checkpoint, policy):
        self.export, self.checkpoint, self.policy = export, checkpoint, policy
        self.seq, self.shown, self.hidden = export.first, 0, 0
        self.first = self.last = self.broken = None
        self.row = Row()
        try:
            self.frontier = Frontier(export.first, export.frontier)
        except ValueError as error:
            raise Refused("range-not-committed", error) from None

    def push(self, line):
        want(self.seq <= self.export.last, "entry-out-of-order", f"{self.seq} is beyond `to`")
        self.check_pin()
        hidden = HIDDEN.fullmatch(line)
        if hidden:
            want(self.export.tenant, "entry-hidden", f"entry {self.seq}")
            self.hidden += 1
            self.last = None
            self.frontier.append(bytes.fromhex(hidden[1].decode()))
        else:
            self.push_entry(line)
            self.frontier.append(leaf_hash(line))
        self.seq += 1

    def push_entry(self, line):
        entry = parse_entry(line)
        want(entry["seq"] == self.seq, "entry-out-of-order", f"{entry['seq']} at {self.seq}")
        allowed = ("", self.export.tenant)
        want(not self.export.tenant or entry["tenant"] in allowed, "entry-foreign", str(self.seq))
        self.row.check_chain(entry)
        try:
            self.check_rules(entry, line)
        except Refused as broken:
            # The cluster's doing where the line is committed, and beside the point where it is not.
            self.broken = self.broken or broken
        self.shown += 1
        self.last = entry["time"]
        if self.seq == self.export.first:
            self.first = self.last

    def check_rules(self, entry, line):
        named, last = entry["subject_prev"], self.row.last_of(entry)
        start = self.export.first if last is None else last + 1
        missing = named is not None and start <= named < self.seq
        want(not missing, "entry-hidden", f"{named}, which entry {self.seq} names")
        self.row.push(entry, line)
        check_alone(entry, self.export.origin)
        if self.seq == self.checkpoint.size - 1:
            check_seal(entry, line, self.checkpoint)

    def check_pin(self):
        pinned = self.policy.pins.get((self.export.origin, self.frontier.size))
        same = pinned is None or self.frontier.size == 0 or pinned == self.frontier.root()
        want(same, "history-rewritten", f"the root of size {self.frontier.size}")

    def finish(self):
        want(self.seq > self.export.last, "entries-missing", f"from entry {self.seq} on")
        self.check_pin()
        roots = (self.seq, self.frontier.root(), self.checkpoint.size, self.checkpoint.root)
        want(is_consistent(*roots, self.export.path), "range-not-committed", "the path")
        if self.broken:
            raise self.broken
        want(self.shown, "entries-not-shown", "nothing but hashes")


def check(folder, policy):
    description = read(folder, "export.json")
    export = Export(description)
    files = {name: read(folder, name) for name in DIGESTED}
    for name, data in files.items():
        want(tagged_sha3(data) == export.files[name], "file-changed", name)
    note = files["checkpoint"]
    checkpoint = Checkpoint(note, policy)
    stated = (export.origin, export.size) == (checkpoint.origin, checkpoint.size)
    want(stated, "export-contradicts-checkpoint", "origin or size")
    check_genesis(files["genesis.receipt"], note, checkpoint, export.origin)
    lines = read(folder, "entries.jsonl").split(b"\n")
    want(lines.pop() == b"", "entry-malformed", "LF at the end of entries.jsonl")
    shown = Range(export, checkpoint, policy)
    for line in lines:
        shown.push(line)
    shown.finish()
    return {
        "export": tagged_sha3(description),
        "origin": export.origin,
        "tenant": export.tenant,
        "from": export.first,
        "to": export.last,
        "size": checkpoint.size,
        "root": base64.b64encode(checkpoint.root).decode(),
        "keyset": checkpoint.keyset.hex(),
        "nodes": sorted(checkpoint.signed),
        "shown": shown.shown,
        "hidden": shown.hidden,
        "first_time": shown.first,
        "last_time": shown.last,
        "complete": not shown.hidden,
    }


def main(policy, *folders):
    policy_file, holds = pathlib.Path(policy).resolve(), True
    policy = Policy(policy_file.read_text(encoding="utf-8"))
    for folder in map(pathlib.Path, folders):
        try:
            inside = folder.resolve() in policy_file.parents
            want(not inside, "policy-of-the-export", "a policy that came with the export")
            said = check(folder, policy)
        except Refused as refused:
            said, holds = {"refused": refused.code, "why": str(refused)}, False
        print(json.dumps({"folder": str(folder)} | said))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
