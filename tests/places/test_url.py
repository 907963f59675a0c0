"""Servers that run already."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.protocol import Runtime
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.places.machine import ThisMachine, facts
from pytest_llmperf.places.url import ExistingServer
from tests.places import smi


def at(url: str) -> ExistingServer:
    place = ExistingServer()
    return place.start(OpenAiServer(), parse_subject(url), Runtime(sys.executable), "", Path())


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://gpu.example:8000", "gpu.example:8000"),
        ("https://gpu.example/prefix", "gpu.example"),
        ("http://10.0.0.1:127", "10.0.0.1:127"),
        ("http://[fe80::1]:8000", "[fe80::1]:8000"),
        ("http://localhost.example:80", "localhost.example:80"),
        ("http://128.0.0.1", "128.0.0.1"),
    ],
)
def test_of_a_server_elsewhere_only_its_address_is_known(url: str, address: str) -> None:
    server = at(url)
    assert server.name == f"url {address}"
    assert server.environment() == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "http://127.0.0.1:45123",
        "http://127.1.2.3",
        "https://localhost:1",
        "http://LOCALHOST/",
        "http://[::1]:8000",
    ],
)
def test_a_server_on_this_machine_has_its_environment_whatever_its_port(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi.install(tmp_path / "bin", monkeypatch, 2)
    server = at(url)
    assert server.name == "a server that runs on this machine"
    here = server.environment()
    assert {**here, **facts(ThisMachine(), [])} == here
    assert here["accelerators"] == "2 × NVIDIA H100 80GB HBM3"
    assert here["cuda"] == "12.8"


@pytest.mark.parametrize("text", ["No devices were found", "NVIDIA-SMI has failed"])
def test_without_a_working_nvidia_smi_no_accelerator_is_known(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi.install(tmp_path / "bin", monkeypatch, 2).set(error=(text, 9))
    assert at("http://127.0.0.1").environment() == facts(ThisMachine(), [])
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    assert at("http://127.0.0.1").environment() == facts(ThisMachine(), [])


def test_nothing_is_held_or_looked_at() -> None:
    server = at("http://127.0.0.1")
    assert server.disturbances() == []
    assert server.hardware() == {}
    server.stop()
    server.close()
