"""Numbers as people read them."""

import pytest

from tritonfleet.plan.rollout.analysis import percent, probability, shorten, title_of
from tritonfleet.plan.rollout.analysis.results import MOST_CHARACTERS, seconds_of, share_of


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.00%"), (0.00001, "<0.01%"), (0.0012, "0.12%"), (0.05, "5.0%"), (1, "100.0%")],
)
def test_shares_are_percents(share, text):
    assert percent(share) == text


def test_a_share_shows_what_it_is_made_of():
    assert share_of(20, 4000) == "0.50% (20/4,000)"
    assert share_of(0, 0) == "no requests"


def test_tiny_probabilities_are_only_called_tiny():
    assert [probability(p) for p in (0.25, 0.00213, 1e-12)] == ["p=0.25", "p=0.0021", "p<1e-9"]


def test_latencies_are_milliseconds_until_they_are_long():
    assert [seconds_of(value) for value in (0.0025, 0.25, 60.0)] == ["2.5ms", "250ms", "60s"]


def test_a_long_sentence_is_cut():
    assert len(shorten("x" * 1000)) == MOST_CHARACTERS
    assert shorten("short") == "short"


@pytest.mark.parametrize(
    ("check", "title"),
    [("error-rate", "error rate"), ("golden-requests", "golden requests"), ("promql/gpu-time", "promql/gpu-time")],
)
def test_messages_name_a_check_in_words_and_a_custom_query_as_it_is(check, title):
    assert title_of(check) == title
