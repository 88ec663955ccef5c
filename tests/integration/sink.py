# SPDX-License-Identifier: ISC
"""
sink.py - a next hop for tests: an SMTP or LMTP server in threads that keeps what it accepted, and does whatever a script says instead.

`answer(stage, argument, session)` is asked at each stage: "connect", "ehlo", "helo", "lhlo", "starttls", "auth", "mail", "rcpt", "data", "content" (the final
reply; for LMTP once for each accepted recipient, argument = the address), "noop", "rset", "quit". It returns None for the usual reply, a str for another one (CRLF is
added), bytes to send as they are, CLOSE to hang up without a word, or HANG to say nothing until the peer gives up. CUT at "data" hangs up in the middle of the content.
"""
import base64
import contextlib
import socket
import threading

CLOSE, HANG, CUT = object(), object(), object()
ALL = ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 104857600", "ENHANCEDSTATUSCODES")
USUAL = {"connect": "220 sink.test.example ESMTP", "starttls": "220 2.0.0 go ahead", "auth": "235 2.7.0 welcome", "mail": "250 2.1.0 ok", "rcpt": "250 2.1.5 ok",
         "data": "354 go ahead", "content": "250 2.0.0 kept", "noop": "250 2.0.0 ok", "rset": "250 2.0.0 ok", "quit": "221 2.0.0 bye"}


class Gone(Exception):
    """The connection is over."""


class Session:
    def __init__(self, sink, sock):
        self.sink, self.sock = sink, sock
        self.mail, self.rcpts, self.helo, self.user = None, [], "", None
        self.commands = []
        self.is_tls = False

    def wrap(self):
        self.sock = self.sink.tls.wrap_socket(self.sock, server_side=True)
        self.is_tls = True
        self.file = self.sock.makefile("rb")

    def reply(self, stage, argument=""):
        """Answers; returns whether the answer was positive."""
        text = self.sink.answer(stage, argument, self) if self.sink.answer else None
        if text is CLOSE:
            raise Gone
        if text is HANG:
            self.sink.stopping.wait(600)
            raise Gone
        if text is CUT:
            self.sock.sendall(b"354 go ahead\r\n")
            self.file.read1(1000)
            raise Gone
        if text is None:
            text = self.greeting(stage) if stage in ("ehlo", "lhlo", "helo") else USUAL[stage]
        self.sock.sendall(text if isinstance(text, bytes) else (text + "\r\n").encode())
        return isinstance(text, str) and text[:1] in "23"

    def greeting(self, stage):
        offers = ["sink.test.example"]
        if stage != "helo":
            offers += [o for o in self.sink.offers if o != "STARTTLS" or not self.is_tls]
        return "\r\n".join(f"250{'-' if i + 1 < len(offers) else ' '}{o}" for i, o in enumerate(offers))

    def content(self):
        lines = []
        while True:
            line = self.file.readline()
            if not line.endswith(b"\r\n"):
                raise Gone
            if line == b".\r\n":
                return b"".join(lines)
            lines.append(line[1:] if line[:1] == b"." else line)

    def finish(self, data):
        """The final reply (for LMTP: replies). What is answered 2yz is kept first, so that an answer which is lost leaves at most a duplicate."""
        if self.sink.lmtp:
            for rcpt in self.rcpts:
                kept = self.sink.keep(self.mail, [rcpt], data, self)
                if not self.reply("content", rcpt):
                    self.sink.forget(kept)
        else:
            text = self.sink.answer("content", data, self) if self.sink.answer else None
            if text is None or isinstance(text, str) and text[:1] == "2":
                self.sink.keep(self.mail, self.rcpts, data, self)
            self.sink_reply(text)

    def sink_reply(self, text):
        if text is CLOSE:
            raise Gone
        if text is HANG:
            self.sink.stopping.wait(600)
            raise Gone
        self.sock.sendall(text if isinstance(text, bytes) else ((text or USUAL["content"]) + "\r\n").encode())

    def command(self, line):
        self.commands.append(line)
        verb, _, rest = line.partition(" ")
        stage = verb.lower()
        if stage == "mail":
            if self.reply("mail", rest):
                self.mail, self.rcpts = rest, []
        elif stage == "rcpt":
            if self.mail is None:
                self.sock.sendall(b"503 5.5.1 no MAIL\r\n")
                return
            address = rest[rest.index("<") + 1:rest.rindex(">")] if "<" in rest else rest
            if self.reply("rcpt", rest):
                self.rcpts.append(rest if self.sink.keep_parameters else address)
        elif stage == "data":
            if not self.rcpts:
                self.sock.sendall(b"503 5.5.1 no recipients\r\n")
            elif self.reply("data"):
                self.finish(self.content())
                self.mail, self.rcpts = None, []
        elif stage == "rset":
            self.mail, self.rcpts = None, []
            self.reply("rset")
        elif stage == "starttls":
            if self.reply("starttls"):
                self.wrap()
        elif stage == "auth":
            mechanism, _, first = rest.partition(" ")
            if not first:
                self.sock.sendall(b"334 \r\n")
                first = self.file.readline().decode().strip()
            self.user = base64.b64decode(first).split(b"\0")[1:]
            self.reply("auth", rest)
        elif stage in ("ehlo", "helo", "lhlo", "noop", "quit"):
            self.reply(stage, rest)
            if stage == "quit":
                raise Gone
        else:
            self.sock.sendall(b"500 5.5.2 what?\r\n")

    def run(self):
        with contextlib.suppress(OSError, Gone, ValueError):
            if self.sink.implicit:
                self.wrap()
            else:
                self.file = self.sock.makefile("rb")
            self.reply("connect")
            while True:
                line = self.file.readline(70000)
                if not line:
                    break
                self.command(line.decode("utf-8", "replace").rstrip("\r\n"))
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.sock.close()


class Sink:
    """Listens from the start; messages are dicts with mail, rcpts, data, session. Use as a context manager, or close()."""

    def __init__(self, answer=None, offers=ALL, lmtp=False, tls=None, implicit=False, port=0, keep_parameters=False, on_message=None):
        self.answer, self.offers, self.lmtp, self.tls, self.implicit = answer, offers, lmtp, tls, implicit
        self.keep_parameters, self.on_message = keep_parameters, on_message
        self.messages, self.sessions = [], []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", port))
        self.listener.listen(512)
        self.port = self.listener.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if self.stopping.is_set():
                sock.close()
                return
            session = Session(self, sock)
            self.sessions.append(session)
            threading.Thread(target=session.run, daemon=True).start()

    def keep(self, mail, rcpts, data, session):
        if self.on_message:
            self.on_message(mail, rcpts, data)
            return None
        entry = {"mail": mail, "rcpts": list(rcpts), "data": data, "session": session}
        with self.lock:
            self.messages.append(entry)
        return entry

    def forget(self, entry):
        with self.lock:
            self.messages = [m for m in self.messages if m is not entry]

    def subjects(self):
        """Subject of every message kept, in order of arrival."""
        with self.lock:
            return [subject(m["data"]) for m in self.messages]

    def close(self):
        self.stopping.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
        for session in self.sessions:
            with contextlib.suppress(OSError):
                session.sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def subject(data):
    head = data.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    for line in head.split(b"\n"):
        if line.lower().startswith(b"subject: "):
            return line[9:].decode("utf-8", "replace")
    return ""
