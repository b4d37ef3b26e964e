"""The errors that cross a layer: each says what the caller may do about it.

`plan` and `triton` raise `InvalidSpec`, which becomes a status that names the field. `adapters` turn what their clients
raise into the others, so that `runtime/controller.py` can choose when to try again without knowing a client, and the
command line prints any of them in one line. An exception that is none of these is a fault of the operator.

Their words often come from elsewhere, such as from Triton or the API server: `printable()` makes them safe to show.
"""

import json
from dataclasses import dataclass


class TritonfleetError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidSpec(TritonfleetError):
    """The ModelDeployment cannot be carried out as written; retrying without an edit is pointless.

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
    """Whoever was asked has answered, with an error or with something unusable; asking again would change nothing."""


class Conflict(TritonfleetError):
    """409: the object is not in the state this write assumed (another owner, another resourceVersion).

    What was decided is out of date: observe and decide again.
    """


class NoCluster(TritonfleetError):
    """There is no usable kubeconfig and no service account: nobody said which cluster is meant."""


@dataclass
class Refused(TritonfleetError):
    """The API server will not take this object as it stands (400, 403, 422): a person must act."""

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
