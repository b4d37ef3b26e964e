"""Triton's model folder: what lies in it and where, its configuration and its digest, and how it is put in place.

`laid_out()` maps the source's paths to the paths below the model's folder: `net.onnx` of the backend onnxruntime
becomes `1/model.onnx`, and a source with version folders stays as it is. `merge_config()` lays the revision's
configuration over the artifact's, and `check_config()` refuses what Triton would not load. `Placement` builds the
folder beside its final place and renames it there in one step, so that Triton never sees half a model, and recognizes
it by a receipt when the container starts again. `main()` calls them in this order.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tritonfleet.errors import InvalidSpec
from tritonfleet.fetch.failure import FetchFailed

HASH_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """One file of the model."""

    path: str
    """Relative to the source, or to the model's folder once it is laid out."""
    size: int
    sha256: str
    """Hex digits of the file's bytes."""
    file: Path
    """Where those bytes are now."""
    executable: bool = False
    """Whether the source says that the file is a program; buckets and web servers cannot."""


def digest_of(contents: Iterable[Content]) -> str:
    r"""Return `sha256:<hex>` of the lines `path\0size\0sha256\n`, sorted by the bytes of the path."""
    lines = sorted(f"{content.path}\0{content.size}\0{content.sha256}\n".encode() for content in contents)
    return f"sha256:{hashlib.sha256(b''.join(lines)).hexdigest()}"


def sha256_of(file: Path) -> str:
    """Return the hex SHA-256 of a file, read in pieces."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


CONFIG: Final = "config.pbtxt"
_VERSION: Final = re.compile(r"[1-9][0-9]*")
_DIGITS: Final = re.compile(r"[0-9]+")
_OTHER_CONFIGS: Final = "configs"
"""Triton's folder of alternative configurations; the operator's own is the only one in effect."""
PYTHON_STUB: Final = "triton_python_backend_stub"
"""Runs a Python model in place of the backend's own stub, for another version of Python."""
_BESIDE_VERSIONS: Final = frozenset({"warmup", "initial_state", PYTHON_STUB})
"""What Triton and its Python backend look for beside the versions."""
_DEFAULT_FILES: Final = {
    "onnxruntime": ("model.onnx", (".onnx",)),
    "pytorch": ("model.pt", (".pt", ".pth")),
    "tensorrt": ("model.plan", (".plan", ".engine")),
    "openvino": ("model.xml", (".xml",)),
    "python": ("model.py", (".py",)),
    "dali": ("model.dali", (".dali",)),
}
"""Per backend: the file that it loads, and the suffixes under which people keep it."""
_ENSEMBLE: Final = "ensemble"
_ONE_FILE_BACKENDS: Final = frozenset({"onnxruntime", "openvino", "python", "dali"})
"""Backends that have no other way to find their model than by its name."""
_PLATFORMS: Final = {"onnxruntime_onnx": "onnxruntime", "tensorrt_plan": "tensorrt", "pytorch_libtorch": "pytorch"}
"""Triton's older names of backends, by which a configuration may choose one as well."""


@dataclass(frozen=True, slots=True)
class Hints:
    """What the configuration says about files: it decides where bare files go."""

    backend: str | None = None
    default_file: str | None = None
    """`default_model_filename`, if set: then nothing is renamed."""
    label_files: frozenset[str] = frozenset()
    """Files that Triton reads from beside the versions."""
    environment: str | None = None
    """The Python backend's environment, an archive or a folder, if the configuration wants it beside the versions."""


def without_wrapper(paths: Iterable[str]) -> str:
    """Return the folder, with its slash, that wraps everything in an archive, or an empty string."""
    paths = list(paths)
    tops = {path.partition("/")[0] for path in paths}
    top = next(iter(tops), "")
    is_wrapper = len(tops) == 1 and all("/" in path for path in paths)
    return f"{top}/" if is_wrapper and not _DIGITS.fullmatch(top) and not top.endswith(".savedmodel") else ""


