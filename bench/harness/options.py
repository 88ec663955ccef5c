# SPDX-License-Identifier: ISC
"""options.py - what the command lines of the measuring scripts share, and how such a script ends."""
import argparse
import os
import pathlib
import signal
import sys

import rows as table
from work import TOP, Failed

QUICK_SCALE = 0.02


def parser(what, epilog=""):
    keys = "; ".join(f"{row.key}: {row.name}" for row in table.COSTS)
    p = argparse.ArgumentParser(description=what, epilog=f"rows: {keys}{epilog}")
    add = p.add_argument
    binaries = str(TOP / "build/release/bin")
    add("--bin", default=binaries, help="folder of postern and postern-bench (default %(default)s)")
    add("--rounds", type=int, default=3, help="default %(default)s")
    add("--scale", type=float, default=1.0, help="multiplies the number of operations (default %(default)s)")
    add("--quick", action="store_true", help="one short round, to see that all works; no figures to quote")
    add("--server-cpu", type=int, default=0, help="default %(default)s")
    add("--client-cpu", type=int, default=1, help="client and sink (default %(default)s)")
    add("--parallel", type=int, default=64, help="connections at a time (default %(default)s)")
    add("--rows", default="", help="only these, separated by commas: keys (see below), or text in their names")
    add("--next-hop", choices=("bdat", "data"), default="bdat",
        help="whether the sink offers CHUNKING (default %(default)s: as most next hops do)")
    add("--dir", help="make the working directory, spools and queues included, below this one")
    add("--json", help="write all results there")
    return p


def parse(p):
    o = p.parse_args()
    if o.quick:
        o.rounds, o.scale = 1, min(o.scale, QUICK_SCALE)
    o.keys = table.wanted(o.rows)
    if o.keys is None:
        p.error(f"--rows {o.rows}: there is no such row")
    usable = os.sched_getaffinity(0)
    if not {o.server_cpu, o.client_cpu} <= usable or o.server_cpu == o.client_cpu:
        p.error(f"needs two different CPUs of {sorted(usable)} (--server-cpu, --client-cpu)")
    for name in ("postern", "postern-bench"):
        if not os.access(pathlib.Path(o.bin) / name, os.X_OK):
            p.error(f"no {name} in {o.bin}: cmake --preset release && cmake --build --preset release, or --bin")
    return o


def interrupted(number, frame):
    raise KeyboardInterrupt


def guarded(name, measure, stop):
    """measure(), and stop() whatever happens; an exit code. A signal ends a run in order, too."""
    # Also in the background of a script, where SIGINT would be ignored: what was started must be stopped.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    try:
        measure()
        return 0
    except Failed as failure:
        print(f"{name}: failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        stop()
