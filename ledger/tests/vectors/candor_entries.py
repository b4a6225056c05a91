"""What the verifiers beside this file share: the form of an entry, and what stands between entries.

Written from ../../FORMAT.md, sections "Entry" and "Evidence", with none of Candor's code.
"""

import re
import struct

from candor_formats import (
    INTEGER_MAX,
    Refused,
    canonical_json,
    is_ed25519,
    micros,
    parse_json,
    sha3,
    tagged_sha3,
    unbase64,
    want,
)

EXACT = """model_name model_version prompt_hash temperature top_p system_prompt_hash hardware_class
parameters"""
FIELDS = {
    "exact": EXACT.split(),
    "semantic": EXACT.split(),
    "result-only": "model_version computation_type parameters hardware_class".split(),
}
STATES = "absent active expired revoked superseded erased".split()
PARAMS = """dedup_window entries_per_file entries_per_operation_max max_silence_ms max_skew_ms
thin_hour_after_ms thin_minute_after_ms ttl_ms_max value_len_max""".split()


class Unknown(Exception):
    """A word or a key that a newer version may know."""


def like(pattern):
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def integer(low=0, high=INTEGER_MAX):
    return lambda value: type(value) is int and low <= value <= high


def word(*words):
    def known(value):
        if isinstance(value, str) and value not in words:
            raise Unknown(f"`{value}`, where {', '.join(words)} are known")
        return isinstance(value, str)

    return known


def b64(length=None):
    def fits(value):
        try:
            return isinstance(value, str) and unbase64(value, length) is not None
        except ValueError:
            return False

    return fits


def either(*kinds):
    return lambda value: any(kind(value) for kind in kinds)


def null(value):
    return value is None


def text(value):
    return isinstance(value, str) and 1 <= len(value.encode()) <= 1024


def time(value):
    try:
        return isinstance(value, str) and micros(value) >= 0
    except ValueError:
        return False


def decimal(value):
    shaped = like(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{0,16}[1-9])?")(value)
    return shaped and value != "-0" and sum(map(str.isdigit, value)) <= 18


def escaped(value):
    """A name as it stands in a subject."""
    shaped = like("(?:[!-$&-.0-~]|%25|%2F)+")(value)
    return shaped and len(value.replace("%25", "%").replace("%2F", "/")) <= 200


def model_subject(value):
    parts = value[len("model:"):].split("/") if like("model:.*")(value) else []
    return len(parts) == 2 and all(map(escaped, parts))


def decision_subject(value):
    return like("decision:.*")(value) and escaped(value[len("decision:"):])


def object_of(required, optional=None):
    def fits(value):
        if not isinstance(value, dict):
            return False
        check_object(value, required, optional or {})
        return True

    return fits


def check_object(value, required, optional):
    for key, kind in required.items():
        want(key in value and kind(value[key]), "entry-malformed", f"`{key}`")
    for key, kind in optional.items():
        want(key not in value or kind(value[key]), "entry-malformed", f"`{key}`")
    for key in value:
        if key not in required and key not in optional:
            raise Unknown(f"the key `{key}`")


