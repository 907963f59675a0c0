"""Numbers and times as a person writes them."""

from __future__ import annotations

import math
import re
from numbers import Real

from pytest_llmperf.errors import DeclarationError

MAX_SECONDS = 7 * 24 * 3600
_BYTES = {"M": 10**6, "G": 10**9, "T": 10**12}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def finite_number(value: object) -> float | None:
    """``value`` as a float if it is a finite number (numpy's are, True is not), else None."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def read_number(text: str) -> float:
    """A number greater than 0. Raises :class:`DeclarationError`."""
    try:
        number = float(text)
    except ValueError:
        raise DeclarationError(f"{text!r} is not a number") from None
    if not math.isfinite(number) or number <= 0:
        raise DeclarationError(f"{text!r}: a number greater than 0")
    return number


def read_whole(text: str) -> int:
    """The same, without a fraction."""
    number = read_number(text)
    if number != int(number):
        raise DeclarationError(f"{text!r}: a whole number")
    return int(number)


def read_seconds(text: str) -> float:
    """A time-out in seconds. Raises :class:`DeclarationError`."""
    return _at_most_a_week(read_number(text), text)


def read_duration(text: str) -> float:
    """``90s``, ``20m``, ``1h30m`` or a number of seconds, in seconds. Raises :class:`DeclarationError`."""
    match = _DURATION.fullmatch(text.replace(" ", ""))
    if not text.strip() or match is None:
        try:
            return read_seconds(text)
        except DeclarationError:
            raise DeclarationError(f"{text!r}: a time, as in 90s, 20m, 1h30m or 1200") from None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise DeclarationError(f"{text!r}: a time greater than 0")
    return _at_most_a_week(total, text)


def read_share(text: str) -> float:
    """``5%`` and ``5`` are the share 0.05; ``0.05`` is refused, since it may mean either.

    Raises :class:`DeclarationError`.
    """
    number = read_number(text.strip().removesuffix("%"))
    if number < 0.5 and not text.strip().endswith("%"):
        raise DeclarationError(f"{text!r}: write {number:g}% or {number * 100:g}%, whichever is meant")
    if number >= 100:
        raise DeclarationError(f"{text!r}: below 100%")
    return number / 100


def read_size(text: str) -> int:
    """``50GB``, ``500 MB`` or ``1.5TB`` (powers of 1000) in bytes. Raises :class:`DeclarationError`."""
    match = re.fullmatch(r"(\S+?)\s*([MGT])B", text.strip(), re.IGNORECASE)
    try:
        if match is not None:
            return round(read_number(match[1]) * _BYTES[match[2].upper()])
    except DeclarationError:
        pass
    raise DeclarationError(f"{text!r}: a size, as in 50GB, 500MB or 1.5TB")


def _at_most_a_week(seconds: float, text: str) -> float:
    if seconds > MAX_SECONDS:
        raise DeclarationError(f"{text!r}: at most {MAX_SECONDS} seconds, which is a week")
    return seconds
