"""Our figures beside those of ``vllm bench serve``, of the same server, in turn."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from pytest_llmperf import Workload
from pytest_llmperf.fixture import Llmperf

INPUT, OUTPUT, RATE, REQUESTS, TURNS = 1024, 128, 8, 160, 2
STATISTICS = {
    "ttft_p50_ms": "p50_ttft_ms",
    "ttft_p95_ms": "p95_ttft_ms",
    "ttft_p99_ms": "p99_ttft_ms",
    "tpot_p50_ms": "p50_tpot_ms",
    "tpot_p95_ms": "p95_tpot_ms",
    "itl_p99_ms": "p99_itl_ms",
    "output_tokens_per_s": "output_throughput",
}


def theirs(llmperf: Llmperf, seed: int, directory: Path) -> dict[str, float]:
    """The same load by the peer; ``PEER_PYTHON`` has it installed, ``PEER_MODEL`` is the tokenizer."""
    command = [
        *(os.environ["PEER_PYTHON"], "-m", "vllm.entrypoints.cli.main", "bench", "serve"),
        *("--backend", "openai", "--base-url", llmperf.url, "--endpoint", "/v1/completions"),
        *("--model", os.environ["PEER_MODEL"], "--served-model-name", llmperf.model),
        *("--dataset-name", "random", "--random-input-len", str(INPUT), "--random-output-len", str(OUTPUT)),
        *("--num-prompts", str(REQUESTS), "--request-rate", str(RATE), "--seed", str(seed), "--ignore-eos"),
        *("--percentile-metrics", "ttft,tpot,itl", "--metric-percentiles", "50,95,99"),
        *("--save-result", "--result-dir", str(directory), "--result-filename", f"{seed}.json"),
    ]
    subprocess.run(command, check=True, timeout=300)
    result = json.loads((directory / f"{seed}.json").read_text())
    assert result["completed"] == REQUESTS
    return {ours: result[name] for ours, name in STATISTICS.items()}


def test_the_figures_of_two_clients(llmperf: Llmperf, tmp_path: Path) -> None:
    workload = Workload(input_tokens=INPUT, output_tokens=OUTPUT)
    rows = []
    for turn in range(TURNS):
        measured = llmperf(workload, rate=RATE, requests=REQUESTS)
        rows.append(
            {
                "llmperf": {name: measured.value(name) for name in STATISTICS},
                "vllm bench serve": theirs(llmperf, turn, tmp_path),
            }
        )
    Path(os.environ["BESIDE_RESULT"]).write_text(json.dumps(rows, indent=1))
