#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The full shapes: logits of the 2B preset against a float64 reference on both backends, and peak memory of 2B and of the 9B layout as it
is released (untied, 19.3 GB), read into private memory.

Models are written to LARGE (default: build/large) and kept. WITH_9B=0 leaves the 9B out: it needs 20 GB of disk and 24 GiB of memory.
"""
import json
import os
import struct
import subprocess
import sys
import time

import numpy as np

BUILD = os.environ.get("BUILD", "build")
LARGE = os.environ.get("LARGE", os.path.join(BUILD, "large"))
COMMAND = os.path.join(BUILD, "recurrentgemma")
passed = failed = 0


def check(name, ok):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    print("%s %s" % ("ok    " if ok else "FAILED", name), flush=True)


def make(name, *options):
    folder = os.path.join(LARGE, name)
    if not os.path.exists(os.path.join(folder, "config.json")):
        subprocess.run([sys.executable, "tests/data/golden/make_model.py", "--out", folder, *options], check=True, stderr=subprocess.DEVNULL)
    return folder


def run(*arguments):
    """Seconds and peak resident bytes of a command."""
    start = time.monotonic()
    child = subprocess.Popen(arguments)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit("%s: exit %d" % (" ".join(arguments), child.returncode))
    return time.monotonic() - start, usage.ru_maxrss * 1024


def weights_bytes(folder):
    """Bytes of all tensors, a head that equals the embedding counted once."""
    total = 0
    for name in os.listdir(folder):
        if not name.endswith(".safetensors"):
            continue
        with open(os.path.join(folder, name), "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            for tensor, facts in json.loads(file.read(length)).items():
                if tensor not in ("__metadata__", "lm_head.weight"):
                    total += facts["data_offsets"][1] - facts["data_offsets"][0]
    return total


def read_logits(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        facts = json.loads(file.read(length))["logits"]
        return np.frombuffer(file.read(), dtype="<f4")[: np.prod(facts["shape"])].reshape(facts["shape"])


def preset_2b():
    folder = make("2b", "--preset", "2b", "--dtype", "bf16", "--seed", "0")
    golden = json.load(open("tests/data/golden/preset-2b.json"))
    out = os.path.join(LARGE, "logits.safetensors")
    for backend in ("blis", "reference"):
        seconds, peak = run(COMMAND, "logits", folder, "--backend", backend, "--no-map", "--tokens", ",".join(map(str, golden["tokens"])), "--out", out)
        logits = read_logits(out)
        worst = n = 0
        for row in golden["logits"]:
            ours = logits[row["position"]].astype(np.float64)
            for token, value in row["top10"]:
                worst, n = max(worst, abs(ours[token] - value)), n + 1
            for i, value in enumerate(row["every_16000th"]):
                worst, n = max(worst, abs(ours[16000 * i] - value)), n + 1
            worst = max(worst, abs(ours.mean() - row["mean"]), abs(ours.std() - row["std"]))
        over = peak - weights_bytes(folder)
        print("TABLE 2b on %s: %d logits, largest difference %.2e; peak memory %.2f GB, the weights and %.0f MB; %.1f s" % (backend, n, worst, peak / 1e9, over / 1e6, seconds))
        check("2b on %s: every listed logit within 5e-4" % backend, worst <= 5e-4)
        check("2b on %s: at most the weights and 300 MB" % backend, over <= 300e6)


def preset_9b():
    folder = make("9b", "--preset", "9b", "--untied", "--dtype", "bf16", "--seed", "0")
    seconds, peak = run(COMMAND, "logits", folder, "--backend", "blis", "--no-map", "--tokens", "2", "--out", os.path.join(LARGE, "logits.safetensors"))
    over = peak - weights_bytes(folder)
    print("TABLE 9b untied: opening and one token: peak memory %.2f GB, the weights (head once) and %.0f MB; %.1f s" % (peak / 1e9, over / 1e6, seconds))
    check("9b untied: at most the weights and 300 MB", over <= 300e6)


if __name__ == "__main__":
    os.makedirs(LARGE, exist_ok=True)
    preset_2b()
    if os.environ.get("WITH_9B", "1") != "0":
        preset_9b()
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(failed > 0)
