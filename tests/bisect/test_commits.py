"""What is made of a commit: worktrees, builds and wheels, with real ones of each."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmperf.bisect.commits import Commits, Recipe
from pytest_llmperf.bisect.lineage import Lineage
from pytest_llmperf.bisect.position import Axis, Unusable
from pytest_llmperf.errors import DeclarationError, InvalidRun
from pytest_llmperf.keep.repository import Repository
from pytest_llmperf.places.environments import Environments
from tests.git import Git
from tests.package_index import Page, ServedIndex, html_page
from tests.wheels import FakeEngine, make_checkout, make_wheel

CHECKOUT = "command -- {checkout}/serve.sh {host}:{port}"


@pytest.fixture
def made(git: Git) -> list[str]:
    """Four commits; ``number`` says which one it is."""
    found = []
    for number in range(4):
        (git.directory / "number").write_text(f"{number}")
        found.append(git.commit(f"number {number}"))
    return found


@pytest.fixture
def state(git: Git, tmp_path: Path) -> Iterator[Path]:
    """The directory of a bisection; what git says of the user's checkout is the same in the end."""

    def seen() -> tuple[str, ...]:
        asked = (("status", "--porcelain", "--branch", "--ignored"), ("stash", "list"), ("branch", "--list"))
        return *(git(*one) for one in asked), (git.directory / ".git" / "HEAD").read_text()

    (git.directory / "unfinished").write_text("mine")
    before = seen() if (git.directory / ".git" / "refs" / "heads" / "main").exists() else None
    yield tmp_path / "state"
    if before:
        assert seen() == before


def commits(git: Git, state: Path, recipe: Recipe, good: str = "HEAD~3", most: int = 8) -> Commits:
    repository = Repository(git.directory)
    lineage = Lineage(repository, good, "HEAD")
    return Commits(lineage, repository, recipe, state, distribution="fake-engine", most=most)


def trees(git: Git) -> list[str]:
    """The worktrees that the repository knows, other than its own."""
    listed = git("worktree", "list", "--porcelain").splitlines()
    return [line.removeprefix("worktree ") for line in listed if line.startswith("worktree ")][1:]


def test_each_commit_has_a_fresh_worktree_until_the_end(git: Git, made: list[str], state: Path) -> None:
    (git.directory / "number").write_text("changed, and not committed")
    axis = commits(git, state, Recipe(CHECKOUT))
    typed: Axis = axis
    assert typed.kind == "commits"
    for index, commit in enumerate(made):
        subject = axis.subject(index)
        path = Path(subject.args[1]).parent
        assert subject.args[2] == "{host}:{port}"
        assert (path / "number").read_text() == f"{index}"
        assert git("-C", str(path), "rev-parse", "HEAD") == commit
        assert git("-C", str(path), "status", "--porcelain", "--branch") == "## HEAD (no branch)"
    assert len(trees(git)) == 4
    axis.close()
    assert trees(git) == []
    assert not (state / "trees").exists()
    assert (git.directory / "number").read_text() == "changed, and not committed"
    git("checkout", "--", "number")


def test_what_was_asked_for_least_lately_is_removed_but_not_the_good_end(
    git: Git, made: list[str], state: Path
) -> None:
    axis = commits(git, state, Recipe(CHECKOUT), most=3)
    for index in (0, 1, 2, 1, 3):
        axis.subject(index)
    assert sorted(Path(tree).parent.name for tree in trees(git)) == sorted(made[i][:12] for i in (0, 1, 3))
    assert (Path(axis.subject(2).args[1]).parent / "number").read_text() == "2"
    axis.close()


