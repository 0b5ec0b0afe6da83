#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build the demo's corpus: public-domain English from three Debian packages.

Writes OUT/train/*.txt and OUT/heldout/*.txt, one file per book, chapters
separated by a form feed, one paragraph per line, blank line between
paragraphs.  Whole chapters are held out: the last two of every novel and three
books of the Bible.  Needs Debian (apt-get, dpkg-deb) and the Python package
rdata; nothing is installed, the packages are unpacked under OUT.

  corpus.py --out corpus
"""
import argparse
import os
import re
import subprocess
import warnings
import zlib

import rdata

PACKAGES = ("r-cran-janeaustenr", "r-cran-tokenizers", "bible-kjv", "bible-kjv-text")
HELDOUT_CHAPTERS = 2
HELDOUT_BOOKS = ("Ruth", "Jonah", "Philippians")
CHAPTER_END = "\f"


def unpack(out):
    """Download the packages and unpack them; return the directory."""
    debs, root = os.path.join(out, "debs"), os.path.join(out, "root")
    os.makedirs(debs, exist_ok=True)
    for name in PACKAGES:
        if not any(f.startswith(name + "_") for f in os.listdir(debs)):
            subprocess.run(["apt-get", "download", "-q", name], cwd=debs, check=True)
    for f in sorted(os.listdir(debs)):
        subprocess.run(["dpkg-deb", "-x", os.path.join(debs, f), root], check=True)
    return root


def r_datasets(root, package):
    """The data sets of an installed R package: name -> list of strings.

    R keeps them in a lazy-load pair: .rdx (offset and length of each object)
    and .rdb (a 4-byte length, then a zlib stream, per object).
    """
    base = os.path.join(root, "usr/lib/R/site-library", package, "data/Rdata")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rdata expects other file name endings
        index = rdata.read_rds(base + ".rdx")["variables"]
        blob = open(base + ".rdb", "rb").read()
        return {str(name): [str(s) for s in rdata.conversion.convert(
                    rdata.parser.parse_data(zlib.decompress(blob[at + 4:at + size])))]
                for name, (at, size) in index.items()}


def clean(paragraph):
    """One printed paragraph on one line, in plain ASCII as far as possible."""
    text = " ".join(paragraph.split())
    # Underscores mark italics in these editions; they are not part of the prose.
    return re.sub(r"_", "", text)


def paragraphs(lines):
    block = []
    for line in list(lines) + [""]:
        if line.strip():
            block.append(line.strip())
        elif block:
            yield clean(" ".join(block))
            block = []


def novel(lines, heading, end):
    """Chapters (lists of paragraphs) of a novel given by its lines.

    What comes before the first heading (title, contents) and after the end mark
    is dropped, and so are the headings themselves.
    """
    chapters = []
    for p in paragraphs(lines):
        if end and re.fullmatch(end, p):
            break
        if re.fullmatch(heading, p):
            chapters.append([])
        elif re.fullmatch(r"(VOLUME|Volume) .*", p):
            continue
        elif chapters:
            chapters[-1].append(p)
    return [c for c in chapters if sum(map(len, c)) > 1000]


def bible(root):
    """Books of the King James Bible: name -> chapters (lists of paragraphs)."""
    text = subprocess.run(
        [os.path.join(root, "usr/bin/bible"), "-p", os.path.join(root, "usr/lib"),
         "-l100000", "Gen1:1-Rev22:21"],
        check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout.decode("latin-1")
    books, chapter = {}, None
    for line in text.split("\n"):
        line = line.rstrip()
        head = re.fullmatch(r"((?:[123I]+ )?[A-Z][A-Za-z ]*?) (\d+)", line)
        verse = re.fullmatch(r"\s*(\d+) (.+)", line)
        if head:
            chapter = []
            books.setdefault(head.group(1), []).append(chapter)
        elif verse and chapter is not None:
            # The package has no paragraph marks: start a new one at a verse
            # once there are about 400 characters, so that breaks stay frequent.
            text = clean(verse.group(2))
            if chapter and len(chapter[-1]) < 400:
                chapter[-1] += " " + text
            else:
                chapter.append(text)
    return books


def write(path, chapters):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write(CHAPTER_END.join("\n\n".join(c) + "\n" for c in chapters))
    return os.path.getsize(path)


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", required=True, help="directory to write")
    args = ap.parse_args()
    root = unpack(args.out)

    novels = {name: novel(lines, r"(CHAPTER|Chapter) [IVXL0-9]+\.?",
                          r"FINIS|Finis|THE END|A NOTE ON THE TEXT")
              for name, lines in r_datasets(root, "janeaustenr").items()}
    moby = r_datasets(root, "tokenizers")["mobydick"][0].replace("\r", "")
    moby = moby[:moby.index("End of Project Gutenberg")]
    novels["mobydick"] = novel(moby.split("\n"), r"CHAPTER \d+\..*|Epilogue", None)

    sizes = {"train": 0, "heldout": 0}
    for name, chapters in novels.items():
        train, held = chapters[:-HELDOUT_CHAPTERS], chapters[-HELDOUT_CHAPTERS:]
        sizes["train"] += write(os.path.join(args.out, "train", name + ".txt"), train)
        sizes["heldout"] += write(os.path.join(args.out, "heldout", name + ".txt"), held)
        print("%-18s %3d chapters" % (name, len(chapters)))
    books = bible(root)
    print("%-18s %3d books, %d chapters" % ("bible", len(books), sum(map(len, books.values()))))
    assert len(books) == 66, sorted(books)
    train = [c for b, cs in books.items() if b not in HELDOUT_BOOKS for c in cs]
    held = [c for b in HELDOUT_BOOKS for c in books[b]]
    sizes["train"] += write(os.path.join(args.out, "train", "bible.txt"), train)
    sizes["heldout"] += write(os.path.join(args.out, "heldout", "bible.txt"), held)
    print("bytes: training %(train)d, held out %(heldout)d" % sizes)


if __name__ == "__main__":
    main()
