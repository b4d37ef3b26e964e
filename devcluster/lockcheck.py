"""Check that a Python environment holds exactly what a requirements lock says: `python devcluster/lockcheck.py LOCK`.

Run with the standard library and the `packaging` that pip brings, so that it works in a bare virtual environment
and in an image build alike. The lock is what `uv pip compile --generate-hashes` writes.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from pip._vendor.packaging.markers import Marker

_BUNDLED = {"pip", "setuptools"}
"""What `python -m venv` may put into an environment by itself."""


def locked(text: str) -> dict[str, str]:
    """Return normalized name -> version of each line of a lock whose marker holds for this interpreter."""
    pins = {}
    for line in text.splitlines():
        pin = re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)(?: *; *([^\\]+))?", line)
        if pin and (pin[3] is None or Marker(pin[3].strip()).evaluate()):
            pins[_normalized(pin[1])] = pin[2]
    return pins


def differences(pins: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return a line for each package that is missing, has another version, or is not in the lock."""
    lines = [f"{name}: the lock says {version}, installed is {found.get(name, 'nothing')}"
             for name, version in sorted(pins.items()) if found.get(name) != version]  # fmt: skip
    return lines + [f"{name} {found[name]}: installed, but not in the lock" for name in sorted(found.keys() - pins)]


def installed(path: Iterable[str] | None, besides: Iterable[str]) -> dict[str, str]:
    """Return normalized name -> version of what is installed in `path` (default: this environment)."""
    found = metadata.distributions(path=list(path)) if path else metadata.distributions()
    ignored = _BUNDLED | {_normalized(name) for name in besides}
    versions = {_normalized(each.metadata["Name"]): each.version for each in found}
    return {name: version for name, version in versions.items() if name not in ignored}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Print every difference on stderr; return 1 when there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--path", action="append", help="a site-packages folder other than this interpreter's")
    parser.add_argument("--besides", action="append", default=[], metavar="NAME", help="a package of our own")
    chosen = parser.parse_args()
    wrong = differences(locked(chosen.lock.read_text()), installed(chosen.path, chosen.besides))
    for line in wrong:
        sys.stderr.write(f"{chosen.lock}: {line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
