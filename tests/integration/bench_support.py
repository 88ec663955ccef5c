# SPDX-License-Identifier: ISC
"""What the tests of the load generator share: the program, its sink as a process, a gateway in front of it."""
import json
import os
import signal
import subprocess

from harness import PASSWORD, PATIENCE_S, SOURCE, USER, Gateway

BENCH = os.environ.get("PN_BENCH") or str(SOURCE / "build/release/bin/postern-bench")
if not os.access(BENCH, os.X_OK):
    print(f"{BENCH} is not built")
    raise SystemExit(77)


class Sink:
    def __init__(self, directory, *options, port=0):
        self.ids = directory / f"ids-{len(list(directory.glob('ids-*')))}"
        self.ids.touch()
        command = [BENCH, "sink", "--port", str(port), "--ids-file", str(self.ids), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("port "), line
        self.port = int(line.split()[1])
        self.summary = None

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        out = self.process.communicate(timeout=PATIENCE_S)[0]
        assert self.process.returncode == 0, f"the sink ended with {self.process.returncode}"
        self.summary = json.loads(out)


def gateway(port, kind="smtp", **options):
    return Gateway(upstreams={"sink": {"kind": kind, "hosts": [f"127.0.0.1:{port}"], "tls": "none"}}, **options)


def bench(*arguments, code=0):
    r = subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S * 3)
    assert r.returncode == code, f"{arguments}: exit code {r.returncode}, expected {code}\n{r.stdout}{r.stderr}"
    return r


def submit(g, sink, *options, code=0):
    secret = g.dir / "secret"
    secret.write_text(PASSWORD + "\n")
    report = g.dir / "report.json"
    port = g.port_starttls if "--starttls" in options else g.port_tls
    bench("submit", "--port", port, "--user", USER, "--password-file", secret, "--from", USER,
          "--to", "somebody@example.net", "--sink-ids", sink.ids, "--parallel", 8, "--timeout", PATIENCE_S,
          "--server-pid", g.process.pid, "--json", report, *options, code=code)
    return json.loads(report.read_text())


def check_accounting(report, **expected):
    got = {k: report["accounting"][k] for k in expected}
    assert got == expected, f"{got}, expected {expected}"
