"""Is the engine fast enough for a chat, and as fast as it was?"""

from pytest_llmperf import Llmperf, Workload, slo, sweep


@slo(ttft_ms=500, tpot_ms=50)
@sweep(rates=[2, 6, 12])
def test_chat_stays_interactive(llmperf: Llmperf) -> None:
    llmperf(Workload(input_tokens=64, output_tokens=128, chat=True))
