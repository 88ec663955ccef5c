# SPDX-License-Identifier: ISC
"""
The real gateway at its limits: each is reached, the client or the next hop sees what the manual says, and `postern
status` counts it.
tests/tidy/limits.txt names for every limit its counter and the test that reaches it.
"""
import contextlib
import os
import socket
import time

from harness import PASSWORD, USER, Gateway, message, run, until
from sink import HANG, Sink

OPEN = {"sessions_per_source_max": 0, "connections_per_source_per_minute_max": 0}
FAST = {"connect_timeout_s": 2, "command_timeout_s": 2, "data_timeout_s": 2, "final_reply_timeout_s": 2}
BODY = ("x" * 70 + "\r\n") * 1000  # 72 000 octets


def refused(gateway, key):
    return gateway.status()["limits"][key]["refused"]


def hop(host, **keys):
    return {"kind": "smtp", "hosts": [host], "tls": "none", **keys}


def reply_count(gateway, reason):
    return gateway.counter("reply", reason)


def begin(w, to=(USER,)):
    w.cmd(f"MAIL FROM:<{USER}>", 250)
    for address in to:
        w.cmd(f"RCPT TO:<{address}>", 250)


def test_lines_and_messages():
    """What is too long or too large is refused with its own code; the session goes on; each limit counts its own."""
    limits = {"size_max_bytes": 65536, "header_size_max_bytes": 65536, "text_line_max_bytes": 998,
              "command_line_max_bytes": 2048, "auth_line_max_bytes": 12288, "recipients_max": 100, "received_max": 1}
    with Gateway({"limits": limits}) as g:
        shown = g.status()["limits"]
        for key, value in limits.items():
            assert shown[f"limits.{key}"]["max"] == value and shown[f"limits.{key}"]["refused"] == 0, (key, shown)
        w = g.session(login=False)
        w.cmd("NOOP " + "x" * 2042, 500, "5.5.2")
        w.cmd("AUTH PLAIN " + "A" * 12276, 500, "5.5.6")
        w.login()
        w.cmd(f"MAIL FROM:<{USER}> SIZE=65537", 552, "5.3.4")
        begin(w)
        w.cmd("DATA", 354)
        w.send(message("big", BODY) + b".\r\n")
        w.expect(552, "5.3.4")
        begin(w)
        w.cmd("DATA", 354)
        w.send(message("long", "y" * 999 + "\r\n") + b".\r\n")
        w.expect(550, "5.6.0")
        begin(w)
        w.cmd("DATA", 354)
        w.send(message("loop", extra="Received: from a by b\r\n" * 2) + b".\r\n")
        w.expect(554, "5.4.6")
        w.cmd(f"MAIL FROM:<{USER}>", 250)
        for i in range(100):
            w.cmd(f"RCPT TO:<r{i}@example.org>", 250)
        w.cmd("RCPT TO:<one-more@example.org>", 452, "4.5.3")
        w.cmd("RSET", 250)
        for reason, count in (("message-too-big", 2), ("line-too-long", 1), ("auth-line-too-long", 1),
                              ("text-line-too-long", 1), ("loop", 1), ("too-many-recipients", 1)):
            assert reply_count(g, reason) == count, (reason, reply_count(g, reason))
        w.submit(message("fits", "z" * 998 + "\r\n"))
        w.close()
    with Gateway({"limits": {"header_size_max_bytes": 65536}}) as g:
        w = g.session()
        begin(w)
        w.cmd("DATA", 354)
        w.send(message("header", extra=("X-Filler: " + "f" * 500 + "\r\n") * 130) + b".\r\n")
        w.expect(552, "5.3.4")
        assert reply_count(g, "header-too-big") == refused(g, "limits.header_size_max_bytes") == 1
        w.close()


def test_bad_commands_and_failed_logins():
    with Gateway({"limits": {"bad_commands_max": 3}, "auth": {"failures_max": 1}}) as g:
        w = g.session(login=False)
        w.cmd("WHAT", 500, "5.5.2")
        w.cmd("NONSENSE", 500, "5.5.2")
        w.cmd("AGAIN", 421, "4.7.0")
        assert w.at_end()
        w = g.session(login=False)
        w.login(password="wrong", code=535)
        w.expect(421, "4.7.0")
        assert w.at_end()
        assert reply_count(g, "too-many-errors") == refused(g, "limits.bad_commands_max") == 1
        assert reply_count(g, "auth-too-many") == refused(g, "auth.failures_max") == 1
        assert g.counter("session", "auth_delays") == 1
        # Neither limit is a matter of the whole gateway.
        g.session().close()


