"""What is under test, written the same way everywhere.

::

    vllm==0.24.0 --max-num-seqs 256        an engine, a version, flags
    VLLM_USE_V1=1 vllm                     environment variables first, as in a shell
    vllm@path/to/checkout                  a source checkout
    llamacpp --parallel 4                  whatever version is installed
    http://127.0.0.1:8000                  a server that already runs
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from pytest_llmperf.errors import DeclarationError

_ENV = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_ENGINE = re.compile(r"([a-z][a-z0-9_.+-]*)(?:==([A-Za-z0-9.+!_-]+)|@(.+))?")
_SECRET = re.compile(
    r"(api|auth|access|secret|private)[-_]?key|(^|[_-])key$|token$|secret|passw|passphrase|credential|authoriz",
    re.IGNORECASE,
)
# An option or a variable, and what is given to it; looked ahead at, because that may be another one.
_SAID = re.compile(r"""(?<![\w-])(?=(?:(-{1,2}[\w-]+)(?:=|\s+(?!-))|(\w+)=)('[^']*'|"[^"]*"|[^\s'"]+))""")
_CREDENTIALS = re.compile(r"""(?<=://)[^/\s"']+(?=@)""")
REDACTED = "[redacted]"


@dataclass(frozen=True)
class Subject:
    """Engine, version or path, flags and environment variables, or the URL of a running server."""

    engine: str
    version: str | None = None
    path: str | None = None
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    url: str | None = None

    @property
    def target(self) -> str:
        """What is run, without flags: ``vllm==0.24.0``, ``vllm@src``, or the URL."""
        if self.url is not None:
            return self.url
        return self.engine + (f"=={self.version}" if self.version else f"@{self.path}" if self.path else "")

    def __str__(self) -> str:
        """The subject as a person would write it, with secrets redacted."""
        words = [f"{name}={value}" for name, value in self.shown_env.items()]
        return shlex.join([*words, self.target, *self.shown_args])

    @property
    def shown_args(self) -> tuple[str, ...]:
        """The flags, with the values of those that carry a secret redacted."""
        return redact_args(self.args)

    @property
    def shown_env(self) -> dict[str, str]:
        """The environment variables, with secret values redacted."""
        return {n: REDACTED if is_secret(n) else without_credentials(value) for n, value in self.env}


def typed(subject: Subject) -> str:
    """The subject as one types it, secrets and all: for a command line, never for a record."""
    return shlex.join([*(f"{name}={value}" for name, value in subject.env), subject.target, *subject.args])


def as_shown(text: str) -> str:
    """A subject as it was typed, or as ``str`` has it where that would show a secret; other text, as that of
    a revision, without the credentials of URLs."""
    try:
        subject = parse_subject(text)
    except DeclarationError:
        return without_credentials(text)
    return text if typed(subject) == str(subject) else str(subject)


def is_secret(name: str) -> bool:
    """Whether a variable or flag of this name holds a secret."""
    return _SECRET.search(name) is not None


def credentials(text: str) -> list[str]:
    """What stands before the @ of the URLs in ``text``."""
    return _CREDENTIALS.findall(text)


def without_credentials(text: str) -> str:
    """``text`` without what stands before the @ of its URLs."""
    return _CREDENTIALS.sub("…", text)


def redact_args(args: tuple[str, ...]) -> tuple[str, ...]:
    """``args`` with all values of secret-bearing flags redacted: ``--api-key X``, ``--api-key=X``, and the
    credentials of URLs.

    Such a flag may take several (vLLM's ``--api-key X Y``), and the first may begin with a dash.
    """
    shown: list[str] = []
    hides = hides_next = False
    for arg in args:
        flag, equals, _ = arg.partition("=")
        if hides_next or (hides and not arg.startswith("-")):
            shown.append(REDACTED)
            hides_next = False
        else:
            hides = flag.startswith("-") and is_secret(flag)
            hides_next = hides and not equals
            shown.append(f"{flag}={REDACTED}" if hides and equals else without_credentials(arg))
    return tuple(shown)


def redact_words(text: str) -> str:
    """A command for a shell, or a line of options, as it was typed but for the secrets in it: those of
    variables (``HF_TOKEN=X make``), of options (``--token X``, ``--token=X``), and of URLs."""
    shown, at = "", 0
    for found in _SAID.finditer(text):
        start, end = found.span(3)
        if start >= at and is_secret(found[1] or found[2]):
            shown += text[at:start] + REDACTED
            at = end
    return without_credentials(shown + text[at:])


def parse_subject(text: str) -> Subject:
    """Read a subject. Raises :class:`DeclarationError`, which shows no value of a flag or a variable.

    Whether the engine exists is not asked here.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise DeclarationError(f"engine: {str(error)[0].lower()}{str(error)[1:]}") from None
    env: list[tuple[str, str]] = []
    while words and (assignment := _ENV.fullmatch(words[0])) and not _ENGINE.fullmatch(words[0]):
        env.append((assignment[1], assignment[2]))
        words.pop(0)
    if not words:
        after = f" after {', '.join(name for name, _ in env)}" if env else ""
        raise DeclarationError(f"expected an engine{after}, as in 'llamacpp' or 'http://host:8000'")
    target, args = words[0], tuple(words[1:])
    if "://" in target:
        return _url_subject(target, args, env)
    match = _ENGINE.fullmatch(target)
    if not match or match[1] == "url":
        raise DeclarationError(
            f"engine {target!r}: expected NAME, NAME==VERSION, NAME@PATH or http://HOST:PORT"
        )
    return Subject(match[1], match[2], match[3], args, tuple(env))


def _url_subject(target: str, args: tuple[str, ...], env: list[tuple[str, str]]) -> Subject:
    # An error shows neither credentials, however they are quoted, nor a query, which may hold a key.
    shown = re.sub(r"(?<=[?#]).*", "…", re.sub(r"://.*@", "://…@", target, flags=re.DOTALL), flags=re.DOTALL)
    if re.match(r"https?:", target, re.IGNORECASE) and "@" in target:
        raise DeclarationError(f"engine {shown!r}: no credentials in a URL; put the key into LLMPERF_API_KEY")
    try:
        parts = urlsplit(target)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise DeclarationError(f"engine {shown!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise DeclarationError(f"engine {shown!r}: expected http://HOST:PORT or https://HOST")
    if "?" in target or "#" in target:
        raise DeclarationError(f"engine {shown!r}: no query or fragment in a server's URL")
    if args or env:
        raise DeclarationError(
            f"engine {shown!r}: a running server takes no flags or environment variables from here "
            f"({', '.join((*(name for name, _ in env), *redact_args(args)))})"
        )
    url = target.rstrip("/").removesuffix("/v1")
    return Subject("url", url=url)
