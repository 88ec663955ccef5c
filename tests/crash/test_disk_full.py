# SPDX-License-Identifier: ISC
"""
A disk that is really full: an ext4 image on a loop device (or a tmpfs of a fixed size) in a mount namespace of our own.

452 4.3.1 while it lasts, nothing that was promised is lost, nothing that was refused is delivered, and the gateway heals without a restart.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from harness import FULL, USER, Gateway, Skip, free_ports, message, run, until  # noqa: E402
from sink import Sink, subject  # noqa: E402

KINDS = ("ext4", "tmpfs")


class Disk:
    """A small file system; `squeeze` fills what is left of it, `release` gives that back."""

    def __init__(self, kind, size_mib):
        if os.environ.get("PN_OWN_MOUNTS") != "1":
            raise Skip("needs root and a mount namespace of its own")
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="pn-disk-"))
        self.base.chmod(0o755)
        self.path = self.base / "mount"
        self.path.mkdir()
        if kind == "ext4":
            image = self.base / "image"
            with open(image, "wb") as f:
                f.truncate(size_mib << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4", str(image)], check=True, capture_output=True)
            what = ["-o", "loop", str(image)]
        else:
            what = ["-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs"]
        r = subprocess.run(["mount", *what, str(self.path)], capture_output=True, text=True)
        if r.returncode != 0:
            shutil.rmtree(self.base)
            raise Skip(f"cannot mount {kind} here: {r.stderr.strip()}")
        self.path.chmod(0o755)
        self.ballast = self.path / "ballast"

    def free(self):
        s = os.statvfs(self.path)
        return s.f_bavail * s.f_frsize

    def squeeze(self):
        with open(self.ballast, "ab", buffering=0) as f:
            for size in (1 << 20, 4096, 1):
                try:
                    while f.write(b"\0" * size):
                        pass
                except OSError:
                    pass

    def release(self):
        self.ballast.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", str(self.path)], capture_output=True)
        shutil.rmtree(self.base, ignore_errors=True)


class Ledger:
    """Submits and remembers what was said."""

    def __init__(self, gateway):
        self.gateway, self.wire, self.number = gateway, None, 0
        self.promised, self.refused = [], []

    def submit(self, size):
        """Returns the reply's first code and text; 250 is a promise, 4yz is none. Anything else fails the test."""
        self.number += 1
        name = f"n{self.number}"
        line = b"%07d " % self.number + b"x" * 70 + b"\r\n"
        body = (line * (size // len(line) + 1))[:size - 2].rstrip(b"\r\n").ljust(size - 2, b"z") + b"\r\n"
        if not self.wire:
            self.wire = self.gateway.session(implicit=self.number % 2 == 0)
        w = self.wire
        w.send(f"MAIL FROM:<{USER}>\r\n")
        code, lines = w.reply()
        if code == 250:
            w.cmd(f"RCPT TO:<{USER}>", 250)
            w.send("DATA\r\n")
            code, lines = w.reply()
        if code == 354:
            w.send(message(name, "") + body + b".\r\n")
            code, lines = w.reply()
        if code == 250:
            self.promised.append(name)
        else:
            assert code in (451, 452), lines
            self.refused.append(name)
            w.send("RSET\r\n")
            w.expect(250)
        return code, lines[-1]

    def fill(self, sizes, at_most):
        """Until a MAIL is refused with 452 4.3.1; then some more, of each size."""
        for i in range(at_most):
            code, text = self.submit(sizes[i % len(sizes)])
            if text.startswith("452 4.3.1"):
                break
        else:
            raise AssertionError(f"never full after {at_most} messages, {len(self.promised)} promised")
        for i in range(20):
            self.submit(sizes[i % len(sizes)])
        print(f"  full after {len(self.promised)} promised, {len(self.refused)} refused", flush=True)

    def heals(self, size):
        until(lambda: self.submit(size)[0] == 250, "mail is taken again", every=0.3)

    def close(self):
        if self.wire:
            self.wire.close()
            self.wire = None


def dead_hop():
    port = free_ports(1)[0]
    return port, {"s": {"kind": "smtp", "hosts": [f"127.0.0.1:{port}"], "tls": "none"}}


def gone(pid):
    """Whether the process has ended; one that nobody has waited for yet counts as ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text("utf-8").split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def sections(disk, **keys):
    return {"spool": {"path": str(disk.path / "spool"), "segment_size_bytes": 1 << 20, "inline_max_bytes": 32768, **keys}}


def check(ledger, arrived, exactly_once=True):
    lost = set(ledger.promised) - set(arrived)
    assert not lost, f"lost: {sorted(lost)}"
    again = set(ledger.refused) & set(arrived)
    assert not again, f"answered 4yz but delivered: {sorted(again)}"
    if exactly_once:
        assert len(arrived) == len(set(arrived)), "duplicates without a crash"


def each_kind(test):
    """On ext4, and on tmpfs where that cannot be mounted; a full run tries both."""
    ran = 0
    for kind in KINDS:
        if ran and not FULL:
            return
        try:
            test(kind)
            ran += 1
        except Skip as reason:
            last = reason
    if not ran:
        raise last


def test_spool_fills_by_itself_and_drains():
    def one(kind):
        port, hops = dead_hop()
        with Disk(kind, 24) as disk, Gateway(sections(disk), upstreams=hops) as g:
            ledger = Ledger(g)
            ledger.fill((20000, 300, 200000, 5000), 4000)
            # At MAIL, or behind the content when that was what did not fit.
            assert g.counter("session", "spool_refusals") + g.counter("session", "messages_failed") == len(ledger.refused)
            with Sink(port=port) as s:
                until(lambda: len(s.messages) >= len(ledger.promised), "the queue drains")
                g.wait_queue_empty()
                ledger.heals(200000)
                ledger.heals(1000)
                g.wait_queue_empty()
                check(ledger, s.subjects())
            ledger.close()
    each_kind(one)


def test_disk_filled_by_others_and_freed():
    def one(kind):
        port, hops = dead_hop()
        with Disk(kind, 24) as disk, Gateway(sections(disk), upstreams=hops) as g:
            ledger = Ledger(g)
            for i in range(20):
                assert ledger.submit(3000)[0] == 250
            disk.squeeze()
            ledger.fill((30000, 200000, 300), 500)
            # Idle sessions and new ones are served all the same.
            with g.smtp() as c:
                assert c.noop()[0] == 250
            disk.release()
            ledger.heals(200000)
            ledger.heals(3000)
            disk.squeeze()
            # Full again: what is there is delivered, its outcomes are kept until they can be written.
            with Sink(port=port) as s:
                until(lambda: len(s.messages) >= len(ledger.promised), "delivered from a full disk")
                disk.release()
                ledger.heals(3000)
                g.wait_queue_empty()
                check(ledger, s.subjects())
                # Nothing is sent again after a clean restart.
                count = len(s.messages)
                ledger.close()
                assert g.stop() == 0
                g.start()
                ledger.heals(300)
                g.wait_queue_empty()
                assert len(s.messages) == count + 1
            ledger.close()
    each_kind(one)


def test_kill_and_start_on_a_full_disk():
    def one(kind):
        port, hops = dead_hop()
        with Disk(kind, 24) as disk, Gateway(sections(disk), upstreams=hops) as g:
            ledger = Ledger(g)
            for i in range(20):
                assert ledger.submit((3000, 100000)[i % 2])[0] == 250
            disk.squeeze()
            ledger.fill((30000, 200000), 500)
            ledger.close()
            pid = g.worker_pid()
            g.kill()
            until(lambda: gone(pid), "the worker is gone")
            g.start()
            assert len(g.queue()) >= len(ledger.promised), "promised messages are missing after a start on a full disk"
            # Recovery gives back what was reserved behind the last messages, which may be room for some more.
            ledger.fill((3000, 30000), 500)
            with Sink(port=port) as s:
                until(lambda: len(set(s.subjects())) >= len(ledger.promised), "delivered from a full disk")
                disk.release()
                ledger.heals(3000)
                g.wait_queue_empty()
                check(ledger, s.subjects(), exactly_once=False)
            ledger.close()
    each_kind(one)


def test_minimum_of_free_space():
    """free_space_min_bytes answers before the disk is full."""
    with Disk("tmpfs", 64) as disk:
        with Gateway(sections(disk, free_space_min_bytes=20 << 20)) as g:
            ledger = Ledger(g)
            assert ledger.submit(100)[0] == 250
            (disk.path / "other").write_bytes(b"\0" * (45 << 20))
            until(lambda: ledger.submit(100)[1].startswith("452 4.3.1"), "452 4.3.1", every=0.3)
            assert disk.free() > 10 << 20
            (disk.path / "other").unlink()
            ledger.heals(100)
            g.wait_queue_empty()
            ledger.close()
            check(ledger, [subject(d) for d in g.delivered().values()])


def test_maildir_on_a_full_disk():
    def one(kind):
        with Disk(kind, 16) as disk:
            box = disk.path / "box"
            with Gateway(upstreams={"local": {"kind": "maildir", "maildir": str(box)}}) as g:
                def arrived():
                    return [p.read_bytes() for p in (box / "new").iterdir()]
                ledger = Ledger(g)
                assert ledger.submit(3000)[0] == 250
                until(arrived, "a delivery")
                disk.squeeze()
                for size in (3000, 400000, 50000):
                    assert ledger.submit(size)[0] == 250
                until(lambda: len({line["id"] for line in g.log_lines("delivery", result="deferred")}) == 3,
                      "three deferrals")
                assert len(arrived()) == 1 and len(g.queue()) == 3
                disk.release()
                g.wait_queue_empty()
                check(ledger, [subject(d) for d in arrived()])
                sizes = sorted(len(d.partition(b"\n\n")[2].replace(b"\n", b"\r\n")) for d in arrived())
                assert sizes == [3000, 3000, 50000, 400000], sizes
                assert not list((box / "tmp").iterdir()), "files are left in tmp"
                ledger.close()
    each_kind(one)


if __name__ == "__main__":
    if os.geteuid() == 0 and os.environ.get("PN_OWN_MOUNTS") != "1" and shutil.which("unshare"):
        os.environ["PN_OWN_MOUNTS"] = "1"
        probe = subprocess.run(["unshare", "-m", "--propagation", "private", "true"], capture_output=True, text=True)
        if probe.returncode != 0:
            print(f"skipped: no mount namespace of its own can be made here: {probe.stderr.strip()}")
            sys.exit(77)
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, *sys.argv])
    run(globals())
