"""What records of pairs say, and the oracle that makes them; the sessions themselves are in
``tests/acceptance/test_bisect_pairs.py``."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.bisect.oracle import PytestOracle
from pytest_llmperf.bisect.position import Unusable
from pytest_llmperf.bisect.reading import Late, Reading
from pytest_llmperf.errors import DeclarationError, InvalidRun, StoreError
from tests.bisect.histories import Flags, pair
from tests.recorded import MACHINE, entry, point, record, run, write

AXIS = Flags("llamacpp", "llamacpp --parallel 4", "llamacpp --parallel 1", "broken")


def change(metric: str, base: float, candidate: float, better: str = "lower") -> dict[str, Any]:
    return {"metric": metric, "base": base, "candidate": candidate, "better": better, "tolerance": 0.05}


def measured(
    load: float = 4.0,
    *,
    base: float = 10.0,
    candidate: float = 11.0,
    problems: tuple[str, ...] = (),
    base_problems: tuple[str, ...] = (),
    is_late: bool = False,
    explored: bool = False,
    **changed: Any,
) -> dict[str, Any]:
    """A load point of two launches side by side."""
    sides = {
        "base_runs": run(1, {"ttft_p50_ms": base}, base_problems),
        "runs": run(1, {"ttft_p50_ms": candidate}, problems),
    }
    for one in sides.values():
        one["health"]["is_late"] = is_late and bool(one["health"]["problems"])
    changes = [] if problems or base_problems else [change("ttft_p50_ms", base, candidate)]
    made = {**point(load, []), **{name: [one] for name, one in sides.items()}, "changes": changes}
    return {**made, "explored": explored, **changed}


def session(
    *points: Mapping[str, Any], failures: tuple[Mapping[str, Any], ...] = (), **changed: Any
) -> dict[str, Any]:
    tests = [entry("llamacpp", points, baseline="", **changed)] if points else []
    return record(*tests, failures=list(failures))


def failure(side: str, error: str, *, is_hindered: bool = False) -> dict[str, Any]:
    return {"test": "t", "side": side, "text": "vllm==0.23.0", "is_hindered": is_hindered, "error": error}


DOES_NOT_START = (
    "vllm==0.23.0: it does not know the flag --new (the engine ended before it was ready)\n"
    "it said: error: unrecognized arguments: --new\nadvice: read\ncommand: vllm\n  | error"
)


# --- a record ---------------------------------------------------------------------------------------------


def test_figures_are_those_that_were_compared_with_how_badly_they_are_known() -> None:
    figures = Reading(session(measured(4.0), measured(8.0, base=20.0, candidate=19.0)), 0, 3).figures()
    assert {question.load: values for question, (values, _) in figures.items()} == {
        "4/s": (10.0, 11.0),
        "8/s": (20.0, 19.0),
    }
    question, (_, known) = next(iter(figures.items()))
    assert (question.metric, question.better, question.tolerance) == ("ttft_p50_ms", "lower", 0.05)
    assert known == (0.01, 0.01)


def test_two_points_of_one_label_are_two_questions() -> None:
    one, other = measured(4.0, key="poisson 4/s for 1 s"), measured(4.0, key="poisson 4/s for 9 s")
    figures = Reading(session(one, other), 0, 1).figures()
    assert [question.load for question in figures] == ["poisson 4/s for 1 s", "poisson 4/s for 9 s"]


@pytest.mark.parametrize(("side", "position"), [("base", 5), ("candidate", 2)])
def test_an_engine_that_fails_makes_its_own_position_unusable(side: str, position: int) -> None:
    with pytest.raises(Unusable) as caught:
        Reading(session(measured(), failures=(failure(side, DOES_NOT_START),)), 5, 2).check()
    assert caught.value.position == position
    assert caught.value.why == (
        "it does not know the flag --new (the engine ended before it was ready); "
        "it said: error: unrecognized arguments: --new"
    )


def test_a_machine_that_others_use_is_no_fault_of_the_engine() -> None:
    busy = failure(
        "candidate", "waited 5 s (--llmperf-lease-timeout) for a GPU: GPU 0 is leased", is_hindered=True
    )
    with pytest.raises(InvalidRun, match=r"waited 5 s .*the same command goes on where it was"):
        Reading(session(failures=(busy,)), 0, 1).check()


def test_a_late_load_generator_is_worth_another_try() -> None:
    with pytest.raises(Late, match="requests left late"):
        Reading(session(measured(problems=("requests left late",), is_late=True)), 0, 1).check()


def test_what_only_one_side_answers_wrongly_makes_that_unusable_and_both_the_workload() -> None:
    wrong = ("9 prompts were not as long as asked",)
    with pytest.raises(Unusable, match="invalid: 9 prompts") as caught:
        Reading(session(measured(base_problems=wrong)), 7, 1).check()
    assert caught.value.position == 7
    with pytest.raises(InvalidRun, match="at both positions: 9 prompts"):
        Reading(session(measured(base_problems=wrong, problems=wrong)), 7, 1).check()


def test_a_missed_slo_and_a_failed_assertion_are_no_errors() -> None:
    for verdict in ("slo broken", "failed by itself", "regressed", "inconclusive"):
        reading = Reading(session(measured(), verdict=verdict), 0, 1)
        reading.check()
        assert len(reading.figures()) == 1
        assert list(reading.notes()) == []


def test_nothing_to_compare_is_said_with_its_reason() -> None:
    too_few = measured(changes=[])
    told = session(too_few) | {
        "tests": [{**entry("x", [too_few]), "baseline": "too few requests for TTFT p50"}]
    }
    with pytest.raises(DeclarationError, match=r"--llmperf-gate.*too few requests for TTFT p50"):
        Reading(told, 0, 1).figures()


# --- the oracle, with a program in pytest's place ---------------------------------------------------------


PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path
said = dict(word.split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
state = Path(os.environ["SCRIPT"])
step, *rest = json.loads(state.read_text())
state.write_text(json.dumps(rest or [step]))
print("pytest says hello")
with state.with_name("calls").open("a") as calls:
    sides = [said["--llmperf-against"], said["--llmperf-engine"]]
    calls.write(json.dumps([*sides, said.get("--bisect-explored", ""), os.getcwd()]) + "\\n")
if step["record"] is not None:
    Path(said["--llmperf-json"]).write_text(json.dumps(step["record"]))
print(step.get("says", ""))
if step["code"] < 0:
    os.kill(os.getpid(), -step["code"])
sys.exit(step["code"])
"""


