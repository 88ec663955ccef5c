# SPDX-License-Identifier: ISC
"""
Kernel TLS for real: the gateway in a QEMU guest whose kernel has it, OpenSSL clients out here, octets compared at the
next hop. The guest's TlsRxSw and TlsTxSw must have grown by exactly the connections that the gateway says it moved,
and those must be all that there were, so a silent fallback cannot pass.

Usage: test_ktls.py stable|newer (kernels.py) [TEST...]
Exit codes: 0 good; 1 something is wrong; 3 guest or machine failed, nothing was found out; 77 no such kernel.
PN_TEST_FULL=1: more of everything, 2000 connections at once, and the memory of idle ones.
"""
import itertools
import os
import pathlib
import random
import shutil
import ssl
import sys
import tempfile
import threading
import time
import traceback

import peer
from rig import PASSWORD, USER, Rig, machine, say

FULL = os.environ.get("PN_TEST_FULL") == "1"
SEED = int(os.environ.get("PN_SEED") or random.SystemRandom().randrange(1 << 32))
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
MANY, KILLS = (2000, 5) if FULL else (200, 1)
NUMBERS = itertools.count(1)


class Case:
    """What the tests share: a rig, and how many client connections must have moved so far."""

    def __init__(self, rig):
        self.rig, self.moved, self.lock = rig, 0, threading.Lock()

    def open(self, port, tls, session=None, login=True, **options):
        client = peer.Peer(self.rig.port[port], tls, session).open(port != 587, **options)
        with self.lock:
            self.moved += port != 466
        return client.login(USER, PASSWORD) if login else client

    def submit(self, client, size, domain="plain.example", write=None):
        to, data = self.rig.content(f"m{next(NUMBERS)}", size, domain)
        client.begin(USER, to)
        (write or client.write)(data)
        client.expect(250)

    def check(self):
        """Everything that could move has moved, and the kernel says the same."""
        rig = self.rig
        rig.wait_gone()
        status = rig.guest.status()["counters"]
        ktls, kernel = status["ktls"]["all"], rig.kernel_counts()
        upstream = sum(c["tls_handshakes"] for c in status["upstream"].values())
        stayed = {name: n for name, n in ktls.items() if name.startswith("not_moved") and n}
        assert not stayed and ktls["moved_receive_only"] == 0, f"not moved: {stayed}"
        wanted = self.moved + upstream
        assert ktls["moved"] == wanted, f"{ktls['moved']} moved, not {self.moved} + {upstream} to upstreams"
        for name in ("TlsRxSw", "TlsTxSw"):
            grown = kernel[name] - rig.base[name]
            assert grown == ktls["moved"], f"{name} grew by {grown}, but {ktls['moved']} connections were moved"
        return ktls


def bytewise(client):
    def write(data):
        for i in range(len(data)):
            client.ssl.write(data[i:i + 1])
            client.flush()
    return write


def cut(client, pieces):
    """Records cut anywhere on their way."""
    def write(data):
        for i in range(0, len(data), 30000):
            client.ssl.write(data[i:i + 30000])
            client.flush(pieces)
    return write


def test_every_suite(case):
    """Each cipher, version, port; full and resumed; each with another shape of data."""
    for version, cipher, port in itertools.product((TLS13, TLS12), peer.TLS13, (465, 587)):
        tls, session = peer.context(version, cipher), None
        for resumed in (False, True):
            client = case.open(port, tls, session)
            assert client.ssl.session_reused == resumed, f"{version} {cipher}: resumed {client.ssl.session_reused}"
            case.submit(client, 300, write=bytewise(client))
            case.submit(client, 200_000)
            case.submit(client, 50_000, write=cut(client, 7_001 if resumed else 999))
            session = client.ssl.session
            how = client.quit()
            assert how == "close_notify", f"{version} {cipher} on {port}: the end was {how}"


def test_padded_records(case):
    before = case.rig.kernel_counts()["TlsDecryptRetry"]
    for cipher in peer.TLS13:
        client = case.open(465, peer.context(TLS13, cipher, padding=4096))
        case.submit(client, 100_000)
        case.submit(client, 200, write=bytewise(client))
        assert client.quit() == "close_notify"
    assert case.rig.kernel_counts()["TlsDecryptRetry"] > before, "no padded record came"


def test_large_message(case):
    for version, cipher in itertools.product((TLS13, TLS12), peer.TLS13) if FULL else [(TLS13, "aes-128-gcm")]:
        client = case.open(465, peer.context(version, cipher))
        case.submit(client, (50 if FULL else 16) << 20)
        client.quit()
        case.rig.wait(lambda: case.rig.guest.status()["spool"]["messages"] == 0, "the large message leaves")


