# SPDX-License-Identifier: ISC
"""Checks of the C code: directions between modules, what the pure ones link, calls that nobody may make."""

import os
import re
import subprocess

from tree import line_of, strip_c

# Who may include whom (src/ARCHITECTURE.md, "The house"). A module may always include itself.
MAY_INCLUDE = {
    "base": set(),
    "smtp": {"base"},
    "sasl": {"base"},
    "config": {"base"},
    "net": {"base"},
    "tls": {"base", "net"},
    "spool": {"base", "smtp", "net"},
    "auth": {"base", "net", "sasl"},
    "policy": {"base", "net"},
    "session": {"base", "smtp", "sasl", "net", "tls", "spool", "auth", "policy"},
    "relay": {"base", "smtp", "sasl", "net", "tls", "spool", "auth", "policy"},
    "admin": {"base", "smtp", "sasl", "net", "tls", "spool", "auth", "policy", "session", "relay"},
    "app": {"base", "smtp", "sasl", "net", "tls", "spool", "auth", "policy", "session", "relay", "admin", "config"},
}
# Single headers beyond that.
MAY_ALSO_INCLUDE = {("auth", "tls/crypto.h")}
PURE = ("smtp", "sasl")
LIBC_HEADERS = {
    "assert.h", "ctype.h", "errno.h", "inttypes.h", "limits.h", "stdarg.h", "stdatomic.h", "stdbool.h", "stddef.h",
    "stdint.h", "stdio.h", "stdlib.h", "string.h", "strings.h", "time.h", "arpa/inet.h", "netinet/in.h", "sys/socket.h",
    "emmintrin.h", "immintrin.h",
}
# Libraries and the only modules that may know them.
LIBRARY_HEADERS = {
    "openssl/": {"tls", "app"}, "liburing": {"net", "app"}, "confuse.h": {"config", "app"},
    "jansson.h": {"admin", "app"}, "ares": {"relay", "app"}, "stringprep.h": {"auth", "app"},
    "idna.h": {"auth", "app"}, "crypt.h": {"auth", "app"},
    "seccomp.h": {"app"}, "linux/landlock.h": {"app"}, "jemalloc/": {"app"},
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)

BANNED = {
    "gets": "no bound; use fgets", "strtok": "hidden state; use slices",
    "alloca": "the stack has no failure; use an arena",
    "setjmp": "hidden flow; return codes", "longjmp": "hidden flow; return codes",
    "sigsetjmp": "hidden flow; return codes", "siglongjmp": "hidden flow; return codes",
    "tmpnam": "a race; use mkstemp", "tempnam": "a race; use mkstemp",
    "mktemp": "a race; use mkstemp", "rand": "hidden state; use pn_prng", "srand": "hidden state; use pn_prng",
    "inet_ntoa": "shared result; use inet_ntop", "gethostbyname": "blocks, shared result",
}
# In the program, where input is not our own: also what has no bound, starts a shell, shares a result, or blocks.
BANNED_IN_SRC = {
    "strcpy": "no bound; use snprintf or a slice", "strcat": "no bound; use snprintf or a buf",
    "sprintf": "no bound; use snprintf", "vsprintf": "no bound; use vsnprintf",
    "strncpy": "leaves out the NUL; use snprintf or memcpy",
    "system": "starts a shell", "popen": "starts a shell", "atoi": "does not see errors; use strtol",
    "atol": "does not see errors; use strtol", "atof": "does not see errors; use strtod",
    "localtime": "shared result; use localtime_r", "gmtime": "shared result; use gmtime_r", "ctime": "shared result",
    "asctime": "shared result", "sleep": "blocks; use a timer", "usleep": "blocks; use a timer",
    "getaddrinfo": "blocks; use dns.h", "assert": "vanishes with NDEBUG; use PN_ASSERT",
    "atomic_thread_fence": "invisible to ThreadSanitizer; order the operations",
}
# Where a call is right all the same.
MAY_CALL = {
    ("src/config/cross.c", "getaddrinfo"): "the machine's own full name, once while a file is read",
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join({**BANNED, **BANNED_IN_SRC}) + r")\s*\(")


def module_of(path):
    match = re.match(r"(?:src|include/postern)/(\w+)/", path)
    return match.group(1) if match else None


