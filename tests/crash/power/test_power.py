# SPDX-License-Identifier: ISC
"""
Power loss: the real gateway in a guest whose power is cut under load, again and again, on the same disk. Every message whose
250 a client read must arrive at the next hop. The ledger is kept out here.

The same is done with a build whose spool syncs do nothing (postern_nosync). That one must lose messages: it shows in every run
that the rig would notice a sync that is missing.

Exit codes: 0 good; 1 messages were lost, or something else that must not happen; 3 the guest or the machine failed, so nothing
was found out; 77 no kernel for a guest can be had.
Environment: PN_POSTERN, PN_POSTERN_NOSYNC, PN_TEST_FULL=1 (20 cuts instead of 3), PN_CUTS, PN_SEED.
"""
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "integration"))
import guest as machine
import ledger as books
from harness import POSTERN, Wire, free_ports, make_certificate

HERE = pathlib.Path(__file__).resolve().parent
FULL = os.environ.get("PN_TEST_FULL") == "1"
CUTS = int(os.environ.get("PN_CUTS") or (20 if FULL else 3))
SEED = int(os.environ.get("PN_SEED") or random.SystemRandom().randrange(1 << 32))
NOSYNC_CUTS_MAX = 3
CLIENTS = 8
# How long something may take to happen; never how fast it must be.
PATIENCE_S = 180
DISK_MB = 512

CONFIG = """
hostname = "mx.test.example"
run_user = "nobody"
run_group = "nogroup"
loops = 2
relay_workers = 2
cpu_pinning = no
control_socket = "/run/postern/control"
listener "submissions" {{
	addresses = {{"0.0.0.0:465"}}
	tls = implicit
}}
listener "submission" {{
	addresses = {{"0.0.0.0:587"}}
	tls = starttls
}}
certificate "c" {{
	chain_file = "/etc/postern/cert.pem"
	key_file = "/etc/postern/cert.key"
}}
auth {{
	user_file = "/etc/postern/users"
}}
upstream "hop" {{
	kind = smtp
	hosts = {{"10.0.2.2:{port}"}}
	tls = none
	connections_max = 8
}}
spool {{
	path = "/disk/spool"
	inline_max_bytes = {inline_max}
	segment_size_bytes = 4M
	free_space_min_bytes = 16M
}}
retry {{
	first_s = 1
	max_s = 2
}}
limits {{
	sessions_max = 1000
	handshakes_max = 500
	sessions_per_source_max = 0
	connections_per_source_per_minute_max = 0
	drain_timeout_s = 20
}}
"""


def say(text):
    print(f"[{time.monotonic() - START:6.1f} s] {text}", flush=True)


