# SPDX-License-Identifier: ISC
"""
overload.py - twice the rate that a server keeps up with: what still gets through, how the rest is told, what memory.

The knee is found first, then messages come twice as fast, from more connections than the gateway takes handshakes at a
time. What is accepted must arrive once, as always.
"""
import statistics
import threading

from work import Failed

CONNECTIONS = 3000  # limits.handshakes_max is 2000
NO_KNEE = "no rate of the sweep was kept up with"


def command(is_quick):
    sweep = ["--rate-sweep", "10-20", "--step", "0.5"] if is_quick else ["--rate-sweep", "50-25600", "--step", "3"]
    seconds, p99_ms, connections = ("1", "60000", "64") if is_quick else ("10", "500", str(CONNECTIONS))
    return ["submit", "--size", "4K", "--messages-per-connection", "1", *sweep, "--p99-max-ms", p99_ms,
            "--overload", "2", "--arrivals", "poisson", "--duration", seconds, "--timeout", "60",
            "--failures-max", "1000000", "--parallel", connections]


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
    with Watch(server) as watch:
        # 1: something failed, which is what overload is for; the accounting below says whether anything is wrong.
        run = client.measure(server, command(is_quick), codes=(0, 1))
    a = run["accounting"]
    wrong = {key: a[key] for key in ("lost", "duplicated", "unpromised", "corrupt") if a[key]}
    if wrong:
        raise Failed(f"overload: {wrong}")
    if watch.failure or watch.over:
        raise Failed(f"overload: {watch.failure or 'over its limit: ' + ', '.join(sorted(watch.over))}")
    knee = run.get("sweep", {}).get("knee_rate", 0)
    if not knee:
        return None
    return {"knee_rate": knee, "goodput": run["operations_per_second"], "value": run["operations_per_second"] / knee,
            "resident_bytes": watch.most, "run": run}


def refusals(run):
    rows = run.get("failures_by", [])
    count = sum(row["count"] for row in rows)
    slowest = max((row["p99_us"] for row in rows), default=0) / 1000
    return f"{count} refused or failed, p99 {slowest:.0f} ms" if count else "none refused"


def figure(rounds):
    one = sorted(rounds, key=lambda r: r["value"])[len(rounds) // 2]
    run = one["run"]
    loop = run.get("open_loop", {})
    unstarted = loop.get("dropped", 0) + loop.get("unstarted", 0)
    return {"value": statistics.median(r["value"] for r in rounds), "goal": 0.9, "is_more_better": True,
            "remark": f"knee {one['knee_rate']}/s, {one['goodput']:.0f}/s at twice that; {refusals(run)}; "
                      f"never started by the client {unstarted} of {loop.get('scheduled', 0)}; "
                      f"{run['figure_us']:.0f} us of server CPU an accepted message; none lost; "
                      f"at most {one['resident_bytes'] / 1048576:.0f} MiB, no limit exceeded"}
