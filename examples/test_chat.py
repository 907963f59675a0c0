"""Is the engine fast enough for a chat, and as fast as it was?"""

from pytest_llmperf import Llmperf, Workload, slo, sweep


@slo(ttft_ms=500, tpot_ms=50)
@sweep(rates=[2, 4, 8])
def test_chat_stays_interactive(llmperf: Llmperf) -> None:
    llmperf(Workload(input_tokens=256, output_tokens=48, chat=True))
