"""`tritonfleet fetch`: brings one model into the pod, then says which bytes it brought."""

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Final

from tritonfleet.errors import TritonfleetError
from tritonfleet.fetch import settings as environment_settings
from tritonfleet.fetch.failure import masked, one_line, secrets_of
from tritonfleet.fetch.model import fetched

TERMINATION_LOG: Final = Path("/dev/termination-log")


def main(environment: Mapping[str, str] | None = None, termination_log: Path = TERMINATION_LOG) -> int:
    """Fetch what the environment asks for; return the exit code, 0 or 1.

    The termination message is `{"digest": "sha256:..."}`, or one line `FetchFailed: ...`.
    """
    _stop_at_once_on_sigterm()
    environment = dict(os.environ if environment is None else environment)
    secrets = secrets_of(environment)

    def report(line: str) -> None:
        _say(masked(line, secrets))

    try:
        digest = fetched(environment_settings.from_environment(environment), environment, report)
    except TritonfleetError as error:
        message, code = one_line(str(error), secrets), 1
    except Exception as error:  # noqa: BLE001 - the pod's status must carry a reason in every case
        report(traceback.format_exc())
        message, code = (
            one_line(f"unexpected {type(error).__name__}: {error}; please report this as a bug", secrets),
            1,
        )
    else:
        message, code = json.dumps({"digest": digest}), 0
    _say(message)
    if termination_log.exists():
        termination_log.write_text(message)
    return code


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _stop_at_once_on_sigterm() -> None:
    """Process 1 of a container ignores SIGTERM unless it says otherwise; the pod's deletion would wait."""

    def stop(number: int, _: FrameType | None) -> None:
        os._exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
