#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The house rules as a test: who may include whom, sizes, banned calls, files that nobody uses, dead links, and so on.

Usage: tidy.py [--build DIR] [CHECK...]   run all checks (or those named); prints path:line: what is wrong
       tidy.py --self-test                each check must see its violation in a small bad tree, and accept a good one
       tidy.py --list                     the checks and what they want
       tidy.py --ratchet                  lower the numbers in ratchet.txt to what is there (never raises or adds)
       tidy.py --rfc                      a table: section of an RFC -> code -> tests, from the citations

The tree is the one that this file lies in, or PN_SOURCE_DIR. The check `link` needs built libraries (PN_BUILD_DIR or
--build).
"""

import argparse
import os
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import checks_files  # noqa: E402
import checks_house  # noqa: E402
import checks_limits  # noqa: E402
import ratchet  # noqa: E402
import rfc  # noqa: E402
import self_test  # noqa: E402
from tree import Tree  # noqa: E402

CHECKS = {**checks_house.CHECKS, **checks_files.CHECKS, **checks_limits.CHECKS, **ratchet.CHECKS, **rfc.CHECKS}


def run_checks(tree, names, build):
    problems = 0
    for name in names:
        for problem in CHECKS[name](tree, build):
            print(f"{name}: {problem}")
            problems += 1
    print(f"{len(names)} checks, {len(tree.paths)} files, {problems} problems")
    return 1 if problems else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK")
    parser.add_argument("--build", default=os.environ.get("PN_BUILD_DIR"))
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--ratchet", action="store_true")
    parser.add_argument("--rfc", action="store_true")
    options = parser.parse_args()
    unknown = [name for name in options.checks if name not in CHECKS]
    if unknown:
        parser.error(f"no such check: {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    if options.self_test:
        return self_test.run(CHECKS)
    if options.list:
        for name, check in CHECKS.items():
            print(f"{name:10} {check.__doc__.strip().splitlines()[0]}")
        return 0
    tree = Tree(os.environ.get("PN_SOURCE_DIR") or os.path.dirname(os.path.dirname(HERE)))
    if options.ratchet:
        return ratchet.lower(tree)
    if options.rfc:
        rfc.print_table(tree)
        return 0
    return run_checks(tree, options.checks or list(CHECKS), options.build)


if __name__ == "__main__":
    sys.exit(main())
