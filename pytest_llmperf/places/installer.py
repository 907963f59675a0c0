"""Building an environment with uv, or with venv and pip, and what their complaints mean.

Which index, which constraints, which certificates is the installer's own configuration (``PIP_*``, ``UV_*``,
``pip.conf``, ``uv.toml``) and goes through untouched. What to install, and where, is ours to say.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_llmperf.declare.subject import without_credentials
from pytest_llmperf.errors import EngineError, Hindered
from pytest_llmperf.places.process import EngineProcess, describe_exit

_LITTLE = 32 * 2**20
_POLL_S = 0.1
_GRACE_S = 5.0
_ABOUT_THIS_PYTHON = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_OURS_TO_SAY = (
    *("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_NO_DEPS"),
    *("UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_TARGET", "UV_PREFIX"),
)


def foreign_environment() -> dict[str, str]:
    """The variables of this process for one with another interpreter: nothing of this one's packages."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LLMPERF_") and name not in _ABOUT_THIS_PYTHON
    }


class Installer:
    """Makes a virtual environment at ``directory`` with this Python, and installs into it.

    What is built of ``distribution`` is built anew, whatever the installer keeps of earlier builds.
    """

    def __init__(self, directory: Path, distribution: str, log: Path) -> None:
        self.log = log
        uv = _uv()
        self.name = "uv" if uv else "pip"
        python = str(directory / "bin" / "python")
        if uv:
            self._create = [*uv, "venv", "--no-project", "--python", sys.executable, str(directory)]
            # uv keeps what it built of a directory, and does not see every change of a file in it.
            self._install = [*uv, "pip", "install", "--python", python, "--reinstall-package", distribution]
        else:
            self._create = [sys.executable, "-m", "venv", str(directory)]
            self._install = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        self._directory = directory

    def run(self, installs: Sequence[Sequence[str]], waiting: Callable[[str], None]) -> None:
        """Make it and install what each of ``installs`` names, as arguments of ``pip install``.

        ``waiting`` is told the log's last line, now and then. Raises :class:`EngineError`; whatever ends
        this early, the installer is gone then, but not the directory.
        """
        commands = [self._create, *([*self._install, *arguments] for arguments in installs)]
        for command in commands:
            if (code := self._run(command, waiting)) != 0:
                complaint = self._complaint(commands, code)
                raise Hindered(complaint) if is_hindrance(complaint) else EngineError(complaint)

    def _run(self, command: Sequence[str], waiting: Callable[[str], None]) -> int | None:
        environment = {k: v for k, v in foreign_environment().items() if k not in _OURS_TO_SAY}
        # Without it, Python's output into a file comes late and in blocks.
        process = EngineProcess(command, environment | {"PYTHONUNBUFFERED": "1"}, self.log, _GRACE_S)
        try:
            while process.is_alive():
                waiting("".join(map(without_credentials, process.log_tail(1))))
                time.sleep(_POLL_S)
        finally:
            process.stop()
        return process.exit_code

    def _complaint(self, commands: Sequence[Sequence[str]], code: int | None) -> str:
        try:
            lines = without_credentials(self.log.read_text(errors="replace")).splitlines()
        except OSError as error:
            lines = [f"(the log cannot be read: {error})"]
        lines = [line.rstrip() for line in lines if line.strip()]
        by_hand = " && ".join(shlex.join(command) for command in commands)
        return "\n".join(
            (
                cause(lines) or self._want_of_room() or f"{self.name} {describe_exit(code)}",
                f"to repeat it by hand: {by_hand.replace(str(self._directory), '/tmp/environment')}",
                f"installer's log: {self.log}",
                *(f"  | {line[:300]}" for line in lines[-8:] or ["(empty)"]),
            )
        )

    def _want_of_room(self) -> str | None:
        """Python's own installer of pip does not say that a disk is full."""
        try:
            free = shutil.disk_usage(self._directory.parent).free
        except OSError:
            return None
        return (
            f"the disk is full: {free // 2**20} MiB are free at {self._directory.parent}"
            if free < _LITTLE
            else None
        )


def installer_name() -> str:
    """What environments are built with here: ``uv`` or ``pip``."""
    return "uv" if _uv() else "pip"


