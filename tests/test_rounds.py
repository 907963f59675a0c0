"""Rounds with pytest itself, where what is measured is no more than that a test ran."""

from __future__ import annotations

import pytest

CONFTEST = """
import json
from collections import Counter
from pathlib import Path

import pytest

from pytest_llmperf.rounds import Rounds
from pytest_llmperf.turn import Turn, sides

SAID = Path(__file__).with_name("turns.txt")


class Counting:
    \"\"\"Each test wants the rounds that its marker says, and fails in the end if that says so.\"\"\"

    def __init__(self, has_base):
        self.has_base, self.now, self.judged = has_base, None, 0

    def turns(self, number, items):
        order = sides(number, has_base=self.has_base)
        return [Turn(number, side, item) for side in order for item in items]

    def begin(self, turn):
        self.now = turn
        with SAID.open("a") as file:
            file.write(f"{turn.number} {turn.side} {turn.item.name}\\n")

    def end(self, turn, *, is_over):
        pass

    def tolerates(self, turn, error):
        return turn.side == "base"

    def judge(self, number, items):
        self.judged += 1
        return [item for item in items if self.marker(item).args[0] > number + 1]

    def marker(self, item):
        return item.get_closest_marker("wants")

    def conclude(self, item):
        if why := self.marker(item).kwargs.get("fails"):
            pytest.fail(why, pytrace=False)


def pytest_addoption(parser):
    parser.addoption("--base", action="store_true")


def pytest_configure(config):
    config.addinivalue_line("markers", "wants")
    config.counting = Counting(config.getoption("--base"))
    rounds = Rounds(config.counting, lambda item: item.get_closest_marker("wants") is not None)
    config.pluginmanager.register(rounds, "rounds")


@pytest.fixture
def turn(request):
    return request.config.counting.now
"""
HEAD = "import pytest\nwants = pytest.mark.wants\n"


class Suite:
    """Tests that run in rounds."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        pytester.makeconftest(CONFTEST)

    def run(self, source: str, *options: str) -> pytest.RunResult:
        self.pytester.makepyfile(test_it=HEAD + source)
        return self.pytester.runpytest("-p", "no:llmperf", *options)

    def run_in_a_process(self, source: str, *options: str) -> pytest.RunResult:
        self.pytester.makepyfile(test_it=HEAD + source)
        return self.pytester.runpytest_subprocess("-p", "no:llmperf", *options)

    @property
    def turns(self) -> list[str]:
        return (self.pytester.path / "turns.txt").read_text().splitlines()


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester)


def test_each_test_runs_in_as_many_rounds_as_it_wants(suite: Suite) -> None:
    result = suite.run(
        """
@wants(1)
def test_a(): pass

@wants(3)
def test_b(): pass

@wants(2, fails="too slow")
def test_c(): pass

def test_plain(): pass
""",
        "-v",
    )
    result.assert_outcomes(passed=3, failed=1)
    assert suite.turns == [
        *("0 candidate test_a", "0 candidate test_b", "0 candidate test_c"),
        *("1 candidate test_b", "1 candidate test_c"),
        "2 candidate test_b",
    ]
    reported = [line.split()[:2] for line in result.outlines if line.endswith("%]")]
    assert reported == [
        ["test_it.py::test_plain", "PASSED"],
        ["test_it.py::test_a", "PASSED"],
        ["test_it.py::test_c", "FAILED"],
        ["test_it.py::test_b", "PASSED"],
    ]


def test_sides_take_turns_with_all_tests_of_one_before_the_other(suite: Suite) -> None:
    result = suite.run("@wants(2)\ndef test_a(): pass\n\n@wants(2)\ndef test_b(): pass\n", "--base")
    result.assert_outcomes(passed=2)
    assert suite.turns == [
        *("0 base test_a", "0 base test_b", "0 candidate test_a", "0 candidate test_b"),
        *("1 candidate test_a", "1 candidate test_b", "1 base test_a", "1 base test_b"),
    ]


def test_what_raises_against_the_candidate_is_over_at_once(suite: Suite) -> None:
    result = suite.run(
        """
@wants(3)
def test_a(turn): assert turn.number < 1, "in the second round"

@wants(3)
def test_b(turn): assert turn.side != "base", "against the base"
""",
        "--base",
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: in the second round*"])
    result.stdout.no_fnmatch_line("*against the base*")
    assert [line for line in suite.turns if line.endswith("test_a")] == [
        *("0 base test_a", "0 candidate test_a", "1 candidate test_a")
    ]
    assert len(suite.turns) == 3 + 6


def test_a_setup_or_a_teardown_that_fails_is_over_on_either_side(suite: Suite) -> None:
    result = suite.run(
        """
@pytest.fixture
def starts(turn):
    assert turn.side != "base", "did not start"

@pytest.fixture
def ends(turn):
    yield
    assert turn.side != "base", "did not end"

@wants(3)
def test_a(starts): pass

@wants(3)
def test_b(ends): pass
""",
        "--base",
    )
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*AssertionError: did not start*", "*AssertionError: did not end*"])
    assert suite.turns == ["0 base test_a", "0 base test_b", "0 candidate test_b"]


def test_wide_fixtures_are_set_up_once_and_what_they_raise_in_the_end_shows(suite: Suite) -> None:
    result = suite.run(
        """