def of_folder(contents: Sequence[Content], folder: str, uri: str) -> list[Content]:
    """Return the files of one model of several, by their paths in its folder; raises FetchFailed if it has none."""
    found = [
        replace(content, path=content.path.removeprefix(f"{folder}/"))
        for content in contents
        if content.path.startswith(f"{folder}/")
    ]
    if not found:
        there = sorted({content.path.partition("/")[0] for content in contents if "/" in content.path})
        raise FetchFailed(
            f"{uri}: no folder '{folder}' there, which is the model's, since a companion without `uri` has its folder"
            f" beside it; there {'is' if len(there) == 1 else 'are'} {', '.join(there[:5]) or 'no folders'}"
        )
    return found


def laid_out(paths: Collection[str], hints: Hints, *, uri: str, packed: bool = False) -> dict[str, str]:
    """Map each source path that is used to its path below the model's folder, the configuration included.

    `packed` says that the paths are those of an archive, in which no address leads to a folder.
    Raises FetchFailed when the source is no model: no model file, several models, or a name taken twice.
    """
    used = [path for path in paths if path.partition("/")[0] != _OTHER_CONFIGS]
    _check_conflicts(used, uri)
    versions = {top for path in used if "/" in path and _VERSION.fullmatch(top := path.partition("/")[0])}
    if versions:
        newest = max(versions, key=int)
        if missing := _missing_model_file([path for path in used if path.startswith(f"{newest}/")], newest, hints):
            name, nested = missing
            remedy = f"move {nested} there" if nested else _ADD_MODEL_FILE
            raise FetchFailed(f"{uri}: there is no {newest}/{name}, which {_loader(hints)} loads; {remedy}")
        return {path: path for path in used}
    bare = [path for path in used if path != CONFIG]
    if hints.backend == _ENSEMBLE:
        # It has no file of its own, and stores of objects keep no empty folder: `Placement` makes its version.
        return {path: path for path in used if path == CONFIG or _beside_versions(path, hints)}
    if not bare:
        raise FetchFailed(f"{uri}: no model file there; it needs version folders such as 1/ or the model's own files")
    _check_no_repository(bare, uri, packed=packed)
    names = _default_names(bare, hints, uri)
    placed = {path: path if _beside_versions(path, hints) else f"1/{names.get(path, path)}" for path in bare}
    if all(_beside_versions(path, hints) for path in bare):
        raise FetchFailed(f"{uri}: no model file there, only labels or warm-up data; add the model's own file")
    if missing := _missing_model_file(list(placed.values()), "1", hints):
        name, nested = missing
        remedy = _ADD_MODEL_FILE
        if nested:
            folder = nested.removeprefix("1/").rpartition("/")[0]
            remedy = f"it is in '{folder}': {_instead(uri, folder, packed=packed)}"
        raise FetchFailed(f"{uri}: at its top is no {name}, which {_loader(hints)} loads; {remedy}")
    return placed | {path: path for path in used if path == CONFIG}


_ADD_MODEL_FILE: Final = "add it, or set model.defaultModelFilename to the file that is the model"


def _loader(hints: Hints) -> str:
    return f"the {hints.backend} backend" if hints.backend else "a backend"


def _missing_model_file(places: Sequence[str], version: str, hints: Hints) -> tuple[str, str] | None:
    """Return the file that the backend would look for in vain, and where it lies instead, or an empty string.

    Triton's Python backend waits for it until it is stopped.
    """
    if hints.default_file:
        wanted = [hints.default_file]
    elif hints.backend is None:
        wanted = [name for name, _ in _DEFAULT_FILES.values()]
    elif hints.backend in _DEFAULT_FILES:
        wanted = [_DEFAULT_FILES[hints.backend][0]]
    else:
        return None
    prefixes = tuple(f"{version}/{name}/" for name in wanted)
    if any(f"{place}/".startswith(prefixes) for place in places):
        return None
    nested = min((place for place in places if PurePosixPath(place).name in wanted), default="")
    if nested:
        return PurePosixPath(nested).name, nested
    return (wanted[0], "") if hints.backend in _ONE_FILE_BACKENDS else None