name = like("[!-~]{1,200}")
digest = like("sha3-256:[0-9a-f]{64}")
tagged = like("(sha3-256|sha-256|hmac-sha3-256):[0-9a-f]{64}")
fingerprint_subject = like("fingerprint:sha3-256:[0-9a-f]{64}")
request_id = like("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
model = object_of({"name": name, "version": name})
count, position = integer(), integer()
successor = either(fingerprint_subject, model_subject)


def parameters(value):
    """The canonical text of an object of strings, integers and booleans."""
    try:
        parsed = parse_json(value.encode())
    except (ValueError, AttributeError):
        return False
    flat = isinstance(parsed, dict) and all(isinstance(v, (str, int)) for v in parsed.values())
    return flat and canonical_json(parsed) == value.encode()


FIELD = {
    "model_name": name,
    "model_version": name,
    "prompt_hash": tagged,
    "temperature": either(like(""), decimal),
    "top_p": either(like(""), decimal),
    "system_prompt_hash": either(like(""), tagged),
    "hardware_class": name,
    "computation_type": name,
    "parameters": parameters,
}


def keys(value):
    return isinstance(value, list) and len(value) == 3 and all(map(b64(), value))


def members(value):
    if not isinstance(value, list) or not 1 <= len(value) <= 31:
        return False
    if not all(map(MEMBER, value)):
        return False
    nodes = [member["node"] for member in value]
    cosigners = {member["cosigner"] for member in value}
    return nodes == sorted(set(nodes)) and nodes[0] > 0 and len(cosigners) == len(value)


def known(low, high):
    """A number that grows with what there is to know."""

    def fits(value):
        if count(value) and not low <= value <= high:
            raise Unknown(f"{value}, where {low} to {high} are known")
        return count(value)

    return fits


version, suite, rules = known(1, 1), known(1, 1), known(0, 2**32 - 1)
params = object_of({key: count for key in PARAMS})
MEMBER = object_of({"node": count, "cosigner": b64(32)})
ORIGIN = like("[!-*,-~]{1,229}")
LOG_KEYS = {"suite": suite, "keys": keys}
MATCH = {"original_prompt_hash": tagged, "similarity": decimal}
REVOCATION = {"version": count, "output_hash": digest, "reason": text, "request": digest}
FORMER = {"origin": ORIGIN, "size": count, "root": b64(32), "cause": text}
REFUSAL_KEYS = {
    "absent": {},
    "model_superseded": {"model": model_subject, "successor": model_subject},
    "model_version_mismatch": {"model_version": name, "observed_model_version": name},
    "not_revoked": {"output_hash": digest},
    "output_mismatch": {"output_hash": digest},
    "output_revoked": {"output_hash": digest},
    "revoked": {},
    "revoked_limit": {},
    "size_ahead": {"size": count},
    "successor_absent": {"successor": fingerprint_subject},
    "successor_chain_too_long": {"successor": successor},
    "successor_circular": {"successor": successor},
    "superseded": {"successor": successor},
    "version_active": {"output_hash": digest},
}
MISS_KEYS = {reason: {} for reason in STATES if reason != "active"}
MISS_KEYS["superseded"] = {"successor": successor}

# Of each operation the keys that must be there and those that may; those that hang on a word of the
# body are added by `body_keys`.
BODIES = {
    "cache.write": (
        {"output_hash": digest, "output_len": count, "media_type": like("[ -~]{1,200}")}
        | {"ttl_ms": count, "version": count, "request": digest},
        {"decision": name, "input_tokens": count, "latency_ms": count, "model_checksum": tagged}
        | {"observed_model_version": name, "output_tokens": count, "person": tagged}
        | {"trace_id": name},
    ),
    "cache.read_as_of": ({"as_of": count}, {"as_of_time": time}),
    "cache.read_hit": ({"write_seq": position, "version": count, "output_hash": digest}, MATCH),
    "cache.read_miss": ({}, {}),
    "cache.write_conflict": (
        {"held": digest, "offered": digest, "version": count, "write_seq": position}
        | {"request": digest},
        {},
    ),
    "cache.refused": ({"request": digest}, {}),
    "cache.supersede": ({}, {}),
    "cache.revoke": (REVOCATION, {}),
    "cache.reinstate": (REVOCATION, {}),
    "cache.expire": ({"write_seq": position}, {}),
    "cache.verify": (
        {"result": word("proved", "refuted", "not-proved"), "size": count, "root": b64(32)}
        | {"auditor": b64(32), "signature": b64(64), "request": digest},
        {},
    ),
    "model.supersede": ({"from": model, "to": model, "reason": text, "request": digest}, {}),
    "ledger.genesis": (
        {"origin": ORIGIN, "cluster_id": like("[0-9a-f]{32}"), "members": members}
        | {"rules": rules, "params": params}
        | LOG_KEYS,
        {"former": object_of(FORMER)},
    ),
    "ledger.seal": ({"keyset": digest, "prev_seal": either(null, position)}, {}),
    "ledger.member": ({}, {}),
    "ledger.keys": (LOG_KEYS | {"reason": text}, {}),
    "ledger.params": ({"params": params}, {}),
    "ledger.rules": ({"rules": rules}, {}),
}


def by_word(body, key, choices):
    """The keys that a word of the body brings with it."""
    value = body.get(key)
    want(isinstance(value, str), "entry-malformed", f"`{key}`")
    word(*choices)(value)
    return {key: word(*choices)} | choices[value]


def body_keys(op, body):
    required, optional = BODIES[op]
    if op == "cache.write":
        fields = {pattern: {f: FIELD[f] for f in FIELDS[pattern]} for pattern in FIELDS}
        required = required | by_word(body, "pattern", fields)
        required |= MATCH if body["pattern"] == "semantic" else {}
    elif op == "cache.read_hit" and any(key in body for key in MATCH):
        required = required | MATCH
    elif op == "cache.read_miss":
        required = required | by_word(body, "reason", MISS_KEYS)
    elif op == "cache.refused":
        words = {"asked": word(*BODIES), "state": word(*STATES)}
        required = required | words | by_word(body, "reason", REFUSAL_KEYS)
    elif op == "cache.supersede":
        by_client = {"successor": fingerprint_subject, "reason": text, "request": digest}
        by_log = {"cause": position, "successor": model_subject}
        picked = by_log if model_subject(body.get("successor")) else by_client
        required = required | {"version": count} | picked
    elif op == "ledger.member":
        actions = {"join": {"node": count, "cosigner": b64(32)}, "leave": {"node": count}}
        required = required | by_word(body, "action", actions)
    return required, optional


ENTRY = {
    "v": version,
    "seq": position,
    "prev": digest,
    "time": time,
    "op": word(*BODIES),
    "body": lambda value: isinstance(value, dict),
    "tenant": either(like(""), name),
    "subject": either(like("ledger"), fingerprint_subject, decision_subject, model_subject),
    "n": count,
    "subject_prev": either(null, position),
    "actor": name,
    "request_id": either(null, request_id),
    "nonce": like("[0-9A-Za-z_-]{21}[AQgw]"),
}


def parse_entry(line):
    """An entry of version 1 in canonical form."""
    want(len(line) <= 65_535, "entry-malformed", f"{len(line)} bytes")
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise Refused("entry-malformed", error) from None
    want(canonical_json(entry) == line, "entry-malformed", "not canonical")
    try:
        check_form(entry)
    except Unknown as error:
        raise Refused("entry-not-understood", error) from None
    return entry


def check_form(entry):
    want(isinstance(entry, dict), "entry-malformed", "no object")
    want(version(entry.get("v")), "entry-malformed", "`v`")
    want(word(*BODIES)(entry.get("op")), "entry-malformed", "`op`")
    check_object(entry, ENTRY, {})
    check_object(entry["body"], *body_keys(entry["op"], entry["body"]))


def fingerprint(body):
    data = b"candor.fingerprint.v1/" + body["pattern"].encode() + b"\n"
    for key in FIELDS[body["pattern"]]:
        field = body[key].encode()
        data += struct.pack(">I", len(field)) + field
    return "fingerprint:" + tagged_sha3(data)


def check_alone(entry, origin):
    """What an entry says of itself: fingerprint and attestation."""
    seq, body, subject = entry["seq"], entry["body"], entry["subject"]
    if entry["op"] == "cache.write":
        want(subject == fingerprint(body), "entry-fingerprint", f"fingerprint of entry {seq}")
    if entry["op"] == "cache.verify":
        said = [origin, entry["tenant"], subject, body["size"], body["root"], body["result"]]
        signed = "".join(f"{part}\n" for part in ["candor.attest.v1"] + said).encode()
        key, signature = unbase64(body["auditor"]), unbase64(body["signature"])
        want(is_ed25519(key, signed, signature), "entry-attestation", f"attestation of entry {seq}")


def check_seal(entry, line, checkpoint):
    """The last entry under a checkpoint, which must be a seal that it copies."""
    stated = (checkpoint.chain, "sha3-256:" + checkpoint.keyset.hex(), checkpoint.sealed)
    what = f"the checkpoint of size {checkpoint.size} as a copy of its seal"
    want(entry["op"] == "ledger.seal", "checkpoint-contradicts-seal", what)
    seal = (sha3(line), entry["body"]["keyset"], entry["time"])
    want(seal == stated, "checkpoint-contradicts-seal", what)



class Row:
    """Entries in ascending order, held against each other as far as they are shown."""

    def __init__(self):
        self.newest, self.subjects = None, {}

    def check_chain(self, entry):
        """Of neighbours the later names the earlier one's hash."""
        if self.newest:
            before, line = self.newest
            want(before["seq"] < entry["seq"], "entry-out-of-order", f"entry {entry['seq']}")
            chained = before["seq"] + 1 < entry["seq"] or entry["prev"] == tagged_sha3(line)
            want(chained, "chain-broken", f"from entry {before['seq']} to the next")

    def push(self, entry, line):
        """Checks what an honest log would not commit after the entries before."""
        before, self.newest = self.newest, (entry, line)
        subject = self.subjects.setdefault((entry["tenant"], entry["subject"]), Subject())
        goes_on = not before or before[0]["time"] <= entry["time"]
        want(goes_on, "time-goes-back", f"entry {entry['seq']}")
        subject.push(entry)

    def last_of(self, entry):
        """Where the event shown before this one of its subject stands."""
        subject = self.subjects.get((entry["tenant"], entry["subject"]))
        return subject.seq if subject else None


class Subject:
    """What the events shown of one subject say of its result."""

    def __init__(self):
        self.seq, self.n, self.writes = None, 0, {}
        # Whether no event is missing since n = 1 or since the newest write; that write; why it may
        # not be disclosed any more.
        self.known, self.held, self.out = False, None, None

    def push(self, entry):
        op, body, n = entry["op"], entry["body"], entry["n"]
        if n == 1:
            self.know(None)
        elif n != self.n + 1:
            self.known = False
        before = (self.seq, self.n)
        self.seq, self.n = entry["seq"], n
        check_link(entry, *before)
        if op == "cache.write":
            self.writes[self.seq] = {
                "names": (self.seq, body["version"], body["output_hash"]),
                "deadline": micros(entry["time"]) + 1000 * body["ttl_ms"],
            }
            self.know(self.writes[self.seq])
        elif op == "cache.read_hit":
            self.check_hit(entry)
        elif op == "cache.revoke":
            self.turn(body["version"], None, "revoked")
        elif op == "cache.reinstate":
            self.turn(body["version"], "revoked", None)
        elif op in ("cache.expire", "cache.supersede"):
            self.out = self.out or op
        elif op == "cache.read_miss" and self.held and not self.out:
            if body["reason"] in ("expired", "superseded"):
                self.out = body["reason"]
            else:
                self.known = False

    def know(self, held):
        self.known, self.held, self.out = True, held, None

    def turn(self, version, before, after):
        """Takes the result out of service, or back; of another one nothing is known."""
        if self.known and self.held and self.held["names"][1] == version and self.out == before:
            self.out = after
        else:
            self.known = False

    def check_hit(self, entry):
        body, what = entry["body"], f"the hit at {entry['seq']}"
        names = (body["write_seq"], body["version"], body["output_hash"])
        held = self.held if self.known else self.writes.get(body["write_seq"])
        may = held and not self.out if self.known else body["write_seq"] < entry["seq"]
        want(may, "disclosure-forbidden", what)
        right = not held or held["names"] == names and micros(entry["time"]) < held["deadline"]
        want(right, "disclosure-forbidden", what)


def check_link(entry, last, last_n):
    """An event against the one of its subject shown before it, if one is."""
    seq, n, named = entry["seq"], entry["n"], entry["subject_prev"]
    what = f"events of {entry['subject']} up to entry {seq}"
    shaped = named is None if n == 1 else named is not None and named < seq
    want(n > last_n and shaped, "lifecycle-broken", what)
    if last is not None:
        linked = named == last if n == last_n + 1 else named is not None and named > last
        want(linked, "lifecycle-broken", what)
