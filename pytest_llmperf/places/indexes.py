"""Where the installer that builds environments looks for packages, by its own configuration.

For pip: ``PIP_*`` variables and ``pip.conf``, but for one in the environment of the tests, which the pip of
another environment does not read either. For uv: ``UV_*`` variables, ``uv.toml`` and ``[tool.uv]``.
"""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pytest_llmperf.declare.subject import without_credentials
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.installer import installer_name

_PYPI = "https://pypi.org/simple"
_MACHINES_PIP, _MACHINES_UV = Path("/etc/pip.conf"), Path("/etc/uv/uv.toml")


@dataclass(frozen=True)
class Indexes:
    """``urls`` are simple indexes in the order in which they are asked, ``find_links`` pages and directories
    of files.

    ``first_only``: the first of ``urls`` that knows a package is the only one (uv), otherwise all are asked
    (pip). ``certificates`` is a file of authorities, ``trusted`` are hosts whose certificate is not looked
    at. A URL may have credentials in it; :attr:`shown` has none.
    """

    urls: tuple[str, ...] = (_PYPI,)
    find_links: tuple[str, ...] = ()
    first_only: bool = False
    certificates: str | None = None
    proxy: str | None = None
    trusted: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        return ", ".join(map(without_credentials, (*self.urls, *self.find_links))) or "no index at all"


def configured(directory: Path | None = None) -> Indexes:
    """Those of the installer that there is; uv looks for its files from ``directory`` (here) upwards.

    Raises :class:`EngineError` for a file of its configuration that cannot be read.
    """
    return of_uv(os.environ, directory or Path.cwd()) if installer_name() == "uv" else of_pip(os.environ)


# --- pip ----------------------------------------------------------------------------------------------


def of_pip(environ: Mapping[str, str]) -> Indexes:
    """What ``pip install`` would use."""
    options: dict[str, str] = {}
    for path in _pip_files(environ):
        options |= _pip_file(path)
    for name in (
        *("index-url", "extra-index-url", "no-index", "find-links"),
        "cert",
        "proxy",
        "trusted-host",
    ):
        if value := environ.get(f"PIP_{name.upper().replace('-', '_')}"):
            options[name] = value
    urls = (options.get("index-url", _PYPI).strip(), *options.get("extra-index-url", "").split())
    is_without = options.get("no-index", "").strip().lower() in ("1", "true", "yes", "on")
    return Indexes(
        () if is_without else tuple(dict.fromkeys(urls)),
        tuple(options.get("find-links", "").split()),
        certificates=options.get("cert")
        or environ.get("REQUESTS_CA_BUNDLE")
        or environ.get("CURL_CA_BUNDLE"),
        proxy=options.get("proxy"),
        trusted=tuple(options.get("trusted-host", "").split()),
    )


def _pip_files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Those that there are, a later one outdoing an earlier one: https://pip.pypa.io/en/stable/topics/configuration/."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    home = Path(environ.get("HOME") or Path.home())
    shared = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    files = [Path(one, "pip", "pip.conf") for one in shared] + [_MACHINES_PIP]
    if named and Path(named).exists():
        files += [Path(named)]
    else:
        own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
        mac = home / "Library/Application Support/pip/pip.conf"
        files += [home / ".pip/pip.conf", mac if sys.platform == "darwin" and mac.exists() else own]
    yield from (path for path in files if path.is_file())


def _pip_file(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError, configparser.Error):
        # What it says may be a line with credentials in it.
        raise EngineError(f"{path} cannot be read as a pip.conf: python -m pip config debug") from None
    sections = [parser[name] for name in ("global", "install") if parser.has_section(name)]
    return {key.replace("_", "-"): value for section in sections for key, value in section.items()}


# --- uv -----------------------------------------------------------------------------------------------


