"""Running other programs: the only place in devcluster that starts one."""

import os
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from devcluster.errors import CommandFailed

# Debian keeps ip, nft and conntrack in sbin, which is not on everybody's PATH.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with the sbin folders on PATH, and `extra` on top."""
    merged = dict(os.environ)
    folders = merged.get("PATH", "").split(os.pathsep)
    merged["PATH"] = os.pathsep.join([*folders, *(folder for folder in _SBIN if folder not in folders)])
    merged.update(extra or {})
    return merged


def raise_priority(group: int) -> None:
    """Give a group of processes, such as a build in the background, the priority of this process, if permitted."""
    with suppress(PermissionError, ProcessLookupError):
        os.setpriority(os.PRIO_PGRP, group, os.getpriority(os.PRIO_PROCESS, 0))


def run(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run to the end and return what was printed; raises CommandFailed unless `check` is off."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        env=environment(env),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise CommandFailed(shlex.join(words), done.returncode, done.stderr or done.stdout)
    return done


def succeeds(*command: str | Path) -> bool:
    """Whether the command ends with status 0."""
    return run(*command, check=False).returncode == 0


def follow(
    *command: str | Path,
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run to the end, handing each line of output to `on_line` as it comes; raises CommandFailed."""
    words = [str(word) for word in command]
    lines: list[str] = []
    with subprocess.Popen(
        words,
        env=environment(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            on_line(line.rstrip())
    if process.returncode:
        raise CommandFailed(shlex.join(words), process.returncode, "".join(lines[-40:]))


def spawn(command: Sequence[str | Path], log: Path) -> int:
    """Start a program in a session of its own that outlives this one; returns its process id.

    The shell in between ends at once, so the program's parent is init and it never lingers as our zombie.
    """
    script = 'log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & echo $!'
    return int(run("sh", "-c", script, "sh", log, *command).stdout)
