# SPDX-License-Identifier: ISC
"""
overload.py - twice the rate that a server keeps up with: what still gets through, how the rest is told, what memory.

A gateway of its own, with limits as for a machine of its speed: what it does not get done in a fraction of a second is
refused. Client and sink must be able to offer twice the knee, and a client's part of a session costs as much as the
server's; so the server has a share of its CPU only. One message in a connection, with a full handshake.
"""
import threading

from work import Failed

CPU_SHARE = 0.4
LIMITS = {"sessions_max": 300, "handshakes_max": 100}
CONNECTIONS = 1200  # at a time: far more than it lets in
NO_QUOTA = "no cgroup that limits CPU can be made here: the client could not offer twice the knee"
NO_KNEE = "no rate of the sweep was kept up with"

OFFERED_LEAST = 1.9  # times the knee, that the client must have begun
GOODPUT_LEAST = 0.9
REFUSAL_P99_MAX_MS = 100
STAGE = "TLS handshake"  # where the client is when port 465 closes without having read its ClientHello


def load(*more):
    return ["submit", "--size", "4K", "--messages-per-connection", "1", "--timeout", "60", *map(str, more)]


def command(capacity, is_quick, control):
    """Around the capacity that a closed loop has found; a sweep may end well below it on a busy machine."""
    low, high = (20, 40) if is_quick else (max(1, int(capacity / 8)), max(2, int(capacity * 2)))
    step, seconds, p99_ms, parallel = (1, 1, 60000, 64) if is_quick else (3, 10, 250, CONNECTIONS)
    return load("--rate-sweep", f"{low}-{high}", "--step", step, "--p99-max-ms", p99_ms, "--overload", 2, "--arrivals",
                "poisson", "--duration", seconds, "--failures-max", 1000000, "--parallel", parallel,
                "--control-socket", control)


class Watch(threading.Thread):
    """Looks at the gateway's own account of its limits and memory, several times a second."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ended = server, threading.Event()
        self.most, self.over, self.failure = 0, set(), None

    def run(self):
        while not self.ended.wait(0.25):
            try:
                status = self.server.status()
            except Failed as failure:
                self.failure = str(failure)
                return
            self.most = max(self.most, status["memory"]["resident_bytes"])
            self.over |= {name for name, v in status["limits"].items()
                          if name != "spool.free_space_min_bytes" and v["max"] > 0 and v["used"] > v["max"]}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *failure):
        self.ended.set()
        self.join()


def measure(client, server, is_quick):
    """None when not even the lowest rate was kept up with: then there is nothing to go beyond."""
    closed = client.measure(server, load("--parallel", 64), count=100 if is_quick else 3000)
    with Watch(server) as watch:
        # 1: something failed, which is what overload is for; the criteria say whether anything is wrong.
        run = client.measure(server, command(closed["operations_per_second"], is_quick, server.control), codes=(0, 1))
    if watch.failure:
        raise Failed(f"overload: {watch.failure}")
    knee = run.get("sweep", {}).get("knee_rate", 0)
    if not knee:
        return None
    found = {"knee_rate": knee, "goodput": run["operations_per_second"], "resident_bytes": watch.most,
             "over": sorted(watch.over), "value": run["operations_per_second"] / knee, "run": run}
    return {**found, "criteria": criteria(found)}


def refused_by_gateway(run):
    counters = run.get("gateway_counters", {}).get("session", {}).values()
    return sum(n for c in counters for name, n in c.items() if name.startswith("refused_"))


def criteria(found):
    """name, value, goal, whether more is better, remark: what an overload must and must not do to a gateway."""
    run, knee = found["run"], found["knee_rate"]
    loop, a, failed = run["open_loop"], run["accounting"], run["failures_by"]
    began = (loop["scheduled"] - loop["dropped"] - loop["unstarted"]) / (loop["scheduled"] or 1)
    count = sum(row["count"] for row in failed)
    refused = refused_by_gateway(run)
    elsewhere = sum(row["count"] for row in failed if row["stage"] != STAGE)
    slowest = max((row["p99_us"] for row in failed), default=0) / 1000
    wrong = sum(a[key] for key in ("lost", "duplicated", "misdirected", "unpromised", "corrupt"))
    stages = ", ".join(f"{row['count']} at {row['stage']} (p50 {row['p50_us'] / 1000:.0f} ms)" for row in failed)
    return [
        ("offered, times the knee", began * loop["rate"] / knee, OFFERED_LEAST, True,
         f"{loop['scheduled']} due, {loop['dropped'] + loop['unstarted']} never begun"),
        ("goodput, share of the knee", found["value"], GOODPUT_LEAST, True,
         f"knee {knee}/s, {found['goodput']:.0f}/s at twice that"),
        ("refused by its limits", refused, 1, True,
         " ".join(f"{key} {value}" for key, value in LIMITS.items())),
        ("refusals, p99 ms of the slowest stage", slowest, REFUSAL_P99_MAX_MS, False, stages or "none"),
        ("failed otherwise than refused before the handshake", max(elsewhere, count - refused), 0, False,
         f"of {count}"),
        ("lost, doubled, changed", wrong, 0, False, f"{a['accepted']} accepted, {a['received']} at the sink"),
        ("limits exceeded", len(found["over"]), 0, False,
         ", ".join(found["over"]) or f"memory at most {found['resident_bytes'] / 1048576:.0f} MiB"),
    ]


def figures(found):
    """One for each criterion, as rows of the table."""
    return [{"name": f"overload: {name}", "value": value, "goal": goal, "is_more_better": is_more, "remark": remark}
            for name, value, goal, is_more, remark in found["criteria"]]
