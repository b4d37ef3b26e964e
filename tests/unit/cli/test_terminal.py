"""What reaches the terminal, and what is read from files that somebody else has written."""

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.conftest import MANIFEST, Said
from tritonfleet.adapters.cluster import Cluster
from tritonfleet.cli import terminal
from tritonfleet.cli.explain import command as explain
from tritonfleet.cli.explain.model import Account as ExplainAccount
from tritonfleet.cli.manifests import read_manifests
from tritonfleet.cli.place import Place
from tritonfleet.cli.rollout import output as rollout
from tritonfleet.cli.rollout.model import Account as RolloutAccount
from tritonfleet.cli.terminal import UsageError, report_error, say
from tritonfleet.errors import printable

CONTROLS = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs"}]
NOW = datetime(2026, 1, 1, 1, tzinfo=UTC)
SOURCES = Path(terminal.__file__).parent


def test_no_control_character_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Of C0, C1, the marks of direction and whatever else is invisible; line breaks are the text's own."""
    text = "".join(f"a{char}" for char in CONTROLS if char != "\n")
    say(text)
    say(text, error=True)
    report_error("explain", UsageError(text))
    printed = capsys.readouterr()
    assert set(printed.out + printed.err) & set(CONTROLS) == {"\n"}
    assert "a\\u001ba" in printed.out
    assert "a\\u009ba" in printed.out
    assert "a\\u202ea" in printed.out


@given(st.text())
def test_json_says_the_same_when_it_is_made_printable(text: str) -> None:
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


@given(st.text(st.characters(exclude_categories=["C", "Z"])))
def test_what_can_be_seen_is_left_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_nothing_else_of_the_command_line_writes() -> None:
    writers = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if re.search(r"\bprint\(|std(out|err)\.(buffer\.)?write|\.std(out|err)\b(?=[,)])", path.read_text())
    }
    assert writers == {"terminal.py"}


def test_a_wrong_argument_is_not_repeated_with_its_control_characters(tritonfleet: Callable[..., Said]) -> None:
    said = tritonfleet("simulate", "--seed", "\x1b[2J\x9b1m\u202e")
    assert said.status == 2
    assert "\\u001b[2J\\u009b1m\\u202e" in said.err
    assert set(said.err) & set(CONTROLS) == {"\n"}


class OneObject:
    """A cluster with one object, in whose status anyone may have written."""

    def __init__(self, message: str) -> None:
        self._message = message

    async def get(self, *_: str) -> dict[str, Any]:
        entry = {
            "type": "Ready",
            "status": "False",
            "reason": "ModelLoadFailed",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        body: dict[str, Any] = yaml.safe_load(MANIFEST)
        return body | {"status": {"conditions": [entry | {"message": self._message}]}}


async def test_a_message_of_a_status_cannot_pass_for_another_line_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"a{char}b" for char in CONTROLS if unicodedata.category(char) != "Cs"]
    for look in (plain_explain, plain_rollout):
        honest, forged = [
            look(await Place(cast("Cluster", OneObject(message)), "shop").model_deployment("recommender"))
            for message in ("a", "".join(lines))
        ]
        say(forged)
        assert forged.count("\n") == honest.count("\n")
        assert set(capsys.readouterr().out) & set(CONTROLS) == {"\n"}


def plain_explain(body: dict[str, Any]) -> str:
    return explain.plain(ExplainAccount.of(body, NOW))


def plain_rollout(body: dict[str, Any]) -> str:
    return rollout.plain(RolloutAccount.of(body, None, NOW))


def bomb(width: int = 10, depth: int = 10) -> str:
    rows = ["a0: &a0 x"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    return "\n".join(rows)


def merged(depth: int = 30) -> str:
    rows = ["a0: &a0 {k: v}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, depth)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (bomb(), "must not hold more than 100,000 values, aliases included"),
        (bomb(2, 40), "line 16: must not hold more than 100,000 values"),
        (merged(), "must not hold more than 100,000 values"),
        ("a: &a [*a]", "line 1: the alias '*a' leads into itself or nowhere"),
        ("a: *b", "the alias '*b' leads into itself or nowhere"),
        ("a: &a x\n---\nb: *a", "line 3: must be YAML: found undefined alias"),
        ("[" * 70 + "]" * 70, "must not be nested deeper than 64 levels"),
        ("[" * 100_000, "must not be nested deeper than 64 levels"),
        ("- " * 5000 + "x", "must not be nested deeper than 64 levels"),
        ("a: 1\n" * 1_000_000, "must be smaller than 4 MiB"),
        ("a: 2001-99-99", "must be YAML"),
        ("a: \x00", "must be YAML"),
    ],
    ids=lambda text: text[:16],
)
def test_a_file_that_stands_for_more_than_it_holds_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read_manifests(text, "m.yaml")
    assert str(refusal.value).startswith("m.yaml: ")
    assert complaint in str(refusal.value)


def test_aliases_within_reason_are_read() -> None:
    text = "a: &a {k: v}\nb: &b [*a, *a]\nc: {<<: *a, l: *b}\n---\nd: 1"
    assert read_manifests(text, "m.yaml") == list(yaml.safe_load_all(text))


def test_simulate_and_golden_refuse_a_bomb_at_once(tritonfleet: Callable[..., Said], tmp_path: Path) -> None:
    (file := tmp_path / "m.yaml").write_text(f"{MANIFEST}\nx:\n  " + bomb().replace("\n", "\n  "))
    for arguments in (
        ("simulate", "-f", file, "--trace", "daily"),
        ("golden", "check", "m", "-f", file, "--server", "127.0.0.1:1"),
    ):
        said = tritonfleet(*arguments)
        assert said.status == 2
        assert "aliases included" in said.err


def test_python_m_tritonfleet_runs_the_command_that_is_named():
    command = [sys.executable, "-m", "tritonfleet", "simulate", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: tritonfleet simulate")
