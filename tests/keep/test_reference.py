from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from pytest_llmperf.errors import DeclarationError, StoreError
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.baselines import Baselines
from pytest_llmperf.keep.record import Store
from pytest_llmperf.keep.reference import baselines_of
from tests.git import Git

HERE, TEST = {"place": "local"}, "tests/test_chat.py::test_chat"
KEPT = Baseline(TEST, "2026-01-02", HERE, {}, "vllm", {"4/s": {"ttft_p50_ms": (10.0, 11.0)}})


@pytest.fixture
def store(git: Git) -> Store:
    """A store within the repository, in a project below its root."""
    return Store(git.directory / "project" / ".llmperf")


def accept(store: Store, accepted: str = "2026-01-02", test: str = TEST) -> Path:
    path = Baselines(store.baselines).path(test, HERE)
    dataclasses.replace(KEPT, accepted=accepted, test=test).write(path)
    return path


def named(name: str, store: Store, *, update: bool = False) -> Baselines:
    return baselines_of(name, store, store.directory.parent, update=update)


def found(baselines: Baselines, test: str = TEST) -> str | None:
    baseline = baselines.find(test, HERE)
    return baseline.accepted if baseline else None


def refused(name: str, store: Store, *, update: bool = False) -> str:
    with pytest.raises(DeclarationError) as caught:
        named(name, store, update=update)
    return str(caught.value)


# -- names of git's ----------------------------------------------------------------------------------


def test_what_was_committed_is_compared_with_whatever_the_checkout_has(git: Git, store: Store) -> None:
    accept(store, "on main")
    git.commit()
    git("tag", "v1")
    git("checkout", "--quiet", "-b", "feature")
    path = accept(store, "on feature")
    commit = git.commit()
    accept(store, "uncommitted")
    names = ("main", "v1", "feature", commit, "HEAD~1")
    assert [found(named(name, store)) for name in names] == [
        "on main",
        "on main",
        "on feature",
        "on feature",
        "on main",
    ]
    path.unlink()
    assert found(named("main", store)) == "on main"
    assert named("main", store).path(TEST, HERE) == path
    assert git("status", "--porcelain", "--untracked-files=no") == f"D {path.relative_to(git.directory)}"


def test_a_committed_baseline_is_found_by_what_it_says_and_told_from_elsewhere(
    git: Git, store: Store
) -> None:
    path = accept(store)
    path.rename(path.with_name(f"{path.name.split('.')[0]}.renamed.json"))
    accept(store, "other", test="tests/test_chat.py::test_other")
    git.commit()
    shutil.rmtree(store.directory)
    main = named("main", store)
    assert found(main) == "2026-01-02"
    assert main.find(TEST, {"place": "elsewhere"}) is None
    assert main.elsewhere(TEST, {"place": "elsewhere"}) == [["place: local → elsewhere"]]
    assert found(main, "tests/test_chat.py::test_third") is None


def test_a_damaged_committed_baseline_is_an_error_that_names_it(git: Git, store: Store) -> None:
    path = accept(store)
    path.write_text("{")
    commit = git.commit()
    with pytest.raises(StoreError, match=rf"{path.name} of commit {commit[:10]} is damaged: not JSON"):
        found(named("main", store))


def test_a_name_that_is_none_is_answered_with_close_ones(git: Git, store: Store) -> None:
    accept(store)
    git.commit()
    git("branch", "release-1")
    assert refused("relaese-1", store) == (
        "'relaese-1': no such path, and no such branch, tag or commit (did you mean release-1?)"
    )
    unknown = f"no such path, and no such branch, tag or commit in {git.directory.resolve()}"
    assert refused("xyz", store) == f"'xyz': {unknown}"
    assert refused("-h", store) == f"'-h': {unknown}"
    assert refused("xyz", store, update=True) == f"'xyz': {unknown} (write ./xyz for a new directory)"


