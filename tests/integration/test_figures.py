# SPDX-License-Identifier: ISC
"""The scripts that measure: a short round of each row works, all is accounted for, nothing started stays behind."""
import json
import os
import pathlib
import shutil
import subprocess

from harness import PATIENCE_S, POSTERN, SOURCE, Skip, run, scratch_folder

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


def check_rows(rows, skipped):
    assert [r["key"] for r in rows] == [key for key in COSTS if key not in skipped], skipped
    for row in rows:
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


def test_rows_can_be_chosen():
    with scratch_folder() as folder:
        document, _ = measure("run-figures", folder, "--rows", "starttls,message by message", "--rounds", "1")
        assert [r["key"] for r in document["rows"]] == ["starttls"]
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
