"""An HTML document that stands for itself: scripts and styles are in it, and it may ask for nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from pytest_llmperf.report.markup import Markup, tag


def document(title: str, style: str, body: Markup, scripts: Sequence[str] = ()) -> str:
    """The whole document; its content security policy allows this style and these scripts alone."""
    allowed = f"script-src {_hashes(scripts)}; " if scripts else ""
    policy = (
        f"default-src 'none'; {allowed}style-src {_hashes([style])}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    run = [tag("script", Markup(script)) for script in scripts]
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', body, run), lang='en')}\n"


def asset(name: str) -> str:
    """A style or a script of the package."""
    return files("pytest_llmperf.report").joinpath("assets", *name.split("/")).read_text("utf-8")


def _hashes(texts: Sequence[str]) -> str:
    sums = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in sums)
