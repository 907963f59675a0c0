from __future__ import annotations

import re

import pytest

from pytest_llmperf.bisect.kind import kind_of
from pytest_llmperf.errors import DeclarationError


@pytest.mark.parametrize(
    ("good", "bad", "template", "kind"),
    [
        ("vllm==0.23.0", "vllm==0.24.0", None, "releases"),
        ("A=1 vllm==0.23.0 --x 1", "A=1 vllm==0.24.0 --x=1", None, "releases"),
        ("vllm", "vllm --x", None, "flags"),
        ("vllm==0.24.0", "A=1 vllm==0.24.0", None, "flags"),
        ("command -- ./s {port}", "command -- ./t {port}", None, "flags"),
        ("v0.23.0", "HEAD", "vllm@{checkout}", "commits"),
    ],
)
def test_what_lies_between_two_ends_follows_from_them(
    good: str, bad: str, template: str | None, kind: str
) -> None:
    assert kind_of(good, bad, template) == kind


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (
            "http://127.0.0.1:8000",
            "vllm",
            "--good http://127.0.0.1:8000: a server at a URL cannot be launched",
        ),
        (
            "vllm",
            "http://127.0.0.1:8000",
            "--bad http://127.0.0.1:8000: a server at a URL cannot be launched",
        ),
        ("vllm==1.0", "sglang==1.0", "between two engines lies nothing to bisect"),
        ("v0.23.0", "v0.24.0", "if these are revisions, --subject says what is made of one"),
        ("HEAD~5", "HEAD", "--good: engine 'HEAD~5': .*for a commit, --subject says what is made of one"),
        ("vllm --x", "vllm --x", "are the same subject, vllm --x"),
        ("vllm", "vllm==0.24.0", "releases are bisected between two versions"),
        ("vllm@/a", "vllm@/b", "commits between two revisions, with --subject 'vllm@{checkout}'"),
    ],
)
def test_ends_that_nothing_lies_between_are_refused(good: str, bad: str, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        kind_of(good, bad)


def test_where_version_and_flags_differ_the_two_commands_to_type_are_given() -> None:
    with pytest.raises(DeclarationError) as raised:
        kind_of("HF_TOKEN=s3cret vllm==1 --x 1", "HF_TOKEN=s3cret vllm==2 --x 2")
    assert "s3cret" not in str(raised.value)
    with pytest.raises(DeclarationError) as raised:
        kind_of("vllm==1 --x 'a b'", "vllm==2")
    commands = re.findall("llmperf bisect (.*) -- …", str(raised.value))
    first = "vllm==1 --x '\"'\"'a b'\"'\"''"
    second = "vllm==2 --x '\"'\"'a b'\"'\"''"
    assert commands == [f"--good '{first} --bad '{second} releases", f"--good '{second} --bad vllm==2 flags"]
