# SPDX-License-Identifier: ISC
"""
The way to the next hop: a real Postfix, Postfix's smtp-sink, and scripted servers. What was promised arrives, however the next hop fails.
"""
import contextlib
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from harness import PATIENCE_S, USER, Gateway, Skip, free_ports, make_certificate, message, need, run, until
from sink import ALL, CLOSE, CUT, HANG, Sink, subject

FAST = {"connect_timeout_s": 2, "command_timeout_s": 2, "data_timeout_s": 2, "final_reply_timeout_s": 2}


def upstream(host, tls="none", **keys):
    return {"kind": "smtp", "hosts": [host] if isinstance(host, str) else host, "tls": tls, **keys}


class Postfix:
    """A Postfix of its own: directories, ports (25-like and smtps-like), a Maildir for mail.example and example.org."""

    def __init__(self, directory, certificate=None, **main):
        need("postfix")
        if os.geteuid() != 0:
            raise Skip("Postfix needs root")
        self.dir = pathlib.Path(directory) / "postfix"
        self.conf = self.dir / "conf"
        self.port, self.smtps = free_ports(2)
        self.host, self.smtps_host = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.smtps}"
        self.box = self.dir / "mail" / "box"
        self.log = self.dir / "mail.log"
        for d in (self.conf, self.dir / "queue", self.dir / "data", self.dir / "mail"):
            d.mkdir(parents=True)
        for d, user in ((self.dir / "data", "postfix"), (self.dir / "mail", "nobody")):
            os.chown(d, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        nobody = pwd.getpwnam("nobody")
        keys = {"compatibility_level": "3.6", "queue_directory": self.dir / "queue", "data_directory": self.dir / "data", "myhostname": "postfix.test.example",
                "mydestination": "", "mynetworks": "127.0.0.0/8", "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "alias_maps": "", "alias_database": "",
                "local_recipient_maps": "", "relay_domains": "", "virtual_mailbox_domains": "mail.example, example.org", "virtual_mailbox_base": self.dir / "mail",
                "virtual_mailbox_maps": "static:box/", "virtual_uid_maps": f"static:{nobody.pw_uid}", "virtual_gid_maps": f"static:{nobody.pw_gid}",
                "maillog_file": self.log, "maillog_file_prefixes": self.dir, "smtputf8_enable": "yes", "smtputf8_autodetect_classes": "all",
                "smtpd_recipient_restrictions": "permit_mynetworks, reject", "message_size_limit": 30000000, "virtual_mailbox_limit": 0, "virtual_minimum_uid": 100,
                "smtpd_delay_reject": "yes", "append_dot_mydomain": "no", "biff": "no", **main}
        if certificate:
            keys.update({"smtpd_tls_chain_files": f"{certificate[1]}, {certificate[0]}", "smtpd_tls_security_level": "may", "smtpd_tls_received_header": "yes"})
        (self.conf / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in keys.items()))
        services = [f"127.0.0.1:{self.port} inet n - n - - smtpd", "pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 300 1 qmgr",
                    "tlsmgr unix - - n 1000? 1 tlsmgr", "rewrite unix - - n - - trivial-rewrite", "bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce",
                    "trace unix - - n - 0 bounce", "verify unix - - n - 1 verify", "flush unix n - n 1000? 0 flush", "proxymap unix - - n - - proxymap",
                    "smtp unix - - n - - smtp", "relay unix - - n - - smtp", "showq unix n - n - - showq", "error unix - - n - - error", "retry unix - - n - - error",
                    "discard unix - - n - - discard", "local unix - n n - - local", "virtual unix - n n - - virtual", "lmtp unix - - n - - lmtp",
                    "anvil unix - - n - 1 anvil", "scache unix - - n - 1 scache", "postlog unix-dgram n - n - 1 postlogd"]
        if certificate:
            services.append(f"127.0.0.1:{self.smtps} inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes")
        (self.conf / "master.cf").write_text("\n".join(services) + "\n")
        for p in (self.dir, self.conf, pathlib.Path(directory)):
            p.chmod(0o755)

    def __enter__(self):
        r = subprocess.run(["postfix", "-c", str(self.conf), "start"], capture_output=True, text=True, timeout=PATIENCE_S)
        if r.returncode != 0:
            raise AssertionError(f"Postfix does not start: {r.stdout}{r.stderr}{self.log.read_text() if self.log.exists() else ''}")
        def listening():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as s:
                return s.recv(3) == b"220"
        until(listening, "Postfix listens")
        return self

    def __exit__(self, kind, value, trace):
        subprocess.run(["postfix", "-c", str(self.conf), "stop"], capture_output=True, timeout=PATIENCE_S)
        if kind:
            print("--- Postfix log\n" + "\n".join(self.log.read_text().splitlines()[-30:]))

    def mails(self):
        new = self.box / "new"
        return [p.read_bytes() for p in new.iterdir()] if new.is_dir() else []

    def find(self, text):
        return [m for m in self.mails() if text.encode() in m]

    def wait_find(self, text):
        return until(lambda: self.find(text), f"{text} is in Postfix's Maildir")[0]


