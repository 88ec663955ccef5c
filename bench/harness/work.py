# SPDX-License-Identifier: ISC
"""work.py - a run's folder, its ports, certificate and password, the sink, and the servers that are started in it."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

USER, PASSWORD = "bench@example.org", "a password for measuring"
TOP = pathlib.Path(__file__).resolve().parents[2]


class Failed(Exception):
    """The run cannot go on; the text says why."""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def output_of(*command):
    """Both streams of a command, one text; "" when there is no such program."""
    try:
        r = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
    except OSError:
        return ""
    return (r.stdout + r.stderr).strip()


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failed(f"did not happen: {what}")
        time.sleep(0.05)


def end_process(process, seconds=60):
    """SIGTERM, and SIGKILL when that does not help; its output."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


class Work:
    """A temporary folder with what all servers of a run share, and the sink. KEEP=1 leaves the folder behind."""

    def __init__(self, tool, client_cpus, parent=None, next_hop="bdat"):
        self.tool, self.client_cpus, self.next_hop = tool, set(client_cpus), next_hop
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="postern-figures-", dir=parent))
        self.dir.chmod(0o755)
        self.ids, self.password_file = self.dir / "ids", self.dir / "password"
        self.chain, self.key = self.dir / "cert.pem", self.dir / "key.pem"
        self.sink = None
        self.sink_port = 0

    def start(self):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                   "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
                   self.key, "-out", self.chain]
        subprocess.run(command, check=True, capture_output=True)
        self.password_file.write_text(PASSWORD + "\n")
        self.ids.touch()
        command = [self.tool, "sink", "--port", "0", "--ids-file", self.ids]
        command += ["--chunking"] if self.next_hop == "bdat" else []
        self.sink = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                     preexec_fn=lambda: os.sched_setaffinity(0, self.client_cpus))
        line = self.sink.stdout.readline()
        if not line.startswith("port "):
            raise Failed("the sink did not start")
        self.sink_port = int(line.split()[1])
        return self

    def stop(self):
        """The sink's summary; the folder is gone afterwards."""
        out = end_process(self.sink) if self.sink else ""
        if os.environ.get("KEEP") != "1":
            shutil.rmtree(self.dir, ignore_errors=True)
        return json.loads(out) if out else {}


class Server:
    """
    A server under measurement. A kind of server defines name, promise (what its 250 says), launch() (starts it, returns
    when it listens), roots() (pids at the top of its trees), and description() (version and configuration).
    """

    name = promise = ""
    idle_connections = 1000  # as many as a server of its kind takes with ease, and three times as many

    def __init__(self, work, group, folder):
        self.work, self.group = work, group
        self.dir = work.dir / folder
        self.dir.mkdir()
        self.dir.chmod(0o755)
        self.log = self.dir / "log"
        self.port_tls, self.port_starttls = free_ports(2)
        self.processes = []

    def spawn(self, *command, **kwargs):
        with open(self.log, "ab") as log:
            p = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 preexec_fn=self.group.enter, **kwargs)
        self.processes.append(p)
        return p

    def call(self, *command):
        """A command that ends soon, in the server's group."""
        r = subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                           preexec_fn=self.group.enter)
        if r.returncode != 0:
            raise Failed(f"{' '.join(map(str, command))}: {r.stdout}{r.stderr}{self.log_tail()}")

    def is_greeted(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port_starttls), 5) as s:
                s.settimeout(5)
                return s.recv(3) == b"220"
        except OSError:
            return False

    def wait_until_greeted(self):
        def ready():
            if any(p.poll() is not None for p in self.processes):
                raise Failed(f"{self.name} did not start:\n{self.log_tail()}")
            return self.is_greeted()
        wait_for(ready, f"{self.name} greets")

    def log_tail(self):
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def roots(self):
        return [p.pid for p in self.processes]

    def stop(self):
        for p in reversed(self.processes):
            end_process(p)
        self.group.remove()
