"""What is gated: an 8B model at chat lengths, under an SLO."""

from __future__ import annotations

from pytest_llmperf import Workload, slo
from pytest_llmperf.fixture import Llmperf


@slo(ttft_ms=300, tpot_ms=40)
def test_chat_stays_interactive(llmperf: Llmperf) -> None:
    llmperf(Workload(input_tokens=1024, output_tokens=128))
