#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs DeepMind's Flax module on this CPU; see peer_runner.py. As in its sampler, a prompt is read but for its last token without logits, and
the last token is a step. JAX takes all cores."""
from functools import partial
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
from recurrentgemma import common
from recurrentgemma.jax import Griffin

import deepmind_tensors
import peer_runner


def load(folder, config, dtype):
    tree = {}
    for name, x in deepmind_tensors.tensors(folder, config, "np", np.stack):
        path = name.replace("blocks.", "blocks", 1).split(".")
        if path[0].startswith("blocks"):
            path[0] = path[0].replace("blocks", "blocks.")
        if path[-1] == "weight":  # a dense kernel is stored [in, out]
            path[-1], x = "kernel", x.T
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = jnp.array(x, dtype)
    return {"params": tree}


def main():
    args = peer_runner.arguments(__doc__)
    dtype = jnp.bfloat16 if args.type == "bf16" else jnp.float32
    config = deepmind_tensors.read_config(args.model)
    model = Griffin(deepmind_tensors.griffin_config(config, scan_type=common.ScanType.ASSOCIATIVE_NATIVE), gradient_checkpointing=False, dtype=dtype)
    weights = load(args.model, config, dtype)
    peer_runner.tell(what="versions", recurrentgemma=version("recurrentgemma"), jax=jax.__version__, flax=version("flax"))
    cache = None

    @jax.jit
    def read(weights, ids):
        return model.apply(weights, ids, jnp.arange(ids.shape[1])[None], return_logits=False)[1]

    @partial(jax.jit, donate_argnums=3)
    def go_on(weights, ids, positions, cache):
        return model.apply(weights, ids, positions, cache)

    def step(token, position):
        nonlocal cache
        logits, cache = go_on(weights, jnp.array([[token]]), jnp.array([[position]]), cache)
        return logits.block_until_ready()[0, -1]

    def prefill(ids):
        nonlocal cache
        cache = read(weights, jnp.array([ids[:-1]]))
        return step(ids[-1], len(ids) - 1)

    peer_runner.run(args, prefill, step, lambda logits: np.asarray(logits.astype(jnp.float32)))


main()
