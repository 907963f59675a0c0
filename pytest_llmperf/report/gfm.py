"""GitHub's Markdown: text of others in it as what it is, whatever it looks like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pytest_llmperf.report.printable import printable

_APART = "&#8203;"
"""A space of no width: what it parts is no mention, reference, address or emoji any more."""
_MEANT = re.compile(r"[\\`*_{}\[\]<>#@&|~$!]|[:](?=\S)|(?<=[Ww]{3})\.|(?<=GH)-")
_SIGN = re.compile(r"[!-/:-@\[-`{-~]")
_MOST = 200


def plain(text: str, most: int = _MOST) -> str:
    """``text`` as a part of a sentence, not the first; in a table, too."""
    return _MEANT.sub(lambda found: _entity(found[0]) + _apart(found), _on_one_line(text, most))


def code(text: str, most: int = _MOST) -> str:
    """``text`` as code, in which GitHub links nothing; in a table, too."""
    shown = _on_one_line(text, most)
    if not re.search(r"[`|\\]", shown):
        return f"`{shown}`" if shown else ""
    # More backticks would do, but for a table, which is cut into cells before code is looked for.
    return f"<code>{_SIGN.sub(lambda found: _entity(found[0]) + _apart(found, '@:'), shown)}</code>"


def block(lines: Iterable[str], kind: str = "", most: int = 40, widest: int = _MOST) -> list[str]:
    """Lines as a block of code, cut after ``most`` lines, of ``widest`` characters each; spaces stay."""
    shown = [printable(line.expandtabs(4).rstrip(), widest) for line in lines]
    if (left := len(shown) - most) > 1:
        shown[most:] = [f"… and {left} more lines"]
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{kind}", *shown, fence]


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Cells are Markdown already; a title that ends with a colon has its column to the right."""
    shown = [title.removesuffix(":") for title in titles]
    rule = ["--:" if title.endswith(":") else "---" for title in titles]
    return [f"| {' | '.join(cells)} |" for cells in (shown, rule, *rows)]


def folded(summary: str, lines: Iterable[str]) -> list[str]:
    """What is shown on a click; ``summary`` is Markdown without code."""
    inside = "\n".join(lines).strip("\n").split("\n")
    return [f"<details><summary>{summary}</summary>", "", *inside, "", "</details>", ""]


def _on_one_line(text: str, most: int) -> str:
    return " ".join(printable(text, most).split())


def _entity(sign: str) -> str:
    return f"&#{ord(sign)};"


def _apart(found: re.Match[str], signs: str = "@#:.-") -> str:
    return _APART if found[0] in signs and found.string[found.end() : found.end() + 1].strip() else ""
