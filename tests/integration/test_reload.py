# SPDX-License-Identifier: ISC
"""
Reload of the whole configuration while mail flows: upstreams, listeners, log, limits, keys. Nothing is lost, nothing
is sent twice, a bad file changes nothing, and what needs a restart is named.
"""
import collections
import os
import re
import smtplib
import socket
import threading

from harness import PATIENCE_S, SANITIZE, USER, Gateway, Wire, free_ports, make_certificate, message, run, until
from sink import HANG, Sink


def to(port, **keys):
    return {"main": {"kind": "smtp", "hosts": [f"127.0.0.1:{port}"], "tls": "none", **keys}}


def reload(g, check=True):
    """`postern reload`, which waits for the end of it."""
    return g.command("reload", "-s", str(g.control), check=check)


def rewrite(g):
    g.write_config()
    return reload(g).stdout


class Load:
    """Clients that submit message after message until stop(); each subject is promised when its 250 came."""

    def __init__(self, g, clients=3, port=None):
        self.g, self.port, self.stopping = g, port or g.port_tls, threading.Event()
        self.promised, self.errors = [], []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]
        for t in self.threads:
            t.start()

    def run(self, client):
        n = 0
        try:
            while not self.stopping.is_set():
                w = Wire(self.port, PATIENCE_S)
                w.tls(self.g.context())
                w.expect(220)
                w.cmd("EHLO client.example", 250)
                w.login()
                for _ in range(3):
                    name = f"load-{client}-{n}"
                    n += 1
                    w.submit(message(name))
                    with self.lock:
                        self.promised.append(name)
                w.cmd("QUIT", 221)
                w.close()
        except Exception as error:  # a refused connection too
            self.errors.append(repr(error))

    def wait(self, count):
        until(lambda: len(self.promised) >= count or self.errors, f"{count} messages are promised")

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join(PATIENCE_S)
        assert not self.errors, self.errors
        return self.promised


def check_all_once(promised, *sinks):
    got = collections.Counter(name for s in sinks for name in s.subjects())
    lost = [name for name in promised if got[name] == 0]
    twice = [name for name, n in got.items() if n > 1]
    assert not lost and not twice, f"lost {lost[:5]}, twice {twice[:5]}"


def test_another_host_for_what_waits_for_a_dead_one():
    dead = free_ports(1)[0]
    with Sink() as sink, Gateway({"retry": {"first_s": 3600, "max_s": 7200}}, upstreams=to(dead)) as g:
        names = [f"m{i}" for i in range(20)]
        with g.smtp() as c:
            for name in names:
                c.sendmail(USER, [USER], message(name))
        until(lambda: [m["state"] for m in g.queue()] == ["deferred"] * 20, "all wait")
        g.upstreams = to(sink.port)
        assert "the new configuration is in force" in rewrite(g)
        g.wait_queue_empty()
        check_all_once(names, sink)
        assert len(sink.messages) == 20


def test_listeners_come_and_go_under_load():
    with Sink() as sink, Gateway(upstreams=to(sink.port)) as g:
        extra = free_ports(1)[0]
        load = Load(g)
        sessions = []
        for i in range(5):
            load.wait(len(load.promised) + 10)
            addresses = [f"127.0.0.1:{extra}", f"[::1]:{extra}"]
            g.listeners = {"extra": {"addresses": addresses, "tls": "implicit" if i % 2 else "starttls"}}
            rewrite(g)
            w = Wire(extra, PATIENCE_S)
            if i % 2:
                w.tls(g.context())
            w.expect(220)
            w.cmd("EHLO client.example", 250)
            sessions.append(w)
            load.wait(len(load.promised) + 10)
            g.listeners = {}
            rewrite(g)
            def is_closed():
                try:
                    socket.create_connection(("127.0.0.1", extra), timeout=PATIENCE_S).close()
                    return False
                except ConnectionRefusedError:
                    return True
            until(is_closed, "nobody listens there any more")
        for w in sessions:  # the listener is gone, its sessions are not
            w.cmd("NOOP", 250)
            w.cmd("QUIT", 221)
        promised = load.stop()
        g.wait_queue_empty()
        check_all_once(promised, sink)


def test_listener_changes_its_tls_and_name():
    with Gateway() as g:
        port = free_ports(1)[0]
        g.listeners = {"one": {"addresses": [f"127.0.0.1:{port}"], "tls": "starttls"}}
        rewrite(g)
        w = Wire(port, PATIENCE_S)
        w.expect(220)
        g.listeners = {"two": {"addresses": [f"127.0.0.1:{port}"], "tls": "implicit", "backlog": 7}}
        rewrite(g)
        def is_implicit():
            v = Wire(port, PATIENCE_S)
            try:
                v.tls(g.context())
                v.expect(220)
                return True
            except OSError:
                return False
            finally:
                v.close()
        until(is_implicit, "TLS from the first octet")
        w.cmd("EHLO client.example", 250)
        w.cmd("STARTTLS", 220)
        w.tls(g.context())
        w.cmd("EHLO client.example", 250)
        w.login()
        w.submit(message("from the first"))
        w.close()
        until(lambda: g.log_lines("session", listener="one"), "the session's line names its listener")
        # A worker that dies is started again with the listeners of now.
        os.kill(g.worker_pid(), 9)
        until(lambda: len(g.log_lines("ready")) == 2, "another worker serves")
        assert is_implicit()
        g.wait_delivered(1)


