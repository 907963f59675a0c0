"""Which commits lie between two, in real repositories."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_llmperf.bisect.lineage import Lineage, Named
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.keep.repository import Repository
from tests.git import Git


def change(git: Git, file: str, message: str = "") -> str:
    path = git.directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{path.read_text() if path.exists() else ''}.")
    return git.commit(message or f"change {file}")


def lineage(git: Git, good: str, bad: str, *paths: str) -> Lineage:
    return Lineage(Repository(git.directory), good, bad, paths)


def hashes(found: Lineage) -> list[str]:
    return [commit.hash for commit in found.commits]


def test_commits_come_from_good_to_bad_with_who_when_and_what(git: Git) -> None:
    change(git, "a")
    git("tag", "v1")
    made = [
        git("rev-parse", "HEAD"),
        change(git, "b", "faster, he said"),
        change(git, "a", "Ünïcode\n\nbody"),
    ]
    found = lineage(git, "v1", "main")
    assert hashes(found) == made
    _, second, third = found.positions()
    assert second.name == made[1][: len(second.name)]
    assert second.change == f"commit {second.name}"
    assert dict(second.about) == {
        "subject": "faster, he said",
        "author": "A. Developer",
        "date": git("log", "-1", "--format=%cs", made[1]),
        "commit": made[1],
    }
    assert third.about["subject"] == "Ünïcode"


def test_a_commit_has_the_same_name_however_git_abbreviates(git: Git) -> None:
    """As it does after a fetch of many more."""
    for _ in range(3):
        change(git, "a")
    told = []
    for digits in ("4", "8", "20"):
        git("config", "core.abbrev", digits)
        found = lineage(git, "HEAD~2", "HEAD")
        told.append(found.positions())
        assert [one.name for one in told[-1]] == [one[:12] for one in hashes(found)]
        assert Named(Repository(git.directory), hashes(found)).positions() == told[-1]
    assert told[0] == told[1] == told[2]


def test_backwards_a_commit_is_taken_back_at_each_step(git: Git) -> None:
    made = [change(git, "a"), change(git, "a", "slower"), change(git, "a", "faster")]
    found = lineage(git, "HEAD", "HEAD~2")
    assert hashes(found) == made[::-1]
    _, second, third = found.positions()
    assert made[1].startswith(second.name)
    assert re.fullmatch("commit [0-9a-f]+ taken back", second.change)
    assert (second.about["subject"], third.about["subject"]) == ("faster", "slower")


def test_a_merged_branch_is_one_step(git: Git) -> None:
    start = change(git, "a")
    git("checkout", "--quiet", "-b", "feature")
    branched = change(git, "b")
    change(git, "c")
    git("checkout", "--quiet", "main")
    beside = change(git, "a")
    git("merge", "--quiet", "--no-ff", "--message", "merge the feature", "feature")
    merge = git("rev-parse", "HEAD")
    last = change(git, "a")
    assert hashes(lineage(git, start, "main")) == [start, beside, merge, last]
    assert hashes(lineage(git, start, "feature")) == [start, branched, git("rev-parse", "feature")]
    assert hashes(lineage(git, start, "main", "b")) == [start, merge, last]
    with pytest.raises(DeclarationError, match=f"came there with the merge {merge[:7]}.*, merge the feature"):
        lineage(git, branched, "main")
    with pytest.raises(DeclarationError, match=f"came there with the merge {merge[:7]}"):
        lineage(git, "main", branched)


def test_paths_leave_out_commits_but_not_the_ends_and_tell_of_it(git: Git) -> None:
    for file in ("a", "src/x", "b", "c", "src/y"):
        change(git, file)
    found = lineage(git, "HEAD~4", "HEAD", "src")
    assert [commit.subject for commit in found.commits] == ["change a", "change src/x", "change src/y"]
    assert found.positions()[2].about["with it"] == "2 commits ahead of it that touch none of the paths"
    assert "with it" not in found.positions()[1].about
    change(git, "b")
    change(git, "c")
    found = lineage(git, "HEAD~6", "HEAD", "src")
    assert [commit.subject for commit in found.commits][-2:] == ["change src/y", "change c"]
    assert found.positions()[-1].change == "a commit that touches none of the paths"
    back = lineage(git, "HEAD", "HEAD~6", "src")
    assert back.positions()[1].change == "a commit that touches none of the paths taken back"
    with pytest.raises(
        DeclarationError, match="none of the 6 commits touches docs or nope; --paths are relative"
    ):
        lineage(git, "HEAD~6", "HEAD", "docs", "nope")


def test_ends_that_no_line_leads_between_are_refused_with_their_merge_base(git: Git) -> None:
    base = change(git, "a")
    git("checkout", "--quiet", "-b", "release")
    change(git, "b")
    git("checkout", "--quiet", "main")
    change(git, "c")
    with pytest.raises(DeclarationError) as raised:
        lineage(git, "release", "main")
    assert f"their merge base is {base[:10]}" in str(raised.value)
    git("checkout", "--quiet", "--orphan", "alien")
    change(git, "d")
    with pytest.raises(DeclarationError, match="they have no commit in common"):
        lineage(git, "main", "alien")
    git("checkout", "--quiet", "main")
    with pytest.raises(DeclarationError, match="--good main and --bad HEAD~0 are the same commit"):
        lineage(git, "main", "HEAD~0")


def test_a_name_that_is_no_commit_is_refused_with_what_may_be_meant(git: Git) -> None:
    change(git, "a")
    git("branch", "release-1")
    with pytest.raises(DeclarationError, match=r"--bad relaese-1: no commit of .*; do you mean release-1\?"):
        lineage(git, "main", "relaese-1")
    with pytest.raises(DeclarationError, match=r"--good --all: no commit of"):
        lineage(git, "--all", "main")


def test_a_shallow_clone_is_said_to_be_one(git: Git, tmp_path: Path) -> None:
    first = change(git, "a")
    change(git, "b")
    git("branch", "old", first)
    git(
        "clone",
        "--quiet",
        "--depth=1",
        "--no-single-branch",
        git.directory.as_uri(),
        str(tmp_path / "shallow"),
    )
    repository = Repository(tmp_path / "shallow")
    with pytest.raises(DeclarationError, match="shallow clone: git fetch --unshallow"):
        Lineage(repository, "HEAD~1", "HEAD")
    with pytest.raises(DeclarationError, match="shallow clone: git fetch --unshallow"):
        Lineage(repository, "origin/old", "origin/main")


def test_settings_of_the_users_do_not_change_what_is_read(git: Git) -> None:
    change(git, "a")
    git("config", "log.showSignature", "true")
    git("config", "log.decorate", "full")
    git("config", "color.ui", "always")
    git("config", "log.date", "relative")
    change(git, "b")
    assert [commit.subject for commit in lineage(git, "HEAD~1", "HEAD").commits] == ["change a", "change b"]
