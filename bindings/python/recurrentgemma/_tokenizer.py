# SPDX-License-Identifier: Apache-2.0
"""rg_tokenizer and rg_detokenizer: text to token ids and back."""

import ctypes
import functools

import numpy as np

from . import _structures as s
from ._arrays import path_bytes, text_bytes, token_array, token_id, tokens_of
from ._errors import check
from ._handle import Handle, Owner, new
from ._library import lib

TokenizerInfo = s.facts("TokenizerInfo", s.TokenizerInfoStruct)


def _flags(**chosen):
    return sum(getattr(s, name) for name, is_set in chosen.items() if is_set)


def _fill_tokens(function, room):
    """The ids that function(tokens, n_tokens, error) writes, in a second try when they are more than the room guessed."""
    while True:
        ids, n, error = np.empty(room, np.int32), ctypes.c_size_t(room), s.ErrorStruct()
        status = function(tokens_of(ids), n, error)
        if status != s.ERR_BUFFER or n.value <= room:
            check(status, error)
            return ids[: n.value]
        room = n.value


class Tokenizer(Owner):
    """A vocabulary. Any number of threads may use it."""

    def __init__(self, handle):
        self._handle = handle

    @classmethod
    def open(cls, path) -> "Tokenizer":
        """Open a tokenizer.model file alone."""
        error, address = s.ErrorStruct(), ctypes.c_void_p()
        check(lib.rg_tokenizer_open(address, path_bytes(path), None, None, None, error), error)
        return cls(Handle("tokenizer", address.value, lib.rg_tokenizer_close))

    @functools.cached_property
    def info(self) -> TokenizerInfo:
        """n_pieces, and the ids of pad, eos, bos, unk, start_of_turn and end_of_turn; -1 where there is none."""
        info = s.TokenizerInfoStruct()
        with self._handle as tokenizer:
            check(lib.rg_tokenizer_get_info(tokenizer, info))
        return s.readable(TokenizerInfo, info)

    def piece(self, token: int) -> tuple:
        """The text of one piece as it stands in the vocabulary, and its kind, such as "normal" or "byte"."""
        text, n, kind = s.Bytes(), ctypes.c_size_t(), ctypes.c_int()
        with self._handle as tokenizer:
            check(lib.rg_tokenizer_piece(tokenizer, token_id(token), text, n, kind))
            return ctypes.string_at(text, n.value).decode("utf-8", "replace"), s.PIECE_KINDS[kind.value]

    def encode(self, text, bos: bool = True, strict: bool = False, plain: bool = False) -> np.ndarray:
        """Token ids of a text, int32.

        bos     begin with the bos token
        strict  refuse ill-formed UTF-8; otherwise each bad byte becomes U+FFFD
        plain   text never becomes a turn token or another special token, whatever it spells
        """
        data = text_bytes(text)
        flags = _flags(ADD_BOS=bos, STRICT_UTF8=strict, PLAIN_TEXT=plain)
        with self._handle as tokenizer:
            return _fill_tokens(lambda ids, n, error: lib.rg_tokenizer_encode(tokenizer, data, len(data), flags, ids, n, error), len(data) + 1)

    def decode(self, tokens) -> str:
        """The text of token ids. Control tokens give nothing; ill-formed bytes give U+FFFD."""
        ids, room = token_array(tokens), 256
        with self._handle as tokenizer:
            while True:
                text, n, error = ctypes.create_string_buffer(room), ctypes.c_size_t(room), s.ErrorStruct()
                status = lib.rg_tokenizer_decode(tokenizer, tokens_of(ids), len(ids), text, n, error)
                if status != s.ERR_BUFFER or n.value <= room:
                    check(status, error)
                    return text.raw[: n.value].decode()
                room = n.value

    def dialogue(self, messages, bos: bool = True, strict: bool = False, trim: bool = False, open_reply: bool = True,
                 allow_special: bool = False) -> np.ndarray:
        """Token ids of a dialogue, as instruction-tuned models were trained: messages are (role, text), roles "user" and "model" in turn.

        trim           drop white space around each message
        open_reply     end with the opening of the model's turn
        allow_special  messages may spell turn tokens; only for text that you trust
        """
        texts = [text_bytes(text) for _, text in messages]
        parts = [s.MessageStruct(role=s.ROLES[role], text=data, text_bytes=len(data)) for (role, _), data in zip(messages, texts)]
        pointers = (ctypes.POINTER(s.MessageStruct) * len(parts))(*[ctypes.pointer(part) for part in parts])
        flags = _flags(ADD_BOS=bos, STRICT_UTF8=strict, TRIM_MESSAGES=trim, OPEN_REPLY=open_reply, ALLOW_SPECIAL=allow_special)
        with self._handle as tokenizer:
            return _fill_tokens(lambda ids, n, error: lib.rg_dialogue_encode(tokenizer, pointers, len(parts), flags, ids, n, error),
                                sum(map(len, texts)) + 8 * len(parts) + 8)

    def detokenizer(self) -> "Detokenizer":
        """A new decoder for tokens that come one by one."""
        return Detokenizer(self)


class Detokenizer(Owner):
    """Decodes token by token, holding back bytes that do not yet form a character. One thread at a time."""

    def __init__(self, tokenizer):
        with tokenizer._handle as address:
            self._handle = new("detokenizer", lib.rg_detokenizer_new, lib.rg_detokenizer_free, address, holds=[tokenizer._handle])

    def put(self, token: int) -> str:
        """The text that one more token completes; may be empty."""
        return self._text(lib.rg_detokenizer_put, token_id(token))

    def finish(self) -> str:
        """The text of what is still held back: U+FFFD for each byte."""
        return self._text(lib.rg_detokenizer_finish)

    def reset(self) -> None:
        """Forget what is held back."""
        with self._handle as detokenizer:
            lib.rg_detokenizer_reset(detokenizer)

    def _text(self, function, *arguments):
        text, n = s.Bytes(), ctypes.c_size_t()
        with self._handle as detokenizer:
            check(function(detokenizer, *arguments, text, n))
            return ctypes.string_at(text, n.value).decode()