def test_a_shallow_clone_says_what_would_bring_the_branch(git: Git, store: Store, tmp_path: Path) -> None:
    accept(store)
    git.commit()
    git("clone", "--quiet", "--depth", "1", git.directory.as_uri(), str(tmp_path / "clone"))
    clone = Store(tmp_path / "clone" / "project" / ".llmperf")
    assert refused("v1", clone).endswith("; the clone is shallow: git fetch origin v1:v1 may bring it")
    assert found(named("origin/main", clone)) == "2026-01-02"


def test_a_commit_without_baselines_is_an_error(git: Git, store: Store) -> None:
    commit = git.commit()
    accept(store)
    assert refused("main", store) == (
        f"'main' (commit {commit[:10]}) has no baselines in project/.llmperf/baselines; accept them there "
        "with --llmperf-update, and commit them"
    )


def test_what_is_committed_is_not_updated(git: Git, store: Store) -> None:
    accept(store)
    git.commit()
    assert refused("main", store, update=True) == (
        "'main' is a name of git's: what was committed can be compared with, and not be updated"
    )


def test_a_store_outside_of_the_repository_has_nothing_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    message = refused("main", Store(tmp_path / "project" / ".llmperf"))
    assert message.startswith("'main': no such file or directory, and ")
    assert "is in no git repository that can be read (fatal: not a git repository" in message


# -- paths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../other/.llmperf", "../other/.llmperf/baselines", "../other"])
def test_a_store_its_baselines_or_what_it_is_in_may_be_named(name: str, store: Store) -> None:
    accept(Store(store.directory.parent.parent / "other" / ".llmperf"), "of the other")
    accept(store, "of this one")
    assert found(named(name, store)) == "of the other"


def test_one_file_is_the_baseline_of_its_test_whatever_it_is_called(store: Store, tmp_path: Path) -> None:
    accept(store).rename(tmp_path / "golden")
    golden = named(str(tmp_path / "golden"), store)
    assert found(golden) == "2026-01-02"
    assert found(golden, "tests/test_chat.py::test_other") is None
    assert golden.elsewhere(TEST, {}) == [["place: local → (none)"]]
    assert "is one baseline: --llmperf-update takes a directory of them" in refused(
        str(tmp_path / "golden"), store, update=True
    )


def test_a_file_that_is_no_baseline_is_refused_at_once(store: Store, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(StoreError, match="is damaged: not JSON"):
        named(str(tmp_path / "notes.txt"), store)


@pytest.mark.parametrize("name", ["./golden", "a/golden"])
def test_a_path_is_written_to_and_need_not_exist(name: str, git: Git, store: Store) -> None:
    git.commit()
    baselines = named(name, store, update=True)
    directory = store.directory.parent / name
    assert baselines.directory == directory
    assert found(baselines) is None
    KEPT.write(baselines.path(TEST, HERE))
    assert found(named(name, store)) == "2026-01-02"
    assert found(named(name, store, update=True)) == "2026-01-02"


def test_a_store_that_is_written_to_keeps_its_order(store: Store) -> None:
    other = store.directory.parent.parent / "other" / ".llmperf"
    assert named("../other/.llmperf", store, update=True).directory == other / "baselines"


def test_a_path_without_baselines_is_an_error(git: Git, store: Store, tmp_path: Path) -> None:
    git.commit()
    assert refused(str(tmp_path), store) == f"{str(tmp_path)!r}: no baselines in {tmp_path}"
    assert refused("./none", store) == "'./none': no such file or directory"
    assert refused("a/none", store).startswith("'a/none': no such path, and no such branch, tag or commit")


def test_a_name_of_both_is_asked_about(git: Git, store: Store) -> None:
    accept(store, "committed")
    git.commit()
    accept(Store(store.directory.parent / "main"), "in the directory")
    assert refused("main", store) == (
        "'main' is a path and a name of git's: write ./main for the path, or refs/heads/main or "
        "refs/tags/main for what is committed there"
    )
    assert found(named("./main", store)) == "in the directory"
    assert found(named("refs/heads/main", store)) == "committed"
