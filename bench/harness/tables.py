# SPDX-License-Identifier: ISC
"""tables.py - results for people."""
from rows import FLOOR_FACTOR, goal_of, median, middle


def switches(result):
    s = result.get("server", {})
    return s.get("voluntary_switches_per_operation", 0) + s.get("involuntary_switches_per_operation", 0)


def verdict(value, goal, is_more_better=False):
    return "reached" if (value >= goal if is_more_better else value <= goal) else "missed"


def cost_line(row, results, floors):
    value, one = median(results), middle(results)
    goal, floor = goal_of(row, floors)
    floor_text = f"{floor:7.1f}" if floor else f"{'-':>7}"
    rounds = " ".join(f"{r['figure_us']:.1f}" for r in results)
    return (f"{row.name:42} {value:8.1f} {row.goal:6.0f} {floor_text} {goal:8.1f} {verdict(value, goal):8}"
            f"{one['operations_per_second']:7.0f} {one['client']['cpu_us_per_operation']:8.1f} {switches(one):8.2f} "
            f"{one['latency_us']['p50'] / 1000:8.2f} {one['latency_us']['p99'] / 1000:8.2f}  {rounds}")


def costs(rows, runs, floors):
    """Lines: server CPU for an operation, beside goal and floor."""
    shown = [row for row in rows if runs.get(row.key)]
    if not shown:
        return []
    head = (f"{'server CPU per operation, us':42} {'median':>8} {'goal':>6} {'floor':>7} {'to reach':>8} {'':8}"
            f"{'rate/s':>7} {'client':>8} {'switches':>8} {'p50 ms':>8} {'p99 ms':>8}  rounds")
    foot = (f"to reach: the goal, or {FLOOR_FACTOR} times the floor where that is more (-: no floor was measured); "
            "columns behind it: of the median round")
    layer = [f"records of {row.name}: {records(middle(runs[row.key]))}" for row in shown]
    return [head, *(cost_line(row, runs[row.key], floors) for row in shown), foot, *layer]


def records(result):
    """Who made the records of a run, by the gateway's own counters."""
    r = result.get("records")
    if not r:
        return "not recorded"
    alone = f", kernel RX alone {r['kernel_receive_only']}" if r["kernel_receive_only"] else ""
    return f"kernel TX+RX {r['kernel']} of {r['sessions']} sessions, user space {r['user_space']}{alone}"


def layers(rows, pairs):
    """Lines: the same rows by the record layers of two gateways. `pairs`: ktls of each, and key -> results."""
    lines = [f"{'server CPU per operation, us':42}" + "".join(f" {'ktls ' + name:>10}" for name, _ in pairs)
             + "    ratio  records"]
    for row in rows:
        if not all(found.get(row.key) for _, found in pairs):
            continue
        values = [median(found[row.key]) for _, found in pairs]
        said = "; ".join(f"{name}: {records(middle(found[row.key]))}" for name, found in pairs)
        figures = "".join(f" {v:10.1f}" for v in values)
        lines.append(f"{row.name:42}{figures} {values[1] / values[0]:8.2f}  {said}")
    return lines


def specials(found):
    """Lines: what is no cost of an operation. `found`: name, value, goal, whether more is better, a remark."""
    if not found:
        return []
    lines = [f"{'other figures':84} {'value':>8} {'goal':>8}"]
    for f in found:
        word = verdict(f["value"], f["goal"], f["is_more_better"])
        lines.append(f"{f['name']:84} {f['value']:8.2f} {f['goal']:8.2f} {word:8} {f['remark']}")
    return lines


def cross_check(runs):
    """One line: how far the cgroup's figures lie from the whole machine's busy time less what client and sink used."""
    windows = [r["window"] for results in runs.values() for r in results]
    if not windows:
        return []
    total = {key: sum(w[key] for w in windows) / 1e6 for key in windows[0]}
    share = 100 * total["rest_us"] / total["server_us"] if total["server_us"] else 0
    return [f"cross-check: machine busy {total['machine_us']:.2f} s - client {total['client_us']:.2f} s - sink "
            f"{total['sink_us']:.2f} s - server {total['server_us']:.2f} s = {total['rest_us']:.2f} s "
            f"({share:+.1f} % of the server's): other programs, interrupts, clock ticks"]


def peers(names, rows, runs, promises):
    """Lines: a row of work, a column for each server; then what their 250 means."""
    lines = [f"{'server CPU per operation, us':42}" + "".join(f" {name:>10}" for name in names)]
    for row in rows:
        cells = [f"{median(runs[name][row.key]):10.1f}" if runs[name].get(row.key) else f"{'-':>10}" for name in names]
        lines.append(f"{row.name:42} " + " ".join(cells))
    return lines + [f"250 of {name}: {promises[name]}" for name in names]
