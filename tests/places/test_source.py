"""What wheels and checkouts are known by."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.source import checkout, wheel
from tests.wheels import make_wheel


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A git repository with one commit."""
    (tmp_path / "engine.py").write_text("one\n")
    (tmp_path / ".gitignore").write_text("*.log\n")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_a_clean_checkout_is_its_commit(tree: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tree, capture_output=True, text=True, check=True)
    found = checkout(tree)
    assert found.identity == head.stdout[:12]
    assert found.is_settled
    assert found.is_checkout


@pytest.mark.parametrize("name", ["engine.py", "new.py"])
def test_a_change_is_part_of_the_identity_and_taken_back_no_more(name: str, tree: Path) -> None:
    clean = checkout(tree)
    identities = []
    for text in ("two\n", "three\n"):
        (tree / name).write_text(text)
        found = checkout(tree)
        assert not found.is_settled
        assert found.identity.startswith(f"{clean.identity}+changes.")
        identities.append(found.identity)
    assert len(set(identities)) == 2
    subprocess.run(["git", "checkout", "-q", "."], cwd=tree, check=True)
    (tree / "new.py").unlink(missing_ok=True)
    assert checkout(tree) == clean


@pytest.mark.parametrize(
    "name", ["run.log", "build/lib/engine.py", "engine.egg-info/PKG-INFO", "__pycache__/e.pyc"]
)
def test_what_is_ignored_or_was_built_is_no_change(name: str, tree: Path) -> None:
    clean = checkout(tree)
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text("x")
    assert checkout(tree) == clean


def test_without_git_it_is_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text("one\n")
    one = checkout(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x").write_text("x")
    assert checkout(tmp_path) == one
    assert not one.is_settled
    (tmp_path / "engine.py").rename(tmp_path / "other.py")
    assert checkout(tmp_path).identity != one.identity


@pytest.mark.parametrize("fails", ["diff", "ls-files"])
def test_where_git_cannot_say_what_changed_it_is_all_its_files(
    fails: str, tree: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path_factory.mktemp("bin")
    script = f'#!/bin/sh\n[ "$3" = {fails} ] && exit 128\nexec {shutil.which("git")} "$@"\n'
    (programs / "git").write_text(script)
    (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    found = checkout(tree)
    assert found.identity.startswith("files sha256:")
    assert not found.is_settled
    (tree / "engine.py").write_text("two\n")
    assert checkout(tree).identity != found.identity


def test_a_checkout_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="gone does not exist"):
        checkout(tmp_path / "gone")


def test_a_wheel_is_its_content(tmp_path: Path) -> None:
    one = wheel(make_wheel(tmp_path, "my-engine", "1.0"), "My_Engine")
    other = wheel(make_wheel(tmp_path, "my-engine", "1.0", code="x = 1\n"), "my.engine")
    assert one.identity.startswith("wheel sha256:")
    assert one.identity != other.identity
    assert one.is_settled
    assert not one.is_checkout


@pytest.mark.parametrize("name", ["other-1.0-py3-none-any.whl", "my_engine.whl", "my_engine-1.0.whl"])
def test_a_file_that_is_not_named_as_a_wheel_of_it_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(EngineError, match="is no wheel of my-engine: its name has to be my_engine-VERSION-"):
        wheel(tmp_path / name, "my-engine")
