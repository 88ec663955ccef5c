# SPDX-License-Identifier: ISC
"""Every limit has a counter and a test that reaches it: tests/tidy/limits.txt against keys, counters and tests."""

import re

from tree import functions, line_of, strip_c

LIST = "tests/tidy/limits.txt"
KEYS = "src/config/keys.def"
REPLIES = "include/postern/smtp/reply_table.def"
KEY = re.compile(r"^PN_(?:INT|POW2|SIZE|LIST)\((\w+), (\w+),", re.M)
MAXIMUM = re.compile(r"^#define[ \t]+(\w*(?:_MAX|_LIMIT)(?:_[A-Z]+)*|PN_LINE_DISCARD_FACTOR)[ \t]", re.M)
COUNTERS = re.compile(r"#define PN_\w+_COUNTERS\(X\)((?:[^\n]*\\\n)*[^\n]*)")
REPLY = re.compile(r'PN_REPLY_ROW\(\w+, (\d+), "([\d.]*)",\s*(?:/\*.*?\*/\s*)?"[^"]*",\s*"([\w-]+)"', re.S)
FIELDS = {"limit": 4, "range": 3, "setting": 3, "fixed": 4, "bound": 3, "inner": 3}


def rows(tree):
    """(line number, kind, name, rest as words) of the list; a row that does not parse has no rest."""
    for number, line in enumerate(tree.text(LIST).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        count = FIELDS.get(words[0], 0)
        is_text = words[0] in ("setting", "inner")
        is_good = len(words) >= count if is_text else len(words) == count
        yield number, words[0], words[1] if len(words) > 1 else "", words[2:] if count and is_good else []


def function_text(tree, path, name):
    """The text of a C or Python function of that name, or None."""
    text = tree.text(path)
    if path.endswith(".py"):
        found = re.search(rf"^def {name}\(.*?(?=^\S|\Z)", text, re.M | re.S)
        return found.group(0) if found else None
    for function, first, length in functions(text):
        if function == name:
            return "\n".join(text.split("\n")[first - 1:first - 1 + length])
    return None


def test_problem(tree, test, looked_for):
    """What is wrong with FILE or FILE:FUNCTION; `looked_for`: spellings of which the test must contain one."""
    path, _, function = test.partition(":")
    if path not in tree.paths or not path.startswith("tests/"):
        return f"there is no test {path}"
    text = function_text(tree, path, function) if function else tree.text(path)
    if text is None:
        return f"{path} has no function {function}"
    if looked_for and not any(word in text for word in looked_for):
        return f"{test} does not look at {looked_for[0]}"
    return None


def known_counters(tree):
    """SCOPE.COUNTER -> what a test may call it; a counter may stand in any scope that the code registers."""
    known = {}
    names, scopes = set(), set()
    for path in tree.c_files("src/", "include/"):
        text = tree.text(path)
        scopes |= set(re.findall(r'\.scope = "(\w+)"', text))
        for match in COUNTERS.finditer(text):
            names |= set(re.findall(r"\bX\(\s*(\w+)\s*\)", match.group(1)))
    known.update({f"{scope}.{name}": [name] for scope in scopes - {"reply"} for name in names})
    if REPLIES in tree.paths:
        for code, enhanced, reason in REPLY.findall(tree.text(REPLIES)):
            known[f"reply.{reason}"] = [reason, f"{code} {enhanced}"]
    return known


def wanted_names(tree):
    """Name -> where, of every numeric key and of every compile-time maximum."""
    keys, maxima = {}, {}
    text = tree.text(KEYS)
    for match in KEY.finditer(text):
        section = match.group(1).lower()
        name = match.group(2) if section == "top" else f"{section}.{match.group(2)}"
        keys[name] = f"{KEYS}:{line_of(text, match.start())}"
    for path in tree.c_files("src/", "include/"):
        code = strip_c(tree.text(path))
        for match in MAXIMUM.finditer(code):
            maxima.setdefault(match.group(1), f"{path}:{line_of(code, match.start())}")
    return keys, maxima


def row_problem(tree, kind, rest, counters):
    if not rest:
        return "is not a row like those at the top of the file"
    if kind in ("limit", "fixed"):
        if rest[0] not in counters:
            return f"there is no counter {rest[0]}"
        return test_problem(tree, rest[1], counters[rest[0]])
    return test_problem(tree, rest[0], []) if kind in ("range", "bound") else None


def check_limits(tree, _build):
    """every numeric key and every compile-time maximum is in tests/tidy/limits.txt, with its counter and its test"""
    if KEYS not in tree.paths:
        return
    counters = known_counters(tree)
    keys, maxima = wanted_names(tree)
    seen = set()
    for number, kind, name, rest in rows(tree) if LIST in tree.paths else ():
        is_key = kind in ("limit", "range", "setting")
        if name not in (keys if is_key else maxima):
            yield f"{LIST}:{number}: there is no {'numeric key' if is_key else 'maximum'} {name}"
        if name in seen:
            yield f"{LIST}:{number}: {name} is there twice"
        seen.add(name)
        problem = row_problem(tree, kind, rest, counters)
        if problem:
            yield f"{LIST}:{number}: {name}: {problem}"
    for name, where in sorted({**keys, **maxima}.items()):
        if name not in seen:
            yield f"{where}: {name} is not in {LIST}"


CHECKS = {"limits": check_limits}
