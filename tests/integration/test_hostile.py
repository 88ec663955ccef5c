# SPDX-License-Identifier: ISC
"""Clients that mean harm: each attack is tried while an honest client must still be served."""
import base64
import contextlib
import os
import resource
import socket
import ssl
import time

from harness import PASSWORD, SANITIZE, USER, Gateway, Wire, message, run, until


def honest(gateway, mark="honest"):
    """Both ports still take a message from an honest client."""
    for implicit in (True, False):
        with gateway.smtp(implicit) as c:
            c.sendmail(USER, [USER], message(mark))


def test_starttls_injection():
    """Plaintext pipelined behind STARTTLS is never acted on (RFC 3207 4.2, 6)."""
    with Gateway() as g:
        # In the same segment as STARTTLS.
        w = g.connect(False)
        w.expect(220)
        w.cmd("EHLO evil.example", 250)
        w.send("STARTTLS\r\nEHLO injected.example\r\nMAIL FROM:<injected@example.org>\r\n")
        assert w.at_end() and b"250" not in w.buffer
        w.close()
        # In a segment of its own, behind the 220.
        w = g.connect(False)
        w.expect(220)
        w.cmd("EHLO evil.example", 250)
        w.cmd("STARTTLS", 220)
        w.send("NOOP\r\nNOOP\r\n")
        reply = b""
        with contextlib.suppress(OSError):
            while got := w.sock.recv(4096):
                reply += got
        assert b"250" not in reply, reply
        w.close()
        # Nothing learned in plaintext survives: MAIL without a new EHLO is out of order.
        w = g.connect(False)
        w.expect(220)
        w.cmd("EHLO before.example", 250)
        w.cmd("STARTTLS", 220)
        w.tls(g.context())
        w.cmd(f"MAIL FROM:<{USER}>", 503)
        w.close()
        assert g.counter("session", "starttls_injections") == 1
        honest(g)


def test_nothing_before_tls():
    with Gateway() as g:
        w = g.connect(False)
        w.expect(220)
        lines = w.cmd("EHLO c.example", 250)
        assert not any("AUTH" in l for l in lines) and any(l.endswith("STARTTLS") for l in lines)
        token = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
        for command in (f"AUTH PLAIN {token}", "AUTH LOGIN", f"MAIL FROM:<{USER}>", f"RCPT TO:<{USER}>", "DATA", "VRFY x"):
            w.cmd(command, 530, "5.7.0")
        w.cmd("NOOP", 250)
        w.cmd("QUIT", 221)
        # Over TLS, MAIL needs AUTH.
        w = g.session(False, login=False)
        w.cmd(f"MAIL FROM:<{USER}>", 530, "5.7.0")
        w.close()


