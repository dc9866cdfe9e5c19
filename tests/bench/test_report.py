import json

from bench.report import CAVEAT, Measurement, as_json, document, machine_facts, results_table, summarise

RUNS = [
    Measurement("direct", 1, 0, 10_000.0, 50.0, 90.0, None),
    Measurement("proxy", 1, 0, 7_000.0, 80.0, 120.0, 20.0),
    Measurement("direct", 8, 0, 20_000.0, 200.0, 500.0, None),
    Measurement("proxy", 8, 0, 15_000.0, 300.0, 700.0, 22.0),
    # A round in which everything was twice as slow must not change what is compared.
    Measurement("direct", 1, 1, 5_000.0, 100.0, 180.0, None),
    Measurement("proxy", 1, 1, 2_500.0, 130.0, 240.0, 24.0),
    Measurement("direct", 1, 2, 11_000.0, 52.0, 91.0, None),
    Measurement("proxy", 1, 2, 4_400.0, 83.0, 130.0, 21.0),
]

TABLE = """\
| connections | target | queries/s |     ± | of direct | p50 us | p99 us | added p50 | added p99 | CPU us/query |
| ----------: | ------ | --------: | ----: | --------: | -----: | -----: | --------: | --------: | -----------: |
|           1 | direct |    10,000 | 1,500 |      1.00 |     52 |     91 |         0 |         0 |              |
|           1 | proxy  |     4,400 | 1,125 |      0.50 |     83 |    130 |        30 |        39 |         21.0 |
|           8 | direct |    20,000 |       |      1.00 |    200 |    500 |           |           |              |
|           8 | proxy  |    15,000 |       |      0.75 |    300 |    700 |           |           |         22.0 |"""


def test_table_of_medians() -> None:
    assert results_table(summarise(RUNS, "direct")) == TABLE


def test_document() -> None:
    text = document("Title", summarise(RUNS, "direct"), {"CPU": "fast"}, {"other": "not\n  installed"})
    assert text == f"# Title\n\n{TABLE}\n\n{CAVEAT}\n\n* CPU: fast\n* other: absent, not installed\n"


def test_json_holds_medians_and_runs() -> None:
    rows = summarise(RUNS, "direct")
    data = json.loads(json.dumps(as_json(rows, RUNS, {"CPU": "fast"}, {})))
    assert len(data["runs"]) == len(RUNS)
    assert data["medians"][1]["added_p50_us"] == 30.0
    assert data["medians"][1]["cpu_us"] == 21.0
    assert data["facts"] == {"CPU": "fast"}


def test_machine_facts() -> None:
    facts = machine_facts()
    assert facts.keys() == {"CPU", "cores", "kernel", "Python"}
    assert all(facts.values())
