"""Container images: built with buildah into the cache, imported into the cluster's containerd once."""

import json
import os
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import gobuild
from devcluster.commands import follow, run
from devcluster.errors import DevclusterError
from devcluster.paths import HERE, cache_dir, content_key, locked
from devcluster.progress import Progress
from devcluster.runtime import PAUSE_IMAGE, Containerd

SOURCES = HERE / "images"
PYTHON_BASE = "docker.io/tritonfleet/python-base:bookworm"
TRITON_IMAGE = "docker.io/tritonfleet/triton-cpu:24.10"
_KEPT = 3
_SUITE = "bookworm"
_BASE_PACKAGES = "ca-certificates,dumb-init,haproxy,python3,python3-pip,python3-venv,python-is-python3,libpython3.11"
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True, slots=True)
class Archive:
    """An image in the cache: its reference and the docker-archive it lies in."""

    reference: str
    path: Path

    @property
    def _name(self) -> str:
        return self.path.stem.rpartition("-")[0]

    @property
    def lock(self) -> Path:
        """Held while any content of this name is made."""
        return self.path.with_name(f"{self._name}.lock")

    def prune(self) -> None:
        """Delete all but the newest archives of this name: each is half a gigabyte."""
        same = sorted(
            self.path.parent.glob(f"{self._name}-{'[0-9a-f]' * 12}.tar"), key=lambda path: path.stat().st_mtime
        )
        for old in same[:-_KEPT]:
            old.unlink()


def import_archive(containerd: Containerd, archive: Path, progress: Progress) -> list[str]:
    """Import every image of a docker-archive that containerd does not hold yet; returns their references.

    Raises DevclusterError if the file is not such an archive.
    """
    wanted = _contents(archive)
    marks = containerd.state.root / "imported"
    present = containerd.images()
    mark = marks / content_key(repr(sorted(wanted.items())))
    if mark.exists() and mark.read_text() == _digests(present, wanted):
        return sorted(wanted)
    with progress.step(f"importing {', '.join(sorted(wanted))} ({archive.stat().st_size >> 20} MiB)"):
        containerd.ctr("images", "import", str(archive))
    marks.mkdir(parents=True, exist_ok=True)
    mark.write_text(_digests(containerd.images(), wanted))
    return sorted(wanted)


def build(tag: str, file: Path, context: Path, arguments: Sequence[str], progress: Progress) -> Archive:
    """Build a Containerfile into the cache, unless the same was built before.

    The key is the content of the Containerfile and of everything its context holds, less what its
    .containerignore names, and the build arguments. `FROM ${BASE_IMAGE}` gets the local Python base.
    """
    reference = _full(tag)
    base = python_base(progress)
    key = content_key(file, *_sources(context), repr(list(arguments)), base.path.name)
    archive = _archive(reference, key)
    with locked(archive.lock):
        if archive.path.exists():
            return archive
        with progress.step(f"building image {reference}") as step:
            _ensure_base(base)
            follow(
                *_buildah("bud"), "--isolation", "chroot", "--layers=false", "--format", "docker",
                *_host_settings(), *(word for each in arguments for word in ("--build-arg", each)),
                "--build-arg", f"BASE_IMAGE={PYTHON_BASE}", "--pull=never",
                "-f", file, "-t", reference, context,
                on_line=lambda line: setattr(step, "note", line[-70:]),
            )  # fmt: skip
            _push(archive)
    return archive


def python_base(progress: Progress) -> Archive:
    """Debian with Python 3.11 and pip: stands in for `python:3.11-slim-bookworm` where no registry is."""
    archive = Archive(PYTHON_BASE, cache_dir() / "images" / f"base-{content_key(_SUITE, _BASE_PACKAGES)}.tar")
    with locked(archive.lock):
        if not archive.path.exists():
            partial = archive.path.with_suffix(".partial.tar")
            with progress.step("making a Debian base image with Python"):
                run("mmdebstrap", "--variant=minbase", f"--include={_BASE_PACKAGES}", *_slim(), _SUITE, partial)
            partial.rename(archive.path)
    return archive


def pause(progress: Progress) -> Archive:
    """The image of the process that holds a pod's namespaces."""
    binary = gobuild.build(gobuild.PAUSE, progress) / "pause"
    return from_files(PAUSE_IMAGE, {"pause": binary}, ["/pause"], progress)


def triton(progress: Progress) -> Archive:
    """Triton for machines without a GPU, with a backend that serves ONNX models."""
    return build(TRITON_IMAGE, SOURCES / "triton-cpu" / "Containerfile", SOURCES / "triton-cpu", (), progress)


def from_files(reference: str, files: dict[str, Path], entrypoint: Sequence[str], progress: Progress) -> Archive:
    """Pack an image FROM scratch of these files: path inside -> file here."""
    parts: list[str | Path] = []
    for name in sorted(files):
        parts += [name, files[name]]
    archive = _archive(reference, content_key(*parts, repr(list(entrypoint))))
    with locked(archive.lock):
        if not archive.path.exists():
            with progress.step(f"packing image {reference}"):
                _pack(archive, files, entrypoint)
    return archive


def _pack(archive: Archive, files: dict[str, Path], entrypoint: Sequence[str]) -> None:
    folder = archive.path.with_suffix(".context")
    shutil.rmtree(folder, ignore_errors=True)
    for name, source in files.items():
        target = folder / "root" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    containerfile = folder / "Containerfile"
    containerfile.write_text(f"FROM scratch\nCOPY . /\nENTRYPOINT {json.dumps(list(entrypoint))}\n")
    run(
        *(*_buildah("bud"), "--isolation", "chroot", "--format", "docker"),
        *("-f", containerfile, "-t", archive.reference, folder / "root"),
    )
    _push(archive)
    shutil.rmtree(folder)


def _full(tag: str) -> str:
    first = tag.split("/", maxsplit=1)[0]
    if "/" in tag and ("." in first or ":" in first or first == "localhost"):
        return tag
    return f"docker.io/{tag}" if "/" in tag else f"docker.io/library/{tag}"


def _archive(reference: str, key: str) -> Archive:
    name = reference.split("/", 1)[1].replace("/", "-").replace(":", "-")
    path = cache_dir() / "images" / f"{name}-{key}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    return Archive(reference, path)


def _buildah(verb: str) -> list[str]:
    store = cache_dir() / "buildah"
    return ["buildah", "--root", str(store), "--runroot", str(store / "run"), "--storage-driver", "vfs", verb]


def _push(archive: Archive) -> None:
    reference, path = archive.reference, archive.path
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    run(*_buildah("push"), "--quiet", reference, f"docker-archive:{partial}:{reference}")
    partial.rename(path)
    # The archive is what is kept: vfs holds a full copy of each layer.
    run(*_buildah("rmi"), reference, check=False)
    archive.prune()


def _ensure_base(base: Archive) -> None:
    marker = f"{base.reference}-{base.path.stem.rpartition('-')[2]}"
    known = run(*_buildah("images"), "--format", "{{.Name}}:{{.Tag}}").stdout.split()
    if marker not in known:
        script = f'FROM scratch\nADD {base.path.name} /\nCMD ["python3"]\n'
        run(*_buildah("bud"), "--isolation", "chroot", "--format", "docker", "-f", "-", "-t", marker,
            base.path.parent, stdin=script)  # fmt: skip
    run(*_buildah("tag"), marker, base.reference)


def _host_settings() -> list[str]:
    """What lets pip in a RUN step trust and reach what pip on this machine does."""
    words = []
    if _AUTHORITIES.exists():
        words += ["--volume", f"{_AUTHORITIES}:{_AUTHORITIES}:ro", "--build-arg", f"PIP_CERT={_AUTHORITIES}"]
    if os.environ.get("PIP_INDEX_URL"):
        words += ["--build-arg", f"PIP_INDEX_URL={os.environ['PIP_INDEX_URL']}"]
    return words


def _slim() -> list[str]:
    dropped = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/var/lib/apt/lists/*")
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in dropped[:3]]
    # The official Python images let pip install into the system's folder; so does this stand-in.
    return [*options, '--customize-hook=rm -f "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED']


def _sources(context: Path) -> list[Path]:
    """What of a context can reach the image: its .containerignore says so, by an allow-list or by names."""
    rules = context / ".containerignore"
    lines = [line.strip() for line in rules.read_text().splitlines()] if rules.exists() else []
    if "*" in lines:
        return [context / line[1:] for line in lines if line.startswith("!")]
    ignored = {line.strip("/") for line in lines} | {".git"}
    return [entry for entry in sorted(context.iterdir()) if entry.name not in ignored]


def _contents(archive: Path) -> dict[str, str]:
    """Reference -> name of the configuration, which is named by its own hash."""
    try:
        with tarfile.open(archive) as opened:
            listing = opened.extractfile("manifest.json")
            images = json.load(listing) if listing else []
    except (OSError, KeyError, tarfile.TarError) as error:
        raise DevclusterError(
            f"{archive} is not an image archive ({error}): make one with "
            "`docker save NAME -o FILE.tar` or `python -m devcluster build-image`."
        ) from error
    return {_full(tag): image["Config"] for image in images for tag in image.get("RepoTags") or ()}


def _digests(present: dict[str, str], wanted: dict[str, str]) -> str:
    return os.linesep.join(f"{name} {present.get(name)}" for name in sorted(wanted))
