# SPDX-License-Identifier: ISC
"""
peer.py - an OpenSSL client whose octets a test holds in its hands: what leaves when, cut where, with which padding, and
when the keys change. Python's ssl module on memory buffers, with a few calls of libssl that it does not offer.
"""
import base64
import ctypes
import socket
import ssl

LIBSSL = ctypes.CDLL("libssl.so.3")
# The pointer stands behind the object's head; a SSLSocket's behind one more member.
CTX_OFFSET, SSL_OFFSET = 16, 24
UPDATE_NOT_REQUESTED, UPDATE_REQUESTED = 0, 1
TLS12 = {"aes-128-gcm": "ECDHE-ECDSA-AES128-GCM-SHA256", "aes-256-gcm": "ECDHE-ECDSA-AES256-GCM-SHA384",
         "chacha20-poly1305": "ECDHE-ECDSA-CHACHA20-POLY1305"}
TLS13 = {"aes-128-gcm": "TLS_AES_128_GCM_SHA256", "aes-256-gcm": "TLS_AES_256_GCM_SHA384",
         "chacha20-poly1305": "TLS_CHACHA20_POLY1305_SHA256"}
LIBSSL.SSL_CTX_set_ciphersuites.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
LIBSSL.SSL_CTX_set_block_padding.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
LIBSSL.SSL_key_update.argtypes = (ctypes.c_void_p, ctypes.c_int)
LIBSSL.SSL_version.argtypes = (ctypes.c_void_p,)


class Ended(Exception):
    """The connection is over; `how`: close_notify, eof, reset, or the alert's name."""

    def __init__(self, how):
        super().__init__(how)
        self.how = how


def context(version, cipher, padding=0):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.minimum_version = c.maximum_version = version
    pointer = ctypes.c_void_p.from_address(id(c) + CTX_OFFSET)
    if version == ssl.TLSVersion.TLSv1_2:
        c.set_ciphers(TLS12[cipher])
    elif LIBSSL.SSL_CTX_set_ciphersuites(pointer, TLS13[cipher].encode()) != 1:
        raise OSError(f"libssl does not know {cipher}")
    if padding:
        LIBSSL.SSL_CTX_set_block_padding(pointer, padding)
    return c


class Peer:
    """One connection. What is to be sent gathers until flush()."""

    def __init__(self, port, tls, session=None, timeout=120):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls, self.session, self.ssl, self.text = tls, session, None, b""

    # ---- TLS ----
    def start(self, behind_finished=b""):
        """The handshake; `behind_finished` travels in the same segment as Finished."""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl = self.tls.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost", session=self.session)
        while True:
            try:
                self.ssl.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.fetch()
        self.pointer = ctypes.c_void_p.from_address(id(self.ssl._sslobj) + SSL_OFFSET)
        names = {"TLSv1.2": 0x303, "TLSv1.3": 0x304}
        if LIBSSL.SSL_version(self.pointer) != names[self.ssl.version()]:
            raise OSError("this Python keeps its SSL elsewhere")
        if behind_finished:
            self.ssl.write(behind_finished)
        self.flush()
        return self

    def fetch(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            raise Ended("reset") from None
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def flush(self, cut=None):
        """Sends what gathered; with `cut` in pieces of so many octets."""
        data = self.outgoing.read()
        try:
            for i in range(0, len(data), cut or len(data) or 1):
                self.sock.sendall(data[i:i + (cut or len(data))])
        except ConnectionError:
            raise Ended("reset") from None

    def sealed(self, data):
        """The records of data, not sent."""
        self.ssl.write(data)
        return self.outgoing.read()

    def write(self, data):
        """In records of at most 16 KiB."""
        for i in range(0, len(data), 65536):
            self.ssl.write(data[i:i + 65536])
            self.flush()

    def update_keys(self, kind):
        """A KeyUpdate goes out in front of what is sent next; returns with nothing sent."""
        if LIBSSL.SSL_key_update(self.pointer, kind) != 1:
            raise OSError("SSL_key_update")

    def read(self):
        while True:
            try:
                data = self.ssl.read(65536)
                if not data:
                    raise Ended("close_notify")
                return data
            except ssl.SSLWantReadError:
                self.flush()
                self.fetch()
            except ssl.SSLZeroReturnError:
                raise Ended("close_notify") from None
            except ssl.SSLEOFError:
                raise Ended("eof") from None
            except ssl.SSLError as error:
                raise Ended(error.reason or str(error)) from None

    def end(self):
        """Reads until the other side ends; returns how."""
        try:
            while True:
                self.read()
        except Ended as ended:
            return ended.how

    def say_goodbye(self):
        """close_notify, nothing after it."""
        try:
            self.ssl.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLError):
            pass
        self.flush()

    def close(self):
        self.sock.close()

    # ---- SMTP ----
    def receive(self):
        if self.ssl:
            return self.read()
        data = self.sock.recv(65536)
        if not data:
            raise Ended("eof")
        return data

    def reply(self):
        while True:
            lines = self.text.split(b"\r\n")
            for i, line in enumerate(lines[:-1]):
                if line[3:4] != b"-":
                    self.text = b"\r\n".join(lines[i + 1:])
                    return int(line[:3]), line.decode()
            self.text += self.receive()

    def expect(self, code):
        got, line = self.reply()
        assert got == code, f"expected {code}, got: {line}"
        return line

    def cmd(self, line, code):
        data = line.encode() + b"\r\n"
        if self.ssl:
            self.write(data)
        else:
            self.sock.sendall(data)
        return self.expect(code)

    def open(self, implicit, behind_finished=True):
        """Greeting, TLS, EHLO. On 587 the second EHLO comes right behind Finished."""
        hello = b"EHLO client.example\r\n"
        if implicit:
            self.start()
            self.expect(220)
            self.cmd("EHLO client.example", 250)
            return self
        self.expect(220)
        self.cmd("EHLO client.example", 250)
        self.cmd("STARTTLS", 220)
        self.start(hello if behind_finished else b"")
        if not behind_finished:
            self.write(hello)
        self.expect(250)
        return self

    def login(self, user, password):
        self.cmd("AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode(), 235)
        return self

    def begin(self, sender, to):
        self.cmd(f"MAIL FROM:<{sender}>", 250)
        self.cmd(f"RCPT TO:<{to}>", 250)
        self.cmd("DATA", 354)

    def quit(self):
        """QUIT; returns how the server ended the connection."""
        self.cmd("QUIT", 221)
        how = self.end()
        self.close()
        return how
