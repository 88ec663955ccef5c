# SPDX-License-Identifier: ISC
"""The load generator: its counts, its reports, and that its accounting notices what a next hop loses or doubles."""
import json
import os

from bench_support import Sink, bench, check_accounting, gateway, submit
from harness import PATIENCE_S, USER, Gateway, free_ports, run, until

KINDS = (
    (("--messages", 30), 30),
    (("--messages", 60, "--messages-per-connection", 10, "--starttls"), None),
    (("--messages", 40, "--messages-per-connection", 20, "--chunking", "--size", "200K"), None),
)


def test_every_message_is_accounted_for():
    ports = free_ports(1)
    with gateway(ports[0]) as g:
        with Sink(g.dir, "--chunking", port=ports[0]) as sink:
            for options, connections in KINDS:
                report = submit(g, sink, *options)
                n = options[1]
                check_accounting(report, sent=n, accepted=n, distinct_replies=n, received=n, lost=0, duplicated=0,
                                 corrupt=0, refused=0, doubtful=0)
                assert report["operations"] == n and report["failures"] == 0 and report["is_good"] is True
                assert connections in (None, report["connections"])
                assert report["server"]["cpu_us"] > 0 and report["server"]["processes"] == 2
                assert report["tls"]["version"] == 0x0304 and report["machine"]["kernel"]
                assert report["latency_us"]["max"] > 0
        for key in ("messages", "unique_ids", "recipients"):
            assert sink.summary[key] == 130, sink.summary
        assert sink.summary["errors"] == sink.summary["corrupt"] == sink.summary["strangers"] == 0, sink.summary


def test_a_lost_message_fails_the_run():
    ports = free_ports(1)
    with gateway(ports[0]) as g:
        with Sink(g.dir, "--lose", "2", port=ports[0]) as sink:
            report = submit(g, sink, "--messages", 20, "--sink-timeout", 3, code=1)
            check_accounting(report, accepted=20, received=18, lost=2, duplicated=0)
            assert report["is_good"] is False
        assert sink.summary["forgotten"] == 2 and sink.summary["unique_ids"] == 18


def test_a_duplicate_fails_the_run():
    ports = free_ports(1)
    with gateway(ports[0]) as g:
        with Sink(g.dir, "--duplicate", "1", port=ports[0]) as sink:
            check_accounting(submit(g, sink, "--messages", 10, code=1), accepted=10, received=10, lost=0, duplicated=1)
        assert sink.summary["duplicates"] == 1


def test_a_changed_body_is_noticed():
    """A message of another length than its CRC says, straight to the sink."""
    import smtplib
    with Gateway(start=False) as g, Sink(g.dir) as sink:
        with smtplib.SMTP("127.0.0.1", sink.port, timeout=PATIENCE_S) as c:
            # CRC-32C of "123456789" is e3069283 (RFC 3720 B.4 uses the same polynomial).
            head = "X: y\r\nX-Postern-Bench: 00000000000000ff-0000000%d e3069283\r\n\r\n"
            c.sendmail("a@example.org", ["b@example.org"], head % 1 + "123456789\r\n")
            c.sendmail("a@example.org", ["b@example.org"], "X: y\r\n\r\nnone of ours\r\n")
        until(lambda: "\n" in sink.ids.read_text(), "the id is written")
        assert sink.ids.read_text().startswith("00000000000000ff-00000001 ! 0001 "), sink.ids.read_text()
    got = [sink.summary[key] for key in ("corrupt", "strangers", "messages")]
    assert got == [1, 1, 2], sink.summary


def test_handshakes_are_counted_on_both_ports():
    with gateway(free_ports(1)[0]) as g:
        for port, extra in ((g.port_tls, ()), (g.port_starttls, ("--starttls",))):
            report = g.dir / "handshakes.json"
            r = bench("handshake", "--port", port, "--connections", 40, "--parallel", 8, "--timeout", PATIENCE_S,
                      "--progress", "--json", report, *extra)
            result = json.loads(report.read_text())
            assert result["operations"] == result["connections"] == 40 and result["tls"]["group"] == "x25519", result
            assert result["tls"]["resumed"] is False and "40 handshakes over 40 connections" in r.stdout, r.stdout
        assert g.counter("session", "handshakes_full") == 80 and g.counter("session", "handshakes_resumed") == 0
        bench("handshake", "--port", g.port_tls, "--duration", "0.3", "--parallel", 4)
        for path in ("/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpuacct/cpuacct.usage"):
            if os.access(path, os.R_OK):
                bench("handshake", "--port", g.port_tls, "--connections", 8, "--json", report,
                      "--server-cgroup", os.path.dirname(path))
                assert json.loads(report.read_text())["cgroup"]["cpu_us"] > 0


def test_a_refused_login_fails_the_run():
    ports = free_ports(1)
    with gateway(ports[0]) as g, Sink(g.dir, port=ports[0]) as sink:
        secret = g.dir / "wrong"
        secret.write_text("not the password\n")
        r = bench("submit", "--port", g.port_tls, "--user", USER, "--password-file", secret, "--from", USER,
                  "--to", USER, "--messages", 3, "--parallel", 1, "--timeout", PATIENCE_S, "--sink-ids", sink.ids,
                  code=1)
        assert "535" in r.stderr and "0 lost" in r.stdout, r.stdout + r.stderr


def test_a_dead_server_fails_the_run_soon():
    r = bench("handshake", "--port", free_ports(1)[0], "--connections", 1000, "--parallel", 4, "--failures-max", 5,
              code=1)
    assert "connect: Connection refused" in r.stderr and "too many failures" in r.stderr, r.stderr


def test_wrong_usage_is_refused():
    for arguments in (["nonsense"], ["handshake"], ["handshake", "--port", "70000"], ["handshake", "--port", "1"],
                      ["submit", "--port", "1", "--messages", "1"], ["handshake", "--wat"],
                      ["handshake", "--starttls=yes"], ["handshake", "--port"], ["sink", "--port", "x"],
                      ["handshake", "--port", "1", "--connections", "1", "--server-pid", str(2**22 + 1)]):
        assert bench(*arguments, code=2).stderr, arguments
    for arguments in (["--help"], ["--version"], ["handshake", "--help"], ["submit", "--help"], ["sink", "--help"]):
        assert bench(*arguments).stdout, arguments


if __name__ == "__main__":
    run(globals())
