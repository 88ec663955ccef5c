# SPDX-License-Identifier: ISC
"""The sink as a bad next hop: it delays, defers, refuses, hangs up; every promise is kept or bounced all the same."""
from bench_support import Sink, bench, check_accounting, gateway, submit
from harness import free_ports, run


def check(rules, messages=40, kind="smtp", wants=(), sink_options=(), **expected):
    ports = free_ports(1)
    with gateway(ports[0], kind=kind) as g:
        lmtp = ("--lmtp",) if kind == "lmtp" else ()
        with Sink(g.dir, "--chunking", "--behave", rules, *lmtp, *sink_options, port=ports[0]) as sink:
            report = submit(g, sink, "--messages", messages, "--messages-per-connection", 5, "--recipients", 4,
                            "--sink-timeout", 60)
            check_accounting(report, sent=messages, accepted=messages, lost=0, duplicated=0, misdirected=0, corrupt=0,
                             unpromised=0, **expected)
    for name in wants:
        assert sink.summary["behaved"].get(name, 0) > 0, sink.summary
    return report, sink.summary


def test_deferred_messages_arrive_in_the_end():
    check("rcpt:defer:20%,dot:defer:20%,mail:defer:5%", bounced=0, received=40,
          wants=("rcpt:defer", "dot:defer", "mail:defer"))


def test_a_next_hop_that_hangs_up_loses_and_doubles_nothing():
    check("connect:hangup:5%,mail:hangup:3%,data:hangup:5%,dot:hangup:5%", messages=60, bounced=0, received=60,
          wants=("data:hangup", "dot:hangup"))


def test_refused_recipients_are_bounced():
    report, summary = check("rcpt:reject:*+2@*,dot:delay=50:30%", bounced=40, received=40,
                            wants=("rcpt:reject", "dot:delay"))
    assert summary["recipients"] == 3 * 40 and summary["reports"] >= 40, summary


def test_refused_messages_are_bounced_whole():
    check("data:reject:30%", messages=30, wants=("data:reject",))


def test_lmtp_answers_for_each_recipient():
    _, summary = check("dot:reject:*+1@*,dot:defer:10%", kind="lmtp", bounced=40, received=40,
                       wants=("dot:reject", "dot:defer"))
    assert summary["recipients"] == 3 * 40, summary


def test_wrong_rules_are_refused():
    for rules in ("rcpt", "rcpt:reject:200%", "mail:defer:*@x.example"):
        assert "STAGE:ACTION:WHEN" in bench("sink", "--behave", rules, code=2).stderr


if __name__ == "__main__":
    run(globals())
