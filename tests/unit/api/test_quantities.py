import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tritonfleet.api.quantities import canonical_quantity, duration_seconds, duration_us, quantity
from tritonfleet.errors import InvalidSpec

BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
NUMBERS = st.from_regex(r"\A(?:(?:0|[1-9][0-9]{0,12})(?:\.[0-9]{0,6})?|\.[0-9]{1,6})\Z")
SUFFIXES = st.sampled_from([*BINARY, *DECIMAL, "e3", "E-3", "e0", "e+6", "e5"])
CANONICAL = re.compile(r"(0|[1-9][0-9]*)([EPTGMk]|Ki|Mi|Gi|Ti|Pi|Ei|[mun]|e-?[0-9]+)?")


def exact(number: str, suffix: str) -> Fraction:
    if suffix in BINARY:
        return Fraction(number) * 1024 ** BINARY[suffix]
    if suffix in DECIMAL:
        return Fraction(number) * Fraction(1000) ** DECIMAL[suffix]
    return Fraction(number) * Fraction(10) ** int(suffix[1:])


def parts(canonical: str) -> tuple[int, str]:
    match = CANONICAL.fullmatch(canonical)
    assert match is not None, canonical
    return int(match[1]), match[2] or ""


@given(NUMBERS, SUFFIXES)
def test_a_quantity_and_its_canonical_form_are_the_same_amount(number, suffix):
    amount = exact("0" + number, suffix)
    assume(amount <= 2**63 - 1)
    nanos = -(-amount * 10**9 // 1)
    assert exact(*map(str, parts(canonical_quantity(number + suffix)))) == Fraction(nanos, 10**9)
    assert Fraction(quantity(number + suffix)) == Fraction(nanos, 10**9)


@given(NUMBERS, SUFFIXES)
def test_a_canonical_quantity_is_as_short_as_its_kind_of_suffix_allows(number, suffix):
    amount = exact("0" + number, suffix)
    assume(amount <= 2**63 - 1)
    mantissa, found = parts(canonical_quantity(number + suffix))
    if amount == 0:
        assert (mantissa, found) == (0, "")
    elif suffix in BINARY and amount >= 1024 and amount.denominator == 1:
        assert found in {"", *BINARY}
        assert mantissa % 1024 or found == "Ei"
    else:
        exponent = int(found[1:]) if found.startswith("e") else 3 * DECIMAL[found]
        assert exponent % 3 == 0
        assert mantissa % 1000 != 0
        assert found in DECIMAL or suffix[:1] in {"e", "E"}


@given(NUMBERS, SUFFIXES)
def test_a_canonical_quantity_stays_as_it_is(number, suffix):
    assume(exact("0" + number, suffix) <= 2**63 - 1)
    once = canonical_quantity(number + suffix)
    assert canonical_quantity(once) == once


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1000Mi", "1000Mi"),
        ("1.5Ki", "1536"),
        ("0.1Ki", "102400m"),
        ("1e3", "1e3"),
        ("1E", "1E"),
        ("0.1n", "1n"),
        ("0Gi", "0"),
    ],
)
def test_quantities_are_written_as_kubernetes_writes_them(written, canonical):
    assert canonical_quantity(written) == canonical


def test_a_quantity_is_an_exact_number():
    assert quantity("100m") * 3 == Decimal("0.3")


@pytest.mark.parametrize("wrong", ["", "16 GB", "1GB", "-1", "+1", "1.5.0", "1e", "Gi", "٣", "1Ki ", "1" * 29, "NaN"])
def test_what_is_no_quantity_is_named_with_what_would_be_one(wrong):
    with pytest.raises(InvalidSpec) as refusal:
        canonical_quantity(wrong)
    assert str(refusal.value) == f"'{wrong}' is not a quantity: write a number and a unit, such as 500m, 4 or 16Gi"


@pytest.mark.parametrize("wrong", ["9.3E", "8Ei", "1e19", "99999999999999999999"])
def test_more_than_kubernetes_can_count_is_refused(wrong):
    with pytest.raises(InvalidSpec, match="more than Kubernetes can count"):
        quantity(wrong)


UNITS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}


@given(st.lists(st.tuples(st.integers(0, 999_999), st.sampled_from(sorted(UNITS))), min_size=1, max_size=5))
def test_a_duration_is_the_sum_of_its_parts(parts):
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert duration_us(text) == sum(number * UNITS[unit] for number, unit in parts)


def test_a_duration_in_seconds_keeps_its_fraction():
    assert duration_seconds("1m30s500ms") == 90.5


@pytest.mark.parametrize("wrong", ["", "5", "5 s", "1.5s", "-1s", "1d", "s", "1s ", "٣s", "1000000s", "1s\n"])
def test_what_is_no_duration_is_named_with_what_would_be_one(wrong):
    with pytest.raises(InvalidSpec) as refusal:
        duration_us(wrong)
    assert str(refusal.value) == f"'{wrong}' is not a duration: write a number and a unit, such as 50ms, 2s or 1m30s"
