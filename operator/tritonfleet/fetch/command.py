"""`tritonfleet fetch`: download one model into the pod and report its digest.

A model with companions has a run for each of them before its own, which checks that all fit together.

The command line calls `main()` in the init container. It reads `Settings` from the environment and writes its result to
the termination message. One fetch, `fetched()`, runs from the check of the URI to the rename of the finished folder;
when it fails, nothing is left in place.
"""

import json
import os
import re
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

from tritonfleet.errors import TritonfleetError, printable
from tritonfleet.fetch.archive import is_archive, unpacked
from tritonfleet.fetch.claim import contents_of, files_of
from tritonfleet.fetch.failure import FetchFailed, disk_failure, masked, one_line, secrets_of
from tritonfleet.fetch.location import FORMS, Location, parse
from tritonfleet.fetch.model_folder import (
    CONFIG,
    Content,
    Placement,
    batches_of,
    check_config,
    digest_of,
    digest_of_chain,
    keeps_state,
    laid_out,
    merge_config,
    of_folder,
    preload_schema,
    without_wrapper,
)
from tritonfleet.fetch.stores import open_remote
from tritonfleet.fetch.transfer import Backoff, Journal, Transfer, retry

TERMINATION_LOG: Final = Path("/dev/termination-log")
SCHEMES: Final = tuple(FORMS)
_PREFIX: Final = "TRITONFLEET_FETCH_"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MODEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")