def test_bad_file_changes_nothing():
    with Sink() as sink, Gateway(upstreams=to(sink.port)) as g:
        busy = socket.socket()
        busy.bind(("127.0.0.1", 0))
        busy.listen(1)
        good = g.conf.read_text()
        other = free_ports(1)[0]
        def bad(extra, *words):
            g.conf.write_text(good.replace(str(sink.port), str(other)) + extra)
            r = reload(g, check=False)
            assert r.returncode == 1 and all(word in r.stderr for word in words), r.stderr
        bad("nonsense = 1\n", "nonsense", f"{g.conf}:")
        taken = busy.getsockname()[1]
        bad(f'listener "x" {{ addresses = {{"127.0.0.1:{taken}"}} tls = starttls }}\n', 'listener "x"',
            "another program listens there")
        bad('upstream "y" { kind = maildir maildir = "/nonexistent/box" domains = {"y.example"} }\n', "/nonexistent")
        bad('log { file = "/nonexistent/postern.log" }\n', "/nonexistent")
        g.own(g.user_file)
        users = g.user_file.read_text()
        g.user_file.write_text(users + "broken line without colons\n")
        bad("", "users")
        g.user_file.write_text(users)
        with g.smtp() as c:
            c.sendmail(USER, [USER], message("as before"))
        g.wait_queue_empty()
        check_all_once(["as before"], sink)
        g.conf.write_text(good)
        assert reload(g).stdout == "the new configuration is in force\n"
        busy.close()


def test_what_needs_a_restart_is_named_until_then():
    with Sink() as first, Sink() as second, Gateway(upstreams=to(first.port)) as g:
        g.sections[""] = {"loops": 1}
        g.sections["spool"] = {"memory_max_bytes": 64 << 20, "queue_messages_max": 1234}
        g.upstreams = to(second.port)
        for _ in range(2):  # the second reload still finds the first one's values at work
            first_line, *keys = rewrite(g).splitlines()
            assert first_line == "the new configuration is in force, except for what needs a restart:", first_line
            assert keys == ["  loops", "  spool.memory_max_bytes"], keys
        assert "loops, spool.memory_max_bytes" in g.log_text()
        assert len(g.status()["counters"]["session"]) == 2
        limits = {name: l["max"] for name, l in g.status()["limits"].items()}
        assert limits["spool.queue_messages_max"] == 1234 and limits["spool.memory_max_bytes"] == 256 << 20, limits
        with g.smtp() as c:
            c.sendmail(USER, [USER], message("the rest is in force"))
        g.wait_queue_empty()
        check_all_once(["the rest is in force"], second)
        # A worker that is started again has what is in force, not what the file says.
        os.kill(g.worker_pid(), 9)
        until(lambda: len(g.log_lines("ready")) == 2, "another worker serves")
        assert len(g.status()["counters"]["session"]) == 2
        assert g.stop() == 0
        g.start()
        assert len(g.status()["counters"]["session"]) == 1
        assert rewrite(g) == "the new configuration is in force\n"


def test_log_is_rotated_and_changed():
    with Gateway(start=False) as g:
        directory = g.dir / "log"
        directory.mkdir()
        if g.service_user:
            import pwd
            entry = pwd.getpwnam(g.service_user)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
        path, other = directory / "postern.log", directory / "other.log"
        g.sections["log"] = {"file": path}
        g.write_config()
        g.start()
        def send(name):
            with g.smtp() as c:
                c.sendmail(USER, [USER], message(name))
        def sessions(where):
            return where.read_text().count("event=session ") if where.exists() else 0
        send("first")
        until(lambda: sessions(path) == 1, "a line in the file")
        if g.service_user:
            assert path.stat().st_uid == entry.pw_uid
        os.rename(path, directory / "postern.log.1")
        reload(g)
        send("second")
        until(lambda: sessions(path) == 1, "a line in the new file")
        assert sessions(directory / "postern.log.1") == 1
        g.sections["log"] = {"file": other, "format": "json", "level": "debug"}
        rewrite(g)
        send("third")
        until(lambda: other.exists() and '"event":"session"' in other.read_text(), "a JSON line in the other file")
        assert sessions(path) == 1
        g.sections["log"] = {}
        rewrite(g)
        send("fourth")
        until(lambda: len(g.log_lines("session")) == 1, "a line on stderr again")
        g.wait_delivered(4)


