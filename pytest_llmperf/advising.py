"""What ``llmperf advise`` does: read records, judge what is in them, print what to run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_llmperf.declare.order import Outcome
from pytest_llmperf.errors import StoreError
from pytest_llmperf.judge.advice import Advice, Candidate, Question, advise
from pytest_llmperf.keep.evidence import Scene, read_evidence
from pytest_llmperf.keep.files import check_writable, write_json
from pytest_llmperf.keep.prices import Prices
from pytest_llmperf.report.advice import advice_json, advice_lines

KIND, VERSION = "llmperf_advice", 1
_SHOWN = 3
DEFAULTS = (Path(".llmperf/runs"), Path(".llmperf/matrix"))


def give_advice(
    paths: Sequence[Path], question: Question, slo: str, prices: Path | None, json: Path | None
) -> Outcome:
    """Answer on the standard output; ``slo`` as it was typed, ``paths`` empty for the default ones."""
    try:
        if json is not None:
            check_writable(json)
        listed = Prices.read(prices)
        evidence = read_evidence(paths or [path for path in DEFAULTS if path.is_dir()])
        scenes = [(scene, listed.of(scene.environment)) for scene in _scenes(evidence.scenes)]
    except StoreError as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Outcome.USAGE
    written, is_answered = [], False
    for scene, price in scenes:
        answer = _answer(scene, question, None if price is None else price.usd_per_hour)
        is_answered |= bool(answer.capacities)
        print("\n".join(advice_lines(scene, answer, question, slo, price)), end="\n\n")
        written.append(advice_json(scene, answer, price))
    for why in evidence.left_out[-_SHOWN:]:
        print(f"left out: {why}")
    if (more := len(evidence.left_out) - _SHOWN) > 0:
        print(f"left out: {more} more (--json names them)")
    if not written:
        where = ", ".join(map(str, paths or DEFAULTS))
        print(
            f"llmperf: no measurement of any load in {where}; measure first: llmperf matrix", file=sys.stderr
        )
    if json is not None:
        write_json(json, {KIND: VERSION, "slo": slo, "answers": written, "left_out": evidence.left_out})
    return Outcome.DONE if is_answered else Outcome.FAILED


def _scenes(scenes: Sequence[Scene]) -> list[Scene]:
    """Those of open loops; of closed ones what was measured in no other way."""
    is_open = [(scene.environment, scene.workload) for scene in scenes if not scene.is_closed]
    return [
        scene for scene in scenes if not scene.is_closed or (scene.environment, scene.workload) not in is_open
    ]


def _answer(scene: Scene, question: Question, usd_per_hour: float | None) -> Advice:
    candidates = [
        Candidate(name, tuple(one.launches(question.slo)), one.tokens_per_request, usd_per_hour)
        for name, one in zip(scene.names(), scene.configurations, strict=True)
    ]
    return advise(candidates, question, is_closed=scene.is_closed)
