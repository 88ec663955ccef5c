# SPDX-License-Identifier: ISC
"""The README's first command, as a newcomer runs it: options, a busy port, both upstream kinds, and both ways to stop it."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from harness import SOURCE, Skip, free_ports, need, run, until

QUICKSTART = str(SOURCE / "deploy/quickstart")
BUILD_PATIENCE_S = 900


def quickstart(*options, check=True):
    r = subprocess.run([QUICKSTART, *options], capture_output=True, text=True, timeout=BUILD_PATIENCE_S, stdin=subprocess.DEVNULL)
    if check and r.returncode != 0:
        raise AssertionError(f"quickstart ended with {r.returncode}\n{r.stdout}\n{r.stderr}")
    return r


def directory():
    path = pathlib.Path(tempfile.mkdtemp(prefix="pn-qs-"))
    path.chmod(0o755)
    return path


def port_options():
    a, b = free_ports(2)
    return ["--port-submissions", str(a), "--port-submission", str(b)]


def test_wrong_usage():
    assert "Usage: deploy/quickstart" in quickstart("--help").stdout
    for options in (["--nonsense"], ["--port-submission"], ["--port-submission", "x"], ["--port-submission", "70000"], ["--loops", "many"],
                    ["--upstream", "no-port"], ["--port-submission", "10999", "--port-submissions", "10999"]):
        r = quickstart(*options, check=False)
        assert r.returncode == 2 and "error" in r.stderr, (options, r.returncode, r.stderr)


def test_busy_port_is_told_before_the_build():
    s = socket.create_server(("127.0.0.1", 0))
    port = s.getsockname()[1]
    other = free_ports(1)[0]
    r = quickstart("--port-submissions", str(port), "--port-submission", str(other), check=False)
    assert r.returncode == 1 and f"port {port} is in use" in r.stderr and "building" not in r.stdout, r.stdout + r.stderr
    s.close()


def test_once_delivers_two_messages():
    path = directory()
    out = quickstart("--once", "--dir", str(path), "--loops", "1", *port_options()).stdout
    files = list((path / "maildir/new").iterdir())
    assert len(files) == 2 and all(str(f) in out for f in files), out
    text = "".join(f.read_text() for f in files)
    assert "Hello through submissions" in text and "Hello through submission (" in text and text.count(" with ESMTPSA id ") == 2
    assert re.search(r"^postern pid \d+$", out, re.M) and re.search(r"^ready$", out, re.M)
    credentials = path / "credentials"
    assert credentials.stat().st_mode & 0o777 == 0o600
    user, password = credentials.read_text().strip().split(":", 1)
    assert user == "demo@example.org" and password in out and len(password) >= 16
    assert password not in (path / "postern.log").read_text()
    # Again in the same place, now towards an SMTP server.
    need("smtp-sink")
    sink_port = free_ports(1)[0]
    sink = subprocess.Popen(["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{sink_port}", "100"] if os.geteuid() == 0 else
                            ["smtp-sink", "-c", f"127.0.0.1:{sink_port}", "100"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        out = quickstart("--once", "--dir", str(path), "--upstream", f"127.0.0.1:{sink_port}", *port_options()).stdout
        assert len(re.findall(r"event=delivery .*result=delivered", out)) == 2, out
        assert credentials.read_text() == f"{user}:{password}\n", "a second run changed the password"
    finally:
        sink.terminate()
        sink.wait()
    shutil.rmtree(path, ignore_errors=True)


def serve_and_stop(number):
    path = directory()
    process = subprocess.Popen([QUICKSTART, "--dir", str(path), *port_options()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               stdin=subprocess.DEVNULL, start_new_session=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")))
    reader.start()
    try:
        until(lambda: "ready\n" in lines or process.poll() is not None, "quickstart serves", BUILD_PATIENCE_S)
        assert "ready\n" in lines, "".join(lines)
        pid = int(next(l for l in lines if l.startswith("postern pid ")).split()[2])
        assert pathlib.Path(f"/proc/{pid}").exists()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as Ctrl-C on a terminal does
        else:
            process.send_signal(number)
        assert process.wait(60) == 0, "".join(lines)
        until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "the gateway is gone")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
        reader.join()
    assert any("stopped" in l for l in lines)
    shutil.rmtree(path, ignore_errors=True)


def test_ctrl_c_and_sigterm_end_it_cleanly():
    serve_and_stop(signal.SIGINT)
    serve_and_stop(signal.SIGTERM)


if __name__ == "__main__":
    run(globals())
