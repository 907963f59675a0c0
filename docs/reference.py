"""The parts of the reference that are made from the code.

Tables between ``<!-- from the code: NAME -->`` and ``<!-- end -->`` are committed, so that they can be read
where the site is not: ``python -m docs.reference`` writes them, and a test compares them. What stands for
``<!-- on the site: NAME -->`` is only on the site (``docs/conf.py``).
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest_llmperf
from pytest_llmperf import hookspecs
from pytest_llmperf.cli import parser
from pytest_llmperf.declare.metrics import METRICS, metric_names
from pytest_llmperf.declare.options import MARKERS, OPTIONS, Option

PAGES = Path(__file__).parent
_TABLE = re.compile(r"(<!-- from the code: (\w+) -->\n).*?(\n<!-- end -->)", re.DOTALL)
_SITE = re.compile(r"<!-- on the site: (\w+) -->")

MORE = {
    "model": "[models](engines.md#models)",
    "place": "[Modal](modal.md)",
    "engine": "[subjects](#subjects)",
    "rates": "[sweeps](sweeps.md)",
    "replay": "[workloads](workloads.md)",
    "arrivals": "[workloads](workloads.md)",
    "sweep-budget": "[sweeps](sweeps.md)",
    "percentile": "[metrics](metrics.md)",
    "launches": "[launches that are left out](judging.md#runs-that-say-nothing)",
    "against": "[side by side](judging.md#side-by-side-or-against-a-baseline)",
    "baseline": "[which baselines](baselines.md#which-baselines)",
    "tolerance": "[tolerances](judging.md#verdicts)",
    "inconclusive": "[verdicts](judging.md#verdicts)",
    "exit-codes": "[exit codes](#exit-codes)",
    "gpus": "[machines](machine.md)",
    "lease-timeout": "[leases](machine.md)",
    "lease-dir": "[leases](machine.md)",
    "prices": "[prices](light.md#prices)",
    "cache-limit": "[room](versions.md#room)",
    "update": "[baselines](baselines.md)",
    "html": "[the report](report.md)",
    "benchmark-json": "[pytest-benchmark](pytest-benchmark.md)",
    "cost": "[cost](light.md#cost)",
    "startup": "[start-up](#start-up)",
    "cold_startup": "[start-up](#start-up)",
    "capacity": "[capacities](sweeps.md)",
}
"""Where more is said of an option or a metric."""


def updated(page: str) -> str:
    """The page with its tables made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", page)


def expanded(page: str) -> str:
    """The page with what only the site has."""
    return _SITE.sub(lambda found: SITE[found[1]](), page)


# --- tables that are committed ------------------------------------------------------------------------


def _options() -> str:
    rows = [("`--llmperf`", "run performance tests; without it they are skipped", "off")]
    rows += [(_spelling(option), _what(option), _default(option)) for option in OPTIONS]
    return _table(("option, variable, setting", "what it says", "default"), rows)


def _spelling(option: Option) -> str:
    if option.metavar is None:
        return f"`{option.flag}`"
    metavar = option.metavar.replace("|", r"\|")
    return f"`{option.flag} {metavar}`<br>`{option.variable}`<br>`{option.ini}`"


def _what(option: Option) -> str:
    return marked(re.sub(r" \(default: .*?\)$", "", option.help)) + _more(option.name)


def _more(name: str) -> str:
    return f" ({MORE[name]})" if name in MORE else ""


def _default(option: Option) -> str:
    if option.default is not None:
        return f"`{option.default}`"
    told = re.search(r" \(default: (.*?)\)$", option.help)
    return marked(told[1]) if told else "off" if option.metavar is None else ""


def _metrics() -> str:
    rows = [
        (
            f"`{name}`",
            "gap" if metric.per == "token" else metric.per,
            metric.better,
            metric.formula + _more(metric.name),
        )
        for name, metric in zip(metric_names(), METRICS.values(), strict=True)
    ]
    return _table(("name", "one value for each", "better", "formula"), rows)


def _markers() -> str:
    code = re.compile(r"\w+\([^()]*\)|--[a-z-]+|\b\w+=(?:'[^']*')?")
    rows = [(f"`{name}`", code.sub(r"`\g<0>`", line)) for name, line in MARKERS.items()]
    return _table(("marker", "what it says"), rows)


def _names() -> str:
    rows = [(f"`{name}`", _first_sentence(getattr(pytest_llmperf, name))) for name in _public()]
    return _table(("name", "what it is"), rows)


def _hooks() -> str:
    return _table(
        ("hook", "what it is"), [(f"`{f.__name__}`", _first_sentence(f)) for f in _hook_functions()]
    )


def _commands() -> str:
    rows = [(f"`llmperf {name}`", marked(told)) for name, told, _ in _subcommands()]
    return _table(("command", "what it does"), rows)


