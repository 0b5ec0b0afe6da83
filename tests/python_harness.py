# SPDX-License-Identifier: Apache-2.0
"""The smallest harness for tests of the Python binding: it finds the library in BUILD, and counts functions that pass and fail.

    from python_harness import run, test

    @test
    def a_state_begins_at_position_0(): assert ...

    run()

Exit 0: all passed; 1: some failed; 77: skipped, with the reason printed. The last line is "N passed, N failed".
"""

import json
import os
import signal
import subprocess
import sys
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
LIBRARY = os.path.join(BUILD, "librecurrentgemma.so")
GOLDEN = os.path.join(ROOT, "tests", "data", "golden")
CC = os.environ.get("CC", "cc")

# A program that was started in the background has Ctrl-C ignored, and then Python raises no KeyboardInterrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_tests = []


def test(function):
    _tests.append(function)
    return function


def run():
    n_failed = 0
    for function in _tests:
        try:
            function()
        except BaseException:
            n_failed += 1
            print("FAILED", function.__name__)
            traceback.print_exc(file=sys.stdout)
        sys.stdout.flush()
    print("%d passed, %d failed" % (len(_tests) - n_failed, n_failed))
    sys.exit(1 if n_failed else 0)


def raises(kind, function, *arguments, **options):
    """The exception that a call raises; it must be of this kind."""
    try:
        function(*arguments, **options)
    except kind as error:
        return error
    raise AssertionError("%s was not raised" % kind.__name__)


def run_python(code, timeout=120, **environment):
    """Another interpreter that has the binding."""
    return subprocess.run([sys.executable, "-c", code], timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=dict(os.environ, PYTHONPATH=os.path.join(ROOT, "bindings", "python"), **environment))


def read_arrays(path):
    """All arrays of a safetensors file."""
    import numpy
    types = {"F32": "<f4", "F64": "<f8", "I32": "<i4"}
    with open(path, "rb") as file:
        data = file.read()
    n = int.from_bytes(data[:8], "little")
    arrays = {}
    for name, entry in json.loads(data[8 : 8 + n]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            arrays[name] = numpy.frombuffer(data[8 + n + begin : 8 + n + end], types[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def _skip(reason):
    print("skipped:", reason)
    sys.exit(77)


def _preload_sanitizer():
    """A library built with the address sanitizer can be loaded only when its runtime came first."""
    with open(LIBRARY, "rb") as file:
        is_sanitized = b"libasan.so" in file.read()
    if is_sanitized and "libasan" not in os.environ.get("LD_PRELOAD", ""):
        runtime = subprocess.run([CC, "-print-file-name=libasan.so"], stdout=subprocess.PIPE, text=True).stdout.strip()
        os.environ.update(LD_PRELOAD=runtime, ASAN_OPTIONS="detect_leaks=0")  # the interpreter itself leaves memory behind
        os.execv(sys.executable, [sys.executable] + sys.argv)


if not os.path.exists(LIBRARY):
    _skip("%s is not built" % LIBRARY)
try:
    import numpy  # noqa: F401, only to see whether it is there
except ImportError:
    _skip("python3-numpy is not installed")
_preload_sanitizer()
os.environ["RECURRENTGEMMA_LIBRARY"] = LIBRARY
os.environ["HF_HUB_CACHE"] = "/nonexistent"
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "bindings", "python"))
