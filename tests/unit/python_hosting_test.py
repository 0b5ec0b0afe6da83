# SPDX-License-Identifier: Apache-2.0
"""The Python binding inside a living Python program: Ctrl-C, callbacks that raise, threads, garbage collection, fork, exit."""

import gc
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import weakref

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from python_harness import BUILD, GOLDEN, raises, read_arrays, run, run_python, test

import numpy as np

import recurrentgemma as rg

FOLDER = os.path.join(GOLDEN, "griffin-rra")
golden = read_arrays(os.path.join(FOLDER, "golden.safetensors"))
model = rg.Model.open(FOLDER, threads=2)
LONG = np.resize(golden["tokens"], 200000)  # seconds of work, more on a busy machine
SOON = 5.0  # seconds; a chunk of this model takes milliseconds


def same_bits(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


class Later:
    """Does something from another thread after a moment, and knows when."""

    def __init__(self, function, delay=0.1):
        self.function = function
        self.timer = threading.Timer(delay, self.act)

    def act(self):
        self.at = time.monotonic()
        self.function()

    def __enter__(self):
        self.timer.start()
        return self

    def __exit__(self, *_):
        self.timer.cancel()
        self.timer.join()


def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def is_good(state, tokens):
    """Whether a state that was stopped on its way through tokens goes on as if nothing had been."""
    at, whole = state.position, model.state()
    return same_bits(state.prefill(tokens[at : at + 300]), whole.prefill(tokens[: at + 300]))


@test
def ctrl_c_ends_a_long_prefill_soon_and_the_state_stays_good():
    for call in (lambda state: state.prefill(LONG), lambda state: state.score(LONG), lambda state: rg.eval([rg.Work(state, LONG)])):
        state = model.state()
        with Later(press_ctrl_c) as later:
            raises(KeyboardInterrupt, call, state)
            assert time.monotonic() - later.at < SOON
        assert state.position < len(LONG)
        state.reset()
    state = model.state()
    with Later(press_ctrl_c, 0.02):
        raises(KeyboardInterrupt, state.prefill, LONG)
    assert is_good(state, LONG)


@test
def any_signal_handler_may_raise():
    def out_of_time(*_):
        raise TimeoutError

    old = signal.signal(signal.SIGALRM, out_of_time)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        state = model.state()
        raises(TimeoutError, state.prefill, LONG)
        assert is_good(state, LONG)
    finally:
        signal.signal(signal.SIGALRM, old)


@test
def ctrl_c_ends_a_text_at_a_token():
    state = model.state()
    text = state.generate([2, 45], max_tokens=10**6, ignore_eos=True, temperature=1.0)  # without a tokenizer there are no pieces
    with Later(press_ctrl_c) as later:
        raises(KeyboardInterrupt, list, text)
        assert time.monotonic() - later.at < SOON
    assert state.position == 2 + len(text.tokens) > 2 and list(text) == []
    other = model.state()
    other.prefill([2, 45] + text.tokens)
    assert same_bits(state.logits(), other.logits())


@test
def ctrl_c_while_a_text_is_being_prepared_leaves_the_state_good():
    state = model.state()
    with Later(press_ctrl_c, 0.02):
        raises(KeyboardInterrupt, list, state.generate(LONG))
    assert is_good(state, LONG)


@test
def an_interrupt_from_another_thread_stops_calls_and_can_be_used_again():
    stop, state = rg.Interrupt(), model.state()
    with Later(stop.set) as later:
        error = raises(rg.Interrupted, state.prefill, LONG, interrupt=stop)
        assert time.monotonic() - later.at < SOON
    assert error.status == rg.INTERRUPTED and stop.is_set() and state.position < len(LONG)
    work = rg.Work(state, [5])
    assert rg.eval([work], interrupt=stop) == rg.INTERRUPTED and work.n_consumed == 0
    text = state.generate([5], interrupt=stop)
    assert list(text) == [] and text.stop_reason == "interrupt"
    assert raises(rg.Interrupted, rg.Model.open, FOLDER, interrupt=stop).status == rg.INTERRUPTED
    stop.clear()
    assert rg.eval([work], interrupt=stop) == rg.OK


@test
def ctrl_c_lowers_the_interrupt_that_it_raised():
    stop = rg.Interrupt()
    with Later(press_ctrl_c, 0.02):
        raises(KeyboardInterrupt, model.state().prefill, LONG, interrupt=stop)
    assert not stop.is_set()


@test
def progress_is_told_in_the_thread_of_the_caller():
    seen = []

    def progress(what, done, total):
        seen.append((threading.current_thread(), what, done, total))

    model.state().prefill(LONG[:1000], progress=progress)
    list(model.state().generate(LONG[:1000], max_tokens=1, progress=progress))
    rg.Model.open(FOLDER, progress=progress)
    assert {each[0] for each in seen} == {threading.current_thread()}
    evaluation = [each[1:] for each in seen if each[1] == "tokens"]
    assert evaluation[0] == ("tokens", 0, 1000) and ("tokens", 1000, 1000) in evaluation


@test
def a_true_answer_stops_and_no_answer_goes_on():
    state = model.state()
    raises(rg.Interrupted, state.prefill, LONG, progress=lambda what, done, total: done > 2000)
    assert 2000 < state.position < 4000 and is_good(state, LONG)
    raises(rg.Interrupted, rg.Model.open, FOLDER, progress=lambda *_: True)
    assert rg.eval([rg.Work(state, [5])], tap=lambda *_: True) == rg.INTERRUPTED


@test
def what_a_callback_raises_comes_out_of_the_call():
    def fail(*_):
        raise LookupError("mine")

    state = model.state()
    for call in (
        lambda: rg.Model.open(FOLDER, progress=fail),
        lambda: state.prefill(LONG, progress=fail),
        lambda: state.score(LONG, progress=fail),
        lambda: rg.eval([rg.Work(state, [5])], tap=fail),
        lambda: list(state.generate(LONG, progress=fail)),
    ):
        assert str(raises(LookupError, call)) == "mine"
        assert state.position == 0
    assert state.prefill([2, 3]) is not None


@test
def what_a_log_raises_comes_out_of_opening():
    from recurrentgemma._opening import Log
    lines = []
    log = Log(lambda level, line: lines.append((level, line)))
    log.callback(None, 1, b"careful")
    log.end_call()
    assert lines == [(1, "careful")]
    log = Log(lambda level, line: 1 / 0)
    log.callback(None, 1, b"careful")
    raises(ZeroDivisionError, log.end_call)


@test
def a_callback_may_use_other_states_but_not_this_one():
    state, other, seen = model.state(), model.state(), []

    def progress(*_):
        other.step(5)
        seen.append(raises(rg.Error, state.step, 5).name)

    state.prefill(LONG[:600], progress=progress)
    assert set(seen) == {"RG_ERR_BUSY"} and other.position == len(seen) and state.position == 600


@test
def other_threads_run_during_a_call():
    ticks, is_over = [], threading.Event()

    def tick():
        while not is_over.wait(0.001):
            ticks.append(1)

    thread = threading.Thread(target=tick)
    thread.start()
    model.state().prefill(LONG[:20000])
    is_over.set()
    thread.join()
    assert len(ticks) > 3


@test
def threads_with_states_of_their_own_get_the_bits_of_one_thread():
    parts = [golden["tokens"][i : i + 30] for i in range(6)]
    expected = [model.state().prefill(part) for part in parts]
    results = [None] * len(parts)

    def work(i):
        state = model.state()
        for token in parts[i][:-1]:
            state.step(token, logits=False)
        results[i] = state.prefill(parts[i][-1:])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(map(same_bits, results, expected))


@test
def closing_is_for_ever_and_may_be_repeated():
    own = rg.Model.open(FOLDER)
    state, sampler, stop = own.state(), rg.Sampler(320), rg.Interrupt()
    with own, sampler, stop:
        pass
    own.close()
    assert own.is_closed and not state.is_closed
    raises(ValueError, own.state)
    raises(ValueError, sampler.pick, np.zeros(320, np.float32))
    raises(ValueError, stop.set)
    state.step(5)  # a state holds its model
    state.close()
    for call in (lambda: state.step(5), lambda: state.prefill([5, 6]), lambda: state.position, lambda: list(state.generate([5]))):
        raises(ValueError, call)


@test
def a_state_may_be_closed_while_a_call_uses_it():
    state = model.state()
    with Later(state.close, 0.02):
        logits = state.prefill(LONG[:5000])
    assert state.is_closed and same_bits(logits, model.state().prefill(LONG[:5000]))


@test
def everything_may_be_dropped_in_any_order():
    order = random.Random(1)
    for _ in range(60):
        own = rg.Model.open(FOLDER, threads=1, log=lambda level, line: None)
        state = own.state()
        text = state.generate([2, 45], max_tokens=3, sampler=rg.Sampler(320, temperature=1.0))
        things = [own, state, text, rg.Sampler(320), own.state()]
        if order.random() < 0.5:
            list(text)
        if order.random() < 0.5:
            things.append(things)  # a cycle, which only the collector finds
        order.shuffle(things)
        del own, state, text
        while things and order.random() < 0.9:
            each = things.pop()
            if order.random() < 0.5 and each is not things and hasattr(each, "close"):
                each.close()
            del each
        del things
    gc.collect()


@test
def nothing_is_left_behind():
    small = rg.Model.open(FOLDER, threads=1, backend="reference")

    def cycle():
        state = small.state()
        list(state.generate([2, 45], max_tokens=1, temperature=1.0))
        state.prefill([3, 4])
        rg.Sampler(320).pick(golden["logits"][0])

    for _ in range(200):
        cycle()
    gc.collect()
    before, n_threads = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, threading.active_count()
    for _ in range(1000):
        cycle()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert threading.active_count() == n_threads
    assert grown < 4096 or "libasan" in os.environ.get("LD_PRELOAD", ""), "%d KiB" % grown  # the sanitizer keeps freed memory


@test
def dropping_a_text_frees_its_state_without_the_collector():
    gc.disable()
    try:
        for begin in (False, True):
            state = model.state()
            text = state.generate([2, 45], max_tokens=3)
            if begin:
                list(text)
            watch = weakref.ref(state)
            del state, text
            assert watch() is None
    finally:
        gc.enable()


@test
def a_child_of_fork_is_told_so_and_ends_well():
    state = model.state()
    state.prefill([2, 3])
    child = os.fork()
    if child == 0:
        try:
            name = raises(rg.Error, state.step, 5).name
            state.close()
            os._exit(0 if name == "RG_ERR_FORKED" else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert state.step(5) is not None


@test
def a_missing_library_is_named():
    result = run_python("import recurrentgemma", RECURRENTGEMMA_LIBRARY="/no/such/library.so")
    assert result.returncode == 1 and "ImportError" in result.stderr and "/no/such/library.so" in result.stderr


@test
def a_package_in_a_source_tree_finds_the_build_tree():
    from recurrentgemma._library import _candidates
    kept = os.environ.pop("RECURRENTGEMMA_LIBRARY")
    try:
        found = _candidates()
    finally:
        os.environ["RECURRENTGEMMA_LIBRARY"] = kept
    assert _candidates() == [kept] and found[-1] == "librecurrentgemma.so.0"
    if os.path.basename(BUILD) == "build":
        assert found[0] == os.path.join(BUILD, "librecurrentgemma.so")


@test
def a_models_name_is_turned_into_its_path():
    with tempfile.TemporaryDirectory() as folder:
        assert rg.find_model(FOLDER) == FOLDER
        path = os.path.join(folder, "long" * 60, "b" * 200)
        os.makedirs(path)
        with open(os.path.join(path, "demo.rgm"), "wb"):
            pass
        assert rg.find_model("demo", data_folder=path) == os.path.join(path, "demo.rgm")
        snapshot = os.path.join(folder, "models--a--b", "snapshots", "c0ffee")
        os.makedirs(snapshot)
        os.makedirs(os.path.join(folder, "models--a--b", "refs"))
        with open(os.path.join(folder, "models--a--b", "refs", "main"), "w") as file:
            file.write("c0ffee")
        assert rg.find_model("a/b", hub_cache=folder) == snapshot
        for name in ("a/c", os.path.join(folder, "absent")):
            assert raises(rg.Error, rg.find_model, name, hub_cache=folder).name == "RG_ERR_NOT_FOUND"
        assert "demo.rgm: this file is not a model" in str(raises(rg.Error, rg.Model.open, "demo", data_folder=path))


if rg.build_info().has_demo:
    @test
    def the_demo_of_the_build_tree_is_found():
        assert rg.find_model("demo") == os.path.join(os.path.realpath(BUILD), "demo.rgm")

    demo = rg.Model.open("demo", threads=1)

    @test
    def leaving_the_loop_stops_the_text_at_that_piece():
        state, other = demo.state(), demo.state()
        text, pieces = state.generate("It is a truth", max_tokens=200), []
        for piece in text:
            pieces.append(piece)
            if len(pieces) == 10:
                assert raises(rg.Error, state.step, 5).name == "RG_ERR_BUSY"
                assert other.step(5) is not None
                break
        text.close()
        assert state.position == len(demo.encode("It is a truth")) + len(text.tokens) and "".join(pieces) == demo.decode(text.tokens)
        rest = "".join(state.generate(max_tokens=20))
        whole = "".join(demo.state().generate("It is a truth", max_tokens=len(text.tokens) + 20))
        assert "".join(pieces) + rest == whole

    @test
    def a_text_that_is_dropped_gives_its_state_back():
        state = demo.state()
        next(state.generate("It is a truth"))
        before = state.position
        state.step(5)
        text = state.generate("It is")
        next(text)
        text = [text]
        text.append(text)
        del text
        gc.collect()
        assert state.step(5) is not None and state.position > before

    @test
    def ctrl_c_between_pieces_leaves_the_state_good():
        state = demo.state()
        text = state.generate("It is a truth", max_tokens=10**6, ignore_eos=True, temperature=1.0, seed=1)
        try:
            with Later(press_ctrl_c):
                for _ in text:
                    time.sleep(0.001)
            raise AssertionError("there was no Ctrl-C")
        except KeyboardInterrupt:
            text.close()
        assert state.position == len(demo.encode("It is a truth")) + len(text.tokens)
        other = demo.state()
        other.prefill(demo.encode("It is a truth").tolist() + text.tokens)
        assert same_bits(state.logits(), other.logits())

    @test
    def a_text_can_be_written_in_any_thread_and_taken_in_another():
        results = {}

        def write(i):
            text = demo.state().generate("It is a truth", max_tokens=20, temperature=1.0, seed=i)
            first = next(text)
            taker = threading.Thread(target=lambda: results.update({i: first + "".join(text)}))
            taker.start()
            taker.join()

        threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i in range(4):
            assert results[i] == "".join(demo.state().generate("It is a truth", max_tokens=20, temperature=1.0, seed=i))

    @test
    def an_interpreter_ends_well_in_the_middle_of_a_text():
        result = run_python("import recurrentgemma as rg\n"
                            "state = rg.Model.open('demo').state()\n"
                            "text = state.generate('It is a truth')\n"
                            "print(next(text))\n")
        assert (result.returncode, result.stderr) == (0, "") and result.stdout.strip()

    @test
    def ctrl_c_ends_a_program_as_any_other():
        result = run_python("import os, signal, threading\n"
                            "import recurrentgemma as rg\n"
                            "state = rg.Model.open('demo').state()\n"
                            "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
                            "for piece in state.generate('It is', max_tokens=10**7, ignore_eos=True): pass\n")
        assert result.returncode == -signal.SIGINT and result.stderr.strip().endswith("KeyboardInterrupt")


run()
