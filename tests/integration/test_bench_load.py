# SPDX-License-Identifier: ISC
"""The load generator's ways to be many kinds of client: TLS offers, resumption, sizes, users, pipelining, open loop."""
import json
import pathlib
import subprocess
import tempfile

from bench_support import BENCH, Sink, bench, check_accounting, gateway, submit
from harness import PASSWORD, PATIENCE_S, USER, free_ports, make_certificate, run


def handshakes(g, *options, code=0, port=None):
    report = g.dir / "handshakes.json"
    r = bench("handshake", "--port", port or g.port_tls, "--connections", 30, "--parallel", 5,
              "--timeout", PATIENCE_S, "--json", report, *options, code=code)
    return json.loads(report.read_text()) if report.exists() else None, r


def test_tls_offers_are_what_is_negotiated():
    with tempfile.TemporaryDirectory() as d:
        pair = [make_certificate(pathlib.Path(d), "e"), make_certificate(pathlib.Path(d), "r", key="rsa")]
        pathlib.Path(d).chmod(0o755)
        with gateway(free_ports(1)[0], certificates=pair) as g:
            for options, version, signature, group in (
                    (("--tls", "1.2", "--certificate", "rsa"), 0x0303, "rsa_pss_rsae_sha256", "x25519"),
                    (("--tls", "1.3", "--certificate", "ecdsa"), 0x0304, "ecdsa_secp256r1_sha256", "x25519"),
                    (("--groups", "secp384r1", "--starttls"), 0x0304, "ecdsa_secp256r1_sha256", "secp384r1")):
                port = g.port_starttls if "--starttls" in options else g.port_tls
                result, r = handshakes(g, *options, port=port)
                tls = result["tls"]
                assert (tls["version"], tls["signature"], tls["group"]) == (version, signature, group), tls
                assert tls["negotiated"][0]["count"] == 30 == tls["handshakes_full"] and signature in r.stdout, tls


def test_resumed_handshakes_are_counted():
    with gateway(free_ports(1)[0]) as g:
        for version in ("1.2", "1.3"):
            for port in (g.port_tls, g.port_starttls):
                starttls = ("--starttls",) if port == g.port_starttls else ()
                # On 587 the tickets of TLS 1.3 come with the second EHLO's reply.
                result, _ = handshakes(g, "--resume", "--tls", version, *starttls, port=port)
                tls = result["tls"]
                assert tls["handshakes_resumed"] == 30 and tls["handshakes_full"] == 0, tls
        assert g.counter("session", "handshakes_resumed") >= 120


def test_a_run_that_does_not_resume_fails():
    with gateway(free_ports(1)[0], sections={"tls": {"tickets": False}}) as g:
        _, r = handshakes(g, "--resume", code=1)
        assert "no session tickets" in r.stderr, r.stderr


def test_sizes_recipients_and_users():
    ports = free_ports(1)
    names = {f"user{i}@example.org": f"secret number {i}" for i in range(4)}
    with gateway(ports[0], users=names) as g, Sink(g.dir, "--chunking", port=ports[0]) as sink:
        users = g.dir / "bench-users"
        users.write_text("# four of them\n" + "".join(f"{n}:{p}\n" for n, p in names.items()))
        report = g.dir / "report.json"
        for count, options in ((24, ("--size", "1K-32K", "--auth", "scram-sha-256")),
                               (24, ("--size", "lognormal:4K:1", "--auth", "login", "--recipients", 5)),
                               (24, ("--size", "2K*3,40K*1", "--auth", "plain", "--chunking", "--recipients", 3,
                                     "--messages-per-connection", 6, "--resume-share", 50))):
            bench("submit", "--port", g.port_tls, "--users-file", users, "--to", "somebody@example.net",
                  "--messages", count, "--sink-ids", sink.ids, "--parallel", 4, "--timeout", PATIENCE_S,
"--json", report, *options)
            result = json.loads(report.read_text())
            check_accounting(result, sent=count, accepted=count, received=count, lost=0, duplicated=0, misdirected=0,
                             corrupt=0)
        assert 0 < result["tls"]["handshakes_resumed"] < result["connections"], result["tls"]
    assert sink.summary["recipients"] == 24 + 24 * 5 + 24 * 3 and sink.summary["strangers"] == 0, sink.summary


def test_wrong_password_with_scram_is_refused():
    with gateway(free_ports(1)[0]) as g:
        secret = g.dir / "wrong"
        secret.write_text("not the password\n")
        r = bench("submit", "--port", g.port_tls, "--user", USER, "--password-file", secret, "--from", USER,
                  "--to", USER, "--messages", 2, "--parallel", 1, "--auth", "scram-sha-256", "--timeout",
PATIENCE_S, code=1)
        assert "535" in r.stderr and "at AUTH" in r.stdout, r.stdout + r.stderr


def test_messages_go_back_to_back_or_in_lock_step():
    ports = free_ports(1)
    with gateway(ports[0]) as g, Sink(g.dir, "--chunking", port=ports[0]) as sink:
        for options in ((), ("--chunking",), ("--chunking", "--depth", 16), ("--pipelining", "no"),
                        ("--pipelining", "no", "--chunking"), ("--size", "150K", "--chunking")):
            report = submit(g, sink, "--messages", 80, "--messages-per-connection", 20, *options)
            check_accounting(report, sent=80, accepted=80, distinct_replies=80, received=80, lost=0, duplicated=0)
            assert report["connections"] >= 4


