# SPDX-License-Identifier: Apache-2.0
"""Run RecurrentGemma, Griffin and Hawk from Python, by librecurrentgemma.

    import recurrentgemma as rg

    model = rg.Model.open("demo", threads=2)
    state = model.state()
    for piece in state.generate("It is a truth", max_tokens=80, temperature=0.8, seed=1):
        print(piece, end="", flush=True)

    logits = state.prefill(model.encode("universally acknowledged", bos=False))    # numpy float32 [vocab_size]
    branch = state.fork(); state.save("alice.rgs"); again = model.load_state("alice.rgs")

Every name here stands for calls of the C library and has its promises; the C headers say more about each.
"""

from ._errors import Error, Interrupted
from ._evaluate import Work, eval
from ._generation import Generation
from ._interrupt import Interrupt
from ._library import build_info, cpu_features, cpu_rungs, version
from ._model import Model, find_model
from ._native import ConvertedTensor, NativeFile, convert
from ._sampler import Sampler
from ._snapshot import Snapshot
from ._state import State
from ._store import Store
from ._structures import AGAIN, CONTINUE, INTERRUPTED, OK
from ._tokenizer import Detokenizer, Tokenizer

__version__ = version()

# eval is left out, so that a star import does not hide Python's own.
__all__ = [
    "AGAIN", "CONTINUE", "ConvertedTensor", "Detokenizer", "Error", "Generation", "INTERRUPTED", "Interrupt", "Interrupted", "Model",
    "NativeFile", "OK", "Sampler", "Snapshot", "State", "Store", "Tokenizer", "Work", "build_info", "convert", "cpu_features", "cpu_rungs",
    "find_model", "version",
]
