from __future__ import annotations

import shlex
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llmperf.declare.subject import (
    REDACTED,
    Subject,
    as_shown,
    is_secret,
    parse_subject,
    redact_args,
    redact_words,
    without_credentials,
)
from pytest_llmperf.errors import DeclarationError

ENGINES = st.from_regex(r"[a-z][a-z0-9_.+-]{0,12}", fullmatch=True).filter(lambda name: name != "url")
VERSIONS = st.from_regex(r"[0-9][A-Za-z0-9.+!_-]{0,12}", fullmatch=True)
PATHS = st.text(string.printable.replace("\n", "") + "äß語", min_size=1).filter(lambda p: "://" not in p)
ARGS = st.lists(st.text(max_size=8), max_size=5).map(tuple)
VARIABLES = st.lists(
    st.tuples(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), st.text(max_size=8)), max_size=3
).map(tuple)
LOCAL = st.one_of(
    st.builds(Subject, ENGINES, args=ARGS, env=VARIABLES),
    st.builds(Subject, ENGINES, version=VERSIONS, args=ARGS, env=VARIABLES),
    st.builds(Subject, ENGINES, path=PATHS, args=ARGS, env=VARIABLES),
)


@given(subject=LOCAL)
def test_a_subject_without_secrets_parses_back_to_itself(subject: Subject) -> None:
    assume(subject.shown_args == subject.args and subject.shown_env == dict(subject.env))
    assume(len(dict(subject.env)) == len(subject.env))
    assert parse_subject(str(subject)) == subject


@given(subject=LOCAL)
def test_what_is_shown_of_a_subject_is_again_a_subject_that_is_shown_the_same(subject: Subject) -> None:
    assert str(parse_subject(str(subject))) == str(subject)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("llamacpp", Subject("llamacpp")),
        ("  llamacpp   --parallel 4 ", Subject("llamacpp", args=("--parallel", "4"))),
        (
            "vllm==0.24.0 --max-num-seqs 256",
            Subject("vllm", "0.24.0", args=("--max-num-seqs", "256")),
        ),
        ("vllm==0.24.0rc1+cu128", Subject("vllm", "0.24.0rc1+cu128")),
        ("vllm@path/to/checkout", Subject("vllm", path="path/to/checkout")),
        ("'vllm@my checkout' -v", Subject("vllm", path="my checkout", args=("-v",))),
        (
            "VLLM_USE_V1=1 EMPTY= vllm",
            Subject("vllm", env=(("VLLM_USE_V1", "1"), ("EMPTY", ""))),
        ),
        ("vllm NAME=value", Subject("vllm", args=("NAME=value",))),
        ("A==b vllm", Subject("vllm", env=(("A", "=b"),))),
        ("PROXY=http://user@proxy:1 vllm", Subject("vllm", env=(("PROXY", "http://user@proxy:1"),))),
        ("""sglang --json '{"a": "b c"}'""", Subject("sglang", args=("--json", '{"a": "b c"}'))),
    ],
)
def test_subjects_are_read_as_documented(text: str, subject: Subject) -> None:
    assert parse_subject(text) == subject


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("https://gpu.example/v1/", "https://gpu.example"),
        ("https://gpu.example/team/v1", "https://gpu.example/team"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
    ],
)
def test_a_url_is_a_running_server_with_or_without_its_v1(text: str, url: str) -> None:
    assert parse_subject(text) == Subject("url", url=url)
    assert parse_subject(text).target == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected an engine, as in 'llamacpp' or 'http://host:8000'"),
        ("  ", "expected an engine, as in 'llamacpp' or 'http://host:8000'"),
        ("A=1 B=2", "expected an engine after A, B, as in 'llamacpp' or 'http://host:8000'"),
        ("vllm=0.24.0", "expected an engine after vllm, as in 'llamacpp' or 'http://host:8000'"),
        ("vllm '--flag", "engine: no closing quotation"),
        ("vllm --flag\\", "engine: no escaped character"),
        ("--parallel 4", "engine '--parallel': expected NAME, NAME==VERSION, NAME@PATH or http://HOST:PORT"),
        ("VLLM", "engine 'VLLM': expected NAME, NAME==VERSION, NAME@PATH or http://HOST:PORT"),
        ("vllm>=0.24", "engine 'vllm>=0.24': expected NAME, NAME==VERSION, NAME@PATH or http://HOST:PORT"),
        ("vllm@", "engine 'vllm@': expected NAME, NAME==VERSION, NAME@PATH or http://HOST:PORT"),
        ("url", "engine 'url': expected NAME, NAME==VERSION, NAME@PATH or http://HOST:PORT"),
        ("ftp://host", "engine 'ftp://host': expected http://HOST:PORT or https://HOST"),
        ("http://", "engine 'http://': expected http://HOST:PORT or https://HOST"),
        (
            "vllm@git+https://host/x",
            "engine 'vllm@git+https://host/x': expected http://HOST:PORT or https://HOST",
        ),
        ("http://host:99999", "engine 'http://host:99999': Port out of range 0-65535"),
        ("http://host?key=K", "engine 'http://host?…': no query or fragment in a server's URL"),
        ("http://host/#part", "engine 'http://host/#…': no query or fragment in a server's URL"),
        (
            "A=1 http://host --flag 3",
            "engine 'http://host': a running server takes no flags or environment variables from here "
            "(A, --flag, 3)",
        ),
    ],
)
def test_what_is_no_subject_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_subject(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "http://me:hunter2@host:8000",
        "https://hunter2@host",
        "http://me:hunter2@host:99999",
        "http://me:p@hunter2@host",
        "http://me:a/hunter2@host",
        "http://me:a#hunter2@host",
        "http://me:a?hunter2@host",
        "ftp://me:hunter2@host",
        "http://host?api_key=hunter2",
        "http://host:99999?api_key=hunter2",
        "HTTP://me:hunter2@host",
    ],
)
def test_credentials_in_a_url_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_subject(text)
    assert "host" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_who_puts_credentials_into_a_url_is_told_where_they_belong() -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_subject("http://me:hunter2@host:8000/v1")
    assert str(caught.value) == (
        "engine 'http://…@host:8000/v1': no credentials in a URL; put the key into LLMPERF_API_KEY"
    )


