"""Which flags did it, found by a search that does not err."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.bisect.differences import Difference, differences
from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.flags import Flags, smallest_set
from pytest_llmperf.bisect.position import Axis
from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.errors import DeclarationError

GOOD, BAD = parse_subject("vllm"), parse_subject("V=1 vllm --a --b --c --d --e")
LETTERS = "Vabcde"
Cost = Callable[[frozenset[str]], float | None]
"""What a subject with these flags costs; None if it does not start."""


class Search:
    """Bisects a line without error: a rise by more than a tenth is one."""

    def __init__(self, cost: Cost) -> None:
        self._cost = cost
        self.lines: list[list[str]] = []

    def __call__(self, line: Flags) -> Finding:
        self.lines.append([str(one) for one in line.chain])
        last = len(line.positions) - 1
        costs = [self._cost(flags(line.subject(index))) for index in range(last + 1)]
        start, end = costs[0], costs[last]
        if start is None or end is None:
            return Finding(Outcome.UNUSABLE)
        if end - start < -0.1:
            return Finding(Outcome.BETTER)
        if end - start <= 0.1:
            return Finding(Outcome.NO_DIFFERENCE)
        low, high = 0, last
        while usable := [index for index in range(low + 1, high) if costs[index] is not None]:
            middle = usable[len(usable) // 2]
            cost = costs[middle]
            assert cost is not None
            if cost - start > 0.1:
                high = middle
            else:
                low = middle
        return Finding(Outcome.CULPRIT, suspects=tuple(range(low + 1, high + 1)), confidence=1.0)


def flags(subject: Subject) -> frozenset[str]:
    return frozenset([*(name for name, _ in subject.env), *(arg.removeprefix("--") for arg in subject.args)])


def adding_up(culprits: Sequence[str]) -> Cost:
    return lambda taken: 1.0 + sum(one in taken for one in culprits)


def together(culprits: Sequence[str]) -> Cost:
    return lambda taken: 1.0 + (set(culprits) <= taken)


def letters(members: tuple[Difference, ...]) -> str:
    return "".join(one.name.removeprefix("--") for one in members)


def test_a_position_has_the_first_differences_taken_over() -> None:
    line: Axis = Flags(parse_subject("vllm==1 --a 1 --z"), parse_subject("V=1 vllm==1 --a 2 --b"))
    assert line.kind == "flags"
    assert [str(line.subject(index)) for index in range(5)] == [
        "vllm==1 --a 1 --z",
        "V=1 vllm==1 --a 1 --z",
        "V=1 vllm==1 --a 2 --z",
        "V=1 vllm==1 --a 2 --z --b",
        "V=1 vllm==1 --a 2 --b",
    ]
    assert [one.change for one in line.positions] == ["", "V=1", "--a 2 (was --a 1)", "--b", "without --z"]
    assert [one.name for one in line.positions] == ["good", "+ V=1", "+ --a 2 (was --a 1)", "+ --b", "bad"]


def test_names_of_positions_show_no_secret() -> None:
    line = Flags(parse_subject("vllm"), parse_subject("HF_TOKEN=s3cret vllm --api-key s3cret"))
    assert "s3cret" not in str(line.positions)
    assert "s3cret" in line.subject(2).args


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ("vllm==1 --a", "vllm==2", "differ in more than flags"),
        ("vllm", "sglang --a", "differ in more than flags"),
        ("vllm --a --b", "vllm --b --a", "have the same flags and variables"),
    ],
)
def test_subjects_without_flags_between_them_are_refused(good: str, bad: str, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        Flags(parse_subject(good), parse_subject(bad))


@pytest.mark.parametrize("size", range(len(LETTERS) + 1))
def test_all_culprits_that_add_up_are_found(size: int) -> None:
    for culprits in itertools.combinations(LETTERS, size):
        search = Search(adding_up(culprits))
        found = smallest_set(GOOD, BAD, search)
        assert letters(found.members) == "".join(culprits)
        assert not found.why
        # One for each, one that finds nothing more unless nothing is left, and one for each to be spared.
        assert len(search.lines) == size + (size < len(LETTERS)) + (size if size > 1 else 0)


@pytest.mark.parametrize("size", range(1, len(LETTERS) + 1))
def test_all_culprits_that_work_only_together_are_found(size: int) -> None:
    for culprits in itertools.combinations(LETTERS, size):
        found = smallest_set(GOOD, BAD, Search(together(culprits)))
        assert letters(found.members) == "".join(culprits)
        assert not found.why


@given(
    st.lists(
        st.tuples(st.frozensets(st.sampled_from(LETTERS), min_size=1, max_size=3), st.integers(1, 3)),
        max_size=4,
    )
)
def test_whatever_works_together_the_set_explains_it_and_none_can_be_spared(
    effects: list[tuple[frozenset[str], int]],
) -> None:
    def cost(taken: frozenset[str]) -> float:
        return sum(effect for together, effect in effects if together <= taken)

    found = smallest_set(GOOD, BAD, Search(cost))
    members = frozenset(letters(found.members))
    assert not found.why
    assert cost(members) == cost(frozenset(LETTERS))
    assert all(cost(members - {one}) < cost(members) for one in members)


def test_a_member_that_a_later_one_makes_needless_is_given_up() -> None:
    found = smallest_set(
        GOOD, BAD, Search(lambda taken: 3.0 if "e" in taken else 2.0 if "a" in taken else 1.0)
    )
    assert letters(found.members) == "e"
    assert not found.why


def test_a_flag_that_makes_it_better_hides_no_culprit_that_outweighs_it() -> None:
    found = smallest_set(GOOD, BAD, Search(lambda taken: 1 + 3 * ("b" in taken) - 1 * ("d" in taken)))
    assert letters(found.members) == "b"


def test_what_cannot_be_measured_apart_is_a_member_together() -> None:
    def cost(taken: frozenset[str]) -> float | None:
        return None if len({"b", "c"} & taken) == 1 else 1.0 + ("c" in taken)

    found = smallest_set(GOOD, BAD, Search(cost))
    assert letters(found.members) == "bc"
    assert not found.why


def test_a_flag_that_needs_another_to_start_takes_it_along_and_nothing_else() -> None:
    def cost(taken: frozenset[str]) -> float | None:
        return None if "d" in taken and "a" not in taken else 1.0 + ("d" in taken)

    found = smallest_set(GOOD, BAD, Search(cost))
    assert letters(found.members) == "ad"
    assert not found.why


@given(st.permutations(LETTERS), st.integers(1, 5))
def test_members_that_need_what_is_not_one_are_complete_with_it(order: list[str], count: int) -> None:
    """The first flags of the order are needed for the next one to start, which is the culprit."""
    needed, culprit = set(order[:count]), order[count]

    def cost(taken: frozenset[str]) -> float | None:
        return None if culprit in taken and not needed <= taken else 1.0 + (culprit in taken)

    found = smallest_set(GOOD, BAD, Search(cost))
    assert set(letters(found.members)) == needed | {culprit}


@pytest.mark.parametrize("outcome", [Outcome.UNDECIDED, Outcome.ENDS_UNDECIDED, Outcome.UNUSABLE])
def test_what_stays_open_is_said(outcome: Outcome) -> None:
    answers = iter([Finding(Outcome.CULPRIT, suspects=(1,)), Finding(outcome)])
    found = smallest_set(GOOD, BAD, lambda line: next(answers))
    assert letters(found.members) == "V"
    assert found.why
    assert found.why == f"with V=1 taken over: {outcome.value}"
    answers = iter([Finding(outcome)])
    found = smallest_set(GOOD, BAD, lambda line: next(answers))
    assert (found.members, found.why) == ((), f"from end to end: {outcome.value}")
    assert found.finding.outcome is outcome


def test_one_difference_is_one_search_and_no_more() -> None:
    search = Search(lambda taken: 1.0 + len(taken))
    found = smallest_set(GOOD, parse_subject("vllm --a"), search)
    assert [str(one) for one in found.members] == ["--a"]
    assert len(search.lines) == 1 == len(found.findings)
    assert differences(GOOD, parse_subject("vllm --a")) == list(found.members)
