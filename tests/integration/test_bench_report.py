# SPDX-License-Identifier: ISC
"""postern-bench report: the page holds the numbers, fetches nothing, and copes with whatever a result lacks."""
import copy
import json
import os
import pathlib
import re
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree

SOURCE = pathlib.Path(os.environ.get("PN_SOURCE_DIR") or pathlib.Path(__file__).resolve().parents[2])
BENCH = os.environ.get("PN_BENCH") or str(SOURCE / "build/release/bin/postern-bench")
if not os.access(BENCH, os.X_OK):
    print(f"{BENCH} is not built")
    raise SystemExit(77)

EVIL = "<script>alert('x')</script>&amp;\"/><img src=//example.net onerror=x> \x1b"
FIGURES = ("Server CPU per operation", "Memory per connection", "Latency by percentile", "Throughput over time",
           "Server CPU over time", "Server memory over time")

# Elements and attributes that could load or run something.
FETCHING = {"script", "link", "img", "iframe", "object", "embed", "base", "a", "image", "use", "src", "href", "srcset",
            "action"}

FULL = {
    "command": "submit", "operation": "message", "started": "2026-01-02T03:04:05.678Z", "seed": "987654321",
    "arguments": ["submit", "--port", "465", "--messages-per-connection", "100"],
    "operations": 4321, "failures": 0, "operations_per_second": 1234.0, "is_good": True,
    "latency_us": {"mean": 3000.0, "p50": 2500.0, "p90": 6000.0, "p99": 12340.0, "p999": 50000.0, "max": 98760.0},
    "latency_histogram": [[1000.0, 10], [2500.0, 80], [12340.0, 9], [98760.0, 1]],
    "samples": [{"t_ms": 500 * n, "done": 600 * n, "server_cpu_us": 200000 * n, "rss_bytes": 2**20 * (30 + n)}
                for n in range(5)],
    "server": {"cpu_us": 4e5, "cpu_us_per_operation": 96.5, "user_us": 300000, "system_us": 100000,
               "rss_bytes": 40 * 2**20},
    "client": {"cpu_us_per_operation": 55.5},
    "tls": {"suite": "TLS_AES_128_GCM_SHA256", "group": "x25519", "resumed": False},
    "records": {"sessions": 60, "kernel": 55, "kernel_receive_only": 2, "user_space": 3},
    "loops": [{"name": "loop/0", "handshakes": 2000}, {"name": "loop/1", "handshakes": 1500}],
    "memory": {"per_connection_bytes": 6656},
    "machine": {"cpu": "A processor", "kernel": "6.1.2", "io_uring_features": ["single-issuer", "msg-ring"],
                "ktls": False},
}


def report(folder, *names, code=0, options=()):
    out = folder / "report.html"
    out.unlink(missing_ok=True)
    r = subprocess.run([BENCH, "report", *(str(folder / n) for n in names), "-o", str(out), *options],
                       capture_output=True, text=True, timeout=120, check=False)
    assert r.returncode == code, f"{names}: exit code {r.returncode}, expected {code}\n{r.stdout}{r.stderr}"
    return out.read_text(encoding="utf-8") if code == 0 else r.stderr


def write(folder, name, document):
    (folder / name).write_text(json.dumps(document))
    return name


def parse(page):
    """The page is well-formed, and asks for nothing from anywhere."""
    root = ElementTree.fromstring(page)
    for element in root.iter():
        assert element.tag not in FETCHING, element.tag
        for key, value in element.attrib.items():
            assert not key.startswith("on") and key not in FETCHING, f"{element.tag} {key}={value}"
    assert not re.search(r"https?://|url\(|@import", page), "the page names something outside of itself"
    policy = root.find(".//meta[@http-equiv]").attrib["content"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'", policy
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids)), ids
    for svg in root.iter("svg"):
        if svg.attrib.get("aria-hidden") == "true":
            continue
        told_by = [svg.find("title").attrib["id"], svg.find("desc").attrib["id"]]
        assert svg.attrib["role"] == "img" and svg.attrib["aria-labelledby"].split() == told_by
        assert svg.find("title").text and svg.find("desc").text
        for text in ("nan", "inf"):
            assert text not in ElementTree.tostring(svg, encoding="unicode").lower().replace("single", ""), text
    return root


