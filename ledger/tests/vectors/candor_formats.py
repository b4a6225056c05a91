"""What the verifiers beside this file share: digests, canonical JSON, tree, policies, checkpoints.

Written from ../../FORMAT.md with none of Candor's code; meant to be read. What does not hold raises
`Refused` with the code that FORMAT.md gives it.

    pip install cryptography slh-dsa          # cryptography >= 48 for ML-DSA
"""

import base64
import datetime
import functools
import hashlib
import json
import re
import struct

import slhdsa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey

ED25519 = b"\x01"
COSIGNATURE = b"\x04"
ML_DSA_65 = b"\xffcandor.ml-dsa-65.v1"
SLH_DSA_128F = b"\xffcandor.slh-dsa-sha2-128f.v1"
SUITE_1 = [(ED25519, 32), (ML_DSA_65, 1952), (SLH_DSA_128F, 32)]

SLH_DSA_128F_LEN = 17_088
NOTE_LEN_MAX = 256 * 1024
NOTE_LINES_MAX = 64
INTEGER_MAX = 2**53 - 1
DEPTH_MAX = 8


class Refused(Exception):
    """What does not hold, and its code."""

    def __init__(self, code, what):
        super().__init__(f"{code}: {what}")
        self.code = code


def want(holds, code, what):
    if not holds:
        raise Refused(code, what)


# Digests and text.


def sha256(data):
    return hashlib.sha256(data).digest()


def sha3(data):
    return hashlib.sha3_256(data).digest()


def tagged_sha3(data):
    return "sha3-256:" + sha3(data).hex()


def unbase64(text, length=None):
    """Canonical base64 only: one spelling for each byte string."""
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text or length not in (None, len(raw)):
        raise ValueError(f"not canonical base64 of {length or 'some'} bytes: {text[:40]}")
    return raw


def micros(value):
    """Microseconds since 1970, or ValueError."""
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z", value):
        raise ValueError(value)
    since = datetime.datetime.fromisoformat(value[:-1]) - datetime.datetime(1970, 1, 1)
    if since < datetime.timedelta(0):
        raise ValueError(value)
    return since // datetime.timedelta(microseconds=1)


# Canonical JSON.


def parse_json(data):
    """One value under the token rules of "Canonical JSON", in any spelling. Raises ValueError."""

    def no_repeats(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key twice in one object")
        return dict(pairs)

    def integer(text):
        if text == "-0" or len(text) > 17 or abs(int(text)) > INTEGER_MAX:
            raise ValueError(f"an integer that JSON does not carry everywhere: {text[:20]}")
        return int(text)

    def no_such_number(text):
        raise ValueError(f"no integer: {text[:20]}")

    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=no_repeats,
            parse_int=integer,
            parse_float=no_such_number,
            parse_constant=no_such_number,
        )
    except RecursionError:
        raise ValueError("too deep") from None
    if depth(value) > DEPTH_MAX:
        raise ValueError("too deep")
    canonical_json(value)  # fails at a lone surrogate
    return value


def depth(value):
    if isinstance(value, (dict, list)):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0)
    return 0


def canonical_json(value):
    def ordered(value):
        if isinstance(value, dict):
            by_utf_16 = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
            return {key: ordered(inner) for key, inner in by_utf_16}
        return [ordered(inner) for inner in value] if isinstance(value, list) else value

    return json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":")).encode()


def parse_canonical(data):
    """The value of canonical bytes. Raises ValueError for any others."""
    value = parse_json(data)
    if canonical_json(value) != data:
        raise ValueError("not canonical JSON")
    return value


# The tree: RFC 6962 over entries' bytes.


def leaf_hash(line):
    return sha256(b"\x00" + line)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


def root_of(leaf, index, size, path):
    """RFC 9162 section 2.1.3.2: where a path leads from a leaf; None when it leads nowhere."""
    if index >= size:
        return None
    fn, sn, root = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            root = node_hash(sibling, root)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            root = node_hash(root, sibling)
        fn, sn = fn >> 1, sn >> 1
    return root if sn == 0 else None


def is_consistent(first, first_root, second, second_root, path):
    """RFC 9162 section 2.1.4.2, for 0 < first <= second."""
    if first == second:
        return not path and first_root == second_root
    if first & (first - 1) == 0:
        path = [first_root] + path
    if not path:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for step in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(step, fr), node_hash(step, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, step)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_root and sr == second_root


