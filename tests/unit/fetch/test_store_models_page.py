"""The page about storing models says what is true."""

import subprocess
import sys
from pathlib import Path

from tritonfleet.fetch import archive, remote, transfer

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "store-models.md").read_text()


def test_the_script_of_the_page_computes_the_digest_that_the_fetch_reports(fetch, tmp_path):
    folder = tmp_path / "claim" / "m"
    for name in (
        "config.pbtxt",
        "labels.txt",
        "1/model.onnx",
        "1/model.onnx.data",
        "10/model.onnx",
        "10/a b/weights",
        "configs/x.pbtxt",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("" if name.endswith("pbtxt") else name)
    (script := tmp_path / "digest.py").write_text(PAGE.partition("```python\n")[2].partition("```")[0])
    printed = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == fetch("pvc://claim/m").digest


def test_the_numbers_of_the_page_are_those_of_the_code():
    words = " ".join(PAGE.split())
    assert f"parts of {remote.PART_BYTES >> 20} MiB, eight at a time" in words
    assert transfer.WORKERS == 8
    assert f"sixteen files of at most {transfer.SMALL_FILE_BYTES >> 20} MiB" in words
    assert transfer.SMALL_FILE_WORKERS == 16
    assert f"the last {transfer.PIECE_BYTES >> 20} MiB of each part" in words
    assert f"at most {transfer.WORKERS * transfer.PIECE_BYTES >> 20} MiB come again" in words
    assert transfer.ATTEMPTS == 7
    assert f"more than {archive.MAX_MEMBERS:,} files, or more than {archive.MAX_RATIO} times their size" in words
    assert f"({archive.FREE_BYTES >> 20} MiB are always allowed)" in words
    for suffix in archive.SUFFIXES:
        assert f"`{suffix}`" in words
