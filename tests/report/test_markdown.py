from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.report.markdown import MOST, markdown
from tests.report.entries import FAST, SLOW, Writer, latencies, text_block
from tests.report.records import HOSTILE, failure, judged, measured, record, with_hostile_text
from tests.report.test_gfm import rendered

REGRESSED = """
<!-- llmperf:vllm -->

### ❌ LLM serving performance: worse

**TTFT p50 at 1/s: 100 ms → 120 ms, +20% (95% interval +14% to +26%; 8 + 8 launches; tolerance 5%):** `test_chat` with `vllm --max-num-seqs 256` 0.24.0 is worse than its baseline. Where nothing changed, at most one session in a hundred says so. In all, 4 of 4 comparisons are worse.

|  | figure | value | change | 95% interval | allowed |
| --- | --- | --: | --: | --: | --: |
| ❌&nbsp;worse | TTFT p50 at 1/s | 100&nbsp;ms&nbsp;→&nbsp;120&nbsp;ms | +20% | +14%&nbsp;to&nbsp;+26% | +5% |
| ❌&nbsp;worse | TPOT p50 at 1/s | 8.25&nbsp;ms&nbsp;→&nbsp;9.9&nbsp;ms | +20% | +14%&nbsp;to&nbsp;+26% | +5% |
| ❌&nbsp;worse | TTFT p50 at 4/s | 100&nbsp;ms&nbsp;→&nbsp;120&nbsp;ms | +20% | +14%&nbsp;to&nbsp;+26% | +5% |
| ❌&nbsp;worse | TPOT p50 at 4/s | 8.25&nbsp;ms&nbsp;→&nbsp;9.9&nbsp;ms | +20% | +14%&nbsp;to&nbsp;+26% | +5% |

**What differs**

```
version: 0.23.0 → 0.24.0
flags  + --max-num-seqs 256
```
"""  # noqa: E501


def first_lines(text: str) -> tuple[str, str]:
    """The heading, and the sentence that says why."""
    _, _, heading, _, sentence, *_ = text.splitlines()
    return heading.removeprefix("### "), sentence


def test_what_got_worse_comes_first_and_what_differs_next() -> None:
    text = markdown([record(judged("regressed", 1.2))])
    assert text_block(text).startswith(REGRESSED)


def test_the_commands_are_those_of_the_terminal_and_can_be_copied() -> None:
    text = markdown([record(judged("regressed", 1.2))])
    (script,) = re.findall(r"\*\*Next\*\*\n\n```sh\n(.*?)\n```", text, re.DOTALL)
    typed = [line for line in script.splitlines() if not line.startswith("# ")]
    assert len(typed) >= 2
    assert all(shlex.split(line)[0] in ("pytest", "llmperf") for line in typed)


@pytest.mark.parametrize(
    ("entry", "heading", "sentence"),
    [
        (
            judged("pass", 1.0, ttft_ms=300),
            "✅ LLM serving performance: safe",
            "**None of 4 comparisons is worse than the tolerance (5%): each has a chance below 5% of being "
            "so, and twice the tolerance is ruled out; 2 limits are met.**",
        ),
        (
            judged("slo broken", 1.0, ttft_ms=100),
            "❌ LLM serving performance: misses its SLO",
            "**TTFT p95 at 1/s is 150 ms (95% interval 148 to 152; 8 launches), limit 100 ms, 50% over:** "
            "`test_chat` with `vllm --max-num-seqs 256` 0.24.0 misses its SLO. In all, 2 limits are missed.",
        ),
        (
            {**judged("invalid"), "error": "the measurement is invalid:\n  late"},
            "⚠️ LLM serving performance: invalid",
            "**The measurement of `test_chat` says nothing about the engine.** That is no regression, and no "
            "pass either: the question is open.",
        ),
        (
            judged("failed by itself"),
            "❌ LLM serving performance: failed",
            "**`test_chat` failed by an assertion of its own;** the log of the job has it.",
        ),
    ],
    ids=lambda value: value["verdict"] if isinstance(value, dict) else "",
)
def test_the_verdict_is_the_first_sentence(entry: dict[str, Any], heading: str, sentence: str) -> None:
    assert first_lines(markdown([record(entry)])) == (heading, sentence)


