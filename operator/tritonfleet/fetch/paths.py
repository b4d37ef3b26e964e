"""Names that come from outside (listings, archives, URIs), checked before they become files."""

from typing import Final

from tritonfleet.fetch.failure import FetchFailed

MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 1024
_ENCODED: Final = ("%2e", "%2f", "%5c", "%00")


def safe_relative(path: str, *, of: str) -> str:
    """Return `path` unchanged if it names a file below a folder, in every reading of it.

    Refused: absolute names, empty, `.` and `..` parts, backslashes, control characters, percent-encoded
    separators or dots, and names that no file system takes. `of` says where the path was found.
    """
    problem = _problem(path)
    if problem:
        raise FetchFailed(f"{of} holds the name {path[:200]!r}, which {problem}; rename it at the source")
    return path


def _problem(path: str) -> str | None:
    parts = path.split("/")
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    if path.startswith("/"):
        return "is absolute"
    if any(part in {"", ".", ".."} for part in parts):
        return "has an empty, '.' or '..' part"
    if "\\" in path or not all(character.isprintable() for character in path):
        return "has a backslash, a control character or invalid UTF-8"
    if any(code in path.lower() for code in _ENCODED):
        return "hides a dot, a slash or a NUL behind percent-encoding"
    if sum(map(len, encoded)) + len(parts) > MAX_PATH_BYTES or any(len(part) > MAX_NAME_BYTES for part in encoded):
        return f"is longer than {MAX_PATH_BYTES} bytes, or {MAX_NAME_BYTES} in one part"
    return None
