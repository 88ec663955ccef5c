# SPDX-License-Identifier: ISC
"""The scripts that measure: a short round of each row works, all is accounted for, nothing started stays behind."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

from harness import PATIENCE_S, POSTERN, SOURCE, Skip, run, scratch_folder

sys.path.insert(0, str(SOURCE / "bench/harness"))
import overload  # noqa: E402
import rows  # noqa: E402
import tables  # noqa: E402

BIN = pathlib.Path(POSTERN).parent
COSTS = ["handshake", "starttls", "resumed", "single", "many", "64k", "1m"]


def measure(program, folder, *options, code=0):
    if len(os.sched_getaffinity(0)) < 2:
        raise Skip("needs two CPUs")
    out = folder / "out.json"
    cpus = sorted(os.sched_getaffinity(0))
    command = [SOURCE / "bench" / program, "--bin", BIN, "--quick", "--scale", "0.005", "--parallel", "8",
               "--server-cpu", cpus[0], "--client-cpu", cpus[1], "--dir", folder, "--json", out, *options]
    r = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=PATIENCE_S * 10)
    assert r.returncode == code, f"exit code {r.returncode}, expected {code}\n{r.stdout}{r.stderr}"
    check_nothing_left(folder)
    return json.loads(out.read_text()) if code == 0 else r, r.stdout


def check_nothing_left(folder):
    left = [p.name for p in folder.iterdir() if p.name != "out.json"]
    assert not left, f"left behind: {left}"
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        assert str(folder).encode() not in words, f"still runs: {words}"


def check_rows(found, skipped):
    assert [r["key"] for r in found] == [key for key in COSTS if key not in skipped], skipped
    for row in found:
        for result in row["rounds"]:
            assert result["is_good"] and result["figure_us"] > 0 and result["window"]["machine_us"] > 0, row
            assert result["tls"]["version"] == 0x0304, row
            if "accounting" in result:
                a = result["accounting"]
                assert a["accepted"] == a["received"] == result["operations"] and a["lost"] == a["duplicated"] == 0, a
            assert result["memory_bytes"] > 0, row


def test_figures_of_every_row():
    with scratch_folder() as folder:
        document, text = measure("run-figures", folder)
        check_rows(document["rows"], document["skipped"])
        assert document["sink"]["duplicates"] == 0 and document["sink"]["corrupt"] == 0, document["sink"]
        found = {s["key"]: s for s in document["specials"]}
        check_overload(document)
        for key in ("evenness", "second-loop", "serial"):
            assert key in found and found[key]["value"] > 0, found
        assert len(document["special_rounds"]["loops"][0]["per_loop"]) == 2
        goal = {r["key"]: (r["goal_us"], r["floor_us"], r["to_reach_us"]) for r in document["rows"]}
        for wanted, floor, reach in goal.values():
            assert floor > 0 and reach == max(wanted, 1.15 * floor), goal
        assert goal["starttls"][1] > goal["handshake"][1] and goal["1m"][1] > goal["64k"][1], goal
        assert "cross-check" in text and "TLS 1.3 handshake" in text
        for key, reason in document["skipped"].items():
            assert f"skipped: {key}: {reason}" in text


def check_overload(document):
    rows = {s["name"].removeprefix("overload: "): s for s in document["specials"] if s["key"] == "overload"}
    assert len(rows) == 7 and all(row["verdict"] in ("reached", "missed") for row in rows.values()), rows
    # So few of them that all is done; what must never happen must not happen here either.
    assert rows["lost, doubled, changed"]["verdict"] == rows["limits exceeded"]["verdict"] == "reached", rows
    found = document["special_rounds"]["overload"][0]
    assert found["run"]["open_loop"]["rate"] == 2 * found["knee_rate"] > 0, found["knee_rate"]


def verdicts(**changes):
    """Of an overload in which all went well, but for the changes."""
    run = {"open_loop": {"scheduled": 20000, "dropped": 0, "unstarted": 0, "rate": 2000},
           "accounting": {"accepted": 10000, "received": 10000, "lost": 0, "duplicated": 0, "misdirected": 0,
                          "unpromised": 0, "corrupt": 0},
           "failures_by": [{"stage": overload.STAGE, "count": 10000, "p50_us": 4000, "p99_us": 9000}],
           "gateway_counters": {"session": {"loop/0": {"refused_sessions_max": 4000, "refused_handshakes_max": 6000}}}}
    found = {"knee_rate": 1000, "goodput": 1000, "value": 1.0, "over": [], "resident_bytes": 1 << 20, "run": run}
    for key, value in changes.items():
        (run if key in run else found)[key] = value
    return {name: tables.verdict(value, goal, is_more) for name, value, goal, is_more, _ in overload.criteria(found)}


def test_each_criterion_of_an_overload_can_be_missed():
    good = verdicts()
    assert set(good.values()) == {"reached"} and len(good) == 7, good
    row = {"stage": overload.STAGE, "count": 10000, "p50_us": 4000, "p99_us": 9000}
    due = {"scheduled": 20000, "dropped": 3000, "unstarted": 1, "rate": 2000}
    account = {"accepted": 9, "received": 8, "lost": 1, "duplicated": 0, "misdirected": 0, "unpromised": 0,
               "corrupt": 0}
    for name, changes in {
            "offered, times the knee": {"open_loop": due},
            "goodput, share of the knee": {"value": 0.89},
            "lost, doubled, changed": {"accounting": account},
            "limits exceeded": {"over": ["spool.memory_max_bytes"]},
            "refusals, p99 ms of the slowest stage": {"failures_by": [{**row, "p99_us": 1e6}]},
            "failed otherwise than refused before the handshake": {"failures_by": [{**row, "stage": "MAIL"}]}}.items():
        missed = {key for key, verdict in verdicts(**changes).items() if verdict == "missed"}
        assert missed == {name}, (name, missed)
    # The gateway refused nobody, or not all of those that failed.
    assert verdicts(gateway_counters={})["refused by its limits"] == "missed"
    assert verdicts(gateway_counters={})["failed otherwise than refused before the handshake"] == "missed"


def check_layers(document, text):
    """Where the kernel has TLS records both gateways stand side by side; where it has none that is said."""
    for row in document["rows"]:
        records = row["rounds"][0]["records"]
        moved = records["kernel"] + records["kernel_receive_only"] + records["user_space"]
        assert moved == records["sessions"] > 0, records
        assert f"records of {row['name']}: {tables.records(row['rounds'][0])}" in text
    off = document["ktls"]["off"]
    assert off.keys() == {"single"}
    if off["single"]:
        assert off["single"][0]["records"]["kernel"] == 0 and "ktls off" in text and "ktls auto" in text
    else:
        assert f"kernel TLS is {document['ktls']['kernel']}" in text, text


def test_two_record_layers_stand_side_by_side():
    result = {"figure_us": 40.0, "records": {"sessions": 9, "kernel": 0, "kernel_receive_only": 0, "user_space": 9}}
    moved = {"figure_us": 30.0, "records": {"sessions": 9, "kernel": 7, "kernel_receive_only": 1, "user_space": 1}}
    row = next(row for row in rows.COSTS if row.key == "single")
    lines = tables.layers([row], [("off", {"single": [result]}), ("auto", {"single": [moved]})])
    assert len(lines) == 2 and "ktls off" in lines[0] and "40.0       30.0     0.75" in lines[1], lines
    assert "auto: kernel TX+RX 7 of 9 sessions, user space 1, kernel RX alone 1" in lines[1], lines


def test_rows_can_be_chosen():
    with scratch_folder() as folder:
        document, text = measure("run-figures", folder, "--rows", "starttls,single,message by message", "--rounds", "1",
                                 "--ktls", "both")
        assert [r["key"] for r in document["rows"]] == ["starttls", "single"]
        check_layers(document, text)
        assert [s["key"] for s in document["specials"]] == ["serial"]
        result, _ = measure("run-figures", folder, "--rows", "nonsense", code=2)
        assert "there is no such row" in result.stderr


def test_peers_that_are_installed():
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    installed = []
    if os.path.exists("/usr/lib/nginx/modules/ngx_mail_module.so") and shutil.which("nginx", path=path):
        installed.append("nginx")
    if os.geteuid() == 0 and shutil.which("postfix", path=path) and shutil.which("dovecot", path=path):
        installed.append("postfix")
    if not installed:
        raise Skip("neither nginx with its mail module nor Postfix with Dovecot is here (deploy/install-deps --bench)")
    with scratch_folder() as folder:
        document, text = measure("peers/run", folder, "--no-install", "--servers", ",".join(["postern", *installed]))
        assert len(document["servers"]) == 1 + len(installed), document["skipped"]
        for name, server in document["servers"].items():
            check_rows(server["rows"], document["skipped"])
            assert server["version"] and server["files"] and server["promise"], name
            assert f"250 of {name}: " in text
            assert server["serial"][0]["value"] > 0


if __name__ == "__main__":
    run(globals())
