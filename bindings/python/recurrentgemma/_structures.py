# SPDX-License-Identifier: Apache-2.0
"""The public structures, callback types and constants of the C headers.

Kernels cannot be written in Python, so backend.h is not here. Opaque objects are plain addresses (c_void_p).
"""

import collections
import ctypes
from ctypes import (
    CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_ubyte, c_uint32, c_uint64, c_void_p)

ABI = 0

OK, AGAIN, INTERRUPTED = 0, 1, 2
ERR_BUSY, ERR_MEMORY, ERR_NOT_FOUND, ERR_NO_TOKENIZER, ERR_BUFFER = -3, -4, -7, -13, -17
CONTINUE, STOP = 0, 1

ADD_BOS, STRICT_UTF8, PLAIN_TEXT, TRIM_MESSAGES, OPEN_REPLY, ALLOW_SPECIAL = 1, 2, 4, 8, 16, 32
ROLES = {"user": 1, "model": 2}
PIECE_KINDS = {1: "normal", 2: "unknown", 3: "control", 4: "user-defined", 5: "unused", 6: "byte"}
TYPES = {None: 0, "f32": 1, "f16": 2, "bf16": 3, "q8": 4, "q4": 5}
WINDOWS = {"deepmind": 0, "hf": 1}
LAYOUTS = {"auto": 0, "stored": 1, "packed": 2}
CPU_FEATURES = {"avx2": 1, "avx512": 2, "avx512-bf16": 4, "amx-bf16": 8, "neon": 16, "neon-bf16": 32}
WANTED = {None: 0, "last": 1, "all": 2}
STOP_REASONS = {0: None, 1: "token", 2: "string", 3: "length", 4: "interrupt", 5: "callback", 6: "error"}


def number_of(table, name, what):
    """The C library's number for a name; a ValueError tells the names there are."""
    try:
        return table[name]
    except (KeyError, TypeError):
        raise ValueError("%s is one of %s, not %r" % (what, ", ".join(repr(each) for each in table), name)) from None


Bytes = POINTER(c_char)  # text that is not ended by NUL
Floats = POINTER(c_float)
Tokens = POINTER(c_int32)
Id = c_ubyte * 16


class Sized(Structure):
    """A structure that begins with its size, which is set when one is made."""

    _fields_ = [("struct_size", c_size_t)]

    def __init__(self, **members):
        super().__init__(**members)
        self.struct_size = ctypes.sizeof(self)


def facts(name, structure):
    """A named tuple type with the members of a structure."""
    return collections.namedtuple(name, [field[0] for field in structure._fields_])


def readable(kind, structure):
    """The facts of a structure as Python values: text, booleans, ids, shapes, and names of element types and windows."""
    values = {}
    for name in kind._fields:
        value = getattr(structure, name)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif name.startswith(("has_", "is_")):
            value = bool(value)
        elif isinstance(value, Id):
            value = bytes(value)
        elif name == "shape":
            value = tuple(value[: structure.rank])
        elif name == "window":
            value = _name_of(WINDOWS, value)
        elif name == "type" or name.endswith("_type"):
            value = _name_of(TYPES, value)
        values[name] = value
    return kind(**values)


def _name_of(names, number):
    return next((name for name, value in names.items() if value == number), number)


# version.h

class BuildInfoStruct(Sized):
    _fields_ = [
        ("version", c_char_p), ("compiler", c_char_p), ("platform", c_char_p), ("backends", c_char_p), ("dependencies", c_char_p),
        ("has_demo", c_int), ("abi", c_int),
    ]


# status.h

NO_OFFSET = 2**64 - 1


class ErrorStruct(Sized):
    _fields_ = [("status", c_int), ("system_error", c_int), ("offset", c_uint64), ("message", c_char * 512)]

    def __init__(self):
        super().__init__(offset=NO_OFFSET)


# host.h

LogFunction = CFUNCTYPE(None, c_void_p, c_int, c_char_p)
ProgressFunction = CFUNCTYPE(c_int, c_void_p, c_char_p, c_uint64, c_uint64)
ParallelForFunction = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p, c_size_t)


class AllocatorStruct(Sized):
    _fields_ = [("user", c_void_p), ("allocate", c_void_p), ("release", c_void_p)]


class IoStruct(Sized):
    _fields_ = [("user", c_void_p)] + [
        (name, c_void_p)
        for name in ("open", "close_read", "size", "read", "map", "is_directory", "write", "sync", "close_write", "rename", "remove",
                     "sync_directory")
    ]


