# SPDX-License-Identifier: Apache-2.0
"""The demo's shape, and its two homes: DeepMind's Flax tree and a Hugging Face directory."""
import itertools
import json
import os

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from recurrentgemma import common
from recurrentgemma.jax import Griffin
from safetensors.numpy import load_file, save_file

PATTERN = ("recurrent", "recurrent", "attention")

# hidden_size 192 keeps eight layers, two of them attention, below 3.8 million
# parameters; intermediate_size counts both branches of the MLP, as HF does.
CONFIG = {
    "architectures": ["RecurrentGemmaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attention_window_size": 128,
    "block_types": list(PATTERN),
    "bos_token_id": 2,
    "conv1d_width": 4,
    "embeddings_scale_by_sqrt_dim": True,
    "eos_token_id": 1,
    "final_w_init_variance_scale": 0.25,
    "head_dim": 64,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 192,
    "intermediate_size": 1024,
    "logits_soft_cap": 30.0,
    "lru_width": 192,
    "model_type": "recurrent_gemma",
    "num_attention_heads": 3,
    "num_hidden_layers": 8,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "partial_rotary_factor": 0.5,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 2048,
    "w_init_variance_scale": 0.01,
}


def build(config):
    """DeepMind's Flax module for a config.json, computing in float32."""
    kinds = {"recurrent": common.TemporalBlockType.RECURRENT,
             "attention": common.TemporalBlockType.ATTENTION}
    cycle = itertools.cycle(config["block_types"])
    return Griffin(
        common.GriffinConfig(
            vocab_size=config["vocab_size"],
            width=config["hidden_size"],
            mlp_expanded_width=config["intermediate_size"] // 2,
            num_heads=config["num_attention_heads"],
            block_types=tuple(kinds[k] for k in itertools.islice(cycle, config["num_hidden_layers"])),
            embeddings_scale_by_sqrt_dim=config["embeddings_scale_by_sqrt_dim"],
            attention_window_size=config["attention_window_size"],
            logits_soft_cap=config["logits_soft_cap"],
            lru_width=config["lru_width"],
            # The associative scan is about 15 times faster than the loop on a CPU.
            scan_type=common.ScanType.ASSOCIATIVE_NATIVE),
        gradient_checkpointing=False, dtype=jnp.float32)


def _entries(config):
    """(HF name, Flax path, transform to HF, transform back) of every tensor."""
    same = (lambda x: x, lambda x: x)
    flip = (lambda x: x.T, lambda x: x.T)
    yield "model.embed_tokens.weight", ("embedder", "input_embedding"), *same
    yield "model.final_norm.weight", ("final_norm", "scale"), *same
    for i in range(config["num_hidden_layers"]):
        hf, flax = "model.layers.%d." % i, "blocks.%d" % i
        for norm in ("temporal_pre_norm", "channel_pre_norm"):
            yield hf + norm + ".weight", (flax, norm, "scale"), *same
        yield hf + "mlp_block.down_proj.weight", (flax, "mlp_block", "ffw_down", "kernel"), *flip
        yield hf + "mlp_block.down_proj.bias", (flax, "mlp_block", "ffw_down", "bias"), *same
        kind = config["block_types"][i % len(config["block_types"])]
        hf += "temporal_block."
        if kind == "attention":
            for a, b in (("q_proj", "proj_q"), ("k_proj", "proj_k"), ("v_proj", "proj_v"),
                         ("o_proj", "proj_final")):
                yield hf + a + ".weight", (flax, "attention_block", b, "kernel"), *flip
            yield hf + "o_proj.bias", (flax, "attention_block", "proj_final", "bias"), *same
            continue
        block = (flax, "recurrent_block")
        for a in ("linear_x", "linear_y", "linear_out"):
            yield hf + a + ".weight", block + (a, "kernel"), *flip
            yield hf + a + ".bias", block + (a, "bias"), *same
        # Flax [taps, E], HF [E, 1, taps]
        yield (hf + "conv_1d.weight", block + ("conv_1d", "w"),
               lambda x: x.T[:, None, :], lambda x: x[:, 0, :].T)
        yield hf + "conv_1d.bias", block + ("conv_1d", "b"), *same
        for a, b in (("input_gate", "input_gate"), ("recurrent_gate", "a_gate")):
            yield hf + "rg_lru.%s_weight" % a, block + ("rg_lru", b, "w"), *same
            yield hf + "rg_lru.%s_bias" % a, block + ("rg_lru", b, "b"), *same
        yield hf + "rg_lru.recurrent_param", block + ("rg_lru", "a_param"), *same


def _get(tree, path):
    for key in path:
        tree = tree[key]
    return np.asarray(tree)


def _set(tree, path, value):
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def export(params, config, directory):
    """Write config.json, generation_config.json and model.safetensors (BF16)."""
    os.makedirs(directory, exist_ok=True)
    params = params["params"]
    tensors = {hf: to_hf(_get(params, path)) for hf, path, to_hf, _ in _entries(config)}
    # Index 0 of DeepMind's fused tensor is the GELU branch, index 1 the linear one.
    for i in range(config["num_hidden_layers"]):
        up = params["blocks.%d" % i]["mlp_block"]["ffw_up"]
        for k, name in enumerate(("gate_proj", "up_proj")):
            hf = "model.layers.%d.mlp_block.%s." % (i, name)
            tensors[hf + "weight"] = np.asarray(up["w"])[k].T
            tensors[hf + "bias"] = np.asarray(up["b"])[k].reshape(-1)
    count = sum(x.size for x in jax.tree.leaves(params))
    assert sum(x.size for x in tensors.values()) == count
    # numpy's bfloat16 cast rounds to nearest even
    tensors = {k: np.ascontiguousarray(v).astype(ml_dtypes.bfloat16) for k, v in tensors.items()}
    final = os.path.join(directory, "model.safetensors")
    save_file(tensors, final + ".part", metadata={"format": "pt"})
    os.chmod(final + ".part", 0o644)
    os.replace(final + ".part", final)
    for name, content in (
            ("config.json", config),
            ("generation_config.json", {"_from_model_config": True,
                                        "bos_token_id": config["bos_token_id"],
                                        "eos_token_id": config["eos_token_id"],
                                        "pad_token_id": config["pad_token_id"]})):
        with open(os.path.join(directory, name), "w") as f:
            json.dump(content, f, indent=2)
            f.write("\n")


def load(directory):
    """(module, float32 parameters, config) of an exported directory."""
    with open(os.path.join(directory, "config.json")) as f:
        config = json.load(f)
    tensors = {k: v.astype(np.float32)
               for k, v in load_file(os.path.join(directory, "model.safetensors")).items()}
    tree = {}
    for hf, path, _, from_hf in _entries(config):
        _set(tree, path, jnp.asarray(from_hf(tensors[hf])))
    for i in range(config["num_hidden_layers"]):
        hf = "model.layers.%d.mlp_block." % i
        both = [tensors[hf + n + ".weight"].T for n in ("gate_proj", "up_proj")]
        bias = [tensors[hf + n + ".bias"].reshape(1, 1, -1) for n in ("gate_proj", "up_proj")]
        _set(tree, ("blocks.%d" % i, "mlp_block", "ffw_up", "w"), jnp.stack(both))
        _set(tree, ("blocks.%d" % i, "mlp_block", "ffw_up", "b"), jnp.stack(bias))
    return build(config), {"params": tree}, config
