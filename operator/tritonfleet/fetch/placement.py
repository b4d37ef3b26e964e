"""Putting the finished model in place in one step, and recognising it after a restart."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tritonfleet.fetch import overlay
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.layout import CONFIG
from tritonfleet.fetch.manifest import Content, sha256_of

_STAGING: Final = ".tritonfleet"
"""Beside the models; Triton loads by name only, and never looks here."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The model's folder and the staging folder beside it, on the same volume."""

    target: Path
    model: str

    @property
    def folder(self) -> Path:
        """Where Triton reads the model; absent or complete, never half."""
        return self.target / self.model

    @property
    def staging(self) -> Path:
        """Where files arrive; kept between attempts."""
        return self.target / _STAGING / self.model

    @property
    def _receipt(self) -> Path:
        return self.staging / "receipt.json"

    def prepare(self) -> None:
        """Make the staging folder; FetchFailed when the volume cannot be written."""
        try:
            self.staging.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FetchFailed(f"the model volume {self.target} cannot be written ({error.strerror})") from error

    def intact_digest(self, uri: str, expected: str | None) -> str | None:
        """Return the digest of the model in place if each byte is still what an earlier run put there."""
        try:
            receipt = json.loads(self._receipt.read_text())
            same = receipt["uri"] == uri and expected in {None, receipt["digest"]}
            if same and all(_is_intact(self.folder / path, *rest) for path, *rest in receipt["files"]):
                return str(receipt["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None

    def discard(self) -> None:
        """Remove the model and everything fetched for it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.staging, ignore_errors=True)

    def publish(
        self,
        contents: Sequence[Content],
        places: Mapping[str, str],
        config: str,
        *,
        linked_folder: Path | None,
        uri: str,
        digest: str,
    ) -> None:
        """Build the model's folder from `contents` at their `places`, and rename it into place.

        Files are moved; with `linked_folder`, where they were found, its folders and files are linked.
        """
        tree = self.staging / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        used = [content for content in contents if places.get(content.path, CONFIG) != CONFIG]
        if linked_folder:
            _link(used, places, tree, linked_folder)
        else:
            _move(used, places, tree)
        own = tree / "configs" / overlay.NAME
        own.parent.mkdir(parents=True)
        own.write_text(config, "utf-8")
        files = [(places[content.path], content.size, content.sha256) for content in used]
        files.append((f"configs/{overlay.NAME}", own.stat().st_size, sha256_of(own)))
        self._receipt.write_text(json.dumps({"uri": uri, "digest": digest, "files": files}))
        tree.rename(self.folder)
        for rest in ("files", "unpacked"):
            shutil.rmtree(self.staging / rest, ignore_errors=True)
        (self.staging / "journal").unlink(missing_ok=True)


def _move(contents: Sequence[Content], places: Mapping[str, str], tree: Path) -> None:
    for content in contents:
        place = tree / places[content.path]
        place.parent.mkdir(parents=True, exist_ok=True)
        content.file.rename(place)


def _link(contents: Sequence[Content], places: Mapping[str, str], tree: Path, folder: Path) -> None:
    """Link version folders whole: runtimes want a model's parts to lie in one real folder."""
    paths = [content.path for content in contents]
    if folder.is_dir() and all(places[path] == f"1/{path}" for path in paths):
        folders = {"1": folder}
    else:
        tops = {path.partition("/")[0] for path in paths if "/" in path and path == places[path]}
        folders = {top: folder / top for top in tops if top.isdecimal()}
    tree.mkdir()
    for version, real in folders.items():
        (tree / version).symlink_to(real.resolve())
    for content in contents:
        place = tree / places[content.path]
        if places[content.path].partition("/")[0] not in folders:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(content.file)


def _is_intact(file: Path, size: int, sha256: str) -> bool:
    return file.stat().st_size == size and sha256_of(file) == sha256