def _instead(uri: str, folder: str, *, packed: bool) -> str:
    """Say how to have only one folder of the source fetched; an address is named only where there can be one."""
    if packed:
        return f"pack only what is in '{folder}'"
    if re.search(r"[\s?#%]", folder):
        return f"give '{folder}' a name without white space, '?', '#' and '%', and add it to the URI"
    return f"name {uri.rstrip('/')}/{folder}"


def _beside_versions(path: str, hints: Hints) -> bool:
    is_environment = hints.environment is not None and f"{path}/".startswith(f"{hints.environment}/")
    return path in hints.label_files or path.partition("/")[0] in _BESIDE_VERSIONS or is_environment


def _check_conflicts(paths: Collection[str], uri: str) -> None:
    known = set(paths)
    for path in paths:
        for parent in PurePosixPath(path).parents:
            if str(parent) in known:
                raise FetchFailed(f"{uri}: '{parent}' is a file and a folder (of '{path}'); rename one of them")


def _check_no_repository(paths: Collection[str], uri: str, *, packed: bool) -> None:
    tops = sorted({path.partition("/")[0] for path in paths if "/" in path})
    zero = [top for top in tops if _DIGITS.fullmatch(top)]
    if zero:
        raise FetchFailed(
            f"{uri}: Triton ignores the version folder '{zero[0]}'; number versions from 1, without zeros"
        )
    models = sorted({path.split("/")[0] for path in paths if _is_model_file_of_repository(path)})
    if models:
        raise FetchFailed(
            f"{uri}: a repository of models ({', '.join(models[:5])}), of which one is served: "
            f"{_instead(uri, models[0], packed=packed)}, or name the others in spec.companions"
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
            "set model.defaultModelFilename"
        )
    names = {candidates[0]: default}
    weights = candidates[0].removesuffix(".xml") + ".bin"
    if default == "model.xml" and weights in paths:
        names[weights] = "model.bin"
    return names


_MODEL_DIRECTORY: Final = "$$TRITON_MODEL_DIRECTORY/"
"""The Python backend's name for the model's folder in `EXECUTION_ENV_PATH`."""
OVERLAY = "tritonfleet.pbtxt"
"""The configuration that Triton loads, below `<model>/configs/`; chosen by `--model-config-name=tritonfleet`."""


def merge_config(base: Path | None, overlay: Path, *, model: str, uri: str, backend: str | None) -> tuple[Any, Hints]:
    """Return the configuration that Triton is to load, and what it says about files.

    Raises FetchFailed when either text is no model configuration, or both choose a scheduler of their own.
    """
    # Takes half a second of CPU; the caller starts it beside the transfer (see `preload_schema`).
    from tritonfleet.triton import schema  # noqa: PLC0415

    try:
        under = schema.parse_text(schema.decoded(_data(base)), f"config.pbtxt of {uri}") if base else schema.empty()
        config = schema.effective(under, schema.parse_text(schema.decoded(_data(overlay)), str(overlay)))
    except InvalidSpec as error:
        raise FetchFailed(f"{error}; correct the file and publish it again") from error
    config.name = model
    labels = frozenset(output.label_filename for output in config.output if output.label_filename)
    backend = backend or config.backend or _PLATFORMS.get(config.platform, config.platform) or None
    environment = (
        config.parameters["EXECUTION_ENV_PATH"].string_value if "EXECUTION_ENV_PATH" in config.parameters else ""
    )
    beside = environment.removeprefix(_MODEL_DIRECTORY).strip("/") if environment.startswith(_MODEL_DIRECTORY) else ""
    hints = Hints(backend, config.default_model_filename or None, labels, beside or None)
    return config, hints


