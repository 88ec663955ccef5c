# SPDX-License-Identifier: ISC
"""
idle.py - what a connection that is logged in and idle keeps in the server's memory.

The slope between two numbers of connections: what the server has taken once and for all, and what its allocator holds
from earlier work, is in both. Proportional set size, so that what processes share counts once.
"""
HOLD_S = 5
UNREADABLE = "the memory of the server's processes cannot be read from here"


def measure(client, server, first):
    """KiB for a connection, from the memory with `first` and with three times as many; None when it cannot be read."""
    counts, memory = (first, 3 * first), []
    for count in counts:
        result = client.measure(server, ["idle", "--hold", str(HOLD_S)], count=count)
        memory.append(result["idle"]["while_held"]["pss_bytes"])
        if not memory[0]:
            return None
    slope = (memory[1] - memory[0]) / (counts[1] - counts[0])
    return {"connections": counts, "memory_bytes": memory, "value": slope / 1024}


def figure(rounds, goal=6):
    one = sorted(rounds, key=lambda r: r["value"])[len(rounds) // 2]
    low, high = (b / 1048576 for b in one["memory_bytes"])
    return {"value": one["value"], "goal": goal, "is_more_better": False,
            "remark": f"PSS of all its processes: {low:.1f} MiB with {one['connections'][0]}, "
                      f"{high:.1f} MiB with {one['connections'][1]}"}
