"""What has to be equal for a comparison to be fair."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from pytest_llmperf.load.capacity import usable_cores

Environment = Mapping[str, str]


def local_environment(place: str, model: str) -> dict[str, str]:
    """The environment of a subject that runs on this machine."""
    return {
        "place": place,
        "model": model,
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpus": str(usable_cores()),
        **_accelerators(),
    }


def url_environment(url: str, model: str) -> dict[str, str]:
    """The environment of a server at a URL.

    On this machine, it is this machine's, at whatever port; elsewhere only address and model are known.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_loopback(host):
        return local_environment("a server that runs on this machine", model)
    return {"place": f"url {parts.netloc}", "model": model}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment_key(environment: Environment) -> str:
    """A short name of an environment, for a file name."""
    content = json.dumps(dict(environment), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The fields in which two environments or subjects differ, as ``field: this → that``."""
    fields = [*one, *(field for field in other if field not in one)]
    return [
        f"{field}: {one.get(field, '(none)')} → {other.get(field, '(none)')}"
        for field in fields
        if one.get(field) != other.get(field)
    ]


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        return platform.processor() or "unknown"
    return platform.processor() or "unknown"


@cache
def _accelerators() -> dict[str, str]:
    """GPU models and driver as ``nvidia-smi`` tells them; nothing where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    names = sorted(line.partition(",")[0].strip() for line in lines)
    drivers = sorted({line.rpartition(",")[2].strip() for line in lines})
    return {"accelerators": ", ".join(names), "driver": ", ".join(drivers)} if lines else {}