def test_smuggling_variants():
    """No sequence but CRLF.CRLF ends a message; dirty line ends are refused after the whole message was read."""
    endings = [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\x00.\r\n", b"\r\r\n.\r\r\n", b"\n\n.\r\n"]
    with Gateway() as g:
        for ending in endings:
            w = g.session()
            w.cmd(f"MAIL FROM:<{USER}>", 250)
            w.cmd(f"RCPT TO:<{USER}>", 250)
            w.cmd("DATA", 354)
            w.send(message("smuggle") + ending + f"MAIL FROM:<{USER}>\r\nRCPT TO:<{USER}>\r\nDATA\r\nsmuggled\r\n.\r\n".encode())
            w.expect(550, "5.6.0")
            w.cmd("NOOP", 250)  # one reply, and the session is in step
            w.close()
        assert g.counter("session", "messages_accepted") == 0 and not g.delivered()
        honest(g)
    with Gateway({"": {"line_endings": "normalize"}}) as g:
        for ending in endings:
            w = g.session()
            w.cmd(f"MAIL FROM:<{USER}>", 250)
            w.cmd(f"RCPT TO:<{USER}>", 250)
            w.cmd("DATA", 354)
            w.send(message("normal") + b"before" + ending + b"after\r\n.\r\n")
            w.expect(250)
            w.cmd("NOOP", 250)
            w.close()
        for data in g.wait_delivered(len(endings)).values():
            assert b"\r" not in data and b"\x00" not in data and b"after" in data, data
        assert len(g.delivered()) == len(endings)


def test_half_open_handshakes():
    """Thousands of connections that never say ClientHello do not keep others out, and end by the handshake timeout."""
    count = 1000 if SANITIZE else 5000
    with Gateway({"limits": {"sessions_max": 8000, "handshakes_max": 6000, "sessions_per_source_max": 0, "connections_per_source_per_minute_max": 0},
                  "tls": {"handshake_timeout_s": 5}}) as g:
        idle = []
        try:
            for i in range(count):
                s = socket.create_connection((f"127.0.0.1", g.port_tls), timeout=30)
                if i % 2:
                    s.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # the beginning of a ClientHello
                idle.append(s)
            honest(g)
            until(lambda: g.counter("session", "handshake_timeouts") >= count, f"{count} handshakes timed out")
            honest(g)
        finally:
            for s in idle:
                s.close()
        until(lambda: g.status()["limits"]["limits.handshakes_max"]["used"] == 0, "no handshake is counted any more")


def test_handshake_limit_is_cheap_and_465_says_nothing():
    with Gateway({"limits": {"sessions_max": 100, "handshakes_max": 3, "sessions_per_source_max": 0, "connections_per_source_per_minute_max": 0}}) as g:
        held = [socket.create_connection(("127.0.0.1", g.port_tls)) for _ in range(3)]
        until(lambda: g.status()["limits"]["limits.handshakes_max"]["used"] == 3, "three handshakes are held")
        s = socket.create_connection(("127.0.0.1", g.port_tls), timeout=30)
        assert s.recv(10) == b""  # closed before the ClientHello, without a word
        w = g.connect(False)
        w.expect(220)
        w.cmd("EHLO c.example", 250)
        w.cmd("STARTTLS", 421, "4.3.2")
        assert w.at_end()
        for h in held:
            h.close()
        until(lambda: g.status()["limits"]["limits.handshakes_max"]["used"] == 0, "the places are free again")
        honest(g)


def test_session_limits():
    limits = {"sessions_max": 4, "handshakes_max": 4, "sessions_per_source_max": 0, "connections_per_source_per_minute_max": 0}
    with Gateway({"limits": limits}) as g:
        held = [g.session(login=False) for _ in range(4)]
        w = g.connect(False)
        w.expect(421, "4.3.2")
        assert w.at_end()
        s = socket.create_connection(("127.0.0.1", g.port_tls), timeout=30)
        assert s.recv(10) == b""
        for h in held:
            h.close()
        until(lambda: g.status()["limits"]["limits.sessions_max"]["used"] == 0, "the sessions are over")
        honest(g)
        assert g.counter("session", "refused_sessions_max") == 2
    with Gateway({"limits": dict(limits, sessions_max=100, handshakes_max=100, sessions_per_source_max=2)}) as g:
        held = [g.session(login=False) for _ in range(2)]
        w = g.connect(False)
        w.expect(421, "4.7.0")
        other = Wire(g.port_starttls, 30, host="127.0.0.1")
        other.close()
        for h in held:
            h.close()
        assert g.counter("session", "refused_source_sessions") >= 1
    with Gateway({"limits": dict(limits, sessions_max=100, handshakes_max=100, connections_per_source_per_minute_max=5)}) as g:
        refused = 0
        for _ in range(12):
            w = g.connect(False)
            code, _ = w.reply()
            refused += code == 421
            w.close()
        assert refused >= 2 and g.counter("session", "refused_source_rate") == refused


def test_out_of_descriptors():
    """EMFILE at accept: those inside are served, new ones wait in the kernel and get their turn; nothing spins or ends."""
    with Gateway({"limits": {"sessions_max": 1000, "handshakes_max": 1000, "sessions_per_source_max": 0, "connections_per_source_per_minute_max": 0}},
                 start=False) as g:
        g.preexec = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (120, 120))
        g.start()
        inside = g.session()
        held = [socket.create_connection(("127.0.0.1", g.port_starttls), timeout=30) for _ in range(150)]
        inside.submit(message("inside"))
        assert "only 120 open files are allowed" in g.log_text()
        for h in held:
            h.close()
        inside.close()
        honest(g)
        assert g.counter("session", "accept_paused") > 0
        g.wait_delivered(3)