def of_uv(environ: Mapping[str, str], directory: Path) -> Indexes:
    """What ``uv pip install`` would use, started in ``directory``."""
    tables = [table for path in _uv_files(environ, directory) for table in _uv_tables(path)]
    entries = [_entry(text, environ) for text in environ.get("UV_INDEX", "").split()]
    default = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    default = _entry(default, environ) if default else None
    strategy = environ.get("UV_INDEX_STRATEGY")
    for table in tables:
        for index in table.get("index", ()):
            if not isinstance(index, dict) or index.get("explicit") or not index.get("url"):
                continue
            url = _entry(f"{index['name']}={index['url']}" if index.get("name") else index["url"], environ)
            if index.get("default"):
                default = default or url
            else:
                entries.append(url)
    extra = environ.get("UV_EXTRA_INDEX_URL", "").split() + [
        url for table in tables for url in table.get("extra-index-url", ())
    ]
    for table in tables:
        default = default or table.get("index-url")
        strategy = strategy or table.get("index-strategy")
    without = any(
        str(found).lower() in ("1", "true", "yes", "on")
        for found in (environ.get("UV_NO_INDEX"), *(table.get("no-index") for table in tables))
    )
    links = environ.get("UV_FIND_LINKS", "").replace(",", " ").split()
    links += [link for table in tables for link in table.get("find-links", ())]
    trusted = environ.get("UV_INSECURE_HOST", "").split()
    return Indexes(
        () if without else tuple(dict.fromkeys((*entries, *extra, default or _PYPI))),
        tuple(links),
        first_only=(strategy or "first-index") == "first-index",
        trusted=tuple(trusted + [host for table in tables for host in table.get("allow-insecure-host", ())]),
    )


def _uv_files(environ: Mapping[str, str], directory: Path) -> Iterator[Path]:
    """Those that there are, the one that counts most first: https://docs.astral.sh/uv/concepts/configuration-files/."""
    if environ.get("UV_NO_CONFIG"):
        return
    if named := environ.get("UV_CONFIG_FILE"):
        yield Path(named)
        return
    for above in (directory, *directory.parents):
        if (found := above / "uv.toml").is_file():
            yield found
            break
        if (found := above / "pyproject.toml").is_file() and "uv" in _toml(found).get("tool", {}):
            yield found
            break
    home = Path(environ.get("HOME") or Path.home())
    own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "uv", "uv.toml")
    yield from (path for path in (own, _MACHINES_UV) if path.is_file())


def _uv_tables(path: Path) -> list[dict[str, Any]]:
    """Its ``[pip]``, which counts more, and the rest."""
    content = _toml(path)
    if path.name == "pyproject.toml":
        content = content.get("tool", {}).get("uv", {})
    return [content["pip"], content] if isinstance(content.get("pip"), dict) else [content]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EngineError(f"{path}, which is uv's configuration, cannot be read: {error}") from None


def _entry(text: str, environ: Mapping[str, str]) -> str:
    """A URL that may have a name (``corp=https://…``), and by it credentials (``UV_INDEX_CORP_PASSWORD``)."""
    name, equals, url = text.partition("=")
    if not equals or "://" in name:
        return text
    variable = "UV_INDEX_" + "".join(c if c.isalnum() else "_" for c in name.upper())
    user, password = (environ.get(f"{variable}_{what}") for what in ("USERNAME", "PASSWORD"))
    parts = urlsplit(url)
    if not (user or password) or "@" in parts.netloc:
        return url
    return parts._replace(
        netloc=f"{quote(user or '', '')}:{quote(password or '', '')}@{parts.netloc}"
    ).geturl()


def is_local(url: str) -> bool:
    """Whether it is a path of this machine."""
    return "://" not in url or url.startswith("file://")


def hosts(trusted: Sequence[str], url: str) -> bool:
    """Whether the host of ``url`` is a trusted one, with or without its port."""
    parts = urlsplit(url)
    return bool({parts.hostname, parts.netloc.rpartition("@")[2]} & set(trusted))
