"""What is fetched, and fetched again after a kill, and what the log says meanwhile."""

import hashlib
import random
import threading
import time

import pytest

from tritonfleet.fetch import transfer
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.remote import PART_BYTES, RemoteFile
from tritonfleet.fetch.transfer import PIECE_BYTES, WORKERS, Journal, Progress, Transfer

KIB = 1024


def test_a_journal_cut_short_by_a_kill_keeps_what_was_written_before(tmp_path):
    file = RemoteFile("1/model.onnx", "m/1/model.onnx", 3 * PART_BYTES + 5, '"one"')
    journal = Journal(tmp_path / "journal")
    journal.record(file, 0)
    journal.record(file, 3 * PART_BYTES)
    journal.close()
    with (tmp_path / "journal").open("a") as lines:
        lines.write('\n["1/model.onnx", 1006')
    reread = Journal(tmp_path / "journal")
    assert (reread.finished_pieces(file), reread.kept_bytes(file)) == ({0, 3 * PART_BYTES}, PIECE_BYTES + 5)
    reread.record(file, PIECE_BYTES)
    reread.close()
    assert Journal(tmp_path / "journal").finished_pieces(file) == {0, PIECE_BYTES, 3 * PART_BYTES}


def test_pieces_of_a_file_without_a_version_are_never_trusted(tmp_path):
    file = RemoteFile("1/model.onnx", "", 5, None)
    journal = Journal(tmp_path / "journal")
    journal.record(file, 0)
    journal.close()
    assert Journal(tmp_path / "journal").finished_pieces(file) == set()


class Killed(BaseException):
    """The process is gone: nothing more is read or written."""


class Bytes:
    """Serves files from memory in chunks of any length, and counts the bytes; after `until` of them all is over."""

    def __init__(self, contents, seed, until=None):
        self.contents, self.dice, self.until = contents, random.Random(seed), until
        self.served = 0
        self.lock = threading.Lock()

    def read(self, file, start, end):
        while start < end:
            with self.lock:
                if self.until is not None and self.served >= self.until:
                    raise Killed
                longest = self.dice.randint(1, 40 * KIB)
                longest = longest if self.until is None else min(longest, self.until - self.served)
                chunk = self.contents[file.path][start : min(end, start + longest)]
                self.served += len(chunk)
            yield memoryview(chunk)
            start += len(chunk)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(transfer, "PART_BYTES", 256 * KIB)
    monkeypatch.setattr(transfer, "PIECE_BYTES", 32 * KIB)
    monkeypatch.setattr(transfer, "SMALL_FILE_BYTES", 8 * KIB)


def files_of(contents):
    return [RemoteFile(path, path, len(body), '"one"') for path, body in contents.items()]


def arrived(found):
    return {content.path: (content.file.read_bytes(), content.sha256) for content in found}


def expected(contents):
    return {path: (body, hashlib.sha256(body).hexdigest()) for path, body in contents.items()}


def run(folder, reader, contents):
    return Transfer(reader, folder / "files", Journal(folder / "journal"), lambda _: None).run(files_of(contents))


@pytest.mark.parametrize("seed", range(20))
def test_after_a_kill_at_any_point_only_the_pieces_in_flight_come_again(tmp_path, small_pieces, seed):
    dice = random.Random(seed)
    contents = {"1/model.onnx": dice.randbytes(3_000_001), "1/weights": dice.randbytes(256 * KIB), "empty": b""}
    contents |= {f"labels/{number}": dice.randbytes(dice.randint(1, 8 * KIB)) for number in range(20)}
    total = sum(map(len, contents.values()))
    first = Bytes(contents, seed, until=dice.randrange(total))
    with pytest.raises(Killed):
        run(tmp_path, first, contents)
    second = Bytes(contents, seed)
    assert arrived(run(tmp_path, second, contents)) == expected(contents)
    in_flight = WORKERS * (32 + 40) * KIB + transfer.SMALL_FILE_WORKERS * 8 * KIB
    assert total <= first.served + second.served <= total + in_flight


def test_a_kill_costs_a_model_of_one_gibibyte_less_than_five_percent():
    assert WORKERS * (PIECE_BYTES + 128 * KIB) <= 0.05 * 1024**3


def test_a_file_that_is_whole_on_disk_is_not_read_again(tmp_path, small_pieces):
    contents = {"1/model.onnx": bytes(700_000), "1/small": b"x" * 100}
    run(tmp_path, Bytes(contents, 0), contents)
    again = Bytes(contents, 0)
    assert arrived(run(tmp_path, again, contents)) == expected(contents)
    assert again.served == 0


def test_a_file_shorter_than_what_an_earlier_attempt_left_has_nothing_of_it(tmp_path, small_pieces):
    run(tmp_path, Bytes(long := {"1/model.onnx": b"a" * 20_000}, 0), long)
    short = {"1/model.onnx": b"b" * 10}
    assert arrived(run(tmp_path, Bytes(short, 0), short)) == expected(short)


@pytest.mark.parametrize("size", [100, 700_000])
def test_another_checksum_than_the_store_lists_is_told_once(tmp_path, small_pieces, size):
    file = RemoteFile("1/model.onnx", "m", size, '"one"', sha256="0" * 64)
    reader = Bytes({"1/model.onnx": bytes(size)}, 0)
    with pytest.raises(FetchFailed, match="what arrived has the SHA-256"):
        Transfer(reader, tmp_path / "files", Journal(tmp_path / "journal"), lambda _: None).run([file])
    assert Journal(tmp_path / "journal").finished_pieces(file) == set()


def test_the_log_says_how_long_the_rest_takes():
    lines: list[str] = []
    with Progress(1000 * KIB * KIB, 2, lines.append, interval_seconds=0.05) as progress:
        progress.add(500 * KIB * KIB)
        while not lines:
            time.sleep(0.01)
        progress.add(500 * KIB * KIB)
        progress.finish_file()
        progress.finish_file()
    assert lines[0].startswith("fetched 500 of 1000 MiB (50%), ")
    assert "s left, 0 of 2 files" in lines[0]
    assert "left" not in lines[-1]
