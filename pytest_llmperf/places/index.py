"""The releases of a distribution, as the package index tells them.

Asked in JSON (PEP 691, with dates by PEP 700), and in HTML (PEP 503, 592) where an index has nothing else.
``pip index versions`` would tell neither dates nor what was yanked, and uv has nothing like it.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

import httpx
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, sys_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from pytest_llmperf.declare.subject import without_credentials
from pytest_llmperf.errors import EngineError, Hindered
from pytest_llmperf.places.indexes import Indexes, hosts, is_local
from pytest_llmperf.places.packages import canonical

_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_TIMEOUT_S = 30.0
HERE = f"Python {sys.version_info.major}.{sys.version_info.minor} on {sysconfig.get_platform()}"


@dataclass(frozen=True)
class File:
    """A file that an index offers. ``yanked`` is why it was (maybe an empty text), None if it was not;
    ``uploaded`` is when, as ISO 8601, where the index tells."""

    name: str
    url: str
    requires_python: str = ""
    yanked: str | None = None
    uploaded: str | None = None

    @property
    def is_wheel(self) -> bool:
        return self.name.endswith(".whl")

    def version(self, distribution: str) -> Version | None:
        """What release of ``distribution`` it is; None if it is of something else, or not to be installed."""
        try:
            if self.is_wheel:
                name, version, _, _ = parse_wheel_filename(self.name)
            else:
                name, version = parse_sdist_filename(self.name)
        except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
            return None
        return version if name == canonical(distribution) else None

    @property
    def is_for_this_python(self) -> bool:
        with contextlib.suppress(InvalidSpecifier):
            return SpecifierSet(self.requires_python).contains(
                "{}.{}.{}".format(*sys.version_info), prereleases=True
            )
        return True

    def rank(self, tags: Mapping[Tag, int]) -> int | None:
        """How well it fits: 0 is best, source comes last; None if it does not."""
        if not self.is_for_this_python:
            return None
        if not self.is_wheel:
            return len(tags)
        return min((tags[tag] for tag in parse_wheel_filename(self.name)[3] if tag in tags), default=None)


@dataclass(frozen=True)
class Release:
    """One version: ``fits`` if one of its files can be installed by this Python, maybe after a build."""

    version: Version
    uploaded: str | None
    is_yanked: bool
    fits: bool
    requires_python: str

    @property
    def date(self) -> str | None:
        return self.uploaded[:10] if self.uploaded else None


class PackageIndex:
    """Asks the indexes that the installer would."""

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes
        self.shown = indexes.shown

    def releases(self, distribution: str) -> list[Release]:
        """All there are, in the order of their versions. Raises :class:`EngineError` if there are none."""
        found: dict[Version, list[File]] = {}
        for file in self._files(distribution):
            if (version := file.version(distribution)) is not None:
                found.setdefault(version, []).append(file)
        if not found:
            raise EngineError(f"the package index ({self.shown}) has no release of {distribution}")
        tags = _tags()
        return [_release(version, files, tags) for version, files in sorted(found.items())]

    def wheel(self, page: str, distribution: str) -> File | None:
        """The wheel of ``distribution`` that fits this Python best, of those that a page or a directory
        has; the highest version, if there are several."""
        tags = _tags()
        fitting = [
            (version, -rank, file)
            for file in self.files(page) or ()
            if file.is_wheel
            and (version := file.version(distribution)) is not None
            and (rank := file.rank(tags)) is not None
        ]
        return max(fitting, key=lambda one: one[:2])[2] if fitting else None

    def _files(self, distribution: str) -> Iterator[File]:
        for url in self._indexes.urls:
            files = self.files(f"{url.rstrip('/')}/{canonical(distribution)}/")
            yield from files or ()
            if files is not None and self._indexes.first_only:
                break
        for place in self._indexes.find_links:
            yield from self.files(place) or ()

    def files(self, url: str) -> list[File] | None:
        """The files that a page, or a directory, offers; None if there is no such page.

        Raises :class:`EngineError` if it cannot be read, :class:`Hindered` if it may be another time.
        """
        if is_local(url):
            return _local_files(url)
        response = self._get(url)
        if response is None:
            return None
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in (_JSON, "application/json"):
            return list(_from_json(response.text, str(response.url)))
        if "html" in kind:
            return list(_from_html(response.text, str(response.url)))
        raise EngineError(
            f"{without_credentials(url)} is no page of a package index: it is {kind or 'untyped'}"
        )

    def _get(self, url: str) -> httpx.Response | None:
        shown = without_credentials(url)
        try:
            with self.client(url) as client:
                response = client.get(url, headers={"Accept": _ACCEPT})
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise Hindered(
                f"the package index cannot be reached: {shown}: {without_credentials(str(error))}"
            ) from None
        if response.status_code in (404, 410):
            return None
        if response.status_code != 200:
            told = f"the package index does not answer: {shown}: {status(response)}"
            raise Hindered(told) if response.is_server_error else EngineError(told)
        return response

    def client(self, url: str) -> httpx.Client:
        """A client with the installer's certificates, proxy and credentials for ``url``."""
        verify: ssl.SSLContext | bool = True
        if hosts(self._indexes.trusted, url):
            verify = False
        elif self._indexes.certificates:
            try:
                verify = ssl.create_default_context(cafile=self._indexes.certificates)
            except OSError as error:
                raise EngineError(
                    f"the certificates {self._indexes.certificates} cannot be read: {error}"
                ) from None
        auth = None
        if not urlsplit(url).username:
            with contextlib.suppress(OSError, SyntaxError):  # no .netrc, or one that is broken
                auth = httpx.NetRCAuth(os.environ.get("NETRC"))
        return httpx.Client(
            verify=verify, proxy=self._indexes.proxy, auth=auth, follow_redirects=True, timeout=_TIMEOUT_S
        )


