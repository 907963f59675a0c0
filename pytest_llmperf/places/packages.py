"""The packages that an engine runs with.

Also a program, from the standard library alone, for the interpreter of another environment:
``python packages.py DISTRIBUTION`` prints a JSON object with the fields of :class:`Packages`, or ``null``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit
from urllib.request import url2pathname

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True)
class Packages:
    """A distribution and the installed ones that it needs, directly or not.

    ``needed`` are their pins (``name==version`` or ``name @ url``), sorted, without its own. ``everything``
    is a digest of all that is installed beside it. ``source`` is the directory of an editable install.
    """

    version: str
    needed: tuple[str, ...]
    everything: str
    source: str | None

    @property
    def summary(self) -> str | None:
        """A short name of :attr:`needed`, by which two sets can be told apart; None for an empty set."""
        if not self.needed:
            return None
        return f"{digest(self.needed)[:12]} ({len(self.needed)} packages)"


def packages_of(distribution: str) -> Packages | None:
    """Those of the running interpreter; None where the distribution is not installed."""
    try:
        own = importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    needed = dict(_needed(canonical(distribution)))
    needed.pop(canonical(distribution))
    is_editable = (origin := _origin(own)).get("dir_info", {}).get("editable", False)
    return Packages(
        version=own.version,
        needed=tuple(sorted(needed.values())),
        everything=digest(sorted(_everything())),
        source=url2pathname(urlsplit(origin["url"]).path) if is_editable else None,
    )


def canonical(name: str) -> str:
    """A distribution's name in the one spelling that all its spellings have in common."""
    return re.sub(r"[-_.]+", "-", name).lower()


def digest(lines: tuple[str, ...] | list[str]) -> str:
    """The SHA-256 of some lines, in hexadecimal digits."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _needed(distribution: str) -> Iterator[tuple[str, str]]:
    """Name and pin of a distribution and of all that it needs.

    Markers are not evaluated but for extras: what they exclude here is not installed, or is by another's
    wish.
    """
    todo, seen = [(distribution, "")], set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        yield name, _pin(found)
        for line in found.requires or ():
            asked = {canonical(one) for one in _EXTRA.findall(line.partition(";")[2])}
            match = _REQUIREMENT.match(line)
            if match and (extra in asked if asked else not extra):
                extras = [canonical(one.strip()) for one in (match[2] or "").split(",") if one.strip()]
                todo += [(canonical(match[1]), one) for one in ("", *extras)]


def _pin(found: importlib.metadata.Distribution) -> str:
    name, origin = canonical(found.metadata["Name"]), _origin(found)
    url = origin.get("url", "")
    if vcs := origin.get("vcs_info"):
        return f"{name} @ {vcs['vcs']}+{url}@{vcs['commit_id']}"
    # A file of this machine is no name for anybody else; its version is the best there is.
    return f"{name} @ {url}" if url.startswith("http") else f"{name}=={found.version}"


def _origin(found: importlib.metadata.Distribution) -> dict:  # type: ignore[type-arg]
    """Where it was installed from, if not from an index (PEP 610)."""
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    return origin if isinstance(origin, dict) else {}


def _everything() -> Iterator[str]:
    for found in importlib.metadata.distributions():
        name = found.metadata["Name"]  # None for what an interrupted installer left
        if name and canonical(name) != "pip":
            yield f"{canonical(name)}=={found.version}"


if __name__ == "__main__":
    del sys.path[0]  # the directory of this file, whose modules are nobody else's
    known = packages_of(sys.argv[1])
    print(json.dumps(known and asdict(known)))
