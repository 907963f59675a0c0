"""What a word on the command line may be, for argparse."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from pytest_llmperf.errors import DeclarationError

T = TypeVar("T")


def typed(parse: Callable[[str], T]) -> Callable[[str], T]:
    """``parse`` for argparse, which shows the message of no other error."""

    def checked(text: str) -> T:
        try:
            return parse(text)
        except DeclarationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked
