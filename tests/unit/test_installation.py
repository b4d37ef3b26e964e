"""The README's first command must install the same packages on any later day, whatever has been released since."""

import base64
import hashlib
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version

from devcluster import lockcheck

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements-dev.lock"
BACKEND = {"hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers"}
"""What builds Tritonfleet's own wheel: offered with its code, while all else is offered with its metadata alone."""


@pytest.fixture(scope="module")
def tomorrow(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The URL of an index that offers each locked package and a newer release of it, and the lock of those files.

    Names, versions and dependencies are the real ones: they are read from this environment, which the lock made.
    """
    folder = tmp_path_factory.mktemp("index")
    hashes = {}
    for found in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        if name in {"pip", "setuptools", "tritonfleet"}:
            continue
        page = folder / "simple" / name
        page.mkdir(parents=True)
        today = _wheel(found, page, found.version, whole=name in BACKEND)
        _wheel(found, page, _next(found.version), whole=False)
        links = "".join(f'<a href="{wheel.name}">{wheel.name}</a>\n' for wheel in sorted(page.glob("*.whl")))
        (page / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}</body></html>")
        hashes[name] = hashlib.sha256(today.read_bytes()).hexdigest()
    lock = folder / LOCK.name
    lock.write_text(_lock_of(hashes))
    handler = type("Handler", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *arguments: handler(*arguments, directory=str(folder))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/simple", lock
        server.shutdown()


def test_a_newer_release_of_everything_changes_nothing_of_what_is_installed(tomorrow, tmp_path):
    made = _make_venv(tomorrow, tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    site = next((tmp_path / ".venv" / "lib").glob("python3*/site-packages"))
    assert lockcheck.installed([str(site)], ["tritonfleet"]) == lockcheck.locked(LOCK.read_text())


def test_an_environment_that_differs_from_the_lock_is_not_called_ready(tomorrow, tmp_path):
    url, lock = tomorrow
    without = tmp_path / "without.lock"
    without.write_text(re.sub(r"^iniconfig==.*\n    --hash=.*\n", "", lock.read_text(), flags=re.MULTILINE))
    made = _make_venv((url, without), tmp_path / "checkout")
    assert made.returncode != 0
    assert "iniconfig" in made.stdout + made.stderr
    assert not (tmp_path / "checkout" / ".venv" / ".ready").exists()


def test_an_unreachable_package_index_is_explained_in_a_paragraph(tomorrow, tmp_path):
    made = _make_venv(("http://127.0.0.1:9/simple", tomorrow[1]), tmp_path, PIP_RETRIES="0")
    assert made.returncode != 0
    assert "Making .venv failed" in made.stderr
    assert "To go on: run make again" in made.stderr
    assert "Traceback" not in made.stdout + made.stderr


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({}, "attrs: the lock says 1.0, installed is nothing"),
        ({"attrs": "2.0"}, "attrs: the lock says 1.0, installed is 2.0"),
        ({"attrs": "1.0", "six": "3"}, "six 3: installed, but not in the lock"),
    ],
    ids=["missing", "another version", "not locked"],
)
def test_a_difference_from_the_lock_is_named(found, line):
    assert lockcheck.differences({"attrs": "1.0"}, found) == [line]


def test_a_line_whose_marker_does_not_hold_is_not_asked_for():
    text = "Foo_Bar==1.0 ; sys_platform == 'nowhere' \\\n    --hash=sha256:0\nbaz==2 \\\n    --hash=sha256:1\n"
    assert lockcheck.locked(text) == {"baz": "2"}


def test_every_pip_install_of_a_lock_resolves_nothing():
    commands = [
        (file, command)
        for file in _build_files()
        for command in re.findall(r"pip\W[^\n]*?install(?:\\\n|[^\n&])*", (ROOT / file).read_text())
        if re.search(r"--requirement\b|\s-r\s", command)
    ]
    assert len(commands) >= 3
    for file, command in commands:
        assert "--no-deps" in command, f"{file}: {command}"
        assert "--require-hashes" in command, f"{file}: {command}"


def test_no_build_uses_a_latest_version():
    asking = [
        file
        for file in _build_files()
        if re.search(r"@latest|npm install|go install|go get -u", (ROOT / file).read_text())
    ]
    assert asking == []


@pytest.mark.parametrize("module", sorted((ROOT / "devcluster" / "go").iterdir()), ids=lambda path: path.name)
def test_every_go_module_that_needs_others_has_their_sums(module):
    needs = "require" in (module / "go.mod").read_text()
    assert (module / "go.sum").exists() == needs


@pytest.mark.parametrize("lock", sorted((ROOT / "devcluster" / "pins").iterdir()), ids=lambda path: path.name)
def test_every_pin_of_the_local_clusters_tools_has_hashes(lock):
    assert re.fullmatch(r"(\S+==\S+ (; [^\\\n]+ )?(\\\n    --hash=sha256:[0-9a-f]{64} ?)+\n)+", lock.read_text())


def _build_files() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "Makefile", "*Containerfile", ".ci", "devcluster/*.py", "devcluster/**/*.py"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert "Makefile" in listing
    return listing


def _make_venv(tomorrow: tuple[str, Path], checkout: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `make venv` in a copy of the checkout that has the index's lock."""
    url, lock = tomorrow
    checkout.mkdir(exist_ok=True)
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    shutil.copytree(ROOT / "operator", checkout / "operator", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "devcluster").mkdir()
    shutil.copy(ROOT / "devcluster" / "lockcheck.py", checkout / "devcluster")
    shutil.copy(lock, checkout / LOCK.name)
    others = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MAKE", "VIRTUAL_ENV"))}
    settings = {"PIP_INDEX_URL": url, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", **more}
    return subprocess.run(
        ["make", "venv", f"PYTHON={sys.base_prefix}/bin/python3"],
        cwd=checkout, env=others | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _lock_of(hashes: dict[str, str]) -> str:
    """The project's lock with the hash of the index's file in the place of the real one's."""
    lines = []
    for line in LOCK.read_text().splitlines():
        if pin := re.match(r"([a-z0-9-]+)==", line):
            lines += [line, f"    --hash=sha256:{hashes.get(pin[1], '0' * 64)}"]
    return "\n".join(lines) + "\n"


def _next(version: str) -> str:
    release = list(Version(version).release)
    release[-1] += 1
    return ".".join(map(str, release))


def _wheel(found: metadata.Distribution, folder: Path, version: str, *, whole: bool) -> Path:
    name = re.sub(r"[-_.]+", "_", found.metadata["Name"])
    info = f"{name}-{version}.dist-info"
    said = (found.read_text("METADATA") or "").replace(f"\nVersion: {found.version}\n", f"\nVersion: {version}\n", 1)
    files = {f"{info}/METADATA": said.encode()}
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if whole:
        for file in found.files or ():
            if file.parts[0] != ".." and ".dist-info" not in file.parts[0] and file.suffix != ".pyc":
                files[str(file)] = file.read_binary()
        if entry_points := found.read_text("entry_points.txt"):
            files[f"{info}/entry_points.txt"] = entry_points.encode()
    rows = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return wheel


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
