"""The places for charts on a page, and the JSON that they are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.report.markup import Markup, tag
from pytest_llmperf.report.page_charts import Chart
from pytest_llmperf.report.page_series import Inside

_INSIDE = (
    ("ttft_ms", "TTFT, ms: share of requests that had it sooner"),
    ("tpot_ms", "TPOT, ms: share of requests below"),
    ("itl_ms", "ITL, ms: share of gaps below"),
)
_WATERFALLS = (("candidate", "Requests of one run, one line each"), ("base", "The same of the other side"))


@dataclass
class Figures:
    """What the page's script draws: ``content`` has the figures of each chart by its key."""

    content: dict[str, Any] = field(default_factory=dict)

    def add(self, chart: Chart) -> Markup:
        """A place for this chart."""
        key = f"c{len(self.content)}"
        self.content[key] = chart.figures
        return _figure(key, chart.title, chart.words)

    def row(self, charts: list[Chart], names: dict[str, str]) -> list[Markup]:
        """Places side by side, as many as there is room for, under the names of the sides."""
        if not charts:
            return []
        return [_legend(names), tag("div", [self.add(chart) for chart in charts], class_="charts")]

    def inside(self, told: list[Inside], names: dict[str, str]) -> Markup | None:
        """The places for one load point's distributions, requests and counters, and a choice of loads."""
        if not told:
            return None
        key = f"c{len(self.content)}"
        self.content[key] = {"kind": "inside", "names": names, "points": told}
        shown = {kind for one in told for kind in one}
        small = [
            _figure(f"{key} quantiles {metric}", title, f"Distribution: {title}")
            for metric, title in _INSIDE
            if any(metric in side for one in told for side in one.get("quantiles", {}).values())
        ]
        large = [
            _figure(f"{key} waterfall {side}", title, title)
            for side, title in _WATERFALLS
            if any(side in one.get("waterfall", {}) for one in told)
        ]
        if "engine" in shown:
            title = "The engine over time: requests that it runs and that wait"
            large.append(_figure(f"{key} engine requests", title, title))
            if any(_has_cache(side) for one in told for side in one.get("engine", {}).values()):
                title = "The engine over time: share of its KV cache in use"
                large.append(_figure(f"{key} engine cache", title, title))
        if not (small or large):
            return None
        options = [tag("option", one["load"], value=str(i)) for i, one in enumerate(told)]
        choice = tag("label", "Load ", tag("select", options, data_inside=key))
        return tag(
            "div",
            tag("p", choice, class_="choice"),
            _legend(names),
            tag("div", small, class_="charts"),
            tag("div", large, class_="charts large"),
            class_="inside",
        )


def _legend(names: dict[str, str]) -> Markup:
    return tag(
        "p", [tag("span", name, class_=f"key of-{side}") for side, name in names.items()], class_="legend"
    )


def _has_cache(table: dict[str, Any]) -> bool:
    at = table["columns"].index("cache_use") if "cache_use" in table["columns"] else None
    return at is not None and any(row[at] is not None for row in table["rows"])


def _figure(key: str, title: str, words: str) -> Markup:
    return tag(
        "figure",
        tag("figcaption", title),
        tag("div", class_="plot", role="img", aria_label=words),
        data_chart=key,
    )
