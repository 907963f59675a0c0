from __future__ import annotations

import math
import random
import statistics
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.lengths import (
    MAX_TOKENS,
    Distribution,
    LogNormal,
    Normal,
    Uniform,
    draw_length,
    least_tokens,
    most_tokens,
    parse_lengths,
)
from pytest_llmperf.errors import DeclarationError

MANY = 20_000


def drawn(lengths: Distribution, count: int = MANY) -> list[int]:
    rng = random.Random(7)
    return [lengths.draw(rng) for _ in range(count)]


def off_by(estimate: float, truth: float, standard_error: float) -> float:
    """In standard errors of the estimate; five would be one in two million, and the seed is fixed."""
    return abs(estimate - truth) / standard_error


lows = st.integers(1, 1000)
distributions = st.one_of(
    st.builds(lambda low, more: Uniform(low, low + more), lows, st.integers(0, 1000)),
    st.builds(lambda low, more: Normal(low + more, 50, low, low + 2 * more + 1), lows, st.integers(0, 500)),
    st.builds(Normal, st.floats(1, 5000), st.floats(0.01, 5000)),
    st.builds(
        lambda median, ratio: LogNormal(median, median * ratio), st.floats(1, 5000), st.floats(1.01, 20)
    ),
)


@given(distributions, st.integers())
def test_every_length_is_a_whole_number_within_its_bounds(lengths: Distribution, seed: int) -> None:
    length = draw_length(lengths, random.Random(seed))
    assert isinstance(length, int)
    assert least_tokens(lengths) <= length <= most_tokens(lengths) <= MAX_TOKENS


@given(distributions, st.integers())
def test_the_generator_alone_decides_and_gives_one_number_for_each_length(
    lengths: Distribution, seed: int
) -> None:
    one, same, other = random.Random(seed), random.Random(seed), random.Random(seed)
    assert draw_length(lengths, one) == draw_length(lengths, same)
    other.random()
    if not isinstance(lengths, Uniform):  # randint may reject
        assert one.getstate() == other.getstate()


def test_a_number_is_its_own_distribution() -> None:
    rng = random.Random(1)
    assert (draw_length(512, rng), least_tokens(512), most_tokens(512)) == (512, 512, 512)


def test_a_uniform_distribution_has_all_lengths_equally_often() -> None:
    found = drawn(Uniform(100, 500))
    assert (min(found), max(found)) == (100, 500)
    deviation = math.sqrt((401**2 - 1) / 12)
    assert off_by(statistics.mean(found), 300, deviation / math.sqrt(MANY)) < 5


def test_a_normal_distribution_has_its_mean_and_deviation() -> None:
    found = drawn(Normal(512, 100))
    assert off_by(statistics.mean(found), 512, 100 / math.sqrt(MANY)) < 5
    # Rounding adds the variance of a uniform distribution, 1/12.
    assert off_by(statistics.pvariance(found), 100**2 + 1 / 12, 100**2 * math.sqrt(2 / MANY)) < 5


def test_a_bound_cuts_off_what_lies_beyond_and_heaps_nothing_up() -> None:
    found = drawn(Normal(512, 100, low=412, high=612))
    assert (min(found), max(found)) == (412, 612)
    # The density at one deviation over the share within it (0.242 / 0.683 / 100), with room for half a token.
    expected = MANY * 0.242 / 0.683 / 100
    assert off_by(found.count(412), expected, math.sqrt(expected)) < 5


def test_a_log_normal_distribution_has_its_median_and_95th_percentile() -> None:
    found = sorted(drawn(LogNormal(median=300, p95=1200)))
    shares = {300: 0.5, 1200: 0.95}
    for length, share in shares.items():
        below = sum(one <= length for one in found)
        assert off_by(below, MANY * share, math.sqrt(MANY * share * (1 - share))) < 5
    sigma = math.log(4) / 1.6449
    spread = 300 * math.exp(sigma**2 / 2) * math.sqrt(math.exp(sigma**2) - 1)
    assert off_by(statistics.mean(found), 300 * math.exp(sigma**2 / 2), spread / math.sqrt(MANY)) < 5


