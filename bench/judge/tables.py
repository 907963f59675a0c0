"""The figures of all cells as tables, with what chance leaves open."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.clients.tables import as_markdown
from bench.judge.cells import FEW, OURS, Tally
from bench.judge.rules import RULES
from bench.judge.worlds import NORMAL, QUIET, WORLDS, Shape

Kind = tuple[str, float, str, int]
NONE = "–"


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z = 1.959964
    share, spread = hits / trials, z * z / trials
    half = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    middle, total = share + spread / 2, 1 + spread
    return max(0.0, (middle - half) / total), min(1.0, (middle + half) / total)


def percent(hits: int | None, trials: int) -> str:
    """A share with its interval: 0.2 % (0.1–0.5)."""
    if hits is None or not trials:
        return NONE
    low, high = (_short(100 * end) for end in wilson(hits, trials))
    return f"{_short(100 * hits / trials)} % ({low}–{high})"


def _short(value: float) -> str:
    text = f"{value:.0f}" if 9.95 <= value < 90 else f"{value:.1f}"
    return text if text not in ("0.0", "100.0") else text[:-2]


def alarms_table(tallies: Mapping[Kind, Tally], launches: int) -> str:
    """Sessions with a false alarm, by world and rule."""
    rows = [
        [world.name, *(_alarmed(tallies.get((world.name, 0.0, rule, launches))) for rule in _names())]
        for world in WORLDS
    ]
    return as_markdown(("nothing changed", *_names()), rows)


def found_table(tallies: Mapping[Kind, Tally], launches: int) -> str:
    """How often the changed metric is called worse, by world and rule."""
    rows = [
        [
            f"{world.name}, +{world.effect:.0%}",
            *(_found(tallies.get((world.name, world.effect, rule, launches))) for rule in _names()),
        ]
        for world in WORLDS
    ]
    return as_markdown(("one metric changed", *_names()), rows)


def few_table(tallies: Mapping[Kind, Tally]) -> str:
    """What the fixed designs make of three launches a side."""
    rows = []
    for rule in (one.name for one in RULES):
        row = [rule]
        for world in (NORMAL, QUIET):
            row.append(_alarmed(tallies.get((world.name, 0.0, rule, FEW))))
            row.append(_found(tallies.get((world.name, world.effect, rule, FEW))))
        rows.append(row)
    header = [f"{FEW} launches a side"]
    for world in (NORMAL, QUIET):
        header += [f"{world.name}: false alarms", f"{world.name}: +{world.effect:.0%} found"]
    return as_markdown(header, rows)


def launches_table(tallies: Mapping[Kind, Tally], launches: int) -> str:
    """What ours spent of the fixed design, and what it left open."""
    rows = []
    for world in WORLDS:
        row = [world.name]
        for effect in (0.0, world.effect):
            tally = tallies.get((world.name, effect, OURS, launches))
            row += _spent(tally) if tally else [NONE] * 3
        rows.append(row)
    still, moved = "nothing changed", "one metric changed"
    what = ("launches", "engine starts", "undecided")
    header = ["world", *(f"{when}: {one}" for when in (still, moved) for one in what)]
    return as_markdown(header, rows)


def _spent(tally: Tally) -> list[str]:
    return [
        f"{tally.tests_share:.0%}",
        f"{tally.starts_share:.0%}",
        f"{100 * tally.undecided / tally.judged:.2f} %",
    ]


def others_table(tallies: Mapping[Kind, Tally], launches: int) -> str:
    """Sessions of ours in which, beside the metric that changed, another one was called worse."""
    ours = [tallies.get((world.name, world.effect, OURS, launches)) for world in WORLDS]
    rows = [[tally.world, _alarmed(tally)] for tally in ours if tally]
    return as_markdown(("one metric changed", "another one called worse"), rows)


def report(found: Iterable[Tally], shape: Shape, heading: str) -> str:
    """All tables as one document."""
    tallies = {tally.kind: tally for tally in found}
    make: list[tuple[str, Callable[[], str]]] = [
        ("Sessions with a false alarm", lambda: alarms_table(tallies, shape.launches)),
        ("The change is found", lambda: found_table(tallies, shape.launches)),
        ("Launches", lambda: launches_table(tallies, shape.launches)),
        ("Another metric called worse", lambda: others_table(tallies, shape.launches)),
        ("With three launches a side", lambda: few_table(tallies)),
    ]
    worlds = as_markdown(("world", ""), [(world.name, world.says) for world in WORLDS])
    parts = [heading, f"### Worlds\n\n{worlds}", *(f"### {title}\n\n{table()}" for title, table in make)]
    return "\n\n".join(parts) + "\n"


def _names() -> Sequence[str]:
    return (OURS, *(rule.name for rule in RULES))


def _alarmed(tally: Tally | None) -> str:
    return percent(tally.alarmed, tally.sessions) if tally else NONE


def _found(tally: Tally | None) -> str:
    return percent(tally.found, tally.sessions) if tally else NONE
