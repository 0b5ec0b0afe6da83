# SPDX-License-Identifier: Apache-2.0
"""rg_model: opening a model, facts about it, and what is made from it."""

import ctypes
import os

import numpy as np

from . import _structures as s
from ._arrays import path_bytes, unsigned
from ._errors import check, error_of
from ._handle import Handle, Owner
from ._library import lib
from ._opening import Opening
from ._snapshot import Snapshot, load_file
from ._state import State
from ._tokenizer import Tokenizer

ModelInfo = s.facts("ModelInfo", s.ModelInfoStruct)
TensorInfo = s.facts("TensorInfo", s.TensorInfoStruct)


def find_model(name, *, hub_cache=None, data_folder=None) -> str:
    """The file or folder that Model.open(name) would open: for a path itself, for "demo" the installed file, for a hub id its folder in the cache."""
    finding, room = Opening(name), 256
    finding.set_folders(hub_cache, data_folder)
    with finding.options as options:
        while True:
            path, n, error = ctypes.create_string_buffer(room), ctypes.c_size_t(room), s.ErrorStruct()
            status = lib.rg_model_find(path, n, finding.path, options, error)
            if status != s.ERR_BUFFER or n.value <= room:
                check(status, error)
                return os.fsdecode(path.value)
            room = n.value


