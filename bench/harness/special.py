# SPDX-License-Identifier: ISC
"""special.py - the figures that are no server CPU of an operation: latency beside the disk's, evenness over loops."""
import os
import statistics
import time

OPEN_SHARE = 0.7  # of the closed loop's rate: a rate that the client keeps up with


def probe_disk(folder, size_bytes, count, cpu, is_reserved):
    """p50 of a bare append and fdatasync in that folder, in us, on that CPU; or into space that is reserved already."""
    allowed = os.sched_getaffinity(0)
    path = folder / "probe"
    block = os.urandom(size_bytes)
    took = []
    os.sched_setaffinity(0, {cpu})
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        if is_reserved:
            os.posix_fallocate(fd, 0, size_bytes * count)
            os.fsync(fd)
        for _ in range(count):
            start = time.perf_counter_ns()
            os.write(fd, block)
            os.fdatasync(fd)
            took.append(time.perf_counter_ns() - start)
    finally:
        os.close(fd)
        path.unlink()
        os.sched_setaffinity(0, allowed)
    return statistics.median(took) / 1000


def serial(client, server, count, cpu):
    """One connection, one message after the other; the disk is asked before and after."""
    lockstep = ["--pipelining", "no"] if "--pipelining" in client.options("submit") else []
    probe = [(is_reserved, probe_disk(server.dir, 4096, count, cpu, is_reserved)) for is_reserved in (False, True)]
    arguments = ["submit", "--size", "4K", "--messages-per-connection", str(count), *lockstep]
    result = client.measure(server, arguments, count=count, parallel=1)
    probe += [(is_reserved, probe_disk(server.dir, 4096, count, cpu, is_reserved)) for is_reserved in (False, True)]
    bare, reserved = (statistics.mean(us for kind, us in probe if kind == wanted) for wanted in (False, True))
    promise = result["promise_us"]
    return {"p50_us": promise["p50"], "p99_us": promise["p99"], "whole_p50_us": result["latency_us"]["p50"],
            "append_p50_us": bare, "reserved_p50_us": reserved, "value": promise["p50"] / bare, "run": result}


def serial_figure(rounds):
    one = sorted(rounds, key=lambda r: r["value"])[len(rounds) // 2]
    return {"value": statistics.median(r["value"] for r in rounds), "goal": 1.5, "is_more_better": False,
            "remark": f"250 in {one['p50_us']:.0f} us (p99 {one['p99_us']:.0f}) behind the content, "
                      f"{one['whole_p50_us']:.0f} behind MAIL; append and fdatasync in {one['append_p50_us']:.0f} us "
                      f"({one['reserved_p50_us']:.0f} into reserved space)"}


def by_loop(client, server, arguments, count):
    """Handshakes, and how many of them each loop did."""
    before = server.per_loop("handshakes_full", "handshakes_resumed")
    result = client.measure(server, ["handshake", *arguments], count=count)
    after = server.per_loop("handshakes_full", "handshakes_resumed")
    return result, {loop: after[loop] - before[loop] for loop in after}


def loops(client, one, two, even, beside, count):
    """
    Handshakes over one loop and over two: what a loop did, and what a handshake cost.

    Where the client has a CPU of its own, `two` is everything and `beside` None. Else its second loop shares a CPU with
    the client, gets fewer, and the rate is the client's. So evenness is that of `even`, whose loops share one CPU with
    nobody else. And what a handshake costs over two loops at a rate that the client keeps up with stands beside what it
    costs one loop at half that rate, on each of the CPUs, in the shares that the two had.
    """
    single = client.measure(one, ["handshake"], count=count)
    double, done = by_loop(client, two, [], count)
    found = {"one": single, "two": double,
             "by_rate": double["operations_per_second"] / single["operations_per_second"]}
    if beside:
        _, done = by_loop(client, even, [], count)
        rate = OPEN_SHARE * min(single["operations_per_second"], double["operations_per_second"])
        both, shares = by_loop(client, two, ["--rate", f"{rate:.0f}"], count)
        alone = [client.measure(server, ["handshake", "--rate", f"{rate / 2:.0f}"], count=count // 2)["figure_us"]
                 for server in (one, beside)]
        share = max(shares.values()) / sum(shares.values())
        expected_us = share * alone[0] + (1 - share) * alone[1]
        found |= {"rate": rate, "alone_us": alone, "both_us": both["figure_us"], "shares": shares,
                  "by_cpu": 2 * expected_us / both["figure_us"]}
    mean = sum(done.values()) / len(done)
    return found | {"per_loop": done, "evenness": max(done.values()) / mean}


def loop_figures(rounds):
    """
    Two figures. The rate is only believed where the client has a CPU of its own; otherwise it is the client that is
    measured, and the capacity by server CPU stands.
    """
    worst = max(rounds, key=lambda r: r["evenness"])
    total = sum(sum(r["per_loop"].values()) for r in rounds)
    by = statistics.median(r.get("by_cpu", r["by_rate"]) for r in rounds)
    even = {"value": worst["evenness"], "goal": 1.15, "is_more_better": False,
            "remark": f"worst of {len(rounds)} rounds, {total} connections: "
                      f"{' '.join(map(str, worst['per_loop'].values()))}"}
    remark = "by rate"
    if "by_cpu" in rounds[0]:
        costs = ", ".join(f"{statistics.median(r['alone_us'][i] for r in rounds):.0f}" for i in (0, 1))
        remark = (f"by server CPU: {statistics.median(r['both_us'] for r in rounds):.0f} us at "
                  f"{statistics.median(r['rate'] for r in rounds):.0f}/s, one loop at half of it {costs} us "
                  "(on the server's CPU, beside the client)")
    gain = {"value": by, "goal": 1.9, "is_more_better": True, "remark": remark}
    return even, gain
