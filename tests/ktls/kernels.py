# SPDX-License-Identifier: ISC
"""
kernels.py - the guests' kernels, fetched by package name into the cache folder and never installed: "stable" is this
Debian's cloud kernel, "newer" the one of the next release's backports, which can change the keys of a connection.
"""
import fcntl
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess

import guest as machine

BACKPORTS = "trixie-backports"
META = "linux-image-cloud-amd64"
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def archive():
    """Where this machine gets Debian from."""
    for path in [pathlib.Path("/etc/apt/sources.list"), *sorted(pathlib.Path("/etc/apt/sources.list.d").glob("*"))]:
        text = path.read_text("utf-8", "replace") if path.is_file() else ""
        found = re.search(r"^(?:URIs:|deb(?:\s+\[[^]]*\])?)\s+(https?://\S+/debian/?)(?=\s|$)", text, re.M)
        if found:
            return found[1]
    raise machine.Unavailable("this machine's apt sources name no Debian archive")


class PrivateApt:
    """apt with lists, cache and sources of its own: the machine's are not touched."""

    def __init__(self, work):
        self.work = work
        for name in ("sources", "lists/partial", "cache/archives/partial"):
            (work / name).mkdir(parents=True)
        (work / "sources/backports.sources").write_text(
            f"Types: deb\nURIs: {archive()}\nSuites: {BACKPORTS}\nComponents: main\nSigned-By: {KEYRING}\n", "ascii")
        r = self.run("apt-get", "update")
        if r.returncode != 0 or not self.needs(META):
            raise machine.Unavailable(f"{BACKPORTS} offers no {META} here: {(r.stderr or r.stdout).strip()[-300:]}")

    def run(self, program, *arguments):
        w = self.work
        options = ["Dir::Etc::sourcelist=/dev/null", f"Dir::Etc::sourceparts={w}/sources",
                   f"Dir::State::lists={w}/lists", f"Dir::Cache={w}/cache", "APT::Sandbox::User=root",
                   "Acquire::Retries=3"]
        return subprocess.run([program, "-q", *(x for o in options for x in ("-o", o)), *arguments], cwd=w,
                              capture_output=True, text=True)

    def needs(self, package):
        """The packages of a kernel that this one depends on; newer ones come in several parts."""
        return re.findall(r"Depends: (linux-(?:image|binary|modules)-\d\S*-cloud-amd64)\s",
                          self.run("apt-cache", "depends", package).stdout)

    def download(self, packages):
        r = self.run("apt-get", "download", *packages)
        debs = sorted(self.work.glob("*.deb"))
        if r.returncode != 0 or not debs:
            raise machine.Unavailable(f"{' '.join(packages)} cannot be had: {(r.stderr or r.stdout).strip()[-300:]}")
        return debs


def settle(x):
    """Newer packages keep all below usr/lib/modules: to where the older ones have it."""
    for modules in x.glob("usr/lib/modules/*"):
        (x / "lib/modules").mkdir(parents=True, exist_ok=True)
        (x / "boot").mkdir(exist_ok=True)
        modules = modules.rename(x / "lib/modules" / modules.name)
        if (modules / "vmlinuz").exists():
            (modules / "vmlinuz").rename(x / "boot" / f"vmlinuz-{modules.name}")


def fetch_newer(cache, work):
    apt = PrivateApt(work)
    image = apt.needs(META)[0]
    debs = apt.download([image, *apt.needs(image)])
    # By content: backports roll.
    digest = hashlib.sha256(b"".join(hashlib.sha256(d.read_bytes()).digest() for d in debs)).hexdigest()[:16]
    for deb in debs:
        subprocess.run(["dpkg-deb", "-x", deb, work / "x"], check=True)
    settle(work / "x")
    if not machine.unpacked(work / "x"):
        raise machine.Unavailable(f"{image} is packed in a way that is not known here")
    shutil.rmtree(cache / f"newer-{digest}", ignore_errors=True)
    os.rename(work / "x", cache / f"newer-{digest}")
    return cache / f"newer-{digest}"


def newer():
    machine.kernel()  # for what it checks: the programs that a guest needs, and the cache folder
    cache = machine.cache_folder()
    with open(cache / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        have = sorted((p for p in cache.glob("newer-*") if machine.unpacked(p)), key=lambda p: p.stat().st_mtime)
        if have:
            return machine.unpacked(have[-1])
        work = cache / f"work.{os.getpid()}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            return machine.unpacked(fetch_newer(cache, work))
        finally:
            shutil.rmtree(work, ignore_errors=True)


def find(kind):
    """(vmlinuz, modules folder) or machine.Unavailable with the reason."""
    return newer() if kind == "newer" else machine.kernel()


def with_needs(modules, wanted):
    """Those of the wanted modules that are not built in, and what they need, in the order of their needs."""
    files = {re.sub(r"\.ko.*", "", p.name).replace("-", "_"): p for p in modules.glob("kernel/**/*.ko*")}
    order = []

    def add(name):
        path = files.get(name.replace("-", "_"))
        real = re.sub(r"\.ko.*", "", path.name) if path else None
        if not path or real in order:
            return
        data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        found = re.search(rb"\0depends=([^\0]*)\0", data)
        for need in filter(None, (found[1].decode() if found else "").split(",")):
            add(need)
        order.append(real)

    for name in wanted:
        add(name)
    return order
