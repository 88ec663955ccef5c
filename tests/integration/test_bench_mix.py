# SPDX-License-Identifier: ISC
"""Scenarios of many kinds of clients: each ends as its class is meant to, and every promise is kept."""
import json

from bench_support import Sink, bench, check_accounting, gateway
from harness import PASSWORD, PATIENCE_S, SOURCE, free_ports, run

USERS = {f"user{i}@example.org": PASSWORD for i in range(3)}


def play(g, sink, scenario, *options, code=0):
    users, report = g.dir / "bench-users", g.dir / "mix.json"
    users.write_text("".join(f"{name}:{password}\n" for name, password in USERS.items()))
    r = bench("mix", "--scenario", scenario, "--port", g.port_tls, "--users-file", users, "--to",
              "somebody@example.net",
              "--sink-ids", sink.ids, "--timeout", PATIENCE_S, "--json", report, "--seed", 11, *options, code=code)
    return json.loads(report.read_text()), r



# A busy machine may need longer for the first logins (password hashes are slow on purpose) than a short play lasts.
DURATIONS = (6, 20, 60)


def check_mix(report, stderr):
    """The classes by name; every session has ended as it should, and every promise was kept."""
    classes = {c["name"]: c for c in report["classes"]}
    assert set(classes) == {"phone", "bulk", "open", "guesser", "slow", "hangup-in-data", "hangup-after-login",
                            "hangup-after-greeting"}, classes
    for name, c in classes.items():
        assert c["wrong"] == c["dropped"] == 0 and c["as_expected"] == c["sessions"], (name, c, stderr)
    for name in ("open", "guesser", "hangup-in-data", "hangup-after-login", "hangup-after-greeting"):
        assert classes[name]["messages"] == 0, classes[name]
    accepted = sum(c["messages"] for c in classes.values())
    check_accounting(report, accepted=accepted, received=accepted, lost=0, duplicated=0, misdirected=0, unpromised=0)
    return classes


def test_a_mix_ends_as_it_is_meant_to():
    ports = free_ports(1)
    with gateway(ports[0], users=USERS) as g, Sink(g.dir, "--chunking", port=ports[0]) as sink:
        for duration in DURATIONS:
            report, r = play(g, sink, SOURCE / "bench/scenarios/test.mix", "--duration", duration, "--server-pid",
                             g.process.pid)
            classes = check_mix(report, r.stderr)
            senders = [classes[name] for name in ("phone", "bulk", "slow")]
            if all(c["sessions"] for c in classes.values()) and all(c["messages"] for c in senders) and \
                    report["tls"]["handshakes_resumed"] and report["accounting"]["refused"]:
                break
        else:
            raise AssertionError(f"some class never got so far: {classes}")
        assert all(c["message_p99_us"] > 0 for c in senders) and report["samples"], senders


def test_what_is_not_meant_to_be_fails_the_run():
    ports = free_ports(1)
    with gateway(ports[0], users=USERS) as g, Sink(g.dir, port=ports[0]) as sink:
        scenario = g.dir / "wrong.mix"
        # Such a sender is refused, which no class expects.
        scenario.write_text("[phone]\nrate = 5\n")
        for duration in DURATIONS:
            report, r = play(g, sink, scenario, "--duration", duration, "--from", "not an address", code=1)
            assert report["is_good"] is False
            if report["classes"][0]["wrong"] > 0:
                break
        assert "phone: at MAIL" in r.stderr, r.stderr


def test_mistakes_in_a_scenario_are_named():
    with gateway(free_ports(1)[0], start=False) as g:
        scenario, secret = g.dir / "bad.mix", g.dir / "secret"
        secret.write_text("x\n")
        arguments = ["mix", "--port", 1, "--duration", 1, "--to", "a@b", "--user", "u", "--password-file", secret]
        scenario.write_text("[phone]\nrate = many\n")
        assert "line 2: rate takes sessions a second" in bench(*arguments, "--scenario", scenario, code=2).stderr
        assert "No such file" in bench(*arguments, "--scenario", g.dir / "none", code=2).stderr
        assert "--scenario" in bench(*arguments, code=2).stderr
        assert bench("mix", "--help").stdout


if __name__ == "__main__":
    run(globals())
