"""Where each file of the source belongs in Triton's model folder. Pure."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from tritonfleet.fetch.failure import FetchFailed

CONFIG: Final = "config.pbtxt"
_VERSION: Final = re.compile(r"[1-9][0-9]*")
_DIGITS: Final = re.compile(r"[0-9]+")
_OTHER_CONFIGS: Final = "configs"
"""Triton's folder of alternative configurations; the operator's own is the only one in effect."""
_MODEL_FOLDERS: Final = frozenset({"warmup", "initial_state"})
"""Folders that Triton looks for beside the versions."""
_DEFAULT_FILES: Final = {
    "onnxruntime": ("model.onnx", (".onnx",)),
    "pytorch": ("model.pt", (".pt", ".pth")),
    "tensorrt": ("model.plan", (".plan", ".engine")),
    "openvino": ("model.xml", (".xml",)),
    "python": ("model.py", (".py",)),
    "dali": ("model.dali", (".dali",)),
}
"""Per backend: the file that it loads, and the suffixes under which people keep it."""
_ONE_FILE_BACKENDS: Final = frozenset({"onnxruntime", "openvino", "python", "dali"})
"""Backends that have no other way to find their model than by its name."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What the configuration says about files: it decides where bare files go."""

    backend: str | None = None
    default_file: str | None = None
    """`default_model_filename`, if set: then nothing is renamed."""
    label_files: frozenset[str] = frozenset()
    """Files that Triton reads from beside the versions."""


def without_wrapper(paths: Iterable[str]) -> str:
    """Return the folder, with its slash, that wraps everything in an archive, or an empty string."""
    paths = list(paths)
    tops = {path.partition("/")[0] for path in paths}
    top = next(iter(tops), "")
    is_wrapper = len(tops) == 1 and all("/" in path for path in paths)
    return f"{top}/" if is_wrapper and not _DIGITS.fullmatch(top) and not top.endswith(".savedmodel") else ""


def laid_out(paths: Collection[str], hints: Hints, *, uri: str) -> dict[str, str]:
    """Map each source path that is used to its path below the model's folder, the configuration included.

    Raises FetchFailed when the source is no model: no model file, several models, or a name taken twice.
    """
    used = [path for path in paths if path.partition("/")[0] != _OTHER_CONFIGS]
    _check_conflicts(used, uri)
    versions = {top for path in used if "/" in path and _VERSION.fullmatch(top := path.partition("/")[0])}
    if versions:
        _check_newest(max(versions, key=int), used, hints, uri)
        return {path: path for path in used}
    bare = [path for path in used if path != CONFIG]
    if not bare:
        raise FetchFailed(f"{uri}: no model file there; it needs version folders such as 1/ or the model's own files")
    _check_no_repository(bare, uri)
    names = _default_names(bare, hints, uri)
    placed = {path: path if _beside_versions(path, hints) else f"1/{names.get(path, path)}" for path in bare}
    if all(_beside_versions(path, hints) for path in bare):
        raise FetchFailed(f"{uri}: no model file there, only labels or warm-up data; add the model's own file")
    return placed | {path: path for path in used if path == CONFIG}


def _check_newest(version: str, paths: Collection[str], hints: Hints, uri: str) -> None:
    """Raise FetchFailed when the newest version lacks its model: Triton's Python backend would wait for it for ever."""
    if hints.default_file or hints.backend not in _ONE_FILE_BACKENDS:
        return
    wanted = f"{version}/{_DEFAULT_FILES[hints.backend][0]}"
    if not any(path == wanted or path.startswith(f"{wanted}/") for path in paths):
        raise FetchFailed(
            f"{uri}: there is no {wanted}, which the {hints.backend} backend loads; add it, or set "
            "modelConfig.default_model_filename to the file that is the model"
        )


def _beside_versions(path: str, hints: Hints) -> bool:
    return path in hints.label_files or path.partition("/")[0] in _MODEL_FOLDERS


def _check_conflicts(paths: Collection[str], uri: str) -> None:
    known = set(paths)
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent) in known:
                raise FetchFailed(f"{uri}: '{parent}' is a file and a folder (of '{path}'); rename one of them")


def _check_no_repository(paths: Collection[str], uri: str) -> None:
    tops = sorted({path.partition("/")[0] for path in paths if "/" in path})
    zero = [top for top in tops if _DIGITS.fullmatch(top)]
    if zero:
        raise FetchFailed(
            f"{uri}: Triton ignores the version folder '{zero[0]}'; number versions from 1, without zeros"
        )
    models = sorted({path.split("/")[0] for path in paths if _is_model_file_of_repository(path)})
    if models:
        raise FetchFailed(
            f"{uri}: a repository of models ({', '.join(models[:5])}); name one: {uri.rstrip('/')}/{models[0]}"
        )


def _is_model_file_of_repository(path: str) -> bool:
    parts = path.split("/")
    return len(parts) > 2 and _VERSION.fullmatch(parts[1]) is not None


def _default_names(paths: Collection[str], hints: Hints, uri: str) -> dict[str, str]:
    """Return new names for bare files that the backend would not find under their own."""
    if hints.default_file:
        return {}
    kinds = [_DEFAULT_FILES[hints.backend]] if hints.backend in _DEFAULT_FILES else []
    if hints.backend is None:
        kinds = list(_DEFAULT_FILES.values())
    found = {
        default: [path for path in paths if "/" not in path and path.endswith(suffixes)] for default, suffixes in kinds
    }
    found = {default: candidates for default, candidates in found.items() if candidates}
    if any(default in candidates for default, candidates in found.items()) or len(found) != 1:
        return {}
    default, candidates = next(iter(found.items()))
    if len(candidates) > 1:
        raise FetchFailed(
            f"{uri}: which of {', '.join(sorted(candidates)[:5])} is the model? Rename it to {default}, or "
            "set modelConfig.default_model_filename"
        )
    names = {candidates[0]: default}
    weights = candidates[0].removesuffix(".xml") + ".bin"
    if default == "model.xml" and weights in paths:
        names[weights] = "model.bin"
    return names
