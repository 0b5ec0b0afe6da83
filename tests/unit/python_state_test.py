# SPDX-License-Identifier: Apache-2.0
"""States as values in Python: forks, checkpoints, rewind, reuse, saved states and the store.

What is expected follows from plain evaluation: whichever way a state came to its tokens, the logits after them are the same bits."""

import copy
import gc
import os
import stat
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from python_harness import GOLDEN, raises, read_arrays, run, test

import numpy as np

import recurrentgemma as rg

FOLDER = os.path.join(GOLDEN, "griffin-rra")
tokens = read_arrays(os.path.join(FOLDER, "golden.safetensors"))["tokens"].tolist()  # several windows
model = rg.Model.open(FOLDER, threads=1, page_length=4)
other = rg.Model.open(os.path.join(GOLDEN, "hawk"), threads=1)
demo = rg.Model.open("demo", threads=1) if rg.build_info().has_demo else None
folder = tempfile.TemporaryDirectory()


def path(name):
    return os.path.join(folder.name, name)


def plain(ids):
    """The logits after some tokens, by a state that has done nothing else."""
    return model.state().prefill(ids)


def same_bits(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def fed(n, **options):
    state = model.state(**options)
    state.prefill(tokens[:n])
    return state


@test
def forks_go_their_own_ways():
    state = fed(30)
    forks = [state.fork(), copy.copy(state), copy.deepcopy(state)]
    assert all(fork.position == 30 and fork.model is model for fork in forks)
    for i, fork in enumerate(forks):
        assert same_bits(fork.prefill([7 + i, 9]), plain(tokens[:30] + [7 + i, 9]))
    state.close()
    assert same_bits(forks[0].step(11), plain(tokens[:30] + [7, 9, 11]))
    assert same_bits(fed(30).step(5), plain(tokens[:30] + [5]))


@test
def forks_may_be_made_and_used_by_many_threads():
    state, wrong = fed(40), []

    def work(i):
        fork = state.fork()
        if not same_bits(fork.step(i), expected[i]):
            wrong.append(i)

    expected = [plain(tokens[:40] + [i]) for i in range(8)]
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@test
def a_checkpoint_is_gone_back_to_by_name():
    state = fed(20)
    state.checkpoint("here")
    state.prefill(tokens[20:50])
    state.checkpoint("sp\u00e4ter")
    assert [(each.name, each.position, each.is_held) for each in state.checkpoints] == [("here", 20, True), ("sp\u00e4ter", 50, True)]
    state.prefill(tokens[50:60])
    state.rewind("sp\u00e4ter")
    assert state.position == 50 and same_bits(state.logits(), plain(tokens[:50]))
    state.rewind(b"here")
    assert state.position == 20 and same_bits(state.logits(), plain(tokens[:20]))
    assert [each.name for each in state.checkpoints] == ["here"]
    assert raises(rg.Error, state.rewind, "sp\u00e4ter").name == "RG_ERR_NOT_FOUND"
    state.forget_checkpoint("here")
    assert raises(rg.Error, state.forget_checkpoint, "here").name == "RG_ERR_NOT_FOUND" and state.checkpoints == []
    raises(ValueError, state.checkpoint, "nul\0")
    assert raises(rg.Error, state.checkpoint, "").name == "RG_ERR_ARGUMENT"


@test
def any_position_that_is_kept_can_be_gone_back_to():
    for n in (1, 17, 43, 59, 60):
        state = fed(60)
        state.rewind(n)
        assert state.position == n and same_bits(state.logits(), plain(tokens[:n]))
    error = raises(rg.Error, fed(10).rewind, 11)
    assert error.name == "RG_ERR_RANGE" and error.offset == 10
    forgetful = fed(60, kept_tokens=0)
    assert forgetful.info.first_kept_token == 60 == forgetful.info.reachable_from and len(forgetful.tokens()) == 0
    error = raises(rg.Error, forgetful.rewind, 58)
    assert error.name == "RG_ERR_RANGE" and error.offset == 60 and forgetful.position == 60
    forgetful.rewind(0)
    assert forgetful.position == 0
    raises(ValueError, forgetful.rewind, -1)


@test
def automatic_checkpoints_have_no_name_and_a_budget():
    state = fed(60, checkpoint_every=8)
    assert [(each.name, each.position) for each in state.checkpoints] == [("", n) for n in range(8, 61, 8)]
    assert raises(rg.Error, state.rewind, "").name == "RG_ERR_NOT_FOUND"
    held = state.info.checkpoint_bytes
    small = fed(60, checkpoint_every=8, checkpoint_bytes=held // 2)
    assert 0 < small.info.checkpoint_bytes <= held // 2 and 0 < len(small.checkpoints) < 7
    small.rewind(41)
    assert same_bits(small.logits(), plain(tokens[:41]))


@test
def a_replay_can_be_stopped_and_tells_how_far_it_is():
    state, seen = fed(60), []
    state.rewind(50, progress=lambda what, done, total: seen.append((done, total)))
    assert seen and seen[-1] == (50, 50) and same_bits(state.logits(), plain(tokens[:50]))
    flag = rg.Interrupt()
    flag.set()
    raises(rg.Interrupted, state.rewind, 20, interrupt=flag)
    assert state.position == 50 and same_bits(state.logits(), plain(tokens[:50]))
    raises(ZeroDivisionError, state.rewind, 20, progress=lambda *_: 1 / 0)
    assert state.position == 50


@test
def a_way_back_that_is_longer_than_it_may_be_is_not_begun():
    state, changed = fed(60), tokens[:40] + [tokens[40] ^ 1]
    state.rewind(30, max_tokens=30)
    state.prefill(tokens[30:60])
    state.checkpoint("near")
    for way in (lambda n: state.rewind(41, max_tokens=n), lambda n: state.reuse(changed, max_tokens=n)):
        seen = state.position
        assert raises(rg.Interrupted, way, 39).name == "RG_AGAIN" and state.position == seen
        raises(ValueError, way, -1)
    state.rewind("near", max_tokens=1)
    assert state.reuse(changed, max_tokens=40) == 40 and same_bits(state.logits(), plain(tokens[:40]))


@test
def a_conversation_that_is_handed_over_again_is_read_from_where_it_is_new():
    state = model.state()
    assert state.reuse(tokens[:30]) == 0
    state.prefill(tokens[:30])
    assert state.reuse(tokens[:40]) == 30 and state.position == 30
    assert same_bits(state.prefill(tokens[30:40]), plain(tokens[:40]))
    changed = tokens[:25] + [tokens[25] ^ 1] + tokens[26:40]
    assert state.reuse(changed) == 25 and state.position == 25
    assert same_bits(state.prefill(changed[25:]), plain(changed))
    assert state.tokens().tolist() == changed and state.tokens(30).tolist() == changed[30:]
    assert raises(rg.Error, state.tokens, 41).name == "RG_ERR_RANGE"
    assert state.reuse([319]) == 0 and state.position == 0


@test
def a_saved_state_goes_on_as_if_nothing_had_been():
    state = fed(45, window_type="bf16")
    state.checkpoint("there")
    rest = [state.fork().step(5)]
    state.save(path("a.rgs"))
    assert stat.S_IMODE(os.stat(path("a.rgs")).st_mode) == 0o600
    data = state.to_bytes()
    with open(path("a.rgs"), "rb") as file:
        assert file.read() == data == bytes(state)
    for again in (model.load_state(path("a.rgs")), model.state_from_bytes(data), model.state_from_bytes(bytearray(data))):
        assert again.position == 45 and again.info.window_type == "bf16" and not again.info.has_other_numerics
        assert same_bits(again.logits(), state.logits()) and same_bits(again.fork().step(5), rest[0])
        assert [each.name for each in again.checkpoints] == ["there"] and again.tokens().tolist() == tokens[:45]
        again.rewind(31)
        assert again.position == 31
    converted = model.load_state(path("a.rgs"), window_type="f32", kept_tokens=0)
    assert converted.info.window_type == "f32" and converted.info.has_other_numerics and converted.info.first_kept_token == 45
    chosen = model.load_state(path("a.rgs"), map=True, max_bytes=len(data), checkpoint_every=50)
    chosen.prefill(tokens[45:60], logits=False)
    assert [(each.name, each.position) for each in chosen.checkpoints] == [("there", 45), ("", 50)] and chosen.info.window_type == "bf16"
    assert raises(rg.Error, model.load_state, path("a.rgs"), max_bytes=len(data) - 1).name == "RG_ERR_LIMIT"
    bare = model.state_from_bytes(state.to_bytes(tokens=False, checkpoints=False))
    assert len(bare.tokens()) == 0 and [(each.name, each.is_held) for each in bare.checkpoints] == [("there", False)]


@test
def what_is_no_state_of_this_model_is_refused():
    data = fed(9).to_bytes()
    assert raises(rg.Error, model.load_state, path("none")).name == "RG_ERR_NOT_FOUND"
    error = raises(rg.Error, other.state_from_bytes, data)
    assert error.name == "RG_ERR_STATE_MODEL" and str(error)
    for at in (100, len(data) - 1):
        error = raises(rg.Error, model.state_from_bytes, data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        assert error.name == "RG_ERR_CHECKSUM" and error.offset is not None, error.name
    assert raises(rg.Error, model.state_from_bytes, data[:-1]).name in ("RG_ERR_CHECKSUM", "RG_ERR_FORMAT")
    assert raises(rg.Error, model.state_from_bytes, b"").name == "RG_ERR_FORMAT"
    fed(9).save(path("nine.rgs"))
    assert raises(rg.Error, rg.Snapshot.open, path("nine.rgs"), max_bytes=100).name == "RG_ERR_LIMIT"
    error = raises(rg.Error, fed(3).save, path("none/x"))
    assert error.name == "RG_ERR_NOT_FOUND"


@test
def a_sampler_goes_on_where_it_was():
    n = model.info.vocab_size
    state, sampler = fed(20), rg.Sampler(n, temperature=2.0, top_k=50, seed=11, repetition_penalty=1.4)
    text = state.generate([], max_tokens=10, ignore_eos=True, sampler=sampler)
    list(text)
    state.save(path("sampled.rgs"), sampler=sampler, note="where we were")
    text = state.generate([], max_tokens=20, ignore_eos=True, sampler=sampler)
    list(text)
    with rg.Snapshot.open(path("sampled.rgs")) as snapshot:
        assert snapshot.info.has_sampler and not snapshot.info.has_detokenizer and snapshot.note == b"where we were"
        again, restored = snapshot.restore(model), rg.Sampler(n)
        snapshot.restore_sampler(restored)
        assert raises(rg.Error, snapshot.restore_sampler, rg.Sampler(n + 1)).name == "RG_ERR_ARGUMENT"
    copied = again.generate([], max_tokens=20, ignore_eos=True, sampler=restored)
    list(copied)
    assert copied.tokens == text.tokens and len(set(text.tokens)) > 5
    with rg.Snapshot.from_bytes(bytes(state)) as snapshot:
        assert snapshot.note is None
        assert raises(rg.Error, snapshot.restore_sampler, restored).name == "RG_ERR_NOT_FOUND"


@test
def a_snapshot_tells_what_is_in_it():
    state = fed(33)
    state.save(path("b.rgs"), note=b"\0\1")
    with rg.Snapshot.open(path("b.rgs"), map=True) as snapshot:
        info, sections = snapshot.info, snapshot.sections()
        assert info.position == info.n_tokens == 33 and info.model_id == model.id and len(info.numerics_id) == 16 and info.page_length == 4
        assert info.n_bytes == os.path.getsize(path("b.rgs")) and info.n_sections == len(sections) and info.note_bytes == 2
        (ids,) = [each for each in sections if each.name == "tokens"]
        assert np.frombuffer(ids.bytes, "<i4").tolist() == tokens[:33] and ids.n_bytes == 4 * 33
        hidden = next(each for each in sections if each.name == "hidden")
        assert same_bits(np.frombuffer(hidden.bytes, np.float32), state.tensor(0, "hidden"))
        snapshot.save(path("copy.rgs"))
        states = [snapshot.restore(model) for _ in range(3)]
    for each in states:  # their pages lie in the mapped file
        assert same_bits(each.prefill(tokens[33:40]), plain(tokens[:40]))
    with open(path("b.rgs"), "rb") as one, open(path("copy.rgs"), "rb") as two:
        assert one.read() == two.read()
    assert model.id != other.id and model.id == rg.Model.open(FOLDER).id
    raises(ValueError, snapshot.restore, model)


@test
def bytes_may_be_dropped_while_their_snapshot_is_open():
    snapshot = rg.Snapshot.from_bytes(fed(21).to_bytes())
    gc.collect()
    np.empty(10**6, np.uint8)[:] = 7
    assert same_bits(snapshot.restore(model).step(3), plain(tokens[:21] + [3]))
    model_of_its_own = rg.Model.open(FOLDER, threads=1, page_length=4)
    state = snapshot.restore(model_of_its_own)
    model_of_its_own.close()
    snapshot.close()
    del model_of_its_own
    gc.collect()
    assert same_bits(state.step(3), plain(tokens[:21] + [3]))


def open_store(name):
    try:
        return rg.Store.open(path(name))
    except rg.Error as error:
        if error.name == "RG_ERR_UNSUPPORTED":
            return None
        raise


@test
def a_store_keeps_conversations_and_their_tree():
    store = open_store("store")
    if store is None:
        return
    with store:
        state = fed(40)
        first = store.put("alice", state, note=b"n")
        store.fork("alice", "bob")
        state.prefill(tokens[40:50])
        second = store.put("alice", state)
        assert [(each.name, each.version, each.position) for each in store.list()] == [("alice", second, 50), ("bob", first, 40)]
        assert [(each.version, each.parent) for each in store.log("alice")] == [(second, first), (first, 0)]
        assert sorted({each.version for each in store.log()}) == [first, second]
        with store.get("bob") as snapshot, store.get("alice", first) as old:
            assert snapshot.note == b"n" == old.note
            assert same_bits(snapshot.restore(model).prefill(tokens[40:45]), plain(tokens[:45]))
            third = store.put("carol", snapshot)
        assert raises(rg.Error, store.get, "dora").name == "RG_ERR_NOT_FOUND"
        assert raises(rg.Error, store.fork, "alice", "bob").name == "RG_ERR_ARGUMENT"
        store.delete("bob")
        kept = store.gc(1)
        assert [each.name for each in store.list()] == ["alice", "carol"] and kept.n_versions == 2
        bad = []
        counts = store.verify(bad.append)
        assert (counts.n_versions, counts.n_bad, bad) == (2, 0, []) and third > second > first
    raises(ValueError, store.list)
    assert raises(rg.Error, rg.Store.open, path("no store"), create=False).name == "RG_ERR_NOT_FOUND"
    with rg.Store.open(path("store"), create=False, wait=100) as again:
        assert again.get("alice").info.position == 50


@test
def of_two_who_go_on_with_a_conversation_the_second_is_told():
    store = open_store("two")
    if store is None:
        return
    with store:
        assert store.put("alice", fed(20), expected=0) == 1
        with store.get("alice") as mine, store.get("alice", 1) as yours:
            assert mine.version == yours.version == 1
            assert store.put("alice", fed(30), expected=mine.version) == 2
            assert raises(rg.Error, store.put, "alice", fed(25), expected=yours.version).name == "RG_ERR_CONFLICT"
            assert raises(rg.Error, store.put, "alice", yours, expected=0).name == "RG_ERR_CONFLICT"
            assert store.put("bob", yours, expected=0, parent=yours.version) == 3
        assert [(each.version, each.parent, each.name) for each in store.log()] == [(1, 0, ""), (2, 1, "alice"), (3, 1, "bob")]
        assert (store.put("alice", fed(5), parent=3), store.log("alice")[0].parent) == (4, 3)
        assert (store.put("alice", fed(5)), store.log("alice")[0].parent) == (5, 4)


@test
def a_text_that_was_left_is_over_before_its_state_is_forked_or_saved():
    if not demo:
        return
    for use in (rg.State.fork, rg.State.to_bytes):
        state = demo.state()
        for _ in state.generate("It is a truth", max_tokens=200, ignore_eos=True):
            break
        result = use(state)
        again = result if isinstance(result, rg.State) else demo.state_from_bytes(result)
        assert again.position == state.position > 0 and same_bits(again.logits(), state.logits())


@test
def the_program_that_users_want_to_write():
    if not demo:
        return
    here = os.getcwd()
    os.chdir(folder.name)
    try:
        model = rg.Model.open("demo", threads=2)
        state = model.state()
        for piece in state.generate("It is a truth", max_tokens=80, temperature=0.8, seed=1):
            pass
        logits = state.prefill(model.encode("universally acknowledged"))
        branch = state.fork(); state.save("alice.rgs"); again = model.load_state("alice.rgs")
    finally:
        os.chdir(here)
    assert branch.position == again.position == state.position > 4
    assert same_bits(again.logits(), logits) and same_bits(branch.step(7), again.step(7))
    detokenizer = model.tokenizer.detokenizer()
    half = model.encode("\u4e16", bos=False)[0]
    assert detokenizer.put(half) == ""
    with rg.Snapshot.from_bytes(state.to_bytes(detokenizer=detokenizer)) as snapshot:
        fresh = model.tokenizer.detokenizer()
        snapshot.restore_detokenizer(fresh)
        assert snapshot.info.has_detokenizer and fresh.finish() == detokenizer.finish() != ""


run()
