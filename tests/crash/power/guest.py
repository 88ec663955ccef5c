# SPDX-License-Identifier: ISC
"""
guest.py - a machine whose power can be cut: Debian's own cloud kernel under QEMU (TCG, so that no /dev/kvm is needed), an initramfs made
here, a disk image, user-mode networking on loopback.

kernel() finds the kernel package by name, fetches it into the cache folder and unpacks it there; it is never installed.
Killing QEMU with SIGKILL loses all that the guest held in memory, page cache included, and keeps what it wrote to its disk.
It does not lose what the disk was given but not told to flush: that would be a test of the kernel, not of the gateway.
"""
import fcntl
import json
import os
import pathlib
import platform
import queue
import re
import shutil
import signal
import stat
import subprocess
import threading
import time

# In the order of their needs.
MODULES = ("virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk virtio_console failover net_failover "
           "virtio_net").split()
BOOT_S = 120
MEMORY_MB = 640


class Unavailable(Exception):
    """There is no kernel for the guest here; the text says why."""


class Infrastructure(Exception):
    """The guest did not come up or fell over, or the machine lacks a program: nothing is said about the gateway."""


class GatewayFailed(AssertionError):
    """The gateway in a guest that works ended or did not serve."""


# ---- kernel ----

def cache_folder():
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME", "/root") + "/.cache"
    return pathlib.Path(os.environ.get("POSTERN_CACHE") or home + "/postern") / "kernel"


def kernel_package():
    """The package that Debian's cloud kernel is at the moment."""
    r = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True)
    names = re.findall(r"Depends: (linux-image-\d\S*-cloud-amd64)\s", r.stdout + "\n")
    return names[0] if names else None


def unpacked(folder):
    images = sorted(folder.glob("boot/vmlinuz-*"))
    return (images[0], next(folder.glob("lib/modules/*"))) if images else None