Report = Callable[[str], None]
"""Prints one line of progress, secrets masked."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One fetch: which model, from where, to where, under which rules."""

    uri: str
    model: str
    """Triton's name of the model: the folder below `target`."""
    config: Path
    """The rendered configuration that is merged over the artifact's own."""
    digest: str | None = None
    """Expected content digest, `sha256:<hex>`."""
    target: Path = Path("/models")
    source: Path = Path("/source")
    """Where the claim of a pvc:// URI is mounted."""
    backend: str | None = None
    server: str = ""
    """What the configuration is checked against: JSON of the server's context; empty for no check."""
    folder: str = ""
    """The model's folder in what the URI names, if that holds several models."""
    companion: int | None = None
    """Which companion it is, counted from 0; None for the model that clients call."""
    companions: tuple[str, ...] = ()
    """Of the model that clients call: Triton's names of its companions, which are in place already."""
    allowed_schemes: tuple[str, ...] = SCHEMES
    allowed_hosts: tuple[str, ...] = ()
    """Host names, or `*.example.com`; empty means any host with a public address."""
    allow_private: bool = False
    proxy: str = ""
    """URL of the HTTP proxy to the outside; empty for none."""
    no_proxy: tuple[str, ...] = ()
    """Hosts, domains and networks that are reached without it."""
    authorities: Path | None = None
    """File with certificates of authorities to trust beside the system's."""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read `TRITONFLEET_FETCH_*`; raise FetchFailed naming the variable that cannot be used."""

    def read(name: str, default: str = "") -> str:
        return environment.get(_PREFIX + name, "").strip() or default

    def required(name: str) -> str:
        return read(name) or _refuse(name, "", "a value")

    model, digest, private = required("MODEL"), read("DIGEST"), read("ALLOW_PRIVATE", "false").lower()
    if not _MODEL.fullmatch(model):
        _refuse("MODEL", model, "letters, digits, '.', '-' and '_', not starting with '.' or '-'")
    folder, companions = read("FOLDER"), [name for name in read("COMPANIONS").split(",") if name]
    for name in (*companions, folder or model):
        if not _MODEL.fullmatch(name):
            _refuse("COMPANIONS", name, "the names of models")
    if digest and not _DIGEST.fullmatch(digest):
        _refuse("DIGEST", digest, "'sha256:' and 64 lower-case hex digits")
    if private not in {"true", "false"}:
        _refuse("ALLOW_PRIVATE", private, "'true' or 'false'")
    return Settings(
        uri=required("URI"),
        model=model,
        config=Path(required("CONFIG")),
        digest=digest or None,
        target=Path(read("TARGET", "/models")),
        source=Path(read("SOURCE", "/source")),
        backend=read("BACKEND") or None,
        server=read("SERVER"),
        folder=folder,
        companion=int(read("COMPANION")) if read("COMPANION").isdecimal() else None,
        companions=tuple(companions),
        allowed_schemes=_words(read("ALLOWED_SCHEMES")) or SCHEMES,
        allowed_hosts=_words(read("ALLOWED_HOSTS")),
        allow_private=private == "true",
        proxy=read("PROXY"),
        no_proxy=_words(read("NO_PROXY")),
        authorities=Path(read("AUTHORITIES")) if read("AUTHORITIES") else None,
    )


def _words(value: str) -> tuple[str, ...]:
    return tuple(word.strip().lower() for word in value.split(",") if word.strip())


def _refuse(name: str, value: str, expected: str) -> str:
    raise FetchFailed(f"the environment variable {_PREFIX}{name} is '{value}'; it must be {expected}")


def fetched(settings: Settings, environment: Mapping[str, str], report: Report) -> str:
    """Put the model in place and return its content digest; raises FetchFailed and leaves nothing in place."""
    source = parse(settings.uri, settings.allowed_schemes)
    placement = Placement(settings.target, settings.model)
    if digest := placement.intact_digest(source.uri, settings.digest):
        report(f"{source.uri} is already in place and verified")
        return digest
    shutil.rmtree(placement.folder, ignore_errors=True)
    placement.prepare()
    threading.Thread(target=preload_schema, daemon=True).start()
    report(f"fetching {source.uri}")
    try:
        contents, version = _contents(source, settings, environment, placement, report)
        packed = len(contents) == 1 and is_archive(contents[0].path)
        if packed:
            contents = _unpacked(contents[0], placement.staging / "unpacked")
        if settings.folder:
            contents = of_folder(contents, settings.folder, source.uri)
        return _placed(contents, source, settings, placement, packed=packed, version=version)
    except OSError as error:
        raise disk_failure(error) from error


def _contents(
    source: Location, settings: Settings, environment: Mapping[str, str], placement: Placement, report: Report
) -> tuple[list[Content], str]:
    """Return the files, and the version that a name which moves stood for, if the source has one."""
    if source.scheme == "pvc":
        # Only a copy holds what was hashed: anyone may write to a claim afterwards.
        copies = placement.staging / "files" if settings.digest else None
        within = f"{source.path}/{settings.folder}".strip("/")
        if settings.folder and (settings.source / within).is_dir():
            found = contents_of(source.uri, settings.source, within, report, copies=copies)
            return [replace(content, path=f"{settings.folder}/{content.path}") for content in found], ""
        return contents_of(source.uri, settings.source, source.path, report, copies=copies), ""
    return _downloaded(source, settings, environment, placement.staging, report)


def _downloaded(
    source: Location, settings: Settings, environment: Mapping[str, str], staging: Path, report: Report
) -> tuple[list[Content], str]:
    # pvc:// needs no sockets, and each import delays the pod's start.
    from tritonfleet.fetch.tunnel import Guard, Proxy, Tunnel  # noqa: PLC0415

    split = urlsplit(settings.proxy)
    onward = Proxy(split.hostname, split.port or 80, settings.no_proxy) if split.hostname else None
    authorities = ""
    if settings.authorities is not None and settings.authorities.is_file():
        # The kubelet brings no file where the namespace has no such ConfigMap; public hosts need none.
        authorities = settings.authorities.read_text()
    with Tunnel(Guard(settings.allowed_hosts, settings.allow_private), onward) as tunnel:
        remote = open_remote(
            source,
            environment,
            tunnel,
            allow_private=settings.allow_private,
            allowed_schemes=settings.allowed_schemes,
            authorities=authorities,
            report=report,
        )
        files = retry(remote.files, Backoff(threading.Event(), report))
        if remote.version:
            report(f"{source.uri} is at {remote.version}")
        # Of an archive or an image only the inside tells which files are the model's.
        own = [file for file in files if file.path.startswith(f"{settings.folder}/")] if settings.folder else []
        contents = Transfer(remote, staging / "files", Journal(staging / "journal"), report).run(own or files)
        return remote.arranged(contents, staging / "unpacked"), remote.version


def _unpacked(packed: Content, folder: Path) -> list[Content]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    contents = unpacked(packed.file, packed.path, folder)
    wrapper = without_wrapper(content.path for content in contents)
    return [replace(content, path=content.path.removeprefix(wrapper)) for content in contents]


def _placed(
    contents: Sequence[Content],
    source: Location,
    settings: Settings,
    placement: Placement,
    *,
    packed: bool,
    version: str,
) -> str:
    base = next((content.file for content in contents if content.path == CONFIG), None)
    config, hints = merge_config(base, settings.config, model=settings.model, uri=source.uri, backend=settings.backend)
    places = laid_out([content.path for content in contents], hints, uri=source.uri, packed=packed)
    digest = digest_of(replace(content, path=places[content.path]) for content in contents if content.path in places)
    if settings.digest not in {None, digest}:
        placement.discard()
        raise FetchFailed(
            f"{source.uri} has the digest {digest}, the spec expects {settings.digest}; publish the expected "
            "files, or set model.digest to the new digest if the change is intended"
        )
    files = {places[content.path]: content.size for content in contents if content.path in places}
    chain = [Placement(settings.target, name) for name in settings.companions]
    text = check_config(
        config,
        files,
        settings.server,
        model=settings.model,
        uri=source.uri,
        companion=settings.companion,
        chain=chain,
    )
    mount = settings.source.resolve()
    is_linked = source.scheme == "pvc" and all(content.file.is_relative_to(mount) for content in contents)
    folder = (mount / source.path / settings.folder).resolve() if is_linked else None
    facts = batches_of(config, settings.server, chain) | ({"modelVersion": version} if version else {})
    placement.publish(contents, places, text, linked_folder=folder, uri=source.uri, digest=digest, facts=facts)
    return digest


def effective_config(environment: Mapping[str, str], folder: Path, overlay: Path) -> tuple[object, dict[str, Path]]:
    """Return the configuration that a pod would load if the model's files were those of a folder, and these files.

    The folder may be one of several models, if that is what the URI names; companions themselves are not looked at.
    `environment` is that of the init container, `overlay` the configuration of the revision. Raises FetchFailed as the
    pod would; nothing is changed.
    """
    settings = from_environment(environment)
    if settings.folder and (folder / settings.folder).is_dir():
        folder = folder / settings.folder
    shown = str(folder)
    found = files_of(folder, shown)
    config, hints = merge_config(found.get(CONFIG), overlay, model=settings.model, uri=shown, backend=settings.backend)
    places = laid_out(list(found), hints, uri=shown)
    placed = {places[path]: file for path, file in found.items() if path in places}
    sizes = {path: file.stat().st_size for path, file in placed.items()}
    chain = None if settings.companions else ()
    check_config(config, sizes, settings.server, model=settings.model, uri=shown, chain=chain)
    return config, placed


def main(environment: Mapping[str, str] | None = None, termination_log: Path = TERMINATION_LOG) -> int:
    """Fetch the configured model; return the exit code, 0 or 1.

    The termination message is `{"digest": "sha256:..."}`, with `"largestBatch"` and `"concurrentBatches"` by which the
    autoscaler plans, with `"stateful": true` for a model with sequence batching and `"modelVersion"` for a name that
    moves, such as a branch, and `"companionsDigest"` for a model with companions; or one line `FetchFailed: ...`.
    """
    _stop_at_once_on_sigterm()
    environment = dict(os.environ if environment is None else environment)
    secrets = secrets_of(environment)

    def report(line: str) -> None:
        _say(masked(line, secrets))

    is_companion = bool(environment.get(f"{_PREFIX}COMPANION"))
    companion = environment.get(f"{_PREFIX}MODEL") if is_companion else None
    try:
        settings = from_environment(environment)
        result: dict[str, object] = {"digest": fetched(settings, environment, report)}
        placement = Placement(settings.target, settings.model)
        result |= placement.facts()
        chain = [Placement(settings.target, name) for name in settings.companions]
        if chain:
            result["companionsDigest"] = digest_of_chain(chain)
        if any(keeps_state(each.folder) for each in (placement, *chain)):
            result["stateful"] = True
    except TritonfleetError as error:
        text = str(error) if companion is None or "companion '" in str(error) else f"companion '{companion}': {error}"
        message, code = one_line(text, secrets), 1
    except Exception as error:  # noqa: BLE001 - the pod's status must carry a reason in every case
        report(traceback.format_exc())
        message, code = (
            one_line(f"unexpected {type(error).__name__}: {error}; please report this as a bug", secrets),
            1,
        )
    else:
        message, code = json.dumps(result), 0
    _say(message)
    if termination_log.exists():
        termination_log.write_text(message)
    return code


def _say(line: str) -> None:
    sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def _stop_at_once_on_sigterm() -> None:
    """Exit on SIGTERM: process 1 of a container ignores it by default, which delays the pod's deletion."""

    def stop(number: int, _: FrameType | None) -> None:
        os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
