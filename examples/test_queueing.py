"""A test can look at the numbers itself: here, at how much waiting a higher load brings."""

from pytest_llmperf import Llmperf, Workload, slo


@slo(error_rate=0.01)
def test_more_load_does_not_starve_anyone(llmperf: Llmperf) -> None:
    workload = Workload(input_tokens=128, output_tokens=32)
    alone = llmperf(workload, concurrency=1, requests=20)
    crowd = llmperf(workload, concurrency=8, requests=80)

    # Eight streams share one engine: each may take about eight times as long, not eighty.
    assert crowd.value("e2e_p95_ms") < 30 * alone.value("e2e_p50_ms")
    assert crowd.value("output_tokens_per_s") > 0.3 * alone.value("output_tokens_per_s")
