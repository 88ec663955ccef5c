# SPDX-License-Identifier: ISC
"""postern.py - the gateway as a server under measurement: the defaults, but for what the command line of a run says."""
import json
import os
import pwd
import subprocess

from work import PASSWORD, USER, Failed, Server, output_of, wait_for


class Postern(Server):
    name = "Postern"
    promise = "message and envelope are on stable storage: fdatasync has returned, for the folder too"

    def __init__(self, work, group, binary, loops=1, folder="postern", limits=None, ktls="auto"):
        super().__init__(work, group, folder)
        # One source may connect as often as it likes: all load comes from one.
        limits = {"connections_per_source_per_minute_max": 0, "sessions_per_source_max": 0, **(limits or {})}
        self.limits = "".join(f"    {key} = {value}\n" for key, value in limits.items())
        self.ktls = ktls
        self.binary, self.loops = binary, loops
        self.config, self.control = self.dir / "postern.conf", self.dir / "control"

    def write(self):
        service = "nobody" if os.geteuid() == 0 else ""
        users = self.dir / "users"
        command = [self.binary, "user", "add", "-f", users, "--password-stdin", USER]
        subprocess.run(command, check=True, input=PASSWORD + "\n", text=True, capture_output=True)
        if service:
            os.chown(users, 0, pwd.getpwnam(service).pw_gid)
        users.chmod(0o640)
        self.config.write_text(f"""hostname = "gateway.bench.invalid"
run_user = "{service}"
loops = {self.loops}
relay_workers = 1
control_socket = "{self.control}"
listener "submissions" {{
    addresses = {{"127.0.0.1:{self.port_tls}"}}
    tls = implicit
}}
listener "submission" {{
    addresses = {{"127.0.0.1:{self.port_starttls}"}}
    tls = starttls
}}
certificate "ecdsa" {{
    chain_file = "{self.work.chain}"
    key_file = "{self.work.key}"
}}
auth {{
    user_file = "{users}"
}}
spool {{
    path = "{self.dir}/spool"
}}
limits {{
{self.limits}}}
tls {{
    ktls = {self.ktls}
}}
upstream "sink" {{
    kind = smtp
    hosts = {{"127.0.0.1:{self.work.sink_port}"}}
    tls = none
}}
""")

    def launch(self):
        self.write()
        process = self.spawn(self.binary, "serve", "-c", self.config)

        def ready():
            if process.poll() is not None:
                raise Failed(f"the gateway did not start:\n{self.log_tail()}")
            return b"event=ready" in self.log.read_bytes()
        wait_for(ready, "the gateway is ready")
        return self

    def status(self):
        command = [self.binary, "status", "-s", self.control, "--json"]
        r = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if r.returncode != 0:
            raise Failed(f"postern status: {r.stderr}")
        return json.loads(r.stdout)

    def per_loop(self, *names):
        """The sum of those session counters, for each loop."""
        loops = self.status()["counters"]["session"]
        return {loop: sum(counters[name] for name in names) for loop, counters in sorted(loops.items())}

    def description(self):
        return {"version": output_of(self.binary, "--version"), "files": {"postern.conf": self.config.read_text()}}
