# SPDX-License-Identifier: ISC
"""Sizes. What is too long today stands in ratchet.txt with its number, which may only go down."""

import os

from tree import functions

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 100
FUNCTION_LINES_GOOD = 60
COLUMNS_MAX = 120
LIST = "tests/tidy/ratchet.txt"
COLUMN_SUFFIXES = (".c", ".h", ".def", ".py", ".cmake", "CMakeLists.txt")


def columns(line):
    return len(line.expandtabs(8))


def measure(tree):
    """{(kind, path, name): (number, line)} of everything that is longer than it should be."""
    found = {}
    for path in tree.c_files():
        for name, line, length in functions(tree.text(path)):
            if length > FUNCTION_LINES_GOOD:
                found[("function", path, name)] = (length, line)
    for path in tree.matching(("src/", "include/", "tests/", "bench/", "deploy/"), COLUMN_SUFFIXES):
        wide = [n for n, line in enumerate(tree.text(path).split("\n"), 1) if columns(line) > COLUMNS_MAX]
        if wide:
            found[("columns", path, "-")] = (len(wide), wide[0])
    return found


def read_list(tree):
    known = {}
    if tree.exists(LIST):
        for line in tree.text(LIST).splitlines():
            if line and not line.startswith("#"):
                kind, path, name, number = line.split()
                known[(kind, path, name)] = int(number)
    return known


def problem_of(key, number, line, allowed):
    kind, path, name = key
    if kind == "columns":
        if number > (allowed or 0):
            return f"{path}:{line}: {number} lines of more than {COLUMNS_MAX} columns (allowed: {allowed or 0})"
    elif number > FUNCTION_LINES_MAX:
        return f"{path}:{line}: {name} has {number} lines; {FUNCTION_LINES_MAX} is the end"
    elif allowed is None:
        return f"{path}:{line}: {name} has {number} lines; new functions stop at {FUNCTION_LINES_GOOD}"
    elif number > allowed:
        return f"{path}:{line}: {name} has grown from {allowed} to {number} lines"
    return None


def check_size(tree, _build):
    """files have at most 600 lines, functions 60 (100 at the very most), lines 120 columns; exceptions only shrink"""
    for path in tree.c_files():
        count = tree.text(path).count("\n")
        if count > FILE_LINES_MAX:
            yield f"{path}:1: {count} lines; at most {FILE_LINES_MAX}, split it by noun"
    known = read_list(tree)
    found = measure(tree)
    for key, (number, line) in sorted(found.items()):
        problem = problem_of(key, number, line, known.get(key))
        if problem:
            yield problem
    for key in sorted(set(known) - set(found)):
        yield f"{LIST}: {' '.join(key)} is good now; take it out (tidy.py --ratchet)"


def write_list(tree, entries):
    with open(os.path.join(tree.root, LIST), "w", encoding="utf-8") as f:
        f.write("# SPDX-License-Identifier: ISC\n"
                "# What is longer than it should be (ratchet.py). The numbers only go down: tidy.py --ratchet\n"
                f"# function: longer than {FUNCTION_LINES_GOOD} lines; columns: lines wider than {COLUMNS_MAX}\n")
        for (kind, path, name), number in sorted(entries.items()):
            f.write(f"{kind} {path} {name} {number}\n")


def lower(tree):
    found = measure(tree)
    known = read_list(tree)
    write_list(tree, {key: min(number, found[key][0]) for key, number in known.items() if key in found})
    return 0


CHECKS = {"size": check_size}
