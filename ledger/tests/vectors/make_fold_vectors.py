#!/usr/bin/env python3
"""Writes fold.json: commands, and the entries that the rules make of them.

Standard library alone; shares no code with the Rust implementation and follows ../../FORMAT.md. Keeps the
whole ledger as a list of entries and works out states by looking through plain dictionaries, so it is slow
and simple. The first story names every operation; the second one is drawn at random.

    python3 make_fold_vectors.py            # writes fold.json beside this file
    python3 make_fold_vectors.py --check    # compares instead
"""

import base64
import hashlib
import json
import pathlib
import random
import sys

ORIGIN = "log.example/acme"
PARAMS = {
    "dedup_window": 20,
    "entries_per_file": 65536,
    "entries_per_operation_max": 4,
    "max_silence_ms": 60000,
    "max_skew_ms": 2000,
    "thin_hour_after_ms": 604800000,
    "thin_minute_after_ms": 3600000,
    "ttl_ms_max": 315576000000,
    "value_len_max": 8388608,
}
START_MS = 1778752800000  # 2026-05-14T10:00:00Z
REVOKED_MAX = 32


def sha3(data):
    return hashlib.sha3_256(data).digest()


def tag(digest):
    return "sha3-256:" + digest.hex()


def b64(data):
    return base64.b64encode(data).decode()


