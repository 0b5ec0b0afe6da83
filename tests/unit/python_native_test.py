# SPDX-License-Identifier: Apache-2.0
"""Native files in Python: converting, looking into them, verifying; what stops, what is refused, and what is left then.

What is expected follows from the source: a file with the same numbers computes the same bits, and numbers of 8 bits are read here by their definition."""

import gc
import os
import signal
import sys
import tempfile
import threading
import weakref

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from python_harness import GOLDEN, ROOT, raises, read_arrays, run, test

import numpy as np

import recurrentgemma as rg

FOLDER = os.path.join(GOLDEN, "griffin-rra")  # weights of float32, no tokenizer
weights = read_arrays(os.path.join(FOLDER, "model.safetensors"))
tokens = read_arrays(os.path.join(FOLDER, "golden.safetensors"))["tokens"]
folder = tempfile.TemporaryDirectory()
TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife."


def path(name):
    return os.path.join(folder.name, name)


def read(name):
    with open(path(name), "rb") as file:
        return file.read()


def write(name, data):
    with open(path(name), "wb") as file:
        file.write(data)
    return path(name)


def flipped(data, at):
    """The same bytes with one bit changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def logits(model, ids=tokens):
    work = rg.Work(model.state(), ids, logits="all")
    assert rg.eval([work]) == rg.OK
    return work.logits


def same_bits(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def press_ctrl_c(*_):
    os.kill(os.getpid(), signal.SIGINT)


def fail(*_):
    raise LookupError("mine")


class Left:
    """What is in an own folder after calls that shall leave the file "model.rgm" there as it was, and nothing else."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "model.rgm")
        with open(self.path, "w") as file:
            file.write("of old")
        return self

    def check(self):
        assert os.listdir(self.folder.name) == ["model.rgm"]
        with open(self.path) as file:
            assert file.read() == "of old"

    def __exit__(self, *_):
        self.folder.cleanup()


@test
def a_native_file_is_the_same_model():
    told = rg.convert(FOLDER, path("same.rgm"))
    assert {each.name: each.shape for each in told} == {name: array.shape for name, array in weights.items()}
    assert all((each.from_type, each.type, each.relative_error, each.largest_error) == ("f32", "f32", 0, 0) for each in told)
    assert all(each.bytes == weights[each.name].nbytes for each in told)
    with rg.Model.open(FOLDER) as source:
        for options in ({}, {"map": True}, {"verify": True}, {"map": True, "verify": True, "threads": 1}):
            with rg.Model.open(path("same.rgm"), **options) as native:
                assert native.id == source.id and same_bits(logits(native), logits(source))
                assert native.info.weight_type == "f32" and not native.info.has_tokenizer


@test
def tensors_lie_where_the_file_says():
    rg.convert(FOLDER, path("places.rgm"))
    data = read("places.rgm")
    with rg.NativeFile.open(path("places.rgm")) as native:
        for tensor in native.tensors():
            assert (tensor.type, tensor.rank, tensor.shape) == ("f32", weights[tensor.name].ndim, weights[tensor.name].shape)
            assert data[tensor.offset : tensor.offset + tensor.bytes] == weights[tensor.name].tobytes() and len(tensor.hash) == 16
        assert len(native.tensors()) == native.info.n_tensors == len(weights)
        assert native.info.file_bytes == len(data) and native.info.tokenizer_bytes == 0
        assert native.manifest.encode() in data and native.info.manifest_bytes == len(native.manifest)
        assert 'source: "griffin-rra"\n' in native.manifest


