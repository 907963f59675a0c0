"""What a commit's engine is made of: a worktree, what was built in it, a wheel."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import httpx

from pytest_llmperf.declare.subject import without_credentials
from pytest_llmperf.errors import EngineError, Hindered
from pytest_llmperf.keep.repository import MISLEADING, Repository, first_line
from pytest_llmperf.places.index import HERE, PackageIndex, status
from pytest_llmperf.places.indexes import is_local
from pytest_llmperf.places.process import EngineProcess, describe_exit

_CHECKOUT_TIMEOUT_S = 1800
_POLL_S = 0.1
_GRACE_S = 10.0
_PIECE = 2**20
_NOT_TESTABLE = 125  # of git bisect run: this commit cannot be judged


class Trees:
    """Fresh worktrees of a repository, under a directory of the bisection's own.

    The checkout that the user works in, its index and its branch are not touched. A tree that was completed
    is found again by a later process.
    """

    def __init__(self, repository: Repository, directory: Path) -> None:
        self._repository = repository
        self._directory = Path(os.path.abspath(directory))

    def has(self, commit: str) -> float | None:
        """When something was made for a commit, in seconds since the epoch; None if there is nothing."""
        with contextlib.suppress(OSError):
            return self.of(commit).stat().st_mtime
        return None

    def of(self, commit: str) -> Path:
        """Where what belongs to a commit lies."""
        return self._directory / commit[:12]

    def find(self, commit: str, build: str | None) -> Path | None:
        """The worktree of a commit that :meth:`checkout` completed with the same ``build``, if any."""
        tree = self.of(commit) / "checkout"
        with contextlib.suppress(OSError):
            if (tree.parent / "complete").read_text() == _mark(build) and (tree / ".git").exists():
                return tree
        return None

    def checkout(self, commit: str, build: str | None, timeout_s: float, log: Path) -> Path:
        """A new worktree of a commit, in which ``build`` ran, a command for the shell.

        ``{commit}`` and ``{checkout}`` in it are filled in. Raises :class:`EngineError` with the last lines
        of ``log`` if that fails, or takes longer than ``timeout_s``.
        """
        tree = self.of(commit) / "checkout"
        self._remove_tree(tree)
        tree.parent.mkdir(parents=True, exist_ok=True)
        added = self._repository.git(
            *("worktree", "add", "--quiet", "--force", "--detach", str(tree), commit),
            timeout_s=_CHECKOUT_TIMEOUT_S,
        )
        if added.returncode:
            self._remove_tree(tree)
            raise EngineError(f"commit {commit[:10]} cannot be checked out: {first_line(added)}")
        if build is not None:
            filled = build.replace("{checkout}", shlex.quote(str(tree))).replace("{commit}", commit)
            _build(filled, tree, timeout_s, log)
        (self.of(commit) / "complete").write_text(_mark(build))
        return tree

    def wheel(self, commit: str, url: str, index: PackageIndex, distribution: str | None) -> Path:
        """The wheel at ``url``, or the one of ``distribution`` that fits of those on the page or in the
        directory there. What is not on this machine is downloaded.

        Raises :class:`EngineError` if there is none, or it cannot be had, and :class:`Hindered` if it may be
        another time.
        """
        if not is_wheel(url):
            url = _on_page(url, index, distribution)
        if is_local(url):
            path = Path(url2pathname(urlsplit(url).path) if url.startswith("file://") else url).expanduser()
            if not path.is_file():
                raise EngineError(f"there is no wheel for it: {path} does not exist")
            return Path(os.path.abspath(path))
        kept = self.of(commit) / "wheel" / _path(url).rpartition("/")[2]
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            _download(url, kept, index)
        return kept

    def remove(self, commit: str) -> None:
        """Remove what was made for a commit; nothing happens if there is nothing."""
        self._remove_tree(self.of(commit) / "checkout")
        shutil.rmtree(self.of(commit), ignore_errors=True)

    def remove_all(self) -> None:
        """Remove what was made for any commit, by an earlier process as well."""
        if not self._directory.is_dir():
            return
        for path in self._directory.iterdir():
            if re.fullmatch("[0-9a-f]{12}", path.name):
                self.remove(path.name)
        with contextlib.suppress(OSError):
            self._directory.rmdir()

    def _remove_tree(self, tree: Path) -> None:
        (tree.parent / "complete").unlink(missing_ok=True)
        if tree.parent.exists():
            # Also where the tree itself is lost. Not with prune, which forgets those of the user's as well
            # that are only out of reach now.
            asked = ("worktree", "remove", "--force", "--force", str(tree))
            self._repository.git(*asked, timeout_s=_CHECKOUT_TIMEOUT_S)
            shutil.rmtree(tree, ignore_errors=True)


def _mark(build: str | None) -> str:
    return hashlib.sha256((build or "").encode()).hexdigest()


def _build(command: str, tree: Path, timeout_s: float, log: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in MISLEADING and not name.startswith("LLMPERF_")
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = ["/bin/sh", "-c", 'cd "$1" && exec /bin/sh -c "$2"', "build", str(tree), command]
    process = EngineProcess(argv, environment, log, _GRACE_S)
    began = time.monotonic()
    try:
        while process.is_alive() and time.monotonic() - began < timeout_s:
            time.sleep(_POLL_S)
        is_late = process.is_alive()
    finally:
        process.stop()
    if is_late:
        what = f"its build did not end within {timeout_s:g} s"
    elif process.exit_code == 0:
        return
    elif process.exit_code == _NOT_TESTABLE:
        what = f"its build says that it cannot be tested (exit code {_NOT_TESTABLE})"
    else:
        what = f"its build {describe_exit(process.exit_code)}"
    tail = [f"  | {without_credentials(line)[:300]}" for line in process.log_tail(8)]
    raise EngineError("\n".join((what, f"log: {log}", *tail)))


def is_wheel(url: str) -> bool:
    """Whether it names a wheel, and not a page or a directory of them."""
    return _path(url).endswith(".whl")


def _path(url: str) -> str:
    return unquote(urlsplit(url).path) if "://" in url else url


def _on_page(url: str, index: PackageIndex, distribution: str | None) -> str:
    shown = without_credentials(url)
    assert distribution is not None
    found = index.wheel(url, distribution)
    if found is None:
        raise EngineError(f"there is no wheel for it: {shown} has none of {distribution} for {HERE}")
    return found.url


def _download(url: str, path: Path, index: PackageIndex) -> None:
    shown = without_credentials(url)
    wanted = re.fullmatch("sha256=([0-9a-f]{64})", urlsplit(url).fragment)
    part = path.with_name(f"{path.name}.part")
    digest = hashlib.sha256()
    try:
        with index.client(url) as client, client.stream("GET", url) as response:
            if response.status_code in (404, 410):
                raise EngineError(f"there is no wheel for it: {shown}: {response.status_code}")
            if response.status_code != 200:
                told = f"{shown}: {status(response)}"
                raise Hindered(told) if response.is_server_error else EngineError(told)
            with part.open("wb") as file:
                for piece in response.iter_bytes(_PIECE):
                    digest.update(piece)
                    file.write(piece)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        part.unlink(missing_ok=True)
        raise Hindered(f"{shown} cannot be downloaded: {without_credentials(str(error))}") from None
    if wanted and digest.hexdigest() != wanted[1]:
        part.unlink()
        raise EngineError(f"{shown} is not what its page says: its SHA-256 is {digest.hexdigest()[:12]}…")
    part.replace(path)
