from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.repository import Repository, checkout
from tests.git import Git


def written(git: Git, **files: str) -> None:
    for name, text in files.items():
        (git.directory / name).write_text(text)


def test_a_branch_a_tag_and_a_commit_are_what_they_stand_for(git: Git) -> None:
    first = git.commit()
    git("tag", "--annotate", "--message", "one", "v1")
    git("branch", "feature/x")
    second = git.commit()
    repository = Repository(git.directory)
    names = ("v1", "feature/x", "refs/tags/v1", "HEAD~1", first[:12], "main", "HEAD")
    assert [repository.commit(name) for name in names] == [first] * 5 + [second] * 2
    assert repository.root == git.directory.resolve()


@pytest.mark.parametrize(
    "name",
    ["nope", "", "--all", "-h", "--git-dir", "main..HEAD", "main:file", "../main", "main main", "@{u}"],
)
def test_what_names_no_commit_is_none_and_no_option(git: Git, name: str) -> None:
    written(git, file="x")
    git.commit()
    assert Repository(git.directory).commit(name) is None


def test_files_are_those_of_the_commit_and_not_of_the_checkout(git: Git) -> None:
    (git.directory / "a b").mkdir()
    (git.directory / "a b" / "ä\n.json").write_bytes(b"one\xff")
    (git.directory / "a b" / "deeper").mkdir()
    (git.directory / "a b" / "deeper" / "x.json").write_text("x")
    first = git.commit()
    (git.directory / "a b" / "ä\n.json").write_text("two")
    git("rm", "--quiet", "-r", "a b/deeper")
    second = git.commit()
    repository = Repository(git.directory / "a b")
    assert sorted(repository.files(first, "a b")) == ["deeper", "ä\n.json"]
    assert repository.files(second, "a b") == ["ä\n.json"]
    assert repository.files(second, "nowhere") == []
    assert repository.content(first, "a b/ä\n.json") == b"one\xff"
    assert repository.content(second, "a b/ä\n.json") == b"two"
    with pytest.raises(StoreError, match=rf"^none of commit {first[:10]} cannot be read: "):
        repository.content(first, "none")


def test_names_that_may_be_meant_begin_with_those_of_a_remote(git: Git) -> None:
    git.commit()
    git("update-ref", "refs/remotes/origin/release", "HEAD")
    git("tag", "released")
    assert Repository(git.directory).close_to("release") == ["origin/release", "released"]
    assert Repository(git.directory).close_to("xyz") == []


def test_a_shallow_clone_knows_it(git: Git, tmp_path: Path) -> None:
    git.commit()
    git.commit()
    git("clone", "--quiet", "--depth", "1", git.directory.as_uri(), str(tmp_path / "clone"))
    assert Repository(tmp_path / "clone").is_shallow
    assert not Repository(git.directory).is_shallow


def test_a_directory_that_is_yet_to_be_made_lies_where_its_parent_does(git: Git) -> None:
    git.commit()
    assert Repository(git.directory / "not" / "yet").root == git.directory.resolve()


def test_a_hook_of_another_repository_does_not_lead_astray(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git.commit()
    other = Git(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other.directory / ".git"))
    assert Repository(git.directory).commit("main") == commit


def test_no_repository_is_said_in_the_words_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(
        StoreError, match=r"is in no git repository that can be read \(fatal: not a git repos"
    ):
        Repository(tmp_path / "none")


def test_without_git_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match=r"^git is not installed$"):
        Repository(tmp_path)


def test_what_is_checked_out_is_told_and_whether_it_was_changed(git: Git, tmp_path: Path) -> None:
    assert checkout(git.directory) == {}
    written(git, file="x")
    commit = git.commit()
    written(git, untracked="z")
    assert checkout(git.directory / "not" / "there") == {"commit": commit, "changed": False}
    written(git, file="y")
    assert checkout(git.directory) == {"commit": commit, "changed": True}
    assert checkout(tmp_path) == {}
