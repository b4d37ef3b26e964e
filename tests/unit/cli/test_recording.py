"""What a CSV of traffic may look like."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from tritonfleet.cli.simulate.traffic import RecordedTrace, read_recording
from tritonfleet.cli.terminal import UsageError
from tritonfleet.sim import RateTrace, TimestampTrace


def read(folder: Path, text: str, name: str = "shop.csv") -> RecordedTrace:
    (folder / name).write_text(text)
    return read_recording(str(folder / name), seed=0)


def times(recording: RecordedTrace) -> list[float]:
    assert isinstance(recording.trace, TimestampTrace)
    return [round(float(time), 6) for time in recording.trace.times]


def rates(recording: RecordedTrace) -> tuple[float, list[float]]:
    assert isinstance(recording.trace, RateTrace)
    return recording.trace.step_seconds, recording.trace.rates.tolist()


def test_a_column_of_seconds_is_one_request_a_row(tmp_path: Path) -> None:
    assert times(read(tmp_path, "t_s,input_tokens,output_tokens\n0.5,9,3\n1.25,7,2\n")) == [0.5, 1.25]


def test_a_gzip_file_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "shop").write_bytes(gzip.compress(b"t_s\n0.5\n1.25\n"))

    assert times(read_recording(str(tmp_path / "shop"), seed=0)) == [0.5, 1.25]


def test_numbers_without_a_header_are_seconds(tmp_path: Path) -> None:
    assert times(read(tmp_path, "# from the gateway's log\n0.5\n\n1.25\n")) == [0.5, 1.25]


def test_requests_may_be_in_any_order(tmp_path: Path) -> None:
    assert times(read(tmp_path, "t_s\n2.5\n0.25\n1.125\n")) == [0.25, 1.125, 2.5]


@pytest.mark.parametrize(
    ("header", "first", "second"),
    [
        ("timestamp", "2023-11-16 18:15:46.6805900", "2023-11-16 18:15:47.1805900"),
        ("TIMESTAMP", "2023-11-16T18:15:46Z", "2023-11-16T18:15:46.5Z"),
        ("timestamp_ms", "1700158546680", "1700158547180"),
        ("arrival time (s)", "1700158546.5", "1700158547"),
    ],
)
def test_dates_and_long_clocks_begin_at_the_first_request(tmp_path: Path, header: str, first: str, second: str) -> None:
    recording = read(tmp_path, f"{header},model\n{first},a\n{second},b\n")

    assert times(recording) == [0.0, 0.5]
    assert recording.notes == ("the trace was moved to begin with its first request",)


def test_times_rounded_to_seconds_are_spread_and_the_notes_say_so(tmp_path: Path) -> None:
    recording = read(tmp_path, "t_s\n" + "0\n" * 40 + "3\n" * 40 + "9\n" * 40)

    spread = np.array(times(recording))
    assert recording.notes == ("times are rounded to 3s: requests were spread evenly over each step",)
    assert recording.trace.duration_seconds == 12
    assert np.histogram(spread, [0, 3, 6, 9, 12])[0].tolist() == [40, 40, 0, 40]
    assert len(np.unique(spread)) == 120


def test_times_to_the_millisecond_stay_as_they_are(tmp_path: Path) -> None:
    assert times(read(tmp_path, "t_s\n0.001\n0.001\n0.002\n")) == [0.001, 0.001, 0.002]


@pytest.mark.parametrize(
    ("text", "step", "expected"),
    [
        ("t_s,rate\n0,5\n60,10\n", 60, [5, 10]),
        ("second,rps\n0,5\n1,10\n", 1, [5, 10]),
        ("minute,count\n0,300\n1,600\n", 60, [5, 10]),
        ("minute;requests\n10;300\n11;600\n", 60, [5, 10]),
        ("time\trequests_per_minute\n0\t300\n10\t600\n", 10, [5, 10]),
        ("timestamp,requests\n2026-01-01T00:00:00Z,3000\n2026-01-01T00:10:00Z,6000\n", 600, [5, 10]),
        ("hour,arrivals,region\n0,18000,eu\n1,36000,eu\n", 3600, [5, 10]),
        ("rps,t_s\n10,60\n5,0\n", 60, [5, 10]),
    ],
)
def test_rates_and_counts_come_with_the_time_of_their_step(
    tmp_path: Path, text: str, step: float, expected: list[float]
) -> None:
    assert rates(read(tmp_path, text)) == (step, expected)


def test_steps_without_a_row_count_as_0_and_are_reported(tmp_path: Path) -> None:
    recording = read(tmp_path, "minute,count\n0,300\n1,600\n4,300\n")

    assert rates(recording) == (60, [5, 10, 0, 0, 5])
    assert recording.notes == ("2 steps of 1m without a row, taken as 0",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty; the first line must name the columns, such as t_s, or t_s,rate, or t_s,count"),
        ("t_s\n", "no requests, only a header"),
        ("colour,shape\nred,round\n", "line 1: no known column; the first line must name the columns,"),
        ("t_s\n0.5\nsoon\n", "line 3: 'soon' must be a finite number, or a date and time"),
        ("t_s,rate\n0,5\n60,nan\n", "line 3: 'nan' must be a finite number"),
        ("t_s,rate\n0,5\n60\n", "line 3: only 1 column, must have 2"),
        ("t_s,rate\n0,5\n60,-1\n", "rates must not be negative, or all 0; the lowest is -1"),
        ("t_s,rate\n0,0\n60,0\n", "rates must not be negative, or all 0; the lowest is 0"),
        ("t_s,rate\n0,5\n0,6\n", "two rows have the same time; with rates or counts each row is one step"),
        (
            "t_s,rate\n0,5\n60,6\n90,6\n135,6\n",
            "times of rates or counts must rise in equal steps; the shortest is 30s",
        ),
        ("t_s,rate\n0,5\n", "must have at least two rows, to show the length of a step"),
        ("rate\n5\n6\n", "line 1: rates and counts need a column of times, such as t_s,rate"),
    ],
)
def test_a_wrong_file_is_refused_by_name_line_and_remedy(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(tmp_path, text)

    assert str(refused.value).startswith(f"{tmp_path / 'shop.csv'}: {complaint}")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (gzip.compress(b"t_s\n1\n2\n", mtime=0)[:-9], "damaged gzip file: "),
        (b"t_s\n\xff\xfe\n", "must be a CSV file in UTF-8, plain or gzip: "),
    ],
    ids=["half a gzip file", "bytes that are no UTF-8"],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "shop.csv").write_bytes(content)

    with pytest.raises(UsageError, match=complaint):
        read_recording(str(tmp_path / "shop.csv"), seed=0)
