# SPDX-License-Identifier: ISC
"""Records in user space against OpenSSL: every suite, version, port, full and resumed; cuts, padding, keys, ends."""
import itertools
import pathlib
import ssl
import sys

from harness import PASSWORD, USER, Gateway, message, run, until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "ktls"))
import peer  # noqa: E402

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def gateway():
    return Gateway(sections={"tls": {"ktls": "off"}})


def connect(g, implicit, tls, session=None):
    port = g.port_tls if implicit else g.port_starttls
    return peer.Peer(port, tls, session).open(implicit).login(USER, PASSWORD)


def submit(client, lines, write=None):
    text = message("records", "".join(f"line {i} {'x' * 60}\r\n" for i in range(lines))) + b".\r\n"
    client.begin(USER, USER)
    (write or client.write)(text)
    client.expect(250)


def cut(client, pieces):
    def write(data):
        for i in range(0, len(data), 30000):
            client.ssl.write(data[i:i + 30000])
            client.flush(pieces)
    return write


def octets(client):
    def write(data):
        for i in range(len(data)):
            client.ssl.write(data[i:i + 1])
            client.flush()
    return write


def test_every_suite():
    count = 0
    with gateway() as g:
        for version, cipher, implicit in itertools.product((TLS13, TLS12), peer.TLS13, (True, False)):
            tls, session = peer.context(version, cipher), None
            for resumed in (False, True):
                client = connect(g, implicit, tls, session)
                assert client.ssl.session_reused == resumed, f"{version} {cipher}: resumed {client.ssl.session_reused}"
                assert g.counter("records", "sessions_aead") == 1
                submit(client, 3, octets(client))
                submit(client, 3000)
                submit(client, 800, cut(client, 7001 if resumed else 999))
                count += 3
                session = client.ssl.session
                how = client.quit()
                assert how == "close_notify", f"{version} {cipher}: the end was {how}"
                until(lambda: g.counter("records", "sessions_aead") == 0, "the session is gone")
        assert len(g.wait_delivered(count)) == count
        counts = g.status()["counters"]["records"]["all"]
        assert not any(counts.values()), f"all went to our own records, and are gone: {counts}"


def test_padding_and_key_updates():
    with gateway() as g:
        for cipher in peer.TLS13:
            client = connect(g, True, peer.context(TLS13, cipher, padding=4096))
            for kind in (peer.UPDATE_NOT_REQUESTED, peer.UPDATE_REQUESTED, peer.UPDATE_REQUESTED):
                client.update_keys(kind)
                submit(client, 900)
                client.cmd("NOOP", 250)
            assert client.quit() == "close_notify"
        g.wait_delivered(9)


def test_wrong_ends():
    with gateway() as g:
        for version, cipher in itertools.product((TLS13, TLS12), peer.TLS13):
            client = connect(g, True, peer.context(version, cipher))
            record = bytearray(client.sealed(b"NOOP\r\n"))
            record[-1] ^= 1
            client.sock.sendall(record)
            how = client.end()
            assert "BAD_RECORD_MAC" in how.upper(), how
            client.close()
            client = connect(g, True, peer.context(version, cipher))
            client.say_goodbye()
            assert client.end() in ("close_notify", "eof")
            client.close()
        client = connect(g, True, peer.context(TLS13, "aes-128-gcm"))
        for _ in range(33):  # one more than allowed in a row
            client.update_keys(peer.UPDATE_NOT_REQUESTED)
            client.ssl.do_handshake()
            client.flush()
        how = client.end()
        assert "UNEXPECTED_MESSAGE" in how.upper(), how
        client.close()
        until(lambda: g.counter("records", "sessions_aead") == 0, "all of them are gone")


if __name__ == "__main__":
    run(globals())
