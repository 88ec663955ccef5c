# SPDX-License-Identifier: ISC
"""special.py - the figures that are no server CPU of an operation: latency beside the disk's, evenness over loops."""
import os
import statistics
import time


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
    return {"p50_us": result["latency_us"]["p50"], "p99_us": result["latency_us"]["p99"], "append_p50_us": bare,
            "reserved_p50_us": reserved,
            "value": result["latency_us"]["p50"] / bare, "run": result}


def serial_figure(rounds):
    one = sorted(rounds, key=lambda r: r["value"])[len(rounds) // 2]
    return {"value": statistics.median(r["value"] for r in rounds), "goal": 1.5, "is_more_better": False,
            "remark": f"250 in {one['p50_us']:.0f} us (p99 {one['p99_us']:.0f}), append and fdatasync in "
                      f"{one['append_p50_us']:.0f} us ({one['reserved_p50_us']:.0f} into reserved space)"}


def loops(client, one, two, count):
    """Handshakes over one loop and over two: what a loop did, and what a handshake cost."""
    single = client.measure(one, ["handshake"], count=count)
    before = two.per_loop("handshakes_full", "handshakes_resumed")
    double = client.measure(two, ["handshake"], count=count)
    after = two.per_loop("handshakes_full", "handshakes_resumed")
    done = {loop: after[loop] - before[loop] for loop in after}
    mean = sum(done.values()) / len(done)
    return {"per_loop": done, "evenness": max(done.values()) / mean, "one": single, "two": double,
            # Two loops have two CPUs: their capacity is twice the inverse of what one handshake costs them.
            "by_cpu": 2 * single["figure_us"] / double["figure_us"],
            "by_rate": double["operations_per_second"] / single["operations_per_second"]}


def loop_figures(rounds, can_rate):
    """
    Two figures. The rate is only believed where the client has a CPU of its own; otherwise it is the client that is
    measured, and the capacity by server CPU stands.
    """
    worst = max(rounds, key=lambda r: r["evenness"])
    total = sum(sum(r["per_loop"].values()) for r in rounds)
    by = statistics.median(r["by_rate" if can_rate else "by_cpu"] for r in rounds)
    even = {"value": worst["evenness"], "goal": 1.15, "is_more_better": False,
            "remark": f"worst of {len(rounds)} rounds, {total} connections: "
                      f"{' '.join(map(str, worst['per_loop'].values()))}"}
    gain = {"value": by, "goal": 1.9, "is_more_better": True, "remark": "by rate" if can_rate else
            "by server CPU for a handshake (the client shares a CPU with a loop; by rate "
            f"{statistics.median(r['by_rate'] for r in rounds):.2f})"}
    return even, gain