def figures(root):
    return {f.find("h3").text: f for f in root.iter("figure")}


def numbers(figure):
    """Rows of the table to unfold."""
    return [[cell.text for cell in row] for row in figure.findall(".//tbody/tr")]


def text_of(root):
    return " ".join("".join(root.find("body").itertext()).split())


def test_numbers_are_in_the_page(folder):
    root = parse(report(folder, write(folder, "one.json", FULL), options=("--title", "Nightly & more")))
    text = text_of(root)
    assert root.find(".//h1").text == "Nightly & more" == root.find(".//title").text
    for expected in ("4321", "1234", "96.5", "55.5", "12.34", "98.76", "987654321", "2026-01-02T03:04:05.678Z",
                     "A processor", "6.1.2", "single-issuer msg-ring", "TLS_AES_128_GCM_SHA256 x25519",
                     "kernel TX+RX 55 of 60 sessions, user space 3, kernel RX alone 2",
                     "submit --port 465 --messages-per-connection 100"):
        assert expected in text, expected
    charts = figures(root)
    assert set(FIGURES) <= charts.keys()
    assert "not recorded" not in "".join("".join(f.itertext()) for f in charts.values())
    name = "submit --messages-per-connection 100"
    assert numbers(charts["Server CPU per operation"]) == [[name, "72.4", "24.1", "0.0"]]
    assert numbers(charts["Memory per connection"]) == [[name, "6.50"]]
    # 600 operations and 200 ms of CPU each half second.
    assert [row[2] for row in numbers(charts["Throughput over time"])] == ["1200.000"] * 4
    assert [row[2] for row in numbers(charts["Server CPU over time"])] == ["40.000"] * 4
    assert [row[2] for row in numbers(charts["Server memory over time"])] == [f"{30 + n}.000" for n in range(5)]
    # -log10(1 - share): 10 % and 90 % of all are done within the first and second bucket, 99 % within the third.
    assert [row[1:] for row in numbers(charts["Latency by percentile"])] == [
        ["0.046", "1.000"], ["1.000", "2.500"], ["2.000", "12.340"], ["2.301", "98.760"]]
    loops = charts[f"Evenness of loops: {name}"]
    assert numbers(loops) == [["loop/0", "2000"], ["loop/1", "1500"]] and "mean: 1750" in text and "mean: 2012" in text


def test_rounds_and_files_side_by_side(folder):
    rounds = [copy.deepcopy(FULL) for _ in range(3)]
    for round_, cpu in zip(rounds, (80.0, 120.0, 90.0)):
        round_["server"]["cpu_us_per_operation"] = cpu
    doc = {"arguments": ["run-figures"],
           "rows": [{"name": "row one", "rounds": rounds}, {"name": "row two", "rounds": rounds[:1]}]}
    write(folder, "a.json", doc)
    write(folder, "b.json", FULL)
    write(folder, "micro.json", {
        "command": "micro", "arguments": ["micro"], "machine": {"cpu": "M"},
        "rows": [{"name": "data_scan", "rounds": [{"ns_per_operation": v} for v in (400.0, 500.0, 450.0)]}]})
    root = parse(report(folder, "a.json", "b.json", "micro.json"))
    rows = {tuple(c.text for c in row) for row in root.iter("tr")}
    assert ("a.json: row one", "3", "90.0", "80.0", "120.0", "10.0") in rows, rows
    assert ("data_scan", "3", "0.450", "0.400", "0.500", "0.050") in rows, rows
    cpu = numbers(figures(root)["Server CPU per operation"])
    assert [row[0] for row in cpu] == ["a.json: row one", "a.json: row two",
                                       "b.json: submit --messages-per-connection 100"]
    assert cpu[0][1:3] == ["67.5", "22.5"], "the median round is drawn"


