"""Processes are found again, and none but our own is ever stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from devcluster.errors import DevclusterError
from devcluster.paths import content_key, write_keyed
from devcluster.processes import Registry, Running, start_ticks, stop
from devcluster.slots import Slot

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(3600)"
)


def running(process):
    ticks = start_ticks(process.pid)
    assert ticks is not None
    return Running(process.pid, ticks)


@pytest.fixture
def registry(tmp_path):
    made = Registry(tmp_path / "processes", tmp_path / "logs")
    yield made
    made.stop(*made.names(), term_seconds=1)


def test_a_process_that_runs_is_not_started_again(registry):
    assert registry.ensure("sleeper", ["sleep", "600"])
    first = registry.find("sleeper")[0]

    assert not registry.ensure("sleeper", ["sleep", "600"])
    assert registry.find("sleeper")[0] == first


def test_a_changed_command_replaces_the_process(registry):
    registry.ensure("sleeper", ["sleep", "600"])
    first = registry.find("sleeper")[0]

    assert registry.ensure("sleeper", ["sleep", "601"])
    assert not first.alive()


def test_a_recycled_process_id_is_never_signalled(registry):
    stranger = subprocess.Popen(["sleep", "600"])
    registry.folder.mkdir(parents=True)
    record = {"pid": stranger.pid, "ticks": running(stranger).ticks - 1, "command": ["sleep", "600"]}
    (registry.folder / "sleeper.json").write_text(json.dumps(record))

    registry.stop("sleeper")

    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_process_that_ignores_the_request_to_end_is_killed(registry):
    registry.ensure("stubborn", [sys.executable, "-c", STUBBORN])
    log = registry.logs / "stubborn.log"
    while "ready" not in log.read_text():
        time.sleep(0.02)
    known = registry.find("stubborn")[0]
    began = time.monotonic()

    # It would not end by itself for an hour.
    registry.stop("stubborn", term_seconds=0.3)

    assert not known.alive()
    assert time.monotonic() - began >= 0.3


def test_a_dead_process_is_revived_with_its_own_command(registry):
    registry.ensure("sleeper", ["sleep", "600"])
    stop([registry.find("sleeper")[0]], term_seconds=1)
    assert registry.names() == []
    assert registry.recorded() == ["sleeper"]

    registry.revive()

    assert registry.find("sleeper")[1] == ["sleep", "600"]


def test_a_process_that_exited_is_reported_with_the_end_of_its_output(registry):
    registry.ensure("short", ["sh", "-c", "echo no such disk >&2"])
    while registry.find("short"):
        time.sleep(0.02)

    with pytest.raises(DevclusterError, match=r"short ended by itself(.|\n)*no such disk"):
        registry.require("short")


def test_a_zombie_does_not_count_as_alive():
    child = subprocess.Popen(["sleep", "600"])
    known = running(child)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not known.alive()
    child.wait()


def test_a_key_changes_with_any_byte_name_or_mode_below_a_folder(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    keys = {content_key(tmp_path)}
    file.write_text("two")
    keys.add(content_key(tmp_path))
    file.chmod(0o755)
    keys.add(content_key(tmp_path))
    file.rename(tmp_path / "b")
    keys.add(content_key(tmp_path))

    assert len(keys) == 4


def test_an_unchanged_configuration_is_left_untouched(tmp_path):
    first = write_keyed(tmp_path / "c.json", "{}")
    stamp = first.stat().st_mtime_ns

    assert write_keyed(tmp_path / "c.json", "{}") == first
    assert first.stat().st_mtime_ns == stamp
    assert write_keyed(tmp_path / "c.json", "[]") != first


def test_no_two_slots_share_a_name_or_an_address():
    ranges = [
        getattr(Slot(number), kind) for number in range(32) for kind in ("link_range", "service_range", "pod_range")
    ]
    assert len(set(ranges)) == 96
    assert len({Slot(number).host_link for number in range(32)}) == 32
    assert all(len(Slot(number).host_link) <= 15 for number in range(32))
