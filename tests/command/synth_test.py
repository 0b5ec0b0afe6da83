# SPDX-License-Identifier: Apache-2.0
# Random models: the same values as numpy's generator gives, for every type, however the files are cut.
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
sys.path.insert(0, GOLDEN)
sys.dont_write_bytecode = True
import make_model  # the program that the golden models were made with: the oracle of the values

passed = failed = 0


def check(sentence, is_true):
    global passed, failed
    passed += bool(is_true)
    failed += not is_true
    if not is_true:
        print("FAILED", sentence)


def synth(out, *arguments):
    return subprocess.run([RG, "synth", out, *arguments], capture_output=True, text=True)


def small_files():
    """In the child: no file grows beyond 4 KiB, as if the disk were full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def read(path):
    with open(path, "rb") as f:
        return f.read()


def tensors(folder):
    """{name: (dtype, shape, bytes)} of all files of a model."""
    found = {}
    for name in sorted(os.listdir(folder)):
        if not (name.startswith("model") and name.endswith(".safetensors")):
            continue
        blob = read(os.path.join(folder, name))
        n = struct.unpack("<Q", blob[:8])[0]
        header = json.loads(blob[8:8 + n])
        header.pop("__metadata__", None)
        for key, entry in header.items():
            begin, end = entry["data_offsets"]
            found[key] = (entry["dtype"], tuple(entry["shape"]), blob[8 + n + begin:8 + n + end])
    return found


with tempfile.TemporaryDirectory() as root:
    def folder(name):
        return os.path.join(root, name)

    for preset in ("tiny", "tiny-hawk", "tiny-lru", "small"):
        for dtype in ("bf16", "f32"):
            out, expected = folder("%s-%s" % (preset, dtype)), folder("expected-%s-%s" % (preset, dtype))
            check("%s succeeds" % preset, synth(out, "--config", preset, "--dtype", dtype, "--seed", "7").returncode == 0)
            make_model.write_model(expected, make_model.make_config(**make_model.PRESETS[preset]), dtype, 7)
            check("%s in %s has the oracle's bytes" % (preset, dtype), read(out + "/model.safetensors") == read(expected + "/model.safetensors"))
            mine, theirs = (json.loads(read(f + "/config.json")) for f in (out, expected))
            cycle = theirs["block_types"]
            theirs["block_types"] = [cycle[i % len(cycle)] for i in range(theirs["num_hidden_layers"])]
            check("%s in %s has the oracle's configuration" % (preset, dtype), all(mine[k] == theirs[k] for k in mine))
            check("%s: a model opens" % preset, subprocess.run([RG, "inspect", out], capture_output=True).returncode == 0)

    for case in ("griffin-rra", "hawk", "lru-wide", "bf16-sharded"):
        description = json.loads(read("%s/%s/golden.json" % (GOLDEN, case)))
        out = folder(case)
        result = synth(out, "--config", "%s/%s/config.json" % (GOLDEN, case), "--seed", str(description["seed"]), "--dtype",
                       description["checkpoint_dtype"])
        check("%s is made from its config.json" % case, result.returncode == 0)
        check("%s equals the golden model" % case, tensors(out) == tensors("%s/%s" % (GOLDEN, case)))

    whole = tensors(folder("small-bf16"))
    out = folder("shards")
    check("shards succeed", synth(out, "--config", "small", "--seed", "7", "--shard-size", "1M").returncode == 0)
    index = json.loads(read(out + "/model.safetensors.index.json"))
    files = [f for f in os.listdir(out) if f.endswith(".safetensors")]
    check("there are several files", len(files) > 5)
    check("the values do not depend on how files are cut", tensors(out) == whole)
    check("the index names every tensor", set(index["weight_map"]) == set(whole))
    check("the index names every file", set(index["weight_map"].values()) == set(files))
    check("the index tells the size", index["metadata"]["total_size"] == sum(len(t[2]) for t in whole.values()))
    check("a model in shards opens", subprocess.run([RG, "inspect", out], capture_output=True).returncode == 0)

    out = folder("f16")
    synth(out, "--config", "small", "--seed", "7", "--dtype", "f16")
    f16, f32 = tensors(out), tensors(folder("small-f32"))
    check("f16 is f32, rounded", all(np.array_equal(np.frombuffer(f32[k][2], "<f4").astype("<f2").view("<u2"), np.frombuffer(f16[k][2], "<u2")) for k in f32))

    out = folder("untied")
    synth(out, "--config", "tiny", "--seed", "7", "--untied")
    untied, tied = tensors(out), tensors(folder("tiny-bf16"))
    check("an untied model has one tensor more", set(untied) - set(tied) == {"lm_head.weight"})
    check("its output matrix is its own", untied["lm_head.weight"][2] != untied["model.embed_tokens.weight"][2])
    facts = json.loads(subprocess.run([RG, "inspect", out, "--json"], capture_output=True, text=True).stdout)
    check("inspect sees it", facts["model"]["has_own_head"] is True)

    check("another seed gives other values", synth(folder("seed"), "--config", "tiny", "--seed", "8").returncode == 0 and tensors(folder("seed")) != tied)

    out = folder("tiny-bf16")
    before = tensors(out)
    result = synth(out, "--config", "small")
    check("a model that is there is not written over", result.returncode == 1 and tensors(out) == before)
    check("the sentence tells how to insist", "--force" in result.stderr)
    open(out + "/tokenizer.model", "w").close()
    out = folder("shards")
    open(out + "/notes.txt", "w").close()
    check("--force replaces a model", synth(out, "--config", "tiny", "--seed", "7", "--force").returncode == 0)
    check("--force removes its files and no others",
          sorted(os.listdir(out)) == ["config.json", "generation_config.json", "model.safetensors", "notes.txt"])
    check("and the new model is whole", tensors(out) == tied)

    summary = synth(folder("json"), "--config", "tiny", "--json")
    check("the summary is JSON", json.loads(summary.stdout)["n_parameters"] == sum(int(np.prod(t[1])) for t in tied.values()))

    result = subprocess.run([RG, "synth", folder("full"), "--config", "tiny"], capture_output=True, text=True, preexec_fn=small_files)
    check("a full disk is a failure with one sentence", result.returncode == 1 and result.stderr.count("\n") == 1)
    check("and nothing is left", not os.path.exists(folder("full")))
    check("a folder in a folder that is not there is a failure", synth(folder("no/where"), "--config", "tiny").returncode == 1)
    check("a file is not a folder", synth(out + "/notes.txt", "--config", "tiny").returncode == 1)

    config = json.loads(read(GOLDEN + "/griffin-rra/config.json"))
    for key, value in (("hidden_size", None), ("hidden_size", 30), ("hidden_size", 1e300), ("vocab_size", -1), ("num_hidden_layers", 2.5),
                       ("intermediate_size", 7), ("block_types", []), ("block_types", ["mamba"]), ("lru_width", 33), ("tie_word_embeddings", 3)):
        with open(folder("bad.json"), "w") as f:
            json.dump(dict(config, **{key: value}), f)
        result = synth(folder("bad"), "--config", folder("bad.json"))
        check("a config.json with %s %s is refused with one sentence" % (key, value), result.returncode == 1 and result.stderr.count("\n") == 1)
    check("nothing is left of what was refused", not os.path.exists(folder("bad")))
    for text in ("", "[]", "{", '{"hidden_size"', '{"hidden_size": 64', "\0"):
        with open(folder("bad.json"), "w") as f:
            f.write(text)
        check("%r is refused" % text, synth(folder("bad"), "--config", folder("bad.json")).returncode == 1)

    config["attention_bias"] = True
    config["num_key_value_heads"] = 2
    config["conv1d_width"] = 3
    with open(folder("other.json"), "w") as f:
        json.dump(config, f)
    check("other shapes succeed", synth(folder("other"), "--config", folder("other.json")).returncode == 0)
    check("and open", subprocess.run([RG, "inspect", folder("other")], capture_output=True).returncode == 0)

print("%d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
