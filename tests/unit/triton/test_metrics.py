"""Triton's own metrics page, as it is and as it must never be believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.triton import metrics
from tritonfleet.triton.metrics import Unreadable, model_metrics

PAGE = "".join(
    f'{name}{{model="demo",version="1"}} {number}\n' for number, name in enumerate(metrics.COUNTERS, start=1)
)


def lines(*more: str) -> bytes:
    return (PAGE + "".join(f"{line}\n" for line in more)).encode()


def test_counters_are_read_by_their_names():
    assert model_metrics(lines(), "demo").totals == {
        name: float(number) for number, name in enumerate(metrics.COUNTERS, start=1)
    }


def test_a_timestamp_after_the_value_is_passed_over():
    page = lines('nv_inference_count{model="demo",version="2"}  70  1700000000000')
    number = metrics.COUNTERS.index(metrics.INFERENCES) + 1
    assert model_metrics(page, "demo").totals[metrics.INFERENCES] == number + 70


def test_versions_devices_and_reasons_of_the_model_are_added_up_and_other_models_are_left_out():
    page = lines(
        'nv_inference_request_success{model="demo",version="2",gpu_uuid="GPU-1"} 10',
        'nv_inference_request_failure{model="demo",reason="REJECTED",version="1"} 4',
        'nv_inference_request_success{model="other",version="1"} 1000',
    )
    totals = model_metrics(page, "demo").totals
    assert totals[metrics.SUCCESS] == 11
    assert totals[metrics.FAILURE] == 6


def test_the_histogram_of_first_responses_is_read_by_its_bounds_where_there_is_one():
    page = lines(
        f'{metrics.FIRST_RESPONSE_BUCKET}{{model="demo",version="1",le="50"}} 7',
        f'{metrics.FIRST_RESPONSE_BUCKET}{{model="demo",version="1",le="+Inf"}} 9',
        f'{metrics.FIRST_RESPONSE_BUCKET}{{model="demo",version="2",le="50"}} 1',
    )
    assert model_metrics(page, "demo").first_response == {50.0: 8.0, float("inf"): 9.0}
    assert model_metrics(lines(), "demo").first_response == {}


def test_a_page_without_the_model_is_distinguished_from_an_unreadable_one():
    assert model_metrics(lines(), "absent") is None
    assert model_metrics(b"nv_pinned_memory_pool_used_bytes 0\n", "demo") is None


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (lines()[:-1], "Truncated"),
        (lines()[: len(lines()) // 2].rpartition(b"\n")[0] + b"\n", "Incomplete"),
        (b"<html>no healthy upstream</html>\n", "Garbage"),
        (b"", "Garbage"),
        (lines('nv_inference_count{model="demo"} 3} x'), "Garbage"),
        (lines('nv_inference_count{model="demo"}'), "Garbage"),
        (lines('nv_inference_count{model="demo"} many'), "Garbage"),
        (lines('nv_inference_count{model="demo",,version=1} 3'), "Garbage"),
        (lines('nv_inference_count{model="demo",version="7",version="8"} 3'), "Garbage"),
        (lines() + b'nv_inference_count{model="demo",version="\xff"} 3\n', "Garbage"),
        (lines('nv_inference_count{model="demo",version="2"} NaN'), "Impossible"),
        (lines('nv_inference_count{model="demo",version="2"} +Inf'), "Impossible"),
        (lines('nv_inference_count{model="demo",version="2"} -1'), "Impossible"),
        (lines(metrics.FIRST_RESPONSE_BUCKET + '{model="demo",le="wide"} 3'), "Garbage"),
    ],
)
def test_a_page_that_cannot_be_believed_is_refused_with_a_reason(page, reason):
    with pytest.raises(Unreadable) as refusal:
        model_metrics(page, "demo")
    assert refusal.value.reason == reason


def test_what_is_not_read_is_not_even_looked_at():
    page = lines(
        'nv_inference_request_summary_us{model="demo",version="1",quantile="0.99"} NaN',
        'nv_inference_count{model="other",version="1"} NaN',
        'nv_inference_count{submodel="demo",version="1"} 7',
    )
    assert model_metrics(page, "demo") == model_metrics(lines(), "demo")


def test_a_page_that_would_take_long_to_read_is_not_read():
    page = lines(*(f'nv_inference_count{{model="demo",version="{n}"}} 1' for n in range(metrics.MOST_LINES)))
    with pytest.raises(Unreadable) as refusal:
        model_metrics(page, "demo")
    assert refusal.value.reason == "TooLarge"


@pytest.mark.parametrize(
    "page",
    [
        lines('nv_inference_count{model="demo",version="' + "x" * metrics.LONGEST_LINE_BYTES + '"} 1'),
        lines('nv_inference_count{model="demo",' + ",".join(f'l{n}="x"' for n in range(metrics.MOST_LABELS)) + "} 1"),
        lines(
            *(f'{metrics.FIRST_RESPONSE_BUCKET}{{model="demo",le="{n}"}} 1' for n in range(metrics.MOST_BUCKETS + 1))
        ),
        lines(*(f'{metrics.FAILURE}{{model="demo",reason="{n}"}} 1' for n in range(metrics.MOST_REASONS + 1))),
    ],
    ids=["a long line", "many labels", "many buckets", "many reasons"],
)
def test_what_would_take_much_memory_is_not_read(page):
    with pytest.raises(Unreadable) as refusal:
        model_metrics(page, "demo")
    assert refusal.value.reason == "TooLarge"


def test_what_is_kept_between_pages_has_a_limit_and_no_page_displaces_all_others(monkeypatch):
    monkeypatch.setattr(metrics, "_known", {})
    monkeypatch.setattr(metrics, "_known_bytes", 0)
    monkeypatch.setattr(metrics, "SERIES_KEPT_BYTES", 100_000)
    for number in range(500):
        assert model_metrics(lines(f'nv_inference_count{{model="demo",version="{number}"}} 1'), "demo") is not None
        assert sum(map(len, metrics._known)) < 100_000
    before = dict(metrics._known)
    noise = (f'nv_inference_count{{model="demo",version="{n}",z="{"z" * 200}"}} 1' for n in range(900))
    assert model_metrics(lines(*noise), "demo") is not None
    assert metrics._known == before


def test_a_name_with_quotes_and_braces_is_found():
    page = PAGE.replace('"demo"', r'"a}\"b c"').encode()
    assert model_metrics(page, 'a}"b c').totals[metrics.SUCCESS] == 1


@given(st.binary(max_size=80), st.integers(0, 400), st.sampled_from(["", "nv_inference_count", "nv_inference_count{"]))
def test_noise_anywhere_is_refused_or_read_but_never_breaks_anything(noise, at, before):
    page = lines()
    spoiled = page[:at] + before.encode() + noise + page[at:]
    try:
        read = model_metrics(spoiled, "demo")
    except Unreadable:
        return
    assert read is None or all(value >= 0 for value in read.totals.values())
