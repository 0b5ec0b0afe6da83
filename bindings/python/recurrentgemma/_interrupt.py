# SPDX-License-Identifier: Apache-2.0
"""The flag that stops a call from outside."""

from ._handle import Owner, new_plain
from ._library import lib


class Interrupt(Owner):
    """A flag that any thread may raise to stop the calls it was given to."""

    def __init__(self):
        self._handle = new_plain("interrupt", lib.rg_interrupt_new, lib.rg_interrupt_free)

    def set(self) -> None:
        with self._handle as interrupt:
            lib.rg_interrupt_set(interrupt)

    def clear(self) -> None:
        with self._handle as interrupt:
            lib.rg_interrupt_clear(interrupt)

    def is_set(self) -> bool:
        with self._handle as interrupt:
            return bool(lib.rg_interrupt_is_set(interrupt))
