"""What can go wrong here, said so that a person can act on it."""

import errno
import http.client
import json
import os
import subprocess
import tempfile
from pathlib import Path

from devcluster.paths import cache_dir

_PLENTY_BYTES = 1 << 30
_UNREACHABLE = (
    "goproxy=off", "proxyconnect", "dial tcp", "no such host", "name resolution", "could not resolve",
    "network is unreachable", "failed to establish a new connection", "cannot connect to proxy",
    "tls handshake timeout",
)  # fmt: skip
"""How go, pip and apt-get say that they cannot download, in lower case."""
_DOWNLOADERS = ("go", "pip", "apt-get", "mmdebstrap", "buildah")


class DevclusterError(Exception):
    """The command cannot go on; the message says what failed and what to do about it."""


class CommandFailed(DevclusterError):
    """A program this one started ended with a non-zero status; `output` is what it printed last."""

    def __init__(self, command: str, status: int, output: str) -> None:
        super().__init__(f"`{command}` ended with status {status}:\n{output.strip()[-4000:]}")
        self.command = command
        self.status = status
        self.output = output


FORESEEN = (DevclusterError, OSError, subprocess.SubprocessError, json.JSONDecodeError, http.client.HTTPException)
"""What a machine can do to us. All else is a mistake in the program, and keeps its traceback."""


def explain(error: BaseException) -> str:
    """Return what happened and, where the words tell, why: a full disk is named with its folder, so is the network."""
    words = str(error).strip() or type(error).__name__
    if _is_full(error, words):
        return f"{words}\nNo space is left: {_room(error)}"
    if isinstance(error, CommandFailed) and _downloads(error) and any(each in words.lower() for each in _UNREACHABLE):
        return (
            f"{words}\nA download failed: the network, or a proxy on the way, does not let this machine reach "
            f"Go modules ({os.environ.get('GOPROXY') or 'https://proxy.golang.org'}), Python packages "
            f"({os.environ.get('PIP_INDEX_URL') or 'https://pypi.org'}) or Debian's mirror."
        )
    return words


def _is_full(error: BaseException, words: str) -> bool:
    return getattr(error, "errno", None) == errno.ENOSPC or "no space left on device" in words.lower()


def _downloads(error: CommandFailed) -> bool:
    return any(Path(word).name in _DOWNLOADERS for word in error.command.split()[:4]) or "devcluster" in error.command


def _room(error: BaseException) -> str:
    named = getattr(error, "filename", None)
    go = Path.home() / "go" / "pkg" / "mod"
    folders = [Path(named)] if isinstance(named, str) else []
    folders += [cache_dir(), Path(tempfile.gettempdir()), Path(os.environ.get("GOMODCACHE") or go)]
    disks = {folder: os.statvfs(_existing(folder)) for folder in folders}
    free = {folder: disk.f_bavail * disk.f_frsize for folder, disk in disks.items()}
    full = {folder for folder, disk in disks.items() if disk.f_files and not disk.f_favail}
    short = {folder: left for folder, left in free.items() if left < _PLENTY_BYTES or folder in full} or free
    return ", ".join(
        f"{folder} has {left:,} bytes free" + (" and no room for another file" if folder in full else "")
        for folder, left in short.items()
    )


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())
