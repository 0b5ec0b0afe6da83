#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train the demo's tokenizer and model on the corpus of corpus.py, and export it.

The model is DeepMind's own Flax module.  The learning rate follows the wall
clock: warm-up, constant, then linear decay over the last 40 %, so the run ends
when --minutes are over whatever the speed of the machine.  A run that was
stopped goes on from its last checkpoint when started again.

  train.py --corpus corpus --work work --out model --minutes 62
"""
import argparse
import glob
import io
import os
import pickle
import re
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import sentencepiece

from checkpoint import CONFIG, build, export

PAD, EOS, BOS = 0, 1, 2
# Share of the sequences from each stream.  The Bible is almost half of the bytes
# but should not be half of what the model says.
SHARES = {"novels": 0.68, "bible": 0.26, "dialogue": 0.06}
DIALOGUE_BIBLE = 0.12   # share of the dialogues made from the Bible
LONG_FROM = 0.75        # share of the time after which sequences double in length
TOKENS_PER_STEP = 4096
SEQUENCE = 256          # two windows; four in the last part


def read_chapters(directory, names="*"):
    """Chapters, each a list of paragraphs, of the books in a corpus directory."""
    chapters = []
    for path in sorted(glob.glob(os.path.join(directory, names + ".txt"))):
        with open(path, encoding="utf-8") as f:
            for chapter in f.read().split("\f"):
                chapters.append(chapter.strip("\n").split("\n\n"))
    return chapters


def train_tokenizer(chapters, path):
    """Write a SentencePiece model with Gemma's settings and a small vocabulary."""
    sentences = (paragraph for chapter in chapters for paragraph in chapter)
    model = io.BytesIO()
    symbols = ["<mask>", "<2mass>", "[@BOS@]", "<unused0>", "<unused1>", "<unused2>", "<unused3>",
               "<start_of_turn>", "<end_of_turn>"]
    symbols += ["\n" * n for n in range(1, 5)] + ["\u2581" * n for n in range(2, 6)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences, model_writer=model, model_type="bpe",
        vocab_size=CONFIG["vocab_size"], byte_fallback=True, split_digits=True,
        character_coverage=0.9999, required_chars="0123456789",
        max_sentence_length=100000, num_threads=1,
        normalization_rule_name="identity", add_dummy_prefix=False,
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
        pad_id=PAD, eos_id=EOS, bos_id=BOS, unk_id=3, pad_piece="<pad>", eos_piece="<eos>",
        bos_piece="<bos>", unk_piece="<unk>", user_defined_symbols=symbols,
        minloglevel=1)
    with open(path, "wb") as f:
        f.write(model.getvalue())


def prose_stream(sp, chapters):
    """All chapters as bos, text, eos, in one array."""
    ids = []
    for chapter in chapters:
        ids += [BOS] + sp.encode("\n\n".join(chapter)) + [EOS]
    return np.array(ids, np.int32)


def dialogue_stream(sp, novels, bible, rng, tokens):
    """Made-up chats: the user gives a sentence, the model answers with what follows it."""
    ids = []
    while len(ids) < tokens:
        source = bible if rng.random() < DIALOGUE_BIBLE else novels
        chapter = source[rng.integers(len(source))]
        start = int(rng.integers(len(chapter)))
        text = ""
        for k in range(start, min(start + int(rng.integers(1, 4)), len(chapter) - 1)):
            said = re.split(r"(?<=[.!?;])\s+", chapter[k])[-1].strip()
            answer = chapter[k + 1]
            if not 10 < len(said) < 200 or not 50 < len(answer) < 700:
                break
            prefix = "Continue: " if rng.random() < 0.5 else ""
            text += ("<start_of_turn>user\n%s%s<end_of_turn>\n<start_of_turn>model\n%s<end_of_turn>\n"
                     % (prefix, said, answer))
        if text:
            ids += [BOS] + sp.encode(text) + [EOS]
    return np.array(ids, np.int32)


