# SPDX-License-Identifier: ISC
"""
Every write, sync, creation, renaming and unlinking of the spool and the Maildir fails once (or for a while) under the
real gateway; then a clean restart.

Whatever failed: no promised message is lost, none that was answered 4yz is delivered, content is whole, the gateway
lives on and takes mail again. Needs a build with fault injection (PN_FAULT_INJECTION=1 in the environment says so),
else skipped. PN_TEST_FULL=1 tries all combinations.
"""
import concurrent.futures
import errno
import hashlib
import os
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from harness import FULL, SANITIZE, USER, Gateway, Skip, make_certificate, run, until  # noqa: E402
from sink import Sink, subject  # noqa: E402

EIO, ENOSPC = errno.EIO, errno.ENOSPC
AT_ONCE = 2
# (site, whether a result may be short)
COMMIT_SITES = (("spool.segment.write", True), ("spool.segment.fdatasync", False), ("spool.file.write", True),
                ("spool.file.tail_write", True), ("spool.file.fdatasync", False), ("spool.file.create", False),
                ("spool.file.rename", False), ("spool.files.fsync", False))
MAKING = ("create", "fallocate", "header_write", "header_fdatasync")
SEGMENT_FILE_SITES = (*(f"spool.segment.{step}" for step in MAKING), "spool.segments.fsync")
JOURNAL_FILE_SITES = (*(f"spool.journal.{step}" for step in MAKING), "spool.journals.fsync")
OUTCOME_SITES = (("spool.journal.write", True), ("spool.journal.fdatasync", False))
REMOVE_SITES = ("spool.segment.unlink", "spool.file.unlink", "spool.file.unlink_tmp", "spool.dir.statvfs")
READ_SITES = ("spool.segment.read", "spool.file.read", "spool.file.open")
MAILDIR_SITES = ("maildir.open", "maildir.write", "maildir.fsync", "maildir.rename", "maildir.dirsync")
SECTIONS = {"": {"loops": 1, "relay_workers": 1},
            "spool": {"inline_max_bytes": 65536, "segment_size_bytes": 1 << 20, "outcome_sync_ms": 10,
                      "memory_max_bytes": 4 << 20},
            "retry": {"first_s": 1, "max_s": 1}}


