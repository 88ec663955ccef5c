# SPDX-License-Identifier: ISC
"""Real mail clients submit through both ports; what arrives is compared octet for octet with what was sent."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from harness import PASSWORD, PATIENCE_S, SOURCE, USER, Gateway, Skip, message, need, run, until


def arrived(gateway, mark):
    """The delivered file whose octets contain `mark`, as (header, body) with LF line ends."""
    found = []

    def look():
        found[:] = [d for d in gateway.delivered().values() if mark.encode() in d]
        return found
    from harness import until
    until(look, f"a message with {mark} is delivered")
    assert len(found) == 1, f"{len(found)} copies of {mark}"
    header, _, body = found[0].partition(b"\n\n")
    return header.decode(), body


def check_trace(header, suite=r"TLS_[A-Z0-9_]+"):
    """The trace fields on top: Return-Path and Delivered-To by the Maildir, then exactly one Received of ours."""
    assert header.startswith(f"Return-Path: <{USER}>\nDelivered-To: {USER}\nReceived: from "), header
    unfolded = re.sub(r"\n[ \t]+", " ", header)
    assert re.search(rf"^Received: from \S+ \(\[(127\.0\.0\.1|IPv6:::1)\]\) by mx\.test\.example with ESMTPSA id [a-z2-7]{{26}} tls {suite}"
                     r"( group \S+)?; \w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}$", unfolded, re.M), header


def ports(gateway):
    return (("465", True, gateway.port_tls), ("587", False, gateway.port_starttls))


def run_client(command, **kwargs):
    r = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, **kwargs)
    assert r.returncode == 0, f"{command[0]} ended with {r.returncode}\n{r.stdout}\n{r.stderr}"
    return r


def test_smtplib():
    with Gateway() as g:
        for name, implicit, _ in ports(g):
            body = f"smtplib {name}\r\n.\r\n..two dots\r\n" + "x" * 900 + "\r\nend\r\n"
            with g.smtp(implicit) as c:
                assert c.has_extn("pipelining") and c.has_extn("chunking") and c.has_extn("dsn") and c.has_extn("smtputf8")
                assert c.esmtp_features["size"] == str(50 << 20)
                assert c.has_extn("auth") and not c.has_extn("starttls")
                c.sendmail(USER, [USER], message(f"smtplib-{name}", body))
            header, got = arrived(g, f"smtplib-{name}")
            check_trace(header)
            assert got == body.replace("\r\n", "\n").encode(), got[:200]
            assert re.search(r"^Date: ", header, re.M) and re.search(r"^Message-ID: <", header, re.M)


def test_curl():
    need("curl")
    with Gateway() as g, tempfile.TemporaryDirectory() as tmp:
        for name, implicit, port in ports(g):
            path = pathlib.Path(tmp) / "m.eml"
            path.write_bytes(message(f"curl-{name}", "From curl.\r\n", extra="Bcc: secret@example.org\r\n"))
            url = f"smtps://localhost:{port}" if implicit else f"smtp://localhost:{port}"
            for mechanism in ("PLAIN", "LOGIN"):
                run_client(["curl", "-sS", "--cacert", str(g.cert), "--ssl-reqd", "--login-options", f"AUTH={mechanism}", "--user", f"{USER}:{PASSWORD}",
                            "--mail-from", USER, "--mail-rcpt", USER, "--upload-file", str(path), url])
                header, body = arrived(g, f"curl-{name}")
                check_trace(header)
                assert "Bcc" not in header and body == b"From curl.\n"
                for p in (g.maildir / "new").iterdir():
                    p.unlink()


def test_swaks():
    need("swaks")
    with Gateway() as g:
        for name, implicit, port in ports(g):
            tls = "--tls-on-connect" if implicit else "--tls"
            r = run_client(["swaks", "--server", "127.0.0.1", "--port", str(port), tls, "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD,
                            "--from", USER, "--to", USER, "--header", f"Subject: swaks-{name}", "--pipeline"])
            assert "queued as" in r.stdout
            check_trace(arrived(g, f"swaks-{name}")[0])


def test_openssl_s_client():
    """A person with s_client: dialogue by hand, lone dots, and the certificate shown."""
    need("openssl")
    with Gateway() as g:
        for name, implicit, port in ports(g):
            import base64
            token = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
            dialogue = (f"EHLO hand.example\r\nAUTH PLAIN {token}\r\nMAIL FROM:<{USER}>\r\nrcpt to:<{USER}>\r\nDATA\r\n"
                        f"Subject: sclient-{name}\r\n\r\nby hand\r\n.\r\nquit\r\n")
            command = ["openssl", "s_client", "-quiet", "-connect", f"localhost:{port}", "-CAfile", str(g.cert), "-verify_return_error", "-alpn", "smtp"]
            if not implicit:
                command += ["-starttls", "smtp"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stdin.write(dialogue.encode())
            process.stdin.flush()
            out = process.stdout.read().decode()  # until the server closes
            process.stdin.close()
            process.wait(PATIENCE_S)
            assert "queued as" in out and "\n221 " in "\n" + out, out
            check_trace(arrived(g, f"sclient-{name}")[0])


def test_tls_versions_and_suites():
    """TLS 1.2 and 1.3, RSA and ECDSA certificates at once; the suite in Received is the registered name."""
    need("openssl")
    from harness import make_certificate
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="pn-it-"))
    tmp.chmod(0o755)
    ec, rsa = make_certificate(tmp, "ec", "ec"), make_certificate(tmp, "rsa", "rsa")
    with Gateway(certificates=[ec, rsa]) as g:
        cases = [("-tls1_3", [], "TLS_AES_\\d+_GCM_SHA\\d+|TLS_CHACHA20_POLY1305_SHA256", ec[0]),
                 ("-tls1_2", ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", ec[0]),
                 ("-tls1_2", ["-cipher", "ECDHE-RSA-AES256-GCM-SHA384"], "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", rsa[0]),
                 ("-tls1_3", ["-sigalgs", "rsa_pss_rsae_sha256"], "TLS_\\w+", rsa[0])]
        for version, options, suite, ca in cases:
            command = ["openssl", "s_client", "-connect", f"localhost:{g.port_tls}", version, *options, "-CAfile", str(ca), "-verify_return_error", "-quiet"]
            r = subprocess.run(command, input="QUIT\r\n", capture_output=True, text=True, timeout=PATIENCE_S)
            assert r.stdout.startswith("220 "), f"{version} {options}: {r.stdout} {r.stderr}"
            until(lambda: any(re.fullmatch(suite, s["suite"]) for s in sessions(g)), f"{suite} is logged")
        for version in ("-tls1", "-tls1_1"):
            r = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{g.port_tls}", version, "-cipher", "ALL:@SECLEVEL=0"], input="", capture_output=True,
                               text=True, timeout=PATIENCE_S)
            assert "Cipher is (NONE)" in r.stdout, f"{version} was accepted"
        r = subprocess.run(["openssl", "s_client", "-connect", f"localhost:{g.port_tls}", "-alpn", "http/1.1"], input="", capture_output=True, text=True,
                           timeout=PATIENCE_S)
        assert "no application protocol" in r.stderr, r.stderr
    shutil.rmtree(tmp, ignore_errors=True)


def sessions(gateway):
    from harness import until
    return until(lambda: [s for s in gateway.log_lines("session") if "suite" in s], "a session line with TLS")


def test_resumption():
    """Session tickets of 1.2 and 1.3 resume, also across the two ports."""
    need("openssl")
    with Gateway() as g, tempfile.TemporaryDirectory() as tmp:
        for version in ("-tls1_2", "-tls1_3"):
            ticket = f"{tmp}/s{version}"
            base = ["openssl", "s_client", version, "-CAfile", str(g.cert), "-verify_return_error"]
            # -ign_eof keeps it reading, so that the tickets behind the greeting are seen
            run_client([*base, "-ign_eof", "-connect", f"localhost:{g.port_tls}", "-sess_out", ticket], input="QUIT\r\n")
            for extra, port in (([], g.port_tls), (["-starttls", "smtp"], g.port_starttls)):
                r = run_client([*base, "-ign_eof", *extra, "-connect", f"localhost:{port}", "-sess_in", ticket], input="QUIT\r\n")
                assert "Reused, TLS" in r.stdout, f"{version} {extra}: not resumed\n{r.stdout[-2000:]}"
        assert g.counter("session", "handshakes_resumed") == 4


def test_msmtp():
    need("msmtp")
    with Gateway() as g, tempfile.TemporaryDirectory() as tmp:
        for name, implicit, port in ports(g):
            for auth in ("plain", "login", "scram-sha-256"):
                rc = pathlib.Path(tmp) / "rc"
                rc.write_text(f"account t\nhost localhost\nport {port}\ntls on\ntls_starttls {'off' if implicit else 'on'}\ntls_trust_file {g.cert}\n"
                              f"auth {auth}\nuser {USER}\npassword {PASSWORD}\nfrom {USER}\n")
                rc.chmod(0o600)
                mark = f"msmtp-{name}-{auth}"
                r = subprocess.run(["msmtp", "-C", str(rc), "-a", "t", USER], input=message(mark).replace(b"\r\n", b"\n"), capture_output=True, timeout=PATIENCE_S)
                if r.returncode != 0 and auth.startswith("scram") and b"not supported" in r.stderr:
                    continue  # a build of msmtp without GNU SASL; gsasl itself tries SCRAM below
                assert r.returncode == 0, f"{mark}: {r.stderr}"
                check_trace(arrived(g, mark)[0])


def test_gsasl_scram():
    """The reference implementation of SCRAM logs in on 587; a wrong password is refused."""
    need("gsasl")
    with Gateway() as g:
        base = ["gsasl", "--smtp", "--connect", f"localhost:{g.port_starttls}", "--x509-ca-file", str(g.cert), "--mechanism", "SCRAM-SHA-256",
                "--authentication-id", USER, "--no-cb", "--quality-of-protection=qop-auth"]
        r = subprocess.run([*base, "--password", PASSWORD], input="", capture_output=True, text=True, timeout=PATIENCE_S)
        assert "235 2.7.0" in r.stdout + r.stderr, r.stdout + r.stderr
        r = subprocess.run([*base, "--password", "wrong"], input="", capture_output=True, text=True, timeout=PATIENCE_S)
        assert "535 5.7.8" in r.stdout + r.stderr, r.stdout + r.stderr


def nodemailer_folder():
    """nodemailer from npm, installed once into the build folder."""
    if not shutil.which("npm") or not shutil.which("node"):
        raise Skip("npm is not installed (deploy/install-deps --tests)")
    folder = SOURCE / "build" / "npm"
    if not (folder / "node_modules/nodemailer").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}\n')
        try:
            run_client(["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), "nodemailer"])
        except (AssertionError, subprocess.TimeoutExpired) as reason:
            shutil.rmtree(folder, ignore_errors=True)
            raise Skip(f"npm could not fetch nodemailer: {str(reason).splitlines()[0]}") from None
    return folder


def test_nodemailer():
    folder = nodemailer_folder()
    script = """
