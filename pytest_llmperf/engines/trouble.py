"""Why an engine ended, or does not start: the line of its log that decides it, in plain words.

Engines bury the cause. It is followed by the tracebacks of everyone who waited for the process that failed,
and preceded by warnings that read worse than they are; so warnings do not count, exceptions that only
pass on another's do not count, and the first that is left is the cause.
"""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.engines.log_line import LogLine, printable, without_escapes
from pytest_llmperf.engines.signatures import CONSEQUENCES, STRONG, WEAK, Signature

MAX_QUOTE = 300
"""Characters of a line that are quoted."""
_MAX_TEXT = 600_000

_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(
    r"(?:\w+\.)*(?:[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure|Fault|NotFound|Timeout|Expired)\b|"
    r"StopIteration\b|(?:\w+\.)+[A-Z]\w*:)"
)
# Exceptions that somebody else's failure caused, and those of being asked to end.
_PASSED_ON = re.compile(
    r"See root cause above|See stack trace|background process|child process|output_handler failed|"
    r"EngineDeadError|Engine(?:Core)? (?:is dead|died)|WorkerProc initialization failed|"
    r"worker process .{0,40}(?:died|exited)|Rank \d+ scheduler (?:is dead|died)|"
    r"Executor worker (?:returned|died)|ChildFailedError|RemoteTraceback|"
    r"Failed to init server, please check|"
    r"^(?:\w+\.)*(?:KeyboardInterrupt|SystemExit|GeneratorExit|CancelledError)\b|"
    r"^(?:\w+\.)*(?:BrokenPipeError|EOFError|ConnectionResetError)\b"
)
_CAUSED = "The above exception was the direct cause"
_MEANWHILE = "During handling of the above exception"
_COMPLAINS = re.compile(
    r"\b(?:error|fatal|failed|failure|abort(?:ed|ing)?|assert\w*|panic|cannot|unable)\b", re.I
)
_CRASHED = re.compile(
    r"Fatal Python error|terminate called|^\s*what\(\):|Segmentation fault|Bus error|Illegal instruction|"
    r"double free"
)
_SERVED = re.compile(r'"POST \S+ HTTP/[\d.]+" 200\b')
_FRAME = re.compile(r"#\d+ |\d+\s+(?:in )?\S+\.\w+(?:: No such file or directory\.)?$|\[New LWP \d+\]")

_NO_ERROR = "it ended by itself without an error"
_FOREGROUND = (
    "an engine has to stay in the foreground: one that sends itself to the background can be neither watched "
    "nor stopped"
)
# Whoever is ended by these had no say in it, and whatever it logged is no cause.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGXFSZ, signal.SIGILL)
_SIGNALS = {
    signal.SIGKILL: (
        "it was killed by SIGKILL, which did not come from here: most often that is the kernel when main "
        "memory runs out",
        "dmesg (or the container's memory.events) tells whether the kernel did it; give it more main memory",
    ),
    signal.SIGTERM: (
        "somebody ended it with SIGTERM, which did not come from here",
        "look who ends processes on this machine: a job scheduler, a time limit, a container that stops",
    ),
    signal.SIGILL: (
        "the CPU does not know an instruction that it was built with",
        "take a build for this CPU (llama.cpp and vLLM's CPU build want AVX2 or AVX-512)",
    ),
    signal.SIGXFSZ: (
        "it wrote a file beyond the limit of a file's size",
        "raise the limit: ulimit -f unlimited before pytest",
    ),
    signal.SIGSEGV: ("it crashed (SIGSEGV)", ""),
    signal.SIGABRT: ("it aborted itself", ""),
    signal.SIGBUS: (
        "it crashed (SIGBUS): a file that it had mapped became shorter, or shared memory is too small",
        "look whether the disk or /dev/shm is full",
    ),
}


@dataclass(frozen=True)
class Trouble:
    """``cause`` in plain words, ``line``: what the log said, ``advice``: what to do; each may be empty."""

    cause: str
    line: str = ""
    advice: str = ""


def find_trouble(log: str, exit_code: int | None = None) -> Trouble | None:
    """What went wrong, from a log and the exit code of a process that ended by itself.

    ``exit_code`` is None for one that still runs: of its log only what is known to be fatal counts then.
    Returns None if nothing is to be said.
    """
    whole = _Log.read(log)
    latest = whole.since_served()
    if exit_code is None:
        return latest.match(STRONG)
    number = -exit_code if exit_code < 0 else exit_code - 128
    by_signal = _by_signal(number)
    for lines in (latest, whole):  # what it survived and served on after is rarely what it died of
        if found := lines.match(STRONG):
            return found
        if by_signal is not None and number in _FROM_OUTSIDE:
            is_told = number not in (signal.SIGKILL, signal.SIGTERM)  # by the log: it says what it was doing
            return Trouble(by_signal.cause, whole.last() if is_told else "", by_signal.advice)
        if found := lines.match(WEAK):
            return found
        if line := lines.exception() or lines.crash():
            return Trouble(by_signal.cause, line, by_signal.advice) if by_signal else Trouble("", line)
        if found := lines.match(CONSEQUENCES, at_any_level=True):
            return found
    if by_signal is not None:
        return Trouble(by_signal.cause, latest.complaint() or whole.last(), by_signal.advice)
    if line := latest.complaint() or (whole.complaint() if exit_code else ""):
        return Trouble("", line)
    if exit_code == 0:
        return Trouble(_NO_ERROR, whole.last(), _FOREGROUND)
    return Trouble("", line) if (line := whole.last()) else None


