# SPDX-License-Identifier: ISC
"""
ledger.py - what was promised and what arrived, kept outside of the guest: clients that submit numbered messages, the next hop that takes
them, and the account of both.

A message is promised when a client read the 250 after it. It has arrived when the next hop was about to say 250 for each of its recipients.
Every message has content of its own, which the next hop compares octet for octet.
"""
import base64
import collections
import hashlib
import random
import socket
import socketserver
import ssl
import threading

INLINE_MAX = 64 << 10
USER, PASSWORD = "demo@example.org", "correct horse"


class Ledger:
    def __init__(self):
        self.lock = threading.Lock()
        self.life = 0                # boots so far; arrivals and promises belong to one
        self.sent = {}               # id -> (digest, recipients), before the first octet leaves
        self.promised = {}           # id -> life
        self.large = set()           # ids larger than inline_max
        self.refused = collections.Counter()
        self.arrived = {}            # (id, recipient) -> lives in which it came, in order
        self.wrong = []              # texts: what must never happen
        self.settled = set()         # arrivals whose outcome the gateway held for durable: may never come again

    def message(self, number, rng):
        """A message of a size that depends on its number: small ones, some larger than what the spool keeps in a segment."""
        name = f"m{number:06}"
        size = rng.choice((300, 700, 2000, 6000)) if number % 12 else rng.choice((INLINE_MAX - 4096, INLINE_MAX + 500, 3 * INLINE_MAX, 6 * INLINE_MAX))
        # A dot in front now and then: the content goes through stuffing and unstuffing.
        lines, left = [], size
        while left > 0:
            line = ("." if rng.random() < 0.1 else "") + base64.b64encode(rng.randbytes(51)).decode()
            lines.append(line)
            left -= len(line) + 2
        body = ("\r\n".join(lines) + "\r\n").encode()
        recipients = ["first@example.net"] + (["second@example.net"] if number % 5 == 0 else [])
        with self.lock:
            self.sent[name] = (hashlib.sha256(body).digest(), recipients)
            if size > INLINE_MAX:
                self.large.add(name)
        head = f"From: <{USER}>\r\nTo: <first@example.net>\r\nSubject: {name}\r\nX-Ledger: {name}\r\n\r\n".encode()
        return name, head + body, recipients

    def promise(self, name):
        with self.lock:
            self.promised[name] = self.life

    def refuse(self, text):
        with self.lock:
            self.refused[text] += 1

    def arrive(self, life, recipients, content):
        head, _, body = content.partition(b"\r\n\r\n")
        names = [line[10:].decode("ascii", "replace") for line in head.split(b"\r\n") if line.startswith(b"X-Ledger: ")]
        with self.lock:
            if len(names) != 1 or names[0] not in self.sent:
                self.wrong.append(f"a message arrived that nobody sent: {head[-300:]!r}")
                return
            digest, allowed = self.sent[names[0]]
            if hashlib.sha256(body).digest() != digest:
                self.wrong.append(f"{names[0]} arrived with other content ({len(body)} octets)")
            for recipient in recipients:
                lives = self.arrived.setdefault((names[0], recipient), [])
                if recipient not in allowed:
                    self.wrong.append(f"{names[0]} arrived for {recipient}")
                if life in lives:
                    self.wrong.append(f"{names[0]} arrived twice for {recipient} without a cut in between")
                if (names[0], recipient) in self.settled:
                    self.wrong.append(f"{names[0]} arrived again for {recipient} although its outcome had been durable before the cut")
                lives.append(life)

    def settle(self):
        with self.lock:
            self.settled.update(self.arrived)
            return len(self.settled)

    # ---- the account ----
    def promises_of(self, life):
        with self.lock:
            return sum(1 for in_life in self.promised.values() if in_life == life)

    def large_promises(self):
        with self.lock:
            return sum(1 for name in self.large if name in self.promised)

    def lost(self):
        """Promised messages that lack a recipient at the next hop."""
        with self.lock:
            return sorted(n for n in self.promised if any((n, r) not in self.arrived for r in self.sent[n][1]))

    def figures(self):
        with self.lock:
            whole = sum(1 for n in self.promised if all((n, r) in self.arrived for r in self.sent[n][1]))
            return {"promised": len(self.promised), "delivered": whole, "large": len(self.large & set(self.promised)),
                    "duplicated": sum(len(lives) - 1 for lives in self.arrived.values()),
                    "unanswered": len({n for n, _ in self.arrived} - set(self.promised)), "refused": dict(self.refused)}


# ---- the next hop ----