@contextlib.contextmanager
def scratch():
    directory = tempfile.mkdtemp(prefix="pn-up-")
    os.chmod(directory, 0o755)
    try:
        yield pathlib.Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


BODY = b"".join([b"plain\r\n", "ünïcödé 8-bit\r\n".encode(), b".\r\n", b"..two\r\n", b".dot at the start\r\n", b"x" * 990 + b"\r\n", b"From the start of a line\r\n", b"\r\n" * 3,
                 bytes(range(0x80, 0x100)) + b"\r\n", b" trailing blanks  \t\r\n", b"end\r\n"])


def send(gateway, to, name, body=b"Hello.\r\n", mail_options=(), rcpt_options=(), sender=USER, extra="", implicit=True):
    with gateway.smtp(implicit) as c:
        c.ehlo_or_helo_if_needed()
        refused = c.sendmail(sender, to, message(name, "", extra, sender, USER) + body, mail_options, rcpt_options)
        assert not refused, refused


def test_postfix_all_kinds_of_tls():
    with scratch() as d:
        own = make_certificate(d, "postfix", names=("mx.postfix.example",))
        other = make_certificate(d, "other", names=("mx.postfix.example",))
        with Postfix(d, own) as p:
            ca, name = str(own[0]), "mx.postfix.example"
            hops = {
                "plain": upstream(p.host, domains=["plain.example"]),
                "opportunistic": upstream(p.host, "opportunistic", verify=False, domains=["opportunistic.example"]),
                "starttls": upstream(p.host, "starttls", ca_file=ca, verify_name=name, domains=["starttls.example"]),
                "implicit": upstream(p.smtps_host, "implicit", ca_file=ca, verify_name=name, domains=["implicit.example"], chunking=True),
                "wrong-name": upstream(p.host, "starttls", ca_file=ca, verify_name="mx.other.example", domains=["wrong-name.example"]),
                "wrong-ca": upstream(p.smtps_host, "implicit", ca_file=str(other[0]), verify_name=name, domains=["wrong-ca.example"]),
                "default": upstream(p.host),
            }
            (p.conf / "main.cf").open("a").write("virtual_mailbox_domains = static:yes\n")
            with Gateway(upstreams=hops) as g:
                for hop in hops:
                    if hop != "default":
                        send(g, [f"box@{hop}.example"], f"mark-{hop}", BODY, ["BODY=8BITMIME"])
                for hop, verified in (("plain", None), ("opportunistic", "no"), ("starttls", "yes"), ("implicit", "yes")):
                    got = p.wait_find(f"Subject: mark-{hop}\n")
                    assert got.partition(b"\n\n")[2] == BODY.replace(b"\r\n", b"\n"), f"{hop}: the content differs"
                    assert b"Received: from localhost" in got or b"by mx.test.example" in got
                    line = until(lambda: g.log_lines("delivery", upstream=hop), "a delivery line")[0]
                    assert line["result"] == "delivered" and line.get("verified") == verified and ("tls" in line) == (verified is not None), line
                for hop in ("wrong-name", "wrong-ca"):
                    line = until(lambda: g.log_lines("delivery", upstream=hop), "a deferral")[0]
                    assert line["result"] == "deferred", line
                    assert not p.find(f"mark-{hop}"), "delivered to a server that was not verified"
                ids = {m["id"]: m for m in g.queue()}
                assert len(ids) == 2 and all(m["state"] == "deferred" for m in ids.values()), ids
                for i in ids:
                    g.command("queue", "remove", "-s", str(g.control), i)


