# SPDX-License-Identifier: ISC
"""Citations of RFCs in code and tests: one form, and a table of them."""

import re

from tree import line_of

PREFIXES = ("src/", "include/", "tests/", "bench/")
SUFFIXES = (".c", ".h", ".def", ".py", ".smtp", ".md")
GAP = r"[ \t]*(?:\n[ \t]*(?:\*|#|//)?[ \t]*)?"
CITATION = re.compile(rf"\bRFC{GAP}(\d{{3,5}})(?:{GAP}(?<=[\s*#])((?:Appendix [A-Z]|\d+)(?:\.\d+)*))?(?![\w])")
# Written otherwise a citation is not found by those who look for it.
OTHER_FORM = re.compile(r"\bRFC(?:-|_)?\d{3,5}\b|\bRFC \d{3,5},? (?:section|sec\.|sect\.|§)|\brfc ?\d{4,5}\b")


def citations(text):
    for match in CITATION.finditer(text):
        yield int(match.group(1)), match.group(2) or "", line_of(text, match.start())


def check_rfc(tree, _build):
    """RFCs are cited as: RFC 5321 4.5.2"""
    for path in tree.matching(PREFIXES, SUFFIXES):
        if path.startswith("tests/tidy/"):
            continue
        text = tree.text(path)
        for match in OTHER_FORM.finditer(text):
            yield f"{path}:{line_of(text, match.start())}: \"{match.group(0)}\" should read like: RFC 5321 4.5.2"


def section_key(section):
    return [int(p) if p.isdigit() else 10**6 for p in re.split(r"[. ]", section)] if section else []


def print_table(tree):
    rows = {}
    for path in tree.matching(PREFIXES, SUFFIXES):
        if path.startswith("tests/tidy/") or path.endswith(".md"):
            continue
        for number, section, _line in citations(tree.text(path)):
            code, tests = rows.setdefault((number, section), (set(), set()))
            (tests if path.startswith("tests/") else code).add(path)
    for (number, section), (code, tests) in sorted(rows.items(), key=lambda r: (r[0][0], section_key(r[0][1]))):
        print(f"RFC {number} {section}".rstrip())
        print(f"    code   {' '.join(sorted(code)) or '-'}")
        print(f"    tests  {' '.join(sorted(tests)) or '-'}")
    without = [key for key, (code, tests) in rows.items() if key[1] and code and not tests]
    print(f"{len(rows)} places cited, {len(without)} of them in code only")


CHECKS = {"rfc": check_rfc}