def test_undecided_is_neither_safe_nor_worse() -> None:
    heading, sentence = first_lines(markdown([record(judged("inconclusive", 1.04))]))
    assert heading == "⚠️ LLM serving performance: undecided"
    assert sentence.startswith("**4 of 4 questions could not be decided:** TTFT p50 at 1/s: 100 ms → 104 ms")
    assert sentence.endswith("Nothing is known to be worse; whether it is safe is not known.")


def test_an_engine_that_waits_for_others_is_no_regression() -> None:
    text = markdown([record(failures=[failure("t.py::test_a", "all GPUs are leased", is_hindered=True)])])
    heading, sentence = first_lines(text)
    assert heading == "⚠️ LLM serving performance: not measured"
    assert "in use or out of reach" in sentence
    assert "That is no regression" in sentence
    assert "```text\nall GPUs are leased\n```" in text


def test_an_engine_that_does_not_start_shows_the_beginning_and_the_end_of_what_it_said() -> None:
    error = "\n".join(["vllm: out of memory", *(f"line {n}" for n in range(60)), "the last"])
    text = markdown([record(failures=[failure("t.py::test_a", error)])])
    assert first_lines(text)[1] == "**`test_a` could not be measured:** vllm: out of memory"
    assert "the last" in text
    assert "line 30" not in text


def test_nothing_measured_is_said() -> None:
    assert first_lines(markdown([record()])) == (
        "⚠️ LLM serving performance: nothing was measured",
        "No performance test was run, so nothing is known.",
    )


@pytest.mark.parametrize("status", ["stopped", "interrupted", "crashed", "running"])
def test_a_session_that_did_not_end_well_says_so(status: str) -> None:
    whole, part = (markdown([record(judged("pass"), status=one)]) for one in ("complete", status))
    assert len(part.splitlines()) == len(whole.splitlines()) + 2


def test_the_rest_is_folded_and_there_for_who_wants_it() -> None:
    text = markdown([record(judged("regressed", 1.2, ttft_ms=300), judged("pass", nodeid="t.py::test_b"))])
    shown = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert "Besides: 1 test passed." in shown
    assert "✅" not in shown
    assert "<details><summary>6 figures within their tolerance or limit</summary>" in text


def test_what_was_found_by_searching_is_told() -> None:
    path = Path(__file__).parents[2] / "bench/gpu/results/2026-11-22-h100-curves/vllm-0.24.0.json"
    told = rendered(markdown([json.loads(path.read_text())]))
    assert (
        "capacity under TTFT p95 ≤ 300 ms, error rate ≤ 0%: 26.4/s (95% interval of this launch 22.9 to"
        in told
    )
    assert (
        "sweep: one at a time 1.17/s, at most about 28.6/s; met the SLO at 27.3/s and not at 31.6/s" in told
    )


def test_what_crept_in_is_a_row() -> None:
    writer = measured(1.2)
    writer.judge(ttft_p50_ms=[118] * 8)
    writer.crept("ttft_p50_ms", [100] * 8, "vllm==0.20.0")
    text = markdown([record({**writer.entry(), "verdict": "regressed"})])
    assert "| ❌&nbsp;worse, in 3 steps since 2026-05-01 | TTFT p50 at 1/s | 100&nbsp;ms" in text
    assert "by small steps" in first_lines(text)[1]


