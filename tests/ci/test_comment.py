"""The script that comments, run as the action runs it, against a server that stands for GitHub's API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ruamel.yaml import YAML

from tests.ci.loading import COMMENT, load

script = load(COMMENT)
SHA = "0123456789abcdef0123456789abcdef01234567"
PULL = {"pull_request": {"number": 7, "head": {"sha": SHA}}}
RUN = {
    "workflow_run": {
        "id": 42,
        "head_sha": SHA,
        "head_branch": "fast & loose",
        "head_repository": {"owner": {"login": "stranger"}},
    }
}
TOKEN = "ghs_not_to_be_seen"


class GitHub:
    """What the server knows, and what it was asked."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.pulls: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.refusals: list[int] = []
        self.redirect = ""
        self.url = ""

    def add(self, body: str, kind: str = "Bot", association: str = "NONE") -> None:
        self.comments.append(
            {
                "id": len(self.comments) + 1,
                "body": body,
                "user": {"type": kind},
                "author_association": association,
            }
        )

    def answer(self, method: str, path: str, content: Any) -> tuple[int, Any]:
        self.asked.append((method, path))
        if self.refusals:
            return self.refusals.pop(0), {"message": "Resource not\n::error::accessible by integration"}
        query = parse_qs(urlsplit(path).query)
        if method == "GET" and "/pulls" in path:
            return 200, [pull for pull in self.pulls if pull["label"] == query["head"][0]]
        if method == "GET":
            first = (int(query["page"][0]) - 1) * 100
            return 200, self.comments[first : first + 100]
        if method == "POST":
            self.add(content["body"])
            return 201, {"html_url": "http://made"}
        there = self.comments[int(path.rpartition("/")[2]) - 1]
        there["body"] = content["body"]
        return 200, {"html_url": "http://updated"}


@pytest.fixture
def github() -> Iterator[GitHub]:
    known = GitHub()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = json.loads(self.rfile.read(length)) if length else None
            assert self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, answer = known.answer(self.command, self.path, content)
            body = json.dumps(answer).encode()
            self.send_response(302 if known.redirect else status)
            if known.redirect:
                self.send_header("Location", known.redirect)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = handle_any  # noqa: N815

        def log_message(self, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    known.url = f"http://127.0.0.1:{server.server_port}"
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


def run(
    github: GitHub, tmp_path: Path, text: str | None, event: Any = PULL, name: str = "llmperf"
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "event.json").write_text(json.dumps(event))
    if text is not None:
        (tmp_path / "comment.md").write_text(text)
    ran = subprocess.run(
        [sys.executable, "-I", str(COMMENT)],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            "PATH": os.environ["PATH"],
            "GITHUB_API_URL": github.url,
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_REPOSITORY": "team/project",
            "GITHUB_RUN_ID": "41",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_TOKEN": TOKEN,
            "INPUT_MARKDOWN": str(tmp_path / "comment.md"),
            "INPUT_NAME": name,
        },
    )
    assert TOKEN not in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr
    return ran


def test_a_first_comment_is_made_and_the_next_ones_update_it(github: GitHub, tmp_path: Path) -> None:
    assert run(github, tmp_path, "<!-- llmperf:vllm -->\n\n### worse").returncode == 0
    assert run(github, tmp_path, "<!-- llmperf:sglang -->\n\n### safe").stdout == "http://updated\n"
    (only,) = github.comments
    assert only["body"] == (
        "<!-- llmperf:llmperf -->\n\n### safe\n\n<sub>Of commit 0123456789; "
        "[log, report and record](https://github.example/team/project/actions/runs/41).</sub>\n"
    )


def test_a_comment_of_another_name_or_of_a_stranger_is_left_alone(github: GitHub, tmp_path: Path) -> None:
    github.add("<!-- llmperf:other -->\nx")
    github.add("<!-- llmperf:llmperf -->\nx", kind="User")
    github.add("it said <!-- llmperf:llmperf -->")
    run(github, tmp_path, "new")
    assert [comment["body"][-1] for comment in github.comments[:2]] == ["x", "x"]
    assert len(github.comments) == 4


def test_one_on_a_later_page_is_found(github: GitHub, tmp_path: Path) -> None:
    for _ in range(230):
        github.add("hello", kind="User")
    github.add("<!-- llmperf:llmperf -->\nold", kind="User", association="MEMBER")
    run(github, tmp_path, "new")
    assert len(github.comments) == 231
    assert "new" in github.comments[230]["body"]