def last_words(log: str, count: int) -> list[str]:
    """The last lines of a log that are worth a look: not blank, not frames of a debugger, not overlong."""
    shown = [line for raw in log.split("\n")[-2000:] if (line := _cut(without_escapes(raw)))]
    return [line for line in shown if not _FRAME.match(line)][-count:] or shown[-count:]


def _by_signal(number: int) -> Trouble | None:
    try:
        name = signal.Signals(number)
    except ValueError:
        return None
    cause, advice = _SIGNALS.get(name, (f"it was ended by {name.name}", ""))
    return Trouble(cause, "", advice)


class _Log:
    """The lines of a log that say something."""

    def __init__(self, lines: Sequence[LogLine]) -> None:
        self._lines = lines

    @classmethod
    def read(cls, log: str) -> _Log:
        if len(log) > _MAX_TEXT:
            log = f"{log[: _MAX_TEXT // 2]}\n{log[-_MAX_TEXT // 2 :]}"
        lines = (LogLine.read(raw) for raw in log.split("\n") if raw.strip())
        return cls([line for line in lines if line.text.strip()])

    def since_served(self) -> _Log:
        """What came after the last request that was answered; all of it if none was."""
        served = [number for number, line in enumerate(self._lines) if _SERVED.search(line.text)]
        return _Log(self._lines[served[-1] + 1 :]) if served else self

    def match(self, signatures: Sequence[Signature], *, at_any_level: bool = False) -> Trouble | None:
        """The first line that one of the signatures fits."""
        for number, line in enumerate(self._lines):
            if _is_code(line.text) or not (at_any_level or line.level in ("", "error")):
                continue
            for signature in signatures:
                if match := signature.pattern.search(line.text):
                    named = {
                        name.rstrip("0123456789"): _shortened(value, 60)
                        for name, value in match.groupdict().items()
                        if value
                    }
                    return Trouble(signature.cause.format(**named), self._quote(number), signature.advice)
        return None

    def exception(self) -> str:
        """The first exception that does not only pass on another's, as its line; empty if there is none."""
        for chain in self._chains():
            told = [number for number in chain if not _PASSED_ON.search(self._lines[number].text)]
            if told:
                return self._quote(told[0])
        return ""

    def crash(self) -> str:
        """What the C library or the interpreter said when the process crashed."""
        return next((_shortened(line.text) for line in self._lines if _CRASHED.search(line.text)), "")

    def complaint(self) -> str:
        """The first line that calls itself an error, or else the last that reads like one; empty if none."""
        told = [
            line
            for line in self._lines
            if not (_is_code(line.text) or _PASSED_ON.search(line.text) or line.text.endswith(_TRACEBACK))
        ]
        by_level = (line for line in told if line.level == "error")
        by_words = (line for line in reversed(told) if line.level == "" and _COMPLAINS.search(line.text))
        return next((_shortened(line.text) for line in itertools.chain(by_level, by_words)), "")

    def last(self) -> str:
        """The last line, whatever it says, but for the frames of a debugger."""
        told = (line.text for line in reversed(self._lines) if not _FRAME.match(line.text))
        return _shortened(next(told, ""))

    def _chains(self) -> list[list[int]]:
        """The tracebacks' last lines; those of exceptions that caused each other together, the telling one
        first: of causes the first, of what happened meanwhile the last."""
        chains: list[list[int]] = []
        is_inside: set[str] = set()
        ignored: set[str] = set()
        joined: dict[str, str] = {}
        for number, line in enumerate(self._lines):
            if line.text.startswith("Exception ignored"):
                ignored.add(line.who)
            elif line.text.rstrip().endswith(_TRACEBACK):
                is_inside.add(line.who)
            elif line.text.startswith((_CAUSED, _MEANWHILE)):
                joined[line.who] = line.text
            elif line.who in is_inside and _EXCEPTION.match(line.text):
                is_inside.discard(line.who)
                how = joined.pop(line.who, "")
                if line.who in ignored:
                    ignored.discard(line.who)
                elif line.level not in ("", "error"):
                    continue
                elif how and chains:
                    chains[-1].insert(0 if how.startswith(_MEANWHILE) else len(chains[-1]), number)
                else:
                    chains.append([number])
        return chains

    def _quote(self, number: int) -> str:
        """A line as it is quoted; of pydantic's it is the next that says what is wrong."""
        text = self._lines[number].text.rstrip()
        if re.search(r"validation errors? for \w+$", text) and number + 1 < len(self._lines):
            text = f"{text}: {self._lines[number + 1].text.strip()}"
        return _shortened(text.partition(" [type=")[0])


def _is_code(text: str) -> bool:
    """Whether it is a traceback's quotation of the source."""
    return text.startswith(('  File "', "    ")) or set(text.strip()) <= set("^~")


def _shortened(text: str, limit: int = MAX_QUOTE) -> str:
    return _cut(printable(text), limit)


def _cut(text: str, limit: int = MAX_QUOTE) -> str:
    """``text`` up to a limit, its blanks as they are."""
    text = "".join(c if c.isprintable() else " " for c in text).rstrip()
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
