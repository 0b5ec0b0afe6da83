# SPDX-License-Identifier: Apache-2.0
"""What the runners in Python share. A runner loads a model, gives two functions that read tokens and return logits when they are there, and
prints a JSON line for each thing that was measured, so that nothing is lost when time runs out.

  RUNNER MODEL IDS --logits FILE [--type bf16] [--threads 2] [--prompts 128,512] [--steps 16] [--runs 3] [--seconds 25] [--check 16,4]
"""
import argparse
import json
import statistics
import time


def arguments(description):
    ap = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", help="a folder in Hugging Face layout")
    ap.add_argument("ids", help="a file of token ids, as many as the longest prompt and all steps need")
    ap.add_argument("--logits", required=True, help="file for the logits of the check, float32")
    ap.add_argument("--type", choices=("bf16", "f32"), default="bf16", help="of the weights and of the computation")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--prompts", default="128,512", help="tokens to prefill; decoding follows the first of them")
    ap.add_argument("--steps", type=int, default=16, help="tokens to decode in each run")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=25, help="no further run of a prompt after so long, no further step after twice that")
    ap.add_argument("--check", default="16,4", help="tokens to prefill and to decode one by one for the check")
    args = ap.parse_args()
    args.prompts = [int(n) for n in args.prompts.split(",")]
    args.check = [int(n) for n in args.check.split(",")]
    with open(args.ids, encoding="ascii") as f:
        args.ids = [int(n) for n in f.read().split()]
    return args


def tell(**what):
    print(json.dumps(what), flush=True)


def run(args, prefill, step, floats):
    """prefill(ids) begins anew, step(id, position) goes on; floats(logits) is a numpy array [vocabulary] of float32."""
    n, more = args.check
    with open(args.logits, "wb") as f:
        f.write(floats(prefill(args.ids[:n])).astype("<f4").tobytes())
        for i in range(n, n + more):
            f.write(floats(step(args.ids[i], i)).astype("<f4").tobytes())
    tell(what="check")
    for prompt in args.prompts:
        begin, rates, steps = time.perf_counter(), [], []
        prefill(args.ids[:prompt])  # compilers and allocators have met the shape
        if prompt == args.prompts[0]:
            step(args.ids[prompt], prompt)
        while not rates or (len(rates) < args.runs and time.perf_counter() - begin < args.seconds):
            start = time.perf_counter()
            prefill(args.ids[:prompt])
            rates.append(prompt / (time.perf_counter() - start))
            for i in range(prompt, prompt + args.steps if prompt == args.prompts[0] else prompt):
                start = time.perf_counter()
                step(args.ids[i], i)
                steps.append(1 / (time.perf_counter() - start))
                if time.perf_counter() - begin > 2 * args.seconds:
                    break
        tell(what="prefill", tokens=prompt, tokens_per_second=statistics.median(rates), runs=len(rates))
        if steps:
            tell(what="decode", tokens=prompt, tokens_per_second=statistics.median(steps), runs=len(steps))
