# SPDX-License-Identifier: Apache-2.0
"""rg_state: what one conversation has left behind, and the calls that feed it."""

import ctypes
import weakref

import numpy as np

from . import _structures as s
from ._arrays import c_string, float_array, floats, token_array, token_id, tokens_of, unsigned
from ._errors import Error, Interrupted, check, error_of
from ._evaluate import Work, evaluate
from ._generation import Generation, Request
from ._going_back import go_back
from ._handle import Handle, Owner
from ._library import lib
from ._snapshot import save_bytes, save_file
from ._state_options import state_options

StateInfo = s.facts("StateInfo", s.StateInfoStruct)
CheckpointInfo = s.facts("CheckpointInfo", s.CheckpointInfoStruct)


class State(Owner):
    """One sequence: a position and a small, bounded memory. One thread at a time; a second one gets Error RG_ERR_BUSY.

    A state is a value: it can be forked, taken back to a checkpoint or an earlier position, saved and loaded, and gives the same bits as
    if none of that had been. bytes(state) is what a file of it holds, and copy.copy(state) is a fork.
    """

    def __init__(self, model, window_type=None, wipe=False, **options):
        """As Model.state."""
        address = ctypes.c_void_p()
        with state_options(window_type=window_type, wipe=wipe, **options) as pointer, model._handle as handle:
            check(lib.rg_state_new(address, handle, pointer))
        self._own(model, address.value)

    @classmethod
    def _of(cls, model, address):
        """The object around a state that the library has made."""
        state = cls.__new__(cls)
        state._own(model, address)
        return state

    def _own(self, model, address):
        self.model = model
        self._own_handle = Handle("state", address, lib.rg_state_free, holds=[model._handle])
        self._texts = []

    def remember(self, generation, run):
        """A text will be written to this state. When it is dropped, its last token may still be under way."""
        self._texts.append((weakref.ref(generation), run))

    @property
    def _handle(self):
        for each in list(self._texts):
            generation, run = each
            if generation() is None or run.is_stopped:
                run.stop()
                self._texts = [other for other in self._texts if other is not each]
        return self._own_handle

    @property
    def position(self) -> int:
        """How many tokens the state has consumed."""
        with self._handle as state:
            return lib.rg_state_position(state)

    @property
    def info(self) -> StateInfo:
        """Sizes and parts; see rg_state_info in state.h."""
        info = s.StateInfoStruct()
        with self._handle as state:
            check(lib.rg_state_get_info(state, info))
        return s.readable(StateInfo, info)

    def reset(self) -> None:
        """Back to position 0, as if new, without checkpoints."""
        with self._handle as state:
            check(lib.rg_state_reset(state))

    def reserve(self) -> None:
        """Take now all the memory that steps will ever need."""
        with self._handle as state:
            check(lib.rg_state_reserve(state))

    def fork(self) -> "State":
        """A second state that goes on from here, with the same checkpoints. It costs microseconds; memory is shared until one of the two
        writes. Each lives independently, on any thread."""
        address, error = ctypes.c_void_p(), s.ErrorStruct()
        with self._handle as state:
            check(lib.rg_state_fork(address, state, error), error)
        return State._of(self.model, address.value)

    __copy__ = fork

    def __deepcopy__(self, _):
        return self.fork()

    def checkpoint(self, name) -> None:
        """Keep this point under a name of at most 255 bytes, for rewind. A name that exists is moved here."""
        error = s.ErrorStruct()
        with self._handle as state:
            check(lib.rg_state_checkpoint(state, c_string(name), error), error)

    def forget_checkpoint(self, name) -> None:
        with self._handle as state:
            check(lib.rg_state_forget_checkpoint(state, c_string(name)))

    @property
    def checkpoints(self) -> list:
        """In order of position: name ("" for one made by itself), position, and is_held; False: going back there replays tokens."""
        found, point = [], s.CheckpointInfoStruct()
        with self._handle as state:
            while lib.rg_state_get_checkpoint(state, len(found), point) == s.OK:
                found.append(s.readable(CheckpointInfo, point))
                point = s.CheckpointInfoStruct()
        return found

    def rewind(self, where, *, max_tokens=0, progress=None, interrupt=None) -> None:
        """Back to a position, or to a named checkpoint: the same bits as if the later tokens had never been.

        Raises Error RG_ERR_RANGE, with the nearest reachable position as offset, where it cannot be; info.reachable_from tells the range.
        What has to be replayed is told to progress and stopped by Ctrl-C and interrupt as in prefill; the state is then as it was. Where it
        would be more than max_tokens (0: as many as it takes), Interrupted RG_AGAIN at once, and nothing has changed. A sampler is not taken
        back; see Sampler.forget.
        """
        if isinstance(where, (str, bytes)):
            where = self._position_of(where)
        go_back(self, lib.rg_state_rewind_within, unsigned(where), max_tokens=max_tokens, interrupt=interrupt, progress=progress)

    def _position_of(self, name):
        text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        for point in self.checkpoints:
            if point.name == text and text:
                return point.position
        raise Error(s.ERR_NOT_FOUND, "the state has no checkpoint named %r" % text)

    def reuse(self, tokens, *, max_tokens=0, progress=None, interrupt=None) -> int:
        """Go back to the end of the longest common beginning of these tokens and those consumed. Returns its length: feed tokens[kept:]
        yourself. So a whole conversation can be handed over again, and only what is new is read. Limits as in rewind."""
        ids, kept = token_array(tokens), ctypes.c_size_t()
        go_back(self, lib.rg_state_reuse_within, tokens_of(ids), len(ids), kept, max_tokens=max_tokens, interrupt=interrupt, progress=progress)
        return kept.value

    def tokens(self, first=None) -> np.ndarray:
        """Ids of the consumed tokens from a position on, int32; None: as many as are kept."""
        info = self.info
        first = info.first_kept_token if first is None else unsigned(first)
        ids = np.empty(max(info.position - first, 0), np.int32)
        n = ctypes.c_size_t(len(ids))
        with self._handle as state:
            check(lib.rg_state_get_tokens(state, first, tokens_of(ids), n))
        return ids[: n.value]

    def save(self, path, *, sampler=None, detokenizer=None, note=None, tokens=True, checkpoints=True) -> None:
        """Save to a file, wholly or not at all; when it returns, it is on disk. Model.load_state and Snapshot.open read it.

        sampler      a Sampler to save with it: settings, random numbers, history
        detokenizer  a Detokenizer, with what it holds back
        note         bytes of your own
        tokens       False leaves the kept ids out: the loaded state cannot replay or compare
        checkpoints  False leaves out what checkpoints hold: going back to them replays
        """
        save_file(self, path, dict(sampler=sampler, detokenizer=detokenizer, note=note, tokens=tokens, checkpoints=checkpoints))

    def to_bytes(self, *, sampler=None, detokenizer=None, note=None, tokens=True, checkpoints=True) -> bytes:
        """The bytes that save() would write."""
        return save_bytes(self, dict(sampler=sampler, detokenizer=detokenizer, note=note, tokens=tokens, checkpoints=checkpoints))

    def __bytes__(self):
        return self.to_bytes()

    def prefill(self, tokens, *, logits=True, out=None, progress=None, interrupt=None):
        """Consume tokens. Returns the logits that follow the last one, float32 [vocab_size], or None when logits is False.

        out        the array to write the logits to
        progress   progress(what, done, total), in tokens; a true answer stops. It runs in the calling thread
        interrupt  an Interrupt that stops the call; then Interrupted is raised, and position tells how far the state is

        Ctrl-C stops it within about the time of a step, and the state stays good.
        """
        work = Work(self, tokens, logits="last" if logits else None)
        self._evaluate(work, out=out, progress=progress, interrupt=interrupt)
        return work.logits

    def score(self, tokens, *, progress=None, interrupt=None) -> np.ndarray:
        """Consume tokens. Returns the natural log of the probability of tokens[1] and on, each after the ones before it: [n - 1]."""
        work = Work(self, tokens, logprobs=True)
        self._evaluate(work, progress=progress, interrupt=interrupt)
        return work.logprobs

    def _evaluate(self, work, **options):
        status = evaluate([work], **options)
        if status != s.OK:
            raise error_of(status)

    def step(self, token, *, logits=True, out=None):
        """Consume one token; otherwise as prefill."""
        row = float_array(out, (self.model.info.vocab_size,)) if logits else None
        error = s.ErrorStruct()
        with self._handle as state:
            check(lib.rg_step(state, floats(row), token_id(token), error), error)
        return row

    def logits(self, *, out=None) -> np.ndarray:
        """The logits that follow the last token, again, without a new token."""
        row, error = float_array(out, (self.model.info.vocab_size,)), s.ErrorStruct()
        with self._handle as state:
            check(lib.rg_state_logits(state, floats(row), error), error)
        return row

    def tensor(self, layer: int, name: str) -> np.ndarray:
        """A copy of one tensor of the state, float32: "rg_lru" and "conv1d" of a recurrent layer, "keys" and "values" of an attention
        layer, oldest first, or "hidden"."""
        n = ctypes.c_size_t(0)
        with self._handle as state:
            status = lib.rg_state_get_tensor(state, layer, name.encode(), None, n)
            if status != s.ERR_BUFFER:
                check(status)
            values = np.empty(n.value, np.float32)
            check(lib.rg_state_get_tensor(state, layer, name.encode(), floats(values), n))
        info = self.model.info
        widths = {"conv1d": info.lru_width, "keys": info.num_kv_heads * info.head_dim, "values": info.num_kv_heads * info.head_dim}
        return values.reshape(-1, widths[name]) if name in widths else values

    def generate(self, prompt="", **options) -> Generation:
        """Feed a text, or token ids, and write on from there: an iterator of pieces of text.

        A text at position 0 gets a bos token before it; token ids are taken as they are. See Generation for the options and for
        what breaking out of the loop does.
        """
        return Generation(self, Request.generate(prompt), **options)

    def chat(self, text, **options) -> Generation:
        """Say one message of a dialogue and iterate over the model's reply to it. Options as for generate."""
        return Generation(self, Request.chat("user", text), **options)

    def put_reply(self, text, **options) -> None:
        """Put a reply into the model's mouth, to replay a dialogue: it is read, and nothing is written."""
        generation = Generation(self, Request.chat("model", text), **options)
        for _ in generation:
            pass
        if generation.stop_reason == "interrupt":
            raise Interrupted(s.INTERRUPTED, "the reply was not read to its end")
