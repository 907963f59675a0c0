"""A subject as it is kept: everything about it that can differ from another one."""

from __future__ import annotations

from pytest_llmperf.declare.subject import Subject, is_secret
from pytest_llmperf.engines.protocol import Description


def subject_fields(subject: Subject, description: Description) -> dict[str, str]:
    """Engine, version, packages, flags, variables and resolved settings, flat, without secrets."""
    fields = {"engine": subject.url or subject.engine, "version": description.version or "unknown"}
    if description.commit:
        fields["commit"] = description.commit
    if description.packages:
        fields["packages"] = description.packages
    if subject.path:
        fields["path"] = subject.path
    fields |= {f"flag {name}": value for name, value in flags(subject.shown_args).items()}
    fields |= {f"variable {name}": value for name, value in subject.shown_env.items()}
    fields |= {
        f"setting {name}": value for name, value in description.settings.items() if not is_secret(name)
    }
    return fields


def flags(args: tuple[str, ...]) -> dict[str, str]:
    """An argument vector as flag and value; repeated flags are joined, a flag without a value is ``on``."""
    found: dict[str, list[str]] = {}
    current = ""
    for arg in args:
        if arg.startswith("-") and not _is_number(arg):
            current, equals, value = arg.partition("=")
            found.setdefault(current, []).extend([value] if equals else [])
        else:
            found.setdefault(current or "(argument)", []).append(arg)
    return {flag: " ".join(values) or "on" for flag, values in found.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
