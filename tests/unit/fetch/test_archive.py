"""Archives whose maker nobody vouches for."""

import gzip
import hashlib
import io
import stat
import subprocess
import sys
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonfleet.fetch import archive
from tritonfleet.fetch.archive import unpacked
from tritonfleet.fetch.failure import FetchFailed


def tar_of(path, *members):
    """Write a .tar.gz of `(name, body)` pairs, or of ready TarInfo objects."""
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, body in members:
            packed.writestr(name, body)
    return path


def special(kind, name="1/model.onnx", target="/etc/passwd"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("write", [tar_of, zip_of])
def test_regular_files_come_out_with_their_checksums(tmp_path, write):
    name = "m.zip" if write is zip_of else "m.tar.gz"
    packed = write(tmp_path / name, ("1/model.onnx", b"weights"), ("./labels.txt", b"cat"))
    contents = unpacked(packed, name, tmp_path / "out")
    assert {c.path: c.file.read_bytes() for c in contents} == {"1/model.onnx": b"weights", "labels.txt": b"cat"}
    assert contents[0].sha256 == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
    ids=["symlink", "hardlink", "character device", "block device", "pipe"],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    packed = tar_of(tmp_path / "m.tar.gz", special(kind))
    with pytest.raises(FetchFailed, match=r"m\.tar\.gz holds '1/model\.onnx', which is a link or a device"):
        unpacked(packed, "m.tar.gz", tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("1/model.onnx")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    packed = zip_of(tmp_path / "m.zip", (info, "/etc/passwd"))
    with pytest.raises(FetchFailed, match="link or a device"):
        unpacked(packed, "m.zip", tmp_path / "out")


@pytest.mark.parametrize("write", [tar_of, zip_of])
@pytest.mark.parametrize("name", ["../x", "/abs/x", "1/../../x", "1\\..\\x", "a/%2e%2e/x", "1//x"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, write, name):
    archive_name = "m.zip" if write is zip_of else "m.tar.gz"
    packed = write(tmp_path / archive_name, (name, b"x"))
    with pytest.raises(FetchFailed, match="holds the name"):
        unpacked(packed, archive_name, tmp_path / "out")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [packed]


@given(st.text(alphabet="ab./\\%2eE5cf ", min_size=1, max_size=12), st.booleans())
def test_no_name_writes_outside_the_folder(tmp_path_factory, name, is_zip):
    top = tmp_path_factory.mktemp("archive")
    packed = (zip_of if is_zip else tar_of)(top / ("m.zip" if is_zip else "m.tar"), (name, b"x"))
    try:
        contents = unpacked(packed, packed.name, top / "out")
    except FetchFailed:
        contents = []
    outside = {path for path in top.rglob("*") if path.is_file() and not path.is_relative_to(top / "out")}
    assert outside == {packed}
    assert all(content.file.read_bytes() == b"x" for content in contents)


@pytest.mark.parametrize("write", [tar_of, zip_of])
def test_a_bomb_is_stopped_at_its_limit(tmp_path, write, monkeypatch):
    monkeypatch.setattr(archive, "FREE_BYTES", 1024)
    archive_name = "m.zip" if write is zip_of else "m.tar.gz"
    packed = write(tmp_path / archive_name, ("1/model.onnx", bytes(20_000_000)))
    with pytest.raises(FetchFailed, match="zip bomb"):
        unpacked(packed, archive_name, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written <= packed.stat().st_size * archive.MAX_RATIO


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    packed = tar_of(tmp_path / "m.tar.gz", *((f"1/{i}", b"") for i in range(4)))
    with pytest.raises(FetchFailed, match="more than 3 files"):
        unpacked(packed, "m.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("names", [("1/a", "1/a"), ("1/a", "1/a/b"), ("1/a/b", "1/a")])
def test_two_members_in_one_place_are_refused(tmp_path, names):
    packed = tar_of(tmp_path / "m.tar.gz", *((name, b"x") for name in names))
    with pytest.raises(FetchFailed, match="twice, or as a file and a folder"):
        unpacked(packed, "m.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("name", ["m.tar.gz", "m.zip", "m.tgz", "m.tar"])
@pytest.mark.parametrize("damage", ["cut", "noise", "nothing"])
def test_a_damaged_archive_is_named(tmp_path, name, damage):
    write = zip_of if name.endswith("zip") else tar_of
    whole = write(tmp_path / "whole", ("1/model.onnx", hashlib.shake_256(b"x").digest(50_000))).read_bytes()
    packed = tmp_path / name
    packed.write_bytes({"cut": whole[:20_000], "noise": b"no archive" * 99, "nothing": b""}[damage])
    with pytest.raises(FetchFailed, match=name.replace(".", r"\.")):
        unpacked(packed, name, tmp_path / "out")


def test_an_archive_without_files_is_refused(tmp_path):
    with pytest.raises(FetchFailed, match="is empty"):
        unpacked(tar_of(tmp_path / "m.tar.gz", special(tarfile.DIRTYPE, "1")), "m.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_of_every_tar_format_are_read(tmp_path, form):
    names = ["1/model.onnx", "1/" + "d" * 90 + "/" + "é" * 90, "a" * 250 + "/" + "b" * 250]
    with tarfile.open(tmp_path / "m.tar", "w", format=form) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(name.encode().ljust(700)))
    contents = unpacked(tmp_path / "m.tar", "m.tar", tmp_path / "out")
    assert {c.path: c.file.read_bytes().strip().decode() for c in contents} == {name: name for name in names}


def test_extended_attributes_of_a_tar_are_passed_over(tmp_path):
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        info = tarfile.TarInfo("1/model.onnx")
        info.size, info.pax_headers = 7, {"LIBARCHIVE.xattr.com.apple.provenance": "AQAA" * 500, "mtime": "1.5"}
        tar.addfile(info, io.BytesIO(b"weights"))
    contents = unpacked(tmp_path / "m.tar", "m.tar", tmp_path / "out")
    assert [(c.path, c.file.read_bytes()) for c in contents] == [("1/model.onnx", b"weights")]


@pytest.mark.parametrize("write", [tar_of, zip_of])
def test_what_file_managers_leave_behind_is_passed_over(tmp_path, write):
    name = "m.zip" if write is zip_of else "m.tar.gz"
    clutter = ["__MACOSX/m/1/._model.onnx", "m/.DS_Store", "m/1/._model.onnx", "m/lost+found/x"]
    packed = write(tmp_path / name, ("m/1/model.onnx", b"weights"), *((path, b"x") for path in clutter))
    assert [content.path for content in unpacked(packed, name, tmp_path / "out")] == ["m/1/model.onnx"]


def test_programs_of_an_archive_stay_programs(tmp_path):
    for name in ("m.tar", "m.zip"):
        if name == "m.tar":
            with tarfile.open(tmp_path / name, "w") as tar:
                for path, mode in (("bin/run", 0o755), ("data", 0o644)):
                    info = tarfile.TarInfo(path)
                    info.mode = mode
                    tar.addfile(info)
        else:
            with zipfile.ZipFile(tmp_path / name, "w") as packed:
                for path, mode in (("bin/run", 0o755), ("data", 0o644)):
                    entry = zipfile.ZipInfo(path)
                    entry.external_attr = (stat.S_IFREG | mode) << 16
                    packed.writestr(entry, b"")
        contents = unpacked(tmp_path / name, name, tmp_path / f"out of {name}")
        assert {content.path: content.executable for content in contents} == {"bin/run": True, "data": False}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_could_unpack_without_bounds_is_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "m.zip", "w", method) as packed:
        packed.writestr("1/model.onnx", bytes(100_000))
    with pytest.raises(FetchFailed, match="another method than deflate"):
        unpacked(tmp_path / "m.zip", "m.zip", tmp_path / "out")


MIB = 1024 * 1024
MEASURED = """
import re, sys
from pathlib import Path
from tritonfleet.fetch.archive import unpacked
from tritonfleet.fetch.failure import FetchFailed
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
try:
    unpacked(Path(sys.argv[1]), Path(sys.argv[1]).name, Path(sys.argv[2]))
except FetchFailed as error:
    print(peak() - before, error)
"""


def header_of(kind, size, name="x"):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def times(block, count):
    """Return gzip data that unpacks to `count` times `block`, in little time."""
    return gzip.compress(block, 1) * count


def great_header(kind):
    return lambda: gzip.compress(header_of(kind, 1024 * MIB)) + times(b"1" * 16 * MIB, 64)


def sparse_header():
    """One sparse file with 700,000 blocks that say where its parts lie."""
    first = bytearray(header_of(tarfile.GNUTYPE_SPARSE, 0))
    first[482] = 1
    first[148:156] = b" " * 8
    first[148:156] = b"%06o\0 " % sum(first)
    part = b"%011o\0%011o\0" % (0, 1)
    return gzip.compress(bytes(first)) + times((part * 21 + b"\1").ljust(512, b"\0") * 16384, 43)


def many_headers(kind, content=b""):
    block = header_of(kind, len(content)) + content.ljust(-(-len(content) // 512) * 512, b"\0")
    return lambda: times(block * (8 * MIB // len(block)), 64)


def great_directory():
    """A zip of 40 MiB that lists more than 500,000 members, of which it has none."""
    end = b"PK\5\6" + bytes(4) + (0xFFFF).to_bytes(2, "little") * 2
    entry = b"PK\1\2" + bytes(42) + b"a" * 30
    entry = entry[:28] + (30).to_bytes(2, "little") + entry[30:]
    count = 40 * MIB // len(entry)
    return entry * count + end + (len(entry) * count).to_bytes(4, "little") + bytes(4) + bytes(2)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("pax header.tar.gz", great_header(tarfile.XHDTYPE)),
        ("global pax header.tar.gz", great_header(tarfile.XGLTYPE)),
        ("long name.tar.gz", great_header(tarfile.GNUTYPE_LONGNAME)),
        ("long link.tar.gz", great_header(tarfile.GNUTYPE_LONGLINK)),
        ("sparse map.tar.gz", sparse_header),
        ("folders.tar.gz", many_headers(tarfile.DIRTYPE)),
        (
            "pax headers.tar.gz",
            many_headers(tarfile.XHDTYPE, b"".join(b"32 %08d=%s\n" % (n, b"1" * 19) for n in range(30_000))),
        ),
        ("global pax headers.tar.gz", many_headers(tarfile.XGLTYPE, b"9 %04x=1\n" % 7)),
        ("directory.zip", great_directory),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_archive_costs_memory(tmp_path, name, build):
    (tmp_path / name).write_bytes(build())
    command = [sys.executable, "-c", MEASURED, tmp_path / name, tmp_path / "out"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    kib, _, message = printed.partition(" ")
    assert int(kib) < 48 * 1024, printed
    assert name in message
