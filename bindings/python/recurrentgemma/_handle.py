# SPDX-License-Identifier: Apache-2.0
"""The address of one of the library's objects, and giving it up at the right time."""

import ctypes
import threading

from ._errors import check, error_of
from ._structures import ERR_MEMORY


class Handle:
    """Owns an object of the library.

    A call enters the handle and gets the address. Closing, by hand or by garbage collection, frees the object once, and not before
    the calls that use it have ended. `holds` are handles that the object needs: they cannot be freed before it. `needs` is anything
    else that must live as long, such as callbacks.
    """

    def __init__(self, what, address, free, holds=(), needs=()):
        self._what, self._address, self._free, self._needs = what, address, free, needs
        self._lock = threading.RLock()  # a signal handler may come in between and use the same handle
        self._n_users = 0
        self._is_closed = False
        self._holds = ()
        for handle in holds:
            handle.__enter__()
            self._holds += (handle,)

    def __enter__(self):
        with self._lock:
            if self._is_closed:
                raise ValueError("the %s is closed" % self._what)
            self._n_users += 1
            return self._address

    def __exit__(self, *_):
        with self._lock:
            self._n_users -= 1
        self._free_if_idle()

    def close(self):
        self._is_closed = True
        self._free_if_idle()

    __del__ = close

    @property
    def is_closed(self):
        return self._is_closed

    def _free_if_idle(self):
        with self._lock:
            if not self._is_closed or self._n_users or self._address is None:
                return
            address, self._address = self._address, None
        self._free(address)
        self._needs = ()
        for handle in self._holds:
            handle.__exit__()


def new(what, function, free, *arguments, holds=()):
    """A handle from a function that returns a status and writes the address to its first argument."""
    address = ctypes.c_void_p()
    check(function(address, *arguments))
    return Handle(what, address.value, free, holds)


def new_plain(what, function, free):
    """A handle from a function that returns the address, or NULL when there is no memory."""
    address = function()
    if not address:
        raise error_of(ERR_MEMORY)
    return Handle(what, address, free)


class Owner:
    """A Python object around one handle: with statements, close(), is_closed."""

    _handle: Handle

    def close(self) -> None:
        """Give the object up now, and not when Python collects it; calls that are under way end first. May be called twice."""
        self._handle.close()

    @property
    def is_closed(self) -> bool:
        return self._handle.is_closed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