def test_limits_of_the_spool():
    dead = free_ports(1)[0]
    with Gateway({"retry": {"first_s": 3600, "max_s": 3600}}, upstreams=to(dead)) as g:
        w = g.session()
        w.submit(message("one"))
        g.sections["spool"] = {"queue_messages_max": 1}
        rewrite(g)
        w.cmd(f"MAIL FROM:<{USER}>", 452, "4.3.1")
        g.sections["spool"] = {"queue_messages_max": 2}
        rewrite(g)
        w.submit(message("two"))
        g.sections["spool"] = {"queue_messages_max": 100, "free_space_min_bytes": 1 << 49}
        rewrite(g)
        w.cmd(f"MAIL FROM:<{USER}>", 452, "4.3.1")
        g.sections["spool"] = {}
        rewrite(g)
        w.submit(message("three"))
        w.close()
        for m in g.queue():
            g.command("queue", "remove", "-s", str(g.control), m["id"])


def test_key_of_root_is_replaced():
    with Gateway() as g:
        with g.smtp():
            pass
        old = g.context()
        for n in range(2):
            chain, key = make_certificate(g.dir, f"new{n}", names=("localhost",))
            key.chmod(0o600)
            os.replace(chain, g.certificates[0][0])
            os.replace(key, g.certificates[0][1])
            assert os.stat(g.certificates[0][1]).st_mode & 0o777 == 0o600
            reload(g)
            def is_new():
                try:
                    with g.smtp():  # verifies against the certificate of now
                        return True
                except OSError:
                    return False
            until(is_new, "the new certificate is shown")
        try:
            with g.smtp(context=old):
                raise AssertionError("the old certificate is still shown")
        except OSError:
            pass


def test_what_hangs_at_the_old_host_goes_to_the_new_one():
    def silent(stage, argument, session):
        return HANG if stage == "connect" else None
    with Sink(answer=silent) as old, Sink() as new, Gateway(upstreams=to(old.port, connections_max=2)) as g:
        names = [f"m{i}" for i in range(10)]
        with g.smtp() as c:
            for name in names:
                c.sendmail(USER, [USER], message(name))
        until(lambda: g.counter("upstream", "connections") == 2, "it tries")
        g.upstreams = to(new.port)
        rewrite(g)
        g.wait_queue_empty()
        check_all_once(names, new)
        assert not old.messages


def test_storm_while_mail_flows():
    """Fifty reloads that change upstream, shares, schedule, listeners and limits; what is promised arrives once."""
    with Sink() as first, Sink() as second, Gateway({"": {"relay_workers": 2}}, upstreams=to(first.port)) as g:
        extra = free_ports(1)[0]
        load = Load(g, clients=2 if SANITIZE else 4)
        for i in range(50):
            sink = first if i % 2 else second
            g.upstreams = to(sink.port, connections_max=1 + i % 4, messages_per_connection_max=2 + i % 3)
            if i % 3 == 0:
                g.upstreams["org"] = {**to(second.port)["main"], "domains": ["example.org"]}
            g.listeners = {"extra": {"addresses": [f"127.0.0.1:{extra}"], "tls": "implicit"}} if i % 2 else {}
            g.sections["retry"] = {"first_s": 1 + i % 2, "max_s": 2}
            g.sections["limits"] = {"size_max_bytes": 1000000 + i}
            g.write_config()
            if i % 5 == 4:  # one by signal, which is not waited for
                g.process.send_signal(1)
            else:
                assert reload(g).returncode == 0
        load.wait(len(load.promised) + 5)
        promised = load.stop()
        g.wait_queue_empty()
        assert len(promised) > 50
        check_all_once(promised, first, second)
        assert g.counter("relay", "in_doubt") == 0 and g.counter("relay", "bounced") == 0
        # What the old settings had is gone: connections, descriptors.
        until(lambda: g.counter("upstream", "connections") <= 8, "the old connections are over")
        count = len(os.listdir(f"/proc/{g.process.pid}/fd"))
        for _ in range(5):
            reload(g)
        assert len(os.listdir(f"/proc/{g.process.pid}/fd")) == count


def test_worker_keeps_no_descriptor_of_a_reload():
    with Gateway() as g:
        def listening():
            pid = g.worker_pid()
            return sorted(os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd"))
        reload(g)
        count = len(listening())
        g.listeners = {"extra": {"addresses": [f"127.0.0.1:{free_ports(1)[0]}"], "tls": "implicit"}}
        rewrite(g)
        g.listeners = {}
        rewrite(g)
        bad = g.conf.read_text()
        g.user_file.write_text(g.user_file.read_text() + "broken line without colons\n")
        assert reload(g, check=False).returncode == 1
        until(lambda: len(listening()) <= count, f"no more descriptors than {count}")
        assert bad == g.conf.read_text()


if __name__ == "__main__":
    run(globals())
