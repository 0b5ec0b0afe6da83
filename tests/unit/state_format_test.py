# SPDX-License-Identifier: Apache-2.0
"""A second reader of saved states, written from docs/state-format.md alone: offsets and types come from its tables. What it finds is compared with
what the library says of the state that was saved, and the example on that page with the bytes that the library writes."""

import ctypes
import os
import re
import struct
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_ubyte, c_void_p

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from python_harness import GOLDEN, LIBRARY, ROOT, run, test

PAGE = open(os.path.join(ROOT, "docs", "state-format.md")).read()
SIZES = {"u32": "<I", "u64": "<Q", "f32": "<f"}

# ---- the page ----


def table(heading):
    """Rows of the first table under a heading: {name: (offset, type)}."""
    text = PAGE.split("\n%s\n" % heading, 1)[1]
    rows = re.search(r"\| at \| type \| name \|.*\n\|.*\n((?:\|.*\n)+)", text).group(1)
    fields = {}
    for row in rows.splitlines():
        at, kind, name = [cell.strip() for cell in row.split("|")[1:4]]
        if at and kind:
            fields[name] = (int(at), kind)
    return fields


HEADER, ENTRY, RECORD, SAMPLER = table("## Header"), table("## Directory"), table("## Records"), table("### Sampler")
NAMES = {int(kind): name for kind, name in re.findall(r"^\| (\d) \| (\w+) \|", PAGE.split("\n| kind | name |")[1].split("\n\n")[0], re.M)}


def read_fields(fields, data):
    values = {}
    for name, (at, kind) in fields.items():
        if kind.startswith("bytes"):
            values[name] = data[at : at + int(kind[6:-1])]
        else:
            (values[name],) = struct.unpack_from(SIZES[kind], data, at)
    return values


def covers(fields, size):
    """Whether a table tells every byte, and none twice."""
    ends = 0
    for at, kind in sorted(fields.values()):
        assert at == ends, (fields, at)
        ends = at + (int(kind[6:-1]) if kind.startswith("bytes") else struct.calcsize(SIZES[kind]))
    assert ends == size


# ---- the reader ----

xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits.restype = c_uint64
xxhash.XXH3_64bits.argtypes = [c_char_p, c_size_t]


def hash_of(data):
    return xxhash.XXH3_64bits(bytes(data), len(data))


def width_of(window_type):
    return {1: 4, 2: 2, 3: 2}[window_type]


