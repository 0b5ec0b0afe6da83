#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes cases.txt, which the C tests read, from cases.json beside it. Run it in this folder."""
import json


def numbers(ids):
    return ",".join(map(str, ids)) or "-"


def text(string):
    return string.encode().hex() or "-"


with open("cases.json", encoding="utf-8") as f:
    cases = json.load(f)
with open("cases.txt", "w", encoding="ascii") as f:
    for case in cases["encode"]:
        f.write("encode %s %s %s\n" % (text(case["text"]), numbers(case["ids"]), text(case["decoded"])))
    for case in cases["decode"]:
        f.write("decode - %s %s\n" % (numbers(case["ids"]), text(case["decoded"])))
