# SPDX-License-Identifier: Apache-2.0
"""rg_sampler: logits in, one token id out."""

import ctypes

import numpy as np

from . import _structures as s
from ._arrays import floats, token_array, token_id, unsigned
from ._errors import check, error_of
from ._handle import Owner, new
from ._library import lib
from ._running import Run


class Sampler(Owner):
    """Picks tokens: the same logits, settings and seed give the same tokens on every platform. New, it is greedy. One thread at a time.

    The settings are those of set().
    """

    def __init__(self, vocab_size: int, **settings):
        self._handle = new("sampler", lib.rg_sampler_new, lib.rg_sampler_free, unsigned(vocab_size), None)
        self._vocab_size = vocab_size
        self._callback = None
        self._trapped = []  # what the filter raised
        self.set(**settings)

    def set(self, temperature=None, top_k=None, top_p=None, min_p=None, repetition_penalty=None, penalty_last_n=None, seed=None) -> None:
        """Change settings; what is None stays as it is, but the two of the repetition penalty are set together.

        temperature         0: always the most probable token
        top_k               keep the k most probable tokens; 0: all
        top_p               keep the fewest most probable tokens that together have probability p; 1: all
        min_p               keep tokens with at least p times the probability of the most probable one; 0: all
        repetition_penalty  weaken the tokens among the last penalty_last_n (0: all); 1: off
        seed                start the random numbers from here
        """
        plain = (
            (lib.rg_sampler_set_temperature, temperature, float), (lib.rg_sampler_set_top_k, top_k, unsigned),
            (lib.rg_sampler_set_top_p, top_p, float), (lib.rg_sampler_set_min_p, min_p, float), (lib.rg_sampler_set_seed, seed, unsigned),
        )
        with self._handle as sampler:
            for function, value, kind in plain:
                if value is not None:
                    check(function(sampler, kind(value)))
            if repetition_penalty is not None or penalty_last_n is not None:
                penalty = 1.0 if repetition_penalty is None else repetition_penalty
                check(lib.rg_sampler_set_repetition_penalty(sampler, penalty, unsigned(penalty_last_n or 0)))

    def set_bias(self, token: int, bias: float) -> None:
        """Add to the logit of a token, in place of an earlier bias; float("-inf") forbids it, 0 removes the bias."""
        with self._handle as sampler:
            check(lib.rg_sampler_set_logit_bias(sampler, token_id(token), bias))

    def set_filter(self, function) -> None:
        """function(logits) may change the logits, a numpy array, before a token is drawn; -inf forbids a token. None: no filter.

        A true answer fails the pick. The function runs on a thread of the call's, and must not use this sampler.
        """
        trapped = self._trapped

        def guard(_, logits, n):
            try:
                return s.STOP if function(np.ctypeslib.as_array(logits, (n,))) else s.CONTINUE
            except BaseException as error:
                trapped.append(error)
                return s.STOP

        callback = s.FilterFunction() if function is None else s.FilterFunction(guard)
        with self._handle as sampler:
            check(lib.rg_sampler_set_filter(sampler, callback, None))
        self._callback = callback if function else None

    def raise_trapped(self) -> None:
        """Raise what the filter raised during a call, if it did."""
        if self._trapped:
            error = self._trapped[0]
            self._trapped.clear()
            raise error

    def accept(self, tokens) -> None:
        """Count tokens that were not picked here into the repetition penalty."""
        with self._handle as sampler:
            for token in token_array(np.atleast_1d(tokens)):
                check(lib.rg_sampler_accept(sampler, int(token)))

    def reset(self) -> None:
        """Forget the history of tokens and go back to the seed; settings stay."""
        with self._handle as sampler:
            lib.rg_sampler_reset(sampler)

    def forget(self) -> None:
        """Forget the history of tokens; settings and random numbers go on. For a state that has gone back: accept what it has left."""
        with self._handle as sampler:
            lib.rg_sampler_forget(sampler)

    def sample(self, logits) -> tuple:
        """Pick a token. Returns its id, and the natural log of its probability under the plain logits."""
        row = np.ascontiguousarray(logits, np.float32)
        if row.shape != (self._vocab_size,):
            raise ValueError("logits must have the shape (%d,)" % self._vocab_size)
        token, logprob, error = ctypes.c_int32(), ctypes.c_float(), s.ErrorStruct()

        def call(_):
            with self._handle as sampler:
                return lib.rg_sampler_sample(sampler, floats(row), token, logprob, error)

        status = Run(call).finish() if self._callback else call(None)
        self.raise_trapped()
        if status != s.OK:
            raise error_of(status, error)
        return token.value, logprob.value

    def pick(self, logits) -> int:
        """sample() without the log-probability."""
        return self.sample(logits)[0]
