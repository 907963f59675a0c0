"""The JSON Schema of a run in a record."""

from __future__ import annotations

from pytest_llmperf.declare.metrics import METRICS, STATISTICS, MetricKey
from pytest_llmperf.engines.protocol import MOMENTS, TOTALS
from pytest_llmperf.keep.schema_words import (
    Schema,
    fields,
    flag,
    many,
    mapping,
    null_or,
    number,
    one_of,
    ref,
    table,
    text,
    whole,
)
from pytest_llmperf.load.gauge_process import MOST
from pytest_llmperf.measure.series import METRICS as DRAWN
from pytest_llmperf.measure.series import MOST_REQUESTS, PERCENTS

_UNITS = {"ms": "in milliseconds", "s": "in seconds", "per_s": "per second"}
_UNITS |= {"usd_per_mtok": "in US dollars per million output tokens"}
_TOTALS = {
    "prompt_tokens": "prompt tokens, as the engine counts them",
    "cached_prompt_tokens": "prompt tokens that came from its prefix cache",
    "preemptions": "requests that lost their cache and began again",
    "draft_tokens": "tokens that were guessed ahead",
    "accepted_tokens": "guessed tokens that were accepted",
    "queue_s": "seconds that requests waited to be scheduled, summed over requests",
    "prefill_s": "seconds from there to the first token, summed over requests",
    "decode_s": "seconds from the first to the last token, summed over requests",
    "timed_requests": "requests that are counted in these sums",
    "steps": "steps of the model",
    "step_tokens": "tokens that went through the model in these steps",
}
_MOMENTS = {
    "running": "requests that the engine generates for",
    "waiting": "requests that wait in the engine",
    "cache_use": "the share of the KV cache that is taken, of 1",
}
assert tuple(_TOTALS) == TOTALS
assert tuple(_MOMENTS) == MOMENTS


def run() -> Schema:
    """One load point in one launch."""
    return fields(
        "One load point, driven once against one launch.",
        {
            "launch": whole(
                "The number of the launch, from 1; a server that runs already is always launch 1."
            ),
            "round": whole("The round in which it was measured, from 1."),
            "attempts": whole("How often it was driven: 2 if the load generator was late at first."),
            "requests": whole("How many requests count."),
            "values": ref("metrics", "The metrics."),
            "uncertainty": ref(
                "metrics",
                "How badly each is known from this many requests: the standard deviation of its logarithm, "
                "which has no unit.",
            ),
            "errors": mapping(
                "Failed requests, by the kind of failure.",
                fields(
                    "One kind.",
                    {"count": whole("Failed requests."), "example": text("What one of them said.")},
                ),
            ),
            "health": health(),
            "warm_up": fields(
                "The bursts before the run, which do not count.",
                {
                    "medians_ms": many("The median end-to-end latency of each.", number("Milliseconds.")),
                    "settled": flag("Whether the last two agreed."),
                },
            ),
            "counters": fields(
                "By how much the engine's own totals grew over the run; what it does not count is missing.",
                {},
                {name: number(f"{_sentence(about)}") for name, about in _TOTALS.items()},
            ),
            "moments": fields(
                "How busy the engine was before the first request, by its own word.",
                {},
                {name: number(f"{_sentence(about)}") for name, about in _MOMENTS.items()},
            ),
            "cache_reset": null_or(flag("Whether cached prompts were forgotten before; null: not known.")),
            "disturbances": many("What the machine did to it, in words.", text("One.")),
        },
        {
            "light": light(),
            "price": fields(
                "What all GPUs together cost.",
                {
                    "usd_per_hour": number("US dollars per hour."),
                    "source": text("Who says so."),
                    "date": text("As of when, as YYYY-MM-DD."),
                },
            ),
            "gave_up": flag("Sending ended early, because the engine's queue grew without bound."),
            "saturated": flag("The engine could not keep up with the rate."),
            "capacity": capacity(),
            "probes": many("The runs that a capacity was found from, in their order.", probe()),
            "series": series(),
        },
    )


def metrics() -> Schema:
    """An object with any of the metrics."""
    return fields(
        "Metrics; those without a value are missing.", {}, {key.name: number(_about(key)) for key in _keys()}
    )


def _keys() -> list[MetricKey]:
    return [
        MetricKey(metric.name, statistic)
        for metric in METRICS.values()
        for statistic in (STATISTICS if metric.is_distribution else (None,))
    ]


def _about(key: MetricKey) -> str:
    metric = key.metric
    unit = "as a share of 1" if metric.share else _UNITS.get(metric.unit, f"in {metric.unit}")
    return f"{key.label}, {unit}. {metric.formula}"