def test_of_a_fork_the_pull_request_is_the_one_with_this_commit(github: GitHub, tmp_path: Path) -> None:
    label = "stranger:fast & loose"
    github.pulls = [
        {"label": label, "number": 8, "head": {"sha": "f" * 40}},
        {"label": "other:x", "number": 9, "head": {"sha": SHA}},
        {"label": label, "number": 10, "head": {"sha": SHA}},
    ]
    run(github, tmp_path, "new", RUN)
    assert github.asked[-1] == ("POST", "/repos/team/project/issues/10/comments")
    assert "actions/runs/42" in github.comments[0]["body"]


def test_of_one_that_has_moved_on_nothing_is_said(github: GitHub, tmp_path: Path) -> None:
    ran = run(github, tmp_path, "new", RUN)
    assert (ran.returncode, github.comments) == (0, [])
    assert ran.stdout.startswith("::notice::no comment: ")


def test_of_a_fork_that_is_gone_nothing_is_said(github: GitHub, tmp_path: Path) -> None:
    ran = run(github, tmp_path, "new", {"workflow_run": {**RUN["workflow_run"], "head_repository": None}})
    assert (ran.returncode, github.comments) == (0, [])
    assert ran.stdout.startswith("::notice::no comment: ")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_that_may_not_write_is_a_notice(github: GitHub, tmp_path: Path, status: int) -> None:
    github.refusals = [status]
    ran = run(github, tmp_path, "new")
    assert ran.returncode == 0
    assert len(ran.stdout.splitlines()) == 1
    assert (
        f"::notice::no comment: the token may not write one, as for forks (docs/ci.md). GitHub says {status}"
        in (ran.stdout)
    )


def test_what_it_cannot_take_is_an_error(github: GitHub, tmp_path: Path) -> None:
    github.refusals = [422]
    ran = run(github, tmp_path, "new")
    assert ran.returncode == 1
    assert ran.stdout.startswith("::error::no comment: GitHub says 422")


def test_where_it_is_busy_it_is_asked_again(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    github.refusals = [502, 429]
    repository = script.Repository(github.url, "team/project", TOKEN, pause_s=0.0)
    assert script.comment(repository, 7, "<!-- x -->\nnew") == "http://made"
    github.refusals = [503] * 20
    with pytest.raises(script.Refused, match="503"):
        script.comment(repository, 7, "<!-- x -->\nnew")


def test_the_token_does_not_follow_a_redirection(github: GitHub, tmp_path: Path) -> None:
    github.redirect = f"{github.url}/elsewhere"
    assert run(github, tmp_path, "new").returncode == 1
    assert [path for _, path in github.asked if "elsewhere" in path] == []


def test_without_a_text_it_says_that_nothing_was_measured(github: GitHub, tmp_path: Path) -> None:
    run(github, tmp_path, None)
    assert "nothing was measured" in github.comments[0]["body"]


@pytest.mark.parametrize("name", ["a", "vLLM/gate 2", "x --> <script>", "", "é\n", "-" * 300])
def test_a_marker_is_one_comment_whatever_the_name(name: str) -> None:
    from pytest_llmperf.report.markdown import marker

    assert script.marker(name) == marker(name)
    assert marker(name).count("--") == 2
    assert len(marker(name)) < 110


def test_it_is_no_longer_than_github_takes() -> None:
    environment = {"GITHUB_SERVER_URL": "s", "GITHUB_REPOSITORY": "r", "GITHUB_RUN_ID": "1"}
    text = script.body("line 🙂\n" * 20_000, "n", PULL, environment)
    assert 60_000 < len(text) <= script.LONGEST
    assert "_Cut here: the record has all._" in text


def test_the_step_that_writes_it_takes_a_record_of_any_name(tmp_path: Path) -> None:
    action = YAML(typ="safe").load((COMMENT.parent / "action.yml").read_text())
    (step,) = [step["run"] for step in action["runs"]["steps"] if step.get("name") == "write the comment"]
    record = COMMENT.parents[3] / "bench/gpu/results/2026-11-22-h100-curves/vllm-0.24.0.json"
    (tmp_path / "-a record.json").write_bytes(record.read_bytes())
    environment = {
        **os.environ,
        "INPUT_RECORD": "-a record.json",
        "VENV_PYTHON": sys.executable,
        "RUNNER_TEMP": str(tmp_path),
    }
    subprocess.run(["bash", "-e", "-c", step], cwd=tmp_path, env=environment, check=True)
    assert "### ✅ LLM serving performance" in (tmp_path / "llmperf-comment.md").read_text()
