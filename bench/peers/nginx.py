# SPDX-License-Identifier: ISC
"""
nginx.py - nginx's mail proxy in front of the sink: everything in a folder of its own.

nginx itself answers the question whether a login is good, over a socket in that folder, from a table in memory. One
worker, as the gateway has one loop; tickets instead of a session cache; connections and logins are logged, as those of
the others are. The client's buffer holds a whole TLS record: with the default of 4 KiB a record is sent on in two
pieces, and as nginx leaves Nagle's algorithm on there, the second waits for the next hop's delayed acknowledgement.
"""
import os
import urllib.parse

from work import PASSWORD, USER, Server, output_of

MODULE = "/usr/lib/nginx/modules/ngx_mail_module.so"

CONFIG = """\
load_module {module};
daemon off;
{user}worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/pid;
error_log {dir}/error.log info;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
    map_hash_bucket_size 256;
    client_body_temp_path {dir}/temp;
    proxy_temp_path {dir}/temp;
    fastcgi_temp_path {dir}/temp;
    uwsgi_temp_path {dir}/temp;
    scgi_temp_path {dir}/temp;
    map "$http_auth_user:$http_auth_pass" $verdict {{
        default "Invalid login or password";
        "{user_text}:{password_text}" OK;
    }}
    server {{
        listen unix:{dir}/auth;
        location = /auth {{
            add_header Auth-Status $verdict;
            add_header Auth-Server 127.0.0.1;
            add_header Auth-Port {sink};
            return 204;
        }}
    }}
}}
mail {{
    server_name nginx.bench.invalid;
    auth_http unix:{dir}/auth:/auth;
    smtp_auth plain login;
    smtp_capabilities "SIZE 52428800" PIPELINING 8BITMIME ENHANCEDSTATUSCODES SMTPUTF8;
    xclient off;
    proxy_pass_error_message on;
    smtp_client_buffer 16k;
    ssl_certificate {chain};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ecdh_curve X25519:prime256v1;
    ssl_session_cache none;
    ssl_session_tickets on;
    server {{
        protocol smtp;
        listen 127.0.0.1:{tls} ssl backlog=4096;
    }}
    server {{
        protocol smtp;
        listen 127.0.0.1:{starttls} backlog=4096;
        starttls only;
    }}
}}
"""


class Nginx(Server):
    name = "nginx"
    promise = "nothing of its own: it passes on the next hop's word, here that of a sink that stores nothing"
    needs = {"nginx": "nginx", MODULE: "libnginx-mod-mail"}

    def __init__(self, work, group):
        super().__init__(work, group, "nginx")
        self.config = self.dir / "nginx.conf"

    def launch(self):
        (self.dir / "temp").mkdir()
        user = "user nobody nogroup;\n" if os.geteuid() == 0 else ""
        self.config.write_text(CONFIG.format(
            module=MODULE, dir=self.dir, user=user, chain=self.work.chain,
            key=self.work.key, tls=self.port_tls, starttls=self.port_starttls, sink=self.work.sink_port, user_text=USER,
            password_text=urllib.parse.quote(PASSWORD)))
        self.spawn("nginx", "-p", self.dir, "-c", self.config, "-e", self.dir / "error.log")
        self.wait_until_greeted()
        return self

    def log_tail(self):
        errors = self.dir / "error.log"
        return super().log_tail() + (errors.read_text(errors="replace")[-3000:] if errors.exists() else "")

    def description(self):
        return {"version": output_of("nginx", "-V"), "files": {"nginx.conf": self.config.read_text()}}
