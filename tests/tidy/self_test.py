# SPDX-License-Identifier: ISC
"""Each check must find its violation in a small tree that has it, and nothing in one that has none."""

import os
import subprocess
import tempfile

import checks_house
import ratchet
import rfc
from tree import Tree, functions

SPDX = "/* SPDX-License-Identifier: ISC */\n"
HASH = "# SPDX-License-Identifier: ISC\n"
SCRIPT = "#!/bin/sh\n" + HASH + 'case $1 in\n  --fast) ;;\n  --help) echo "Usage: --fast" ;;\nesac\n'
GOOD = {
    "src/base/CMakeLists.txt": HASH + "pn_library(base SOURCES a.c)\n",
    "src/base/a.c": SPDX + "#include <postern/base/a.h>\n\nint pn_a(void)\n{\n\treturn 1; /* RFC 5321 4.5.2 */\n}\n",
    "include/postern/base/a.h": SPDX + "int pn_a(void);\n",
    "src/smtp/CMakeLists.txt": HASH + "pn_library(smtp SOURCES s.c LIBS base)\n",
    "src/smtp/s.c": SPDX + '#include <string.h>\n#include <postern/base/a.h>\n#include "s.h"\n',
    "src/smtp/s.h": SPDX,
    "tests/unit/base/CMakeLists.txt": HASH + "pn_unit_test(a LIBS base)\n",
    "tests/unit/base/test_a.c": SPDX + "#include <postern/base/a.h>\n",
    "tests/run": SCRIPT,
    "deploy/quickstart": SCRIPT,
    "README.md": "# Read\n\n## Try: `deploy/quickstart`\n\n`--fast`\n\n## Test: `tests/run`\n\n"
                 "`--fast` in src/base/a.c, [there](#read)\n",
}


LIMITS_LIST = "tests/tidy/limits.txt"
GOOD_LIMITS = "limit limits.a_max a.hits tests/unit/base/test_a.c:test_a\nfixed PN_A_MAX reply.too-long tests/t.smtp\n"
LIMITS = {
    "src/config/keys.def": SPDX + 'PN_INT(LIMITS, a_max, "1", "1", "2", "things", "help")\n'
                                  'PN_BOOL(LIMITS, b, "no", "help")\n',
    "src/base/a.c": SPDX + '#define PN_A_MAX 3\nstatic struct block b = { .scope = "a" };\n',
    "include/postern/base/a.h": SPDX + "#define PN_A_COUNTERS(X) X(hits)\n",
    "include/postern/smtp/reply_table.def": SPDX + 'PN_REPLY_ROW(TOO_LONG, 500, "5.5.2", "Too long", "too-long")\n',
    "tests/unit/base/test_a.c": SPDX + "void test_a(void)\n{\n\tassert(counter(hits) == 1);\n}\n",
    "tests/t.smtp": "S: 500 5.5.2 Too long\n",
}


def body(lines):
    return SPDX + "static int f(void)\n{\n" + "\t(void)0;\n" * (lines - 3) + "}\n"


