# SPDX-License-Identifier: ISC
"""rows.py - the work that is measured, the goal of each piece, and what a list of rounds says about it."""
import dataclasses
import statistics

FLOOR_FACTOR = 1.15  # nobody gets closer to what the machine can do at best


@dataclasses.dataclass
class Row:
    key: str
    name: str
    goal: float        # of server CPU for an operation, in us, unless `unit` says otherwise
    arguments: tuple   # of postern-bench
    count: int         # operations in a round at scale 1
    least: int = 200   # and at any scale
    floor: str = ""    # the name in the report of postern-bench limit
    per: int = 1       # operations in a connection


def messages(size, per):
    return ("submit", "--size", size, "--messages-per-connection", str(per))


COSTS = [
    Row("handshake", "TLS 1.3 handshake on 465 up to the 220", 150, ("handshake",), 5000, floor="handshake"),
    Row("starttls", "STARTTLS: EHLO, handshake, EHLO", 180, ("handshake", "--starttls"), 4000, floor="starttls"),
    Row("resumed", "the same on 465, resumed: PSK with DHE", 130, ("handshake", "--resume"), 5000,
        floor="handshake_resumed"),
    Row("single", "4 KiB, 1 per connection, delivered", 280, messages("4K", 1), 3000, floor="session_4k"),
    Row("many", "4 KiB, 100 per connection, pipelined", 45, (*messages("4K", 100), "--pipelining", "yes"), 12000,
        floor="message_4k", per=100),
    Row("64k", "64 KiB, 20 per connection", 160, messages("64K", 20), 3000, floor="message_64k", per=20),
    Row("1m", "1 MiB, 5 per connection", 1200, messages("1M", 5), 400, least=20, floor="message_1m", per=5),
]
SPECIALS = {
    "idle": "idle, logged in: KiB of memory for a connection",
    "evenness": "two loops: handshakes of the busiest over the mean",
    "second-loop": "two loops: times the handshakes of one",
    "serial": "one connection, message by message: p50 over that of a bare append and fdatasync",
    "overload": "twice the knee: goodput, refusals, memory",
}


def wanted(text):
    """The keys that a comma-separated list names, whole or by a part of the name; all for none. None: no such row."""
    names = {row.key: row.name for row in COSTS} | SPECIALS
    if not text:
        return list(names)
    keys = []
    for word in text.split(","):
        found = [word] if word in names else [key for key, name in names.items() if word in name]
        if not found:
            return None
        keys += [key for key in found if key not in keys]
    return keys


def operations(row, scale):
    """How many in a round: enough for every connection of one, in whole connections."""
    return max(row.least, int(row.count * scale)) // row.per * row.per


def goal_of(row, floors):
    """(what is to be reached, the floor or None)"""
    floor = floors.get(row.floor)
    return (max(row.goal, FLOOR_FACTOR * floor) if floor else row.goal), floor


def check(row, result):
    """Whether the run was what the row says; "" or what is wrong."""
    tls = result.get("tls", {})
    if tls.get("version") != 0x0304 or tls.get("group", "").lower() not in ("x25519", ""):
        return f"not TLS 1.3 with X25519: {tls}"
    if row.key == "resumed" and not tls.get("resumed"):
        return "the sessions were not resumed"
    return ""


def middle(results):
    """The round with the median figure."""
    return sorted(results, key=lambda r: r["figure_us"])[len(results) // 2]


def median(results):
    return statistics.median(r["figure_us"] for r in results)