def check_config(
    config: Any,
    files: Mapping[str, int],
    server: str,
    *,
    model: str,
    uri: str,
    companion: int | None = None,
    chain: Sequence["Placement"] | None = (),
) -> str:
    """Return the text of a configuration; raises FetchFailed with the broken rules if Triton would not load it.

    `files` are the sizes of the model's files by their path in its folder. `server` is the operator's word about the
    server, as `server_context()` of `tritonfleet.triton.images` writes it; without it there is no check: the pods of
    an older operator have none, and they keep what they were started with. `companion` is its number in the spec if the
    model is one. Of the model itself, which comes last, `chain` are the companions, None if they are not at hand:
    ensembles among all models are checked against them.
    """
    from tritonfleet.triton import context, schema  # noqa: PLC0415

    if server:
        folder = _folder_of(config, files)
        if companion is not None or chain is None:
            _refuse(config, folder, None, server, model=model, uri=uri, companion=companion)
        else:
            members = {each.model: each.member() for each in chain} | {model: context.Member(config, folder)}
            _refuse(config, folder, members, server, model=model, uri=uri)
            for number, each in enumerate(chain):
                one = members[each.model]
                if one.config.HasField("ensemble_scheduling"):
                    _refuse(one.config, one.folder, members, server, model=each.model, uri=uri, companion=number)
    return schema.to_text(config)


def _folder_of(config: Any, files: Mapping[str, int]) -> Any:
    """Return a model's folder as Triton will find it: that of an ensemble has a version, see `Placement.publish`."""
    from tritonfleet.triton import context  # noqa: PLC0415

    folder = context.Folder(files)
    if config.platform == _ENSEMBLE and not folder.versions:
        return context.Folder({**files, "1/": 0})
    return folder


def _refuse(
    config: Any, folder: Any, members: Any, server: str, *, model: str, uri: str, companion: int | None = None
) -> None:
    """Raise FetchFailed if Triton would not load a configuration beside `members`, the other models of the server."""
    from tritonfleet.triton import images, validation  # noqa: PLC0415
    from tritonfleet.triton.config import of_companion  # noqa: PLC0415

    known = images.read_server_context(server)
    try:
        validation.refuse_problems(
            validation.problems(config, model_name=model, folder=folder, members=members, **known)
        )
    except InvalidSpec as error:
        text = str(error) if companion is None else of_companion(str(error), companion)
        shown = uri if companion is None else f"companion '{model}'"
        raise FetchFailed(f"Triton would not load {shown} as its config.pbtxt and the spec have it: {text}") from error


def batches_of(config: Any, server: str, chain: Sequence["Placement"] = ()) -> dict[str, int]:
    """Return how the server batches by a configuration, for the status; `server` is as in `check_config`.

    An ensemble has as many executions side by side as the least of its companions has, which `chain` are.
    """
    from tritonfleet.triton import images, schema  # noqa: PLC0415

    if not server:
        return {}
    configs = [config]
    if config.platform == _ENSEMBLE:
        members = [each.member().config for each in chain]
        configs = [member for member in members if member.platform != _ENSEMBLE] or configs
    gpus = images.read_server_context(server)["gpus"]
    copies = min(schema.executions_side_by_side(each, gpus) for each in configs)
    return {"largestBatch": schema.largest_batch(config), "concurrentBatches": copies}


def digest_of_chain(chain: Sequence["Placement"]) -> str:
    r"""Return `sha256:<hex>` of the lines `name\0digest\n` of models in place, in their order."""
    lines = "".join(f"{each.model}\0{each.digest()}\n" for each in chain)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def keeps_state(folder: Path) -> bool:
    """Return whether the merged configuration in a published folder has sequence batching."""
    config = (folder / "configs" / OVERLAY).read_text("utf-8")
    return re.search(r"^sequence_batching\b", config, re.MULTILINE) is not None


