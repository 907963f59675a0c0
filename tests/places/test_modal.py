from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pytest_llmperf.declare.place import parse_place
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.command import AnyCommand
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.protocol import Runtime
from pytest_llmperf.engines.tensorrt_llm import TensorRtLlm
from pytest_llmperf.engines.vllm import Vllm
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.modal import ModalPlace, _guarded
from pytest_llmperf.places.modal_server import ModalServer
from pytest_llmperf.report.progress import Progress
from tests.modal.cloud import Cloud
from tests.modal.reaching import ENGINE, cloud

__all__ = ["cloud"]

PATIENCE_S = 30.0
H100 = "modal gpu=H100"


def place(
    words: str = H100, startup_timeout_s: float = PATIENCE_S, note: Callable[[str], None] = lambda text: None
) -> ModalPlace:
    parsed = parse_place(words)
    assert parsed is not None
    return ModalPlace(parsed, startup_timeout_s, Progress(lambda text, transient: None), note)


Start = Callable[..., ModalServer]


@pytest.fixture
def notes() -> list[str]:
    """What a person has to know in the end."""
    return []


@pytest.fixture
def start(tmp_path: Path, cloud: Cloud, notes: list[str]) -> Iterator[Start]:
    """Starts llama.cpp, and stops it after the test."""
    servers: list[ModalServer] = []

    def started(
        words: str = H100, subject: str = ENGINE, startup_timeout_s: float = PATIENCE_S
    ) -> ModalServer:
        engine, asked = LlamaCpp(), parse_subject(subject)
        where = place(words, startup_timeout_s, notes.append)
        model = where.model(engine, None)
        runtime = Runtime("python3", asked.version)
        servers.append(where.start(engine, asked, runtime, model, tmp_path / "engine.log"))
        return servers[-1]

    yield started
    for server in servers:
        server.stop()


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def told(server: ModalServer) -> str:
    return server.account().tell("it", "ended")


