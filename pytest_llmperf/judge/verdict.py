"""The words in which every judgement ends."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """``invalid`` says that nothing can be said."""

    PASS = "pass"
    REGRESSED = "regressed"
    IMPROVED = "improved"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