# check, what the complaint must contain, files that differ from the good tree
BAD = [
    ("include", "base may not include smtp", {"src/base/a.c": SPDX + "#include <postern/smtp/server.h>\n"}),
    ("include", "tls may not include spool", {"src/tls/t.c": SPDX + "#include <postern/spool/spool.h>\n"}),
    ("include", "auth may not include tls", {"src/auth/t.c": SPDX + "#include <postern/tls/tls.h>\n"}),
    ("include", "relay may not include session",
     {"include/postern/relay/r.h": SPDX + "#include <postern/session/session.h>\n"}),
    ("include", "session may not include config", {"src/session/t.c": SPDX + "#include <postern/config/config.h>\n"}),
    ("include", "is private to spool", {"src/relay/t.c": SPDX + '#include "spool/internal.h"\n'}),
    ("include", "is pure", {"src/smtp/t.c": SPDX + "#include <pthread.h>\n"}),
    ("include", "may include <openssl/ssl.h>", {"src/session/t.c": SPDX + "#include <openssl/ssl.h>\n"}),
    ("include", "no known module", {"src/other/t.c": SPDX}),
    ("banned", "strcpy()", {"src/base/a.c": SPDX + "static void f(char *a)\n{\n\tstrcpy(a, b);\n}\n"}),
    ("banned", "mktemp()", {"tests/unit/base/test_a.c": SPDX + "int x = mktemp (y);\n"}),
    ("banned", "getaddrinfo()", {"src/base/a.c": SPDX + "int x = getaddrinfo(1);\n"}),
    ("size", "601 lines", {"src/base/a.c": SPDX + "\n" * 600}),
    ("size", "new functions stop", {"src/base/a.c": body(61)}),
    ("size", "is the end", {"src/base/a.c": body(101), ratchet.LIST: "function src/base/a.c f 101\n"}),
    ("size", "has grown from 70", {"src/base/a.c": body(71), ratchet.LIST: "function src/base/a.c f 70\n"}),
    ("size", "take it out", {"src/base/a.c": body(60), ratchet.LIST: "function src/base/a.c f 70\n"}),
    ("size", "more than 120 columns", {"src/base/a.c": SPDX + "/*" + " x" * 60 + " */\n"}),
    ("words", "unfinished", {"src/base/a.c": SPDX + "/* TO" + "DO: more */\n"}),
    ("words", "unfinished", {"README.md": GOOD["README.md"] + "This is a place" + "holder.\n"}),
    ("words", "path of one machine", {"deploy/x.conf": "dir = /ho" + "me/somebody/postern\n"}),
    ("words", "package registry", {"tests/x.py": HASH + "url = 'https://reg" + "istry.npmjs.org'\n"}),
    ("words", "a private key", {"tests/fuzz/corpus/x/1": "-----BEGIN EC PRIVATE" + " KEY-----\n" + "A" * 64 + "\n"}),
    ("form", "trailing blanks", {"README.md": GOOD["README.md"] + "x \n"}),
    ("form", "indent with tabs", {"src/base/a.c": SPDX + "int f(void)\n{\n    return 1;\n}\n"}),
    ("form", "indent with blanks", {"src/base/CMakeLists.txt": HASH + "pn_library(base SOURCES\n\ta.c)\n"}),
    ("form", "carriage return", {"deploy/x.conf": "a\r\n"}),
    ("form", "no line end", {"deploy/x.conf": "a"}),
    ("form", "blank line at the end", {"deploy/x.conf": "a\n\n"}),
    ("form", "not UTF-8", {"deploy/x.conf": b"a\xff\n"}),
    ("spdx", "no SPDX", {"src/base/a.c": "int x;\n"}),
    ("spdx", "no SPDX", {"deploy/tool": "#!/bin/sh\ntrue\n"}),
    ("dead", "src/base/b.c:1: in no CMakeLists.txt", {"src/base/b.c": SPDX}),
    ("dead", "test_b.c:1: in no CMakeLists.txt", {"tests/unit/base/test_b.c": SPDX}),
    ("dead", "nothing imports it", {"tests/unit/base/x.py": HASH}),
    ("dead", "nobody includes it", {"include/postern/base/b.h": SPDX}),
    ("docs", "dead link", {"src/base/README.md": "[a](nowhere.md)\n"}),
    ("docs", "no such heading", {"src/base/README.md": "[a](../../README.md#nothing)\n"}),
    ("docs", "src/base/gone.c does not exist", {"README.md": GOOD["README.md"] + "src/base/gone.c\n"}),
    ("options", "no heading names tests/run", {"README.md": "# Read\n\n## Try: `deploy/quickstart`\n\n`--fast`\n"}),
    ("options", "tests/run has no --slow", {"README.md": GOOD["README.md"] + "--slow\n"}),
    ("options", "--fast of deploy/quickstart is not told", {"README.md": GOOD["README.md"].replace("`--fast`", "", 1)}),
    ("options", "taken but not told", {"tests/run": SCRIPT.replace("  --help)", "  --slow) ;;\n  --help)")}),
    ("counters", "the counter misses is not in",
     {"include/postern/base/a.h": SPDX + "#define PN_A_COUNTERS(X) \\\n\tX(hits) X(misses)\n",
      "deploy/RUNBOOK.md": "`hits`\n"}),
    ("limits", "limits.a_max is not in", {**LIMITS, LIMITS_LIST: "fixed PN_A_MAX reply.too-long tests/t.smtp\n"}),
    ("limits", "PN_A_MAX is not in", {**LIMITS, LIMITS_LIST: GOOD_LIMITS.splitlines()[0] + "\n"}),
    ("limits", "there is no counter a.misses", {**LIMITS, LIMITS_LIST: GOOD_LIMITS.replace("a.hits", "a.misses")}),
    ("limits", "has no function test_b", {**LIMITS, LIMITS_LIST: GOOD_LIMITS.replace(":test_a", ":test_b")}),
    ("limits", "there is no test tests/x.c", {**LIMITS, LIMITS_LIST: GOOD_LIMITS.replace("tests/t.smtp", "tests/x.c")}),
    ("limits", "does not look at hits", {**LIMITS, LIMITS_LIST: GOOD_LIMITS,
                                         "tests/unit/base/test_a.c": SPDX + "void test_a(void)\n{\n\tmisses();\n}\n"}),
    ("limits", "does not look at too-long", {**LIMITS, LIMITS_LIST: GOOD_LIMITS, "tests/t.smtp": "S: 501 5.5.2 no\n"}),
    ("limits", "no numeric key limits.b_max", {**LIMITS, LIMITS_LIST: GOOD_LIMITS + "setting limits.b_max because\n"}),
    ("limits", "is there twice", {**LIMITS, LIMITS_LIST: GOOD_LIMITS + "setting limits.a_max because\n"}),
    ("limits", "is not a row", {**LIMITS, LIMITS_LIST: GOOD_LIMITS + "setting limits.a_max\n"}),
    ("rfc", "should read like", {"src/base/a.c": SPDX + "/* RFC" + "5321 4.5.2 */\n"}),
    ("rfc", "should read like", {"src/base/a.c": SPDX + "/* RFC 5321, " + "section 4.5.2 */\n"}),
]


