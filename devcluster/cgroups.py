"""The cgroups that pods of one cluster live in: made before the kubelet, removed with everything in them."""

from pathlib import Path

from devcluster.processes import Running, start_ticks

_ROOT = Path("/sys/fs/cgroup")


def _hierarchies() -> list[Path]:
    if (_ROOT / "cgroup.controllers").exists():
        return [_ROOT]
    return [path for path in _ROOT.iterdir() if path.is_dir() and not path.is_symlink()]


def create(name: str) -> None:
    """Make the parent cgroup in every hierarchy: the kubelet refuses a root that is not there."""
    for hierarchy in _hierarchies():
        (hierarchy / name.lstrip("/")).mkdir(exist_ok=True)
    controllers = _ROOT / "cgroup.controllers"
    if controllers.exists():
        wanted = " ".join(f"+{controller}" for controller in controllers.read_text().split())
        (_ROOT / "cgroup.subtree_control").write_text(wanted)


def present(name: str) -> list[Path]:
    """The hierarchies' folders of this cgroup that are there."""
    folders = (hierarchy / name.lstrip("/") for hierarchy in _hierarchies())
    return [folder for folder in folders if folder.exists()]


def members(name: str) -> list[Running]:
    """Every process in the cgroup or below it."""
    pids: set[int] = set()
    for hierarchy in _hierarchies():
        for listing in (hierarchy / name.lstrip("/")).rglob("cgroup.procs"):
            try:
                pids.update(int(line) for line in listing.read_text().split())
            except (FileNotFoundError, OSError):
                continue
    found = ((pid, start_ticks(pid)) for pid in pids)
    return [Running(pid, ticks) for pid, ticks in found if ticks is not None]


def remove(name: str) -> None:
    """Remove the cgroup and all below it; what still holds a process stays."""
    for hierarchy in _hierarchies():
        top = hierarchy / name.lstrip("/")
        folders = [path for path in top.rglob("*") if path.is_dir()] if top.exists() else []
        for folder in sorted(folders, key=lambda path: -len(path.parts)):
            _rmdir(folder)
        _rmdir(top)


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        # Busy or gone: `down` reports what is left, by looking again.
        return
