#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times this library beside other implementations on the same random weights, at the same precision, and prints a table with ratios.

  compare.py [--work FOLDER] [--shape 2b] [--type bf16|f32] [--threads 2] [--peers transformers,deepmind-torch,deepmind-jax,candle]

Peers are installed into FOLDER (default: recurrentgemma-peers in TMPDIR, else /tmp), which must lie outside of this tree: Python packages into
a venv by pip, candle by cargo; nothing else of the system changes. Each peer first has to give our logits after a prompt and after tokens fed one
by one, else it computes another model and its times are not shown. Ours runs before and after each peer, since the machine's speed changes by the
minute; a ratio is against the mean of the two. A peer that cannot run is named with its error. Nothing else should run meanwhile.
"""
import argparse
import array
import datetime
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
COMMAND = os.path.join(ROOT, os.environ.get("BUILD", "build"), "recurrentgemma")
CHECK, MORE = 16, 4

# What was measured last; other versions may need other calls.
PYTHON_PACKAGES = {
    "transformers": ["torch==2.15.0", "transformers==5.23.0"],
    "deepmind-torch": ["torch==2.15.0", "recurrentgemma[torch,jax]==1.0.1"],
    "deepmind-jax": ["recurrentgemma[jax]==1.0.1", "jax==0.10.2", "flax==0.12.8", "safetensors==0.8.0", "ml_dtypes==0.6.0"],
}
PEERS = ("transformers", "deepmind-torch", "deepmind-jax", "candle")
RUNNERS = {"transformers": "peer_transformers.py", "deepmind-torch": "peer_deepmind_torch.py", "deepmind-jax": "peer_deepmind_jax.py"}
CARGO = """[package]
name = "candle_peer"
version = "0.0.0"
edition = "2021"

