# SPDX-License-Identifier: ISC
"""The sink as a bad next hop: it delays, defers, refuses, hangs up; every promise is kept or bounced all the same."""
import socket

from bench_support import Sink, bench, check_accounting, gateway, submit
from harness import PATIENCE_S, free_ports, run, scratch_folder


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


def test_replies_of_a_batch_leave_in_one_send():
    rounds, content = 20, b"Subject: x\r\n\r\nbody\r\n"
    batch = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nBDAT %d LAST\r\n%s" % (len(content), content)
    with scratch_folder() as folder, Sink(folder, "--chunking") as sink:
        with socket.create_connection(("127.0.0.1", sink.port), PATIENCE_S) as s, s.makefile("rb") as replies:
            assert replies.readline().startswith(b"220")
            for _ in range(rounds):
                s.sendall(batch)
                assert [replies.readline()[:3] for _ in range(3)] == [b"250"] * 3
            s.sendall(b"QUIT\r\n")
            assert replies.readline().startswith(b"221") and replies.readline() == b""
    # The greeting, the batches, the 221. A message without an id of ours is a stranger.
    assert sink.summary["sends"] == rounds + 2 and sink.summary["strangers"] == rounds, sink.summary


def test_wrong_rules_are_refused():
    for rules in ("rcpt", "rcpt:reject:200%", "mail:defer:*@x.example"):
        assert "STAGE:ACTION:WHEN" in bench("sink", "--behave", rules, code=2).stderr


if __name__ == "__main__":
    run(globals())
