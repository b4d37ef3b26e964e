"""What a benchmark's report says."""

import json

import pytest

from benchmarks import report as reports
from benchmarks.report import Bar, Table, quantile


@pytest.fixture
def reported(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "RESULTS", tmp_path / "results")
    rows = [{"what": "floor", "objects/s": 300.25}, {"what": "ours", "requests": 1200}]
    bars = [Bar("p95", 2.0, "s", 2.0), Bar("under", 2.0, "s", 2.0, strict=True)]
    reports.report("fleet", [Table("Creation", rows)], bars, "- A note.\n")
    return tmp_path / "results"


def test_a_bar_holds_up_to_its_limit_and_a_strict_one_only_below_it():
    assert [Bar("b", value, "s", 2.0).holds for value in (1.9, 2.0, 2.1)] == [True, True, False]
    assert [Bar("b", value, "s", 2.0, strict=True).holds for value in (1.9, 2.0, 2.1)] == [True, False, False]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (1.0, 100), (0.001, 1)])
def test_a_quantile_is_a_value_that_was_measured(share, expected):
    assert quantile(range(100, 0, -1), share) == expected


def test_the_json_holds_command_date_machine_rows_and_bars(reported):
    document = json.loads((reported / "fleet.json").read_text())
    assert {"command", "date", "machine"} <= document.keys()
    assert document["rows"][1] == {"table": "Creation", "what": "ours", "requests": 1200}
    assert document["bars"] == [
        {"name": "p95", "value": 2.0, "unit": "s", "limit": 2.0, "holds": True},
        {"name": "under", "value": 2.0, "unit": "s", "limit": 2.0, "holds": False},
    ]


def test_the_markdown_shows_every_column_and_marks_what_does_not_hold(reported):
    lines = (reported / "fleet.md").read_text().splitlines()
    assert "| what | objects/s | requests |" in lines
    assert "| floor | 300 |  |" in lines
    assert "| ours |  | 1,200 |" in lines
    assert "| under | 2.00 | s | 2.00 | **no** |" in lines
    assert lines[-1] == "- A note."
