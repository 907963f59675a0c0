"""The documentation names what there is."""

from __future__ import annotations

import inspect
import json
import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from docs import reference
from pytest_llmperf.activate import BUILTIN
from pytest_llmperf.bisecting import BisectCode
from pytest_llmperf.cli import main
from pytest_llmperf.declare.bisection import CONFIDENCE, MOST_PAIRS
from pytest_llmperf.declare.grid import ALMANAC, KEYS, read_grid
from pytest_llmperf.declare.metrics import METRICS, metric_names
from pytest_llmperf.declare.options import OPTIONS, Option
from pytest_llmperf.declare.order import Bisected, Exit, Outcome, StepCode
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.protocol import Engine, Runtime
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.prices import Price, Prices
from pytest_llmperf.measure.accelerators import ACCELERATORS
from pytest_llmperf.measure.architecture import ARCHITECTURES
from pytest_llmperf.report.plain import plainly
from pytest_llmperf.report.table import CHANGE_MARKS, SLO_MARKS
from tests.commanding import FIELDS
from tests.engines.contract import MODELS, answering, tiny_model
from tests.git import Git

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BASELINES = (ROOT / "docs/baselines.md").read_text()
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
COMMAND = (ROOT / "docs/command.md").read_text()
ENGINES = (ROOT / "docs/engines.md").read_text()
LIGHT = (ROOT / "docs/light.md").read_text()
MEASURING = (ROOT / "docs/measuring.md").read_text()


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_is_documented_with_its_default(option: Option) -> None:
    (row,) = [line for line in CONFIGURATION.splitlines() if line.startswith(f"| `{option.flag}")]
    if option.default is not None:
        assert f"`{option.default}`" in row or row.endswith(f" {option.default} |")


@pytest.mark.parametrize(
    ("command", "page"),
    [
        ("load", "command"),
        ("matrix", "matrix"),
        ("advise", "advise"),
        ("cache", "versions"),
        ("history", "history"),
    ],
)
def test_every_option_of_the_command_is_documented_and_no_other(
    command: str, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    offered = re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    documented = (ROOT / f"docs/{page}.md").read_text()
    assert re.findall(r"^\| `(--[a-z-]+)", documented, re.MULTILINE) == offered


@pytest.mark.parametrize("command", ["bisect", "step"])
def test_every_option_of_a_bisection_is_on_its_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    offered = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    page = (ROOT / "docs/bisect.md").read_text()
    assert len(offered) > 8
    assert offered <= set(re.findall(r"--[a-z]+(?:-[a-z]+)*", page))


def test_every_key_of_a_matrix_is_documented_and_its_example_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs/matrix.md").read_text()
    named = re.findall(r"^\| `\[*([a-z_]+)\]*` \|", page, re.MULTILINE)
    assert sorted(named) == sorted(KEYS[""])
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "grid.toml").write_text(example)
    assert len(read_grid(tmp_path / "grid.toml").cells) == 5 * len(ALMANAC)
    assert ", ".join(ALMANAC[:-1]) in page.replace("\n", " ")


@pytest.mark.parametrize("page", ["matrix", "advise"])
def test_every_exit_code_of_matrix_and_advise_is_documented(page: str) -> None:
    _, _, codes = (ROOT / f"docs/{page}.md").read_text().partition("Exit codes: ")
    told = [
        int(code) for code in re.findall(r"(?:^|; )(\d+),", codes.partition("\n\n")[0].replace("\n", " "))
    ]
    outcomes = {code.value for code in Outcome} if page == "matrix" else {0, 1, 2}
    assert told == sorted({*outcomes, Exit.DEFECT.value})


def test_every_exit_code_of_the_command_is_documented() -> None:
    assert re.findall(r"^\| ([0-9]+) \|", COMMAND, re.MULTILINE) == [str(code.value) for code in Exit]


def test_every_exit_code_for_git_is_documented() -> None:
    rows = re.findall(r"^\| ([0-9]+) \| (\w+) \|", CONFIGURATION, re.MULTILINE)
    assert rows == [(str(code.value), code.name.lower()) for code in BisectCode]


def test_every_exit_code_of_a_bisection_is_documented() -> None:
    page = (ROOT / "docs/bisect.md").read_text()
    assert re.findall(r"^\| ([0-9]+) \| [^|]* \|$", page, re.MULTILINE) == [
        str(code) for code in sorted({*(code.value for code in Bisected), Exit.DEFECT.value})
    ]
    rows = re.findall(r"^\| ([0-9]+) \| (good|bad|skip|stop) \|", page, re.MULTILINE)
    assert [int(code) for code, _ in rows] == [code.value for code in StepCode]


