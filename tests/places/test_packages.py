"""The packages that a distribution needs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.places import packages
from pytest_llmperf.places.packages import Packages, packages_of
from tests.wheels import make_wheel


class Site:
    """A directory of installed packages, which is all that Python sees."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def install(self, name: str, version: str, *requires: str) -> Path:
        path = make_wheel(self.directory / "wheels", name, version, requires)
        shutil.unpack_archive(path, self.directory, "zip")
        return self.directory / f"{name.replace('-', '_')}-{version}.dist-info"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return Site(tmp_path)


def needed(distribution: str) -> tuple[str, ...]:
    found = packages_of(distribution)
    assert found is not None
    return found.needed


def test_what_is_needed_is_found_through_others_and_what_nobody_needs_is_not(site: Site) -> None:
    site.install("engine", "1.0", "First>=1 ; python_version >= '3'", "absent")
    site.install("first", "2.0", "the.second (>1)", "engine")
    site.install("the-second", "3.0")
    site.install("pytest-alike", "1.0", "engine")
    assert needed("engine") == ("first==2.0", "the-second==3.0")


def test_extras_count_if_somebody_asks_for_them(site: Site) -> None:
    site.install("engine", "1.0", "web[fast]", 'tests ; extra == "test"')
    site.install("web", "1.0", 'loop ; extra == "fast"', "docs ; extra == 'docs' and os_name == 'posix'")
    for name in ("tests", "loop", "docs"):
        site.install(name, "1.0")
    assert needed("engine") == ("loop==1.0", "web==1.0")


def test_what_comes_from_a_url_is_pinned_to_it_and_what_comes_from_a_file_to_its_version(site: Site) -> None:
    site.install("engine", "1.0", "a", "b", "c")
    origins = {
        "a": {"url": "https://host/a.whl", "archive_info": {}},
        "b": {"url": "https://host/b.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
        "c": {"url": "file:///somewhere/c.whl", "archive_info": {}},
    }
    for name, origin in origins.items():
        (site.install(name, "1.0") / "direct_url.json").write_text(json.dumps(origin))
    assert needed("engine") == ("a @ https://host/a.whl", "b @ git+https://host/b.git@abc", "c==1.0")


def test_the_summary_changes_with_the_packages_and_not_with_the_distribution(site: Site) -> None:
    info = site.install("engine", "1.0", "a")
    site.install("a", "1.0")
    one = packages_of("engine")
    shutil.rmtree(info)
    site.install("engine", "2.0", "a")
    two = packages_of("engine")
    shutil.rmtree(site.directory / "a-1.0.dist-info")
    site.install("a", "1.1")
    three = packages_of("engine")
    assert one is not None
    assert two is not None
    assert three is not None
    assert one.summary == two.summary != three.summary
    assert str(one.summary).endswith(" (1 packages)")
    assert len({one.everything, two.everything, three.everything}) == 3


def test_what_needs_nothing_has_no_summary(site: Site) -> None:
    site.install("engine", "1.0")
    found = packages_of("engine")
    assert found is not None
    assert found.summary is None
    assert packages_of("other") is None


def test_an_editable_install_names_its_source(site: Site) -> None:
    origin = {"url": "file:///src/engine", "dir_info": {"editable": True}}
    (site.install("engine", "1.0") / "direct_url.json").write_text(json.dumps(origin))
    found = packages_of("engine")
    assert found is not None
    assert found.source == "/src/engine"


def test_a_source_with_a_blank_in_its_path_is_found(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "my engines" / "50%"
    origin = {"url": folder.as_uri(), "dir_info": {"editable": True}}
    (site.install("engine", "1.0") / "direct_url.json").write_text(json.dumps(origin))
    found = packages_of("engine")
    assert found is not None
    assert found.source == str(folder)


def test_as_a_program_it_says_the_same_of_its_own_interpreter() -> None:
    command = [sys.executable, packages.__file__]
    answer = subprocess.run([*command, "pytest"], capture_output=True, text=True, check=True)
    fields = json.loads(answer.stdout)
    assert Packages(**{**fields, "needed": tuple(fields["needed"])}) == packages_of("pytest")
    assert subprocess.run([*command, "absent"], capture_output=True, text=True).stdout == "null\n"