def test_session_deadlines():
    with Gateway({"limits": {"idle_timeout_s": 1, "data_timeout_s": 1, "session_timeout_s": 3},
                  "tls": {"handshake_timeout_s": 1}}) as g:
        silent = socket.create_connection(("127.0.0.1", g.port_tls), timeout=60)
        assert silent.recv(10) == b""
        assert g.counter("session", "handshake_timeouts") == 1
        w = g.session()
        w.expect(421, "4.4.2")
        assert g.counter("session", "idle_timeouts") == 1
        w = g.session()
        begin(w)
        w.cmd("DATA", 354)
        w.send("Subject: slow\r\n")
        w.expect(421, "4.4.2")
        assert g.counter("session", "data_timeouts") == 1
        # One that goes on talking without ever logging in.
        w = g.session(login=False)
        end = time.monotonic() + 60
        code = 250
        while code == 250 and time.monotonic() < end:
            w.send("NOOP\r\n")
            code, _ = w.reply()
            time.sleep(0.1)
        assert code == 421 and g.counter("session", "session_timeouts") == 1
        assert w.at_end()


def test_many_sources():
    """More sources at once than the table has places for: they are admitted, untracked, and that is counted."""
    count = 1400
    with Gateway({"limits": dict(OPEN, sources_max=1024, sessions_max=3000)}) as g:
        held = []
        try:
            for i in range(count):
                s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                s.settimeout(60)
                s.bind((f"127.1.{i // 250}.{i % 250 + 1}", 0))
                s.connect(("127.0.0.1", g.port_starttls))
                held.append(s)
            for s in held:
                assert s.recv(3) == b"220"
            untracked = g.counter("session", "sources_untracked")
            assert count - 1024 <= untracked < count, untracked
            assert refused(g, "limits.sources_max") == untracked
        finally:
            for s in held:
                s.close()


def test_open_files():
    """open_files_max is set as the limit of the process: connections beyond it wait in the kernel."""
    with Gateway({"limits": dict(OPEN, sessions_max=119, handshakes_max=100, open_files_max=120)}) as g:
        until(lambda: "only 120 open files are allowed" in g.log_text(), "the log tells of it")

        def exhausted():
            """More connections than descriptors, held until none is left; afterwards there is one for the answer."""
            held = [socket.create_connection(("127.0.0.1", g.port_starttls), timeout=60) for _ in range(150)]
            with contextlib.suppress(PermissionError):  # only root may look there; others try more often
                until(lambda: len(os.listdir(f"/proc/{g.worker_pid()}/fd")) >= 120, "no descriptor is left")
            for s in held:
                s.close()
            return g.counter("session", "accept_paused") > 0

        until(exhausted, "a pause for lack of descriptors is counted")
        g.session().close()


def test_spool_limits():
    with Gateway({"spool": {"free_space_min_bytes": 1 << 50}}) as g:
        w = g.session()
        w.cmd(f"MAIL FROM:<{USER}>", 452, "4.3.1")
        assert reply_count(g, "storage-full") == refused(g, "spool.free_space_min_bytes") == 1
        assert g.counter("session", "spool_refusals") == 1
        w.close()
    with Sink(lambda stage, argument, session: "451 4.3.0 not now" if stage == "mail" else None) as sink, \
            Gateway({"spool": {"queue_messages_max": 2}, "retry": {"first_s": 3600, "max_s": 3600}},
                    upstreams={"later": hop(sink.host)}) as g:
        w = g.session()
        for i in range(2):
            w.submit(message(f"kept {i}"))
        w.cmd(f"MAIL FROM:<{USER}>", 452, "4.3.1")
        shown = g.status()["limits"]["spool.queue_messages_max"]
        assert shown == {"max": 2, "used": 2, "refused": 1} and reply_count(g, "queue-full") == 1, shown
        g.command("queue", "remove", "-s", str(g.control), g.queue()[0]["id"])
        until(lambda: g.status()["spool"]["messages"] == 1, "there is room again")
        w.submit(message("room"))
        w.close()


