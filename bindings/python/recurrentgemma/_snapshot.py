# SPDX-License-Identifier: Apache-2.0
"""rg_snapshot: saved states, in files and in memory."""

import contextlib
import ctypes

import numpy as np

from . import _structures as s
from ._arrays import path_bytes, unsigned
from ._errors import check
from ._handle import Handle, Owner, new_plain
from ._library import lib
from ._state_options import state_options

SnapshotInfo = s.facts("SnapshotInfo", s.SnapshotInfoStruct)
SectionInfo = s.facts("SectionInfo", s.SectionInfoStruct)


@contextlib.contextmanager
def saving_options(sampler=None, detokenizer=None, note=None, tokens=True, checkpoints=True):
    """The address of rg_snapshot_options that say what is saved besides the state."""
    with contextlib.ExitStack() as handles:
        with new_plain("options", lib.rg_snapshot_options_new, lib.rg_snapshot_options_free) as options:
            if sampler is not None:
                check(lib.rg_snapshot_options_set_sampler(options, handles.enter_context(sampler._handle)))
            if detokenizer is not None:
                check(lib.rg_snapshot_options_set_detokenizer(options, handles.enter_context(detokenizer._handle)))
            if note is not None:
                data = note.encode() if isinstance(note, str) else bytes(note)
                check(lib.rg_snapshot_options_set_note(options, data, len(data)))
            check(lib.rg_snapshot_options_set_tokens(options, bool(tokens)))
            check(lib.rg_snapshot_options_set_checkpoints(options, bool(checkpoints)))
            yield options


@contextlib.contextmanager
def opening_options(map=False, max_bytes=None):
    """The address of rg_snapshot_options that say how a file is opened."""
    with new_plain("options", lib.rg_snapshot_options_new, lib.rg_snapshot_options_free) as options:
        check(lib.rg_snapshot_options_set_map(options, bool(map)))
        if max_bytes is not None:
            check(lib.rg_snapshot_options_set_max_bytes(options, unsigned(max_bytes)))
        yield options


def load_file(model, path, opening, options):
    """The address of a new rg_state; without options of its own, the window stays in its type."""
    error, address = s.ErrorStruct(), ctypes.c_void_p()
    with opening_options(**opening) as how, state_options(**options) as chosen, model._handle as target:
        check(lib.rg_state_load_with(address, target, path_bytes(path), chosen, how, error), error)
    return address.value


def save_file(state, path, settings):
    error = s.ErrorStruct()
    with saving_options(**settings) as options, state._handle as address:
        check(lib.rg_state_save_with(address, path_bytes(path), options, error), error)


def save_bytes(state, settings):
    error, n = s.ErrorStruct(), ctypes.c_size_t(0)
    with saving_options(**settings) as options, state._handle as address:
        status = lib.rg_state_save_buffer(address, None, n, options, error)
        if status != s.ERR_BUFFER:
            check(status, error)
        buffer = np.empty(n.value, np.uint8)
        check(lib.rg_state_save_buffer(address, buffer.ctypes.data, n, options, error), error)
    return buffer[: n.value].tobytes()


class Snapshot(Owner):
    """A saved state that is open for reading: every byte of it has been checked, and it never changes. Any number of threads may use it.

    info has the facts: position, model_id, numerics_id, kernels, shape, what it holds; see rg_snapshot_info in snapshot.h.
    States that were restored from it do not need it.
    """

    def __init__(self, handle):
        self._handle = handle
        facts = s.SnapshotInfoStruct()
        with handle as snapshot:
            check(lib.rg_snapshot_get_info(snapshot, facts))
            self.info: SnapshotInfo = s.readable(SnapshotInfo, facts)

    @classmethod
    def open(cls, path, *, map=False, max_bytes=None) -> "Snapshot":
        """Open a file. map: states use its pages where they lie, shared by all processes; nobody may then change the file in place.
        max_bytes: a larger file is refused; default 16 GiB."""
        with opening_options(map, max_bytes) as options:
            return cls._open(lib.rg_snapshot_open, path_bytes(path), options)

    @classmethod
    def from_bytes(cls, data) -> "Snapshot":
        """Open the bytes of a snapshot, or anything else that numpy reads bytes from; they must not change while it is open."""
        array = np.frombuffer(data, np.uint8)
        return cls._open(lib.rg_snapshot_open_buffer, array.ctypes.data, array.size, None, needs=(array,))

    @classmethod
    def _open(cls, function, *arguments, needs=()):
        error, address = s.ErrorStruct(), ctypes.c_void_p()
        check(function(address, *arguments, error), error)
        return cls(Handle("snapshot", address.value, lib.rg_snapshot_close, needs=needs))

    def restore(self, model, **options):
        """A new State that goes on where the snapshot was taken. Options as for Model.state; without any, the window stays in its type.

        Raises Error RG_ERR_STATE_MODEL when it was saved over another model. Over other kernels, pages or another window type it is
        restored all the same, and State.info.has_other_numerics is True.
        """
        error, address = s.ErrorStruct(), ctypes.c_void_p()
        with contextlib.ExitStack() as handles:
            chosen = handles.enter_context(state_options(**options)) if options else None
            snapshot, target = handles.enter_context(self._handle), handles.enter_context(model._handle)
            check(lib.rg_snapshot_restore(address, snapshot, target, chosen, error), error)
        return model._state_of(address.value)

    def restore_sampler(self, sampler) -> None:
        """Make a Sampler what the saved one was: settings, random numbers, history and biases. Its filter stays."""
        self._restore_to(lib.rg_snapshot_restore_sampler, sampler)

    def restore_detokenizer(self, detokenizer) -> None:
        """Make a Detokenizer hold back what the saved one did."""
        self._restore_to(lib.rg_snapshot_restore_detokenizer, detokenizer)

    def _restore_to(self, function, target):
        error = s.ErrorStruct()
        with self._handle as snapshot, target._handle as address:
            check(function(snapshot, address, error), error)

    def save(self, path) -> None:
        """Write the snapshot to a file, as State.save does."""
        error = s.ErrorStruct()
        with self._handle as snapshot:
            check(lib.rg_snapshot_save(snapshot, path_bytes(path), None, error), error)

    def sections(self) -> list:
        """The sections, in the order of the file: name, record, layer, first, count, offset, n_bytes, hash, and a copy of the bytes."""
        with self._handle as snapshot:
            return [self._section(snapshot, i) for i in range(self.info.n_sections)]

    @staticmethod
    def _section(snapshot, index):
        section = s.SectionInfoStruct()
        check(lib.rg_snapshot_get_section(snapshot, index, section))
        facts = s.readable(SectionInfo, section)
        return facts._replace(bytes=ctypes.string_at(section.bytes, section.n_bytes))

    @property
    def note(self):
        """The host's own bytes, or None."""
        return next((section.bytes for section in self.sections() if section.name == "note"), None)
