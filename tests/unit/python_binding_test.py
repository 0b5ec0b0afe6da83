# SPDX-License-Identifier: Apache-2.0
"""The Python binding gives the results it should: the golden models', the C program's, and the same bits whichever way they are asked for.

Expected numbers come from the golden files; see tests/data/golden/README.md."""

import json
import os
import pickle
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from python_harness import BUILD, GOLDEN, raises, read_arrays, run, test

import numpy as np

import recurrentgemma as rg

FOLDER = os.path.join(GOLDEN, "griffin-rra")
golden = read_arrays(os.path.join(FOLDER, "golden.safetensors"))
model = rg.Model.open(FOLDER, threads=2)
demo = rg.Model.open("demo", threads=1) if rg.build_info().has_demo else None


def demo_test(function):
    return test(function) if demo else function


def largest(a, b):
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.abs(np.asarray(a, np.float64) - b).max())


def same_bits(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


@test
def it_tells_its_version_and_build():
    info = rg.build_info()
    assert info.version == rg.version() == rg.__version__ and "reference" in info.backends and info.abi == 0


@test
def it_tells_facts_about_a_model():
    with open(os.path.join(FOLDER, "config.json")) as file:
        config = json.load(file)
    info = model.info
    assert (info.vocab_size, info.width, info.n_layers) == (config["vocab_size"], config["hidden_size"], config["num_hidden_layers"])
    assert (info.window, info.weight_type, info.has_tokenizer, info.n_threads, info.is_exact) == ("deepmind", "f32", False, 2, True)
    assert ("model.embed_tokens.weight", "f32", (320, 64)) in [(each.name, each.type, each.shape) for each in model.tensors()]


@test
def kernels_are_chosen_and_agree():
    bits = {}
    for rung in rg.cpu_rungs():
        with rg.Model.open(FOLDER, backend="cpu:" + rung, threads=1, compute="f32") as one, rg.Model.open(FOLDER, backend="cpu:" + rung, threads=2, weight_layout="packed") as packed:
            assert one.info.kernels == "cpu %s 1 f32" % rung and packed.info.kernels == "cpu %s 1" % rung
            bits[rung] = one.state("f32").prefill(golden["tokens"])
            assert same_bits(bits[rung], packed.state("f32").prefill(golden["tokens"]))  # weights are float32: nothing is rounded
        assert largest(bits[rung], golden["logits"][-1]) <= 5e-5
    with rg.Model.open(FOLDER, cpu_mask=[]) as plain, rg.Model.open(FOLDER, cpu_mask=rg.cpu_features()) as best:
        assert plain.info.kernels == "cpu portable 1" and best.info.kernels == "cpu %s 1" % rg.cpu_rungs()[0]
    raises(ValueError, lambda: rg.Model.open(FOLDER, cpu_mask=["sse9"]))
    raises(ValueError, lambda: rg.Model.open(FOLDER, cpu_mask="sse9"))
    with rg.Model.open(FOLDER, cpu_mask="neon") as none:  # on x86-64 that leaves nothing
        assert none.info.kernels.startswith("cpu ")
    for rung in rg.cpu_rungs()[:-1]:  # all but the portable one need something
        assert raises(rg.Error, rg.Model.open, FOLDER, backend="cpu:" + rung, cpu_mask=[]).name == "RG_ERR_ARGUMENT"
    raises(ValueError, lambda: rg.Model.open(FOLDER, compute="f8"))
    raises(ValueError, lambda: rg.Model.open(FOLDER, weight_layout="round"))


@test
def logits_are_the_golden_ones():
    work = rg.Work(model.state("f32"), golden["tokens"], logits="all")
    assert rg.eval([work]) == rg.OK and work.status == 0 and work.n_consumed == len(golden["tokens"])
    assert work.logits.dtype == np.float32 and largest(work.logits, golden["logits"]) <= 5e-5
    state = model.state("f32")
    assert largest(state.prefill(golden["tokens"][:30]), golden["logits"][29]) <= 5e-5
    assert largest(state.step(golden["tokens"][30]), golden["logits"][30]) <= 5e-5
    assert same_bits(state.logits(), work.logits[30])


@test
def the_shorter_window_is_hugging_faces():
    with rg.Model.open(FOLDER, window="hf", backend="reference") as hf:
        assert hf.info.window == "hf" and hf.info.backend == "reference"
        work = rg.Work(hf.state(), golden["tokens"], logits="all")
        rg.eval([work])
        assert largest(work.logits[hf.info.attention_window_size :], golden["logits_window_hf"]) <= 5e-5


@test
def tensors_of_a_state_are_the_golden_ones():
    state = model.state("f32")
    state.prefill(golden["tokens"])
    n, window = len(golden["tokens"]), model.info.attention_window_size
    slots = np.arange(n - window, n) % window  # the golden ring, oldest first
    for layer in range(model.info.n_layers):
        for name in ("rg_lru", "conv1d", "keys", "values"):
            expected = golden.get("state.final.layers.%d.%s" % (layer, name))
            if expected is None:
                raises(rg.Error, state.tensor, layer, name)
                continue
            if name in ("keys", "values"):
                expected = expected.reshape(window, -1)[slots]
            assert largest(state.tensor(layer, name), expected) <= 2e-5, (layer, name)
    assert state.tensor(0, "hidden").shape == (model.info.width,)


@test
def activations_are_the_golden_ones():
    seen = {}
    tokens = golden["tokens"][: len(golden["tap.embed"])]

    def keep(name, layer, item, first_token, values):
        seen.setdefault((name, layer), []).append((item, first_token, values))

    rg.eval([rg.Work(model.state("f32"), tokens, hidden="all")], tap=keep)
    for name, layer in (("embed", -1), ("temporal", 0), ("out", 6)):
        ((item, first_token, values),) = seen[name, layer]
        expected = golden["tap.%s" % name if layer < 0 else "tap.layers.%d.%s" % (layer, name)]
        assert (item, first_token) == (0, 0) and largest(values, expected) <= 2e-5


@test
def greedy_tokens_are_the_golden_ones():
    text = model.state().generate(golden["gen.prompt"], max_tokens=len(golden["gen.tokens"]), ignore_eos=True)
    assert "".join(text) == "" and text.tokens == golden["gen.tokens"].tolist() and text.stop_reason == "length"


@test
def scores_follow_from_the_logits():
    tokens, logits = golden["tokens"], golden["logits"].astype(np.float64)
    probabilities = np.log(np.exp(logits - logits.max(1, keepdims=True)))
    probabilities -= np.log(np.exp(probabilities).sum(1, keepdims=True))
    scores = model.state("f32").score(tokens)
    assert largest(scores, probabilities[np.arange(len(tokens) - 1), tokens[1:]]) <= 1e-4


@test
def many_states_in_one_call_get_the_bits_they_get_alone():
    parts = [golden["tokens"][:1], golden["tokens"][3:40], golden["tokens"][5:11]]
    alone = [model.state().prefill(part) for part in parts]
    together = [rg.Work(model.state(), part, logits="last", logprobs=True) for part in parts]
    assert rg.eval(together) == rg.OK
    assert all(same_bits(work.logits, logits) for work, logits in zip(together, alone))
    assert [len(work.logprobs) for work in together] == [0, 36, 5]


@test
def a_budget_stops_between_tokens_and_changes_no_bit():
    tokens, state, rows = golden["tokens"], model.state(), []
    whole = rg.Work(model.state(), tokens, logits="all", hidden="last")
    rg.eval([whole])
    while state.position < len(tokens):
        work = rg.Work(state, tokens[state.position :], logits="all", hidden="last")
        before = state.position
        status = rg.eval([work], max_tokens=17)
        assert state.position == before + work.n_consumed and len(work.logits) == work.n_consumed <= 17
        assert (status == rg.OK) == (work.hidden is not None) and work.status == status
        rows.append(work.logits)
    assert same_bits(np.concatenate(rows), whole.logits) and same_bits(work.hidden, whole.hidden)


@test
def the_library_writes_into_the_array_of_the_caller():
    out = np.zeros(model.info.vocab_size, np.float32)
    state = model.state()
    assert state.prefill([2, 3], out=out) is out and same_bits(out, state.logits())
    assert state.step(4, out=out) is out and same_bits(out, state.logits())
    assert state.step(4, logits=False) is None and state.prefill([4], logits=False) is None
    for wrong in (np.zeros(5, np.float32), np.zeros(model.info.vocab_size), [0.0] * model.info.vocab_size):
        raises(TypeError, state.prefill, [2], out=wrong)


@test
def tokens_may_come_in_any_integer_sequence_and_are_never_cut():
    expected = model.state().prefill([2, 45, 43])
    for tokens in ((2, 45, 43), np.array([2, 45, 43], np.int64), np.array([[2, 45, 43]] * 3, np.uint8)[1], np.array([2, 0, 45, 0, 43], np.int32)[::2]):
        assert same_bits(model.state().prefill(tokens), expected)
    for wrong in ([1.0], [[1]], ["a"], [True]):
        raises(TypeError, model.state().prefill, wrong)
    raises(ValueError, model.state().prefill, [2**32 + 2])
    raises(ValueError, model.state().step, 2**32 + 2)
    assert raises(rg.Error, model.state().prefill, [2, -1]).name == "RG_ERR_TOKEN"
    assert raises(rg.Error, model.state().prefill, []).name == "RG_ERR_ARGUMENT"


@test
def errors_have_a_number_a_name_a_place_and_a_sentence():
    error = raises(rg.Error, rg.Model.open, "/no/such/folder")
    assert error.status == -7 and error.name == "RG_ERR_NOT_FOUND" and error.offset is None and "/no/such/folder" in str(error)
    state = model.state()
    error = raises(rg.Error, state.prefill, [2, 3, 320])
    assert error.name == "RG_ERR_TOKEN" and error.offset == 2 and "320" in str(error) and state.position == 0
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.status, str(copy), copy.offset) == (error.status, str(error), error.offset)
    assert raises(rg.Error, model.encode, "text").name == "RG_ERR_NO_TOKENIZER"
    assert raises(rg.Error, lambda: list(state.generate("text"))).name == "RG_ERR_NO_TOKENIZER"
    assert raises(rg.Error, lambda: list(state.generate([]))).name == "RG_ERR_RANGE"
    assert raises(rg.Error, rg.Model.open, FOLDER, threads=0).name == "RG_ERR_ARGUMENT"
    assert raises(rg.Error, rg.Model.open, FOLDER, backend="no such backend").name == "RG_ERR_BACKEND"
    assert raises(rg.Error, rg.Model.open, FOLDER, limits={"n_layers": 3}).name == "RG_ERR_LIMIT"
    raises(TypeError, rg.Model.open, FOLDER, limits={"struct_size": 3})
    raises(ValueError, rg.Model.open, FOLDER, window="round")
    raises(ValueError, rg.Work, state, [1], logits="first")


