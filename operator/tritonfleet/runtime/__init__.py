"""Time and concurrency: watches, queue, workers, writes.

`operate()` is the process, in which `Operator` (app.py) runs everything else here. Events come in through watching.py
and leave as keys in workqueue.py; controller.py has `plan` decide about one key at a time and executor.py writes.
Meanwhile, autoscaler.py and canary_monitor.py collect verdicts and evidence for later decisions. The decisions
themselves are in `plan`.

The command line and the tests import from here and not from the modules inside, which may be cut differently one day.
"""

from tritonfleet.runtime.app import Operator, operate
from tritonfleet.runtime.autoscaler import Autoscaler
from tritonfleet.runtime.controller import Decide, Observer, utc_now
from tritonfleet.runtime.executor import BEFORE_PODS, intent_of
from tritonfleet.runtime.latency_sources import Gateway
from tritonfleet.runtime.probes import Connect, verify
from tritonfleet.runtime.telemetry import Telemetry, configure_logging
from tritonfleet.runtime.workqueue import WorkQueue

__all__ = [
    "BEFORE_PODS",
    "Autoscaler",
    "Connect",
    "Decide",
    "Gateway",
    "Observer",
    "Operator",
    "Telemetry",
    "WorkQueue",
    "configure_logging",
    "intent_of",
    "operate",
    "utc_now",
    "verify",
]
