"""The words in which every judgement ends."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """Of one metric: ``pass`` to ``inconclusive``. Of a test: any.

    ``invalid`` says that the measurement says nothing about the engine, ``error`` that there is none
    because the engine did not start or did not survive, ``failed by itself`` that the test's own assertions
    decided.
    """

    PASS = "pass"
    REGRESSED = "regressed"
    IMPROVED = "improved"
    INCONCLUSIVE = "inconclusive"
    SLO_BROKEN = "slo broken"
    INVALID = "invalid"
    ERROR = "error"
    FAILED_BY_ITSELF = "failed by itself"
    NOT_JUDGED = "not judged"
