from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_llmperf

PACKAGE = "pytest_llmperf"
ROOT = Path(pytest_llmperf.__file__).parent
ROOMS = ("declare", "engines", "places", "load", "measure", "judge", "keep", "report")
BESIDE = ("matrix", "bisect")  # know all rooms
FOR_ALL = ("errors",)
MODULES = {
    ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
IN_ROOMS = [name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in ROOMS]
# What a test run without --llmperf, or a look at a help text, pays for.
LIGHT = [
    *(name for name in IN_ROOMS if name.split(".")[1] == "declare"),
    *(f"{PACKAGE}{name}" for name in ("", ".plugin", ".collect", ".fixture", ".errors", ".cli")),
]
HEAVY = ("numpy", "httpx", "sqlite3", "fsspec", "ruptures", *(f"{PACKAGE}.{room}" for room in ROOMS[1:]))


def imports(module: str, *, at_import_time: bool = False) -> Iterator[str]:
    """The modules that ``module`` imports, or may: ``from a import b`` gives both ``a`` and ``a.b``.

    ``at_import_time`` leaves out what is in functions and under ``if TYPE_CHECKING``.
    """
    for node in _nodes(ast.parse(MODULES[module].read_text(encoding="utf-8")), at_import_time):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively, by line {node.lineno}"
            yield from (str(node.module), *(f"{node.module}.{name.name}" for name in node.names))


def _nodes(tree: ast.AST, at_import_time: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import_time and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for otherwise in node.orelse:
                yield otherwise
                yield from _nodes(otherwise, at_import_time)
            continue
        yield node
        yield from _nodes(node, at_import_time)


def reached(module: str) -> set[str]:
    """All that importing ``module`` imports, through modules of ours."""
    found: set[str] = set()
    new = {module}
    while new:
        found |= new
        new = {name for one in new if one in MODULES for name in imports(one, at_import_time=True)} - found
    return found


def is_under(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_every_folder_is_a_room_and_every_room_a_folder() -> None:
    assert sorted(path.parent.name for path in ROOT.glob("*/__init__.py")) == sorted((*ROOMS, *BESIDE))


@pytest.mark.parametrize("module", IN_ROOMS)
def test_a_room_imports_only_from_the_rooms_before_it(module: str) -> None:
    room = module.split(".")[1]
    allowed = (*FOR_ALL, *ROOMS[: ROOMS.index(room) + 1])
    ours = {name for name in imports(module) if is_under(name, PACKAGE) and name != PACKAGE}
    assert not {name for name in ours if name.split(".")[1] not in allowed}


@pytest.mark.parametrize("module", LIGHT)
def test_what_every_test_run_imports_is_light(module: str) -> None:
    assert not {name for name in reached(module) for heavy in HEAVY if is_under(name, heavy)}


def test_a_test_run_without_our_option_loads_neither_numpy_nor_httpx_nor_a_later_room() -> None:
    code = f"import sys, {PACKAGE}.plugin; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert f"{PACKAGE}.plugin" in loaded
    assert not [name for name in loaded for heavy in HEAVY if is_under(name, heavy)]


@pytest.mark.parametrize(
    ("source", "all_of_them", "at_import_time"),
    [
        ("import a.b", ["a.b"], ["a.b"]),
        ("from a import b", ["a", "a.b"], ["a", "a.b"]),
        ("def f():\n import a", ["a"], []),
        ("if TYPE_CHECKING:\n import a\nelse:\n import b", ["a", "b"], ["b"]),
        ("try:\n import a\nexcept ImportError:\n import b", ["a", "b"], ["a", "b"]),
        ("class C:\n import a", ["a"], ["a"]),
    ],
)
def test_imports_are_found_wherever_they_are(
    source: str,
    all_of_them: list[str],
    at_import_time: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "m.py"
    path.write_text(source)
    monkeypatch.setitem(MODULES, "m", path)
    assert list(imports("m")) == all_of_them
    assert list(imports("m", at_import_time=True)) == at_import_time
