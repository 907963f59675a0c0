"""How each client is asked for a level, and how the account it leaves is read."""

from __future__ import annotations

import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.clients.environments import AIPERF, GUIDELLM, PLAIN, VLLM, Environment
from bench.clients.errors import Account, Told
from bench.clients.levels import INPUT_TOKENS, OUTPUT_TOKENS, Level


@dataclass(frozen=True)
class Run:
    """One client at one level. ``real_offset_ns``: the real-time clock minus CLOCK_MONOTONIC."""

    url: str
    level: Level
    directory: Path
    tokenizer: Path
    python: Path
    real_offset_ns: int

    def monotonic_ns(self, real_s: float) -> int:
        return round(real_s * 1e9) - self.real_offset_ns

    @property
    def sizes(self) -> list[str]:
        return ["--input-tokens", str(INPUT_TOKENS), "--output-tokens", str(OUTPUT_TOKENS)]


class Client(ABC):
    """``environment``: where it is installed; None for this project's own. ``file``: its account."""

    name: str
    file: str
    environment: Environment | None = None
    quick = False

    def drives(self, level: Level) -> bool:
        return not level.tls

    def leaves_account(self, run: Run) -> bool:
        """Whether there is something to read although the client failed."""
        return (run.directory / self.file).exists()

    @abstractmethod
    def command(self, run: Run) -> list[str]: ...

    @abstractmethod
    def account(self, run: Run) -> Account: ...


class _WithTimelines(Client):
    """Clients that leave a file of timelines."""

    file = "timelines.jsonl"

    def account(self, run: Run) -> Account:
        lines = map(json.loads, (run.directory / self.file).read_text().splitlines())
        told = tuple(_of_timeline(line) for line in lines if line.get("first_token_ns"))
        return Account(told, matched_by="id", ttft_from="intended")

    def load(self, run: Run) -> list[str]:
        level = run.level
        return [
            *(run.url, "--rate", f"{level.rate:g}", "--duration", f"{level.duration_s:g}"),
            *run.sizes,
            *("--timelines", str(run.directory / self.file)),
        ]


def _of_timeline(line: Mapping[str, Any]) -> Told:
    return Told(
        started_ns=line["sent_ns"],
        ttft_ns=line["first_token_ns"] - line["scheduled_ns"],
        id=line["id"],
        intended_ns=line["scheduled_ns"],
        token_ns=tuple(line["token_ns"]),
    )


class Llmperf(_WithTimelines):
    """This project's client."""

    name = "llmperf"
    quick = True

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    def drives(self, level: Level) -> bool:
        return True

    def command(self, run: Run) -> list[str]:
        return [*self._command, *self.load(run)]


class Plain(_WithTimelines):
    """A client that one writes oneself in asyncio."""

    environment = PLAIN

    def __init__(self, library: str, quick: bool = False) -> None:
        self.name = f"plain {library}"
        self.quick = quick
        self._module = f"bench.clients.plain_{library}"

    def command(self, run: Run) -> list[str]:
        return [str(run.python), "-m", self._module, *self.load(run)]


