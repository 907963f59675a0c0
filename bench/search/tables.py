"""The figures as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bench.clients.tables import as_markdown
from bench.judge.tables import percent

Figure = dict[str, float | str]
Figures = dict[str, list[Figure]]
NEAR = 0.03
SWEEP_NAMES = ("kept", "p50_drawn", "p95_drawn", "p50_measured", "p95_measured")


def chosen(figures: Iterable[Figure], **wanted: float | str) -> list[Figure]:
    """Those with these values."""
    return [one for one in figures if all(one[key] == value for key, value in wanted.items())]


def column(figures: Sequence[Figure], name: str) -> np.ndarray:
    """One value of each."""
    return np.array([float(one[name]) for one in figures])


def values_of(figures: Iterable[Figure], name: str) -> list[float | str]:
    """The different values, in the order in which they come first."""
    return list(dict.fromkeys(one[name] for one in figures))


def error95(figures: Sequence[Figure]) -> float:
    """What 95 % of the searches are not off by more than, in log rate."""
    return float(np.quantile(np.abs(column(figures, "off")), 0.95))


def found_table(figures: Sequence[Figure]) -> str:
    """Our search, engine by engine."""
    rows = []
    for engine in values_of(figures, "engine"):
        own = chosen(figures, engine=engine)
        off = column(own, "off")
        rows.append(
            [
                str(engine),
                percent(int((np.abs(off) <= NEAR).sum()), len(own)),
                _in_percent(error95(own)),
                f"{100 * off.mean():+.1f} %",
                percent(int(column(own, "covers").sum()), len(own)),
                f"± {_in_percent(column(own, 'half_width').mean())}",
                f"{100 * column(own, 'settled').mean():.0f} %",
                f"{100 * len(chosen(own, kind='found')) / len(own):.3g} %",
                f"{column(own, 'runs').mean():.1f}",
                f"{column(own, 'took_s').mean():.0f} s",
            ]
        )
    header = ["engine", "within 3 %", "95 % are within", "mean", "true within the interval", "interval"]
    return as_markdown([*header, "settled", "kind is right", "runs", "time"], rows)


def peers_table(figures: Figures) -> str:
    """What 95 % of the searches of each kind are within, and the time they take."""
    rows = []
    for engine in values_of(figures["ours"], "engine"):
        own = chosen(figures["ours"], engine=engine)
        bisected = chosen(figures["bisection"], engine=engine)
        row = [str(engine), _cell(own), _cell(bisected)]
        swept = chosen(figures["linear"], engine=engine)
        for duration_s in values_of(swept, "duration_s"):
            row.append(_cell(_better(swept, duration_s)))
        rows.append([*row, as_good(own, swept)])
    durations = [f"linear, {float(one):.0f} s a point" for one in values_of(figures["linear"], "duration_s")]
    return as_markdown(["engine", "pytest-llmperf", "bisection", *durations, "linear needs"], rows)


def as_good(own: Sequence[Figure], swept: Sequence[Figure]) -> str:
    """How many times our time the linear sweep takes until it is off by no more than ours."""
    took = 0.0
    for duration_s in values_of(swept, "duration_s"):
        best = _better(swept, duration_s)
        before, took = took, float(column(best, "took_s").mean() / column(own, "took_s").mean())
        if error95(best) <= error95(own):
            return f"{before:.1f} to {took:.1f} × our time"
    return f"more than {took:.1f} × our time"


def _better(swept: Sequence[Figure], duration_s: float | str) -> list[Figure]:
    """Of the ways to interpolate, the one that turned out better."""
    at = chosen(swept, duration_s=duration_s)
    return min((chosen(at, way=way) for way in values_of(at, "way")), key=error95)


def _cell(figures: Sequence[Figure]) -> str:
    return f"{_in_percent(error95(figures))} in {column(figures, 'took_s').mean():.0f} s"


def kinds_table(figures: Figures) -> str:
    """Where there is no capacity to be found between the bounds."""
    rows = []
    for wanted in values_of(figures["kinds"], "wanted"):
        own = chosen(figures["kinds"], wanted=wanted)
        right = percent(int(column(own, "right").sum()), len(own))
        took = [f"{column(own, 'runs').mean():.1f}", f"{column(own, 'took_s').mean():.0f} s"]
        rows.append([str(wanted), right, *took])
    return as_markdown(("all engines together", "kind is right", "runs", "time"), rows)


def _in_percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def sweeps_table(figures: Figures) -> str:
    """How far the interpolated curve is from the true one."""
    rows = []
    for engine in values_of(figures["sweeps"], "engine"):
        row = [str(engine)]
        for way in ("adaptive", "linear"):
            own = chosen(figures["sweeps"], engine=engine, way=way)
            row += [f"{np.median(column(own, name)):.2g}" for name in SWEEP_NAMES]
        rows.append(row)
    names = (
        "points kept",
        *(f"{which}, {what}" for what in ("drawn", "measured") for which in ("p50", "p95")),
    )
    return as_markdown(
        ["engine", *(f"{way}: {name}" for way in ("adaptive", "even") for name in names)], rows
    )


def loads_table(figures: Figures) -> str:
    """How often a run is given up, when, and how often it is called saturated when it is over."""
    loads = values_of(figures["loads"], "load")
    rows = []
    for engine in values_of(figures["loads"], "engine"):
        for says, cell in (("given up", _given_up), ("saturated, when it was over", _after)):
            row = [f"{engine}: {says}"]
            row += [cell(chosen(figures["loads"], engine=engine, load=load)) for load in loads]
            rows.append(row)
    return as_markdown(["share of the rate that saturates", *(f"{float(load):g}" for load in loads)], rows)


def _given_up(figures: Sequence[Figure]) -> str:
    stops = column(chosen(figures, stopped=True), "stop_s")
    share = f"{100 * stops.size / len(figures):.3g} %"
    return f"{share} after {np.median(stops):.0f} s" if stops.size > len(figures) / 2 else share


def _after(figures: Sequence[Figure]) -> str:
    return f"{100 * column(figures, 'after').mean():.3g} %"


def report(figures: Figures, heading: str) -> str:
    """All tables as one document."""
    parts = (
        ("Capacity, as shipped: runs of 30 s, 300 s in all", found_table(figures["shipped"])),
        ("Capacity, runs of 180 s", found_table(figures["ours"])),
        ("A limit that is never met, and one that always is", kinds_table(figures)),
        ("Beside others: 95 % of the searches are within", peers_table(figures)),
        ("The curve: log latency at worst off by", sweeps_table(figures)),
        ("Runs of 30 s", loads_table(figures)),
    )
    return "\n\n".join([heading, *(f"### {title}\n\n{table}" for title, table in parts)]) + "\n"
