# SPDX-License-Identifier: Apache-2.0
"""The binding's tables against their sources: the list of exports, the headers, and the C compiler."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
from ctypes import POINTER

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from python_harness import CC, ROOT, run, test

from recurrentgemma import _structures as s
from recurrentgemma._library import FUNCTIONS

INCLUDE = os.path.join(ROOT, "include")
HEADERS = ["version.h", "status.h", "host.h", "tokenizer.h", "model.h", "native.h", "state.h", "infer.h", "sampler.h", "generate.h",
           "snapshot.h", "store.h", "experimental.h"]  # all but backend.h


def read(*path):
    with open(os.path.join(ROOT, *path)) as file:
        return file.read()


def header(name):
    return re.sub(r"/\*.*?\*/", "", read("include", "recurrentgemma", name), flags=re.S)


CALLBACKS = {
    "rg_log_fn": s.LogFunction, "rg_progress_fn": s.ProgressFunction, "rg_parallel_for_fn": s.ParallelForFunction,
    "rg_filter_fn": s.FilterFunction, "rg_piece_fn": s.PieceFunction, "rg_tap_fn": s.TapFunction,
    "rg_convert_report_fn": s.ConvertReportFunction, "rg_store_entry_fn": s.StoreEntryFunction,
}
PLAIN = {
    "void": None, "int": ctypes.c_int, "rg_status": ctypes.c_int, "unsigned": ctypes.c_uint, "rg_token": ctypes.c_int32,
    "float": ctypes.c_float, "size_t": ctypes.c_size_t, "uint32_t": ctypes.c_uint32, "uint64_t": ctypes.c_uint64,
    "void *": ctypes.c_void_p, "char *": s.Bytes, "const char *": ctypes.c_char_p, "const char **": POINTER(s.Bytes),
    "float *": s.Floats, "rg_token *": s.Tokens, "size_t *": POINTER(ctypes.c_size_t), "int *": POINTER(ctypes.c_int),
    "uint64_t *": POINTER(ctypes.c_uint64), "unsigned char *": POINTER(ctypes.c_ubyte),
}


def python_type(c):
    """The ctypes type that stands for a C type."""
    c = re.sub(r"\s*\*\s*", " *", c).replace(" * *", " **").strip()
    if c != "const char *" and c != "const char **":
        c = re.sub(r"\b(const|struct) ", "", c).replace("*const", "*").replace("* *", "**")
    if c in PLAIN:
        return PLAIN[c]
    name, stars = re.fullmatch(r"(rg_\w+) (\*+)", c).groups()
    kind = CALLBACKS.get(name) if stars == "*" else None
    if kind is None:
        kind = POINTER(s.STRUCTURES[name]) if name in s.STRUCTURES else ctypes.c_void_p
        kind = POINTER(kind) if stars == "**" else kind
    return kind


def without_name(argument):
    """The type in "const char *path"; an array is a pointer."""
    return re.sub(r"\w+\s*$", "", re.sub(r"(\w+)\[\w+\]\s*$", r"*\1", argument.strip()))


def prototypes():
    found = {}
    for name in HEADERS:
        for result, function, arguments in re.findall(r"RG_API\s+([\w\s*]+?)\s*\b(rg_\w+)\(([^;]*)\);", header(name)):
            parts = [] if arguments.strip() == "void" else arguments.split(",")
            found[function] = (result, [without_name(part) for part in parts])
    return found


@test
def every_export_is_declared_and_nothing_else():
    exports = set(re.findall(r"^\s*(rg_\w+);", read("lib", "api", "exports.map"), re.M))
    assert exports and exports == set(FUNCTIONS), exports ^ set(FUNCTIONS)


@test
def declarations_agree_with_the_prototypes_of_the_headers():
    found = prototypes()
    assert set(found) == set(FUNCTIONS), set(found) ^ set(FUNCTIONS)
    for name, (result, arguments) in found.items():
        expected = (python_type(result), [python_type(argument) for argument in arguments])
        assert (FUNCTIONS[name][0], list(FUNCTIONS[name][1])) == expected, (name, FUNCTIONS[name], expected)


@test
def callbacks_agree_with_the_headers():
    text = " ".join(header(name) for name in HEADERS)
    for name, kind in CALLBACKS.items():
        if name == "rg_parallel_for_fn":  # has a function among its arguments, and is not offered
            continue
        result, arguments = re.search(r"typedef (\w+) %s\(([^;]*)\);" % name, text).groups()
        arguments = [without_name(part) for part in arguments.split(",")]
        assert (kind._restype_, list(kind._argtypes_)) == (python_type(result), [python_type(each) for each in arguments]), name


@test
def no_structure_is_passed_by_value():
    for name, (result, arguments) in FUNCTIONS.items():
        for kind in [result, *arguments]:
            assert kind is None or not issubclass(kind, ctypes.Structure), name


@test
def every_structure_outside_backend_h_is_declared():
    text = " ".join(header(name) for name in HEADERS)
    assert set(re.findall(r"typedef struct (rg_\w+) \{", text)) == set(s.STRUCTURES)


def ask_the_compiler(expressions):
    """The values of integer constant expressions, as the C compiler has them; None without a compiler."""
    if not shutil.which(CC.split()[0]):
        print("no C compiler: layouts are not compared")
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "ask.c"), os.path.join(folder, "ask")
        with open(source, "w") as file:
            file.write("#include <recurrentgemma.h>\n#include <stdio.h>\nint main(void)\n{\n")
            file.writelines('    printf("%%lld\\n", (long long)(%s));\n' % expression for expression in expressions)
            file.write("    return 0;\n}\n")
        subprocess.run(CC.split() + ["-I", INCLUDE, source, "-o", program], check=True)
        return [int(line) for line in subprocess.run([program], check=True, stdout=subprocess.PIPE, text=True).stdout.split()]


@test
def layouts_agree_with_the_compiler():
    expected = {}
    for name, structure in s.STRUCTURES.items():
        expected["sizeof(%s)" % name] = ctypes.sizeof(structure)
        for field in ["struct_size"] + [each[0] for each in structure._fields_]:
            member = getattr(structure, field)
            expected["offsetof(%s, %s)" % (name, field)] = member.offset
            expected["sizeof(((%s *)0)->%s)" % (name, field)] = member.size
    actual = ask_the_compiler(expected)
    if actual is not None:
        wrong = [(each, ours, theirs) for (each, ours), theirs in zip(expected.items(), actual) if ours != theirs]
        assert not wrong, wrong


@test
def structures_have_the_members_of_the_headers_in_their_order():
    text = " ".join(header(name) for name in HEADERS)
    for name, structure in s.STRUCTURES.items():
        body = re.search(r"typedef struct %s \{(.*?)\} %s;" % (name, name), text, re.S).group(1)
        members = []
        for line in filter(None, map(str.strip, body.split(";"))):
            pointer = re.search(r"\(\*(\w+)\)", line)
            members += [pointer.group(1)] if pointer else re.findall(r"(\w+)(?:\[\w+\])?\s*(?:,|$)", line)
        assert members == ["struct_size"] + [field[0] for field in structure._fields_], (name, members)


@test
def constants_agree_with_the_headers():
    expected = {"RG_ABI": s.ABI, "RG_CONTINUE": s.CONTINUE, "RG_ERROR_MESSAGE_BYTES": s.ErrorStruct.message.size}
    for name in ("OK", "AGAIN", "INTERRUPTED", "ERR_BUSY", "ERR_MEMORY", "ERR_NOT_FOUND", "ERR_NO_TOKENIZER", "ERR_BUFFER", "ADD_BOS", "STRICT_UTF8",
                 "PLAIN_TEXT", "TRIM_MESSAGES", "OPEN_REPLY", "ALLOW_SPECIAL"):
        expected["RG_" + name] = getattr(s, name)
    tables = (
        ("RG_%s", s.ROLES), ("RG_TYPE_%s", s.TYPES), ("RG_WINDOW_%s", s.WINDOWS), ("RG_WANT_%s", s.WANTED),
        ("RG_PIECE_%s", {name: number for number, name in s.PIECE_KINDS.items()}),
        ("RG_STOP_%s", {name: number for number, name in s.STOP_REASONS.items()}),
    )
    unset = {"RG_TYPE_%s": "DEFAULT", "RG_WANT_%s": "NONE", "RG_STOP_%s": "NONE"}
    for pattern, table in tables:
        for name, number in table.items():
            expected[pattern % (name.upper().replace("-", "_") if name else unset[pattern])] = number
    actual = ask_the_compiler(expected)
    if actual is not None:
        assert dict(zip(expected, actual)) == expected


run()
