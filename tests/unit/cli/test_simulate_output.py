"""The output of `tritonfleet simulate`."""

import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.unit.cli.conftest import MANIFEST
from tritonfleet.cli import main

CALM = "t_s,rate\n" + "".join(f"{60 * minute},20\n" for minute in range(10))
CROWDED = "t_s,rate\n" + "".join(f"{60 * minute},{rate}\n" for minute, rate in enumerate([20] * 4 + [400] * 6))
SERVICE = ("--service", "60ms,15ms")
KEDA = (*SERVICE, "--scalers", "keda", "--seed", "1")


def run_once(folder: Path, name: str, trace: str, *options: str) -> str:
    """Simulate for all tests of this file that only read what came of it; return what was printed."""
    (folder / "model.yaml").write_text(MANIFEST)
    (folder / name).write_text(trace)
    where = ("-f", str(folder / "model.yaml"), "--trace", str(folder / name), "--jobs", "1")
    with redirect_stdout(io.StringIO()) as said:
        assert main(["simulate", *where, *KEDA, *options]) == 0
    return said.getvalue()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is said of calm traffic, in JSON."""
    return run_once(tmp_path_factory.mktemp("calm"), "trace.csv", CALM, "--json")


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What is said of too much traffic, as a table and as a page; the trace has an evil name."""
    folder = tmp_path_factory.mktemp("crowded")
    said = run_once(folder, "<img src=x>.csv", CROWDED, "--html", str(folder / "out.html"))
    return said, (folder / "out.html").read_text()


def test_every_scaler_gets_a_line_and_the_assumptions_are_listed(simulate: Callable) -> None:
    said = simulate(CALM, *SERVICE, "--seed", 3)

    lines = said.out.splitlines()
    assert (said.status, said.err) == (0, "")
    assert lines[0] == "recommender on trace: p99 <= 750ms, 1 to 4 replicas"
    assert re.fullmatch(r"  1[12],\d{3} requests in 10m, \d\d(\.\d)? per second", lines[2])
    assert lines[3].startswith("  a batch of b requests takes 60ms + 15ms * b, b up to 16 (--service)")
    assert re.match(r"  one replica can serve 4\d(\.\d)? requests/s within p99 <= 750ms, 53.3 at most", lines[4])
    assert lines[5] == "  a pod takes 1m to become ready, the slowest tenth 2m or more"
    assert lines[7].split() == [
        *("scaler", "GPU-h", "ratio", "attained", "missed", "over", "SLO", "events", "flips"),
    ]
    assert [re.split(r"  +", line)[0] for line in lines[8:14]] == [
        "clairvoyant",
        "tritonfleet",
        "HPA, GPU utilization 80%",
        "HPA, p99 at 562ms",
        lines[12].split("  ")[0],
        "Knative KPA, 11.2 in flight",
    ]
    assert re.match(r"KEDA, [23]\d(\.\d)? requests/s \(65% of a load test\)", lines[12])


def test_the_service_time_follows_from_the_slo_unless_it_is_given(simulate: Callable) -> None:
    said = simulate(CALM, "--scalers", "keda")

    assert (
        "a batch of b requests takes 60ms + 15ms * b, b up to 16 (assumed from the SLO;"
        " --service sets your model's)" in said.out
    )


def test_only_the_scalers_that_are_named_are_compared(simulate: Callable) -> None:
    outcome = json.loads(simulate(CALM, *SERVICE, "--scalers", "kpa,keda", "--json").out)

    assert [scaler["name"] for scaler in outcome["scalers"]] == ["tritonfleet", "kpa", "keda"]


def test_the_same_seed_gives_the_same_numbers_and_another_one_does_not(simulate: Callable, calm: str) -> None:
    again, other = (simulate(CALM, *KEDA, "--json", "--seed", seed).out for seed in (1, 2))

    assert again == calm
    assert json.loads(calm)["requests"] != json.loads(other)["requests"]


