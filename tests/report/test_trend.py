from __future__ import annotations

import base64
import hashlib
import html.parser
import re

import pytest

from pytest_llmperf.keep.history import Session
from pytest_llmperf.keep.trend import Trend, all_series, environments, trend
from pytest_llmperf.report.page_trend import trend_page
from pytest_llmperf.report.trend import environment_lines, overview_lines, trend_lines
from tests.keep.histories import HERE, TEST, VLLM, result, session
from tests.keep.test_trend import NEW, noisy, upgraded

HOSTILE = (
    "<script>alert('1')</script>",
    '"quoted" & | `ticks`',
    "two\nlines\rand\x1b[31mred\x07",
    "‮right to left⁦ and zero\u200bwidth",
    "x" * 10_000,
)


def told(sessions: list[Session]) -> Trend:
    (series,) = all_series(sessions, TEST)
    return trend(series)


def test_a_trend_is_a_chart_and_a_table_of_what_was_from_when_to_when() -> None:
    lines = trend_lines(told(upgraded()))
    text = "\n".join(lines)
    assert lines[0] == "1024 in / 128 out, poisson 4/s for 30 s · TTFT p95 · lower is better"
    assert re.search(r"^ {5}2026-09-01  2026-09-18 +18 +[45]\d(\.\d)? ms", text, re.MULTILINE)
    assert re.search(
        r"^  a  2026-09-19  2026-09-30 +12 +\d\d\.?\d* ms .* ✗ \+\d\d% \(\+\d\d%", text, re.MULTILINE
    )
    assert "       here: version: 0.22.1 → 0.24.0" in lines
    (axis,) = (line for line in lines if "┴" in line)
    below = lines[lines.index(axis) + 1]
    assert below.index("a") == axis.index("┴")
    assert re.fullmatch(
        r"sessions vary by ± [01]\.\d% around their level \(one standard deviation\)", lines[-1]
    )
    assert max(map(len, lines)) < 110


def test_what_may_have_done_it_is_said_as_far_as_it_is_known() -> None:
    flags = {**VLLM, "flag --max-num-seqs": "8"}
    assert any(
        "flag --max-num-seqs: (none) → 8" in line for line in trend_lines(told(upgraded(subject=flags)))
    )
    same = "\n".join(trend_lines(told(upgraded(at=20, subject=VLLM))))
    assert "the subject is the same; commits of the repository: 1111111111 → 2222222222" in same
    nothing = "\n".join(trend_lines(told(upgraded(at=15, subject=VLLM))))
    assert "nothing that is recorded changed here" in nothing


def test_few_sessions_are_shown_and_not_judged() -> None:
    lines = trend_lines(told(upgraded(count=5, at=3)))
    assert "5 of the 8 sessions that it takes to tell a change from noise" in lines
    assert not any("✗" in line for line in lines)
    assert trend_lines(told(upgraded(count=1)))


def test_an_overview_has_a_line_for_each_under_its_load() -> None:
    sessions = [
        session(
            number,
            result(50 * value),
            result(9 * value, metric="tpot_p50_ms"),
            result(20 * value, point="closed loop, 1 at once"),
        )
        for number, value in enumerate(noisy(20))
    ]
    lines = overview_lines([trend(one) for one in all_series(sessions, TEST)])
    assert [line for line in lines if not line.startswith(" ")] == [
        "1024 in / 128 out, poisson 4/s for 30 s",
        "closed loop, 1 at once",
    ]
    assert sum(line.startswith("  TTFT p95 ") for line in lines) == 2
    assert sum(line.endswith("none") for line in lines) == 3


def test_an_overview_tells_the_last_change_and_what_changed() -> None:
    (row,) = (line for line in overview_lines([told(upgraded())]) if "TTFT" in line)
    assert re.search(r"\+\d\d% worse, 2026-09-19 \(version: 0\.22\.1 → 0\.24\.0\)$", row)


def test_a_level_says_since_when_and_is_no_single_session() -> None:
    one = told(upgraded())
    (row,) = (line for line in overview_lines([one]) if "TTFT" in line)
    assert re.search(r" [0-9.]+ ms since 2026-09-19  ", row)
    newest = one.series.key.format(one.values[-1])
    assert f"since 2026-09-19, in the newest session {newest};" in trend_page(TEST, [], [one])


def test_other_environments_are_named_by_what_differs() -> None:
    old = {**HERE, "driver": "550"}
    sessions = [
        session(n, result(50.0, environment=old if n < 2 else {**HERE, "driver": "560"})) for n in range(5)
    ]
    found = environments(all_series(sessions, TEST))
    here, other = environment_lines(found, next(iter(found)))
    assert here.endswith("local process · m sha256:1 · NVIDIA H100 80GB HBM3 · driver 560")
    assert "not in it: 2 sessions of environment" in other
    assert other.endswith("driver: 560 → 550")


# -- whatever is in it --------------------------------------------------------------------------------


def hostile(text: str) -> list[Session]:
    """A history in which every name is somebody's idea."""
    return [
        session(
            number,
            result(
                50 * value * (1.3 if number >= 10 else 1),
                test=text,
                point=text,
                environment={text: text},
                subject={**(NEW if number >= 10 else VLLM), text: f"{text}{number >= 10}"},
            ),
            commit=text,
        )
        for number, value in enumerate(noisy(20))
    ]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_a_name_is_a_terminal_shows_it_as_text(text: str) -> None:
    series = all_series(hostile(text), text)
    trends = [trend(one) for one in series]
    lines = [
        *trend_lines(trends[0]),
        *overview_lines(trends),
        *environment_lines(environments(series), next(iter(environments(series)))),
    ]
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 700


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_a_name_is_a_page_shows_it_as_text(text: str) -> None:
    series = all_series(hostile(text), text)
    page = trend_page(text, [text], [trend(one) for one in series])
    seen = _Tags()
    seen.feed(page)
    assert "script" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert all(c.isprintable() or c == "\n" for c in page)
    assert len(page) < 200_000


def test_a_page_asks_nobody_for_anything_and_is_well_formed() -> None:
    page = trend_page(TEST, ["environment x"], [told(upgraded())])
    seen = _Tags()
    seen.feed(page)
    assert seen.open == []
    (style,) = re.findall("<style>(.*?)</style>", page, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [value for _, value in seen.attributes if value and "default-src" in value]
    assert f"default-src 'none'; style-src 'sha256-{allowed}'; " in policy
    assert not [value for name, value in seen.attributes if name in ("src", "href") and value != "data:,"]
    assert not re.findall(r"https?://|url\(|@import", page)
    assert seen.tags.count("circle") == 30
    assert "version: 0.22.1 → 0.24.0" in page


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link", "tr", "th", "td"):  # which need no end
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
