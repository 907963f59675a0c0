"""What a test's node id is made of: ``perf/test_chat.py::TestLong::test_chat[http://[::1]:8000]``."""

from __future__ import annotations


def short_name(nodeid: str) -> str:
    """The test without its file and class; its parameters may have ``::`` as well."""
    return split_name(nodeid)[1]


def split_name(nodeid: str) -> tuple[str, str]:
    """Its file and class, and its name with parameters; the first is empty where there is none."""
    begins = nodeid.find("[", nodeid.find(".py::") + 1)  # a directory may have a bracket too
    at = nodeid.rfind("::", 0, begins if begins >= 0 else len(nodeid))
    return (nodeid[:at], nodeid[at + 2 :]) if at >= 0 else ("", nodeid)
