# SPDX-License-Identifier: ISC
"""
postfix.py - Postfix as a submission server with Dovecot's auth service as its SASL: everything in a folder of its own.

Tuned as an administrator of a busy submission server would: no postscreen, enough smtpd processes that live long, no
name look-ups of clients, tables in memory, TLS tickets instead of a session cache, connections to the next hop kept, no
pause of arrivals while there is a queue.
"""
import contextlib
import os
import pathlib
import pwd
import signal
import socket
import subprocess

from work import PASSWORD, USER, Failed, Server, output_of, wait_for

PROCESSES = 300

MASTER = """\
127.0.0.1:{starttls} inet n - n - - smtpd
127.0.0.1:{tls} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

DOVECOT = """\
base_dir = {dir}/run
state_dir = {dir}/state
instance_name = bench-{pid}
protocols =
listen = 127.0.0.1
ssl = no
log_path = {dir}/dovecot.log
auth_mechanisms = plain login
auth_cache_size = 10 M
auth_cache_ttl = 1 hour
passdb {{
  driver = passwd-file
  args = scheme=SSHA256 username_format=%u {dir}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
service auth {{
  client_limit = 2000
  unix_listener {dir}/auth {{
    mode = 0666
  }}
}}
service stats {{
  client_limit = 2000
}}
"""


class Postfix(Server):
    name = "Postfix"
    promise = "the queue file is fsynced; the folder that names it is left to the file system"
    idle_connections = 70  # a process for each; more than are left from other work
    needs = {"postfix": "postfix", "dovecot": "dovecot-core"}

    def __init__(self, work, group):
        super().__init__(work, group, "postfix")
        self.conf, self.queue = self.dir / "conf", self.dir / "queue"
        self.mail_log = self.dir / "mail.log"
        self.is_started = False

    def settings(self):
        return {
            "compatibility_level": "3.6",
            "queue_directory": self.queue,
            "data_directory": self.dir / "data",
            "myhostname": "postfix.bench.invalid",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "relay_domains": "",
            "append_dot_mydomain": "no",
            "biff": "no",
            "maillog_file": self.mail_log,
            "maillog_file_prefixes": self.dir,
            "message_size_limit": 52428800,
            # processes
            "default_process_limit": PROCESSES,
            "max_use": 10000,
            "max_idle": "300s",
            "in_flow_delay": 0,
            "smtpd_client_connection_count_limit": 0,
            "smtpd_peername_lookup": "no",
            # TLS
            "smtpd_tls_chain_files": f"{self.work.key}, {self.work.chain}",
            "smtpd_tls_security_level": "encrypt",
            "smtpd_tls_auth_only": "yes",
            "tls_eecdh_auto_curves": "X25519, prime256v1",
            "smtpd_tls_session_cache_database": "",
            "smtpd_tls_received_header": "yes",
            "smtpd_tls_loglevel": 1,
            # AUTH, and who may send what as whom
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": self.dir / "auth",
            "smtpd_sasl_security_options": "noanonymous",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
            "smtpd_recipient_restrictions": "",
            "smtpd_sender_restrictions": "reject_sender_login_mismatch",
            "smtpd_sender_login_maps": f"inline:{{ {USER}={USER} }}",
            # the next hop
            "relayhost": f"[127.0.0.1]:{self.work.sink_port}",
            "disable_dns_lookups": "yes",
            "smtp_tls_security_level": "none",
            "smtp_connection_cache_destinations": f"[127.0.0.1]:{self.work.sink_port}",
            "smtp_connection_reuse_count_limit": 1000,
            "default_destination_concurrency_limit": 20,
        }

    def write(self):
        postfix = pwd.getpwnam("postfix")
        for folder in (self.conf, self.queue, self.dir / "data", self.dir / "run", self.dir / "state"):
            folder.mkdir()
        os.chown(self.dir / "data", postfix.pw_uid, postfix.pw_gid)
        (self.conf / "main.cf").write_text("".join(f"{key} = {value}\n" for key, value in self.settings().items()))
        (self.conf / "master.cf").write_text(MASTER.format(tls=self.port_tls, starttls=self.port_starttls))
        (self.conf / "dovecot.conf").write_text(DOVECOT.format(dir=self.dir, pid=os.getpid()))
        # A cheap salted hash: what a login costs is Postfix's and Dovecot's work, not the hash's.
        command = ["doveadm", "-c", self.conf / "dovecot.conf", "pw", "-s", "SSHA256", "-p", PASSWORD]
        hashed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        users = self.dir / "users"
        users.write_text(f"{USER}:{hashed}\n")
        os.chown(users, 0, pwd.getpwnam("dovecot").pw_gid)
        users.chmod(0o640)

    def has_auth(self):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.dir / "auth"))
            return True
        return False

    def launch(self):
        if os.geteuid() != 0:
            raise Failed("Postfix needs root")
        self.write()
        self.spawn("dovecot", "-F", "-c", self.conf / "dovecot.conf")
        wait_for(self.has_auth, "Dovecot's auth service listens")
        self.is_started = True
        self.call("postfix", "-c", self.conf, "start")
        self.wait_until_greeted()
        return self

    def master_pid(self):
        with contextlib.suppress(OSError, ValueError):
            return int((self.queue / "pid/master.pid").read_text())
        return None

    def roots(self):
        return [pid for pid in (self.master_pid(), *super().roots()) if pid]

    def log_tail(self):
        logs = (self.log, self.dir / "dovecot.log", self.mail_log)
        return "".join(path.read_text(errors="replace")[-2000:] for path in logs if path.exists())

    def stop(self):
        pid = self.master_pid() if self.is_started else None
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "Postfix ends")
        super().stop()

    def description(self):
        versions = output_of("postconf", "-h", "mail_version"), output_of("dovecot", "--version")
        return {"version": "Postfix {}, Dovecot {}".format(*versions),
                "files": {p.name: p.read_text() for p in self.conf.iterdir()}}
