from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from pytest_llmperf.bisect.position import Axis, Unusable
from pytest_llmperf.bisect.releases import Releases
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.command import AnyCommand
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.places.index import Release
from tests.wheels import FakeEngine, make_wheel

KNOWN = ("1.0", "1.1", "1.2rc1", "1.2", "1.3", "1.9", "1.10", "2.0")


def release(version: str, *, date: str | None = None, yanked: bool = False, fits: bool = True) -> Release:
    return Release(Version(version), date and f"{date}T10:00:00Z", yanked, fits, "" if fits else ">=3.99")


def axis(good: str, bad: str, *known: Release, with_pre: bool = False, with_yanked: bool = False) -> Releases:
    return Releases(
        *(parse_subject(good), parse_subject(bad), FakeEngine()),
        with_pre=with_pre,
        with_yanked=with_yanked,
        releases=lambda name: known or [release(version) for version in KNOWN],
    )


def names(found: Axis) -> list[str]:
    return [position.name for position in found.positions]


def test_positions_are_the_releases_from_good_to_bad() -> None:
    found = axis("FAST=1 fake==1.1 --parallel 4", "FAST=1 fake==1.10 --parallel 4")
    assert names(found) == ["1.1", "1.2", "1.3", "1.9", "1.10"]
    assert [position.change for position in found.positions][1:3] == ["release 1.2", "release 1.3"]
    assert str(found.subject(3)) == "FAST=1 fake==1.9 --parallel 4"
    assert found.kind == "releases"


@given(st.sampled_from(KNOWN), st.sampled_from(KNOWN), st.booleans())
def test_the_ends_are_the_subjects_that_were_named_and_versions_go_one_way(
    good: str, bad: str, with_pre: bool
) -> None:
    if good == bad:
        with pytest.raises(DeclarationError, match="are the same release"):
            axis(f"fake=={good}", f"fake=={bad}")
        return
    found = axis(f"fake=={good}", f"fake=={bad}", with_pre=with_pre)
    versions = [Version(name) for name in names(found)]
    assert versions == sorted(versions, reverse=Version(bad) < Version(good))
    assert found.subject(0) == parse_subject(f"fake=={good}")
    assert found.subject(len(versions) - 1) == parse_subject(f"fake=={bad}")
    between = {Version(one) for one in KNOWN if min(versions) <= Version(one) <= max(versions)}
    left_out = between - set(versions)
    assert left_out == set() if with_pre else all(version.is_prerelease for version in left_out)
    assert [found.subject(index).version for index in range(1, len(versions) - 1)] == names(found)[1:-1]


def test_backwards_a_release_is_taken_back_at_each_step() -> None:
    dated = [release("1.0"), release("1.1", date="2026-01-01"), release("1.2", date="2026-02-01")]
    found = axis("fake==1.2", "fake==1.0", *dated)
    assert names(found) == ["1.2", "1.1", "1.0"]
    assert [one.change for one in found.positions][1:] == ["release 1.2 taken back", "release 1.1 taken back"]
    assert found.positions[1].about == {"date": "2026-02-01"}


def test_pre_releases_and_yanked_ones_are_there_when_asked_for_or_named() -> None:
    known = [release("1.0", yanked=True), release("1.1", yanked=True), release("1.2"), release("1.3rc1")]
    found = axis("fake==1.0", "fake==1.3rc1", *known)
    assert names(found) == ["1.0", "1.2", "1.3rc1"]
    assert found.positions[0].about == {"yanked": "yes"}
    assert names(axis("fake==1.0", "fake==1.3rc1", *known, with_yanked=True)) == [
        "1.0",
        "1.1",
        "1.2",
        "1.3rc1",
    ]
    assert names(axis("fake==1.1", "fake==2.0", with_pre=True))[1:3] == ["1.2rc1", "1.2"]


def test_a_release_without_a_file_for_this_python_is_unusable() -> None:
    found = axis("fake==1.0", "fake==1.2", release("1.0"), release("1.1", fits=False), release("1.2"))
    with pytest.raises(
        Unusable, match=r"release 1\.1 has no file for Python .*; it needs Python >=3\.99"
    ) as told:
        found.subject(1)
    assert told.value.position == 1


def test_local_versions_are_one_release_unless_an_end_names_one() -> None:
    known = [release(v) for v in ("1.0", "1.0+cu1", "1.1", "1.1+cu1", "1.1+cu2", "1.2+cu1", "1.3+cu1")]
    assert names(axis("fake==1.0", "fake==1.3", *known)) == ["1.0", "1.1", "1.2", "1.3"]
    assert names(axis("fake==1.0+cu1", "fake==1.3+cu1", *known)) == [
        "1.0+cu1",
        "1.1+cu1",
        "1.2+cu1",
        "1.3+cu1",
    ]


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (
            "fake",
            "fake==1.1",
            "--good fake: releases are bisected between two versions, as in --good 'fake==",
        ),
        ("fake==1.0", "fake@/src", "--bad fake@/src: releases are bisected between two versions"),
        ("fake==1.0", "other==1.1", "fake and other are two engines"),
        ("fake==1.0 --a", "fake==1.1", "differ in flags or variables as well"),
        ("A=1 fake==1.0", "fake==1.1", "differ in flags or variables as well"),
        ("fake==1.0", "fake==1.0.0", "are the same release"),
        ("fake==latest", "fake==1.0", "--good fake==latest: latest is no version"),
        (
            "fake==1.0",
            "fake==1.95",
            r"the package index has no fake-engine 1\.95; nearest: 1\.3, 1\.9, 1\.10, 2\.0",
        ),
    ],
)
def test_ends_that_no_releases_lie_between_are_refused(good: str, bad: str, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        axis(good, bad)


def test_an_engine_that_is_no_package_has_no_releases() -> None:
    ends = parse_subject("command==1.0"), parse_subject("command==1.1")
    with pytest.raises(DeclarationError, match="command has no releases on a package index"):
        Releases(*ends, AnyCommand(), releases=lambda name: [])


def test_an_end_that_only_this_environment_has_is_one() -> None:
    import importlib.metadata

    here = importlib.metadata.version("xllamacpp")
    ends = parse_subject("llamacpp==2020.1"), parse_subject(f"llamacpp=={here}")
    found = Releases(*ends, LlamaCpp(), releases=lambda name: [release("2020.1"), release("2020.2")])
    assert names(found) == ["2020.1", "2020.2", here]


def test_the_installers_own_index_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.0", "1.1", "1.2"):
        make_wheel(tmp_path / "index", "fake-engine", version)
    for installer in ("PIP", "UV"):
        monkeypatch.setenv(f"{installer}_NO_INDEX", "1")
        monkeypatch.setenv(f"{installer}_FIND_LINKS", str(tmp_path / "index"))
    found = Releases(parse_subject("fake==1.0"), parse_subject("fake==1.2"), FakeEngine())
    assert names(found) == ["1.0", "1.1", "1.2"]
