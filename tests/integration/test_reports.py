# SPDX-License-Identifier: ISC
"""Delivery reports (RFC 3464): who hears of what, and who does not."""
import email
import email.policy
import re

from harness import USER, Gateway, free_ports, message, run, until
from sink import ALL, Sink


def hop(host, **keys):
    return {"kind": "smtp", "hosts": [host], "tls": "none", **keys}


LOCAL = {"kind": "maildir", "domains": ["example.org"]}


class Report:
    """A multipart/report, taken apart and checked for what every report must have."""

    def __init__(self, octets):
        self.octets = octets
        self.mail = m = email.message_from_bytes(octets, policy=email.policy.default)
        assert m.get_content_type() == "multipart/report" and m.get_param("report-type") == "delivery-status", octets
        assert m["To"] and m["From"] and m["Date"] and m["Message-ID"] and m["Subject"] and m["MIME-Version"] == "1.0"
        assert m["Auto-Submitted"].startswith("auto-"), m["Auto-Submitted"]
        assert octets.startswith(b"Return-Path: <>\n") or b"\nReturn-Path: <>\n" in octets.partition(b"\n\n")[0], octets
        parts = list(m.iter_parts())
        self.text = parts[0].get_content()
        assert parts[1].get_content_type() in ("message/delivery-status", "message/global-delivery-status"), octets
        # By hand: Python knows the groups of message/delivery-status only, not those of RFC 6533.
        body = re.search(rb"Content-Type: message/(?:global-)?delivery-status\n.*?\n\n(.*?)\n--", octets, re.S | re.I).group(1).decode()
        groups = [email.message_from_string(g) for g in body.strip("\n").split("\n\n")]
        self.fields, self.recipients = groups[0], groups[1:]
        assert self.fields["Reporting-MTA"] == "dns; mx.test.example", octets
        self.original = parts[2]

    def recipient(self, address):
        found = [r for r in self.recipients if r["Final-Recipient"].endswith("; " + address) or r["Final-Recipient"].endswith(";" + address)]
        assert len(found) == 1, self.octets
        return found[0]


def reports(gateway, count):
    return [Report(o) for o in gateway.wait_delivered(count).values()]


def send(gateway, to, name, mail_options=(), rcpt_options=(), sender=USER, extra="", body=b"Hello.\r\n"):
    with gateway.smtp() as c:
        c.ehlo_or_helo_if_needed()
        assert not c.sendmail(sender, to, message(name, "", extra, sender) + body, mail_options, rcpt_options)


def refuse(stage, argument, session):
    return "550 5.1.1 nobody here" if stage == "rcpt" and "never" in argument else None


def test_bounce_has_all_that_a_sender_needs():
    with Sink(refuse) as s, Gateway(upstreams={"s": hop(s.host), "local": LOCAL}) as g:
        send(g, ["never@example.net"], "first", ["ENVID=abc+2Bdef", "RET=FULL"], ["ORCPT=rfc822;was@example.com", "NOTIFY=FAILURE"], extra="X-Mine: yes\r\n", body=b"the whole text\r\n")
        r, = reports(g, 1)
        assert r.fields["Original-Envelope-Id"] == "abc+def" and r.fields["Arrival-Date"]
        never = r.recipient("never@example.net")
        assert never["Action"] == "failed" and never["Status"] == "5.1.1" and never["Original-Recipient"] == "rfc822;was@example.com", r.octets
        assert never["Diagnostic-Code"].startswith("smtp; 550") and "nobody here" in never["Diagnostic-Code"] and never["Remote-MTA"]
        assert "never@example.net" in r.text and r.original.get_content_type() == "message/rfc822" and b"the whole text" in r.octets and b"X-Mine: yes" in r.octets
        assert r.mail["To"] == USER or r.mail["To"] == f"<{USER}>"
        # RET=HDRS: only the header comes back.
        send(g, ["never@example.net"], "second", ["RET=HDRS"], [], body=b"secret text\r\n")
        second = [x for x in reports(g, 2) if b"Subject: second" in x.octets][0]
        assert b"secret text" not in second.octets and second.original.get_content_type() in ("text/rfc822-headers", "message/global-headers")
        g.wait_queue_empty()


def test_no_bounce_for_notify_never_and_for_the_empty_sender():
    with Sink(refuse) as s, Gateway(upstreams={"s": hop(s.host), "local": LOCAL}) as g:
        send(g, ["never@example.net"], "quiet", [], ["NOTIFY=NEVER"])
        send(g, ["never@example.net"], "success-only", [], ["NOTIFY=SUCCESS"])
        send(g, ["never@example.net"], "null", sender="")
        until(lambda: len(g.log_lines("delivery", result="bounced")) == 3, "three refusals")
        g.wait_queue_empty()
        send(g, ["never@example.net"], "loud")
        r, = reports(g, 1)
        assert b"Subject: loud" in r.octets
        g.wait_queue_empty()
        assert len(g.delivered()) == 1


def test_success_reports_of_the_maildir():
    with Gateway(upstreams={"local": {"kind": "maildir"}}) as g:
        send(g, ["friend@example.net"], "asked", ["ENVID=e1"], ["NOTIFY=SUCCESS"])
        send(g, ["friend@example.net"], "not-asked", [], ["NOTIFY=FAILURE,DELAY"])
        until(lambda: len(g.delivered()) == 3, "two messages and a report")
        g.wait_queue_empty()
        r, = [Report(o) for o in g.delivered().values() if b"multipart/report" in o]
        assert r.recipient("friend@example.net")["Action"] == "delivered" and r.recipient("friend@example.net")["Status"].startswith("2.")
        assert r.fields["Original-Envelope-Id"] == "e1" and b"Hello." not in r.octets


