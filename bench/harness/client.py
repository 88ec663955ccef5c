# SPDX-License-Identifier: ISC
"""client.py - runs postern-bench against a server: its options, command lines, results with their server CPU."""
import json
import re
import subprocess
import sys

from group import Window, memory_bytes
from work import USER, Failed


TIMEOUT_S = 120  # 64 clients of a process each share one CPU with whatever else runs
SINK_TIMEOUT_S = 300  # a server may take in faster than it delivers


class Client:
    def __init__(self, tool, work, parallel):
        self.tool, self.work, self.parallel = str(tool), work, parallel
        self.cpu = min(work.client_cpus)
        self.helps = {}

    def options(self, command):
        """The options of a command; an empty set when this postern-bench does not have the command."""
        if command not in self.helps:
            r = subprocess.run([self.tool, command, "--help"], capture_output=True, text=True)
            self.helps[command] = set(re.findall(r"^  (--[a-z0-9-]+)", r.stdout, re.M)) if r.returncode == 0 else set()
        return self.helps[command]

    def lacks(self, arguments):
        """What of a command line this postern-bench does not have; "" when it has all."""
        have = self.options(arguments[0])
        if not have:
            return f"postern-bench has no command {arguments[0]}"
        missing = [a for a in arguments[1:] if a.startswith("--") and a not in have]
        return f"postern-bench {arguments[0]} has no {' '.join(missing)}" if missing else ""

    def command(self, server, arguments, *, count=None, parallel=None):
        """The whole command line of a load."""
        port = server.port_starttls if "--starttls" in arguments else server.port_tls
        words = [self.tool, *arguments, "--port", port, "--cpu", self.cpu, "--server-pid", server.roots()[0]]
        if "--parallel" not in arguments and "--parallel" in self.options(arguments[0]):
            words += ["--parallel", parallel or self.parallel]
        if server.group.path and "--server-cgroup" in self.options(arguments[0]):
            words += ["--server-cgroup", server.group.path]
        if hasattr(server, "control") and "--control-socket" in self.options(arguments[0]) - set(arguments):
            words += ["--control-socket", server.control]
        if arguments[0] == "submit":
            words += ["--from", USER, "--to", "somebody@example.net", "--sink-ids", self.work.ids,
                      "--sink-timeout", SINK_TIMEOUT_S]
        words += ["--timeout", TIMEOUT_S] if "--timeout" not in arguments else []
        if arguments[0] != "handshake":
            words += ["--user", USER, "--password-file", self.work.password_file]
        if count:
            words += ["--messages" if arguments[0] == "submit" else "--connections", count]
        return [str(w) for w in words]

    def measure(self, server, arguments, codes=(0,), **kwargs):
        """
        One run: its report, with "figure_us" (server CPU for an operation: the cgroup's, or the tree's where there is
        none), "window" (what everything used meanwhile) and "memory_bytes" (of the server, at the end).
        """
        out = self.work.dir / "result.json"
        out.unlink(missing_ok=True)
        command = self.command(server, arguments, **kwargs)
        window = Window(server.group, server.roots(), self.work.sink.pid)
        r = subprocess.run(command + ["--json", str(out)], capture_output=True, text=True)
        used = window.close()
        if r.returncode not in codes or not out.exists():
            raise Failed(f"{server.name}: {' '.join(command)}\nexit code {r.returncode}\n{r.stdout}{r.stderr}"
                         f"--- {server.name}'s log\n{server.log_tail()}")
        result = json.loads(out.read_text())
        result["window"] = used
        result["memory_bytes"] = memory_bytes(server.roots())
        operations = max(1, result.get("operations", 0))
        cpu_us = result["cgroup"]["cpu_us"] if "cgroup" in result else used["server_us"]
        result["figure_us"] = cpu_us / operations
        return result

    def warm_up(self, server):
        """The credential gets into the cache, the connections to the sink get made, all processes run."""
        self.measure(server, ["submit"], count=200)
        self.measure(server, ["handshake"], count=200)


def floors(tool, server_cpu, client_cpu, folder, is_quick):
    """What postern-bench limit measures, name -> us of CPU; {} and a reason where it cannot."""
    out = folder / "limit.json"
    r = subprocess.run([tool, "limit", "--help"], capture_output=True, text=True)
    if r.returncode != 0:
        return {}, "postern-bench has no command limit"
    command = [tool, "limit", "--dir", folder, "--server-cpu", server_cpu, "--client-cpu", client_cpu, "--json", out]
    command += ["--quick"] if is_quick else ["--rounds", 3]
    r = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if r.returncode != 0:
        return {}, f"postern-bench limit failed: {r.stderr.strip()[-300:]}"
    document = json.loads(out.read_text())
    values = {row["name"]: row["cpu_us"] for row in [*document.get("rows", []), *document.get("floors", [])]}
    return values, ""


def say(text):
    print(text, file=sys.stderr, flush=True)
