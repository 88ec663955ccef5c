# SPDX-License-Identifier: ISC
"""What postern-bench measures inside itself: that every row runs and adds up. No time is judged."""
import json
import os
import pathlib
import subprocess
import tempfile

SOURCE = pathlib.Path(os.environ.get("PN_SOURCE_DIR") or pathlib.Path(__file__).resolve().parents[2])
BENCH = os.environ.get("PN_BENCH") or str(SOURCE / "build/release/bin/postern-bench")
PATIENCE_S = 600
if not os.access(BENCH, os.X_OK):
    print(f"{BENCH} is not built")
    raise SystemExit(77)

LIMIT_ROWS = {"tls_full_ecdsa", "tls_full_rsa", "tls_resumed", "open_aes128_4k", "open_aes128_16k", "open_aes256_4k",
              "open_aes256_16k", "open_chacha_4k", "open_chacha_16k", "ring_connection", "ring_message", "sync_append",
              "sync_overwrite", "sync_group"}


def bench(*arguments, code=0):
    r = subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert r.returncode == code, f"{arguments}: exit code {r.returncode}, expected {code}\n{r.stdout}{r.stderr}"
    return r


def figures_of(rows):
    """As run-first-figures writes them; only what the comparison with floors reads."""
    return {"rows": [{"name": name, "goal_us": 1, "rounds": [
        {"command": command, "operations": operations, "connections": connections, "tls": {"resumed": resumed},
         "server": {"cpu_us_per_operation": cpu}} for cpu in cpus]}
        for name, command, operations, connections, resumed, cpus in rows]}


def test_limit_measures_every_row(folder):
    out = folder / "limit.json"
    r = bench("limit", "--quick", "--dir", folder, "--json", out)
    report = json.loads(out.read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert rows.keys() == LIMIT_ROWS, rows.keys() ^ LIMIT_ROWS
    for row in rows.values():
        assert len(row["rounds"]) == 3 and row["cpu_us_min"] <= row["cpu_us"] <= row["cpu_us_max"], row
        assert all(one["cpu_us"] > 0 for one in row["rounds"]), row
        assert row["name"] in r.stdout
    assert all(one["p50_us"] > 0 for one in rows["sync_append"]["rounds"])
    assert report["command"] == "limit" and report["machine"]["kernel"]
    for floor in report["floors"]:
        total = sum(rows[part]["cpu_us"] for part in floor["parts"])
        assert abs(floor["cpu_us"] - total) < 1e-6 * total, floor
    assert [f["name"] for f in report["floors"]] == ["handshake", "handshake_resumed", "message_4k", "session_4k"]
    assert not list(folder.glob("postern-bench-*")), "the working folder stayed behind"


def test_figures_stand_beside_their_floors(folder):
    figures = folder / "figures.json"
    figures.write_text(json.dumps(figures_of([
        ("shaken", "handshake", 10, 10, False, [1e6, 3e6, 2e6]), ("resumed", "handshake", 10, 10, True, [1e6]),
        ("alone", "submit", 10, 10, False, [1e6]), ("many", "submit", 1000, 10, False, [1e6])])))
    out = folder / "limit.json"
    r = bench("limit", "--quick", "--dir", folder, "--json", out, "--figures", figures)
    report = json.loads(out.read_text())
    floors = {f["name"]: f["cpu_us"] for f in report["floors"]}
    gateway = {row["name"]: row for row in report["gateway"]}
    assert {k: v["floor"] for k, v in gateway.items()} == {
        "shaken": "handshake", "resumed": "handshake_resumed", "alone": "session_4k", "many": "message_4k"}
    assert gateway["shaken"]["cpu_us"] == 2e6
    assert abs(gateway["shaken"]["floor_share"] - floors["handshake"] / 2e6) < 1e-9
    assert "shaken" in r.stdout
    figures.write_text("[1, 2")
    bench("limit", "--quick", "--only", "open_aes128_4k", "--dir", folder, "--figures", figures, code=1)


def test_limit_only_and_mistakes(folder):
    out = folder / "limit.json"
    bench("limit", "--quick", "--only", "open_", "--dir", folder, "--json", out)
    report = json.loads(out.read_text())
    assert {row["name"] for row in report["rows"]} == {n for n in LIMIT_ROWS if n.startswith("open_")}
    assert report["floors"] == [], "a floor of rows that were not measured"
    bench("limit", "--only", "nothing-like-it", code=2)
    bench("limit", "--quick", "--dir", folder / "missing", code=2)
    bench("limit", "--rounds", "0", code=2)


if __name__ == "__main__":
    for test_name, test in list(globals().items()):
        if test_name.startswith("test_"):
            with tempfile.TemporaryDirectory(prefix="postern-bench-test-") as path:
                print(test_name, flush=True)
                test(pathlib.Path(path))
