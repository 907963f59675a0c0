"""A package index on 127.0.0.1, and small answers of one."""

from __future__ import annotations

import contextlib
import html
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PEP_691 = "application/vnd.pypi.simple.v1+json"


@dataclass
class Page:
    """An answer. ``location`` makes it a redirection."""

    content: bytes
    kind: str = "text/html"
    status: int = 200
    location: str = ""


@dataclass
class ServedIndex:
    """``pages`` are the answers by path; what is missing is a 404. ``asked`` are the paths with what was
    accepted and the credentials that came with it."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def put(self, path: str, page: Page) -> str:
        self.pages[path] = page
        return f"{self.url}{path}"


@contextlib.contextmanager
def served_index() -> Iterator[ServedIndex]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = self.headers
            served.asked.append((self.path, headers.get("Accept", ""), headers.get("Authorization", "")))
            page = served.pages.get(self.path, Page(b"nothing here", status=404))
            self.send_response(page.status)
            self.send_header("Content-Type", page.kind)
            self.send_header("Content-Length", str(len(page.content)))
            if page.location:
                self.send_header("Location", page.location)
            self.end_headers()
            self.wfile.write(page.content)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = ServedIndex(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def json_page(*files: Mapping[str, Any]) -> Page:
    """PEP 691; a file is its fields, ``url`` follows from ``filename``."""
    listed = [{"url": f"../../files/{file['filename']}", "hashes": {}, **file} for file in files]
    content = json.dumps({"meta": {"api-version": "1.1"}, "name": "x", "files": listed})
    return Page(content.encode(), PEP_691)


def html_page(*files: Mapping[str, Any], head: str = "") -> Page:
    """The same files as PEP 503 has them."""
    lines = [f"<!DOCTYPE html><html><head>{head}</head><body>"]
    for file in files:
        given = {
            "href": f"../../files/{file['filename']}",
            "data-requires-python": file.get("requires-python"),
        }
        yanked = file.get("yanked", False)
        if yanked is not False:
            given["data-yanked"] = yanked if isinstance(yanked, str) else ""
        words = [f'{name}="{html.escape(value)}"' for name, value in given.items() if value is not None]
        lines.append(f"<a {' '.join(words)}>{file['filename']}</a><br>")
    return Page("\n".join((*lines, "</body></html>")).encode())