def test_one_byte_at_a_time():
    """Slow clients are served (octet by octet, whole dialogue) while others go on."""
    with Gateway() as g:
        w = g.session(login=False)
        token = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
        dialogue = f"AUTH PLAIN {token}\r\nMAIL FROM:<{USER}>\r\nRCPT TO:<{USER}>\r\nDATA\r\n"
        for c in dialogue:
            w.send(c)
        for code in (235, 250, 250, 354):
            w.expect(code)
        honest(g)
        for c in message("slow").decode() + "\r\n.\r\n":
            w.send(c)
        w.expect(250)
        w.close()
        assert any(b"Subject: slow" in d for d in g.wait_delivered(3).values())


def test_slow_command_times_out():
    """A client that never finishes its command line is told 421 and closed, however often it sends an octet."""
    with Gateway({"limits": {"idle_timeout_s": 2}}) as g:
        w = g.session()
        w.sock.settimeout(0.2)
        end = time.monotonic() + 60
        reply = b""
        while time.monotonic() < end and b"421" not in reply:
            with contextlib.suppress(TimeoutError, socket.timeout, OSError):
                w.send("x")
            try:
                got = w.sock.recv(4096)
                reply += got
                if not got:
                    break
            except (TimeoutError, socket.timeout):
                pass
        assert b"421 4.4.2" in reply, reply
        w.close()
        assert g.counter("session", "idle_timeouts") == 1


def test_endless_command_line():
    with Gateway() as g:
        for implicit in (True, False):
            w = g.session(implicit, login=False)
            before = g.status()["memory"].get("allocated_bytes", 0)
            code = None
            with contextlib.suppress(OSError):
                for _ in range(400):
                    w.send(b"A" * 16384)
            with contextlib.suppress(OSError):
                code, _ = w.reply()
            assert code in (421, 500, 0, None), code
            w.close()
            after = g.status()["memory"].get("allocated_bytes", 0)
            assert after - before < 1 << 20, f"{after - before} octets more for one endless line"
        honest(g)


def test_overlong_and_wrong_auth():
    with Gateway() as g:
        w = g.session(login=False)
        w.cmd("AUTH PLAIN !!!notbase64", 501, "5.5.2")
        w.cmd("AUTH PLAIN " + "A" * 20000, 500, "5.5.6")
        w.cmd("AUTH LOGIN", 334)
        w.cmd("*", 501)
        w.cmd("AUTH NOSUCH", 504, "5.5.4")
        w.cmd("NOOP", 250)
        w.close()
        # Unknown user and wrong password: the same reply; the third failure closes.
        replies = []
        for user in (USER, "nobody@example.org"):
            w = g.session(login=False)
            for _ in range(2):
                w.login(user, "wrong", 535)
            token = base64.b64encode(f"\0{user}\0wrong".encode()).decode()
            w.send(f"AUTH PLAIN {token}\r\n")
            replies.append(w.expect(535, "5.7.8"))
            w.expect(421)
            assert w.at_end()
        assert replies[0] == replies[1], replies
        honest(g)