@test
def numbers_of_8_bits_are_near_what_they_stand_for():
    told = {each.name: each for each in rg.convert(FOLDER, path("near.rgm"), type="q8")}
    data, n_quantised = read("near.rgm"), 0
    with rg.NativeFile.open(path("near.rgm")) as native:
        for tensor in native.tensors():
            assert (told[tensor.name].type, told[tensor.name].bytes, told[tensor.name].shape) == (tensor.type, tensor.bytes, tensor.shape)
            if tensor.type != "q8":
                continue
            truth = weights[tensor.name].astype(np.float64)
            codes = np.frombuffer(data, np.int8, truth.size, tensor.offset).reshape(truth.shape)
            scales = np.frombuffer(data, "<f4", len(truth), tensor.offset + (truth.size + 63) // 64 * 64)
            difference = np.abs(codes * scales[:, None].astype(np.float64) - truth)
            # Half a step, where the largest of the row gets the largest code; a scale that clips is taken only where the sum of squares is less.
            assert np.all(np.sqrt((difference**2).mean(1)) <= np.abs(truth).max(1) / 254 * (1 + 1e-6))
            relative = np.sqrt((difference**2).sum() / (truth**2).sum())
            assert relative > 0 and abs(told[tensor.name].relative_error - relative) <= 1e-4 * relative
            assert abs(told[tensor.name].largest_error - difference.max()) <= 1e-4 * difference.max()
            n_quantised += 1
    matrices = [name for name, array in weights.items() if array.ndim == 2 and name.endswith("weight") and "rg_lru" not in name]
    assert n_quantised == len(matrices) > 0


@test
def the_gates_keep_16_bits_and_small_tensors_what_they_have():
    for kind in ("bf16", "q8", "q4"):
        types = {each.name: (each.from_type, each.type) for each in rg.convert(FOLDER, path("types.rgm"), type=kind)}
        assert types["model.embed_tokens.weight"] == types["model.layers.0.mlp_block.down_proj.weight"] == ("f32", kind)
        assert types["model.layers.0.temporal_block.rg_lru.input_gate_weight"] == ("f32", "bf16")
        for name in ("channel_pre_norm.weight", "mlp_block.down_proj.bias", "temporal_block.conv_1d.weight", "temporal_block.rg_lru.recurrent_param"):
            assert types["model.layers.0." + name] == ("f32", "f32")
        with rg.Model.open(path("types.rgm")) as model:
            assert {each.name: each.type for each in model.tensors()} == {name: to for name, (_, to) in types.items()}
            assert model.info.weight_type == kind


@test
def the_head_may_have_a_type_of_its_own():
    types = {each.name: each.type for each in rg.convert(FOLDER, path("head.rgm"), type="q4", head_type="q8")}
    assert types["model.embed_tokens.weight"] == "q8" and types["model.layers.0.mlp_block.down_proj.weight"] == "q4"


@test
def bits_go_down_and_not_up():
    rg.convert(FOLDER, path("q8.rgm"), type="q8")
    error = raises(rg.Error, rg.convert, path("q8.rgm"), path("no.rgm"), type="q4")
    assert error.name == "RG_ERR_UNSUPPORTED" and "q8" in str(error) and not os.path.exists(path("no.rgm"))
    assert raises(rg.Error, rg.convert, path("q8.rgm"), path("no.rgm"), type="bf16", requantize=True).name == "RG_ERR_UNSUPPORTED"
    told = rg.convert(path("q8.rgm"), path("down.rgm"), type="q4", requantize=True)
    assert ("q8", "q4") in {(each.from_type, each.type) for each in told}
    rg.convert(path("q8.rgm"), path("again.rgm"), type="q8", source="griffin-rra")
    with rg.Model.open(path("q8.rgm")) as one, rg.Model.open(path("again.rgm")) as other:
        assert one.id == other.id and same_bits(logits(one), logits(other))


@test
def the_bytes_do_not_depend_on_threads_or_callbacks():
    rg.convert(FOLDER, path("one.rgm"), type="q4", threads=1)
    rg.convert(FOLDER, path("two.rgm"), type="q4", threads=2, progress=lambda *_: None, report=lambda _: None, log=lambda *_: None)
    assert read("one.rgm") == read("two.rgm")


@test
def the_manifest_says_what_the_caller_says():
    rg.convert(FOLDER, path("words.rgm"), source="somewhere", licence="Apache-2.0")
    with rg.NativeFile.open(path("words.rgm")) as native:
        assert 'source: "somewhere"\n' in native.manifest and 'licence: "Apache-2.0"\n' in native.manifest
    raises(ValueError, rg.convert, FOLDER, path("no.rgm"), source="a\0b")
    raises(ValueError, rg.convert, FOLDER, path("no.rgm"), licence="a\0b")


@test
def each_tensor_is_reported_in_the_thread_of_the_caller():
    seen, threads, steps = [], set(), []

    def report(tensor):
        seen.append(tensor)
        threads.add(threading.current_thread())

    told = rg.convert(FOLDER, path("report.rgm"), type="q8", report=report, progress=lambda *step: steps.append(step))
    assert seen == told and isinstance(told[0], rg.ConvertedTensor) and threads == {threading.current_thread()}
    assert {what for what, _, _ in steps} == {"converting"} and steps[-1][1] == steps[-1][2] == sum(each.bytes for each in told)
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)


