# SPDX-License-Identifier: ISC
"""postern-bench compare, on results with known differences."""
import json
import os
import pathlib
import re
import subprocess
import tempfile

SOURCE = pathlib.Path(os.environ.get("PN_SOURCE_DIR") or pathlib.Path(__file__).resolve().parents[2])
BENCH = os.environ.get("PN_BENCH") or str(SOURCE / "build/release/bin/postern-bench")
if not os.access(BENCH, os.X_OK):
    print(f"{BENCH} is not built")
    raise SystemExit(77)

BASE = [100.0, 104.0, 97.0, 101.0, 99.0, 103.0, 98.0]
SAME, FASTER, SLOWER, FEW = "no difference beyond the noise", "faster", "slower", "too few rounds to say"


def compare(*arguments, code=0):
    r = subprocess.run([BENCH, "compare", *map(str, arguments)], capture_output=True, text=True, timeout=120,
                       check=False)
    assert r.returncode == code, f"{arguments}: exit code {r.returncode}, expected {code}\n{r.stdout}{r.stderr}"
    return r


def round_of(cpu, rate=1000.0, **more):
    return {"command": "submit", "operations": 10, "is_good": True, "operations_per_second": rate,
            "latency_us": {"p50": cpu * 10, "p99": cpu * 30}, "server": {"cpu_us_per_operation": cpu}, **more}


def write(path, rows, **more):
    path.write_text(json.dumps({"rows": [{"name": n, "rounds": rounds} for n, rounds in rows.items()], **more}))
    return path


def figures(path, **rows):
    return write(path, {name: [round_of(cpu) for cpu in values] for name, values in rows.items()})


def verdicts(folder, *arguments, code=0):
    out = folder / "comparison.json"
    compare(*arguments, "--json", out, code=code)
    return {row["name"]: row for row in json.loads(out.read_text())["comparison"]}


def test_known_differences(folder):
    a = figures(folder / "a.json", quick=BASE, slow=BASE, noisy=BASE, short=BASE[:2])
    b = figures(folder / "b.json", quick=[v * 0.8 for v in BASE], slow=[v * 1.25 for v in BASE],
                noisy=[101.0, 102.0, 99.0, 98.0, 102.0, 100.0, 99.0], short=BASE[:2])
    rows = verdicts(folder, a, b)
    assert {n: r["verdict"] for n, r in rows.items()} == {"quick": FASTER, "slow": SLOWER, "noisy": SAME, "short": FEW}
    assert abs(rows["quick"]["ratio"] - 0.8) < 1e-9 and abs(rows["slow"]["ratio_max"] - 1.25) < 1e-9
    assert rows["slow"]["a"] == {"rounds": 7, "median": 100.0, "min": 97.0, "max": 104.0, "mad": 2.0}, rows["slow"]
    text = compare(a, b).stdout
    assert re.search(r"faster, -20\.0 % server CPU", text) and re.search(r"slower, \+25\.0 % server CPU", text), text


def test_gate(folder):
    a = figures(folder / "a.json", one=BASE, two=BASE)
    b = figures(folder / "b.json", one=[v * 1.25 for v in BASE], two=[v * 0.5 for v in BASE])
    compare(a, b)
    compare(a, b, "--fail-above", 30)
    r = compare(a, b, "--fail-above", "24.9", code=1)
    assert "one: slower by more" in r.stderr and "two" not in r.stderr, r.stderr
    compare(a, b, "--fail-above", 10, "--only", "two")
    # What is not there, or too short to judge, passes no gate.
    gone = figures(folder / "gone.json", one=BASE)
    assert "only in A" in compare(a, gone).stdout
    compare(a, gone, "--fail-above", 10, code=1)
    compare(gone, a, "--fail-above", 10, code=1)
    short = figures(folder / "short.json", one=BASE[:2], two=BASE[:2])
    compare(short, short, code=0)
    compare(short, short, "--fail-above", 10, code=1)