def test_postfix_takes_dsn_smtputf8_and_size():
    with scratch() as d, Postfix(d) as p, Gateway(upstreams={"postfix": upstream(p.host)}) as g:
        send(g, ["ok@mail.example"], "dsn", mail_options=["ENVID=QQ314159+2Bx", "RET=HDRS"], rcpt_options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first+2Bname@elsewhere.example"])
        p.wait_find("Subject: dsn\n")
        report = p.wait_find("Action: delivered")
        assert b"Original-Envelope-Id: QQ314159+x" in report and b"Original-Recipient: rfc822;first+name@elsewhere.example" in report, report.decode()
        assert b"To: " + USER.encode() in report and report.count(b"Hello.") == 0, report.decode()
        send(g, ["quiet@mail.example"], "no-dsn")
        send(g, ["bj\u00f6rn@mail.example"], "utf8", mail_options=["SMTPUTF8", "BODY=8BITMIME"], extra="X-Name: Bj\u00f6rn\r\n")
        got = p.wait_find("Subject: utf8\n")
        assert "X-Name: Björn\n".encode() in got and "bj\u00f6rn@mail.example".encode() in got
        p.wait_find("Subject: no-dsn\n")
        # Larger than the next hop's SIZE limit: a bounce, without sending 31 MB there first.
        big = (b"y" * 998 + b"\r\n") * 31000
        with g.smtp() as c:
            c.sendmail(USER, ["big@mail.example"], message("too-big") + big)
        bounce = p.wait_find("Action: failed")
        assert b"Status: 5.3.4" in bounce and b"big@mail.example" in bounce and b"y" * 998 not in bounce
        g.wait_queue_empty()
        assert len(p.find("Action: ")) == 2, "a report that nobody asked for"


def test_postfix_large_message_octet_for_octet():
    with scratch() as d, Postfix(d) as p, Gateway(upstreams={"postfix": upstream(p.host)}) as g:
        large = b"".join(b"." * (i % 70) + b"%d" % i + bytes([0x80 + i % 128]) * (i % 900) + b"\r\n" for i in range(12000))
        send(g, ["one@mail.example", "two@mail.example"], "large", large, ["BODY=8BITMIME"])
        until(lambda: len(p.find("Subject: large\n")) == 2, "both copies")
        for got in p.find("Subject: large\n"):
            assert got.partition(b"\n\n")[2] == large.replace(b"\r\n", b"\n")
        g.wait_queue_empty()
        assert p.log.read_text().count("message-id=") == 1, "one transaction carries both recipients"


def test_auth_at_the_next_hop():
    with scratch() as d:
        chain, key = make_certificate(d, "sink")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        secret = d / "secret"
        secret.write_text("upstream secret\n")
        secret.chmod(0o644)
        def answer(stage, argument, session):
            if stage == "auth":
                return None if session.is_tls and session.user == [b"gate", b"upstream secret"] else "535 5.7.8 no"
            if stage == "mail" and not session.user:
                return "530 5.7.0 authenticate first"
            return None
        with Sink(answer, ALL + ("STARTTLS", "AUTH PLAIN LOGIN"), tls=context) as s, Sink(answer, ALL + ("AUTH PLAIN",)) as bare:
            hops = {"auth": upstream(s.host, "starttls", ca_file=str(chain), verify_name="localhost", auth_user="gate", auth_password_file=str(secret)),
                    "bare": upstream(bare.host, "opportunistic", verify=False, auth_user="gate", auth_password_file=str(secret), domains=["bare.example"])}
            with Gateway(upstreams=hops) as g:
                send(g, ["a@example.net"], "auth")
                send(g, ["b@bare.example"], "bare")
                until(lambda: s.messages, "delivery after AUTH")
                until(lambda: g.log_lines("delivery", upstream="bare"), "an attempt")
                assert not any(c.upper().startswith("AUTH") for x in bare.sessions for c in x.commands), "a password in plaintext"
                assert not bare.messages
                assert "upstream secret" not in g.log_text()
                for m in g.queue():
                    g.command("queue", "remove", "-s", str(g.control), m["id"])


def sink_stages():
    """name -> (smtp-sink's options, whether the failure is for good)."""
    stages = {f"soft-{c}": (["-r", n], False) for c, n in (("connect", "connect"), ("mail", "mail"), ("rcpt", "rcpt"), ("data", "data"), ("end", "."))}
    stages |= {f"hard-{c}": (["-f", n], True) for c, n in (("mail", "mail"), ("rcpt", "rcpt"), ("data", "data"), ("end", "."))}
    stages |= {f"hangup-{c}": (["-q", n], False) for c, n in (("connect", "connect"), ("ehlo", "ehlo,helo"), ("mail", "mail"), ("rcpt", "rcpt"), ("data", "data"), ("end", "."))}
    stages |= {f"leave-{c}": (["-Q", n], False) for c, n in (("ehlo", "ehlo,helo"), ("mail", "mail"), ("data", "data"), ("end", "."))}
    return stages


def test_smtp_sink_fails_at_each_stage_then_works():
    need("smtp-sink")
    stages = sink_stages()
    ports = free_ports(len(stages))
    sinks, good = {}, {}
    hops = {name: upstream(f"127.0.0.1:{port}", domains=[f"{name}.example"], **FAST) for name, port in zip(stages, ports)}
    hops["local"] = {"kind": "maildir"}
    try:
        for (name, (options, _)), port in zip(stages.items(), ports):
            user = ["-u", "nobody"] if os.geteuid() == 0 else []
            sinks[name] = subprocess.Popen(["smtp-sink", *user, *options, f"127.0.0.1:{port}", "50"], stderr=subprocess.DEVNULL)
        with Gateway(upstreams=hops, sections={"retry": {"first_s": 1, "max_s": 1}}) as g:
            for name in stages:
                send(g, [f"x@{name}.example"], name, (b"z" * 900 + b"\r\n") * 80 if name.endswith("end") else b"Hello.\r\n")
            failed = [n for n in stages if stages[n][1]]
            for name in stages:
                line = until(lambda: g.log_lines("delivery", upstream=name), f"an attempt at {name}")[0]
                assert line["result"] == ("bounced" if name in failed else "deferred"), line
            bounces = g.wait_delivered(len(failed)).values()
            for name in failed:
                found = [b for b in bounces if f"x@{name}.example".encode() in b]
                assert len(found) == 1 and b"Action: failed" in found[0] and re.search(rb"^Status: 5\.\d+\.\d+$", found[0], re.M), name
                assert b"Diagnostic-Code: smtp; 500" in found[0] and f"Subject: {name}\n".encode() in found[0], found[0].decode()
            for (name, process), port in zip(sinks.items(), ports):
                process.kill()
                process.wait()
                good[name] = Sink(port=port)
            soft = [n for n in stages if n not in failed]
            until(lambda: all(good[n].messages for n in soft), "every deferred message is delivered to the good server")
            g.wait_queue_empty()
            assert all(good[n].subjects() == [n] for n in soft), "one copy each"
            assert len(g.delivered()) == len(failed)
    finally:
        for process in sinks.values():
            process.kill()
        for s in good.values():
            s.close()


def test_hang_up_in_the_middle_of_the_content():
    times = []
    def answer(stage, argument, session):
        if stage == "data" and len(times) < 3:
            times.append(1)
            return CUT
    big = (b"w" * 998 + b"\r\n") * 3000
    with Sink(answer) as s, Gateway(upstreams={"s": upstream(s.host)}) as g:
        send(g, ["a@example.net"], "small", b"." + b"q" * 300 + b"\r\n")
        send(g, ["a@example.net"], "big", big)
        until(lambda: len(s.messages) >= 2, "both arrive")
        g.wait_queue_empty()
        assert sorted(s.subjects()) == ["big", "small"] and len(times) == 3
        assert [m for m in s.messages if subject(m["data"]) == "big"][0]["data"].endswith(b"\r\n\r\n" + big)


def test_recipients_have_outcomes_of_their_own():
    tries = {"later": 0}
    def answer(stage, argument, session):
        if stage == "rcpt" and "later@" in argument:
            tries["later"] += 1
            return "450 4.2.1 full" if tries["later"] <= 2 else None
        if stage == "rcpt" and "never@" in argument:
            return "550-5.1.1 no such\r\n550 5.1.1 user here"
    with Sink(answer) as s:
        hops = {"s": upstream(s.host), "local": {"kind": "maildir", "domains": ["example.org"]}}
        with Gateway(upstreams=hops, sections={"retry": {"first_s": 1, "max_s": 1}}) as g:
            send(g, ["now@example.net", "later@example.net", "never@example.net", "also@example.net"], "mixed", implicit=False)
            until(lambda: sum(len(m["rcpts"]) for m in s.messages) == 3, "three recipients have it")
            g.wait_queue_empty()
            assert [m["rcpts"] for m in s.messages] == [["now@example.net", "also@example.net"], ["later@example.net"]], s.messages
            bounces = list(g.wait_delivered(1).values())
            assert len(bounces) == 1 and bounces[0].count(b"Final-Recipient:") == 1 and b"never@example.net" in bounces[0]
            assert b"Status: 5.1.1" in bounces[0] and b"no such" in bounces[0]


def test_failover_between_hosts():
    dead = free_ports(1)[0]
    with Sink() as s, Gateway(upstreams={"two": upstream([f"127.0.0.1:{dead}", s.host], **FAST)}) as g:
        for i in range(10):
            send(g, ["a@example.net"], f"m{i}")
        until(lambda: len(s.messages) == 10, "all are with the second host")
        g.wait_queue_empty()
        # The host comes back; the other one goes away.
        with Sink(port=dead) as first:
            s.close()
            for i in range(5):
                send(g, ["a@example.net"], f"n{i}")
            until(lambda: len(first.messages) == 5, "all are with the first host")
            g.wait_queue_empty()


def test_lmtp_final_replies_differ():
    tries = []
    def answer(stage, argument, session):
        if stage == "content" and argument.startswith("later@"):
            tries.append(1)
            return "452 4.2.2 full" if len(tries) == 1 else None
        if stage == "content" and argument.startswith("never@"):
            return "552 5.2.2 over quota"
    with Sink(answer, lmtp=True) as s:
        hops = {"l": {"kind": "lmtp", "hosts": [s.host], "tls": "none"}, "local": {"kind": "maildir", "domains": ["example.org"]}}
        with Gateway(upstreams=hops) as g:
            send(g, ["now@example.net", "never@example.net", "later@example.net"], "lmtp", BODY, ["BODY=8BITMIME"])
            until(lambda: len(s.messages) == 2, "two have it")
            bounces = list(g.wait_delivered(1).values())
            g.wait_queue_empty()
            assert [m["rcpts"] for m in s.messages] == [["now@example.net"], ["later@example.net"]]
            assert all(m["data"].partition(b"\r\n\r\n")[2] == BODY for m in s.messages)
            assert len(bounces) == 1 and b"Status: 5.2.2" in bounces[0] and b"never@example.net" in bounces[0] and bounces[0].count(b"Final-Recipient") == 1
            assert all(x.commands[0].startswith("LHLO ") for x in s.sessions)


def test_lmtp_smtp_sink():
    need("smtp-sink")
    port = free_ports(1)[0]
    with scratch() as d:
        os.chmod(d, 0o777)
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        process = subprocess.Popen(["smtp-sink", "-L", *user, "-d", str(d / "m."), f"127.0.0.1:{port}", "50"], stderr=subprocess.DEVNULL)
        try:
            with Gateway(upstreams={"l": {"kind": "lmtp", "hosts": [f"127.0.0.1:{port}"], "tls": "none"}}) as g:
                send(g, [f"r{i}@example.net" for i in range(20)], "lmtp-sink")
                g.wait_queue_empty()
                until(lambda: any(b"Subject: lmtp-sink" in p.read_bytes() for p in d.glob("m.*")), "smtp-sink has it")
                assert [(l["result"], l["rcpts"]) for l in g.log_lines("delivery")] == [("delivered", "20")]
        finally:
            process.kill()
            process.wait()


def trickle(text, session):
    """Sends octets for ever, slowly; never a whole reply."""
    with contextlib.suppress(OSError):
        while not session.sink.stopping.wait(0.2):
            session.sock.sendall(text)


def test_next_hops_that_talk_nonsense_or_for_ever():
    def at(wanted, what):
        return lambda stage, argument, session: (what(session) or CLOSE if callable(what) else what) if stage == wanted else None
    scripts = {
        "silent-greeting": at("connect", HANG), "silent-ehlo": at("ehlo", HANG), "silent-mail": at("mail", HANG), "silent-data": at("data", HANG),
        "silent-end": at("content", HANG), "nonsense": at("connect", b"\x00\xff\xfe garbage \r\n\n\r" * 50), "http": at("connect", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "long-line": at("ehlo", b"250-" + b"a" * 200000), "many-lines": at("ehlo", b"250-x\r\n" * 5000), "slow-lines": at("ehlo", lambda s: trickle(b"250-x\r\n", s)),
        "slow-octets": at("connect", lambda s: trickle(b"2", s)), "mixed-codes": at("ehlo", b"250-one\r\n550 two\r\n"), "early-final": at("mail", b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n"),
        "bare-code": at("data", b"999 what\r\n"), "content-354": at("content", b"354 again\r\n"),
    }
    bad = {name: Sink(script) for name, script in scripts.items()}
    hops = {name: upstream(s.host, domains=[f"{name}.example"], **FAST) for name, s in bad.items()}
    good = {}
    try:
        with Sink() as default:
            hops["default"] = upstream(default.host)
            with Gateway(upstreams=hops, sections={"retry": {"first_s": 1, "max_s": 1}}) as g:
                for name in scripts:
                    send(g, [f"x@{name}.example"], name)
                # None of them stops the others.
                send(g, ["x@example.net"], "honest")
                until(lambda: default.messages, "the honest one is delivered")
                for name in scripts:
                    line = until(lambda: g.log_lines("delivery", upstream=name), f"an end of the attempt at {name}")[0]
                    assert line["result"] == "deferred", line
                for name, s in bad.items():
                    s.close()
                    good[name] = Sink(port=s.port)
                # A reply that came too early may have been taken for the final one; the others arrive exactly once.
                until(lambda: all(good[n].messages for n in scripts), "everything arrives")
                g.wait_queue_empty()
                assert all(good[n].subjects() == [n] for n in scripts)
    finally:
        for s in [*bad.values(), *good.values()]:
            s.close()


def test_a_dead_next_hop_starves_no_other():
    count = 300
    with Sink(lambda stage, argument, session: HANG if stage == "connect" else None) as dead, Sink() as alive:
        hops = {"dead": upstream(dead.host, domains=["dead.example"], command_timeout_s=30), "alive": upstream(alive.host)}
        with Gateway(upstreams=hops) as g:
            with g.smtp() as c:
                for i in range(count):
                    c.sendmail(USER, ["x@dead.example"], message(f"dead-{i}"))
                for i in range(20):
                    c.sendmail(USER, ["x@example.net"], message(f"alive-{i}"))
                c.sendmail(USER, ["x@dead.example", "y@example.net"], message("both"))
            until(lambda: len(alive.messages) == 21, "the other next hop has its mail")
            assert len(dead.sessions) <= 20 and not dead.messages
            assert len(g.queue()) == count + 1
            dead.answer = None
            dead.stopping.set()
            port = dead.port
            dead.close()
            with Sink(port=port) as back:
                until(lambda: len(back.messages) == count + 1, "the dead one is back")
                g.wait_queue_empty()
                assert len(set(back.subjects())) == count + 1


if __name__ == "__main__":
    run(globals())