def test_samples_loops_and_histogram_are_reported():
    ports = free_ports(1)
    with gateway(ports[0]) as g, Sink(g.dir, port=ports[0]) as sink:
        report = submit(g, sink, "--duration", 1, "--control-socket", g.control)
        assert len(report["samples"]) >= 5, report["samples"]
        times = [s["t_ms"] for s in report["samples"]]
        assert times == sorted(times) and report["samples"][-1]["server_cpu_us"] > 0
        assert report["samples"][-1]["server_rss_bytes"] > 0
        assert sum(count for _, count in report["latency_histogram"]) == report["operations"]
        assert sum(l["handshakes"] for l in report["loops"]) == report["connections"], report["loops"]
        assert report["loops_max_over_mean"] >= 1 and sum(l["enters"] for l in report["loops"]) > 0
        records = report["records"]
        assert records.pop("sessions") == report["connections"] == sum(records.values()), records
        assert report["server"]["pss_bytes"] > 0 and report["config"]["port"] == g.port_tls


def test_open_loop_follows_the_schedule():
    ports = free_ports(1)
    with gateway(ports[0]) as g, Sink(g.dir, port=ports[0]) as sink:
        for arrivals in ("constant", "poisson"):
            report = submit(g, sink, "--rate", 100, "--arrivals", arrivals, "--messages", 60, "--seed", 7)
            check_accounting(report, sent=60, accepted=60, received=60, lost=0, duplicated=0)
            loop = report["open_loop"]
            assert loop["scheduled"] == loop["started"] == 60 and loop["dropped"] == loop["unstarted"] == 0, loop
            # 60 of 100 a second: however slow the machine, no sooner than the schedule says.
            assert report["wall_s"] > (0.55 if arrivals == "constant" else 0.2), report["wall_s"]
        report = submit(g, sink, "--rate", 60, "--duration", 1, "--messages-per-connection", 10)
        assert report["operations"] == report["open_loop"]["scheduled"], report["open_loop"]


def test_what_finds_no_slot_is_counted_and_its_latency_shows():
    ports = free_ports(1)
    with gateway(ports[0]) as g, Sink(g.dir, port=ports[0]) as sink:
        # One slot, and arrivals that come all but at once: most find the queue full.
        report = submit(g, sink, "--rate", 20000, "--arrivals", "constant", "--messages", 400, "--parallel", 1,
                        "--arrivals-max", 10)
        loop = report["open_loop"]
        assert loop["scheduled"] == 400 and loop["due_longest"] == 10 and loop["dropped"] > 0, loop
        assert loop["started"] + loop["dropped"] + loop["unstarted"] == 400, loop
        check_accounting(report, sent=loop["started"], lost=0, duplicated=0)
        # The second one waited for the first: its time counts from when it should have begun.
        assert report["latency_us"]["max"] > loop["lateness_p50_us"] > 0


def test_a_sweep_reports_its_steps_and_overload_counts_refusals():
    with gateway(free_ports(1)[0], sections={"limits": {"sessions_max": 4, "handshakes_max": 4}}) as g:
        report = g.dir / "sweep.json"
        bench("handshake", "--port", g.port_tls, "--rate-sweep", "5-10", "--step", "0.5", "--p99-max-ms", 60000,
              "--arrivals", "constant", "--parallel", 2, "--timeout", PATIENCE_S, "--json", report,
              "--server-pid", g.process.pid)
        result = json.loads(report.read_text())
        sweep = result["sweep"]
        assert sweep["knee_rate"] == 10 and [s["rate"] for s in sweep["steps"]] == [5, 10], sweep
        assert result["open_loop"]["rate"] == 10
        # Four idle sessions where no more may be: everybody else is refused, which is what overload is for.
        holders = [g.connect() for _ in range(4)]
        for w in holders:
            w.expect(220)
        bench("handshake", "--port", g.port_tls, "--rate", 50, "--overload", 2, "--duration", 1, "--parallel", 8,
              "--timeout", PATIENCE_S, "--json", report, code=1)
        result = json.loads(report.read_text())
        failures = sum(f["count"] for f in result["failures_by"])
        assert result["operations"] == 0 and failures == result["failures"] > 0, result["failures_by"]
        for w in holders[1:]:
            w.close()
        holders[0].close()


def test_idle_connections_are_held_and_weighed():
    with gateway(free_ports(1)[0]) as g:
        secret = g.dir / "secret"
        secret.write_text(PASSWORD + "\n")
        report = g.dir / "idle.json"
        arguments = ["idle", "--port", g.port_tls, "--user", USER, "--password-file", secret, "--parallel", 16,
                     "--timeout", PATIENCE_S, "--json", report, "--server-pid", g.process.pid]
        r = bench(*arguments, "--connections", 120, "--hold", 2, "--noop-interval", 1,
                  "--source-addresses", "127.0.3.1-127.0.3.3", "--control-socket", g.control)
        assert " of 120 sessions, user space " in r.stdout, r.stdout
        idle = json.loads(report.read_text())["idle"]
        assert idle["wanted"] == idle["held"] == 120 and idle["lost"] == 0 and idle["noop_replies"] > 100, idle
        assert idle["while_held"]["rss_bytes"] > 0 and "slab_bytes" in idle["machine_kernel_per_connection"], idle
        clients = {line["client"] for line in g.log_lines("session") if line.get("user")}
        assert clients == {"127.0.3.1", "127.0.3.2", "127.0.3.3"}, clients
        # More than files may be open: so many as can be, and it is said.
        r = subprocess.run(["sh", "-c", 'ulimit -n 100; exec "$@"', "sh", BENCH,
                            *map(str, arguments), "--connections", "120", "--hold", "0"],
                           capture_output=True, text=True, timeout=PATIENCE_S * 3)
        assert r.returncode == 0 and "allows 36 connections" in r.stderr, r.stdout + r.stderr
        assert json.loads(report.read_text())["idle"]["held"] == 36


if __name__ == "__main__":
    run(globals())
