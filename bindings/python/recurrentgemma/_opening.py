# SPDX-License-Identifier: Apache-2.0
"""One call of rg_model_open, with its options."""

import ctypes

from . import _structures as s
from ._arrays import path_bytes, unsigned
from ._errors import check, error_of
from ._handle import Handle, new_plain
from ._hub_cache import hub_cache as default_hub_cache
from ._library import lib
from ._running import Run, ask_progress


class Log:
    """The log callback. Lines may come from any thread; what the host's function raises is kept while the model is opened."""

    def __init__(self, function):
        self.error = None
        self.is_opening = True

        def write(_, level, line):
            try:
                function(level, line.decode("utf-8", "replace"))
            except BaseException as error:
                if not self.is_opening:
                    raise  # nobody is there to catch it: ctypes hands it to sys.unraisablehook
                self.error = self.error or error

        self.callback = s.LogFunction(write)

    def end_opening(self):
        self.is_opening = False
        if self.error:
            raise self.error


def limits(numbers):
    """rg_limits by name; what is not named keeps its default."""
    structure = s.LimitsStruct()
    for name, value in numbers.items():
        kind = dict(s.LimitsStruct._fields_).get(name)
        if kind is None:
            raise TypeError("there is no limit named %r" % name)
        setattr(structure, name, unsigned(value, 8 * ctypes.sizeof(kind)))
    return structure


class Opening:
    """Collects options, and opens. The model is the opening's until it is taken, so that it cannot be lost."""

    def __init__(self, path):
        self.path = path_bytes(path)
        self.options = new_plain("options", lib.rg_model_options_new, lib.rg_model_options_free)
        self.error = s.ErrorStruct()
        self.log = self.progress = self.handle = None

    def set(self, function, *values):
        with self.options as options:
            check(function(options, *values))

    def set_folders(self, hub_cache, data_folder):
        self.set(lib.rg_model_options_set_hub_cache, path_bytes(default_hub_cache() if hub_cache is None else hub_cache))
        self.set(lib.rg_model_options_set_data_folder, None if data_folder is None else path_bytes(data_folder))

    def set_log(self, function):
        self.log = Log(function)
        self.set(lib.rg_model_options_set_log, self.log.callback, None)

    def __call__(self, interrupt):
        address = ctypes.c_void_p()
        with self.options as options, interrupt._handle as flag:
            check(lib.rg_model_options_set_interrupt(options, flag))
            status = lib.rg_model_open(address, self.path, options, self.error)
        if address.value:
            self.handle = Handle("model", address.value, lib.rg_model_close, needs=(self.log,))
        return status

    def open(self, interrupt, progress):
        """Returns the handle of the model."""
        run = Run(self, interrupt)
        if progress:
            self.progress = s.ProgressFunction(ask_progress(run, progress))
            self.set(lib.rg_model_options_set_progress, self.progress, None)
        status = run.finish()
        if self.log:
            self.log.end_opening()
        if status != s.OK:
            raise error_of(status, self.error)
        return self.handle
