#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reference forward pass of RecurrentGemma / Griffin / Hawk in plain numpy.

Reads a Hugging Face layout directory (config.json, model*.safetensors) and a
list of token ids, runs the model as DeepMind's implementation defines it, in
float64 by default, and prints or saves the logits.  It is written for
clarity: it processes one sequence, in chunks of any length, carrying a state
whose size does not grow.

Examples:
  reference_numpy.py --model tiny --tokens 2,17,5,99
  reference_numpy.py --model tiny --tokens-file ids.txt --chunks 7,1,1,12 \\
      --save out.safetensors --taps --state
  reference_numpy.py --model tiny --tokens 2,17,5 --generate 20
"""
import argparse
import json
import os
import struct
import sys

import numpy as np

C_RGLRU = 8.0


# ---------------------------------------------------------------- safetensors

def bf16_to_f32(u16):
    return (u16.astype(np.uint32) << 16).view(np.float32)


def round_bf16(x):
    """Round a float to the nearest bfloat16 (ties to even), as a float."""
    u = np.asarray(x, dtype=np.float32).reshape(1).view(np.uint32)
    u = (u + np.uint32(0x7FFF) + ((u >> 16) & 1)) & np.uint32(0xFFFF0000)
    return float(u.view(np.float32)[0])


NP_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
             "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}


def read_safetensors(path):
    out = {}
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(n))
        base = 8 + n
        for name, info in header.items():
            if name == "__metadata__":
                continue
            b, e = info["data_offsets"]
            f.seek(base + b)
            a = np.frombuffer(f.read(e - b), dtype=NP_DTYPES[info["dtype"]])
            if info["dtype"] == "BF16":
                a = bf16_to_f32(a)
            out[name] = a.reshape(info["shape"])
    return out


def write_safetensors(path, tensors, metadata=None):
    names = {"float64": "F64", "float32": "F32", "int32": "I32", "int64": "I64",
             "float16": "F16", "uint8": "U8"}
    header, off, blobs = {}, 0, []
    if metadata:
        header["__metadata__"] = metadata
    for k in sorted(tensors):
        a = np.ascontiguousarray(tensors[k])
        header[k] = {"dtype": names[a.dtype.name], "shape": list(a.shape),
                     "data_offsets": [off, off + a.nbytes]}
        off += a.nbytes
        blobs.append(a)
    h = json.dumps(header, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h)))
        f.write(h)
        for a in blobs:
            f.write(a.tobytes())


def load_checkpoint(model_dir):
    index = os.path.join(model_dir, "model.safetensors.index.json")
    if os.path.exists(index):
        files = sorted(set(json.load(open(index))["weight_map"].values()))
    else:
        files = ["model.safetensors"]
    w = {}
    for fn in files:
        w.update(read_safetensors(os.path.join(model_dir, fn)))
    return w


# ---------------------------------------------------------------- elementwise

def sigmoid(x):
    return np.where(x >= 0, 1.0 / (1.0 + np.exp(-np.abs(x))),
                    np.exp(-np.abs(x)) / (1.0 + np.exp(-np.abs(x))))


def softplus(x):
    return np.logaddexp(x, 0.0)


def gelu_tanh(x):
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x ** 3)))


# ---------------------------------------------------------------------- model

class State:
    """Everything a sequence carries from one chunk to the next."""

    def __init__(self, model):
        self.n = 0                 # tokens consumed in all
        self.seg = 0               # number of the current segment (document)
        self.layers = []
        for t in model.types:
            if t == "recurrent":
                self.layers.append(dict(
                    h=np.zeros(model.lru, dtype=model.dtype),
                    conv=np.zeros((model.conv_width - 1, model.lru), dtype=model.dtype)))
            else:
                self.layers.append(dict(
                    k=np.zeros((0, model.kv_heads, model.head_dim), dtype=model.dtype),
                    v=np.zeros((0, model.kv_heads, model.head_dim), dtype=model.dtype),
                    pos=np.zeros(0, dtype=np.int64),   # position inside the segment
                    idx=np.zeros(0, dtype=np.int64),   # running index
                    seg=np.zeros(0, dtype=np.int64)))


class Model:
    def __init__(self, model_dir, dtype=np.float64, window_mode="deepmind"):
        cfg = self.cfg = json.load(open(os.path.join(model_dir, "config.json")))
        self.dtype = dtype
        self.width = cfg["hidden_size"]
        self.heads = cfg["num_attention_heads"]
        self.kv_heads = cfg.get("num_key_value_heads") or 1
        self.head_dim = cfg.get("head_dim") or self.width // self.heads
        self.lru = cfg.get("lru_width") or self.width
        self.conv_width = cfg.get("conv1d_width", 4)
        self.window = cfg["attention_window_size"]
        # How many earlier tokens a query sees, besides itself.
        self.past = self.window if window_mode == "deepmind" else self.window - 1
        self.eps = cfg.get("rms_norm_eps", 1e-6)
        self.theta = cfg.get("rope_theta", 10000.0)
        self.rot = int(self.head_dim * cfg.get("partial_rotary_factor", 0.5))
        self.cap = cfg.get("logits_soft_cap") or 0.0
        pattern = cfg.get("block_types") or cfg.get("_block_types")
        self.types = [pattern[i % len(pattern)] for i in range(cfg["num_hidden_layers"])]
        w = load_checkpoint(model_dir)
        self.w = {k: v.astype(dtype) for k, v in w.items()}
        scale = cfg.get("embeddings_scale_by_sqrt_dim", True)
        self.embed_scale = round_bf16(np.sqrt(self.width)) if scale else 1.0

    def norm(self, x, name):
        var = np.mean(x * x, axis=-1, keepdims=True)
        return x / np.sqrt(var + self.eps) * (1.0 + self.w[name + ".weight"])

    def linear(self, x, name):
        y = x @ self.w[name + ".weight"].T
        b = self.w.get(name + ".bias")
        return y if b is None else y + b

    # -- recurrent block

    def block_diagonal(self, x, name):
        w, b = self.w[name + "_weight"], self.w[name + "_bias"]
        n, bw, _ = w.shape
        xb = x.reshape(x.shape[0], n, bw)
        # y[t, n, j] = sum_i x[t, n, i] w[n, i, j] + b[n, j]
        y = np.einsum("tni,nij->tnj", xb, w) + b
        return y.reshape(x.shape[0], n * bw)

    def conv1d(self, x, p, st, starts):
        k = self.conv_width
        w = self.w[p + "conv_1d.weight"][:, 0, :]      # [channel, tap]; last tap: now
        y = np.empty_like(x)
        hist = st["conv"]
        for t in range(x.shape[0]):
            if starts[t]:
                hist = np.zeros_like(hist)
            win = np.concatenate([hist, x[t:t + 1]])   # oldest first
            y[t] = np.einsum("kc,ck->c", win, w) + self.w[p + "conv_1d.bias"]
            hist = win[1:]
        assert hist.shape[0] == k - 1
        st["conv"] = hist
        return y

    def rg_lru(self, x, p, st, starts, taps):
        gx = sigmoid(self.block_diagonal(x, p + "rg_lru.input_gate"))
        ga = sigmoid(self.block_diagonal(x, p + "rg_lru.recurrent_gate"))
        log_a = -C_RGLRU * ga * softplus(self.w[p + "rg_lru.recurrent_param"])
        a = np.exp(log_a)
        # Where a token starts a segment the state is dropped and the input is
        # not scaled by sqrt(1 - a^2).
        mult = np.where(starts[:, None], 1.0, np.sqrt(-np.expm1(2.0 * log_a)))
        a = np.where(starts[:, None], 0.0, a)
        u = mult * (gx * x)
        h = st["h"]
        out = np.empty_like(x)
        for t in range(x.shape[0]):
            h = a[t] * h + u[t]
            out[t] = h
        st["h"] = h
        if taps is not None:
            taps.update(gate_x=gx, gate_a=ga, a=a, u=u, h=out)
        return out

    def recurrent_block(self, x, p, st, starts, taps):
        y = gelu_tanh(self.linear(x, p + "linear_y"))
        xb = self.linear(x, p + "linear_x")
        xc = self.conv1d(xb, p, st, starts)
        if taps is not None:
            taps.update(linear_x=xb, gelu_y=y, conv=xc)
        return self.linear(self.rg_lru(xc, p, st, starts, taps) * y, p + "linear_out")

    # -- attention block

    def rope(self, x, pos):
        """x: [t, heads, head_dim]; rotates pairs (i, i + rot/2), i < rot/2."""
        half = self.rot // 2
        inv = self.theta ** (-2.0 * np.arange(half) / self.rot)
        ang = pos[:, None] * inv[None, :]
        cos, sin = np.cos(ang)[:, None, :], np.sin(ang)[:, None, :]
        a, b, rest = x[..., :half], x[..., half:self.rot], x[..., self.rot:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)

    def attention_block(self, x, p, st, pos, idx, seg, taps):
        t = x.shape[0]
        q = self.linear(x, p + "q_proj").reshape(t, self.heads, self.head_dim)
        k = self.linear(x, p + "k_proj").reshape(t, self.kv_heads, self.head_dim)
        v = self.linear(x, p + "v_proj").reshape(t, self.kv_heads, self.head_dim)
        q, k = self.rope(q, pos), self.rope(k, pos)
        ks, vs = np.concatenate([st["k"], k]), np.concatenate([st["v"], v])
        kpos = np.concatenate([st["pos"], pos])
        kidx = np.concatenate([st["idx"], idx])
        kseg = np.concatenate([st["seg"], seg])
        ok = ((kidx[None, :] <= idx[:, None]) & (kidx[None, :] >= idx[:, None] - self.past)
              & (kseg[None, :] == seg[:, None]))
        group = self.heads // self.kv_heads
        kr, vr = np.repeat(ks, group, axis=1), np.repeat(vs, group, axis=1)
        s = np.einsum("tnh,snh->nts", q, kr) * self.head_dim ** -0.5
        s = np.where(ok[None], s, -np.inf)
        s = np.exp(s - s.max(axis=-1, keepdims=True))
        prob = s / s.sum(axis=-1, keepdims=True)
        o = np.einsum("nts,snh->tnh", prob, vr).reshape(t, self.heads * self.head_dim)
        keep = slice(max(0, len(kidx) - self.window), None)
        st.update(k=ks[keep], v=vs[keep], pos=kpos[keep], idx=kidx[keep], seg=kseg[keep])
        if taps is not None:
            taps.update(q_rope=q.reshape(t, -1), k_rope=k.reshape(t, -1),
                        v=v.reshape(t, -1), attn=o)
        return self.linear(o, p + "o_proj")

    def mlp(self, x, p):
        g = gelu_tanh(self.linear(x, p + "gate_proj"))
        return self.linear(g * self.linear(x, p + "up_proj"), p + "down_proj")

    # -- whole model

    def forward(self, tokens, state, pos=None, taps=None):
        """tokens: ids of one chunk.  pos: position of each token inside its
        segment (default: continuing from the state); a 0 starts a segment."""
        tokens = np.asarray(tokens, dtype=np.int64)
        t = len(tokens)
        idx = state.n + np.arange(t)
        pos = idx if pos is None else np.asarray(pos, dtype=np.int64)
        starts = pos == 0
        seg = state.seg + np.cumsum(starts)
        x = self.w["model.embed_tokens.weight"][tokens] * self.embed_scale
        if taps is not None:
            taps["embed"] = x
        for i, kind in enumerate(self.types):
            p = "model.layers.%d." % i
            lt = {} if taps is not None else None
            y = self.norm(x, p + "temporal_pre_norm")
            if kind == "recurrent":
                y = self.recurrent_block(y, p + "temporal_block.", state.layers[i], starts, lt)
            else:
                y = self.attention_block(y, p + "temporal_block.", state.layers[i],
                                         pos, idx, seg, lt)
            r = x + y
            x = r + self.mlp(self.norm(r, p + "channel_pre_norm"), p + "mlp_block.")
            if taps is not None:
                lt.update(temporal=y, out=x)
                taps.update({"layers.%d.%s" % (i, k): v for k, v in lt.items()})
        x = self.norm(x, "model.final_norm")
        if taps is not None:
            taps["final_norm"] = x
        head = self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"])
        logits = x @ head[:self.cfg["vocab_size"]].T
        if self.cap:
            logits = self.cap * np.tanh(logits / self.cap)
        state.n += t
        if t:
            state.seg = int(seg[-1])
        return logits

    def run(self, tokens, pos=None, chunks=None, taps=None):
        """All logits of a sequence, fed in the given chunk sizes."""
        st = State(self)
        chunks = list(chunks or [len(tokens)])
        if sum(chunks) < len(tokens):
            chunks.append(len(tokens) - sum(chunks))
        out, at, all_taps = [], 0, []
        for c in chunks:
            ct = {} if taps is not None else None
            out.append(self.forward(tokens[at:at + c], st,
                                    None if pos is None else pos[at:at + c], ct))
            all_taps.append(ct)
            at += c
        if taps is not None:
            for k in all_taps[0]:
                taps[k] = np.concatenate([x[k] for x in all_taps])
        return np.concatenate(out), st

    def generate(self, tokens, steps):
        st = State(self)
        logits = self.forward(tokens, st)[-1]
        out, margins = [], []
        for _ in range(steps):
            top = np.partition(logits, -2)[-2:]
            out.append(int(np.argmax(logits)))
            margins.append(float(top[1] - top[0]))
            logits = self.forward(out[-1:], st)[-1]
        return out, margins

    def export_state(self, st):
        """The state as arrays: ring buffers with position p in slot p mod window."""
        out = {}
        for i, (kind, s) in enumerate(zip(self.types, st.layers)):
            p = "layers.%d." % i
            if kind == "recurrent":
                out[p + "rg_lru"] = s["h"]
                out[p + "conv1d"] = s["conv"]
            else:
                for nm in ("k", "v"):
                    ring = np.zeros((self.window, self.kv_heads, self.head_dim), s["k"].dtype)
                    live = s["seg"] == st.seg
                    ring[s["pos"][live] % self.window] = s[nm][live]
                    out[p + ("keys" if nm == "k" else "values")] = ring
        return out


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True, help="directory with config.json and weights")
    ap.add_argument("--tokens", help="token ids, comma separated")
    ap.add_argument("--tokens-file", help="file with token ids separated by blanks or commas")
    ap.add_argument("--positions", help="position inside the segment of every token, comma "
                                        "separated; 0 starts a new segment")
    ap.add_argument("--chunks", help="chunk sizes, comma separated; the rest is one chunk")
    ap.add_argument("--generate", type=int, default=0, help="greedy continuation of N tokens")
    ap.add_argument("--window-mode", choices=["deepmind", "hf"], default="deepmind",
                    help="deepmind: window+1 visible tokens (default); hf: window")
    ap.add_argument("--precision", choices=["f64", "f32"], default="f64")
    ap.add_argument("--save", help="write tokens, logits (and taps, state) to a safetensors file")
    ap.add_argument("--taps", action="store_true", help="with --save: all intermediate results")
    ap.add_argument("--state", action="store_true", help="with --save: the final state")
    ap.add_argument("--top", type=int, default=5, help="print the N best ids at the last position")
    args = ap.parse_args()
    text = args.tokens or (open(args.tokens_file).read() if args.tokens_file else None)
    if text is None:
        ap.error("--tokens or --tokens-file is needed")
    ids = [int(x) for x in text.replace(",", " ").split()]
    ints = lambda s: [int(x) for x in s.replace(",", " ").split()] if s else None
    m = Model(args.model, np.float64 if args.precision == "f64" else np.float32,
              args.window_mode)
    taps = {} if args.taps else None
    logits, st = m.run(ids, ints(args.positions), ints(args.chunks), taps)
    last = logits[-1]
    for j in np.argsort(-last, kind="stable")[:args.top]:
        print("%6d  %.9f" % (j, last[j]))
    if args.generate:
        print("greedy:", ",".join(str(x) for x in m.generate(ids, args.generate)[0]))
    if args.save:
        out = {"tokens": np.array(ids, dtype=np.int32), "logits": logits}
        if taps is not None:
            out.update({"tap." + k: v for k, v in taps.items()})
        if args.state:
            out.update({"state." + k: v for k, v in m.export_state(st).items()})
        write_safetensors(args.save, out)


if __name__ == "__main__":
    sys.exit(main())
