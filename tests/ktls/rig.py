# SPDX-License-Identifier: ISC
"""
rig.py - the real gateway in a guest whose kernel has kTLS; its clients and next hops are out here. The guest's own
counters (/proc/net/tls_stat) and the gateway's tell what really went through the kernel.
"""
import hashlib
import json
import pathlib
import re
import ssl
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "integration"), str(HERE.parent / "crash" / "power")]
import guest as machine
import kernels
from harness import PASSWORD, POSTERN, USER, free_ports, make_certificate, message
from sink import Sink

# Those that a kernel has not built in are loaded, with what they need.
MODULES = ("virtio_pci virtio_blk virtio_console virtio_net ghash-generic ctr gcm cryptd aesni-intel libchacha chacha "
           "chacha-x86_64 libpoly1305 poly1305-x86_64 chacha20poly1305 tls").split()
MEMORY_MB = 1024
PATIENCE_S = 120

CONFIG = """
hostname = "mx.test.example"
run_user = "nobody"
run_group = "nogroup"
loops = 2
relay_workers = 1
cpu_pinning = no
control_socket = "/run/postern/control"
listener "submissions" {{
	addresses = {{"0.0.0.0:465"}}
	tls = implicit
}}
listener "submission" {{
	addresses = {{"0.0.0.0:587"}}
	tls = starttls
}}
listener "plain" {{
	addresses = {{"0.0.0.0:466"}}
	tls = implicit
	ktls = off
}}
tls {{
	ktls = on
}}
certificate "c" {{
	chain_file = "/etc/postern/cert.pem"
	key_file = "/etc/postern/cert.key"
}}
auth {{
	user_file = "/etc/postern/users"
	failure_delay_ms = 10
}}
upstream "wrapped" {{
	kind = smtp
	hosts = {{"10.0.2.2:{wrapped}"}}
	domains = {{"wrapped.example"}}
	tls = implicit
	verify = no
	idle_timeout_s = 1
}}
upstream "upgraded" {{
	kind = smtp
	hosts = {{"10.0.2.2:{upgraded}"}}
	domains = {{"upgraded.example"}}
	tls = starttls
	verify = no
	idle_timeout_s = 1
}}
upstream "hop" {{
	kind = smtp
	hosts = {{"10.0.2.2:{plain}"}}
	tls = none
}}
spool {{
	path = "/disk/spool"
	segment_size_bytes = 4M
	free_space_min_bytes = 16M
}}
retry {{
	first_s = 1
	max_s = 2
}}
limits {{
	size_max_bytes = 60M
	sessions_max = 6000
	handshakes_max = 3000
	sessions_per_source_max = 0
	connections_per_source_per_minute_max = 0
	drain_timeout_s = 20
	idle_timeout_s = 3600
}}
"""


def say(text):
    print(f"[{time.monotonic() - START:6.1f} s] {text}", flush=True)


def module_names(modules):
    names = kernels.with_needs(modules, MODULES)
    if "tls" not in names:
        raise machine.Unavailable("the kernel package has no module tls")
    return names


