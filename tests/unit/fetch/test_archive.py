"""Archives whose maker nobody vouches for."""

import hashlib
import io
import stat
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