def status(response: httpx.Response) -> str:
    """``503 Service Unavailable``."""
    return f"{response.status_code} {response.reason_phrase}"


def _tags() -> dict[Tag, int]:
    return {tag: number for number, tag in enumerate(sys_tags())}


def _release(version: Version, files: Sequence[File], tags: Mapping[Tag, int]) -> Release:
    return Release(
        version,
        min((file.uploaded for file in files if file.uploaded), default=None),
        all(file.yanked is not None for file in files),
        any(file.rank(tags) is not None for file in files),
        next((file.requires_python for file in files if file.requires_python), ""),
    )


def _local_files(url: str) -> list[File] | None:
    path = Path(url2pathname(urlsplit(url).path) if url.startswith("file://") else url).expanduser()
    try:
        page = path / "index.html" if path.is_dir() else path
        if page.is_file():
            return list(_from_html(page.read_text(encoding="utf-8"), page.absolute().as_uri()))
        if path.is_dir():
            return [File(file.name, file.absolute().as_uri()) for file in sorted(path.iterdir())]
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{path}, which is used as a package index, cannot be read: {error}") from None
    return None


def _from_json(text: str, url: str) -> Iterator[File]:
    try:
        entries: Iterable[Any] = json.loads(text)["files"]
        for entry in entries:
            yanked = entry.get("yanked", False)
            yield File(
                str(entry["filename"]),
                urljoin(url, entry["url"]),
                entry.get("requires-python") or "",
                None if yanked is False else yanked if isinstance(yanked, str) else "",
                entry.get("upload-time"),
            )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError(
            f"{without_credentials(url)} is no page of a package index: its JSON is not that of PEP 691"
        ) from None


def _from_html(text: str, url: str) -> Iterator[File]:
    parser = _Links(url)
    parser.feed(text)
    parser.close()
    yield from parser.files


class _Links(HTMLParser):
    """The files that a page links to."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._base = url
        self.files: list[File] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        href = given.get("href")
        if href is None:
            return
        if tag == "base":
            self._base = urljoin(self._base, href)
        elif tag == "a":
            url = urljoin(self._base, href)
            yanked = (given["data-yanked"] or "") if "data-yanked" in given else None
            name = unquote(urlsplit(url).path.rpartition("/")[2])
            self.files.append(File(name, url, given.get("data-requires-python") or "", yanked))
