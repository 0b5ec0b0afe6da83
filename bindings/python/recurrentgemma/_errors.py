# SPDX-License-Identifier: Apache-2.0
"""From statuses to exceptions."""

from ._library import lib
from ._structures import NO_OFFSET, ErrorStruct


class Error(Exception):
    """A call of the library failed.

    status        the number, such as -9; its meaning never changes
    name          the same by name, such as "RG_ERR_CONFIG"
    offset        the byte in the file or text at fault, or the index of a token; None where that says nothing
    system_error  the errno of a file operation that failed, else None
    """

    def __init__(self, status, message, offset=None, system_error=None):
        super().__init__(message)
        self.status = status
        self.offset = offset
        self.system_error = system_error

    @property
    def name(self) -> str:
        return lib.rg_status_name(self.status).decode()

    def __reduce__(self):
        return type(self), (self.status, str(self), self.offset, self.system_error)


class Interrupted(Error):
    """An Interrupt was set, a callback asked to stop, or a way back is longer than its max_tokens (then name is "RG_AGAIN"), before there was a
    result. States are valid; State.position says how far."""


def error_of(status: int, error: ErrorStruct = None) -> Error:
    """The exception for a status other than 0, with the library's sentence where it gave one."""
    kind = Error if status < 0 else Interrupted
    if error is None or error.status != status or not error.message:
        return kind(status, lib.rg_status_text(status).decode())
    return kind(status, error.message.decode("utf-8", "replace"), None if error.offset == NO_OFFSET else error.offset,
                error.system_error or None)


def check(status: int, error: ErrorStruct = None) -> None:
    if status < 0:
        raise error_of(status, error)
