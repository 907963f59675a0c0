"""A git repository, read without a checkout."""

from __future__ import annotations

import difflib
import os
import subprocess
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import StoreError

_TIMEOUT_S = 60
_SOON_S = 10
# Those that a hook of git's sets would have us look into another repository than the one that we name.
MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_NAMESPACE")


class Repository:
    """The repository that a directory, which need not exist yet, lies in.

    Raises :class:`StoreError` if there is none, or no git.
    """

    def __init__(self, directory: Path) -> None:
        there = Path(os.path.realpath(directory))
        while not there.is_dir():
            there = there.parent
        self.root = there
        found = self.git("rev-parse", "--show-toplevel")
        if found.returncode:
            raise StoreError(f"{there} is in no git repository that can be read ({first_line(found)})")
        self.root = Path(os.fsdecode(found.stdout).removesuffix("\n"))

    def commit(self, name: str) -> str | None:
        """The commit that a branch, a tag or whatever else git understands stands for; None if nothing."""
        if name.startswith("-"):
            return None
        asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        found = self.git(*asked)
        return None if found.returncode else found.stdout.decode().strip()

    def close_to(self, name: str) -> list[str]:
        """The branches and tags that may be meant, those of a remote first."""
        listed = self.git(
            "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes", "refs/tags"
        )
        names = os.fsdecode(listed.stdout).split()
        remote = [known for known in names if known.endswith(f"/{name}")]
        return list(dict.fromkeys([*remote, *difflib.get_close_matches(name, names, n=3)]))

    @property
    def is_shallow(self) -> bool:
        return self.git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"

    def files(self, commit: str, directory: str) -> list[str]:
        """The names of what lies in a directory of a commit."""
        listed = self.git("ls-tree", "-z", "--name-only", commit, "--", f"{directory}/")
        return [path.rpartition("/")[2] for path in os.fsdecode(listed.stdout).split("\0") if path]

    def content(self, commit: str, path: str) -> bytes:
        """What a file was in a commit. Raises :class:`StoreError`."""
        found = self.git("cat-file", "blob", f"{commit}:{path}")
        if found.returncode:
            raise StoreError(f"{path} of commit {commit[:10]} cannot be read: {first_line(found)}")
        return found.stdout

    def git(self, *arguments: str, timeout_s: float = _TIMEOUT_S) -> subprocess.CompletedProcess[bytes]:
        """Run git there, without hooks, with nobody to ask and in English; what it said, also if it failed.

        Raises :class:`StoreError` if there is no git, or it does not end within ``timeout_s``.
        """
        environment = {name: value for name, value in os.environ.items() if name not in MISLEADING}
        # A clone that leaves objects out fetches them, and is not to ask for a password.
        environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
        try:
            return subprocess.run(
                ["git", "-c", f"core.hooksPath={os.devnull}", "-C", str(self.root), *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
            )
        except FileNotFoundError:
            raise StoreError("git is not installed") from None
        except subprocess.TimeoutExpired:
            raise StoreError(f"git {arguments[0]} did not end within {timeout_s:g} s") from None


def checkout(directory: Path) -> dict[str, Any]:
    """The ``commit`` that is checked out where a directory lies, and whether tracked files were
    ``changed`` since; empty where there is none, or git does not tell soon."""
    try:
        repository = Repository(directory)
        if (commit := repository.commit("HEAD")) is None:
            return {}
        changed = repository.git("diff", "--quiet", "HEAD", "--", timeout_s=_SOON_S).returncode
    except StoreError:
        return {}
    return {"commit": commit, "changed": changed == 1}


def first_line(failed: subprocess.CompletedProcess[bytes]) -> str:
    """What git said went wrong."""
    lines = failed.stderr.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else f"git failed with {failed.returncode}"