count = 0

@pytest.fixture(scope="session", params=["wide"])
def wide():
    global count
    count += 1
    yield
    assert False, f"set up {count} times"

@wants(1)
def test_a(wide): pass

@wants(3)
def test_b(wide): pass
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*AssertionError: set up 1 times*"])


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_failure_that_ends_the_session_tears_all_down(suite: Suite, order: tuple[str, str]) -> None:
    tests = {
        "a": "@wants(1, fails='too slow')\ndef test_a(wide): pass\n",
        "b": "@wants(2)\ndef test_b(wide): pass\n",
    }
    wide = """
@pytest.fixture(scope="session")
def wide():
    yield
    assert False, "torn down"

"""
    result = suite.run(wide + "\n".join(tests[name] for name in order), "-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["too slow"])
    assert len(suite.turns) == 2
    assert result.parseoutcomes()["failed"] == 1


def test_output_and_properties_are_those_of_the_last_round_against_the_candidate(suite: Suite) -> None:
    result = suite.run(
        """
@wants(2, fails="too slow")
def test_a(turn, record_property):
    print(f"this is {turn.number} {turn.side}")
    record_property("colour", f"{turn.number} {turn.side}")

@wants(1)
def test_b(): print("of another")
""",
        "--base",
        "--junitxml",
        "junit.xml",
        *("-o", "junit_family=xunit1"),
    )
    result.assert_outcomes(passed=1, failed=1)
    assert [line for line in result.outlines if "this is" in line] == ["this is 1 candidate"]
    result.stdout.no_fnmatch_line("*of another*")
    junit = (suite.pytester.path / "junit.xml").read_text()
    assert junit.count('name="colour"') == 1
    assert 'value="1 candidate"' in junit


def test_expected_failures_are_those_of_the_verdict(suite: Suite) -> None:
    result = suite.run(
        """
@pytest.mark.xfail(strict=True)
@wants(2, fails="too slow")
def test_fails(): pass

@pytest.mark.xfail(strict=True)
@wants(2)
def test_passes(): pass

@pytest.mark.xfail
@wants(2)
def test_raises(): raise RuntimeError

@wants(2)
def test_skips(): pytest.skip("not now")
"""
    )
    result.assert_outcomes(xfailed=2, failed=1, skipped=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*"])


def test_a_hook_that_looks_at_the_fixtures_of_a_test_finds_them(suite: Suite) -> None:
    with (suite.pytester.path / "conftest.py").open("a") as file:
        file.write(
            """
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        report.sections.append(("seen", item.funcargs["colour"]))
    return report
"""
        )
    result = suite.run(
        """
@pytest.fixture
def colour(): return "blue"

@wants(2, fails="too slow")
def test_a(colour): pass
"""
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*seen*", "blue"])


def test_a_verdict_is_shown_to_who_wants_to_look_at_it(suite: Suite) -> None:
    with (suite.pytester.path / "conftest.py").open("a") as file:
        file.write(
            "\ndef pytest_exception_interact(node, report):\n    print(node.name, report.longreprtext)\n"
        )
    result = suite.run('@wants(2, fails="too slow")\ndef test_a(): pass\n', "-s")
    result.assert_outcomes(failed=1)
    assert sum("test_a too slow" in line for line in result.outlines) == 1


def test_the_time_of_a_test_is_that_of_its_rounds(suite: Suite) -> None:
    result = suite.run(
        "import time\n\n@wants(3)\ndef test_a(): time.sleep(0.1)\n",
        "--durations",
        "1",
        "--durations-min",
        "0.29",
    )
    result.stdout.re_match_lines([r"0\.[3-9]\ds call +test_it.py::test_a"])


def test_setup_only_and_setup_show_work_as_ever(suite: Suite) -> None:
    source = "@pytest.fixture\ndef colour(): pass\n\n@wants(1)\ndef test_a(colour): assert False\n"
    only = suite.run(source, "--setup-only")
    assert only.ret == 0
    only.stdout.fnmatch_lines(
        ["*SETUP    F colour", "*test_a (fixtures used: colour*)", "*TEARDOWN F colour"]
    )
    suite.run(source, "--setup-show").assert_outcomes(failed=1)


def test_ctrl_c_in_a_later_round_ends_it(suite: Suite) -> None:
    result = suite.run_in_a_process(
        "@wants(5)\ndef test_a(turn):\n    if turn.number == 2:\n        raise KeyboardInterrupt\n",
        "--base",
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert suite.turns[-1] == "2 base test_a"


def test_an_xdist_worker_runs_all_rounds_of_a_test_in_its_turn(suite: Suite) -> None:
    pytest.importorskip("xdist")
    result = suite.run("@wants(2)\ndef test_a(): pass\n\n@wants(1)\ndef test_b(): pass\n", "-n1", "--base")
    result.assert_outcomes(passed=2)
    assert suite.turns == [
        *("0 base test_a", "0 candidate test_a", "1 candidate test_a", "1 base test_a"),
        *("0 base test_b", "0 candidate test_b"),
    ]
