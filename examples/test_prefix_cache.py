"""Does the prefix cache pay? A long system prompt that every request shares should hardly cost anything."""

from pytest_llmperf import Llmperf, Workload


def test_a_shared_prefix_is_answered_from_the_cache(llmperf: Llmperf) -> None:
    new = Workload(input_tokens=768, output_tokens=8)
    shared = Workload(input_tokens=768, output_tokens=8, shared_prefix_tokens=700)

    without = llmperf(new, concurrency=1, requests=30)
    cached = llmperf(shared, concurrency=1, requests=30)
    assert cached.value("ttft_p50_ms") < 0.6 * without.value("ttft_p50_ms")