def test_every_field_of_a_baseline_is_documented_in_its_order(tmp_path: Path) -> None:
    Baseline("t.py::t", "2026-01-02", {}, {}, "vllm", {}).write(tmp_path / "b.json")
    _, _, table = BASELINES.partition("## The file")
    fields = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
    assert fields == list(json.loads((tmp_path / "b.json").read_text()))


def test_every_field_of_the_timelines_is_documented_in_its_order() -> None:
    _, _, table = COMMAND.partition("## Timelines")
    assert tuple(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) == FIELDS


def test_the_example_counts_as_the_table_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", COMMAND, re.DOTALL)
    line = {"error": None, "scheduled_ns": 0, "first_token_ns": 2_000_000, "token_ns": [2_000_000, 5_000_000]}
    (tmp_path / "timelines.jsonl").write_text(f"{json.dumps(line)}\n{json.dumps({'error': 'reset: x'})}\n")
    monkeypatch.chdir(tmp_path)
    ran = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=True)
    assert ran.stdout == "[2. 2. 2.] 3.0\n"


def test_the_example_of_an_engine_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", ENGINES, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    (engine,) = namespace["pytest_llmperf_engines"]()
    for name, asked in vars(Engine).items():
        if inspect.isfunction(asked) and not name.startswith("_"):
            assert list(inspect.signature(getattr(engine, name)).parameters) == [
                parameter for parameter in inspect.signature(asked).parameters if parameter != "self"
            ]
    assert not [name for name in Engine.__annotations__ if not hasattr(engine, name)]
    answers = {
        "GET /health": 200,
        "GET /version": {"version": "1.2.dev3+g0a1b2c3"},
        "GET /v1/models": MODELS,
        "GET /config": {"batch": {"most": 8}},
        "GET /metrics": "fastserve_prompt_tokens_total 3\n",
        "POST /cache/reset": 200,
    }
    subject = parse_subject("fastserve -tp 2 --api-key k")
    model = engine.model(tiny_model(tmp_path / "tiny"))
    command = engine.command(subject, model, Runtime("python"), "127.0.0.1", 8000)
    assert command.argv[-4:] == ("-tp", "2", "--api-key", "k")
    assert (engine.gpus(subject), engine.api_key(subject)) == (2, "k")
    with answering(answers) as client:
        assert engine.is_ready(client, subject)
        assert engine.reset_cache(client) is True
        assert engine.counters(client) == {"prompt_tokens": 3}
        described = engine.describe(client, model)
    assert (described.model, described.commit, described.settings) == ("tiny", "0a1b2c3", {"batch.most": "8"})


def test_every_engine_is_documented() -> None:
    assert [name for name in BUILTIN if f"| `{name}` |" not in ENGINES and name != "url"] == []


def test_what_is_made_from_the_code_is_as_the_code_says() -> None:
    """``python -m docs.reference`` makes it so."""
    pages = {path.name: path.read_text() for path in DOCS.glob("*.md")}
    assert [name for name, page in pages.items() if reference.updated(page) != page] == []
    marked = "".join(pages.values())
    assert set(re.findall(r"<!-- from the code: (\w+) -->", marked)) == set(reference.TABLES)
    assert set(re.findall(r"<!-- on the site: (\w+) -->", marked)) == set(reference.SITE)


