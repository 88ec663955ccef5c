# SPDX-License-Identifier: ISC
"""Kernel TLS on this machine, whatever its kernel offers: what is said of it; `auto` serves, `on` insists."""
import subprocess

from harness import POSTERN, Gateway, message, run, until


def is_usable():
    text = subprocess.run([POSTERN, "--version"], capture_output=True, text=True, check=True).stdout
    line = next(l for l in text.splitlines() if l.startswith("  kernel tls"))
    return "not available" not in line


def submit(gateway, count=1):
    for implicit in (True, False):
        w = gateway.session(implicit)
        for _ in range(count):
            w.submit(message("over the kernel or not", "x" * 76 + "\r\n"))
        w.cmd("QUIT", 221)
        assert w.at_end()
        w.close()


def test_auto_serves_and_tells():
    with Gateway() as g:
        submit(g)
        g.wait_delivered(2)
        status = g.status()
        assert status["ktls"]["wanted"] and status["ktls"]["usable"] == is_usable(), status["ktls"]
        assert ("kernel TLS: " + status["ktls"]["text"]) in g.log_text(), "the line at the start"
        assert g.counter("ktls", "moved") == (2 if is_usable() else 0)
        assert status["ktls"]["text"] in g.command("status", "-s", str(g.control)).stdout


def test_off_is_off():
    with Gateway(sections={"tls": {"ktls": "off"}}) as g:
        submit(g)
        assert not g.status()["ktls"]["wanted"]
        assert g.counter("ktls", "moved") == 0
        assert "event=ktls" in g.log_text() and "switched off" in g.log_text()


def test_on_insists():
    if is_usable():
        with Gateway(sections={"tls": {"ktls": "on"}}) as g:
            submit(g)
            assert g.counter("ktls", "moved") == 2
        return
    g = Gateway(sections={"tls": {"ktls": "on"}}, start=False)
    g.start(wait=False)
    code = until(lambda: g.process.poll(), "the gateway refuses to start")
    assert code == 69, f"exit code {code}"
    assert "ktls = on" in g.log_text() and "modprobe tls" in g.log_text(), g.log_tail()


def test_check_judges_as_the_start_does():
    """`on` for all or for one listener is a mistake where the kernel has none; anything else is not."""
    cases = ((True, "on", "inherit"), (True, "off", "on"), (True, "auto", "on"), (False, "auto", "auto"),
             (False, "off", "inherit"))
    for insists, everywhere, listener in cases:
        with Gateway(sections={"tls": {"ktls": everywhere}}, start=False) as g:
            text = g.conf.read_text().replace("tls = implicit", f"tls = implicit\n\tktls = {listener}", 1)
            assert f"ktls = {listener}" in text
            g.conf.write_text(text)
            r = g.command("check", "-c", str(g.conf), check=False)
            if insists and not is_usable():
                assert r.returncode == 78, f"{everywhere}, {listener}: {r}"
                assert "ktls = on, but kernel TLS is not available" in r.stderr and "modprobe tls" in r.stderr, r.stderr
            else:
                assert r.returncode == 0 and "ktls" not in r.stderr, f"{everywhere}, {listener}: {r}"


if __name__ == "__main__":
    run(globals())
