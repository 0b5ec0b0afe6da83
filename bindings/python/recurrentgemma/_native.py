# SPDX-License-Identifier: Apache-2.0
"""Native model files: making one of any model, and looking into one."""

import ctypes
import threading

from . import _structures as s
from ._arrays import c_string, path_bytes, text_bytes
from ._errors import check, error_of
from ._handle import Handle, Owner, new_plain
from ._library import lib
from ._opening import Hosting
from ._running import Run, answer, ask_progress

ConvertedTensor = s.facts("ConvertedTensor", s.ConvertedTensorStruct)
NativeInfo = s.facts("NativeInfo", s.NativeInfoStruct)
NativeTensor = s.facts("NativeTensor", s.NativeTensorStruct)

_TYPES = {name: number for name, number in s.TYPES.items() if name not in ("f32", "f16")}


class _Converting(Hosting):
    """One call of rg_convert, with its options."""

    def __init__(self, model, path, report):
        super().__init__()
        self.model, self.path, self.report = path_bytes(model), path_bytes(path), report
        self.choices = new_plain("options", lib.rg_convert_options_new, lib.rg_convert_options_free)
        self.tensors = []

    def choose(self, function, *values):
        with self.choices as choices:
            check(function(choices, *values))

    def prepare(self, run):
        tensors, report = self.tensors, self.report

        def collect(_, tensor):
            tensors.append(s.readable(ConvertedTensor, tensor.contents))
            return run.ask(answer, report, tensors[-1]) if report else s.CONTINUE

        self.callback = s.ConvertReportFunction(run.guarded(collect))
        self.choose(lib.rg_convert_options_set_report, self.callback, None)

    def call(self, options):
        with self.choices as choices:
            return lib.rg_convert(self.path, self.model, options, choices, self.error)


def convert(model, path, *, type=None, head_type=None, requantize=False, source=None, licence=None, calibration=None, report=None,
            threads=None, hub_cache=None, limits=None, progress=None, interrupt=None, allow_nonfinite=False, map=False, log=None) -> list:
    """Write a model as one native file, which Model.open opens like any other model.

    model            as Model.open takes it, a native file too, which can be brought down in bits, not up
    path             of the new file. What was there stays until the new one is complete, and when the call fails or is stopped
    type             "bf16", "q8" or "q4" for the matrices; None: they stay as they are. The recurrence's gates keep 16 bits
    head_type        the same for the embedding, which is the output matrix too; None: as all matrices
    requantize       weights that have 8 bits may be brought to 4, though errors add up
    source, licence  what the manifest says of where the model comes from, and of the licence of the weights
    calibration      a text like those that the model will read; errors of weights then count by how large the numbers are that they meet there
    report           report(tensor) is told each ConvertedTensor when it is written; a true answer stops
    map              the model that reads the text for calibration uses weights from mapped files
    The rest         as for Model.open. The bytes of the file do not depend on threads

    Returns a ConvertedTensor for each tensor, in the order of the file: name, from_type, type, rank, shape, bytes, and relative_error (the root of
    the sum of squared differences over that of squares) and largest_error, which are 0 where every number is the same. Raises Error on failure.
    Callbacks run in the calling thread. Ctrl-C stops the call.
    """
    converting = _Converting(model, path, report)
    converting.set_host(threads, hub_cache, limits, map, allow_nonfinite, log)
    converting.choose(lib.rg_convert_options_set_type, s.number_of(_TYPES, type, "type"))
    converting.choose(lib.rg_convert_options_set_head_type, s.number_of(_TYPES, head_type, "head_type"))
    converting.choose(lib.rg_convert_options_set_requantize, bool(requantize))
    if source is not None:
        converting.choose(lib.rg_convert_options_set_source, c_string(source))
    if licence is not None:
        converting.choose(lib.rg_convert_options_set_licence, c_string(licence))
    if calibration is not None:
        text = text_bytes(calibration)
        converting.choose(lib.rg_convert_options_set_calibration, text, len(text))
    converting.finish(interrupt, progress)
    return converting.tensors


class NativeFile(Owner):
    """A native file that is open to be looked into. Header, manifest and directory have been checked; tensors are read by verify() only.

    info has the facts: manifest, file_bytes, tokenizer_bytes, n_tensors, and model_id, which is Model.id of the model with window="deepmind".
    """

    def __init__(self, handle, watch):
        self._handle, self._watch = handle, watch
        self._verifying = threading.Lock()
        facts = s.NativeInfoStruct()
        with handle as native:
            check(lib.rg_native_get_info(native, facts))
            self.info: NativeInfo = s.readable(NativeInfo, facts)

    @classmethod
    def open(cls, path, *, threads=None, limits=None) -> "NativeFile":
        """Open a file. threads: how many verify() may use. limits: as for Model.open."""
        # The library is given one progress callback for the life of the file; what it shall do is what the list holds while verify() runs.
        watch, address, host = [], ctypes.c_void_p(), Hosting()
        callback = s.ProgressFunction(lambda *told: watch[0](*told) if watch else s.CONTINUE)
        host.set_host(threads=threads, limits=limits)
        host.set(lib.rg_model_options_set_progress, callback, None)
        with host.options as options:
            check(lib.rg_native_open(address, path_bytes(path), options, host.error), host.error)
        return cls(Handle("native file", address.value, lib.rg_native_close, needs=(callback,)), watch)

    @property
    def manifest(self) -> str:
        """What the file says of itself, in YAML."""
        return self.info.manifest

    def tensors(self) -> list:
        """The tensors, in the order of the file: name, type, rank, shape, offset, bytes, hash."""
        with self._handle as native:
            return [self._tensor(native, i) for i in range(self.info.n_tensors)]

    @staticmethod
    def _tensor(native, index):
        tensor = s.NativeTensorStruct()
        check(lib.rg_native_get_tensor(native, index, tensor))
        return s.readable(NativeTensor, tensor)

    def verify(self, *, progress=None, interrupt=None) -> None:
        """Read the whole file and hold every byte of it against the checksums.

        Raises Error RG_ERR_CHECKSUM, with the tensor's name and offset, when one is damaged; RG_ERR_BUSY while another verify() runs.
        progress(what, done, total), in bytes; a true answer stops the call, as an Interrupt and Ctrl-C do.
        """
        error = s.ErrorStruct()

        def call(flag):
            if not self._verifying.acquire(blocking=False):
                return s.ERR_BUSY
            try:
                self._watch.append(run.guarded(lambda *told: s.STOP if run.is_stopped or flag.is_set() else tell(*told)))
                with self._handle as native:
                    return lib.rg_native_verify(native, error)
            finally:
                self._watch.clear()
                self._verifying.release()

        run = Run(call, interrupt)
        tell = ask_progress(run, progress) if progress else lambda *_: s.CONTINUE
        status = run.finish()
        if status != s.OK:
            raise error_of(status, error)