@test
def what_stops_a_conversion_leaves_what_was_there():
    stop = rg.Interrupt()
    stop.set()
    with Left() as left:
        for options in (
            {"progress": lambda *_: True}, {"report": lambda _: True}, {"report": lambda tensor: tensor.rank == 3}, {"interrupt": stop},
        ):
            error = raises(rg.Interrupted, rg.convert, FOLDER, left.path, type="q8", **options)
            assert error.status == rg.INTERRUPTED and error.name == "RG_INTERRUPTED"
            left.check()
        for options in ({"progress": fail}, {"report": fail}):
            assert str(raises(LookupError, rg.convert, FOLDER, left.path, type="q8", **options)) == "mine"
            left.check()
        for options in ({"progress": press_ctrl_c}, {"report": press_ctrl_c}):
            raises(KeyboardInterrupt, rg.convert, FOLDER, left.path, type="q8", **options)
            left.check()
        stop.clear()
        rg.convert(FOLDER, left.path, interrupt=stop)
        rg.Model.open(left.path).close()


@test
def what_cannot_be_converted_is_an_error_with_a_name():
    with Left() as left:
        for name, model, options in (
            ("RG_ERR_NOT_FOUND", "/no/such/model", {}),
            ("RG_ERR_NO_TOKENIZER", FOLDER, {"calibration": "It is"}),
            ("RG_ERR_ARGUMENT", FOLDER, {"calibration": ""}),
            ("RG_ERR_LIMIT", FOLDER, {"limits": {"n_tensors": 5}}),
        ):
            error = raises(rg.Error, rg.convert, model, left.path, **options)
            assert error.name == name, error
            left.check()
        for kind, options in (
            (ValueError, {"type": "f32"}), (ValueError, {"type": "q5"}), (ValueError, {"head_type": 4}), (ValueError, {"threads": -1}),
            (TypeError, {"limits": {"no": 1}}),
        ):
            raises(kind, rg.convert, FOLDER, left.path, **options)
            left.check()
        for model, path in ((FOLDER + "\0zzz", left.path), (FOLDER, left.path + "\0.rgm")):  # C would end the names there
            raises(ValueError, rg.convert, model, path)
            left.check()
        raises(ValueError, rg.Model.open, "demo\0zzz")
    assert raises(rg.Error, rg.convert, FOLDER, "/no/such/folder/model.rgm").name == "RG_ERR_NOT_FOUND"


@test
def what_is_not_a_sound_native_file_is_refused():
    rg.convert(FOLDER, path("sound.rgm"))
    data = read("sound.rgm")
    newer = data.replace(b"readers from 00000001", b"readers from 00000002")
    for name, changed in (
        ("RG_ERR_FORMAT", b"# something else\n"), ("RG_ERR_FORMAT", b""), ("RG_ERR_FORMAT", data[:-1]), ("RG_ERR_FORMAT", data + b"\0"),
        ("RG_ERR_VERSION", newer), ("RG_ERR_CHECKSUM", flipped(data, 300)), ("RG_ERR_CHECKSUM", flipped(data, len(data) - 100)),
    ):
        error = raises(rg.Error, rg.NativeFile.open, write("changed.rgm", changed))
        assert error.name == name and "changed.rgm" in str(error), (name, error)
    assert raises(rg.Error, rg.NativeFile.open, path("none.rgm")).name == "RG_ERR_NOT_FOUND"
    assert raises(rg.Error, rg.NativeFile.open, path("sound.rgm"), limits={"header_bytes": 1000}).name == "RG_ERR_LIMIT"
    assert rg.Error(-28, "").name == "RG_ERR_MANIFEST"