@test
def a_state_can_be_reset_reserved_and_held_in_fewer_bits():
    state = model.state(window_type="bf16", wipe=True)
    state.reserve()
    assert state.info.window_type == "bf16" and state.info.held_bytes <= state.info.max_bytes
    first = state.prefill(golden["tokens"][:40])
    state.reset()
    assert state.position == 0 and same_bits(state.prefill(golden["tokens"][:40]), first)


@test
def samplers_do_as_they_are_set():
    logits = golden["logits"][5]
    best = int(logits.argmax())
    sampler = rg.Sampler(len(logits))
    token, logprob = sampler.sample(logits)
    exact = logits.astype(np.float64)
    assert token == best and abs(logprob - (exact[best] - np.log(np.exp(exact - exact.max()).sum()) - exact.max())) <= 1e-5
    sampler.set_bias(best, float("-inf"))
    assert sampler.pick(logits) != best
    sampler.set_bias(best, 0)
    sampler.set(temperature=5.0, seed=7)
    drawn = [sampler.pick(logits) for _ in range(50)]
    sampler.reset()
    assert drawn == [sampler.pick(logits) for _ in range(50)] and len(set(drawn)) > 5
    sampler.forget()
    assert drawn != [sampler.pick(logits) for _ in range(50)]  # random numbers go on
    sampler.set(top_k=1)
    assert sampler.pick(logits) == best
    greedy = rg.Sampler(len(logits), repetition_penalty=1e6)
    greedy.accept([best])
    assert greedy.pick(logits) != best
    greedy.forget()
    assert greedy.pick(logits) == best
    raises(rg.Error, sampler.set, temperature=-1)
    raises(ValueError, sampler.set, top_k=-1)
    raises(ValueError, sampler.pick, logits[:5])
    assert raises(rg.Error, sampler.pick, np.full(len(logits), np.nan)).name == "RG_ERR_NONFINITE"


