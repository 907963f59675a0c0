"""Put a file of Markdown on a pull request: one comment, which is updated where it is there already.

Needs nothing but Python, since a runner of one's own may have nothing else. Where the token may not write,
as in a workflow that a fork's pull request starts, that is a note and no failure.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LONGEST = 65_536
PAGES, TRIES, PATIENCE_S = 30, 4, 30.0
TRUSTED = ("OWNER", "MEMBER", "COLLABORATOR")
_BUSY = (429, 500, 502, 503, 504)

Event = Mapping[str, Any]


class Refused(Exception):
    """GitHub's answer is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"GitHub says {status}: {message}")
        self.status = status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes to the host that it is for, and to no other."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Repository:
    """GitHub's API for one repository."""

    def __init__(self, url: str, name: str, token: str, pause_s: float = 2.0) -> None:
        self._url, self._token, self._pause_s = f"{url.rstrip('/')}/repos/{name}", token, pause_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def ask(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> Any:
        """What it answers; asked again, a few times, where it is busy. Raises :class:`Refused`."""
        for attempt in range(1, TRIES + 1):
            try:
                return self._ask(method, path, content)
            except Refused as error:
                if error.status not in _BUSY or attempt == TRIES:
                    raise
            except OSError as error:
                if attempt == TRIES:
                    raise Refused(0, f"no answer ({error})") from None
            time.sleep(self._pause_s * attempt)
        raise AssertionError

    def _ask(self, method: str, path: str, content: Mapping[str, Any] | None) -> Any:
        request = urllib.request.Request(
            self._url + path,
            None if content is None else json.dumps(content).encode(),
            {
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "User-Agent": "pytest-llmperf",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            method=method,
        )
        try:
            with self._opener.open(request, timeout=PATIENCE_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, _message(error)) from None

    def comments(self, number: int) -> Iterator[dict[str, Any]]:
        """Those on a pull request, the oldest first."""
        for page in range(1, PAGES + 1):
            found = self.ask("GET", f"/issues/{number}/comments?per_page=100&page={page}")
            yield from found
            if len(found) < 100:
                return


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])[:200]
    except (ValueError, KeyError, TypeError, OSError):
        return str(error.reason)


# -- which, and what ------------------------------------------------------------------------------------


def pull_request(event: Event, repository: Repository) -> int | None:
    """The number of the one that the event is about, which is never read from what a fork's job has written;
    None: there is none any more."""
    if "pull_request" in event:
        return int(event["pull_request"]["number"])
    run = event["workflow_run"]
    if run["head_repository"] is None:  # the fork is gone
        return None
    head = urllib.parse.quote(f"{run['head_repository']['owner']['login']}:{run['head_branch']}", safe=":")
    for found in repository.ask("GET", f"/pulls?state=open&per_page=100&head={head}"):
        if found["head"]["sha"] == run["head_sha"]:
            return int(found["number"])
    return None


def marker(name: str) -> str:
    """The first line of a comment of this name."""
    return f"<!-- llmperf:{re.sub(r'[^A-Za-z0-9._/@ ]+', '-', name)[:80].strip() or 'llmperf'} -->"


def body(text: str, name: str, event: Event, environment: Mapping[str, str]) -> str:
    """The whole comment: marked, with the commit and where the rest is, and no longer than GitHub takes."""
    text = re.sub(r"\A<!-- llmperf:[^\n]*-->\n*", "", text)
    run = event.get("workflow_run") or {"id": environment["GITHUB_RUN_ID"]}
    sha = str(run.get("head_sha") or event.get("pull_request", {}).get("head", {}).get("sha", ""))
    url = (
        f"{environment['GITHUB_SERVER_URL']}/{environment['GITHUB_REPOSITORY']}/actions/runs/{int(run['id'])}"
    )
    of = f"Of commit {sha[:10]}; " if re.fullmatch("[0-9a-f]{40}", sha) else ""
    end = f"\n<sub>{of}[log, report and record]({url}).</sub>\n"
    room = LONGEST - len(marker(name)) - len(end) - 50
    if len(text) > room:
        text = text[:room].rpartition("\n")[0] + "\n\n_Cut here: the record has all._\n"
    return f"{marker(name)}\n\n{text.rstrip()}\n{end}"


def ours(comment: Mapping[str, Any], mark: str) -> bool:
    """Whether it is the one to update: marked so, and not by a stranger."""
    is_known = comment["user"]["type"] == "Bot" or comment.get("author_association") in TRUSTED
    return is_known and str(comment["body"]).startswith(mark)


def comment(repository: Repository, number: int, text: str) -> str:
    """Update the comment with the same first line, or add one; its address."""
    mark = text.partition("\n")[0]
    there = next((one for one in repository.comments(number) if ours(one, mark)), None)
    if there is None:
        answer = repository.ask("POST", f"/issues/{number}/comments", {"body": text})
    else:
        answer = repository.ask("PATCH", f"/issues/comments/{int(there['id'])}", {"body": text})
    return str(answer["html_url"])


def main(environment: Mapping[str, str]) -> int:
    event = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_text())
    url, name = environment["GITHUB_API_URL"], environment["GITHUB_REPOSITORY"]
    repository = Repository(url, name, environment["GITHUB_TOKEN"])
    path = Path(environment["INPUT_MARKDOWN"] or os.devnull)
    text = path.read_text(errors="replace") if path.is_file() else ""
    text = text or "### ⚠️ LLM serving performance: nothing was measured\n\nThe log of the job says why.\n"
    try:
        number = pull_request(event, repository)
        if number is None:
            print("::notice::no comment: no open pull request has this commit as its last")
            return 0
        print(comment(repository, number, body(text, environment["INPUT_NAME"], event, environment)))
    except Refused as error:
        said = " ".join(str(error).split()).replace("%", "%25")
        if error.status in (401, 403, 404):
            print(f"::notice::no comment: the token may not write one, as for forks (docs/ci.md). {said}")
            return 0
        print(f"::error::no comment: {said}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
