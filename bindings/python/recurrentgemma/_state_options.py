# SPDX-License-Identifier: Apache-2.0
"""rg_state_options: how a new or restored state shall keep what it keeps."""

from . import _structures as s
from ._arrays import unsigned
from ._errors import check
from ._handle import new_plain
from ._library import lib


def state_options(window_type=None, wipe=False, kept_tokens=None, checkpoint_every=None, checkpoint_bytes=None):
    """A handle of options; what is None keeps its default."""
    handle = new_plain("options", lib.rg_state_options_new, lib.rg_state_options_free)
    numbers = (
        (lib.rg_state_options_set_kept_tokens, kept_tokens), (lib.rg_state_options_set_checkpoint_every, checkpoint_every),
        (lib.rg_state_options_set_checkpoint_bytes, checkpoint_bytes),
    )
    with handle as options:
        check(lib.rg_state_options_set_window_type(options, s.number_of(s.TYPES, window_type, "window_type")))
        check(lib.rg_state_options_set_wipe(options, bool(wipe)))
        for function, number in numbers:
            if number is not None:
                check(function(options, unsigned(number)))
    return handle