def test_json_has_what_the_table_has_and_the_worst_minutes(simulate: Callable) -> None:
    outcome = json.loads(simulate(CROWDED, *SERVICE, "--scalers", "keda", "--json").out)

    ours, keda = outcome["scalers"]
    assert outcome["slo"] == {"percentile": 99, "latencySeconds": 0.75}
    assert ours["ratioToClairvoyant"] == pytest.approx(ours["gpuHours"] / outcome["clairvoyant"]["gpuHours"])
    assert ours["missed"] == outcome["requests"] - round(ours["attainment"] * outcome["requests"])
    assert keda["missed"] > 0
    worst = ours["worstMinutes"][0]
    assert worst["minute"] >= 4
    assert worst["good"] < worst["arrivals"]


def test_a_maximum_that_is_too_low_for_the_traffic_is_reported(crowded: tuple[str, str]) -> None:
    said, _ = crowded

    assert re.search(
        r"^warning: maxReplicas 4 is too low for this traffic: 6 of 10 minutes need more,"
        r" the busiest (9|10) \(4\d\d requests/s\)$",
        said,
        re.MULTILINE,
    )
    assert re.search(r"^worst minutes +requests/s +missed +p99 +ready +wanted$", said, re.MULTILINE)
    assert re.search(r"^00:0[4-9] +[34]\d\d +\d+\.\d% ", said, re.MULTILINE)


def test_an_infeasible_slo_is_reported_and_has_no_clairvoyant(simulate: Callable) -> None:
    said = simulate(CALM, "--service", "800ms,50ms", "--scalers", "keda")

    assert said.status == 0
    assert "warning: no number of replicas can meet this SLO: a single request takes 852ms, the target is 750ms" in (
        said.out
    )
    assert "clairvoyant  " not in said.out


def test_a_trace_that_is_too_short_is_reported_as_such(simulate: Callable) -> None:
    said = simulate("t_s\n" + "".join(f"{tenth / 10}\n" for tenth in range(300)), *SERVICE, "--scalers", "keda")

    assert "warning: the trace lasts 30s and a pod takes 1m to become ready: too short" in said.out
    assert "warning: too few to estimate the 99th percentile: 300 requests" in said.out


def test_a_trace_can_be_cut_and_brought_to_another_rate(simulate: Callable) -> None:
    said = simulate(CALM, *SERVICE, "--scalers", "keda", "--duration", "5m", "--rate", "60", "--json")

    outcome = json.loads(said.out)
    assert outcome["durationSeconds"] == 300
    assert outcome["requests"] == pytest.approx(60 * 300, rel=0.05)
    assert re.fullmatch(r"scaled up to 60 requests/s: [23]\.?\d* times the trace", outcome["assumptions"][1])


def test_made_traffic_is_as_heavy_as_the_largest_fleet_can_bear(simulate: Callable) -> None:
    said = simulate("steps", *SERVICE, "--scalers", "keda", "--duration", "20m", "--json")

    outcome = json.loads(said.out)
    assert outcome["trace"] == "steps"
    assert max(minute["arrivals"] for minute in outcome["scalers"][0]["worstMinutes"]) < 4 * 50 * 60
    assert "the busiest minute takes 75% of maxReplicas; --rate sets the rate" in outcome["assumptions"]
    assert not any("too low" in warning for warning in outcome["warnings"])


def test_a_fault_is_felt(simulate: Callable, calm: str) -> None:
    faulty = simulate(CALM, *KEDA, "--json", "--faults", "slower:4@2m+6m,pod-loss@5m").out
    well, slower = (json.loads(said)["scalers"][0]["missed"] for said in (calm, faulty))

    assert slower > well + 100