def make_tree(folder, files):
    for path, content in files.items():
        full = os.path.join(folder, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        if not isinstance(content, bytes) and content.startswith("#!"):
            os.chmod(full, 0o755)
    return Tree(folder)


def parts_failures():
    """What the checks are made of."""
    text = SPDX + "static const int t[] = {\n\t1,\n};\n\nint f(int a,\n      int b)\n{\n\treturn '{' + a; /* } */\n}\n"
    if functions(text) != [("f", 6, 5)]:
        yield f"functions: {functions(text)}"
    found = list(rfc.citations("/* (RFC 3461 5.2.1, RFC 5321\n * 4.5.2). RFC 2045: x. RFC 9325 3.4) */"))
    if [(n, s) for n, s, _ in found] != [(3461, "5.2.1"), (5321, "4.5.2"), (2045, ""), (9325, "3.4")]:
        yield f"citations: {found}"


def link_failures(folder):
    """A library that needs something else is seen, one that needs libc only is not."""
    libc = checks_house.symbols(checks_house.libc_path(), "-D", "--defined-only")
    compiler = os.environ.get("PN_CC") or "cc"
    for call, expected in (("strlen", 0), ("SSL_new", 1)):
        source = os.path.join(folder, f"{call}.c")
        with open(source, "w", encoding="utf-8") as f:
            f.write(f"unsigned long {call}(const void *p);\n"
                    f"unsigned long pn_x(const void *p)\n{{\n\treturn {call}(p);\n}}\n")
        subprocess.run([compiler, "-c", "-fno-builtin", source, "-o", source + ".o"], check=True)
        subprocess.run(["ar", "rcs", source + ".a", source + ".o"], check=True)
        problems = list(checks_house.link_problems(source + ".a", "lib", set(), libc))
        if len(problems) != expected:
            yield f"link: {call}: {problems}"


def sample_failures(checks):
    for name, check in checks.items():
        with tempfile.TemporaryDirectory() as folder:
            problems = list(check(make_tree(folder, GOOD), None))
            if problems:
                yield f"{name}: complains about the good tree: {problems}"
    for name, wanted, files in BAD:
        with tempfile.TemporaryDirectory() as folder:
            problems = list(checks[name](make_tree(folder, {**GOOD, **files}), None))
            if not any(wanted in p for p in problems):
                yield f"{name}: does not see \"{wanted}\"; says {problems}"
    with tempfile.TemporaryDirectory() as folder:
        problems = list(checks["limits"](make_tree(folder, {**GOOD, **LIMITS, LIMITS_LIST: GOOD_LIMITS}), None))
        if problems:
            yield f"limits: complains about a good list: {problems}"
    for name in set(checks) - {n for n, _, _ in BAD} - {"link"}:
        yield f"{name}: has no bad sample"


def ratchet_failures():
    """Lowering takes good ones out, never raises and never adds."""
    with tempfile.TemporaryDirectory() as folder:
        known = "function src/base/a.c f 80\nfunction src/base/a.c g 62\nfunction src/base/a.c h 99\n"
        tree = make_tree(folder, {**GOOD, "src/base/a.c": body(70) + body(65).replace("f(", "g("),
                                  "src/base/b.c": body(90), ratchet.LIST: known})
        ratchet.lower(tree)
        after = ratchet.read_list(Tree(folder))
        if after != {("function", "src/base/a.c", "f"): 70, ("function", "src/base/a.c", "g"): 62}:
            yield f"ratchet: {after}"


def run(checks):
    with tempfile.TemporaryDirectory() as folder:
        failures = [*parts_failures(), *link_failures(folder), *sample_failures(checks), *ratchet_failures()]
    for failure in failures:
        print(failure)
    print(f"{len(BAD)} bad samples, {len(failures)} failures")
    return 1 if failures else 0
