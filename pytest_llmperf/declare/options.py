"""What there is to say: the options and markers by name, with their help.

All that pytest has to know in every test run, so it imports next to nothing.
"""

from __future__ import annotations

from typing import NamedTuple

FIXTURE = "llmperf"
DEFAULT_GATE = "ttft_p50_ms, ttft_p95_ms, tpot_p50_ms, output_tokens_per_s, capacity_per_s"
OUTPUTS = ("json", "html", "markdown", "benchmark-json")
"""The options that name a file which is made of the session's record."""
MARKERS = {
    "slo": "slo(ttft_ms=300, tpot_ms=40): limits that every load point of the test has to meet; a latency "
    "without a statistic is a p95 (--llmperf-percentile)",
    "sweep": "sweep(rates=[1, 2, 4]), sweep(concurrency=[1, 8]) or sweep(replay=[1]), with duration=, "
    "requests=, arrivals=: the load points of the test; sweep() finds its own rates within budget='5m'",
    "tolerance": "tolerance('3%', ttft_p95_ms='10%'): how much worse than its base the test, or a metric "
    "of it, may be",
    "engine": "engine('llamacpp --parallel 8'): what the test is run against",
}


class Option(NamedTuple):
    """One setting as a person sees it. Without a ``metavar`` it is a flag of the command line alone."""

    name: str
    help: str
    metavar: str | None = None
    default: str | None = None

    @property
    def flag(self) -> str:
        return f"--llmperf-{self.name}"

    @property
    def ini(self) -> str:
        return f"llmperf_{self.name.replace('-', '_')}"

    @property
    def variable(self) -> str:
        return self.ini.upper()


OPTIONS = (
    Option(
        "engine",
        "what is under test: 'llamacpp --parallel 8' or the URL of a running server",
        "SUBJECT",
        "llamacpp",
    ),
    Option(
        "model",
        "what the engine serves: a model file, folder or id, the served name at a URL; llamacpp's default is "
        "a small random model that it writes itself",
        "MODEL",
    ),
    Option(
        "place",
        "where engines are started: local, or 'modal gpu=H100! region=us-east' for Modal sandboxes",
        "PLACE",
        "local",
    ),
    Option(
        "rates",
        "open loop at these requests/s, as in 1,2,4; 1..10 is a ramp; adaptive, adaptive:8 and linear:10 "
        "find their own",
        "LIST",
    ),
    Option("concurrency", "closed loop with this many requests at once, as in 1,8", "LIST"),
    Option("replay", "arrivals of the workload's trace at these speeds, as in 1,2", "LIST"),
    Option(
        "arrivals",
        "arrival process of the open loop: poisson, constant or gamma:SHAPE (burstier below 1)",
        "NAME",
        "poisson",
    ),
    Option("duration", "seconds during which a load point sends requests (default: 30)", "SECONDS"),
    Option("requests", "requests of a load point, in place of a duration", "N"),
    Option(
        "sweep-budget",
        "time in each launch for a sweep that finds its rates, a capacity or probes, as in 5m (default: 5m)",
        "TIME",
    ),
    Option("slo", "limits, as in 'ttft_ms=300 tpot_ms=40'", "LIMITS"),
    Option(
        "percentile",
        "statistic of a latency limit that names none: p50, p90, p95, p99 or mean",
        "NAME",
        "p95",
    ),
    Option(
        "launches",
        "starts of the engine that every test is measured in: N, or MIN..MAX for as many of them as a "
        "decision takes (default: 3..8 where something is compared or accepted, else 1..8)",
        "N|MIN..MAX",
    ),
    Option("budget", "ask for no more launches after this time, as in 90s, 20m or 1h30m", "TIME"),
    Option(
        "against",
        "compare side by side with this subject, launched in turns with the one under test",
        "SUBJECT",
    ),
    Option(
        "baseline",
        "compare with the baselines at this path, or with those committed on this branch, tag or commit",
        "NAME|PATH",
    ),
    Option(
        "tolerance",
        "how much worse than the base is still fine, as in 5%, or for single metrics 'ttft_p95_ms=10%'",
        "PERCENT",
        "5%",
    ),
    Option("gate", "metrics that are compared with the baseline", "METRICS", DEFAULT_GATE),
    Option(
        "inconclusive",
        "what a comparison that could not be decided does to its test: warn or fail; fail also where there "
        "was nothing to compare with",
        "WHAT",
        "warn",
    ),
    Option(
        "exit-codes",
        "what pytest's exit status says: pytest, or bisect for git bisect run (1 bad, 125 not to be told)",
        "WHAT",
        "pytest",
    ),
    Option("dir", "where records and baselines are kept, relative to the root directory", "DIR", ".llmperf"),
    Option(
        "history",
        "what all sessions measured is added to: an SQLite file, a directory of objects as in "
        "s3://bucket/dir, or none (default: history.sqlite in the directory of records)",
        "PATH|URL",
    ),
    Option("json", "also write the session's record to this file", "PATH"),
    Option("html", "also write a report to this file: one page with charts that works offline", "PATH"),
    Option("markdown", "also write what a pull request is told, in GitHub's Markdown, to this file", "PATH"),
    Option(
        "benchmark-json",
        "write what was measured as pytest-benchmark does, for pytest-benchmark compare",
        "PATH",
    ),
    Option("startup-timeout", "seconds until an engine has to be ready", "SECONDS", "600"),
    Option("request-timeout", "seconds until a request is given up and counts as failed", "SECONDS", "120"),
    Option(
        "workers",
        "processes that drive the load: a number, or auto for as many as the load takes",
        "N",
        "auto",
    ),
    Option(
        "gpus",
        "GPUs that engines may be given: indices or UUIDs, or all (default: those in CUDA_VISIBLE_DEVICES if "
        "that is set, else all)",
        "LIST",
    ),
    Option("prices", "dollars per GPU hour, in place of the list prices of the package: a TOML file", "PATH"),
    Option(
        "lease-timeout",
        "seconds to wait for GPUs, or for the CPU, that another test run has leased",
        "SECONDS",
        "3600",
    ),
    Option(
        "lease-dir",
        "where leases are kept; whoever shares GPUs has to share it",
        "DIR",
        "/tmp/llmperf-leases",
    ),
    Option(
        "cache-limit",
        "after an environment of an engine was built, remove those that were not used for the longest until "
        "all of them take no more than this, as in 50GB (default: keep all)",
        "SIZE",
    ),
    Option("update", "accept what is measured as the new baseline of each test that meets its SLO"),
)
