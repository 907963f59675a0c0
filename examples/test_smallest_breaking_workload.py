"""Which prompts are answered in time? Hypothesis looks for one that is not, and for the shortest of those."""

from hypothesis import given

from pytest_llmperf import Llmperf, Workload, slo, sweep
from pytest_llmperf.strategies import measured, workloads


@slo(ttft_p50_ms=2000)
@sweep(concurrency=[1], requests=8, budget="1m")
@measured
@given(workload=workloads(input_tokens=(16, 1500)))
def test_every_prompt_is_answered_in_time(llmperf: Llmperf, workload: Workload) -> None:
    llmperf.probe(workload).check()
