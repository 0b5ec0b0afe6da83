# SPDX-License-Identifier: Apache-2.0
"""rg_eval: tokens for one or many states, logits and more from them."""

import contextlib
import ctypes

import numpy as np

from . import _structures as s
from ._arrays import float_array, floats, token_array, tokens_of, unsigned
from ._errors import check
from ._library import lib
from ._running import Run, answer, ask_progress


class Work:
    """One state, the tokens it shall consume, and what is wanted of them; afterwards, what came of it.

    logits, hidden   None, "last" for the row that follows the last token, or "all" for every row
    logprobs         True for the log-probability of each token after the ones before it

    eval() fills in status (0: all is consumed), n_consumed, and what was wanted as numpy arrays: logits, [vocab_size], or
    [n_consumed, vocab_size] for "all"; hidden, the same with the model's width; logprobs. A "last" row is None unless all is consumed.
    """

    def __init__(self, state, tokens, logits=None, hidden=None, logprobs=False):
        if logits not in s.WANTED or hidden not in s.WANTED:
            raise ValueError('what is wanted must be None, "last" or "all"')
        self.state, self.tokens = state, token_array(tokens)
        self._wanted = {"logits": logits, "hidden": hidden, "logprobs": bool(logprobs)}
        self.status, self.n_consumed = None, 0
        self.logits = self.hidden = self.logprobs = None


class _Job:
    """What C sees of a work item, and the memory that it writes to."""

    def __init__(self, work, out):
        info, n = work.state.model.info, len(work.tokens)
        self.work = work
        self.arrays = {
            "logits": self._rows("logits", info.vocab_size, out),
            "hidden": self._rows("hidden", info.width, None),
            "logprobs": np.empty(max(n - 1, 0), np.float32) if work._wanted["logprobs"] else None,
        }
        self.c = s.WorkStruct(
            tokens=tokens_of(work.tokens), n_tokens=n,
            logits_wanted=s.WANTED[work._wanted["logits"]], logits=floats(self.arrays["logits"]),
            hidden_wanted=s.WANTED[work._wanted["hidden"]], hidden=floats(self.arrays["hidden"]),
            logprobs=floats(self.arrays["logprobs"]))

    def _rows(self, name, width, out):
        wanted = self.work._wanted[name]
        return None if wanted is None else float_array(out, (width,) if wanted == "last" else (len(self.work.tokens), width))

    def finish(self):
        work, n = self.work, self.c.n_consumed
        work.status, work.n_consumed = self.c.status, n
        for name, array in self.arrays.items():
            if array is not None and work._wanted[name] != "last":
                array = array[:n]
            elif n < len(work.tokens):
                array = None
            setattr(work, name, array)


class _Evaluation:
    """One call of rg_eval."""

    def __init__(self, jobs, max_tokens):
        self.jobs = jobs
        self.run = s.RunStruct(max_tokens=unsigned(max_tokens))
        self.error = s.ErrorStruct()

    def __call__(self, interrupt=None):
        with contextlib.ExitStack() as handles:
            if interrupt:
                self.run.interrupt = handles.enter_context(interrupt._handle)
            for job in self.jobs:
                job.c.state = handles.enter_context(job.work.state._handle)
            items = (ctypes.POINTER(s.WorkStruct) * len(self.jobs))(*[ctypes.pointer(job.c) for job in self.jobs])
            return lib.rg_eval(lib.rg_state_model(self.jobs[0].c.state), items, len(items), self.run, self.error)


def evaluate(works, *, max_tokens=0, interrupt=None, progress=None, tap=None, out=None):
    """As eval; out is where the first item's logits shall go."""
    jobs = [_Job(work, None if i else out) for i, work in enumerate(works)]
    if not jobs:
        raise ValueError("there are no work items")
    call = _Evaluation(jobs, max_tokens)
    try:
        if interrupt is None and progress is None and tap is None and all(len(job.work.tokens) <= 1 for job in jobs):
            status = call()  # a single step: too short to wait for on another thread
        else:
            run = Run(call, interrupt)
            if progress is not None:
                call.run.progress = s.ProgressFunction(ask_progress(run, progress))
            if tap is not None:
                call.run.tap = s.TapFunction(run.guarded(lambda _, tensor: run.ask(answer, tap, *_tap_facts(tensor.contents))))
            status = run.finish()
    finally:
        for job in jobs:
            job.finish()
    check(status, call.error)
    return status


def eval(items, *, max_tokens=0, interrupt=None, progress=None, tap=None) -> int:
    """Feed tokens to one or many states of one model: each Work gets the bits that it would have got alone.

    max_tokens   stop after so many tokens, all items together; 0: no budget
    interrupt    an Interrupt that stops the call
    progress     progress(what, done, total), in tokens; a true answer stops the call
    tap          tap(name, layer, item, first_token, values) gets activations by name; a true answer stops the call

    Returns OK, AGAIN (the budget is spent) or INTERRUPTED; n_consumed of each item tells how far it is. Raises Error on failure.
    Callbacks run in the calling thread. Ctrl-C stops the call, and every state stays good.
    """
    return evaluate(items, max_tokens=max_tokens, interrupt=interrupt, progress=progress, tap=tap)


def _tap_facts(tensor):
    values = np.ctypeslib.as_array(tensor.values, (tensor.n_rows, tensor.n_columns)).copy()
    return tensor.name.decode(), tensor.layer, tensor.item, tensor.first_token, values
