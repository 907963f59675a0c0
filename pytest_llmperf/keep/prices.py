"""What GPUs cost: a table of the package, or of the person."""

from __future__ import annotations

import datetime
import importlib.resources
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.environment import accelerators

_TABLE = importlib.resources.files("pytest_llmperf.keep") / "prices.toml"
_FIELDS = ("accelerator", "usd_per_hour", "source", "date")
_EXAMPLE = (
    'expected [[price]] entries with accelerator = "H100", usd_per_hour = 2.1, source = "our contract", '
    "date = 2026-10-01"
)


@dataclass(frozen=True)
class Price:
    """Dollars per hour of all GPUs together; who says so, and as of when (ISO 8601)."""

    usd_per_hour: float
    source: str
    date: str


def why_unknown(environment: Mapping[str, str]) -> str:
    """Why :meth:`Prices.of` has none of an environment, and what to do, as a clause."""
    if there := environment.get("accelerators"):
        return f"for no price of {there} is known: give a file with one (--llmperf-prices)"
    return (
        "for no GPU is known that has a price (the engine runs on the CPU, or at a URL): put the limit on "
        "output_tokens_per_s"
    )


@dataclass(frozen=True)
class _Entry:
    """The price of one GPU. It is meant by every GPU whose name has all of the ``words`` of ``name``."""

    name: str
    price: Price

    @property
    def words(self) -> frozenset[str]:
        return _words(self.name)


class Prices:
    """Prices of GPUs by name."""

    def __init__(self, entries: Sequence[_Entry], source: str) -> None:
        """``source`` is where they are from, for a message."""
        self._entries, self._source = tuple(entries), source

    @classmethod
    def read(cls, path: Path | None = None) -> Prices:
        """A file of prices, or that of the package. Raises :class:`StoreError` that names file and entry."""
        name = str(path) if path is not None else "the table of prices"
        try:
            content = tomllib.loads((path or _TABLE).read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreError(f"{name} cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise StoreError(f"{name} is not TOML ({error}); {_EXAMPLE}") from None
        entries = content.get("price")
        if set(content) != {"price"} or not isinstance(entries, list) or not entries:
            raise StoreError(f"{name} has no prices, or something else beside them; {_EXAMPLE}")
        read: list[_Entry] = []
        for number, entry in enumerate(entries, 1):
            try:
                read.append(_entry(entry))
                if read[-1].words in [other.words for other in read[:-1]]:
                    raise ValueError("a second price of the same accelerator")
            except ValueError as error:
                raise StoreError(f"{name}, price {number}{_called(entry)}: {error}") from None
        return cls(read, name)

    def of(self, environment: Mapping[str, str]) -> Price | None:
        """The price of the GPUs of an environment; None where the hardware or its price is not known. Raises
        :class:`StoreError` where one of two prices may be meant."""
        there = accelerators(environment)
        found = {name: self._of_one(name) for name in there}
        known = {name: price for name, price in found.items() if price is not None}
        if not known or len(known) < len(there):
            return None
        return Price(
            math.fsum(price.usd_per_hour * there[name] for name, price in known.items()),
            "; ".join(sorted({price.source for price in known.values()})),
            min(price.date for price in known.values()),
        )

    def _of_one(self, name: str) -> Price | None:
        """That of the entry that has most of the name's words. A part of a GPU (MIG) has a price only if an
        entry is for it. Raises :class:`StoreError` where several have as many."""
        words = _words(name)
        meant = [entry for entry in self._entries if entry.words <= words]
        if "mig" in words:
            meant = [entry for entry in meant if "mig" in entry.words]
        most = max((len(entry.words) for entry in meant), default=0)
        closest = [entry for entry in meant if len(entry.words) == most]
        if len(closest) > 1:
            named = " and ".join(f'"{entry.name}"' for entry in closest)
            raise StoreError(
                f"{self._source}: {named} are alike prices of {name}; give one with more words of that name"
            )
        return closest[0].price if closest else None


def _words(name: str) -> frozenset[str]:
    """``NVIDIA A100-SXM4-80GB`` in words, whatever is between them."""
    return frozenset(re.findall(r"[a-z0-9.]+", name.lower()))


def _called(entry: Any) -> str:
    name = entry.get("accelerator") if isinstance(entry, dict) else None
    return f" ({name})" if isinstance(name, str) else ""


def _entry(content: Any) -> _Entry:
    """Raises ValueError."""
    if not isinstance(content, dict):
        raise ValueError(_EXAMPLE)
    if missing := [name for name in _FIELDS if name not in content]:
        raise ValueError(f"{', '.join(missing)} missing; {_EXAMPLE}")
    if unknown := [name for name in content if name not in _FIELDS]:
        raise ValueError(f"{', '.join(unknown)} not known; valid: {', '.join(_FIELDS)}")
    usd = content["usd_per_hour"]
    if isinstance(usd, bool) or not isinstance(usd, int | float) or not 0 < usd < math.inf:
        raise ValueError(f"usd_per_hour = {usd!r}: expected dollars per hour of one GPU, greater than 0")
    if not isinstance(content["accelerator"], str) or not _words(content["accelerator"]):
        raise ValueError('accelerator: expected words of the name that nvidia-smi shows, as in "H100 PCIe"')
    if not isinstance(content["source"], str) or not content["source"].strip():
        raise ValueError("source: expected who says so")
    price = Price(float(usd), content["source"].strip(), _date(content["date"]))
    return _Entry(content["accelerator"], price)


def _date(value: Any) -> str:
    """Raises ValueError."""
    try:
        day = value if isinstance(value, datetime.date) else datetime.date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"date = {value!r}: expected a day, as in 2026-10-01") from None
    return day.isoformat()[:10]