class Frontier:
    """The complete subtrees of a tree that grows at its right end, the largest first."""

    def __init__(self, size, roots):
        levels = [level for level in reversed(range(64)) if size >> level & 1]
        if len(levels) != len(roots):
            raise ValueError(f"{len(roots)} subtrees before position {size}")
        self.size, self.subtrees = size, list(zip(levels, roots))

    def append(self, leaf):
        self.size += 1
        self.subtrees.append((0, leaf))
        while len(self.subtrees) > 1 and self.subtrees[-1][0] == self.subtrees[-2][0]:
            (level, left), (_, right) = self.subtrees[-2:]
            self.subtrees[-2:] = [(level + 1, node_hash(left, right))]

    def root(self):
        if not self.subtrees:
            return sha256(b"")
        *larger, (_, root) = self.subtrees
        for _, left in reversed(larger):
            root = node_hash(left, root)
        return root


# Keys.


class Key:
    """A verifier key: `<name>+<key id>+<base64(type || raw key)>`. Raises ValueError."""

    def __init__(self, vkey):
        self.name, key_id, encoded = vkey.split("+", 2)
        data = unbase64(encoded)
        kinds = [(kind, len(kind) + length) for kind, length in SUITE_1 + [(COSIGNATURE, 32)]]
        fitting = [kind for kind, n in kinds if data.startswith(kind) and len(data) == n]
        if len(fitting) != 1:
            raise ValueError(f"kind of the key {self.name}")
        self.kind = fitting[0]
        self.raw = data[len(self.kind):]
        self.id = sha256(self.name.encode() + b"\n" + data)[:4]
        if self.id.hex() != key_id:
            raise ValueError(f"key id of {self.name}")

    def signed(self, text, blob):
        """Whether the blob is this key's signature under the note text."""
        return is_signed(self.kind, self.raw, text, blob)


@functools.lru_cache(maxsize=256)
def is_signed(kind, raw, text, blob):
    if kind == SLH_DSA_128F:
        key = slhdsa.PublicKey.from_digest(raw, slhdsa.sha2_128f)
        return len(blob) == SLH_DSA_128F_LEN and key.verify_pure(text, blob)
    if kind == COSIGNATURE:
        if len(blob) != 72:
            return False
        (time,) = struct.unpack(">Q", blob[:8])
        return is_ed25519(raw, b"cosignature/v1\ntime %d\n" % time + text, blob[8:])
    if kind == ED25519:
        return is_ed25519(raw, text, blob)
    return holds(MLDSA65PublicKey, raw, text, blob)


def is_ed25519(raw, text, signature):
    """RFC 8032, strictly: no other encoding of a point, none of small order."""
    points = [raw, signature[:32]]
    return all(map(is_strict_point, points)) and holds(Ed25519PublicKey, raw, text, signature)


def is_strict_point(raw):
    y = int.from_bytes(raw, "little") % 2**255
    prime = 2**255 - 19
    # The y of the points of orders 4, 1, 2, and the two of order 8.
    eighth = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
    return y < prime and y not in (0, 1, prime - 1, eighth, prime - eighth)


def holds(family, raw, text, signature):
    try:
        family.from_public_bytes(raw).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def keyset_id(origin, suite, keys):
    parts = [origin.encode()] + [key.raw for key in keys]
    head = struct.pack(">I", len(parts[0])) + parts[0] + struct.pack(">H", suite)
    rest = b"".join(struct.pack(">I", len(part)) + part for part in parts[1:])
    return sha3(b"candor.keyset.v1\n" + head + rest)


