#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random shapes of the family against the float64 reference: layer patterns, widths, key heads, gate blocks, taps, windows, caps, biases,
types, shards. Each model is written to a temporary folder, run through the command on both backends in pieces of random length with random
pages, and compared.

  shapes_oracle.py [--models 200] [--seed 1]
"""
import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

import numpy as np

BUILD = os.environ.get("BUILD", "build")
COMMAND = os.path.join(BUILD, "recurrentgemma")
sys.path.insert(0, os.path.join("tests", "data", "golden"))
import make_model  # noqa: E402
import reference_numpy  # noqa: E402

BOUND = 5e-5


def random_config(r):
    heads = r.choice([1, 2, 3, 4, 6])
    head_dim = 4 * r.randint(1, 9)
    blocks = r.choice([1, 2, heads, 5])
    pattern = r.choice([("recurrent", "recurrent", "attention"), ("recurrent",), ("attention",), ("attention", "recurrent"),
                        ("recurrent", "attention", "attention", "recurrent")])
    config = make_model.make_config(
        width=heads * head_dim, mlp=r.randint(1, 90), heads=heads, lru=blocks * r.randint(1, 20), layers=r.randint(1, 6), pattern=pattern,
        window=r.choice([1, 2, 5, 16, 40]), cap=r.choice([0.0, 30.0, 5.0]), scale=r.random() < 0.7, vocab=r.randint(3, 400), conv=r.choice([1, 2, 3, 4, 4, 4, 7]),
        block_key=r.choice(["block_types", "_block_types"]), gate_blocks=blocks, tie=r.random() < 0.8)
    config["num_key_value_heads"] = r.choice([n for n in range(1, heads + 1) if heads % n == 0])
    config["attention_bias"] = r.random() < 0.25
    if r.random() < 0.3:
        config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta"), "partial_rotary_factor": config.pop("partial_rotary_factor")}
    if r.random() < 0.5:
        config.pop("num_gate_blocks", None)  # the loader takes them from the tensors
    return config, blocks


def write(folder, config, blocks, r):
    """As make_model does, with biases of q, k and v where the configuration has them, any of three types, and a head of its own."""
    specs = make_model.tensor_specs(dict(config, num_gate_blocks=blocks))
    if config["attention_bias"]:
        for name, shape, _, _ in list(specs):
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
                specs.append((name[:-6] + "bias", (shape[0],), "normal", 0.3))
    kind = r.choice(["F32", "BF16", "F16"])
    tensors, seed = {}, r.randint(0, 999)
    for name, shape, how, parameter in specs:
        if how.startswith("copy:") and r.random() < 0.5:
            how = "normal"  # a head that differs from the embedding
        values = np.concatenate([np.asarray(b, dtype=np.float32) for b in make_model.tensor_blocks(name, shape, how, parameter, "f32", seed)])
        if kind == "BF16":
            tensors[name] = (make_model.to_bf16_bits(values), shape)
        else:
            tensors[name] = (values.astype("<f2" if kind == "F16" else "<f4"), shape)
    names = list(tensors)
    r.shuffle(names)
    n_shards = r.choice([1, 1, 2, 3])
    weight_map = {}
    for s in range(n_shards):
        file = "model.safetensors" if n_shards == 1 else "model-%05d-of-%05d.safetensors" % (s + 1, n_shards)
        header, at, blobs = {}, 0, []
        for name in names[s::n_shards]:
            blob = tensors[name][0].tobytes()
            header[name] = {"dtype": kind, "shape": list(tensors[name][1]), "data_offsets": [at, at + len(blob)]}
            at += len(blob)
            blobs.append(blob)
            weight_map[name] = file
        text = json.dumps(header).encode()
        with open(os.path.join(folder, file), "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    if n_shards > 1:
        json.dump({"metadata": {}, "weight_map": weight_map}, open(os.path.join(folder, "model.safetensors.index.json"), "w"))
    json.dump(config, open(os.path.join(folder, "config.json"), "w"))
    return kind


def reference(folder, tokens, window):
    """The reference reads the keys at the top level only."""
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    flat = dict(config, **config.get("rope_parameters", {}))
    json.dump(flat, open(path, "w"))
    model = reference_numpy.Model(folder, window_mode=window)
    json.dump(config, open(path, "w"))
    return model.run(tokens)[0]


def ours(folder, tokens, window, backend, r):
    out = os.path.join(folder, "logits.out")
    result = subprocess.run([COMMAND, "logits", folder, "--tokens", ",".join(map(str, tokens)), "--out", out, "--backend", backend, "--window", window, "--chunk",
                             str(r.randint(1, len(tokens))), "--page-length", str(r.choice([1, 2, 4, 7, 64])), "--threads", str(r.randint(1, 3)), r.choice(["--map", "--no-map"])],
                            capture_output=True, text=True)
    if result.returncode:
        return None, result.stderr.strip()
    logits = reference_numpy.read_safetensors(out)["logits"]
    os.remove(out)
    return logits, ""


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--models", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    passed = failed = 0
    worst = 0.0
    for i in range(arguments.models):
        r = random.Random(arguments.seed * 100000 + i)
        with tempfile.TemporaryDirectory() as folder:
            config, blocks = random_config(r)
            kind = write(folder, config, blocks, r)
            tokens = [r.randrange(config["vocab_size"]) for _ in range(r.randint(1, 3 * config["attention_window_size"] + 20))]
            window = r.choice(["deepmind", "deepmind", "hf"])
            expected = reference(folder, tokens, window)
            size = max(1.0, float(np.abs(expected).max()) / 16)  # the bound is for logits of about +-16
            for backend in ("blis", "reference"):
                logits, why = ours(folder, tokens, window, backend, r)
                difference = float("inf") if logits is None else float(np.abs(logits - expected).max()) / size
                if difference <= BOUND:
                    passed += 1
                    worst = max(worst, difference)
                else:
                    failed += 1
                    print("FAILED model %d on %s: difference %g %s\n  %s %s, window=%s, %d tokens: %s" % (i, backend, difference, why, kind, blocks, window, len(tokens), json.dumps(config)))
    print("TABLE %d random shapes on both backends: largest difference %.1e" % (arguments.models, worst))
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
