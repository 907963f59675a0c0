from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_llmperf import cli
from pytest_llmperf.bisect.arguments import check_arguments
from pytest_llmperf.bisect.commits import Commits, Recipe
from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.flags import Flags
from pytest_llmperf.bisect.kind import Kind, kind_of
from pytest_llmperf.bisect.lineage import Lineage
from pytest_llmperf.bisect.next_steps import next_steps
from pytest_llmperf.bisect.order import BisectOrder
from pytest_llmperf.bisect.position import Axis, Position, Unusable
from pytest_llmperf.bisect.search import bisect
from pytest_llmperf.cli_bisect import _order
from pytest_llmperf.declare.bisection import CONFIDENCE, MOST_PAIRS, OUT
from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.keep.repository import Repository
from pytest_llmperf.report.culprit import culprit_markdown
from tests.bisect.test_search import Simulated, step
from tests.git import Git
from tests.report.accounts import TTFT, change, found, odd, told

VERSIONS = ("0.20.0", "0.21.0", "0.22.0", "0.23.0", "0.24.0", "0.25.0")
SECRET = "s3cret"


class Releases:
    """See :class:`~pytest_llmperf.bisect.position.Axis`: those that an index would have."""

    kind = "releases"
    positions = tuple(Position(one, f"release {one}") for one in VERSIONS)

    def subject(self, index: int) -> Subject:
        if VERSIONS[index] == "0.21.0":
            raise Unusable(index, "it has no file for this platform")
        return parse_subject(f"vllm=={VERSIONS[index]} --x 'a b'")


class Positions(Releases):
    """So many of them."""

    def __init__(self, count: int) -> None:
        self.positions = tuple(Position(f"{n}", f"release {n}") for n in range(count))

    def subject(self, index: int) -> Subject:
        return parse_subject(f"vllm=={index}")


ORDER = BisectOrder(
    good="vllm==0.20.0 --x 'a b'",
    bad="vllm==0.25.0 --x 'a b'",
    kind=None,
    arguments=["tests/test_chat.py::test_it[a b]", "-k", "chat", "--llmperf-rates=4"],
    out=OUT,
    confidence=CONFIDENCE,
    pairs=MOST_PAIRS,
)


def steps(
    finding: Finding, order: BisectOrder = ORDER, kind: Kind = "releases", axis: Axis | None = None
) -> dict[str, list[str]]:
    made = next_steps(order, kind, axis or Releases(), finding, Path(".llmperf/bisect/x"))
    return {step.what: list(step.command) for step in made}


def read(command: Sequence[str]) -> BisectOrder:
    """The order that a proposed command gives, read by the parser of the command and found in order."""
    assert command[:2] == ["llmperf", "bisect"]
    ours, theirs = cli._halves(command[1:])
    said = cli.parser().parse_args(ours)
    said.after = theirs
    order = _order(said)
    check_arguments(order.arguments)
    template = None if order.recipe is None else order.recipe.subject
    assert kind_of(order.good, order.bad, template) == order.kind
    return order


def test_a_culprit_is_compared_again_with_what_is_ahead_of_it_by_the_same_tests() -> None:
    assert steps(found()) == {
        "compare the two again": [
            *("pytest", "--llmperf", "--llmperf-engine", "vllm==0.23.0 --x 'a b'"),
            *("--llmperf-against", "vllm==0.22.0 --x 'a b'", "--llmperf-launches", "3..8"),
            *ORDER.arguments,
        ],
        "see what was measured": ["llmperf", "bisect", "log", ".llmperf/bisect/x"],
    }


def test_a_metric_that_was_named_is_followed_again() -> None:
    order = dataclasses.replace(ORDER, metric="ttft_p50_ms")
    assert steps(found(), order)["compare the two again"][-1] == "--llmperf-gate=ttft_p50_ms"
    rest = steps(found(confirmation=change(1.05)), order)["find what else there is"]
    assert read(rest).metric == "ttft_p50_ms"