class Policy:
    """What an auditor trusts. Raises ValueError where the text is no policy."""

    def __init__(self, text):
        self.keysets, self.cosigners, self.groups = {}, {}, {}
        self.pins, self.quorum = {}, None
        lines = text.split("\n")
        if lines[0] != "candor-policy v1":
            raise ValueError("first line of the policy")
        for line in lines[1:]:
            if line and not line.startswith("#"):
                self.add(*line.split())
        if self.quorum != "none" and not self.defines(self.quorum):
            raise ValueError("the quorum of the policy")

    def add(self, word, *rest):
        if word == "keyset":
            origin, suite, keys = rest[0], int(rest[1]), [Key(vkey) for vkey in rest[2:]]
            fits = suite == 1 and [key.kind for key in keys] == [kind for kind, _ in SUITE_1]
            if not fits or any(key.name != origin for key in keys):
                raise ValueError("a key set of the policy")
            self.keysets[origin, keyset_id(origin, suite, keys)] = keys
        elif word in ("node", "witness"):
            self.add_cosigner(word, rest[0], Key(rest[1]))
        elif word == "group":
            name, count, *members = rest
            taken = [member for _, others in self.groups.values() for member in others]
            if not all(map(self.defines, members)) or set(members) & set(taken):
                raise ValueError(f"members of the group {name}")
            if self.defines(name) or name == "none" or not self.needed(count, members):
                raise ValueError(f"the group {name}")
            self.groups[name] = (count, members)
        elif word == "quorum" and self.quorum is None:
            (self.quorum,) = rest
        elif word == "pin":
            self.pins[rest[0], int(rest[1])] = unbase64(rest[2], 32)
        else:
            raise ValueError(f"policy line `{word}`")

    def add_cosigner(self, word, name, key):
        origin, _, node = key.name.rpartition("/node/")
        is_node = origin in {origin for origin, _ in self.keysets} and node.isdecimal()
        raws = [other.raw for other in self.cosigners.values()]
        if key.kind != COSIGNATURE or is_node != (word == "node") or key.raw in raws:
            raise ValueError(f"the key of the {word} {name}")
        if self.defines(name) or name == "none":
            raise ValueError(f"a second {name}")
        self.cosigners[name] = key

    def defines(self, name):
        return name in self.cosigners or name in self.groups

    @staticmethod
    def needed(count, members):
        """How many of them; 0 where that is nonsense."""
        needed = {"any": 1, "all": len(members)}.get(count) or int(count)
        return needed if needed <= len(members) else 0

    def met(self, name, signed):
        if name == "none":
            return True
        if name not in self.groups:
            return name in signed
        needed = self.needed(*self.groups[name])
        return sum(self.met(member, signed) for member in self.groups[name][1]) >= needed


# Checkpoints.

CHECKPOINT = re.compile(
    r"([^\x00-\x1f\x7f-\x9f]+)\n([1-9][0-9]{0,15})\n([^\n]{44})\ncandor 1\n"
    r"chain sha3-256 ([^\n]{44})\nkeyset sha3-256 ([^\n]{44})\nsealed ([^\n]{27})\n"
)


class Checkpoint:
    """A note whose signatures hold under the policy."""

    def __init__(self, note, policy):
        try:
            text, lines = self.parts_of(note)
        except ValueError as error:
            raise Refused("note-not-readable", error) from None
        match = CHECKPOINT.fullmatch(text)
        want(match, "checkpoint-not-readable", "form of the checkpoint's text")
        self.origin, size, *hashes, self.sealed = match.groups()
        try:
            self.size = int(size)
            micros(self.sealed)
            self.root, self.chain, self.keyset = [unbase64(encoded, 32) for encoded in hashes]
        except ValueError as error:
            raise Refused("checkpoint-not-readable", error) from None
        self.check_lines(text.encode(), lines, policy)
        pinned = policy.pins.get((self.origin, self.size), self.root)
        want(pinned == self.root, "pin-contradicted", f"the root of size {self.size}")

    @staticmethod
    def parts_of(note):
        """The text, and of each signature line the name and what it carries."""
        text, end, lines = note.decode().rpartition("\n\n")
        if not end or not lines.endswith("\n") or re.search(rb"[\x00-\x09\x0b-\x1f]", note):
            raise ValueError("no text, empty line, and signature lines with LF")
        if len(note) > NOTE_LEN_MAX or lines.count("\n") > NOTE_LINES_MAX:
            raise ValueError("too long")
        signatures = []
        for line in lines[:-1].split("\n"):
            match = re.fullmatch("\u2014 ([^\\s+]+) ([!-~]+)", line)
            blob = unbase64(match[2]) if match else b""
            if len(blob) < 5:
                raise ValueError(f"form of a signature line: {line[:40]}")
            signatures.append((match[1], blob))
        return text + "\n", signatures

    def check_lines(self, text, lines, policy):
        keys = policy.keysets.get((self.origin, self.keyset))
        want(keys, "keyset-not-named", f"{self.keyset.hex()} of {self.origin}")
        owners = {(key.name, key.id): (None, key) for key in keys}
        owners |= {(key.name, key.id): (name, key) for name, key in policy.cosigners.items()}
        self.signed, seen = set(), set()
        for name, blob in lines:
            handle = (name, blob[:4])
            want(handle not in seen, "signature-repeated", f"two lines by {name}")
            seen.add(handle)
            if handle in owners:
                owner, key = owners[handle]
                want(key.signed(text, blob[4:]), "signature-bad", f"{name} ({key.kind!r})")
                self.signed |= {owner} - {None}
        for key in keys:
            want((key.name, key.id) in seen, "signature-missing", f"of each family ({key.kind!r})")
        want(policy.met(policy.quorum, self.signed), "quorum-not-met", ", ".join(self.signed))
