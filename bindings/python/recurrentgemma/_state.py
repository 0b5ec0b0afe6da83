# SPDX-License-Identifier: Apache-2.0
"""rg_state: what one conversation has left behind, and the calls that feed it."""

import ctypes
import weakref

import numpy as np

from . import _structures as s
from ._arrays import float_array, floats, token_id
from ._errors import Interrupted, check, error_of
from ._evaluate import Work, evaluate
from ._generation import Generation, Request
from ._handle import Owner, new, new_plain
from ._library import lib

StateInfo = s.facts("StateInfo", s.StateInfoStruct)


class State(Owner):
    """One sequence: a position and a small, bounded memory. One thread at a time; a second one gets Error RG_ERR_BUSY."""

    def __init__(self, model, window_type=None, wipe=False):
        self.model = model
        options = new_plain("options", lib.rg_state_options_new, lib.rg_state_options_free)
        with options as pointer, model._handle as address:
            check(lib.rg_state_options_set_window_type(pointer, s.TYPES[window_type]))
            check(lib.rg_state_options_set_wipe(pointer, bool(wipe)))
            self._own_handle = new("state", lib.rg_state_new, lib.rg_state_free, address, pointer, holds=[model._handle])
        options.close()
        self._texts = []

    def remember(self, generation, run):
        """A text will be written to this state. When it is dropped, its last token may still be under way."""
        self._texts.append((weakref.ref(generation), run))

    @property
    def _handle(self):
        for each in list(self._texts):
            generation, run = each
            if generation() is None or run.is_stopped:
                run.stop()
                self._texts = [other for other in self._texts if other is not each]
        return self._own_handle

    @property
    def position(self) -> int:
        """How many tokens the state has consumed."""
        with self._handle as state:
            return lib.rg_state_position(state)

    @property
    def info(self) -> StateInfo:
        """Sizes and parts; see rg_state_info in state.h."""
        info = s.StateInfoStruct()
        with self._handle as state:
            check(lib.rg_state_get_info(state, info))
        return s.readable(StateInfo, info)

    def reset(self) -> None:
        """Back to position 0, as if new."""
        with self._handle as state:
            check(lib.rg_state_reset(state))

    def reserve(self) -> None:
        """Take now all the memory that steps will ever need."""
        with self._handle as state:
            check(lib.rg_state_reserve(state))

    def prefill(self, tokens, *, logits=True, out=None, progress=None, interrupt=None):
        """Consume tokens. Returns the logits that follow the last one, float32 [vocab_size], or None when logits is False.

        out        the array to write the logits to
        progress   progress(what, done, total), in tokens; a true answer stops. It runs in the calling thread
        interrupt  an Interrupt that stops the call; then Interrupted is raised, and position tells how far the state is

        Ctrl-C stops it within about the time of a step, and the state stays good.
        """
        work = Work(self, tokens, logits="last" if logits else None)
        self._evaluate(work, out=out, progress=progress, interrupt=interrupt)
        return work.logits

    def score(self, tokens, *, progress=None, interrupt=None) -> np.ndarray:
        """Consume tokens. Returns the natural log of the probability of tokens[1] and on, each after the ones before it: [n - 1]."""
        work = Work(self, tokens, logprobs=True)
        self._evaluate(work, progress=progress, interrupt=interrupt)
        return work.logprobs

    def _evaluate(self, work, **options):
        status = evaluate([work], **options)
        if status != s.OK:
            raise error_of(status)

    def step(self, token, *, logits=True, out=None):
        """Consume one token; otherwise as prefill."""
        row = float_array(out, (self.model.info.vocab_size,)) if logits else None
        error = s.ErrorStruct()
        with self._handle as state:
            check(lib.rg_step(state, floats(row), token_id(token), error), error)
        return row

    def logits(self, *, out=None) -> np.ndarray:
        """The logits that follow the last token, again, without a new token."""
        row, error = float_array(out, (self.model.info.vocab_size,)), s.ErrorStruct()
        with self._handle as state:
            check(lib.rg_state_logits(state, floats(row), error), error)
        return row

    def tensor(self, layer: int, name: str) -> np.ndarray:
        """A copy of one tensor of the state, float32: "rg_lru" and "conv1d" of a recurrent layer, "keys" and "values" of an attention
        layer, oldest first, or "hidden"."""
        n = ctypes.c_size_t(0)
        with self._handle as state:
            status = lib.rg_state_get_tensor(state, layer, name.encode(), None, n)
            if status != s.ERR_BUFFER:
                check(status)
            values = np.empty(n.value, np.float32)
            check(lib.rg_state_get_tensor(state, layer, name.encode(), floats(values), n))
        info = self.model.info
        widths = {"conv1d": info.lru_width, "keys": info.num_kv_heads * info.head_dim, "values": info.num_kv_heads * info.head_dim}
        return values.reshape(-1, widths[name]) if name in widths else values

    def generate(self, prompt="", **options) -> Generation:
        """Feed a text, or token ids, and write on from there: an iterator of pieces of text.

        A text at position 0 gets a bos token before it; token ids are taken as they are. See Generation for the options and for
        what breaking out of the loop does.
        """
        return Generation(self, Request.generate(prompt), **options)

    def chat(self, text, **options) -> Generation:
        """Say one message of a dialogue and iterate over the model's reply to it. Options as for generate."""
        return Generation(self, Request.chat("user", text), **options)

    def put_reply(self, text, **options) -> None:
        """Put a reply into the model's mouth, to replay a dialogue: it is read, and nothing is written."""
        generation = Generation(self, Request.chat("model", text), **options)
        for _ in generation:
            pass
        if generation.stop_reason == "interrupt":
            raise Interrupted(s.INTERRUPTED, "the reply was not read to its end")
