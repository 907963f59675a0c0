"""What can go wrong, by whose fault: the declaration, the engine, or the measurement itself."""

from __future__ import annotations


class LlmperfError(Exception):
    """Base of all errors that this package raises on purpose; the message is meant for the person."""


class DeclarationError(LlmperfError, ValueError):
    """A marker, an option, a setting or an argument cannot mean anything."""


class EngineError(LlmperfError):
    """The engine did not start, died, or does not answer as an OpenAI-compatible server."""


class EngineDied(EngineError):
    """The engine ended while it was used; the message is complete."""


class Hindered(EngineError):
    """What an engine needs is in use by others, cannot be reached or has no room, which says nothing about
    the engine: it may start another time."""


class NotReadyYet(EngineError):
    """The engine says that it is ready and refuses to work, for now (HTTP 503)."""


class InvalidRun(LlmperfError):
    """A run happened but says nothing about the engine (the load generator was the bottleneck, say)."""


class StoreError(LlmperfError):
    """A file of ours cannot be read or written, or is not one of ours."""
