"""The releases of an engine between two of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

from packaging.version import InvalidVersion, Version

from pytest_llmperf.bisect.position import Position, Unusable
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.protocol import Engine
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.places.environments import is_version
from pytest_llmperf.places.index import HERE, PackageIndex, Release
from pytest_llmperf.places.indexes import configured
from pytest_llmperf.places.installer import nearest
from pytest_llmperf.places.packages import packages_of


class Releases:
    """An :class:`~pytest_llmperf.bisect.position.Axis`: the same flags and variables on every release between
    two, in the order of versions.

    From the newer to the older one as well: then each step takes a release back, and the culprit is the one
    that had made it better. Pre-releases and yanked ones are left out unless asked for; the ends never are.
    """

    kind = "releases"

    def __init__(
        self,
        good: Subject,
        bad: Subject,
        engine: Engine,
        *,
        with_pre: bool = False,
        with_yanked: bool = False,
        releases: Callable[[str], Sequence[Release]] | None = None,
    ) -> None:
        """``releases`` gives those of a distribution, by default those of the installer's package index.

        Raises :class:`DeclarationError` for ends that no releases lie between, and
        :class:`~pytest_llmperf.errors.EngineError` if the index cannot be asked.
        """
        first, last = _ends(good, bad, engine)
        assert engine.distribution is not None
        releases = releases or PackageIndex(configured()).releases
        self._good, self._bad = good, bad
        self._chosen = _between(
            releases(engine.distribution), first, last, engine.distribution, with_pre, with_yanked
        )
        self.positions: Sequence[Position] = self._positions(is_backwards=last < first)

    def subject(self, index: int) -> Subject:
        if index == 0:
            return self._good
        if index == len(self._chosen) - 1:
            return self._bad
        release = self._chosen[index]
        if not release.fits:
            needs = f"; it needs Python {release.requires_python}" if release.requires_python else ""
            raise Unusable(index, f"release {release.version} has no file for {HERE}{needs}")
        return dataclasses.replace(self._good, version=str(release.version))

    def _positions(self, is_backwards: bool) -> list[Position]:
        found = [Position(str(one.version), f"release {one.version}", _about(one)) for one in self._chosen]
        if is_backwards:
            found[1:] = [
                Position(str(one.version), f"release {newer.version} taken back", _about(newer))
                for newer, one in itertools.pairwise(self._chosen)
            ]
        return found


def _about(release: Release) -> dict[str, str]:
    about = {"date": release.date} if release.date else {}
    return about | ({"yanked": "yes"} if release.is_yanked else {})


def _ends(good: Subject, bad: Subject, engine: Engine) -> tuple[Version, Version]:
    if engine.distribution is None:
        raise DeclarationError(
            f"{good.target}: {engine.name} has no releases on a package index; bisect its flags or commits"
        )
    for side, subject in (("good", good), ("bad", bad)):
        if subject.version is None:
            raise DeclarationError(
                f"--{side} {subject}: releases are bisected between two versions, as in "
                f"--{side} '{subject.engine}==VERSION'"
            )
    if good.engine != bad.engine:
        raise DeclarationError(
            f"{good.engine} and {bad.engine} are two engines: no releases lie between them"
        )
    if (good.args, good.env) != (bad.args, bad.env):
        raise DeclarationError("--good and --bad differ in flags or variables as well: bisect one at a time")
    first, last = (_version(side, subject) for side, subject in (("good", good), ("bad", bad)))
    if first == last:
        raise DeclarationError(f"--good and --bad are the same release, {first}")
    return first, last


def _version(side: str, subject: Subject) -> Version:
    try:
        return Version(subject.version or "")
    except InvalidVersion:
        raise DeclarationError(f"--{side} {subject.target}: {subject.version} is no version") from None


def _between(
    known: Sequence[Release], first: Version, last: Version, name: str, with_pre: bool, with_yanked: bool
) -> list[Release]:
    """Those from ``first`` to ``last``, in that direction."""
    labels = {first.local, last.local} - {None}
    # 0.24.0 is what an installer makes of it: the same as 0.24.0+cu129 where an index has both. Ends that
    # name a local version are bisected among those.
    if labels:
        known = [release for release in known if release.version.local in {first.local, last.local}]
    else:
        known = _public(known)
    by_version = {release.version: release for release in known}
    low, high = sorted((first, last))
    for end in (first, last):
        if end not in by_version:
            by_version[end] = _installed(end, name, list(by_version))
    chosen = [
        release
        for version, release in sorted(by_version.items())
        if version in (first, last)
        or (
            low < version < high
            and (with_yanked or not release.is_yanked)
            and (with_pre or not version.is_prerelease)
        )
    ]
    return chosen if first < last else chosen[::-1]


def _public(known: Sequence[Release]) -> list[Release]:
    """One release for all local versions of it (+cu129, +cpu)."""
    grouped: dict[Version, list[Release]] = {}
    for release in known:
        grouped.setdefault(Version(release.version.public), []).append(release)
    return [
        Release(
            version,
            min((one.uploaded for one in group if one.uploaded), default=None),
            all(one.is_yanked for one in group),
            any(one.fits for one in group),
            next((one.requires_python for one in group if one.requires_python), ""),
        )
        for version, group in grouped.items()
    ]


def _installed(end: Version, name: str, known: Sequence[Version]) -> Release:
    """An end that no index has, but the environment of the tests."""
    installed = packages_of(name)
    if installed is not None and is_version(installed.version, str(end)):
        return Release(end, None, is_yanked=False, fits=True, requires_python="")
    close = ", ".join(nearest(str(end), [str(version) for version in known]))
    raise DeclarationError(
        f"the package index has no {name} {end}" + (f"; nearest: {close}" if close else "")
    )