def get(server: ModalServer, path: str, key: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.get(server.url + path, headers=headers, trust_env=True).status_code


# -- what is started -------------------------------------------------------------------------------------


def test_the_sandbox_is_what_the_words_say(start: Start, cloud: Cloud) -> None:
    cloud.plane.secrets["hf-token"] = {"HF_TOKEN": "x"}
    start(
        "modal gpu=H100:2 region=us-east volume=hf-cache:/cache secrets=hf-token timeout=7200 cpu=4 "
        "memory=1024 image=registry.example/llama:1",
        f"GREETING=hello {ENGINE} --parallel 2",
    )
    (container,) = cloud.containers
    definition = container.definition
    gpu = definition.resources.gpu_config
    assert (gpu.gpu_type, gpu.count) == ("H100!", 2)
    assert list(definition.scheduler_placement.regions) == ["us-east"]
    assert [(mount.volume_id, mount.mount_path) for mount in definition.volume_mounts] == [
        ("vo-hf-cache", "/cache")
    ]
    assert (definition.timeout_secs, definition.idle_timeout_secs) == (7200, 300)
    assert (definition.resources.milli_cpu, definition.resources.memory_mb) == (4000, 1024)
    assert "FROM registry.example/llama:1" in " ".join(cloud.plane.images.values())
    argv = list(definition.entrypoint_args)
    assert argv[0] == "python3"
    assert argv[argv.index("--parallel") + 1] == "2"
    assert argv[argv.index("--host") + 1] == "0.0.0.0"


def test_this_package_and_a_model_of_this_machine_are_there_under_their_own_paths(
    start: Start, cloud: Cloud
) -> None:
    import pytest_llmperf.load.worker as worker

    start()
    model = cloud.containers[0].definition.entrypoint_args[4]
    assert {str(Path(worker.__file__)), model} <= set(cloud.plane.uploaded)


def test_the_tunnel_is_guarded_by_a_key_of_its_own(start: Start) -> None:
    server = start()
    wait_until(lambda: get(server, "/health") == 200)
    assert server.api_key is not None
    assert get(server, "/props") == 401
    assert get(server, "/props", server.api_key) == 200


def test_no_key_can_be_taken_for_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_bytes", lambda count: b"\xfb" * count)  # base64 makes dashes of it
    guarded, key = _guarded(Vllm(), parse_subject("vllm==0.24.0"))
    assert key is not None
    assert not key.startswith("-")
    assert Vllm().api_key(guarded) == key


def test_flags_that_leave_an_engine_without_a_key_are_refused() -> None:
    with pytest.raises(EngineError, match="open to the world: give --api-key a value"):
        _guarded(Vllm(), parse_subject("vllm==0.24.0 --api-key --max-num-seqs 8"))


def test_an_engine_that_takes_no_key_is_said_to_be_open(
    tmp_path: Path, cloud: Cloud, notes: list[str]
) -> None:
    where, subject = (
        place(f"{H100} image=mine:1", note=notes.append),
        parse_subject("command -- sleep {port}"),
    )
    server = where.start(AnyCommand(), subject, Runtime("python3"), "", tmp_path / "engine.log")
    server.stop()
    assert server.api_key is None
    assert "open to the world without a key: command takes none" in notes[0]
    assert _guarded(TensorRtLlm(), parse_subject("tensorrt-llm==1.2.0"))[1] is None


def test_a_key_of_the_subject_stays(start: Start) -> None:
    assert start(subject=f"{ENGINE} --api-key mine-alone").api_key == "mine-alone"


@pytest.mark.parametrize(
    ("engine", "subject", "words", "image"),
    [
        (Vllm(), "vllm==0.24.0", H100, "FROM vllm/vllm-openai:v0.24.0"),
        (Vllm(), "vllm", f"{H100} image=mine:1", "FROM mine:1"),
        (Vllm(), "vllm==0.24.0", f"{H100} image=mine:1", "FROM mine:1"),
        (LlamaCpp(), "llamacpp==2026.4.1", "modal", "xllamacpp==2026.4.1"),
    ],
)
def test_an_engine_comes_from_its_public_image_or_one_that_is_named_or_from_its_package(
    cloud: Cloud, engine: Vllm | LlamaCpp, subject: str, words: str, image: str
) -> None:
    asked = parse_subject(subject)
    is_ours = "image=" not in words  # what is in another, only the engine can tell
    assert place(words).prepare(engine, asked) == Runtime("python3", asked.version if is_ours else None)
    assert image in " ".join(cloud.plane.images.values())


@pytest.mark.parametrize(
    ("subject", "words", "why"),
    [
        ("vllm", H100, "name a version (vllm==…), or an image of your own"),
        ("vllm@src", H100, "name a version (vllm==…), or an image of your own"),
        (
            "vllm==0.24.0",
            "modal",
            "vllm==0.24.0 needs 1 GPU, and the place has none: --llmperf-place 'modal gpu=H",
        ),
        (
            "vllm==0.24.0 -tp 4",
            H100,
            "needs 4 GPUs, and the place has 1 of them: --llmperf-place 'modal gpu=H100!:4",
        ),
    ],
)
def test_what_cannot_be_started_there_is_said_before_modal_is_asked(
    subject: str, words: str, why: str
) -> None:
    with pytest.raises(EngineError) as caught:
        place(words).prepare(Vllm(), parse_subject(subject))
    assert why in str(caught.value)


def test_a_model_on_a_volume_is_not_looked_for_here() -> None:
    where = place(f"{H100} volume=models:/models")
    assert where.model(Vllm(), "/models/llama") == "/models/llama"
    with pytest.raises(EngineError, match="no such folder"):
        where.model(Vllm(), "/elsewhere/llama")


# -- how it ends -----------------------------------------------------------------------------------------


def test_a_stopped_server_leaves_nothing_and_may_be_stopped_again(start: Start, cloud: Cloud) -> None:
    server = start()
    assert server.is_alive()
    server.stop()
    server.stop()
    assert not server.is_alive()
    assert cloud.running() == []
    assert "was terminated" in told(server)


def test_even_when_its_guardian_is_killed(start: Start, cloud: Cloud) -> None:
    server = start()
    os.kill(server.sandbox.guardian_pid, signal.SIGKILL)
    wait_until(lambda: not server.is_alive())
    assert len(cloud.running()) == 1
    server.stop()
    wait_until(lambda: cloud.running() == [])


def test_a_sandbox_that_cannot_be_terminated_is_named_with_what_to_do(
    start: Start, cloud: Cloud, notes: list[str]
) -> None:
    server = start()
    cloud.plane.may_terminate = False
    server.stop()
    (note,) = notes
    assert note.startswith(
        "the Modal sandbox sb-0 could not be terminated (not allowed to); if it still runs"
    )
    assert note.endswith("or Modal does within 3600 s")
    cloud.end_all()


def test_a_sandbox_is_not_idle_as_long_as_somebody_sees_to_it(start: Start, cloud: Cloud) -> None:
    start()
    (container,) = cloud.containers
    wait_until(lambda: any(process.argv[0] == "sleep" for process in container.beside.values()))


def test_an_engine_that_ended_is_accounted_for(start: Start) -> None:
    server = start(subject=f"{ENGINE} --no-such-flag")
    wait_until(lambda: not server.is_alive())
    account = told(server)
    assert "exited with code 2" in account
    assert "unrecognized arguments: --no-such-flag" in account
    assert "unrecognized arguments: --no-such-flag" in server.last_line()
    assert "modal gpu=H100! cpu=8 memory=32768" in account


def test_a_time_out_names_the_word_to_raise(start: Start, cloud: Cloud) -> None:
    cloud.plane.lifetime_s = 0.5
    server = start(f"{H100} timeout=3600")
    wait_until(lambda: not server.is_alive())
    assert "was ended by Modal after 3600 s, its time-out: say timeout=7200" in told(server)


def test_no_room_in_the_cloud_is_an_error_with_a_way_out(start: Start, cloud: Cloud) -> None:
    cloud.plane.capacity = 0
    with pytest.raises(EngineError, match=r"no capacity\nModal has none free now: leave out region="):
        start()


def test_a_sandbox_that_does_not_come_in_time_is_given_up_and_terminated(start: Start, cloud: Cloud) -> None:
    cloud.plane.delay_s = 60.0
    with pytest.raises(
        EngineError, match=r"Modal had no sandbox for us within 8 s \(--llmperf-startup-timeout\)"
    ):
        start(startup_timeout_s=8.0)
    assert len(cloud.containers) == 1
    assert cloud.running() == []


def test_what_was_logged_has_no_secrets(start: Start, tmp_path: Path) -> None:
    server = start(subject=f"{ENGINE} --api-key=hunter-hunter --no-such-flag=hunter-hunter")
    wait_until(lambda: not server.is_alive())
    assert "--no-such-flag=[redacted]" in (tmp_path / "engine.log").read_text()
    assert "hunter" not in server.last_line()


# -- the machine, and the load from there ----------------------------------------------------------------


def test_the_machine_is_the_container(start: Start) -> None:
    server = start()
    environment = server.environment()
    assert environment["accelerators"] == "NVIDIA H100 80GB HBM3"
    assert environment["cpus"] == "8 reserved"
    assert environment["load"] == "in the engine's container"
    assert server.hardware()["gpus"][0]["uuid"] == "GPU-1"
    assert server.disturbances() == []


def test_a_gpu_that_cannot_be_read_at_once_is_asked_for_again(start: Start, cloud: Cloud) -> None:
    smi, failed = cloud.plane.programs / "nvidia-smi", cloud.plane.programs / "failed"
    answering = smi.rename(smi.with_name("nvidia-smi-answering"))
    smi.write_text(f'#!/bin/sh\n[ -e {failed} ] || {{ touch {failed}; exit 9; }}\nexec {answering} "$@"\n')
    smi.chmod(0o755)
    assert start().environment()["accelerators"] == "NVIDIA H100 80GB HBM3"
    assert failed.exists()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo driver mismatch; exit 9", "cannot be known: nvidia-smi failed: driver mismatch"),
        ("echo No devices were found; exit 6", r"the sandbox has no GPU.* gpu=H100!"),
    ],
)
@pytest.mark.parametrize("load", ["here", "there"])
def test_a_gpu_that_cannot_be_read_is_an_error_before_anything_is_measured(
    start: Start, cloud: Cloud, script: str, why: str, load: str
) -> None:
    server = start(f"{H100} load={load}")
    (cloud.plane.programs / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(EngineError, match=why):
        server.vantage()


def test_a_container_without_python_is_told_with_the_way_out(start: Start, cloud: Cloud) -> None:
    server = start()
    cloud.plane.python = "/no/such/python3"
    with pytest.raises(EngineError, match=r"needs Python 3\.11 and numpy: .*python3.*; say load=here"):
        server.vantage()


def test_a_process_beside_the_engine_has_streams_and_ends_with_its_input(start: Start) -> None:
    process = start().sandbox.start(
        "python3",
        "-c",
        "import sys; print(sys.stdin.readline().upper(), end='', flush=True); sys.stdin.read()",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"hello\n")
    process.stdin.flush()
    assert process.stdout.read(6) == b"HELLO\n"
    process.kill()
    assert process.wait() == 0
    assert process.stdout.read() == b""
    process.stdin.close()
    process.stdout.close()


def test_more_than_one_message_can_carry_reaches_the_process(start: Start) -> None:
    process = start().sandbox.start(
        "python3", "-c", "import sys; print(len(sys.stdin.buffer.read()), flush=True)"
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x" * 3_000_001)
    process.stdin.flush()
    process.kill()
    assert process.stdout.read() == b"3000001\n"
    process.stdin.close()
    process.stdout.close()


def test_load_from_here_has_no_vantage(start: Start) -> None:
    assert start(f"{H100} load=here").vantage() is None
    vantage = start().vantage()
    assert vantage is not None
    assert vantage.url.startswith("http://127.0.0.1:")
    assert vantage.cores == 8


def test_a_container_that_cannot_drive_the_load_is_told_with_the_way_out(start: Start, cloud: Cloud) -> None:
    server = start()
    python = cloud.plane.programs / "python3.8"
    python.write_text("#!/bin/sh\necho 3.8.10; exit 1\n")
    python.chmod(0o755)
    cloud.plane.python = str(python)
    with pytest.raises(
        EngineError, match=r"needs Python 3.11 and numpy: its python3 is 3\.8\.10; say load=here"
    ):
        server.vantage()
