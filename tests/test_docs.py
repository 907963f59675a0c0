"""The documentation names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_llmperf.declare.metrics import METRICS, metric_names
from pytest_llmperf.declare.options import OPTIONS, Option

ROOT = Path(__file__).parent.parent
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
MEASURING = (ROOT / "docs/measuring.md").read_text()


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_documented_with_its_default(option: Option) -> None:
    (row,) = [line for line in CONFIGURATION.splitlines() if line.startswith(f"| `{option.flag}")]
    if option.default is not None:
        assert f"`{option.default}`" in row or row.endswith(f" {option.default} |")


def test_every_metric_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(metric_names())
    per = dict(zip(metric_names(), (metric.per for metric in METRICS.values()), strict=True))
    assert {name: {"gap": "token"}.get(kind, kind) for name, kind in rows} == per


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_shows_the_two_commands() -> None:
    assert {"make demo", "make test"} <= set(re.findall(r"make \w+", (ROOT / "README.md").read_text()))


def test_the_limits_of_a_valid_run_are_those_of_the_code() -> None:
    from pytest_llmperf.load import health

    assert f"{health.MAX_LAG_MS:g} ms, or {health.MAX_LAG_SHARE * 100:g} % of the median TTFT" in MEASURING
    drift = f"{health.MAX_CLOCK_DRIFT_MS:g} ms + {health.MAX_CLOCK_DRIFT_PPM} ppm"
    assert f"by more than {drift}" in MEASURING
    assert f"more than {health.MAX_CACHED_SHARE * 100:g} %" in MEASURING