class Model(Owner):
    """Configuration and immutable weights, with tokenizer and kernels. Any number of threads and states may share one.

    info has the facts: sizes, numbers of layers, window, weight_type, bos, eos, backend, kernels and more; see rg_model_info in model.h.
    Closing a model does not close its states, which keep what they need of it.
    """

    def __init__(self, handle):
        self._handle = handle
        facts = s.ModelInfoStruct()
        with handle as model:
            check(lib.rg_model_get_info(model, facts))
            self.info: ModelInfo = s.readable(ModelInfo, facts)

    @classmethod
    def open(cls, path, *, threads=None, backend=None, window="deepmind", map=False, page_length=None, allow_nonfinite=False,
             hub_cache=None, limits=None, progress=None, log=None, interrupt=None, compute=None, cpu_mask=None, weight_layout="auto", verify=False, read_ahead=False,
             data_folder=None) -> "Model":
        """Open a folder in Hugging Face layout, a native file, "demo", or a hub id that is in the local hub cache. Nothing is ever downloaded.

        threads          worker threads; default: as many as the process may use cores. Results do not depend on it
        backend          "auto" (default), a name from build_info().backends, "cpu:RUNG" with a name from cpu_rungs(), or the absolute path of a plugin
        window           "deepmind", or "hf" for Hugging Face's shorter window
        map              use weights from mapped files, which then must not change
        page_length      positions in one window page
        allow_nonfinite  accept NaN and infinite weights
        hub_cache        folder of the hub cache; default: from HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, else ~/.cache/huggingface/hub
        limits           caps by name, such as {"weights_bytes": 2**33}; rg_limits in host.h has them all
        progress         progress(what, done, total), in bytes; a true answer stops. It runs in the calling thread
        log              log(level, line), 0 for errors to 3 for details, from any thread
        interrupt        an Interrupt that stops the opening
        compute          "f32": rows enter products whole; "bf16": rounded where weights are bfloat16; None: as "bf16". Part of the numerics
        cpu_mask         names out of cpu_features() that may be used, such as ["avx2"]; None: all
        weight_layout    "stored", "packed" into the kernels' order, or "auto"; results do not depend on it
        read_ahead       bring mapped weights into memory first, so that the first tokens do not wait for a disk
        verify           hold the weights of a native file against their checksums first; other models have none
        data_folder      where demo.rgm is looked for first; default: only where the library was installed, or built
        """
        opening = Opening(path)
        opening.set_host(threads, hub_cache, limits, map, allow_nonfinite, log, data_folder)
        opening.set(lib.rg_model_options_set_compute, s.number_of(s.TYPES, compute, "compute"))
        opening.set(lib.rg_model_options_set_weight_layout, s.number_of(s.LAYOUTS, weight_layout, "weight_layout"))
        if cpu_mask is not None:
            names = [cpu_mask] if isinstance(cpu_mask, str) else cpu_mask
            opening.set(lib.rg_model_options_set_cpu_mask, sum({s.number_of(s.CPU_FEATURES, name, "cpu_mask") for name in names}))
        opening.set(lib.rg_model_options_set_window, s.number_of(s.WINDOWS, window, "window"))
        opening.set(lib.rg_model_options_set_verify, bool(verify))
        opening.set(lib.rg_model_options_set_read_ahead, bool(read_ahead))
        if backend is not None:
            opening.set(lib.rg_model_options_set_backend, path_bytes(backend))
        if page_length is not None:
            opening.set(lib.rg_model_options_set_page_length, unsigned(page_length, 32))
        return cls(opening.open(interrupt, progress))

    def tensors(self) -> list:
        """The tensors in use, in checkpoint order: name, type, rank, shape, bytes."""
        found, info = [], s.TensorInfoStruct()
        with self._handle as model:
            while lib.rg_model_get_tensor_info(model, len(found), info) == s.OK:
                found.append(s.readable(TensorInfo, info))
                info = s.TensorInfoStruct()
        return found

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. It keeps the model open. Raises Error when there is none."""
        with self._handle as model:
            address = lib.rg_model_tokenizer(model)
            if not address:
                raise error_of(s.ERR_NO_TOKENIZER)
            return Tokenizer(Handle("tokenizer", address, lib.rg_tokenizer_close, holds=[self._handle]))

    def encode(self, text, bos: bool = True, strict: bool = False, plain: bool = False) -> np.ndarray:
        """Token ids of a text; see Tokenizer.encode."""
        return self.tokenizer.encode(text, bos, strict, plain)

    def decode(self, tokens) -> str:
        """The text of token ids; see Tokenizer.decode."""
        return self.tokenizer.decode(tokens)

    @property
    def id(self) -> bytes:
        """16 bytes that stand for configuration and weights; saved states are bound to it. Reads all weights when it is asked for first."""
        number, error = s.Id(), s.ErrorStruct()
        with self._handle as model:
            check(lib.rg_model_get_id(model, number, error), error)
        return bytes(number)

    def state(self, window_type=None, wipe: bool = False, **options) -> State:
        """A new state at position 0.

        window_type       "f32", "bf16" or "f16" for the keys and values of the window; None: the backend's choice
        wipe              memory is overwritten with zeros before it is given back
        kept_tokens       keep the ids of at least so many last tokens, for rewind and reuse; default 65,536
        checkpoint_every  make a checkpoint by itself every so many tokens; default 0: never
        checkpoint_bytes  how many bytes all checkpoints may hold together; default 256 MiB
        """
        return State(self, window_type, wipe, **options)

    def load_state(self, path, *, map=False, max_bytes=None, **options) -> State:
        """The state that State.save has written to a file. map and max_bytes as for Snapshot.open; other options as for state(), for those that
        the saved state had are not in the file. Without a window type, the window stays in its own.

        Raises Error: RG_ERR_NOT_FOUND, RG_ERR_STATE_MODEL for one of another model, RG_ERR_CHECKSUM and RG_ERR_FORMAT for a damaged one.
        Over other kernels than those that computed it, it is loaded all the same, and info.has_other_numerics is True.
        """
        return self._state_of(load_file(self, path, dict(map=map, max_bytes=max_bytes), options))

    def state_from_bytes(self, data, **options) -> State:
        """The state of State.to_bytes; otherwise as load_state."""
        with Snapshot.from_bytes(data) as snapshot:
            return snapshot.restore(self, **options)

    def _state_of(self, address):
        return State._of(self, address)
