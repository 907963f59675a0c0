from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.bisect.differences import Difference, differences, with_taken_over
from pytest_llmperf.declare.subject import Subject, parse_subject

NAMES = (
    "--max-num-seqs",
    "--max_num_seqs",
    "--no-async",
    "--async",
    "--lora",
    "-n",
    "--enable-x",
    "--disable-x",
)
WORDS = st.sampled_from(("1", "-1", "a b", "{port}", "x=y", ""))
FLAG = st.one_of(
    st.builds(lambda name, values: (name, *values), st.sampled_from(NAMES), st.lists(WORDS, max_size=2)),
    st.builds(lambda name, value: (f"{name}={value}",), st.sampled_from(NAMES), WORDS),
)
FLAGS = st.lists(FLAG, max_size=5).map(lambda units: tuple(word for unit in units for word in unit))
COMMAND = st.builds(
    lambda program, flags: ("--", *program, *flags), st.lists(WORDS, min_size=1, max_size=2), FLAGS
)
ENV = st.dictionaries(st.sampled_from("ABCD"), WORDS, max_size=3).map(lambda env: tuple(env.items()))
VLLM = st.builds(lambda args, env: Subject("vllm", args=args, env=env), FLAGS, ENV)
ANY = st.builds(lambda args, more, env: Subject("command", args=args + more, env=env), FLAGS, COMMAND, ENV)
PAIRS = st.one_of(st.tuples(VLLM, VLLM), st.tuples(ANY, ANY))


def shown(good: str, bad: str) -> list[str]:
    return [str(one) for one in differences(parse_subject(good), parse_subject(bad))]


def names(found: list[Difference]) -> list[tuple[str, str]]:
    return sorted((one.place, one.name) for one in found)


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("vllm", "vllm", []),
        ("vllm --a 1 --b", "vllm --b --a=1", []),
        ("vllm --max_num_seqs 1", "vllm --max-num-seqs=1", []),
        ("vllm --a 1", "vllm --a 2", ["--a 2 (was --a 1)"]),
        ("vllm --temp -1", "vllm --temp -2", ["--temp -2 (was --temp -1)"]),
        ("vllm --no-async", "vllm --async", ["--async (was --no-async)"]),
        ("vllm --enable-x", "vllm --disable-x", ["--disable-x (was --enable-x)"]),
        ("vllm --no-enable-x", "vllm --enable-x", ["--enable-x (was --no-enable-x)"]),
        ("vllm --async", "vllm", ["without --async"]),
        ("vllm --lora a", "vllm --lora a --lora b", ["--lora a --lora b (was --lora a)"]),
        ("vllm --c 1 --a", "X=1 vllm --b --a -n 3", ["X=1", "--b", "-n 3", "without --c 1"]),
        ("X=1 Y=2 vllm", "Y=3 vllm", ["Y=3 (was Y=2)", "without X=1"]),
        ("command -- ./a --p {port}", "command -- ./b --p {port}", ["./b (was ./a)"]),
        ("command --gpus 1 -- a --gpus 2", "command --gpus 2 -- a --gpus 2", ["--gpus 2 (was --gpus 1)"]),
        (
            "vllm --api-key s3cret",
            "vllm --api-key t0p",
            ["--api-key '[redacted]' (was --api-key '[redacted]')"],
        ),
        ("HF_TOKEN=s3cret vllm", "HF_TOKEN=t0p vllm", ["HF_TOKEN=[redacted] (was HF_TOKEN=[redacted])"]),
        ("vllm", "vllm --store http://me:s3cret@host", ["--store http://…@host"]),
    ],
)
def test_differences_are_told_as_a_person_would(good: str, bad: str, told: list[str]) -> None:
    found = shown(good, bad)
    assert [one.replace("'", "") for one in found] == [one.replace("'", "") for one in told]


@given(PAIRS)
def test_with_nothing_taken_over_it_is_good_and_with_everything_bad(pair: tuple[Subject, Subject]) -> None:
    good, bad = pair
    found = differences(good, bad)
    if found:
        assert with_taken_over(good, bad, []) == good
    assert with_taken_over(good, bad, found) in ((bad,) if found else (good, bad))
    assert differences(good, good) == []


@given(PAIRS, st.data())
def test_what_was_taken_over_is_no_difference_any_more_and_all_else_still_is(
    pair: tuple[Subject, Subject], data: st.DataObject
) -> None:
    good, bad = pair
    found = differences(good, bad)
    taken = [one for one in found if data.draw(st.booleans())]
    left = [one for one in found if one not in taken]
    between = with_taken_over(good, bad, taken)
    assert names(differences(good, between)) == names(taken)
    assert names(differences(between, bad)) == names(left)
    # The engine's own reading of the words: nothing is lost, nothing comes from elsewhere.
    assert set(between.args) <= set(good.args) | set(bad.args)
    assert (between.engine, between.version, between.path) == (good.engine, good.version, good.path)


@given(PAIRS)
def test_they_come_as_in_bad_variables_first(pair: tuple[Subject, Subject]) -> None:
    good, bad = pair
    found = differences(good, bad)
    assert [one for one in found if one.is_variable] == found[: sum(one.is_variable for one in found)]
    variables = [one.name for one in found if one.is_variable and one.bad]
    assert variables == [name for name, _ in bad.env if name in variables]
    assert all(one.good != one.bad for one in found)
