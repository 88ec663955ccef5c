# SPDX-License-Identifier: ISC
"""Checks of all files: words, form, files that nobody uses, links and options in documents."""

import fnmatch
import os
import re
import subprocess

from tree import line_of

# Octets, not text (as .editorconfig says); transcripts carry wrong line ends on purpose.
RAW = ("tests/fuzz/corpus/",)
OWN = "tests/tidy/"
SOURCE_SUFFIXES = (".c", ".h", ".def", ".py", ".cmake", ".sh", ".service", ".socket", "CMakeLists.txt", ".h.in")

MARKS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|W" r"IP|TB" r"D)\b|"
                   r"\bplace" r"holder\b|\bnot yet imple" r"mented\b", re.I)
MARKS_CASE = {"todo", "xxx", "wip", "tbd", "hack"}
MACHINE = re.compile(r"(?<![\w.$}])/(?:home/(?!tim\b)\w+|Users/\w+|work/\w+|tmp/b(?:uild)?-\w+)(?:/|\b)")
HOSTS = re.compile(r"\b(?:registry\.npm" r"js\.org|pypi\.(?:org|python\.org)|files\.python" r"hosted\.org|crates\.io|"
                   r"proxy\.go" r"lang\.org|(?:deb|security|snapshot|ftp)\.deb" r"ian\.org|docker\.io|ghcr\.io|"
                   r"quay\.io|rubygems\.org|repo\.maven\.apache\.org)\b")
KEY = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s*\n?[A-Za-z0-9+/=]{32}")


def texts(tree):
    """(path, text) of every text file; raw ones are left out."""
    for path in tree.paths:
        if not path.startswith(RAW) and b"\0" not in tree.data(path):
            yield path, tree.text(path)


def is_mark(match):
    word = match.group(0)
    return word.lower() not in MARKS_CASE or word.isupper()


def check_words(tree, _build):
    """no unfinished marks, no paths of one machine, no package registry, no private key"""
    for path, text in texts(tree):
        if path.startswith(OWN) and path.endswith(".py"):
            continue
        for match in MARKS.finditer(text):
            if is_mark(match):
                yield f"{path}:{line_of(text, match.start())}: unfinished: {match.group(0)}"
        for match in MACHINE.finditer(text):
            yield f"{path}:{line_of(text, match.start())}: path of one machine: {match.group(0)}"
        for match in HOSTS.finditer(text):
            yield f"{path}:{line_of(text, match.start())}: package registry: {match.group(0)}"
    for path in tree.paths:
        if KEY.search(tree.text(path)):
            yield f"{path}:1: a private key"


def indent_problem(path, line, before):
    if path.endswith((".c", ".h", ".def")):
        # Continuations align with blanks behind tabs; text of comments and continued lines may start with a blank.
        if re.match(r" {4,}\S", line) and not before.rstrip().endswith(("\\", ",", "(", "|", "&&", "||", "+", '"')):
            return "indent with tabs"
    elif path.endswith((".py", ".cmake", ".json", ".yml", ".yaml", "CMakeLists.txt")) and "\t" in line:
        return "indent with blanks"
    return None


def check_form(tree, _build):
    """text is UTF-8 with LF, a final LF, no trailing blanks, and indented as .editorconfig says"""
    for path, text in texts(tree):
        if "\ufffd" in text and "\ufffd".encode() not in tree.data(path):
            yield f"{path}:1: not UTF-8"
        if "\r" in text:
            yield f"{path}:{line_of(text, text.index(chr(13)))}: carriage return"
        if text and not text.endswith("\n"):
            yield f"{path}:{line_of(text, len(text))}: no line end at the end of the file"
        if text.endswith("\n\n"):
            yield f"{path}:{line_of(text, len(text)) - 1}: blank line at the end of the file"
        before = ""
        if path.endswith(".py"):  # what stands in long strings belongs to whom it is written for
            text = re.sub(r'"""(.*?)"""', lambda m: m.group(0).replace("\t", " "), text, flags=re.S)
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip(" \t") and not path.endswith(".smtp"):
                yield f"{path}:{number}: trailing blanks"
            problem = indent_problem(path, line, before)
            if problem:
                yield f"{path}:{number}: {problem}"
            before = line