def test_every_key_may_be_missing(folder):
    for key in [k for k in FULL if k != "operations"]:
        less = {k: v for k, v in FULL.items() if k != key}
        parse(report(folder, write(folder, "less.json", less)))
    root = parse(report(folder, write(folder, "bare.json", {"operations": 5})))
    charts = figures(root)
    assert set(FIGURES) | {"Evenness of loops"} == charts.keys()
    for title, figure in charts.items():
        assert figure.find("svg") is None and "not recorded" in "".join(figure.itertext()), title
    # Beside a run that has it, the one that lacks it is named.
    root = parse(report(folder, "bare.json", write(folder, "one.json", FULL)))
    for title in FIGURES:
        assert "not recorded: bare.json" in "".join(figures(root)[title].itertext()), title
    # Results of before the histogram: the percentiles that there are, and ticks instead of microseconds.
    old = {k: v for k, v in FULL.items() if k not in ("latency_histogram", "samples", "loops", "memory")}
    old["server"] = {"cpu_us_per_operation": 100.0, "user_ms": 30, "system_ms": 10}
    charts = figures(parse(report(folder, write(folder, "old.json", old))))
    assert [row[1:] for row in numbers(charts["Latency by percentile"])] == [
        ["0.301", "2.500"], ["1.000", "6.000"], ["2.000", "12.340"], ["3.000", "50.000"]]
    assert numbers(charts["Server CPU per operation"])[0][1:3] == ["75.0", "25.0"]


def spoil(value, bad):
    """All documents that have one value of the tree replaced."""
    if isinstance(value, dict):
        for key in value:
            for spoiled in [bad, *spoil(value[key], bad)]:
                yield {**value, key: spoiled}
    elif isinstance(value, list):
        for n, item in enumerate(value[:1]):
            for spoiled in [bad, *spoil(item, bad)]:
                yield value[:n] + [spoiled] + value[n + 1:]


def test_values_of_another_kind(folder):
    for bad in (EVIL, None, -1, 1e300, [], {}):
        documents = [d for d in spoil(FULL, bad) if isinstance(d.get("operations"), (int, float))]
        rows = [{"name": f"r{n}", "rounds": [d]} for n, d in enumerate(documents)]
        for start in range(0, len(rows), 20):
            parse(report(folder, write(folder, "spoiled.json", {"rows": rows[start:start + 20]})))


def test_nothing_from_a_result_becomes_markup(folder):
    evil = json.loads(json.dumps(FULL).replace("A processor", "@").replace("6.1.2", "@").replace("987654321", "@")
                      .replace("loop/0", "@").replace("x25519", "@").replace("single-issuer", "@").replace("465", "@"))
    evil = json.loads(json.dumps(evil).replace('"@"', json.dumps(EVIL)))
    evil["machine"][EVIL] = EVIL
    doc = {"arguments": [EVIL], "rows": [{"name": EVIL, "rounds": [evil]}]}
    page = report(folder, write(folder, "evil.json", doc), options=("--title", EVIL))
    root = parse(page)
    shown = EVIL.replace("\x1b", "\ufffd")
    assert root.find(".//h1").text == shown
    assert "".join(root.itertext()).count(shown) > 10 and "<script" not in page and "<img" not in page
    name = "a<b>&'.json"
    write(folder, name, FULL)
    assert name in text_of(parse(report(folder, name)))


def test_many_runs_and_mistakes(folder):
    rows = [{"name": f"row {n}", "rounds": [FULL]} for n in range(30)]
    text = text_of(parse(report(folder, write(folder, "many.json", {"rows": rows}))))
    assert "row 23" in text and "6 further runs are not shown" in text
    assert "No run of a load command" in text_of(parse(report(folder, write(folder, "empty.json", {"rows": []}))))
    (folder / "broken.json").write_text("{")
    for name in ("broken.json", "missing.json"):
        assert name in report(folder, name, code=2)
    report(folder, code=2)
    r = subprocess.run([BENCH, "report", folder / "many.json", "-o", folder / "no/such/folder.html"],
                       capture_output=True, timeout=60, check=False)
    assert r.returncode == 1


if __name__ == "__main__":
    for test_name, test in list(globals().items()):
        if test_name.startswith("test_"):
            with tempfile.TemporaryDirectory(prefix="postern-report-test-") as path:
                print(test_name, flush=True)
                test(pathlib.Path(path))
