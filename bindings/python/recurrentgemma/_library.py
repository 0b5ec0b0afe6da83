# SPDX-License-Identifier: Apache-2.0
"""Finding the shared library, and the types of every function that it exports."""

import ctypes
import ctypes.util
import os
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_size_t, c_ubyte, c_uint, c_uint32, c_uint64, c_void_p

from . import _structures as s

_SONAME = "librecurrentgemma.so.%d" % s.ABI
_out = POINTER(c_void_p)
_size = POINTER(c_size_t)
_text = POINTER(s.Bytes)
_error = POINTER(s.ErrorStruct)
_allocator = POINTER(s.AllocatorStruct)
_io = POINTER(s.IoStruct)
_limits = POINTER(s.LimitsStruct)
_run = POINTER(s.RunStruct)
_id = POINTER(c_ubyte)
_number = POINTER(c_uint64)
_counts = POINTER(s.StoreCountsStruct)

# name: (what it returns, its arguments). Handles are c_void_p.
FUNCTIONS = {
    # version.h, status.h
    "rg_version": (c_char_p, []),
    "rg_get_build_info": (c_int, [POINTER(s.BuildInfoStruct)]),
    "rg_status_name": (c_char_p, [c_int]),
    "rg_status_text": (c_char_p, [c_int]),
    # host.h
    "rg_interrupt_new": (c_void_p, []),
    "rg_interrupt_free": (None, [c_void_p]),
    "rg_interrupt_set": (None, [c_void_p]),
    "rg_interrupt_clear": (None, [c_void_p]),
    "rg_interrupt_is_set": (c_int, [c_void_p]),
    "rg_allocator_get_default": (c_int, [_allocator]),
    "rg_io_get_default": (c_int, [_io]),
    "rg_limits_get_default": (c_int, [_limits]),
    # tokenizer.h
    "rg_tokenizer_open": (c_int, [_out, c_char_p, _allocator, _io, _limits, _error]),
    "rg_tokenizer_close": (None, [c_void_p]),
    "rg_tokenizer_get_info": (c_int, [c_void_p, POINTER(s.TokenizerInfoStruct)]),
    "rg_tokenizer_piece": (c_int, [c_void_p, c_int32, _text, _size, POINTER(c_int)]),
    "rg_tokenizer_encode": (c_int, [c_void_p, c_char_p, c_size_t, c_uint, s.Tokens, _size, _error]),
    "rg_tokenizer_decode": (c_int, [c_void_p, s.Tokens, c_size_t, s.Bytes, _size, _error]),
    "rg_dialogue_encode": (c_int, [c_void_p, POINTER(POINTER(s.MessageStruct)), c_size_t, c_uint, s.Tokens, _size, _error]),
    "rg_detokenizer_new": (c_int, [_out, c_void_p]),
    "rg_detokenizer_free": (None, [c_void_p]),
    "rg_detokenizer_reset": (None, [c_void_p]),
    "rg_detokenizer_put": (c_int, [c_void_p, c_int32, _text, _size]),
    "rg_detokenizer_finish": (c_int, [c_void_p, _text, _size]),
    # model.h
    "rg_model_options_new": (c_void_p, []),
    "rg_model_options_free": (None, [c_void_p]),
    "rg_model_options_set_threads": (c_int, [c_void_p, c_uint]),
    "rg_model_options_set_parallel_for": (c_int, [c_void_p, s.ParallelForFunction, c_void_p, c_uint]),
    "rg_model_options_set_allocator": (c_int, [c_void_p, _allocator]),
    "rg_model_options_set_io": (c_int, [c_void_p, _io]),
    "rg_model_options_set_log": (c_int, [c_void_p, s.LogFunction, c_void_p]),
    "rg_model_options_set_limits": (c_int, [c_void_p, _limits]),
    "rg_model_options_set_progress": (c_int, [c_void_p, s.ProgressFunction, c_void_p]),
    "rg_model_options_set_interrupt": (c_int, [c_void_p, c_void_p]),
    "rg_model_options_set_backend": (c_int, [c_void_p, c_char_p]),
    "rg_model_options_set_backend_ops": (c_int, [c_void_p, c_void_p, c_uint32]),
    "rg_backend_builtin": (c_void_p, [c_char_p]),
    "rg_model_options_set_compute": (c_int, [c_void_p, c_int]),
    "rg_model_options_set_cpu_mask": (c_int, [c_void_p, c_uint32]),
    "rg_model_options_set_weight_layout": (c_int, [c_void_p, c_int]),
    "rg_cpu_features": (c_uint32, []),
    "rg_cpu_rungs": (c_char_p, []),
    "rg_model_options_set_window": (c_int, [c_void_p, c_int]),
    "rg_model_options_set_page_length": (c_int, [c_void_p, c_uint]),
    "rg_model_options_set_map": (c_int, [c_void_p, c_int]),
    "rg_model_options_set_read_ahead": (c_int, [c_void_p, c_int]),
    "rg_model_options_set_verify": (c_int, [c_void_p, c_int]),
    "rg_model_options_set_allow_nonfinite": (c_int, [c_void_p, c_int]),
    "rg_model_options_set_hub_cache": (c_int, [c_void_p, c_char_p]),
    "rg_model_options_set_data_folder": (c_int, [c_void_p, c_char_p]),
    "rg_model_find": (c_int, [s.Bytes, _size, c_char_p, c_void_p, _error]),
    "rg_model_open": (c_int, [_out, c_char_p, c_void_p, _error]),
    "rg_model_close": (None, [c_void_p]),
    "rg_model_retain": (c_void_p, [c_void_p]),
    "rg_model_get_info": (c_int, [c_void_p, POINTER(s.ModelInfoStruct)]),
    "rg_model_tokenizer": (c_void_p, [c_void_p]),
    "rg_model_get_tensor_info": (c_int, [c_void_p, c_size_t, POINTER(s.TensorInfoStruct)]),
    # native.h
    "rg_convert_options_new": (c_void_p, []),
    "rg_convert_options_free": (None, [c_void_p]),
    "rg_convert_options_set_type": (c_int, [c_void_p, c_int]),
    "rg_convert_options_set_head_type": (c_int, [c_void_p, c_int]),
    "rg_convert_options_set_requantize": (c_int, [c_void_p, c_int]),
    "rg_convert_options_set_source": (c_int, [c_void_p, c_char_p]),
    "rg_convert_options_set_licence": (c_int, [c_void_p, c_char_p]),
    "rg_convert_options_set_calibration": (c_int, [c_void_p, c_char_p, c_size_t]),
    "rg_convert_options_set_report": (c_int, [c_void_p, s.ConvertReportFunction, c_void_p]),
    "rg_convert": (c_int, [c_char_p, c_char_p, c_void_p, c_void_p, _error]),
    "rg_native_open": (c_int, [_out, c_char_p, c_void_p, _error]),
    "rg_native_close": (None, [c_void_p]),
    "rg_native_get_info": (c_int, [c_void_p, POINTER(s.NativeInfoStruct)]),
    "rg_native_get_tensor": (c_int, [c_void_p, c_size_t, POINTER(s.NativeTensorStruct)]),
    "rg_native_verify": (c_int, [c_void_p, _error]),
    # state.h
    "rg_state_options_new": (c_void_p, []),
    "rg_state_options_free": (None, [c_void_p]),
    "rg_state_options_set_window_type": (c_int, [c_void_p, c_int]),
    "rg_state_options_set_wipe": (c_int, [c_void_p, c_int]),
    "rg_state_options_set_kept_tokens": (c_int, [c_void_p, c_uint64]),
    "rg_state_options_set_checkpoint_every": (c_int, [c_void_p, c_uint64]),
    "rg_state_options_set_checkpoint_bytes": (c_int, [c_void_p, c_uint64]),
    "rg_state_new": (c_int, [_out, c_void_p, c_void_p]),
    "rg_state_free": (None, [c_void_p]),
    "rg_state_reset": (c_int, [c_void_p]),
    "rg_state_position": (c_uint64, [c_void_p]),
    "rg_state_model": (c_void_p, [c_void_p]),
    "rg_state_size_bytes": (c_uint64, [c_void_p]),
    "rg_state_get_info": (c_int, [c_void_p, POINTER(s.StateInfoStruct)]),
    "rg_state_reserve": (c_int, [c_void_p]),
    "rg_state_logits": (c_int, [c_void_p, s.Floats, _error]),
    "rg_state_get_tensor": (c_int, [c_void_p, c_size_t, c_char_p, s.Floats, _size]),
    "rg_state_fork": (c_int, [_out, c_void_p, _error]),
    "rg_state_checkpoint": (c_int, [c_void_p, c_char_p, _error]),
    "rg_state_forget_checkpoint": (c_int, [c_void_p, c_char_p]),
    "rg_state_get_checkpoint": (c_int, [c_void_p, c_size_t, POINTER(s.CheckpointInfoStruct)]),
    "rg_state_rewind": (c_int, [c_void_p, c_uint64, _error]),
    "rg_state_rewind_to": (c_int, [c_void_p, c_char_p, _error]),
    "rg_state_rewind_within": (c_int, [c_void_p, c_uint64, _run, _error]),
    "rg_state_reuse": (c_int, [c_void_p, s.Tokens, c_size_t, _size, _error]),
    "rg_state_reuse_within": (c_int, [c_void_p, s.Tokens, c_size_t, _size, _run, _error]),
    "rg_state_get_tokens": (c_int, [c_void_p, c_uint64, s.Tokens, _size]),
    # infer.h
    "rg_eval": (c_int, [c_void_p, POINTER(POINTER(s.WorkStruct)), c_size_t, _run, _error]),
    "rg_prefill": (c_int, [c_void_p, s.Floats, s.Tokens, c_size_t, _error]),
    "rg_prefill_within": (c_int, [c_void_p, s.Floats, s.Tokens, c_size_t, _run, _size, _error]),
    "rg_step": (c_int, [c_void_p, s.Floats, c_int32, _error]),
    "rg_score": (c_int, [c_void_p, s.Tokens, c_size_t, s.Floats, _error]),
    # sampler.h
    "rg_sampler_new": (c_int, [_out, c_size_t, _allocator]),
    "rg_sampler_free": (None, [c_void_p]),
    "rg_sampler_reset": (None, [c_void_p]),
    "rg_sampler_forget": (None, [c_void_p]),
    "rg_sampler_set_temperature": (c_int, [c_void_p, c_float]),
    "rg_sampler_set_top_k": (c_int, [c_void_p, c_size_t]),
    "rg_sampler_set_top_p": (c_int, [c_void_p, c_float]),
    "rg_sampler_set_min_p": (c_int, [c_void_p, c_float]),
    "rg_sampler_set_repetition_penalty": (c_int, [c_void_p, c_float, c_size_t]),
    "rg_sampler_set_logit_bias": (c_int, [c_void_p, c_int32, c_float]),
    "rg_sampler_set_seed": (c_int, [c_void_p, c_uint64]),
    "rg_sampler_set_filter": (c_int, [c_void_p, s.FilterFunction, c_void_p]),
    "rg_sampler_accept": (c_int, [c_void_p, c_int32]),
    "rg_sampler_sample": (c_int, [c_void_p, s.Floats, s.Tokens, s.Floats, _error]),
    "rg_sampler_pick": (c_int32, [c_void_p, s.Floats]),
    # generate.h
    "rg_generate_options_new": (c_void_p, []),
    "rg_generate_options_free": (None, [c_void_p]),
    "rg_generate_options_set_max_tokens": (c_int, [c_void_p, c_size_t]),
    "rg_generate_options_set_sampler": (c_int, [c_void_p, c_void_p]),
    "rg_generate_options_add_stop_token": (c_int, [c_void_p, c_int32]),
    "rg_generate_options_add_stop_string": (c_int, [c_void_p, c_char_p, c_size_t]),
    "rg_generate_options_set_ignore_eos": (c_int, [c_void_p, c_int]),
    "rg_generate_options_set_interrupt": (c_int, [c_void_p, c_void_p]),
    "rg_generate_options_set_progress": (c_int, [c_void_p, s.ProgressFunction, c_void_p]),
    "rg_generate_options_set_allow_special": (c_int, [c_void_p, c_int]),
    "rg_generate": (c_int, [c_void_p, s.Tokens, c_size_t, c_void_p, s.PieceFunction, c_void_p, _error]),
    "rg_generate_text": (c_int, [c_void_p, c_char_p, c_void_p, s.PieceFunction, c_void_p, _error]),
    "rg_chat_say": (c_int, [c_void_p, c_int, c_char_p, c_void_p, s.PieceFunction, c_void_p, _error]),
    # snapshot.h
    "rg_snapshot_options_new": (c_void_p, []),
    "rg_snapshot_options_free": (None, [c_void_p]),
    "rg_snapshot_options_set_sampler": (c_int, [c_void_p, c_void_p]),
    "rg_snapshot_options_set_detokenizer": (c_int, [c_void_p, c_void_p]),
    "rg_snapshot_options_set_note": (c_int, [c_void_p, c_void_p, c_size_t]),
    "rg_snapshot_options_set_tokens": (c_int, [c_void_p, c_int]),
    "rg_snapshot_options_set_checkpoints": (c_int, [c_void_p, c_int]),
    "rg_snapshot_options_set_io": (c_int, [c_void_p, _io]),
    "rg_snapshot_options_set_allocator": (c_int, [c_void_p, _allocator]),
    "rg_snapshot_options_set_max_bytes": (c_int, [c_void_p, c_uint64]),
    "rg_snapshot_options_set_map": (c_int, [c_void_p, c_int]),
    "rg_state_save": (c_int, [c_void_p, c_char_p, _error]),
    "rg_state_save_with": (c_int, [c_void_p, c_char_p, c_void_p, _error]),
    "rg_state_save_buffer": (c_int, [c_void_p, c_void_p, _size, c_void_p, _error]),
    "rg_state_load": (c_int, [_out, c_void_p, c_char_p, _error]),
    "rg_state_load_with": (c_int, [_out, c_void_p, c_char_p, c_void_p, c_void_p, _error]),
    "rg_snapshot_open": (c_int, [_out, c_char_p, c_void_p, _error]),
    "rg_snapshot_open_buffer": (c_int, [_out, c_void_p, c_size_t, c_void_p, _error]),
    "rg_snapshot_close": (None, [c_void_p]),
    "rg_snapshot_save": (c_int, [c_void_p, c_char_p, c_void_p, _error]),
    "rg_snapshot_get_info": (c_int, [c_void_p, POINTER(s.SnapshotInfoStruct)]),
    "rg_snapshot_get_section": (c_int, [c_void_p, c_size_t, POINTER(s.SectionInfoStruct)]),
    "rg_snapshot_restore": (c_int, [_out, c_void_p, c_void_p, c_void_p, _error]),
    "rg_snapshot_restore_sampler": (c_int, [c_void_p, c_void_p, _error]),
    "rg_snapshot_restore_detokenizer": (c_int, [c_void_p, c_void_p, _error]),
    "rg_model_get_id": (c_int, [c_void_p, _id, _error]),
    # store.h
    "rg_store_options_new": (c_void_p, []),
    "rg_store_options_free": (None, [c_void_p]),
    "rg_store_options_set_allocator": (c_int, [c_void_p, _allocator]),
    "rg_store_options_set_wait": (c_int, [c_void_p, c_uint]),
    "rg_store_options_set_create": (c_int, [c_void_p, c_int]),
    "rg_store_open": (c_int, [_out, c_char_p, c_void_p, _error]),
    "rg_store_close": (None, [c_void_p]),
    "rg_store_put": (c_int, [c_void_p, c_char_p, c_void_p, c_void_p, _number, _error]),
    "rg_store_put_snapshot": (c_int, [c_void_p, c_char_p, c_void_p, _number, _error]),
    "rg_store_put_after": (c_int, [c_void_p, c_char_p, c_void_p, c_void_p, c_uint64, c_uint64, _number, _error]),
    "rg_store_put_snapshot_after": (c_int, [c_void_p, c_char_p, c_void_p, c_uint64, c_uint64, _number, _error]),
    "rg_store_get": (c_int, [_out, c_void_p, c_char_p, c_uint64, _error]),
    "rg_store_get_version": (c_int, [_out, c_void_p, c_char_p, _number, _error]),
    "rg_store_fork": (c_int, [c_void_p, c_char_p, c_uint64, c_char_p, _error]),
    "rg_store_delete": (c_int, [c_void_p, c_char_p, _error]),
    "rg_store_list": (c_int, [c_void_p, s.StoreEntryFunction, c_void_p, _error]),
    "rg_store_log": (c_int, [c_void_p, c_char_p, s.StoreEntryFunction, c_void_p, _error]),
    "rg_store_gc": (c_int, [c_void_p, c_uint64, _counts, _error]),
    "rg_store_verify": (c_int, [c_void_p, s.StoreEntryFunction, c_void_p, _counts, _error]),
}