def test_interleaved_files(folder):
    """Single runs in files of their own: A B A2 B2 A3 B3; ports, pids and paths do not tell loads apart."""
    files = []
    for n in range(3):
        for side, factor in (("a", 1.0), ("b", 1.5)):
            path = folder / f"{side}{n}.json"
            path.write_text(json.dumps(round_of(BASE[n] * factor, arguments=[
                "submit", "--port", str(4000 + n), "--messages-per-connection", "100", "--chunking",
                "--server-pid", str(n)])))
            files.append(path)
    rows = verdicts(folder, *files)
    assert list(rows) == ["submit --messages-per-connection 100 --chunking"], rows
    (row,) = rows.values()
    assert row["pairs"] == 3 and row["verdict"] == SLOWER and abs(row["ratio"] - 1.5) < 1e-9
    compare(*files[:3], code=2)
    # The same pairs in wild weather: every ratio is 1.02, the ranges overlap, three pairs are no proof.
    a = figures(folder / "wild-a.json", one=[100.0, 150.0, 200.0])
    b = figures(folder / "wild-b.json", one=[102.0, 153.0, 204.0])
    assert verdicts(folder, a, b)["one"]["verdict"] == SAME


def test_other_metrics_and_forms(folder):
    a = write(folder / "a.json", {"x": [round_of(1.0, rate=v) for v in BASE]})
    b = write(folder / "b.json", {"x": [round_of(1.0, rate=v * 2) for v in BASE]})
    assert verdicts(folder, a, b, "--metric", "rate")["x"]["verdict"] == FASTER
    assert verdicts(folder, b, a, "--metric=rate", "--fail-above", 40, code=1)["x"]["verdict"] == SLOWER
    assert verdicts(folder, a, b, "--metric", "p99")["x"]["verdict"] == SAME
    micro_a = write(folder / "ma.json", {"scan": [{"ns_per_operation": v} for v in BASE]}, machine={"cpu": "one"})
    micro_b = write(folder / "mb.json", {"scan": [{"ns_per_operation": v * 3} for v in BASE]}, machine={"cpu": "two"})
    row = verdicts(folder, micro_a, micro_b)["scan"]
    assert row["verdict"] == SLOWER and abs(row["a"]["median"] - 0.1) < 1e-9, row
    assert "note: cpu is 'one' in A and 'two' in B" in compare(micro_a, micro_b).stdout
    counts = write(folder / "counts.json", {"scan": [{"instructions_per_operation": 6818.0}]})
    assert verdicts(folder, counts, counts, "--metric", "instructions")["scan"]["verdict"] == FEW
    assert "recorded in neither" in compare(counts, counts).stdout


def test_mistakes(folder):
    good = figures(folder / "good.json", one=BASE)
    bad = write(folder / "bad.json", {"one": [round_of(v, is_good=i != 3) for i, v in enumerate(BASE)]})
    assert "is_good" in compare(good, bad, code=1).stderr
    wrong = ("", "[", "[]", "{}", '{"rows": 3}', '{"operations": "x", "server": []}', '{"rows": [[], null, 7]}',
             '{"rows": [{"name": 1, "rounds": {"a": 1}}]}', '{"rows": [{"rounds": [null, 3, "x", {}]}]}',
             '{"rows": [], "rows": []}')
    for number, text in enumerate(wrong):
        path = folder / f"wrong-{number}.json"
        path.write_text(text)
        r = subprocess.run([BENCH, "compare", path, good], capture_output=True, text=True, timeout=60, check=False)
        assert r.returncode in (0, 2), f"{text}: {r.returncode} {r.stderr}"
        assert text not in ("", "[", "[]", "{}") or (r.returncode == 2 and r.stderr), f"{text}: {r.returncode}"
    compare(good, folder / "missing.json", code=2)
    compare(good, code=2)
    compare(good, good, "--metric", "beauty", code=2)
    compare(good, good, "--fail-above", "much", code=2)
    compare(good, good, "--fail-above", code=2)
    compare(good, good, "--unknown", code=2)
    assert "--fail-above" in compare("--help").stdout


if __name__ == "__main__":
    for test_name, test in list(globals().items()):
        if test_name.startswith("test_"):
            with tempfile.TemporaryDirectory(prefix="postern-compare-test-") as path:
                print(test_name, flush=True)
                test(pathlib.Path(path))
