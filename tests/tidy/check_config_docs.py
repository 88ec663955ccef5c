#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Compares the documentation of postern.conf with the program's table of keys, in both directions.

Usage: check_config_docs.py PRINT_KEYS MAN_PAGE EXAMPLE

PRINT_KEYS prints the table (tests/unit/config/print_keys.c). Every key has an entry in its section of the man page,
with type, range and default as they are, and a line in its section of the example: set, or with a # in front and its
default.
Nothing else is documented. Each comparison is also tried with a broken copy, so that a check that sees nothing fails.
"""

import re
import subprocess
import sys

TITLED = {"listener", "certificate", "upstream"}


def table(program):
    rows = {}
    for line in subprocess.check_output([program], text=True).splitlines():
        section, name, kind, default, allowed, unit, needed, restart, help_text = line.split("\t")
        what = kind + (", " + unit if unit not in ("", "items", "bytes", "number") else "")
        last = "needed" if needed else "default " + (default or "empty")
        last += "; restart" if restart else ""
        rows[(section, name)] = {"kind": kind, "default": default, "line": f"({what}; {allowed}; {last})"}
        if not help_text or help_text[-1] == ".":
            raise SystemExit(f"{section}.{name}: the help text is empty or ends with a dot")
    return rows


def man_problems(text, rows):
    problems, seen, section, in_keys = [], set(), None, False
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith(".Sh "):
            in_keys = line == ".Sh KEYS"
        elif in_keys and line.startswith(".Ss "):
            title = line[4:].replace("\\(dq", '"')
            section = "" if title == "Top level" else title.split()[0]
            wanted = f'{section} "NAME" {{ ... }}' if section in TITLED else f"{section} {{ ... }}"
            if section != "" and title != wanted:
                problems.append(f"man page:{number}: the heading is {title}, not {wanted}")
        elif in_keys and line.startswith(".It Va "):
            key = (section, line[7:].strip())
            if key not in rows:
                problems.append(f"man page:{number}: {key[0]}.{key[1]} does not exist")
                continue
            if key in seen:
                problems.append(f"man page:{number}: {key[0]}.{key[1]} is there twice")
            seen.add(key)
            if lines[number] != rows[key]["line"]:
                problems.append(f"man page:{number + 1}: {lines[number]} is not {rows[key]['line']}")
            if not re.search(r"\w", lines[number + 2]):
                problems.append(f"man page:{number + 1}: {key[1]} has no description")
    problems += [f"man page: {s}.{n} is not documented" for s, n in rows if (s, n) not in seen]
    return problems


def example_problems(text, rows):
    problems, seen, section = [], set(), ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if bare.startswith("# ") or bare in ("", "#"):
            continue
        is_default = bare.startswith("#") and not line.startswith("#\t")
        bare = bare.lstrip("#").strip()
        opened = re.fullmatch(r'(\w+)(?: "[\w.-]+")? \{', bare)
        setting = re.fullmatch(r"(\w+) = (.+)", bare)
        if opened:
            section = opened.group(1)
            if section not in {s for s, _ in rows}:
                problems.append(f"example:{number}: the section {section} does not exist")
        elif bare == "}":
            section = ""
        elif setting:
            key, value = (section, setting.group(1)), setting.group(2)
            if key not in rows:
                problems.append(f"example:{number}: {key[0]}.{key[1]} does not exist")
                continue
            seen.add(key)
            row = rows[key]
            written = {"string": f'"{row["default"]}"', "list": "{}"}.get(row["kind"], row["default"])
            if is_default and value != written:
                problems.append(f"example:{number}: the default of {key[1]} is {written}, not {value}")
        else:
            problems.append(f"example:{number}: neither a comment (# and a blank) nor a setting: {line}")
    problems += [f"example: {s}.{n} is not there" for s, n in rows if (s, n) not in seen]
    return problems


def self_check(check, text, broken_texts):
    """Each of the broken copies must differ from the text, and be seen."""
    for broken in broken_texts:
        if broken == text or not check(broken):
            return [f"{check.__name__} does not see a broken copy"]
    return []


def main():
    program, man_path, example_path = sys.argv[1:4]
    rows = table(program)
    man = open(man_path, encoding="utf-8").read()
    example = open(example_path, encoding="utf-8").read()

    def of_man(text):
        return man_problems(text, rows)

    def of_example(text):
        return example_problems(text, rows)

    problems = of_man(man) + of_example(example)
    if len(rows) < 90:
        problems.append(f"only {len(rows)} keys in the table")
    if not problems:
        problems += self_check(of_man, man, [
            man.replace("default 0; restart)", "default 0)", 1),
            man.replace(".It Va node\n", ".It Va nodes\n"),
            man.replace("1..3600; default 300", "1..3600; default 301", 1),
            man.replace(".It Va loops\n", ".It Xx loops\n")])
        problems += self_check(of_example, example, [
            example.replace("#node = 0", "#node = 1"), example.replace("#loops = 0", "#lops = 0"),
            example.replace("#tls12 = yes\n", "\n")])
    for problem in problems:
        print(problem)
    print(f"{len(rows)} keys, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
