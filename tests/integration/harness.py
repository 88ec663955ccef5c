# SPDX-License-Identifier: ISC
"""
harness.py - what the integration tests share: a real gateway on loopback with its own directory, certificate, users and
ports; SMTP clients; Maildir and log readers; a tiny test runner.

A test file defines functions test_*(); `run(globals())` at its end runs them (or those named on the command line), prints a line for each,
and exits 1 if any failed. Nothing here asserts a time; `until()` only bounds how long a result may take to appear.
"""
import base64
import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback

SOURCE = pathlib.Path(os.environ.get("PN_SOURCE_DIR") or pathlib.Path(__file__).resolve().parents[2])
POSTERN = os.environ.get("PN_POSTERN") or str(SOURCE / "build/release/bin/postern")
SANITIZE = os.environ.get("PN_SANITIZE", "")
FULL = os.environ.get("PN_TEST_FULL") == "1"
# Sanitizer builds are slow and two tests run at a time: how long anything may take to appear.
PATIENCE_S = 120 if SANITIZE else 60
USER, PASSWORD = "demo@example.org", "correct horse"


class Skip(Exception):
    """This test cannot run here; the text says why."""


def free_ports(count):
    sockets = []
    for _ in range(count):
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        sockets.append(s)
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def until(condition, what, seconds=None, every=0.05):
    """Waits until condition() is true and returns its value; fails with `what` otherwise."""
    end = time.monotonic() + (seconds or PATIENCE_S)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"did not happen: {what}")
        time.sleep(every)


