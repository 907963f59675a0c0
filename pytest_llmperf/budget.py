"""The time that a session may take for its launches."""

from __future__ import annotations

import time


class Budget:
    """``limit_s`` for all rounds together, the first of which has to be; None: for as long as it takes."""

    def __init__(self, limit_s: float | None) -> None:
        self.limit_s = limit_s
        self._began: float | None = None
        self._round_began = 0.0

    def begin_round(self) -> None:
        """A round begins now."""
        self._round_began = time.monotonic()
        if self._began is None:
            self._began = self._round_began

    def affords_another(self) -> bool:
        """Whether a round that begins now and takes as long as the one that ends now ends in time."""
        if self.limit_s is None or self._began is None:
            return True
        now = time.monotonic()
        return now - self._began + now - self._round_began <= self.limit_s
