"""A run's raw times as columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_llmperf.load.decode import Trace

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """The requests of one run; all columns but the last two have one entry for each *successful* request.

    ``due_ns``, ``first_ns``, ``last_ns``: intended send, first and last token, monotonic ns.
    ``tokens``: output tokens by the engine's usage figure. ``gaps_ns``: all gaps between successive
    events with text, pooled. ``errors``: what went wrong, with the number of each kind and one example.
    ``window_s``: the time that rates are taken over, from the start of the run to the end of its schedule
    or to the last token, whichever is later.
    """

    requests: int
    window_s: float
    due_ns: Times
    first_ns: Times
    last_ns: Times
    tokens: Times
    gaps_ns: Times
    errors: dict[str, tuple[int, str]]

    @classmethod
    def of(cls, traces: Sequence[Trace], started_ns: int, scheduled_s: float) -> Timeline:
        """Column by column from the traces of one run, which was to send for ``scheduled_s`` seconds."""
        good = [trace for trace in traces if trace.error is None]
        failed = [trace for trace in traces if trace.error is not None]
        counts = Counter(trace.error_kind for trace in failed)
        examples = {trace.error_kind: trace.error for trace in reversed(failed)}
        gaps = [np.diff(np.array(trace.token_ns, dtype=np.int64)) for trace in good]
        return cls(
            requests=len(traces),
            window_s=max(scheduled_s, *((trace.token_ns[-1] - started_ns) / 1e9 for trace in good), 0.0),
            due_ns=_column(trace.due_ns for trace in good),
            first_ns=_column(trace.token_ns[0] for trace in good),
            last_ns=_column(trace.token_ns[-1] for trace in good),
            tokens=_column(trace.output_tokens or 0 for trace in good),
            gaps_ns=np.concatenate(gaps) if gaps else np.empty(0, dtype=np.int64),
            errors={str(kind): (count, str(examples[kind])) for kind, count in counts.most_common()},
        )


def _column(values: object) -> Times:
    return np.fromiter(values, dtype=np.int64)  # type: ignore[call-overload,no-any-return]
