"""The load levels that every client is asked to drive."""

from __future__ import annotations

from dataclasses import dataclass, replace

INPUT_TOKENS = 128
OUTPUT_TOKENS = 128


@dataclass(frozen=True)
class Level:
    """An open loop of equally spaced requests against a server with a fixed rhythm."""

    name: str
    rate: float
    duration_s: float = 15.0
    ttft_ms: float = 20.0
    itl_ms: float = 10.0
    tls: bool = False

    @property
    def requests(self) -> int:
        return round(self.rate * self.duration_s)

    @property
    def streams(self) -> float:
        """The most answers that are under way at once."""
        answer_s = (self.ttft_ms + (OUTPUT_TOKENS - 1) * self.itl_ms) / 1e3
        return self.rate * min(self.duration_s, answer_s)

    @property
    def tokens_per_s(self) -> float:
        return self.rate * OUTPUT_TOKENS

    def lasting(self, duration_s: float) -> Level:
        return replace(self, duration_s=duration_s)


LEVELS = (
    Level("50/s", 50),
    Level("200/s", 200),
    Level("400/s", 400),
    Level("1024 streams", 160, itl_ms=50.0),
    Level("100/s TLS", 100, tls=True),
)
