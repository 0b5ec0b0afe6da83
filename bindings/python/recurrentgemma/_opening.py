# SPDX-License-Identifier: Apache-2.0
"""Long calls that take rg_model_options: opening a model, and converting one."""

import ctypes

from . import _structures as s
from ._arrays import path_bytes, unsigned
from ._errors import check, error_of
from ._handle import Handle, new_plain
from ._hub_cache import hub_cache as default_hub_cache
from ._library import lib
from ._running import Run, ask_progress


class Log:
    """The log callback. Lines may come from any thread; what the host's function raises is kept until the call is over."""

    def __init__(self, function):
        self.error = None
        self.is_calling = True

        def write(_, level, line):
            try:
                function(level, line.decode("utf-8", "replace"))
            except BaseException as error:
                if not self.is_calling:
                    raise  # nobody is there to catch it: ctypes hands it to sys.unraisablehook
                self.error = self.error or error

        self.callback = s.LogFunction(write)

    def end_call(self):
        self.is_calling = False
        if self.error:
            raise self.error


def limits_structure(numbers):
    """rg_limits by name; what is not named keeps its default."""
    structure = s.LimitsStruct()
    for name, value in numbers.items():
        kind = dict(s.LimitsStruct._fields_).get(name)
        if kind is None:
            raise TypeError("there is no limit named %r" % name)
        setattr(structure, name, unsigned(value, 8 * ctypes.sizeof(kind)))
    return structure


class Hosting:
    """Collects what a host brings to a long call, as rg_model_options, and makes the call."""

    def __init__(self):
        self.options = new_plain("options", lib.rg_model_options_new, lib.rg_model_options_free)
        self.error = s.ErrorStruct()
        self.log = self.progress = None

    def set(self, function, *values):
        with self.options as options:
            check(function(options, *values))

    def set_folders(self, hub_cache, data_folder):
        self.set(lib.rg_model_options_set_hub_cache, path_bytes(default_hub_cache() if hub_cache is None else hub_cache))
        self.set(lib.rg_model_options_set_data_folder, None if data_folder is None else path_bytes(data_folder))

    def set_host(self, threads=None, hub_cache=None, limits=None, map=False, allow_nonfinite=False, log=None, data_folder=None):
        self.set(lib.rg_model_options_set_map, bool(map))
        self.set(lib.rg_model_options_set_allow_nonfinite, bool(allow_nonfinite))
        self.set_folders(hub_cache, data_folder)
        if threads is not None:
            self.set(lib.rg_model_options_set_threads, unsigned(threads, 32))
        if limits is not None:
            self.set(lib.rg_model_options_set_limits, limits_structure(limits))
        if log is not None:
            self.log = Log(log)
            self.set(lib.rg_model_options_set_log, self.log.callback, None)

    def prepare(self, run):
        """Where callbacks are made that only this kind of call has."""

    def call(self, options):
        """Makes the C call, and returns its status."""
        raise NotImplementedError

    def __call__(self, interrupt):
        with self.options as options, interrupt._handle as flag:
            check(lib.rg_model_options_set_interrupt(options, flag))
            return self.call(options)

    def finish(self, interrupt, progress):
        """Makes the call to its end; an exception, unless it was good."""
        run = Run(self, interrupt)
        self.prepare(run)
        if progress:
            self.progress = s.ProgressFunction(ask_progress(run, progress))
            self.set(lib.rg_model_options_set_progress, self.progress, None)
        status = run.finish()
        if self.log:
            self.log.end_call()
        if status != s.OK:
            raise error_of(status, self.error)


class Opening(Hosting):
    """One call of rg_model_open. The model is the opening's until it is taken, so that it cannot be lost."""

    def __init__(self, path):
        super().__init__()
        self.path = path_bytes(path)
        self.handle = None

    def call(self, options):
        address = ctypes.c_void_p()
        status = lib.rg_model_open(address, self.path, options, self.error)
        if address.value:
            self.handle = Handle("model", address.value, lib.rg_model_close, needs=(self.log,))
        return status

    def open(self, interrupt, progress):
        """Returns the handle of the model."""
        self.finish(interrupt, progress)
        return self.handle
