"""Every workflow and action of the repository, and every one that the documentation offers, is checked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from check_jsonschema import main as check_jsonschema
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted([*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("examples/workflows/*.yml")])
ACTIONS = sorted(ROOT.glob(".github/actions/*/action.yml"))
SCRIPTED = [*WORKFLOWS, *ACTIONS]
INJECTED = """
name: bad
on: issue_comment
permissions: {}
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ github.event.comment.body }}
"""


def tool(name: str) -> str:
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert found, f"{name} comes with pip install -e '.[dev]'"
    return found


def ran(*command: str | Path, stdin: str = "") -> tuple[int, str]:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, input=stdin, timeout=60)
    return done.returncode, done.stdout + done.stderr


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def steps(content: Any) -> list[dict[str, Any]]:
    if "runs" in content:
        return list(content["runs"]["steps"])
    return [step for job in content["jobs"].values() for step in job.get("steps", ())]


def test_there_is_something_to_check() -> None:
    assert len(WORKFLOWS) >= 5
    assert len(ACTIONS) == 2


@pytest.mark.parametrize(("kind", "paths"), [("github-workflows", WORKFLOWS), ("github-actions", ACTIONS)])
def test_they_are_what_github_takes(kind: str, paths: list[Path], tmp_path: Path) -> None:
    def checked(*files: Path) -> int:
        with pytest.raises(SystemExit) as ended:
            check_jsonschema(["--builtin-schema", f"vendor.{kind}", *map(str, files)])
        return int(ended.value.code or 0)

    assert checked(*paths) == 0
    (bad := tmp_path / "bad.yml").write_text("name: bad\nruns: 1\njobs: 1\n")
    assert checked(bad) != 0


def test_they_are_safe_and_pinned(tmp_path: Path) -> None:
    audit = (tool("zizmor"), "--offline", "--format", "plain", "--no-progress")
    code, said = ran(*audit, *SCRIPTED)
    assert code == 0, said
    (bad := tmp_path / ".github/workflows/bad.yml").parent.mkdir(parents=True)
    bad.write_text(INJECTED)
    code, said = ran(*audit, bad)
    assert code != 0
    assert "template-injection" in said


@pytest.mark.parametrize("path", SCRIPTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_expression_is_written_into_a_script_and_shells_understand_it(path: Path) -> None:
    scripts = [step["run"] for step in steps(read(path)) if "run" in step]
    assert [script for script in scripts if "${{" in script] == []
    for script in scripts:
        code, said = ran(tool("shellcheck"), "--shell=bash", "-", stdin=script)
        assert code == 0, said


@pytest.mark.parametrize("path", SCRIPTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_others_wrote_is_of_one_commit(path: Path) -> None:
    used = [step["uses"] for step in steps(read(path)) if "uses" in step]
    assert [name for name in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_token_may_do_no_more_than_it_has_to(path: Path) -> None:
    content = read(path)
    assert set(content["permissions"].values()) <= {"read"}
    for job in content["jobs"].values():
        may = {name for name, level in job.get("permissions", {}).items() if level == "write"}
        assert may <= {"pull-requests", "issues"}


def test_every_input_reaches_a_step_and_is_documented() -> None:
    page = (ROOT / "docs/ci.md").read_text()
    for path in ACTIONS:
        content, text = read(path), path.read_text()
        for name in content["inputs"]:
            assert f"inputs.{name} }}}}" in text or f"inputs.{name} ==" in text
            assert f"`{name}`" in page
        for name in content.get("outputs", {}):
            assert f"`{name}`" in page


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/workflows/*.yml")), ids=lambda path: path.name)
def test_an_example_gives_our_actions_inputs_that_they_have(path: Path) -> None:
    inputs = {action.parent.name: read(action)["inputs"] for action in ACTIONS}
    used = [step for step in steps(read(path)) if "/.github/actions/" in step.get("uses", "")]
    assert used
    for step in used:
        has = inputs[step["uses"].partition("@")[0].rpartition("/")[2]]
        assert set(step["with"]) <= set(has)
        assert {name for name, one in has.items() if one.get("required")} <= set(step["with"])