class NextHop(socketserver.ThreadingTCPServer):
    """
    An SMTP server on a loopback port. mode: accept; refuse (451 after the content); half (451 to second@ only); closed (421 instead of a
    greeting). What it answers is decided when it answers.
    """
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, ledger):
        super().__init__(("127.0.0.1", 0), NextHopSession)
        self.ledger, self.mode = ledger, "accept"
        self.port = self.server_address[1]
        self.open_count, self.changed = 0, threading.Condition()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def handle_error(self, request, client_address):
        """A connection that dies with the guest is no error."""

    def count(self, by):
        with self.changed:
            self.open_count += by
            self.changed.notify_all()

    def wait_quiet(self):
        """After a cut: all that the dead guest had sent is accounted for."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.open_count == 0, 60):
                raise AssertionError(f"{self.open_count} connections of the dead guest are still open")


class NextHopSession(socketserver.StreamRequestHandler):
    wbufsize = 0

    def setup(self):
        super().setup()
        self.server.count(1)

    def finish(self):
        self.server.count(-1)
        super().finish()

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        life, self.recipients = self.server.ledger.life, []
        if self.server.mode == "closed":
            self.say("421 4.3.2 not now")
            return
        self.say("220 hop.example.net ESMTP")
        while True:
            line = self.rfile.readline()
            if not line.endswith(b"\n"):
                return
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.say("250-hop.example.net\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 PIPELINING")
            elif verb == b"RCPT":
                self.recipient(line)
            elif verb == b"DATA":
                if not self.recipients:
                    self.say("503 5.5.1 no recipients")
                elif not self.content(life):
                    return
            elif verb == b"QUIT":
                self.say("221 2.0.0 bye")
                return
            else:
                self.recipients = []
                self.say("250 2.0.0 ok")

    def recipient(self, line):
        address = line.split(b"<", 1)[1].split(b">", 1)[0].decode()
        if self.server.mode == "half" and address.startswith("second@"):
            self.say("451 4.3.0 not this one now")
            return
        self.recipients.append(address)
        self.say("250 2.1.5 ok")

    def content(self, life):
        self.say("354 go")
        lines = []
        while True:
            line = self.rfile.readline()
            if not line.endswith(b"\n"):
                return False
            if line == b".\r\n":
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        if self.server.mode in ("refuse", "closed"):
            self.say("451 4.3.0 not now")
        else:
            # On the books first: a 250 that the guest did not live to read is an arrival all the same.
            self.server.ledger.arrive(life, self.recipients, b"".join(lines))
            self.say("250 2.0.0 taken")
        self.recipients = []
        return True


# ---- the clients ----

class Client(threading.Thread):
    """Submits messages over one session until told to stop; makes a new session when one ends."""

    def __init__(self, wire, ledger, numbers, port, implicit, stop, gate, seed):
        super().__init__(daemon=True)
        self.wire_type, self.ledger, self.numbers, self.port, self.implicit = wire, ledger, numbers, port, implicit
        self.stop, self.gate, self.rng = stop, gate, random.Random(seed)
        self.problems = []

    def run(self):
        while not self.stop.is_set():
            try:
                self.session()
            except (OSError, ssl.SSLError, AssertionError) as error:
                # Only a cut may end a session; what came before it is a finding.
                if not self.stop.wait(1.0):
                    self.problems.append(f"{type(error).__name__}: {error}")

    def session(self):
        w = self.wire_type(self.port, 120)
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if self.implicit:
                w.tls(context)
            w.expect(220)
            w.cmd("EHLO client.example", 250)
            if not self.implicit:
                w.cmd("STARTTLS", 220)
                w.tls(context)
                w.cmd("EHLO client.example", 250)
            w.login(USER, PASSWORD)
            while not self.stop.is_set():
                if self.gate.wait(0.1):
                    self.submit(w)
        finally:
            w.close()

    def submit(self, w):
        name, content, recipients = self.ledger.message(next(self.numbers), self.rng)
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        w.send(f"MAIL FROM:<{USER}>\r\n" + "".join(f"RCPT TO:<{r}>\r\n" for r in recipients) + "DATA\r\n")
        replies = [w.reply() for _ in range(len(recipients) + 2)]
        if 0 in (code for code, _ in replies):
            raise ConnectionError("the session ended")
        assert replies[-1][0] != 354 or all(code == 250 for code, _ in replies[:-1]), f"a recipient was refused: {replies}"
        if replies[-1][0] == 354:
            w.send(stuffed + b".\r\n")
            replies.append(w.reply())
        code, lines = replies[-1]
        if code == 250:
            self.ledger.promise(name)
        elif code == 0:
            raise ConnectionError("the session ended")
        else:
            self.ledger.refuse(" / ".join(lines))