@contextlib.contextmanager
def scratch_folder():
    """A folder for one test; other users may look into it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pn-it-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"{program} is not installed (deploy/install-deps --tests)")


def message(subject="test", body="Hello.\r\n", extra="", sender=USER, to=USER):
    return (f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n{extra}\r\n" + body).encode("utf-8", "surrogateescape")


def make_certificate(directory, name="cert", key="ec", names=("localhost",), days=30):
    """A self-signed certificate; returns (chain, key) paths."""
    chain, key_path = directory / f"{name}.pem", directory / f"{name}.key"
    alt = ",".join([f"DNS:{n}" for n in names] + ["IP:127.0.0.1", "IP:::1"])
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else ["-newkey", "rsa:2048"]
    subprocess.run(["openssl", "req", "-x509", *kind, "-nodes", "-days", str(days), "-subj", f"/CN={names[0]}", "-addext",
                    f"subjectAltName={alt}", "-keyout", str(key_path), "-out", str(chain)], check=True, capture_output=True)
    return chain, key_path


def value_text(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(f'"{v}"' for v in value) + "}"
    return str(value) if isinstance(value, int) else f'"{value}"'


class Gateway:
    """
    A gateway in a directory of its own. `sections` overrides keys: {"limits": {"sessions_max": 3}, "": {"loops": 2}}; `upstreams` replaces the Maildir.
    Use as a context manager, or start() and stop().
    """

    def __init__(self, sections=None, upstreams=None, users=None, certificates=None, env=None, directory=None, start=True):
        self.own_directory = directory is None
        self.dir = pathlib.Path(directory or tempfile.mkdtemp(prefix="pn-it-"))
        self.dir.chmod(0o755)
        self.service_user = "nobody" if os.geteuid() == 0 else ""
        self.port_tls, self.port_starttls = free_ports(2)
        self.maildir = self.dir / "maildir"
        self.spool = self.dir / "spool"
        self.log_path = self.dir / "postern.log"
        self.conf = self.dir / "postern.conf"
        self.control = self.dir / "run" / "control"
        self.user_file = self.dir / "users"
        self.sections = sections or {}
        self.upstreams = upstreams
        self.listeners = {}  # besides the usual two: {"name": {"addresses": [...], "tls": ...}}
        self.env = dict(os.environ, **(env or {}))
        self.process = None
        self.preexec = None  # called in the child before the gateway starts
        (self.dir / "run").mkdir(exist_ok=True)
        if certificates is None:
            certificates = [make_certificate(self.dir)]
        self.certificates = certificates
        self.cert = certificates[0][0]
        for name, password in (users or {USER: PASSWORD}).items():
            if not self.user_file.exists() or name not in self.user_file.read_text():
                self.add_user(name, password)
        self.write_config()
        self.wants_start = start

    # ---- files ----
    def own(self, path):
        if self.service_user:
            entry = pwd.getpwnam(self.service_user)
            os.chown(path, 0, entry.pw_gid)

    def add_user(self, name, password, *options):
        subprocess.run([POSTERN, "user", "add", "-f", str(self.user_file), "--password-stdin", name, *options], check=True,
                       input=password + "\n", text=True, capture_output=True)
        self.own(self.user_file)
        self.user_file.chmod(0o640)

    def write_config(self):
        top = {"hostname": "mx.test.example", "run_user": self.service_user, "loops": 2, "relay_workers": 1, "cpu_pinning": False,
               "control_socket": self.control, **self.sections.get("", {})}
        sections = {"auth": {"user_file": self.user_file, "failure_delay_ms": 10, "failure_delay_max_ms": 100, "reload_check_s": 1},
                    "spool": {"path": self.spool, "segment_size_bytes": 8 << 20, "free_space_min_bytes": 0},
                    "retry": {"first_s": 1, "max_s": 2},
                    "limits": {"sessions_max": 4000, "handshakes_max": 2000, "sessions_per_source_max": 0,
                               "connections_per_source_per_minute_max": 0, "drain_timeout_s": 10},
                    "tls": {}, "log": {}, "io_uring": {}, "extensions": {}}
        if os.environ.get("PN_IO_URING_DISABLE"):
            sections["io_uring"]["disable"] = [os.environ["PN_IO_URING_DISABLE"]]
        for name, keys in self.sections.items():
            if name:
                sections.setdefault(name, {}).update(keys)
        lines = [f"{k} = {self.key_value(v)}" for k, v in top.items()]
        blocks = [('listener "submissions"', {"addresses": [f"127.0.0.1:{self.port_tls}", f"[::1]:{self.port_tls}"], "tls": "implicit"}),
                  ('listener "submission"', {"addresses": [f"127.0.0.1:{self.port_starttls}", f"[::1]:{self.port_starttls}"], "tls": "starttls"})]
        blocks += [(f'listener "{name}"', keys) for name, keys in self.listeners.items()]
        blocks += [(f'certificate "c{i}"', {"chain_file": chain, "key_file": key}) for i, (chain, key) in enumerate(self.certificates)]
        blocks += [(name, keys) for name, keys in sections.items() if keys]
        upstreams = self.upstreams or {"local": {"kind": "maildir", "maildir": self.maildir}}
        blocks += [(f'upstream "{name}"', {"maildir": self.maildir, **keys} if keys["kind"] == "maildir" else keys) for name, keys in upstreams.items()]
        for head, keys in blocks:
            lines += [f"{head} {{"] + [f"    {k} = {self.key_value(v)}" for k, v in keys.items()] + ["}"]
        self.conf.write_text("\n".join(lines) + "\n")

    @staticmethod
    def key_value(value):
        words = ("maildir", "smtp", "lmtp", "none", "opportunistic", "starttls", "implicit", "reject", "normalize", "json", "logfmt", "debug", "info",
                 "auto", "on", "off", "yes", "no", "warn", "error")
        return value if isinstance(value, str) and value in words else value_text(value)

    # ---- life ----
    def __enter__(self):
        if self.wants_start:
            self.start()
        return self

    def __exit__(self, kind, value, trace):
        try:
            if self.process and self.process.poll() is None:
                code = self.stop()
                if kind is None and code != 0:
                    raise AssertionError(f"the gateway ended with {code} after SIGTERM\n{self.log_tail()}")
            elif kind is None and self.process and self.process.returncode not in (0, -signal.SIGKILL, -signal.SIGTERM):
                raise AssertionError(f"the gateway ended with {self.process.returncode}\n{self.log_tail()}")
            if kind is None:
                self.check_log_clean()
        finally:
            self.kill()
            if kind is not None:
                print(f"--- gateway log ({self.log_path})\n{self.log_tail()}", file=sys.stderr)
            elif self.own_directory:
                shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, wait=True):
        offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([POSTERN, "serve", "-c", str(self.conf)], stderr=log, stdout=log, stdin=subprocess.DEVNULL, env=self.env,
                                            start_new_session=True, preexec_fn=self.preexec)
        if wait:
            self.wait_ready(offset)
        return self

    def wait_ready(self, offset=0):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended at start with {self.process.returncode}\n{self.log_tail()}")
            return "event=ready" in self.log_text(offset)
        until(ready, "the gateway is ready")

    def stop(self, seconds=None):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds or PATIENCE_S)

    def kill(self):
        """SIGKILL for whatever still runs; the worker dies with its parent."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)

    def worker_pid(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def reload(self):
        offset = self.log_path.stat().st_size
        self.process.send_signal(signal.SIGHUP)
        until(lambda: re.search(r"event=reload msg=\"?(done|refused|.*nothing changed)", self.log_text(offset)), "the reload is answered")
        return "msg=\"done" in self.log_text(offset)

    # ---- looking inside ----
    def log_text(self, offset=0):
        if not self.log_path.exists():
            return ""
        with open(self.log_path, "rb") as f:
            f.seek(offset)
            return f.read().decode("utf-8", "replace")

    def log_tail(self, lines=60):
        return "\n".join(self.log_text().splitlines()[-lines:]) if self.log_path.exists() else "(no log)"

    def log_lines(self, event, **match):
        out = []
        for line in self.log_text().splitlines():
            if f" event={event} " in line + " ":
                fields = {k: v.strip('"') for k, v in re.findall(r'(\S+?)=("(?:[^"\\]|\\.)*"|\S*)', line)}
                if all(fields.get(k) == str(v) for k, v in match.items()):
                    out.append(fields)
        return out

    def check_log_clean(self):
        bad = [l for l in self.log_text().splitlines() if "Sanitizer" in l or "runtime error:" in l or "invariant" in l]
        if bad:
            raise AssertionError("the log has reports:\n" + self.log_tail(200))
        if PASSWORD in self.log_text() or base64.b64encode(PASSWORD.encode()).decode() in self.log_text():
            raise AssertionError("a password is in the log")

    def command(self, *arguments, check=True):
        r = subprocess.run([POSTERN, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
        if check and r.returncode != 0:
            raise AssertionError(f"postern {' '.join(arguments)}: exit code {r.returncode}\n{r.stdout}{r.stderr}")
        return r

    def status(self):
        return json.loads(self.command("status", "-s", str(self.control), "--json").stdout)

    def counter(self, scope, name):
        """Summed over all instances."""
        return sum(values.get(name, 0) for values in self.status()["counters"].get(scope, {}).values())

    def queue(self):
        return json.loads(self.command("queue", "list", "-s", str(self.control), "--json").stdout)["messages"]

    def delivered(self):
        """Octets of every file in new/."""
        new = self.maildir / "new"
        return {p.name: p.read_bytes() for p in new.iterdir()} if new.is_dir() else {}

    def wait_delivered(self, count, seconds=None):
        until(lambda: len(self.delivered()) >= count, f"{count} messages are delivered", seconds)
        return self.delivered()

    def wait_queue_empty(self, seconds=None):
        until(lambda: not self.queue() and self.status()["spool"]["messages"] == 0, "the queue is empty", seconds, every=0.2)

    # ---- clients ----
    def context(self, **kwargs):
        c = ssl.create_default_context(cafile=str(self.cert))
        for k, v in kwargs.items():
            setattr(c, k, v)
        return c

    @contextlib.contextmanager
    def smtp(self, implicit=True, login=True, user=USER, password=PASSWORD, context=None, host="localhost", timeout=None):
        timeout = timeout or PATIENCE_S
        context = context or self.context()
        if implicit:
            c = smtplib.SMTP_SSL(host, self.port_tls, context=context, timeout=timeout)
        else:
            c = smtplib.SMTP(host, self.port_starttls, timeout=timeout)
            c.starttls(context=context)
        try:
            if login:
                c.login(user, password)
            yield c
            try:
                c.quit()
            except smtplib.SMTPServerDisconnected:
                pass
        finally:
            c.close()

    def connect(self, implicit=True, timeout=None, context=None):
        """A Wire with TLS done on 465; in plaintext on 587."""
        w = Wire(self.port_tls if implicit else self.port_starttls, timeout or PATIENCE_S)
        if implicit:
            w.tls(context or self.context())
        return w

    def session(self, implicit=True, login=True):
        """A Wire that is greeted, in TLS, past EHLO and (login) authenticated."""
        w = self.connect(implicit)
        w.expect(220)
        w.cmd("EHLO client.example", 250)
        if not implicit:
            w.cmd("STARTTLS", 220)
            w.tls(self.context())
            w.cmd("EHLO client.example", 250)
        if login:
            w.login()
        return w


class Wire:
    """A raw SMTP connection: sends octets, reads replies."""

    def __init__(self, port, timeout, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), timeout=timeout)
        self.buffer = b""

    def tls(self, context):
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape"))

    def line(self):
        """One line without CRLF; b'' at the end of the stream."""
        while b"\n" not in self.buffer:
            got = self.sock.recv(65536)
            if not got:
                rest, self.buffer = self.buffer, b""
                return rest
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r")

    def reply(self):
        """(code, lines); (0, []) when the connection ended."""
        lines = []
        while True:
            line = self.line()
            if not line:
                return 0, lines
            lines.append(line.decode("utf-8", "replace"))
            if line[3:4] != b"-":
                return int(line[:3]), lines

    def expect(self, code, enhanced=None):
        got, lines = self.reply()
        text = "\n".join(lines)
        assert got == code, f"expected {code}, got {got}: {text}"
        if enhanced:
            assert lines[-1][4:].startswith(enhanced + " "), f"expected {code} {enhanced}, got: {text}"
        return lines

    def cmd(self, text, code, enhanced=None):
        self.send(text + "\r\n")
        return self.expect(code, enhanced)

    def login(self, user=USER, password=PASSWORD, code=235):
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return self.cmd(f"AUTH PLAIN {token}", code)

    def submit(self, data, sender=USER, to=(USER,), code=250):
        self.cmd(f"MAIL FROM:<{sender}>", 250)
        for address in to:
            self.cmd(f"RCPT TO:<{address}>", 250)
        self.cmd("DATA", 354)
        self.send(data + b".\r\n")
        return self.expect(code)

    def at_end(self):
        """Whether the server closes (reads until then)."""
        try:
            while self.sock.recv(65536):
                pass
            return True
        except (ConnectionResetError, ssl.SSLError, BrokenPipeError):
            return True
        except (socket.timeout, TimeoutError):
            return False

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()


def run(namespace):
    names = sys.argv[1:] or [n for n in namespace if n.startswith("test_")]
    failed = skipped = 0
    for name in names:
        start = time.monotonic()
        try:
            namespace[name]()
            result = "ok"
        except Skip as reason:
            result = f"skipped: {reason}"
            skipped += 1
        except Exception:
            traceback.print_exc()
            result = "FAILED"
            failed += 1
        print(f"{name}: {result} ({time.monotonic() - start:.1f} s)", flush=True)
    if failed:
        sys.exit(1)
    sys.exit(77 if skipped == len(names) else 0)