class LimitsStruct(Sized):
    _fields_ = [
        ("config_bytes", c_uint64), ("header_bytes", c_uint64), ("tokenizer_bytes", c_uint64), ("text_bytes", c_uint64),
        ("weights_bytes", c_uint64), ("json_depth", c_uint32), ("n_tensors", c_uint32), ("n_shards", c_uint32), ("n_layers", c_uint32),
        ("width", c_uint32), ("vocab_size", c_uint32), ("piece_bytes", c_uint32), ("window", c_uint32), ("chunk_rows", c_uint32),
        ("pooled_scratch", c_uint32), ("pooled_pages", c_uint32),
    ]


# tokenizer.h

class TokenizerInfoStruct(Sized):
    _fields_ = [
        ("n_pieces", c_uint32), ("pad", c_int32), ("eos", c_int32), ("bos", c_int32), ("unk", c_int32), ("start_of_turn", c_int32),
        ("end_of_turn", c_int32),
    ]


class MessageStruct(Sized):
    _fields_ = [("role", c_int), ("text", c_char_p), ("text_bytes", c_size_t)]


# model.h

class ModelInfoStruct(Sized):
    _fields_ = [
        ("vocab_size", c_uint32), ("width", c_uint32), ("mlp_width", c_uint32), ("lru_width", c_uint32), ("n_layers", c_uint32),
        ("n_recurrent_layers", c_uint32), ("n_attention_layers", c_uint32), ("num_heads", c_uint32), ("num_kv_heads", c_uint32),
        ("head_dim", c_uint32), ("num_gate_blocks", c_uint32), ("conv1d_width", c_uint32), ("attention_window_size", c_uint32),
        ("logits_soft_cap", c_float), ("embedding_scale", c_float), ("window", c_int), ("weight_type", c_int),
        ("default_window_type", c_int), ("has_tokenizer", c_int), ("has_own_head", c_int), ("n_parameters", c_uint64),
        ("weights_bytes", c_uint64), ("page_length", c_uint32), ("n_threads", c_uint32), ("bos", c_int32), ("eos", c_int32),
        ("pad", c_int32), ("backend", c_char_p), ("kernels", c_char_p), ("n_surplus_tensors", c_uint32), ("n_surplus_rows", c_uint32),
        ("is_exact", c_int),
    ]


class TensorInfoStruct(Sized):
    _fields_ = [("name", c_char_p), ("type", c_int), ("rank", c_uint32), ("shape", c_uint64 * 4), ("bytes", c_uint64)]


# native.h

class ConvertedTensorStruct(Sized):
    _fields_ = [
        ("name", c_char_p), ("from_type", c_int), ("type", c_int), ("rank", c_uint32), ("shape", c_uint64 * 4), ("bytes", c_uint64),
        ("relative_error", c_double), ("largest_error", c_double),
    ]


class NativeInfoStruct(Sized):
    _fields_ = [
        ("manifest", c_char_p), ("manifest_bytes", c_size_t), ("file_bytes", c_uint64), ("tokenizer_bytes", c_uint64),
        ("n_tensors", c_size_t), ("model_id", Id),
    ]


class NativeTensorStruct(Sized):
    _fields_ = [
        ("name", c_char_p), ("type", c_int), ("rank", c_uint32), ("shape", c_uint64 * 4), ("offset", c_uint64), ("bytes", c_uint64),
        ("hash", Id),
    ]


ConvertReportFunction = CFUNCTYPE(c_int, c_void_p, POINTER(ConvertedTensorStruct))


# state.h

class StateInfoStruct(Sized):
    _fields_ = [
        ("position", c_uint64), ("max_bytes", c_uint64), ("held_bytes", c_uint64), ("recurrent_bytes", c_uint64),
        ("page_bytes", c_uint64), ("n_pages", c_uint32), ("max_pages", c_uint32), ("window_type", c_int), ("has_other_numerics", c_int),
        ("reachable_from", c_uint64), ("first_kept_token", c_uint64), ("checkpoint_bytes", c_uint64), ("n_checkpoints", c_size_t),
    ]


class CheckpointInfoStruct(Sized):
    _fields_ = [("name", c_char_p), ("position", c_uint64), ("is_held", c_int)]


# infer.h