@pytest.mark.parametrize(
    "text",
    [
        "vllm --api-key hunter2 '--unclosed",
        "FOO_TOKEN=hunter2 vllm '--unclosed",
        "FOO_TOKEN=hunter2",
        "FOO_TOKEN=hunter2 --api-key hunter2",
        "FOO_TOKEN=hunter2 http://host:8000 --api-key hunter2",
        "http://host:8000 --api-key=hunter2",
    ],
)
def test_no_error_shows_a_secret(text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_subject(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ("--api-key X -v", ("--api-key", REDACTED, "-v")),
        ("--api-key=X -v", (f"--api-key={REDACTED}", "-v")),
        ("--api_key X", ("--api_key", REDACTED)),
        ("--API-KEY=X=Y", (f"--API-KEY={REDACTED}",)),
        ("--api-key X Y Z --port 1", ("--api-key", REDACTED, REDACTED, REDACTED, "--port", "1")),
        ("--api-key=X Y --port 1", (f"--api-key={REDACTED}", REDACTED, "--port", "1")),
        ("--api-key -X --port 1", ("--api-key", REDACTED, "--port", "1")),
        ("--hf-token X --ssl-password=X", ("--hf-token", REDACTED, f"--ssl-password={REDACTED}")),
        ("--port 1 --api-key", ("--port", "1", "--api-key")),
        ("--max-num-batched-tokens 1 --tokenizer x", ("--max-num-batched-tokens", "1", "--tokenizer", "x")),
        (
            "--kv-transfer-config {} --num-keys 2 --key-bits 8",
            ("--kv-transfer-config", "{}", "--num-keys", "2", "--key-bits", "8"),
        ),
        ("--ssl-key X --authorization=X", ("--ssl-key", REDACTED, f"--authorization={REDACTED}")),
        ("--db postgres://u:X@h/d --from=s3://b/a@2", ("--db", "postgres://…@h/d", "--from=s3://b/a@2")),
        ("token x", ("token", "x")),
    ],
)
def test_the_values_of_secret_flags_are_redacted_and_no_others(args: str, shown: tuple[str, ...]) -> None:
    assert redact_args(tuple(args.split())) == shown


@given(
    before=ARGS,
    flag=st.sampled_from(["--api-key", "--token", "-auth-key", "--client-secret", "--password"]),
    after=ARGS,
    joined=st.booleans(),
)
def test_a_secret_stays_hidden_wherever_its_flag_stands(
    before: tuple[str, ...], flag: str, after: tuple[str, ...], joined: bool
) -> None:
    secret = (f"{flag}=hunter2",) if joined else (flag, "hunter2")
    shown = redact_args((*before, *secret, *after))
    assert "hunter2" not in " ".join(shown)
    assert len(shown) == len(before) + len(secret) + len(after)


