from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_llmperf.declare.metrics import METRICS, STATISTICS, MetricKey
from pytest_llmperf.keep.files import write_json
from pytest_llmperf.keep.schema import as_text, schema
from pytest_llmperf.load.warmup import WarmUp
from tests.keep.test_result import result, run
from tests.keep.test_series import SERIES
from tests.schemas import checked

ROOT = Path(__file__).parents[2]
RECORDS = [
    path
    for path in sorted((ROOT / "bench/gpu/results").glob("*/*.json"))
    if '"llmperf_record"' in path.read_text(encoding="utf-8")[:200]
]


def parts(of: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within one, by where it is."""
    yield name, of
    for key, inner in {**of.get("properties", {}), **of.get("$defs", {})}.items():
        yield from parts(inner, f"{name}.{key}")
    for index, inner in enumerate(of.get("prefixItems", ())):
        yield from parts(inner, f"{name}[{index}]")
    for key in ("items", "additionalProperties"):
        if isinstance(of.get(key), dict) and of[key]:
            yield from parts(of[key], f"{name}.{key}")


WARM = WarmUp((12.5, 12.0), settled=True)
PARTS = dict(parts(schema()))


def test_the_file_is_what_the_code_says() -> None:
    written = (ROOT / "docs/record.schema.json").read_text(encoding="utf-8")
    assert written == as_text(), "python -m pytest_llmperf.keep.schema > docs/record.schema.json"
    jsonschema.Draft202012Validator.check_schema(json.loads(written))


def test_every_field_is_described_in_words() -> None:
    assert len(PARTS) > 200
    rows = [name for name in PARTS if name.endswith(".rows.items")]
    for name, part in PARTS.items():
        if name not in rows and part != {"$ref": "#/$defs/run"}:
            about = part.get("description", "")
            assert about.endswith("."), name
            assert len(about) > 3, name


def test_no_object_of_ours_may_have_what_is_not_described() -> None:
    for name, part in PARTS.items():
        if part.get("type") in ("object", ["object", "null"]) and name:
            others = part["additionalProperties"]
            assert others is False or not part.get("properties"), name


def test_every_metric_is_there_with_its_unit() -> None:
    described = schema()["$defs"]["metrics"]["properties"]
    keys = [
        MetricKey(metric.name, statistic)
        for metric in METRICS.values()
        for statistic in (STATISTICS if metric.is_distribution else (None,))
    ]
    assert list(described) == [key.name for key in keys]
    for key in keys:
        about = described[key.name]["description"]
        assert about.startswith(f"{key.label}, "), about
        unit = {"ms": "millisecond", "s": "second", "per_s": "per second", "usd_per_mtok": "dollars"}
        assert (unit[key.metric.unit] if key.metric.unit else "share") in about


# -- records -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_records_of_earlier_days_are_as_it_says(path: Path) -> None:
    checked(json.loads(path.read_text(encoding="utf-8")))


def test_there_are_such_records() -> None:
    assert len(RECORDS) > 5


@pytest.fixture
def record() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RECORDS[-1].read_text(encoding="utf-8"))
    return content


def test_a_run_with_series_is_as_it_says(record: dict[str, Any]) -> None:
    one = dataclasses.replace(run(1, ttft_p95_ms=1.0), series=SERIES, warm_up=dataclasses.asdict(WARM))
    record["tests"][0]["points"] = json.loads(json.dumps(result(one).as_json()["points"]))
    checked(record)


def _of_a_run(record: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = record["tests"][0]["points"][0]["runs"][0]
    return run


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a new field": lambda r: r.update(news=1),
    "a new field of a run": lambda r: _of_a_run(r).update(news=1),
    "a new metric": lambda r: _of_a_run(r)["values"].update(speed_kmh=1.0),
    "a new figure of health": lambda r: _of_a_run(r)["health"].update(mood="fine"),
    "a new field of a test": lambda r: r["tests"][0].update(news=1),
    "a new field of a point": lambda r: r["tests"][0]["points"][0].update(news=1),
    "a new field of a launch": lambda r: r["launches"][0].update(news=1),
    "a new setting": lambda r: r["settings"].update(news=1),
    "a text for a number": lambda r: _of_a_run(r)["values"].update(ttft_p50_ms="1"),
    "null for a metric": lambda r: _of_a_run(r)["values"].update(ttft_p50_ms=None),
    "no health": lambda r: _of_a_run(r).pop("health"),
    "no verdict": lambda r: r["tests"][0].pop("verdict"),
    "another verdict": lambda r: r["tests"][0].update(verdict="fine"),
    "another version": lambda r: r.update(llmperf_record=2),
    "a row without an end": lambda r: _of_a_run(r).update(
        series={"engine": {"columns": ["at_s", "running", "waiting", "cache_use"], "rows": [[0, 1, 2]]}}
    ),
    "a row that is too long": lambda r: _of_a_run(r).update(
        series={"engine": {"columns": ["at_s", "running", "waiting", "cache_use"], "rows": [[0, 1, 2, 3, 4]]}}
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_not_described_is_refused(
    change: Callable[[dict[str, Any]], object], record: dict[str, Any]
) -> None:
    checked(changed := copy.deepcopy(record))
    change(changed)
    with pytest.raises(AssertionError):
        checked(changed)


def test_what_a_hook_adds_is_its_own(record: dict[str, Any]) -> None:
    checked({**record, "commit": {"of": "mine"}}, "commit")


def test_the_page_reads_a_record(
    record: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/record.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for name, content in (("20260101T000000Z-a", {"tests": []}), ("20260102T000000Z-a", record)):
        write_json(Path(f".llmperf/runs/{name}.json"), content)
    exec(program, {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == sum(len(test["points"]) for test in record["tests"]) > 3
    values = [run["values"]["ttft_p95_ms"] for run in record["tests"][0]["points"][0]["runs"]]
    assert printed[0].endswith(f" {values}")