[dependencies]
candle-core = "=0.11.1"
candle-nn = "=0.11.1"
candle-transformers = "=0.11.1"
serde_json = "1"
"""


class PeerError(Exception):
    pass


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line]
    return (errors or lines or ["no message"])[-1][:300]


def call(arguments, log, limit, **environment):
    """Runs a program, its output into the file log; (standard output, peak resident bytes). Only the process itself is ended at the limit."""
    with open(log + ".out", "w+b") as out, open(log + ".err", "w+b") as err:
        child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(os.environ, **environment))
        end, over = time.monotonic() + limit, False
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end and not over:
                over = True
                os.kill(child.pid, signal.SIGKILL)
            time.sleep(0.05)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        said, error = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    problem = None
    if over:
        problem = "not finished after %d s" % limit
    elif child.returncode:
        problem = last_line(error) if child.returncode > 0 else "ended by signal %d" % -child.returncode
    return said, usage.ru_maxrss * 1024, problem


def must(arguments, log, limit=3600, **environment):
    said, peak, problem = call(arguments, log, limit, **environment)
    if problem:
        raise PeerError("%s: %s" % (os.path.basename(arguments[0]), problem))
    return said, peak


def install(peer, work, log):
    """The beginning of the command line that runs this peer."""
    if peer in RUNNERS:
        python = os.path.join(work, "venv", "bin", "python")
        if not os.path.exists(python):
            must([sys.executable, "-m", "venv", os.path.join(work, "venv")], log)
        done, packages = os.path.join(work, peer + ".installed"), " ".join(PYTHON_PACKAGES[peer])
        if not os.path.exists(done) or open(done).read() != packages:
            must([python, "-m", "pip", "install", "-q"] + PYTHON_PACKAGES[peer], log)
            with open(done, "w", encoding="ascii") as f:
                f.write(packages)
        return [python, os.path.join(HERE, RUNNERS[peer])]
    folder = os.path.join(work, "candle_peer")
    os.makedirs(os.path.join(folder, "src"), exist_ok=True)
    with open(os.path.join(folder, "Cargo.toml"), "w", encoding="ascii") as f:
        f.write(CARGO)
    shutil.copy(os.path.join(HERE, "candle_peer.rs"), os.path.join(folder, "src", "main.rs"))
    if not shutil.which("cargo"):
        raise PeerError("cargo is not installed")
    must(["cargo", "build", "--release", "-q", "--manifest-path", os.path.join(folder, "Cargo.toml")], log, RUSTFLAGS="-C target-cpu=native",
         CARGO_TARGET_DIR=os.path.join(folder, "target"))
    return [os.path.join(folder, "target", "release", "candle_peer")]


def measure_peer(peer, command, args, files):
    """{("prefill", 128): tokens/s, ...}, versions, peak, and what went wrong, if anything did."""
    if peer == "candle":
        command = command + [files["model"], files["ids"], files["logits"], args.type, args.prompts, str(args.steps), str(args.runs), str(args.seconds), "%d,%d" % (CHECK, MORE)]
    else:
        command = command + [files["model"], files["ids"], "--logits", files["logits"], "--type", args.type, "--threads", str(args.threads), "--prompts", args.prompts,
                             "--steps", str(args.steps), "--runs", str(args.runs), "--seconds", str(args.seconds), "--check", "%d,%d" % (CHECK, MORE)]
    threads = str(args.threads)
    said, peak, problem = call(command, files["log"], args.limit, OMP_NUM_THREADS=threads, RAYON_NUM_THREADS=threads, HF_HUB_OFFLINE="1", JAX_PLATFORMS="cpu",
                              PYTHONDONTWRITEBYTECODE="1")
    speeds, versions = {}, {"candle-core": "0.11.1"} if peer == "candle" else {}
    for line in said.splitlines():
        try:
            line = json.loads(line)
        except ValueError:
            continue
        what = line.pop("what")
        if what == "versions":
            versions = line
        elif what != "check":
            speeds[what, line["tokens"]] = line["tokens_per_second"]
    return speeds, versions, peak, problem


def measure_ours(args, files):
    prompts = [int(n) for n in args.prompts.split(",")]
    said, _ = must([COMMAND, "bench", files["model"], "-t", str(args.threads), "-p", args.prompts, "-d", str(prompts[0]), "-r", str(args.runs), "--steps", str(args.steps),
                    "--json", files["map"]], files["log"])
    speeds = {}
    for result in json.loads(said)["results"]:
        speeds[result["phase"], result["prompt"] or result["depth"]] = result["tokens_per_second"]
    return speeds


def our_logits(args, files):
    """The logits after CHECK tokens and after each of MORE further ones, and the peak of reading the longest prompt."""
    out, ids = files["logits"] + ".ours", files["ids"]
    with open(ids, encoding="ascii") as f:
        all_ids = f.read().split()
    _, peak = must([COMMAND, "logits", files["model"], "--tokens", ",".join(all_ids[:max(map(int, args.prompts.split(",")))]), "--last", "1", "-o", out, "-t", str(args.threads),
                    files["map"]], files["log"])
    must([COMMAND, "logits", files["model"], "--tokens", ",".join(all_ids[:CHECK + MORE]), "--last", str(MORE + 1), "-o", out, "-t", str(args.threads), files["map"]],
         files["log"])
    with open(out, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        f.seek(header["logits"]["data_offsets"][0], os.SEEK_CUR)
        return floats(f.read()), peak


def floats(data):
    values = array.array("f")
    values.frombytes(data[:len(data) // 4 * 4])
    return values


def compare_logits(ours, path):
    """(largest difference, root of the mean square of differences by that of ours, rows with the same most likely token) or an error."""
    with open(path, "rb") as f:
        theirs = floats(f.read())
    if len(theirs) != len(ours):
        raise PeerError("gave %d logits instead of %d" % (len(theirs), len(ours)))
    if not all(map(math.isfinite, theirs)):
        raise PeerError("gave logits that are not finite")
    differences = [abs(a - b) for a, b in zip(ours, theirs)]
    share = math.sqrt(sum(d * d for d in differences) / sum(a * a for a in ours))
    n = len(ours) // (MORE + 1)
    same = 0
    for row in range(MORE + 1):
        a, b = ours[row * n:(row + 1) * n], theirs[row * n:(row + 1) * n]
        same += a.index(max(a)) == b.index(max(b))
    if share > 0.2:  # rounding adds up to some per cent; another function is beyond 100
        raise PeerError("computes another model: logits differ by %.0f %% of their size" % (100 * share))
    return max(differences), share, same


def options():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", default=os.path.join(os.environ.get("TMPDIR") or "/tmp", "recurrentgemma-peers"), help="folder for packages, the model and logs")
    ap.add_argument("--model", help="a model made by synth with this type, instead of one in the work folder")
    ap.add_argument("--shape", default="2b", help="what synth makes (default 2b: 5.4 GB, as f32 10.7 GB)")
    ap.add_argument("--type", choices=("bf16", "f32"), default="bf16", help="of weights and computation, for all")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--peers", default=",".join(PEERS))
    ap.add_argument("--prompts", default="128,512", help="tokens to prefill; decoding follows the first of them")
    ap.add_argument("--steps", type=int, default=16, help="tokens to decode in each run")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=25, help="no further run of one prompt after so long, no further step after twice that")
    ap.add_argument("--limit", type=float, default=260, help="seconds for one peer to run; what it has told until then counts")
    ap.add_argument("--no-map", action="store_true", help="ours reads its weights into memory instead of mapping the files")
    ap.add_argument("--install-only", action="store_true", help="install and build, measure nothing")
    args = ap.parse_args()
    args.peers = args.peers.split(",")
    args.work = os.path.realpath(args.work)
    unknown = set(args.peers) - set(PEERS)
    if unknown:
        ap.error("no such peer: %s" % ", ".join(sorted(unknown)))
    if os.path.commonpath([args.work, ROOT]) == ROOT:
        ap.error("%s lies in the tree" % args.work)
    return args


def prepare(args):
    """The model and the ids; the paths that every measurement needs."""
    model = args.model or os.path.join(args.work, "%s-%s" % (args.shape, args.type))
    files = {"model": model, "ids": os.path.join(args.work, "ids"), "map": "--no-map" if args.no_map else "--map", "log": os.path.join(args.work, "ours"),
             "logits": os.path.join(args.work, "logits")}
    if not os.path.exists(os.path.join(model, "config.json")):
        must([COMMAND, "synth", model, "--config", args.shape, "--dtype", args.type], files["log"])
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        vocabulary = json.load(f)["vocab_size"]
    n = max(map(int, args.prompts.split(","))) + args.steps
    with open(files["ids"], "w", encoding="ascii") as f:
        f.write("\n".join(["2"] + [str(4 + 7919 * i * i % (vocabulary - 4)) for i in range(1, n)]) + "\n")
    return files


def take_turns(args, commands, files, expected, errors):
    """Ours, a peer, ours, a peer, ..., ours: speeds of each turn of ours; {peer: (speeds, peak)}; versions; lines about logits."""
    turns, results, versions, checks = [measure_ours(args, files)], {}, {}, []
    for peer in commands:
        print("measuring %s" % peer, file=sys.stderr)
        its = dict(files, log=os.path.join(args.work, peer), logits=os.path.join(args.work, peer + ".logits"))
        if os.path.exists(its["logits"]):
            os.remove(its["logits"])
        speeds, its_versions, peak, problem = measure_peer(peer, commands[peer], args, its)
        versions.update(its_versions)
        before = turns[-1]
        turns.append(measure_ours(args, files))
        try:
            if not speeds:
                raise PeerError(problem or "measured nothing")
            largest, share, same = compare_logits(expected, its["logits"])
        except (PeerError, OSError) as error:
            errors[peer] = "cannot run: %s" % error
            continue
        if problem:
            errors[peer] = "did not finish (%s); what it had measured is shown" % problem
        checks.append("%s: logits differ from ours by %.3f at most, %.1f %% of their size in the mean; the most likely token is the same %d times of %d"
                      % (peer, largest, 100 * share, same, MORE + 1))
        results[peer] = speeds, {m: (before[m] + turns[-1][m]) / 2 for m in before}, peak
    return turns, results, versions, checks


def table(args, turns, results, our_peak):
    prompts = [int(n) for n in args.prompts.split(",")]
    measures = [("prefill", n) for n in prompts] + [("decode", prompts[0])]
    rows = [["who"] + ["prefill, %d tokens" % n for n in prompts] + ["decode after %d" % prompts[0], "peak memory"], None]
    rows.append(["ours"] + ["%.4g (%.4g to %.4g)" % (statistics.median(t[m] for t in turns), min(t[m] for t in turns), max(t[m] for t in turns)) for m in measures]
                + ["%.1f GB" % (our_peak / 1e9)])
    for peer, (speeds, ours, peak) in results.items():
        rows.append([peer] + ["%.3g; ours is %.3g times as fast" % (speeds[m], ours[m] / speeds[m]) if m in speeds else "-" for m in measures] + ["%.1f GB" % (peak / 1e9)])
    rows[1] = ["---"] * len(rows[0])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main():
    args = options()
    os.makedirs(args.work, exist_ok=True)
    commands, errors = {}, {}
    for peer in args.peers:
        print("installing %s" % peer, file=sys.stderr)
        try:
            commands[peer] = install(peer, args.work, os.path.join(args.work, peer + ".install"))
        except (PeerError, OSError) as error:
            errors[peer] = "cannot run: %s" % error
    if not args.install_only:
        files = prepare(args)
        expected, our_peak = our_logits(args, files)
        if not all(map(math.isfinite, expected)):
            sys.exit("our own logits are not finite")
        turns, results, versions, checks = take_turns(args, commands, files, expected, errors)
        print("%s, %s, %d threads; tokens/s; %s; %s\n" % (args.shape, args.type, args.threads, ", ".join("%s %s" % v for v in sorted(versions.items())),
                                                         datetime.date.today().isoformat()))
        print(table(args, turns, results, our_peak) + "\n")
        for m in turns[0]:
            print("ours in turn, %s %d: %s" % (m + (", ".join("%.4g" % turn[m] for turn in turns),)))
        print("logits of ours: root of the mean square %.2f" % math.sqrt(sum(a * a for a in expected) / len(expected)))
        print("\n".join(checks))
    for peer, error in errors.items():
        print("%s %s" % (peer, error))
    sys.exit(1 if len(errors) == len(args.peers) else 0)


if __name__ == "__main__":
    main()