@pytest.mark.parametrize(
    ("lengths", "most"),
    [
        (Uniform(100, 500), 500),
        (Normal(512, 100), 1112),
        (Normal(512, 100, high=600), 600),
        (LogNormal(300, 1200, high=4096), 4096),
        (LogNormal(1000, 9_000_000), MAX_TOKENS),
    ],
)
def test_what_has_no_upper_bound_ends_six_deviations_out(lengths: Distribution, most: int) -> None:
    assert most_tokens(lengths) == most


@pytest.mark.parametrize(
    ("text", "lengths", "shown"),
    [
        ("512", 512, "512"),
        (" 100-500 ", Uniform(100, 500), "100-500"),
        ("normal:512,100", Normal(512, 100), "512±100"),
        ("normal:512.5,100,64-1024", Normal(512.5, 100, 64, 1024), "512.5±100 (64-1024)"),
        ("lognormal:300,1200", LogNormal(300, 1200), "median 300 p95 1200"),
        ("lognormal:300,1200,16-4096", LogNormal(300, 1200, 16, 4096), "median 300 p95 1200 (16-4096)"),
    ],
)
def test_lengths_have_a_form_for_the_command_line_and_one_for_people(
    text: str, lengths: Any, shown: str
) -> None:
    assert parse_lengths(text) == lengths
    assert str(lengths) == shown


def test_a_lower_bound_alone_is_shown_too() -> None:
    assert str(Normal(512, 100, low=16)) == "512±100 (≥16)"


@pytest.mark.parametrize(
    "text",
    ["", "many", "5e2", "100-", "-5", "1-2-3", "500-100", "0", "normal:512", "normal:512,100,5", "gauss:1,2",
     "normal:512,100,1-2,3", "normal:nan,1", "uniform:1,2", "lognormal:300,200", "normal:5,1,10-20"],
)  # fmt: skip
def test_a_text_that_says_no_lengths_is_answered_with_those_that_do(text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_lengths(text)
    assert str(caught.value).startswith(f"{text!r}: ")
    assert str(caught.value).endswith(
        "valid: a number of tokens, 100-500, normal:MEAN,STD or lognormal:MEDIAN,P95, the last two with "
        "bounds as in normal:512,100,64-1024"
    )


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Uniform(0, 5), "low and high are whole numbers of tokens, at least 1"),
        (lambda: Uniform(1, cast("int", 5.5)), "low and high are whole numbers of tokens, at least 1"),
        (lambda: Uniform(6, 5), "low is not above high"),
        (lambda: Uniform(6, 10_000_001), "at most 10000000 tokens"),
        (lambda: Normal(cast("float", "512"), 1), "mean is a number greater than 0"),
        (lambda: Normal(512, 0), "std is a number greater than 0"),
        (lambda: Normal(512, math.inf), "std is a number greater than 0"),
        (lambda: Normal(1e9, 1), "mean is at most 10000000 tokens"),
        (lambda: Normal(512, 100, low=600), "the mean lies between low and high (600 to 1112)"),
        (lambda: Normal(512, 100, high=True), "low and high are whole numbers of tokens, at least 1"),
        (lambda: LogNormal(300, 300), "p95 is greater than the median"),
        (lambda: LogNormal(-1, 300), "median is a number greater than 0"),
        (lambda: LogNormal(300, 1200, high=200), "the median lies between low and high (1 to 200)"),
    ],
)  # fmt: skip
def test_an_impossible_distribution_is_refused_as_it_was_written(make: Any, why: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        make()
    assert str(caught.value).endswith(f"): {why}")
    assert str(caught.value).startswith(("Uniform(low=", "Normal(mean=", "LogNormal(median="))
