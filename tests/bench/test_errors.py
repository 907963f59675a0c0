"""What the client benchmark makes of an account and a log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.clients.errors import Account, Served, Told, compare, matched

MS = 1_000_000


def served(index: int, name: str = "") -> Served:
    """Requests 100 ms apart, the first token after 20 ms, then one each 10 ms."""
    arrived = index * 100 * MS
    tokens = tuple(arrived + (20 + 10 * token) * MS for token in range(5))
    return Served(name or f"r{index}", arrived, tokens)


def told(one: Served, late_ms: int = 0) -> Told:
    """A client that sees everything as much later, and knows what it intended."""
    tokens = tuple(moment + late_ms * MS for moment in one.token_ns)
    ttft_ns = tokens[0] - one.arrived_ns
    return Told(one.arrived_ns, ttft_ns, one.id, intended_ns=one.arrived_ns, token_ns=tokens)


SERVED = [served(index) for index in range(10)]
EXACT = Account(tuple(map(told, SERVED)), "id", "intended")


def test_an_exact_account_has_no_errors() -> None:
    errors = compare(EXACT, SERVED, rate=10, requests=10)
    assert errors.ttft_ms == (0, 0)
    assert errors.token_p99_ms == 0
    assert errors.itl_p99_ms == (10, 10)
    assert errors.late_p99_ms == 0
    assert errors.arrived == 1
    assert errors.rate == pytest.approx(1)
    assert errors.matched == errors.told == 10


def test_what_is_seen_late_is_an_error_of_the_tokens_and_of_the_ttft() -> None:
    account = replace(EXACT, told=tuple(told(one, late_ms=3) for one in SERVED))
    errors = compare(account, SERVED, rate=10, requests=10)
    assert errors.ttft_ms == (3, 3)
    assert errors.token_p99_ms == 3
    assert errors.itl_p99_ms == (10, 10)


def test_what_was_intended_earlier_left_late() -> None:
    earlier = tuple(replace(one, intended_ns=one.started_ns - 7 * MS) for one in EXACT.told)
    assert compare(replace(EXACT, told=earlier), SERVED, 10, 10).late_p99_ms == 7


def test_lateness_that_is_not_told_shows_in_the_spacing_of_the_arrivals() -> None:
    silent = replace(EXACT, told=tuple(replace(one, intended_ns=None) for one in EXACT.told))
    assert compare(silent, SERVED, rate=10, requests=10).late_p99_ms == 0
    # At 20/s the last of ten should have come after 450 ms, and came after 900.
    errors = compare(silent, SERVED, rate=20, requests=10)
    assert errors.late_p99_ms == pytest.approx(450, rel=0.02)
    assert errors.rate == pytest.approx(0.5)
    assert errors.arrived == 0.6


def test_tokens_that_were_miscounted_are_named_and_not_compared() -> None:
    short = replace(EXACT.told[0], token_ns=EXACT.told[0].token_ns[1:])
    errors = compare(replace(EXACT, told=(short, *EXACT.told[1:])), SERVED, 10, 10)
    assert errors.miscounted == 1
    assert errors.token_p99_ms == 0


def test_clients_that_tell_no_token_times_are_compared_by_mean_gaps() -> None:
    means = tuple(replace(one, token_ns=(), mean_gap_ns=11.0 * MS) for one in EXACT.told)
    errors = compare(replace(EXACT, told=means), SERVED, 10, 10)
    assert errors.itl_is_mean
    assert errors.itl_p99_ms == (11, 10)
    assert errors.token_p99_ms is None


def test_without_ids_starts_and_arrivals_are_matched_in_order_and_probes_left_out() -> None:
    unnamed = [replace(one, id="") for one in SERVED]
    probe = replace(served(0), arrived_ns=-500 * MS)
    account = Account(tuple(reversed(EXACT.told)), "order", "sent")
    pairs = matched(account, [probe, *unnamed])
    assert [one.started_ns for one, _ in pairs] == [one.arrived_ns for _, one in pairs]


def test_requests_with_ids_that_the_account_lacks_do_not_count() -> None:
    warm_up = served(-20, name="warm-up")
    assert compare(EXACT, [warm_up, *SERVED], 10, 10).rate == pytest.approx(1)


def test_ids_that_were_used_twice_match_nothing() -> None:
    assert not matched(EXACT, [one for one in SERVED for _ in range(2)])


def test_an_empty_account_is_no_failure() -> None:
    errors = compare(Account((), "id", "sent"), SERVED, 10, 10)
    assert errors.ttft_ms is None
    assert errors.arrived == 0
