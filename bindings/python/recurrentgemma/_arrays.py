# SPDX-License-Identifier: Apache-2.0
"""Between numpy arrays, numbers and text, and what C takes. ctypes cuts numbers that are too large; here they are refused."""

import operator
import os

import numpy as np

from ._structures import Floats, Tokens


def token_array(tokens):
    """Token ids as a contiguous int32 array. Ids that a vocabulary does not have are left for the library to refuse."""
    array = np.asarray(tokens)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError("token ids must be a flat sequence of integers")
    if array.size and (int(array.min()) < -2**31 or int(array.max()) >= 2**31):
        raise ValueError("a token id has more than 32 bits")
    return np.ascontiguousarray(array, dtype=np.int32)


def token_id(token):
    number = operator.index(token)
    if not -2**31 <= number < 2**31:
        raise ValueError("a token id has more than 32 bits")
    return number


def unsigned(value, bits=64):
    number = operator.index(value)
    if not 0 <= number < 2**bits:
        raise ValueError("%d is not in [0, 2^%d)" % (number, bits))
    return number


def float_array(out, shape):
    """A new float32 array for the library to write to, or the caller's own."""
    if out is None:
        return np.empty(shape, np.float32)
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.shape != shape or not out.flags.carray:
        raise TypeError("out must be a contiguous, writable float32 array of shape %s" % (shape,))
    return out


def floats(array):
    return None if array is None else array.ctypes.data_as(Floats)


def tokens_of(array):
    return array.ctypes.data_as(Tokens)


def text_bytes(text):
    """UTF-8. Lone surrogates become ill-formed bytes, which the library replaces or refuses, as it was told to."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def c_string(text):
    """Text for calls that read it up to a NUL."""
    data = text_bytes(text)
    if b"\0" in data:
        raise ValueError("the text holds a NUL character")
    return data


def path_bytes(path):
    data = os.fsencode(os.fspath(path))
    if b"\0" in data:
        raise ValueError("the path holds a NUL character")
    return data