def test_100000_recipients():
    """Over recipients_max: 452 4.5.3, those accepted stay, and memory stays bounded."""
    count = 20000 if SANITIZE else 100000
    with Gateway({"limits": {"bad_commands_max": 1000}}) as g:
        w = g.session()
        w.cmd(f"MAIL FROM:<{USER}>", 250)
        codes = {250: 0, 452: 0, 421: 0}
        sent = 0
        while sent < count:
            batch = min(500, count - sent)
            try:
                w.send("".join(f"RCPT TO:<r{sent + i}@example.org>\r\n" for i in range(batch)))
                for _ in range(batch):
                    code, lines = w.reply()
                    codes[code] += 1
                    assert code != 452 or lines[0].startswith("452 4.5.3"), lines
                    if code == 421:
                        break
            except (OSError, KeyError):
                break
            if codes[421]:
                break
            sent += batch
        assert codes[250] == 1000, codes
        assert codes[452] >= 999, codes
        assert g.status()["limits"]["limits.recipients_max"]["refused"] == codes[452]
        if not codes[421]:
            w.cmd("DATA", 354)
            w.send(message("many") + b".\r\n")
            w.expect(250)
            g.wait_delivered(1000)
        w.close()
        honest(g)


def test_garbage_before_and_after_tls():
    # Random octets seldom end a line: the session is then over when it was idle for long enough.
    with Gateway({"limits": {"idle_timeout_s": 5}}) as g:
        for data in (os.urandom(4096), b"GET / HTTP/1.0\r\n\r\n", b"EHLO plain.example\r\n", b"\x16\x03\x01\xff\xff" + os.urandom(3000), b"\x80\x2e\x01\x00\x02"):
            s = socket.create_connection(("127.0.0.1", g.port_tls), timeout=30)
            with contextlib.suppress(OSError):
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(4096):
                    pass
            s.close()
        for _ in range(3):
            w = g.session(login=False)
            with contextlib.suppress(OSError, ssl.SSLError):
                w.send(b"".join(os.urandom(40).replace(b"\n", b"x") + b"\r\n" for _ in range(200)))
            reply = b""
            with contextlib.suppress(OSError, ssl.SSLError):
                while got := w.sock.recv(4096):
                    reply += got
            assert b"421 4.7.0" in reply, reply[-200:]
            w.close()
            # Garbage under the TLS layer: a broken record.
            w = g.session()
            raw = socket.socket(fileno=os.dup(w.sock.fileno()))
            raw.sendall(b"\x17\x03\x03\x00\x20" + os.urandom(32))
            with contextlib.suppress(OSError, ssl.SSLError):
                w.sock.recv(4096)
            raw.close()
            w.close()
        honest(g)


def test_client_gone_in_the_middle_of_data():
    with Gateway() as g:
        for size in (10, 100000, 3 << 20):
            w = g.session()
            w.cmd(f"MAIL FROM:<{USER}>", 250)
            w.cmd(f"RCPT TO:<{USER}>", 250)
            w.cmd("DATA", 354)
            w.send(b"Subject: gone\r\n\r\n" + (b"x" * 70 + b"\r\n") * (size // 72))
            w.sock.close()
        honest(g)
        until(lambda: g.counter("session", "sessions_open") == 0, "all sessions are over")
        g.wait_delivered(2)
        assert all(b"gone" not in d for d in g.delivered().values())
        assert g.status()["spool"]["files"] == 0, "a message that was given up left its file"


def test_client_that_does_not_read():
    """Replies that pile up stop the reading of commands, not the process."""
    with Gateway({"limits": {"idle_timeout_s": 3}}) as g:
        w = g.session()
        w.sock.setblocking(False)
        sent = 0
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                w.sock.send(b"NOOP\r\n" * 1000)
                sent += 1000
            except (ssl.SSLWantWriteError, BlockingIOError):
                if g.counter("session", "output_stalls") or g.counter("session", "peer_resets"):
                    break
                time.sleep(0.1)
            except OSError:
                break
        until(lambda: g.counter("session", "output_stalls") >= 1, "the stalled session is ended")
        w.close()
        honest(g)


if __name__ == "__main__":
    run(globals())