def jcs(value):
    """RFC 8785; every key here is ASCII, so the order by code points is the right one."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def shown_time(micros):
    seconds, rest = divmod(micros, 10**6)
    days, of_day = divmod(seconds, 86400)
    year = 1970
    while True:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if days < 365 + leap:
            break
        days -= 365 + leap
        year += 1
    month = 1
    for length in [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]:
        if days < length:
            break
        days -= length
        month += 1
    clock = f"{of_day // 3600:02}:{of_day // 60 % 60:02}:{of_day % 60:02}.{rest:06}"
    return f"{year:04}-{month:02}-{days + 1:02}T{clock}Z"


# Ed25519, RFC 8032 section 5.1, by the affine formulas.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)


def add(a, b):
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + k, P - 2, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - k, P - 2, P)
    return x % P, y % P


def times(scalar, point):
    total = (0, 1)
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def compressed(point):
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


def ed25519(seed):
    """The public key, and a function that signs."""
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
    public = compressed(times(scalar, BASE))

    def number(*parts):
        return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L

    def sign(message):
        nonce = number(digest[32:], message)
        point = compressed(times(nonce, BASE))
        answer = (nonce + number(point, public, message) * scalar) % L
        return point + answer.to_bytes(32, "little")

    return public, sign


AUDITOR, AUDITOR_SIGN = ed25519(b"\x42" * 32)


def fingerprint(pattern, fields):
    names = {
        "exact": "model_name model_version prompt_hash temperature top_p system_prompt_hash "
        "hardware_class parameters",
        "result-only": "model_version computation_type parameters hardware_class",
    }
    names["semantic"] = names["exact"]
    preimage = b"candor.fingerprint.v1/" + pattern.encode() + b"\n"
    for name in names[pattern].split():
        value = fields[name].encode()
        preimage += len(value).to_bytes(4, "big") + value
    return "fingerprint:" + tag(sha3(preimage))


def model_text(model):
    part = lambda text: text.replace("%", "%25").replace("/", "%2F")
    return "model:" + part(model["name"]) + "/" + part(model["version"])


def keys_of(fill):
    ed = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    return [ed, bytes([fill]) * 1952, bytes([fill]) * 32]


def keyset_id(keys):
    preimage = b"candor.keyset.v1\n"
    preimage += len(ORIGIN).to_bytes(4, "big") + ORIGIN.encode() + (1).to_bytes(2, "big")
    for key in keys:
        preimage += len(key).to_bytes(4, "big") + key
    return tag(sha3(preimage))


class Ledger:
    def __init__(self):
        self.lines = []
        self.entries = []
        self.results = {}  # (tenant, subject): {"all": [..], "state", "revoked": [..], ..}
        self.gone = {}  # (tenant, model text): (seq, to)
        self.requests = {}  # tenant: {(id, actor): (digest, outcome)}
        self.floors = {}
        self.last = {}  # (tenant, subject): (n, seq)
        self.last_seal = None
        self.params = PARAMS
        self.keyset = self.next_keyset = None
        self.members = []

    # The command.

    def command(self, command):
        self.seed = bytes.fromhex(command["seed"])
        self.count = 0
        self.clock = command["time"]
        outcomes = [self.item(item) for item in command["items"]]
        if command["closes"] and self.lines:
            body = {"keyset": self.keyset, "prev_seal": self.last_seal}
            self.last_seal = self.append("ledger.seal", body)
            if self.next_keyset:
                self.keyset, self.next_keyset = self.next_keyset, None
        return outcomes

    def item(self, item):
        if not self.lines:
            return self.genesis(item["genesis"]) if "genesis" in item else "not_initialised"
        if "genesis" in item:
            return "already_initialised"
        if "tick" in item:
            return self.tick()
        if "admin" in item:
            return self.admin(item["admin"])
        return self.client(item["client"])

    def now(self):
        return max(self.clock, self.entries[-1][0] if self.entries else 0)

    def append(self, op, body, tenant="", subject="ledger", actor="log", request_id=None):
        n, before = self.last.get((tenant, subject), (0, None))
        seq, time = len(self.lines), self.now()
        nonce = sha3(b"candor.nonce.v1" + self.seed + self.count.to_bytes(4, "big"))[:16]
        entry = {
            "v": 1,
            "seq": seq,
            "prev": tag(sha3(self.lines[-1])) if self.lines else tag(bytes(32)),
            "time": shown_time(time),
            "op": op,
            "body": body,
            "tenant": tenant,
            "subject": subject,
            "n": n + 1,
            "subject_prev": before,
            "actor": actor,
            "request_id": request_id,
            "nonce": base64.urlsafe_b64encode(nonce).decode().rstrip("="),
        }
        self.last[tenant, subject] = (n + 1, seq)
        self.lines.append(jcs(entry))
        self.entries.append((time, entry))
        self.count += 1
        return seq

    # The log.

    def genesis(self, body):
        self.keyset = keyset_id([base64.b64decode(key) for key in body["keys"]])
        self.members = list(body["members"])
        self.params = body["params"]
        self.append("ledger.genesis", body)
        return "done"

    def admin(self, admin):
        op, body = admin["op"], admin["body"]
        if op == "ledger.keys":
            new = keyset_id([base64.b64decode(key) for key in body["keys"]])
            if self.next_keyset:
                return "done" if new == self.next_keyset else "change_refused"
            if new == self.keyset:
                return "done"
            self.next_keyset = new
        elif op == "ledger.member":
            node = body["node"]
            if body["action"] == "leave":
                if node not in [member["node"] for member in self.members]:
                    return "done"
                if len(self.members) == 1:
                    return "change_refused"
                self.members = [member for member in self.members if member["node"] != node]
            else:
                member = {"node": node, "cosigner": body["cosigner"]}
                if member in self.members:
                    return "done"
                used = [body["node"] for _, body in self.named_members()]
                if node <= max(used):
                    return "change_refused"
                self.members.append(member)
        elif op == "ledger.params":
            if body["params"] == self.params:
                return "done"
            self.params = body["params"]
        self.append(op, body, actor=admin["actor"], request_id=admin["request_id"])
        return "done"

    def named_members(self):
        for _, entry in self.entries:
            if entry["op"] == "ledger.genesis":
                for member in entry["body"]["members"]:
                    yield entry, member
            if entry["op"] == "ledger.member" and entry["body"]["action"] == "join":
                yield entry, entry["body"]

    # Time.

    def active(self):
        for (tenant, subject), result in self.results.items():
            if result["state"] == "active":
                yield tenant, subject, result

    def followers(self, tenant, model):
        found = [s for t, s, r in self.active() if t == tenant and r["model"] == model]
        return sorted(found)

    def follow(self, tenant, model, left):
        cause, to = self.gone[tenant, model]
        for subject in self.followers(tenant, model)[:left]:
            result = self.results[tenant, subject]
            body = {"cause": cause, "successor": to, "version": result["held"]["version"]}
            self.append("cache.supersede", body, tenant, subject)
            result["state"], result["successor"] = "superseded", to
            left -= 1
        return left

    def tick(self):
        left = self.params["entries_per_operation_max"]
        for (tenant, model), _ in sorted(self.gone.items(), key=lambda gone: gone[1][0]):
            left = self.follow(tenant, model, left)
        if any(self.followers(*gone) for gone in self.gone):
            return "ticked"
        due = [(r["held"]["deadline"], t, s) for t, s, r in self.active()]
        for deadline, tenant, subject in sorted(due)[:left]:
            if deadline <= self.now():
                result = self.results[tenant, subject]
                body = {"write_seq": result["held"]["write_seq"]}
                self.append("cache.expire", body, tenant, subject)
                result["state"] = "expired"
        return "ticked"

    # Clients.

    def effective(self, tenant, subject):
        result = self.results.get((tenant, subject))
        if not result:
            return "absent", None
        state = result["state"]
        if state in ("active", "expired") and (tenant, result["model"]) in self.gone:
            return "superseded", self.gone[tenant, result["model"]][1]
        if state == "active" and self.now() >= result["held"]["deadline"]:
            return "expired", None
        return state, result.get("successor") if state == "superseded" else None

    def client(self, request):
        tenant, subject = request["tenant"], request["subject"]
        who = (tenant, subject, request["actor"], request["request_id"])
        if request["op"] == "get":
            return self.get(request, who)
        if request["op"] == "cache.read_as_of":
            return self.read_as_of(request, who)
        digest = tag(
            sha3(
                jcs(
                    {
                        "actor": request["actor"],
                        "args": request["args"],
                        "op": request["op"],
                        "subject": subject,
                        "tenant": tenant,
                    }
                )
            )
        )
        table, key = self.requests.setdefault(tenant, {}), (request["request_id"], request["actor"])
        if key in table:
            known, outcome = table[key]
            return "replayed " + outcome if known == digest else "request_id_reused"
        asked_ms = int(request["request_id"].replace("-", "")[:12], 16)
        if asked_ms * 1000 > self.now() + self.params["max_skew_ms"] * 1000:
            return "request_id_ahead"
        if request["request_id"] <= self.floors.get(tenant, ""):
            return "request_id_stale"
        state, _ = self.effective(tenant, subject)
        if not subject.startswith("fingerprint:"):
            state = "superseded" if (tenant, subject) in self.gone else "active"
        judged = self.judge(request, state)
        if "reason_code" in judged:
            op = "cache.refused"
            body = {"asked": request["op"], "state": state, "reason": judged.pop("reason_code")}
            body |= judged
            outcome = "refused " + body["reason"]
        else:
            op, body = judged["op"], judged["body"]
            outcome = op
        if op == "cache.verify" or not judged.get("apply"):
            self.append(op, body | {"request": digest}, *who)
        else:
            judged["apply"](self.append(op, body | {"request": digest}, *who))
        table[key] = (digest, outcome)
        for _ in range(2):
            if len(table) > self.params["dedup_window"]:
                smallest = min(table)
                del table[smallest]
                self.floors[tenant] = max(self.floors.get(tenant, ""), smallest[0])
        return outcome

    def get(self, request, who):
        tenant, subject = request["tenant"], request["subject"]
        result = self.results.get((tenant, subject))
        semantic = request["args"]
        if result and (
            result["pattern"] == "result-only"
            or bool(semantic) != (result["pattern"] == "semantic")
        ):
            return "malformed"
        state, successor = self.effective(tenant, subject)
        if state == "active":
            held = result["held"]
            body = {key: held[key] for key in ("output_hash", "version", "write_seq")}
            self.append("cache.read_hit", body | semantic, *who)
            return "hit"
        body = {"reason": state} | ({"successor": successor} if successor else {})
        self.append("cache.read_miss", body, *who)
        if state == "expired":
            result["state"] = "expired"
        return "miss " + state

    def read_as_of(self, request, who):
        result = self.results.get((request["tenant"], request["subject"]))
        args = request["args"]
        if result and result["pattern"] == "result-only":
            return "malformed"
        if not 1 <= args["as_of"] <= len(self.lines):
            return "malformed"
        if args.get("as_of_time", "") > shown_time(self.now()):
            return "malformed"
        self.append("cache.read_as_of", args, *who)
        return "past_read"

    def judge(self, request, state):
        """What is appended, or `reason_code` with what it rests on."""
        tenant, subject, args = request["tenant"], request["subject"], request["args"]
        _, successor = self.effective(tenant, subject)
        result = self.results.get((tenant, subject))
        gone = {"reason_code": "superseded", "successor": successor}
        match request["op"]:
            case "cache.write":
                return self.judge_write(tenant, subject, args, state, gone)
            case "cache.supersede":
                if state == "absent":
                    return {"reason_code": "absent"}
                if state == "superseded":
                    return gone
                if state == "revoked":
                    return {"reason_code": "revoked"}
                named = {"successor": args["successor"]}
                if (tenant, args["successor"]) not in self.results:
                    return {"reason_code": "successor_absent"} | named
                at = args["successor"]
                while at:
                    if at == subject:
                        return {"reason_code": "successor_circular"} | named
                    other = self.results.get((tenant, at), {"state": "absent"})
                    at = other["state"] == "superseded" and other["successor"]
                body = args | {"version": result["held"]["version"]}

                def apply(_):
                    result["state"], result["successor"] = "superseded", args["successor"]

                return {"op": "cache.supersede", "body": body, "apply": apply}
            case "cache.revoke":
                if state == "absent":
                    return {"reason_code": "absent"}
                if state == "superseded":
                    return gone
                if state == "revoked":
                    return {"reason_code": "revoked"}
                held = result["held"]
                if held["output_hash"] != args["output_hash"]:
                    named = {"output_hash": args["output_hash"]}
                    return {"reason_code": "output_mismatch"} | named

                def apply(_):
                    result["state"] = "revoked"
                    result["revoked"].append(held)

                body = args | {"version": held["version"]}
                return {"op": "cache.revoke", "body": body, "apply": apply}
            case "cache.reinstate":
                if state == "absent":
                    return {"reason_code": "absent"}
                if state == "superseded":
                    return gone
                if (tenant, result["model"]) in self.gone:
                    to = self.gone[tenant, result["model"]][1]
                    named = {"model": result["model"], "successor": to}
                    return {"reason_code": "model_superseded"} | named
                named = {"output_hash": args["output_hash"]}
                back = [h for h in result["revoked"] if h["output_hash"] == args["output_hash"]]
                if not back:
                    return {"reason_code": "not_revoked"} | named
                if state == "active":
                    return {"reason_code": "version_active"} | named

                def apply(_):
                    result["revoked"].remove(back[0])
                    result["held"] = back[0]
                    overdue = self.entries[-1][0] >= back[0]["deadline"]
                    result["state"] = "expired" if overdue else "active"

                body = args | {"version": back[0]["version"]}
                return {"op": "cache.reinstate", "body": body, "apply": apply}
            case "model.supersede":
                if state == "superseded":
                    successor = self.gone[tenant, subject][1]
                    return {"reason_code": "superseded", "successor": successor}
                at = to = model_text(args["to"])
                while at:
                    if at == subject:
                        return {"reason_code": "successor_circular", "successor": to}
                    at = self.gone.get((tenant, at), (None, None))[1]

                def apply(seq):
                    self.gone[tenant, subject] = (seq, to)
                    self.follow(tenant, subject, self.params["entries_per_operation_max"] - 1)

                return {"op": "model.supersede", "body": args, "apply": apply}
            case "cache.verify":
                if args["size"] > len(self.lines):
                    return {"reason_code": "size_ahead", "size": args["size"]}
                return {"op": "cache.verify", "body": args}

    def judge_write(self, tenant, subject, args, state, gone):
        observed = args.get("observed_model_version", args["model_version"])
        if observed != args["model_version"]:
            named = {k: args[k] for k in ("model_version", "observed_model_version")}
            return {"reason_code": "model_version_mismatch"} | named
        pattern = args["pattern"]
        model = None
        if pattern != "result-only":
            model = model_text({"name": args["model_name"], "version": args["model_version"]})
            if (tenant, model) in self.gone:
                to = self.gone[tenant, model][1]
                return {"reason_code": "model_superseded", "model": model, "successor": to}
        if state == "superseded":
            return gone
        result = self.results.get((tenant, subject))
        version = result["versions"] + 1 if result else 1
        if pattern != "result-only" and result:
            held, offered = result["held"], args["output_hash"]
            if offered in [h["output_hash"] for h in result["revoked"]]:
                return {"reason_code": "output_revoked", "output_hash": offered}
            if state == "active" and held["output_hash"] == offered:
                version = held["version"]
            elif state == "active":
                body = {k: held[k] for k in ("version", "write_seq")}
                body |= {"held": held["output_hash"], "offered": offered}
                return {"op": "cache.write_conflict", "body": body}
            elif len(result["revoked"]) >= REVOKED_MAX:
                return {"reason_code": "revoked_limit"}

        def apply(seq):
            now = self.results.setdefault((tenant, subject), {"revoked": [], "versions": 0})
            now |= {"state": "active", "pattern": pattern, "model": model}
            now["versions"] = max(now["versions"], version)
            now["held"] = {
                "version": version,
                "write_seq": seq,
                "output_hash": args["output_hash"],
                "deadline": self.entries[-1][0] + args["ttl_ms"] * 1000,
            }
            if pattern == "result-only":
                now["revoked"] = []

        return {"op": "cache.write", "body": args | {"version": version}, "apply": apply}


class Story:
    """Commands, and what the ledger makes of them."""

    def __init__(self, name, whole):
        self.name, self.whole = name, whole
        self.ledger = Ledger()
        self.commands = []
        self.time = START_MS * 1000
        self.ids = 0
        self.run({"genesis": GENESIS})

    def wait(self, millis):
        self.time += millis * 1000

    def run(self, *items, closes=False):
        before = len(self.ledger.lines)
        command = {
            "time": self.time,
            "seed": sha3(f"{self.name} {len(self.commands)}".encode()).hex(),
            "items": list(items),
            "closes": closes,
        }
        outcomes = self.ledger.command(command)
        lines = [line.decode() for line in self.ledger.lines[before:]]
        head = tag(sha3(self.ledger.lines[-1]))
        expected = {"outcomes": outcomes, "size": len(self.ledger.lines), "head": head}
        if self.whole:
            expected["entries"] = lines
        self.commands.append(command | {"expected": expected})
        return outcomes

    def ask(self, op, subject, args, tenant="acme", actor="service-a", request_id=None):
        self.ids += 1
        if request_id is None:
            millis = (self.time // 1000).to_bytes(6, "big").hex()
            request_id = f"{millis[:8]}-{millis[8:]}-7000-8000-{self.ids:012x}"
        return {
            "client": {
                "tenant": tenant,
                "actor": actor,
                "request_id": request_id,
                "op": op,
                "subject": subject,
                "args": args,
            }
        }


GENESIS = {
    "origin": ORIGIN,
    "cluster_id": "c1" * 16,
    "suite": 1,
    "keys": [b64(key) for key in keys_of(7)],
    "members": [{"node": n, "cosigner": b64(bytes([n]) * 32)} for n in (1, 2, 3)],
    "rules": 1,
    "params": PARAMS,
}


def fields(prompt, version="checkpoint-1", pattern="exact"):
    if pattern == "result-only":
        return {
            "pattern": pattern,
            "model_version": version,
            "computation_type": prompt,
            "parameters": "{}",
            "hardware_class": "a100-80gb",
        }
    return {
        "pattern": pattern,
        "model_name": "org/gpt-4-0613",
        "model_version": version,
        "prompt_hash": tag(sha3(prompt.encode())),
        "temperature": "0.7",
        "top_p": "",
        "system_prompt_hash": "",
        "hardware_class": "a100-80gb",
        "parameters": '{"max_tokens":64,"stop":"\\n"}',
    }


def model(version):
    return {"name": "org/gpt-4-0613", "version": version}


def written(f, output, ttl_ms=60000, **told):
    return f | {
        "output_hash": tag(sha3(output.encode())),
        "output_len": len(output.encode()),
        "media_type": "text/plain; charset=utf-8",
        "ttl_ms": ttl_ms,
        **told,
    }


def named(f):
    return fingerprint(f["pattern"], f)


def attested(subject, size, result="proved", tenant="acme"):
    root = sha3(b"root")
    statement = f"candor.attest.v1\n{ORIGIN}\n{tenant}\n{subject}\n{size}\n{b64(root)}\n{result}\n"
    return {
        "result": result,
        "size": size,
        "root": b64(root),
        "auditor": b64(AUDITOR),
        "signature": b64(AUDITOR_SIGN(statement.encode())),
    }


def revocation(output, reason="wrong"):
    return {"output_hash": tag(sha3(output.encode())), "reason": reason}


def told_story():
    story = Story("told", whole=True)
    one, two, three = fields("one"), fields("two"), fields("three", "checkpoint-2")
    like = fields("canonical", pattern="semantic")
    record = fields("fraud-check", pattern="result-only")
    ask, run = story.ask, story.run
    match_ = {"original_prompt_hash": "hmac-sha3-256:" + "ab" * 32, "similarity": "0.93"}
    run(ask("get", named(one), {}))
    first = ask(
        "cache.write",
        named(one),
        written(
            one,
            "Paris",
            model_checksum="sha-256:" + "cd" * 32,
            observed_model_version="checkpoint-1",
            input_tokens=342,
            output_tokens=156,
            latency_ms=812,
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
            decision="loan/42",
            person="hmac-sha3-256:" + "ef" * 32,
        ),
    )
    run(first, closes=True)
    run(first, ask("get", named(one), {}, actor="service-b"))
    reused = json.loads(json.dumps(first))
    reused["client"]["args"]["ttl_ms"] = 1
    run(reused)
    story.wait(1000)
    run(ask("cache.write", named(one), written(one, "Paris")))
    run(ask("cache.write", named(one), written(one, "London")))
    run(ask("cache.write", named(one), written(one, "Paris", observed_model_version="other")))
    run(ask("get", named(one), {}), ask("get", named(one), {}, tenant="other"), closes=True)
    run(ask("cache.verify", named(one), attested(named(one), 4), actor="auditor"))
    run(ask("cache.verify", "decision:loan%2F42", attested("decision:loan%2F42", 4, "not-proved")))
    run(ask("cache.verify", named(one), attested(named(one), 999, "refuted")))
    run(ask("cache.revoke", named(one), revocation("London")))
    run(ask("cache.revoke", named(one), revocation("Paris", 'wrong "city" \u2028 \u00e9\n')))
    run(ask("get", named(one), {}), ask("cache.write", named(one), written(one, "Paris")))
    run(ask("cache.write", named(one), written(one, "London", 2000)))
    run(ask("cache.reinstate", named(one), revocation("Paris")))
    story.wait(2000)
    run(ask("get", named(one), {}))
    run(ask("cache.reinstate", named(one), revocation("Paris")))
    run(ask("get", named(one), {}))
    run(ask("cache.reinstate", named(one), revocation("Paris")))
    run(ask("cache.write", named(like), written(like, "similar", **match_)))
    run(ask("get", named(like), match_), ask("get", named(like), {}))
    run(ask("cache.write", named(record), written(record, "fraud")))
    run(ask("cache.write", named(record), written(record, "fraud")))
    run(ask("get", named(record), {}))
    now = shown_time(story.time)
    run(ask("cache.read_as_of", named(one), {"as_of": 2}, actor="auditor"))
    run(ask("cache.read_as_of", named(fields("never")), {"as_of": 3, "as_of_time": now}))
    run(
        ask("cache.read_as_of", named(one), {"as_of": 0}),
        ask("cache.read_as_of", named(one), {"as_of": 999}),
        ask("cache.read_as_of", named(one), {"as_of": 3, "as_of_time": shown_time(story.time + 1)}),
        ask("cache.read_as_of", named(record), {"as_of": 3}),
        ask("cache.read_as_of", named(like), {"as_of": len(story.ledger.lines)}),
    )
    run(ask("cache.supersede", named(one), {"successor": named(three), "reason": "better"}))
    run(ask("cache.write", named(three), written(three, "Paris, France")))
    run(ask("cache.supersede", named(one), {"successor": named(three), "reason": "better"}))
    run(ask("cache.supersede", named(three), {"successor": named(one), "reason": "back"}))
    run(ask("get", named(one), {}), ask("cache.write", named(one), written(one, "Paris")))
    for prompt in "abcdefgh":
        f = fields(prompt)
        run(ask("cache.write", named(f), written(f, prompt)))
    change = {"from": model("checkpoint-1"), "to": model("checkpoint-2"), "reason": "retired"}
    run(ask("model.supersede", model_text(change["from"]), change))
    back = {"from": model("checkpoint-2"), "to": model("checkpoint-1"), "reason": "back"}
    run(ask("model.supersede", model_text(back["from"]), back))
    run(ask("model.supersede", model_text(change["from"]), change))
    run(*[ask("get", named(fields(prompt)), {}) for prompt in "ah"])
    run(ask("cache.write", named(two), written(two, "new")))
    story.wait(1000)
    run({"tick": True})
    run({"tick": True}, closes=True)
    story.wait(120000)
    run({"tick": True})
    run({"tick": True})
    run(ask("cache.write", named(three), written(three, "late", 1000), request_id=id_at(story, 2001)))
    run(ask("cache.write", named(three), written(three, "late", 1000), request_id=id_at(story, 2000)))
    run(ask("cache.write", named(three), written(three, "late", 1000), request_id=id_at(story, -125000)))
    joined = {"action": "join", "node": 4, "cosigner": b64(bytes([4]) * 32)}
    run(admin("ledger.member", joined))
    run(admin("ledger.member", joined), admin("ledger.member", joined | {"node": 2}))
    run(admin("ledger.member", {"action": "leave", "node": 1}))
    rotated = {"keys": [b64(key) for key in keys_of(8)], "suite": 1, "reason": "yearly"}
    run(admin("ledger.keys", rotated))
    run(admin("ledger.keys", rotated), closes=True)
    run(closes=True)
    run(admin("ledger.params", {"params": PARAMS | {"dedup_window": 3}}))
    for prompt in "xyz":
        f = fields(prompt, "checkpoint-2")
        run(ask("cache.write", named(f), written(f, prompt)), closes=True)
    run({"genesis": GENESIS})
    return story


def id_at(story, offset_ms):
    millis = (story.time // 1000 + offset_ms).to_bytes(6, "big").hex()
    return f"{millis[:8]}-{millis[8:]}-7fff-bfff-ffffffffffff"


def admin(op, body):
    request_id = "0197a3b0-0000-7000-8000-000000000001"
    return {"admin": {"op": op, "body": body, "actor": "operator", "request_id": request_id}}


def drawn_story(seed, commands):
    story, rng = Story(f"drawn {seed}", whole=False), random.Random(seed)
    sent = []

    pool = [fields(p, f"checkpoint-{v}") for p, v in [("a", 0), ("b", 0), ("a", 1), ("b", 2)]]
    pool += [fields("c", "checkpoint-1", "semantic"), fields("d", "checkpoint-1", "result-only")]

    def some_fields():
        return rng.choice(pool)

    def request():
        if sent and rng.random() < 0.1:
            return rng.choice(sent)
        f = some_fields()
        semantic = {}
        if f["pattern"] == "semantic":
            semantic = {"original_prompt_hash": tag(sha3(b"p")), "similarity": "0.9"}
        subject, output = named(f), rng.choice(["o1", "o2", "o3"])
        kind = rng.choices(
            ["get", "set", "supersede", "revoke", "reinstate", "model", "verify", "as of"],
            [8, 10, 1, 4, 4, 0.25, 1, 1],
        )[0]
        tenant = rng.choice(["acme"] * 4 + ["other"])
        actor = rng.choice(["service-a", "service-b"])

        def ask(op, about, args):
            asked = story.ask(op, about, args, tenant, actor)
            sent.append(asked)
            return asked

        if kind == "get":
            return ask("get", subject, semantic)
        if kind == "set":
            told = {"observed_model_version": "x"} if rng.random() < 0.03 else {}
            ttl_ms = rng.choice([500, 3000, 20000])
            return ask("cache.write", subject, written(f, output, ttl_ms, **semantic, **told))
        if kind == "supersede":
            successor = named(some_fields())
            if successor == subject:
                return ask("get", subject, semantic)
            return ask("cache.supersede", subject, {"successor": successor, "reason": "r"})
        if kind in ("revoke", "reinstate"):
            return ask("cache." + kind, subject, revocation(output))
        if kind == "model":
            a, b = rng.sample(range(4), 2)
            args = {"from": model(f"checkpoint-{a}"), "to": model(f"checkpoint-{b}"), "reason": "r"}
            return ask("model.supersede", model_text(args["from"]), args)
        size = rng.choice([1, len(story.ledger.lines), len(story.ledger.lines) + 50])
        if kind == "as of":
            return ask("cache.read_as_of", subject, {"as_of": size})
        return ask("cache.verify", subject, attested(subject, size, tenant=tenant))

    for _ in range(commands):
        story.wait(rng.choice([0, 1, 100, 900]))
        items = [request() for _ in range(rng.choice([0, 1, 1, 2, 3]))]
        if rng.random() < 0.15:
            items.append({"tick": True})
        story.run(*items, closes=rng.random() < 0.1)
    return story


def main():
    stories = [told_story()] + [drawn_story(seed, 90) for seed in range(4)]
    lines = ",\n".join(
        json.dumps({"name": s.name, "commands": "HERE"}).replace(
            '"HERE"', "[\n" + ",\n".join(json.dumps(c) for c in s.commands) + "]"
        )
        for s in stories
    )
    text = '{"comment": "made by make_fold_vectors.py", "stories": [\n' + lines + "\n]}\n"
    path = pathlib.Path(__file__).with_name("fold.json")
    if "--check" in sys.argv:
        sys.exit(path.read_text() != text)
    path.write_text(text)


if __name__ == "__main__":
    main()