def health() -> Schema:
    return fields(
        "How the load generator did: what is beyond a limit makes the run say nothing about the engine.",
        {
            "dispatch_lag_p50_ms": number(
                "From a request's intended time to its sending, median, milliseconds."
            ),
            "dispatch_lag_p99_ms": number("The same, 99th percentile, milliseconds."),
            "connect_wait_p99_ms": number("From there until the connection took it, p99, milliseconds."),
            "read_lag_p99_ms": number("From the arrival of data to its read, p99, milliseconds."),
            "merged_share": number("Tokens whose time may be over 2 ms too late, as a share of 1."),
            "arrivals": number("The arrival rate achieved over that asked for, of 1."),
            "clock_drift_ms": number("By how much real and monotonic time moved apart, milliseconds."),
            "cpu_share": number("CPU time of the busiest process over the run's time, of 1."),
            "cpu_wait_share": number("Its time ready to run without a core, of 1."),
            "steal_share": number("CPU time that a hypervisor kept, of 1."),
            "processes": whole("How many processes drove the load."),
            "clock": one_of("Who stamped what arrived.", ("kernel", "process")),
            "cached_prompt_share": number("Prompt tokens that were cached and should not have been, of 1."),
            "wrong_prompt_lengths": whole("Prompts whose length the engine counts otherwise."),
            "is_late": flag("Whether there is a problem that another try may not have."),
            "problems": many("What makes the run invalid, in words; a valid run has none.", text("One.")),
        },
    )


def light() -> Schema:
    return fields(
        "The least time that the hardware allows, and how near the run came to it.",
        {
            "share": fields(
                "The least time over the median that was measured: 1 is the speed of light.",
                {},
                {"ttft": number("Of TTFT."), "tpot": number("Of TPOT.")},
            ),
            "of": text("Accelerator, model and formats that it was reckoned for."),
        },
        {
            "ttft_ms": number("The least TTFT of a request that is alone, milliseconds."),
            "tpot_ms": number("The least TPOT of a request that is alone, milliseconds."),
        },
    )


def capacity() -> Schema:
    return fields(
        "What a search for the capacity knows; the rate itself is a metric.",
        {
            "low": number("Lower end of its interval, requests per second."),
            "high": number("Upper end, requests per second."),
            "kind": one_of(
                "Whether it was found, is below all rates that were tried, or above them.",
                ("found", "below", "above"),
            ),
            "settled": flag("Whether it is known as well as was asked for."),
        },
    )


def probe() -> Schema:
    return fields(
        "One run of a search.",
        {
            "rate": number("Requests per second."),
            "duration_s": number("Seconds that count."),
            "requests": whole("Requests that count."),
            "margin": null_or(
                number("The logarithm of value over limit, the worst of the SLO; null: without bound.")
            ),
            "saturated": flag("The engine could not keep up."),
            "values": ref("metrics", "Its metrics."),
        },
        {
            "run_in_s": number("Seconds before those that count."),
            "error": number("The standard deviation of the margin."),
            "problems": many("What makes it invalid, in words.", text("One.")),
        },
    )


def series() -> Schema:
    """What a picture of the run is drawn from."""
    quantile = number("Milliseconds.")
    return fields(
        "What the run is drawn from; parts that there are none of are missing.",
        {},
        {
            "quantiles": fields(
                "Of successful requests, as the metrics are: level 0.5 of ttft_ms is ttft_p50_ms.",
                {
                    "levels": many(
                        f"What share of all is below, of 1: {len(PERCENTS)} levels.", number("Of 1.")
                    ),
                },
                {
                    f"{name}_{METRICS[name].unit}": many(f"{MetricKey(name).label} at each level.", quantile)
                    for name in DRAWN
                },
            ),
            "waterfall": table(
                "Consecutive requests around the first that failed, or else the one with the longest TTFT; "
                "of the first valid run of each load point and side only. Seconds from the run's start.",
                {
                    "due_s": number("When it was to be sent, seconds."),
                    "sent_s": null_or(number("When it was, seconds; null: never.")),
                    "first_token_s": null_or(number("When its first token came, seconds; null: none came.")),
                    "ended_s": null_or(number("When it ended, seconds; null: it did not.")),
                    "output_tokens": null_or(whole("Tokens, as the engine counts them; null: not told.")),
                    "error": null_or(text("The kind of its failure; null: none.")),
                },
                MOST_REQUESTS,
            ),
            "engine": table(
                "How busy the engine was, by its own word, about once a second.",
                {
                    "at_s": number("When it answered, seconds from the start of the run."),
                    **{
                        name: null_or(number(f"{_sentence(about)[:-1]}; null: not told."))
                        for name, about in _MOMENTS.items()
                    },
                },
                MOST,
            ),
        },
    )


def _sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}."
