"""What a package index has, asked over HTTP and from directories."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.index import File, PackageIndex
from pytest_llmperf.places.indexes import Indexes
from tests.package_index import PEP_691, Page, ServedIndex, html_page, json_page, served_index
from tests.wheels import make_wheel

FILES: list[dict[str, Any]] = [
    {"filename": "some_engine-1.10.0-py3-none-any.whl", "upload-time": "2026-03-02T10:00:00.5Z"},
    {"filename": "some_engine-1.9.0-py3-none-any.whl", "upload-time": "2026-02-02T10:00:00Z"},
    {"filename": "some-engine-1.9.0.tar.gz", "upload-time": "2026-02-01T09:00:00Z"},
    {"filename": "some_engine-1.9.1-py3-none-any.whl", "yanked": "slow <as> can be"},
    {"filename": "some_engine-1.9.2-py3-none-any.whl", "yanked": True},
    {"filename": "some_engine-1.9.2.tar.gz"},
    {"filename": "some_engine-2.0rc1-cp27-cp27m-win32.whl"},
    {"filename": "some_engine-2.0-py3-none-any.whl", "requires-python": ">=3.99"},
    {"filename": "another_engine-7.0-py3-none-any.whl"},
    {"filename": "some_engine-3.0.exe"},
    {"filename": "some_engine-nonsense-py3-none-any.whl"},
]


@pytest.fixture
def served() -> Iterator[ServedIndex]:
    with served_index() as server:
        yield server


def of(*urls: str, first_only: bool = False) -> PackageIndex:
    return PackageIndex(Indexes(urls, first_only=first_only))


def only(files: list[File] | None) -> File:
    assert files is not None
    (file,) = files
    return file


@pytest.mark.parametrize("page", [json_page(*FILES), html_page(*FILES)], ids=["PEP 691", "PEP 503"])
def test_releases_come_in_order_with_what_the_index_tells_of_them(page: Page, served: ServedIndex) -> None:
    served.put("/simple/some-engine/", page)
    found = of(f"{served.url}/simple").releases("Some_Engine")
    assert [str(one.version) for one in found] == ["1.9.0", "1.9.1", "1.9.2", "1.10.0", "2.0rc1", "2.0"]
    assert [str(one.version) for one in found if one.is_yanked] == ["1.9.1"]
    assert [str(one.version) for one in found if not one.fits] == ["2.0rc1", "2.0"]
    assert found[-1].requires_python == ">=3.99"
    dates = {str(one.version): one.date for one in found if one.date}
    assert dates == ({"1.9.0": "2026-02-01", "1.10.0": "2026-03-02"} if page.kind == PEP_691 else {})
    ((_, accepted, _),) = served.asked
    assert accepted.startswith(PEP_691)


def test_links_are_relative_to_where_a_redirection_and_a_base_lead(served: ServedIndex) -> None:
    served.put("/simple/e/", Page(b"", status=301, location=f"{served.url}/moved/e/"))
    served.put("/moved/e/", html_page({"filename": "e-1.0-py3-none-any.whl"}))
    index = of(f"{served.url}/simple/")
    file = only(index.files(f"{served.url}/simple/e/"))
    assert file.url == f"{served.url}/files/e-1.0-py3-none-any.whl"
    served.put(
        "/moved/e/", html_page({"filename": "e-1.0+cu1-py3-none-any.whl"}, head='<base href="/a/b/c/">')
    )
    file = only(index.files(f"{served.url}/simple/e/"))
    assert file.url == f"{served.url}/a/files/e-1.0+cu1-py3-none-any.whl"
    assert file.version("e") == Version("1.0+cu1")


def test_all_indexes_are_asked_as_pip_does_or_the_first_that_knows_it_as_uv_does(served: ServedIndex) -> None:
    for name, version in (("a", "1.0"), ("b", "2.0")):
        served.put(f"/{name}/e/", json_page({"filename": f"e-{version}-py3-none-any.whl"}))
    urls = [f"{served.url}/{name}" for name in ("nothing", "a", "b")]
    assert [str(one.version) for one in of(*urls).releases("e")] == ["1.0", "2.0"]
    assert [str(one.version) for one in of(*urls, first_only=True).releases("e")] == ["1.0"]


def test_directories_are_indexes_with_pages_and_without(tmp_path: Path) -> None:
    for version in ("1.0", "1.1"):
        make_wheel(tmp_path / "wheels", "some-engine", version)
    page = tmp_path / "simple" / "some-engine" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text('<a href="../../wheels/some_engine-1.0-py3-none-any.whl">it</a>')
    (tmp_path / "by-name").mkdir()
    (tmp_path / "by-name" / "some-engine").symlink_to(tmp_path / "wheels")

    def versions(indexes: Indexes) -> list[str]:
        return [str(one.version) for one in PackageIndex(indexes).releases("some-engine")]

    assert versions(Indexes(((tmp_path / "simple").as_uri(),))) == ["1.0"]
    assert versions(Indexes(((tmp_path / "by-name").as_uri(),))) == ["1.0", "1.1"]
    assert versions(Indexes((), (str(tmp_path / "wheels"),))) == ["1.0", "1.1"]
    assert versions(Indexes((), (page.as_uri(),))) == ["1.0"]
    file = only(PackageIndex(Indexes()).files(str(page)))
    assert file.url == (tmp_path / "wheels" / "some_engine-1.0-py3-none-any.whl").as_uri()


def test_of_several_wheels_on_a_page_the_one_that_fits_best_is_taken(tmp_path: Path) -> None:
    for name in (
        "e-1.0-py3-none-any.whl",
        "e-1.0-cp38-abi3-manylinux1_x86_64.whl",
        "e-1.0-cp38-abi3-manylinux2014_aarch64.whl",
        "e-9.0-cp27-cp27m-win32.whl",
        "e-8.0.tar.gz",
        "f-7.0-py3-none-any.whl",
    ):
        (tmp_path / name).touch()
    found = PackageIndex(Indexes()).wheel(str(tmp_path), "e")
    assert found is not None
    assert found.version("e") == Version("1.0")
    assert found.name != "e-1.0-py3-none-any.whl"
    assert PackageIndex(Indexes()).wheel(str(tmp_path), "g") is None
    assert PackageIndex(Indexes()).wheel(str(tmp_path / "nowhere"), "e") is None


def test_credentials_of_the_url_are_sent_and_not_shown(served: ServedIndex) -> None:
    url = served.url.replace("://", "://me:s3cret@")
    served.put("/simple/e/", json_page({"filename": "e-1.0-py3-none-any.whl"}))
    index = of(f"{url}/simple")
    assert index.releases("e")
    ((_, _, authorization),) = served.asked
    assert base64.b64decode(authorization.partition(" ")[2]) == b"me:s3cret"
    assert "s3cret" not in index.shown
    served.put("/simple/e/", Page(b"no", status=401))
    for path in ("", "/nowhere"):
        with pytest.raises(EngineError) as raised:
            of(f"{url}/simple{path}").releases("e")
        assert "s3cret" not in str(raised.value)


def test_credentials_come_from_netrc_where_the_url_has_none(
    served: ServedIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    served.put("/simple/e/", json_page({"filename": "e-1.0-py3-none-any.whl"}))
    of(f"{served.url}/simple").releases("e")
    assert base64.b64decode(served.asked[0][2].partition(" ")[2]) == b"me:s3cret"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (Page(b"no", status=404), "has no release of some-engine"),
        (Page(b"no", status=403), "does not answer: .*: 403"),
        (Page(b"no", status=500), "does not answer: .*: 500"),
        (Page(b"{", PEP_691), "is no page of a package index: its JSON"),
        (Page(b"[]", PEP_691), "is no page of a package index: its JSON"),
        (Page(b'{"files": [{"url": "x"}]}', PEP_691), "is no page of a package index: its JSON"),
        (Page(b'{"files": ["x"]}', PEP_691), "is no page of a package index: its JSON"),
        (Page(b'{"files": null}', PEP_691), "is no page of a package index: its JSON"),
        (Page(b"\x89PNG", "image/png"), "is no page of a package index: it is image/png"),
        (Page(b"<h1>Please log in</h1>"), "has no release of some-engine"),
        (html_page({"filename": "another-1.0.tar.gz"}), "has no release of some-engine"),
    ],
)
def test_what_is_no_answer_of_an_index_is_said(page: Page, words: str, served: ServedIndex) -> None:
    served.put("/simple/some-engine/", page)
    with pytest.raises(EngineError, match=words):
        of(f"{served.url}/simple").releases("some-engine")


def test_an_index_that_cannot_be_reached_is_said(served: ServedIndex, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot be reached: http://127\.0\.0\.1:1/e/: "):
        of("http://127.0.0.1:1").releases("e")
    with pytest.raises(EngineError, match="cannot be reached"):
        of("http://[broken").releases("e")
    with pytest.raises(EngineError, match=r"the certificates .*none\.pem cannot be read"):
        PackageIndex(Indexes((served.url,), certificates=str(tmp_path / "none.pem"))).releases("e")
    with pytest.raises(EngineError, match=r"\(no index at all\) has no release of e"):
        PackageIndex(Indexes(())).releases("e")
