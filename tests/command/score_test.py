# SPDX-License-Identifier: Apache-2.0
# The verb score against the same figures computed in double from the verb logits, over a text of several pieces.
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np

RG = os.path.join(os.environ.get("BUILD", "build"), "recurrentgemma")
TOKENS_PER_PIECE = 1024  # of cmd_score.c: the text is longer, so that a border is crossed

passed = failed = 0


def check(sentence, is_true):
    global passed, failed
    passed += bool(is_true)
    failed += not is_true
    if not is_true:
        print("FAILED", sentence)


def run(*arguments, **keywords):
    return subprocess.run([RG, *arguments], capture_output=True, **keywords)


if b"no demo model" in run("inspect", "demo").stderr:
    print("skipped: the demo model is not built in")
    sys.exit(77)

text = "".join("%d. It was the best of times, it was the worst of times; \u00e9tude %d\n" % (i, i * i) for i in range(40)).encode()

with tempfile.TemporaryDirectory() as root:
    path, out = os.path.join(root, "text"), os.path.join(root, "logits.safetensors")
    for n_bytes in (1, 40, len(text)):
        with open(path, "wb") as f:
            f.write(text[:n_bytes])
        ids = run("tokenize", "demo", input=text[:n_bytes]).stdout.split()
        run("logits", "demo", "--tokens", "-", "--out", out, input=b" ".join(ids))
        with open(out, "rb") as f:
            blob = f.read()
        begin = 8 + struct.unpack("<Q", blob[:8])[0]
        logits = np.frombuffer(blob[begin:], "<f4").reshape(len(ids), -1).astype(np.float64)
        tokens = np.array(ids[1:], int)
        rows = logits[:-1]
        largest = rows.max(axis=1)
        nll = float(np.sum(np.log(np.exp(rows - largest[:, None]).sum(axis=1)) + largest - rows[np.arange(len(tokens)), tokens]))

        result = run("score", "demo", "-f", path, "--json")
        score = json.loads(result.stdout)
        check("the keys are those that were promised", list(score) == ["tokens", "nll", "perplexity", "bits_per_byte"])
        check("%d bytes: each token after bos is counted once" % n_bytes, score["tokens"] == len(tokens))
        # A log-probability is a float32 of size about 10, so each token may be off by about 1e-6.
        check("%d bytes: nll" % n_bytes, abs(score["nll"] - nll) <= 2e-6 * len(tokens))
        check("%d bytes: perplexity" % n_bytes, abs(score["perplexity"] / np.exp(score["nll"] / len(tokens)) - 1) < 1e-12)
        check("%d bytes: bits per byte" % n_bytes, abs(score["bits_per_byte"] / (score["nll"] / np.log(2) / n_bytes) - 1) < 1e-12)
        with open(path, "rb") as f:
            piped = run("score", "demo", "-f", "-", "--json", stdin=f)
        check("%d bytes: standard input gives the same" % n_bytes, piped.stdout == result.stdout)
    check("the text crosses a border of pieces", len(tokens) > TOKENS_PER_PIECE)
    plain = run("score", "demo", "-f", path).stdout.decode()
    check("without --json there are four lines", plain.count("\n") == 4 and "perplexity" in plain)

print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