def fetch(name, cache):
    work = cache / f"work.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        options = ["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]
        r = subprocess.run(["apt-get", *options, "download", name], cwd=work, capture_output=True, text=True)
        debs = list(work.glob("*.deb"))
        if r.returncode != 0 or not debs:
            raise Unavailable(f"the kernel package {name} cannot be had: {(r.stderr.strip() or r.stdout.strip())[-300:]}")
        subprocess.run(["dpkg-deb", "-x", debs[0], work / "x"], check=True)
        os.rename(work / "x", cache / name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def kernel():
    """(vmlinuz, modules folder)."""
    if platform.machine() != "x86_64":
        raise Unavailable(f"the guest is an x86-64 one, this machine is {platform.machine()}")
    for program in ("qemu-system-x86_64", "setpriv", "busybox", "cpio", "mkfs.ext4", "dpkg-deb", "apt-get"):
        if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            raise Infrastructure(f"{program} is not installed (deploy/install-deps --tests)")
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        name = kernel_package()
        if name and not unpacked(cache / name):
            try:
                fetch(name, cache)
            except Unavailable as reason:
                print(f"{reason}; looking for an older one in {cache}", flush=True)
                name = None
        if not name:
            older = [p.name for p in cache.glob("linux-image-*") if unpacked(p)]
            if not older:
                raise Unavailable("no kernel package: apt offers no linux-image-cloud-amd64 that can be fetched, and none is cached")
            name = sorted(older)[-1]
        return unpacked(cache / name)


# ---- initramfs and disk ----

def libraries(program):
    """Where the dynamic linker finds what the program needs, the linker itself included; nothing for a static program or a script."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return re.findall(r"(?:=> |^\s+)(/\S+) \(0x", out, re.M)


def make_initramfs(out, modules, files, names=MODULES):
    """
    files: {path in the guest: path here, or text}; executables stay executable. names: modules in the order of needs.
    """
    root = out.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)

    def put(where, what):
        path = root / where.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, pathlib.Path):
            shutil.copyfile(what, path)
            path.chmod(0o755 if what.stat().st_mode & stat.S_IXUSR else 0o644)
        else:
            path.write_text(what, encoding="utf-8")
            path.chmod(0o644)

    for number, name in enumerate(names):
        found = next(modules.glob(f"kernel/**/{name}.ko*"), None)
        if not found:
            raise Unavailable(f"the kernel package has no module {name}")
        if found.suffix == ".xz":
            (root / "modules").mkdir(parents=True, exist_ok=True)
            with open(root / f"modules/{number:02}-{name}.ko", "wb") as plain:
                subprocess.run(["xz", "-dc", found], stdout=plain, check=True)
        else:
            put(f"modules/{number:02}-{name}.ko", found)
    busybox = pathlib.Path(shutil.which("busybox")).resolve()
    put("bin/busybox", busybox)
    for program in [busybox] + [p for p in files.values() if isinstance(p, pathlib.Path) and p.stat().st_mode & stat.S_IXUSR]:
        for library in libraries(program):
            put(library, pathlib.Path(library).resolve())
    put("etc/passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    put("etc/group", "root:x:0:\nnogroup:x:65534:\n")
    put("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
    put("etc/hosts", "127.0.0.1 localhost\n")
    for where, what in files.items():
        put(where, what)
    names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
    with open(out, "wb") as image:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "--owner", "+0:+0"], cwd=root, input=names.encode(), stdout=image, check=True)
    shutil.rmtree(root)


def make_disk(path, megabytes):
    with open(path, "wb") as image:
        image.truncate(megabytes << 20)
    env = dict(os.environ, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", path], check=True, env=env)


# ---- a running guest ----

class Guest:
    """
    One boot. `forwards` maps ports of 127.0.0.1 here to ports there; the guest finds this machine's at 10.0.2.2.
    disk: an image, or None.
    """

    def __init__(self, vmlinuz, initramfs, disk, forwards, log_path, memory_mb=MEMORY_MB):
        self.log_path, self.lines, self.answers = log_path, [], queue.Queue()
        net = "user,id=n" + "".join(f",hostfwd=tcp:127.0.0.1:{here}-10.0.2.15:{there}" for here, there in forwards.items())
        self.process = subprocess.Popen(
            # It dies with the test, however that ends.
            ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", str(memory_mb),
             "-smp", "2", "-display", "none", "-vga", "none", "-nodefaults", "-no-user-config", "-monitor", "none", "-serial", "stdio",
             "-no-reboot", "-kernel", vmlinuz, "-initrd", initramfs, "-append", "console=ttyS0 quiet panic=-1 rdinit=/init",
             *(["-drive", f"file={disk},if=virtio,format=raw,cache=writeback"] if disk else []),
             "-netdev", net, "-device", "virtio-net-pci,netdev=n,romfile=",
             "-device", "virtio-serial-pci", "-chardev", f"file,id=log,path={log_path}", "-device", "virtserialport,chardev=log",
             "-device", "virtio-rng-pci"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for raw in self.process.stdout:
            line = raw.decode("utf-8", "replace").strip()
            self.lines.append(line)
            found = re.search(r"PN-([A-Z]+) ?(.*)", line)
            if found:
                self.answers.put((found[1], found[2]))
        self.answers.put(("EOF", ""))

    def expect(self, word, seconds):
        """Waits for the answer `word` and returns its text."""
        end = time.monotonic() + seconds
        while True:
            try:
                got, text = self.answers.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise Infrastructure(f"the guest did not say {word} within {seconds} s\n{self.tail()}") from None
            if got == word:
                return text
            if got == "ENDED":
                raise GatewayFailed(f"the gateway ended with {text}\n{self.tail()}")
            if got in ("EOF", "BROKEN"):
                raise Infrastructure(f"the guest fell over while waiting for {word}: {text or 'QEMU ended'}\n{self.tail()}")

    def ask(self, word, answer, seconds=60):
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()
        return self.expect(answer, seconds)

    def wait_booted(self):
        return self.expect("BOOTED", BOOT_S)

    def wait_serving(self, seconds=BOOT_S):
        end = time.monotonic() + seconds
        while "event=ready" not in self.log():
            if any(line.startswith("PN-ENDED") for line in self.lines):
                raise GatewayFailed(f"the gateway ended at its start\n{self.tail()}")
            if self.process.poll() is not None:
                raise Infrastructure(f"QEMU ended with {self.process.returncode}\n{self.tail()}")
            if time.monotonic() > end:
                raise GatewayFailed(f"the gateway did not get ready within {seconds} s\n{self.tail()}")
            time.sleep(0.05)

    def status(self):
        return json.loads(self.ask("status", "STATUS"))

    def log(self):
        return self.log_path.read_text("utf-8", "replace") if self.log_path.exists() else ""

    def tail(self):
        return "\n".join(["--- serial line"] + self.lines[-30:] + ["--- gateway log"] + self.log().splitlines()[-40:])

    def cut(self):
        """The power fails."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.reader.join()

    def stop(self, seconds=120):
        """A clean end of gateway and guest; returns the gateway's exit code."""
        self.process.stdin.write(b"stop\n")
        self.process.stdin.flush()
        code = self.expect("ENDED", seconds)
        if self.ask("off", "OFF") != "0":
            raise Infrastructure(f"the disk could not be unmounted\n{self.tail()}")
        self.process.wait(60)
        return int(code)
