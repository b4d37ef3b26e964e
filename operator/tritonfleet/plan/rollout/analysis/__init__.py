"""Canary analysis: is the canary worse than stable? Counts in, a verdict with numbers out.

`plan/rollout` calls `analyze()` once per window while both revisions get traffic, `bake()` once per window after the
last step, `watch()` after the promotion, and `record_stable()` before the canary gets any. Each takes the `Progress`
stored in the status and a `Window` of counters measured by `runtime/canary_monitor.py`, all but `watch()` an
`AnalysisPolicy` (from the spec, through `analysis_policy()`); each returns the next `Progress`. There is no clock, no
I/O and no randomness in it.

docs/explanation/canary-analysis.md describes the tests and their measured error rates. Import from here and not from
the modules inside.
"""

from tritonfleet.plan.rollout.analysis.checks import GOLDEN_REQUESTS, PROMQL_PREFIX
from tritonfleet.plan.rollout.analysis.evaluation import (
    AnalysisPolicy,
    AnalysisVerdict,
    Progress,
    analysis_policy,
    analyze,
    bake,
    record_stable,
    watch,
)
from tritonfleet.plan.rollout.analysis.results import (
    EXPLAINED,
    CheckResult,
    Evidence,
    Numbers,
    Outcome,
    Verification,
    Why,
    percent,
    probability,
    rank,
    shorten,
    title_of,
    value_of,
)
from tritonfleet.plan.rollout.analysis.samples import (
    CounterReading,
    PodCounts,
    ProbeRun,
    QueryAnswer,
    RevisionCounts,
    ScrapeInterval,
    Window,
    count_window,
    is_cold,
)

__all__ = [
    "EXPLAINED",
    "GOLDEN_REQUESTS",
    "PROMQL_PREFIX",
    "AnalysisPolicy",
    "AnalysisVerdict",
    "CheckResult",
    "CounterReading",
    "Evidence",
    "Numbers",
    "Outcome",
    "PodCounts",
    "ProbeRun",
    "Progress",
    "QueryAnswer",
    "RevisionCounts",
    "ScrapeInterval",
    "Verification",
    "Why",
    "Window",
    "analysis_policy",
    "analyze",
    "bake",
    "count_window",
    "is_cold",
    "percent",
    "probability",
    "rank",
    "record_stable",
    "shorten",
    "title_of",
    "value_of",
    "watch",
]
