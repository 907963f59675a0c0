"""What the GPU scripts do that needs no GPU; the rest is run with real engines."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from bench.gpu.kill import kill_and_watch
from bench.gpu.model import LLAMA_8B, write_model
from bench.gpu.tables import beside_table, record_tables


def test_every_id_of_the_model_has_a_word_of_its_own(tmp_path: Path) -> None:
    shape = {**LLAMA_8B, "vocab_size": 50, "bos_token_id": 48, "eos_token_id": 49}
    folder = write_model(tmp_path / "model", shape)
    words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(words.values()) == list(range(50))
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == 50
    assert json.loads((folder / "tokenizer_config.json").read_text())["eos_token"] == "w49"


def test_a_record_becomes_a_table_with_its_changes() -> None:
    change = {
        "label": "TPOT p50",
        "verdict": "improved",
        "base": 12.0,
        "candidate": 10.2,
        "estimate": -0.15,
        "low": -0.2,
        "high": -0.1,
    }
    run = {"launch": 1, "values": {"ttft_p50_ms": 61.12345, "goodput": 1.0}}
    test = {
        "subject": {"text": "vllm --flag", "fields": {"version": "0.24.0"}},
        "environment": {"accelerators": "NVIDIA H100"},
        "verdict": "pass",
        "points": [{"load": "14/s", "runs": [run], "changes": [change]}],
    }
    launch = {"startup_s": {"healthy": 61.04, "first_token": 61.5}}
    table = record_tables({"started": "2026-11-22", "tests": [test], "launches": [launch]})
    assert "### vllm --flag: pass" in table
    assert "2026-11-22; version 0.24.0; accelerators: NVIDIA H100" in table
    assert "Start: healthy 61.0 s, first_token 61.5 s" in table
    assert "| 14/s | 1 | 61.12 | – | – | – | – | – | – | – | 1 | – |" in table
    assert "* TPOT p50 at 14/s: improved, 12 → 10.2, -15.0 % (95 % interval -20.0 % to -10.0 %)" in table


def test_two_clients_are_compared_by_the_median_of_their_turns() -> None:
    turns = [({"a": ours}, {"a": theirs}) for ours, theirs in ((1.0, 2.0), (3.0, 3.0), (2.0, 9.0))]
    table = beside_table([{"llmperf": ours, "peer": theirs} for ours, theirs in turns])
    assert table.splitlines() == [
        "|  | llmperf | peer | ratio |",
        "| --- | --- | --- | --- |",
        "| a | 2 | 3 | 1.500 |",
    ]


@pytest.fixture
def fake_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``nvidia-smi`` whose GPU is in use as long as a process holds a file."""
    holder = tmp_path / "holder"
    script = f"""\
        import os, pathlib, sys
        try:
            pid = int(pathlib.Path({str(holder)!r}).read_text())
            os.kill(pid, 0)
            is_used = open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[0] != "Z"
        except (OSError, ValueError):
            is_used = False
        if "memory.used" in sys.argv[1] and "apps" not in sys.argv[1]:
            print(70000 if is_used else 4)
        elif is_used:
            print(f"{{pid}}, 70000")
        """
    directory = tmp_path / "bin"
    directory.mkdir()
    tool = directory / "nvidia-smi"
    lines = "\n".join(line[8:] for line in script.splitlines())
    tool.write_text(f"#!{sys.executable} -S\n{lines}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")
    return holder


def test_a_killed_run_is_watched_until_the_gpu_is_free(fake_gpu: Path, tmp_path: Path) -> None:
    code = f"import os, pathlib, time; pathlib.Path({str(fake_gpu)!r}).write_text(str(os.getpid())); " + (
        "print('test_chat: measuring at 8/s', flush=True); time.sleep(60)"
    )
    report = kill_and_watch([sys.executable, "-c", code], tmp_path)
    assert report["used_mib_before"] == report["used_mib_after"] == 4
    assert report["used_mib_while_measuring"] == 70000
    assert report["free_again_after_s"] is not None
    assert report["processes_left_on_the_gpu"] == report["processes_left"] == []


def test_a_run_that_never_measures_is_an_error(fake_gpu: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"the test run never measured; see .*kill\.log"):
        kill_and_watch(shlex.split(f"{sys.executable} -c 0"), tmp_path)
