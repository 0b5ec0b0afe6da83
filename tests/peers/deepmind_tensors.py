# SPDX-License-Identifier: Apache-2.0
"""The configuration and the tensors of a Hugging Face folder as DeepMind's package wants them."""
import itertools
import json
import os

from recurrentgemma import common
from safetensors import safe_open


def read_config(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        return json.load(f)


def kinds(config):
    return list(itertools.islice(itertools.cycle(config["block_types"]), config["num_hidden_layers"]))


def griffin_config(config, **more):
    types = {"recurrent": common.TemporalBlockType.RECURRENT, "attention": common.TemporalBlockType.ATTENTION}
    return common.GriffinConfig(
        vocab_size=config["vocab_size"], width=config["hidden_size"], mlp_expanded_width=config["intermediate_size"] // 2,
        num_heads=config["num_attention_heads"], block_types=tuple(types[k] for k in kinds(config)),
        embeddings_scale_by_sqrt_dim=config["embeddings_scale_by_sqrt_dim"], attention_window_size=config["attention_window_size"],
        logits_soft_cap=config["logits_soft_cap"], lru_width=config["lru_width"], **more)


def names(config):
    """(name in DeepMind's PyTorch module, names in the folder, how: "same", "taps" [E, 1, K] to [K, E], "weights" and "biases" of both branches)."""
    yield "embedder.input_embedding", ["model.embed_tokens.weight"], "same"
    yield "final_norm.scale", ["model.final_norm.weight"], "same"
    for i, kind in enumerate(kinds(config)):
        ours, theirs = "model.layers.%d." % i, "blocks.%d." % i
        for norm in ("temporal_pre_norm", "channel_pre_norm"):
            yield theirs + norm + ".scale", [ours + norm + ".weight"], "same"
        # The branch with the GELU comes first.
        for a, b, how in (("w", "weight", "weights"), ("b", "bias", "biases")):
            yield theirs + "mlp_block.ffw_up." + a, [ours + "mlp_block.%s_proj.%s" % (branch, b) for branch in ("gate", "up")], how
        for part in ("weight", "bias"):
            yield theirs + "mlp_block.ffw_down." + part, [ours + "mlp_block.down_proj." + part], "same"
        ours += "temporal_block."
        if kind == "attention":
            theirs += "attention_block."
            for a, b in (("proj_q", "q_proj"), ("proj_k", "k_proj"), ("proj_v", "v_proj"), ("proj_final", "o_proj")):
                yield theirs + a + ".weight", [ours + b + ".weight"], "same"
            yield theirs + "proj_final.bias", [ours + "o_proj.bias"], "same"
            continue
        theirs += "recurrent_block."
        for linear in ("linear_x", "linear_y", "linear_out"):
            for part in ("weight", "bias"):
                yield theirs + linear + "." + part, [ours + linear + "." + part], "same"
        yield theirs + "conv_1d.w", [ours + "conv_1d.weight"], "taps"
        yield theirs + "conv_1d.b", [ours + "conv_1d.bias"], "same"
        for a, b in (("input_gate", "input_gate"), ("a_gate", "recurrent_gate")):
            yield theirs + "rg_lru.%s.w" % a, [ours + "rg_lru.%s_weight" % b], "same"
            yield theirs + "rg_lru.%s.b" % a, [ours + "rg_lru.%s_bias" % b], "same"
        yield theirs + "rg_lru.a_param", [ours + "rg_lru.recurrent_param"], "same"


def tensors(folder, config, framework, stack):
    """(name, tensor) of all of them, one at a time; stack is the framework's."""
    files = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            file = safe_open(os.path.join(folder, name), framework=framework)
            files.update((key, file) for key in file.keys())
    for name, stored, how in names(config):
        parts = [files[key].get_tensor(key) for key in stored]
        if how == "taps":
            yield name, parts[0][:, 0, :].T
        elif how == "weights":
            yield name, stack([part.T for part in parts])
        elif how == "biases":
            yield name, stack([part.reshape(1, 1, -1) for part in parts])
        else:
            yield name, parts[0]
