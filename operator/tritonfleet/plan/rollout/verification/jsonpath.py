"""Singular queries of JSONPath (RFC 9535, section 2.3.5.1): they find one value or none, at a bounded cost."""

import re
from collections.abc import Iterator
from typing import Any, Final

from tritonfleet.errors import TritonfleetError

LONGEST: Final = 256
_SEGMENT: Final = re.compile(
    r"""\.(?P<name>[A-Za-z_\u0080-\U0010FFFF][A-Za-z0-9_\u0080-\U0010FFFF]*)"""
    r"""|\[(?P<index>0|-?[1-9][0-9]{0,8})\]"""
    r"""|\[(?:'(?P<single>[^'\\]*)'|"(?P<double>[^"\\]*)")\]"""
)

Step = str | int


class InvalidPath(TritonfleetError):
    """Not a path that is understood here."""


def steps(path: str) -> tuple[Step, ...]:
    """Return names and indexes from the root down; raises InvalidPath."""
    if len(path) > LONGEST:
        raise InvalidPath(f"must have at most {LONGEST} characters")
    if not path.startswith("$"):
        raise InvalidPath("must begin with $, such as $.choices[0].label")
    return tuple(_steps(path))


def _steps(path: str) -> Iterator[Step]:
    position = 1
    while position < len(path):
        match = _SEGMENT.match(path, position)
        if match is None:
            raise InvalidPath(
                f"{path[position:]!a} is not understood: names (.label or ['a name']) and indexes ([0], [-1]) are"
            )
        found = match.groupdict()
        if found["index"] is not None:
            yield int(found["index"])
        else:
            yield next(found[kind] for kind in ("name", "single", "double") if found[kind] is not None)
        position = match.end()


def find(document: Any, path: str) -> tuple[Any, ...]:
    """Return the value at the path in a tuple, which is empty if there is none; raises InvalidPath."""
    for step in steps(path):
        if isinstance(step, str):
            if not isinstance(document, dict) or step not in document:
                return ()
        elif not isinstance(document, list) or not -len(document) <= step < len(document):
            return ()
        document = document[step]
    return (document,)
