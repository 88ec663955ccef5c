# SPDX-License-Identifier: ISC
"""Start, reload, drain, restart: what an administrator does, and what must survive it."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from harness import PASSWORD, PATIENCE_S, POSTERN, SANITIZE, USER, Gateway, Wire, free_ports, make_certificate, message, run, until


def test_help_version_and_wrong_usage():
    def postern(*args):
        return subprocess.run([POSTERN, *args], capture_output=True, text=True, timeout=PATIENCE_S)
    r = postern("--help")
    assert r.returncode == 0 and "Usage: postern COMMAND" in r.stdout and not r.stderr
    r = postern("--version")
    assert r.returncode == 0 and re.search(r"^Postern \d+\.\d+\.\d+$", r.stdout, re.M)
    for word in ("BoringSSL", "liburing", "jemalloc", "io_uring", "kernel"):
        assert word in r.stdout, r.stdout
    for args in ((), ("nonsense",), ("serve", "--wrong"), ("queue",), ("queue", "show"), ("queue", "list", "x"), ("user",), ("serve", "-c")):
        r = postern(*args)
        assert r.returncode == 64 and r.stderr, f"{args}: {r.returncode} {r.stderr}"
    r = postern("serve", "-c", "/nonexistent/postern.conf")
    assert r.returncode == 78 and "/nonexistent/postern.conf" in r.stderr
    # Each command has help of its own: on stdout, with exit code 0, and without looking at any file.
    for command, words in (("serve", "SIGTERM"), ("check", "Nothing is started"), ("user", "--addresses"),
                           ("queue", "retry ID"), ("status", "every counter"), ("reload", "changes\nnothing")):
        for args in ((command, "--help"), (command, "-c", "/nonexistent/postern.conf", "-h")):
            r = postern(*args)
            assert r.returncode == 0 and not r.stderr, (args, r)
            assert f"Usage: postern {command}" in r.stdout and words in r.stdout, (args, r)
    # A configuration that was named and cannot be read is never replaced by the usual places.
    for args in (("status",), ("queue", "list"), ("reload",), ("user", "list"), ("user", "remove", "x@example.org")):
        r = postern(*args, "-c", "/nonexistent/postern.conf")
        assert r.returncode == 78 and "cannot open /nonexistent/postern.conf" in r.stderr, (args, r)
    r = postern("queue", "list", "--limit")
    assert r.returncode == 64 and "--limit takes a positive number" in r.stderr, r
    r = postern("status", "-s", "/nonexistent/control")
    assert r.returncode == 69 and "/nonexistent/control" in r.stderr


def test_check_reports_every_mistake():
    with Gateway(start=False) as g:
        assert g.command("check", "-c", str(g.conf)).returncode == 0
        text = g.conf.read_text()
        g.conf.write_text(text + 'nonsense = 1\nline_endings = sometimes\nloops = 100000\n')
        lines = len(text.splitlines())
        r = g.command("check", "-c", str(g.conf), check=False)
        assert r.returncode == 78
        for i in (1, 2, 3):
            assert f"{g.conf}:{lines + i}:" in r.stderr, r.stderr
        g.conf.write_text(text)
        # A key that belongs to another certificate; a damaged user file.
        other = make_certificate(g.dir, "other")
        g.conf.write_text(text.replace(str(g.certificates[0][1]), str(other[1])))
        r = g.command("check", "-c", str(g.conf), check=False)
        assert r.returncode == 78 and str(other[1]) in r.stderr, r.stderr
        g.conf.write_text(text)
        # A certificate where the key belongs; a user file that names nobody.
        key = g.certificates[0][1].read_text()
        g.certificates[0][1].write_text(g.certificates[0][0].read_text())
        r = g.command("check", "-c", str(g.conf), check=False)
        assert r.returncode == 78 and "(no such block is in it); name the file with BEGIN PRIVATE KEY" in r.stderr, r
        g.certificates[0][1].write_text(key)
        users = g.user_file.read_text()
        g.user_file.write_text("# nobody yet\n")
        r = g.command("check", "-c", str(g.conf))
        assert f"{g.user_file}: warning: nobody can log in yet" in r.stderr, r.stderr
        g.user_file.write_text(users)
        g.user_file.write_text(g.user_file.read_text() + "broken line without colons\n")
        r = g.command("check", "-c", str(g.conf), check=False)
        assert r.returncode == 78 and re.search(rf"{re.escape(str(g.user_file))}:\d+:", r.stderr), r.stderr


def test_start_up_errors_are_clear():
    with Gateway() as g:
        # A second gateway on the same spool, with its own ports and control socket.
        ports = free_ports(2)
        second = g.dir / "second.conf"
        second.write_text(g.conf.read_text().replace(str(g.port_tls), str(ports[0])).replace(str(g.port_starttls), str(ports[1]))
                          .replace(str(g.control), str(g.dir / "run" / "control2")))
        r = subprocess.run([POSTERN, "serve", "-c", str(second)], capture_output=True, text=True, timeout=PATIENCE_S)
        assert r.returncode != 0 and "another" in r.stderr and str(g.spool) in r.stderr, r.stderr
        # The same ports.
        second.write_text(g.conf.read_text().replace(str(g.control), str(g.dir / "run" / "control2")))
        r = subprocess.run([POSTERN, "serve", "-c", str(second)], capture_output=True, text=True, timeout=PATIENCE_S)
        assert r.returncode == 69 and str(g.port_tls) in r.stderr and "another program" in r.stderr, r.stderr
        # The first one is not disturbed.
        with g.smtp() as c:
            c.sendmail(USER, [USER], message("still here"))
        g.wait_delivered(1)


def test_worker_has_no_privileges():
    with Gateway() as g:
        pid = g.worker_pid()
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^NoNewPrivs:\t1$", status, re.M) and re.search(r"^Seccomp:\t2$", status, re.M)
        if os.geteuid() == 0:
            assert not re.search(r"^Uid:.*\b0\b", status, re.M) and re.search(r"^CapEff:\t0+$", status, re.M), status
        parent = pathlib.Path(f"/proc/{g.process.pid}/task")
        assert len(list(parent.iterdir())) == 1, "the parent has threads"
        assert "io_uring" not in " ".join(os.readlink(f) for f in pathlib.Path(f"/proc/{g.process.pid}/fd").iterdir() if os.path.islink(f))


def test_drain_lets_a_transaction_finish():
    with Gateway() as g:
        idle, busy = g.session(), g.session(False)
        busy.cmd(f"MAIL FROM:<{USER}>", 250)
        busy.cmd(f"RCPT TO:<{USER}>", 250)
        busy.cmd("DATA", 354)
        g.process.send_signal(signal.SIGTERM)
        idle.expect(421, "4.3.2")
        assert idle.at_end()
        busy.send(message("drained") + b".\r\n")
        busy.expect(250)
        busy.expect(421)
        assert g.process.wait(PATIENCE_S) == 0
        g.process = None
        assert not g.control.exists()
        # Delivered before the end, or still in the spool: nothing between.
        g.start()
        data = g.wait_delivered(1)
        assert len(data) == 1 and b"Subject: drained" in next(iter(data.values()))


def test_drain_ends_at_its_timeout():
    with Gateway({"limits": {"drain_timeout_s": 1}}) as g:
        w = g.session()
        w.cmd(f"MAIL FROM:<{USER}>", 250)
        w.cmd(f"RCPT TO:<{USER}>", 250)
        w.cmd("DATA", 354)
        assert g.stop() == 0
        assert w.at_end()
        g.process = None


def test_reload_certificate_users_and_limits():
    with Gateway() as g:
        old = g.session()
        # New certificate under the old names, key readable by root only.
        chain, key = make_certificate(g.dir, "new", names=("localhost",))
        os.replace(chain, g.certificates[0][0])
        os.replace(key, g.certificates[0][1])
        g.sections["limits"] = {"size_max_bytes": 100000}
        g.write_config()
        assert g.reload()
        with g.smtp() as c:  # verifies against the new certificate
            assert c.esmtp_features["size"] == "100000"
        old.submit(message("old session goes on"))
        old.close()
        # A bad file changes nothing.
        good = g.conf.read_text()
        g.conf.write_text(good + "nonsense = 1\n")
        assert not g.reload()
        with g.smtp() as c:
            c.sendmail(USER, [USER], message("after a bad reload"))
        g.conf.write_text(good)
        # Users without any reload.
        g.add_user("new@example.org", "another secret")
        def works():
            try:
                with g.smtp(user="new@example.org", password="another secret"):
                    return True
            except Exception:
                return False
        until(works, "the new user may log in", every=0.5)
        assert g.command("reload", "-s", str(g.control)).returncode == 0
        g.wait_delivered(2)


def test_resumption_survives_reload():
    import ssl
    with Gateway() as g:
        context = g.context(maximum_version=ssl.TLSVersion.TLSv1_2)
        w = g.connect(context=context)
        w.expect(220)
        session = w.sock.session
        w.cmd("QUIT", 221)
        assert g.reload()
        s = socket.create_connection(("127.0.0.1", g.port_tls))
        s = context.wrap_socket(s, server_hostname="localhost", session=session)
        assert s.session_reused
        s.close()


def test_worker_death_is_survived():
    """kill -9 of the worker: the parent starts another one on the same sockets; what was promised is delivered."""
    down = free_ports(1)[0]
    with Gateway(upstreams={"down": {"kind": "smtp", "hosts": [f"127.0.0.1:{down}"], "tls": "none"}}) as g:
        with g.smtp() as c:
            c.sendmail(USER, [USER], message("promised"))
        first = g.worker_pid()
        os.kill(first, signal.SIGKILL)
        until(lambda: g.worker_pid() not in (0, first), "another worker")
        until(lambda: len(g.log_lines("ready")) == 2, "it serves")
        assert [m["state"] for m in g.queue()] == ["deferred"] or until(lambda: len(g.queue()) == 1, "the message is there")
        g.command("queue", "remove", "-s", str(g.control), g.queue()[0]["id"])


def test_parent_death_takes_the_worker():
    with Gateway() as g:
        pid = g.worker_pid()
        g.process.kill()
        g.process.wait()
        until(lambda: not pathlib.Path(f"/proc/{pid}").exists() or "Z" in pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2], "the worker is gone")
        g.start()
        with g.smtp() as c:
            c.sendmail(USER, [USER], message("after"))
        g.wait_delivered(1)


def test_systemd_socket_activation_and_notify():
    """LISTEN_FDS with names, and READY=1, RELOADING=1, STOPPING=1 on NOTIFY_SOCKET."""
    with Gateway(start=False) as g:
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(g.dir / "notify"))
        notify.settimeout(PATIENCE_S)
        listeners = []
        for port in (g.port_tls, g.port_starttls):
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                s = socket.socket(family)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((host, port))
                s.listen(64)
                listeners.append(s)
        names = "submissions:submissions:submission:submission"
        launcher = ("import os,sys\nfds=[int(x) for x in sys.argv[1].split(',')]\nhigh=[os.dup2(fd, 100+i) for i, fd in enumerate(fds)]\n"
                    "for i, fd in enumerate(high): os.dup2(fd, 3+i)\nos.environ['LISTEN_PID']=str(os.getpid())\nos.execv(sys.argv[2], sys.argv[2:])\n")
        fds = [s.fileno() for s in listeners]
        env = dict(g.env, LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names, NOTIFY_SOCKET=str(g.dir / "notify"))
        with open(g.log_path, "ab") as log:
            g.process = subprocess.Popen([sys.executable, "-c", launcher, ",".join(map(str, fds)), POSTERN, "serve", "-c", str(g.conf)], pass_fds=fds, env=env,
                                         stderr=log, stdin=subprocess.DEVNULL)
        assert notify.recv(100) == b"READY=1"
        for s in listeners:
            s.close()
        for implicit in (True, False):
            with g.smtp(implicit) as c:
                c.sendmail(USER, [USER], message("activated"))
        g.wait_delivered(2)
        g.process.send_signal(signal.SIGHUP)
        assert notify.recv(100) == b"RELOADING=1" and notify.recv(100) == b"READY=1"
        assert g.stop() == 0
        assert notify.recv(100) == b"STOPPING=1"
        g.process = None


def test_queue_commands():
    down = free_ports(1)[0]
    with Gateway(upstreams={"down": {"kind": "smtp", "hosts": [f"127.0.0.1:{down}"], "tls": "none"}}, sections={"retry": {"first_s": 3600, "max_s": 3600}}) as g:
        ids = []
        for i in range(3):
            w = g.session()
            lines = w.submit(message(f"m{i}"), to=(USER, "second@example.org"))
            ids.append(re.search(r"queued as ([a-z2-7]{26})", lines[0]).group(1))
            w.close()
        until(lambda: [m["state"] for m in g.queue()] == ["deferred"] * 3, "all are deferred")
        assert [m["id"] for m in g.queue()] == ids
        s = str(g.control)
        text = g.command("queue", "list", "-s", s).stdout
        assert all(i in text for i in ids) and "3 messages" in text
        until(lambda: "recipients" in g.command("queue", "show", "-s", s, "--json", ids[0]).stdout, "the message can be shown")
        show = json.loads(g.command("queue", "show", "-s", s, "--json", ids[0]).stdout)
        assert show["user"] == USER and show["reverse_path"] == USER and len(show["recipients"]) == 2 and show["attempts"] == 1
        assert f"<second@example.org> pending" in g.command("queue", "show", "-s", s, ids[0]).stdout
        g.command("queue", "hold", "-s", s, ids[0])
        g.command("queue", "retry", "-s", s, ids[1])
        until(lambda: {m["id"]: m for m in g.queue()}[ids[1]]["attempts"] == 2, "a second attempt")
        g.command("queue", "remove", "-s", s, ids[2])
        assert [m["id"] for m in g.queue()] == ids[:2]
        r = g.command("queue", "show", "-s", s, ids[2], check=False)
        assert r.returncode == 1 and "no such message" in r.stderr
        assert g.command("queue", "show", "-s", s, "nonsense", check=False).returncode == 1
        # Held and removed survive a restart.
        assert g.stop() == 0
        g.start()
        states = {m["id"]: m["state"] for m in g.queue()}
        assert states.get(ids[0]) == "held" and ids[2] not in states and ids[1] in states, states
        for i in ids[:2]:
            g.command("queue", "remove", "-s", s, i)
        g.wait_queue_empty()


def test_control_socket_bears_nonsense():
    with Gateway() as g:
        def ask(data):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.settimeout(PATIENCE_S)
                s.connect(str(g.control))
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                answer = b""
                with contextlib.suppress(ConnectionResetError):
                    while chunk := s.recv(65536):
                        answer += chunk
                return answer

        for data in (b"\n", b"{\n", b"[]\n", b"null\n", b'{"command": 1}\n', b'{"command": "no-such"}\n', b'{"command": "queue-show"}\n',
                     b'{"command": "queue-show", "id": "../../etc/passwd"}\n', b'{"command": "queue-hold", "id": 7}\n', b"\xff\xfe\n",
                     b"[" * 4000 + b"\n", b'{"command": "status", "x": "' + b"y" * 10000 + b'"}\n'):
            answer = ask(data)
            assert answer == b"" or json.loads(answer)["ok"] is False, (data[:40], answer)
        assert ask(b"") == b""
        assert json.loads(ask(b'{"command": "queue-list", "limit": -5}\n')) == {"ok": True, "total": 0, "messages": []}
        # A client that says nothing, or one octet: others wait a little, the end of the gateway does not.
        silent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        silent.connect(str(g.control))
        silent.sendall(b"{")
        g.command("status", "-s", str(g.control))
        again = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        again.connect(str(g.control))
        assert g.stop() == 0
        silent.close()
        again.close()


def test_no_reload_is_lost():
    """One that is asked for while another is under way is done after it."""
    with Gateway() as g:
        os.kill(g.process.pid, signal.SIGHUP)
        for _ in range(5):
            os.kill(g.process.pid, signal.SIGHUP)
        offset = len(g.log_text().encode())
        os.kill(g.process.pid, signal.SIGHUP)
        until(lambda: 'msg="done' in g.log_text(offset), "the last reload is done")
        # The worker that dies takes none with it.
        worker = g.worker_pid()
        offset = len(g.log_text().encode())
        os.kill(worker, signal.SIGKILL)
        os.kill(g.process.pid, signal.SIGHUP)
        until(lambda: "event=ready" in g.log_text(offset), "the next worker serves")
        until(lambda: 'msg="done' in g.log_text(offset), "and has reloaded")


def test_status_and_logs():
    with Gateway({"log": {"format": "json"}}, start=False) as g:
        g.start(wait=False)
        until(lambda: '"event":"ready"' in g.log_text(), "ready")
        with g.smtp() as c:
            c.sendmail(USER, [USER], message("logged"))
        g.wait_delivered(1)
        until(lambda: '"event":"session"' in g.log_text(), "a session line")
        lines = [json.loads(l) for l in g.log_text().splitlines()]
        by_event = {l["event"]: l for l in lines}
        assert by_event["session"]["user"] == USER and by_event["session"]["tls"] == "TLSv1.3"
        assert by_event["message"]["session"] == by_event["session"]["session"]
        assert by_event["delivery"]["id"] == by_event["message"]["id"]
        text = g.command("status", "-s", str(g.control)).stdout
        for word in ("handshakes_full", "loop/0", "loop/1", "limits.sessions_max", "messages_accepted", "delivered"):
            assert word in text, text
        st = g.status()
        assert st["io_uring"] and st["counters"]["session"]["loop/0"]["messages_accepted"] + st["counters"]["session"]["loop/1"]["messages_accepted"] == 1


def test_connections_spread_evenly_over_loops():
    """Shared listeners: no loop completes more than 1.15 times the mean of handshakes. Where something else takes part
    of one CPU, its loop has less of the connections; so one even burst of three is asked for."""
    count = 2000 if SANITIZE else 10000
    with Gateway() as g:
        context = g.context()
        context.check_hostname = False
        def burst(n):
            for _ in range(n):
                s = socket.create_connection(("127.0.0.1", g.port_tls))
                with context.wrap_socket(s) as t:
                    t.recv(100)
        bursts, before = [], [0, 0]
        for _ in range(3):
            threads = [threading.Thread(target=burst, args=(count // 8,)) for _ in range(8)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            until(lambda: g.counter("session", "sessions_open") == 0, "all sessions are over")
            loops = g.status()["counters"]["session"].values()
            after = [v["handshakes_full"] + v["handshakes_resumed"] for v in loops]
            bursts.append([b - a for a, b in zip(before, after)])
            before = after
            assert sum(bursts[-1]) == count, bursts
            if max(bursts[-1]) <= 1.15 * count / len(bursts[-1]):
                return
        assert False, bursts


def test_all_io_uring_features_masked():
    with Gateway({"io_uring": {"disable": ["all"]}}) as g:
        for implicit in (True, False):
            with g.smtp(implicit) as c:
                c.sendmail(USER, [USER], message("masked", "x" * 900 + "\r\n" * 5000))
        g.wait_delivered(2)


def test_large_message_costs_little_memory():
    """A 50 MiB message costs under 1 MiB of heap."""
    with Gateway() as g:
        if not g.status()["memory"]:
            return  # sanitizer builds have no jemalloc to ask
        line = b"x" * 998 + b"\r\n"
        with g.smtp() as c:
            c.sendmail(USER, [USER], message("warm up"))
        g.wait_delivered(1)
        w = g.session()
        before = g.status()["memory"]["allocated_bytes"]
        w.cmd(f"MAIL FROM:<{USER}>", 250)
        w.cmd(f"RCPT TO:<{USER}>", 250)
        w.cmd("DATA", 354)
        peak = 0
        w.send(message("big"))
        for i in range(49):
            w.send(line * 1048)
            if i % 6 == 0:
                peak = max(peak, g.status()["memory"]["allocated_bytes"])
        w.send(b".\r\n")
        w.expect(250)
        peak = max(peak, g.status()["memory"]["allocated_bytes"])
        g.wait_delivered(2)
        peak = max(peak, g.status()["memory"]["allocated_bytes"])
        assert peak - before < 1 << 20, f"{peak - before} octets of heap for one message of 50 MiB"


if __name__ == "__main__":
    run(globals())
