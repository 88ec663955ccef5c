# SPDX-License-Identifier: ISC
"""What postern-bench measures inside itself: that every row runs and adds up. No time is judged."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

SOURCE = pathlib.Path(os.environ.get("PN_SOURCE_DIR") or pathlib.Path(__file__).resolve().parents[2])
BENCH = os.environ.get("PN_BENCH") or str(SOURCE / "build/release/bin/postern-bench")
SANITIZED = os.environ.get("PN_SANITIZE", "")
PATIENCE_S = 600
if not os.access(BENCH, os.X_OK):
    print(f"{BENCH} is not built")
    raise SystemExit(77)

LIMIT_ROWS = {"tls_full_ecdsa", "tls_full_rsa", "tls_resumed", "open_aes128_4k", "open_aes128_16k",
              "open_boringssl_4k", "open_boringssl_16k", "open_boringssl_aes256_16k", "seal_boringssl_4k",
              "seal_boringssl_16k",
              "open_aes256_16k", "open_chacha_4k", "open_chacha_16k", "seal_aes128_4k", "seal_aes128_16k",
              "ring_connection", "ring_exchange", "ring_message", "ring_receive_64k", "ring_receive_1m", "ring_send_4k",
              "ring_send_64k", "ring_send_1m", "sync_append", "sync_overwrite", "sync_group", "sync_4k_group",
              "sync_64k", "sync_64k_group", "sync_1m"}
KTLS_ROWS = {"ktls_receive_4k", "ktls_receive_1m", "ktls_send_4k", "ktls_send_1m"}
FLOORS = ["handshake", "handshake_resumed", "starttls", "message_4k", "message_64k", "message_1m", "session_4k"]
MICRO_ROWS = {"data_scan", "data_scan_pieces", "data_scan_dots", "data_scan_chunk", "content_scan", "command_parse",
              "address_parse", "reply_format", "timer_rearm", "timer_expire", "queue_alone", "queue_1x1", "queue_2x2",
              "queue_4x4", "spool_append",
              *(f"{by}_seal{row}" for by in ("record", "boringssl") for row in ("", "_open", "_16k", "_open_16k"))}


def bench(*arguments, code=0):
    r = subprocess.run([BENCH, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert r.returncode == code, f"{arguments}: exit code {r.returncode}, expected {code}\n{r.stdout}{r.stderr}"
    return r


def figures_of(rows):
    """As run-figures writes them; only what the comparison with floors reads. rows: name, operations and more, CPU."""
    return {"rows": [{"name": name, "goal_us": 1, "rounds": [
        {"operations": 10, "connections": 10, **more, "server": {"cpu_us_per_operation": cpu}} for cpu in cpus]}
        for name, more, cpus in rows]}


def sent(size_bytes, per_connection, size=""):
    return {"command": "submit", "operations": 10 * per_connection, "message_size_bytes": size_bytes,
            "size": size or str(size_bytes)}


def test_limit_measures_every_row(folder):
    out = folder / "limit.json"
    r = bench("limit", "--quick", "--dir", folder, "--json", out)
    report = json.loads(out.read_text())
    rows = {row["name"]: row for row in report["rows"]}
    absent = {row["name"] for row in report["absent"]}
    # Records of the kernel are measured or named as absent, all or none.
    assert absent in (set(), KTLS_ROWS) and all(row["reason"] for row in report["absent"]), report["absent"]
    assert rows.keys() == (LIMIT_ROWS | KTLS_ROWS) - absent, rows.keys() ^ LIMIT_ROWS
    assert r.stdout.count("not on this kernel") == len(absent)
    for row in rows.values():
        assert len(row["rounds"]) == 3 and row["cpu_us_min"] <= row["cpu_us"] <= row["cpu_us_max"], row
        assert all(one["cpu_us"] > 0 for one in row["rounds"]), row
        assert row["name"] in r.stdout
    assert all(one["p50_us"] > 0 for one in rows["sync_append"]["rounds"])
    assert report["command"] == "limit" and report["machine"]["kernel"]
    for floor in report["floors"]:
        total = sum(part["times"] * rows[part["row"]]["cpu_us"] for part in floor["parts"])
        assert abs(floor["cpu_us"] - total) < 1e-6 * total, floor
    assert [f["name"] for f in report["floors"]] == FLOORS
    parts = {f["name"]: {p["row"]: p["times"] for p in f["parts"]} for f in report["floors"]}
    assert parts["message_64k"]["open_aes128_16k"] == 4 and parts["message_1m"]["open_aes128_16k"] == 64, parts
    assert all("ring_send" in str(parts[name]) for name in FLOORS[3:]), "a floor of messages without delivery"
    assert not list(folder.glob("postern-bench-*")), "the working folder stayed behind"


def test_figures_stand_beside_their_floors(folder):
    figures = folder / "figures.json"
    shaken = {"command": "handshake", "tls": {"resumed": False}}
    figures.write_text(json.dumps(figures_of([
        ("shaken", shaken, [1e6, 3e6, 2e6]), ("resumed", {"command": "handshake", "tls": {"resumed": True}}, [1e6]),
        ("upgraded", {**shaken, "config": {"starttls": True}}, [1e6]),
        ("alone", sent(4096, 1), [1e6]), ("many", sent(4096, 100), [1e6]), ("64k", sent(65536, 20), [1e6]),
        ("1m", sent(1048576, 5), [1e6]), ("odd", sent(5000, 5), [1e6]), ("alone 64k", sent(65536, 1), [1e6]),
        ("mixed", sent(65536, 5, "1K-64K"), [1e6]), ("some", sent(4096, 5, "2K*70,4K*30"), [1e6])])))
    out = folder / "limit.json"
    r = bench("limit", "--quick", "--dir", folder, "--json", out, "--figures", figures)
    report = json.loads(out.read_text())
    floors = {f["name"]: f["cpu_us"] for f in report["floors"]}
    gateway = {row["name"]: row for row in report["gateway"]}
    assert {k: v["floor"] for k, v in gateway.items()} == {
        "shaken": "handshake", "resumed": "handshake_resumed", "upgraded": "starttls", "alone": "session_4k",
        "many": "message_4k", "64k": "message_64k", "1m": "message_1m"}
    assert r.stdout.count("no floor measured for it") == 4
    assert gateway["shaken"]["cpu_us"] == 2e6
    assert abs(gateway["shaken"]["floor_share"] - floors["handshake"] / 2e6) < 1e-9
    assert "shaken" in r.stdout
    figures.write_text("[1, 2")
    bench("limit", "--quick", "--only", "open_aes128_4k", "--dir", folder, "--figures", figures, code=2)


def test_limit_only_and_mistakes(folder):
    out = folder / "limit.json"
    bench("limit", "--quick", "--only", "open_", "--dir", folder, "--json", out)
    report = json.loads(out.read_text())
    assert {row["name"] for row in report["rows"]} == {n for n in LIMIT_ROWS if n.startswith("open_")}
    assert report["floors"] == [], "a floor of rows that were not measured"
    bench("limit", "--only", "nothing-like-it", code=2)
    bench("limit", "--quick", "--dir", folder / "missing", code=2)
    bench("limit", "--rounds", "0", code=2)


def test_micro_runs_every_bench(folder):
    out = folder / "micro.json"
    bench("micro", "--quick", "--dir", folder, "--json", out)
    rows = {row["name"]: row for row in json.loads(out.read_text())["rows"]}
    # Where Concurrency Kit is installed its queues stand beside ours.
    assert {n for n in rows if "_ck_" not in n} == MICRO_ROWS, rows.keys() ^ MICRO_ROWS
    for row in rows.values():
        assert len(row["rounds"]) == 3 and row["iterations"] > 0, row
        assert row["ns_min"] <= row["ns_per_operation"] <= row["ns_max"], row
    assert not list(folder.glob("postern-bench-*")), "the spool stayed behind"
    assert set(bench("micro", "--list").stdout.split()) == rows.keys()
    bench("micro", "--only", "data_scan", "--exact", "--iterations", 77, "--rounds", 1, "--json", out)
    only = json.loads(out.read_text())["rows"]
    assert [(row["name"], row["iterations"], len(row["rounds"])) for row in only] == [("data_scan", 77, 1)]
    bench("micro", "--only", "data_sca", "--exact", code=2)


def test_instructions_are_counted_alike(folder):
    """Twice the same count: that is what instruction counts are for."""
    if SANITIZED or not shutil.which("valgrind"):
        print("instructions are not counted: valgrind is missing, or this is a sanitizer build")
        return
    counts = []
    for name in ("a.json", "b.json"):
        subprocess.run([SOURCE / "bench/count-instructions", "--bin", BENCH, "--tool", "callgrind",
                        "--operations", "1000", "--only", "data_scan_chunk", "--dir", folder, "--json", folder / name],
                       check=True, capture_output=True, timeout=PATIENCE_S)
        rows = json.loads((folder / name).read_text())["rows"]
        assert [row["name"] for row in rows] == ["data_scan_chunk"]
        counts.append(rows[0]["rounds"][0]["instructions_per_operation"])
    # 4 KiB in blocks of 64 octets: more than an instruction for each block, and not a hundred for each octet.
    assert 64 < counts[0] < 400000 and abs(counts[0] - counts[1]) < counts[0] / 100, counts


if __name__ == "__main__":
    for test_name, test in list(globals().items()):
        if test_name.startswith("test_"):
            with tempfile.TemporaryDirectory(prefix="postern-bench-test-") as path:
                print(test_name, flush=True)
                test(pathlib.Path(path))