@pytest.mark.parametrize(
    ("part", "suspect", "is_there"), [(1.05, 3, True), (1.19, 3, False), (1.05, 5, False)]
)
def test_what_a_culprit_leaves_is_searched_behind_it(part: float, suspect: int, is_there: bool) -> None:
    told_of = steps(found(suspects=(suspect,), confirmation=change(part)))
    assert ("find what else there is" in told_of) == is_there
    if is_there:
        order = read(told_of["find what else there is"])
        assert (order.good, order.bad) == ("vllm==0.23.0 --x 'a b'", ORDER.bad)


def test_what_the_intervals_leave_open_is_not_searched_unless_the_history_is_odd() -> None:
    wide = dataclasses.replace(change(1.05), error=0.08)
    assert "find what else there is" not in steps(found(confirmation=wide))
    assert "find what else there is" in steps(found(confirmation=wide, oddities=(odd(4, 1.1, "in between"),)))


def test_one_change_for_good_is_seldom_called_a_part_of_something() -> None:
    """Counted over 16 fixed seeds, with launches that vary by 3 %."""
    more = 0
    for seed in range(16):
        one = bisect(8, Simulated(step(5), spread=0.03, seed=seed))
        more += one.suspects == (5,) and "find what else there is" in steps(one, axis=Positions(9))
    assert more <= 1


def test_what_cannot_be_started_is_not_proposed() -> None:
    assert list(steps(found(suspects=(2,)))) == ["see what was measured"]


def test_an_undecided_bisection_goes_on_with_twice_of_what_it_had() -> None:
    full = dataclasses.replace(
        ORDER,
        with_pre=True,
        with_yanked=True,
        budget_s=5400.0,
        confidence=0.995,
        out=Path("kept here"),
        metric="ttft_p50_ms",
    )
    for order, budget in ((ORDER, None), (full, 10800.0)):
        undecided = found(Outcome.UNDECIDED, (2, 3), launches=2 * MOST_PAIRS)
        again = read(steps(undecided, order)["go on with more pairs"])
        assert again == dataclasses.replace(order, kind="releases", pairs=128, budget_s=budget, paths=[])
    assert read(dataclasses.replace(full, budget_s=600000.0).longer().command("releases")).budget_s == 604800


def test_where_more_pairs_would_say_the_same_they_are_not_proposed() -> None:
    creep = found(Outcome.UNDECIDED, (2, 3), launches=2 * MOST_PAIRS - 2)
    assert list(steps(creep)) == ["see what was measured"]
    assert "go on with more pairs" in steps(creep, dataclasses.replace(ORDER, budget_s=60.0))


def test_an_end_that_cannot_be_measured_may_be_tried_again() -> None:
    again = read(steps(found(Outcome.UNUSABLE))["try again what could not be measured"])
    assert again == dataclasses.replace(ORDER, kind="releases", retries_unusable=True, paths=[])
    assert not again.longer().retries_unusable
    assert not again.between("a", "b").retries_unusable


def test_what_got_better_is_searched_backwards() -> None:
    order = read(steps(found(Outcome.BETTER))["find what made it better"])
    assert (order.good, order.bad) == (ORDER.bad, ORDER.good)


def test_ends_that_were_not_told_apart_are_compared_in_more_launches() -> None:
    command = steps(found(Outcome.ENDS_UNDECIDED))["compare the ends in more launches"]
    assert command[2:6] == ["--llmperf-engine", ORDER.bad, "--llmperf-against", ORDER.good]
    assert command[6:8] == ["--llmperf-launches", "9..24"]  # it has had 8


def test_where_nothing_is_to_be_done_what_was_measured_can_be_seen() -> None:
    assert list(steps(found(Outcome.NO_DIFFERENCE))) == ["see what was measured"]