@test
def verifying_finds_a_flipped_bit_in_any_tensor():
    rg.convert(FOLDER, path("sound.rgm"), type="q8")
    data = read("sound.rgm")
    with rg.NativeFile.open(path("sound.rgm"), threads=2) as native:
        native.verify()
        tensors = native.tensors()
    for tensor in tensors:
        name = write("flipped.rgm", flipped(data, tensor.offset + tensor.bytes // 2))
        with rg.NativeFile.open(name) as native:  # tensors are not read here
            error = raises(rg.Error, native.verify)
            assert error.name == "RG_ERR_CHECKSUM" and error.offset == tensor.offset and '"%s"' % tensor.name in str(error)
        for is_mapped in (False, True):
            assert raises(rg.Error, rg.Model.open, name, verify=True, map=is_mapped).name == "RG_ERR_CHECKSUM"
    embedding = next(each for each in tensors if each.name == "model.embed_tokens.weight")
    rg.Model.open(write("flipped.rgm", flipped(data, embedding.offset)), map=True).close()  # nobody has asked
    with rg.NativeFile.open(write("flipped.rgm", flipped(data, embedding.offset + embedding.bytes))) as native:
        raises(rg.Error, native.verify)  # behind a tensor zeros belong


@test
def verifying_can_be_watched_and_stopped_and_begun_anew():
    rg.convert(FOLDER, path("watched.rgm"))
    stop, steps = rg.Interrupt(), []
    with rg.NativeFile.open(path("watched.rgm")) as native:
        native.verify(progress=lambda *step: steps.append((threading.current_thread(), *step)))
        assert len(steps) >= native.info.n_tensors and {step[0] for step in steps} == {threading.current_thread()}
        assert {(what, total) for _, what, _, total in steps} == {("verifying", native.info.file_bytes)} and steps[0][2] < steps[-1][2]
        assert raises(rg.Interrupted, native.verify, progress=lambda *_: True).status == rg.INTERRUPTED
        stop.set()
        assert raises(rg.Interrupted, native.verify, interrupt=stop).status == rg.INTERRUPTED
        stop.clear()
        assert raises(rg.Interrupted, native.verify, interrupt=stop, progress=lambda *_: stop.set()).status == rg.INTERRUPTED and stop.is_set()
        stop.clear()
        assert str(raises(LookupError, native.verify, progress=fail)) == "mine"
        raises(KeyboardInterrupt, native.verify, progress=press_ctrl_c)
        native.verify(interrupt=stop)
        native.verify()


@test
def a_file_is_verified_by_one_at_a_time():
    rg.convert(FOLDER, path("busy.rgm"))
    names = set()
    with rg.NativeFile.open(path("busy.rgm")) as native:
        native.verify(progress=lambda *_: names.add(raises(rg.Error, native.verify).name))
        assert names == {"RG_ERR_BUSY"} and len(native.tensors()) == native.info.n_tensors
        native.verify()


@test
def a_file_may_be_closed_while_it_is_verified_and_then_is_closed():
    rg.convert(FOLDER, path("closed.rgm"))
    native = rg.NativeFile.open(path("closed.rgm"))
    native.verify(progress=lambda *_: native.close())
    native.close()
    assert native.is_closed and "format: " in native.manifest
    for call in (native.tensors, native.verify):
        raises(ValueError, call)


@test
def dropping_a_file_frees_it_without_the_collector():
    rg.convert(FOLDER, path("dropped.rgm"))
    gc.disable()
    try:
        native = rg.NativeFile.open(path("dropped.rgm"))
        native.verify(progress=lambda *_: None)
        watch = weakref.ref(native._handle)
        del native
        assert watch() is None
    finally:
        gc.enable()


if rg.build_info().has_demo:
    SOURCE = os.path.join(ROOT, "examples", "demo", "model")  # in 16 bits
    demo = rg.Model.open(SOURCE, threads=2)

    @test
    def the_demo_in_16_bits_is_the_demo():
        ids = demo.encode(TEXT)
        rg.convert(SOURCE, path("demo.rgm"), type="bf16")
        for is_mapped in (False, True):
            with rg.Model.open(path("demo.rgm"), map=is_mapped, verify=True) as native:
                assert native.encode(TEXT).tolist() == ids.tolist() and native.decode(ids) == TEXT == demo.decode(ids)
                assert same_bits(logits(native, ids), logits(demo, ids)) and native.id == demo.id
                texts = ["".join(model.state().generate(TEXT, max_tokens=40, temperature=0.8, seed=3)) for model in (native, demo)]
                assert texts[0] == texts[1]
                state = demo.state()
                state.prefill(ids)
                assert same_bits(native.state_from_bytes(bytes(state)).step(5), state.step(5))
        with rg.NativeFile.open(path("demo.rgm")) as native:
            native.verify()
            assert native.info.model_id == demo.id and native.info.tokenizer_bytes > 0 and 'source: "model"\n' in native.manifest

    @test
    def the_demo_in_8_and_4_bits_predicts_nearly_as_well():
        with open(os.path.join(GOLDEN, "..", "demo", "heldout.txt")) as file:
            ids = demo.encode(file.read(20000))
        exact, sizes = demo.state().score(ids).mean(), [os.path.getsize(path("demo.rgm"))]
        for kind, bound in (("q8", 0.005), ("q4", 0.1)):  # nats for each token, of which a token here takes about 3
            rg.convert(SOURCE, path(kind + ".rgm"), type=kind)
            with rg.Model.open(path(kind + ".rgm")) as native, rg.NativeFile.open(path(kind + ".rgm")) as file:
                file.verify()
                assert native.info.weight_type == kind and native.encode(TEXT).tolist() == demo.encode(TEXT).tolist()
                loss = exact - native.state().score(ids).mean()
                print("TABLE demo in %s: %d bytes, a token takes %.4f nats, of %.4f, more" % (kind, file.info.file_bytes, loss, -exact))
                assert abs(loss) < bound
                sizes.append(file.info.file_bytes)
        assert sizes[0] > 1.5 * sizes[1] and sizes[1] > 1.3 * sizes[2]

    @test
    def calibration_reads_the_text_first():
        steps = []
        rg.convert(SOURCE, path("plain.rgm"), type="q4")
        rg.convert(SOURCE, path("calibrated.rgm"), type="q4", calibration=TEXT, map=True, progress=lambda *step: steps.append(step))
        assert ("calibrating", len(demo.encode(TEXT)), len(demo.encode(TEXT))) in steps
        with rg.NativeFile.open(path("plain.rgm")) as plain, rg.NativeFile.open(path("calibrated.rgm")) as calibrated:
            calibrated.verify()
            assert "calibrated_on_bytes: %d\n" % len(TEXT) in calibrated.manifest and "calibrated" not in plain.manifest
            assert [each[:4] for each in plain.tensors()] == [each[:4] for each in calibrated.tensors()]
            assert [each.hash for each in plain.tensors()] != [each.hash for each in calibrated.tensors()]
        rg.convert(SOURCE, path("bytes.rgm"), type="q4", calibration=TEXT.encode())
        assert read("bytes.rgm") == read("calibrated.rgm")
        with Left() as left:
            raises(rg.Interrupted, rg.convert, SOURCE, left.path, type="q4", calibration=TEXT, progress=lambda what, *_: what == "calibrating")
            left.check()


run()
