"""What stands under a table: the speed of light, and the price that a cost was reckoned with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.declare.metrics import dollars, parse_metric
from pytest_llmperf.judge.objective import mean_value
from pytest_llmperf.report.table import columns_of, load_label

_FLOORS = (("TTFT", "ttft_ms", "ttft_p50_ms"), ("TPOT", "tpot_ms", "tpot_p50_ms"))


def light_lines(entry: Mapping[str, Any]) -> list[str]:
    """One line, for the load point with the fewest requests per second, where the model and the hardware are
    known: what is farther from the floors at another is waiting and sharing."""
    points = [point for point in entry["points"] if any("light" in run for run in point["runs"])]
    if not points:
        return []
    lightest = min(points, key=lambda point: _mean(point, "requests_per_s"))
    light = next(run["light"] for run in lightest["runs"] if "light" in run)
    told = [
        f"{title} {parse_metric(metric).format(light[name])} ({_reached(light[name] / measured)})"
        for title, name, metric in _FLOORS
        if name in light and (measured := _mean(lightest, metric))
    ]
    where = load_label(lightest, entry["points"])
    return [f"speed of light at {where}: {', '.join(told)}"] if told else []


def price_lines(entry: Mapping[str, Any]) -> list[str]:
    """One line for each price, if the table has the cost."""
    points = [point for point in entry["points"] if point["runs"]]
    if all(parse_metric(name).metric_name != "cost" for _, name in columns_of(points)):
        return []
    prices = [run["price"] for point in points for run in point["runs"] if "price" in run]
    return list(
        dict.fromkeys(
            f"cost per million output tokens, at ${dollars(price['usd_per_hour'])}/h ({price['source']}, "
            f"{price['date']})"
            for price in prices
        )
    )


def _reached(share: float) -> str:
    if share <= 1:
        return f"{share:.0%} of it reached"
    return f"{share:.0%} of it, which cannot be: the model or the GPU is not what it seems"


def _mean(point: Mapping[str, Any], name: str) -> float:
    """Over its runs; 0 without a value."""
    values = [run["values"][name] for run in point["runs"] if name in run["values"]]
    return mean_value(parse_metric(name), values) if values else 0.0