def floats(data, kind):
    if kind == 1:
        return list(struct.unpack("<%df" % (len(data) // 4), data))
    if kind == 2:
        return list(struct.unpack("<%de" % (len(data) // 2), data))
    return list(struct.unpack("<%df" % (len(data) // 2), b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2))))


def needed_pages(header, position):
    length, past = header["page_length"], header["past"]
    return range(max(0, position - past) // length, (position + length - 1) // length) if header["n_attention_layers"] else range(0)


class Snapshot:
    def __init__(self, data):
        self.data = data
        self.header = h = read_fields(HEADER, data)
        assert h["magic"] == b"RGSTATE\n" and (h["version"], h["oldest_reader"]) == (1, 1) and h["reserved"] == bytes(16)
        assert h["file_bytes"] == len(data) and h["header_hash"] == hash_of(data[:248])
        assert re.fullmatch(rb"[ -~]+\0+", h["kernels"])
        end = 256 + 64 * h["n_sections"]
        assert h["directory_hash"] == hash_of(data[256:end])
        self.entries = [read_fields(ENTRY, data[256 + 64 * i : 320 + 64 * i]) for i in range(h["n_sections"])]
        for entry in self.entries:
            offset = (end + 63) // 64 * 64
            assert entry["offset"] == offset and data[end:offset] == bytes(offset - end)
            end = offset + entry["n_bytes"]
            assert entry["hash"] == hash_of(self.bytes_of(entry)) and entry["flags"] == entry["reserved"] == 0
        assert end == len(data)
        self.check_order()
        self.records = list(self.read_records())
        self.check_records()
        self.check_pages()

    def bytes_of(self, entry):
        return self.data[entry["offset"] : entry["offset"] + entry["n_bytes"]]

    def of_kind(self, name):
        return [entry for entry in self.entries if NAMES[entry["kind"]] == name]

    def check_order(self):
        kinds = [entry["kind"] for entry in self.entries]
        assert kinds == sorted(kinds) and kinds.count(1) == 1 and all(kinds.count(kind) <= 1 for kind in (6, 7, 8, 9))
        for name, keys in (("rg_lru", ("record", "layer")), ("conv1d", ("record", "layer")), ("hidden", ("record",))):
            order = [tuple(entry[key] for key in keys) for entry in self.of_kind(name)]
            assert order == sorted(set(order))
        for entry in self.entries:
            name = NAMES[entry["kind"]]
            assert entry["type"] == (self.header["window_type"] if name == "page" else 1 if name in ("rg_lru", "conv1d", "hidden") else 0)
            assert entry["first"] == 0 or name in ("page", "tokens")
            assert entry["layer"] == 0 or name in ("rg_lru", "conv1d")
            assert entry["count"] == 0 or entry["kind"] < 7

    def read_records(self):
        data, at = self.bytes_of(self.entries[0]), 0
        for _ in range(self.entries[0]["count"]):
            record = read_fields(RECORD, data[at : at + 28])
            name_end = at + 28 + record["n_name"]
            record["name"] = data[at + 28 : name_end].decode()
            at = at + 28 + (record["n_name"] + 3) // 4 * 4
            assert data[name_end:at] == bytes(at - name_end)
            record["pages"] = struct.unpack_from("<%dI" % record["n_pages"], data, at)
            at += 4 * record["n_pages"]
            record["is_held"], record["is_automatic"] = bool(record["flags"] & 1), bool(record["flags"] & 2)
            assert record["flags"] < 4
            yield record
        assert at == len(data)

    def check_records(self):
        first, others = self.records[0], self.records[1:]
        assert first["is_held"] and not first["is_automatic"] and first["position"] == self.header["position"]
        positions = [record["position"] for record in others] + [first["position"]]
        assert positions == sorted(positions)
        names = [record["name"] for record in others if not record["is_automatic"]]
        assert all(names) and len(names) == len(set(names))
        recurrent = self.header["n_layers"] - self.header["n_attention_layers"]
        for number, record in enumerate(self.records):
            if not record["is_held"]:
                assert not record["is_automatic"] and record["turn"] == record["part"] == record["n_pages"] == 0
                continue
            assert self.records[record["part"]]["position"] == record["position"]
            has_own = record["position"] > 0 and record["part"] == number
            for name, n in (("rg_lru", recurrent), ("conv1d", recurrent), ("hidden", 1)):
                assert sum(entry["record"] == number for entry in self.of_kind(name)) == (n if has_own else 0)

    def check_pages(self):
        first = next((i for i, entry in enumerate(self.entries) if entry["kind"] == 5), 0)
        new, before, last_rows, length = first, {}, {}, self.header["page_length"]
        for number in list(range(1, len(self.records))) + [0]:
            record = self.records[number]
            if not record["is_held"]:
                continue
            wanted = needed_pages(self.header, record["position"])
            assert len(wanted) == record["n_pages"]
            here = dict(zip(wanted, record["pages"]))
            for page, section in here.items():
                if section != before.get(page):
                    assert section == new and self.entries[section]["record"] == number and self.entries[section]["first"] == page
                    new += 1
                last_rows[section] = min(length, record["position"] - page * length)
            before = here
        assert new - first == len(self.of_kind("page"))
        row = self.header["key_width"] * width_of(self.header["window_type"])
        for section, rows in last_rows.items():
            entry = self.entries[section]
            assert entry["count"] == rows and entry["n_bytes"] == 2 * self.header["n_attention_layers"] * rows * row

    def tensor(self, number, name, layer):
        owner = self.records[number]["part"]
        (entry,) = [e for e in self.of_kind(name) if (e["record"], e["layer"]) == (owner, layer)]
        return floats(self.bytes_of(entry), 1)

    def window(self, number, attention_layer, is_values):
        """Keys or values that the next query sees before it, oldest first."""
        record, h = self.records[number], self.header
        found, width = {}, h["key_width"]
        for page, section in zip(needed_pages(h, record["position"]), record["pages"]):
            entry = self.entries[section]
            values = floats(self.bytes_of(entry), h["window_type"])
            plane = (2 * attention_layer + is_values) * entry["count"] * width
            for i in range(entry["count"]):
                found[page * h["page_length"] + i] = values[plane + i * width : plane + (i + 1) * width]
        p = record["position"]
        return [x for position in range(max(0, p - h["past"]), p) for x in found[position]]

    def ids(self):
        (entry,) = self.of_kind("tokens")
        return entry["first"], list(struct.unpack("<%di" % entry["count"], self.bytes_of(entry)))


# ---- the library ----

rg = ctypes.CDLL(LIBRARY)
rg.rg_model_options_new.restype = rg.rg_state_options_new.restype = rg.rg_snapshot_options_new.restype = c_void_p
for _name, _types in {
    "rg_model_options_set_backend": [c_void_p, c_char_p], "rg_model_options_set_page_length": [c_void_p, c_int],
    "rg_model_options_set_threads": [c_void_p, c_int], "rg_model_options_free": [c_void_p],
    "rg_model_open": [POINTER(c_void_p), c_char_p, c_void_p, c_void_p], "rg_model_close": [c_void_p], "rg_model_tokenizer": [c_void_p],
    "rg_model_get_id": [c_void_p, c_char_p, c_void_p], "rg_state_options_set_window_type": [c_void_p, c_int], "rg_state_options_free": [c_void_p],
    "rg_state_options_set_checkpoint_every": [c_void_p, c_uint64], "rg_state_new": [POINTER(c_void_p), c_void_p, c_void_p],
    "rg_prefill": [c_void_p, c_void_p, POINTER(c_int32), c_size_t, c_void_p], "rg_state_checkpoint": [c_void_p, c_char_p, c_void_p],
    "rg_state_get_tensor": [c_void_p, c_size_t, c_char_p, POINTER(c_float), POINTER(c_size_t)], "rg_state_free": [c_void_p],
    "rg_state_rewind": [c_void_p, c_uint64, c_void_p], "rg_state_fork": [POINTER(c_void_p), c_void_p, c_void_p],
    "rg_state_save_buffer": [c_void_p, c_void_p, POINTER(c_size_t), c_void_p, c_void_p], "rg_snapshot_options_free": [c_void_p],
    "rg_snapshot_options_set_sampler": [c_void_p, c_void_p], "rg_snapshot_options_set_detokenizer": [c_void_p, c_void_p],
    "rg_snapshot_options_set_note": [c_void_p, c_char_p, c_size_t], "rg_snapshot_options_set_checkpoints": [c_void_p, c_int],
    "rg_sampler_new": [POINTER(c_void_p), c_size_t, c_void_p], "rg_sampler_accept": [c_void_p, c_int32], "rg_sampler_set_seed": [c_void_p, c_uint64],
    "rg_sampler_set_temperature": [c_void_p, c_float], "rg_sampler_set_logit_bias": [c_void_p, c_int32, c_float], "rg_sampler_free": [c_void_p],
    "rg_detokenizer_new": [POINTER(c_void_p), c_void_p], "rg_detokenizer_put": [c_void_p, c_int32, c_void_p, c_void_p],
    "rg_detokenizer_free": [c_void_p], "rg_tokenizer_piece": [c_void_p, c_int32, POINTER(c_void_p), POINTER(c_size_t), POINTER(c_int)],
}.items():
    getattr(rg, _name).argtypes = _types
rg.rg_model_tokenizer.restype = c_void_p


def ok(status):
    assert status == 0, status


def open_model(path, page_length):
    options, model = rg.rg_model_options_new(), c_void_p()
    ok(rg.rg_model_options_set_backend(options, b"reference"))
    ok(rg.rg_model_options_set_page_length(options, page_length))
    ok(rg.rg_model_options_set_threads(options, 1))
    ok(rg.rg_model_open(byref(model), path.encode(), options, None))
    rg.rg_model_options_free(options)
    return model


def new_state(model, window_type=0, every=0):
    options, state = rg.rg_state_options_new(), c_void_p()
    ok(rg.rg_state_options_set_window_type(options, window_type))
    ok(rg.rg_state_options_set_checkpoint_every(options, every))
    ok(rg.rg_state_new(byref(state), model, options))
    rg.rg_state_options_free(options)
    return state


def feed(state, ids):
    ok(rg.rg_prefill(state, None, (c_int32 * len(ids))(*ids), len(ids), None))


def save(state, options=None):
    n = c_size_t(0)
    assert rg.rg_state_save_buffer(state, None, byref(n), options, None) == -17
    buffer = (c_ubyte * n.value)()
    ok(rg.rg_state_save_buffer(state, buffer, byref(n), options, None))
    return bytes(buffer)


def tensor(state, layer, name):
    n = c_size_t(0)
    if rg.rg_state_get_tensor(state, layer, name.encode(), None, byref(n)) != -17:
        return None
    values = (c_float * n.value)()
    ok(rg.rg_state_get_tensor(state, layer, name.encode(), values, byref(n)))
    return list(values)


def compare(snapshot, number, state):
    """One record with a state that stands where it does."""
    attention = 0
    if snapshot.records[number]["position"] > 0:
        assert tensor(state, 0, "hidden") == snapshot.tensor(number, "hidden", 0)
    for layer in range(snapshot.header["n_layers"]):
        h = tensor(state, layer, "rg_lru")
        if h is not None:
            if snapshot.records[number]["position"] > 0:
                assert h == snapshot.tensor(number, "rg_lru", layer) and tensor(state, layer, "conv1d") == snapshot.tensor(number, "conv1d", layer)
            continue
        for is_values, name in enumerate(("keys", "values")):
            assert (tensor(state, layer, name) or []) == snapshot.window(number, attention, is_values)
        attention += 1
    assert attention == snapshot.header["n_attention_layers"]


MODELS = [os.path.join(GOLDEN, name) for name in ("bf16-sharded", "griffin-rra", "hawk", "lru-wide", "one-head")]


@test
def tables_tell_every_byte():
    covers(HEADER, 256)
    covers(ENTRY, 64)
    covers(RECORD, 28)
    covers(SAMPLER, 96)
    assert NAMES == {1: "records", 2: "rg_lru", 3: "conv1d", 4: "hidden", 5: "page", 6: "tokens", 7: "sampler", 8: "detokenizer", 9: "note"}


@test
def what_stands_in_a_file_is_what_the_state_holds():
    for path in MODELS:
        for window_type, length in ((1, 4), (2, 4), (3, 4), (1, 64)):
            model = open_model(path, length)
            state = new_state(model, window_type, every=8)
            ids = [2] + [(i * 7919 + 13) % 200 for i in range(50)]
            done = 0
            for i, n in enumerate((0, 3, 5, 1, 7, 16, 0, 9)):
                if n:
                    feed(state, ids[done : done + n])
                done += n
                ok(rg.rg_state_checkpoint(state, ("place %d" % i).encode(), None))
                snapshot = Snapshot(save(state))
                assert snapshot.header["position"] == done and snapshot.header["page_length"] == length and snapshot.header["window_type"] == window_type
                assert len(snapshot.records) == 2 + i + sum(1 for p in range(8, done + 1, 8))
                assert done == 0 or snapshot.ids() == (0, ids[:done])
                compare(snapshot, 0, state)
                # What stands where the state does has the state's tensors; what stands where an earlier one does, that one's.
                parts = {}
                for number, record in enumerate(snapshot.records):
                    if record["position"] > 0:
                        assert record["part"] == parts.setdefault(record["position"], number)
            model_id = ctypes.create_string_buffer(16)
            ok(rg.rg_model_get_id(model, model_id, None))
            assert snapshot.header["model_id"] == model_id.raw and snapshot.header["kernels"].rstrip(b"\0") == b"reference"
            for number in range(len(snapshot.records) - 1, 0, -1):
                fork = c_void_p()
                ok(rg.rg_state_fork(byref(fork), state, None))
                ok(rg.rg_state_rewind(fork, snapshot.records[number]["position"], None))
                compare(snapshot, number, fork)
                rg.rg_state_free(fork)
            options = rg.rg_snapshot_options_new()
            ok(rg.rg_snapshot_options_set_checkpoints(options, 0))
            bare = Snapshot(save(state, options))
            assert [record["name"] for record in bare.records] == [""] + ["place %d" % i for i in range(8)]
            assert not any(record["is_held"] for record in bare.records[1:])
            compare(bare, 0, state)
            rg.rg_snapshot_options_free(options)
            rg.rg_state_free(state)
            rg.rg_model_close(model)


def byte_piece(tokenizer, byte):
    for token in range(2048):
        text, n, kind = c_void_p(), c_size_t(), c_int()
        ok(rg.rg_tokenizer_piece(tokenizer, token, byref(text), byref(n), byref(kind)))
        if kind.value == 6 and ctypes.string_at(text, n.value) == b"<0x%02X>" % byte:
            return token


@test
def what_goes_with_a_state_is_there():
    model = open_model("demo", 64)
    tokenizer = rg.rg_model_tokenizer(model)
    state, sampler, detokenizer, options = new_state(model), c_void_p(), c_void_p(), rg.rg_snapshot_options_new()
    feed(state, [2, 5, 6])
    ok(rg.rg_sampler_new(byref(sampler), 2048, None))
    ok(rg.rg_sampler_set_seed(sampler, 77))
    ok(rg.rg_sampler_set_temperature(sampler, 0.75))
    for token in (9, 4, 9):
        ok(rg.rg_sampler_accept(sampler, token))
    ok(rg.rg_sampler_set_logit_bias(sampler, 1000, -float("inf")))
    ok(rg.rg_detokenizer_new(byref(detokenizer), tokenizer))
    text, n = c_void_p(), c_size_t()
    for byte in (0xE2, 0x82):
        ok(rg.rg_detokenizer_put(detokenizer, byte_piece(tokenizer, byte), byref(text), byref(n)))
    ok(rg.rg_snapshot_options_set_sampler(options, sampler))
    ok(rg.rg_snapshot_options_set_detokenizer(options, detokenizer))
    ok(rg.rg_snapshot_options_set_note(options, b"a note", 6))
    snapshot = Snapshot(save(state, options))
    data = snapshot.bytes_of(snapshot.of_kind("sampler")[0])
    fields = read_fields(SAMPLER, data)
    assert (fields["version"], fields["vocab_size"], fields["temperature"], fields["seed"]) == (1, 2048, 0.75, 77)
    assert (fields["n_seen"], fields["n_pairs"], fields["n_biases"]) == (3, 2, 1)
    assert struct.unpack_from("<IQIQIf", data, 96) == (4, 2, 9, 3, 1000, -float("inf")) and len(data) == 96 + 24 + 8
    z = 77  # splitmix64, whose first answer is the first word
    z = (z + 0x9E3779B97F4A7C15) & (2**64 - 1)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    assert fields["word_0"] == z ^ (z >> 31)
    assert snapshot.bytes_of(snapshot.of_kind("detokenizer")[0]) == b"\2\0\0\0\xe2\x82\0\0"
    assert snapshot.bytes_of(snapshot.of_kind("note")[0]) == b"a note"
    rg.rg_snapshot_options_free(options)
    rg.rg_detokenizer_free(detokenizer)
    rg.rg_sampler_free(sampler)
    rg.rg_state_free(state)
    rg.rg_model_close(model)


@test
def the_example_on_the_page_is_what_is_written():
    model = open_model("demo", 64)
    state = new_state(model)
    ok(rg.rg_state_checkpoint(state, b"start", None))
    data = save(state)
    Snapshot(data)
    lines = re.findall(r"^([0-9a-f]{4})  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  .*)?$", PAGE, re.M)
    shown = {}
    for at, text in lines:
        shown.update(enumerate(bytes.fromhex(text), int(at, 16)))
    hidden = [i for i in range(len(data)) if i not in shown]
    assert lines and all(data[i] == 0 for i in hidden) and max(shown) == len(data) - 1
    for at, value in shown.items():
        assert data[at] == value, "byte %d is %02x, the page says %02x" % (at, data[at], value)
    rg.rg_state_free(state)

    # The second one: its table of sections, by kind, number of the page, record and rows.
    state = new_state(model)
    ok(rg.rg_state_checkpoint(state, b"start", None))
    feed(state, [2] + list(range(3, 62)))
    ok(rg.rg_state_checkpoint(state, b"sixty", None))
    feed(state, [7] * 5)
    snapshot = Snapshot(save(state))
    found = [(NAMES[e["kind"]], e["record"], e["first"], e["count"]) for e in snapshot.entries]
    pages = [("page", 2, 0, 60), ("page", 0, 0, 64), ("page", 0, 1, 1)]
    tensors = [(name, record, 0, 192) for name in ("rg_lru", "conv1d") for record in (0, 2) for _ in range(6)]
    assert found == [("records", 0, 0, 3)] + tensors + [("hidden", 0, 0, 192), ("hidden", 2, 0, 192)] + pages + [("tokens", 0, 0, 65)]
    rows = [[cell.strip() for cell in row.split("|")[1:4]] for row in PAGE.split("| section | kind | record |")[1].split("\n\n")[0].splitlines()[2:]]
    assert [row[0] for row in rows] == ["0", "1 to 12", "13 to 24", "25, 26", "27", "28", "29", "30"]
    assert [row[1:] for row in rows[4:7]] == [["%s %d" % (kind, first), str(record)] for kind, record, first, _ in pages]
    rg.rg_state_free(state)
    rg.rg_model_close(model)


run()
