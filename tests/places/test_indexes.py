"""Which package indexes an installer's configuration names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places import indexes
from pytest_llmperf.places.indexes import Indexes, configured, hosts, of_pip, of_uv

PYPI = "https://pypi.org/simple"


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """An environment whose user has configured nothing."""
    return {"HOME": str(tmp_path / "home"), "XDG_CONFIG_DIRS": str(tmp_path / "etc")}


@pytest.fixture
def home(user: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same on a machine without configuration."""
    for name in ("_MACHINES_PIP", "_MACHINES_UV"):
        monkeypatch.setattr(indexes, name, tmp_path / "none")
    return user


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_configuration_it_is_the_public_index(home: dict[str, str], tmp_path: Path) -> None:
    assert of_pip(home) == Indexes((PYPI,))
    assert of_uv(home, tmp_path) == Indexes((PYPI,), first_only=True)


def test_pip_is_configured_by_files_and_outdone_by_variables(home: dict[str, str], tmp_path: Path) -> None:
    write(
        tmp_path / "etc/pip/pip.conf", "[global]\nindex-url = https://etc/\ncert = /etc/ca.pem\nproxy = p:1\n"
    )
    own = "[global]\nindex_url = https://own/\nextra-index-url =\n  https://a/\n  https://b/\n[install]\n"
    write(tmp_path / "home/.config/pip/pip.conf", f"{own}find-links = /wheels https://c/links.html\n")
    assert of_pip(home) == Indexes(
        ("https://own/", "https://a/", "https://b/"),
        ("/wheels", "https://c/links.html"),
        certificates="/etc/ca.pem",
        proxy="p:1",
    )
    variables = {"PIP_INDEX_URL": "https://var/", "PIP_EXTRA_INDEX_URL": "https://d/ https://var/"}
    found = of_pip(home | variables | {"PIP_CERT": "/mine.pem", "PIP_TRUSTED_HOST": "d e:8080"})
    assert found.urls == ("https://var/", "https://d/")
    assert (found.certificates, found.trusted) == ("/mine.pem", ("d", "e:8080"))
    assert of_pip(home | {"PIP_NO_INDEX": "1"}).urls == ()


def test_pip_reads_the_file_that_a_variable_names_and_not_the_users(
    home: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path / "home/.config/pip/pip.conf", "[global]\nindex-url = https://own/\n")
    write(tmp_path / "home/.pip/pip.conf", "[global]\nextra-index-url = https://old/\n")
    named = write(tmp_path / "ci.conf", "[install]\nextra-index-url = https://ci/\n[global]\ntimeout = 5%\n")
    assert of_pip(home).urls == ("https://own/", "https://old/")
    assert of_pip(home | {"PIP_CONFIG_FILE": str(named)}).urls == (PYPI, "https://ci/")
    assert of_pip(home | {"PIP_CONFIG_FILE": str(tmp_path / "none")}).urls == ("https://own/", "https://old/")
    assert of_pip(home | {"PIP_CONFIG_FILE": os.devnull}) == Indexes((PYPI,))


def test_pip_itself_understands_its_configuration_the_same(user: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "etc/pip/pip.conf", "[global]\nindex-url = https://etc/\nfind-links = /shared\n")
    write(tmp_path / "home/.pip/pip.conf", "[install]\nextra-index-url = https://old/\n")
    write(tmp_path / "home/.config/pip/pip.conf", "[global]\nindex-url = https://own/\n")
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, env=user, capture_output=True, text=True, check=True).stdout
    told = dict(line.split("=", 1) for line in listed.splitlines())
    found = of_pip(user)
    assert told["global.index-url"] == repr(found.urls[0])
    assert told["install.extra-index-url"] == repr(found.urls[1])
    assert told["global.find-links"] == repr(found.find_links[0])


def test_a_broken_file_is_said_without_what_is_in_it(home: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "home/.config/pip/pip.conf", "https://me:s3cret@host/\n")
    with pytest.raises(EngineError, match=r"pip\.conf cannot be read as a pip\.conf") as raised:
        of_pip(home)
    assert "s3cret" not in str(raised.value)
    write(tmp_path / "uv.toml", "index-url = https://me:s3cret@host/\n")
    with pytest.raises(EngineError, match=r"uv\.toml, which is uv's configuration, cannot be read") as raised:
        of_uv(home, tmp_path)
    assert "s3cret" not in str(raised.value)


def test_uv_is_configured_by_the_nearest_file_then_the_users(home: dict[str, str], tmp_path: Path) -> None:
    write(
        tmp_path / "home/.config/uv/uv.toml", 'index-url = "https://own/"\nextra-index-url = ["https://x/"]\n'
    )
    write(tmp_path / "pyproject.toml", '[tool.uv]\nindex = [{url = "https://above/"}]\n')
    deep = tmp_path / "a" / "b"
    write(deep / "pyproject.toml", "[project]\nname = 'no uv here'\n")
    assert of_uv(home, deep).urls == ("https://above/", "https://x/", "https://own/")
    write(
        tmp_path / "a" / "uv.toml",
        """
        find-links = ["/wheels"]
        [[index]]
        url = "https://never/"
        explicit = true
        [[index]]
        name = "corp"
        url = "https://corp/"
        default = true
        [pip]
        index-strategy = "unsafe-best-match"
        """,
    )
    assert of_uv(home, deep) == Indexes(("https://x/", "https://corp/"), ("/wheels",))
    variables = {"UV_DEFAULT_INDEX": "https://var/", "UV_INDEX": "n=https://one/ https://two/"}
    assert of_uv(home | variables, deep).urls == (
        "https://one/",
        "https://two/",
        "https://x/",
        "https://var/",
    )
    assert of_uv(home | {"UV_NO_CONFIG": "1"}, deep).urls == (PYPI,)
    assert of_uv(home | {"UV_NO_INDEX": "1"}, deep).urls == ()
    named = write(tmp_path / "ci.toml", 'index-url = "https://ci/"\n')
    assert of_uv(home | {"UV_CONFIG_FILE": str(named)}, deep).urls == ("https://ci/",)


def test_uv_has_credentials_by_an_indexs_name_and_none_are_shown(
    home: dict[str, str], tmp_path: Path
) -> None:
    variables = {"UV_INDEX": "my-corp=https://corp/", "UV_INDEX_MY_CORP_USERNAME": "me"}
    found = of_uv(home | variables | {"UV_INDEX_MY_CORP_PASSWORD": "s3/cret"}, tmp_path)
    assert found.urls == ("https://me:s3%2Fcret@corp/", PYPI)
    assert "cret" not in found.shown
    assert "corp" in found.shown


def test_the_installer_that_is_there_is_the_one_whose_configuration_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip/")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv/")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert configured().urls[0] == "https://pip/"
    write(tmp_path / "uv", "#!/bin/sh\n").chmod(0o755)
    assert configured().urls[0] == "https://uv/"


def test_a_trusted_host_may_be_named_with_its_port() -> None:
    url = "https://me:x@host:8080/simple"
    assert hosts(["host"], url)
    assert hosts(["host:8080"], url)
    assert not hosts(["host:80", "other"], url)