class Played:
    """Sessions that end as was written down for them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = directory
        program = directory / "python"
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(program))
        monkeypatch.setenv("SCRIPT", str(directory / "script"))
        monkeypatch.chdir(directory)
        self.told: list[str] = []

    def play(self, *steps: Mapping[str, Any]) -> None:
        (self.path / "script").write_text(json.dumps(steps))

    def oracle(self, *arguments: str, **more: Any) -> PytestOracle:
        return PytestOracle(AXIS, arguments, self.path / "state", tell=self.told.append, **more)

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.path / "calls").read_text().splitlines()]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(tmp_path, monkeypatch)


def step(content: Mapping[str, Any] | None, code: int = 0, says: str = "") -> dict[str, Any]:
    return {"record": content, "code": code, "says": says}


def test_the_order_of_launches_alternates_and_values_stay_with_their_side(played: Played) -> None:
    played.play(step(session(measured(base=10.0, candidate=11.0)), 1))
    oracle = played.oracle("test_it.py")
    pairs = [oracle.compare(0, right) for right in (2, 2, 1, 2, 1)]
    first = [call[0] for call in played.calls]
    good, four, one = ("llamacpp", "llamacpp --parallel 4", "llamacpp --parallel 1")
    assert first == [good, one, four, good, good]
    assert [next(iter(pair.figures.values())) for pair in pairs] == [
        (10.0, 11.0) if base == good else (11.0, 10.0) for base in first
    ]
    assert [pair.number for pair in pairs] == [1, 2, 3, 4, 5]
    assert all((played.path / "state" / "logs" / f"00{n}.log").exists() for n in range(1, 6))
    assert played.calls[0][3] == str(played.path)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40))
def test_what_the_order_does_cancels_out(rights: list[int]) -> None:
    """Of pairs of the same positions to within one, and of the first pairs of all positions too."""
    axis = Flags(*(f"llamacpp --parallel {n + 1}" for n in range(5)))
    oracle = PytestOracle(axis, (), Path("nowhere"))
    swapped: dict[int, list[bool]] = {}
    for right in rights:
        swapped.setdefault(right, []).append(oracle._is_swapped(0, right))
        oracle._count(pair(0, right))
    for of_one in swapped.values():
        assert abs(2 * sum(of_one) - len(of_one)) <= 1
    assert abs(2 * sum(of_one[0] for of_one in swapped.values()) - len(swapped)) <= 1


def test_what_was_measured_before_counts(played: Played) -> None:
    played.play(step(session(measured())))
    whole = played.oracle()
    pairs = [whole.compare(0, 2) for _ in range(3)]
    again = played.oracle(before=pairs[:2]).compare(0, 2)
    assert again.number == 3
    assert played.calls[3][:2] == played.calls[2][:2]
    assert again.record.endswith("004.json")
    assert any("(about " in text for text in played.told)


def test_a_late_load_generator_has_three_tries(played: Played) -> None:
    late = step(session(measured(problems=("requests left late",), is_late=True)), 1)
    played.play(late, late, step(session(measured())))
    pair = played.oracle().compare(0, 1)
    assert pair.notes == ("measured again: requests left late",) * 2
    assert [text for text in played.told if "again" in text] == [
        "pair 1: measured again: requests left late"
    ] * 2
    played.play(late)
    with pytest.raises(InvalidRun, match=r"invalid 3 times: requests left late.*the same command goes on"):
        played.oracle().compare(0, 1)
    assert len(played.calls) == 6


@pytest.mark.parametrize(
    ("code", "says", "kind", "why"),
    [
        (
            4,
            "ERROR: file or directory not found: t.py",
            DeclarationError,
            r"(?s)exit code 4.*not found: t\.py",
        ),
        (5, "no tests ran", DeclarationError, "exit code 5"),
        (0, "1 skipped", DeclarationError, r"measured nothing \(exit code 0\)"),
        (2, "!!! Interrupted: 1 error during collection !!!", DeclarationError, "error during collection"),
        (2, "!!! _pytest.outcomes.Exit: no model !!!", DeclarationError, r"(?s)exit code 2.*Exit: no model"),
        (2, "!!! KeyboardInterrupt !!!", KeyboardInterrupt, "^$"),
        (3, "INTERNALERROR> oh", InvalidRun, "crashed before.*\n.*\n.*INTERNALERROR"),
        (-9, "", InvalidRun, "ended by signal 9"),
    ],
)
def test_a_session_without_a_record_says_why(
    played: Played, code: int, says: str, kind: type[BaseException], why: str
) -> None:
    played.play(step(None, code, says))
    with pytest.raises(kind, match=why):
        played.oracle().compare(0, 1)


def test_a_session_that_was_interrupted_is_an_interruption(played: Played) -> None:
    played.play(step({**session(measured()), "status": "interrupted"}, 2))
    with pytest.raises(KeyboardInterrupt):
        played.oracle().compare(0, 1)


def test_which_side_failed_follows_the_order_of_launches(played: Played) -> None:
    broken = step(session(failures=(failure("base", DOES_NOT_START),)), 1)
    played.play(step(session(measured())), broken)
    oracle = played.oracle()
    oracle.compare(0, 2)
    with pytest.raises(Unusable) as caught:
        oracle.compare(0, 1)
    assert played.calls[1][0] == "llamacpp --parallel 4"
    assert caught.value.position == 1
    assert len(played.calls) == 2
    with pytest.raises(Unusable, match="it does not build") as caught:
        oracle.compare(0, 3)
    assert caught.value.position == 3


def test_an_engine_that_was_measured_before_may_fail_once(played: Played) -> None:
    dies = step(session(measured(), failures=(failure("base", DOES_NOT_START),)), 1)
    works = step(session(measured()))
    played.play(works, works, dies, works, dies)
    oracle = played.oracle()
    assert [oracle.compare(0, right).notes for right in (1, 1)] == [(), ()]
    (note,) = oracle.compare(0, 1).notes
    assert note.startswith(
        "measured again: llamacpp, which was measured before, failed: it does not know the"
    )
    with pytest.raises(Unusable):
        oracle.compare(0, 1)
    assert len(played.calls) == 6


def test_rates_that_the_first_pair_found_are_those_of_all(played: Played) -> None:
    played.play(step(session(measured(explored=True))))
    oracle = played.oracle()
    first = oracle.compare(0, 1)
    oracle.compare(0, 2)
    played.oracle(before=[first]).compare(0, 1)
    assert [call[2] for call in played.calls] == ["", first.record, first.record]
    os.unlink(first.record)
    with pytest.raises(StoreError, match="cannot be read"):
        oracle.compare(0, 1)


def test_another_environment_than_that_of_the_first_pair_is_refused(played: Played) -> None:
    played.play(
        step(session(measured())), step(session(measured(), environment={**MACHINE, "driver": "551"}))
    )
    oracle = played.oracle()
    oracle.compare(0, 1)
    with pytest.raises(
        StoreError, match=r"another environment.*driver: \(none\) → 551\. Go on where it was begun"
    ):
        oracle.compare(0, 1)


def test_a_record_of_something_else_is_an_error(played: Played) -> None:
    write(played.path / "script", {})
    played.play(step({"foreign": 1}))
    with pytest.raises(StoreError, match="is not a file of ours"):
        played.oracle().compare(0, 1)