def needs_spdx(path, text):
    return path.endswith(SOURCE_SUFFIXES) or text.startswith("#!")


def check_spdx(tree, _build):
    """every source file has its SPDX line"""
    for path, text in texts(tree):
        if needs_spdx(path, text) and "SPDX-License-Identifier: ISC" not in "\n".join(text.split("\n", 3)[:3]):
            yield f"{path}:1: no SPDX-License-Identifier: ISC in the first lines"


# ---- files that nobody uses ----

def cmake_above(tree, path):
    """The CMakeLists.txt of the file's folder and of those above it, with their folders."""
    folder = os.path.dirname(path)
    while True:
        name = os.path.join(folder, "CMakeLists.txt")
        if name in tree.paths:
            yield folder, tree.text(name)
        if not folder:
            return
        folder = os.path.dirname(folder)


FOREACH = re.compile(r"foreach\((\w+) (?:IN ITEMS )?([^)]*)\)(.*?)endforeach\(\)", re.S)


def unroll(text):
    """A CMakeLists.txt without comments, its lists of names put in for the loop's variable."""

    def repeat(match):
        variable, items, body = match.groups()
        return "\n".join(body.replace(f"${{{variable}}}", item) for item in items.split())

    return FOREACH.sub(repeat, re.sub(r"#.*", "", text))


def is_built(tree, path):
    for folder, text in cmake_above(tree, path):
        local = os.path.relpath(path, folder or ".")
        text = unroll(text)
        words = set(re.findall(r"[\w./*${}-]+", text))
        words |= {w.rsplit("}/", 1)[-1] for w in words if "}/" in w}
        if local in words or any("*" in w and fnmatch.fnmatch(local, w) for w in words):
            return True
        implied = re.match(r"(test|fuzz)_(\w+)\.c$", local)
        call = implied and {"test": "pn_unit_test", "fuzz": "pn_fuzz_target"}[implied.group(1)]
        if call and re.search(rf"\b{call}\(\s*{implied.group(2)}\b", text):
            return True
    return any(os.path.basename(path) in tree.text(p) for p in tree.matching((), (".cmake", "CMakeLists.txt"))
               if not path.endswith(".c") or p.endswith(".cmake"))


def is_python(tree, path):
    if "." in os.path.basename(path):
        return path.endswith(".py")
    return tree.text(path).startswith("#!/usr/bin/env python3")


def is_used_script(tree, path):
    module = os.path.basename(path)[:-3]
    imported = re.compile(rf"^\s*(?:import|from)\s+[\w, ]*\b{module}\b", re.M)
    scripts = (p for p in tree.paths if p != path and is_python(tree, p))
    return is_built(tree, path) or any(imported.search(tree.text(p)) for p in scripts)