def _candidates():
    """Where the library may be, best first: what the user names, a build tree around this package, what the system has."""
    named = os.environ.get("RECURRENTGEMMA_LIBRARY")
    if named:
        return [named]
    built = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "build", "librecurrentgemma.so")
    found = ctypes.util.find_library("recurrentgemma")
    return [path for path in (os.path.normpath(built) if os.path.exists(built) else None, found, _SONAME) if path]


def _load():
    failures = []
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)  # a CDLL, so that other Python threads run during calls
            break
        except OSError as error:
            failures.append("%s (%s)" % (path, error))
    else:
        raise ImportError("librecurrentgemma was not found; set RECURRENTGEMMA_LIBRARY to its full path. Tried: " + "; ".join(failures))
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise ImportError("%s has no %s: it is too old for this package" % (library._name, name))
        function.restype = result
        function.argtypes = arguments
    return library


lib = _load()

BuildInfo = s.facts("BuildInfo", s.BuildInfoStruct)


def version() -> str:
    """The version of the library that is running, such as "0.1.0"."""
    return lib.rg_version().decode()


def build_info() -> BuildInfo:
    """How the running library was built; backends is a list of names."""
    info = s.BuildInfoStruct()
    lib.rg_get_build_info(info)
    facts = s.readable(BuildInfo, info)
    return facts._replace(backends=facts.backends.split(","))


def cpu_features() -> frozenset:
    """What this processor has, and the system lets programs use, of "avx2", "avx512", "avx512-bf16", "amx-bf16", "neon", "neon-bf16"."""
    bits = lib.rg_cpu_features()
    return frozenset(name for name, bit in s.CPU_FEATURES.items() if bits & bit)


def cpu_rungs() -> tuple:
    """The kernels of the backend "cpu" that this processor can run, best first; "cpu:" and such a name is a backend."""
    return tuple(lib.rg_cpu_rungs().decode().split(","))


if build_info().abi != s.ABI:
    raise ImportError("%s has the binary interface %d, this package needs %d" % (lib._name, build_info().abi, s.ABI))
