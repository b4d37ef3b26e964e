"""The errors that cross layers, by what the caller can do about them.

`plan` and `triton` raise `InvalidSpec`, which becomes a status that names the field. `adapters` convert their clients'
exceptions into the others, so that `runtime/controller.py` can choose when to retry without knowing a client, and the
command line prints any of them in one line. Any other exception is a bug in the operator.

Their texts often come from elsewhere, such as from Triton or the API server: `printable()` makes them safe to show.
"""

import json
from dataclasses import dataclass


class TritonfleetError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidSpec(TritonfleetError):
    """The spec is invalid; retrying without an edit is pointless.

    `reason` is a CamelCase API word, the message names the field, its value and the remedy. Example: `ConfigInvalid`
    with "spec.instances[0].gpus is 2: must be below spec.server.gpu.count (2): GPUs are numbered from 0 in the
    container". The status shows both.
    """

    def __init__(self, message: str, *, reason: str = "ConfigInvalid") -> None:
        super().__init__(message)
        self.reason = reason


class Transient(TritonfleetError):
    """The same call may succeed later (429, 5xx, a broken connection).

    `retry_after_seconds` is what the server asked for, or None.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Rejected(TritonfleetError):
    """A server answered with an error or an unusable response; retrying would not help."""


class Conflict(TritonfleetError):
    """409: the object is not in the state this write assumed (another owner, another resourceVersion).

    The decision is outdated: observe and decide again.
    """


class NoCluster(TritonfleetError):
    """There is no usable kubeconfig and no service account."""


@dataclass
class Refused(TritonfleetError):
    """The API server rejects this object (400, 403, 422): the user must act."""

    status: int
    message: str

    def __str__(self) -> str:
        return self.message


def printable(text: str) -> str:
    r"""Return `text` as a terminal can show it: all but line breaks that is invisible or steers it is spelled `\u001b`.

    Those are the control characters, the marks that turn the direction of text, and whatever else has no shape. The
    spelling is that of JSON, so that JSON stays what it is.
    """
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