class Workload:
    """Small and large messages; each name is used once, and what is refused is submitted again under a new name."""

    def __init__(self, gateway, tag):
        self.gateway, self.tag = gateway, tag
        self.promised, self.refused, self.number = {}, set(), 0

    def submit(self, w, size):
        """Whether it was taken."""
        self.number += 1
        name = f"{self.tag}-{self.number}"
        line = name.encode() + b" " + b"x" * 60 + b"\r\n"
        body = (line * (size // len(line) + 1))[:size - 2].rstrip(b"\r\n").ljust(size - 2, b"z") + b"\r\n"
        check = hashlib.sha256(body.replace(b"\r\n", b"\n")).hexdigest()
        w.send(f"MAIL FROM:<{USER}>\r\n")
        code, lines = w.reply()
        if code == 250:
            w.cmd("RCPT TO:<x@example.net>", 250)
            w.send("DATA\r\n")
            code, lines = w.reply()
        if code == 354:
            w.send(f"From: <{USER}>\r\nSubject: {name}\r\nX-Check: {check}\r\n\r\n".encode() + body + b".\r\n")
            code, lines = w.reply()
        if code == 250:
            self.promised[name] = check
            return True
        assert code in (451, 452), f"{self.tag}: {lines}"
        self.refused.add(name)
        w.cmd("RSET", 250)
        return False

    def run(self, sizes):
        w = self.gateway.session()
        for size in sizes:
            until(lambda: self.submit(w, size), f"{self.tag}: mail is taken again", every=0.2)
        w.close()
        # Large messages that are cut off in the middle.
        for _ in range(2):
            w = self.gateway.session()
            w.cmd(f"MAIL FROM:<{USER}>", 250)
            w.cmd("RCPT TO:<x@example.net>", 250)
            w.cmd("DATA", 354)
            w.send(b"Subject: never\r\n\r\n" + b"half\r\n" * 30000)
            w.close()

    def check(self, arrived):
        """arrived: every message's octets."""
        counts = {}
        for data in arrived:
            head, _, body = data.replace(b"\r\n", b"\n").partition(b"\n\n")
            name = subject(data)
            check = re.search(rb"^X-Check: (\w+)$", head, re.M)
            assert check, f"{self.tag}: not one of ours: {data[:2000]}"
            check = check.group(1).decode()
            assert hashlib.sha256(body).hexdigest() == check, f"{self.tag}: {name} is damaged"
            counts[name] = counts.get(name, 0) + 1
        lost = set(self.promised) - set(counts)
        assert not lost, f"{self.tag}: lost {lost}"
        assert not self.refused & set(counts), f"{self.tag}: refused but delivered: {self.refused & set(counts)}"
        again = {n: c for n, c in counts.items() if c > 1}
        assert not again, f"{self.tag}: delivered more than once: {again}"


def need_injection():
    if os.environ.get("PN_FAULT_INJECTION") != "1":
        raise Skip("needs a build with fault injection (debug, asan or tsan)")


SIZES = (300, 40000, 2000, 100000, 70000, 80000, 300)
MANY = (16000,) * 140   # more than two segments, more than memory keeps
SMALL = (10,) * 2800    # more than half a journal of outcomes


def one_plan(plan, certificate, maildir=False, sizes=SIZES, hop_is_late=False):
    """A workload under `plan`, then a clean restart without it, then the reckoning."""
    with Sink() as s:
        hops = {"s": {"kind": "smtp", "hosts": [s.host], "tls": "none"}}
        if hop_is_late:
            s.answer = lambda stage, argument, session: "450 4.3.0 later" if stage == "content" else None
        g = Gateway(SECTIONS, upstreams=None if maildir else hops, certificates=[certificate],
                    env={"PN_FAULT": plan}, start=False)
        with g:
            g.start()
            load = Workload(g, plan)
            load.run(sizes)
            if hop_is_late:
                until(lambda: len(g.log_lines("delivery", attempt=3)) >= len(load.promised), f"{plan}: three attempts")
            assert g.worker_pid() and len(g.log_lines("ready")) == 1, f"{plan}: the worker died\n{g.log_tail()}"
            assert g.stop() == 0, f"{plan}: {g.log_tail()}"
            was_reached = all(f"event=fault site={rule.split(':')[0]} " in g.log_text() for rule in plan.split(","))
            g.env.pop("PN_FAULT")
            s.answer = None
            g.start()
            load.run((500, 30000))
            until(lambda: not g.queue(), f"{plan}: the queue is empty")
            load.check(g.delivered().values() if maildir else [m["data"] for m in s.messages])
            assert "damaged/" not in g.log_text(), f"{plan}: {g.log_tail()}"
    return was_reached


def each(plans, may_miss=0, **options):
    """Several gateways at a time: most of their time is waiting. All plans but `may_miss` must have been reached."""
    need_injection()
    import tempfile
    with tempfile.TemporaryDirectory(prefix="pn-fault-") as d:
        os.chmod(d, 0o755)
        certificate = make_certificate(pathlib.Path(d))
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            runs = {pool.submit(one_plan, plan, certificate, **options): plan for plan in plans}
            failed, missed = [], []
            for f in concurrent.futures.as_completed(runs):
                if f.exception():
                    failed.append(runs[f])
                    print(f"  {runs[f]}: {type(f.exception()).__name__}: {f.exception()}", flush=True)
                elif not f.result():
                    missed.append(runs[f])
    print(f"  {len(plans)} plans, not reached: {missed}", flush=True)
    assert not failed, f"failed: {failed}"
    assert len(missed) <= may_miss, f"nothing was injected: {missed}"


def errors(is_short):
    return (str(EIO), str(ENOSPC), "short") if is_short else (str(EIO), str(ENOSPC))


def plans_of(sites, *hits):
    """site:nth:error for every site (or site with whether it may be short) and every hit."""
    sites = [x if isinstance(x, tuple) else (x, False) for x in sites]
    return [f"{site}:{nth}:{e}" for site, is_short in sites for nth in hits for e in errors(is_short)]


def spread(combinations, share):
    """All of them in a full run, else every share-th."""
    return combinations if FULL else combinations[::share]


def test_commits_fail():
    each(spread(plans_of(COMMIT_SITES, 1, 2, 3), 4))


def test_commits_fail_for_a_while():
    each(spread([f"{site}:2:{EIO}:3" for site, _ in COMMIT_SITES], 2))


def test_files_cannot_be_made():
    # The first ones (two segments, a journal) are made at the start, which may refuse to serve; then the gateway runs.
    each(spread(plans_of(SEGMENT_FILE_SITES, 3, 4), 5), sizes=MANY)
    each(spread(plans_of(JOURNAL_FILE_SITES, 2), 5), sizes=SMALL)
    # The room that is kept for outcomes: it cannot be made, it cannot be given up.
    each([f"spool.reserve.create:1:{ENOSPC}:3", f"spool.reserve.fallocate:1:{ENOSPC}:2"])
    each([f"spool.journal.fallocate:2:{ENOSPC}:2,spool.reserve.unlink:1:{EIO}"], sizes=SMALL)


def test_outcomes_fail():
    """A final outcome that could not be recorded is tried until it can be; so a clean stop leaves no duplicate."""
    each(spread(plans_of(OUTCOME_SITES, 1, 2, 3), 3))
    each(spread([f"{site}:{nth}:{EIO}" for site, _ in OUTCOME_SITES for nth in (1, 2, 3)], 3), hop_is_late=True)


def test_removing_fails():
    each(spread([f"{site}:{nth}:{EIO}:{count}" for site in REMOVE_SITES for nth in (1, 2) for count in (1, 3)], 4))
    each([f"spool.segment.fdatasync:2:{EIO},spool.void.unlink:1:{EIO}"], sizes=MANY)


def test_reading_fails():
    """Messages that are no longer in memory are read back; a failed read defers the message."""
    each(spread([f"{site}:{nth}:{EIO}" for site in READ_SITES for nth in (1, 2, 3)], 3), hop_is_late=True)


def test_maildir_fails():
    each(spread(plans_of(MAILDIR_SITES, 1, 2, 3), 5), maildir=True)


def test_the_note_of_a_failed_batch_fails_too():
    """src/spool/README.md V4: the note is made in the next second, before the restart."""
    need_injection()
    each([f"spool.segment.fdatasync:2:{EIO},spool.void.create:1:{ENOSPC}"])


if __name__ == "__main__":
    run(globals())