class Rig:
    """One build of the gateway, one disk, one ledger, any number of lives."""

    def __init__(self, name, program, folder, seed):
        self.name, self.dir, self.rng = name, folder / name, random.Random(seed)
        self.dir.mkdir()
        self.ledger = books.Ledger()
        self.hop = books.NextHop(self.ledger)
        self.numbers = itertools.count(1)
        self.disk, self.initramfs = self.dir / "disk.img", self.dir / "initramfs"
        chain, key = make_certificate(self.dir)
        users = self.dir / "users"
        subprocess.run([POSTERN, "user", "add", "-f", users, "--password-stdin", books.USER], check=True,
                       input=books.PASSWORD + "\n", text=True, capture_output=True)
        self.vmlinuz, modules = machine.kernel()
        machine.make_initramfs(self.initramfs, modules, {
            "init": HERE / "init", "bin/postern": pathlib.Path(program), "etc/postern/cert.pem": chain, "etc/postern/cert.key": key,
            "etc/postern/users": users, "etc/postern/postern.conf": CONFIG.format(port=self.hop.port, inline_max=books.INLINE_MAX)})
        machine.make_disk(self.disk, DISK_MB)
        self.guest = None

    def boot(self):
        """Boots on the disk as it is. A guest that does not come up is tried once more; a gateway that does not is a finding."""
        self.hop.wait_quiet()
        self.ledger.life += 1
        for attempt in (1, 2):
            self.ports = free_ports(2)
            log = self.dir / f"life{self.ledger.life}-{attempt}.log"
            self.guest = machine.Guest(self.vmlinuz, self.initramfs, self.disk, dict(zip(self.ports, (465, 587))), log)
            try:
                self.release = self.guest.wait_booted()
                break
            except machine.Infrastructure as failure:
                self.guest.cut()
                if attempt == 2:
                    raise
                say(f"the guest did not boot, trying again: {failure}")
        self.guest.wait_serving()

    def wait_moment(self, moment):
        """Small things go wrong right behind a 250: so some cuts come there, behind that of a large message or of any."""
        if moment == "whenever":
            time.sleep(self.rng.random() * 0.3)
            return
        count = self.ledger.large_promises if moment == "large" else lambda: len(self.ledger.promised)
        before, end = count(), time.monotonic() + PATIENCE_S
        while count() == before:
            self.alive()
            if time.monotonic() > end:
                raise AssertionError(f"no promise for {PATIENCE_S} s\n{self.guest.tail()}")
            time.sleep(0.0005)

    def load(self, target, barrier, moment):
        """Clients on both ports until `target` more promises were made, then the cut, in the middle of it all."""
        life, stop, gate = self.ledger.life, threading.Event(), threading.Event()
        gate.set()
        clients = [books.Client(Wire, self.ledger, self.numbers, self.ports[i % 2], i % 2 == 0, stop, gate, self.rng.random())
                   for i in range(CLIENTS)]
        for c in clients:
            c.start()
        try:
            if barrier:
                self.wait_promises(life, target // 2)
                gate.clear()
                self.wait_owed_nothing()
                say(f"  {self.ledger.settle()} arrivals are settled: none of them may come again")
                gate.set()
            self.wait_promises(life, target)
            self.wait_moment(moment)
            self.guest.cut()
        finally:
            stop.set()
            gate.set()
        for c in clients:
            c.join(PATIENCE_S)
            if c.problems:
                raise AssertionError(f"a session broke before the cut: {c.problems[:3]}\n{self.guest.tail()}")

    def alive(self):
        if self.guest.process.poll() is not None:
            raise machine.Infrastructure(f"QEMU ended on its own with {self.guest.process.returncode}\n{self.guest.tail()}")
        if any(line.startswith("PN-ENDED") for line in self.guest.lines):
            raise machine.GatewayFailed(f"the gateway ended under load\n{self.guest.tail()}")

    def wait_promises(self, life, target):
        """Patience starts again with each promise."""
        seen, since = -1, time.monotonic()
        while (now := self.ledger.promises_of(life)) < target:
            self.alive()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE_S:
                figures = self.ledger.figures()
                raise AssertionError(f"no promise for {PATIENCE_S} s ({now} of {target}): {figures}\n{self.guest.tail()}")
            time.sleep(0.01)

    def wait_owed_nothing(self):
        """Until the gateway itself says that every message has a durable end."""
        seen, since = -1, time.monotonic()
        while (owed := self.guest.status()["spool"]["messages"]) > 0:
            self.alive()
            if owed != seen:
                seen, since = owed, time.monotonic()
            elif time.monotonic() - since > PATIENCE_S:
                queue = self.guest.ask("queue", "QUEUE")[:4000]
                raise AssertionError(f"{owed} messages are still in the spool\n{queue}\n{self.guest.tail()}")
            time.sleep(0.2)

    def cut_once(self, mode, target, moment):
        self.hop.mode = mode
        self.boot()
        before = self.ledger.figures()
        self.load(target, barrier=mode == "accept", moment=moment)
        self.hop.wait_quiet()
        now = self.ledger.figures()
        say(f"{self.name}: life {self.ledger.life} (next hop: {mode}; moment: {moment}) cut after "
            f"{now['promised'] - before['promised']} promises, {now['large'] - before['large']} of them large; "
            f"delivered so far {now['delivered']} of {now['promised']}")

    def finish(self):
        """The last boot: the next hop takes everything. Returns the ids that are lost."""
        self.hop.mode = "accept"
        self.boot()
        self.wait_owed_nothing()
        damaged = int(self.guest.ask("damaged", "DAMAGED"))
        code = self.guest.stop()
        return self.ledger.lost(), damaged, code

    def complaints(self):
        """Error lines of all lives."""
        lines = [line for log in sorted(self.dir.glob("life*.log"))
                 for line in log.read_text("utf-8", "replace").splitlines()]
        return [line for line in lines if "level=error" in line or "Sanitizer" in line
                or ("not available" in line and "event=ktls" not in line)]

    def close(self):
        if self.guest:
            self.guest.cut()
        self.hop.shutdown()
        self.hop.server_close()


def with_sync(folder):
    """Returns the figures; fails when a promise was broken."""
    rig = Rig("sync", POSTERN, folder, SEED)
    try:
        # Half of the lives deliver while they are cut (journals); the others only collect (segments, files, progress).
        modes = ["refuse", "accept", "half", "accept", "closed", "accept"]
        moments = ["large", "whenever", "any"]
        for n in range(CUTS):
            rig.cut_once(modes[n % len(modes)], rig.rng.randrange(150, 400), moments[n % len(moments)])
        lost, damaged, code = rig.finish()
        figures = rig.ledger.figures()
        say(f"sync: kernel {rig.release}; {figures}")
        assert not lost, f"{len(lost)} messages were lost: {lost[:20]}\n{rig.guest.tail()}"
        assert not rig.ledger.wrong, f"{len(rig.ledger.wrong)} findings: {rig.ledger.wrong[:10]}\n{rig.guest.tail()}"
        assert damaged == 0, f"{damaged} files in damaged/\n{rig.guest.tail()}"
        assert code == 0, f"the gateway ended with {code} after SIGTERM\n{rig.guest.tail()}"
        assert not rig.complaints(), "the gateway complained:\n" + "\n".join(rig.complaints()[:20])
        assert not figures["refused"], f"submissions were refused: {figures['refused']}"
        assert figures["large"] > 0 and figures["promised"] > figures["large"], f"the load lacks a size: {figures}"
        assert len(rig.ledger.settled) > 0 or CUTS < 2, "no delivery was settled before a cut"
        return figures
    finally:
        rig.close()


def without_sync(program, folder):
    """(lost, promised) of a build without syncs: it must lose something within a few cuts."""
    rig = Rig("nosync", program, folder, SEED + 1)
    try:
        lost = []
        while not lost and rig.ledger.life < 2 * NOSYNC_CUTS_MAX:
            rig.cut_once("refuse", 100, "whenever")
            lost, _, _ = rig.finish()
        assert lost, f"a build without syncs lost nothing in {NOSYNC_CUTS_MAX} cuts: this rig would not notice a missing sync"
        return len(lost), len(rig.ledger.promised)
    finally:
        rig.close()


def main():
    nosync = os.environ.get("PN_POSTERN_NOSYNC") or str(pathlib.Path(POSTERN).parent / "postern_nosync")
    for program in (POSTERN, nosync):
        if not os.access(program, os.X_OK):
            print(f"{program} is missing: build it first")
            return 3
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pn-power-"))
    print(f"power loss: {CUTS} cuts, seed {SEED} (PN_SEED={SEED} repeats the load)", flush=True)
    try:
        lost, promised = without_sync(nosync, folder)
        f = with_sync(folder)
        print(f"cuts {CUTS} promised {f['promised']} delivered {f['delivered']} lost 0 duplicated {f['duplicated']}; "
              f"without sync: lost {lost} of {promised}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    except machine.Unavailable as reason:
        print(f"skipped: {reason}")
        shutil.rmtree(folder, ignore_errors=True)
        return 77
    except machine.Infrastructure as failure:
        print(f"infrastructure failure, nothing is known about the gateway: {failure}\n(files: {folder})")
        return 3
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print(f"FAILED (logs and disk images: {folder})")
        return 1


START = time.monotonic()
if __name__ == "__main__":
    sys.exit(main())
