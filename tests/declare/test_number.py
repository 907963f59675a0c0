from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.number import MAX_SECONDS, read_duration, read_share, read_size, read_whole
from pytest_llmperf.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("20m", 1200),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("0.5h", 1800),
        ("1.5m", 90),
        ("45", 45),
        ("1e3", 1000),
        ("168h", MAX_SECONDS),
    ],
)
def test_a_duration_is_written_with_its_units_or_in_seconds(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@given(hours=st.integers(0, 100), minutes=st.integers(0, 100), seconds=st.integers(1, 100))
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert read_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'': a time, as in 90s, 20m, 1h30m or 1200"),
        ("20 min", "'20 min': a time, as in 90s, 20m, 1h30m or 1200"),
        ("30m1h", "'30m1h': a time, as in 90s, 20m, 1h30m or 1200"),
        ("-5", "'-5': a time, as in 90s, 20m, 1h30m or 1200"),
        ("0", "'0': a time, as in 90s, 20m, 1h30m or 1200"),
        ("0s", "'0s': a time greater than 0"),
        ("169h", "'169h': at most 604800 seconds, which is a week"),
    ],
)
def test_what_is_no_duration_is_answered_with_one(text: str, why: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        read_duration(text)
    assert str(caught.value) == why


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("5", 0.05), ("0.5", 0.005), ("0.1 %", 0.001)])
def test_a_share_is_a_percentage_with_or_without_its_sign(text: str, share: float) -> None:
    assert read_share(text) == pytest.approx(share)


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert read_whole("3.0") == 3


@pytest.mark.parametrize(
    ("text", "size"), [("50GB", 50 * 10**9), ("500 MB", 5 * 10**8), ("1.5tb", 15 * 10**11), (" 1GB ", 10**9)]
)
def test_a_size_is_written_with_its_unit(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "50", "GB", "5 G B", "-1GB", "0MB", "infGB", "5KB", "5GiB"])
def test_a_size_without_a_unit_or_a_number_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match="a size, as in 50GB"):
        read_size(text)
