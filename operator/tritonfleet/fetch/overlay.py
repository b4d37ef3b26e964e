"""The configuration that Triton is given: the revision's own laid over the artifact's."""

from pathlib import Path

from tritonfleet.errors import InvalidSpec
from tritonfleet.fetch.failure import FetchFailed
from tritonfleet.fetch.layout import Hints

NAME = "tritonfleet.pbtxt"
"""Below `<model>/configs/`; chosen by `--model-config-name=tritonfleet`."""


def merged(base: Path | None, overlay: Path, *, model: str, uri: str, backend: str | None) -> tuple[str, Hints]:
    """Return the text of the merged configuration, and what it says about files.

    Raises FetchFailed when either text is no model configuration.
    """
    # Takes half a second of CPU; the caller starts it beside the transfer (see `preload`).
    from tritonfleet.triton import merge, schema  # noqa: PLC0415

    try:
        under = schema.parse_text(_text(base), f"config.pbtxt of {uri}") if base else schema.empty()
        config = merge.merge(under, schema.parse_text(_text(overlay), str(overlay)))
    except InvalidSpec as error:
        raise FetchFailed(f"{error}; correct the file and publish it again") from error
    config.name = model
    labels = frozenset(output.label_filename for output in config.output if output.label_filename)
    hints = Hints(backend or config.backend or None, config.default_model_filename or None, labels)
    return schema.to_text(config), hints


def preload() -> None:
    """Import what `merged` needs, so that the import overlaps with the transfer."""
    import tritonfleet.triton.merge  # noqa: F401, PLC0415


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FetchFailed(f"the configuration {file.name} cannot be read ({error}); it must be UTF-8 text") from error
