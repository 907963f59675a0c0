"""Hypothesis strategies for workloads, loads and flags of engines, and settings to measure them with.

Needs the extra ``hypothesis``; nothing else imports this module. All shrink towards what is small: the fewest
tokens, the lowest load, the fewest flags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_llmperf.declare.lengths import MAX_TOKENS
from pytest_llmperf.declare.load import MAX_CONCURRENCY
from pytest_llmperf.declare.number import finite_number
from pytest_llmperf.declare.subject import parse_subject, typed
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError

try:
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import strategies as st
except ImportError as missing:
    raise ImportError(
        "pytest_llmperf.strategies needs Hypothesis: pip install 'pytest-llmperf[hypothesis]'"
    ) from missing

__all__ = ["engine_flags", "load_points", "measured", "workloads"]

Whole = int | tuple[int, int] | st.SearchStrategy[int]
Amount = float | tuple[float, float] | st.SearchStrategy[float]
_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")

measured = settings(
    deadline=None,
    max_examples=30,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink),
    suppress_health_check=(
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
    ),
)
"""Settings for tests whose examples are measured, as a decorator: ``@measured``, or ``@settings(measured,
max_examples=100)``.

No deadline, since an example takes as long as it takes; one ``llmperf`` fixture serves them all, on purpose,
in each of the launches that the test is run in; 30 examples, and none to explain a failure by, since each
costs a measurement.
"""


def workloads(
    *,
    input_tokens: Whole,
    output_tokens: Whole = 1,
    chat: bool | st.SearchStrategy[bool] = False,
    shared_prefix_tokens: Whole = 0,
    turns: Whole = 1,
) -> st.SearchStrategy[Workload]:
    """Workloads of so many tokens: each a number, a range with both ends as in ``(1, 4096)``, or a strategy.

    Shrinks the number of turns first, then the prompt, the answer and the shared prefix, as ranges each
    towards its lower end. Raises :class:`DeclarationError` for what is none of these.
    """
    if not isinstance(chat, bool | st.SearchStrategy):
        raise DeclarationError(f"workloads(chat={chat!r}): True, False or a strategy of them")
    said: dict[str, tuple[object, st.SearchStrategy[Any]]] = {
        "turns": (turns, _whole("turns", turns, 1)),
        "input_tokens": (input_tokens, _whole("input_tokens", input_tokens, 1)),
        "output_tokens": (output_tokens, _whole("output_tokens", output_tokens, 1)),
        "shared_prefix_tokens": (
            shared_prefix_tokens,
            _whole("shared_prefix_tokens", shared_prefix_tokens, 0),
        ),
        "chat": (chat, st.just(chat) if isinstance(chat, bool) else chat),
    }
    usual = {"turns": 1, "shared_prefix_tokens": 0, "chat": False}
    # An example is shown as what it says, and no more.
    drawn = {name: values for name, (given, values) in said.items() if given != usual.get(name)}
    return st.fixed_dictionaries(drawn).filter(_go_together).flatmap(_built)


def _go_together(fields: Mapping[str, Any]) -> bool:
    is_longer = fields["input_tokens"] > fields.get("shared_prefix_tokens", 0)
    return bool(is_longer and (fields.get("turns", 1) == 1 or fields.get("chat", False)))


def _built(fields: Mapping[str, Any]) -> st.SearchStrategy[Workload]:
    # Hypothesis shows what it built as one would write it, and anything else by its repr.
    return st.builds(Workload, **{name: st.just(value) for name, value in fields.items()})


def load_points(
    *,
    rate: Amount | None = None,
    concurrency: Whole | None = None,
    duration: Amount | None = None,
    requests: Whole | None = None,
) -> st.SearchStrategy[dict[str, float | int]]:
    """Loads as ``llmperf(workload, **load)`` and ``llmperf.probe(workload, **load)`` take them: an open loop
    at ``rate`` requests/s, or a closed one of ``concurrency``, for ``duration`` seconds or of so many
    ``requests``.

    Each a number, a range with both ends, or a strategy; rates and durations of a range are whole tenths.
    Shrinks the load first, then its length. Raises :class:`DeclarationError`.
    """
    if (rate is None) == (concurrency is None):
        raise DeclarationError("load_points(): either rate= or concurrency=")
    drawn: dict[str, st.SearchStrategy[Any]] = {}
    if rate is not None:
        drawn["rate"] = _amount("rate", rate)
    if concurrency is not None:
        drawn["concurrency"] = _whole("concurrency", concurrency, 1, MAX_CONCURRENCY)
    if duration is not None:
        drawn["duration"] = _amount("duration", duration)
    if requests is not None:
        drawn["requests"] = _whole("requests", requests, 1)
    return st.fixed_dictionaries(drawn)


def engine_flags(engine: str, flags: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[str]:
    """Subjects as ``llmperf.probe(workload, engine=…)`` takes them: ``engine``, as in ``"llamacpp"``, with
    any of ``flags``, as in ``{"--parallel": st.integers(1, 8), "--no-warmup": st.booleans()}``.

    Each flag may be there or not; one of a strategy that gives True and False is there, without a value,
    where it gives True. Shrinks towards no flags at all, then each value as its strategy does. Raises
    :class:`DeclarationError` for an engine that takes none, and for what is no flag.
    """
    subject = parse_subject(engine)
    if subject.url is not None:
        raise DeclarationError(f"engine_flags({engine!r}): a server that runs already takes no flags")
    for flag, values in flags.items():
        if not _FLAG.fullmatch(flag):
            raise DeclarationError(f"engine_flags(…{flag!r}…): a flag begins with a dash, as in --parallel")
        if not isinstance(values, st.SearchStrategy):
            raise DeclarationError(
                f"engine_flags(…{flag!r}: {values!r}): a strategy, as in st.integers(1, 8)"
            )

    def written(chosen: Mapping[str, Any]) -> str:
        words = list(subject.args)
        for flag, value in chosen.items():
            if value is None or value is False:
                continue
            words += [flag] if value is True else [flag, str(value)]
        return typed(type(subject)(subject.engine, subject.version, subject.path, tuple(words), subject.env))

    choices = {flag: st.one_of(st.none(), values) for flag, values in flags.items()}
    return st.fixed_dictionaries(choices).map(written)


def _whole(name: str, said: Whole, least: int, most: int = MAX_TOKENS) -> st.SearchStrategy[int]:
    if isinstance(said, st.SearchStrategy):
        return said
    ends = said if isinstance(said, tuple) else (said, said)
    whole = [end for end in ends if isinstance(end, int) and not isinstance(end, bool)]
    if len(ends) != 2 or len(whole) != 2 or not least <= whole[0] <= whole[1] <= most:
        raise DeclarationError(
            f"{name}={said!r}: a whole number from {least} to {most}, a range as in ({least}, 64), "
            "or a strategy"
        )
    return st.integers(*whole)


def _amount(name: str, said: Amount) -> st.SearchStrategy[float]:
    if isinstance(said, st.SearchStrategy):
        return said
    ends = said if isinstance(said, tuple) else (said, said)
    numbers = [number for end in ends if (number := finite_number(end)) is not None]
    if len(ends) != 2 or len(numbers) != 2 or not 0 < numbers[0] <= numbers[1]:
        raise DeclarationError(
            f"{name}={said!r}: a number greater than 0, a range as in (0.5, 8), or a strategy"
        )
    low, high = numbers
    if not isinstance(said, tuple):
        return st.just(low)
    # Tenths from the lower end: fractions that no person would ask for only make it harder to shrink.
    steps = int((high - low) * 10 + 1e-9)
    return st.integers(0, steps).map(lambda step: round(low + step / 10, 6))
