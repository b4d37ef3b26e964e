"""Numbers as people read them, in sentences of bounded length."""

MOST_CHARACTERS = 256


def sentence(text: str) -> str:
    """Return `text`, cut to what a status may hold."""
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def percent(share: float) -> str:
    """Return a share of 0..1 in percent, with two significant digits below 10 %."""
    value = 100 * share
    if value and abs(value) < 0.01:
        return "<0.01 %"
    return f"{value:.2f} %" if abs(value) < 1 else f"{value:.1f} %"


def share_of(bad: int, requests: int) -> str:
    """Return a share with what it is made of: `5.0 % (20 of 400)`."""
    return f"{percent(bad / requests)} ({bad:,} of {requests:,})" if requests else "no requests"


def probability(p: float) -> str:
    """Return a p-value; below 1e-9 its exact size means nothing."""
    return "p<1e-9" if p < 1e-9 else f"p={p:.2g}"


def value_of(value: float) -> str:
    """Return a value of unknown unit."""
    return f"{value:.4g}"


def seconds_of(seconds: float) -> str:
    """Return a latency in milliseconds below ten seconds."""
    return f"{1000 * seconds:.4g} ms" if seconds < 10 else f"{seconds:.4g} s"
