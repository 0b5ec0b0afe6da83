# SPDX-License-Identifier: Apache-2.0
# The verb logits: the golden models' logits within 5e-5 in float32, and within what rounding may cost (docs/numerics.md) where rows and windows are rounded,
# in every way of cutting the work, and files that are whole or not there.
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile

import numpy as np

RG = os.path.join(os.environ.get("BUILD", "build"), "recurrentgemma")
GOLDEN = "tests/data/golden"
TYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4"}
TOLERANCE = 5e-5  # of the golden data, for float32

passed = failed = 0


def check(sentence, is_true):
    global passed, failed
    passed += bool(is_true)
    failed += not is_true
    if not is_true:
        print("FAILED", sentence)


def load(path):
    with open(path, "rb") as f:
        blob = f.read()
    n = struct.unpack("<Q", blob[:8])[0]
    header = json.loads(blob[8:8 + n])
    header.pop("__metadata__", None)
    last = max(e["data_offsets"][1] for e in header.values())
    check("%s has exactly its tensors' bytes" % path, len(blob) == 8 + n + last and (8 + n) % 8 == 0)
    return {k: np.frombuffer(blob[8 + n + e["data_offsets"][0]:8 + n + e["data_offsets"][1]], TYPES[e["dtype"]]).reshape(e["shape"])
            for k, e in header.items() if e["dtype"] in TYPES}


def run(*arguments, **keywords):
    return subprocess.run([RG, "logits", *arguments], capture_output=True, text=True, **keywords)


def far(actual, expected):
    return float(np.max(np.abs(actual.astype(np.float64) - expected)))


def rounding_costs(config, n_attention, expected):
    """Four rows of each layer and the last before a product with bfloat16 weights, keys and values; 4.8 deviations."""
    n = (4 * config["num_hidden_layers"] + 1 if config["torch_dtype"] == "bfloat16" else 0) + 2 * n_attention
    return max(TOLERANCE, 4.8 * (n / 3) ** 0.5 * 2.0 ** -8 * float(np.sqrt(np.mean(np.square(expected.astype(np.float64))))))


WHOLE = ["--compute", "f32", "--window-type", "f32"]
backends = subprocess.run([RG, "--version"], capture_output=True, text=True).stdout.split("backends: ")[1].split(")")[0]
backends = [b.strip() for b in backends.split(",") if b.strip() in ("reference", "blis", "cpu")]
settings = [["--backend", b] + WHOLE for b in backends] + [["--backend", "cpu"]]

with tempfile.TemporaryDirectory() as root:
    out = os.path.join(root, "out.safetensors")
    for case in ("griffin-rra", "hawk", "lru-wide", "one-head", "bf16-sharded"):
        model = os.path.join(GOLDEN, case)
        golden = load(os.path.join(model, "golden.safetensors"))
        tokens, expected = golden["tokens"], golden["logits"]
        listed = ",".join(map(str, tokens))
        window = json.load(open(os.path.join(model, "config.json")))["attention_window_size"]
        config = json.load(open(os.path.join(model, "config.json")))
        n_attention = sum(".keys" in name and name.startswith("state.final") for name in golden)
        worst = {}
        for backend in settings:
            first = None
            tolerance = TOLERANCE if WHOLE[0] in backend else rounding_costs(config, n_attention, expected)
            for more in ([], ["--chunk", "1"], ["--chunk", "7", "--threads", "2"], ["--no-map", "--threads", "1"], ["--page-length", "64"]):
                result = run(model, "--tokens", listed, "--out", out, *backend, *more)
                if not result.returncode == 0:
                    check("%s with %s %s succeeds: %s" % (case, backend, more, result.stderr), False)
                    continue
                logits = load(out)["logits"]
                worst[len(backend)] = max(worst.get(len(backend), 0.0), far(logits, expected))
                check("%s with %s %s is within the tolerance" % (case, backend, more), far(logits, expected) <= tolerance)
                first = logits if first is None else first
                check("%s with %s %s has the same bits as without" % (case, backend, more), logits.tobytes() == first.tobytes())
                os.unlink(out)
            run(model, "--tokens", listed, "--out", out, *backend, "--last", "5")
            check("%s with %s: --last 5 are the last five rows" % (case, backend), load(out)["logits"].tobytes() == first[-5:].tobytes())
            if "logits_window_hf" in golden and len(golden["logits_window_hf"]):
                run(model, "--tokens", listed, "--out", out, *backend, "--window", "hf")
                check("%s with %s: --window hf" % (case, backend), far(load(out)["logits"][window:], golden["logits_window_hf"]) <= tolerance)
            check("%s with %s: double precision agrees too" % (case, backend), far(first[-16:], golden["logits_f64_last16"]) <= tolerance)
        print("TABLE %-14s worst difference of logits %.2g, with rounding %.2g" % (case, worst[6], worst[2]))

    model = os.path.join(GOLDEN, "griffin-rra")
    golden = load(os.path.join(model, "golden.safetensors"))
    long = golden["long.tokens"]
    listing = os.path.join(root, "long.txt")
    with open(listing, "w") as f:
        f.write("\n".join(map(str, long)) + "\n")
    result = run(model, "--tokens", listing, "--out", out, "--last", "4", "--chunk", "64", *WHOLE)
    check("a file of ids is read", result.returncode == 0 and far(load(out)["logits"], golden["long.logits_last4"]) <= TOLERANCE)
    result = run(model, "--tokens", "-", "--out", out, "--last", "4", *WHOLE, input=" ".join(map(str, long)))
    check("standard input is read", result.returncode == 0 and far(load(out)["logits"], golden["long.logits_last4"]) <= TOLERANCE)

    before = os.listdir(root)
    content = open(out, "rb").read()
    for tokens in ("2,x", "2,-1", "1.5", "99999999999", "4294967297", ""):
        check("--tokens '%s' is refused" % tokens, run(model, "--tokens", tokens, "--out", out).returncode == 1)
    result = run(model, "--tokens", "2,3,1000000", "--out", out)
    check("an id outside of the vocabulary is a failure with one sentence", result.returncode == 1 and result.stderr.count("\n") == 1)
    check("a failure leaves the old file and no other", open(out, "rb").read() == content and os.listdir(root) == before)

    check("a folder that is not there is a failure", run(model, "--tokens", "2", "--out", os.path.join(root, "no", "x")).returncode == 1)
    result = run(model, "--tokens", "2", "--out", "/dev/full")
    check("only regular files are replaced", result.returncode == 1 and "not a regular file" in result.stderr)
    target, link = os.path.join(root, "target"), os.path.join(root, "link")
    open(target, "w").close()
    os.symlink(target, link)
    run(model, "--tokens", "2", "--out", link)
    check("a symbolic link stays one", os.path.islink(link) and load(target)["logits"].shape[0] == 1)

    def small_files():  # as if the disk were full
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    full = os.path.join(root, "full.safetensors")
    before = sorted(os.listdir(root))
    result = run(model, "--tokens", "2,3,4,5,6,7,8", "--out", full, preexec_fn=small_files)
    check("a write that fails is a failure with one sentence", result.returncode == 1 and result.stderr.count("\n") == 1)
    check("and leaves no file", sorted(os.listdir(root)) == before)

print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