def test_every_row_of_what_is_made_from_the_code_has_as_many_cells_as_its_head() -> None:
    """A bar in a help, as of ``N|MIN..MAX``, ends no cell."""
    made = [*(table() for table in reference.TABLES.values()), reference.SITE["commands"]()]
    for table in re.findall(r"(?:^\|.*\n?)+", "\n\n".join(made), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


@pytest.mark.parametrize(
    ("help_", "shown"),
    [
        ("as in 'ttft_ms=300'", "as in `ttft_ms=300`"),
        ("unless --requests is given", "unless `--requests` is given"),
        ("those in CUDA_VISIBLE_DEVICES, or `all`", "those in `CUDA_VISIBLE_DEVICES`, or `all`"),
        ("MIN..MAX or gamma:SHAPE", "`MIN..MAX` or `gamma:SHAPE`"),
        ("a|b <c> *d*", r"a\|b &lt;c> \*d\*"),
        ("a well-known GPU at 1..10", "a well-known GPU at 1..10"),
    ],
)
def test_plain_help_becomes_markdown(help_: str, shown: str) -> None:
    assert reference.marked(help_) == shown


def test_every_argument_of_every_command_is_on_the_site() -> None:
    page = reference.SITE["commands"]()
    for name in ("load", "matrix", "advise", "bisect", "step", "report", "cache"):
        ran = subprocess.run(
            [sys.executable, "-m", "pytest_llmperf.cli", name, "--help"], capture_output=True, text=True
        )
        assert (ran.returncode, f"## llmperf {name}\n" in page) == (0, True)
        section = page.partition(f"## llmperf {name}\n")[2].partition("\n## ")[0]
        assert [
            flag
            for flag in re.findall(r"^  (--[a-z-]+)", ran.stdout, re.MULTILINE)
            if f"| `{flag}" not in section
        ] == []


def test_every_page_has_its_place_on_the_landing_page() -> None:
    listed = re.findall(r"\]\(([a-z-]+)\.md\)", (DOCS / "index.md").read_text())
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= set(listed)


def test_the_exit_codes_on_their_page_are_those_of_the_code() -> None:
    page = (DOCS / "exit-codes.md").read_text()
    _, pytests, gits, ours = page.split("\n## ")
    told = [{int(code) for code in re.findall(r"^\| (\d+) \|", part, re.MULTILINE)} for part in (gits, ours)]
    assert told == [
        {code.value for code in (*BisectCode, *StepCode)},
        {code.value for code in (*Exit, *Outcome, *Bisected)},
    ]
    assert set(re.findall(r"^\| (\d+) \|", pytests, re.MULTILINE)) == set("012345")
    assert {str(code.value) for code in pytest.ExitCode} >= set("012345")


@pytest.mark.parametrize("page", ["tutorial", "upgrade"])
def test_a_gate_reads_what_the_base_of_the_pull_request_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (DOCS / f"{page}.md").read_text()
    (pinned,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (line,) = re.findall(r"^ *(base=.*)$", text, re.MULTILINE)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    git = Git(tmp_path)
    (tmp_path / "pyproject.toml").write_text(pinned)
    git.commit("what production runs")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    ran = subprocess.run(
        ["sh", "-c", f'{line}\nprintf %s "$base"'], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout == tomllib.loads(pinned)["tool"]["pytest"]["ini_options"]["llmperf_engine"]


def test_every_metric_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(metric_names())
    per = dict(zip(metric_names(), (metric.per for metric in METRICS.values()), strict=True))
    assert {name: {"gap": "token"}.get(kind, kind) for name, kind in rows} == per


def prose(page: Path) -> str:
    """The page without its examples and comments."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Where links into the page may lead, as GitHub makes them of its headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", prose(page))
    assert [path for path, _ in targets if not (page.parent / path).exists()] == []
    assert [
        f"{path}#{anchor}"
        for path, anchor in targets
        if anchor and anchor not in anchors((page.parent / path) if path else page)
    ] == []


def test_the_readme_shows_the_two_commands() -> None:
    assert {"make demo", "make test"} <= set(re.findall(r"make \w+", (ROOT / "README.md").read_text()))


def test_the_limits_of_a_valid_run_are_those_of_the_code() -> None:
    from pytest_llmperf.load import health

    assert f"{health.MAX_LAG_MS:g} ms, or {health.MAX_LAG_SHARE * 100:g} % of the median TTFT" in MEASURING
    drift = f"{health.MAX_CLOCK_DRIFT_MS:g} ms + {health.MAX_CLOCK_DRIFT_PPM} ppm"
    assert f"by more than {drift}" in MEASURING
    assert f"more than {health.MAX_CACHED_SHARE * 100:g} %" in MEASURING


def test_the_accelerators_and_architectures_of_the_speed_of_light_are_documented() -> None:
    rows = {
        row[0]: row[1:]
        for line in LIGHT.splitlines()
        if len(row := [cell.strip() for cell in line.strip("|").split("|")]) == 8
    }
    for one in ACCELERATORS:
        names, half, fp8, int8, fp4, rate, source = rows[one.name]
        assert names == ", ".join(f"`{name}`" for name in one.names)
        told = {"bfloat16": half.partition(" ")[0], "fp8": fp8, "int8": int8, "fp4": fp4}
        for kind, figure in told.items():
            if figure != "–":
                assert float(figure) == pytest.approx(one.flops_of(kind) / 1e12)
        assert (float(rate) * 1e9, source) == (one.bytes_per_s, f"{one.source}, {one.date}")
    shown = LIGHT.lower().replace("-", "").replace("_", "").replace(" and v3", ", deepseekv3")
    assert [name for name in ARCHITECTURES if name.replace("_", "") not in shown] == []


def test_the_prices_of_the_package_and_the_example_of_a_file_are_documented(tmp_path: Path) -> None:
    for name in ("T4", "L4", "L40S", "A100 80GB", "H100", "B200"):
        price = Prices.read().of({"accelerators": f"NVIDIA {name}"})
        assert price is not None
        assert f"{name} ${price.usd_per_hour:.2f}" in " ".join(LIGHT.split())
    (example,) = re.findall(r"```toml\n(.*?)```", LIGHT, re.DOTALL)
    (tmp_path / "prices.toml").write_text(example)
    price = Prices.read(tmp_path / "prices.toml").of({"accelerators": "2 × NVIDIA H100 PCIe"})
    assert price == Price(3.2, "our contract", "2026-10-01")


def test_the_numbers_of_a_search_are_those_of_the_code() -> None:
    from pytest_llmperf.judge import capacity, curve, edge, run_in
    from pytest_llmperf.load import backlog
    from pytest_llmperf.measure import saturation

    sweeps = (ROOT / "docs/sweeps.md").read_text()
    assert f"w + ({edge.BEND:g} · bent(x))²" in sweeps
    assert f"(s' · {capacity.SPREAD:g} / √requests)²" in sweeps
    assert f"{capacity.FLOOR:g} at least" in sweeps
    assert f"lag      {run_in.LAG:g} · exp(−run-in / τ) · min(1, τ / duration)" in sweeps
    assert f"{run_in.RELAXATIONS:g} τ" in sweeps
    assert f"to {capacity.HIGHEST_SHARE:g} times the highest" in sweeps
    assert f"together ({capacity.COMMON:.1%})".replace("%", " %") in sweeps
    assert f"at {curve.FIRST[0]:.0%} and at {curve.FIRST[1]:.0%}".replace("%", " %") in sweeps
    assert f"{saturation.MIN_GROWTH:g} s/s, t > {saturation.SURE:g}," in sweeps
    said = f"{backlog.MIN_GROWTH:g} s/s, t > {backlog.SURE:g}, {backlog.STILL_RISES:.0%}"
    assert said.replace("%", " %") in sweeps
    assert f"{backlog.MIN_BEGUN} first tokens and {backlog.MIN_S:g} s" in sweeps


def test_the_numbers_of_a_bisection_are_those_of_the_code() -> None:
    from pytest_llmperf.bisect import confirmation, ends, search
    from pytest_llmperf.judge import change, culprit, misfit, next_pair, usable

    page = " ".join((ROOT / "docs/bisect-method.md").read_text().split())
    assert f"{ends.LEAST} to {ends.MOST} pairs." in page
    assert f"Student's t, {culprit.DEGREES:g} degrees of freedom" in page
    assert f"δ anywhere from {100 * culprit.LEAST:g} % up" in page
    assert f"{usable.USUAL - 1} in {usable.USUAL} where nothing is known" in page
    assert f"less than {100 * next_pair.HOPELESS:g} % are not tried" in page
    assert f"From a probability of {100 * search.SUSPECTED:g} % on" in page
    assert f"{confirmation.LEAST} to {confirmation.MOST} fresh pairs" in page
    assert round(1 / confirmation.SHARE, 9) == 3
    assert f"({100 * change.SESSION_ERROR:g} % shared by {confirmation.LOOKS} looks" in page
    assert f"with a probability of {100 * CONFIDENCE:g} % it is named" in page
    assert f"After {MOST_PAIRS} pairs" in page
    assert round(3**0.5 * misfit.WOBBLE, 3) == 0.01  # what is even within ± 1 % varies by that
    assert f"less than {100 * search.LEAST_SHARE:g} % of the effect" in page
    assert f"measured up to {search.PAIRS_BEHIND} times" in page
    assert search.LOOKS_BEHIND == 2
    assert search.WIDE_GAP == 1 / 8


def test_every_plain_mark_is_documented() -> None:
    page = (ROOT / "docs/terminal.md").read_text()
    rows = dict(re.findall(r"^\| (\S) \| [^|]+ \| `(\S)` \|$", page, re.MULTILINE))
    marks = {*SLO_MARKS.values(), *CHANGE_MARKS.values()}
    assert rows == {mark: plainly(mark, "ascii") for mark in marks}


def test_the_numbers_of_a_history_are_those_of_the_code() -> None:
    from pytest_llmperf.judge import course

    page = " ".join((ROOT / "docs/history.md").read_text().split())
    assert f"to {course.OUTLIER:g} spreads from the median of the three before and after" in page
    assert course.REACH == course.FEWEST == 3
    assert f"an error of {100 * course.ERROR:g} %" in page
    assert f"*a step*: {math.exp(course.STEP_EVIDENCE / 2):.0f} times likelier" in page
    assert f"and {math.exp(course.HINT_EVIDENCE / 2):.0f} times likelier is enough" in page
    assert (course.FEWEST_BETWEEN, course.FEWEST_TO_JUDGE, course.NEAR) == (5, 8, 1)
