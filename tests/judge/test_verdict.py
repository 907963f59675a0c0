from __future__ import annotations

import json

from pytest_llmperf.judge.verdict import Verdict


def test_a_verdict_is_its_word_wherever_it_is_written() -> None:
    words = ["pass", "regressed", "improved", "inconclusive", "invalid"]
    assert [str(verdict) for verdict in Verdict] == words
    assert json.loads(json.dumps(list(Verdict))) == words