def test_large_messages_spill():
    """What is larger than inline_max_bytes, or finds no memory, gets a file of its own; full segments are closed."""
    spool = {"inline_max_bytes": 4096, "segment_size_bytes": 1 << 20, "memory_max_bytes": 4 << 20}
    with Gateway({"spool": spool}) as g:
        w = g.session()
        before = g.counter("spool", "segments")
        for i in range(5):
            w.submit(message(f"large {i}", BODY * 40))
        assert g.counter("spool", "spills") == g.counter("spool", "large_commits") == 5
        assert g.status()["spool"]["memory_bytes"] <= 4 << 20
        small = message("small", "s" * 70 + "\r\n" + ("s" * 70 + "\r\n") * 40)
        for i in range(0, 2 << 20, len(small)):
            w.submit(small)
        assert g.counter("spool", "segments") > before
        w.close()
        g.wait_queue_empty()


def test_login_cache():
    """One place in the cache for two users: one is put out. Nobody is remembered for longer than cache_lifetime_s."""
    other = "other@example.org"
    with Gateway({"auth": {"cache_entries_max": 1}}, users={USER: PASSWORD, other: PASSWORD}) as g:
        def login(user):
            w = g.session(login=False)
            w.login(user)
            w.close()

        def evicted():
            login(USER)
            login(other)
            return g.counter("auth", "cache_evictions") > 0

        until(evicted, "one of two users is put out of the cache", every=0)
        assert refused(g, "auth.cache_entries_max") == g.counter("auth", "cache_evictions")

    with Gateway({"auth": {"cache_lifetime_s": 1}}) as g:
        w = g.session()
        w.close()
        misses = g.counter("auth", "cache_misses")

        def forgotten():
            g.session().close()
            return g.counter("auth", "cache_misses") > misses

        until(forgotten, "the login is forgotten", every=0.3)


def upstream_counter(gateway, upstream, name):
    instances = gateway.status()["counters"]["upstream"]
    return sum(v[name] for k, v in instances.items() if k.split("/")[0] == upstream)


def stuck_in_data(stage, argument, session):
    """Says 354 and reads nothing."""
    if stage != "data":
        return None
    session.sock.sendall(b"354 go ahead\r\n")
    return HANG


def hang_at(wanted):
    return lambda stage, argument, session: HANG if stage == wanted else None


def test_next_hops_that_stand_still():
    """Each timeout towards a next hop ends the attempt; it is counted for that upstream, and the message stays."""
    full = socket.socket(socket.AF_INET, socket.SOCK_STREAM)  # accepts nothing: its queue is full after two
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = []
    with contextlib.ExitStack() as stack:
        stack.callback(full.close)
        for _ in range(3):
            s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                s.connect(full.getsockname())
            fillers.append(s)
            stack.callback(s.close)
        answers = {"command": hang_at("mail"), "data": stuck_in_data, "final": hang_at("content")}
        hosts = {name: stack.enter_context(Sink(answer)).host for name, answer in answers.items()}
        hosts["connect"] = f"127.0.0.1:{full.getsockname()[1]}"
        upstreams = {name: hop(host, domains=[f"{name}.example"], **FAST) for name, host in hosts.items()}
        upstreams["others"] = {"kind": "maildir"}
        g = stack.enter_context(Gateway({"retry": {"first_s": 3600, "max_s": 3600}}, upstreams=upstreams))
        w = g.session()
        for name in hosts:
            w.submit(message(name, BODY * (300 if name == "data" else 1)), to=(f"r@{name}.example",))
        w.close()
        for name in hosts:
            until(lambda name=name: upstream_counter(g, name, "timeouts") >= 1, f"the upstream {name} times out")
        until(lambda: [m["state"] for m in g.queue()] == ["deferred"] * len(hosts), "all wait for their next attempt")
        for m in g.queue():
            g.command("queue", "remove", "-s", str(g.control), m["id"])
        assert g.counter("relay", "removed") == len(hosts)