class WorkStruct(Sized):
    _fields_ = [
        ("state", c_void_p), ("tokens", Tokens), ("n_tokens", c_size_t), ("logits_wanted", c_int), ("logits", Floats),
        ("hidden_wanted", c_int), ("hidden", Floats), ("logprobs", Floats), ("status", c_int), ("n_consumed", c_size_t),
    ]


class TapStruct(Sized):
    _fields_ = [
        ("name", c_char_p), ("layer", c_int), ("item", c_size_t), ("first_token", c_size_t), ("n_rows", c_size_t),
        ("n_columns", c_size_t), ("values", Floats),
    ]


TapFunction = CFUNCTYPE(c_int, c_void_p, POINTER(TapStruct))


class RunStruct(Sized):
    _fields_ = [
        ("interrupt", c_void_p), ("max_tokens", c_uint64), ("progress", ProgressFunction), ("progress_user", c_void_p),
        ("tap", TapFunction), ("tap_user", c_void_p),
    ]


# sampler.h

FilterFunction = CFUNCTYPE(c_int, c_void_p, Floats, c_size_t)


# generate.h

class PieceStruct(Sized):
    _fields_ = [
        ("text", Bytes), ("text_bytes", c_size_t), ("token", c_int32), ("logprob", c_float), ("index", c_size_t), ("stop_reason", c_int),
    ]


PieceFunction = CFUNCTYPE(c_int, c_void_p, POINTER(PieceStruct))


# snapshot.h

class SnapshotInfoStruct(Sized):
    _fields_ = [
        ("format_version", c_uint32), ("n_bytes", c_uint64), ("position", c_uint64), ("model_id", Id), ("numerics_id", Id),
        ("kernels", c_char_p), ("vocab_size", c_uint32), ("width", c_uint32), ("lru_width", c_uint32), ("n_layers", c_uint32),
        ("n_attention_layers", c_uint32), ("page_length", c_uint32), ("window_type", c_int), ("has_other_numerics", c_int),
        ("n_sections", c_size_t), ("n_checkpoints", c_size_t), ("n_tokens", c_uint64), ("has_sampler", c_int), ("has_detokenizer", c_int),
        ("note_bytes", c_uint64),
    ]


class SectionInfoStruct(Sized):
    _fields_ = [
        ("name", c_char_p), ("record", c_uint32), ("layer", c_uint32), ("first", c_uint64), ("count", c_uint64), ("offset", c_uint64),
        ("n_bytes", c_uint64), ("hash", c_uint64), ("bytes", c_void_p),
    ]


# store.h

class StoreEntryStruct(Sized):
    _fields_ = [
        ("name", c_char_p), ("version", c_uint64), ("parent", c_uint64), ("position", c_uint64), ("created_ms", c_int64),
        ("n_bytes", c_uint64),
    ]


class StoreCountsStruct(Sized):
    _fields_ = [
        ("n_versions", c_uint64), ("n_pages", c_uint64), ("n_bytes", c_uint64), ("n_versions_removed", c_uint64),
        ("n_pages_removed", c_uint64), ("n_bad", c_uint64),
    ]


StoreEntryFunction = CFUNCTYPE(c_int, c_void_p, POINTER(StoreEntryStruct))

# By the name that the headers give them; the tests hold their layouts against the C compiler's.
STRUCTURES = {
    "rg_build_info": BuildInfoStruct,
    "rg_error": ErrorStruct,
    "rg_allocator": AllocatorStruct,
    "rg_io": IoStruct,
    "rg_limits": LimitsStruct,
    "rg_tokenizer_info": TokenizerInfoStruct,
    "rg_message": MessageStruct,
    "rg_model_info": ModelInfoStruct,
    "rg_tensor_info": TensorInfoStruct,
    "rg_converted_tensor": ConvertedTensorStruct,
    "rg_native_info": NativeInfoStruct,
    "rg_native_tensor": NativeTensorStruct,
    "rg_state_info": StateInfoStruct,
    "rg_checkpoint_info": CheckpointInfoStruct,
    "rg_work": WorkStruct,
    "rg_tap": TapStruct,
    "rg_run": RunStruct,
    "rg_piece": PieceStruct,
    "rg_snapshot_info": SnapshotInfoStruct,
    "rg_section_info": SectionInfoStruct,
    "rg_store_entry": StoreEntryStruct,
    "rg_store_counts": StoreCountsStruct,
}
