# SPDX-License-Identifier: Apache-2.0
"""rg_generate, rg_generate_text and rg_chat_say, as iterators."""

import contextlib
import ctypes
import threading

from . import _structures as s
from ._arrays import c_string, text_bytes, token_array, token_id, tokens_of, unsigned
from ._errors import check
from ._handle import new_plain
from ._library import lib
from ._running import Run, ask_progress
from ._sampler import Sampler


class Request:
    """Which C function is called, and what stands between the state and the options."""

    def __init__(self, function, *arguments, needs=None):
        self.function, self.arguments, self.needs = function, arguments, needs

    @classmethod
    def generate(cls, prompt):
        if isinstance(prompt, (str, bytes)):
            return cls(lib.rg_generate_text, c_string(prompt))
        ids = token_array(prompt)
        return cls(lib.rg_generate, tokens_of(ids), len(ids), needs=ids)

    @classmethod
    def chat(cls, role, text):
        return cls(lib.rg_chat_say, s.ROLES[role], c_string(text))


class _Written:
    """What has been written so far."""

    def __init__(self):
        self.tokens, self.logprobs, self.stop_reason = [], [], None

    def take(self, piece, ask):
        if piece.token >= 0:
            self.tokens.append(piece.token)
            self.logprobs.append(piece.logprob)
        self.stop_reason = s.STOP_REASONS[piece.stop_reason]
        if piece.text_bytes == 0:
            return s.CONTINUE
        return ask(None, ctypes.string_at(piece.text, piece.text_bytes).decode())


class _Writing:
    """The C call. It belongs to the thread that makes it, and knows nothing of the iterator, which may be dropped at any time."""

    def __init__(self, state, request, sampler):
        self.state, self.request, self.sampler = state, request, sampler
        self.options = new_plain("options", lib.rg_generate_options_new, lib.rg_generate_options_free)
        self.error = s.ErrorStruct()
        self.on_piece = self.on_progress = None

    def set(self, function, *values):
        with self.options as options:
            check(function(options, *values))

    def listen(self, run, written, progress):
        self.on_piece = s.PieceFunction(run.guarded(lambda _, piece: written.take(piece.contents, run.ask)))
        if progress is not None:
            self.on_progress = s.ProgressFunction(ask_progress(run, progress))
            self.set(lib.rg_generate_options_set_progress, self.on_progress, None)

    def __call__(self, interrupt):
        no_sampler = contextlib.nullcontext()
        with self.state._handle as state, self.options as options, interrupt._handle as flag, \
                (self.sampler._handle if self.sampler else no_sampler) as sampler:
            check(lib.rg_generate_options_set_interrupt(options, flag))
            check(lib.rg_generate_options_set_sampler(options, sampler))
            return self.request.function(state, *self.request.arguments, options, self.on_piece, None, self.error)


class Generation:
    """Text as it is written: an iterator of pieces, each whole characters. The work begins with the first one.

    max_tokens      at most so many tokens; 0: none, only the prompt is read
    temperature, top_k, top_p, min_p, repetition_penalty, penalty_last_n, seed
                    settings of a new sampler, see Sampler.set; without any of them, always the most probable token
    sampler         a Sampler of your own instead, whose history and random numbers go on
    stop            a text, or several, at which to stop
    stop_tokens     tokens at which to stop, besides the end of text and, in a chat, of the turn
    ignore_eos      the vocabulary's end of text does not stop
    allow_special   the text may spell turn tokens; only for text that you trust
    progress        progress(what, done, total) while the prompt is read; a true answer stops. It runs in the calling thread
    interrupt       an Interrupt that ends the text at the next token

    tokens and logprobs (natural log, under the plain logits) grow with the text; stop_reason is set at the end: "token", "string",
    "length", "interrupt", "callback" or "error".

    Between two pieces the C call waits, and the state is busy; other states are not. close(), Ctrl-C, and leaving a loop when nothing
    else holds the iterator stop it at that token: the state has then consumed the prompt and every token of `tokens`, and goes on
    from there.
    """

    _run = None  # for the finalizer of one that was never whole

    def __init__(self, state, request, *, max_tokens=256, sampler=None, temperature=None, top_k=None, top_p=None, min_p=None,
                 repetition_penalty=None, penalty_last_n=None, seed=None, stop=(), stop_tokens=(), ignore_eos=False,
                 allow_special=False, progress=None, interrupt=None):
        settings = dict(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty,
                        penalty_last_n=penalty_last_n, seed=seed)
        if any(value is not None for value in settings.values()):
            if sampler is not None:
                raise TypeError("a sampler has settings of its own")
            sampler = Sampler(state.model.info.vocab_size, **settings)
        self._writing = writing = _Writing(state, request, sampler)
        writing.set(lib.rg_generate_options_set_max_tokens, unsigned(max_tokens))
        writing.set(lib.rg_generate_options_set_ignore_eos, bool(ignore_eos))
        writing.set(lib.rg_generate_options_set_allow_special, bool(allow_special))
        for token in stop_tokens:
            writing.set(lib.rg_generate_options_add_stop_token, token_id(token))
        for text in map(text_bytes, [stop] if isinstance(stop, (str, bytes)) else stop):
            writing.set(lib.rg_generate_options_add_stop_string, text, len(text))
        self._run = Run(writing, interrupt)
        state.remember(self, self._run)
        self._written = _Written()
        writing.listen(self._run, self._written, progress)
        self._is_over = False
        self._lock = threading.Lock()

    @property
    def tokens(self) -> list:
        return self._written.tokens

    @property
    def logprobs(self) -> list:
        return self._written.logprobs

    @property
    def stop_reason(self):
        return self._written.stop_reason

    def __iter__(self):
        return self

    def __next__(self) -> str:
        if not self._lock.acquire(blocking=False):
            raise ValueError("the text is being iterated over already")
        try:
            piece = None if self._is_over else self._next_piece()
        except BaseException:
            self.close()
            raise
        finally:
            self._lock.release()
        if piece is None:
            self._is_over = True
            raise StopIteration
        return piece

    def _next_piece(self):
        event = self._run.next()
        while event is not None:
            function, arguments = event
            if function is None:
                return arguments[0]
            event = self._run.next(function(*arguments))
        if self._writing.sampler:
            self._writing.sampler.raise_trapped()
        check(self._run.status, self._writing.error)
        return None

    def close(self) -> None:
        """Stop at the piece that was given last. May be called twice, and at any time."""
        self._is_over = True
        self._run.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if self._run:
            self._run.let_go()  # to wait here would swallow a Ctrl-C; the next call of the state waits