# --- what only the site has ---------------------------------------------------------------------------


def _autodoc() -> str:
    said = []
    for name in _public():
        one = getattr(pytest_llmperf, name)
        kind = "exception" if _is_error(one) else "class" if inspect.isclass(one) else "function"
        made = "()" if name in _FROM_THE_FIXTURE else ""  # by the fixture: nobody calls it
        said.append(f".. auto{kind}:: pytest_llmperf.{name}{made}")
        said += ["   :members:"] if kind == "class" else []
        said += ["   :undoc-members:"] if name == "Measurement" else []
        said += ["   :special-members: __call__", ""] if name == "Llmperf" else [""]
    return _rst("\n".join(said))


def _autodoc_hooks() -> str:
    return _rst("\n\n".join(f".. autofunction:: {f.__module__}.{f.__name__}" for f in _hook_functions()))


def _autodoc_protocol() -> str:
    return _rst(
        ".. automodule:: pytest_llmperf.engines.protocol\n   :members:\n   :member-order: bysource\n"
        "   :undoc-members:"
    )


def _command_lines() -> str:
    return "\n\n".join(_command_line(name, command) for name, _, command in _subcommands())


def _command_line(name: str, command: argparse.ArgumentParser) -> str:
    usage = " ".join(command.format_usage().removeprefix("usage: ").split())
    usage = textwrap.fill(
        usage, 100, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False
    )
    parts = [f"## llmperf {name}", marked(command.description or ""), f"```text\n{usage}\n```"]
    rows = [(_written(action), marked(_help(command, action))) for action in _actions(command)]
    if rows:
        parts.append(_table(("argument", "what it says"), rows))
    if command.epilog:
        parts.append(f"```text\n{command.epilog.strip()}\n```")
    return "\n\n".join(parts)


def _written(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else action.dest
    if action.choices is not None and action.metavar is None:
        value = "|".join(map(str, action.choices))
    words = [", ".join(action.option_strings), "" if action.nargs == 0 else value]
    return f"`{' '.join(filter(None, words))}`".replace("|", r"\|")


def _help(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": command.prog}


_FROM_THE_FIXTURE = ("Llmperf", "Measurement", "Measurements")
SITE: dict[str, Callable[[], str]] = {
    "names": _autodoc,
    "hooks": _autodoc_hooks,
    "protocol": _autodoc_protocol,
    "commands": _command_lines,
}
TABLES: dict[str, Callable[[], str]] = {
    "options": _options,
    "metrics": _metrics,
    "markers": _markers,
    "names": _names,
    "hooks": _hooks,
    "commands": _commands,
}


# --- what there is ------------------------------------------------------------------------------------


def _public() -> list[str]:
    """The public names, errors last."""
    return sorted(pytest_llmperf.__all__, key=lambda name: _is_error(getattr(pytest_llmperf, name)))


def _is_error(one: object) -> bool:
    return inspect.isclass(one) and issubclass(one, Exception)


def _hook_functions() -> list[Callable[..., Any]]:
    return [f for name, f in vars(hookspecs).items() if name.startswith("pytest_llmperf_")]


def _subcommands() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Name, help and parser of each part of the command, in its order."""
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, command in action.choices.items():
                yield name, told.get(name, ""), command


def _actions(command: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = (argparse._HelpAction, argparse._SubParsersAction)
    return [a for a in command._actions if not isinstance(a, hidden) and a.help != argparse.SUPPRESS]


# --- how it is written --------------------------------------------------------------------------------


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in lines)


def _first_sentence(documented: Any) -> str:
    text = " ".join((inspect.getdoc(documented) or "").split())
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    end = re.search(r"(?<=[a-z`)\"])[.:](?= [A-Z`]|$)|(?=::)", text)
    return (text[: end.start()] if end else text).strip().rstrip(".").replace("|", r"\|")


def marked(text: str) -> str:
    """Plain help as Markdown: what is quoted, or spelled as only code is, is code."""
    text = re.sub(r"'([^']*)'", r"`\1`", text)
    parts = re.split(r"(`[^`]*`)", text)
    code = r"(?<![\w`/.-])(--[a-z][\w-]*|[A-Z]+_[A-Z_]+|[A-Z]+\.\.[A-Z]+|\w+:[A-Z]{2,})(?![\w`])"
    parts[::2] = [re.sub(code, r"`\1`", part) for part in parts[::2]]
    return "".join(parts).replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*")


def _rst(text: str) -> str:
    return f"```{{eval-rst}}\n{text}\n```"


def main() -> int:
    """Write all tables."""
    for path in sorted(PAGES.glob("*.md")):
        page = path.read_text()
        if (made := updated(page)) != page:
            path.write_text(made)
            print(path.relative_to(PAGES.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
