# SPDX-License-Identifier: Apache-2.0
"""Where the hub's tools keep their files. The library reads no environment variable; this binding does."""

import os


def hub_cache() -> str:
    """The folder in which ids such as google/recurrentgemma-2b-it are found."""
    variable = os.environ.get
    if variable("HF_HUB_CACHE"):
        return os.path.expanduser(variable("HF_HUB_CACHE"))
    home = variable("HF_HOME") or os.path.join(variable("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return os.path.join(os.path.expanduser(home), "hub")