const nodemailer = require('nodemailer');
const [port, secure, user, pass, ca, mark] = process.argv.slice(2);
const t = nodemailer.createTransport({host: 'localhost', port: +port, secure: secure === '1', requireTLS: true, auth: {user, pass},
  tls: {ca: require('fs').readFileSync(ca)}, pool: true, maxConnections: 1});
(async () => {
  for (let i = 0; i < 3; i++)
    await t.sendMail({from: user, to: [user], subject: mark + '-' + i, text: 'Grüße ' + i, dsn: {id: 'env' + i, return: 'headers', notify: 'failure', recipient: user}});
  t.close();
})().catch(e => { console.error(e); process.exit(1); });
"""
    with Gateway() as g:
        for name, implicit, port in ports(g):
            path = folder / "send.js"
            path.write_text(script)
            run_client(["node", str(path), str(port), "1" if implicit else "0", USER, PASSWORD, str(g.cert), f"nodemailer-{name}"])
            for i in range(3):
                header, body = arrived(g, f"nodemailer-{name}-{i}")
                check_trace(header)


def test_large_message_arrives_intact():
    """30 MiB of every octet that may be in a message, through both ports, DATA and BDAT."""
    import hashlib
    import random
    random.seed(7)
    line = bytes(b for b in range(1, 256) if b not in (10, 13)) * 3
    body = b"\r\n".join(line[random.randrange(200):] for _ in range(44000)) + b"\r\n"
    with Gateway() as g:
        for name, implicit, _ in ports(g):
            with g.smtp(implicit) as c:
                c.sendmail(USER, [USER], message(f"large-{name}") + body, mail_options=["BODY=8BITMIME"])
            _, got = arrived(g, f"large-{name}")
            want = b"Hello.\n" + body.replace(b"\r\n", b"\n")
            assert hashlib.sha256(got).digest() == hashlib.sha256(want).digest(), f"{name}: {len(got)} octets of {len(want)}"
        w = g.session()
        data = message("large-bdat") + body
        w.cmd(f"MAIL FROM:<{USER}> BODY=8BITMIME SIZE={len(data)}", 250)
        w.cmd(f"RCPT TO:<{USER}>", 250)
        half = len(data) // 3
        w.send(f"BDAT {half}\r\n".encode() + data[:half])
        w.expect(250)
        w.send(f"BDAT {len(data) - half} LAST\r\n".encode() + data[half:])
        w.expect(250, "2.0.0")
        w.cmd("QUIT", 221)
        _, got = arrived(g, "large-bdat")
        assert hashlib.sha256(got).digest() == hashlib.sha256(want).digest()


def test_smtputf8_and_quoted_addresses():
    with Gateway() as g:
        w = g.session()
        w.cmd(f"MAIL FROM:<{USER}> SMTPUTF8 BODY=8BITMIME", 250)
        w.cmd("RCPT TO:<grüße@müller.example>", 250)
        w.cmd('RCPT TO:<"quoted local"@example.org>', 250)
        w.cmd("DATA", 354)
        w.send("Subject: utf8-Grüße\r\n\r\nhällo\r\n.\r\n")
        w.expect(250)
        w.cmd("QUIT", 221)
        files = [d.decode() for d in g.wait_delivered(2).values()]
        assert any("Delivered-To: grüße@müller.example\n" in f for f in files)
        assert any('Delivered-To: "quoted local"@example.org\n' in f for f in files)
        assert all(" with UTF8SMTPSA id " in re.sub(r"\n[ \t]+", " ", f) for f in files)


if __name__ == "__main__":
    run(globals())
