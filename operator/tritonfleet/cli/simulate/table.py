"""The outcome as text: a table, the worst minutes, and what a person should know about both."""

from collections.abc import Iterable, Sequence

from tritonfleet.cli.amounts import per_second, spoken
from tritonfleet.cli.simulate.outcome import Entry, Outcome

WORST_SHOWN = 5


def comparison_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return one row for each scaler under a head: the clairvoyant, then ours."""
    rows: list[tuple[str, ...]] = [
        ("scaler", outcome.cost_unit, "ratio", "attained", "missed", "over SLO", "events", "flips")
    ]
    rows.extend(_row(entry, outcome.ratio(entry)) for entry in outcome.compared)
    return rows


def _row(entry: Entry, ratio: float | None) -> tuple[str, ...]:
    run = entry.run
    return (
        entry.title,
        f"{run.gpu_hours:.1f}",
        f"{ratio:.2f}" if ratio is not None else "-",
        f"{run.attainment:.2%}",
        f"{run.requests - run.good:,}",
        f"{run.minutes_over_slo} min",
        f"{run.scale_events}",
        f"{run.direction_flips}",
    )


def worst_rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return the minutes in which most of our requests missed the SLO, worst first, under a head."""
    run = outcome.ours.run
    minutes = run.minutes
    rows: list[tuple[str, ...]] = [
        ("worst minutes", "requests/s", "missed", f"p{outcome.percentile:g}", "ready", "wanted")
    ]
    for minute in run.worst_minutes(WORST_SHOWN):
        arrivals, good = int(minutes.arrivals[minute]), int(minutes.good[minute])
        if good == arrivals:
            break
        rows.append(
            (
                clock(minute * outcome.minute_seconds),
                per_second(arrivals / outcome.minute_seconds),
                f"{1 - good / arrivals:.1%}",
                _latency(float(minutes.percentile_seconds[minute])),
                f"{minutes.ready[minute]:.1f}",
                f"{minutes.wanted[minute]:.1f}",
            )
        )
    return rows


def _latency(seconds: float) -> str:
    return "-" if seconds != seconds else spoken(seconds)  # noqa: PLR0124 - NaN where nothing was answered


def clock(seconds: float) -> str:
    """Return a moment of the trace: `07:05`, `3 d 07:05`."""
    days, rest = divmod(int(seconds), 86400)
    return f"{f'{days} d ' if days else ''}{rest // 3600:02}:{rest % 3600 // 60:02}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns: the first to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Iterable[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()


def report(outcome: Outcome) -> str:
    """Return everything that is said on a terminal."""
    worst = worst_rows(outcome)
    parts = [
        outcome.headline,
        "\n".join(f"  {line}" for line in outcome.assumptions),
        aligned(comparison_rows(outcome)),
        aligned(worst) if len(worst) > 1 else f"no request missed the SLO under {outcome.ours.title}",
        *(f"warning: {line}" for line in outcome.warnings),
        f"simulated in {spoken(outcome.took_seconds)}",
    ]
    return "\n\n".join(parts)