def test_a_build_runs_in_the_worktree_once_also_for_a_later_process(
    git: Git, made: list[str], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = 'echo {commit} {checkout} "$PWD" "$GIT_DIR$LLMPERF_API_KEY" >> built && cp number served'
    recipe = Recipe(CHECKOUT, build=command)
    with monkeypatch.context() as patch:
        patch.setenv("LLMPERF_API_KEY", "s3cret")
        patch.setenv("GIT_DIR", "/nowhere")
        for _ in range(2):
            axis = commits(git, state, recipe)
            for _ in range(2):
                path = Path(axis.subject(2).args[1]).parent
    assert (path / "served").read_text() == "2"
    assert (path / "built").read_text() == f"{made[2]} {path} {path} \n"
    again = commits(git, state, Recipe(CHECKOUT, build="echo another > built"))
    assert Path(again.subject(2).args[1]).parent == path
    assert (path / "built").read_text() == "another\n"
    again.close()
    assert list((state / "logs").iterdir())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            "echo compiling; echo no such header >&2; exit 3",
            r"its build exited with code 3\nlog: .*\n  \| compil",
        ),
        (
            "echo 'too old to be built'; exit 125",
            r"its build says that it cannot be tested \(exit code 125\)\nlog: .*\n  \| too old",
        ),
        ("kill -9 $$", r"its build was killed by SIGKILL"),
    ],
)
def test_a_commit_that_does_not_build_is_unusable_with_the_last_lines(
    build: str, words: str, git: Git, made: list[str], state: Path
) -> None:
    axis = commits(git, state, Recipe(CHECKOUT, build=f"date +%N >> {state}.ran; {build}"))
    for _ in range(2):
        with pytest.raises(Unusable, match=f"commit {made[1][:7]}.*: {words}") as raised:
            axis.subject(1)
        assert raised.value.position == 1
    assert len(Path(f"{state}.ran").read_text().splitlines()) == 1  # it is not tried again in this process
    with pytest.raises(Unusable):
        commits(git, state, Recipe(CHECKOUT, build="false")).subject(1)
    axis.close()
    assert trees(git) == []


def test_a_build_that_takes_too_long_is_ended_with_all_that_it_started(
    git: Git, made: list[str], state: Path
) -> None:
    build = "echo begun; sleep 300 & echo $! > child; sleep 300"
    axis = commits(git, state, Recipe(CHECKOUT, build=build, build_timeout_s=2))
    with pytest.raises(Unusable, match=r"its build did not end within 2 s\nlog: .*\n  \| begun"):
        axis.subject(1)
    (child,) = (state / "trees").glob("*/checkout/child")
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)
    axis.close()


def test_a_checkout_that_was_interrupted_or_lost_is_made_anew(git: Git, made: list[str], state: Path) -> None:
    axis = commits(git, state, Recipe(CHECKOUT, build="echo new > built"))
    path = Path(axis.subject(1).args[1]).parent
    (path.parent / "complete").unlink()
    (path / "half").write_text("built")
    axis = commits(git, state, Recipe(CHECKOUT, build="echo new > built"))
    assert Path(axis.subject(1).args[1]).parent == path
    assert not (path / "half").exists()
    shutil.rmtree(path.parent)
    axis = commits(git, state, Recipe(CHECKOUT, build="echo new > built"))
    axis.subject(1)
    assert (path / "built").read_text() == "new\n"
    shutil.rmtree(path)
    axis.close()
    assert trees(git) == []


def test_the_users_hooks_do_not_run(git: Git, made: list[str], state: Path) -> None:
    hook = git.directory / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{state}.hook'\n")
    hook.chmod(0o755)
    axis = commits(git, state, Recipe(CHECKOUT))
    axis.subject(1)
    assert not Path(f"{state}.hook").exists()
    axis.close()


def test_a_commit_alone_needs_no_worktree(git: Git, made: list[str], state: Path) -> None:
    axis = commits(
        git, state, Recipe("TAG={commit} command -- docker run img:{commit} {model} {port} {other}")
    )
    subject = axis.subject(3)
    assert subject.env == (("TAG", made[3]),)
    assert subject.args == ("--", "docker", "run", f"img:{made[3]}", "{model}", "{port}", "{other}")
    assert trees(git) == []
    assert not state.exists()
    axis.close()


