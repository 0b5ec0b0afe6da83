#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs DeepMind's PyTorch module on this CPU; see peer_runner.py. As in its sampler, a prompt is read but for its last token without logits,
and the last token is a step."""
from importlib.metadata import version

import torch
from recurrentgemma.torch import Griffin

import deepmind_tensors
import peer_runner


@torch.inference_mode()
def main():
    args = peer_runner.arguments(__doc__)
    torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if args.type == "bf16" else torch.float32
    config = deepmind_tensors.read_config(args.model)
    model = Griffin(deepmind_tensors.griffin_config(config), gradient_checkpointing=False, device="meta", dtype=dtype)
    weights = {name: x.to(dtype).contiguous() for name, x in deepmind_tensors.tensors(args.model, config, "pt", torch.stack)}
    model.load_state_dict(weights, assign=True)
    del weights
    model.eval()
    peer_runner.tell(what="versions", recurrentgemma=version("recurrentgemma"), torch=torch.__version__)
    cache = None

    def step(token, position):
        nonlocal cache
        logits, cache = model(torch.tensor([[token]]), torch.tensor([[position]]), cache)
        return logits[0, -1]

    def prefill(ids):
        nonlocal cache
        n = len(ids) - 1
        _, cache = model(torch.tensor([ids[:n]]), torch.arange(n)[None], None, return_logits=False)
        return step(ids[n], n)

    peer_runner.run(args, prefill, step, lambda logits: logits.float().numpy())


main()