def test_connections_to_the_next_hop():
    holding = []

    def slow(stage, argument, session):
        if stage == "content" and holding:
            session.sink.stopping.wait(2)
        return None

    keys = {"connections_max": 1, "messages_per_connection_max": 2, "idle_timeout_s": 1}
    with Sink(slow) as sink, Gateway(upstreams={"hop": hop(sink.host, **keys)}) as g:
        w = g.session()
        for i in range(5):
            w.submit(message(f"m{i}"))
            until(lambda i=i: len(sink.subjects()) == i + 1, "it arrives")
        # Two, two, one.
        assert upstream_counter(g, "hop", "connections_made") >= 3
        for name in ("connections_idle", "connections"):
            until(lambda name=name: upstream_counter(g, "hop", name) == 0, "the idle connection is given up")
        # One connection, held up: the next message waits for it.
        holding.append(True)
        for i in range(3):
            w.submit(message(f"held {i}"))
        until(lambda: upstream_counter(g, "hop", "waiting") >= 1, "a message waits for the only connection")
        assert upstream_counter(g, "hop", "connections") <= 1
        holding.clear()
        until(lambda: len(sink.subjects()) == 8, "all arrive")
        w.close()


def test_lifetime_and_delay_notice():
    def never(stage, argument, session):
        return "451 4.3.0 not now" if stage == "rcpt" and "never" in argument else None

    with Sink(never) as sink, Gateway({"retry": {"first_s": 1, "max_s": 1, "lifetime_s": 6, "delay_notice_s": 1}},
                                      upstreams={"hop": hop(sink.host)}) as g:
        w = g.session()
        w.submit(message("late"), to=("never@example.net",))
        w.close()
        until(lambda: g.counter("relay", "reports") >= 1, "the sender is told of the delay")
        until(lambda: g.counter("relay", "expired") == 1, "the message expires")
        g.wait_queue_empty()


def test_attempts_in_progress():
    """A worker with all its attempts under way takes no more before one ends; nothing is lost."""
    holding = [True]

    def slow(stage, argument, session):
        while stage == "content" and holding and not session.sink.stopping.wait(0.05):
            pass
        return None

    with Sink(slow) as sink, Gateway({"limits": {"relay_jobs_max": 2}}, upstreams={"hop": hop(sink.host)}) as g:
        w = g.session()
        for i in range(6):
            w.submit(message(f"m{i}"))
        w.close()
        until(lambda: g.counter("relay", "jobs_full") > 0, "as many attempts are under way as may be")
        until(lambda: g.counter("relay", "jobs") == 2, "two, and no more")
        assert refused(g, "limits.relay_jobs_max") > 0 and len(sink.sessions) <= 2
        holding.clear()
        until(lambda: len(sink.subjects()) == 6, "all arrive")


def test_hosts_that_fail_are_left_alone():
    """A host that refuses connections counts as down; when its pause is over it is tried again."""
    with Sink() as first:
        port = first.port
    with Gateway({"retry": {"first_s": 1, "max_s": 1, "host_first_s": 1, "host_max_s": 1}},
                 upstreams={"hop": hop(f"127.0.0.1:{port}")}) as g:
        w = g.session()
        w.submit(message("down"))
        w.close()
        until(lambda: upstream_counter(g, "hop", "hosts_down") == 1, "the host counts as down")
        assert upstream_counter(g, "hop", "connections_failed") > 0
        with Sink(port=port) as sink:
            until(lambda: sink.subjects() == ["down"], "it is tried again")
            until(lambda: upstream_counter(g, "hop", "hosts_down") == 0, "and is up")


def test_large_messages_come_back_as_headers():
    """RET=FULL returns messages of up to report_full_max_bytes; larger ones come back as their header."""
    def refuse(stage, argument, session):
        return "550 5.1.1 nobody" if stage == "rcpt" and "nobody" in argument else None

    with Sink(refuse) as sink, \
            Gateway({"retry": {"report_full_max_bytes": 4096}}, upstreams={"hop": hop(sink.host)}) as g:
        w = g.session()
        for subject, body in (("small", "in full\r\n"), ("large", "in full\r\n" * 500)):
            w.cmd(f"MAIL FROM:<{USER}> RET=FULL", 250)
            w.cmd("RCPT TO:<nobody@example.net>", 250)
            w.cmd("DATA", 354)
            w.send(message(subject, body) + b".\r\n")
            w.expect(250)
        w.close()
        until(lambda: len(sink.messages) == 2, "both come back")
        assert g.counter("relay", "reports") == 2
        for m in sink.messages:
            is_small = b"Subject: small" in m["data"]
            assert is_small or b"Subject: large" in m["data"]
            assert (b"in full" in m["data"]) == is_small, m["data"][:2000]


if __name__ == "__main__":
    run(globals())