def check_dead(tree, _build):
    """every .c and test script is named in a CMakeLists.txt, every header is included by somebody"""
    for path in tree.matching(("src/", "tests/", "bench/"), (".c",)):
        if not is_built(tree, path):
            yield f"{path}:1: in no CMakeLists.txt"
    for path in tree.matching(("tests/", "bench/"), (".py",)):
        if not is_used_script(tree, path):
            yield f"{path}:1: in no CMakeLists.txt, and nothing imports it"
    wanted = set()
    for path in tree.c_files() + tree.matching(("tests/",), (".cc",)):
        for name in re.findall(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', tree.text(path), re.M):
            wanted.add(name)
            wanted.add(os.path.normpath(os.path.join(os.path.dirname(path), name)))
    for path in tree.c_files():
        if path.endswith((".h", ".def")):
            names = {path, path.removeprefix("include/"), path.removeprefix("src/"), os.path.basename(path)}
            if not names & wanted:
                yield f"{path}:1: nobody includes it"


# ---- documents ----

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
TREE_PATH = re.compile(r"(?<![\w./-])(?:src|include/postern|tests|bench|deploy)/[\w./-]*\w(?![\w*{<])")


def anchors(text):
    for heading in re.findall(r"^#+ +(.+?)\s*$", text, re.M):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def link_problem(tree, path, target):
    if re.match(r"[a-z]+:", target):
        return None
    file, _, anchor = target.partition("#")
    full = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
    if not tree.exists(full):
        return f"dead link: {target}"
    if anchor and anchor not in anchors(tree.text(full)):
        return f"no such heading: {target}"
    return None


def check_docs(tree, _build):
    """links in documents lead somewhere, and paths of the tree that they name exist"""
    for path in tree.matching((), (".md",)):
        text = re.sub(r"[^\n]", lambda m: m.group(0), tree.text(path))
        for match in LINK.finditer(text):
            problem = link_problem(tree, path, match.group(1))
            if problem:
                yield f"{path}:{line_of(text, match.start())}: {problem}"
        for match in TREE_PATH.finditer(text):
            name = match.group(0)
            if not tree.exists(name) and not tree.exists(os.path.join(os.path.dirname(path), name)):
                yield f"{path}:{line_of(text, match.start())}: {name} does not exist"


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]\b")
COMMANDS = ("deploy/quickstart", "tests/run")


def readme_section(text, command):
    """The text under the heading of README.md that names the command."""
    match = re.search(rf"^#+ [^\n]*{re.escape(command)}[^\n]*\n(.*?)(?=^#|\Z)", text, re.M | re.S)
    return match.group(1) if match else None


def check_options(tree, _build):
    """README.md has exactly the options that --help of the two commands has, and these are the ones they take"""
    for command in COMMANDS:
        if command not in tree.paths:
            continue
        section = readme_section(tree.text("README.md"), command) if "README.md" in tree.paths else None
        if section is None:
            yield f"README.md:1: no heading names {command}"
            continue
        run = subprocess.run([os.path.join(tree.root, command), "--help"], capture_output=True, text=True, timeout=60,
                             check=False)
        if run.returncode != 0:
            yield f"{command}:1: --help fails"
        # Options of other programs of ours stand behind their names.
        helped = set(OPTION.findall(re.sub(r"deploy/install-deps[^)\n]*", "", run.stdout))) - {"--help"}
        told = set(OPTION.findall(section)) - {"--help"}
        cases = re.findall(r"^\s+((?:-{1,2}[\w-]+\|)*-{1,2}[\w-]+)\)", tree.text(command), re.M)
        taken = {o for case in cases for o in case.split("|") if o.startswith("--")} - {"--help"}
        for option in sorted(told - helped):
            yield f"README.md:1: {command} has no {option}"
        for option in sorted(helped - told):
            yield f"README.md:1: {option} of {command} is not told"
        for option in sorted(helped ^ taken):
            what = "told by --help but not taken" if option in helped else "taken but not told by --help"
            yield f"{command}:1: {option} is {what}"


COUNTERS = re.compile(r"#define PN_\w*COUNTERS\(X\)((?:[^\n]*\\\n)*[^\n]*)")
RUNBOOK = "deploy/RUNBOOK.md"


def check_counters(tree, _build):
    """every counter of the X-macros is explained in deploy/RUNBOOK.md"""
    told = set(re.findall(r"`(\w+)`", tree.text(RUNBOOK))) if RUNBOOK in tree.paths else set()
    for path in tree.c_files("src/", "include/"):
        text = tree.text(path)
        for match in COUNTERS.finditer(text):
            for name in re.findall(r"\bX\((\w+)\)", match.group(1)):
                if name not in told:
                    yield f"{path}:{line_of(text, match.start())}: the counter {name} is not in {RUNBOOK}"


CHECKS = {"words": check_words, "form": check_form, "spdx": check_spdx, "dead": check_dead, "docs": check_docs,
          "options": check_options, "counters": check_counters}
