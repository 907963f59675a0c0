"""What differs between two subjects, as a person reads a diff."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

NOTHING = "What differs: nothing that is known of; version, flags, variables and settings are equal"
_NONE = "(none)"
_MOST_NEW = 6
_WIDTH = 96
_GROUPS = {"flag": "flags", "variable": "variables", "setting": "settings"}


def what_differs(differences: Sequence[str]) -> list[str]:
    """Lines from the differences as they are kept, ``field: this → that``; the first is a heading.

    What each side was started with stands as it would be typed, taken away (``-``) and added (``+``). Another
    version knows other settings: a long list of those that one side alone tells is folded.
    """
    if not differences:
        return [NOTHING]
    fields = [_read(difference) for difference in differences]
    lines = [("", f"{name}: {old} → {new}") for name, old, new in fields if not _group(name)]
    for kind, title in _GROUPS.items():
        of_kind = [(name.partition(" ")[2], old, new) for name, old, new in fields if _group(name) == kind]
        shown = _settings(of_kind) if kind == "setting" else _typed(kind, of_kind)
        lines += [(title, line) for line in shown]
    return ["What differs:", *_in_columns(lines)]


def _read(difference: str) -> tuple[str, str, str]:
    name, _, values = difference.partition(": ")
    old, _, new = values.partition(" → ")
    return name, old, new


def _group(name: str) -> str:
    kind = name.partition(" ")[0]
    return kind if kind in _GROUPS else ""


def _typed(kind: str, fields: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    for name, old, new in fields:
        for sign, value in (("-", old), ("+", new)):
            if value != _NONE:
                yield f"{sign} {_as_typed(kind, name, value)}"


def _as_typed(kind: str, name: str, value: str) -> str:
    if kind == "variable":
        return f"{name}={value}"
    return name if value == "on" else value if name == "(argument)" else f"{name} {value}"


def _settings(fields: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    new = [name for name, *values in fields if _NONE in values]
    is_long = len(new) > _MOST_NEW
    for name, old, value in fields:
        if not (is_long and name in new):
            yield from _changed(name, old, value)
    if is_long:
        yield (f"{len(new)} that only one of them tells, all in the record: {', '.join(new[:_MOST_NEW])}, …")


def _changed(name: str, old: str, new: str) -> list[str]:
    line = f"{name}: {old} → {new}"
    return [line] if len(line) <= _WIDTH else [f"{name}:", f"- {old}", f"+ {new}"]


def _in_columns(lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What is in a group has the group's name in front of its first line."""
    width = max(len(title) for title, _ in lines)
    before = ""
    for title, line in lines:
        shown = title if title != before else ""
        yield f"  {line}" if not title else f"  {shown.ljust(width)}  {line}"
        before = title
