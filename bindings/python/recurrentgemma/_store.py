# SPDX-License-Identifier: Apache-2.0
"""rg_store: many saved conversations in one folder."""

import contextlib
import ctypes

from . import _structures as s
from ._arrays import c_string, path_bytes, unsigned
from ._errors import check, error_of
from ._handle import Handle, Owner, new_plain
from ._library import lib
from ._running import Run
from ._snapshot import Snapshot, saving_options

StoreEntry = s.facts("StoreEntry", s.StoreEntryStruct)
StoreCounts = s.facts("StoreCounts", s.StoreCountsStruct)


class Store(Owner):
    """A folder of snapshots under names. What they have in common is kept once; each put is a new version. One thread at a time."""

    def __init__(self, handle):
        self._handle = handle

    @classmethod
    def open(cls, folder, *, create=True, wait=None) -> "Store":
        """Open the store in a folder. create: make it where there is none. wait: how many milliseconds a call waits for other processes."""
        error, address = s.ErrorStruct(), ctypes.c_void_p()
        with new_plain("options", lib.rg_store_options_new, lib.rg_store_options_free) as options:
            check(lib.rg_store_options_set_create(options, bool(create)))
            if wait is not None:
                check(lib.rg_store_options_set_wait(options, unsigned(wait, 32)))
            check(lib.rg_store_open(address, path_bytes(folder), options, error), error)
        return cls(Handle("store", address.value, lib.rg_store_close))

    def _call(self, function, *arguments):
        error = s.ErrorStruct()
        with self._handle as store:
            check(function(store, *arguments, error), error)

    def _tell(self, function, before=(), after=()):
        """Makes a call that tells entries. Returns its status, them, and the error."""
        entries, error = [], s.ErrorStruct()

        def call(_):
            with self._handle as store:
                return function(store, *before, callback, None, *after, error)

        def collect(_, entry):
            entries.append(s.readable(StoreEntry, entry.contents))
            return s.CONTINUE

        run = Run(call)
        callback = s.StoreEntryFunction(run.guarded(collect))
        return run.finish(), entries, error

    def put(self, name, state, *, expected=None, parent=None, sampler=None, detokenizer=None, note=None, tokens=True, checkpoints=True) -> int:
        """Save a State, or an open Snapshot, as the newest version of a name. Returns the version's number.

        expected: the version that the name must stand at, or 0: there must be no such name; else Error RG_ERR_CONFLICT, and nothing has
        changed. parent: the version that the state goes on from; without it, the one that is expected, or else where the name stands.
        The rest is as in State.save, and for states only."""
        version, newest = ctypes.c_uint64(), ctypes.c_uint64(-1).value
        parent = expected if parent is None else parent
        places = [newest if place is None else unsigned(place) for place in (expected, parent)]
        with contextlib.ExitStack() as handles:
            address = handles.enter_context(state._handle)
            if isinstance(state, Snapshot):
                self._call(lib.rg_store_put_snapshot_after, c_string(name), address, *places, version)
            else:
                options = handles.enter_context(saving_options(sampler, detokenizer, note, tokens, checkpoints))
                self._call(lib.rg_store_put_after, c_string(name), address, options, *places, version)
        return version.value

    def get(self, name, version: int = 0) -> Snapshot:
        """Open a version of a name; 0: the newest. The snapshot's `version` is its number; it does not need the store any more."""
        error, address, number = s.ErrorStruct(), ctypes.c_void_p(), ctypes.c_uint64(unsigned(version))
        with self._handle as store:
            check(lib.rg_store_get_version(address, store, c_string(name), number, error), error)
        snapshot = Snapshot(Handle("snapshot", address.value, lib.rg_snapshot_close))
        snapshot.version = number.value
        return snapshot

    def fork(self, name, new_name, version: int = 0) -> None:
        """A new name that goes on from a version of another one; 0: the newest. Nothing is copied."""
        self._call(lib.rg_store_fork, c_string(name), unsigned(version), c_string(new_name))

    def delete(self, name) -> None:
        """Forget a name; what no other name needs goes at the next gc()."""
        self._call(lib.rg_store_delete, c_string(name))

    def list(self) -> list:
        """The newest version of every name: name, version, parent, position, created_ms, n_bytes."""
        status, entries, error = self._tell(lib.rg_store_list)
        check(status, error)
        return entries

    def log(self, name=None) -> list:
        """A name's versions, newest first; None: all versions of the store, oldest first."""
        status, entries, error = self._tell(lib.rg_store_log, before=[None if name is None else c_string(name)])
        check(status, error)
        return entries

    def gc(self, kept: int = 0) -> StoreCounts:
        """Remove what no name needs: of each name's versions all but the newest `kept` (0: all are kept), and unused pages."""
        counts = s.StoreCountsStruct()
        self._call(lib.rg_store_gc, unsigned(kept), counts)
        return s.readable(StoreCounts, counts)

    def verify(self, on_bad=None) -> StoreCounts:
        """Read and check everything. Raises Error RG_ERR_CHECKSUM when a version is bad, after on_bad(entry) for each that is."""
        counts = s.StoreCountsStruct()
        status, entries, error = self._tell(lib.rg_store_verify, after=[counts])
        for entry in entries if on_bad else ():
            on_bad(entry)
        if status != s.OK:
            raise error_of(status, error)
        return s.readable(StoreCounts, counts)
