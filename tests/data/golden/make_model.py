#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a deterministic random-weight RecurrentGemma/Griffin/Hawk checkpoint.

The output directory has the Hugging Face layout: config.json plus either one
model.safetensors or several model-0000i-of-0000n.safetensors with
model.safetensors.index.json.

Only numpy is needed.  Tensors are generated and written one after the other in
blocks of a few million elements, so the memory use stays small (some tens of
MB) whatever the preset.  Every tensor has its own random stream, derived from
(seed, tensor name) only, so a tensor's values do not depend on the preset's
other tensors, on sharding or on the numpy version (only raw 64-bit Philox
output is used).  The same values are produced for --dtype f32 and bf16 up to
rounding: normal variates come from a table of 65536 quantiles indexed by 16
random bits.

The weights are not trained: the scales follow the published initialisers where
those keep a useful signal, with non-zero biases, non-trivial norm weights and a
random-sign final norm (so that greedy decoding does not just repeat its input,
which tied embeddings would otherwise cause).
"""
import argparse
import hashlib
import json
import math
import os
import struct
import sys
import time

import numpy as np
from statistics import NormalDist

BLOCK = 1 << 22  # elements generated and written at a time

# name: width, mlp (per branch), heads, lru, layers, pattern, window, cap, scale
RRA = ("recurrent", "recurrent", "attention")
R = ("recurrent",)
PRESETS = {
    # released configurations, and the two 7B presets of the reference code
    "2b": dict(width=2560, mlp=7680, heads=10, lru=2560, layers=26, pattern=RRA,
               window=2048, cap=30.0, scale=True, vocab=256000),
    "9b": dict(width=4096, mlp=12288, heads=16, lru=4096, layers=38, pattern=RRA,
               window=2048, cap=30.0, scale=True, vocab=256000),
    "griffin-7b": dict(width=4096, mlp=12288, heads=32, lru=5632, layers=32,
                       pattern=RRA, window=1024, cap=0.0, scale=False, vocab=256000),
    "hawk-7b": dict(width=4096, mlp=12288, heads=32, lru=5632, layers=32, pattern=R,
                    window=1024, cap=0.0, scale=False, vocab=256000),
    # small ones for tests
    "tiny": dict(width=64, mlp=96, heads=4, lru=64, layers=4, pattern=RRA,
                 window=16, cap=30.0, scale=True, vocab=320),
    "tiny-hawk": dict(width=48, mlp=72, heads=3, lru=48, layers=3, pattern=R,
                      window=16, cap=30.0, scale=True, vocab=320),
    "tiny-lru": dict(width=48, mlp=72, heads=2, lru=80, layers=3, pattern=RRA,
                     window=8, cap=0.0, scale=False, vocab=300),
    "small": dict(width=256, mlp=768, heads=4, lru=256, layers=6, pattern=RRA,
                  window=128, cap=30.0, scale=True, vocab=2048),
    "90m": dict(width=640, mlp=1920, heads=5, lru=640, layers=14, pattern=RRA,
                window=512, cap=30.0, scale=True, vocab=32000),
}
# Griffin paper, table 2 (width, RNN width, depth, attention heads), with the
# paper's 16 gate blocks, window 1024, MLP expansion 3; the paper gives no
# vocabulary size, 32000 is an assumption.
for _n, _w, _e, _l, _h in (("100m", 768, 1024, 12, 6), ("200m", 1024, 1536, 12, 8),
                           ("400m", 1536, 2048, 12, 12), ("1b", 2048, 2560, 24, 16),
                           ("3b", 3072, 4096, 24, 24), ("14b", 5120, 8192, 40, 40)):
    for _f, _p in (("griffin", RRA), ("hawk", R)):
        PRESETS["%s-%s" % (_f, _n)] = dict(
            width=_w, mlp=3 * _w, heads=_h, lru=_e, layers=_l, pattern=_p, window=1024,
            cap=0.0, scale=False, vocab=32000, gate_blocks=16)


def make_config(width, mlp, heads, lru, layers, pattern, window, cap, scale, vocab,
                conv=4, dtype="float32", block_key="block_types", tie=True,
                gate_blocks=None, **extra):
    """HF-style config.json contents for one model.

    gate_blocks (number of diagonal blocks of the RG-LRU gates) is normally the
    number of attention heads; another number is recorded as "num_gate_blocks",
    a key of our own that HF does not know.
    """
    assert width % heads == 0 and lru % (gate_blocks or heads) == 0
    cfg = {
        "architectures": ["RecurrentGemmaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attention_window_size": window,
        block_key: list(pattern),
        "bos_token_id": 2,
        "conv1d_width": conv,
        "embeddings_scale_by_sqrt_dim": bool(scale),
        "eos_token_id": 1,
        "final_w_init_variance_scale": 2.0 / layers,
        "head_dim": width // heads,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": width,
        "intermediate_size": 2 * mlp,
        "logits_soft_cap": float(cap),
        "lru_width": lru,
        "model_type": "recurrent_gemma",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": 1,
        "pad_token_id": 0,
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000.0,
        "tie_word_embeddings": bool(tie),
        "torch_dtype": dtype,
        "use_cache": True,
        "vocab_size": vocab,
        "w_init_variance_scale": 0.01,
    }
    if gate_blocks and gate_blocks != heads:
        cfg["num_gate_blocks"] = gate_blocks
    cfg.update(extra)
    return cfg


def block_types(cfg):
    pat = cfg.get("block_types") or cfg.get("_block_types")
    n = cfg["num_hidden_layers"]
    return [pat[i % len(pat)] for i in range(n)]


def tensor_specs(cfg):
    """[(name, shape, kind, parameter)] in file order.

    kind: 'normal' (parameter = standard deviation), 'ring' (RG-LRU decay
    parameter), 'signs' (final norm).
    """
    d = cfg["hidden_size"]
    f = cfg["intermediate_size"] // 2
    h = cfg["num_attention_heads"]
    hd = cfg["head_dim"]
    kv = cfg["num_key_value_heads"]
    e = cfg["lru_width"]
    nb = cfg.get("num_gate_blocks") or h
    bw = e // nb
    cw = cfg["conv1d_width"]
    n = cfg["num_hidden_layers"]
    out_scale = math.sqrt(2.0 / n)
    s = [("model.embed_tokens.weight", (cfg["vocab_size"], d), "normal",
          math.sqrt(1.0 / d) if cfg.get("embeddings_scale_by_sqrt_dim", True) else 1.0)]
    for i, t in enumerate(block_types(cfg)):
        p = "model.layers.%d." % i
        s.append((p + "channel_pre_norm.weight", (d,), "normal", 0.1))
        for nm, shape, std in (("down_proj", (d, f), out_scale * math.sqrt(1.0 / f)),
                               ("gate_proj", (f, d), math.sqrt(1.0 / d)),
                               ("up_proj", (f, d), math.sqrt(1.0 / d))):
            s.append((p + "mlp_block.%s.bias" % nm, (shape[0],), "normal", 0.1))
            s.append((p + "mlp_block.%s.weight" % nm, shape, "normal", std))
        q = p + "temporal_block."
        if t == "attention":
            s.append((q + "k_proj.weight", (kv * hd, d), "normal", math.sqrt(1.0 / d)))
            s.append((q + "o_proj.bias", (d,), "normal", 0.1))
            s.append((q + "o_proj.weight", (d, h * hd), "normal",
                      out_scale * math.sqrt(1.0 / d)))
            s.append((q + "q_proj.weight", (h * hd, d), "normal", math.sqrt(1.0 / d)))
            s.append((q + "v_proj.weight", (kv * hd, d), "normal", math.sqrt(1.0 / d)))
        elif t == "recurrent":
            s.append((q + "conv_1d.bias", (e,), "normal", 0.1))
            s.append((q + "conv_1d.weight", (e, 1, cw), "normal", math.sqrt(1.0 / cw)))
            s.append((q + "linear_out.bias", (d,), "normal", 0.1))
            s.append((q + "linear_out.weight", (d, e), "normal",
                      out_scale * math.sqrt(1.0 / e)))
            s.append((q + "linear_x.bias", (e,), "normal", 0.1))
            s.append((q + "linear_x.weight", (e, d), "normal", math.sqrt(1.0 / d)))
            s.append((q + "linear_y.bias", (e,), "normal", 0.1))
            s.append((q + "linear_y.weight", (e, d), "normal", math.sqrt(1.0 / d)))
            for g in ("input_gate", "recurrent_gate"):
                s.append((q + "rg_lru.%s_bias" % g, (nb, bw), "normal", 0.5))
                s.append((q + "rg_lru.%s_weight" % g, (nb, bw, bw), "normal",
                          math.sqrt(1.0 / bw)))
            s.append((q + "rg_lru.recurrent_param", (e,), "ring", None))
        else:
            raise ValueError("unknown block type %r" % t)
        s.append((p + "temporal_pre_norm.weight", (d,), "normal", 0.1))
    # With unit-variance embeddings (no input scaling) the tied logits would be
    # sqrt(width) times larger, so the final norm shrinks them back.
    gain = 4.0 if cfg.get("embeddings_scale_by_sqrt_dim", True) else 4.0 / math.sqrt(d)
    s.append(("model.final_norm.weight", (d,), "signs", gain))
    if not cfg.get("tie_word_embeddings", True):
        s.append(("lm_head.weight", (cfg["vocab_size"], d), "copy:model.embed_tokens.weight",
                  s[0][3]))
    return s


def param_count(cfg):
    return sum(int(np.prod(sh)) for _, sh, kind, _ in tensor_specs(cfg)
               if not kind.startswith("copy:"))


_TABLES = {}


def normal_table():
    if "n" not in _TABLES:
        inv = NormalDist().inv_cdf
        half = [inv((i + 0.5) / 65536.0) for i in range(32768)]
        lo = np.array(half, dtype=np.float64)
        _TABLES["n"] = np.concatenate([lo, -lo[::-1]])
    return _TABLES["n"]


def to_bf16_bits(x):
    """float32 -> bfloat16 bit patterns, round to nearest even."""
    u = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((u + (np.uint32(0x7FFF) + ((u >> np.uint32(16)) & np.uint32(1)))) >>
            np.uint32(16)).astype(np.uint16)


def stream(seed, name):
    key = hashlib.sha256(("%d/%s" % (seed, name)).encode()).digest()[:16]
    return np.random.Philox(key=np.frombuffer(key, dtype="<u8").copy())


def tensor_blocks(name, shape, kind, par, dtype, seed):
    """Yield the tensor's values block by block, as bytes-like arrays."""
    total = int(np.prod(shape))
    if kind.startswith("copy:"):
        name, kind = kind[5:], "normal"
    bg = stream(seed, name)

    def conv(x):
        return to_bf16_bits(x) if dtype == "bf16" else np.asarray(x, dtype=np.float32)

    if kind == "normal":
        table = conv(normal_table() * par)
    done = 0
    while done < total:
        n = min(BLOCK, total - done)
        raw = bg.random_raw((n + 3) // 4).astype("<u8", copy=False)
        u16 = raw.view("<u2")[:n]
        if kind == "normal":
            yield table.take(u16)
        elif kind == "ring":
            # radius of the decay, uniform in area on the ring [0.9, 0.999]
            u = (u16.astype(np.float64) + 0.5) / 65536.0
            log_rad = 0.5 * np.log(u * (0.999 ** 2 - 0.9 ** 2) + 0.9 ** 2 + 1e-8)
            yield conv(np.log(np.expm1(-log_rad)))
        elif kind == "signs":
            sign = np.where(u16 & 1, 1.0, -1.0)
            yield conv(par * sign * (1.0 + 0.1 * normal_table()[u16]) - 1.0)
        else:
            raise ValueError(kind)
        done += n


def plan_shards(specs, itemsize, shard_size):
    shards, cur, cur_bytes = [], [], 0
    for sp in specs:
        nb = int(np.prod(sp[1])) * itemsize
        if cur and shard_size and cur_bytes + nb > shard_size:
            shards.append(cur)
            cur, cur_bytes = [], 0
        cur.append(sp)
        cur_bytes += nb
    shards.append(cur)
    return shards


def write_model(out_dir, cfg, dtype="bf16", seed=0, shard_size=0, verbose=False):
    os.makedirs(out_dir, exist_ok=True)
    itemsize = 2 if dtype == "bf16" else 4
    st_dtype = "BF16" if dtype == "bf16" else "F32"
    cfg = dict(cfg, torch_dtype="bfloat16" if dtype == "bf16" else "float32")
    specs = tensor_specs(cfg)
    shards = plan_shards(specs, itemsize, shard_size)
    weight_map, total_bytes = {}, 0
    for k, shard in enumerate(shards):
        fn = ("model.safetensors" if len(shards) == 1 else
              "model-%05d-of-%05d.safetensors" % (k + 1, len(shards)))
        header, off = {"__metadata__": {"format": "pt"}}, 0
        for name, shape, _, _ in shard:
            nb = int(np.prod(shape)) * itemsize
            header[name] = {"dtype": st_dtype, "shape": list(shape),
                            "data_offsets": [off, off + nb]}
            off += nb
            weight_map[name] = fn
        total_bytes += off
        blob = json.dumps(header, separators=(",", ":")).encode()
        blob += b" " * (-len(blob) % 8)
        with open(os.path.join(out_dir, fn), "wb") as f:
            f.write(struct.pack("<Q", len(blob)))
            f.write(blob)
            for name, shape, kind, par in shard:
                t0 = time.time()
                for block in tensor_blocks(name, shape, kind, par, dtype, seed):
                    f.write(block.data)
                if verbose and np.prod(shape) > 1e8:
                    print("%s %s %.1fs" % (name, shape, time.time() - t0), file=sys.stderr)
    if len(shards) > 1:
        with open(os.path.join(out_dir, "model.safetensors.index.json"), "w") as f:
            json.dump({"metadata": {"total_size": total_bytes},
                       "weight_map": dict(sorted(weight_map.items()))}, f, indent=2)
            f.write("\n")
    with open(os.path.join(out_dir, "config.json"), "w") as f:
        json.dump(cfg, f, indent=2)
        f.write("\n")
    with open(os.path.join(out_dir, "generation_config.json"), "w") as f:
        json.dump({"_from_model_config": True, "bos_token_id": cfg["bos_token_id"],
                   "eos_token_id": cfg["eos_token_id"],
                   "pad_token_id": cfg["pad_token_id"]}, f, indent=2)
        f.write("\n")
    return total_bytes


def parse_size(s):
    mult = {"K": 10 ** 3, "M": 10 ** 6, "G": 10 ** 9}
    s = s.strip().upper().rstrip("B")
    if s and s[-1] in mult:
        return int(float(s[:-1]) * mult[s[-1]])
    return int(s)


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    ap.add_argument("--config", help="a JSON file whose keys override the preset's "
                                     "config.json keys (HF names)")
    ap.add_argument("--out", help="output directory")
    ap.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--shard-size", default="5GB",
                    help="start a new shard above this many bytes (0: one file; "
                         "suffixes K, M, G are decimal; default 5GB)")
    ap.add_argument("--untied", action="store_true",
                    help="also store lm_head.weight (an equal copy of the embedding)")
    ap.add_argument("--count", action="store_true", help="print the parameter count and stop")
    args = ap.parse_args()
    cfg = make_config(tie=not args.untied, **PRESETS[args.preset])
    if args.config:
        cfg.update(json.load(open(args.config)))
    n = param_count(cfg)
    emb = cfg["vocab_size"] * cfg["hidden_size"]
    print("parameters: %d (embedding %d, other %d)" % (n, emb, n - emb))
    if args.count:
        return
    if not args.out:
        ap.error("--out is needed")
    t0 = time.time()
    nb = write_model(args.out, cfg, args.dtype, args.seed, parse_size(args.shard_size), True)
    print("wrote %d bytes of tensors in %.1f s" % (nb, time.time() - t0))


if __name__ == "__main__":
    main()