def preload_schema() -> None:
    """Import what `merge_config` and `check_config` need, so that the import overlaps with the transfer."""
    import tritonfleet.triton.validation  # noqa: F401, PLC0415


def _data(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise FetchFailed(f"the configuration {file.name} cannot be read ({error})") from error


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
            # What is linked can change after it was checked; that is not enough for a digest that must hold.
            same = receipt["uri"] == uri and (not expected or (expected == receipt["digest"] and not receipt["linked"]))
            if same and all(_is_intact(self.folder / path, *rest) for path, *rest in receipt["files"]):
                return str(receipt["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None

    def member(self) -> Any:
        """Return the model in place as another model's ensemble sees it; raises FetchFailed if it is not there."""
        from tritonfleet.triton import context, schema  # noqa: PLC0415

        try:
            sizes = {str(path): int(size) for path, size, _ in json.loads(self._receipt.read_text())["files"]}
            text = (self.folder / "configs" / OVERLAY).read_text("utf-8")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FetchFailed(f"the companion '{self.model}' is not in place, though it was fetched") from error
        config = schema.parse_text(text, f"config.pbtxt of '{self.model}'")
        return context.Member(config, _folder_of(config, sizes))

    def digest(self) -> str:
        """Return the digest of the model in place; empty if there is none."""
        try:
            return str(json.loads(self._receipt.read_text())["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def facts(self) -> dict[str, Any]:
        """Return the `facts` with which the model was put in place."""
        try:
            return dict(json.loads(self._receipt.read_text()).get("facts", {}))
        except (OSError, ValueError, TypeError):
            return {}

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
        facts: Mapping[str, Any],
    ) -> None:
        """Build the model's folder from `contents` at their `places`, and rename it into place.

        Files are moved; with `linked_folder`, where they were found, its folders and files are linked. `facts` is what
        the termination message says about the model beside its digest, also when the container starts again.
        """
        tree = self.staging / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        used = [content for content in contents if places.get(content.path, CONFIG) != CONFIG]
        if linked_folder:
            _link(used, places, tree, linked_folder)
        else:
            _move(used, places, tree)
        own = tree / "configs" / OVERLAY
        own.parent.mkdir(parents=True)
        if not any(part.name.isdecimal() for part in tree.iterdir()):
            (tree / "1").mkdir()
        own.write_text(config, "utf-8")
        files = [(places[content.path], content.size, content.sha256) for content in used]
        files.append((f"configs/{OVERLAY}", own.stat().st_size, sha256_of(own)))
        self._receipt.write_text(
            json.dumps(
                {
                    "uri": uri,
                    "digest": digest,
                    "linked": linked_folder is not None,
                    "files": files,
                    "facts": dict(facts),
                }
            )
        )
        tree.rename(self.folder)
        for rest in ("files", "unpacked"):
            shutil.rmtree(self.staging / rest, ignore_errors=True)
        (self.staging / "journal").unlink(missing_ok=True)


def _move(contents: Sequence[Content], places: Mapping[str, str], tree: Path) -> None:
    for parent in {(tree / places[content.path]).parent for content in contents}:
        parent.mkdir(parents=True, exist_ok=True)
    for content in contents:
        place = tree / places[content.path]
        if _is_program(content):
            content.file.chmod(0o755)
        content.file.rename(place)


def _is_program(content: Content) -> bool:
    """Tell whether the file can be run: its source says so, or it is a program or a script by its first bytes."""
    if content.executable or PurePosixPath(content.path).name == PYTHON_STUB:
        return True
    with content.file.open("rb") as data:
        return data.read(4).startswith((b"\x7fELF", b"#!"))


def _link(contents: Sequence[Content], places: Mapping[str, str], tree: Path, folder: Path) -> None:
    """Link version folders whole: runtimes want a model's parts to lie in one real folder."""
    paths = [content.path for content in contents]
    if paths and folder.is_dir() and all(places[path] == f"1/{path}" for path in paths):
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