def test_commits_are_compared_by_a_bisection_between_the_two(git: Git) -> None:
    for number in range(4):
        git.commit(f"number {number}")
    repository = Repository(git.directory)
    recipe = Recipe("command -- {checkout}/serve --port {port}", "make 'a b'", build_timeout_s=60)
    order = dataclasses.replace(
        ORDER, good="HEAD~3", bad="HEAD", recipe=recipe, repository=git.directory, paths=["a b", "c"]
    )
    axis = Commits(Lineage(repository, "HEAD~3", "HEAD"), repository, recipe, git.directory / "kept")
    names = [one.name for one in axis.positions]
    told_of = steps(found(suspects=(2,), confirmation=change(1.05)), order, "commits", axis)
    again = read(told_of["compare the two again"])
    assert again == dataclasses.replace(order, kind="commits", good=names[1], bad=names[2])
    assert read(told_of["find what else there is"]).good == names[2]
    # The whole bisection again would be answered from what is kept.
    assert list(steps(found(Outcome.ENDS_UNDECIDED), order, "commits", axis)) == ["see what was measured"]
    assert not (git.directory / "kept").exists()


def test_flags_are_compared_with_and_without_the_one() -> None:
    good, bad = "vllm --b", "vllm --b --x 1 --y"
    axis = Flags(parse_subject(good), parse_subject(bad))
    order = dataclasses.replace(ORDER, good=good, bad=bad)
    told_of = steps(found(suspects=(1,), confirmation=change(1.05)), order, "flags", axis)
    assert told_of["compare the two again"][2:6] == [
        *("--llmperf-engine", "vllm --b --x 1", "--llmperf-against", "vllm --b")
    ]
    assert "find what else there is" not in told_of  # that was done already


@pytest.mark.parametrize(
    ("good", "bad", "kind", "recipe"),
    [
        (f"HF_TOKEN={SECRET} vllm", f"HF_TOKEN={SECRET} vllm --x", "flags", None),
        ("vllm", f"vllm --x --api-key {SECRET}", "flags", None),
        ("HEAD~2", "HEAD", "commits", Recipe(f"HF_TOKEN={SECRET} vllm@{{checkout}}")),
        (
            "HEAD~2",
            "HEAD",
            "commits",
            Recipe("vllm@{wheel}", wheel=f"https://me:{SECRET}@wheels.example/{{commit}}/"),
        ),
        ("HEAD~2", "HEAD", "commits", Recipe("vllm@{checkout}", f"export HF_TOKEN={SECRET} && make")),
        ("HEAD~2", "HEAD", "commits", Recipe("vllm@{checkout}", f"pip install -i https://me:{SECRET}@a/ x")),
    ],
)
def test_no_secret_is_in_a_command_or_in_the_message(
    good: str, bad: str, kind: Kind, recipe: Recipe | None
) -> None:
    order = dataclasses.replace(
        ORDER, good=good, bad=bad, recipe=recipe, arguments=["t.py", "--api-key", SECRET]
    )
    undecided = found(Outcome.UNDECIDED, (2,), question=TTFT, launches=2 * MOST_PAIRS)
    made = next_steps(order, kind, Releases(), undecided, Path("x"))
    account = told(kind, undecided, made)
    account |= {
        end: {"name": end, "subject": text}
        for end, text in zip(("good", "bad"), order.shown_ends, strict=True)
    }
    assert SECRET not in str(account)
    assert SECRET not in culprit_markdown(account)


def test_what_has_no_secret_is_shown_as_it_was_typed() -> None:
    order = dataclasses.replace(ORDER, good='vllm  --x "a b"', bad="A=1 vllm --x 'c'")
    assert order.shown_ends == (order.good, order.bad)


def test_what_is_left_to_the_command_is_the_same_everywhere() -> None:
    said = cli.parser().parse_args(["bisect"])
    assert (said.out, said.confidence) == (OUT, CONFIDENCE)
