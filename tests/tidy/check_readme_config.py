#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""The configuration that README.md shows must please `postern check`, as it stands there (only its folders are moved).

Makes what the text names (certificate, key, a user) in a temporary folder. The same text with a mistake in it must be
refused with its line, so that a check that sees nothing fails. Needs PN_SOURCE_DIR and PN_POSTERN.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.environ["PN_SOURCE_DIR"]
POSTERN = os.environ["PN_POSTERN"]


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)


def block_of(path):
    with open(path, encoding="utf-8") as f:
        found = re.findall(r"^```conf\n(.*?)^```$", f.read(), re.M | re.S)
    if len(found) != 1:
        sys.exit(f"{path}: {len(found)} blocks of configuration instead of one")
    return found[0]


def prepare(folder, text):
    """Moves the folders of the text into `folder`, and makes the files that it names."""
    for name in ("etc", "run"):
        os.mkdir(os.path.join(folder, name))
    make_certs = os.path.join(SOURCE, "tests/support/make-certs")
    made = run(make_certs, os.path.join(folder, "certs"), "mail.example.org")
    if made.returncode != 0:
        sys.exit(f"make-certs: {made.stderr}")
    text = text.replace('run_user = "postern"', 'run_user = "nobody"')  # that of the service need not exist here
    text = f'control_socket = "{folder}/run/control"\n' + text
    text = text.replace("/etc/postern", f"{folder}/etc").replace("/var/spool/postern", f"{folder}/spool")
    for key, source in (("chain_file", "ecdsa.pem"), ("key_file", "ecdsa.key")):
        for path in re.findall(rf'{key} = "([^"]+)"', text):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copyfile(os.path.join(folder, "certs", source), path)
            os.chmod(path, 0o600)
    users = re.search(r'user_file = "([^"]+)"', text).group(1)
    added = run(POSTERN, "user", "add", "-f", users, "--password-stdin", "ada@example.org", input="correct horse\n")
    if added.returncode != 0:
        sys.exit(f"postern user add: {added.stderr}")
    if os.geteuid() == 0:
        os.chown(users, 0, pwd.getpwnam("nobody").pw_gid)  # as the setgid folder of the service does
    return text


def check(folder, text):
    path = os.path.join(folder, "postern.conf")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return run(POSTERN, "check", "-c", path)


def main():
    with tempfile.TemporaryDirectory() as folder:
        text = prepare(folder, block_of(os.path.join(SOURCE, "README.md")))
        good = check(folder, text)
        if good.returncode != 0:
            sys.exit(f"postern check refuses the configuration of README.md:\n{good.stdout}{good.stderr}")
        for wrong in (text.replace("tls = implicit", "tls = implied", 1), text.replace("key_file", "key_fil", 1)):
            if wrong == text:
                sys.exit("the text lacks what this test wants to break")
            bad = check(folder, wrong)
            if bad.returncode != 78 or not re.search(r"postern\.conf:\d+: ", bad.stderr):
                sys.exit(f"postern check takes a broken configuration: {bad.returncode} {bad.stderr}")
    print("the configuration of README.md is good")


if __name__ == "__main__":
    main()
