"""What two subjects of one engine and version differ in: flags, and environment variables."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pytest_llmperf.declare.subject import REDACTED, Subject, is_secret, redact_args, without_credentials

_NUMBER = re.compile(r"-\.?[0-9]")
_Unit = tuple[str, ...]
_Key = tuple[str, str]


@dataclass(frozen=True)
class Difference:
    """One flag under its name, with all that is given to it, or one variable.

    ``good`` and ``bad`` are its words in either subject, empty where it is missing; for a variable, its value
    in a tuple. ``place`` tells variables, the flags ahead of a ``--`` and those after it apart.
    """

    place: str
    name: str
    good: tuple[str, ...]
    bad: tuple[str, ...]

    @property
    def is_variable(self) -> bool:
        return self.place == _VARIABLE

    def __str__(self) -> str:
        """In words, with secrets redacted: ``--x 64 (was --x 256)``, ``without --no-async``."""
        good, bad = self._shown(self.good), self._shown(self.bad)
        if not self.bad:
            return f"without {good}"
        if not self.good:
            return bad
        return f"{bad} (was {good})"

    def _shown(self, words: tuple[str, ...]) -> str:
        if self.is_variable:
            shown = [REDACTED if is_secret(self.name) else without_credentials(value) for value in words]
            return "".join(f"{self.name}={value}" for value in shown)
        return " ".join(redact_args(words))


_VARIABLE, _FLAG, _AFTER = "variable", "flag", "after --"


def differences(good: Subject, bad: Subject) -> list[Difference]:
    """Variables first, then flags, each as they come in ``bad``; what only ``good`` has comes last."""
    found = []
    variables = dict(good.env), dict(bad.env)
    for name in dict.fromkeys((*variables[1], *variables[0])):
        values = [(one[name],) if name in one else () for one in variables]
        if values[0] != values[1]:
            found.append(Difference(_VARIABLE, name, values[0], values[1]))
    ours, theirs = _flags(good.args), _flags(bad.args)
    for key in dict.fromkeys((*theirs, *ours)):
        before, after = ours.get(key, []), theirs.get(key, [])
        if [_meaning(unit) for unit in before] != [_meaning(unit) for unit in after]:
            found.append(
                Difference(*key, *(tuple(w for unit in one for w in unit) for one in (before, after)))
            )
    return found


def with_taken_over(good: Subject, bad: Subject, taken: Collection[Difference]) -> Subject:
    """``good`` with these of its differences as ``bad`` has them; with all of them it is ``bad``.

    What both have keeps its place in ``good``; what only ``bad`` has follows, in its order there. A flag that
    is given several times comes at one place.
    """
    every = differences(good, bad)
    if not any(one in taken for one in every):
        return good
    if all(one in taken for one in every):
        return bad
    by_key = {(one.place, one.name): one for one in every if one in taken}
    return dataclasses.replace(good, env=_env(good, by_key), args=_args(good, bad, by_key))


def _env(good: Subject, taken: dict[_Key, Difference]) -> tuple[tuple[str, str], ...]:
    env = dict(good.env)
    for (place, name), one in taken.items():
        if place == _VARIABLE:
            env.pop(name, None)
            env |= [(name, value) for value in one.bad]
    return tuple(env.items())


def _args(good: Subject, bad: Subject, taken: dict[_Key, Difference]) -> tuple[str, ...]:
    ours, theirs = _flags(good.args), _flags(bad.args)
    words: dict[str, list[str]] = {_FLAG: [], _AFTER: []}
    for key in dict.fromkeys((*ours, *theirs)):
        if key in taken:
            words[key[0]] += taken[key].bad
        else:
            words[key[0]] += [word for unit in ours.get(key, []) for word in unit]
    has_command = "--" in good.args or "--" in bad.args
    return tuple(words[_FLAG] + (["--"] if has_command else []) + words[_AFTER])


def _flags(args: Sequence[str]) -> dict[_Key, list[_Unit]]:
    """The words of every flag, by its name: once for each time that it is given.

    Words ahead of the first flag, as a command is, have no
    name.
    """
    found: dict[_Key, list[_Unit]] = {}
    split = args.index("--") if "--" in args else len(args)
    for place, words in ((_FLAG, args[:split]), (_AFTER, args[split + 1 :])):
        for unit in _units(words):
            found.setdefault((place, _name(unit[0])), []).append(unit)
    return found


def _units(words: Sequence[str]) -> Iterator[_Unit]:
    unit: list[str] = []
    for word in words:
        if _is_flag(word) and unit:
            yield tuple(unit)
            unit = []
        unit.append(word)
    if unit:
        yield tuple(unit)


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not _NUMBER.match(word)


def _name(word: str) -> str:
    """A flag's own, with dashes for underscores: ``--no-x`` is ``--x``, ``--disable-x`` is ``--enable-x``."""
    if not _is_flag(word):
        return ""
    name = word.partition("=")[0].replace("_", "-")
    if name.startswith("--no-"):
        name = f"--{name.removeprefix('--no-')}"
    return re.sub("^--disable-", "--enable-", name)


def _meaning(unit: _Unit) -> _Unit:
    """``--x=1`` is ``--x 1``, and underscores are dashes."""
    if not _is_flag(unit[0]):
        return unit
    name, equals, value = unit[0].partition("=")
    return (name.replace("_", "-"), *([value] if equals else []), *unit[1:])
