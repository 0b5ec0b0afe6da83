#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs Hugging Face transformers' RecurrentGemmaForCausalLM on this CPU; see peer_runner.py."""
import torch
import transformers
from transformers import DynamicCache, RecurrentGemmaForCausalLM

import peer_runner


@torch.inference_mode()
def main():
    args = peer_runner.arguments(__doc__)
    torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if args.type == "bf16" else torch.float32
    model = RecurrentGemmaForCausalLM.from_pretrained(args.model, dtype=dtype, local_files_only=True).eval()
    peer_runner.tell(what="versions", transformers=transformers.__version__, torch=torch.__version__)
    cache = None

    def read(ids):
        return model(torch.tensor([ids]), use_cache=True, past_key_values=cache, logits_to_keep=1).logits[0, -1]

    def prefill(ids):
        nonlocal cache
        cache = DynamicCache(config=model.config)
        return read(ids)

    peer_runner.run(args, prefill, lambda token, position: read([token]), lambda logits: logits.float().numpy())


main()