def included_module(tree, path, quote, name):
    """(module, rest of the path) of one of our headers, or (None, None)."""
    if name.startswith("postern/"):
        parts = name.split("/", 2)
        return (parts[1], "/".join(parts[1:])) if len(parts) == 3 else (None, None)
    if quote == '"' and not tree.exists(os.path.join(os.path.dirname(path), name)):
        match = re.match(r"(\w+)/", name)
        if match and match.group(1) in MAY_INCLUDE:
            return match.group(1), name
    return None, None


def include_problem(tree, path, module, quote, name):
    target, rest = included_module(tree, path, quote, name)
    if target is not None:
        if target == module:
            return None
        if not name.startswith("postern/"):
            return f"{name} is private to {target}"
        if target in MAY_INCLUDE[module] or (module, rest) in MAY_ALSO_INCLUDE:
            return None
        return f"{module} may not include {target} (may: {', '.join(sorted(MAY_INCLUDE[module])) or 'only libc'})"
    if name.startswith("postern/"):
        return None  # the generated version.h
    for prefix, users in LIBRARY_HEADERS.items():
        if name.startswith(prefix) and module not in users:
            return f"only {', '.join(sorted(users))} may include <{name}>"
    if module in PURE and quote == "<" and name not in LIBC_HEADERS:
        return f"{module} is pure; <{name}> is neither base nor libc"
    return None


def check_include(tree, _build):
    """modules include only what the direction of the house allows; pure ones only base and libc"""
    for path in tree.c_files("src/", "include/postern/"):
        module = module_of(path)
        if module not in MAY_INCLUDE:
            yield f"{path}:1: belongs to no known module"
            continue
        text = tree.text(path)
        for match in INCLUDE.finditer(text):
            problem = include_problem(tree, path, module, match.group(1), match.group(2))
            if problem:
                yield f"{path}:{line_of(text, match.start())}: {problem}"


def check_banned(tree, _build):
    """no call that has no bound, hides state or flow, starts a shell or blocks"""
    for path in tree.c_files():
        code = strip_c(tree.text(path))
        for match in CALL.finditer(code):
            name = match.group(1)
            if (path, name) not in MAY_CALL and (name in BANNED or path.startswith(("src/", "include/"))):
                yield f"{path}:{line_of(code, match.start())}: {name}(): {BANNED.get(name) or BANNED_IN_SRC[name]}"


# Of the compiler's own library and the loader.
COMPILER_SYMBOLS = {"_GLOBAL_OFFSET_TABLE_", "__dso_handle", "__tls_get_addr", "__cpu_model", "__cpu_features2",
                    "__cpu_indicator_init"}


def symbols(path, *options):
    out = subprocess.run(["nm", "-P", *options, path], capture_output=True, text=True, check=True).stdout
    names = set()
    for line in out.splitlines():
        parts = line.split()
        if len(parts) >= 2 and not line.endswith(":"):
            names.add(parts[0].split("@")[0])
    return names


def libc_path():
    compiler = os.environ.get("PN_CC") or "cc"
    found = subprocess.run([compiler, "-print-file-name=libc.so.6"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def link_problems(archive, name, base, libc):
    defined = symbols(archive, "--defined-only")
    known = defined | base | libc | COMPILER_SYMBOLS
    for symbol in sorted(symbols(archive, "--undefined-only") - known):
        yield f"{name}: needs {symbol}, which is neither in base nor in libc"


def check_link(tree, build):
    """base, smtp and sasl need no symbol from outside of base and libc (not looked at in sanitizer builds)"""
    if not build or os.environ.get("PN_SANITIZE"):
        return
    archives = {m: os.path.join(build, "src", m, f"libpn_{m}.a") for m in ("base",) + PURE}
    missing = [p for p in archives.values() if not os.path.exists(p)]
    if missing:
        yield f"{', '.join(missing)}: not built"
        return
    libc = symbols(libc_path(), "-D", "--defined-only")
    if "malloc" not in libc:
        yield "libc.so.6 cannot be read by nm"
    base = symbols(archives["base"], "--defined-only")
    for module in archives:
        yield from link_problems(archives[module], f"libpn_{module}.a", base, libc)


CHECKS = {"include": check_include, "banned": check_banned, "link": check_link}
