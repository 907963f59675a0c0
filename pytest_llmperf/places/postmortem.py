"""What a person needs to understand why a server is not there: the cause, and how to try it by hand."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.declare.subject import REDACTED, credentials, is_secret, without_credentials
from pytest_llmperf.engines.protocol import Command
from pytest_llmperf.engines.trouble import Trouble, find_trouble, last_words

# Of a log that is longer, its beginning and its end are looked at.
_LOOKED_AT = 256 * 1024
_FULL_BELOW = 1024 * 1024
_DISK_IS_FULL = Trouble(
    "the disk is full that its log is on",
    advice="make room (df -h), or keep the records elsewhere: --llmperf-dir",
)


@dataclass(frozen=True)
class Postmortem:
    """The trouble, where it was found, and the facts that go with it, a line each."""

    trouble: Trouble | None
    facts: tuple[str, ...]

    def tell(self, subject: object, event: str) -> str:
        """The whole message: ``event`` is what happened to ``subject``: "it died while it was measured"."""
        cause, line, advice = "", "", ""
        if self.trouble is not None:
            cause, line, advice = self.trouble.cause, self.trouble.line, self.trouble.advice
        return "\n".join(
            (
                f"{subject}: {cause} ({event})" if cause else f"{subject}: {event}",
                *([f"it said: {line}"] if line else []),
                *([f"advice: {advice}"] if advice else []),
                *self.facts,
            )
        )


def examine(command: Command, state: str, exit_code: int | None, log: Path) -> Postmortem:
    """Look into the log of a server that was started with ``command``.

    ``state`` says what has become of it (``process: 7 exited with code 1``); ``exit_code`` is that of a
    process that ended by itself, else None.
    """
    public = hider(command)
    try:
        text = public(read_ends(log))
        unreadable = None
    except OSError as error:
        text, unreadable = "", f"(the log cannot be read: {error})"
    trouble = find_trouble(text, exit_code)
    if not (trouble and trouble.cause) and exit_code is not None and _is_full(log):
        trouble = Trouble(_DISK_IS_FULL.cause, trouble.line if trouble else "", _DISK_IS_FULL.advice)
    tail = last_words(text, 6 if trouble and trouble.line else 15)
    return Postmortem(
        trouble,
        (
            f"command: {command_line(command)}",
            state,
            f"log: {log}",
            *(f"  | {line}" for line in [unreadable] if line),
            *(f"  | {line}" for line in tail or ([] if unreadable else ["(empty)"])),
        ),
    )


def read_ends(log: Path, size: int = _LOOKED_AT) -> str:
    """The first and the last ``size`` bytes of a log. Raises :class:`OSError`."""
    with log.open("rb") as file:
        text = file.read(size)
        length = file.seek(0, os.SEEK_END)
        if length > size:
            file.seek(max(size, length - size))
            text += (b"\n" if length > 2 * size else b"") + file.read(size)
    return text.decode(errors="replace")


def command_line(command: Command) -> str:
    """What to type to start the same by hand; secrets as the variables that hold them, if any does."""
    variables = {value: name for name, value in os.environ.items() if value}
    words = [
        f"{name}={_by_name(value, variables) if is_secret(name) else _public(value)}"
        for name, value in command.env.items()
    ]
    for real, shown in zip(command.argv, command.shown, strict=True):
        if shown == without_credentials(real):
            words.append(shlex.quote(shown))
        elif real.startswith("-") and "=" in real:
            flag, _, value = real.partition("=")
            words.append(f"{shlex.quote(flag)}={_by_name(value, variables)}")
        else:
            words.append(_by_name(real, variables))
    return " ".join(words)


def _by_name(secret: str, variables: dict[str, str]) -> str:
    return f'"${variables[secret]}"' if secret in variables else shlex.quote(REDACTED)


def _public(value: str) -> str:
    return shlex.quote(without_credentials(value))


def hider(command: Command) -> Callable[[str], str]:
    """A function that takes the command's secrets out of a text."""
    secrets = secrets_of(command)

    def hide(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, REDACTED)
        return text

    return hide


def secrets_of(command: Command) -> list[str]:
    """What must not be shown of a command and of the environment that it may have inherited."""
    said = [value for name, value in command.env.items() if is_secret(name)]
    shown = zip(command.argv, command.shown, strict=True)
    said += [real.partition("=")[2] or real for real, public in shown if public != without_credentials(real)]
    for value in (*command.argv, *command.env.values()):
        said += credentials(value)
    inherited = [value for name, value in os.environ.items() if is_secret(name) and not value.startswith("/")]
    for value in os.environ.values():
        inherited += credentials(value)
    # What is shorter is no secret, and would be found in every other word.
    secrets = {secret for secret in said if len(secret) >= 6} | {each for each in inherited if len(each) >= 8}
    return sorted(secrets, key=len, reverse=True)


def _is_full(log: Path) -> bool:
    try:
        return shutil.disk_usage(log.parent).free < _FULL_BELOW
    except OSError:
        return False
