# SPDX-License-Identifier: ISC
"""
kill -9 of the worker and of the parent at random moments under load, and a restart, again and again: what was answered 250 arrives, whole.

Client threads submit numbered messages on both ports (small and large, pipelined, several recipients) and keep a ledger of the 250s. Every message carries the checksum
of its body, so that half a message is found too. A duplicate is possible only for what the next hop took shortly before a kill; those are counted and are the bound.
Environment: PN_KILL_SEED, PN_KILL_COUNT; PN_TEST_FULL=1 kills 200 times.
"""
import hashlib
import os
import pathlib
import random
import re
import signal
import ssl
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from harness import FULL, SANITIZE, USER, Gateway, run, until  # noqa: E402
from sink import Sink, subject  # noqa: E402

SEED = int(os.environ.get("PN_KILL_SEED") or random.randrange(1 << 32))
KILLS = int(os.environ.get("PN_KILL_COUNT") or (5 if SANITIZE else 200 if FULL else 20))
CLIENTS = 4
OUTCOME_SYNC_MS = 20
# What was taken by the next hop this long before a kill may not be durable yet: outcome_sync_ms, and a busy disk.
DOUBT_S = 1.0 if SANITIZE else 0.25


def body_of(number, rng):
    size = rng.choice((100, 1000, 4000, 30000, 50000, 200000)) if number % 5 == 0 else rng.randrange(10, 3000)
    line = b"%d " % number + bytes(rng.choices(b"abcdefghijklmnop.", k=70)) + b"\r\n"
    return (line * (size // len(line) + 1))[:size].rstrip(b"\r\n") + b"\r\n"


def check_of(body):
    return hashlib.sha256(body.replace(b"\r\n", b"\n")).hexdigest()


class Arrivals:
    """What the next hop has taken: number -> how often, and when."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts, self.times, self.damaged = {}, [], []

    def take(self, mail, rcpts, data):
        head, _, body = data.replace(b"\r\n", b"\n").partition(b"\n\n")
        name = subject(data)
        check = re.search(rb"^X-Check: (\w+)$", head, re.M)
        whole = check and check.group(1).decode() == hashlib.sha256(body).hexdigest()
        with self.lock:
            if not whole:
                self.damaged.append(name)
            for rcpt in rcpts:
                self.counts[name, rcpt] = self.counts.get((name, rcpt), 0) + 1
                self.times.append(time.monotonic())

    def since(self, moment):
        with self.lock:
            return sum(t >= moment for t in self.times)


class Client(threading.Thread):
    """Submits until told to stop; starts over whenever the gateway goes away."""

    def __init__(self, gateway, index, seed):
        super().__init__(daemon=True)
        self.gateway, self.index, self.rng = gateway, index, random.Random(f"{seed}/{index}")
        self.stopping = threading.Event()
        self.number = self.lost_sessions = 0
        self.promised, self.refused = {}, set()
        self.bytes = 0
        self.error = None

    def run(self):
        while not self.stopping.is_set():
            try:
                self.converse()
            except (OSError, ssl.SSLError, ValueError):
                self.lost_sessions += 1
                time.sleep(0.02)
            except AssertionError as e:
                # 0 is the end of the stream in the middle of a reply; 421 and 4yz are answers that promise nothing.
                if not re.search(r"got (0|4\d\d):", str(e)):
                    self.error = e
                    return
                self.lost_sessions += 1

    def converse(self):
        w = self.gateway.session(implicit=self.rng.random() < 0.5)
        try:
            for _ in range(self.rng.randrange(1, 12)):
                if self.stopping.is_set():
                    break
                self.submit(w)
        finally:
            w.close()

    def message(self):
        self.number += 1
        name = f"m-{self.index}-{self.number}"
        body = body_of(self.number, self.rng)
        text = f"From: <{USER}>\r\nTo: <{USER}>\r\nSubject: {name}\r\nX-Check: {check_of(body)}\r\n\r\n".encode() + body
        rcpts = [f"r{i}@example.net" for i in range(self.rng.choice((1, 1, 1, 2, 5)))]
        return name, rcpts, text.replace(b"\r\n.", b"\r\n..") + b".\r\n"

    def submit(self, w):
        """One message; or three at once, each pipelined behind the end of the one before."""
        batch = [self.message() for _ in range(3 if self.rng.random() < 0.3 else 1)]
        for i, (name, rcpts, data) in enumerate(batch):
            head = f"MAIL FROM:<{USER}>\r\n" + "".join(f"RCPT TO:<{r}>\r\n" for r in rcpts) + "DATA\r\n"
            if i == 0:
                w.send(head)
            for _ in range(1 + len(rcpts)):
                w.expect(250)
            w.expect(354)
            following = batch[i + 1:i + 2]
            w.send(data + ("".join([f"MAIL FROM:<{USER}>\r\n", *(f"RCPT TO:<{r}>\r\n" for r in following[0][1]), "DATA\r\n"]).encode() if following else b""))
            code, lines = w.reply()
            if code == 250:
                self.promised[name] = rcpts
            elif code:
                assert code in (421, 451, 452), f"got {lines}"
                self.refused.add(name)
                raise ValueError(lines)
            else:
                raise ValueError("cut")


def wait_gone(pid):
    until(lambda: not pathlib.Path(f"/proc/{pid}").exists() or pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z", "the old worker is gone")


def readies(gateway):
    return len(gateway.log_lines("ready"))


def kill_and_restart(gateway, rng, parent):
    """Returns the moment of the kill."""
    worker = gateway.worker_pid()
    before = readies(gateway)
    moment = time.monotonic()
    if parent:
        gateway.process.kill()
        gateway.process.wait()
        wait_gone(worker)
        gateway.start()
    else:
        os.kill(worker, signal.SIGKILL)
        # Sometimes the next one dies while it recovers.
        until(lambda: gateway.worker_pid() not in (0, worker), "another worker")
        if rng.random() < 0.2:
            time.sleep(rng.random() * 0.02)
            gateway.process.kill()
            second = gateway.worker_pid() if pathlib.Path(f"/proc/{gateway.process.pid}/task").exists() else 0
            gateway.process.wait()
            if second:
                wait_gone(second)
            gateway.start()
        else:
            until(lambda: readies(gateway) > before, "the new worker serves")
    return moment


def campaign(gateway, arrivals, name):
    rng = random.Random(f"{SEED}/{name}")
    clients = [Client(gateway, f"{name}{i}", SEED) for i in range(CLIENTS)]
    for c in clients:
        c.start()
    doubtful = 0
    worker_kills = 0
    for _ in range(KILLS):
        time.sleep(rng.random() * (1.5 if SANITIZE else 0.6))
        # Workers that die often are started again later and later; a new parent begins anew.
        parent = worker_kills >= 2 or rng.random() < 0.4
        worker_kills = 0 if parent else worker_kills + 1
        moment = kill_and_restart(gateway, rng, parent)
        doubtful += arrivals.since(moment - DOUBT_S)
    time.sleep(0.2)
    for c in clients:
        c.stopping.set()
    for c in clients:
        c.join(120)
        assert not c.is_alive() and not c.error, f"{c.name}: {c.error}"
    gateway.wait_queue_empty()
    promised = {name: rcpts for c in clients for name, rcpts in c.promised.items()}
    refused = set().union(*(c.refused for c in clients))
    return promised, refused, doubtful


def judge(name, promised, refused, arrivals, doubtful):
    owed = [(n, r) for n, rcpts in promised.items() for r in rcpts]
    lost = [x for x in owed if x not in arrivals.counts]
    duplicated = sum(c - 1 for c in arrivals.counts.values())
    delivered = len({n for n, _ in arrivals.counts} & set(promised))
    print(f"{name}: kills {KILLS} promised {len(promised)} delivered {delivered} lost {len(lost)} duplicated {duplicated} "
          f"(recipients {len(owed)}, in doubt at the kills {doubtful}, never answered but delivered {len({n for n, _ in arrivals.counts} - set(promised))})", flush=True)
    assert not lost, lost[:20]
    assert not arrivals.damaged, arrivals.damaged[:20]
    assert not [n for n, _ in arrivals.counts if n in refused], "a message that was refused has been delivered"
    assert duplicated <= doubtful, f"{duplicated} duplicates, at most {doubtful} deliveries were in doubt"
    assert len(promised) > KILLS, "too little load to prove anything"


SECTIONS = {"spool": {"inline_max_bytes": 65536, "segment_size_bytes": 2 << 20, "outcome_sync_ms": OUTCOME_SYNC_MS}}


def check_recoveries(gateway):
    for line in gateway.log_lines("spool"):
        if "recovered" in line["msg"]:
            assert " 0 damaged" in line["msg"], line["msg"]


def test_kill_with_a_next_hop():
    print(f"seed {SEED}", flush=True)
    arrivals = Arrivals()
    with Sink(on_message=arrivals.take) as s:
        with Gateway(SECTIONS, upstreams={"s": {"kind": "smtp", "hosts": [s.host], "tls": "none"}}) as g:
            promised, refused, doubtful = campaign(g, arrivals, "hop")
            check_recoveries(g)
            judge("hop", promised, refused, arrivals, doubtful)


def test_kill_with_a_maildir():
    """The Maildir knows its messages by name, so a kill leaves no duplicate at all there."""
    print(f"seed {SEED}", flush=True)
    arrivals = Arrivals()
    with Gateway(SECTIONS) as g:
        promised, refused, _ = campaign(g, arrivals, "dir")
        check_recoveries(g)
        for file, data in g.delivered().items():
            rcpt = re.search(r"R(\d+)\.postern", file).group(1)
            arrivals.take(None, [f"r{rcpt}@example.net"], data)
        judge("dir", promised, refused, arrivals, 0)
        assert not list((g.maildir / "tmp").iterdir()), "files are left in tmp"


if __name__ == "__main__":
    run(globals())
