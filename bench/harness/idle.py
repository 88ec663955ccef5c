# SPDX-License-Identifier: ISC
"""
idle.py - what a connection that is logged in and idle keeps in the server's memory.

The slope between two numbers of connections, each taken when the memory has come to rest: what the server has taken
once and for all, and what its allocator holds from earlier work, is in both.
"""
import base64
import contextlib
import resource
import socket
import ssl
import time

from group import memory_bytes
from work import PASSWORD, USER, Failed

PAUSE_S = 2
REST_BYTES = 32 << 10
PAUSES_MAX = 15


def reply(s, code, server):
    data = b""
    while not data.endswith(b"\n") or data.rstrip(b"\r\n").rsplit(b"\n", 1)[-1][3:4] == b"-":
        got = s.recv(4096)
        if not got:
            break
        data += got
    if not data.startswith(str(code).encode()):
        raise Failed(f"{server.name}: expected {code}, got {data!r}\n{server.log_tail()}")


def open_one(server, context):
    s = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port_tls), 60))
    reply(s, 220, server)
    for command, code in (("EHLO client.bench.invalid", 250),
                          ("AUTH PLAIN " + base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(), 235)):
        s.sendall(command.encode() + b"\r\n")
        reply(s, code, server)
    return s


def level(server, context, stack, held, count):
    while len(held) < count:
        held.append(stack.enter_context(contextlib.closing(open_one(server, context))))
    before = memory_bytes(server.roots())
    for _ in range(PAUSES_MAX):
        time.sleep(PAUSE_S)
        now = memory_bytes(server.roots())
        if abs(now - before) < REST_BYTES:
            break
        before = now
    return now


def measure(server, first, second):
    """KiB for a connection, from the memory with `first` and with `second` connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < second + 64:
        raise Failed(f"only {hard} files may be open: no {second} idle connections")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, second + 64), hard))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    held = []
    with contextlib.ExitStack() as stack:
        low = level(server, context, stack, held, first)
        high = level(server, context, stack, held, second)
    return {"connections": [first, second], "memory_bytes": [low, high],
            "value": (high - low) / 1024 / (second - first)}


def figure(rounds, goal=6):
    one = sorted(rounds, key=lambda r: r["value"])[len(rounds) // 2]
    low, high = (b / 1048576 for b in one["memory_bytes"])
    return {"value": one["value"], "goal": goal, "is_more_better": False,
            "remark": f"PSS of all its processes: {low:.1f} MiB with {one['connections'][0]}, "
                      f"{high:.1f} MiB with {one['connections'][1]}"}
