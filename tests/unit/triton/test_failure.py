"""What a person reads when Triton does not start; every file in load_failures/ is the end of a real log."""

from pathlib import Path

import pytest

from tritonfleet.triton.failure import LONGEST_REASON, load_failure

LOGS = Path(__file__).parent / "load_failures"
TERMINATION_MESSAGE_BYTES = 2048

REASONS = {
    "initialize_raises": "RuntimeError: weights are for another vocabulary: 32000 != 50257 "
    "(/models/demo/1/model.py, line 6, in initialize)",
    "auto_complete_raises": "RuntimeError: auto complete failed "
    "(/models/demo/1/model.py, line 7, in auto_complete_config)",
    "missing_import": "ModuleNotFoundError: No module named 'torch_scatter' "
    "(/models/demo/1/model.py, line 1, in <module>)",
    "multiline_message": "ValueError: first line second line: found 3, wanted 4 "
    "(/models/demo/1/model.py, line 6, in initialize)",
    "talkative_model": "KeyError: 'lm_head.weight' (/models/demo/1/model.py, line 8, in initialize)",
    "python_syntax": "IndentationError: unindent does not match any outer indentation level (model.py, line 8)",
    "missing_class": "AttributeError: module '1.model' has no attribute 'TritonPythonModel'",
    "missing_model_file": "Python model file not found in '/models/demo/1/model.py'",
    "process_died": "Stub process 'exits_0' is not healthy.",
    "long_message": "the model's code raised an error at /models/demo/1/model.py, line 8, in f",
    "missing_backend": "unable to find backend library for backend 'onnxruntime', "
    "try specifying runtime on the model configuration.",
    "missing_version": "at least one version must be available under the version policy of model 'noversion'",
    "missing_specific_version": "at least one version must be available under the version policy of model 'specific'",
    "no_gpu": "instance group gpu_0 of model gpu has kind KIND_GPU but no GPUs are available",
    "zero_dimension": "model input 'IN' dimension must be integer >= 1, "
    "or -1 to indicate a variable-size dimension for dims",
    "other_name": "unexpected directory name 'mismatch' for model 'other', directory name must equal model name",
    "preferred_above_max": "dynamic batching preferred size must be <= max batch size for prefmax",
    "wrong_dtype_name": "the model configuration cannot be read at line:column 4:42: "
    'Unknown enumeration value of "TYPE_FLOAT" for field "data_type".',
    "config_syntax": "the model configuration cannot be read at line:column 6:50: Expected integer, got: }",
    "ensemble_member": "RuntimeError: no table of squares (/models/square/1/model.py, line 8, in initialize)",
    "unknown_flag": "tritonserver did not accept its command line and printed its usage: correct `server.args`",
}


@pytest.mark.parametrize("name", sorted(REASONS))
def test_the_reason_is_triton_s_own_on_one_line(name: str) -> None:
    assert load_failure((LOGS / f"{name}.txt").read_text()) == REASONS[name]


def test_every_captured_log_is_expected_to_say_something() -> None:
    assert {path.stem for path in LOGS.glob("*.txt")} == set(REASONS)


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_captured_log_is_no_longer_than_a_termination_message(path: Path) -> None:
    assert len(path.read_bytes()) <= TERMINATION_MESSAGE_BYTES


def test_a_reason_survives_when_the_message_begins_in_the_middle_of_a_line() -> None:
    whole = (LOGS / "initialize_raises.txt").read_text()
    assert load_failure(whole[400:]) == REASONS["initialize_raises"]


def test_a_port_in_use_is_named() -> None:
    message = "error: failed to start HTTP service: Unavailable - Socket '0.0.0.0:8000' already in use \n"
    assert load_failure(message) == ("failed to start HTTP service: Unavailable - Socket '0.0.0.0:8000' already in use")


def test_log_lines_with_iso_8601_times_are_understood() -> None:
    line = (
        "2026-11-21T04:00:21Z E 1 model_repository_manager.cc:1460] "
        "\"Poll failed for model directory 'm': dynamic batching preferred size must be positive for m\"\n"
        "error: creating server: Internal - failed to load all models\n"
    )
    assert load_failure(line) == "dynamic batching preferred size must be positive for m"


def test_a_very_long_reason_is_cut() -> None:
    reason = load_failure(f"error: creating server: Internal - {'x' * 2000}")
    assert reason is not None
    assert reason == "x" * LONGEST_REASON + "..."


def test_of_several_models_the_one_that_failed_is_named() -> None:
    failed = (LOGS / "initialize_raises.txt").read_text()
    assert load_failure(failed, of_several=True) == f"model 'raises': {REASONS['initialize_raises']}"
    polled = (LOGS / "preferred_above_max.txt").read_text()
    assert load_failure(polled, of_several=True) == f"model 'prefmax': {REASONS['preferred_above_max']}"
    syntax = (LOGS / "unknown_flag.txt").read_text()
    assert load_failure(syntax, of_several=True) == REASONS["unknown_flag"]


def test_of_an_ensemble_the_member_that_failed_is_named_and_not_what_depends_on_it() -> None:
    message = (LOGS / "ensemble_member.txt").read_text()
    assert load_failure(message, of_several=True) == f"model 'square': {REASONS['ensemble_member']}"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Signal (11) received.\n",
        'W1121 04:00:25.225660 1 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory"\n',
        '{"digest": "sha256:00"}',
    ],
)
def test_a_message_without_a_reason_gives_none(message: str) -> None:
    assert load_failure(message) is None


def test_what_a_model_says_cannot_steer_the_terminal_that_shows_it() -> None:
    said = "\x1b]0;pwned\x07\x1b[2J\x9b31m\u202eevil"
    log = f"E1129 10:00:00.000000 1 model_lifecycle.cc:654] failed to load 'm' version 1: Internal: {said}\n"
    frame = f"\n\nAt:\n  /models/m/{said}.py(3): run\n"
    for message in (log, f"error: creating server: Internal - {said}{frame}"):
        reason = load_failure(message)
        assert reason is not None
        assert reason.isprintable()
        assert "\\u001b[2J" in reason
