"""Errors of the init container: one line, without secrets.

Every module of the package raises `FetchFailed` with a message that names what, where, why and the remedy. `main()`
masks the values of the pod's Secrets in it and writes it as the container's termination message, which the operator
copies into the status.
"""

import base64
import contextlib
import errno
import re
from collections.abc import Mapping
from typing import Final

from tritonfleet.errors import TritonfleetError

MAX_MESSAGE_BYTES: Final = 3000
"""The kubelet keeps 4096 bytes of a termination message, shared by all containers' 12 KiB."""

_SECRET_NAME: Final = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|AUTHORIZATION|CREDENTIAL|DOCKERCONFIG", re.IGNORECASE)
_SHORTEST_SECRET: Final = 4


class FetchFailed(TritonfleetError):
    """The model cannot be fetched; the message names what, where, why and the remedy."""


class Stopped(TritonfleetError):
    """Another part of the same fetch has failed, so this one stopped."""


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values that must never be printed, longest first, each with its words and escaped form."""
    found: set[str] = set()
    for name, value in environment.items():
        if _SECRET_NAME.search(name):
            found |= {
                *_logins(value),
                value,
                *value.split(),
                value.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
            }
    return tuple(sorted((s for s in found if len(s) >= _SHORTEST_SECRET), key=len, reverse=True))


_LOGIN: Final = re.compile(r'"(auth|password|identitytoken|registrytoken)"\s*:\s*"([^"]*)"')


def _logins(value: str) -> set[str]:
    """Return the passwords in what `docker login` writes, which has them in plain text and in base64."""
    found = set()
    for name, text in _LOGIN.findall(value):
        found.add(text)
        if name == "auth":
            with contextlib.suppress(ValueError):
                found.add(base64.b64decode(text).decode().partition(":")[2])
    return found


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """Return `text` with every secret replaced by asterisks."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def one_line(message: str, secrets: tuple[str, ...]) -> str:
    """Return `FetchFailed: <message>` on one printable line below the kubelet's limit, secrets masked."""
    text = masked(message, secrets)
    words = "".join(character if character.isprintable() else " " for character in text).split()
    line = f"FetchFailed: {' '.join(words)}".encode("utf-8", "replace")
    if len(line) > MAX_MESSAGE_BYTES:
        line = line[: MAX_MESSAGE_BYTES - 3] + b"..."
    return line.decode("utf-8", "ignore")


def disk_failure(error: OSError) -> FetchFailed:
    """Return the failure to raise for a write that the model volume did not take."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return FetchFailed("the model volume is full; give the node or the volume more space, or serve a smaller model")
    return FetchFailed(f"the model volume cannot be written ({error.strerror}); check the pod's volumes")
