from __future__ import annotations

import pytest

from pytest_llmperf.keep.environment import differences
from pytest_llmperf.report.differs import what_differs
from tests.report.entries import text_block


def test_equal_subjects_differ_in_nothing_that_is_known_of() -> None:
    assert what_differs([]) == [
        "What differs: nothing that is known of; version, flags, variables and settings are equal"
    ]


def test_what_a_subject_was_started_with_is_a_diff_and_what_it_is_an_arrow() -> None:
    one = {
        "engine": "vllm",
        "version": "0.22.1",
        "commit": "abcdef0",
        "packages": "1a2b",
        "flag --max-num-seqs": "256",
        "flag --gone": "on",
        "variable OMP_NUM_THREADS": "2",
        "setting cache.block_size": "16",
        "setting same": "1",
    }
    other = {
        "engine": "vllm",
        "version": "0.24.0",
        "packages": "3c4d",
        "flag --max-num-seqs": "8",
        "flag (argument)": "extra",
        "variable VLLM_X": "a b",
        "setting cache.block_size": "32",
        "setting same": "1",
    }
    expected = """
What differs:
  version: 0.22.1 → 0.24.0
  commit: abcdef0 → (none)
  packages: 1a2b → 3c4d
  flags      - --max-num-seqs 256
             + --max-num-seqs 8
             - --gone
             + extra
  variables  - OMP_NUM_THREADS=2
             + VLLM_X=a b
  settings   cache.block_size: 16 → 32
"""
    assert text_block(what_differs(differences(one, other))) == expected


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    assert what_differs(["flag -x: (none) → on", "setting a: 1 → 2"])[1:] == [
        "  flags     + -x",
        "  settings  a: 1 → 2",
    ]
    assert what_differs(["flag -x: on → (none)"])[1:] == ["  flags  - -x"]


def test_long_values_stand_below_each_other() -> None:
    old, new = "{" + "a" * 60 + "}", "{" + "b" * 60 + "}"
    assert what_differs([f"setting long: {old} → {new}"])[1:] == [
        "  settings  long:",
        f"            - {old}",
        f"            + {new}",
    ]


@pytest.mark.parametrize(("number", "is_folded"), [(6, False), (7, True)])
def test_settings_that_only_another_version_has_do_not_hide_those_that_changed(
    number: int, is_folded: bool
) -> None:
    new = [f"setting new.{i}: (none) → 1" for i in range(number - 3)]
    gone = [f"setting gone.{i}: 1 → (none)" for i in range(3)]
    lines = what_differs([*new, *gone, "setting changed: 1 → 2"])
    assert any("changed: 1 → 2" in line for line in lines)
    names = "new.0, new.1, new.2, new.3, gone.0, gone.1, …"
    folded = f"            {number} that only one of them tells, all in the record: {names}"
    assert (folded in lines) is is_folded
    assert len(lines) == 3 if is_folded else number + 2
