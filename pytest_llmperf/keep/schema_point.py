"""The JSON Schema of a load point in a record, and of a sweep that found its own."""

from __future__ import annotations

from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.schema_words import (
    Schema,
    fields,
    flag,
    many,
    mapping,
    null_or,
    number,
    one_of,
    or_text,
    ref,
    text,
    time,
    whole,
)

SIDES = ("candidate", "base")


def sweep() -> Schema:
    rate = number("Requests per second.")
    return fields(
        "One of them.",
        {
            "workload": text("Its workload in words."),
            "search": text("How rates were chosen."),
            "bounds": fields(
                "What the engine can do at most, as bursts told.",
                {
                    "latency_s": number("Of a request that is alone, seconds."),
                    "throughput": number("Requests per second of at_once requests at once."),
                    "at_once": whole("How many that were."),
                    "is_flat": flag("Whether more at once would bring no more."),
                },
            ),
            "rates": many("Those that were measured.", rate),
            "saturated": many(
                "Rates that the engine could not keep up with, which are no load points.",
                fields(
                    "One.",
                    {
                        "rate": rate,
                        "requests": whole("Requests that were sent."),
                        "values": ref("metrics", "Its metrics."),
                        "gave_up": flag("Whether sending ended early."),
                    },
                ),
            ),
            "meets_slo_at": null_or(number("The highest rate that meets the SLO, requests per second.")),
            "misses_slo_at": null_or(number("The lowest above it that does not, requests per second.")),
            "knee": null_or(number("Where the latency curve bends, requests per second.")),
            "ended": text("What ended it early: budget, load generator, or empty."),
        },
        {
            "side": one_of("Whose launch found the rates.", SIDES),
            "late": many(
                "Rates that the load generator could not drive.",
                fields("One.", {"rate": rate, "problems": many("Why.", text("One reason."))}),
            ),
        },
    )


def point() -> Schema:
    key = text("A metric's name.")
    return fields(
        "One load point over all launches.",
        {
            "workload": text("The workload in words."),
            "load": text("The load in a few words, as in 4/s."),
            "key": text("Workload and load in full: what makes two points the same for a comparison."),
            "declared": fields("What was declared.", {"workload": _workload(), "load": _load()}),
            "runs": many("The candidate's runs, in their order.", ref("run")),
            "objectives": many("The limits of the SLO, and how they went.", _objective()),
            "changes": many("What changed from what it was compared with.", _change()),
        },
        {
            "base_runs": many("The runs of what it was measured side by side with.", ref("run")),
            "explored": flag("Whether a sweep that finds its own rates came here."),
            "course": mapping(
                "How a metric went from one accepted baseline to the next.",
                many(
                    "Its steps.",
                    {
                        "type": "array",
                        "prefixItems": [
                            text("When."),
                            text("Of what subject."),
                            number("Its mean, in its unit."),
                        ],
                        "items": False,
                        "description": "When, of what, how much.",
                    },
                ),
            )
            | {"propertyNames": key},
            "creep": many(
                "Changes that came in steps, each within its tolerance.",
                _change(
                    {
                        "since": time("When what it is compared with here was accepted."),
                        "since_subject": text("Of what subject that was."),
                        "steps": whole("How many accepted baselines ago that was."),
                    }
                ),
            ),
        },
    )


def _workload() -> Schema:
    tokens = "a number, or a distribution as it was declared"
    return fields(
        "The requests; what says nothing is missing.",
        {"chat": flag("Whether they are chats.")},
        {
            "input_tokens": or_text(whole(f"Tokens of a prompt: {tokens}.")),
            "output_tokens": or_text(whole(f"Tokens of an answer: {tokens}.")),
            "sampling": mapping("Fields of a request that choose how tokens are sampled.", {}),
            "dataset": text("The file that prompts come from."),
            "trace": text("The file that arrivals and lengths come from."),
            "shared_prefix_tokens": or_text(whole("Tokens that prompts begin with in common.")),
            "prefixes": whole("How many such beginnings there are."),
            "turns": whole("Turns of a conversation."),
            "think_s": number("Seconds between an answer and the next turn."),
        },
    )


def _load() -> Schema:
    return fields(
        "The load; what says nothing is missing.",
        {},
        {
            "rate": or_text(number("Requests per second of an open loop; a ramp as it was declared.")),
            "concurrency": whole("Requests at once of a closed loop."),
            "arrivals": text("The arrival process of an open loop."),
            "duration_s": number("Seconds in which requests are sent."),
            "requests": whole("How many requests are sent."),
            "replay": number("How many times faster a trace is replayed."),
            "seeks": text("The limits under which the highest rate is searched for."),
            "batch": whole("Requests of a batch, all at once."),
        },
    )


def _objective() -> Schema:
    return fields(
        "One limit of the SLO at one load point; values in the metric's unit.",
        {
            "metric": text("The metric's name."),
            "label": text("The same for people."),
            "limit": number("The limit."),
            "value": number("The value over the launches."),
            "margin": null_or(
                number("Distance to the limit as a share of it, negative beyond it; null: the limit is 0.")
            ),
            "met": flag("Whether the value meets the limit."),
            "launches": whole("Launches with a value."),
            "missed": whole("How many of them miss the limit."),
        },
        {
            "low": number("Lower end of the value's 95 % interval."),
            "high": number("Upper end."),
            "verdict": one_of("Whether that can be told.", map(str, Verdict)),
        },
    )


def _change(more: dict[str, Schema] | None = None) -> Schema:
    return fields(
        "One metric's change: +0.12 is 12 % more.",
        {
            "metric": text("The metric's name."),
            "label": text("The same for people."),
            "base": number("The mean of the base's launches, in the metric's unit."),
            "candidate": number("That of the candidate's."),
            "base_launches": whole("Launches of the base with a value."),
            "candidate_launches": whole("Launches of the candidate with one."),
            "tolerance": number("What is tolerated, as a share of 1."),
            "better": one_of("Which way is better.", ("lower", "higher")),
            "spread": number("How far launches are apart: the standard deviation of their logarithm."),
            "estimate": number("The change, as a share of the base."),
            "low": number("Lower end of its 95 % interval."),
            "high": number("Upper end."),
            "verdict": one_of("What that is.", map(str, Verdict)),
            **(more or {}),
        },
        {
            "most": whole("How many launches a side there may be."),
            "error": number("The standard error of the change's logarithm."),
            "degrees": number("Degrees of freedom of spread and error."),
            "p_value": number("Of not worse, against worse."),
            "level": number("What the p-value is held against at this look."),
            "final_level": number("The same at the last look."),
            "risk": number("The probability that it is worse than tolerated."),
            "p_twice": number("The p-value of one that is worse than twice as much."),
        },
    )
