from __future__ import annotations

import json

from pytest_llmperf.judge.verdict import Verdict


def test_a_verdict_is_its_word_wherever_it_is_written() -> None:
    of_a_metric = ["pass", "regressed", "improved", "inconclusive"]
    of_a_test_alone = ["slo broken", "invalid", "error", "failed by itself", "not judged"]
    assert [str(verdict) for verdict in Verdict] == of_a_metric + of_a_test_alone
    assert json.loads(json.dumps(list(Verdict))) == of_a_metric + of_a_test_alone
