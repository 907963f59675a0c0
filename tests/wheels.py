"""Small wheels and source trees, made on the spot, and uv: what installers install, and one of them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from pytest_llmperf.engines.llamacpp import LlamaCpp


class FakeEngine(LlamaCpp):
    """An engine whose distribution is ``fake-engine``."""

    name = "fake"
    distribution: str | None = "fake-engine"


def install_uv(directory: Path) -> Path:
    """uv, from the package index, in a directory of its own; the one to put on the PATH."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(directory),
        "uv",
    ]
    subprocess.run(command, check=True, timeout=240)
    return directory / "bin"


def make_wheel(
    directory: Path, name: str, version: str, requires: Sequence[str] = (), metadata: str = "", code: str = ""
) -> Path:
    """A wheel of one module, which says its version; further lines of ``metadata``, more ``code``."""
    directory.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    path = directory / f"{module}-{version}-py3-none-any.whl"
    info = f"{module}-{version}.dist-info"
    head = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    head += [f"Requires-Dist: {line}" for line in requires]
    files = {
        f"{module}.py": f"version = {version!r}\n{code}",
        f"{info}/METADATA": "\n".join((*head, metadata)).strip() + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        listed = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
        archive.writestr(f"{info}/RECORD", listed)
    return path


def make_checkout(directory: Path, version: str = "1.0", build: str = "") -> Path:
    """The source of ``fake-engine`` with a build backend of its own, which runs ``build`` first."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "fake-engine"\nversion = "{version}"\ndependencies = ["fake-dependency"]\n'
    )
    (directory / "fake_engine.py").write_text(f"version = {version!r}\n")
    (directory / "backend.py").write_text(
        f"""
import pathlib, sys, zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    {build or "pass"}
    info = "fake_engine-{version}.dist-info"
    files = {{
        "fake_engine.py": pathlib.Path("fake_engine.py").read_text(),
        info + "/METADATA": "Metadata-Version: 2.1\\nName: fake-engine\\nVersion: {version}\\n"
        "Requires-Dist: fake-dependency\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    name = "fake_engine-{version}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(info + "/RECORD", "".join(f"{{file}},,\\n" for file in (*files, info + "/RECORD")))
    return name
"""
    )
    return directory