@pytest.mark.parametrize(
    "name",
    [
        *("FOO_TOKEN", "HF_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD"),
        *("GOOGLE_CREDENTIALS", "AUTHORIZATION", "HTTP_AUTHORIZATION", "OPENAI_KEY", "NGC_KEY", "KEY"),
        *("GPG_PASSPHRASE", "key", "admin-key"),
    ],
)
def test_the_usual_names_of_secret_variables_are_known(name: str) -> None:
    assert is_secret(name)
    subject = Subject("vllm", env=((name, "hunter2"), ("PLAIN", "seen")))
    assert str(subject) == f"'{name}={REDACTED}' PLAIN=seen vllm"


@pytest.mark.parametrize(
    "name",
    [
        *("MAX_TOKENS", "TOKENIZER", "CUDA_VISIBLE_DEVICES", "MONKEY_PATCH", "MONKEY", "VLLM_USE_V1"),
        *("--num-keys", "--kv-transfer-config", "--tokenizer", "KEY_SIZE", "KEYS", "AUTHOR"),
    ],
)
def test_the_usual_names_of_other_variables_are_not_taken_for_secrets(name: str) -> None:
    assert not is_secret(name)


def test_no_credentials_are_shown() -> None:
    text = "Looking in indexes: https://user:s3cret@host/simple, https://pypi.org/simple and git@host"
    assert without_credentials(text) == (
        "Looking in indexes: https://…@host/simple, https://pypi.org/simple and git@host"
    )


def test_a_url_is_shown_without_its_credentials() -> None:
    subject = parse_subject("DB=postgres://me:hunter2@db:5432/x P=http://h:1 vllm --store redis://:hunter2@h")
    assert shlex.split(str(subject)) == [
        *("DB=postgres://…@db:5432/x", "P=http://h:1", "vllm", "--store", "redis://…@h")
    ]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("A=1 vllm==0.24.0 -v", "vllm==0.24.0"),
        ("vllm@src", "vllm@src"),
        ("vllm -v", "vllm"),
        ("http://host/v1", "http://host"),
    ],
)
def test_the_target_is_what_runs_without_flags(text: str, target: str) -> None:
    assert parse_subject(text).target == target


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A=1  vllm@{checkout} --x 'a b'", "A=1  vllm@{checkout} --x 'a b'"),
        ("v0.22.1", "v0.22.1"),
        ("HEAD~3^2", "HEAD~3^2"),
        ("it's", "it's"),
        ("K_TOKEN=X vllm --api-key X", f"'K_TOKEN={REDACTED}' vllm --api-key '{REDACTED}'"),
        ("A=https://u:X@h/ vllm", "'A=https://…@h/' vllm"),
        ("http://u:X@h/", "http://…@h/"),
    ],
)
def test_what_was_typed_is_shown_as_it_was_but_for_secrets(text: str, shown: str) -> None:
    assert as_shown(text) == shown


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("make  -j16 'a b' && ./x", "make  -j16 'a b' && ./x"),
        ("HF_TOKEN=s3cret make X=1", "HF_TOKEN=[redacted] make X=1"),
        ("export HF_TOKEN='s3 cret' && make", "export HF_TOKEN=[redacted] && make"),
        ("login --token s3cret && make", "login --token [redacted] && make"),
        ("get --api-key=s3cret", "get --api-key=[redacted]"),
        ("pip install -i https://me:s3cret@a/ x", "pip install -i https://…@a/ x"),
        (
            "docker run -e HF_TOKEN=s3cret -x --token s3cret y",
            "docker run -e HF_TOKEN=[redacted] -x --token [redacted] y",
        ),
        ("--llmperf-engine 'vllm --api-key s3cret'", "--llmperf-engine 'vllm --api-key [redacted]'"),
        ("run --token 'A_KEY=s3' x", "run --token [redacted] x"),
        ("echo '", "echo '"),
        ("HF_TOKEN= make", "HF_TOKEN= make"),
    ],
)
def test_a_command_of_a_shell_is_shown_without_its_secrets(typed: str, shown: str) -> None:
    assert redact_words(typed) == shown
