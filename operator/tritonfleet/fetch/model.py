"""One fetch from beginning to end."""

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tritonfleet.fetch import archive, claim, layout, location, manifest, overlay
from tritonfleet.fetch.failure import FetchFailed, disk_failure
from tritonfleet.fetch.location import Location
from tritonfleet.fetch.manifest import Content
from tritonfleet.fetch.placement import Placement
from tritonfleet.fetch.settings import Settings

Report = Callable[[str], None]


def fetched(settings: Settings, environment: Mapping[str, str], report: Report) -> str:
    """Put the model in place and return its content digest; raise FetchFailed, and leave nothing in place."""
    source = location.parse(settings.uri, settings.allowed_schemes)
    placement = Placement(settings.target, settings.model)
    if digest := placement.intact_digest(source.uri, settings.digest):
        report(f"{source.uri} is in place already, every byte of it checked")
        return digest
    shutil.rmtree(placement.folder, ignore_errors=True)
    placement.prepare()
    threading.Thread(target=overlay.preload, daemon=True).start()
    report(f"fetching {source.uri}")
    try:
        contents = _contents(source, settings, environment, placement, report)
        return _placed(contents, source, settings, placement)
    except OSError as error:
        raise disk_failure(error) from error


def _contents(
    source: Location, settings: Settings, environment: Mapping[str, str], placement: Placement, report: Report
) -> list[Content]:
    if source.scheme == "pvc":
        contents = claim.contents_of(source.uri, settings.source, source.path, report)
    else:
        contents = _downloaded(source, settings, environment, placement.staging, report)
    if len(contents) == 1 and archive.is_archive(contents[0].path):
        contents = _unpacked(contents[0], placement.staging / "unpacked")
    return contents


def _downloaded(
    source: Location, settings: Settings, environment: Mapping[str, str], staging: Path, report: Report
) -> list[Content]:
    # pvc:// needs none of these, and obstore's import is on the way of every start.
    from tritonfleet.fetch.guard import Guard  # noqa: PLC0415
    from tritonfleet.fetch.journal import Journal  # noqa: PLC0415
    from tritonfleet.fetch.patience import Patience, patiently  # noqa: PLC0415
    from tritonfleet.fetch.stores import opened  # noqa: PLC0415
    from tritonfleet.fetch.transfer import Transfer  # noqa: PLC0415
    from tritonfleet.fetch.tunnel import Tunnel  # noqa: PLC0415

    with Tunnel(Guard(settings.allowed_hosts, settings.allow_private)) as tunnel:
        remote = opened(source, environment, tunnel, allow_private=settings.allow_private)
        files = patiently(remote.files, Patience(threading.Event(), report))
        return Transfer(remote, staging / "files", Journal(staging / "journal"), report).run(files)


def _unpacked(packed: Content, folder: Path) -> list[Content]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    contents = archive.unpacked(packed.file, packed.path, folder)
    wrapper = layout.without_wrapper(content.path for content in contents)
    return [Content(c.path.removeprefix(wrapper), c.size, c.sha256, c.file) for c in contents]


def _placed(contents: Sequence[Content], source: Location, settings: Settings, placement: Placement) -> str:
    base = next((content.file for content in contents if content.path == layout.CONFIG), None)
    text, hints = overlay.merged(base, settings.config, model=settings.model, uri=source.uri, backend=settings.backend)
    places = layout.laid_out([content.path for content in contents], hints, uri=source.uri)
    digest = manifest.digest_of(
        Content(places[content.path], content.size, content.sha256, content.file)
        for content in contents
        if content.path in places
    )
    if settings.digest not in {None, digest}:
        placement.discard()
        raise FetchFailed(
            f"{source.uri} has the digest {digest}, the spec wants {settings.digest}; publish the wanted "
            "files, or set model.digest to the new digest if the change was meant"
        )
    mount = settings.source.resolve()
    is_linked = source.scheme == "pvc" and all(content.file.is_relative_to(mount) for content in contents)
    folder = (mount / source.path).resolve() if is_linked else None
    placement.publish(contents, places, text, linked_folder=folder, uri=source.uri, digest=digest)
    return digest
