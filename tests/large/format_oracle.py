#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The JSON and safetensors readers against others: Python's json module, and the reference package safetensors.

Well-formed texts and headers are made at random and then damaged; both sides must take or refuse the same ones and see the
same tensors, apart from the differences that safetensors.h lists. Needs the Python package safetensors, a C compiler ($CC,
"cc" without it) and BUILD/librecurrentgemma.a (BUILD is an environment variable, "build" without it).

  format_oracle.py [--cases 200000] [--seed 1]
"""
import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

try:
    from safetensors import SafetensorError, deserialize
except ImportError:
    print("skipped: the Python package safetensors is not installed")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
TYPES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "I8": 1, "I16": 2, "I32": 4, "I64": 8, "U8": 1, "U16": 2, "U32": 4,
         "U64": 8, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
# What we refuse on purpose and the reference takes.
STRICTER = ("stands twice in one object", "longer than 256 bytes", "contains a NUL", "begins with a brace", "with spaces after it", "more than 8 dimensions",
            "has an unknown dtype", "nested too deeply", "__metadata__ must hold strings only")


def build(folder):
    program = os.path.join(folder, "format_dump")
    library = os.path.join(ROOT, os.environ.get("BUILD", "build"), "librecurrentgemma.a")
    command = [os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O1", "-I" + os.path.join(ROOT, "include"), "-I" + os.path.join(ROOT, "lib"),
               os.path.join(HERE, "format_dump.c"), library, "-lm", "-pthread", "-o", program]
    command[1:1] = os.environ.get("CFLAGS", "").split()
    subprocess.run(command, check=True)
    return program


def ask(program, cases):
    """Our answers to (letter, bytes) cases, one line each."""
    stream = b"".join(letter + struct.pack("<I", len(data)) + data for letter, data in cases)
    answer = subprocess.run([program], input=stream, stdout=subprocess.PIPE, check=True).stdout
    lines = answer.split(b"\n")[:-1]
    assert len(lines) == len(cases), "the program stopped after %d of %d cases" % (len(lines), len(cases))
    return lines


# ---- cases

TOKENS = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b"1e5", b".", b"e", b"E+", b" ", b"\n", b"\t", b"\x00", b"\x1f", b"\x7f", b"\xff",
          b"\xc3\xa9", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\\u00e9", b"\\ud83d", b"\\ude00", b"\\u0000", b"\\x", b"null", b"true", b"NaN", b"Infinity",
          b"-Infinity", b"//", b"'", b"01", b'"a"', b'"a":', b"18446744073709551616", b"1.0", b"-1", b'"__metadata__":{"a":"b"},']


def damage(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(6)
        if how == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif how == 1:
            data[at:at] = rng.choice(TOKENS)
        elif how == 2:
            data[at:at + rng.randrange(1, 6)] = rng.choice(TOKENS)
        elif how == 3:
            del data[at:at + rng.randrange(1, 9)]
        elif how == 4:
            other = rng.randrange(len(data) + 1)
            data[at:at] = data[other:other + rng.randrange(1, 30)]
        elif data:
            at %= len(data)
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


def random_value(rng, depth):
    kind = rng.randrange(9 if depth < 5 else 6)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind == 1:
        return rng.choice((0, -1, 12, 2 ** 64, -(10 ** 30)))
    if kind == 2:
        return rng.choice((0.5, -1e-300, 1.5e300, 3.25))
    if kind < 6:
        return "".join(rng.choice("ab\"\\/\n\t\u00e9\u20ac\U0001f600\x00\x7f ") for _ in range(rng.randrange(5)))
    if kind == 6:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {random_value(rng, 9) if rng.randrange(2) else "k%d" % i: random_value(rng, depth + 1) for i in range(rng.randrange(4))}


def random_text(rng):
    text = json.dumps(random_value(rng, 0), ensure_ascii=bool(rng.randrange(2)), indent=rng.choice((None, None, 1)))
    return damage(rng, text.encode())


def random_file(rng):
    header, at = {}, 0
    if rng.randrange(3) == 0:
        header["__metadata__"] = {"format": "pt"}
    names = rng.sample(["a", "b", "weight", "\u00e9", "x.y", "", "a b"], rng.randrange(5))
    for name in names:
        dtype = rng.choice(list(TYPES))
        shape = [rng.choice((0, 1, 1, 2, 3)) for _ in range(rng.randrange(4))]
        n = TYPES[dtype]
        for size in shape:
            n *= size
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    entries = list(header.items())
    rng.shuffle(entries)
    text = json.dumps(dict(entries), separators=rng.choice(((",", ":"), (", ", ": ")))).encode()
    if rng.randrange(4):
        text = damage(rng, text)
    text += b" " * rng.choice((0, 0, 3))
    length = len(text) + rng.choice((0,) * 20 + (1, -1, 8, 2 ** 20, 2 ** 63))
    return struct.pack("<Q", length % 2 ** 64) + text + bytes(max(0, at + rng.choice((0,) * 20 + (1, -1))))


# ---- the others' answers

def unique(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("a key twice")
    return dict(pairs)


def refuse_constant(name):
    raise ValueError(name)


def has_surrogates(value, depth=1):
    if depth > 33:
        raise ValueError("too deep")
    if isinstance(value, str):
        return any(0xd800 <= ord(c) < 0xe000 for c in value)
    if isinstance(value, dict):
        return any([has_surrogates(x, depth + 1) for pair in value.items() for x in pair])
    return isinstance(value, list) and any([has_surrogates(x, depth + 1) for x in value])


def python_takes(text):
    try:
        decoded = text.decode("utf-8", "strict")
        if decoded.startswith("\ufeff"):
            return False
        return not has_surrogates(json.loads(decoded, object_pairs_hook=unique, parse_constant=refuse_constant, parse_int=lambda s: 0))
    except (ValueError, RecursionError):
        return False


def reference_list(data):
    """Names, shapes and bytes as the package sees them, or None."""
    try:
        return sorted((name.encode(), tuple(t["shape"]), bytes(t["data"])) for name, t in deserialize(data))
    except (SafetensorError, UnicodeError, OverflowError):
        return None


def our_list(line, data):
    found = []
    for entry in line.decode().split(" ")[1:]:
        name, _, rest = entry.partition("@")
        name, _, shape = name.partition(":")
        at, size = (int(x) for x in rest.split("+"))
        found.append((bytes.fromhex(name), tuple(int(x) for x in shape.split(",") if x), data[at:at + size]))
    return sorted(found)


def compare(program, rng, n):
    failed, stricter, taken = 0, {}, [0, 0]
    texts = [random_text(rng) for _ in range(n)]
    for text, line in zip(texts, ask(program, [(b"J", t) for t in texts])):
        taken[0] += line == b"ok"
        if (line == b"ok") != python_takes(text):
            failed += 1
            print("FAILED json %r: %s" % (text, line))
    files = [random_file(rng) for _ in range(n)]
    for data, line in zip(files, ask(program, [(b"S", f) for f in files])):
        theirs = reference_list(data)
        if line.startswith(b"ok"):
            taken[1] += 1
            good = theirs == our_list(line, data)
        else:
            reason = next((s for s in STRICTER if s in line.decode("utf-8", "replace")), None)
            good = theirs is None or reason is not None
            if theirs is not None and reason:
                stricter[reason] = stricter.get(reason, 0) + 1
        if not good:
            failed += 1
            print("FAILED safetensors %r: %s, reference %r" % (data, line, theirs))
    return failed, stricter, taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=200000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    failed, done, stricter, taken = 0, 0, {}, [0, 0]
    with tempfile.TemporaryDirectory() as folder:
        program = build(folder)
        while done < options.cases and failed < 20:
            n = min(20000, options.cases - done)
            more, reasons, ok = compare(program, rng, n)
            failed += more
            done += n
            taken = [a + b for a, b in zip(taken, ok)]
            for reason, count in reasons.items():
                stricter[reason] = stricter.get(reason, 0) + count
    print("TABLE json: %d texts, %d well-formed" % (done, taken[0]))
    print("TABLE safetensors: %d files, %d taken; refused though the reference takes them: %s" % (
        done, taken[1], ", ".join("%d %s" % (n, r) for r, n in sorted(stricter.items())) or "none"))
    print("%d passed, %d failed" % (2 * done - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