def test_failed_requests_are_shown() -> None:
    writer = Writer("t.py::test_a")
    writer.launch(1, SLOW, latencies(), errors={"timeout": (7, "timeout: not complete after 120 s")})
    writer.judge()
    text = markdown([record({**writer.entry(), "verdict": "slo broken"})])
    assert "Requests that failed:\n\n```text\n7 × timeout: not complete after 120 s\n```" in text


def test_it_is_short_however_much_there_is() -> None:
    some = markdown([record(*(judged("regressed", 1.2, f"t.py::test_{n}") for n in range(3)))])
    shown = re.sub(r"<details>.*?</details>", "", some, flags=re.DOTALL)
    assert len(shown.splitlines()) < 60
    many = markdown([record(*(judged("regressed", 1.2, f"t.py::test_{n}") for n in range(300)))])
    assert len(many) <= MOST
    assert "more in the record" in many


def test_what_is_cut_is_told_and_nothing_is_left_open() -> None:
    long = "x | y `" * 3000
    entries = [judged("invalid", nodeid=f"t.py::test_{n}[{long}]") for n in range(60)]
    text = markdown([record(*({**entry, "error": long} for entry in entries))], most=5000)
    assert len(text) <= 5000
    assert "left out, since a comment has an end" in text
    assert text.count("<details>") == text.count("</details>")
    assert len(re.findall("^`{3,}", text, re.MULTILINE)) % 2 == 0


def test_several_records_are_one_comment_with_the_worst_first() -> None:
    text = markdown([record(judged("pass")), record(judged("regressed", 1.2))])
    assert re.findall("^### (.)", text, re.MULTILINE) == ["❌", "✅"]
    assert text.count("<!-- llmperf:vllm -->") == 1


@pytest.mark.parametrize("verdict", ["regressed", "slo broken", "inconclusive", "invalid", "error", "pass"])
def test_hostile_text_in_any_field_is_shown_as_text(verdict: str) -> None:
    scale = 1.04 if verdict == "inconclusive" else 1.0 if verdict == "pass" else 1.3
    entry = with_hostile_text(judged(verdict, scale, ttft_ms=150 if verdict == "slo broken" else 900))
    hostile = {**record({**entry, "error": HOSTILE * 30}), "failures": [failure(HOSTILE, HOSTILE)]}
    text = markdown([hostile])
    assert len(text) <= MOST
    markup = rendered(text)
    ours = {"h3", "p", "strong", "code", "table", "thead", "tbody", "tr", "th", "td", "pre", "details"}
    assert set(re.findall(r"<(\w+)", markup)) <= {*ours, "summary", "ul", "li", "sub", "em"}
    outside = re.sub(r"<(code|pre)\b.*?</\1>", "", markup, flags=re.DOTALL)
    prose = html.unescape(re.sub(r"<[^>]*>", "\n", outside))
    assert not re.search(r"@octocat|#1|https://|:tada:", prose)
    assert markup.count("<details>") == markup.count("</details>")
    assert all(c.isprintable() or c in "\n\u200b\xa0" for c in html.unescape(markup))


def test_sides_measured_together_name_the_other() -> None:
    writer = Writer("t.py::test_a")
    for launch in (1, 2, 3):
        writer.launch(launch, FAST, latencies(1.3))
        writer.launch(launch, FAST, latencies(), of_base=True)
    writer.side_by_side("vllm==0.22.1", version="0.22.1")
    text = markdown([record({**writer.entry(), "verdict": "regressed"})])
    assert "is worse than `vllm==0.22.1`, measured side by side." in text


@pytest.mark.parametrize("status", ["interrupted", "crashed", "running"])
def test_a_session_that_was_cut_short_has_nothing_to_be_accepted(status: str) -> None:
    entry = {**measured().entry(), "verdict": "not judged"}
    assert "--llmperf-update" in markdown([record(entry)])
    text = markdown([record(entry, status=status)])
    assert "# measure it again" in text
    assert "--llmperf-update" not in text
    assert "--llmperf-update" not in markdown([record({**entry, "points": [], "launches": 0})])
