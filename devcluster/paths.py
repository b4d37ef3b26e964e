"""Where things lie on disk: a cache shared by every checkout, and the state of this checkout's cluster."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent


def cache_dir() -> Path:
    """The cache of everything built or downloaded; survives `down`, shared between checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tritonfleet"


@dataclass(frozen=True, slots=True)
class State:
    """The folder of one cluster; TRITONFLEET_DEVCLUSTER_STATE overrides the one derived from the checkout."""

    root: Path

    @classmethod
    def of_checkout(cls) -> "State":
        """The state folder of the checkout this file lies in: of `make cluster` and of the demo."""
        chosen = os.environ.get("TRITONFLEET_DEVCLUSTER_STATE")
        if chosen:
            return cls(Path(chosen).resolve())
        name = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:10]
        return cls(cache_dir() / "clusters" / name)

    @classmethod
    def of_tests(cls) -> "State":
        """The state folder of the end-to-end tests' cluster: theirs alone, whatever the other one holds."""
        other = cls.of_checkout().root
        return cls(other.with_name(f"{other.name}-tests"))

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig: there as soon as the cluster has been brought up once."""
        return self.root / "admin.kubeconfig"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.root / "logs"

    @property
    def kubelet(self) -> Path:
        """The kubelet's root: pod volumes are mounted below it."""
        return self.root / "kubelet"

    @property
    def containerd(self) -> Path:
        """Images and their unpacked layers; kept over `down` so that no image is imported twice."""
        return self.root / "containerd"

    @property
    def etcd(self) -> Path:
        """The API server's data."""
        return self.root / "etcd"


def write_keyed(path: Path, text: str) -> Path:
    """Write a configuration under a name that holds its hash, and return that name.

    A changed configuration thus changes the command line of the process that reads it, which is what starts
    the process anew; an unchanged file is never touched (kube-proxy ends when its own is).
    """
    keyed = path.with_name(f"{path.stem}-{content_key(text)}{path.suffix}")
    if not keyed.exists():
        keyed.parent.mkdir(parents=True, exist_ok=True)
        keyed.write_text(text)
    return keyed


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file: two commands at once wait for each other instead of racing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def content_key(*parts: bytes | str | Path) -> str:
    """Twelve hex digits that change when any part does; a folder stands for all files below it."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = sorted(part.rglob("*")) if part.is_dir() else [part]
            for file in files:
                if not file.is_file() or "__pycache__" in file.parts:
                    continue
                name = str(file.relative_to(part)) if file != part else part.name
                digest.update(f"\0{name}\0{file.stat().st_mode & 0o111}\0".encode())
                digest.update(file.read_bytes())
        else:
            digest.update(b"\1" + (part.encode() if isinstance(part, str) else part))
    return digest.hexdigest()[:12]
