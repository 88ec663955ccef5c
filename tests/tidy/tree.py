# SPDX-License-Identifier: ISC
"""The files of the tree as the checks see them, and what they need to look into C."""

import functools
import os
import re

SKIPPED_FOLDERS = {".git", "build", ".cache", "__pycache__", "node_modules", "Testing"}
C_SUFFIXES = (".c", ".h", ".def")


class Tree:
    """Texts of a source tree by their path relative to `root`."""

    def __init__(self, root):
        self.root = root
        self.paths = sorted(self._walk())
        self._texts = {}

    def _walk(self):
        for folder, names, files in os.walk(self.root):
            names[:] = [n for n in names if n not in SKIPPED_FOLDERS]
            for name in set(files) - {".git"}:  # a file in a worktree
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    yield os.path.relpath(path, self.root)

    def data(self, path):
        with open(os.path.join(self.root, path), "rb") as f:
            return f.read()

    def text(self, path):
        if path not in self._texts:
            self._texts[path] = self.data(path).decode("utf-8", "replace")
        return self._texts[path]

    def exists(self, path):
        return os.path.lexists(os.path.join(self.root, path))

    def matching(self, prefixes=(), suffixes=()):
        return [p for p in self.paths if p.startswith(tuple(prefixes) or "") and p.endswith(tuple(suffixes) or "")]

    def c_files(self, *prefixes):
        return self.matching(prefixes or ("src/", "include/", "tests/", "bench/"), C_SUFFIXES)


_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


@functools.lru_cache(maxsize=None)
def strip_c(text, keep_comments=False):
    """C with comments and string literals blanked; line numbers stay."""

    def blank(match):
        token = match.group(0)
        if token[0] == "/":
            return token if keep_comments else re.sub(r"[^\n]", " ", token)
        return token[0] + " " * (len(token) - 2) + token[0]

    return _TOKEN.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def functions(text):
    """(name, first line, length) of each function: from its first line to its closing brace, in Linux style."""
    lines = strip_c(text).split("\n")
    found = []
    start = None
    for number, line in enumerate(lines):
        if line.rstrip() == "{" and start is None:
            first = number
            while first > 0 and lines[first - 1].strip() and not re.match(r"[}#]|.*;\s*$", lines[first - 1]):
                first -= 1
            head = " ".join(lines[first:number])
            name = re.search(r"(\w+)\s*\((?!.*\b(?:struct|union|enum)\s*$)", head)
            start = (name.group(1) if name else "?", first)
        elif line.startswith("}") and start is not None:
            found.append((start[0], start[1] + 1, number - start[1] + 1))
            start = None
    return found
