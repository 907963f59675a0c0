"""A git repository of a test's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SETTINGS = {
    "user.name": "A. Developer",
    "user.email": "a@example.com",
    "commit.gpgsign": "false",
    "init.defaultBranch": "main",
    "advice.detachedHead": "false",
}


class Git:
    """Runs git in a directory, with nobody's settings but these."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self("init", "--quiet")

    def __call__(self, *arguments: str) -> str:
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        ran = subprocess.run(
            ["git", *settings, *arguments], cwd=self.directory, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout.strip()

    def commit(self, message: str = "a change") -> str:
        """Commit all that there is; the commit's hash."""
        self("add", "--all")
        self("commit", "--quiet", "--allow-empty", "--message", message)
        return self("rev-parse", "HEAD")