def test_relayed_report_where_the_next_hop_has_no_dsn():
    with Sink(offers=[o for o in ALL if o != "DSN"], keep_parameters=True) as old, Sink(keep_parameters=True) as new:
        with Gateway(upstreams={"old": hop(old.host, domains=["old.example"]), "new": hop(new.host), "local": LOCAL}) as g:
            send(g, ["a@old.example", "b@new.example"], "asked", ["ENVID=e2", "RET=HDRS"], ["NOTIFY=SUCCESS,FAILURE"])
            send(g, ["a@old.example"], "not-asked")
            r, = reports(g, 1)
            g.wait_queue_empty()
            assert len(g.delivered()) == 1 and r.recipient("a@old.example")["Action"] == "relayed" and len(r.recipients) == 1
            mail, rcpt = new.messages[0]["mail"], new.messages[0]["rcpts"][0]
            assert "ENVID=e2" in mail and "RET=HDRS" in mail and "NOTIFY=SUCCESS,FAILURE" in rcpt, (mail, rcpt)
            assert "ENVID" not in old.messages[0]["mail"] and "NOTIFY" not in old.messages[0]["rcpts"][0]


def test_what_the_next_hop_cannot_take_bounces():
    """No down-conversion: 5.6.3 without 8BITMIME, 5.6.7 without SMTPUTF8; what needs neither goes through."""
    with Sink(offers=("PIPELINING", "DSN")) as seven, Sink(offers=("PIPELINING", "DSN", "8BITMIME")) as s, \
         Gateway(upstreams={"seven": hop(seven.host, domains=["seven.example"]), "s": hop(s.host), "local": LOCAL}) as g:
        send(g, ["a@seven.example"], "eight", ["BODY=8BITMIME"], body="grün\r\n".encode())
        send(g, ["a@seven.example"], "flag-only", ["BODY=8BITMIME"])
        send(g, ["bj\u00f6rn@example.net"], "address", ["SMTPUTF8", "BODY=8BITMIME"])
        send(g, ["a@example.net"], "header", ["SMTPUTF8", "BODY=8BITMIME"], extra="X-Name: Bj\u00f6rn\r\n")
        send(g, ["a@example.net"], "utf8-flag-only", ["SMTPUTF8"])
        found = {}
        for r in reports(g, 3):
            name = re.search(rb"^Subject: (eight|address|header)$", r.octets, re.M).group(1).decode()
            found[name] = r.recipients[0]["Status"]
        assert found == {"eight": "5.6.3", "address": "5.6.7", "header": "5.6.7"}, found
        g.wait_queue_empty()
        assert seven.subjects() == ["flag-only"] and s.subjects() == ["utf8-flag-only"]
        assert not any("SMTPUTF8" in m["mail"] or "8BITMIME" in m["mail"] for m in seven.messages + s.messages)


def test_expiry_bounces_and_a_delay_is_told_first():
    dead = free_ports(1)[0]
    retry = {"first_s": 1, "max_s": 1, "lifetime_s": 6, "delay_notice_s": 2}
    with Gateway({"retry": retry}, upstreams={"dead": hop(f"127.0.0.1:{dead}"), "local": LOCAL}) as g:
        send(g, ["late@example.net"], "expires")
        send(g, ["late@example.net"], "expires-in-silence", [], ["NOTIFY=NEVER"])
        send(g, ["late@example.net"], "no-delay-wanted", [], ["NOTIFY=FAILURE"])
        found = reports(g, 3)
        g.wait_queue_empty()
        actions = sorted((re.search(rb"^Subject: (\S*expires|no-delay\S*)$", r.octets, re.M).group(1).decode(), r.recipient("late@example.net")["Action"]) for r in found)
        assert actions == [("expires", "delayed"), ("expires", "failed"), ("no-delay-wanted", "failed")], actions
        for r in found:
            status = r.recipients[0]["Status"]
            if r.recipients[0]["Action"] == "delayed":
                assert status.startswith("4.") and r.recipients[0]["Will-Retry-Until"], r.octets
            else:
                assert re.fullmatch(r"[45]\.4\.[17]", status), r.octets
        assert len(g.delivered()) == 3


def test_a_bounce_that_bounces_ends_there():
    """The sender's own hop refuses the report: it is given up, not reported again."""
    with Sink(refuse) as s, Sink(lambda stage, *_: "550 5.7.1 no" if stage == "rcpt" else None) as home:
        with Gateway(upstreams={"s": hop(s.host), "home": hop(home.host, domains=["example.org"])}) as g:
            send(g, ["never@example.net"], "double")
            g.wait_queue_empty()
            assert [l["result"] for l in g.log_lines("bounce")] == ["queued", "dropped"] and not home.messages and not s.messages


def test_many_refused_recipients_make_one_report():
    with Sink(refuse) as s, Gateway(upstreams={"s": hop(s.host), "local": LOCAL}) as g:
        send(g, [f"never{i}@example.net" for i in range(60)] + ["fine@example.net"], "many")
        until(lambda: s.messages, "the good one is delivered")
        g.wait_queue_empty()
        found = reports(g, 1)
        assert sum(len(r.recipients) for r in found) == 60 and len({x["Final-Recipient"] for r in found for x in r.recipients}) == 60
        assert len(found) <= 2, len(found)


if __name__ == "__main__":
    run(globals())