class VllmBench(Client):
    """``vllm bench serve``. Its start-up line fails with the CPU build, so what that calls is called."""

    name = "vllm bench serve"
    file = "result.json"
    environment = VLLM
    _SCRIPT = (
        "from vllm.benchmarks.serve import add_cli_args, main; "
        "from vllm.utils.argparse_utils import FlexibleArgumentParser; "
        "parser = FlexibleArgumentParser(); add_cli_args(parser); main(parser.parse_args())"
    )

    def command(self, run: Run) -> list[str]:
        options = {
            "backend": "openai",
            "base-url": run.url,
            "endpoint": "/v1/completions",
            "model": "truth",
            "tokenizer": str(run.tokenizer),
            "dataset-name": "random",
            "input-len": str(INPUT_TOKENS),
            "output-len": str(OUTPUT_TOKENS),
            "request-rate": f"{run.level.rate:g}",
            "burstiness": "inf",  # equally spaced
            "num-prompts": str(run.level.requests),
            "ready-check-timeout-sec": "0",
            "request-id-prefix": "vllm-",
            "result-dir": str(run.directory),
            "result-filename": self.file,
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        flags = ["--ignore-eos", "--save-result", "--save-detailed"]
        return [str(run.python), "-c", self._SCRIPT, *arguments, *flags]

    def account(self, run: Run) -> Account:
        result = json.loads((run.directory / self.file).read_text())
        rows = zip(result["start_times"], result["ttfts"], result["itls"], result["errors"], strict=True)
        told = []
        for index, (start_s, ttft_s, gaps_s, error) in enumerate(rows):
            if not error and ttft_s:
                # perf_counter is CLOCK_MONOTONIC on Linux.
                moments = accumulate(gaps_s, initial=start_s + ttft_s)
                tokens = tuple(round(moment * 1e9) for moment in moments)
                told.append(Told(round(start_s * 1e9), ttft_s * 1e9, f"vllm-{index}", token_ns=tokens))
        return Account(tuple(told), matched_by="id", ttft_from="sent")


class Guidellm(Client):
    """guidellm tells of tokens only the first and the last time, and sends no id."""

    name = "guidellm"
    file = "result.json"
    environment = GUIDELLM

    def command(self, run: Run) -> list[str]:
        settings = {
            "backend": f"kind=openai_http,target={run.url},model=truth,request_format=/v1/completions",
            "profile": f"kind=constant,rate={run.level.rate:g}",
            "constraint": f"kind=max_requests,count={run.level.requests}",
            "tokenizer": f"kind=huggingface_auto,model={run.tokenizer}",
            "data": f"kind=synthetic_text,prompt_tokens={INPUT_TOKENS},output_tokens={OUTPUT_TOKENS}",
            "output": f"kind=json,path={run.directory / self.file}",
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [str(run.python.parent / "guidellm"), "run", *arguments, "--disable-console"]

    def account(self, run: Run) -> Account:
        (benchmark,) = json.loads((run.directory / self.file).read_text())["benchmarks"]
        requests = benchmark["requests"]["successful"]
        told = tuple(self._told(run, one["info"]["timings"], one["output_tokens"]) for one in requests)
        return Account(told, matched_by="order", ttft_from="sent")

    @staticmethod
    def _told(run: Run, timings: Mapping[str, float], tokens: int) -> Told:
        start, first, last = (
            timings[name] for name in ("request_start", "first_token_iteration", "last_token_iteration")
        )
        return Told(
            started_ns=run.monotonic_ns(start),
            ttft_ns=(first - start) * 1e9,
            intended_ns=run.monotonic_ns(timings["targeted_start"]),
            mean_gap_ns=(last - first) / (tokens - 1) * 1e9,
        )


class Aiperf(Client):
    name = "aiperf"
    file = "profile_export.jsonl"
    environment = AIPERF

    def command(self, run: Run) -> list[str]:
        options = {
            "model": "truth",
            "tokenizer": str(run.tokenizer),
            "endpoint-type": "completions",
            "url": run.url,
            "request-rate": f"{run.level.rate:g}",
            "arrival-pattern": "constant",
            "request-count": str(run.level.requests),
            "prompt-input-tokens-mean": str(INPUT_TOKENS),
            "prompt-output-tokens-mean": str(OUTPUT_TOKENS),
            "ui": "none",
            "export-level": "records",
            "output-artifact-dir": str(run.directory),
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        flags = ["--streaming", "--no-server-metrics", "--no-gpu-telemetry"]
        return [str(run.python.parent / "aiperf"), "profile", *arguments, *flags]

    def account(self, run: Run) -> Account:
        records = map(json.loads, (run.directory / self.file).read_text().splitlines())
        told = tuple(
            self._told(run, one["metadata"], one["metrics"])
            for one in records
            if "time_to_first_token" in one["metrics"]
        )
        return Account(told, matched_by="id", ttft_from="sent")

    @staticmethod
    def _told(run: Run, metadata: Mapping[str, Any], metrics: Mapping[str, Any]) -> Told:
        start_ns = metadata["request_start_ns"] - run.real_offset_ns
        ttft_ns = metrics["time_to_first_token"]["value"] * 1e6
        gaps_ns = [gap * 1e6 for gap in metrics["inter_chunk_latency"]["value"]]
        tokens = tuple(round(moment) for moment in accumulate(gaps_ns, initial=start_ns + ttft_ns))
        return Told(start_ns, ttft_ns, metadata["x_request_id"], token_ns=tokens)


def all_clients(llmperf_command: str) -> tuple[Client, ...]:
    return (
        Llmperf(llmperf_command),
        Plain("aiohttp", quick=True),
        Plain("httpx"),
        VllmBench(),
        Guidellm(),
        Aiperf(),
    )