def test_switched_off_listener(case):
    client = case.open(466, peer.context(TLS13, "aes-128-gcm"))
    case.submit(client, 20_000)
    assert client.quit() == "close_notify"


def test_upstream_connections(case):
    """Our own client moves as well; OpenSSL's tickets come to it as records that are not data."""
    client = case.open(465, peer.context(TLS13, "aes-128-gcm"))
    for domain, size in itertools.product(("wrapped.example", "upgraded.example"), (500, 300_000)):
        case.submit(client, size, domain)
    client.quit()
    case.rig.check_arrived()
    counters = case.rig.counters()
    assert counters["tickets_skipped"] > 0, "no ticket of a next hop came after the move"


def test_ends(case):
    """close_notify, half a close, a FIN or a RST without a word, at rest and in the middle of a message."""
    tls = peer.context(TLS13, "aes-256-gcm")
    for is_inside in (False, True):
        for kind in ("notify", "fin", "reset"):
            client = case.open(465, tls)
            if is_inside:
                client.begin(USER, "nobody@plain.example")
                client.write(b"Subject: half\r\n\r\nnot whole\r\n")
            if kind == "notify":
                client.say_goodbye()
                assert (how := client.end()) == "close_notify", f"answer to close_notify: {how}"
            elif kind == "fin":
                client.sock.shutdown(peer.socket.SHUT_WR)
                assert (how := client.end()) == "close_notify", f"answer to FIN: {how}"
            else:
                client.sock.setsockopt(peer.socket.SOL_SOCKET, peer.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()


def test_broken_record(case):
    before = case.rig.counters()["broken_records"]
    for version in (TLS13, TLS12):
        client = case.open(465, peer.context(version, "aes-128-gcm"))
        record = bytearray(client.sealed(b"NOOP\r\n"))
        record[-1] ^= 1
        client.sock.sendall(record)
        client.end()
        client.close()
    case.rig.wait(lambda: case.rig.counters()["broken_records"] == before + 2, "the broken records are counted")


def test_key_updates(case):
    """With a kernel that can: keys change, data goes on. With another: an alert, a count, and nobody else notices."""
    before, answers, kinds = case.rig.counters(), 0, (peer.UPDATE_NOT_REQUESTED, peer.UPDATE_REQUESTED)
    for cipher, kind in itertools.product(peer.TLS13, kinds):
        client = case.open(465, peer.context(TLS13, cipher))
        client.update_keys(kind)
        if not case.rig.has_rekey:
            client.write(b"NOOP\r\n")
            how = client.end()
            assert "UNEXPECTED_MESSAGE" in how.upper(), f"refused KeyUpdate: {how}"
            client.close()
            continue
        client.cmd("NOOP", 250)
        for _ in range(3):
            client.update_keys(kind)
            case.submit(client, 60_000)
        answers += 4 * (kind == peer.UPDATE_REQUESTED)
        assert client.quit() == "close_notify"
    now, count = case.rig.counters(), len(peer.TLS13) * len(kinds)
    grown = {name: now[name] - before[name] for name in ("rekeys_receive", "rekeys_send", "key_updates_refused")}
    wanted = (4 * count, answers, 0) if case.rig.has_rekey else (0, 0, count)
    assert tuple(grown.values()) == wanted, f"{grown}, expected {wanted}"


def open_many(case, count, ports):
    """So many connections that are logged in, made by eight threads; all of them are there at once."""
    tls = [peer.context(v, c) for v in (TLS13, TLS12) for c in peer.TLS13]
    clients, problems = [], []

    def work(seed):
        own = random.Random(seed)
        try:
            for _ in range(count // 8):
                clients.append(case.open(own.choice(ports), own.choice(tls)))
        except Exception:
            problems.append(traceback.format_exc())

    threads = [threading.Thread(target=work, args=(f"{SEED} {i}",)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not problems, problems[0]
    return clients


def test_many_at_once(case):
    """Moved connections side by side: mail on some, silence on others, sudden ends."""
    rng = random.Random(SEED)
    clients = open_many(case, MANY, (465, 587))
    case.rig.wait(lambda: case.rig.counters()["sessions"] >= len(clients), "all are there at once")
    say(f"{len(clients)} moved connections at once")
    rng.shuffle(clients)
    for i, client in enumerate(clients):
        if i % 10 == 0:
            case.submit(client, rng.choice((400, 20_000, 70_000)))
        elif i % 3 == 0:
            client.begin(USER, "nobody@plain.example")
            client.write(b"x" * rng.randrange(1, 3000))
        if i % 2 == 0:
            client.sock.setsockopt(peer.socket.SOL_SOCKET, peer.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    case.rig.wait_gone()


def test_kill(case):
    """kill -9 with moved connections under load: every 250 that was read is kept."""
    rig, stop, promised, lock = case.rig, threading.Event(), set(), threading.Lock()
    rig.check_arrived()
    case.check()

    def work(port):
        tls = peer.context(TLS13, "aes-128-gcm")
        while not stop.is_set():
            try:
                client = peer.Peer(rig.port[port], tls).open(port == 465).login(USER, PASSWORD)
                while not stop.is_set():
                    with lock:
                        name = f"k{next(NUMBERS)}"
                        to, data = rig.content(name, 3000)
                    client.begin(USER, to)
                    client.write(data)
                    client.expect(250)
                    with lock:
                        promised.add(name)
            except (OSError, peer.Ended, ssl.SSLError, ValueError):
                time.sleep(0.2)

    threads = [threading.Thread(target=work, args=(port,), daemon=True) for port in (465, 587) * 2]
    for t in threads:
        t.start()
    try:
        rig.wait(lambda: len(promised) >= 20, "some promises")
        for _ in range(KILLS):
            rig.restart()
            count = len(promised)
            rig.wait(lambda: len(promised) >= count + 20, "promises after the kill")
    finally:
        stop.set()
    for t in threads:
        t.join(120)
    got = rig.wait(lambda: (arrived := rig.arrived()) and promised <= set(arrived) and arrived, "all promises arrive")
    assert all(set(got[name]) == {rig.expected[name]} for name in promised), "a message arrived with other content"
    say(f"{len(promised)} promises around {KILLS} kills, all kept")


def test_idle_memory(case):
    """What an idle connection holds, with the kernel's records and with BoringSSL's, each in a new gateway."""
    costs = {}
    for name, port in (("user space", 466), ("kernel", 465)):
        case.rig.restart()
        clients = open_many(case, 400, (port,))
        before = case.rig.memory()
        clients += open_many(case, 1000, (port,))
        now = case.rig.memory()
        moved = case.rig.counters()["sessions"]
        assert moved == (len(clients) if port == 465 else 0), f"{moved} of {len(clients)} were moved"
        costs[name] = {what: (now[what] - before[what]) / 1000 for what in now}
        say(f"an idle connection, {name}: " + ", ".join(f"{what} {kb:.1f} KB" for what, kb in costs[name].items()))
        for client in clients:
            client.close()
        case.rig.wait_gone()
    # The kernel's state of a connection, its ciphers' included, is a few KB; records that stay would be 16 KB and more.
    more = costs["kernel"]["SUnreclaim"] - costs["user space"]["SUnreclaim"]
    assert more < 14, f"a moved connection costs {more} KB of slab more"


def run(rig, names):
    case, counters = Case(rig), {}
    last = [test_kill, *([test_idle_memory] if FULL else [])]  # the gateway's counts start anew in them
    tests = [t for name, t in globals().items() if name.startswith("test_") and t not in (test_kill, test_idle_memory)]
    chosen = [t for t in (*tests, *last) if not names or t.__name__ in names]
    assert len(chosen) >= len(names), f"not all of {names} are tests, or some are of PN_TEST_FULL=1"
    for test in chosen:
        start = time.monotonic()
        rig.alive()
        test(case)
        say(f"{test.__name__} ok ({time.monotonic() - start:.1f} s)")
        if test not in last:
            counters = case.check()
    say("counters before a kill: " + " ".join(f"{name}={n}" for name, n in counters.items() if n))
    code = rig.stop()
    assert code == 0, f"the gateway ended with {code} after SIGTERM\n{rig.guest.tail()}"


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pn-ktls-"))
    rig = None
    try:
        rig = Rig(folder, sys.argv[1] if len(sys.argv) > 1 else "stable")
        say(f"kernel {rig.release}, rekey {rig.has_rekey}, seed {SEED}")
        run(rig, sys.argv[2:])
        rig.close()
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
        if rig:
            print(rig.guest.tail())
        print(f"FAILED (files: {folder})")
        return 1
    finally:
        if rig:
            rig.close()


if __name__ == "__main__":
    sys.exit(main())