class Batches:
    """Random pieces of the streams, every part of a stream once per epoch."""

    def __init__(self, streams, rng):
        self.streams, self.rng = streams, rng
        self.queues, self.length = {name: [] for name in streams}, 0

    def piece(self, which, length):
        stream, queue = self.streams[which], self.queues[which]
        if not queue:
            # another offset in each epoch, so that the cuts fall elsewhere
            starts = np.arange(self.rng.integers(length), len(stream) - length - 1, length)
            queue.extend(self.rng.permutation(starts).tolist())
        at = queue.pop()
        ids = stream[at:at + length + 1]
        # Half of the pieces get a bos although they begin inside a chapter: a
        # prompt is bos and then any text.  The others train a state without it.
        if ids[0] != BOS and self.rng.random() < 0.5:
            ids = np.concatenate(([BOS], ids[:-1]))
        return ids

    def batch(self, length):
        if length != self.length:
            self.length = length
            for queue in self.queues.values():
                queue.clear()
        which = self.rng.choice(list(SHARES), TOKENS_PER_STEP // length, p=list(SHARES.values()))
        return np.stack([self.piece(name, length) for name in which])


def positions(tokens):
    """Position inside the document: 0 at the first token and at every bos."""
    index = np.arange(tokens.shape[1])[None, :]
    start = np.where(tokens == BOS, index, 0)
    return (index - np.maximum.accumulate(start, axis=1)).astype(np.int32)


def decay_mask(params):
    """Weight decay for matrices only: not for the embedding, norms, biases and RG-LRU."""
    def wanted(path, x):
        names = [getattr(k, "key", "") for k in path]
        return x.ndim >= 2 and names[-1] != "b" and not {"embedder", "rg_lru", "conv_1d"} & set(names)
    return jax.tree_util.tree_map_with_path(wanted, params)


def mean_loss(model, params, tokens, pos):
    """Mean negative log-likelihood in nats; a bos is never a target."""
    logits, _ = model.apply(params, tokens[:, :-1], pos[:, :-1], return_cache=False)
    target = tokens[:, 1:]
    weight = (target != BOS).astype(jnp.float32)
    nll = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    return (nll * weight).sum() / weight.sum()


def learning_rate(progress, step, peak):
    return peak * min(1.0, (step + 1) / 200) * min(1.0, max(0.0, (1.0 - progress) / 0.4) + 0.005)


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--corpus", required=True, help="directory written by corpus.py")
    ap.add_argument("--work", required=True, help="directory for checkpoints")
    ap.add_argument("--out", required=True, help="model directory to export to")
    ap.add_argument("--minutes", type=float, default=62)
    ap.add_argument("--peak", type=float, default=3e-3, help="highest learning rate")
    ap.add_argument("--export-after", type=float, default=15,
                    help="minutes after which every checkpoint is also exported")
    args = ap.parse_args()
    os.makedirs(args.work, exist_ok=True)
    os.makedirs(args.out, exist_ok=True)
    rng = np.random.default_rng(0)

    bible = read_chapters(os.path.join(args.corpus, "train"), "bible")
    novels = read_chapters(os.path.join(args.corpus, "train"), "[!b]*")
    held = read_chapters(os.path.join(args.corpus, "heldout"))
    tokenizer = os.path.join(args.work, "tokenizer.model")
    if not os.path.exists(tokenizer):
        train_tokenizer(bible + novels, tokenizer)
    shutil.copyfile(tokenizer, os.path.join(args.out, "tokenizer.model"))
    sp = sentencepiece.SentencePieceProcessor(model_file=tokenizer)
    streams = {"novels": prose_stream(sp, novels), "bible": prose_stream(sp, bible),
               "dialogue": dialogue_stream(sp, novels, bible, rng, 400000)}
    heldout = prose_stream(sp, held)
    bytes_per_token = sum(len("\n\n".join(c).encode()) + 1 for c in held) / (heldout != BOS).sum()
    print("tokens: %s, held out %d (%.3f bytes each)"
          % (", ".join("%s %d" % (k, len(v)) for k, v in streams.items()), len(heldout),
             bytes_per_token), flush=True)
    n = len(heldout) // 512 * 512
    check = heldout[:n].reshape(-1, 512)[::4]

    model = build(CONFIG)
    params = jax.jit(model.init)(jax.random.PRNGKey(0), jnp.zeros((1, 8), jnp.int32),
                                 jnp.arange(8)[None])
    print("parameters: %d" % sum(x.size for x in jax.tree.leaves(params)), flush=True)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.inject_hyperparams(optax.adamw, static_args=("mask",))(
            learning_rate=args.peak, b1=0.9, b2=0.98, eps=1e-8, weight_decay=0.1, mask=decay_mask))
    state = optimizer.init(params)

    def step_fn(params, state, tokens, pos, rate):
        loss, grads = jax.value_and_grad(lambda p: mean_loss(model, p, tokens, pos))(params)
        state[1].hyperparams["learning_rate"] = rate
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss
    step_fn = jax.jit(step_fn, donate_argnums=(0, 1))
    eval_fn = jax.jit(lambda p, t, pos: mean_loss(model, p, t, pos))

    saved = os.path.join(args.work, "checkpoint.pkl")
    step, tokens_seen, before = 0, 0, 0.0
    if os.path.exists(saved):
        with open(saved, "rb") as f:
            params, state, step, tokens_seen, before = pickle.load(f)
        print("resumed at step %d" % step, flush=True)
    data = Batches(streams, np.random.default_rng([0, step]))
    begin, last_log, last_save, losses = time.time(), time.time(), time.time(), []
    total = args.minutes * 60
    while True:
        elapsed = before + time.time() - begin
        progress = elapsed / total
        finished = progress >= 1
        if finished or time.time() - last_save > 240:
            nll = np.mean([float(eval_fn(params, c, positions(c)))
                           for c in np.array_split(check, max(1, len(check) // 8))])
            print("  held-out sample: loss %.4f, about %.3f bits per byte"
                  % (nll, nll / np.log(2) / bytes_per_token), flush=True)
            with open(saved + ".part", "wb") as f:
                pickle.dump(jax.device_get((params, state)) + (step, tokens_seen, elapsed), f)
            os.replace(saved + ".part", saved)
            if finished or elapsed > args.export_after * 60:
                export(params, CONFIG, args.out)
            last_save = time.time()
        if finished:
            break
        length = SEQUENCE * (2 if progress > LONG_FROM else 1)
        tokens = data.batch(length)
        params, state, loss = step_fn(params, state, tokens, positions(tokens),
                                      jnp.float32(learning_rate(progress, step, args.peak)))
        losses.append(loss)
        step, tokens_seen = step + 1, tokens_seen + TOKENS_PER_STEP
        if step % 50 == 0:
            print("step %d  %.1f min  tokens %.2fM  loss %.4f  %.0f tokens/s"
                  % (step, elapsed / 60, tokens_seen / 1e6, float(np.mean(jax.device_get(losses))),
                     50 * TOKENS_PER_STEP / (time.time() - last_log)), flush=True)
            losses, last_log = [], time.time()


if __name__ == "__main__":
    main()