def _uv() -> list[str] | None:
    if found := shutil.which("uv"):
        return [found]
    return [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else None


_NO_VERSION = re.compile(r"satisfies the requirement (\S+)(?:.*?)\(from versions: (.*)\)")
_UV_NO_VERSION = re.compile(r"there (?:is|are) no versions? of ([\w.\[\]-]+==[\w.+!]+)")
_UV_ABSENT = re.compile(r"(?:Because )?(\S+) was not found in the package registry")
# The one that says most comes first.
_NO_NETWORK = (
    *("Temporary failure in name resolution", "Name or service not known", "Network is unreachable"),
    *("No route to host", "Connection refused", "certificate verify failed", r"40[137] [A-Z][A-Za-z ]+"),
    *(
        r"Failed to fetch: \S+",
        "ProxyError",
        "SSLError",
        "ConnectTimeout",
        "ReadTimeout",
        "NewConnectionError",
    ),
)
_WRONG_PYTHON = re.compile(
    r"(?:requires a different Python: .*|current Python version \([^)]*\) does not satisfy Python\S+)"
)
_FAILED_PROGRAM = re.compile("metadata-generation-failed|subprocess-exited-with-error|failed-wheel-build")
_BUILD = re.compile(
    r"(?:Failed building wheel for|Failed to build(?: installable wheels for some.*?\()?) ?`?([^`\n)]+)"
)
_BEGUN = re.compile(r"^\s*(?:Processing|Collecting) (\S+)", re.MULTILINE)


def cause(lines: Sequence[str]) -> str | None:
    """What an installer's log says went wrong, in a line; None if it says nothing."""
    text = "\n".join(lines)
    unwrapped = " ".join(line.strip(" │╰─▶×") for line in lines)
    if tells_of_full_disk(text):
        return "the disk is full"
    if found := _WRONG_PYTHON.search(unwrapped):
        return f"it is not made for the Python of this test run: {found[0][:200]}"
    if (found := _NO_VERSION.search(text)) and found[2] != "none":
        return _no_version(found[1], found[2].split(", "))
    if found := next(filter(None, (re.search(sign, text) for sign in _NO_NETWORK)), None):
        return f"the package index cannot be reached: {found[0]}"
    if found := _NO_VERSION.search(text) or _UV_NO_VERSION.search(unwrapped) or _UV_ABSENT.search(unwrapped):
        return _no_version(found[1], [])
    if found := _BUILD.search(text):
        return f"{found[1].strip()} cannot be built from source{_last_error(lines)}"
    if _FAILED_PROGRAM.search(text) and (begun := _BEGUN.findall(text)):
        return f"{begun[-1]} cannot be built from source{_last_error(lines)}"
    if "ensurepip is not available" in text or "No module named ensurepip" in text:
        return "this Python cannot make virtual environments: install its venv package (python3-venv), or uv"
    if found := re.search(r"No solution found.*?(Because .*?)(?=, we can conclude|$)", unwrapped):
        return found[1][:300]
    errors = [line for line in lines if re.match(r"\s*(ERROR|error)\b:?", line)]
    return errors[0].strip()[:300] if errors else None


def tells_of_full_disk(text: str) -> bool:
    """Whether a program says so, in whichever words."""
    return re.search("No space left on device|ENOSPC|Disk quota exceeded", text) is not None


def is_hindrance(complaint: str) -> bool:
    """Whether it is a matter of this machine and its network, and not of what was to be installed; that a
    single file cannot be had, and not a page of the index, may be either."""
    first = complaint.partition("\n")[0]
    of_a_file = re.search(r"Failed to fetch: \S*[^/\s`]`?$", first)
    return first.startswith(("the disk is full", "the package index cannot be reached")) and not of_a_file


def _no_version(requirement: str, known: Sequence[str]) -> str:
    python = f"Python {sys.version_info.major}.{sys.version_info.minor} on {sysconfig.get_platform()}"
    name, _, version = requirement.partition("==")
    said = f"the package index has no {name} {version}".rstrip() + f" for {python}"
    return said + (f"; nearest: {', '.join(nearest(version, known))}" if known and version else "")


def nearest(version: str, known: Sequence[str], count: int = 3) -> list[str]:
    """The ``count`` releases on either side of a version."""
    from packaging.version import InvalidVersion, Version

    ordered = []
    for one in known:
        try:
            ordered.append(Version(one))
        except InvalidVersion:
            continue
    ordered.sort()
    try:
        place = sum(one < Version(version) for one in ordered)
    except InvalidVersion:
        place = len(ordered)
    return [str(one) for one in ordered[max(0, place - count) : place + count]]


def _last_error(lines: Sequence[str]) -> str:
    """The exception that a build ended with: the first line of that form from the end."""
    for line in reversed(lines):
        stripped = line.strip(" │╰─▶×")
        if re.match(r"(?:[\w.]+(?:Error|Exception)|fatal error|error):? ", stripped) and not re.search(
            f"{_FAILED_PROGRAM.pattern}|Failed to build", stripped
        ):
            return f" ({stripped[:200]})"
    return ""
