"""Does one launch break the limits, so surely that it may be said of the smallest workload that does?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.judge.objective import Objective, judge_limit
from pytest_llmperf.judge.prior import RUN_SPREAD, Prior
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.measure.measurement import Measurement

LEAST, MOST = 2, 3
"""Runs that have to agree that a limit is broken, and runs after which it is not known, and will not be."""
ERROR = 0.01
_WORST = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.SLO_BROKEN)


def judge_breaking(slo: Slo, runs: Sequence[Measurement]) -> tuple[Verdict, tuple[Objective, ...]]:
    """``slo broken`` if these runs of one load point in one launch leave a value within its limits a
    probability below 1 %; the worst verdict of all limits that have a value.

    The interval is that of :func:`~pytest_llmperf.judge.objective.judge_limit`, with the spread between runs
    of a launch in place of that between launches. What breaks a limit in the first run is not known to break
    it: whoever searches for something that does would find the worst luck.
    """
    requests = sum(run.requests for run in runs)
    objectives = []
    for limit in slo.limits:
        name = limit.key.name
        having = [run for run in runs if name in run.values]
        if having:
            squares = math.fsum(run.uncertainty.get(name, 0.0) ** 2 for run in having)
            sampling = math.sqrt(squares / len(having))
            values = [run.values[name] for run in having]
            objectives.append(judge_limit(limit, values, Prior(RUN_SPREAD), sampling, requests, ERROR))
    worst = max((objective.verdict for objective in objectives), key=_WORST.index, default=Verdict.PASS)
    if worst is Verdict.SLO_BROKEN and len(runs) < LEAST:
        worst = Verdict.INCONCLUSIVE
    return worst, tuple(objectives)