def test_a_source_checkout_of_a_commit_is_built_into_an_environment(
    git: Git, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(tmp_path / "index", "fake-dependency", "1.0")
    for installer in ("PIP", "UV"):
        monkeypatch.setenv(f"{installer}_NO_INDEX", "1")
        monkeypatch.setenv(f"{installer}_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (git.directory / "unfinished").unlink()
    for version in ("1.0", "1.1"):
        made = git.commit() if make_checkout(git.directory, version) else ""
    axis = commits(git, state, Recipe("fake@{checkout} --fast"), good="HEAD~1")
    subject = axis.subject(1)
    (tmp_path / "logs").mkdir()
    environments = Environments(tmp_path / "locks", lambda: tmp_path / "logs")
    runtime = environments.runtime_of(FakeEngine(), subject)
    assert (runtime.version, runtime.commit) == ("1.1", made[:12])
    assert subject.args == ("--fast",)
    axis.close()


# --- wheels -------------------------------------------------------------------------------------------


def wheel_of(path: Path, content: bytes = b"") -> Page:
    return Page(content or path.read_bytes(), "application/octet-stream")


def test_a_wheel_is_downloaded_once_and_found_by_its_name(
    git: Git, made: list[str], state: Path, tmp_path: Path, served: ServedIndex
) -> None:
    wheel = make_wheel(tmp_path, "fake-engine", "1.0+g1")
    served.put(f"/{made[1]}/{wheel.name.replace('+', '%2B')}", wheel_of(wheel))
    url = f"{served.url}/{{commit}}/{wheel.name.replace('+', '%2B')}"
    for _ in range(2):
        axis = commits(git, state, Recipe("fake@{wheel} --fast", wheel=url))
        subject = axis.subject(1)
    assert subject.path is not None
    assert Path(subject.path).name == wheel.name
    assert Path(subject.path).read_bytes() == wheel.read_bytes()
    assert len(served.asked) == 1
    with pytest.raises(
        Unusable, match=f"commit {made[2][:7]}.*: there is no wheel for it: {served.url}/.*: 404"
    ):
        axis.subject(2)
    axis.close()
    assert not Path(subject.path).exists()


def test_of_a_page_of_wheels_the_one_that_fits_is_taken_and_checked(
    git: Git, made: list[str], state: Path, tmp_path: Path, served: ServedIndex
) -> None:
    wheel = make_wheel(tmp_path, "fake-engine", "1.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    others = [
        {"filename": f"fake_engine-1.0-cp27-cp27m-{one}.whl"} for one in ("win32", "macosx_10_9_x86_64")
    ]
    for commit, wanted in ((made[1], digest), (made[2], "0" * 64)):
        page = html_page(*others, {"filename": f"{wheel.name}#sha256={wanted}"})
        served.put(f"/{commit}/fake-engine/", page)
    served.put(f"/{made[3]}/fake-engine/", html_page(*others))
    served.put(f"/files/{wheel.name}", wheel_of(wheel))
    axis = commits(git, state, Recipe("fake@{wheel}", wheel=f"{served.url}/{{commit}}/fake-engine/"))
    path = axis.subject(1).path
    assert path is not None
    assert Path(path).name == wheel.name
    asked = len(served.asked)
    assert axis.subject(1).path == path
    assert len(served.asked) == asked == 2
    with pytest.raises(Unusable, match=r"is not what its page says: its SHA-256 is"):
        axis.subject(2)
    with pytest.raises(Unusable, match=r"there is no wheel for it: .* has none of fake-engine for Python"):
        axis.subject(3)
    with pytest.raises(Unusable, match="there is no wheel for it"):
        axis.subject(0)
    assert not list(state.rglob("*.part"))
    axis.close()


def test_wheels_may_be_files_here_or_come_out_of_the_build(
    git: Git, made: list[str], state: Path, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path / made[1], "fake-engine", "1.0")
    for url in (
        f"{tmp_path}/{{commit}}/{wheel.name}",
        f"{tmp_path}/{{commit}}",
        tmp_path.as_uri() + "/{commit}/",
    ):
        axis = commits(git, state, Recipe("fake@{wheel}", wheel=url))
        assert axis.subject(1).path == str(wheel)
        with pytest.raises(Unusable, match="there is no wheel for it"):
            axis.subject(2)
    build = f"mkdir dist && cp '{wheel}' dist"
    axis = commits(git, state, Recipe("fake@{wheel}", build=build, wheel="{checkout}/dist/"))
    path = axis.subject(2).path
    assert path is not None
    assert path.endswith(f"checkout/dist/{wheel.name}")
    axis.close()
    assert wheel.exists()


def test_a_server_that_fails_shows_no_credentials(
    git: Git, made: list[str], state: Path, served: ServedIndex
) -> None:
    url = served.url.replace("://", "://me:s3cret@") + "/{commit}/fake_engine-1.0-py3-none-any.whl"
    served.put(f"/{made[1]}/fake_engine-1.0-py3-none-any.whl", Page(b"", status=503))
    axis = commits(git, state, Recipe("fake@{wheel}", wheel=url))
    kinds: dict[str, type[Exception]] = {"503": InvalidRun, "404": Unusable}
    for index, (words, kind) in enumerate(kinds.items(), 1):
        with pytest.raises(kind, match=words) as raised:
            axis.subject(index)
        assert "s3cret" not in str(raised.value)
    dead = commits(git, state, Recipe("fake@{wheel}", wheel="http://127.0.0.1:1/{commit}/e.whl"))
    with pytest.raises(InvalidRun, match=r"cannot be downloaded.*; the same command goes on where it was"):
        dead.subject(1)


def test_a_full_disk_is_no_fault_of_a_commit_and_tried_again(
    git: Git, made: list[str], state: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.touch()
    build = f"! test -e {full} || {{ echo 'write: No space left on device'; exit 1; }}"
    axis = commits(git, state, Recipe(CHECKOUT, build=build))
    with pytest.raises(InvalidRun, match="No space left on device"):
        axis.subject(1)
    full.unlink()
    axis.subject(1)
    (state / "trees").joinpath(made[2][:12]).write_text("in the way")
    with pytest.raises(InvalidRun, match=f"commit {made[2][:7]}"):
        axis.subject(2)
    (state / "trees").joinpath(made[2][:12]).unlink()
    axis.close()


def test_what_an_earlier_process_left_counts(git: Git, made: list[str], state: Path) -> None:
    first = commits(git, state, Recipe(CHECKOUT), most=3)
    for index in (0, 1, 2):
        first.subject(index)
        os.utime(state / "trees" / made[index][:12], (index, index))
    second = commits(git, state, Recipe(CHECKOUT), most=3)
    second.subject(3)
    assert sorted(Path(tree).parent.name for tree in trees(git)) == sorted(made[i][:12] for i in (0, 2, 3))
    second.close()
    assert trees(git) == []


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe("vllm --x"), "nothing in it depends on the commit; put {checkout}, {commit} or {wheel}"),
        (Recipe("http://127.0.0.1:8000/{commit}"), "no commit can be launched at a server's URL"),
        (Recipe("vllm@{wheel}"), "what {wheel} is, --wheel says"),
        (Recipe("vllm@{checkout}", wheel="/{commit}.whl"), "--wheel has no use: put {wheel} into"),
        (
            Recipe("vllm@{wheel}", wheel="http://me:s3@h/x.whl"),
            "http://…@h/x.whl: it is the same for every commit",
        ),
        (Recipe("VLLM@{checkout}"), "expected NAME"),
    ],
)
def test_a_recipe_that_cannot_mean_anything_is_refused(recipe: Recipe, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        recipe.parsed()


def test_a_page_of_wheels_needs_to_know_whose(git: Git, made: list[str], tmp_path: Path) -> None:
    repository = Repository(git.directory)
    lineage, recipe = (
        Lineage(repository, "HEAD~1", "HEAD"),
        Recipe("command -- {wheel}", wheel="/w/{commit}/"),
    )
    with pytest.raises(
        DeclarationError, match=r"command is no Python package .*; name the \.whl file itself"
    ):
        Commits(lineage, repository, recipe, tmp_path)
    Commits(lineage, repository, Recipe("command -- {wheel}", wheel="/w/{commit}/x.whl"), tmp_path)


def test_the_users_own_worktrees_are_left_alone_also_those_out_of_reach(
    git: Git, made: list[str], state: Path, tmp_path: Path
) -> None:
    git("worktree", "add", "--quiet", "--detach", str(tmp_path / "mine"))
    (tmp_path / "mine").rename(tmp_path / "unmounted")
    axis = commits(git, state, Recipe(CHECKOUT))
    axis.subject(1)
    axis.close()
    assert trees(git) == [str(tmp_path / "mine")]


def test_progress_tells_what_takes_long(git: Git, made: list[str], state: Path) -> None:
    told: list[str] = []
    repository = Repository(git.directory)
    lineage = Lineage(repository, "HEAD~1", "HEAD")
    axis = Commits(lineage, repository, Recipe(CHECKOUT, build="true"), state, progress=told.append)
    axis.subject(1)
    assert told == [f"building commit {lineage.commits[1].short} (number 3)"]
    axis.subject(1)
    assert len(told) == 1
    axis.close()