def test_scalers_side_by_side_give_the_numbers_of_one_after_the_other(simulate: Callable, calm: str) -> None:
    assert simulate(CALM, *KEDA, "--json", "--jobs", 2).out == calm


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_it_was_given(crowded: tuple[str, str]) -> None:
    _, text = crowded
    assert text.startswith("<!DOCTYPE html>")
    assert "<svg" in text
    assert "default-src 'none'" in text
    assert "<img" not in text
    assert "&lt;img src=x&gt;" in text
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert "@import" not in text
    assert "<script" not in text
    assert not re.search(r"url\((?!#)", text)


class Elements(HTMLParser):
    """Reads a page as strictly as XML is read: what is opened is closed, in order."""

    EMPTY = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.classes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"an attribute of <{tag}> is given twice: {attrs}"
        self.seen.add(tag)
        self.classes.update((given.get("class") or "").split())
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def test_the_page_is_valid_markup_and_its_style_is_of_what_is_on_it(crowded: tuple[str, str]) -> None:
    _, text = crowded
    page = Elements()
    page.feed(text)
    page.close()
    (style,) = re.findall(r"<style>([^<]*)</style>(?=</head>)", text)
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", style)
    selected = [part for selectors, _ in rules for part in re.split(r"[\s,]+", selectors.strip())]
    declared = [declaration.strip() for _, body in rules for declaration in body.split(";")]

    assert page.open == []
    assert re.sub(r"[^{}]+\{[^{}]*\}", "", style).strip() == ""
    assert all(re.fullmatch(r"[a-z-]+: [^:;{}]+", declaration) for declaration in declared), declared
    assert {part.partition(":")[0] for part in selected if not part.startswith(".")} <= page.seen
    assert {part.removeprefix(".") for part in selected if part.startswith(".")} == page.classes == {"ours", "warning"}


@pytest.mark.parametrize(
    ("name", "magic"), [("out.png", b"\x89PNG"), ("out.svg", b"<?xml"), ("out.pdf", b"%PDF")], ids=["png", "svg", "pdf"]
)
def test_the_drawing_has_the_form_that_its_name_says(
    simulate: Callable, tmp_path: Path, name: str, magic: bytes
) -> None:
    simulate(CALM, *SERVICE, "--scalers", "keda", "--plot", tmp_path / name)

    assert (tmp_path / name).read_bytes().startswith(magic)


def test_schedules_hold_from_a_monday_on(simulate: Callable, manifest: Path) -> None:
    schedule = "{name: early, from: '00:02', to: '00:20', minReplicas: 3}"
    manifest.write_text(manifest.read_text().replace("maxReplicas: 4", f"maxReplicas: 4, schedules: [{schedule}]"))

    said = simulate(CALM, *SERVICE, "--scalers", "keda", "--json")

    outcome = json.loads(said.out)
    ours, keda = (scaler["replicaMinutes"] for scaler in outcome["scalers"])
    assert "the trace begins on a Monday, 00:00 UTC; only Tritonfleet applies the schedules" in (outcome["assumptions"])
    assert ours[1] < 2
    assert ours[-1] == 3
    assert max(keda) < 3


def test_a_replica_without_a_gpu_costs_replica_hours(simulate: Callable, manifest: Path) -> None:
    manifest.write_text(manifest.read_text() + "  server: {gpu: {count: 0}}\n")

    said = simulate(CALM, *SERVICE, "--scalers", "keda")

    assert re.search(r"^scaler +replica-h  ratio", said.out, re.MULTILINE)


@pytest.mark.parametrize("options", [("--trace", "list"), ("--trace", "daily", "--faults", "list")])
def test_what_can_be_named_is_listed(tritonfleet: Callable, manifest: Path, options: tuple[str, ...]) -> None:
    said = tritonfleet("simulate", "-f", manifest, *options)

    assert said.status == 0
    assert re.search(r"^weekly +7d$", said.out, re.MULTILINE)
    assert re.search(r"^slower:1.6@12h\+6h +batches take 1.6 times as long$", said.out, re.MULTILINE)
    assert re.search(r"^kpa$", said.out, re.MULTILINE)
