# SPDX-License-Identifier: Apache-2.0
"""rg_state_rewind_within and rg_state_reuse_within: back to an earlier position, by a replay that Ctrl-C may stop and a budget may forbid."""

from . import _structures as s
from ._arrays import unsigned
from ._errors import error_of
from ._running import Run, ask_progress


class _Replay:
    """One of the two calls."""

    def __init__(self, state, function, arguments, max_tokens):
        self.state, self.function, self.arguments = state, function, arguments
        self.run, self.error = s.RunStruct(max_tokens=unsigned(max_tokens)), s.ErrorStruct()

    def __call__(self, interrupt):
        with self.state._handle as state, interrupt._handle as flag:
            self.run.interrupt = flag
            return self.function(state, *self.arguments, self.run, self.error)


def go_back(state, function, *arguments, max_tokens=0, interrupt=None, progress=None):
    """Makes the call. An exception after anything but success; the state is then as it was."""
    call = _Replay(state, function, arguments, max_tokens)
    run = Run(call, interrupt)
    if progress is not None:
        call.run.progress = s.ProgressFunction(ask_progress(run, progress))
    status = run.finish()
    if status != s.OK:
        raise error_of(status, call.error)
