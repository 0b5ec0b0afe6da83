#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the test data that ties the library to DeepMind's Flax module.

Everything is computed in float32 from the bf16 weights of the exported model.

  parity.safetensors  tokens [20, T] of held-out texts, bos first; positions [P];
                      logits [20, P, V] after the tokens at those positions
  heldout.txt         the held-out chapters
  expected.json       bits per byte of heldout.txt and how it is defined
  words.txt           distinct lower-cased words of the training text

  parity.py --model model --corpus corpus --out ../../tests/data/demo
"""
import argparse
import hashlib
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import sentencepiece
from safetensors.numpy import save_file

from checkpoint import load
from evaluate import BOS, read_directory, score, words
from train import read_chapters

TEXTS = 20


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True, help="exported model directory")
    ap.add_argument("--corpus", required=True, help="directory written by corpus.py")
    ap.add_argument("--out", required=True, help="directory to write")
    args = ap.parse_args()
    os.makedirs(args.out, exist_ok=True)
    model, params, config = load(args.model)
    sp = sentencepiece.SentencePieceProcessor(
        model_file=os.path.join(args.model, "tokenizer.model"))

    # One text per chapter.  The files come in alphabetical order, the Bible
    # first; from the end, the list has every novel and some chapters of the Bible.
    window = config["attention_window_size"]
    length = 3 * window + 8
    tokens = [[BOS] + sp.encode("\n\n".join(c))
              for c in read_chapters(os.path.join(args.corpus, "heldout"))]
    tokens = [ids[:length] for ids in tokens if len(ids) >= length][-TEXTS:]
    tokens = np.array(tokens, np.int32)
    assert tokens.shape == (TEXTS, length)
    # Around the edges of the window, where an off-by-one would show, and the end.
    where = np.array([window - 1, window, window + 1, 2 * window] +
                     list(range(length - 4, length)), np.int32)
    segment = jnp.tile(jnp.arange(length), (TEXTS, 1))
    logits, _ = jax.jit(lambda p, t: model.apply(p, t, segment, return_cache=False))(
        params, jnp.asarray(tokens))
    parity = os.path.join(args.out, "parity.safetensors")
    save_file({"tokens": tokens, "positions": where,
               "logits": np.ascontiguousarray(np.asarray(logits)[:, where])}, parity)
    os.chmod(parity, 0o644)  # save_file writes for the owner only

    held = "\n".join(read_directory(os.path.join(args.corpus, "heldout")).values())
    with open(os.path.join(args.out, "heldout.txt"), "w", encoding="utf-8", newline="\n") as f:
        f.write(held)
    ids = [BOS] + sp.encode(held)
    nats = score(model, params, [ids])[0]
    n_bytes = len(held.encode())
    with open(os.path.join(args.model, "model.safetensors"), "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    expected = {
        "protocol": "bos and the whole of heldout.txt, tokenised at once, as one sequence from an "
                    "empty state; nll of every token after bos in nats, summed; bits_per_byte = "
                    "nll / ln 2 / bytes of the file; float32 with the bf16 weights",
        "implementation": "recurrentgemma 1.0.1 (Flax), one token per step",
        "model_sha256": digest,
        "heldout_bytes": n_bytes,
        "heldout_tokens": len(ids) - 1,
        "nll_nats": round(nats, 3),
        "nll_per_token": round(nats / (len(ids) - 1), 6),
        "bits_per_byte": round(nats / np.log(2) / n_bytes, 6),
    }
    with open(os.path.join(args.out, "expected.json"), "w") as f:
        json.dump(expected, f, indent=2)
        f.write("\n")
    print(json.dumps(expected, indent=2))

    vocabulary = set()
    for text in read_directory(os.path.join(args.corpus, "train")).values():
        vocabulary.update(words(text))
    with open(os.path.join(args.out, "words.txt"), "w") as f:
        f.write("\n".join(sorted(vocabulary)) + "\n")


if __name__ == "__main__":
    main()