@test
def a_filter_may_forbid_tokens_stop_and_raise():
    logits = golden["logits"][5]
    sampler = rg.Sampler(len(logits))

    def only_17(row):
        row[:17] = row[18:] = -np.inf

    sampler.set_filter(only_17)
    assert sampler.pick(logits) == 17
    assert model.state().generate([2], sampler=sampler, max_tokens=0).tokens == []
    text = model.state().generate([2], sampler=sampler, max_tokens=3)
    assert "".join(text) == "" and text.tokens == [17, 17, 17]
    sampler.set_filter(lambda row: True)
    raises(rg.Interrupted, sampler.pick, logits)
    sampler.set_filter(lambda row: 1 / 0)
    raises(ZeroDivisionError, sampler.pick, logits)
    raises(ZeroDivisionError, lambda: list(model.state().generate([2], sampler=sampler)))
    sampler.set_filter(None)
    assert sampler.pick(logits) == int(logits.argmax())
    raises(TypeError, model.state().generate, [2], sampler=sampler, temperature=1.0)


@test
def hub_ids_are_found_in_the_cache_that_the_environment_names():
    from recurrentgemma._hub_cache import hub_cache
    kept = {name: os.environ.pop(name, None) for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")}
    try:
        assert hub_cache() == os.path.expanduser("~/.cache/huggingface/hub")
        os.environ["XDG_CACHE_HOME"] = "/x"
        assert hub_cache() == "/x/huggingface/hub"
        os.environ["HF_HOME"] = "~/hf"
        assert hub_cache() == os.path.expanduser("~/hf/hub")
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HF_HUB_CACHE"] = folder
            snapshot = os.path.join(folder, "models--someone--small", "snapshots", "0" * 40)
            os.makedirs(os.path.dirname(snapshot))
            os.symlink(FOLDER, snapshot)
            os.makedirs(os.path.join(folder, "models--someone--small", "refs"))
            with open(os.path.join(folder, "models--someone--small", "refs", "main"), "w") as file:
                file.write("0" * 40)
            assert rg.Model.open("someone/small").info.vocab_size == 320
            assert raises(rg.Error, rg.Model.open, "someone/else").name == "RG_ERR_NOT_FOUND"
    finally:
        os.environ.update({name: value for name, value in kept.items() if value is not None})
        for name in (name for name, value in kept.items() if value is None):
            os.environ.pop(name, None)


@demo_test
def text_goes_to_tokens_and_back():
    text = "Call me Ishmael.  \u00e9\u4e16\U0001f600 \n\tend"
    ids = demo.encode(text)
    assert ids.dtype == np.int32 and ids[0] == demo.tokenizer.info.bos and demo.decode(ids) == text
    assert ids[1:].tolist() == demo.encode(text, bos=False).tolist()
    assert demo.decode(demo.encode(b"a\xffb")) == "a\ufffdb" and demo.decode(demo.encode("a\ud800b")).startswith("a\ufffd")
    assert raises(rg.Error, demo.encode, b"ab\xff", strict=True).offset == 2
    assert demo.decode(demo.encode("nul\0nul", bos=False)) == "nul\0nul"
    long = text * 300
    assert demo.decode(demo.encode(long)) == long
    assert raises(rg.Error, demo.decode, [5, 10**6]).offset == 1
    decoder = demo.tokenizer.detokenizer()
    assert "".join([decoder.put(each) for each in ids] + [decoder.finish()]) == text
    decoder.put(demo.encode("\u4e16", bos=False)[0])
    decoder.reset()
    assert decoder.finish() == ""
    start = demo.tokenizer.info.start_of_turn
    if start >= 0:
        spelled = demo.tokenizer.piece(start)[0]
        assert demo.encode(spelled, bos=False).tolist() == [start] and start not in demo.encode(spelled, plain=True)


@demo_test
def a_dialogue_is_spelled_as_the_models_were_trained():
    tokenizer = demo.tokenizer
    ids = tokenizer.dialogue([("user", " Hi "), ("model", "Yes?"), ("user", "<end_of_turn>")], trim=True)
    pieces = [tokenizer.piece(each)[0] for each in ids]
    assert pieces[0] == "<bos>" and pieces.count("<start_of_turn>") == 4 and pieces.count("<end_of_turn>") == 3
    assert demo.decode(ids) == (
        "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n"
        "<start_of_turn>user\n<end_of_turn><end_of_turn>\n<start_of_turn>model\n")
    assert raises(rg.Error, tokenizer.dialogue, [("model", "I begin")]).name == "RG_ERR_DIALOGUE"


@demo_test
def a_tokenizer_opens_alone():
    path = os.path.join(os.path.dirname(GOLDEN), "..", "..", "examples", "demo", "model", "tokenizer.model")
    with rg.Tokenizer.open(path) as tokenizer:
        assert tokenizer.encode("It is a truth").tolist() == demo.encode("It is a truth").tolist()
        assert tokenizer.info == demo.tokenizer.info
    assert raises(rg.Error, rg.Tokenizer.open, FOLDER).name in ("RG_ERR_IO", "RG_ERR_NOT_FOUND")


@demo_test
def pieces_are_the_text_of_the_tokens():
    text = demo.state().generate("It is a truth", max_tokens=60, temperature=0.8, seed=1)
    pieces = list(text)
    assert len(pieces) > 20 and all(pieces) and "".join(pieces) == demo.decode(text.tokens)
    assert text.stop_reason in ("length", "token") and len(text.logprobs) == len(text.tokens) and max(text.logprobs) <= 0
    again = demo.state().generate("It is a truth", max_tokens=60, temperature=0.8, seed=1)
    assert list(again) == pieces and list(again) == []
    own = demo.state().generate("It is a truth", max_tokens=60, sampler=rg.Sampler(demo.info.vocab_size, temperature=0.8, seed=1))
    assert list(own) == pieces


@demo_test
def generation_is_what_a_c_program_gets():
    program = os.path.join(BUILD, "recurrentgemma")
    if not os.path.exists(program):
        return
    arguments = ["generate", "demo", "-p", "It is a truth", "-n", "50", "--temp", "0.8", "--seed", "3", "--json", "--threads", "1"]
    result = json.loads(subprocess.run([program] + arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)
    text = demo.state().generate("It is a truth", max_tokens=50, temperature=0.8, seed=3)
    assert "".join(text) == result["text"] and text.tokens == result["tokens"] and text.stop_reason == result["stop_reason"]
    assert np.allclose(text.logprobs, result["logprobs"], rtol=0, atol=1e-6)


@demo_test
def it_stops_at_strings_and_tokens():
    state = demo.state()
    whole = "".join(state.generate("It is a truth", max_tokens=60))
    middle = whole[20:24]
    text = demo.state().generate("It is a truth", max_tokens=60, stop=middle)
    assert "".join(text) == whole[: whole.index(middle)] and text.stop_reason == "string"
    tokens = demo.state().generate("It is a truth", max_tokens=60)
    list(tokens)
    text = demo.state().generate("It is a truth", max_tokens=60, stop_tokens=[tokens.tokens[7]])
    list(text)
    assert text.stop_reason == "token" and text.tokens == tokens.tokens[: tokens.tokens.index(tokens.tokens[7])]
    raises(rg.Error, demo.state().generate, "x", stop="")
    raises(ValueError, demo.state().generate, "nul\0nul")


@demo_test
def a_text_gets_one_bos_and_goes_on_from_where_it_was():
    one, two = demo.state(), demo.state()
    list(one.generate("It is a truth", max_tokens=0))
    assert one.position == len(demo.encode("It is a truth"))
    two.prefill(demo.encode("It is a truth"))
    assert same_bits(one.logits(), two.logits())
    first = demo.state()
    halves = "".join(first.generate("It is a truth", max_tokens=20)) + "".join(first.generate(max_tokens=20))
    assert halves == "".join(demo.state().generate("It is a truth", max_tokens=40))


@demo_test
def a_chat_opens_and_closes_turns():
    state = demo.state()
    list(state.chat("Hello", max_tokens=5, ignore_eos=True))
    list(state.chat("And then?", max_tokens=5, ignore_eos=True))
    assert state.position > 0
    replayed, spelled = demo.state(), demo.state()
    list(replayed.chat("Hello", max_tokens=0))
    replayed.put_reply("Good day.")
    list(replayed.chat("And then?", max_tokens=0))
    spelled.prefill(demo.tokenizer.dialogue([("user", "Hello"), ("model", "Good day."), ("user", "And then?")]))
    assert replayed.position == spelled.position and same_bits(replayed.logits(), spelled.logits())


run()