class Rig:
    def __init__(self, folder, kernel_kind):
        self.folder = folder
        vmlinuz, modules = kernels.find(kernel_kind)
        chain, key = make_certificate(folder)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chain, key)
        offers = ("PIPELINING", "8BITMIME", "SIZE 104857600", "ENHANCEDSTATUSCODES")
        self.hops = {"plain": Sink(offers=offers), "wrapped": Sink(offers=offers, tls=tls, implicit=True),
                     "upgraded": Sink(offers=(*offers, "STARTTLS"), tls=tls)}
        users = folder / "users"
        subprocess.run([POSTERN, "user", "add", "-f", users, "--password-stdin", USER], check=True,
                       input=PASSWORD + "\n", text=True, capture_output=True)
        image = folder / "initramfs"
        config = CONFIG.format(**{name: hop.port for name, hop in self.hops.items()})
        machine.make_initramfs(image, modules, {
            "init": HERE / "init", "bin/postern": pathlib.Path(POSTERN), "etc/postern/cert.pem": chain,
            "etc/postern/cert.key": key, "etc/postern/users": users, "etc/postern/postern.conf": config},
            module_names(modules))
        for attempt in (1, 2):
            ports = free_ports(3)
            self.port = dict(zip((465, 587, 466), ports))
            self.guest = machine.Guest(vmlinuz, image, None, dict(zip(ports, (465, 587, 466))),
                                       folder / f"gateway{attempt}.log", MEMORY_MB)
            try:
                self.release = self.guest.wait_booted()
                break
            except machine.Infrastructure as failure:
                self.guest.cut()
                if attempt == 2:
                    raise
                say(f"the guest did not boot, trying again: {failure}")
        self.guest.wait_serving()
        self.expected, self.lives = {}, 1
        self.base = self.kernel_counts()
        self.has_rekey = self.guest.status()["ktls"]["rekey"]

    # ---- counts ----
    def kernel_counts(self):
        text = self.guest.ask("tls", "TLS")
        return {name: int(value) for name, value in re.findall(r"(\w+) (\d+);", text)}

    def memory(self):
        """Kilobytes: the gateway's (proportional set size), slab, and what of it cannot be reclaimed."""
        text = self.guest.ask("memory", "MEMORY")
        return {name: int(value) for name, value in re.findall(r"(\w+): (\d+) kB;", text)}

    def counters(self):
        return self.guest.status()["counters"]["ktls"]["all"]

    def wait(self, condition, what, seconds=PATIENCE_S):
        """Until condition() holds; returns its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            self.alive()
            if time.monotonic() > end:
                raise AssertionError(f"did not happen: {what}\n{json.dumps(self.counters())}\n{self.guest.tail()}")
            time.sleep(0.1)
        return value

    def alive(self):
        if self.guest.process.poll() is not None:
            raise machine.Infrastructure(f"QEMU ended with {self.guest.process.returncode}\n{self.guest.tail()}")
        if sum(line.startswith("PN-ENDED") for line in self.guest.lines) >= self.lives:
            raise machine.GatewayFailed(f"the gateway ended\n{self.guest.tail()}")
        oops = [line for line in self.guest.lines if re.search(r"Oops|BUG:|Kernel panic|general protection", line)]
        if oops:
            raise machine.Infrastructure(f"the guest's kernel fell over: {oops[:3]}\n{self.guest.tail()}")

    def wait_gone(self):
        """Every session has ended."""
        def is_quiet():
            counters = self.guest.status()["counters"]
            return counters["ktls"]["all"]["sessions"] == 0 and not any(
                c["sessions_open"] for c in counters["session"].values())

        self.wait(is_quiet, "all sessions end")

    # ---- messages ----
    def content(self, name, size, domain="plain.example"):
        """A message whose octets are expected at its next hop."""
        line = (hashlib.sha256(name.encode()).hexdigest() * 2)[:76] + "\r\n"
        body = "." + line + line * (size // len(line))
        to = f"{name}@{domain}"
        data = message(name, body, to=to)
        self.expected[name] = hashlib.sha256(body.encode()).digest()
        return to, data.replace(b"\r\n.", b"\r\n..") + b".\r\n"

    def arrived(self):
        out = {}
        for hop in self.hops.values():
            with hop.lock:
                for entry in hop.messages:
                    name = entry["rcpts"][0].partition("@")[0]
                    out.setdefault(name, []).append(hashlib.sha256(entry["data"].partition(b"\r\n\r\n")[2]).digest())
        return out

    def check_arrived(self):
        """All that was submitted is at its next hop, once, octet for octet."""
        self.wait(lambda: set(self.arrived()) >= set(self.expected), "all messages arrive")
        got = self.arrived()
        for name, digest in self.expected.items():
            assert got[name] == [digest], f"{name} arrived {len(got[name])} times, or with other content"

    def restart(self):
        """kill -9, and a new gateway on what the old one left."""
        self.lives += 1
        self.guest.ask("kill", "KILLED")
        self.guest.expect("ENDED", PATIENCE_S)
        self.guest.ask("serve", "AGAIN")
        self.wait(lambda: self.guest.log().count("event=ready") >= self.lives, "the gateway serves again")

    def stop(self):
        """Ends gateway and guest cleanly; returns the gateway's exit code."""
        self.guest.process.stdin.write(b"stop\n")
        self.guest.process.stdin.flush()
        code = self.guest.expect("ENDED", PATIENCE_S)
        self.guest.ask("off", "OFF")
        self.guest.process.wait(60)
        return int(code)

    def close(self):
        self.guest.cut()
        for hop in self.hops.values():
            hop.close()


START = time.monotonic()
