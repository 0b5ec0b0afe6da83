#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Evaluate an exported demo model with DeepMind's Flax module in float32.

Prints bits per byte of every held-out book, read as one sequence token by token
with the state carried on, and the share of known words among 2,000 words
sampled at temperature 0.8 with fixed seeds.

  evaluate.py --model model --corpus corpus --dictionary american-english
"""
import argparse
import functools
import glob
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import sentencepiece

from checkpoint import load

EOS, BOS = 1, 2
WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")


def words(text):
    return WORD.findall(text.lower())


def read_directory(directory):
    """Name -> text of the books; a blank line takes the place of a chapter mark."""
    texts = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.txt"))):
        with open(path, encoding="utf-8") as f:
            chapters = [c.strip("\n") for c in f.read().split("\f")]
        texts[os.path.basename(path)[:-4]] = "\n\n".join(chapters) + "\n"
    return texts


@functools.partial(jax.jit, static_argnums=0)
def _score(model, params, tokens):
    """Negative log-likelihood [T-1, B] of the tokens [B, T] after the first."""
    def body(cache, t):
        position = jnp.full((tokens.shape[0], 1), t, jnp.int32)
        logits, cache = model.apply(params, tokens[:, t][:, None], position, cache)
        log_p = jax.nn.log_softmax(logits[:, 0])
        return cache, -jnp.take_along_axis(log_p, tokens[:, t + 1][:, None], 1)[:, 0]
    cache = model.init_cache(tokens.shape[0], jnp.float32)
    return jax.lax.scan(body, cache, jnp.arange(tokens.shape[1] - 1))[1]


def score(model, params, sequences):
    """Total negative log-likelihood in nats of each id list after its first id."""
    width = max(map(len, sequences))
    tokens = np.zeros((len(sequences), width), np.int32)
    for row, ids in zip(tokens, sequences):
        row[:len(ids)] = ids
    nll = np.asarray(_score(model, params, jnp.asarray(tokens)), np.float64)
    return [nll[:len(ids) - 1, b].sum() for b, ids in enumerate(sequences)]


@functools.partial(jax.jit, static_argnums=(0, 4))
def _sample(model, params, prompt, keys, steps, temperature):
    """Continuations [B, steps] of one prompt [P], one per key."""
    n = keys.shape[0]

    def body(carry, t):
        cache, token, keys = carry
        token = jnp.where(t < len(prompt), prompt[jnp.minimum(t, len(prompt) - 1)], token)
        logits, cache = model.apply(params, token[:, None], jnp.full((n, 1), t, jnp.int32), cache)
        both = jax.vmap(jax.random.split)(keys)
        token = jax.vmap(jax.random.categorical)(both[:, 1], logits[:, 0] / temperature)
        token = token.astype(jnp.int32)
        return (cache, token, both[:, 0]), token
    carry = (model.init_cache(n, jnp.float32), jnp.zeros(n, jnp.int32), keys)
    return jax.lax.scan(body, carry, jnp.arange(steps + len(prompt) - 1))[1].T[:, len(prompt) - 1:]


def sample(model, params, sp, prompt, seeds, steps, temperature, stops=(EOS,)):
    """Sampled texts, one per seed; a text ends before a stop token."""
    keys = jnp.stack([jax.random.PRNGKey(s) for s in seeds])
    ids = _sample(model, params, jnp.asarray([BOS] + sp.encode(prompt), jnp.int32), keys, steps,
                  jnp.float32(temperature))
    texts = []
    for row in np.asarray(ids).tolist():
        end = min([row.index(s) for s in stops if s in row] + [len(row)])
        texts.append(sp.decode(row[:end]))
    return texts


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True, help="exported model directory")
    ap.add_argument("--corpus", required=True, help="directory written by corpus.py")
    ap.add_argument("--dictionary", required=True, help="word list, one word per line")
    args = ap.parse_args()
    model, params, _ = load(args.model)
    sp = sentencepiece.SentencePieceProcessor(
        model_file=os.path.join(args.model, "tokenizer.model"))

    held = read_directory(os.path.join(args.corpus, "heldout"))
    nats = score(model, params, [[BOS] + sp.encode(t) for t in held.values()])
    total = 0
    for (name, text), nll in zip(held.items(), nats):
        total += len(text.encode())
        print("%-18s %.4f bits per byte" % (name, nll / np.log(2) / len(text.encode())))
    print("%-18s %.4f bits per byte, %d bytes" % ("all", sum(nats) / np.log(2) / total, total))

    known = set()
    for text in read_directory(os.path.join(args.corpus, "train")).values():
        known.update(words(text))
    with open(args.dictionary, encoding="utf-8") as f:
        known.update(words(f.read()))
    texts = sample(model, params, sp, "", range(24), 400, 0.8)
    sampled = [w for t in texts for w in words(t)][:2000]
    unknown = [w for w in sampled if w not in known]
    print("known words: %.2f %% of %d" % (100 - 100 * len(unknown) / len(sampled), len(sampled)))
    print("unknown:", " ".join(sorted(set(unknown))))
    for text in texts[:2]:
        print("---\n" + text)
    turn = "<start_of_turn>user\n%s<end_of_turn>\n<start_of_turn>model\n"
    stop = sp.piece_to_id("<end_of_turn>")
    for said in ("Continue: The next morning was fine, and they walked out together.",
                 "Tell me about the whale.", "Hello!"):
        print("--- %s" % said)
        for text in sample(model, params, sp, turn % said, (0, 1), 250, 0.8, (EOS, stop)):
            print("* " + text)


if __name__ == "__main__":
    main()
