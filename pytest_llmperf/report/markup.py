"""HTML from Python: elements, with all text escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

from pytest_llmperf.report.printable import printable

_MOST = 4000
"""Characters of one text: names that somebody made up may be of any length, and a page may not."""
_VOID = frozenset({"meta", "link", "input", "br", "wbr"})
_ENDS_BY_ITSELF = frozenset({"td", "th", "tr"})
"""What needs no end where another follows, of which a page has tens of thousands."""
_NOT_IN_SCRIPTS = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Markup(str):
    """Text that is HTML already; any other is escaped."""

    __slots__ = ()


Child = str | None | Iterable["Child"]


def tag(name: str, /, *children: Child, **attributes: str | bool | None) -> Markup:
    """``<name …>children</name>``. ``class_`` is ``class``, ``aria_label`` is ``aria-label``; an attribute
    that is None or False is left out."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    start = f"<{name}{written}>"
    end = "" if name in _VOID or name in _ENDS_BY_ITSELF else f"</{name}>"
    return Markup(start if name in _VOID else f"{start}{join(children)}{end}")


def join(children: Iterable[Child]) -> Markup:
    """All of them, one after the other; None and nothing are left out."""
    return Markup("".join(_written(child) for child in children))


def _written(child: Child) -> str:
    if child is None or isinstance(child, Markup):
        return child or ""
    return escaped(child) if isinstance(child, str) else join(child)


def escaped(text: str) -> Markup:
    """Text as it is, without what would move a cursor, turn the line round or be invisible."""
    is_plain = len(text) <= _MOST and text.isprintable()  # nearly all are, and a page has many
    return Markup(html.escape(text if is_plain else printable(text, _MOST)))


def _attribute(key: str, value: str | bool | None) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escaped(value)}"'


def data(content: Any) -> Markup:
    """JSON that can stand in a ``<script>`` of its own, whatever texts are in it."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_NOT_IN_SCRIPTS))
